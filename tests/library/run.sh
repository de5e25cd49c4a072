#!/bin/sh
# vmoec as a library: programs that include its one header and link libvmoec.a.
#
#   BUILD=build tests/library/run.sh
set -u
cd "$(dirname "$0")/../.." || exit 3
BUILD=$(realpath "${BUILD:-build}")
export BACKEND="$BUILD/vmoec-llvm.so"
for program in example together memory classify predict trained; do
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
        for at in 24 16 8 0; do
            # shellcheck disable=SC2059
            printf "\\$(printf %03o $((x >> at & 255)))"
        done
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

# ---- the examples of docs/library.md -------------------------------------------------------------

page() { # N NAME: the N-th program of the page is tests/library/NAME.c
    awk -v n="$1" '/^```c$/ { on = ++k == n; next } /^```$/ { on = 0 } on' docs/library.md \
        > "$T/page.c"
    if cmp -s "$T/page.c" "tests/library/$2.c"; then
        ok "the program $2 of docs/library.md is the one that is tried here"
    else
        fail "the program $2 of docs/library.md" \
            "it is not tests/library/$2.c: $(diff "$T/page.c" "tests/library/$2.c" | head -n 2)"
    fi
    cp "$BUILD/tests/library-$2" "$T/$2" # the code generator lies beside it
}
page 1 example
page 2 classify
ln -s "$BACKEND" "$T/vmoec-llvm.so"
if "$T/example" $F "$T/data" "$T/run" > "$T/out" 2> "$T/log" \
    && grep -q '^tiny: accuracy 0\.[0-9]* on 21 images after 10 steps$' "$T/out" \
    && [ ! -s "$T/log" ]; then
    ok 'the example'
else
    fail 'the example' "$(cat "$T/out" "$T/log" | head -c 300)"
fi
printf 'model m(x: f32[B, 4]) {\n  linear(x, 3\n}\n' > "$T/wrong.vmoe"
"$T/example" "$T/wrong.vmoe" "$T/data" "$T/wrong" > "$T/out" 2> "$T/log"
if [ $? -eq 1 ] && grep -q 'wrong.vmoe:[0-9]*:[0-9]*: error: ' "$T/log" \
    && grep -q '^example: ' "$T/log" && [ ! -s "$T/out" ]; then
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
    if together resume joint && grep -q '^1 .*checkpoint is not there: going on from' "$T/log" \
        && cmp -s "$T/apart/0/weights.safetensors" "$T/joint/0/weights.safetensors"; then
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

# ---- classes of single images --------------------------------------------------------------------

# A model of experts for coloured pictures, and one without for grey ones.
python3 tests/library/pictures.py "$T/pictures"
sed "s/B, 1, size/B, 3, size/
     s@idx(dir = \"data\"@image_folder(resize = size, dir = \"$T/pictures/data\"@" $F > "$T/c.vmoe"
sed "s@idx(dir = \"data\"@image_folder(resize = size, channels = 1, dir = \"$T/pictures/data\"@
     s/[|]> position()/|> position(); x = x + mlp(norm(x), hidden)/; s/x = x + moe.*//" $F \
    > "$T/g.vmoe"
for m in c g; do
    VMOEC_MODELS=models "$BUILD/vmoec" train "$T/$m.vmoe" --steps 4 --quiet --out "$T/$m" \
        > "$T/log" 2>&1 || fail "weights of $m" "$(head -c 300 "$T/log")"
done
C="$T/c.vmoe $T/c/weights.safetensors" G="$T/g.vmoe $T/g/weights.safetensors"
cat > "$T/lines.py" << 'END'
# What `vmoec predict --json` says, as tests/library/predict.c says it.
import json, sys

for x in map(json.loads, sys.stdin):
    if "error" in x:
        print(x["image"], "error", x["error"], sep="\t")
        continue
    best, every = x["top"][0], sorted(x["top"], key=lambda c: c["label"])
    print(x["image"], best["label"], best["class"], *(c["probability"] for c in every), sep="\t")
END
cat > "$T/close.py" << 'END'
# Whether two lists of such lines are the same; the command prints nine digits.
import sys


def line(text):
    at = text.rstrip("\n").split("\t")
    return at[:3] + [f"{float(x):.9g}" for x in at[3:]] if at[1] != "error" else at


a, b = ([line(x) for x in open(path)] for path in sys.argv[1:])
bad = [(x, y) for x, y in zip(a, b) if x != y]
if bad or len(a) != len(b) or not a:
    sys.exit(f"{len(a)} and {len(b)} lines; {bad[:1]}")
END
answers() { # F WEIGHTS IMAGE..: what the command says, in $T/said
    of=$1 with=$2
    shift 2
    VMOEC_MODELS=models "$BUILD/vmoec" predict --json --top 4 "$of" --weights "$with" "$@" \
        2> "$T/log" | python3 "$T/lines.py" > "$T/said"
}
library() { # ARGUMENT..: what the library says, in $T/out
    timeout 300 "$BUILD/tests/library-predict" "$@" > "$T/raw" 2> "$T/log"
    status=$?
    sed 's/\t[123]\t\([^\t]*[^0-9.\t][^\t]*\)$/\terror\t\1/' "$T/raw" > "$T/out"
    return $status
}
equal() { # NAME
    if difference=$(python3 "$T/close.py" "$T/said" "$T/out" 2>&1); then
        ok "$1"
    else
        fail "$1" "$difference $(head -c 300 "$T/log")"
    fi
}
echo 'no image' > "$T/none.png"
head -c 100 "$T/pictures/wide.png" > "$T/half.png"
some="$T/pictures/wide.png $T/none.png $T/pictures/high.png $T/half.png $T/nowhere.png"
all=$(find "$T/pictures" -name '*.png' | sort)
for model in "$C" "$G"; do
    name=$(basename "${model%%.vmoe*}")
    # shellcheck disable=SC2086
    for list in "$all" "$some $T/pictures/dot.png"; do
        answers $model $list
        library files $model $list
        [ $? -eq 0 ] || fail "$name: predictions" "$(head -c 300 "$T/log")"
        equal "$name: $(echo $list | wc -w) files as vmoec predict has them, bad ones too, twice"
    done
    # shellcheck disable=SC2086
    { answers $model $(sed "s,\(.*\)=.*,$T/pictures/\1.png," "$T/pictures/kinds")
      library pixels $model $(sed "s,\(.*\)=,$T/pictures/\1.raw=," "$T/pictures/kinds"); }
    sed -i 's/\.png\t/.raw\t/' "$T/said"
    equal "$name: pixels as the files that have them"
    # shellcheck disable=SC2086
    if library sizes $model "$T/pictures/high.png"; then
        ok "$name: calls of 1 to 20 images"
    else
        fail "$name: calls of 1 to 20 images" "$(cat "$T/log")"
    fi
done
# shellcheck disable=SC2086
{ answers $C --batch 3 $all
  library batch 3 $C $all; }
equal 'with another batch'
# shellcheck disable=SC2086
{ answers $C $all
  cp "$T/said" "$T/both"
  answers $G $all
  cat "$T/both" "$T/said" > "$T/sides"
  mv "$T/sides" "$T/said"
  library both $C $G $all || fail 'two models' "$(head -c 300 "$T/log")"; }
equal 'two models at once, in turn and in two threads, as each alone'
# shellcheck disable=SC2086
if library misuse $C "$T/pictures/data" "$T/pictures/wide.png"; then
    ok 'calls that are wrong or out of order are values'
else
    fail 'calls that are wrong or out of order' "$(cat "$T/raw" "$T/log")"
fi
refused() { # NAME PATTERN F WEIGHTS: opening a predictor fails
    library open "$3" "$4"
    if [ $? -eq 1 ] && grep -q -e "$2" "$T/log"; then
        ok "$1"
    else
        fail "$1" "$(cat "$T/log")"
    fi
}
refused 'weights that are not there' '^3: cannot open' "$T/c.vmoe" "$T/nowhere.safetensors"
refused 'weights that are none' '^1: .*none.png' "$T/c.vmoe" "$T/none.png"
sed 's/top_k = 2/top_k = 1/' "$T/c.vmoe" > "$T/k.vmoe"
refused 'weights of other settings' '^1: .*top_k = 2 there, 1 here' "$T/k.vmoe" \
    "$T/c/weights.safetensors"
sed 's/resize = size/resize = size, mean = 0.4/' "$T/c.vmoe" > "$T/m.vmoe"
refused 'weights for images that are prepared in another way' \
    '^1: .*prepared in another way: mean' \
    "$T/m.vmoe" "$T/c/weights.safetensors"
sed 's/, 4)$/, 5)/; s/class\[B, 4\]/class[B, 5]/' "$T/c.vmoe" > "$T/five.vmoe"
refused 'weights of another shape' 'of another shape: .*logits.weight' "$T/five.vmoe" \
    "$T/c/weights.safetensors"
sed '/^train/,$d' "$T/c.vmoe" > "$T/untrained.vmoe"
refused 'a model without a train block' '^1: .*no train block, which says how images are prepared' \
    "$T/untrained.vmoe" "$T/c/weights.safetensors"
# shellcheck disable=SC2086
if "$T/classify" $C "$T/pictures/wide.png" "$T/none.png" > "$T/out" 2> "$T/log" \
    && grep -q 'wide.png: [a-z]*, [0-9.]* %$' "$T/out" && grep -q '^red: [a-z]*$' "$T/out" \
    && grep -q '^classify: .*none.png: neither a JPEG nor a PNG' "$T/log"; then
    ok 'the example of predictions'
else
    fail 'the example of predictions' "$(cat "$T/out" "$T/log" | head -c 300)"
fi

# ---- what a training says of itself --------------------------------------------------------------

sed 's/^  epochs = 2/  epochs = 3\n  validation = 0.3\n  keep = best("loss")/
     s/^  metric accuracy.*/&\n  metric size = mean(logits * logits)/' "$T/c.vmoe" > "$T/held.vmoe"
cat > "$T/trained.py" << 'END'
# Whether the lines of tests/library/trained.c are what the run's log says.
import json, math, sys

log = [json.loads(x) for x in open(sys.argv[1])]
said = dict(x.rstrip("\n").split(" ", 1) for x in open(sys.argv[2]))
epochs = [x for x in log if x["event"] == "epoch"]
end = [x for x in log if x["event"] == "end"]
want = {"best_epoch": 0, "best_step": 0, "best_metric": "none", "best_value": math.nan}
if end and end[-1]["best_epoch"]:
    best = epochs[end[-1]["best_epoch"] - 1]
    want = {"best_epoch": best["epoch"], "best_step": best["step"], "best_metric": sys.argv[3],
            "best_value": best["validation_" + sys.argv[3]]}
of = {"train": epochs[-1], "validation": epochs[-1], "test": (end or epochs)[-1]}
for part, event in of.items():
    for name in ("loss", "accuracy", "size"):
        if f"{part}_{name}" in event:
            want[f"{part}_{name}"] = event[f"{part}_{name}"]
images = {k: int(said.pop(k + "_images")) for k in ("train", "validation", "test")}
assert images == dict(zip(images, map(int, sys.argv[4:]))), images
assert said.keys() == want.keys(), (said.keys(), want.keys())
for k, x in want.items():
    if isinstance(x, float):
        assert f"{x:.8g}" == f"{float(said[k]):.8g}", (k, x, said[k])
    else:
        assert str(x) == said[k], (k, x, said[k])
END
trained() { # NAME F METRIC IMAGES..: a training, and what its log says
    name=$1 file=$2
    shift 2
    if "$BUILD/tests/library-trained" "$file" "$T/trained" > "$T/out" 2> "$T/log" \
        && python3 "$T/trained.py" "$T/trained/metrics.jsonl" "$T/out" "$@" 2> "$T/log"; then
        ok "$name"
    else
        fail "$name" "$(tail -n 3 "$T/log") $(cat "$T/out")"
    fi
}
trained 'the best epoch by its loss' "$T/held.vmoe" loss 16 8 8
sed -i 's/best("loss")/best()/' "$T/held.vmoe"
trained 'and by accuracy' "$T/held.vmoe" accuracy 16 8 8
sed -i '/keep = best/d' "$T/held.vmoe"
trained 'validation without a best epoch' "$T/held.vmoe" none 16 8 8
sed -i '/validation = /d' "$T/held.vmoe"
trained 'no validation' "$T/held.vmoe" none 24 0 8

# ---- memory --------------------------------------------------------------------------------------

if nm "$BUILD/tests/library-memory" 2> /dev/null | grep -q -m 1 __asan_init; then
    echo 'skip library: memory that is not there: a sanitizer has an allocator of its own'
else
    export CACHE="$T/cache"
    for what in open train predict; do
        case $what in
        open) set -- $F ;;
        train) set -- $F "$T/data" "$T/memory" ;;
        predict) set -- "$T/c.vmoe" "$T/c/weights.safetensors" "$T/pictures/wide.png" \
            "$T/pictures/grey.png" ;;
        esac
        timeout 600 "$BUILD/tests/library-memory" $what "$@" > "$T/out" 2> "$T/log"
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
odd=$(nm $(find "$BUILD/obj/driver/session" -name '*.o') 2> /dev/null \
    | awk '$2 ~ /^[TDBRV]$/ && $3 !~ /^(vmoec|session)_/ { print $3 }')
if [ -z "$odd" ]; then
    ok 'its names begin with vmoec_ or session_'
else
    fail 'its names begin with vmoec_ or session_' "$odd"
fi
exit $failed
