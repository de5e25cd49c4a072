# Values that are not finite: what stopped a run or an evaluation, where it began, what it was
# given, and that nothing was changed. Part of run.sh.

# said STATUS NAME PATTERN..: the last command's lines have all of these
said() {
    name=$1
    shift
    for pattern in "$@"; do
        cat out log | grep -q -e "$pattern" || {
            fail "$name" "no line matches '$pattern': $(head -c 600 log)"
            return
        }
    done
    ok "$name"
}
# model NAME: a file of a model that stands on stdin, trained on the grey images of `data`
model() {
    {
        printf 'use "std/moe"\nconfig { rate = 0.001 }\n\n'
        cat
        printf '\ntrain m {\n  data = idx(dir = "data", batch = 16)\n'
        printf '  schedule = constant(peak = rate)\n  epochs = 1\n  log_every = 1\n}\n'
    } > "$1.vmoe"
}

# ---- training ------------------------------------------------------------------------------------

model log0 << 'END'
model m(image: f32[B, 1, 8, 8], label: class[B, 4]) {
  x = linear(reshape(image, [B, 64]), 4)
  share = relu(x - 1000)
  loss nll = -mean(log(share))
  metric accuracy(x, label)
}
END
want 1 \
    "^log0.vmoe:7:20: error: loss 'nll' is infinite at step 1: .log. is the first .* gives -inf .run-not-finite.$" \
    'log(0) in the loss' "$VMOEC" train log0.vmoe --out runs/log0 --threads 2
said 'its source, what it was given and a hint' '^    7 |   loss nll = -mean(log(share))$' \
    '^      |                    ^$' '^log0.vmoe:6:11: note: .* f32\[16,4\], is 0$' \
    'note: the logarithm of 0' 'note: the step changed no weight; its learning rate was 0.001$'
if grep '"event":"diverged"' runs/log0/metrics.jsonl | grep '"step":0,' \
    | grep '"in":"training","at":1,' | grep '"kind":"loss","name":"nll","value":"infinite"' \
    | grep '"weights_finite":true' | grep '"op":"log","place":"log0.vmoe:7:20","result":"-inf"' \
    | grep -q '"inputs":\[{"shape":"f32\[16,4\]","least":0.0,"most":0.0}\]'; then
    ok 'the log says so, too'
else
    fail 'the log says so, too' "$(tail -n 1 runs/log0/metrics.jsonl)"
fi
absent 'a run that fails in its first step has no checkpoint' runs/log0/checkpoint

model ratio << 'END'
model m(image: f32[B, 1, 8, 8], label: class[B, 4]) {
  x = linear(reshape(image, [B, 64]), 4)
  loss cross_entropy(x, label)
  hits = relu(x - 1000)
  metric share = mean(hits) / sum(hits)
}
END
want 1 "^ratio.vmoe:8:18: error: metric 'share' is not a number at step 1: .div. .* gives NaN" \
    'a division by zero in a metric' "$VMOEC" train ratio.vmoe --out runs/ratio
said 'divided by what' 'note: operand 1, f32\[\], is 0$' 'note: operand 2, f32\[\], is 0$' \
    'divided by 0'

model plain << 'END'
model m(image: f32[B, 1, 8, 8], label: class[B, 4]) {
  x = linear(reshape(image, [B, 64]), 4)
  loss cross_entropy(x, label)
  metric accuracy(x, label)
}
END
want 1 \
    "^std/core.vmoe:[0-9:]* error: loss 'cross_entropy' is not a number at step [0-9]*: .matmul." \
    'a rate that is far too high' "$VMOEC" train plain.vmoe --out runs/rate --set rate=1e6 \
    --epochs 40 --threads 1
said 'which weights have grown' "note: operand 1, input 'image' f32\[[0-9]*,64\], is " \
    "note: operand 2, weight 'm.x.weight' f32\[64,4\], is -*[0-9.]*e+3[0-9] .. " \
    "note: weights have grown large: 'm.x.weight' .*; a smaller rate" 'changed no weight'

# The weight falls by the rate in every step, and its logarithm ends with it.
model falls << 'END'
model m(image: f32[B, 1, 8, 8], label: class[B, 4]) {
  param w: [] = constant(0.0035)
  x = linear(reshape(image, [B, 64]), 4)
  loss cross_entropy(x, label)
  loss low = in_training(log(w), w)
}
END
want 1 "^falls.vmoe:8:26: error: loss 'low' is not a number at step 5: .log. " \
    'a step in the middle of a run' "$VMOEC" train falls.vmoe --out runs/falls --save-every 1 \
    --threads 1
said 'a negative number' "note: operand 1, weight 'm.w' f32\[\], is -0.000[0-9]*$" \
    'note: a negative number has no logarithm'
want 0 '' 'the same run as far as the step before' "$VMOEC" train falls.vmoe --out runs/before \
    --save-every 1 --threads 2 --steps 4
for file in weights state; do
    same "the $file of the step before stay" runs/falls/checkpoint/$file.safetensors \
        runs/before/checkpoint/$file.safetensors
done
want 1 "is not a number at step 5: .log." 'going on fails in the same step' \
    "$VMOEC" train falls.vmoe --out runs/falls --save-every 1 --resume
if [ "$(grep -c '"event":"diverged"' runs/falls/metrics.jsonl)" = 1 ]; then
    ok 'and is in the log once'
else
    fail 'and is in the log once' "$(grep diverged runs/falls/metrics.jsonl)"
fi

# ---- gradients alone -----------------------------------------------------------------------------

# The loss is finite where the root is 0, its gradient is not: weights are found broken a step
# later.
model root << 'END'
model m(image: f32[B, 1, 8, 8], label: class[B, 4]) {
  param w: [] = constant(start)
  x = linear(reshape(image, [B, 64]), 4)
  loss cross_entropy(x, label)
  on = where(w < 0, 0 * w, 1 + 0 * w)
  loss low = sqrt(w * w * on)
}
END
sed -i 's/^config { rate = 0.001 }$/config {\n  rate = 0.001\n  start = 0.0025\n}/' root.vmoe
want 1 \
    "^root.vmoe:12:14: error: loss 'low' is not a number at step 5: the gradient of 'm.w' was not in step 4; .*backward pass here, gives" \
    'a gradient that is not finite, of a finite loss' "$VMOEC" train root.vmoe --out runs/root
said 'it began with' 'note: operand [12], f32\[\], is 0$' 'divided by 0'
if grep '"event":"diverged"' runs/root/metrics.jsonl | grep '"weights_finite":false' \
    | grep -q '"gradient":"m.w","step":4}'; then
    ok 'the log has the step and the weight'
else
    fail 'the log has the step and the weight' "$(tail -n 1 runs/root/metrics.jsonl)"
fi
want 1 \
    "^root.vmoe:12:14: error: a weight or state is not finite after step 4: the gradient of 'm.w' was not in step 4;" \
    'found when it would be saved' "$VMOEC" train root.vmoe --out runs/root2 --save-every 1
want 1 "^root.vmoe:12:14: error: .*: the gradient of 'm.w' was not in step 4;" \
    'and again from that checkpoint' \
    "$VMOEC" train root.vmoe --out runs/root2 --save-every 1 --resume
want 1 \
    "^root.vmoe:12:14: error: loss '[a-z_]*' is not a number on images 1 to 16: the gradient of 'm.w' was not in step 5;" \
    'found when the epoch is judged' "$VMOEC" train root.vmoe --out runs/root3 \
    --set start=0.0035

# ---- mixtures, bf16 ------------------------------------------------------------------------------

model mixed << 'END'
layer mixture(x) {
  gate = softmax(linear(x, 4, bias = false))
  route = top_k(gate, 2) |> capacity(0.5)
  aux load_balance(gate, route), weight = 0.01
  h = dispatch(x, route) |> linear(8)
  h = exp(h * 1000)
  h |> linear(4) |> combine(route)
}

model m(image: f32[B, 1, 8, 8], label: class[B, 4]) {
  x = mixture(linear(reshape(image, [B, 64]), 16))
  loss cross_entropy(linear(x, 4), label)
}
END
want 1 \
    "^mixed.vmoe:9:7: error: loss 'cross_entropy' is not a number at step 1: .exp. .* gives inf" \
    'inside of experts, where rows stay free' "$VMOEC" train mixed.vmoe --out runs/mixed
said 'what they were given' 'note: operand 1, f32\[[0-9]*,8\], is -[0-9.]* .. [0-9.]*$' \
    'note: e^x is larger than any number from x = 88.73 on'
sed 's/exp(h \* 1000)/exp(h)/; s/linear(x, 4), label/log(linear(x, 4) * 0), label/' mixed.vmoe \
    > behind.vmoe
want 1 "^behind.vmoe:[0-9]*:22: error: loss 'cross_entropy' is .*: .log. .* gives -inf" \
    'behind experts' "$VMOEC" train behind.vmoe --out runs/behind
want 1 "^mixed.vmoe:9:7: error: loss 'cross_entropy' is not a number at step 1: .exp. " \
    'and in bf16, where the machine has it' "$VMOEC" train mixed.vmoe --out runs/bf16 \
    --precision bf16

# ---- evaluation ----------------------------------------------------------------------------------

want 0 '' 'weights that are good' "$VMOEC" init plain.vmoe -o good.safetensors
want 0 'accuracy' 'they can be evaluated' "$VMOEC" eval plain.vmoe --weights good.safetensors
# the last bytes are the weights: all 256 become 3.4e38
n=$(wc -c < good.safetensors)
{
    head -c $((n - 1024)) good.safetensors
    yes '~' | tr -d '\n' | head -c 1024
} > huge.safetensors
want 1 \
    "^std/core.vmoe:[0-9:]* error: loss 'cross_entropy' is not a number on images 1 to 16: .matmul." \
    'weights that are too large, evaluated' "$VMOEC" eval plain.vmoe --weights huge.safetensors
said 'their range' "note: operand 2, weight 'm.x.weight' f32\[64,4\], is 8.4.*e+37$"
want 1 "^log0.vmoe:7:20: error: loss 'nll' is infinite on images 1 to 16: .log. " \
    'an evaluation of a loss that is infinite' "$VMOEC" eval log0.vmoe --weights good.safetensors
clean 'nothing half-written is left'
