#!/bin/sh
# What routing costs as the number of experts grows: vmoec bench for E = 4 .. 256 at the model's k,
# equal loads and 90 % of the tokens with one first choice. Prints a table in Markdown.
#
#   bench/overhead.sh [MODEL [BATCH [E...]]]     default: models/vmoe_fmnist.vmoe, 128 images, 4 8
# .. 256
#
# THREADS (2); RUN: a command in front of every measurement, to have the machine alone. Columns:
# step, the whole step; no update, the step without optimizer updates, and in brackets against the
# first row; dense, the same with plain layers on as many rows; overhead, no update over dense - 1,
# both timed in turn in one run.
cd "$(dirname "$0")/.." || exit 3
VMOEC=${VMOEC:-build/vmoec} THREADS=${THREADS:-2}
MODEL=${1:-models/vmoe_fmnist.vmoe} BATCH=${2:-128}
if [ $# -gt 2 ]; then shift 2; else set -- 4 8 16 32 64 128 256; fi

number() { # KEY: its value in the JSON object on stdin
    sed "s/.*\"$1\": *\([-0-9.e]*\).*/\1/"
}
echo "$MODEL, $BATCH images per step, $THREADS threads"
echo
echo '| experts | routing | fullest expert | step ms | no update ms | dense ms | moe_overhead |'
echo '|---:|---|---:|---:|---:|---:|---:|'
for routing in uniform skew=0.9; do
    first=
    for experts; do
        # shellcheck disable=SC2086 # RUN is a command with its arguments
        out=$($RUN "$VMOEC" bench --json "$MODEL" --batch "$BATCH" --threads "$THREADS" \
            --routing "$routing" --set experts="$experts") || exit
        row=$(for key in expert_load_max step_ms no_update_ms dense_no_update_ms moe_overhead; do
            echo "$out" | number $key
        done | tr '\n' ' ')
        [ -n "$first" ] || first=$(echo "$out" | number no_update_ms)
        echo "$row" | awk -v E="$experts" -v how="$routing" -v first="$first" '{
            printf "| %d | %s | %.2f x mean | %.2f | %.2f (%.2f x) | %.2f | %.1f %% |\n",
                E, how, $1, $2, $3, $3 / first, $4, 100 * $5 }'
    done
done
