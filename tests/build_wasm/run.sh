#!/bin/sh
# Modules and pages for browsers: `vmoec build --target wasm32`. Answers are those of `vmoec
# predict`: in node for several kinds of models and some hundred images each, and in a headless
# Chromium, where pages are drawn and dropped on, offline.
#
#   VMOEC=build/vmoec tests/build_wasm/run.sh
#
# Skipped where clang, lld, wasi-libc or node are not installed (scripts/setup.sh wasm); pages are
# where there is no Chromium, models for MNIST and CIFAR-100's images where VMOE_DATA has none.
# SCREENSHOTS=FOLDER keeps what pages look like.
set -u
cd "$(dirname "$0")/../.." || exit 3
# shellcheck source=tests/begin.sh
. tests/begin.sh
HERE=$ROOT/tests/build_wasm
TOLERANCE=1e-5 # of probabilities

# ---- what it takes -------------------------------------------------------------------------------

skip() {
    echo "skip build_wasm $1"
    exit 0
}
for tool in clang-19 wasm-ld-19 llvm-ar-19 node make python3; do
    command -v $tool > /dev/null 2>&1 || skip "no $tool"
done
[ -e /usr/lib/wasm32-wasi/libc.a ] || skip 'no wasi-libc'
if ! make --no-print-directory BUILD="$(dirname "$VMOEC")" kit TARGET=wasm32 \
    KIT_ROOT= > /dev/null; then
    echo 'FAIL kit: it cannot be built'
    exit 1
fi
echo 'ok kit'

cp tests/cli/tiny.vmoe tests/build_arm/conv.vmoe tests/build_arm/router.vmoe "$HERE"/*.vmoe "$T"
sed -e 's/size = 28/size = 8/' -e 's/classes = 10/classes = 4/' tests/build_lib/cnn.vmoe \
    > "$T/cnn.vmoe"
cd "$T" || exit 3

# compare NAME MODEL WEIGHTS IMAGES CLASSES: the module, and what predict says.
compare() {
    of=$1 model=$2 weights=$3 images=$4 classes=$5
    want 0 'predicts, one image' "build $of" "$VMOEC" build "$model" --target wasm32 \
        --weights "$weights" -o "$of.wasm"
    want 0 '' "predict with $of" "$VMOEC" predict "$model" --weights "$weights" --json \
        --top "$classes" --batch 1 "$images"
    mv out "$of.jsonl"
    if found=$(node "$HERE/compare.js" "$of.wasm" "$of.jsonl" $TOLERANCE 200 2>&1); then
        ok "$of answers as predict does: $found"
    else
        fail "$of" "$(echo "$found" | grep -m 1 Error)"
    fi
}

# ---- numbers: generated images -------------------------------------------------------------------

dataset data
pictures photos
node "$HERE/images.js" blots 8 8 1 220 grey || exit 3
node "$HERE/images.js" blots 13 9 3 220 colour || exit 3
for model in tiny conv router cnn; do
    want 0 '' "train $model" "$VMOEC" train $model.vmoe --out $model --quiet
    compare $model $model.vmoe $model/weights.safetensors grey 4
done
want 0 '' 'train photos' "$VMOEC" train photos.vmoe --out photos.run --quiet
W=photos.run/weights.safetensors
compare photos photos.vmoe $W colour 4

facts() { # MODEL: its name and classes
    node -e 'const { info } = require(process.argv[1]).open(process.argv[2]);
        console.log(info.name, info.classes.join(" "));' "$HERE/module.js" "$PWD/$1.wasm"
}
facts tiny > tiny.facts
facts photos > photos.facts
want 0 '^tiny 0 1 2 3$' 'classes without names' cat tiny.facts
want 0 '^photos blue green red white$' 'classes of folders' cat photos.facts

sed -e 's/classes = 4/classes = 10/' -e 's/size = 8/size = 28/' cnn.vmoe > misuse.vmoe
want 0 '' 'weights' "$VMOEC" init misuse.vmoe -o misuse.safetensors
want 0 '' 'build' "$VMOEC" build misuse.vmoe --target wasm32 --weights misuse.safetensors \
    -o misuse.wasm
want 0 'all of it' 'calls that make no sense, drawings' node "$HERE/misuse.js" misuse.wasm

# What docs/trainers_wasm.md shows is what is run here.
sed -n '/^```js$/,/^```$/p' "$ROOT/docs/trainers_wasm.md" | sed '1d;$d' > shown.js
same 'the example is that of the page' shown.js "$HERE/example.js"
echo 'classifier(require("fs").readFileSync("photos.wasm")).then((classify) => {
    const data = new Uint8Array(2400).map((_, i) => (i % 4 ? 0 : 255)); // red
    const image = { width: 30, height: 20, data };
    const best = classify(image).sort((a, b) => b.probability - a.probability)[0];
    console.log(best.name, best.probability > 0.5);
});' | cat shown.js - > run.js
want 0 '^red true$' 'and it classifies' node run.js

# ---- numbers: MNIST, Fashion-MNIST, CIFAR --------------------------------------------------------

trained() { # NAME STEPS IMAGES CLASSES DATA: a model of models/, trained for some steps
    want 0 '' "train $1" "$VMOEC" train "$ROOT/models/$1.vmoe" --steps "$2" --out "$1" --quiet \
        --data "$5"
    compare "$1" "$ROOT/models/$1.vmoe" "$1/weights.safetensors" "$3" "$4"
}
found() { # FOLDER: its test images
    for f in "$1/t10k-images-idx3-ubyte" "$1/t10k-images-idx3-ubyte.gz"; do
        [ -e "$f" ] && echo "$f"
    done
}
MNIST=${VMOE_DATA:-/none}/mnist
FASHION=${FASHION_MNIST:-/usr/share/datasets/fashion-mnist}
CIFAR=${VMOE_DATA:-/none}/cifar100/cifar100-png.tar.zst
if [ -n "$(found "$MNIST")" ]; then
    node "$HERE/images.js" idx "$(found "$MNIST")" 300 mnist || exit 3
    trained mnist_cnn 100 mnist 10 "$MNIST"
else
    echo "skip mnist_cnn: no data set in $MNIST"
fi
if [ -n "$(found "$FASHION")" ]; then
    node "$HERE/images.js" idx "$(found "$FASHION")" 200 fashion || exit 3
    trained vmoe_fmnist 8 fashion 10 "$FASHION"
else
    echo "skip vmoe_fmnist: no data set in $FASHION"
fi
if [ -e "$CIFAR" ]; then
    tar tf "$CIFAR" 2> log | grep -m 200 '\.png$' > cifar.list
    mkdir cifar && tar xf "$CIFAR" -T cifar.list --occurrence=1
    xargs -I NAME mv NAME cifar < cifar.list
    for model in cifar_convnext cifar10_moe; do
        want 0 '' "weights of $model" "$VMOEC" init "$ROOT/models/$model.vmoe" -o $model.start
        compare $model "$ROOT/models/$model.vmoe" $model.start cifar 10
    done
else
    echo "skip cifar_convnext, cifar10_moe: there is no $CIFAR"
fi

# ---- pages ---------------------------------------------------------------------------------------

browser() { # NAME ARGUMENT ..: tests in a browser
    timeout 300 python3 "$HERE/page.py" "$@" > out 2> log || failed=1
    sed "s/^\(ok\|FAIL\) /\1 $1: /" out
    [ -s out ] || fail "$1" "$(tail -n 3 log)"
}
one() { # NAME: a picture of it, and what predict says
    head -n 1 "$1.jsonl" > one.jsonl
    sed 's/.*"image":"\([^"]*\)".*/\1/' one.jsonl
}
if command -v chromium > /dev/null 2>&1; then
    want 0 '' 'build a page' "$VMOEC" build tiny.vmoe --target wasm32 \
        --weights tiny/weights.safetensors -o tiny.html
    browser grey tiny.html tiny.wasm "$(one tiny)" one.jsonl
    want 0 '' 'build a page for photos' "$VMOEC" build photos.vmoe --target wasm32 --weights $W \
        -o photos.html
    browser colour photos.html photos.wasm "$(one photos)" one.jsonl
    if [ -e mnist_cnn.wasm ]; then
        want 0 '' 'build a page for digits' "$VMOEC" build "$ROOT/models/mnist_cnn.vmoe" \
            --target wasm32 --weights mnist_cnn/weights.safetensors -o digits.html
        browser digits digits.html
    fi
else
    echo 'skip pages: no chromium'
fi

# ---- bad input -----------------------------------------------------------------------------------

W=tiny/weights.safetensors
refused() { # PATTERN NAME OPTION ..
    pattern=$1 name=$2
    shift 2
    want 2 "$pattern" "$name" "$VMOEC" build tiny.vmoe --target wasm32 "$@"
}
refused 'needs --weights: there is no training' 'no weights' -o no.html
refused 'no.exe. is neither' 'another kind of file' -o no.exe --weights $W
refused '.html. is neither' 'no name' -o .html --weights $W
refused '--lib does not go with' 'a library' -o no.wasm --weights $W --lib
refused '--static does not go with' 'libraries inside' -o no.wasm --weights $W --static
refused '--images does not go with' 'readers of images' -o no.wasm --weights $W --images
refused '--batch does not go with' 'several images' -o no.wasm --weights $W --batch 4
refused '--mem-budget does not go with' 'memory' -o no.wasm --weights $W --mem-budget 1G
refused '--data does not go with' 'data' -o no.wasm --weights $W --data data
refused '--cpu is one of simd128 for wasm32' 'another CPU' -o no.wasm --weights $W --cpu native
want 0 '' 'its own CPU, nothing kept' "$VMOEC" build tiny.vmoe --target wasm32 --cpu simd128 \
    --weights $W -o cpu.wasm --no-cache
same 'makes the same file' cpu.wasm tiny.wasm
want 1 'weight' 'weights of another model' "$VMOEC" build cnn.vmoe --target wasm32 --weights $W \
    -o no.html
want 1 'scores no classes' 'a model without classes' "$VMOEC" build mean.vmoe --target wasm32 \
    --weights $W -o no.html
want 3 "cannot run the C compiler 'no-such-cc'" 'no C compiler' env CC=no-such-cc "$VMOEC" build \
    tiny.vmoe --target wasm32 --weights $W -o no.html
want 3 "'false' could not make the module" 'a compiler that fails' env CC=false "$VMOEC" build \
    tiny.vmoe --target wasm32 --weights $W -o no.html
mkdir -p bare
cp "$VMOEC" "$(dirname "$VMOEC")/vmoec-llvm.so" bare
want 3 "kit-wasm32', is not there: .make kit TARGET=wasm32" 'no kit' bare/vmoec build tiny.vmoe \
    --target wasm32 --weights $W -o no.html
if [ -n "$(find . -name 'no.*')" ]; then fail 'a failed build writes nothing' "$(ls no.*)"; else
    ok 'a failed build writes nothing'; fi
for kind in html wasm; do
    echo 'my own' > mine.$kind
    want 2 'was not built: it is not written over' "somebody's file, $kind" "$VMOEC" build \
        tiny.vmoe --target wasm32 --weights $W -o mine.$kind
    want 0 'my own' 'is left alone' cat mine.$kind
    "$VMOEC" build tiny.vmoe --target wasm32 --weights $W -o again.$kind > /dev/null
    cp again.$kind before
    want 3 '' "a build that fails, $kind" env CC=false "$VMOEC" build tiny.vmoe --target wasm32 \
        --weights $W -o again.$kind
    same 'leaves the last one' again.$kind before
    want 0 '' 'and it can be built over' "$VMOEC" build tiny.vmoe --target wasm32 --weights $W \
        -o again.$kind
    same 'with the same bytes' again.$kind before
done
exit $failed
