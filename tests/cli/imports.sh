# Weights with the names and layouts of other programs. Part of run.sh, which reads it where all
# parts stand in
# one folder with what the parts before it made.

# same_weights NAME A B: the same tensors, bit for bit, whatever the files say of themselves
same_weights() {
    if "$VMOEC" weights "$2" "$3" > differences 2>&1 && ! grep -qv '^equal: [1-9]' differences; then
        ok "$1"
    else
        fail "$1" "$(head -c 300 differences)"
    fi
}
foreign() { python3 "$ROOT/tests/cli/foreign.py" "$@"; }

# ---- rules of one's own --------------------------------------------------------------------------

"$VMOEC" init $F --seed 5 -o ours.safetensors
foreign tiny ours.safetensors theirs.safetensors || fail 'a foreign file' 'cannot be made'
cat > tiny.rules << 'EOF'
# what foreign.py calls the weights of tiny.vmoe
skip steps
stem.proj.*          -> patch_embed.linear.*
pos                  -> position.table
blk1.ln.*            -> attention.norm.*
blk1.*.w             -> attention.*.weight    transpose(1,0)
blk1.*.b             -> attention.*.bias
blk2.ln.*            -> moe.norm.*
blk2.router          -> moe.gate.weight       transpose(1,0)
blk2.experts.*.w     -> moe.mlp.*.weight      transpose(0,2,1)
blk2.experts.*.b     -> moe.mlp.*.bias
ln.*                 -> logits.norm.*
head.w               -> logits.weight         transpose(1,0)
head.b               -> logits.bias
EOF
want 0 '^loaded *20 of 20 weights$' 'import by rules of one'\''s own' \
    "$VMOEC" import $F theirs.safetensors --from tiny.rules -o back.safetensors
same_weights 'import gives the weights back, whatever the type' ours.safetensors back.safetensors
want 0 '^origin: theirs.safetensors ([0-9a-f]\{16\}) by tiny$' 'and says where they come from' \
    "$VMOEC" weights back.safetensors
want 0 '^skipped  *1' 'what a rule skips is told' \
    "$VMOEC" import $F theirs.safetensors --from ./tiny.rules --dry-run
want 0 '^  steps i32\[\]$' 'with its shape' \
    "$VMOEC" import $F theirs.safetensors --from ./tiny.rules --dry-run
want 0 '  blk2.router f32\[4,16\] -> tiny.moe.gate.weight f32\[16,4\]$' 'so is what is loaded' \
    "$VMOEC" import $F theirs.safetensors --from ./tiny.rules --dry-run -o dry.safetensors
absent 'a dry run writes nothing' dry.safetensors
want 0 '"name":"pos","type":"f32","shape":\[4,16\],"weight":{"name":"tiny.position.table"' \
    'import as JSON' "$VMOEC" import $F theirs.safetensors --from tiny.rules --dry-run --json
grep -v blk2.router tiny.rules > fewer.rules
want 0 '^missing  *1 ' 'a weight that no tensor becomes' \
    "$VMOEC" import $F theirs.safetensors --from fewer.rules -o part.safetensors
cp out report
want 0 '^  tiny.moe.gate.weight f32\[16,4\]$' 'is told with its shape' grep gate.weight report
want 0 '^unused  *1 ' 'and so is the tensor' grep -A1 unused report
want 0 '^  blk2.router f32\[4,16\]$' 'with its own shape' grep -A1 unused report
want 0 'fresh initial values for tiny.moe.gate.weight' 'training starts from what is there' \
    "$VMOEC" train $F --data data --steps 1 --weights part.safetensors --out runs/part
echo 'blk9.* -> moe.*' >> fewer.rules
want 0 "fewer.rules:14:1: warning: 'blk9.\*' matches no tensor of theirs.safetensors" \
    'a rule that matches nothing is told' \
    "$VMOEC" import $F theirs.safetensors --from fewer.rules --dry-run
want 0 "warning: 'head.q\*' matches no tensor" 'and so is such an option' "$VMOEC" import $F \
    theirs.safetensors --from tiny.rules --dry-run --skip 'head.q*'

# ---- what is refused -----------------------------------------------------------------------------

sed 's/\(head.w .*\)transpose(1,0)/\1/' tiny.rules > bad.rules
want 1 "bad.rules:13:1: error: 'head.w' f32\[4,16\] but 'tiny.logits.weight' is f32\[16,4\]" \
    'another shape' \
    "$VMOEC" import $F theirs.safetensors --from bad.rules -o bad.safetensors
cp log report
want 0 skip 'which an option can leave out' grep -e '--skip PATTERN leaves' report
sed 's/B, 4\]/B, 9]/; s/, 4)$/, 9)/; s/axis = 1), 4)/axis = 1), 9)/' $F > wide.vmoe
want 1 "tiny.rules:13:1: error: 'head.w' f32\[4,16\] becomes f32\[16,4\] but .* is f32\[16,9\]" \
    'a model of other sizes' "$VMOEC" import wide.vmoe theirs.safetensors --from tiny.rules \
    -o bad.safetensors
want 0 '^skipped  *3' 'of which the head is left out' "$VMOEC" import wide.vmoe theirs.safetensors \
    --from tiny.rules --dry-run --skip head.w --skip head.b
echo 'blk1.qkv.w -> logits.weight' | cat - tiny.rules > bad.rules
want 1 "bad.rules:1:1: error: 'blk1.qkv.w' f32\[48,16\] but" 'the first rule counts' \
    "$VMOEC" import $F theirs.safetensors --from bad.rules -o bad.safetensors
sed 's/blk2.ln.\* .*/blk2.ln.* -> attention.norm.*/' tiny.rules > bad.rules
want 1 "becomes 'tiny.attention.norm.bias', which 'blk1.ln.bias' has become already" \
    'two tensors for one weight' \
    "$VMOEC" import $F theirs.safetensors --from bad.rules -o bad.safetensors
echo 'a -> b rotate' > bad.rules
want 1 'bad.rules:1:8: error: expected one of transpose, .*found .rotate' 'rules with a mistake' \
    "$VMOEC" import $F theirs.safetensors --from bad.rules -o bad.safetensors
echo 'steps -> nothing' > bad.rules
want 1 'theirs.safetensors becomes no weight of tiny by bad.rules' 'rules for another model' \
    "$VMOEC" import $F theirs.safetensors --from bad.rules -o bad.safetensors
want 2 "no rules 'timm_vot'; did you mean timm_vit?" 'rules that are not there' \
    "$VMOEC" import $F theirs.safetensors --from timm_vot -o bad.safetensors
want 3 'cannot open .no.rules' 'a file of rules that is not there' \
    "$VMOEC" import $F theirs.safetensors --from no.rules -o bad.safetensors
want 3 'cannot open .no.safetensors' 'tensors that are not there' \
    "$VMOEC" import $F no.safetensors --from tiny.rules -o bad.safetensors
printf 'PK\3\4\0\0\10\10\0\0\0\0' > torch.pt
want 1 'torch.pt: not a safetensors file but an archive of PyTorch' 'a file of torch.save' \
    "$VMOEC" import $F torch.pt --from timm -o bad.safetensors
want 2 'needs --from' 'import without rules' \
    "$VMOEC" import $F theirs.safetensors -o bad.safetensors
want 2 'needs -o' 'import to nowhere' \
    "$VMOEC" import $F theirs.safetensors --from tiny.rules
want 2 'needs F.vmoe IN' 'import of nothing' "$VMOEC" import $F --from timm -o bad.safetensors
absent 'a failed import writes nothing' bad.safetensors
cp theirs.safetensors mine.safetensors
ln -sf mine.safetensors link.safetensors
want 2 "-o link.safetensors would replace 'mine.safetensors', which is read" \
    'import over what it reads' \
    "$VMOEC" import $F mine.safetensors --from tiny.rules -o link.safetensors
want 2 "would replace '$F', which is read" 'import over the model' \
    "$VMOEC" import $F mine.safetensors --from tiny.rules -o $F
same 'what is read is still there' theirs.safetensors mine.safetensors
want 3 'nowhere' 'import into a missing folder' "$VMOEC" import $F theirs.safetensors \
    --from tiny.rules -o nowhere/w.safetensors

# ---- the rules that come with vmoec --------------------------------------------------------------

# zoo RULES MODEL SETTING..: the model's own weights, written as the program would, come back.
zoo() {
    rules=$1 model=$ROOT/models/$2.vmoe words=
    shift 2
    for setting; do words="$words --set $setting"; done
    # shellcheck disable=SC2086
    "$VMOEC" init "$model" --seed 3 -o ours.safetensors $words &&
        foreign "$rules" ours.safetensors theirs.safetensors
    # shellcheck disable=SC2086
    want 0 "by .*/rules/$rules.rules$" "${rules%%_*} finds $rules" "$VMOEC" import "$model" \
        theirs.safetensors --from "${rules%%_*}" -o back.safetensors $words
    same_weights "$rules gives the weights of ${model##*/} back" ours.safetensors back.safetensors
    # shellcheck disable=SC2086
    want 0 '' "$rules by its name" "$VMOEC" import "$model" \
        theirs.safetensors --from "$rules" --dry-run $words
    # rules of a file of one's own that are no use are told
    # shellcheck disable=SC2086
    want 0 '' "$rules as a file" "$VMOEC" import "$model" \
        theirs.safetensors --from "$ROOT/models/rules/$rules.rules" --dry-run $words
    if grep -v -e "${unused:-nothing}" log | grep -q warning; then
        fail "every rule of $rules is of use" "$(head -c 300 log)"
    else
        ok "every rule of $rules is of use"
    fi
    # and back: the program's own names and shapes, and then the very weights
    # shellcheck disable=SC2086
    want 0 "^exported  *\([0-9]*\) of \1 weights$" "$rules the other way round" \
        "$VMOEC" export "$model" ours.safetensors --to "$rules" -o there.safetensors $words
    "$VMOEC" weights there.safetensors theirs.safetensors > differences
    if grep -v -e '^equal: [1-9]' -e '^only in theirs.safetensors: 1$' \
        -e '^  bn1.num_batches_tracked i32\[\]$' -e "${unused:-nothing}" differences; then
        fail "$rules gives the names and shapes of the program" "$(head -c 300 differences)"
    else
        ok "$rules gives the names and shapes of the program"
    fi
    # shellcheck disable=SC2086
    want 0 '' "$rules brings them back" "$VMOEC" import "$model" \
        there.safetensors --from "$rules" -o back.safetensors $words
    same_weights "$rules gives the weights of ${model##*/} back from there" \
        ours.safetensors back.safetensors
}
zoo timm_vit vit_s8 side=32 dim=64 depth=3 classes=10 'sparse=[]'
zoo timm_deit3 vit_deit3 side=32 dim=64 depth=3 classes=10
zoo facebook_deit3 vit_deit3 side=32 dim=64 depth=3 classes=10
unused='fc_norm' # what only models that were fine-tuned have
zoo facebook_mae vit_b8 side=32 dim=64 depth=3 classes=10 'sparse=[]'
unused=
for program in timm torch; do
    if [ $program = torch ]; then unused=gamma; fi # timm's name of what stands here otherwise
    zoo ${program}_convnext convnext side=32 patch=2 classes=10 'dims=[8,16,24,32]'
    unused=
    zoo ${program}_resnet resnet18 classes=10 'dims=[8,16,24,32]'
    zoo ${program}_mobilenet_v2 mobilenet_v2 classes=10 'outs=[4,8,8,12,12,16,16]' last=32
done

# A dense network becomes one with mixtures: every expert starts as the layers it stands for.
narrow='--set side=32 --set patch=2 --set classes=10 --set dims=[8,16,24,32]'
# shellcheck disable=SC2086
"$VMOEC" init "$ROOT/models/convnext.vmoe" --seed 3 -o ours.safetensors $narrow
foreign timm_convnext ours.safetensors theirs.safetensors
# shellcheck disable=SC2086
want 0 'rules/timm_convnext_moe.rules$' 'a model with mixtures has rules of its own' \
    "$VMOEC" import "$ROOT/models/convnext_moe.vmoe" theirs.safetensors --from timm \
    --dry-run $narrow
cp out report
want 0 'fc1.weight f32\[96,24\] -> .*mlp.up.weight f32\[8,24,96\]$' 'experts are copies' \
    grep 'blocks.8.mlp.fc1.weight' report
want 0 '^missing  *2 ' 'and gates are new' grep missing report
