# What looks at a model without running it: info, emit, opt, fmt, init, and weights in files. Part
# of run.sh, which reads it where all parts stand in
# one folder with what the parts before it made.

# ---- looking at a model --------------------------------------------------------------------------

want 0 '^total  *[0-9]' 'info' "$VMOEC" info $F
want 0 '"params_active":[0-9]' 'info as JSON' "$VMOEC" info --json $F
want 0 '^optimizer state  *0 B' 'inference has no optimizer state' "$VMOEC" info --mode infer $F
want 2 'train or infer' 'info of another mode' "$VMOEC" info --mode test $F
want 0 '"kernel":"expert_matmul_dw m=[0-9]' 'info lists the products of a step' \
    "$VMOEC" info --json $F
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
want 0 '' 'emit for neon' "$VMOEC" emit --stage asm --target neon -o neon.txt $F
want 0 . 'its products are by element' grep -m1 'fmla.*\.s\[0\]' neon.txt
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
want 2 'chosen or measured' 'another view of routes' \
    "$VMOEC" opt --passes=telemetry --telemetry=all ir.txt
want 2 'unknown pass' 'an unknown pass' "$VMOEC" opt --passes=expand,fold ir.txt
want 2 'unknown pass' 'printing after an unknown pass' \
    "$VMOEC" opt --passes=expand --print-after=fold ir.txt
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
want 0 'tiny.moe.mlp.up.weight", init = "same(xavier(16,24))"' 'experts that start alike' \
    "$VMOEC" emit --stage expand alike.vmoe
sed 's/  ; .*//' out > plain.txt
"$VMOEC" opt out > read.txt 2> log
same 'and their IR reads back' plain.txt read.txt
want 0 '' 'their initial values' "$VMOEC" init alike.vmoe --seed 3 -o alike.safetensors
# 3 of 4 experts are copies
if [ "$(gzip -c alike.safetensors | wc -c)" -lt $(($(gzip -c w.safetensors | wc -c) * 3 / 4)) ]
then
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
want 1 'short.safetensors' 'truncated weights' \
    "$VMOEC" eval $F --data data --weights short.safetensors
: > none.safetensors
want 1 'none.safetensors' 'an empty weights file' \
    "$VMOEC" eval $F --data data --weights none.safetensors
want 3 'nowhere' 'missing weights' "$VMOEC" eval $F --data data --weights nowhere.safetensors
want 1 'safetensors' 'weights that are no tensors' "$VMOEC" eval $F --data data --weights $F
tensors '{"stray.weight":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}' 8 > stray.safetensors
want 1 'stray.weight' 'weights of another model' \
    "$VMOEC" eval $F --data data --weights stray.safetensors
esc=$(printf '\033')
tensors '{"a\u001b[31m":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}' 8 > stray.safetensors
want 1 "'a?.31m'" 'names do not reach the terminal raw' \
    "$VMOEC" eval $F --data data --weights stray.safetensors
if grep -q "$esc" log; then
    fail 'no escapes in messages' 'there are'
else
    ok 'no escapes in messages'
fi
"$VMOEC" init $F --set hidden=16 -o narrow.safetensors
want 1 'another shape' 'weights of another shape' \
    "$VMOEC" eval $F --data data --weights narrow.safetensors --anyway
