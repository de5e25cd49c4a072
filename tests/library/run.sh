#!/bin/sh
# vmoec as a library: programs that include its one header and link libvmoec.a.
#
#   BUILD=build tests/library/run.sh
set -u
cd "$(dirname "$0")/../.." || exit 3
BUILD=$(realpath "${BUILD:-build}")
export BACKEND="$BUILD/vmoec-llvm.so"
for program in example together memory; do
    [ -x "$BUILD/tests/library-$program" ] \
        || { echo "FAIL library there is no $program: make tests"; exit 3; }
done
T=$(mktemp -d) || exit 3
trap 'rm -rf "$T"' EXIT INT TERM
failed=0
ok() { echo "ok library: $1"; }
fail() {
    echo "FAIL library: $1: $2"
    failed=1
}

# ---- 70 and 21 images of 8 x 8 pixels ------------------------------------------------------------

be32() {
    for x; do
        # shellcheck disable=SC2059
        printf "$(printf '\\%03o\\%03o\\%03o\\%03o' $((x >> 24 & 255)) $((x >> 16 & 255)) $((x >> 8 & 255)) $((x & 255)))"
    done
}
mkdir "$T/data"
for split in train:70 t10k:21; do
    n=${split#*:}
    { be32 2051 "$n" 8 8; yes 'some pixels, which need no meaning' | head -c $((n * 64)); } \
        > "$T/data/${split%:*}-images-idx3-ubyte"
    { be32 2049 "$n"; yes 0123 | tr -d '\n' | head -c "$n" | tr '0-3' '\0-\3'; } \
        > "$T/data/${split%:*}-labels-idx1-ubyte"
done
F=tests/cli/tiny.vmoe

# ---- the example of docs/library.md --------------------------------------------------------------

awk '/^```c$/ { on = 1; next } /^```$/ { on = 0 } on' docs/library.md > "$T/page.c"
if cmp -s "$T/page.c" tests/library/example.c; then
    ok 'the example of docs/library.md is the one that is tried here'
else
    fail 'the example of docs/library.md' \
        "it is not tests/library/example.c: $(diff "$T/page.c" tests/library/example.c | head -n 2)"
fi
cp "$BUILD/tests/library-example" "$T/example" # the code generator lies beside it
ln -s "$BACKEND" "$T/vmoec-llvm.so"
if "$T/example" $F "$T/data" "$T/run" > "$T/out" 2> "$T/log" && grep -q '^tiny: accuracy 0\.[0-9]* on 21 images after 10 steps$' "$T/out" && [ ! -s "$T/log" ]; then
    ok 'the example'
else
    fail 'the example' "$(cat "$T/out" "$T/log" | head -c 300)"
fi
printf 'model m(x: f32[B, 4]) {\n  linear(x, 3\n}\n' > "$T/wrong.vmoe"
"$T/example" "$T/wrong.vmoe" "$T/data" "$T/wrong" > "$T/out" 2> "$T/log"
if [ $? -eq 1 ] && grep -q 'wrong.vmoe:[0-9]*:[0-9]*: error: ' "$T/log" && grep -q '^example: ' "$T/log" && [ ! -s "$T/out" ]; then
    ok 'a mistake is a value'
else
    fail 'a mistake is a value' "$(cat "$T/out" "$T/log" | head -c 300)"
fi

# ---- two at once ---------------------------------------------------------------------------------

together() { # MODE OUT
    mkdir -p "$T/$2"
    timeout 300 "$BUILD/tests/library-together" $F "$T/data" "$T/$2" "$1" > "$T/log" 2>&1
}
if together 0 apart && together 1 apart && together both joint; then
    for i in 0 1; do
        if cmp -s "$T/apart/$i/weights.safetensors" "$T/joint/$i/weights.safetensors"; then
            ok "run $i of two at once has the bits that it has alone"
        else
            fail "run $i of two at once" 'its weights are others than alone'
        fi
        if cmp -s "$T/apart/$i/weights.safetensors" "$T/apart/$i.again/weights.safetensors"; then
            ok "run $i again with the same handle"
        else
            fail "run $i again with the same handle" 'its weights are others'
        fi
    done
    rm -rf "$T/joint/0/checkpoint"
    if together resume joint && grep -q '^1 .*checkpoint is not there: going on from' "$T/log" && cmp -s "$T/apart/0/weights.safetensors" "$T/joint/0/weights.safetensors"; then
        ok 'a warning of a run is a value'
    else
        fail 'a warning of a run is a value' "$(head -c 300 "$T/log")"
    fi
    if cmp -s "$T/apart/0/weights.safetensors" "$T/apart/1/weights.safetensors"; then
        fail 'two runs' 'they are one and the same'
    fi
else
    fail 'two runs' "$(head -c 300 "$T/log")"
fi

# ---- memory --------------------------------------------------------------------------------------

if nm "$BUILD/tests/library-memory" 2> /dev/null | grep -q -m 1 __asan_init; then
    echo 'skip library: memory that is not there: a sanitizer has an allocator of its own'
else
    export CACHE="$T/cache"
    for what in open train; do
        # shellcheck disable=SC2046
        timeout 600 "$BUILD/tests/library-memory" $what $F \
            $([ $what = open ] || echo "$T/data $T/memory") > "$T/out" 2> "$T/log"
        status=$?
        if [ $status -eq 0 ]; then
            ok "memory that is not there: $what, $(cat "$T/out")"
        else
            fail "memory that is not there: $what" \
                "exit status $status, $(cat "$T/out") $(head -n 5 "$T/log")"
        fi
    done
fi

# ---- its names -----------------------------------------------------------------------------------

# shellcheck disable=SC2046
odd=$(nm $(find "$BUILD/obj/driver/session" -name '*.o') 2> /dev/null | awk '$2 ~ /^[TDBRV]$/ && $3 !~ /^(vmoec|session)_/ { print $3 }')
if [ -z "$odd" ]; then
    ok 'its names begin with vmoec_ or session_'
else
    fail 'its names begin with vmoec_ or session_' "$odd"
fi
exit $failed
