#!/bin/sh
# Reruns the trainings and comparisons behind docs/performance.md and prints what they print; `make
# bench` measures times. Takes about 10 minutes on a quiet machine with 2 cores.
#
#   bench/figures.sh [OUT]        OUT: folder for training runs (default runs/figures)
#
# VMOE_DATA/mnist must hold MNIST's IDX files for the mnist_moe part; without them it is skipped and
# said so. PYTHON: an interpreter with PyTorch for the comparison of gradients; skipped when it is
# not set.
set -u
cd "$(dirname "$0")/.." || exit 3
VMOEC=${VMOEC:-build/vmoec}
OUT=${1:-runs/figures}
[ -x "$VMOEC" ] || { echo "cannot run $VMOEC: make build"; exit 3; }

title() { printf '\n## %s\n' "$*"; }

title "inference, 2 threads"
for model in mnist_moe vmoe_fmnist deit_ti_moe vit_s8; do
    for batch in 1 32; do
        "$VMOEC" bench models/$model.vmoe --mode infer --batch $batch --threads 2 \
            | sed -n '1p;/^latency/p;/^useful/p'
    done
done
title "vmoe_fmnist, 5 epochs"
"$VMOEC" train models/vmoe_fmnist.vmoe --out "$OUT/vmoe_fmnist" 2>&1 \
    | grep -E '^epoch . +train|^test'
title "mnist_moe, 10 epochs, seeds 0 to 5"
if [ -e "${VMOE_DATA:-}/mnist/train-images-idx3-ubyte.gz" ]; then
    for seed in 0 1 2 3 4 5; do
        echo "seed $seed"
        "$VMOEC" train models/mnist_moe.vmoe --seed $seed --out "$OUT/mnist_moe.$seed" 2>&1 |
            grep -E '^epoch (1|2|5|10) +train|^test'
    done
else
    echo "skipped: no MNIST in VMOE_DATA"
fi
title "bits: weights after 50 steps with 1, 2 and 7 threads"
for threads in 1 2 7; do
    "$VMOEC" train models/vmoe_fmnist.vmoe --steps 50 --threads $threads --quiet \
        --out "$OUT/bits.$threads" > /dev/null 2>&1
    sha256sum "$OUT/bits.$threads/weights.safetensors"
done
title "gradients against PyTorch"
if [ -n "${PYTHON:-}" ]; then
    "$PYTHON" tests/train/compare_grad.py --vmoec "$VMOEC" --batch 64 | grep -E '^ok|^FAIL|route'
else
    echo "skipped: PYTHON is not set"
fi
