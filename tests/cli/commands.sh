# The command line itself, and files that are not models. Part of run.sh, which reads it where all
# parts stand in
# one folder with what the parts before it made.

# ---- the command line itself ---------------------------------------------------------------------

want 2 'usage: vmoec' 'no command' "$VMOEC"
want 0 'usage: vmoec COMMAND' 'help' "$VMOEC" help
want 0 '^vmoec [0-9]' 'version' "$VMOEC" --version
want 0 '^commit [0-9a-f]\{12\}$\|^commit unknown$' 'version with the commit' "$VMOEC" --version
want 0 '^LLVM [0-9]' 'version of LLVM' "$VMOEC" --version
for c in check info train eval init run verify bench emit opt fmt; do
    want 0 "usage: vmoec $c" "help $c" "$VMOEC" help $c
    want 2 'needs F' "$c without a file" "$VMOEC" $c
done
want 2 'did you mean train' 'misspelled command' "$VMOEC" trian $F
want 2 'build needs -o FILE' 'build without a file to write' "$VMOEC" build $F
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
want 2 'one word too many' 'two files' "$VMOEC" info $F $F
want 2 'needs --weights' 'eval without weights' "$VMOEC" eval $F
want 2 'needs -o' 'init without a file' "$VMOEC" init $F
want 2 'needs --stage' 'emit without a stage' "$VMOEC" emit $F
want 2 'did you mean llvm' 'misspelled stage' "$VMOEC" emit --stage llwm $F
want 2 'no target .avx51.; did you mean avx512' 'misspelled target' \
    "$VMOEC" emit --stage plan --target avx51 $F
want 2 'f32 or bf16' 'bench in no precision' "$VMOEC" bench --precision fp8 $F
want 0 'needs AVX512_BF16' 'bf16 without the instruction' env VMOEC_ISA=avx2 \
    "$VMOEC" emit --stage expand --precision bf16 -o none.vir $F
want 1 '' 'no mark without the instruction' grep 'bf16 = 1' none.vir
want 2 'train or infer' 'bench in no mode' "$VMOEC" bench --mode=both $F
want 2 'no model' 'unknown model' "$VMOEC" info --model tinny $F

# ---- files that are not models -------------------------------------------------------------------

want 3 "cannot open 'nowhere.vmoe'" 'missing file' "$VMOEC" check nowhere.vmoe
want 3 '' 'a folder for a file' "$VMOEC" check .
: > empty.vmoe
want 0 '' 'an empty file checks' "$VMOEC" check empty.vmoe
want 1 'there is no such router' 'a router that is not there' \
    "$VMOEC" check "$ROOT/models/mnist_routers.vmoe" --set router=topk
want 1 'phase is experts, router or learnt' 'a phase that is not there' \
    "$VMOEC" check "$ROOT/models/mnist_manual.vmoe" --set phase=end
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
if [ -d "$beside" ]; then
    want 0 '' 'the layer library beside the program' env -u VMOEC_MODELS "$VMOEC" check $F
fi

# Several files, and standard input.
want 0 '' 'several files' "$VMOEC" check $F "$ROOT/models/mnist_moe.vmoe" $F
want 1 'unknown.vmoe:18' 'a mistake in the first of several' "$VMOEC" check unknown.vmoe patch.vmoe
cp log seen
want 0 'patch.vmoe:' 'and the others are looked at' grep 'patch.vmoe:.*error' seen
want 3 'unknown.vmoe:18' 'the worst of several counts' "$VMOEC" check nowhere.vmoe unknown.vmoe
want 1 '"file":"patch.vmoe".*' 'one JSON object for several' \
    "$VMOEC" check --json unknown.vmoe patch.vmoe
cp out seen
want 0 '^1$' 'on one line' sh -c 'wc -l < seen'
want 3 '' 'no JSON of what cannot be read' "$VMOEC" check --json nowhere.vmoe
[ -s out ] && fail 'no JSON of what cannot be read' "$(cat out)"
want 0 '' 'checking standard input' sh -c '"$1" check - < "$2"' sh "$VMOEC" $F
want 1 '<stdin>:18:' 'places in standard input' sh -c '"$1" check - < "$2"' sh "$VMOEC" unknown.vmoe
want 1 'NUL bytes' 'standard input that is no text' sh -c '"$1" check - < "$2"' sh "$VMOEC" nul.vmoe
want 0 '' 'formatting standard input' sh -c '"$1" fmt - < "$2"' sh "$VMOEC" $F
"$VMOEC" fmt $F > formatted
same 'formats it as a file' out formatted
want 0 '' 'standard input is formatted' sh -c '"$1" fmt --check - < formatted' sh "$VMOEC"
want 1 'not formatted' 'standard input is not formatted' \
    sh -c 'printf "config {a=1}" | "$1" fmt --check -' sh "$VMOEC"
want 2 'needs a file' 'nothing to write back' sh -c '"$1" fmt --write - < "$2"' sh "$VMOEC" $F
want 1 '<stdin>:' 'formatting mistakes' sh -c '"$1" fmt - < half.vmoe' sh "$VMOEC"

# Colours and widths of terminals.
python3 "$ROOT/tests/cli/terminal.py" "$VMOEC" unknown.vmoe | tee terminal
if grep -q '^FAIL' terminal; then failed=1; fi

mkfifo pipe.vmoe
want 3 'not a file' "a pipe in place of a model" "$VMOEC" check pipe.vmoe
want 3 'not a file' "a pipe in place of a graph" "$VMOEC" opt pipe.vmoe --passes=cse
want 3 'not a file' "a device in place of a model" "$VMOEC" check /dev/zero
printf 'config { folder = "a" }\nmodel m(x: f32[B, 4]) { linear(x, 3) }\n' > text.vmoe
want 0 '' "a setting with escapes" "$VMOEC" check text.vmoe --set 'folder="q\"uo"'
want 2 'folder' "a setting with a quote too many" "$VMOEC" check text.vmoe --set 'folder="q"uo"'
want 2 'not UTF-8' "a setting that is not UTF-8" \
    "$VMOEC" check text.vmoe --set "folder=$(printf 'caf\351')"
cat > wide.vmoe << 'END'
model m(x: f32[B, 1], label: class[B, 2147483648]) {
 y = linear(x, 2147483648)
 metric accuracy(y, label)
}
END
want 1 'wide.vmoe:3:9: error: .*argmax' "sizes that a pass refuses" "$VMOEC" check wide.vmoe
want 1 'wide.vmoe:3:9: error: .*argmax' "sizes that a pass refuses, seen by info" \
    "$VMOEC" info wide.vmoe
mkdir linked
printf 'config {a=1}\n' > linked/real.vmoe
ln -s linked/real.vmoe link.vmoe
want 0 '' "formatting through a link" "$VMOEC" fmt --write link.vmoe
if [ -L link.vmoe ] && grep -q 'a = 1' linked/real.vmoe; then
    ok "the link is kept"
else
    fail "the link is kept" "it is not"
fi
