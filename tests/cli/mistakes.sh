# Mistakes that only options or data show, and explain. Part of run.sh, which reads it where all
# parts stand in one folder with what the parts before it made.

mkdir -p three
cat > classes.vmoe << 'END'
model m(image: f32[B, 3, 8, 8], label: class[B, 3]) {
  logits = linear(reshape(image, [B, 192]), 3)
  loss cross_entropy(logits, label)
}
train m {
  data = image_folder(dir = "nowhere", resize = 8, batch = 2)
  schedule = cosine(warmup = 50 steps)
  epochs = 1
}
END
sed 's/3]) {/9]) {/; s/, 3)$/, 9)/' classes.vmoe > spare.vmoe
sed 's/3]) {/1]) {/; s/, 3)$/, 1)/' classes.vmoe > few.vmoe
for part in train test; do
    for class in cat dog owl; do
        mkdir -p "three/$part/$class"
        for i in 1 2; do
            { printf 'P6 8 8 255\n'; pixels 192; } > "three/$part/$class/$i.ppm"
        done
    done
done
if command -v python3 > /dev/null 2>&1; then
    python3 - three << 'END'
import os, struct, sys, zlib

def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

for folder, _, names in os.walk(sys.argv[1]):
    for name in names:
        path = os.path.join(folder, name)
        os.unlink(path)
        rows = b"".join(b"\0" + bytes(range(24)) for _ in range(8))
        with open(path[:-4] + ".png", "wb") as f:
            head = struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)
            f.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head)
                    + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))
END
    want 0 \
        'warning: the data has 3 classes (cat, dog, owl) but the logits of m have 9.*spare-logits' \
        'check: more logits than classes' "$VMOEC" check --data three spare.vmoe
    want 1 'few.vmoe:1:.*error: the data has 3 classes (cat, dog, owl) but the logits of m have 1' \
        'check: fewer logits than classes' "$VMOEC" check --data three few.vmoe
    want 0 'the warm-up of 50 steps is longer than the run of 1 epoch (3 steps)' \
        'check: a long warm-up' "$VMOEC" check --data three classes.vmoe
    sed 's/epochs = 1/epochs = 0.1/; s/50 steps/0 steps/' classes.vmoe > none.vmoe
    want 0 '0.1 epochs round to no step: an epoch has 3 steps here.*no-steps' 'check: no step' \
        "$VMOEC" check --data three none.vmoe
fi

# Data that is not there: where the file says it, with every place and what it is relative to.
mkdir -p elsewhere/nowhere
sed 's/"nowhere"/"nowhere", bad = "skip"/' classes.vmoe > elsewhere/lost.vmoe
want 3 "^elsewhere/lost.vmoe:6:29: error: data set 'image_folder' not found \[no-data\]" \
    'data that is not there, at its place' "$VMOEC" train elsewhere/lost.vmoe --out runs/lost
cp log seen
want 0 '' 'with a caret under dir' grep '^      |                             ^^^^^^^^^$' seen
want 0 '' 'beside the file, where the folder has something else' grep \
    'tried elsewhere/nowhere/train/ (beside the file): the folder is there, without it$' seen
want 0 '' 'in the current folder' grep 'tried nowhere/train/ (in the current folder)$' seen
want 0 '' 'and how to get it' grep 'note: give a folder with train/CLASS/NAME.jpg' seen
want 3 '^vmoec: error: data set .image_folder. not found' 'the option is no place in the file' \
    "$VMOEC" train elsewhere/lost.vmoe --data nowhere --out runs/lost
sed 's/image_folder(.*)/mnist()/; s/3, 8, 8/1, 28, 28/; s/192/784/
     s/\[B, 3\]/[B, 10]/; s/, 3)$/, 10)/' \
    classes.vmoe > digits.vmoe
want 3 'digits.vmoe:6:3: error: data set .mnist. not found' 'data without a dir' \
    env -u VMOE_DATA "$VMOEC" train digits.vmoe --out runs/lost
want 2 'heads. is an integer like 4, not the number 16\|`depth` is an integer like' \
    '--set with a number of another kind' "$VMOEC" check "$ROOT/models/mnist_moe.vmoe" \
    --set depth=16.0
want 2 'mnist_moe.vmoe:.*note: .depth. is declared here' '--set without a value' \
    "$VMOEC" check "$ROOT/models/mnist_moe.vmoe" --set depth=
for option in --best --name; do
    want 2 "train has no option $option\$" "no wrong suggestion for $option" \
        "$VMOEC" train "$F" "$option"
done
cat > inside.vmoe << 'END'
use "std/vit"
model m(image: f32[B, 1, 28, 28]) {
  x = patch_embed(image, 7, 64)
  mean(attention(x, 5))
}
END
want 1 '^std/vit.vmoe:[0-9]*:[0-9]*: note: inside layer' 'the library is named as it is used' \
    "$VMOEC" check inside.vmoe

# ---- explain -------------------------------------------------------------------------------------

want 0 'cross_entropy(h, label)' 'explain' "$VMOEC" explain double-softmax
want 0 'cross_entropy(h, label)' 'explain with brackets' "$VMOEC" explain '[double-softmax]'
want 2 'did you mean unknown-call' 'explain of a misspelled slug' "$VMOEC" explain unknown-cal
want 0 '' 'explain all' "$VMOEC" explain all
same 'docs/diagnostics.md is what explain says (make docs)' out "$ROOT/docs/diagnostics.md"
