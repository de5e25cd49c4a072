#!/bin/sh
# The first images of a data set as IDX files of their own, so that a test trains in seconds.
#
#   tests/train/subset.sh FROM TO TRAIN TEST      folders with the four IDX files (FROM: .gz or
# plain)
set -eu
from=$1 to=$2
mkdir -p "$to"
be32() {
    for at in 24 16 8 0; do
        # shellcheck disable=SC2059
        printf "\\$(printf %03o $(($1 >> at & 255)))"
    done
}
bytes() {
    if [ -e "$from/$1.gz" ]; then gzip -dc "$from/$1.gz" 2> /dev/null; else cat "$from/$1"; fi
}
# Keeps the magic and the sizes after the count. A pipe closed early is no failure here.
images() { be32 2051; be32 "$2"; { bytes "$1" || true; } | tail -c +9 | head -c $(($2 * 784 + 8)); }
labels() { be32 2049; be32 "$2"; { bytes "$1" || true; } | tail -c +9 | head -c "$2"; }
images train-images-idx3-ubyte "$3" > "$to/train-images-idx3-ubyte"
labels train-labels-idx1-ubyte "$3" > "$to/train-labels-idx1-ubyte"
images t10k-images-idx3-ubyte "$4" > "$to/t10k-images-idx3-ubyte"
labels t10k-labels-idx1-ubyte "$4" > "$to/t10k-labels-idx1-ubyte"
