# Files of weights: what they hold, how two differ, runs that start from one under other names, and
# the way back to another program. Part of run.sh, which reads it where all parts stand in one
# folder with what the parts before it made: tiny.rules, and theirs.safetensors by these names.

# ---- what a file holds ---------------------------------------------------------------------------

"$VMOEC" init $F --seed 5 -o ours.safetensors
foreign tiny ours.safetensors theirs.safetensors || fail 'a foreign file' 'cannot be made'
want 0 '^tiny.moe.gate.weight  *F32  \[16,4\]  *256 B$' 'a tensor of a file' \
    "$VMOEC" weights ours.safetensors
want 0 '^ours.safetensors: 20 tensors, [0-9]* numbers, [0-9.]* KiB$' 'and all of them' \
    "$VMOEC" weights ours.safetensors
want 0 '^format: vmoec$' 'and what it says of itself' "$VMOEC" weights ours.safetensors
want 0 '^pos  *F64  \[4,16\]  *512 B$' 'types are those of the file' \
    "$VMOEC" weights theirs.safetensors
want 0 '{"name":"blk2.router","type":"[BF1632]*","shape":\[4,16\],"bytes":[0-9]*}' 'as JSON' \
    "$VMOEC" weights theirs.safetensors --json
want 0 '"metadata":{"format":"vmoec".*}' 'with what it says of itself' \
    "$VMOEC" weights ours.safetensors --json
want 3 'cannot open .no.safetensors' 'a file that is not there' "$VMOEC" weights no.safetensors
want 1 'torch.pt: not a safetensors file' 'a file of another kind' "$VMOEC" weights torch.pt
want 2 'needs W' 'weights of nothing' "$VMOEC" weights
want 2 'one word too many' 'weights of three' "$VMOEC" weights a b c
tensors '{"a\u001b[31m":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}' 8 > colour.safetensors
want 0 '^a?\[31m  *F32' 'a terminal does not obey names' "$VMOEC" weights colour.safetensors

# ---- two files -----------------------------------------------------------------------------------

"$VMOEC" init $F --seed 6 -o other.safetensors
"$VMOEC" init $F --seed 5 --set hidden=16 -o slim.safetensors
"$VMOEC" init head.vmoe --seed 5 -o head.safetensors 2> log || {
    sed 's/logits = linear/head = linear/; s/(logits/(head/; s/^  logits$/  head/' $F > head.vmoe
    "$VMOEC" init head.vmoe --seed 5 -o head.safetensors
}
cp ours.safetensors again.safetensors
want 0 '^equal: 20$' 'a file and its copy' "$VMOEC" weights ours.safetensors again.safetensors
if [ "$(wc -l < out)" = 1 ]; then
    ok 'which is all there is to say'
else
    fail 'which is all there is to say' "$(cat out)"
fi
want 0 '^  tiny.moe.gate.weight f32\[16,4\]: 64 values, by at most 0\.[0-9]*$' 'other values' \
    "$VMOEC" weights ours.safetensors other.safetensors
want 0 '^of other shapes: 3$' 'other shapes' "$VMOEC" weights ours.safetensors slim.safetensors
want 0 '^  tiny.moe.mlp.up.weight f32\[4,16,24\] and f32\[4,16,16\]$' 'which are both named' \
    "$VMOEC" weights ours.safetensors slim.safetensors
want 0 '^only in head.safetensors: 4$' 'other names' \
    "$VMOEC" weights ours.safetensors head.safetensors
want 0 '^  tiny.logits.bias f32\[4\]$' 'on both sides' \
    "$VMOEC" weights ours.safetensors head.safetensors
want 0 '"other_shape":\[{"name":"tiny.moe.mlp.down.weight","shape":\[4,24,16\],"other_shape":' \
    'all as JSON' "$VMOEC" weights ours.safetensors slim.safetensors --json
want 0 '"largest":0\.[0-9]*' 'and the difference' \
    "$VMOEC" weights ours.safetensors other.safetensors --json

# ---- a run that starts from it -------------------------------------------------------------------

# The same run from weights that were imported before.
"$VMOEC" import $F theirs.safetensors --from tiny.rules -o w.safetensors > out
"$VMOEC" train $F --data data --steps 2 --weights w.safetensors --out runs/imported 2> log > out
want 0 '^vmoec: 20 of 20 weights from theirs.safetensors by tiny$' 'train under other names' \
    "$VMOEC" train $F --data data --steps 2 --weights theirs.safetensors --rename tiny.rules \
    --skip steps --out runs/renamed
want 0 '' 'is what importing first gives' \
    cmp runs/imported/weights.safetensors runs/renamed/weights.safetensors
cp runs/renamed/weights.safetensors before.safetensors
want 0 '' 'a run that is resumed keeps what it has' \
    "$VMOEC" train $F --data data --steps 2 --out runs/renamed --resume
same 'whatever it started from' before.safetensors runs/renamed/weights.safetensors

# Fine-tuning on other classes.
sed 's/B, 4\]/B, 9]/; s/, 4)$/, 9)/; s/axis = 1), 4)/axis = 1), 9)/' $F > wide.vmoe
cat > tune << EOT
#!/bin/sh
exec "$VMOEC" train wide.vmoe --data data --steps 1 --overwrite --out runs/tuned "\$@"
EOT
chmod +x tune
want 1 "tiny.rules:13:1: error: 'head.w' f32\[4,16\] becomes f32\[16,4\] but .* is f32\[16,9\]" \
    'a head for other classes is refused' ./tune --weights theirs.safetensors --rename tiny.rules
absent 'before anything is made' runs/tuned
want 0 \
    'weights from theirs.safetensors by tiny; fresh initial values for tiny.logits.weight, tiny.logits.bias$' \
    'and starts anew where that is wanted' \
    ./tune --weights theirs.safetensors --rename tiny.rules --skip-mismatch
cp log report
want 0 \
    '2 of another shape (head.b f32\[4\] for tiny.logits.bias f32\[9\], head.w f32\[4,16\] for tiny.logits.weight f32\[16,9\]), 1 skipped (steps)$' \
    'which is told with both shapes' grep 'not taken' report
want 0 '^vmoec: 18 of 20 weights' 'also quietly' ./tune --weights theirs.safetensors \
    --rename tiny.rules --skip-mismatch --quiet
want 0 '^  head.w f32\[4,16\] does not fit tiny.logits.weight f32\[16,9\]$' 'in full on demand' \
    ./tune --weights theirs.safetensors --rename tiny.rules --skip-mismatch --verbose
cp log report
want 0 '^  blk1.ln.bias f32\[16\] -> tiny.attention.norm.bias f32\[16\]$' 'to the last tensor' \
    grep blk1.ln.bias report
want 0 '18 of 20 weights from ours.safetensors; fresh' 'or from weights of its own names' \
    ./tune --weights ours.safetensors --skip-mismatch
want 0 '1 of another shape (tiny.logits.weight f32\[16,4\] for .*, 1 skipped (tiny.logits.bias)$' \
    'with one tensor that is not wanted' \
    ./tune --weights ours.safetensors --skip-mismatch --skip '*logits.bias'
echo 'tiny.logits.* -> head.*' > moved.rules
want 0 '^20 of 20 weights from ours.safetensors by moved$' 'a layer that was renamed' \
    "$VMOEC" train head.vmoe --data data --steps 1 --weights ours.safetensors \
    --rename moved.rules --overwrite --out runs/tuned
for option in '--rename tiny.rules' '--skip head.w' --skip-mismatch --verbose; do
    # shellcheck disable=SC2086
    want 2 "${option%% *} is about the file of --weights" "${option%% *} without weights" \
        ./tune $option
done
want 1 'theirs.safetensors has no weight of this model' 'names of another program' \
    ./tune --weights theirs.safetensors --skip-mismatch
want 2 "no rules 'timm_vot'" 'rules that are not there' \
    ./tune --weights theirs.safetensors --rename timm_vot

# ---- and back ------------------------------------------------------------------------------------

want 0 '^exported  *20 of 20 weights$' 'export by rules of one'\''s own' \
    "$VMOEC" export $F ours.safetensors --to tiny.rules -o there.safetensors
cp out report
want 0 '^  tiny.moe.gate.weight f32\[16,4\] -> blk2.router f32\[4,16\]$' 'which says what becomes' \
    grep router report
want 0 '^format: pt$' 'as Python writes such files' "$VMOEC" weights there.safetensors
"$VMOEC" weights there.safetensors theirs.safetensors > report
want 0 '^equal: 20$' 'and is what the other program has' cat report
want 0 '' 'and nothing else' test "$(grep -c -e '^only' -e '^of' report)" = 1
want 0 '^  steps i32\[\]$' 'but for what was skipped' cat report
"$VMOEC" import $F there.safetensors --from tiny.rules -o back.safetensors > out
same_weights 'there and back gives the weights' ours.safetensors back.safetensors
want 0 '"name":"tiny.position.table",.*"tensor":{"name":"pos","type":"f32","shape":\[4,16\]}' \
    'export as JSON' "$VMOEC" export $F ours.safetensors --to tiny.rules --dry-run --json
absent 'a dry run writes nothing' dry.safetensors
sed 's/\(blk2.router .*\)transpose.*/\1reshape(16,4)/' tiny.rules > lossy.rules
want 1 "lossy.rules:9:47: error: 'tiny.moe.gate.weight' f32\[16,4\] cannot be read backwards" \
    'a step that forgets' "$VMOEC" export $F ours.safetensors --to lossy.rules -o bad.safetensors
want 0 '^exported  *19 of 20 weights$' 'whose weight may be left out' \
    "$VMOEC" export $F ours.safetensors --to lossy.rules --skip 'moe.gate.*' -o few.safetensors
grep -v blk2.router tiny.rules > fewer.rules
want 1 "error: no rule makes 'tiny.moe.gate.weight' f32\[16,4\] of a tensor" \
    'a weight without rule' \
    "$VMOEC" export $F ours.safetensors --to fewer.rules -o bad.safetensors
cp log report
want 0 '19 of 20 weights have names by fewer.rules; --skip PATTERN' 'how many have one' cat report
want 1 'slim.safetensors: .tiny.moe.mlp.* is f32\[.*\] there but f32\[.*\] in the model' \
    'weights of other sizes' \
    "$VMOEC" export $F slim.safetensors --to tiny.rules -o bad.safetensors
want 1 'few.safetensors lacks 20 of 20 weights of tiny' 'weights of another program' \
    "$VMOEC" export $F few.safetensors --to tiny.rules -o bad.safetensors
"$VMOEC" init "$ROOT/models/cifar_encoder.vmoe" -o enc.safetensors
want 1 '17 more weights are like this' 'a mixture has no name in timm' "$VMOEC" export \
    "$ROOT/models/cifar_encoder.vmoe" enc.safetensors --to timm_vit -o bad.safetensors
want 2 "no rules 'tim'" 'a program without rules' \
    "$VMOEC" export $F ours.safetensors --to tim -o bad.safetensors
want 2 'needs --to' 'export to no program' \
    "$VMOEC" export $F ours.safetensors -o bad.safetensors
want 2 'needs -o' 'export to nowhere' "$VMOEC" export $F ours.safetensors --to tiny.rules
want 2 "would replace 'ours.safetensors', which is read" 'export over the weights' \
    "$VMOEC" export $F ours.safetensors --to tiny.rules -o ours.safetensors
want 2 "would replace 'tiny.rules', which is read" 'or the rules' \
    "$VMOEC" export $F ours.safetensors --to tiny.rules -o tiny.rules
absent 'a failed export writes nothing' bad.safetensors
# What a file says of itself goes along with all of its weights.
printf '%s' '{"__metadata__":{"format":"vmoec","classes":"[\"cat\"]"},' \
    '"one.logits.bias":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}' > header
tensors "$(cat header)" 8 > one.safetensors
cat > one.vmoe << 'EOT'
model one(image: f32[B, 2]) {
  logits = first(image)
  logits
}

layer first(x: [B, N]) -> [B, N] {
  param bias: [N] = zeros()
  x + bias
}
EOT
echo 'b -> logits.bias' > one.rules
"$VMOEC" export one.vmoe one.safetensors --to one.rules -o there.safetensors > report 2>&1 ||
    fail 'a model of one weight' "$(cat report)"
want 0 '^classes: \["cat"\]$' 'export keeps what a file says' "$VMOEC" weights there.safetensors
echo 'c -> logits.other' >> one.rules
sed 's/^  x + bias/  param other: [N] = zeros()\n  x + bias + other/' one.vmoe > two.vmoe
sed 's/}}$/},"one.logits.other":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}}/' header \
    > two.header
tensors "$(cat two.header)" 16 > two.safetensors
"$VMOEC" export two.vmoe two.safetensors --to one.rules --skip logits.other -o part.safetensors \
    > report 2>&1 ||
    fail 'a model of two weights' "$(cat report)"
want 0 '"metadata":{"format":"pt"}' 'but not of a part' "$VMOEC" weights part.safetensors --json
"$VMOEC" import one.vmoe there.safetensors --from one.rules -o back.safetensors > out 2> log
want 0 '^classes: \["cat"\]$' 'and so does import' "$VMOEC" weights back.safetensors
want 0 '^origin: there.safetensors ([0-9a-f]*) by one$' 'with where it comes from' \
    "$VMOEC" weights back.safetensors
