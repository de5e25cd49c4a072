#!/bin/sh
# A bounded run of the parser's fuzzer over every .vmoe of the repository, with sanitizers, of
# random programs against the reference, and of `verify` over the models of the repository at random
# small sizes. Usage: tests/fuzz/run.sh [ITERATIONS [SEED]]; CC, BUILD and VMOEC as for make. Takes
# about a minute.
set -u
cd "$(dirname "$0")/../.." || exit 3
out=${BUILD:-build}/fuzz
mkdir -p "$out"
if ! ${CC:-gcc} -std=c11 -D_GNU_SOURCE -I. -O1 -g -Wall -Wextra -fsanitize=address,undefined \
    -fno-sanitize-recover=undefined tests/fuzz/fuzz_parse.c tests/fuzz/util_fuzz.c \
    tests/fuzz/targets/syntax.c base/*.c frontend/syntax/*.c \
    -o "$out/fuzz_parse" -ljansson -lxxhash -lm; then
    echo "FAIL fuzz_parse does not compile"
    exit 1
fi
# Random programs over the whole language against the reference, for half a minute
# (VMOEC_FUZZ_SECONDS, VMOEC_FUZZ_SEED the first, FUZZ_JOBS at once), or so many of them
# (VMOEC_FUZZ_PROGRAMS).
random_programs() {
    count=${VMOEC_FUZZ_PROGRAMS:-100000} seconds=${VMOEC_FUZZ_SECONDS:-30}
    [ -n "${VMOEC_FUZZ_PROGRAMS:-}" ] && seconds=0
    rm -rf "$out/kernels"
    mkdir -m 700 "$out/kernels"
    kernels=$(cd "$out/kernels" && pwd)
    VMOEC_MODELS=$PWD/models "${BUILD:-build}/tests/programs" run --first "${VMOEC_FUZZ_SEED:-1}" \
        --count "$count" --seconds "$seconds" --block 5 --jobs "${FUZZ_JOBS:-2}" \
        --cache "$kernels" > "$out/programs.log" 2>&1
    status=$? failed=0
    sed -n 's/^BAD seed \([0-9]*\): \(.*\)/FAIL random program of seed \1: \2/p' "$out/programs.log"
    line=$(grep '^programs ' "$out/programs.log")
    agree=$(echo "$line" | sed 's/.* agrees \([0-9]*\).*/\1/')
    [ "$status" = 0 ] && [ "${agree:-0}" -gt 0 ] || failed=1
    [ $failed = 0 ] && echo "ok $agree random programs from seed ${VMOEC_FUZZ_SEED:-1} agree" ||
        echo "FAIL random programs: ${line:-$(tail -n 1 "$out/programs.log")}"
    rm -rf "$out/kernels"
    return $failed
}

# A random small size of every model of the repository. One line each: file, then what may be set,
# a|b: one of these.
verify_zoo() {
    vits="patch=4 side=8|12 dim=12|20 heads=2|4 classes=3|10 depth=2|3 experts=2|3|5 top_k=1|2"
    cat > "$out/zoo" <<END
vit_s8 $vits sparse=[]|[1]|[0,1] priority=true|false
vit_b8 $vits sparse=[1]|[0]
vit_gates $vits gate="linear"|"cosine"|"l2" width=5|16 sparse=[1]|[0,1]
vmoe_s32 $vits group=1|2 representation=7|16 sparse=[1]|[0,1]
deit_ti_moe $vits sparse=[1]|[0,1]
deit_ti_image $vits top_k=1|2
cifar_encoder heads=2|4 dim=12|20 classes=10|100 sparse=[]|[1] ratio=1|2 experts=2|3 top_k=1|2 \
gate_bias=true|false depth=2
mnist_moe patch=16|8 dim=16|24 experts=2|4 placement=[]|[0,1] depth=2
vmoe_fmnist dim=16|24 heads=2|4 depth=2 experts=2|4 hidden=9|16
END
    number=${VMOEC_FUZZ_ZOO:-1} first=${VMOEC_FUZZ_SEED:-1} failed=0 done=0
    while read -r model choices; do
        for n in $(seq "$first" $((first + number - 1))); do
            sets=$(echo "$choices" | awk -v seed="$n$model" 'BEGIN {
                    letters = "0123456789_abcdefghijklmnopqrstuvwxyz"
                    for (i = 1; i <= length(seed); i++)
                        h = (h * 31 + index(letters, substr(seed, i, 1))) % 1000003
                    srand(h)
                }
                { for (i = 1; i <= NF; i++) { split($i, p, "="); k = split(p[2], v, "|"); \
                  printf "--set %s=%s ", p[1], v[1 + int(rand() * k)] } }')
            # shellcheck disable=SC2086
            if "${VMOEC:-build/vmoec}" verify "models/$model.vmoe" --batch 2 --samples 1 \
                --seed "$n" $sets > "$out/zoo.log" 2>&1
            then done=$((done + 1)); continue; fi
            grep -q 'closer than' "$out/zoo.log" && continue
            echo "FAIL verify models/$model.vmoe --batch 2 --samples 1 --seed $n $sets:" \
                "$(grep -m1 -e WRONG -e error "$out/zoo.log")"
            failed=1
        done
    done < "$out/zoo"
    [ $failed = 0 ] && echo "ok verify of $done models at random small sizes"
    return $failed
}

find models tests -name '*.vmoe' | sort > "$out/seeds"
seed=${2:-1}
if xargs "$out/fuzz_parse" -n "${1:-5000}" -s "$seed" < "$out/seeds"; then
    echo "ok fuzz_parse (seed $seed)"
else
    echo "FAIL fuzz_parse seed $seed"
    exit 1
fi
status=0
random_programs || status=1
verify_zoo || status=1
exit $status
