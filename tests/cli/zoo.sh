# The models that come with vmoec. Part of run.sh, which reads it where all parts stand in
# one folder with what the parts before it made.

# ---- the models that come with vmoec -------------------------------------------------------------

cd "$ROOT" || exit 3
for f in models/*.vmoe; do
    if "$VMOEC" check "$f" > "$T/out" 2>&1 && ! grep . "$T/out" > /dev/null; then # nor a warning
        ok "check $f"
    else
        fail "check $f" "$(head -c 300 "$T/out")"
    fi
done
for f in models/*.vmoe models/std/*.vmoe; do
    if "$VMOEC" fmt --check "$f" > "$T/out" 2>&1; then
        ok "format $f"
    else
        fail "format $f" "$(head -c 300 "$T/out")"
    fi
done
awk '/^```vmoe/ { p = 1; next } /^```/ { p = 0 } p' README.md > "$T/readme.vmoe"
if "$VMOEC" info "$T/readme.vmoe" > "$T/out" 2>&1; then
    ok 'the program in README.md'
else
    fail 'the program in README.md' "$(head -c 300 "$T/out")"
fi
count() { # FILE PARAMS ACTIVE MACS [OPTION...]
    file=$1 params=$2 active=$3 macs=$4
    shift 4
    "$VMOEC" info --json "$file" "$@" > "$T/out" 2>&1
    if grep -q "\"params\":$params,\"params_active\":$active,\"macs\":$macs," "$T/out"; then
        ok "counts of $file $*"
    else
        fail "counts of $file $*" "$(head -c 200 "$T/out")"
    fi
}
# params, params a token meets, multiply-accumulates of one image, from a transformer's sizes. The
# table of positions of cifar_encoder is none of them.
# encoder IMAGE CHANNELS PATCH DIM DEPTH HIDDEN MOE_BLOCKS EXPERTS K CLASSES LEARNED_POSITIONS(0/1)
encoder() {
    awk -v s="$1" -v c="$2" -v p="$3" -v d="$4" -v L="$5" -v h="$6" -v m="$7" -v E="$8" -v k="$9" \
        -v C="${10}" \
        -v pos="${11}" 'BEGIN {
        n = (s / p) ^ 2; t = n + 1; in_ = p * p * c; mlp = d * h + h + h * d + d
        rest = in_ * d + d + d + pos * t * d + 2 * d + d * C + C
        rest += L * (2 * d + d * 3 * d + 3 * d + d * d + d + 2 * d)
        rest += (L - m) * mlp
        printf "%.0f %.0f", rest + m * (d * E + E * mlp), rest + m * (d * E + k * mlp)
        attention = t * 3 * d * d + 2 * t * t * d + t * d * d
        blocks = L * attention + (L - m + m * k) * t * 2 * d * h + m * t * d * E
        printf " %.0f", n * in_ * d + blocks + d * C
    }'
}
count models/mnist_moe.vmoe 695822 563982 2243840
count models/vit_s8.vmoe 71694952 29158504 5996857344
count models/deit_ti_moe.vmoe 11046952 6313000 1370635008
count models/cifar_encoder.vmoe 4476580 1812004 306448896
# shellcheck disable=SC2046 # the three numbers are three arguments
{
    count models/cifar_encoder.vmoe $(encoder 36 3 3 192 6 384 6 4 1 100 0)
    count models/cifar_encoder.vmoe $(encoder 36 3 3 192 6 384 0 4 1 100 0) --set 'sparse=[]'
    count models/vit_s8.vmoe $(encoder 224 3 16 384 12 1536 0 8 2 1000 1) --set 'sparse=[]'
    count models/deit_ti_moe.vmoe $(encoder 224 3 16 192 12 768 0 10 2 1000 1) --set 'sparse=[]'
}
count models/mnist_dense.vmoe 407050 407050 6620416
