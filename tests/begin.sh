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
