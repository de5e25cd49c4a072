# The beginning of suites that work in a folder of their own, $T; read in the repository's folder,
# which is $ROOT from here on. VMOEC becomes a path that holds in any folder.

VMOEC=${VMOEC:-$PWD/build/vmoec}
case $VMOEC in /*) ;; *) VMOEC=$PWD/$VMOEC ;; esac
ROOT=$PWD
VMOEC_MODELS=$ROOT/models
export VMOEC_MODELS
[ -x "$VMOEC" ] || { echo "FAIL setup cannot run $VMOEC"; exit 3; }
T=$(mktemp -d) || exit 3
trap 'rm -rf "$T"' EXIT INT TERM

failed=0
# shellcheck source=tests/want.sh
. "$ROOT/tests/want.sh"
# shellcheck source=tests/data.sh
. "$ROOT/tests/data.sh"

# What a vmoec under sanitizers builds is under them, too, by a C compiler that says so: $sanitized
# is 1 then. What that cannot do is left out: libraries in programs that are not under
# them, static programs, sizes.
sanitized=0
if nm "$(dirname "$VMOEC")/kit/libvmoec-trainer.a" 2> /dev/null | grep -q -m 1 __asan_init; then
    sanitized=1 with='-fsanitize=address,undefined -fno-sanitize-recover=undefined'
    mkdir "$T/.cc"
    for tool in cc c++; do
        printf '#!/bin/sh\nexec %s %s "$@"\n' "$(command -v $tool)" "$with" > "$T/.cc/$tool"
        chmod +x "$T/.cc/$tool"
    done
    PATH=$T/.cc:$PATH
fi
