# One evaluation on given tensors, and accuracy on data. Part of run.sh, which reads it where all
# parts stand in
# one folder with what the parts before it made.

# ---- one evaluation ------------------------------------------------------------------------------

tensors "{$IMAGE2,$LABEL2}" 520 > in.safetensors
want 0 '' 'run' \
    "$VMOEC" run $F --weights w.safetensors --inputs in.safetensors --outputs o.safetensors
if grep -a -q '"logits"' o.safetensors; then
    ok 'run writes the logits'
else
    fail 'run writes the logits' 'no'
fi
want 0 '' 'run --grad' "$VMOEC" run $F --grad --routes --mode=train --weights w.safetensors \
    --inputs in.safetensors --outputs g.safetensors
for name in grad.tiny.logits.weight grad.image route.0.experts cross_entropy; do
    if grep -a -q "\"$name\"" g.safetensors; then
        ok "run writes $name"
    else
        fail "run writes $name" 'no'
    fi
done
sed 's/route = top_k(gate, top_k)/route = top_k(gate, top_k) |> capacity(0.5)/' $F > room.vmoe
want 0 '' 'run --routes with little room' "$VMOEC" run room.vmoe --routes --weights w.safetensors \
    --inputs in.safetensors --outputs k.safetensors
for name in route.0.experts route.1.experts route.1.kept; do
    if grep -a -q "\"$name\"" k.safetensors; then
        ok "run --routes writes $name"
    else
        fail "run --routes writes $name" 'no'
    fi
done
# ---- models of one scope -------------------------------------------------------------------------

cat > scoped.vmoe << 'END'
model whole(image: f32[B, 1, 8, 8], label: class[B, 4]) scope net {
  x = reshape(image, [B, 64])
  inner = linear(x, 8)
  logits = linear(relu(inner), 4)
  loss cross_entropy(logits, label)
}

model part(image: f32[B, 1, 8, 8]) scope net {
  x = reshape(image, [B, 64])
  inner = linear(x, 8)
  inner
}

model other(image: f32[B, 1, 8, 8]) scope net {
  x = reshape(image, [B, 64])
  more = linear(x, 8)
  more
}
END
tensors "{$IMAGE2}" 512 > image.safetensors
want 0 '' 'check of models that share weights' "$VMOEC" check scoped.vmoe
want 0 '' 'weights of a scope' "$VMOEC" init scoped.vmoe --model whole -o net.safetensors
want 0 '' 'run of a part of them' "$VMOEC" run scoped.vmoe --model part --weights net.safetensors \
    --inputs image.safetensors --outputs part.safetensors
want 1 "2 missing: .net.more" 'a weight that the scope lacks' "$VMOEC" run scoped.vmoe \
    --model other --weights net.safetensors --inputs image.safetensors --outputs x.safetensors
sed 's/ scope net//; s/whole/net/' scoped.vmoe > alone.vmoe
want 1 "missing: .part.inner" 'without the scope' "$VMOEC" run alone.vmoe --model part \
    --weights net.safetensors --inputs image.safetensors --outputs x.safetensors
sed '/model part/,/^}/s/linear(x, 8)/linear(x, 6)/' scoped.vmoe > apart.vmoe
want 1 'net.inner.weight is f32\[64,6\] in `part` and f32\[64,8\] in `whole`.*\[scope-shape\]' \
    'models of a scope that disagree' "$VMOEC" check apart.vmoe
sed '/^model part/,$d; s/ scope net//; s/whole/net/' scoped.vmoe > one.vmoe
"$VMOEC" init scoped.vmoe --model whole -o a.safetensors && "$VMOEC" init one.vmoe -o b.safetensors
want 0 '^equal: 4$' 'initial values follow the name of the scope' \
    "$VMOEC" weights a.safetensors b.safetensors

want 2 'train or eval' 'run in no mode' \
    "$VMOEC" run $F --mode=both --weights w.safetensors --inputs in.safetensors \
    --outputs x.safetensors
tensors '{"image":{"dtype":"F32","shape":[2,1,8,8],"data_offsets":[0,512]}}' 512 > bad.safetensors
want 1 'missing: label i32\[2\]' 'an input is missing' \
    "$VMOEC" run $F --grad --weights w.safetensors --inputs bad.safetensors \
    --outputs x.safetensors
want 0 '' 'run without a label' "$VMOEC" run $F --weights w.safetensors --inputs bad.safetensors \
    --outputs nolabel.safetensors
want 0 '^only in o.safetensors: 2$' 'gives what needs none, with the same bits' \
    "$VMOEC" weights o.safetensors nolabel.safetensors
if grep -q 'other values' out; then
    fail 'and no other values' "$(cat out)"
else
    ok 'and no other values'
fi
image='"image":{"dtype":"F32","shape":[2,1,8,4],"data_offsets":[0,256]}'
tensors "{$image,\"label\":{\"dtype\":\"I32\",\"shape\":[2],\"data_offsets\":[256,264]}}" \
    264 > bad.safetensors
want 1 'image is f32\[2,1,8,4\] but' 'an input has another shape' \
    "$VMOEC" run $F --weights w.safetensors \
    --inputs bad.safetensors --outputs x.safetensors
tensors "{$IMAGE2,$(echo "$LABEL2" | sed 's/I32/F32/')}" \
    520 > bad.safetensors
want 1 'label is f32' 'an input has another type' "$VMOEC" run $F --weights w.safetensors \
    --inputs bad.safetensors --outputs x.safetensors
tensors "{$IMAGE2,$LABEL2,\"more\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[520,524]}}" \
    524 > bad.safetensors
want 1 'more is not an input' 'an input too many' \
    "$VMOEC" run $F --weights w.safetensors --inputs bad.safetensors \
    --outputs x.safetensors
{ head -c -4 in.safetensors; printf '\7\0\0\0'; } > bad.safetensors
want 1 'label\[1\] is 7, but there are 4 classes' 'a label that is no class' \
    "$VMOEC" run $F --weights w.safetensors \
    --inputs bad.safetensors --outputs x.safetensors
tensors '{"image":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}' 4 > bad.safetensors
want 1 'leading dimension' 'a scalar for an image' \
    "$VMOEC" run $F --weights w.safetensors --inputs bad.safetensors \
    --outputs x.safetensors
absent 'a failed run writes nothing' x.safetensors
want 3 'nowhere' 'run into a missing folder' \
    "$VMOEC" run $F --weights w.safetensors --inputs in.safetensors \
    --outputs nowhere/o.safetensors

# ---- data ----------------------------------------------------------------------------------------

want 3 'not found' 'data that is not there' \
    "$VMOEC" train $F --data nowhere --out runs/a --overwrite
dataset bad && head -c 1000 data/train-images-idx3-ubyte > bad/train-images-idx3-ubyte
want 1 'promises 4480 bytes of images, the file has 984' 'truncated images' \
    "$VMOEC" train $F --data bad --out runs/a --overwrite
dataset bad && pixels 9 >> bad/train-images-idx3-ubyte
want 1 'train-images' 'images with something after them' \
    "$VMOEC" train $F --data bad --out runs/a --overwrite
dataset bad && pixels 900 > bad/train-images-idx3-ubyte
want 1 'train-images' 'images that are none' "$VMOEC" train $F --data bad --out runs/a --overwrite
dataset bad && { printf '\0\0\10\3'; be32 2147483647; be32 65535; be32 65535; } \
    > bad/train-images-idx3-ubyte
want 1 'train-images' 'images that claim to be huge' \
    "$VMOEC" train $F --data bad --out runs/a --overwrite
dataset bad && fours 69 > bad/train-labels-idx1-ubyte
want 1 '69' 'a label short' "$VMOEC" train $F --data bad --out runs/a --overwrite
dataset bad && labels 70 7 > bad/train-labels-idx1-ubyte
want 1 'label' 'labels that are no classes' "$VMOEC" train $F --data bad --out runs/a --overwrite
dataset bad && rm bad/t10k-labels-idx1-ubyte
want 3 't10k-labels' 'no test labels' "$VMOEC" train $F --data bad --out runs/a --overwrite
dataset bad && gzip -f bad/t10k-images-idx3-ubyte && head -c 40 bad/t10k-images-idx3-ubyte.gz \
    > cut &&
    mv cut bad/t10k-images-idx3-ubyte.gz
want 1 't10k-images.*cut off: the compressed data' 'half a gzip file' \
    "$VMOEC" train $F --data bad --out runs/a --overwrite
rm bad/t10k-images-idx3-ubyte.gz
dataset bad && gzip -f bad/t10k-images-idx3-ubyte && printf '\1\2\3' |
    dd of=bad/t10k-images-idx3-ubyte.gz bs=1 seek=80 conv=notrunc 2> dd.log
want 1 'gz: damaged: [^/]*$' 'a damaged gzip file' \
    "$VMOEC" train $F --data bad --out runs/a --overwrite
want 1 'tiny.vmoe:3[0-9]:.*images \[B, 1, 8, 8\]' 'images of another size' \
    "$VMOEC" train $F --set size=12 --data data --out runs/a --overwrite
absent 'nothing is written before the data is good' runs/a

# A result that has the name of an input is the result, not the input.
cat > rebound.vmoe <<'END'
model m(image: f32[B, 1, 8, 8]) {
  image = linear(image + 1, 8, init = ones())
  image
}
END
want 0 '' 'weights for it' "$VMOEC" init rebound.vmoe -o ones.safetensors
want 0 '' 'run with a result that has the name of an input' "$VMOEC" run rebound.vmoe \
    --weights ones.safetensors --inputs image.safetensors --outputs rebound.safetensors
want 0 'image .* at most 8' 'gives the result' \
    "$VMOEC" weights image.safetensors rebound.safetensors
