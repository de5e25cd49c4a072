#!/bin/sh
# Programs for another machine: `vmoec build --target aarch64-linux-gnu`, run by qemu. Losses are
# those of an f64 reference, gradients and trained weights those of this machine but for rounding,
# and bits do not depend on threads.
#
#   VMOEC=build/vmoec tests/build_arm/run.sh
#
# Skipped where the cross compiler, qemu or the machine's libraries are not installed
# (docs/trainers_arm.md); KIT_ROOT says where libraries are that are not.
set -u
cd "$(dirname "$0")/../.." || exit 3
# shellcheck source=tests/begin.sh
. tests/begin.sh
TARGET=aarch64-linux-gnu
SYSTEM=/usr/$TARGET # its C library, as cross compilers come with it
WEIGHTS=1e-5        # relative, of weights after some steps
GRADIENTS=5e-5      # of f32 sums in another order
LOSSES=1e-5         # f32 against f64

# ---- what it takes -------------------------------------------------------------------------------

skip() {
    echo "skip build_arm $1"
    exit 0
}
for tool in $TARGET-gcc $TARGET-ar qemu-aarch64 make python3; do
    command -v $tool > /dev/null 2>&1 || skip "no $tool"
done
for lib in jansson xxhash z; do
    [ -e "${KIT_ROOT:-}/usr/lib/$TARGET/lib$lib.a" ] || skip "no lib$lib.a for $TARGET"
done
if ! make --no-print-directory BUILD="$(dirname "$VMOEC")" kit TARGET=$TARGET \
    KIT_ROOT="${KIT_ROOT:-}" > /dev/null; then
    echo 'FAIL kit: it cannot be built'
    exit 1
fi
echo 'ok kit'

cp tests/build_arm/conv.vmoe tests/build_arm/router.vmoe "$T"
sed -e 's/optimizer = .*/optimizer = sgd(momentum = 0)/' \
    -e 's/schedule = .*/schedule = constant(peak = 0.05)/' tests/cli/tiny.vmoe > "$T/tiny.vmoe"
cp tests/cli/tiny.vmoe "$T/adam.vmoe"
cd "$T" || exit 3
dataset data
near() { # NAME TOLERANCE A B [START]
    name=$1
    shift
    if found=$(python3 "$ROOT/tests/build_arm/compare.py" "$@" 2>&1); then ok "$name: $found"; else
        fail "$name" "$found"; fi
}

# ---- training ------------------------------------------------------------------------------------

for model in tiny conv router adam; do
    want 0 'for neon' "build $model" "$VMOEC" build $model.vmoe --target $TARGET -o $model.arm
    for threads in 1 2 7; do
        want 0 'after 10 steps' "$model trains, $threads threads" \
            qemu-aarch64 -L $SYSTEM ./$model.arm train --out $model$threads --quiet \
            --threads $threads
        same 'the same bits' ${model}1/weights.safetensors $model$threads/weights.safetensors
    done
    [ $model = adam ] && continue # divides what is nothing but rounding by itself
    want 0 '' 'train here' "$VMOEC" train $model.vmoe --out $model.here --quiet
    near 'the same weights' $WEIGHTS $model.here/weights.safetensors ${model}1/weights.safetensors
    want 0 '' 'initial weights' "$VMOEC" init $model.vmoe -o $model.start
    want 0 '' 'one step' qemu-aarch64 -L $SYSTEM ./$model.arm train --out $model.one --quiet \
        --steps 1
    want 0 '' 'one step here' "$VMOEC" train $model.vmoe --out $model.one.here --quiet --steps 1
    near 'the same gradients' $GRADIENTS $model.one.here/weights.safetensors \
        $model.one/weights.safetensors $model.start
    want 0 '' 'which are those of the f64 reference' "$VMOEC" verify $model.vmoe
done

# ---- what else a program does --------------------------------------------------------------------

numbers() { grep -oE '"(loss|accuracy)": ?[-0-9.e+]*' out | grep -oE '[-0-9.e+]*$' | tr '\n' ' '; }
want 0 'Machine:.*AArch64' 'it is for the other machine' env LC_ALL=C readelf -h tiny.arm
W=tiny.here/weights.safetensors
want 0 'neon' 'info' qemu-aarch64 -L $SYSTEM ./tiny.arm info
want 0 '^step  ' 'bench' qemu-aarch64 -L $SYSTEM ./tiny.arm bench --steps 3
want 0 '' 'eval here' "$VMOEC" eval tiny.vmoe --weights $W --json
here=$(numbers)
want 0 '' 'build with weights inside and no library outside' \
    "$VMOEC" build tiny.vmoe --target $TARGET --static --weights $W -o alone.arm
want 0 '' 'it evaluates' qemu-aarch64 ./alone.arm eval --json
there=$(numbers)
if echo "$here $there" | awk '{ n = NF / 2; if (n < 2) exit 1
    for (i = 1; i <= n; i++) { d = $i - $(i + n); if (d < 0) d = -d; if (d > 1e-5 * $i) exit 1 } }'
then ok 'to the same numbers'; else fail 'eval' "$here here, $there there"; fi
want 2 'instructions: "[a-z0-9]*" there, "neon" here' 'a run of this machine is not gone on with' \
    qemu-aarch64 -L $SYSTEM ./tiny.arm train --out tiny.here --resume --quiet

sed 's/epochs = 2/epochs = 30/' tiny.vmoe > long.vmoe
want 0 '' 'build a longer run' "$VMOEC" build long.vmoe --target $TARGET -o long.arm
want 0 '' 'in one go' qemu-aarch64 -L $SYSTEM ./long.arm train --out whole --quiet
qemu-aarch64 -L $SYSTEM ./long.arm train --out parts --quiet --threads 1 > out 2> log < /dev/null &
pid=$!
for _ in $(seq 1000); do
    [ -e parts/checkpoint ] && break
    sleep 0.01
done
kill -INT $pid
wait $pid
want 0 '' 'interrupted and resumed' \
    qemu-aarch64 -L $SYSTEM ./long.arm train --out parts --quiet --resume --threads 2
same 'the same weights' whole/weights.safetensors parts/weights.safetensors

# ---- bad input -----------------------------------------------------------------------------------

want 2 '--target is one of x86_64-linux-gnu, aarch64-linux-gnu, wasm32, not' 'an unknown machine' \
    "$VMOEC" build tiny.vmoe -o no --target z80-linux-gnu
want 2 '--cpu is one of armv8-a for aarch64-linux-gnu, not .native' 'a CPU of another machine' \
    "$VMOEC" build tiny.vmoe -o no --target $TARGET --cpu native
want 2 '--cpu is one of native, x86-64-v3, .*, not .armv8-a' 'and the other way round' \
    "$VMOEC" build tiny.vmoe -o no --cpu armv8-a
want 3 "cannot run the C compiler 'no-such-cc'" 'no C compiler' \
    env CC=no-such-cc "$VMOEC" build tiny.vmoe -o no --target $TARGET
mkdir -p bare
cp "$VMOEC" "$(dirname "$VMOEC")/vmoec-llvm.so" bare
want 3 "kit-$TARGET', is not there: .make kit TARGET=$TARGET" 'no kit' \
    bare/vmoec build tiny.vmoe -o no --target $TARGET
if [ -e no ]; then fail 'a failed build writes nothing' "$(ls -l no)"; else
    ok 'a failed build writes nothing'; fi

# ---- losses of an f64 reference ------------------------------------------------------------------

DATA=${FASHION_MNIST:-/usr/share/datasets/fashion-mnist}
field() { sed -n "s/^ \"$1\": //p" "$2" | tr -d '",[]'; }
pinned() { # NAME STEPS: steps of Adam beside those of tests/train
    json=$ROOT/tests/train/$1.json
    settings=
    for s in $(field set "$json"); do settings="$settings --set $s"; done
    "$ROOT/tests/train/subset.sh" "$DATA" pictures "$(field images "$json")" 100
    batch=$(field batch "$json")
    sed "s/batch = [0-9]*/batch = $batch/" "$ROOT/$(field model "$json")" > "$1.vmoe"
    # shellcheck disable=SC2086
    want 0 'for neon' "build $1" "$VMOEC" build "$1.vmoe" --data pictures --target $TARGET \
        -o "$1.arm" $settings
    want 0 '' "$1 trains" qemu-aarch64 -L $SYSTEM "./$1.arm" train --data pictures --out "$1.run" \
        --seed "$(field seed "$json")" --log-every 1 --quiet --steps "$2"
    found=$(grep '"event": *"step"' "$1.run/metrics.jsonl" |
        sed 's/.*"loss": *\([-+0-9.eE]*\).*/\1/' | tr '\n' ' ')
    wanted=$(field loss "$json" | cut -d ' ' -f "1-$2")
    if message=$(echo "$wanted $found" | awk -v tolerance=$LOSSES -v n="$2" '{
        if (NF != 2 * n) { print NF " losses"; exit 1 }
        for (i = 1; i <= n; i++) {
            d = $i - $(i + n); if (d < 0) d = -d; d /= $i
            if (d > most) most = d
        }
        print most; exit most > tolerance
    }'); then ok "$1 has the losses of the reference: $message"; else
        fail "$1 losses" "$message"; fi
}
if [ -e "$DATA/train-images-idx3-ubyte.gz" ] || [ -e "$DATA/train-images-idx3-ubyte" ]; then
    pinned mnist_moe 3 # a step takes 15 s under qemu
else
    echo "skip mnist_moe: no data set in $DATA"
fi
exit $failed
