#!/bin/sh
# The same bits from release to release: trains three models and compares their weights with those
# written down in pins.txt, for every precision and instruction set of this machine. A machine that
# has a set whose values nobody has written down yet prints them and counts as skipped.
#
#   VMOEC=build/vmoec tests/bits/run.sh
set -u
cd "$(dirname "$0")/../.." || exit 3
# shellcheck source=tests/begin.sh
. tests/begin.sh

# runs_on SET PRECISION: whether this machine has both
runs_on() {
    VMOEC_ISA=$1 "$VMOEC" init tests/cli/tiny.vmoe -o "$T/probe" > /dev/null 2>&1 &&
        case $1 in
        avx2) [ "$2" = f32 ] && grep -q -w -m1 avx2 /proc/cpuinfo ;;
        avx512) grep -q -w -m1 "$([ "$2" = f32 ] && echo avx512dq || echo avx512_bf16)" \
            /proc/cpuinfo ;;
        esac
}

for model in vmoe_fmnist mnist_moe cifar10_moe; do
    for kind in "f32 avx2" "f32 avx512" "bf16 avx512"; do
        set=${kind#* } precision=${kind% *}
        name="weights of $model in $precision with $set"
        if ! runs_on "$set" "$precision"; then
            echo "skip $name: this CPU cannot"
            continue
        fi
        VMOEC_ISA=$set "$VMOEC" train "models/$model.vmoe" --seed 9 --batch 32 --steps 50 \
            --precision "$precision" \
            --quiet --out "$T/out" --overwrite > "$T/log" 2>&1
        case $? in
        0) ;;
        3)
            if grep -q "cannot be found\|VMOE_DATA" "$T/log"; then
                echo "skip $name: $(head -n 1 "$T/log")"
            else
                fail "$name" "$(head -n 1 "$T/log")"
            fi
            continue
            ;;
        *)
            fail "$name" "$(head -n 1 "$T/log")"
            continue
            ;;
        esac
        got=$(python3 tests/bits/bare.py "$T/out/weights.safetensors" | cut -c1-16)
        want=$(awk -v m="$model" -v p="$precision" -v s="$set" \
            '$1 == m && $2 == p && $3 == s { print $4 }' tests/bits/pins.txt)
        if [ -z "$want" ]; then
            echo "skip $name: not in pins.txt yet; here it is $got"
        elif [ "$got" = "$want" ]; then
            ok "$name"
        else
            fail "$name" "$got instead of $want"
        fi
    done
done
exit $failed
