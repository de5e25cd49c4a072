#!/bin/sh
# The runtime under ThreadSanitizer: its tests, and training with threads that compute and threads
# that prepare, by vmoec and by what is built the same way. Kernels are LLVM's, or the tests' own in
# C, which are looked at as well. Ends with the number of reports, which has to be none; a race made
# for the purpose shows that races are seen.
#
#   BUILD=build-tsan tests/hardening/threads.sh [PATTERN..]     built by make test-tsan
#
# clang's OpenMP tells ThreadSanitizer of forks, joins and barriers through its Archer.
set -u
cd "$(dirname "$0")/../.." || exit 3
BUILD=$(realpath "${BUILD:-build-tsan}")
ALONE=$BUILD/tests/alone VMOEC=$BUILD/vmoec
for need in "$ALONE" "$VMOEC"; do
    [ -x "$need" ] || { echo "FAIL setup there is no $need: make test-tsan"; exit 3; }
done
VMOEC_MODELS=$PWD/models
OMP_TOOL_LIBRARIES=$(clang-19 -print-file-name=libarcher.so)
# libomp's own code is not compiled for it: what it does inside is not looked at
TSAN_OPTIONS="ignore_noninstrumented_modules=1 ${TSAN_OPTIONS:-}"
T=$(mktemp -d) || exit 3
VMOEC_CACHE_DIR=$T/cache
export VMOEC_MODELS OMP_TOOL_LIBRARIES TSAN_OPTIONS VMOEC_CACHE_DIR
unset VMOE_DATA OMP_NUM_THREADS
trap 'rm -rf "$T"' EXIT
trap 'exit 3' INT TERM
failed=0
ok() { echo "ok $1"; }
fail() {
    echo "FAIL $1 $2" | tr '\n' ' '
    echo
    failed=1
}
: > "$T/all"

"$ALONE" --race > "$T/log" 2>&1
status=$?
if [ $status -eq 66 ] && grep -q 'ThreadSanitizer: data race' "$T/log"; then
    ok 'a race is seen'
else
    fail 'a race is seen' "exit status $status: $(head -c 300 "$T/log")"
fi

# In the test of no memory ThreadSanitizer itself finds none, and ends it.
echo 'skip runtime_image_damage/out_of_memory_is_no_damage: it takes what the sanitizer needs'
"$ALONE" '!*/out_of_memory_is_no_damage' "$@" > "$T/log" 2>&1 || failed=1
grep -E '^(ok|FAIL|skip) ' "$T/log"
cat "$T/log" >> "$T/all"
[ -s "$T/log" ] || fail 'tests of the runtime' 'ran none'

# run NAME COMMAND..: it ends well and nothing is reported
run() {
    name=$1
    shift
    "$@" > "$T/log" 2>&1 < /dev/null
    status=$?
    cat "$T/log" >> "$T/all"
    if [ $status -eq 0 ]; then ok "$name"; else
        fail "$name" "exit status $status: $(grep -m 1 -A 4 WARNING "$T/log" || tail -n 2 "$T/log")"
    fi
}
if [ $# -eq 0 ]; then
    python3 tests/faults/data.py "$T" --train 20 || fail 'setup' 'cannot make data'
    cd "$T" || exit 3
    for model in linear moe; do
        for threads in 1 2 3; do
            run "train $model with $threads threads" "$VMOEC" train $model.vmoe --data data \
                --threads $threads --workers $((threads - 1)) --out "$model-$threads" --quiet
        done
        if cmp -s $model-1/weights.safetensors $model-3/weights.safetensors; then
            ok "$model: the same bits"
        else
            fail "$model: the same bits" 'other weights with three threads'
        fi
        run "train $model on" "$VMOEC" train $model.vmoe --data data --threads 2 --workers 2 \
            --out $model-2 --resume --epochs 3 --quiet
        run "eval $model" "$VMOEC" eval $model.vmoe --data data --threads 3 \
            --weights $model-2/weights.safetensors --confusion
        run "predict by $model" "$VMOEC" predict $model.vmoe --threads 3 \
            --weights $model-2/weights.safetensors data/test
    done
fi
reports=$(grep -c '^WARNING: ThreadSanitizer' "$T/all")
if [ "$reports" -eq 0 ]; then ok 'ThreadSanitizer reports nothing'; else
    fail 'ThreadSanitizer reports nothing' "$reports reports: $(grep -m 3 '^SUMMARY' "$T/all")"
fi
exit $failed
