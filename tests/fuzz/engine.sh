#!/bin/sh
# Runs the targets of coverage-guided fuzzing, which `make fuzz-targets` builds, in turn:
#
#   tests/fuzz/engine.sh run SECONDS TARGET..    so long each, in CPU time, from where it stopped;
#                                                then a table
#   tests/fuzz/engine.sh table TARGET..          the table of all runs so far
#   tests/fuzz/engine.sh merge TARGET..          what was found becomes tests/fuzz/corpus/TARGET, as
#                                                few inputs as do
#
# FUZZ_BUILD (default: build-fuzz) has all that is kept: corpus/TARGET, which the next run goes on
# with; found/TARGET, inputs that crash, leak, take more than SECONDS_EACH of CPU time or too much
# memory; log/TARGET, and log/TARGET.runs with a line for every run: executions, edges, CPU seconds.
set -u
cd "$(dirname "$0")/../.." || exit 3
out=${FUZZ_BUILD:-build-fuzz}
SECONDS_EACH=5 PATIENCE=15 MEGABYTES=1024 # PATIENCE: seconds, on a machine that others use too
MOST_RUNS=30 SHORTEST=20                  # of a target; seconds of one, which begins by reading
MOST_FILES=60 MOST_BYTES=200000           # of a corpus for the tests
memory=/tmp
[ ! -w /dev/shm ] || memory=/dev/shm
tmp=$(mktemp -d "$memory/vmoec-fuzz-XXXXXX") || exit 3
trap 'rm -rf "$tmp"' EXIT
trap 'exit 130' INT TERM
export TMPDIR="$tmp"
export ASAN_OPTIONS=allocator_may_return_null=1:${ASAN_OPTIONS:-}

row() { # the field $2 of the row of target $1: 1 most, 2 words, 3 covers
    sed -n "s/^TARGET($1, *\([0-9]*\), *\"\([^\"]*\)\", *\"\([^\"]*\)\")/\\$2/p" \
        tests/fuzz/targets.def
}

# The words of the files that the row of target $1 names, those that are frequent there.
dictionary() {
    for place in $(row "$1" 2); do
        find "$place" -type f | sort | xargs cat
    done | grep -v '^ *\(/\*\|\*\)' | grep -oE '[A-Za-z_][A-Za-z0-9_/]+|->|=>|\|>' |
        sort | uniq -c | sort -rn | awk 'NR <= 400 { printf "\"%s\"\n", $2 }'
}

# executions, edges, CPU seconds of the run whose output is $tmp/log and whose times are $tmp/times
run_line() {
    awk -v time="$(tail -1 "$tmp/times")" '
        function seconds(t) { split(t, p, "[ms]"); return p[1] * 60 + p[2] }
        /cov: / { for (i = 1; i < NF; i++) if ($i == "cov:") edges = $(i + 1) }
        /^#[0-9]/ { last = substr($1, 2) }
        /number_of_executed_units/ { last = $2 }
        END { split(time, t, " "); printf "%d %d %d\n", last, edges, seconds(t[1]) + seconds(t[2]) }
    ' "$tmp/log"
}

# Target $1 for $2 seconds of CPU time, which is longer on a machine that others use. An input that
# breaks something is kept, and the rest of the time goes on behind it.
run_one() {
    mkdir -p "$out/corpus/$1" "$out/found/$1" "$out/log" "tests/fuzz/corpus/$1"
    dictionary "$1" > "$tmp/words"
    words=
    [ ! -s "$tmp/words" ] || words="-dict=$tmp/words"
    left=$2 again=0
    while [ "$left" -gt 0 ] && [ "$again" -lt $MOST_RUNS ]; do
        wall=$((left > SHORTEST ? left : SHORTEST))
        (
            # shellcheck disable=SC2086
            nice -n 19 "$out/fuzz/$1" "$out/corpus/$1" "tests/fuzz/corpus/$1" $words \
                -max_len="$(row "$1" 1)" -max_total_time="$wall" -timeout=$PATIENCE \
                -rss_limit_mb=$MEGABYTES -artifact_prefix="$out/found/$1/" -print_final_stats=1 \
                > "$tmp/log" 2>&1
            times > "$tmp/times"
        )
        cat "$tmp/log" >> "$out/log/$1"
        run_line | tee -a "$out/log/$1.runs" > "$tmp/line"
        left=$((left - $(cut -d' ' -f3 "$tmp/line")))
        forget_waits "$1"
        again=$((again + 1))
    done
}

# An input of target $1 that took long because others had the CPU is none that takes long.
forget_waits() {
    for f in "$out/found/$1"/timeout-* "$out/found/$1"/slow-unit-*; do
        [ -f "$f" ] || continue
        (ulimit -t $SECONDS_EACH && "$out/fuzz/$1" -rss_limit_mb=0 "$f") > "$tmp/log" 2>&1 &&
            rm "$f"
    done
}

found() { # how many inputs of target $1 are a $2: crash, leak, timeout, slow-unit, oom
    find "$out/found/$1" -name "$2-*" 2> /dev/null | wc -l
}

table() {
    echo '| target | executions | edges | inputs | crashes | leaks | too long | memory | minutes |'
    echo '|---|---:|---:|---:|---:|---:|---:|---:|---:|'
    for target in "$@"; do
        [ -f "$out/log/$target.runs" ] || continue
        inputs=$(find "$out/corpus/$target" -type f | wc -l)
        slow=$(($(found "$target" timeout) + $(found "$target" slow-unit)))
        bad="$(found "$target" crash) | $(found "$target" leak) | $slow | $(found "$target" oom)"
        awk -v t="$target" -v inputs="$inputs" -v bad="$bad" '
            { n += $1; s += $3 } $2 > 0 { edges = $2 }
            END { printf "| `%s` | %d | %d | %d | %s | %.1f |\n", t, n, edges, inputs, bad, s / 60 }
        ' "$out/log/$target.runs"
    done
}

# libFuzzer keeps a few inputs that cover all edges; of more than fit, the largest stay, which cover
# most. Those called seed- or found- stay in any case.
merge_one() { # $1: target
    to=tests/fuzz/corpus/$1
    rm -rf "$tmp/merged"
    mkdir -p "$tmp/merged" "$to"
    if ! "$out/fuzz/$1" -set_cover_merge=1 -use_counters=0 -rss_limit_mb=$MEGABYTES \
        -timeout=$PATIENCE -artifact_prefix="$tmp/" "$tmp/merged" "$to" "$out/corpus/$1" \
        > "$tmp/log" 2>&1; then
        tail -5 "$tmp/log"
        return 1
    fi
    find "$to" -type f -not -name 'seed-*' -not -name 'found-*' -delete
    bytes=$(find "$to" -type f -exec cat {} + | wc -c) files=$(find "$to" -type f | wc -l)
    for f in $(find "$tmp/merged" -type f -printf '%s %p\n' | sort -rn | cut -d' ' -f2); do
        size=$(wc -c < "$f")
        [ $files -lt $MOST_FILES ] || break
        [ $((bytes + size)) -lt $MOST_BYTES ] || continue
        cp "$f" "$to/$(basename "$f" | cut -c1-16)"
        files=$((files + 1)) bytes=$((bytes + size))
    done
    echo "$1: $files inputs, $bytes bytes"
}

what=${1:-}
[ $# -eq 0 ] || shift
case $what in
run)
    each=$1
    shift
    for target in "$@"; do run_one "$target" "$each"; done
    table "$@"
    for target in "$@"; do
        [ -z "$(find "$out/found/$target" -type f 2> /dev/null)" ] || exit 1
    done
    ;;
table) table "$@" ;;
merge) for target in "$@"; do merge_one "$target" || exit 1; done ;;
*)
    echo "engine.sh: expected run, table or merge, found '$what'" >&2
    exit 2
    ;;
esac
