#!/bin/sh
# The command line as a user meets it: exit codes, messages, bad input of every kind, and that nothing
# half-written is left behind. Needs the built program only; data and tensor files are made here.
#
#   VMOEC=build/vmoec tests/cli/run.sh
set -u
cd "$(dirname "$0")/../.." || exit 3
VMOEC=${VMOEC:-$PWD/build/vmoec}
case $VMOEC in /*) ;; *) VMOEC=$PWD/$VMOEC ;; esac
ROOT=$PWD
beside=$(dirname "$VMOEC")/../models # where the program looks by itself
VMOEC_MODELS=$ROOT/models
export VMOEC_MODELS
[ -x "$VMOEC" ] || { echo "FAIL setup cannot run $VMOEC"; exit 3; }
T=$(mktemp -d) || exit 3
trap 'chmod -R u+w "$T"; rm -rf "$T"' EXIT INT TERM
cp tests/cli/tiny.vmoe "$T"
cd "$T" || exit 3

failed=0
ok() { echo "ok $1"; }
fail() {
    echo "FAIL $1: $2"
    failed=1
}

# want STATUS PATTERN NAME COMMAND...: the status, and a line of the output that matches. Output stays in
# out (stdout) and log (stderr). A crash is never right.
want() {
    status=$1 pattern=$2 name=$3
    shift 3
    timeout 120 "$@" > out 2> log < /dev/null
    got=$?
    if [ "$got" -ne "$status" ]; then
        fail "$name" "exit status $got instead of $status: $(head -c 300 log)"
    elif [ -n "$pattern" ] && ! cat out log | grep -q -e "$pattern"; then
        fail "$name" "no line matches '$pattern': $(cat out log | head -c 300)"
    elif grep -q -e 'internal error' -e 'AddressSanitizer' -e 'runtime error' log; then
        fail "$name" "$(head -c 300 log)"
    else
        ok "$name"
    fi
}

same() { if cmp -s "$2" "$3"; then ok "$1"; else fail "$1" "$2 and $3 differ"; fi; }
absent() { if [ -e "$2" ]; then fail "$1" "$2 is there"; else ok "$1"; fi; }
clean() { # no temporary file anywhere in the folder
    left=$(find . -name '*.tmp*' | head -1)
    if [ -n "$left" ]; then fail "$1" "left behind: $left"; else ok "$1"; fi
}

# ---- files made by hand --------------------------------------------------------------------------

be32() {
    printf "$(printf '\\%03o\\%03o\\%03o\\%03o' $(($1 >> 24 & 255)) $(($1 >> 16 & 255)) $(($1 >> 8 & 255)) $(($1 & 255)))"
}
pixels() { yes '#vmoec: some pixels, none of them random.!' | tr -d '\n' | head -c "$1"; }
images() { printf '\0\0\10\3'; be32 "$1"; be32 8; be32 8; pixels $(($1 * 64)); }
labels() { printf '\0\0\10\1'; be32 "$1"; yes "$2" | head -n "$1" | tr -d '\n' | tr '0-9' '\0-\11'; }
fours() { printf '\0\0\10\1'; be32 "$1"; yes 0123 | tr -d '\n' | head -c "$1" | tr '0-9' '\0-\11'; }
dataset() {
    mkdir -p "$1"
    images 70 > "$1/train-images-idx3-ubyte"
    fours 70 > "$1/train-labels-idx1-ubyte"
    images 21 > "$1/t10k-images-idx3-ubyte"
    fours 21 > "$1/t10k-labels-idx1-ubyte"
}
# PNG files of 8 x 8 in one colour each.
picture() {
    case $1 in
    red) echo iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAEUlEQVR42mM4ISeHFTEMLQkAkL9BAc9woTwAAAAASUVORK5CYII= ;;
    green) echo iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAEUlEQVR42mOQOyGHFTEMLQkAZj9BAZFjH9cAAAAASUVORK5CYII= ;;
    blue) echo iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAEUlEQVR42mOQkzuBFTEMLQkAO79BAQ68oXkAAAAASUVORK5CYII= ;;
    white) echo iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAD0lEQVR42mM4gQMwDC0JAJwulgEYko6kAAAAAElFTkSuQmCC ;;
    esac | base64 -d
}
pictures() { # DIR: a class per colour
    for colour in red green blue white; do
        mkdir -p "$1/train/$colour" "$1/test/$colour"
        for i in 0 1 2 3 4 5; do picture $colour > "$1/train/$colour/$i.png"; done
        picture $colour > "$1/test/$colour/0.png"
    done
}
# tensors HEADER BYTES: a safetensors file of zeros
tensors() {
    n=${#1}
    printf "$(printf '\\%03o\\%03o\\0\\0\\0\\0\\0\\0' $((n & 255)) $((n >> 8 & 255)))"
    printf '%s' "$1"
    head -c "$2" /dev/zero
}
IMAGE2='"image":{"dtype":"F32","shape":[2,1,8,8],"data_offsets":[0,512]}'
LABEL2='"label":{"dtype":"I32","shape":[2],"data_offsets":[512,520]}'

dataset data
F=tiny.vmoe

# ---- the command line itself ---------------------------------------------------------------------

want 2 'usage: vmoec' 'no command' "$VMOEC"
want 0 'usage: vmoec COMMAND' 'help' "$VMOEC" help
want 0 'vmoec [0-9]' 'version' "$VMOEC" --version
for c in check info train eval init run verify bench emit opt fmt; do
    want 0 "usage: vmoec $c" "help $c" "$VMOEC" help $c
    want 2 'needs F' "$c without a file" "$VMOEC" $c
done
want 2 'did you mean train' 'misspelled command' "$VMOEC" trian $F
want 2 'there is no build command in this version' 'build is absent' "$VMOEC" build $F
want 2 'there is no predict command in this version' 'predict is absent' "$VMOEC" predict $F
want 2 'did you mean --epochs' 'misspelled option' "$VMOEC" train --epoch 3 $F
want 2 'has no option --frobnicate' 'unknown option' "$VMOEC" train --frobnicate $F
want 2 'takes a whole number' 'option of the wrong type' "$VMOEC" train --epochs two $F
want 2 'out of range' 'option out of range' "$VMOEC" train --epochs=0 $F
want 2 'of jsonl.*, not .json.$' 'a log of another name' "$VMOEC" train $F --log json --out runs/log
absent 'which is found before training' runs/log
want 2 'needs a value' 'option without its value' "$VMOEC" train $F --epochs
want 2 'is a size such as' 'a budget that is no size' "$VMOEC" info --mem-budget lots $F
want 2 'is a size such as' 'a budget of nothing' "$VMOEC" info --mem-budget 0 $F
want 3 'is not enough' 'a budget nothing fits in' "$VMOEC" info --mem-budget 1K $F
want 2 'takes no value' 'flag with a value' "$VMOEC" info --json=yes $F
want 2 'given twice' 'option given twice' "$VMOEC" train --seed 1 --seed 2 $F
want 2 'one word too many' 'two files' "$VMOEC" check $F $F
want 2 'needs --weights' 'eval without weights' "$VMOEC" eval $F
want 2 'needs -o' 'init without a file' "$VMOEC" init $F
want 2 'needs --stage' 'emit without a stage' "$VMOEC" emit $F
want 2 'did you mean llvm' 'misspelled stage' "$VMOEC" emit --stage llwm $F
want 2 'no target .avx51.; did you mean avx512' 'misspelled target' "$VMOEC" emit --stage plan --target avx51 $F
want 2 'f32 or bf16' 'bench in no precision' "$VMOEC" bench --precision fp8 $F
want 0 'needs AVX512_BF16' 'bf16 without the instruction' env VMOEC_ISA=avx2 "$VMOEC" emit --stage expand --precision bf16 -o none.vir $F
want 1 '' 'no mark without the instruction' grep 'bf16 = 1' none.vir
want 2 'train or infer' 'bench in no mode' "$VMOEC" bench --mode=both $F
want 2 'no model' 'unknown model' "$VMOEC" info --model tinny $F

# ---- files that are not models -------------------------------------------------------------------

want 3 "cannot open 'nowhere.vmoe'" 'missing file' "$VMOEC" check nowhere.vmoe
want 3 '' 'a folder for a file' "$VMOEC" check .
: > empty.vmoe
want 0 '' 'an empty file checks' "$VMOEC" check empty.vmoe
want 1 'there is no such router' 'a router that is not there' "$VMOEC" check "$ROOT/models/mnist_routers.vmoe" --set router=topk
want 1 'phase is experts, router or learnt' 'a phase that is not there' "$VMOEC" check "$ROOT/models/mnist_manual.vmoe" --set phase=end
want 1 'has no model' 'an empty file has no model' "$VMOEC" info empty.vmoe
printf 'model a\0b' > nul.vmoe
want 1 'nul.vmoe' 'a NUL byte' "$VMOEC" check nul.vmoe
head -c 4000 "$VMOEC" > binary.vmoe
want 1 'binary.vmoe' 'a binary file' "$VMOEC" check binary.vmoe
head -c 500 $F > half.vmoe
want 1 'half.vmoe:[0-9]*:[0-9]*: error' 'half a file' "$VMOEC" check half.vmoe
sed 's/mlp(hidden)/mpl(hidden)/' $F > unknown.vmoe
want 1 'unknown.vmoe:18:.*error' 'an unknown layer' "$VMOEC" check unknown.vmoe
want 1 '"diagnostics":' 'diagnostics as JSON' "$VMOEC" check --json unknown.vmoe
want 0 '"diagnostics": *\[\]' 'no diagnostics as JSON' "$VMOEC" check --json $F
sed 's/image, 4, dim/image, 3, dim/' $F > patch.vmoe
want 1 'patch.vmoe:.*error' 'a patch that does not divide' "$VMOEC" check patch.vmoe
want 2 'nosuch' '--set of an unknown name' "$VMOEC" check $F --set nosuch=3
want 2 'dim' '--set of the wrong type' "$VMOEC" check $F --set dim=wide
want 2 '' '--set without a value' "$VMOEC" check $F --set dim
want 1 'top_k\|top-k\|experts' '--set to something impossible' "$VMOEC" check $F --set top_k=9
want 1 '9 comes from --set' 'and the note says where it comes from' "$VMOEC" check $F --set top_k=9
want 0 '' '--set of something possible' "$VMOEC" check $F --set top_k=1 --set=experts=2
want 3 'VMOEC_MODELS' 'no layer library' env VMOEC_MODELS=/nowhere "$VMOEC" check $F
if [ -d "$beside" ]; then want 0 '' 'the layer library beside the program' env -u VMOEC_MODELS "$VMOEC" check $F; fi

mkfifo pipe.vmoe
want 3 'not a file' "a pipe in place of a model" "$VMOEC" check pipe.vmoe
want 3 'not a file' "a pipe in place of a graph" "$VMOEC" opt pipe.vmoe --passes=cse
want 3 'not a file' "a device in place of a model" "$VMOEC" check /dev/zero
printf 'config { folder = "a" }\nmodel m(x: f32[B, 4]) { linear(x, 3) }\n' > text.vmoe
want 0 '' "a setting with escapes" "$VMOEC" check text.vmoe --set 'folder="q\"uo"'
want 2 'folder' "a setting with a quote too many" "$VMOEC" check text.vmoe --set 'folder="q"uo"'
want 2 'not UTF-8' "a setting that is not UTF-8" "$VMOEC" check text.vmoe --set "folder=$(printf 'caf\351')"
printf 'model m(x: f32[B, 1], label: class[B, 2147483648]) {\n y = linear(x, 2147483648)\n metric accuracy(y, label)\n}\n' > wide.vmoe
want 1 'wide.vmoe:3:9: error: .*argmax' "sizes that a pass refuses" "$VMOEC" check wide.vmoe
want 1 'wide.vmoe:3:9: error: .*argmax' "sizes that a pass refuses, seen by info" "$VMOEC" info wide.vmoe
mkdir linked
printf 'config {a=1}\n' > linked/real.vmoe
ln -s linked/real.vmoe link.vmoe
want 0 '' "formatting through a link" "$VMOEC" fmt --write link.vmoe
if [ -L link.vmoe ] && grep -q 'a = 1' linked/real.vmoe; then ok "the link is kept"; else fail "the link is kept" "it is not"; fi

# ---- looking at a model --------------------------------------------------------------------------

want 0 '^total  *[0-9]' 'info' "$VMOEC" info $F
want 0 '"params_active":[0-9]' 'info as JSON' "$VMOEC" info --json $F
want 0 '^optimizer state  *0 B' 'inference has no optimizer state' "$VMOEC" info --mode infer $F
want 2 'train or infer' 'info of another mode' "$VMOEC" info --mode test $F
want 0 '"kernel":"expert_matmul_dw m=[0-9]' 'info lists the products of a step' "$VMOEC" info --json $F
for stage in ast ir expand grad fuse plan llvm asm dot; do
    want 0 . "emit $stage" "$VMOEC" emit --stage $stage $F
    cp out "$stage.txt"
done
for target in avx2 avx512 avx512-bf16; do # none of them has to be this CPU's
    want 0 . "emit for $target" "$VMOEC" emit --stage asm --target $target --precision bf16 $F
    cp out "$target.txt"
done
want 1 '' 'code for avx2 has no wider registers' grep -m1 zmm avx2.txt
want 0 . 'code for avx512 has them' grep -m1 zmm avx512.txt
want 1 '' 'and no products of bf16' grep -m1 vdpbf16ps avx512.txt
want 0 . 'which are for avx512-bf16' grep -m1 vdpbf16ps avx512-bf16.txt
want 0 . 'emit to a file' "$VMOEC" emit --stage ir -o ir2.txt $F --time
same 'emit to a file writes the same' ir.txt ir2.txt
for stage in ir expand grad fuse; do # reading back drops the places, which are comments
    "$VMOEC" opt $stage.txt > read.txt 2> log
    sed 's/  ; .*//' $stage.txt > plain.txt
    same "stage $stage reads back as it was" plain.txt read.txt
done
want 0 '^graph' 'emitted IR reads back' "$VMOEC" opt --passes=expand --training ir.txt
cp out expand2.txt
"$VMOEC" opt expand.txt > expand1.txt 2> log
same 'opt expands as emit does' expand1.txt expand2.txt
want 0 '^graph' 'the fused stage reads back' "$VMOEC" opt fuse.txt
want 1 'expand' 'passes on the wrong stage' "$VMOEC" opt --passes=fuse ir.txt
want 2 'chosen or measured' 'another view of routes' "$VMOEC" opt --passes=telemetry --telemetry=all ir.txt
want 2 'unknown pass' 'an unknown pass' "$VMOEC" opt --passes=expand,fold ir.txt
want 2 'unknown pass' 'printing after an unknown pass' "$VMOEC" opt --passes=expand --print-after=fold ir.txt
head -c 700 ir.txt > half.vir
want 1 'half.vir:[0-9]*:' 'half of an IR file' "$VMOEC" opt half.vir
want 3 'cannot open' 'a missing IR file' "$VMOEC" opt nowhere.vir
{ echo '; passes: expand,simplify --training'; cat ir.txt; } > crash.vir
want 0 '^graph' 'a crash file replays its passes' "$VMOEC" opt crash.vir
cp out crash1.txt
"$VMOEC" opt --passes=expand,simplify --training ir.txt > crash2.txt
same 'and gives what the passes give' crash1.txt crash2.txt
if "$VMOEC" opt --passes=expand - < ir.txt > out 2> log && grep -q '^graph' out; then
    ok 'opt reads standard input'
else
    fail 'opt reads standard input' "$(head -c 200 log)"
fi

# ---- formatting ----------------------------------------------------------------------------------

"$VMOEC" fmt $F > fmt1.vmoe
want 0 '' 'formatted text is formatted' "$VMOEC" fmt --check fmt1.vmoe
sed 's/  top_k = 2/top_k   =   2/' fmt1.vmoe > ugly.vmoe
want 1 'not formatted' 'ugly text is not' "$VMOEC" fmt --check ugly.vmoe
"$VMOEC" fmt fmt1.vmoe > fmt2.vmoe
same 'formatting twice changes nothing' fmt1.vmoe fmt2.vmoe
want 0 '' 'fmt --write' "$VMOEC" fmt --write ugly.vmoe
same 'fmt --write formats' fmt1.vmoe ugly.vmoe
cp half.vmoe half0.vmoe
want 1 'error' 'fmt of half a file' "$VMOEC" fmt --write half.vmoe
same 'a file with mistakes is left alone' half.vmoe half0.vmoe

# ---- weights -------------------------------------------------------------------------------------

want 0 '' 'init' "$VMOEC" init $F --seed 3 -o w.safetensors
want 0 '' 'init again' "$VMOEC" init $F --seed 3 -o w2.safetensors
same 'the same seed gives the same weights' w.safetensors w2.safetensors
"$VMOEC" init $F --seed 4 -o w2.safetensors
if cmp -s w.safetensors w2.safetensors; then
    fail 'another seed' 'gives the same weights'
else
    ok 'another seed'
fi
sed 's/mlp(hidden)/mlp(hidden, init = xavier(same = true))/' $F > alike.vmoe
want 0 'tiny.moe.mlp.up.weight", init = "same(xavier(16,24))"' 'experts that start alike' "$VMOEC" emit --stage expand alike.vmoe
sed 's/  ; .*//' out > plain.txt
"$VMOEC" opt out > read.txt 2> log
same 'and their IR reads back' plain.txt read.txt
want 0 '' 'their initial values' "$VMOEC" init alike.vmoe --seed 3 -o alike.safetensors
if [ "$(gzip -c alike.safetensors | wc -c)" -lt $(($(gzip -c w.safetensors | wc -c) * 3 / 4)) ]; then # 3 of 4 experts are copies
    ok 'are repeated'
else
    fail 'are repeated' 'the files pack to about the same size'
fi
want 3 'nowhere' 'init into a missing folder' "$VMOEC" init $F -o nowhere/w.safetensors
mkdir locked
want 3 'locked' 'init onto a folder' "$VMOEC" init $F -o locked
mkfifo pipe
cat pipe > piped.safetensors &
want 0 '' 'init into a pipe' "$VMOEC" init $F --seed 3 -o pipe
wait
if [ -p pipe ]; then ok 'a pipe stays a pipe'; else fail 'a pipe stays a pipe' 'it was replaced'; fi
same 'a pipe gets the weights' w.safetensors piped.safetensors
want 3 "cannot write 'big.safetensors': File too large" 'a limit on file sizes' sh -c \
    "ulimit -f 8; exec '$VMOEC' init $F -o big.safetensors"
absent 'no file over the limit' big.safetensors
head -c 2000 w.safetensors > short.safetensors
want 1 'short.safetensors' 'truncated weights' "$VMOEC" eval $F --data data --weights short.safetensors
: > none.safetensors
want 1 'none.safetensors' 'an empty weights file' "$VMOEC" eval $F --data data --weights none.safetensors
want 3 'nowhere' 'missing weights' "$VMOEC" eval $F --data data --weights nowhere.safetensors
want 1 'safetensors' 'weights that are no tensors' "$VMOEC" eval $F --data data --weights $F
tensors '{"stray.weight":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}' 8 > stray.safetensors
want 1 'stray.weight' 'weights of another model' "$VMOEC" eval $F --data data --weights stray.safetensors
esc=$(printf '\033')
tensors '{"a\u001b[31m":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}' 8 > stray.safetensors
want 1 "'a?.31m'" 'names do not reach the terminal raw' "$VMOEC" eval $F --data data --weights stray.safetensors
if grep -q "$esc" log; then fail 'no escapes in messages' 'there are'; else ok 'no escapes in messages'; fi
"$VMOEC" init $F --set hidden=16 -o narrow.safetensors
want 1 'another shape' 'weights of another shape' "$VMOEC" eval $F --data data --weights narrow.safetensors

# ---- one evaluation ------------------------------------------------------------------------------

tensors "{$IMAGE2,$LABEL2}" 520 > in.safetensors
want 0 '' 'run' "$VMOEC" run $F --weights w.safetensors --inputs in.safetensors --outputs o.safetensors
if grep -a -q '"logits"' o.safetensors; then ok 'run writes the logits'; else fail 'run writes the logits' 'no'; fi
want 0 '' 'run --grad' "$VMOEC" run $F --grad --routes --mode=train --weights w.safetensors \
    --inputs in.safetensors --outputs g.safetensors
for name in grad.tiny.logits.weight route.0.experts cross_entropy; do
    if grep -a -q "\"$name\"" g.safetensors; then ok "run writes $name"; else fail "run writes $name" 'no'; fi
done
want 2 'train or eval' 'run in no mode' "$VMOEC" run $F --mode=both --weights w.safetensors --inputs in.safetensors \
    --outputs x.safetensors
tensors '{"image":{"dtype":"F32","shape":[2,1,8,8],"data_offsets":[0,512]}}' 512 > bad.safetensors
want 1 'missing: label' 'an input is missing' "$VMOEC" run $F --weights w.safetensors --inputs bad.safetensors \
    --outputs x.safetensors
tensors '{"image":{"dtype":"F32","shape":[2,1,8,4],"data_offsets":[0,256]},"label":{"dtype":"I32","shape":[2],"data_offsets":[256,264]}}' \
    264 > bad.safetensors
want 1 'image is f32\[2,1,8,4\] but' 'an input has another shape' "$VMOEC" run $F --weights w.safetensors \
    --inputs bad.safetensors --outputs x.safetensors
tensors '{"image":{"dtype":"F32","shape":[2,1,8,8],"data_offsets":[0,512]},"label":{"dtype":"F32","shape":[2],"data_offsets":[512,520]}}' \
    520 > bad.safetensors
want 1 'label is f32' 'an input has another type' "$VMOEC" run $F --weights w.safetensors \
    --inputs bad.safetensors --outputs x.safetensors
tensors "{$IMAGE2,$LABEL2,\"more\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[520,524]}}" 524 > bad.safetensors
want 1 'more is not an input' 'an input too many' "$VMOEC" run $F --weights w.safetensors --inputs bad.safetensors \
    --outputs x.safetensors
{ head -c -4 in.safetensors; printf '\7\0\0\0'; } > bad.safetensors
want 1 'label\[1\] is 7, but there are 4 classes' 'a label that is no class' "$VMOEC" run $F --weights w.safetensors \
    --inputs bad.safetensors --outputs x.safetensors
tensors '{"image":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}' 4 > bad.safetensors
want 1 'leading dimension' 'a scalar for an image' "$VMOEC" run $F --weights w.safetensors --inputs bad.safetensors \
    --outputs x.safetensors
absent 'a failed run writes nothing' x.safetensors
want 3 'nowhere' 'run into a missing folder' "$VMOEC" run $F --weights w.safetensors --inputs in.safetensors \
    --outputs nowhere/o.safetensors

# ---- data ----------------------------------------------------------------------------------------

want 3 'not found' 'data that is not there' "$VMOEC" train $F --data nowhere --out runs/a --overwrite
dataset bad && head -c 1000 data/train-images-idx3-ubyte > bad/train-images-idx3-ubyte
want 1 'promises 4480 bytes of images, the file has 984' 'truncated images' "$VMOEC" train $F --data bad --out runs/a --overwrite
dataset bad && pixels 9 >> bad/train-images-idx3-ubyte
want 1 'train-images' 'images with something after them' "$VMOEC" train $F --data bad --out runs/a --overwrite
dataset bad && pixels 900 > bad/train-images-idx3-ubyte
want 1 'train-images' 'images that are none' "$VMOEC" train $F --data bad --out runs/a --overwrite
dataset bad && { printf '\0\0\10\3'; be32 2147483647; be32 65535; be32 65535; } > bad/train-images-idx3-ubyte
want 1 'train-images' 'images that claim to be huge' "$VMOEC" train $F --data bad --out runs/a --overwrite
dataset bad && fours 69 > bad/train-labels-idx1-ubyte
want 1 '69' 'a label short' "$VMOEC" train $F --data bad --out runs/a --overwrite
dataset bad && labels 70 7 > bad/train-labels-idx1-ubyte
want 1 'label' 'labels that are no classes' "$VMOEC" train $F --data bad --out runs/a --overwrite
dataset bad && rm bad/t10k-labels-idx1-ubyte
want 3 't10k-labels' 'no test labels' "$VMOEC" train $F --data bad --out runs/a --overwrite
dataset bad && gzip -f bad/t10k-images-idx3-ubyte && head -c 40 bad/t10k-images-idx3-ubyte.gz > cut &&
    mv cut bad/t10k-images-idx3-ubyte.gz
want 1 't10k-images.*cut off: the compressed data' 'half a gzip file' "$VMOEC" train $F --data bad --out runs/a --overwrite
rm bad/t10k-images-idx3-ubyte.gz
dataset bad && gzip -f bad/t10k-images-idx3-ubyte && printf '\1\2\3' |
    dd of=bad/t10k-images-idx3-ubyte.gz bs=1 seek=80 conv=notrunc 2> dd.log
want 1 'gz: damaged: [^/]*$' 'a damaged gzip file' "$VMOEC" train $F --data bad --out runs/a --overwrite
want 1 'tiny.vmoe:3[0-9]:.*images \[B, 1, 8, 8\]' 'images of another size' "$VMOEC" train $F --set size=12 --data data --out runs/a --overwrite
absent 'nothing is written before the data is good' runs/a

# ---- training ------------------------------------------------------------------------------------

want 0 '^test accuracy' 'train' "$VMOEC" train $F --data data --out runs/t --overwrite --seed 5 --threads 2
W=$(sed -n 's/^weights //p' out)
M=$(sed -n 's/^metrics //p' out)
if [ "$(grep -c '"event": *"epoch"' "$M")" = 2 ]; then ok 'two epochs in the metrics'; else fail 'two epochs in the metrics' "$M"; fi
for key in phase epoch train_loss test_loss test_accuracy seconds images_per_second; do
    if [ "$(grep '"event":"epoch"' "$M" | grep -c "\"$key\":")" = 2 ]; then ok "epoch lines have $key"; else
        fail "epoch lines have $key" "$M"
    fi
done
routed='"router":{"moe.route":{"load":[[0-9.,]*],"dead":[0-9]*,"entropy":[0-9.]*,"largest":[-0-9.e]*,"variation":[0-9.e-]*}}'
if [ "$(grep '"event":"epoch"' "$M" | grep -c "$routed")" = 2 ]; then ok 'epoch lines tell of routes'; else
    fail 'epoch lines tell of routes' "$M"
fi
accuracy=$(sed -n 's/.*"test_accuracy":\([0-9.]*\).*/\1/p' "$M" | tail -n 1)
want 0 "\"accuracy\":$accuracy[0-9]*}" 'eval finds the accuracy training ended with' "$VMOEC" eval $F --data data \
    --weights "$W" --json
want 0 'on 21 test images' 'eval counts every image' "$VMOEC" eval $F --data data --weights "$W" --batch 8
want 0 '"images":21' 'eval as JSON' "$VMOEC" eval $F --data data --weights "$W" --json
"$VMOEC" train $F --data data --out runs/t1 --overwrite --seed 5 --threads 1 > out1 2> log
same 'one thread trains to the same bits' "$W" "$(sed -n 's/^weights //p' out1)"
want 0 '^test accuracy' 'train three steps' "$VMOEC" train $F --data data --out runs/s --overwrite --steps 3
want 1 "loss 'cross_entropy' is \(not a number\|infinite\) at step 1" 'a loss that is not finite' "$VMOEC" train $F --data data --out runs/nan --overwrite \
    --set blow=3e38 --steps 5
absent 'no weights of a broken run' runs/nan/checkpoint/weights.safetensors
want 2 'seed: 5 there, 6 here' 'resuming another run' "$VMOEC" train $F --data data --out runs/t --seed 6 --resume
sed 's/weight = 0.01$/weight = 0.02/' $F > edited.vmoe
want 2 'graph: ' 'resuming another model' "$VMOEC" train edited.vmoe --data data --out runs/t --seed 5 --resume
cp -r runs/t runs/other
dataset other && printf x | dd of=other/train-images-idx3-ubyte bs=1 seek=20 conv=notrunc 2> dd.log
want 2 'train_data: 70 images, fingerprint .* there, .* here' 'resuming on other data' "$VMOEC" train $F --data other --out runs/other --seed 5 --resume
want 0 'warning: the checkpoint in runs/other belongs to another run' 'which those may who mean it' \
    "$VMOEC" train $F --data other --out runs/other --seed 5 --resume=anyway --quiet
want 2 "takes previous, anyway or both" 'a word that --resume does not know' "$VMOEC" train $F --data data --out runs/t --resume=last
want 2 'holds a run already' 'a run where another is' "$VMOEC" train $F --data data --out runs/t --seed 6
want 2 'no checkpoint in .runs/mistyped' 'resuming nothing' "$VMOEC" train $F --data data --out runs/mistyped --resume --quiet
absent 'and nothing is made there' runs/mistyped
cp runs/t/checkpoint/trainer.json position.json
sed 's/"step": 10,/"step": 11,/' position.json > runs/t/checkpoint/trainer.json
want 1 'trainer.json: damaged: its checksum' 'a record that was edited' "$VMOEC" train $F --data data --out runs/t --seed 5 --resume
want 1 'of step [0-9]*, is undamaged: --resume=previous' 'and the one before is offered' "$VMOEC" train $F --data data --out runs/t --seed 5 --resume
rm runs/t/checkpoint/trainer.json
want 1 'trainer.json is missing' 'a checkpoint without its record' "$VMOEC" train $F --data data --out runs/t --seed 5 --resume
want 0 '^test accuracy' 'going on from the one before it' "$VMOEC" train $F --data data --out runs/t --seed 5 --resume=previous
same 'to the same weights' "$W" runs/t1/weights.safetensors

# Batches that a run will come to are built before its first step; check tries them where the data is.
cat > groups.vmoe << 'END'
use "std/moe"
model m(image: f32[B, 1, 8, 8], label: class[B, 4]) {
  x = vmoe_mlp(reshape(image, [B, 4, 16]), experts = 2, top_k = 1, hidden = 8, groups = 16)
  loss cross_entropy(linear(mean(x, axis = 1), 4), label)
}
train m { data = idx(dir = "data", batch = 16, drop_last = last) }
END
sed -i '1i config { last = false }' groups.vmoe
want 1 '16 groups of 24 tokens' 'a last batch that cannot be built' "$VMOEC" train groups.vmoe --data data --out runs/groups
if grep -q 'the last batch of the 70 training images has 6; another batch, or drop_last = true, avoids it' log; then
    ok 'and where it comes from'; else fail 'and where it comes from' "$(head -c 400 log)"; fi
absent 'which makes no folder' runs/groups
want 1 'groups.vmoe:7:.*the last batch of 70 training images has 6' 'check finds it' "$VMOEC" check groups.vmoe
want 1 'of 21 test images has 5' 'check finds one of the test set' "$VMOEC" check groups.vmoe --set 'last=true'
want 3 'nowhere' 'check of data that is not there' "$VMOEC" check groups.vmoe --data nowhere
want 0 '' 'init takes the batch of the train block' "$VMOEC" init groups.vmoe -o groups.safetensors

# Phases: several train blocks of one model.
cat > phases.vmoe << 'END'
model m(image: f32[B, 1, 8, 8], label: class[B, 4]) {
  loss cross_entropy(linear(reshape(image, [dim(image, 0), 64]), 4), label)
}

train long of m {
  data = idx(dir = "data")
  epochs = 3 steps
}

train short of m {
  data = idx(dir = "data", batch = 16)
  epochs = 2 steps
}
END
want 2 'several phases (long, short): choose one with --phase' 'which phase is to be said' "$VMOEC" train phases.vmoe
want 2 "no phase 'shrot'; did you mean short?" 'a phase that is not there' "$VMOEC" train phases.vmoe --phase shrot
want 0 'after 2 steps' 'a phase by its name' "$VMOEC" train phases.vmoe --phase short --out runs/phase
want 0 '' 'which the log has' grep -q '"phase":"short"' runs/phase/metrics.jsonl
want 2 'choose one with --phase' 'an evaluation of one, too' "$VMOEC" eval phases.vmoe --weights runs/phase/weights.safetensors
want 0 'accuracy\|loss' 'which is found by its name' \
    "$VMOEC" eval phases.vmoe --weights runs/phase/weights.safetensors --phase short
want 0 '' 'a phase has its own settings everywhere' "$VMOEC" emit phases.vmoe --stage ir --phase short -o short.ir
want 0 '' 'its batch' grep -q 'f32\[16,1,8,8\]' short.ir
want 0 '' 'phases keep their names in fmt' "$VMOEC" fmt --check phases.vmoe

# Where runs go when nobody says.
cp $F ...vmoe
want 0 '^weights runs/...vmoe/weights' 'a file with a name of dots' "$VMOEC" train ...vmoe --data data --steps 1
want 0 '^weights runs/...vmoe-2/weights' 'a second run goes beside the first' "$VMOEC" train ...vmoe --data data --steps 1
want 0 'now in runs/...vmoe.old$' 'or moves it aside' "$VMOEC" train ...vmoe --data data --steps 1 --overwrite
want 0 '^weights runs/...vmoe-2/weights' 'the last one goes on' "$VMOEC" train ...vmoe --data data --steps 1 --resume
sed 's/epochs = 2/epochs = 0.05/' $F > none.vmoe
want 1 'epochs = 0.05 of 5 steps each is no step at all' 'a run of no step' "$VMOEC" train none.vmoe --data data --out runs/none
absent 'which makes no folder' runs/none

# Starting from a file.
"$VMOEC" init $F --seed 5 -o start.safetensors
want 0 '^20 of 20 weights from start.safetensors$' 'train from initial weights' "$VMOEC" train $F --data data \
    --out runs/w --overwrite --seed 5 --threads 2 --weights start.safetensors
same 'which is what the seed gives' "$W" "$(sed -n 's/^weights //p' out)"
fingerprint=$(sed -n 's/.*"event":"start".*"weights":"\([0-9a-f]\{16\}\)".*/\1/p' runs/w/metrics.jsonl)
if [ -n "$fingerprint" ]; then ok 'the log knows the file'; else fail 'the log knows the file' "$(head -n 1 runs/w/metrics.jsonl)"; fi
if head -n 1 "$M" | grep -q '"weights":"none"'; then ok 'or that there was none'; else fail 'or that there was none' "$(head -n 1 "$M")"; fi
want 0 '^20 of 20' 'train on from trained weights' "$VMOEC" train $F --data data --out runs/on --overwrite --seed 5 --weights "$W"
if cmp -s "$W" runs/on/weights.safetensors; then fail 'trained weights go on' 'nothing changed'; else ok 'trained weights go on'; fi
sed 's/logits = linear/head = linear/; s/(logits/(head/; s/^  logits$/  head/' $F > head.vmoe
want 0 '^16 of 20 weights from start.safetensors; fresh initial values for tiny.head.norm.weight, tiny.head.norm.bias, tiny.head.weight and 1 more; 4 in the file are not in the model$' \
    'a new head on trained layers' "$VMOEC" train head.vmoe --data data --out runs/head --overwrite --steps 2 --weights start.safetensors
want 0 '' 'quietly' "$VMOEC" train head.vmoe --data data --out runs/head --overwrite --steps 3 --weights start.safetensors --quiet
if [ -s log ]; then fail 'and --quiet says nothing of it' "$(head -c 300 log)"; else ok 'and --quiet says nothing of it'; fi
want 2 'exclude each other' 'weights for a run that is resumed' "$VMOEC" train $F --data data --out runs/w --resume --weights w.safetensors
want 1 'tiny.moe.mlp.up.weight. (model f32\[4,16,24\], file f32\[4,16,16\])' 'starting from weights of another shape' \
    "$VMOEC" train $F --data data --out runs/bad --overwrite --weights narrow.safetensors
want 1 'stray.safetensors has no weight of this model' 'starting from weights of another model' \
    "$VMOEC" train $F --data data --out runs/bad --overwrite --weights stray.safetensors
want 1 'short.safetensors' 'starting from truncated weights' "$VMOEC" train $F --data data --out runs/bad --overwrite --weights short.safetensors
want 3 'nowhere' 'starting from weights that are not there' "$VMOEC" train $F --data data --out runs/bad --overwrite --weights nowhere.safetensors
absent 'nothing is written without weights' runs/bad
mkdir -p runs/taken/weights.safetensors
want 3 'weights.safetensors. is a folder; expected a file' 'a folder where the weights go' "$VMOEC" train $F --data data --out runs/taken
absent 'which is found before training' runs/taken/metrics.jsonl
: > plain
want 3 'plain' 'an output folder that is a file' "$VMOEC" train $F --data data --out plain --overwrite --steps 1
want 3 'plain' 'an output folder below a file' "$VMOEC" train $F --data data --out plain/x --overwrite --steps 1
if [ "$(id -u)" -ne 0 ]; then
    chmod a-w locked
    want 3 'locked' 'an output folder that cannot be written' "$VMOEC" train $F --data data --out locked/x --overwrite --steps 1
fi
# Labels that are shares of classes, and no label at all. One-hot shares give the loss of the classes.
sed 's/label: class\[B, 4\]/label: f32[B, 4]/; s/loss cross_entropy.*/loss xent = 0 - mean(sum(log(softmax(logits * blow)) * label, axis = 1))/; /metric/d' \
    $F > shares.vmoe
want 0 'test loss' 'labels that are shares of classes' "$VMOEC" train shares.vmoe --data data --out runs/shares --overwrite --steps 5
"$VMOEC" train $F --data data --out runs/class --overwrite --steps 5 --quiet > classes
if awk '{ loss[NR] = $NF ? $0 : ""; sub(/.*test loss /, "", loss[NR]); sub(/ .*/, "", loss[NR]) }
    FNR == 1 { x[++n] = loss[NR] } END { exit !(n == 2 && (x[1] - x[2])^2 < 1e-8) }' out classes; then
    ok 'which give the same loss'
else
    fail 'which give the same loss' "$(head -n 1 out) and $(head -n 1 classes)"
fi
want 1 'label 3 of image 3 is not below the number of classes, 3' 'a share too few' sh -c "sed 's/label: f32\[B, 4\]/label: f32[B, 3]/; \
    s/axis = 1), 4)/axis = 1), 3)/' shares.vmoe > shares3.vmoe; \"\$0\" train shares3.vmoe --data data --out runs/shares --overwrite" "$VMOEC"
sed 's/, label: class\[B, 4\]//; s/loss cross_entropy.*/loss distance = mean(square(linear(x, 16) - patchify(image, 4)))/; /metric/d' \
    $F > pixels.vmoe
want 0 '^test loss' 'a model without a label' "$VMOEC" train pixels.vmoe --data data --out runs/pixels --overwrite --steps 5
want 0 'loss .* on 21 test images' 'and its evaluation' "$VMOEC" eval pixels.vmoe --data data --weights runs/pixels/weights.safetensors
sed '/^train/,$d' $F > notrain.vmoe
want 1 'no train block' 'a file without a train block' "$VMOEC" train notrain.vmoe --data data
sed 's/, label: class\[B, 4\]//; /loss/d; /metric/d; /aux/d' notrain.vmoe > noloss.vmoe
want 0 '' 'a model without a loss' "$VMOEC" emit --stage fuse noloss.vmoe
want 1 'no loss' 'bench of a model without a loss' "$VMOEC" bench noloss.vmoe
want 0 '^step' 'inference of a model without a loss' "$VMOEC" bench --mode infer --steps 3 noloss.vmoe

# ---- verify, bench -------------------------------------------------------------------------------

want 0 'finite differences .* ok' 'verify' "$VMOEC" verify $F
for r in top_k all_experts expert_choice image_expert_choice priority_choice capacity batch_priority renormalised \
    follow_label keep_first sparse_capacity uniform blocks topk_softmax softmax_topk_renorm sigmoid_topk two_groups expert_dropout; do
    want 0 'finite differences .* ok' "verify the router $r" "$VMOEC" verify "$ROOT/tests/routers/routers.vmoe" --batch 3 --set router=$r --set factor=0.6
done
want 0 '"mfu":' 'bench' "$VMOEC" bench --json --steps 3 $F
for key in step_ms latency_ms images_per_second flops peak_gflops mfu moe_overhead compile_ms peak_rss kernels roof; do
    if grep -q "\"$key\":" out; then ok "bench has $key"; else fail "bench has $key" 'no'; fi
done
if grep -q '"moe_overhead":-\?[0-9]' out && grep -q '"dense_no_update_ms":[0-9]' out; then
    ok 'bench compares with plain layers'
else
    fail 'bench compares with plain layers' "$(head -c 300 out)"
fi
want 0 'uniform, fullest expert 1.00 x the mean' 'bench with equal loads' \
    "$VMOEC" bench --steps 3 --routing uniform $F
want 0 'skew=0.5, fullest expert' 'bench with skewed loads' "$VMOEC" bench --steps 3 --routing skew=0.5 $F
want 0 '"expert_load_max":4[.,]' 'bench with all tokens at one expert' \
    "$VMOEC" bench --json --steps 3 --routing skew=1 --set experts=4 --set top_k=1 $F
for how in skew skew= skew=0 skew=1.5 skew=x random; do
    want 2 'routing is learned, uniform or skew=SHARE' "bench --routing '$how'" "$VMOEC" bench --routing "$how" $F
done
want 0 '^kernel .*roof %' 'bench as a table' "$VMOEC" bench --steps 3 --threads 1 --roofline roof.svg $F
if ! command -v xmllint > /dev/null; then
    echo 'skip the roofline is well-formed: no xmllint'
elif xmllint --noout roof.svg 2> log; then
    ok 'the roofline is well-formed'
else
    fail 'the roofline is well-formed' "$(head -c 300 log)"
fi
for part in '<svg xmlns' '<circle class="compute"' '<circle class="memory"' 'GFLOP/s f32 FMA' prefers-color-scheme; do
    if grep -q -F "$part" roof.svg; then ok "the roofline has $part"; else fail "the roofline has $part" 'no'; fi
done
want 3 'cannot write' 'a roofline in no folder' "$VMOEC" bench --steps 3 --roofline nowhere/r.svg $F

want 0 '"kernels":\[\]' 'bench of steps only' "$VMOEC" bench --json --steps 3 --step-only $F
want 2 'leaves no kernels for --roofline' 'no kernels to draw' "$VMOEC" bench --step-only --roofline r.svg $F

# ---- one kernel ----------------------------------------------------------------------------------

want 0 'roof' 'list of kernels' "$VMOEC" bench --kernel 'matmul m=40 n=72 k=24' --steps 3
while read -r text; do
    want 0 ': ok$' "bench --kernel $text" "$VMOEC" bench --steps 3 --kernel "$text"
done << KERNELS
matmul m=40 n=72 k=24
matmul m=40 n=72 k=24 tb=1 epilogue=bias_gelu
matmul m=40 n=72 k=24 ta=1 epilogue=residual
matmul m=33 n=17 k=5 batch=3 weight=0
expert_matmul m=64 n=40 k=24 top_k=2 gather=1 epilogue=bias
expert_matmul m=64 n=40 k=24 experts=4 skew=0.9 tb=1
expert_matmul_dw m=24 n=40 k=64 experts=4 skew=1
sdpa batch=2 n=17 dim=32 heads=2
sdpa_grad batch=2 n=17 dim=32 heads=2
softmax m=10 n=33
layer_norm m=10 n=48
layer_norm_grad m=10 n=48
sum m=50 n=20
topk m=64 n=8 k=2
adamw n=1000
KERNELS
want 0 '"ms_with_packing":' 'one kernel as JSON' "$VMOEC" bench --json --steps 3 --kernel 'matmul m=40 n=72 k=24'
for key in kernel ms gflops gbs roof bound error kernels peak_gflops; do
    if grep -q "\"$key\":" out; then ok "bench --kernel has $key"; else fail "bench --kernel has $key" 'no'; fi
done
if grep -q '"verified":true' out; then ok 'it was verified'; else fail 'it was verified' 'no'; fi
want 0 '"verified":false' 'one kernel, only timed' "$VMOEC" bench --json --no-verify --steps 3 --kernel 'sum m=9 n=9'
want 0 'sdpa_grad' 'what --kernel knows' "$VMOEC" bench --kernel help
want 2 'did you mean matmul' 'a misspelled kernel' "$VMOEC" bench --kernel 'matmull m=3'
want 2 'kernel:1:14: error: expected a whole number' 'a kernel with a wrong number' "$VMOEC" bench --kernel 'matmul m=3 n=x k=2'
want 2 'did you mean n?' 'a misspelled key' "$VMOEC" bench --kernel 'matmul m=3 nn=4'
want 2 'epilogue, found .geul.; did you mean gelu' 'a misspelled choice' "$VMOEC" bench --kernel 'matmul m=3 n=4 k=2 epilogue=geul'
want 2 'expert_matmul does' "another kernel's key" "$VMOEC" bench --kernel 'softmax m=3 experts=2'
want 2 'matmul needs n, k' 'a missing key' "$VMOEC" bench --kernel 'matmul m=3'
want 2 'm is given twice' 'a key given twice' "$VMOEC" bench --kernel 'matmul m=3 n=4 k=2 m=4'
want 2 'heads=3 does not divide dim=10' 'heads that do not divide' "$VMOEC" bench --kernel 'sdpa batch=2 n=4 dim=10 heads=3'
want 2 'is more than n=3' 'more than there are' "$VMOEC" bench --kernel 'topk m=3 n=3 k=4'
want 2 'the most that can be timed' 'a kernel too large' "$VMOEC" bench --kernel 'matmul m=1048576 n=1048576 k=2'
want 2 'found nothing' 'a blank kernel' "$VMOEC" bench --kernel ' '
want 2 'takes the place of a file' 'a kernel and a file' "$VMOEC" bench --kernel 'sum m=9 n=9' $F
want 2 'does not go with --kernel' 'a kernel with a batch' "$VMOEC" bench --kernel 'sum m=9 n=9' --batch 3
want 2 'goes with --kernel' 'no-verify of a file' "$VMOEC" bench --no-verify $F
if [ -w /dev/full ]; then
    "$VMOEC" info $F > /dev/full 2> log
    got=$?
    if [ $got -eq 3 ]; then ok 'a full disk'; else fail 'a full disk' "exit status $got"; fi
fi
clean 'no temporary files'
absent 'no crash file' vmoec-crash.vir

# ---- kernels kept on disk ------------------------------------------------------------------------

kept() { find "$T/kernels" -type f | wc -l; }
cached() { # PATTERN NAME OPTION...: how many kernels the cache had, as --time says
    pattern=$1 name=$2
    shift 2
    want 0 "$pattern" "$name" env VMOEC_CACHE_DIR="$T/kernels" "$VMOEC" bench tiny.vmoe --steps 3 --time "$@"
}
crowd=
for i in 1 2 3 4 5 6 7 8; do # a cold cache and eight that fill it
    VMOEC_CACHE_DIR=$T/kernels "$VMOEC" bench tiny.vmoe --steps 3 --json > "crowd.$i" 2>&1 &
    crowd="$crowd $!"
done
together=0
for pid in $crowd; do wait "$pid" || together=1; done
if [ $together -eq 0 ]; then ok 'eight cold starts at once'; else fail 'eight cold starts at once' "$(cat crowd.* | grep -v '^{' | head -3)"; fi
if [ -n "$(find kernels -name '.vmoec-*')" ]; then fail 'no temporary kernels' "$(find kernels -name '.vmoec-*' | head -1)"; else ok 'no temporary kernels'; fi
cached ' \([0-9]*\) of \1 kernels found' 'a warm start finds all'
all=$(kept)
cached ' 0 of [1-9][0-9]* kernels found' 'no cache' --no-cache
find kernels -type f | head -5 | while read -r f; do : > "$f"; done
cached ' [1-9][0-9]* of [1-9]' 'damaged kernels are made again'
cached ' \([0-9]*\) of \1 kernels found' 'and kept again'
if [ "$(kept)" -eq "$all" ]; then ok 'as many kernels as before'; else fail 'as many kernels as before' "$all, then $(kept)"; fi
want 0 ' 0 of [1-9][0-9]* kernels found;' 'a cache that cannot be made' \
    env VMOEC_CACHE_DIR=/proc/nothing "$VMOEC" bench tiny.vmoe --steps 3 --time
mkdir others && chmod 777 others
want 0 'warning: kernels are not kept.*others' 'a cache that others could put code into' \
    env VMOEC_CACHE_DIR="$T/others/kernels" "$VMOEC" bench tiny.vmoe --steps 3
absent 'nothing is made there' others/kernels
want 0 ' 0 of [1-9][0-9]* kernels found$' 'VMOEC_CACHE=off' env VMOEC_CACHE=off "$VMOEC" bench tiny.vmoe --steps 3 --time
mkdir alone
cp "$VMOEC" alone/vmoec
want 3 'vmoec-llvm.so' 'a program without its code generator' \
    env VMOEC_CACHE=off alone/vmoec bench tiny.vmoe --steps 3
want 0 kernels 'a warm start needs no code generator' \
    env VMOEC_CACHE_DIR="$T/kernels" alone/vmoec bench tiny.vmoe --steps 3 --time
cp "$T/tiny.vmoe" alone/vmoec-llvm.so
want 3 'code generator' 'a code generator that is none' \
    env VMOEC_CACHE=off alone/vmoec bench tiny.vmoe --steps 3

# ---- tuned blocks --------------------------------------------------------------------------------

want 0 'untuned' 'tune a small model' "$VMOEC" tune tiny.vmoe --seconds 8 -o found.tune
began=$(date +%s)
want 0 '' 'tune without time' "$VMOEC" tune tiny.vmoe --seconds 1 -o none.tune
took=$(($(date +%s) - began))
if [ "$took" -le 4 ]; then ok 'tune keeps its time'; else fail 'tune keeps its time' "$took s of 1"; fi
[ -e found.tune ] || echo '# no gain here' > found.tune
want 0 'found.tune' 'what tune wrote is read' "$VMOEC" bench tiny.vmoe --steps 3 --time --tune found.tune
want 2 'out of range' 'tune for no time' "$VMOEC" tune tiny.vmoe --seconds 0
printf 'matmul m=4 n=16 k=16 -> rows=7 colz=64\n' > tiny.tune
want 1 'tiny.tune:1:32: error: expected cols=, found .colz=' 'a mistake in the file beside the model' \
    "$VMOEC" bench tiny.vmoe --steps 3
want 3 'cannot open' 'a tuning file that is not there' "$VMOEC" bench tiny.vmoe --steps 3 --tune no.tune
printf 'cpu Some Other\nmatmul m=4 n=16 k=16 -> rows=7 cols=64\n' > tiny.tune
want 0 'warning: tiny.tune is ignored: it is for Some Other' 'a file for another CPU' \
    "$VMOEC" bench tiny.vmoe --steps 3
echo '# nothing is tuned' > none.tune
want 0 '' 'training without tuned blocks' "$VMOEC" train tiny.vmoe --data data --out runs/plain --overwrite --tune none.tune
{
    echo 'matmul m=64 n=16 k=16 -> rows=24 cols=16'
    echo 'matmul m=64 n=48 k=16 -> rows=40 cols=16'
    echo 'expert_matmul_dw count=4 m=24 n=16 k=128 -> rows=16 cols=16'
    echo 'expert_matmul count=4 m=128 n=24 k=16 -> rows=24 cols=32'
} > tiny.tune
want 0 '' 'training with tuned blocks' "$VMOEC" train tiny.vmoe --data data --out runs/tuned --overwrite
if grep -q '"event":"start".*"tuning":"tiny.tune"' runs/tuned/metrics.jsonl; then
    ok 'the log names the tuning file'
else
    fail 'the log names the tuning file' "$(head -c 300 runs/tuned/metrics.jsonl)"
fi
same 'tuned blocks change no bit of the weights' runs/plain/weights.safetensors runs/tuned/weights.safetensors
rm tiny.tune

# ---- image folders -------------------------------------------------------------------------------

pictures pictures
tar cf pictures.tar pictures/train pictures/test --transform 's,^pictures/,,'
sed 's/B, 1, size/B, 3, size/; s/idx(dir = "data"/image_folder(dir = "pictures"/' $F > pictures.vmoe
want 0 'test accuracy' 'train on a folder of images' "$VMOEC" train pictures.vmoe --epochs 3 --quiet --out folder --overwrite
want 0 'test accuracy' 'train on an archive of images' "$VMOEC" train pictures.vmoe --epochs 3 --quiet --out archive --overwrite --data pictures.tar
same 'folder and archive give the same weights' folder/weights.safetensors archive/weights.safetensors
want 0 'on 4 test images' 'evaluate on a folder of images' "$VMOEC" eval pictures.vmoe --weights folder/weights.safetensors
want 0 'data set *5.5 KiB' 'the memory of images' "$VMOEC" info pictures.vmoe
echo hello > pictures/train/red/notes.txt
want 0 'warning: skipped 1 file.*train/red/notes.txt' 'a file that is no image' "$VMOEC" train pictures.vmoe --steps 1 --quiet --out folder --overwrite
mkdir pictures/test/black
picture red > pictures/test/black/0.png
want 1 "class 'black' of test/ is not one of the 4" 'an unknown class' "$VMOEC" eval pictures.vmoe --weights folder/weights.safetensors
rm -r pictures/test/black
picture red | head -c 60 > pictures/train/red/3.png
want 1 'pictures/train/red/3.png: damaged PNG' 'half an image' "$VMOEC" train pictures.vmoe --steps 1 --quiet --out folder --overwrite
mkdir pictures/train/black
picture red | tee pictures/train/black/0.png > pictures/train/red/3.png
want 1 'the data has 5 classes (black, .*) but the logits of tiny have 4' 'more classes than logits' "$VMOEC" train pictures.vmoe --steps 1 --quiet --out folder --overwrite
want 3 'tried nowhere/train/' 'a folder of images that is not there' "$VMOEC" train pictures.vmoe --data nowhere
sed 's/B, 3, size/B, 1, size/' pictures.vmoe > grey.vmoe
want 1 'grey.vmoe:.*data-shape' 'colours for a grey model' "$VMOEC" check grey.vmoe
sed 's/dir = "pictures"/dir = "pictures", channels = 1, mean = 0.4/; s/class\[B, 4\]/class[B, 5]/; s/axis = 1), 4/axis = 1), 5/' grey.vmoe > grey1.vmoe
want 0 'test accuracy' 'grey images for a grey model' "$VMOEC" train grey1.vmoe --steps 2 --quiet --out grey --overwrite

# ---- the models that come with vmoec -------------------------------------------------------------

cd "$ROOT" || exit 3
for f in models/*.vmoe; do
    if "$VMOEC" check "$f" > "$T/out" 2>&1; then ok "check $f"; else fail "check $f" "$(head -c 300 "$T/out")"; fi
done
for f in models/*.vmoe models/std/*.vmoe; do
    if "$VMOEC" fmt --check "$f" > "$T/out" 2>&1; then ok "format $f"; else fail "format $f" "$(head -c 300 "$T/out")"; fi
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
# params, params a token meets, multiply-accumulates of one image, from a transformer's sizes. The table of
# positions of cifar_encoder is none of them.
encoder() { # IMAGE CHANNELS PATCH DIM DEPTH HIDDEN MOE_BLOCKS EXPERTS K CLASSES LEARNED_POSITIONS(0/1)
    awk -v s="$1" -v c="$2" -v p="$3" -v d="$4" -v L="$5" -v h="$6" -v m="$7" -v E="$8" -v k="$9" -v C="${10}" \
        -v pos="${11}" 'BEGIN {
        n = (s / p) ^ 2; t = n + 1; in_ = p * p * c; mlp = d * h + h + h * d + d
        rest = in_ * d + d + d + pos * t * d + L * (2 * d + d * 3 * d + 3 * d + d * d + d + 2 * d) + 2 * d + d * C + C
        printf "%.0f %.0f", rest + (L - m) * mlp + m * (d * E + E * mlp), rest + (L - m) * mlp + m * (d * E + k * mlp)
        attention = t * 3 * d * d + 2 * t * t * d + t * d * d
        printf " %.0f", n * in_ * d + L * attention + (L - m + m * k) * t * 2 * d * h + m * t * d * E + d * C
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
exit $failed
