#!/bin/sh
# Trains every model that has pinned losses for a few steps on a few hundred real images and
# compares each step's losses with what an independent PyTorch implementation computed
# (pin_losses.py wrote the .json files). Then the promises about bits: thread counts, and a run
# stopped and resumed. Needs no PyTorch.
#
#   VMOEC=build/vmoec tests/train/run.sh
set -u
cd "$(dirname "$0")/../.." || exit 3
# shellcheck source=tests/begin.sh
. tests/begin.sh
DATA=${FASHION_MNIST:-/usr/share/datasets/fashion-mnist}
TOLERANCE=2e-4 # f32 against f64, relative; ten steps of Adam amplify rounding

if ! [ -e "$DATA/train-images-idx3-ubyte.gz" ] && ! [ -e "$DATA/train-images-idx3-ubyte" ]; then
    for f in tests/train/*.json; do echo "skip train $f: no data set in $DATA"; done
    exit 0
fi

field() { sed -n "s/^ \"$1\": //p" "$2" | tr -d '",[]'; }
# The values of a key in the step lines of a metrics.jsonl.
steps() { grep '"event": *"step"' "$2" | sed "s/.*\"$1\": *\([-+0-9.eE]*\).*/\1/" | tr '\n' ' '; }

# compare NAME KEY WANTED METRICS
compare() {
    got=$(steps "$2" "$4")
    if message=$(echo "$3 | $got" | awk -v tolerance=$TOLERANCE '{
        n = index($0, "|")
        w = split(substr($0, 1, n - 1), want, " "); g = split(substr($0, n + 1), have, " ")
        if (w == 0 || w != g) { print g " steps instead of " w; exit 1 }
        for (i = 1; i <= w; i++) {
            d = have[i] - want[i]; if (d < 0) d = -d
            if (d <= tolerance * want[i]) continue
            print "step " i ": " have[i] " instead of " want[i]
            exit 1
        }
    }'); then ok "$1"; else fail "$1" "$message"; fi
}

# train OUT JSON OPTIONS...
train() {
    out=$1 json=$2
    shift 2
    settings=
    for s in $(field set "$json"); do settings="$settings --set $s"; done
    # shellcheck disable=SC2086
    "$VMOEC" train "$(field model "$json")" --data "$T/data" --out "$out" --overwrite \
        --batch "$(field batch "$json")" \
        --seed "$(field seed "$json")" --log-every 1 --quiet $settings "$@" > "$T/log" 2>&1
}

first=
for json in tests/train/*.json; do
    name=$(basename "$json" .json)
    [ -n "$first" ] || tests/train/subset.sh "$DATA" "$T/data" "$(field images "$json")" 100
    first=${first:-$json}
    if train "$T/$name" "$json" --steps "$(field steps "$json")"; then
        compare "$name losses" loss "$(field loss "$json")" "$T/$name/metrics.jsonl"
        compare "$name objectives" objective "$(field objective "$json")" "$T/$name/metrics.jsonl"
    else
        fail "$name losses" "$(head -c 300 "$T/log")"
    fi
done

# The promises about bits, with dropout and shuffling, as the files stand.
same() { if cmp -s "$2" "$3"; then ok "$1"; else fail "$1" "differ: $(head -c 200 "$T/log")"; fi; }
epochs() { grep -c '"event": *"epoch"' "$1" 2> /dev/null; }

# steps_bits FILE: fifty steps with 1, 2 and 7 threads.
steps_bits() {
    name=$(basename "$1" .vmoe)
    for n in 1 2 7; do
        "$VMOEC" train "$1" --data "$T/data" --batch 32 --seed 9 --steps 50 --quiet --threads $n \
            --out "$T/n$n" --overwrite > "$T/log" 2>&1
    done
    for n in 2 7; do
        same "$name: 1 and $n threads give the same weights after 50 steps" \
            "$T/n1/weights.safetensors" \
            "$T/n$n/weights.safetensors"
    done
    rm -rf "$T/n1" "$T/n2" "$T/n7"
}

# bits FILE PRECISION: threads, and a run killed after its first epochs and resumed.
bits() {
    name="$(basename "$1" .vmoe) in $2"
    set -- train "$1" --precision "$2" --data "$T/data" --batch 48 --seed 3 --quiet --epochs 12
    "$VMOEC" "$@" --threads 1 --out "$T/a" --overwrite > "$T/log" 2>&1
    "$VMOEC" "$@" --threads 3 --out "$T/b" --overwrite > "$T/log" 2>&1
    same "$name: 1 and 3 threads give the same weights" "$T/a/weights.safetensors" \
        "$T/b/weights.safetensors"
    "$VMOEC" "$@" --threads 2 --out "$T/c" --overwrite > "$T/log" 2>&1 &
    pid=$!
    tries=0
    while ! [ -e "$T/c/checkpoint" ] && [ $tries -lt 600 ] && kill -0 $pid 2> /dev/null; do
        sleep 0.05
        tries=$((tries + 1))
    done
    kill -9 $pid 2> /dev/null || fail "$name: killed after its first epochs" \
        "it had ended: $(head -c 200 "$T/log")"
    wait $pid 2> /dev/null
    "$VMOEC" "$@" --threads 2 --out "$T/c" --resume > "$T/log" 2>&1
    same "$name: killed and resumed gives the same weights" "$T/a/weights.safetensors" \
        "$T/c/weights.safetensors"
    if [ "$(epochs "$T/c/metrics.jsonl")" = 12 ]; then
        ok "$name: resumed metrics have every epoch once"
    else
        fail "$name: resumed metrics have every epoch once" \
            "$(epochs "$T/c/metrics.jsonl") instead of 12"
    fi
    rm -rf "$T/a" "$T/b" "$T/c"
}
for file in models/mnist_moe.vmoe models/vmoe_fmnist.vmoe; do
    steps_bits "$file"
    bits "$file" f32
    bits "$file" bf16 # where the CPU has no bf16, f32 once more
done

# Weights from a file: the initial ones give the run that the seed gives; a run that began with
# others is killed before its first epoch ends, and resumed without the file.
set -- train models/mnist_moe.vmoe --data "$T/data" --batch 48 --quiet --epochs 4
"$VMOEC" init models/mnist_moe.vmoe --seed 3 -o "$T/start.safetensors"
"$VMOEC" "$@" --seed 3 --out "$T/a" --overwrite > "$T/log" 2>&1
"$VMOEC" "$@" --seed 3 --weights "$T/start.safetensors" --out "$T/b" --overwrite > "$T/log" 2>&1
same "initial weights from a file give the same weights" "$T/a/weights.safetensors" \
    "$T/b/weights.safetensors"
"$VMOEC" "$@" --seed 4 --weights "$T/start.safetensors" --out "$T/a" --overwrite > "$T/log" 2>&1
"$VMOEC" "$@" --seed 4 --weights "$T/start.safetensors" --out "$T/c" --overwrite > "$T/log" 2>&1 &
pid=$!
tries=0
while ! [ -e "$T/c/checkpoint" ] && [ $tries -lt 1200 ] && kill -0 $pid 2> /dev/null; do
    sleep 0.01
    tries=$((tries + 1))
done
kill -9 $pid 2> /dev/null || fail "weights from a file: killed" \
    "it had ended: $(head -c 200 "$T/log")"
wait $pid 2> /dev/null
if grep -q '"step": *0,' "$T/c/checkpoint/trainer.json"; then
    ok "weights from a file: a checkpoint before the first step"
else
    fail "weights from a file: a checkpoint before the first step" \
        "$(grep '"step"' "$T/c/checkpoint/trainer.json")"
fi
"$VMOEC" "$@" --seed 4 --out "$T/c" --resume > "$T/log" 2>&1
same "weights from a file: killed and resumed gives the same weights" "$T/a/weights.safetensors" \
    "$T/c/weights.safetensors"
rm -rf "$T/a" "$T/b" "$T/c"

# Routing by hand, then a router for experts that rest: what rests stays as it was.
values() { # FILE NAME: the bytes of a tensor
    n=$(od -An -tu8 -N8 "$1" | tr -d ' ')
    at=$(tail -c +9 "$1" | head -c "$n" | tr '}' '\n' | grep -a "\"$2\"" \
        | sed 's/.*"data_offsets": *\[\([0-9]*\), *\([0-9]*\)\].*/\1 \2/')
    tail -c +$((n + 9 + ${at% *})) "$1" | head -c $((${at#* } - ${at% *}))
}
set -- train models/mnist_manual.vmoe --data "$T/data" --batch 32 --steps 20 --quiet
"$VMOEC" "$@" --out "$T/a" --overwrite > "$T/log" 2>&1
"$VMOEC" "$@" --weights "$T/a/weights.safetensors" --set 'phase="router"' --out "$T/b" --overwrite \
    > "$T/log" 2>&1
for run in a b; do
    for weight in mixture.mlp.up.weight mixture.gate.weight; do
        values "$T/$run/weights.safetensors" classifier.$weight > "$T/$run.$weight"
    done
done
if [ -s "$T/a.mixture.mlp.up.weight" ]; then
    same "experts rest while the router learns" "$T/a.mixture.mlp.up.weight" \
        "$T/b.mixture.mlp.up.weight"
else
    fail "experts rest while the router learns" "no weights: $(head -c 200 "$T/log")"
fi
if [ -s "$T/a.mixture.gate.weight" ] \
    && ! cmp -s "$T/a.mixture.gate.weight" "$T/b.mixture.gate.weight"
then
    ok "the router learns while experts rest"
else
    fail "the router learns while experts rest" "$(head -c 200 "$T/log")"
fi
rm -rf "$T/a" "$T/b"

# Every router of mixtures.vmoe trains, and gives the same bits with 1 and 3 threads. Without
# experts the same weights are worth something else.
for router in none dense expert_choice capacity priority soft cosine l2 jitter gumbel vmoe_noise \
    vmoe_priority \
    topk_softmax softmax_topk softmax_topk_renorm sigmoid_topk_renorm dynamic uniform; do
    set -- train models/mnist_routers.vmoe --data "$T/data" --batch 32 --steps 10 --quiet \
        --set router=$router --set top_k=2 --set expert_drop=0.3
    "$VMOEC" "$@" --threads 1 --out "$T/a" --overwrite > "$T/log" 2>&1
    "$VMOEC" "$@" --threads 3 --out "$T/b" --overwrite > "$T/log" 2>&1
    same "router $router: 1 and 3 threads give the same weights" "$T/a/weights.safetensors" \
        "$T/b/weights.safetensors"
done
for off in false true; do
    "$VMOEC" eval models/mnist_routers.vmoe --data "$T/data" --weights "$T/a/weights.safetensors" \
        --set router=uniform \
        --set experts_off=$off --anyway --json > "$T/eval.$off" 2> "$T/log"
done
if grep -q '"loss"' "$T/eval.true" && ! cmp -s "$T/eval.true" "$T/eval.false"; then
    ok "evaluation without experts"
else
    fail "evaluation without experts" "$(head -c 200 "$T/log")"
fi
rm -rf "$T/a" "$T/b"

# Frozen weights: no optimizer state, and a run of two epochs is a run of one, resumed.
set -- train tests/train/frozen.vmoe --data "$T/data" --quiet
"$VMOEC" "$@" --epochs 2 --out "$T/a" --overwrite > "$T/log" 2>&1
"$VMOEC" "$@" --epochs 1 --out "$T/b" --overwrite > "$T/log" 2>&1
"$VMOEC" "$@" --epochs 2 --out "$T/b" --resume > "$T/log" 2>&1
same "frozen weights: resumed gives the same weights" "$T/a/weights.safetensors" \
    "$T/b/weights.safetensors"
state=$(head -c 2000 "$T/a/checkpoint/state.safetensors" | tr ',' '\n' | grep -ao 'adam[.][^"]*' \
    | tr '\n' ' ')
kept="adam.m.m.g.weight adam.m.m.logits.bias adam.m.m.logits.weight"
if [ "$state" = "$kept $(echo "$kept" | sed 's/adam\.m/adam.v/g') " ]
then
    ok "frozen weights: have no optimizer state"
else
    fail "frozen weights: have no optimizer state" "$state"
fi

# Weights that are each other's gradients: no update sees another's.
"$VMOEC" train tests/train/product.vmoe --data "$T/data" --quiet --steps 3 --out "$T/a" \
    --overwrite > "$T/log" 2>&1
if why=$(python3 tests/train/product.py "$T/a/weights.safetensors" 3 2>&1); then
    ok "updates of weights that read each other"
else fail "updates of weights that read each other" "$why"; fi

# The state of another optimizer is in checkpoints as well, of trained weights only.
set -- train tests/train/sgd.vmoe --data "$T/data" --quiet
"$VMOEC" "$@" --epochs 2 --out "$T/a" --overwrite > "$T/log" 2>&1
"$VMOEC" "$@" --epochs 1 --out "$T/b" --overwrite > "$T/log" 2>&1
"$VMOEC" "$@" --epochs 2 --out "$T/b" --resume --threads 3 > "$T/log" 2>&1
same "sgd: resumed gives the same weights" "$T/a/weights.safetensors" "$T/b/weights.safetensors"
same "sgd: resumed gives the same state" "$T/a/checkpoint/state.safetensors" \
    "$T/b/checkpoint/state.safetensors"
state=$(head -c 2000 "$T/a/checkpoint/state.safetensors" | tr ',' '\n' | grep -ao 'sgd[.][^"]*' \
    | tr '\n' ' ')
if [ "$state" = "sgd.momentum.m.g.weight sgd.momentum.m.logits.bias sgd.momentum.m.logits.weight " ]
then ok "sgd: state of trained weights"; else fail "sgd: state of trained weights" "$state"; fi

# States of the language, kept and updated beside the weights: threads, a run resumed, evaluation
# with
# what training left, and states that are frozen.
S=tests/train/states.vmoe
steps_bits $S
set -- train $S --data "$T/data" --quiet
"$VMOEC" "$@" --epochs 3 --out "$T/a" --overwrite > "$T/log" 2>&1
"$VMOEC" "$@" --epochs 1 --out "$T/b" --overwrite > "$T/log" 2>&1
"$VMOEC" "$@" --epochs 3 --out "$T/b" --resume --threads 3 > "$T/log" 2>&1
same "states: resumed gives the same weights and states" "$T/a/weights.safetensors" \
    "$T/b/weights.safetensors"
set -- "$@" --epochs 1
"$VMOEC" "$@" --out "$T/a" --overwrite > "$T/log" 2>&1
"$VMOEC" eval $S --data "$T/data" --weights "$T/a/weights.safetensors" --json > "$T/eval" \
    2>> "$T/log"
want=$(sed -n 's/.*"test_loss":\([0-9.]*\).*/\1/p' "$T/a/metrics.jsonl" | tail -n 1)
got=$(sed -n 's/.*"loss":\([0-9.]*\).*/\1/p' "$T/eval")
if [ -n "$want" ] && [ "$want" = "$got" ]; then ok "states: evaluated as training left them"; else
    fail "states: evaluated as training left them" "loss $got instead of $want"
fi
"$VMOEC" "$@" --set frozen=true --out "$T/b" --overwrite > "$T/log" 2>&1
"$VMOEC" init $S --seed 4 -o "$T/start.safetensors"
for name in pixels.mean pixels.var pixels.scale h.var h.mean logits.followed.average; do
    values "$T/b/weights.safetensors" m.$name > "$T/b.$name"
    values "$T/start.safetensors" m.$name > "$T/start.$name"
    [ -s "$T/b.$name" ] || fail "states: $name" "is not there: $(head -c 200 "$T/log")"
done
for name in pixels.mean pixels.var pixels.scale h.var; do
    same "frozen: $name stays as it starts" "$T/b.$name" "$T/start.$name"
done
for name in h.mean logits.followed.average; do
    if cmp -s "$T/b.$name" "$T/start.$name"; then
        fail "not frozen: $name changes" "it is the same"
    else
        ok "not frozen: $name changes"
    fi
done
state=$(head -c 4000 "$T/b/checkpoint/state.safetensors" | tr ',' '\n' \
    | grep -ao 'adam[.]m[.][^"]*' | tr '\n' ' ')
kept=$(printf 'adam.m.m.%s ' h.bias h.linear.bias h.linear.weight h.scale logits.bias \
    logits.followed.gain logits.weight)
if [ "$state" = "$kept" ]
then ok "states: have no optimizer state"; else fail "states: have no optimizer state" "$state"; fi
rm -rf "$T/a" "$T/b"
exit $failed
