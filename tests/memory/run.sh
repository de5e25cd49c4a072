#!/bin/sh
# What `vmoec info` says about memory is what training takes, and --mem-budget keeps its word: the
# same weights from less memory, or a refusal before the first step. Real images: Fashion-MNIST,
# also in MNIST's place.
#
#   VMOEC=build/vmoec tests/memory/run.sh
set -u
cd "$(dirname "$0")/../.." || exit 3
VMOEC=${VMOEC:-build/vmoec}
[ -x "$VMOEC" ] || { echo "FAIL setup cannot run $VMOEC"; exit 3; }
case $(file -b "$VMOEC" 2> /dev/null; nm "$VMOEC" 2> /dev/null | grep -m 1 __asan_init) in
*__asan_init*) echo "skip memory of a build whose checks take memory of their own"; exit 0 ;;
esac
DATA=/usr/share/datasets/fashion-mnist
ls $DATA/train-images* > /dev/null 2>&1 || { echo "skip memory there is no Fashion-MNIST"; exit 0; }
T=$(mktemp -d) || exit 3
trap 'rm -rf "$T"' EXIT INT TERM

failed=0
check() { # NAME CONDITION DETAILS: the condition is for awk
    if awk "BEGIN { exit !($2) }"; then
        echo "ok $1"
    else
        echo "FAIL $1: $3"
        failed=1
    fi
}

number() { sed -n "s/.*\"$1\": *\([0-9.e+-]*\).*/\1/p" "$2"; }

# trained MODEL OUT OPTIONS..: a short run; what it took, in bytes.
trained() {
    model=$1 out=$2
    shift 2
    timeout 200 "$VMOEC" train "models/$model.vmoe" --data $DATA --threads 2 --steps 4 --quiet \
        --out "$T/$out" \
        "$@" > "$T/log" 2>&1 || { cat "$T/log" >&2; return 1; }
    peak_of "$T/log"
}
peak_of() { # what a run says of its memory, in bytes
    awk '/^memory / { unit["KiB"] = 1024; unit["MiB"] = 1048576; unit["GiB"] = 1073741824
                      printf "%.0f", $2 * unit[$3] }' "$1"
}

for model in vmoe_fmnist mnist_moe; do
    "$VMOEC" info "models/$model.vmoe" --data $DATA --threads 2 --json > "$T/info" || failed=1
    peak=$(number peak "$T/info")
    took=$(trained $model $model.free)
    check "$model: info's peak is what training takes, within 2 %" \
        "$took > 0.98 * $peak && $took < 1.02 * $peak" \
        "predicted $peak, took $took"

    # Half of what recomputation can save.
    work=$(number activations "$T/info")
    budget=$(awk "BEGIN { printf \"%d\", $peak - $work / 4 }")
    took=$(trained $model $model.tight --mem-budget "$budget")
    check "$model: stays within a budget" "$took > 0 && $took < 1.02 * $budget" \
        "budget $budget, took $took"
    if cmp -s "$T/$model.free/weights.safetensors" "$T/$model.tight/weights.safetensors"; then
        echo "ok $model: the budget does not change a bit of the weights"
    else
        echo "FAIL $model: other weights with a budget"
        failed=1
    fi
done

# The same of a program that is built to stay within a budget.
programs() { # NAME: a short run of the program; what it took, in bytes
    timeout 200 "$T/$1" train --data $DATA --threads 2 --steps 4 --quiet --out "$T/built.$1" \
        > "$T/log" 2>&1 || { cat "$T/log" >&2; return 1; }
    peak_of "$T/log"
}
"$VMOEC" build models/mnist_moe.vmoe --data $DATA -o "$T/free" > "$T/log" 2>&1 || cat "$T/log"
free=$(programs free)
tight=$(awk "BEGIN { printf \"%d\", $free - $work / 4 }")
"$VMOEC" build models/mnist_moe.vmoe --data $DATA -o "$T/tight" --mem-budget "$tight" \
    > "$T/log" 2>&1 || cat "$T/log"
check "a program that is built within a budget says what that costs" \
    "$(grep -c 'memory budget .* recomputations' "$T/log") == 1" "$(head -c 300 "$T/log")"
took=$(programs tight)
check "it stays within the budget" "$took > 0 && $took < 1.02 * $tight && $took < 0.99 * $free" \
    "budget $tight, took $took, without $free"
if cmp -s "$T/mnist_moe.free/weights.safetensors" "$T/built.tight/weights.safetensors"; then
    echo "ok the budget does not change a bit of its weights"
else
    echo "FAIL a program within a budget: other weights"
    failed=1
fi

# The last prediction: what was recomputed is said, and costs arithmetic.
"$VMOEC" info models/mnist_moe.vmoe --data $DATA --threads 2 --json --mem-budget "$budget" \
    > "$T/info"
check "info says what a budget costs" \
    "$(number recomputed "$T/info") > 0 && $(number extra_flops "$T/info") >= 0" \
    "$(cat "$T/info")"

# A search that listed the steps for every plan, or compared every block with every other, would
# take a minute.
(ulimit -t 25 && "$VMOEC" info models/vit_s8.vmoe --set depth=64 \
    --threads 2 --json --mem-budget 2100M) > "$T/info" 2>&1
check "a budget for a deep model is soon kept" "$(number recomputed "$T/info") + 0 > 64" \
    "$(tail -c 300 "$T/info")"

"$VMOEC" train models/vmoe_fmnist.vmoe --data $DATA --steps 1 --mem-budget 20M --out "$T/refused" \
    > "$T/log" 2>&1
status=$?
check "a budget that is too small is refused" "$status == 3" "exit status $status"
check "the refusal says what is needed" \
    "$(grep -c -e 'is not enough: the least is' -e 'optimizer state' "$T/log") == 2" \
    "$(cat "$T/log")"
if [ -e "$T/refused" ]; then
    echo "FAIL a refused run leaves nothing behind"
    failed=1
else
    echo "ok a refused run leaves nothing behind"
fi
exit $failed
