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

be32() {
    for at in 24 16 8 0; do
        # shellcheck disable=SC2059
        printf "\\$(printf %03o $(($1 >> at & 255)))"
    done
}
pixels() { yes '#vmoec: some pixels, none of them random.!' | tr -d '\n' | head -c "$1"; }
images() { printf '\0\0\10\3'; be32 "$1"; be32 8; be32 8; pixels $(($1 * 64)); }
labels() { printf '\0\0\10\1'; be32 "$1"; yes "$2" | head -n "$1" | tr -d '\n' \
    | tr '0-9' '\0-\11'; }
fours() { printf '\0\0\10\1'; be32 "$1"; yes 0123 | tr -d '\n' | head -c "$1" | tr '0-9' '\0-\11'; }
dataset() {
    mkdir -p "$1"
    images 70 > "$1/train-images-idx3-ubyte"
    fours 70 > "$1/train-labels-idx1-ubyte"
    images 21 > "$1/t10k-images-idx3-ubyte"
    fours 21 > "$1/t10k-labels-idx1-ubyte"
}
# PNG files of 8 x 8 in one colour each.
picture() {
    case $1 in
    red) printf %s iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAEU \
        lEQVR42mM4ISeHFTEMLQkAkL9BAc9woTwAAAAASUVORK5CYII= ;;
    green) printf %s iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAEU \
        lEQVR42mOQOyGHFTEMLQkAZj9BAZFjH9cAAAAASUVORK5CYII= ;;
    blue) printf %s iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAEU \
        lEQVR42mOQkzuBFTEMLQkAO79BAQ68oXkAAAAASUVORK5CYII= ;;
    white) printf %s iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAD0 \
        lEQVR42mM4gQMwDC0JAJwulgEYko6kAAAAAElFTkSuQmCC ;;
    esac | base64 -d
}
pictures() { # DIR: a class per colour
    for colour in red green blue white; do
        mkdir -p "$1/train/$colour" "$1/test/$colour"
        for i in 0 1 2 3 4 5; do picture $colour > "$1/train/$colour/$i.png"; done
        picture $colour > "$1/test/$colour/0.png"
    done
}
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
