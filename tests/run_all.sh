#!/bin/sh
# Runs the Criterion binary and every tests/*/run.sh, and sums them up in the last line.
#
#   tests/run_all.sh [--unit [SUITE ..]]     --unit: the Criterion binary, and only these suites
#
# BUILD is the build folder (default: build). A shell suite gets BUILD and VMOEC (the program's
# path) in its environment, runs in the repository root, and prints one line per test: "ok NAME",
# "FAIL NAME why" or "skip NAME why". A suite that exits non-zero without a FAIL line, prints no
# test at all, or runs longer than its limit counts as one failure. TEST_JOBS suites run at once
# (default: as many as there are CPUs); they are printed in their order, each when it has ended.
set -u
cd "$(dirname "$0")/.." || exit 3
BUILD=${BUILD:-build}
export BUILD
VMOEC=${VMOEC:-$PWD/$BUILD/vmoec}
export VMOEC
SUITE_LIMIT=${SUITE_LIMIT:-900}
TEST_JOBS=${TEST_JOBS:-$(nproc)}

passed=0 failed=0 skipped=0
tmp=$(mktemp -d) || exit 3
workers=
# shellcheck disable=SC2086
trap '[ -z "$workers" ] || kill $workers 2> /dev/null; rm -rf "$tmp"' EXIT
trap 'exit 130' INT TERM
VMOEC_CACHE_DIR=$tmp/cache # neither the user's kernels nor those of an earlier build
export VMOEC_CACHE_DIR

count() { # how many lines match $1 in file $2
    grep -c -E "$1" "$2" || true
}

# Adds the results of one suite. $1: its name, $2: exit status, $3: file of result lines.
add() {
    p=$(count '^ok ' "$3") f=$(count '^FAIL ' "$3") s=$(count '^skip ' "$3")
    if [ "$2" -eq 124 ]; then
        echo "FAIL $1 ran longer than $SUITE_LIMIT s"
        f=$((f + 1))
    elif [ "$2" -ne 0 ] && [ "$f" -eq 0 ]; then
        echo "FAIL $1 exit status $2"
        f=1
    elif [ $((p + f + s)) -eq 0 ]; then
        echo "FAIL $1 ran no test"
        f=1
    fi
    echo "== $1: $p passed, $f failed, $s skipped"
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
}

unit() {
    echo "== unit"
    # Criterion itself leaks a few bytes, and its test processes end without a leak check anyway.
    ASAN_OPTIONS=detect_leaks=0:${ASAN_OPTIONS:-} \
        timeout "$SUITE_LIMIT" "$BUILD/tests/vmoec-tests" --output=tap:"$tmp/tap"
    status=$?
    [ -f "$tmp/tap" ] || : > "$tmp/tap"
    sed -n -e 's/^ok - \(.*[^ ]\) *# *SKIP */skip \1 /p' -e t -e 's/^ok - /ok /p' \
        -e 's/^not ok - /FAIL /p' "$tmp/tap" > "$tmp/unit"
    grep -E '^FAIL' "$tmp/unit"
    add unit "$status" "$tmp/unit"
}

# Runs whatever of the suites nobody else has begun.
worker() {
    trap 'kill $child 2> /dev/null; exit' TERM
    for name in $suites; do
        mkdir "$tmp/$name.begun" 2> /dev/null || continue
        timeout "$SUITE_LIMIT" "tests/$name/run.sh" > "$tmp/$name" 2>&1 &
        child=$!
        wait $child
        echo $? > "$tmp/status.$name" && mv "$tmp/status.$name" "$tmp/$name.status"
    done
}

unit
suites=
if [ "${1:-}" = --unit ]; then
    shift
    suites=$*
else
    for script in tests/*/run.sh; do
        [ ! -x "$script" ] || suites="$suites $(basename "$(dirname "$script")")"
    done
fi
for _ in $(seq "$TEST_JOBS"); do
    worker &
    workers="$workers $!"
done
for name in $suites; do
    until [ -e "$tmp/$name.status" ]; do sleep 0.1; done
    echo "== $name"
    cat "$tmp/$name"
    add "$name" "$(cat "$tmp/$name.status")" "$tmp/$name"
done
workers=
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
