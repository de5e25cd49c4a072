#!/bin/sh
# Programs that `vmoec build` makes: the same bits as `vmoec train`, eval and predict, also when one
# goes on with what the other began; what they were not built for is refused, and so is a build that
# cannot be.
#
#   VMOEC=build/vmoec tests/build/run.sh
set -u
cd "$(dirname "$0")/../.." || exit 3
# shellcheck source=tests/begin.sh
. tests/begin.sh
cp tests/cli/tiny.vmoe "$T"
cd "$T" || exit 3
dataset data
pictures colours
TMPDIR=$T/tmp
export TMPDIR
mkdir "$TMPDIR"

# ---- the program ---------------------------------------------------------------------------------

want 0 'tiny of tiny.vmoe for .*trains with 6, 16 images per step' 'build' \
    "$VMOEC" build tiny.vmoe -o tiny
if [ -z "$(ls "$TMPDIR")" ]; then ok 'nothing is left behind'; else
    fail 'nothing is left behind' "$(ls "$TMPDIR")"; fi
most=$((sanitized ? 20000000 : 2097152))
if [ "$(wc -c < tiny)" -le $most ]; then ok 'it has at most 2 MB'; else
    fail 'its size' "$(wc -c < tiny) bytes"; fi
if readelf -d tiny | grep -q -e LLVM -e python; then
    fail 'it needs no compiler' "$(readelf -d tiny)"; else ok 'it needs no compiler'; fi
want 0 'usage: tiny COMMAND' 'its help' ./tiny
want 0 '^  --save-every' 'help of a command' ./tiny help train
want 0 'made by vmoec' 'its version' ./tiny --version
want 0 '^train  *16' 'its programs' ./tiny info
want 0 '"parameters":' 'the same as JSON' ./tiny info --json
want 0 '^step  ' 'the time of its steps' ./tiny bench --steps 3
want 0 '"step_ms":' 'as JSON' ./tiny bench --mode infer --json --steps 3

# ---- the same bits -------------------------------------------------------------------------------

want 0 '' 'vmoec train' "$VMOEC" train tiny.vmoe --out jit --quiet --threads 1
for threads in 1 2 7; do
    want 0 'after 10 steps' "the program trains, $threads threads" \
        ./tiny train --out built$threads --quiet --threads $threads
    same 'the same weights' jit/weights.safetensors built$threads/weights.safetensors
done
numbers() { # what a log says of losses and metrics
    grep -E '"event": ?"(step|epoch)"' "$1" |
        grep -oE '"[a-z_]*(loss|accuracy|norm)": ?[-0-9.e+]*'
}
numbers jit/metrics.jsonl > jit.numbers
numbers built2/metrics.jsonl > built.numbers
if [ -s jit.numbers ]; then same 'the same numbers in the log' jit.numbers built.numbers; else
    fail 'numbers of a log' "$(head -c 300 jit/metrics.jsonl)"; fi
same 'the source in the folder' tiny.vmoe built1/source.vmoe
if python3 - << 'END'
import json
a, b = (json.load(open(f"{run}/run.json")) for run in ("jit", "built1"))
for what in ("command", "started", "threads"):
    a.pop(what), b.pop(what)
assert a == b, (a, b)
END
then ok 'and what the run is'; else fail 'run.json' 'differs'; fi
want 0 '' 'other options' "$VMOEC" train tiny.vmoe --out jit5 --quiet --seed 5 --epochs 1
want 0 '' 'of the program' ./tiny train --out built5 --quiet --seed 5 --epochs 1 --workers 1
same 'the same weights again' jit5/weights.safetensors built5/weights.safetensors

W=jit/weights.safetensors
for split in test train; do
    want 0 '' "vmoec eval --split $split" "$VMOEC" eval tiny.vmoe --weights $W --json \
        --split $split --per-class --confusion --predictions jit.csv
    mv out jit.eval
    want 0 '' 'eval of the program' ./tiny eval --weights $W --json --split $split --per-class \
        --confusion --predictions built.csv
    same 'the same result' jit.eval out
    same 'and the same answers' jit.csv built.csv
done

# ---- one goes on with what the other began -------------------------------------------------------

# A signal ends a run after its first checkpoint; whoever goes on must come to the same weights.
sed 's/epochs = 2/epochs = 60/' tiny.vmoe > long.vmoe
want 0 '' 'build a longer run' "$VMOEC" build long.vmoe -o long
want 0 '' 'in one go' "$VMOEC" train long.vmoe --out whole --quiet
begin() { # COMMAND..: until there is a checkpoint, and then a signal
    "$@" > out 2> log < /dev/null &
    pid=$!
    for _ in $(seq 500); do
        [ -e parts/checkpoint ] && break
        sleep 0.01
    done
    kill -INT $pid
    wait $pid
}
for first in "$VMOEC train long.vmoe" './long train'; do
    rm -rf parts
    # shellcheck disable=SC2086
    begin $first --out parts --quiet --threads 1
    case $first in ./long*) second="$VMOEC train long.vmoe" ;; *) second='./long train' ;; esac
    # shellcheck disable=SC2086
    want 0 '' "begun by ${first##*/}, ended by the other" \
        $second --out parts --quiet --resume --threads 2
    same 'gives the same weights' whole/weights.safetensors parts/weights.safetensors
done
want 2 'belongs to another run' 'a run of another recipe' \
    ./long train --out jit --resume

# ---- predicting, weights inside ------------------------------------------------------------------

cat > heads.vmoe << 'END'
model heads(image: f32[B, 3, 8, 8], label: class[B, 4]) {
  h = gelu(linear(mean(patchify(image, 4), axis = 1), 16))
  logits = linear(h, 4)
  loss cross_entropy(logits, label)
  metric accuracy(logits, label)
}
train heads {
  data = image_folder(dir = "colours", batch = 4, resize = 8)
  validation = 0.25
  keep = best("accuracy")
  schedule = constant(peak = 1e-2)
  epochs = 3
}
END
want 0 '' 'train on image files' "$VMOEC" train heads.vmoe --out heads.run --quiet
H=heads.run/best.safetensors
want 0 '^heads: heads of heads.vmoe' 'build with weights inside' \
    "$VMOEC" build heads.vmoe -o heads --weights $H --batch 1,3
want 0 'weights inside' 'which it says' ./heads info
want 0 '^  --weights W .*(default: those inside)$' 'and its help' ./heads help predict
want 0 '' 'vmoec predict' "$VMOEC" predict heads.vmoe --weights $H --csv colours
mv out jit.csv
want 0 '' 'the program predicts' ./heads predict --csv colours
same 'the same classes and probabilities' jit.csv out
want 0 '' 'by weights of a file' ./heads predict --csv --weights $H colours --threads 1
same 'the same again' jit.csv out
want 0 '^colours/test/red/0.png: ' 'one image' ./heads predict colours/test/red/0.png
for split in test validation train; do
    want 0 '' "eval --split $split" "$VMOEC" eval heads.vmoe --weights $H --split $split
    mv out jit.eval
    want 0 '' 'of the program, with its own weights' ./heads eval --split $split
    same 'the same result' jit.eval out
done
want 0 '' 'train from weights of a file' \
    "$VMOEC" train heads.vmoe --weights $H --out again --quiet --threads 2
want 0 '' 'from those inside' ./heads train --out inside --quiet --threads 1
same 'the same best weights' again/best.safetensors inside/best.safetensors

tar -cf colours.tar -C colours .
want 0 '' 'build with an archive as the data' \
    "$VMOEC" build heads.vmoe -o packed --data colours.tar
want 0 '' 'which trains from it' ./packed train --data colours.tar --out packed.run --quiet
same 'as from the folder' heads.run/weights.safetensors packed.run/weights.safetensors

# Weights that only another model of the file has are no trouble where the two share theirs.
cp "$ROOT/tests/build/scoped.vmoe" .
"$VMOEC" init scoped.vmoe --model large -o large.safetensors > log 2>&1 || cat log
want 0 '' 'build a model that shares weights' "$VMOEC" build scoped.vmoe --model small -o small
want 0 '' 'vmoec eval with those of the other' \
    "$VMOEC" eval scoped.vmoe --model small --weights large.safetensors
mv out jit.eval
want 0 '' 'the program, too' ./small eval --weights large.safetensors
same 'the same result' jit.eval out

# ---- which CPUs ----------------------------------------------------------------------------------

want 2 '--cpu is one of native, x86-64-v3, x86-64-v4' 'an unknown CPU' \
    "$VMOEC" build tiny.vmoe -o no --cpu z80
want 0 '' 'build for AVX2' "$VMOEC" build tiny.vmoe -o v3 --cpu x86-64-v3
VMOEC_ISA=avx2
export VMOEC_ISA
want 0 '' 'train with AVX2' "$VMOEC" train tiny.vmoe --out avx2 --quiet
unset VMOEC_ISA
want 0 '' 'the program with AVX2' ./v3 train --out built.v3 --quiet
same 'has the same bits' avx2/weights.safetensors built.v3/weights.safetensors
want 0 '' 'build for a CPU by its name' "$VMOEC" build tiny.vmoe -o zen3 --cpu znver3
want 0 '' 'the program for it' ./zen3 train --out built.zen3 --quiet
same 'has the same bits, too' avx2/weights.safetensors built.zen3/weights.safetensors
want 0 '' 'build for AVX512_BF16' "$VMOEC" build tiny.vmoe -o zen4 --cpu znver4 --precision bf16
if ! grep -q -m 1 avx512_bf16 /proc/cpuinfo; then
    want 3 'this CPU has no .*avx512bf16: ' 'a CPU that lacks them' ./zen4 train
fi
want 0 '' 'build for AVX-512' "$VMOEC" build tiny.vmoe -o v4 --cpu x86-64-v4
if grep -q -m 1 avx512f /proc/cpuinfo; then
    want 0 '' 'the program with AVX-512' ./v4 train --out built.v4 --quiet
else
    want 3 'this CPU has no avx512f.*built for avx512' 'a CPU that lacks instructions' ./v4 bench
    want 0 'avx512' 'can still tell what it is' ./v4 info
fi

# ---- which libraries -----------------------------------------------------------------------------

if readelf -d tiny | grep -q -e spng -e turbojpeg -e archive; then
    fail 'no library for images that are not there' "$(readelf -d tiny)"; else
    ok 'no library for images that are not there'; fi
want 2 'reads no PNG and no JPEG.*--images' 'such images' ./tiny predict --weights $W a.png
want 0 '' 'build for them' "$VMOEC" build tiny.vmoe -o seeing --images
want 0 '^colours/test/red/0.png: ' 'which it reads' \
    ./seeing predict --weights $W colours/test/red/0.png
if [ "$sanitized" = 1 ]; then
    echo 'skip a static program: none can be under sanitizers'
elif [ -e "$(cc -print-file-name=libjansson.a)" ] \
    && [ -e "$(cc -print-file-name=libxxhash.a)" ]
then
    want 0 '' 'build with all libraries inside' "$VMOEC" build tiny.vmoe -o static --static
    if readelf -d static | grep -q NEEDED; then
        fail 'it needs none' "$(readelf -d static)"; else ok 'it needs none'; fi
    want 0 '' 'it trains' ./static train --out built.static --quiet
    same 'to the same weights' jit/weights.safetensors built.static/weights.safetensors
else
    echo 'skip a static program: there is no libjansson.a or libxxhash.a'
fi

# ---- bad input -----------------------------------------------------------------------------------

want 2 "has no option --set" 'an option of the compiler' ./tiny train --set dim=8
want 2 'did you mean --epochs' 'a misspelled option' ./tiny train --epoch 3
want 2 'did you mean train' 'a misspelled command' ./tiny trian
want 2 "unknown command 'check'" 'a command of the compiler' ./tiny check
want 2 'no weights inside' 'no weights' ./tiny eval
want 1 'images prepared in another way: channels 3 there, 1 here' 'weights of another model' \
    ./tiny eval --weights $H
want 1 'does not fit this model' 'whatever they say' ./tiny eval --weights $H --anyway
want 3 "data set 'idx' not found" 'data that is not there' ./tiny train --data nowhere --out none
cp -r data more && images 74 > more/train-images-idx3-ubyte && fours 74 \
    > more/train-labels-idx1-ubyte
want 2 'training with 10 images at once, but for 6, 16; vmoec build --data' \
    'another number of images' ./tiny train --data more --out none
cp -r data fewer && images 20 > fewer/t10k-images-idx3-ubyte && fours 20 \
    > fewer/t10k-labels-idx1-ubyte
want 2 'not built for evaluating 4 images at once, but for 5, 6, 16; vmoec build --batch 4' \
    'another number of test images' ./tiny eval --weights $W --data fewer
mkdir -p other && cp -r colours/train other/train && cp -r colours/test other/test
mv other/train/red other/train/rose && mv other/test/red other/test/rose
want 1 "class 2 is 'rose' there, 'red' here" 'other classes' ./heads train --data other --out none
want 1 'was made with other settings: ' 'weights of other settings' sh -c \
    "'$VMOEC' init tiny.vmoe --set drop=0.5 -o drop.safetensors &&
    ./tiny eval --weights drop.safetensors"
want 0 'other settings' 'which may be insisted on' \
    ./tiny eval --weights drop.safetensors --anyway
if [ -e none ]; then fail 'nothing was begun' "$(ls none)"; else ok 'nothing was begun'; fi
want 2 'build needs -o' 'no file to write' "$VMOEC" build tiny.vmoe
want 3 'cannot write' 'a folder that is not there' "$VMOEC" build tiny.vmoe -o no/such/tiny
want 1 'images prepared in another way' 'weights of another model inside' \
    "$VMOEC" build tiny.vmoe -o no --weights $H
want 2 'numbers of images such as' 'sizes that are none' \
    "$VMOEC" build tiny.vmoe -o no --batch 0..x
want 3 "cannot run the C compiler 'no-such-cc'" 'no C compiler' \
    env CC=no-such-cc "$VMOEC" build tiny.vmoe -o no
echo 'somebody else wrote this' > notes
want 2 "'notes' is there and was not built" 'a file that is no program' \
    "$VMOEC" build tiny.vmoe -o notes
if [ "$(cat notes)" = 'somebody else wrote this' ]; then ok 'stays as it is'; else
    fail 'it stays as it is' "$(head -c 100 notes)"; fi
mkdir -p lib && echo '#define MINE 1' > lib/tiny.h
want 2 "tiny.h' is there and was not built" "somebody's header" \
    "$VMOEC" build tiny.vmoe --lib -o lib/
want 1 '' 'a model with a mistake' sh -c "sed s/norm/nrom/ tiny.vmoe > bad.vmoe
    '$VMOEC' build bad.vmoe -o no"
if [ -e no ]; then fail 'a failed build writes nothing' "$(ls -l no)"; else
    ok 'a failed build writes nothing'; fi
sed 's/dir = "data"/dir = "absent"/' tiny.vmoe > absent.vmoe
want 0 'the data is not there, so only batches of 16 are built' 'a build without data' \
    "$VMOEC" build absent.vmoe -o absent
want 2 'not built for training with 6 images at once, but for 16' 'meets what it did not know' \
    ./absent train --data data --out none
exit $failed
