#!/bin/sh
# Runs the targets of coverage-guided fuzzing, which `make fuzz-targets` builds, one after the other:
#
#   tests/fuzz/engine.sh run SECONDS TARGET..    so long each, from the corpus they have by now; then a table
#   tests/fuzz/engine.sh table TARGET..          the table of all runs so far
#   tests/fuzz/engine.sh merge TARGET..          what was found becomes tests/fuzz/corpus/TARGET, as few inputs as do
#
# FUZZ_BUILD (default: build-fuzz) has all that is kept: corpus/TARGET, which the next run goes on with;
# found/TARGET, inputs that crash, leak, take more than SECONDS_EACH of CPU time or too much memory; log/TARGET, and
# log/TARGET.runs with a line for every run: executions, edges, CPU seconds.
set -u
cd "$(dirname "$0")/../.." || exit 3
out=${FUZZ_BUILD:-build-fuzz}
SECONDS_EACH=5 PATIENCE=15 MEGABYTES=1024 MOST_FILES=60 MOST_BYTES=200000
tmp=$(mktemp -d "$(if [ -w /dev/shm ]; then echo /dev/shm; else echo /tmp; fi)/vmoec-fuzz-XXXXXX") || exit 3
trap 'rm -rf "$tmp"' EXIT
trap 'exit 130' INT TERM
export TMPDIR="$tmp"
export ASAN_OPTIONS=detect_stack_use_after_return=0:allocator_may_return_null=1:${ASAN_OPTIONS:-}

row() { # the fields of a target's row: $1: target, $2: which
    sed -n "s/^TARGET($1, *\([0-9]*\), *\"\([^\"]*\)\", *\"\([^\"]*\)\")/\\$2/p" tests/fuzz/targets.def
}

# A word of two letters or more is a token, and so is what stands in quotes on a line of its own.
dictionary() { # $1: target
    for place in $(row "$1" 2); do
        find "$place" -type f | sort | xargs cat
    done | grep -v '^ *\(/\*\|\*\)' | grep -oE '[A-Za-z_][A-Za-z0-9_/]+|->|=>|\|>' | sort | uniq -c | sort -rn |
        awk '$1 && NR <= 400 { gsub(/["\\]/, "\\\\&", $2); printf "\"%s\"\n", $2 }'
}

# Runs a target until its time is over; an input that breaks a promise is kept, and the rest of the time goes on
# behind it. A change of the program may let old inputs reach new code, so the corpus is read anew each time.
run_one() { # $1: target, $2: seconds
    mkdir -p "$out/corpus/$1" "$out/found/$1" "$out/log" "tests/fuzz/corpus/$1"
    dictionary "$1" > "$tmp/words"
    words=
    [ ! -s "$tmp/words" ] || words="-dict=$tmp/words"
    begin=$(date +%s) again=0
    while left=$(($2 - $(date +%s) + begin)) && [ "$left" -gt 0 ] && [ "$again" -lt 10 ]; do
        (
            # shellcheck disable=SC2086
            nice -n 19 "$out/fuzz/$1" "$out/corpus/$1" "tests/fuzz/corpus/$1" $words \
                -max_len="$(row "$1" 1)" -max_total_time="$left" -timeout=$PATIENCE \
                -rss_limit_mb=$MEGABYTES -artifact_prefix="$out/found/$1/" -print_final_stats=1 \
                > "$tmp/log" 2>&1
            times > "$tmp/times"
        )
        cat "$tmp/log" >> "$out/log/$1"
        awk -v time="$(tail -1 "$tmp/times")" '
            function seconds(t) { split(t, p, "[ms]"); return p[1] * 60 + p[2] }
            /cov: / { for (i = 1; i < NF; i++) if ($i == "cov:") edges = $(i + 1) }
            /^#[0-9]/ { last = substr($1, 2) }
            /number_of_executed_units/ { last = $2 }
            END { split(time, t, " "); printf "%d %d %d\n", last, edges, seconds(t[1]) + seconds(t[2]) }' \
            "$tmp/log" >> "$out/log/$1.runs"
        forget_waits "$1"
        again=$((again + 1))
    done
}

# An input that took long because others had the CPU is none that takes long.
forget_waits() { # $1: target
    for f in "$out/found/$1"/timeout-* "$out/found/$1"/slow-unit-*; do
        [ -f "$f" ] || continue
        if (ulimit -t $SECONDS_EACH; "$out/fuzz/$1" -rss_limit_mb=0 "$f") > "$tmp/log" 2>&1; then rm "$f"; fi
    done
}

found() { # $1: target, $2: crash, leak, timeout, oom
    find "$out/found/$1" -name "$2-*" 2> /dev/null | wc -l
}

table() {
    echo '| target | executions | edges | inputs | crashes | leaks | time-outs | memory | CPU minutes |'
    echo '|---|---:|---:|---:|---:|---:|---:|---:|---:|'
    for target in "$@"; do
        [ -f "$out/log/$target.runs" ] || continue
        awk -v t="$target" -v inputs="$(find "$out/corpus/$target" -type f | wc -l)" -v crash="$(found "$target" crash)" \
            -v leak="$(found "$target" leak)" -v slow="$(found "$target" timeout)" -v oom="$(found "$target" oom)" '
            { n += $1; s += $3 } $2 > 0 { edges = $2 }
            END { printf "| `%s` | %d | %d | %d | %d | %d | %d | %d | %.1f |\n", t, n, edges, inputs, crash, leak, slow, \
                  oom, s / 60 }' "$out/log/$target.runs"
    done
}

# libFuzzer keeps a few inputs that cover all edges; of more than fit, the largest stay, which cover most.
merge_one() { # $1: target
    rm -rf "$tmp/merged" "$tmp/kept"
    mkdir -p "$tmp/merged" "$tmp/kept" "tests/fuzz/corpus/$1"
    "$out/fuzz/$1" -set_cover_merge=1 -use_counters=0 -rss_limit_mb=$MEGABYTES -timeout=$PATIENCE "$tmp/merged" \
        "tests/fuzz/corpus/$1" "$out/corpus/$1" > "$tmp/log" 2>&1 || { tail -5 "$tmp/log"; return 1; }
    find "tests/fuzz/corpus/$1" -type f -not -name 'seed-*' -not -name 'found-*' -delete
    bytes=$(cat "tests/fuzz/corpus/$1"/* 2> /dev/null | wc -c) files=$(find "tests/fuzz/corpus/$1" -type f | wc -l)
    for f in $(find "$tmp/merged" -type f -printf '%s %p\n' | sort -rn | cut -d' ' -f2); do
        size=$(wc -c < "$f")
        [ $files -lt $MOST_FILES ] || break
        [ $((bytes + size)) -lt $MOST_BYTES ] || continue
        cp "$f" "tests/fuzz/corpus/$1/$(basename "$f" | cut -c1-16)"
        files=$((files + 1)) bytes=$((bytes + size))
    done
    echo "$1: $files inputs, $bytes bytes"
}

what=${1:-}
shift
case $what in
run)
    each=$1
    shift
    for target in "$@"; do run_one "$target" "$each"; done
    table "$@"
    for target in "$@"; do
        if [ -n "$(find "$out/found/$target" -type f 2> /dev/null)" ]; then exit 1; fi
    done
    ;;
table) table "$@" ;;
merge) for target in "$@"; do merge_one "$target" || exit 1; done ;;
*)
    echo "engine.sh: expected run, table or merge, found '$what'" >&2
    exit 2
    ;;
esac
