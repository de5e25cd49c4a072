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

# Data beside a file is looked at as far as names and headers go: what a run would refuse.
pictures beside/photos # four classes of 8 x 8
sed 's/"nowhere", resize = 8/"photos"/; s/50 steps/0 steps/; s/\[B, 3\]/[B, 4]/; s/, 3)$/, 4)/' \
    classes.vmoe > beside/fits.vmoe
silent() { # NAME FILE: check has nothing to say
    want 0 '' "$1" "$VMOEC" check "$2"
    if [ -s out ] || [ -s log ]; then fail "$1" "$(cat out log)"; else ok 'and says nothing'; fi
}
refused() { # PATTERN NAME FILE: by check, and by train
    want 1 "$1" "check: $2" "$VMOEC" check "$3"
    want "${4:-1}" '' 'which train refuses' \
        "$VMOEC" train "$3" --quiet --out runs/refused --overwrite
}
silent 'data that fits' beside/fits.vmoe
want 0 '' 'which is trained on' "$VMOEC" train beside/fits.vmoe --quiet --out runs/fits --overwrite
sed 's/\[B, 4\]/[B, 3]/; s/, 4)$/, 3)/' beside/fits.vmoe > beside/few.vmoe
refused 'beside/few.vmoe:1:.*error: the data has 4 classes (blue, .*) but the logits of m have 3' \
    'more classes than logits' beside/few.vmoe
sed 's/\[B, 4\]/[B, 5]/; s/, 4)$/, 5)/' beside/fits.vmoe > beside/spare.vmoe
want 0 'has 4 classes (blue, .*) but the logits of m have 5.*spare-logits' \
    'check: fewer classes than logits' "$VMOEC" check beside/spare.vmoe
sed 's/3, 8, 8/3, 16, 16/; s/192/768/' beside/fits.vmoe > beside/large.vmoe
refused \
    'beside/large.vmoe:1:.*the training set of the data gives images \[B, 3, 8, 8\], the model takes' \
    'images of another size' beside/large.vmoe
sed 's/epochs = 1/epochs = 1\n  validation = 0.5/' beside/fits.vmoe > beside/share.vmoe
silent 'a share that can be held out' beside/share.vmoe
pictures beside/single && rm beside/single/train/*/[1-5].png
sed 's/"photos"/"single"/' beside/share.vmoe > beside/single.vmoe
refused 'beside/single.vmoe:9:.*no class has two images: none can be held out.*bad-data' \
    'no image can be held out' beside/single.vmoe
echo hello > beside/single/train/red/notes.txt
sed 's/"photos"/"single"/; /^train m/,$d' beside/fits.vmoe > beside/phases.vmoe
for phase in one two; do
    sed -n "s/\"photos\"/\"single\"/; s/^train m/train $phase of m/; /^train/,\$p" beside/fits.vmoe
done >> beside/phases.vmoe
want 0 'warning: skipped 1 file.*train/red/notes.txt' 'what the names of data say' \
    "$VMOEC" check beside/phases.vmoe
if [ "$(grep -c notes.txt log)" = 1 ]; then
    ok 'is said once'
else
    fail 'is said once' "$(cat log)"
fi
mkdir -p beside/photos/test/black && picture red > beside/photos/test/black/0.png
refused "beside/fits.vmoe:6:3: error: .*class 'black' of test/ is not one of the 4 .*bad-data" \
    'a class that only the test set has' beside/fits.vmoe
rm -r beside/photos/test/black
mkdir beside/photos/train/black
refused "beside/fits.vmoe:6:3: error: .*class 'black' of train/ has no images" 'an empty class' \
    beside/fits.vmoe
rmdir beside/photos/train/black
mv beside/photos/test beside/photos/tests
refused 'beside/fits.vmoe:6:3: error: .*neither test/ nor val/ is there.*no-data' 'no test set' \
    beside/fits.vmoe 3
mv beside/photos/tests beside/photos/test
picture red | head -c 60 > beside/photos/train/red/3.png
silent 'check decodes nothing' beside/fits.vmoe
echo 'no archive' > beside/photos.tar
sed 's/"photos"/"photos.tar"/' beside/fits.vmoe > beside/archive.vmoe
silent 'and reads no archive' beside/archive.vmoe
mv beside/photos beside/elsewhere
silent 'data that is not there' beside/fits.vmoe
for classes in 4 3; do
    sed "s/image_folder(.*)/idx(dir = \"..\/data\", batch = 2)/; s/3, 8, 8/1, 8, 8/; s/192/64/
        s/\[B, 4\]/[B, $classes]/; s/, 4)\$/, $classes)/" beside/fits.vmoe > beside/idx$classes.vmoe
done
silent 'data of numbers' beside/idx4.vmoe
refused 'the data has 4 classes but the logits of m have 3' 'a label that is no class' \
    beside/idx3.vmoe

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
