#!/bin/sh
# Programs and commands of README.md and docs/: they compile, and have the options they are shown
# with (pages.py).
#
#   VMOEC=build/vmoec tests/docs/run.sh
set -u
cd "$(dirname "$0")/../.." || exit 3
VMOEC=$(realpath "${VMOEC:-build/vmoec}")
export VMOEC_MODELS=$PWD/models
[ -x "$VMOEC" ] || { echo "FAIL setup cannot run $VMOEC"; exit 3; }
T=$(mktemp -d) || exit 3
trap 'rm -rf "$T"' EXIT INT TERM

python3 tests/docs/pages.py "$VMOEC" > "$T/out" 2> "$T/err" \
    || echo "FAIL pages.py: $(tail -1 "$T/err")" >> "$T/out"
cat "$T/out"
! grep -q '^FAIL' "$T/out"
