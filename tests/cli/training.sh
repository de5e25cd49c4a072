# Training: runs and their folders, resuming, phases, logs, labels. Part of run.sh, which reads it
# where all parts stand in
# one folder with what the parts before it made.

# ---- training ------------------------------------------------------------------------------------

want 0 '^test accuracy' 'train' \
    "$VMOEC" train $F --data data --out runs/t --overwrite --seed 5 --threads 2
W=$(sed -n 's/^weights //p' out)
M=$(sed -n 's/^metrics //p' out)
if [ "$(grep -c '"event": *"epoch"' "$M")" = 2 ]; then
    ok 'two epochs in the metrics'
else
    fail 'two epochs in the metrics' "$M"
fi
for logs in jsonl csv jsonl,csv csv,jsonl; do
    want 0 '^metrics ' "--log $logs" \
        "$VMOEC" train $F --data data --out runs/logs --overwrite --quiet --steps 1 --log $logs
    sed -n 's/^metrics //p' out > said
    ls runs/logs/metrics.* | sort -r > there # the table last
    same 'all that was written is named' there said
done
sed 's/epochs = 2/epochs = 2\n  validation = 0.25/' $F > judged.vmoe
want 0 '^epoch 2 .*  validation loss' 'a run with validation' \
    "$VMOEC" train judged.vmoe --data data --out runs/judged --overwrite
if [ "$(cat out log | grep -c 'test loss')" = 1 ] \
    && grep -q '^test accuracy .*, test loss' out; then
    ok 'says what the test gave once'
else
    fail 'says what the test gave once' "$(cat out log)"
fi
for key in phase epoch train_loss test_loss test_accuracy seconds images_per_second; do
    if [ "$(grep '"event":"epoch"' "$M" | grep -c "\"$key\":")" = 2 ]; then
        ok "epoch lines have $key"
    else
        fail "epoch lines have $key" "$M"
    fi
done
routed='"router":{"moe.route":{"load":[[0-9.,]*],"dead":[0-9]*,"entropy":[0-9.]*'
routed="$routed"',"largest":[-0-9.e]*,"variation":[0-9.e-]*}}'
if [ "$(grep '"event":"epoch"' "$M" | grep -c "$routed")" = 2 ]; then
    ok 'epoch lines tell of routes'
else
    fail 'epoch lines tell of routes' "$M"
fi
# A run that ends within its second epoch and is made longer: that epoch is told of as a whole.
sed 's/schedule = .*/schedule = constant(peak = 1e-3)/' $F > constant.vmoe
for steps in 7 8; do
    "$VMOEC" train constant.vmoe --data data --out runs/parts --log-every 1 --quiet --steps $steps \
        --resume > out 2> log || "$VMOEC" train constant.vmoe --data data --out runs/parts \
        --log-every 1 --quiet --steps $steps > out 2> log
done
"$VMOEC" train constant.vmoe --data data --out runs/whole --log-every 1 --quiet --steps 8 \
    > out 2> log
told() { tail -n 1 "$1/metrics.jsonl" | grep -o '"router":.*'; }
told runs/parts > parts.told
told runs/whole > whole.told
if [ -s whole.told ]; then
    same 'an epoch in two parts tells of its routes as a whole' whole.told parts.told
else
    fail 'an epoch in two parts tells of its routes as a whole' "$(tail -n 1 log)"
fi
accuracy=$(sed -n 's/.*"test_accuracy":\([0-9.]*\).*/\1/p' "$M" | tail -n 1)
want 0 "\"accuracy\":$accuracy[0-9]*}" 'eval finds the accuracy training ended with' \
    "$VMOEC" eval $F --data data \
    --weights "$W" --json
want 0 'on 21 test images' 'eval counts every image' \
    "$VMOEC" eval $F --data data --weights "$W" --batch 8
want 0 '"images":21' 'eval as JSON' "$VMOEC" eval $F --data data --weights "$W" --json
"$VMOEC" train $F --data data --out runs/t1 --overwrite --seed 5 --threads 1 > out1 2> log
same 'one thread trains to the same bits' "$W" "$(sed -n 's/^weights //p' out1)"
want 0 '^test accuracy' 'train three steps' \
    "$VMOEC" train $F --data data --out runs/s --overwrite --steps 3
want 1 "loss 'cross_entropy' is \(not a number\|infinite\) at step 1" 'a loss that is not finite' \
    "$VMOEC" train $F --data data --out runs/nan --overwrite \
    --set blow=3e38 --steps 5
absent 'no weights of a broken run' runs/nan/checkpoint/weights.safetensors
want 2 'seed: 5 there, 6 here' 'resuming another run' \
    "$VMOEC" train $F --data data --out runs/t --seed 6 --resume
sed 's/weight = 0.01$/weight = 0.02/' $F > edited.vmoe
want 2 'graph: ' 'resuming another model' \
    "$VMOEC" train edited.vmoe --data data --out runs/t --seed 5 --resume
cp -r runs/t runs/other
dataset other && printf x | dd of=other/train-images-idx3-ubyte bs=1 seek=20 conv=notrunc 2> dd.log
want 2 'train_data: 70 images, fingerprint .* there, .* here' 'resuming on other data' \
    "$VMOEC" train $F --data other --out runs/other --seed 5 --resume
want 0 'warning: the checkpoint in runs/other belongs to another run' \
    'which those may who mean it' \
    "$VMOEC" train $F --data other --out runs/other --seed 5 --resume=anyway --quiet
want 2 "takes previous, anyway or both" 'a word that --resume does not know' \
    "$VMOEC" train $F --data data --out runs/t --resume=last
want 2 'holds a run already' 'a run where another is' \
    "$VMOEC" train $F --data data --out runs/t --seed 6
want 2 'no checkpoint in .runs/mistyped' 'resuming nothing' \
    "$VMOEC" train $F --data data --out runs/mistyped --resume --quiet
absent 'and nothing is made there' runs/mistyped
cp runs/t/checkpoint/trainer.json position.json
sed 's/"step": 10,/"step": 11,/' position.json > runs/t/checkpoint/trainer.json
want 1 'trainer.json: damaged: its checksum' 'a record that was edited' \
    "$VMOEC" train $F --data data --out runs/t --seed 5 --resume
want 1 'of step [0-9]*, is undamaged: --resume=previous' 'and the one before is offered' \
    "$VMOEC" train $F --data data --out runs/t --seed 5 --resume
rm runs/t/checkpoint/trainer.json
want 1 'trainer.json is missing' 'a checkpoint without its record' \
    "$VMOEC" train $F --data data --out runs/t --seed 5 --resume
want 0 '^test accuracy' 'going on from the one before it' \
    "$VMOEC" train $F --data data --out runs/t --seed 5 --resume=previous
same 'to the same weights' "$W" runs/t1/weights.safetensors

# Batches that a run will come to are built before its first step; check tries them where the data
# is.
cat > groups.vmoe << 'END'
use "std/moe"
model m(image: f32[B, 1, 8, 8], label: class[B, 4]) {
  x = vmoe_mlp(reshape(image, [B, 4, 16]), experts = 2, top_k = 1, hidden = 8, groups = 16)
  loss cross_entropy(linear(mean(x, axis = 1), 4), label)
}
train m { data = idx(dir = "data", batch = 16, drop_last = last) }
END
sed -i '1i config { last = false }' groups.vmoe
want 1 '16 groups of 24 tokens' 'a last batch that cannot be built' \
    "$VMOEC" train groups.vmoe --data data --out runs/groups
avoids='another batch, or drop_last = true, avoids it'
if grep -q "the last batch of the 70 training images has 6; $avoids" log; then
    ok 'and where it comes from'; else fail 'and where it comes from' "$(head -c 400 log)"; fi
absent 'which makes no folder' runs/groups
want 1 'groups.vmoe:7:.*the last batch of 70 training images has 6' 'check finds it' \
    "$VMOEC" check groups.vmoe
want 1 'of 21 test images has 5' 'check finds one of the test set' \
    "$VMOEC" check groups.vmoe --set 'last=true'
want 3 'nowhere' 'check of data that is not there' "$VMOEC" check groups.vmoe --data nowhere
want 0 '' 'init takes the batch of the train block' "$VMOEC" init groups.vmoe -o groups.safetensors

# Batch norm of one row: nothing to train with, and enough to evaluate.
cat > row.vmoe << 'END'
use "std/conv"
model m(image: f32[B, 1, 8, 8], label: class[B, 4]) {
  logits = linear(batch_norm(reshape(image, [B, 64])), 4)
  loss cross_entropy(logits, label)
}
train m { data = idx(dir = "data", batch = 23, drop_last = last) }
END
sed -i '1i config { last = false }' row.vmoe
ONE='one row, f32\[1,64\], has no variance to train with \[one-row\]'
want 1 "conv.vmoe:.*$ONE" 'a last batch of one row' \
    "$VMOEC" train row.vmoe --data data --out runs/row
if grep -q "the last batch of the 70 training images has 1; $avoids" log; then
    ok 'one row: where it comes from'
else
    fail 'one row: where it comes from' "$(head -c 400 log)"
fi
absent 'one row: makes no folder' runs/row
want 1 'row.vmoe:7:.*the last batch of 70 training images has 1' \
    'check finds a last batch of one row' \
    "$VMOEC" check row.vmoe
want 0 '' 'one row less is enough' "$VMOEC" check row.vmoe --set last=true
want 0 '' 'training without the last batch' \
    "$VMOEC" train row.vmoe --data data --out runs/row --set last=true --steps 4
want 0 '^m: accuracy\|^m: loss' 'evaluation of one row at a time' "$VMOEC" eval row.vmoe \
    --data data \
    --weights runs/row/weights.safetensors --batch 1
tensors "{$IMAGE2,$LABEL2}" 520 > in.safetensors
want 0 '' 'run of a training step with states' "$VMOEC" run row.vmoe --grad --mode=train \
    --weights runs/row/weights.safetensors --inputs in.safetensors --outputs g.safetensors
want 0 '' 'run of an evaluation with states' "$VMOEC" run row.vmoe \
    --weights runs/row/weights.safetensors --inputs in.safetensors --outputs e.safetensors
for name in state.m.logits.batch_norm.mean state.m.logits.batch_norm.var; do
    if grep -a -q "\"$name\"" g.safetensors; then ok "a training step gives $name"; else
        fail "a training step gives $name" 'no'
    fi
done
if grep -a -q '"state[.]' e.safetensors; then fail 'an evaluation gives no states' 'it does'; else
    ok 'an evaluation gives no states'
fi
for command in 'info row.vmoe' 'verify row.vmoe' 'emit row.vmoe --stage plan' \
    'emit row.vmoe --stage grad' 'bench row.vmoe'; do
    # shellcheck disable=SC2086
    want 1 "$ONE" "one row: $command" "$VMOEC" $command --batch 1
done
want 0 '' 'one row: inference' "$VMOEC" info row.vmoe --batch 1 --mode infer

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
want 2 'several phases (long, short): choose one with --phase' 'which phase is to be said' \
    "$VMOEC" train phases.vmoe
want 2 "no phase 'shrot'; did you mean short?" 'a phase that is not there' \
    "$VMOEC" train phases.vmoe --phase shrot
want 0 'after 2 steps' 'a phase by its name' \
    "$VMOEC" train phases.vmoe --phase short --out runs/phase
want 0 '' 'which the log has' grep -q '"phase":"short"' runs/phase/metrics.jsonl
want 2 'choose one with --phase' 'an evaluation of one, too' \
    "$VMOEC" eval phases.vmoe --weights runs/phase/weights.safetensors
want 0 'accuracy\|loss' 'which is found by its name' \
    "$VMOEC" eval phases.vmoe --weights runs/phase/weights.safetensors --phase short
want 0 '' 'a phase has its own settings everywhere' \
    "$VMOEC" emit phases.vmoe --stage ir --phase short -o short.ir
want 0 '' 'its batch' grep -q 'f32\[16,1,8,8\]' short.ir
want 0 '' 'phases keep their names in fmt' "$VMOEC" fmt --check phases.vmoe

# Where runs go when nobody says.
cp $F ...vmoe
want 0 '^weights runs/...vmoe/weights' 'a file with a name of dots' \
    "$VMOEC" train ...vmoe --data data --steps 1
want 0 '^weights runs/...vmoe-2/weights' 'a second run goes beside the first' \
    "$VMOEC" train ...vmoe --data data --steps 1
want 0 'now in runs/...vmoe.old$' 'or moves it aside' \
    "$VMOEC" train ...vmoe --data data --steps 1 --overwrite
want 0 '^weights runs/...vmoe-2/weights' 'the last one goes on' \
    "$VMOEC" train ...vmoe --data data --steps 1 --resume
sed 's/epochs = 2/epochs = 0.05/' $F > none.vmoe
want 1 'epochs = 0.05 of 5 steps each is no step at all' 'a run of no step' \
    "$VMOEC" train none.vmoe --data data --out runs/none
absent 'which makes no folder' runs/none

# Starting from a file.
"$VMOEC" init $F --seed 5 -o start.safetensors
want 0 '^20 of 20 weights from start.safetensors$' 'train from initial weights' \
    "$VMOEC" train $F --data data \
    --out runs/w --overwrite --seed 5 --threads 2 --weights start.safetensors
same 'which is what the seed gives' "$W" "$(sed -n 's/^weights //p' out)"
fingerprint=$(sed -n 's/.*"event":"start".*"weights":"\([0-9a-f]\{16\}\)".*/\1/p' \
    runs/w/metrics.jsonl)
if [ -n "$fingerprint" ]; then
    ok 'the log knows the file'
else
    fail 'the log knows the file' "$(head -n 1 runs/w/metrics.jsonl)"
fi
if head -n 1 "$M" | grep -q '"weights":"none"'; then
    ok 'or that there was none'
else
    fail 'or that there was none' "$(head -n 1 "$M")"
fi
want 0 '^20 of 20' 'train on from trained weights' \
    "$VMOEC" train $F --data data --out runs/on --overwrite --seed 5 --weights "$W"
if cmp -s "$W" runs/on/weights.safetensors; then
    fail 'trained weights go on' 'nothing changed'
else
    ok 'trained weights go on'
fi
sed 's/logits = linear/head = linear/; s/(logits/(head/; s/^  logits$/  head/' $F > head.vmoe
want 0 \
    '^vmoec: 16 of 20 weights from start.safetensors; fresh initial values for tiny.head.norm.weight, tiny.head.norm.bias, tiny.head.weight and 1 more$' \
    'a new head on trained layers' "$VMOEC" train head.vmoe --data data --out runs/head \
    --overwrite --steps 2 --weights start.safetensors
want 0 \
    '^vmoec: tensors that are not taken: 4 that the model has no place for (tiny.logits.* and 1 more)$' \
    'also quietly' "$VMOEC" train head.vmoe --data data --out runs/head --overwrite --steps 3 \
    --weights start.safetensors --quiet
want 2 'exclude each other' 'weights for a run that is resumed' \
    "$VMOEC" train $F --data data --out runs/w --resume --weights w.safetensors
want 1 'tiny.moe.mlp.* is f32\[4,.*\] in narrow.safetensors but f32\[4,.*\] in the model' \
    'starting from weights of another shape' \
    "$VMOEC" train $F --data data --out runs/bad --overwrite --weights narrow.safetensors
want 1 'stray.safetensors has no weight of this model' 'starting from weights of another model' \
    "$VMOEC" train $F --data data --out runs/bad --overwrite --weights stray.safetensors
want 1 'short.safetensors' 'starting from truncated weights' \
    "$VMOEC" train $F --data data --out runs/bad --overwrite --weights short.safetensors
want 3 'nowhere' 'starting from weights that are not there' \
    "$VMOEC" train $F --data data --out runs/bad --overwrite --weights nowhere.safetensors
absent 'nothing is written without weights' runs/bad
mkdir -p runs/taken/weights.safetensors
want 3 'weights.safetensors. is a folder; expected a file' 'a folder where the weights go' \
    "$VMOEC" train $F --data data --out runs/taken
absent 'which is found before training' runs/taken/metrics.jsonl
: > plain
want 3 'plain' 'an output folder that is a file' \
    "$VMOEC" train $F --data data --out plain --overwrite --steps 1
want 3 'plain' 'an output folder below a file' \
    "$VMOEC" train $F --data data --out plain/x --overwrite --steps 1
if [ "$(id -u)" -ne 0 ]; then
    chmod a-w locked
    want 3 'locked' 'an output folder that cannot be written' \
        "$VMOEC" train $F --data data --out locked/x --overwrite --steps 1
fi
# Labels that are shares of classes, and no label at all. One-hot shares give the loss of the
# classes.
sed 's/label: class\[B, 4\]/label: f32[B, 4]/; /metric/d
     s/loss cross_entropy.*/loss xent = 0 - mean(sum(log(P) * label, axis = 1))/
     s/(P)/(softmax(logits * blow))/' \
    $F > shares.vmoe
want 0 'test loss' 'labels that are shares of classes' \
    "$VMOEC" train shares.vmoe --data data --out runs/shares --overwrite --steps 5
"$VMOEC" train $F --data data --out runs/class --overwrite --steps 5 --quiet > classes
if awk '{ loss[NR] = $NF ? $0 : ""; sub(/.*test loss /, "", loss[NR]); sub(/ .*/, "", loss[NR]) }
    FNR == 1 { x[++n] = loss[NR] }
    END { exit !(n == 2 && (x[1] - x[2])^2 < 1e-8) }' out classes; then
    ok 'which give the same loss'
else
    fail 'which give the same loss' "$(head -n 1 out) and $(head -n 1 classes)"
fi
want 1 'label 3 of image 3 is not below the number of classes, 3' 'a share too few' \
    sh -c "sed 's/label: f32\[B, 4\]/label: f32[B, 3]/; \
    s/axis = 1), 4)/axis = 1), 3)/' shares.vmoe > shares3.vmoe; \
    \"\$0\" train shares3.vmoe --data data --out runs/shares --overwrite" "$VMOEC"
sed 's/, label: class\[B, 4\]//; /metric/d
     s/loss cross_entropy.*/loss distance = mean(square(linear(x, 16) - patchify(image, 4)))/' \
    $F > pixels.vmoe
want 0 '^test loss' 'a model without a label' \
    "$VMOEC" train pixels.vmoe --data data --out runs/pixels --overwrite --steps 5
want 0 'loss .* on 21 test images' 'and its evaluation' \
    "$VMOEC" eval pixels.vmoe --data data --weights runs/pixels/weights.safetensors
sed '/^train/,$d' $F > notrain.vmoe
want 1 'no train block' 'a file without a train block' "$VMOEC" train notrain.vmoe --data data
sed 's/, label: class\[B, 4\]//; /loss/d; /metric/d; /aux/d' notrain.vmoe > noloss.vmoe
want 0 '' 'a model without a loss' "$VMOEC" emit --stage fuse noloss.vmoe
want 1 'no loss' 'bench of a model without a loss' "$VMOEC" bench noloss.vmoe
want 0 '^step' 'inference of a model without a loss' \
    "$VMOEC" bench --mode infer --steps 3 noloss.vmoe
