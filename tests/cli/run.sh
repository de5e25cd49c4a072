#!/bin/sh
# The command line as a user meets it: exit codes, messages, bad input of every kind, and that
# nothing half-written is left behind. Needs the built program only; data and tensor files are made
# here.
#
#   VMOEC=build/vmoec tests/cli/run.sh [PART ..]      default: all parts
set -u
cd "$(dirname "$0")/../.." || exit 3
VMOEC=${VMOEC:-$PWD/build/vmoec}
case $VMOEC in /*) ;; *) VMOEC=$PWD/$VMOEC ;; esac
ROOT=$PWD
beside=$(dirname "$VMOEC")/../models # where the program looks by itself
VMOEC_MODELS=$ROOT/models
export VMOEC_MODELS
[ -x "$VMOEC" ] || { echo "FAIL setup cannot run $VMOEC"; exit 3; }
T=$(mktemp -d) || exit 3
trap 'chmod -R u+w "$T"; rm -rf "$T"' EXIT INT TERM
cp tests/cli/tiny.vmoe "$T"
cd "$T" || exit 3

failed=0
# shellcheck source=tests/want.sh
. "$ROOT/tests/want.sh"
absent() { if [ -e "$2" ]; then fail "$1" "$2 is there"; else ok "$1"; fi; }
clean() { # no temporary file anywhere in the folder
    left=$(find . -name '*.tmp*' | head -1)
    if [ -n "$left" ]; then fail "$1" "left behind: $left"; else ok "$1"; fi
}

# ---- files made by hand --------------------------------------------------------------------------

# shellcheck source=tests/data.sh
. "$ROOT/tests/data.sh"
# tensors HEADER BYTES: a safetensors file of zeros
tensors() {
    n=${#1}
    printf "$(printf '\\%03o\\%03o\\0\\0\\0\\0\\0\\0' $((n & 255)) $((n >> 8 & 255)))"
    printf '%s' "$1"
    head -c "$2" /dev/zero
}
IMAGE2='"image":{"dtype":"F32","shape":[2,1,8,8],"data_offsets":[0,512]}'
LABEL2='"label":{"dtype":"I32","shape":[2],"data_offsets":[512,520]}'

dataset data
F=tiny.vmoe

# The parts go on from each other's files, in this order.
all='commands templates mistakes models imports weights evaluation about predict training finite'
for part in ${*:-$all kernels images zoo}; do
    # shellcheck disable=SC1090
    . "$ROOT/tests/cli/$part.sh"
done
exit $failed
