# New files from templates. Part of run.sh, which reads it where all parts stand in one folder with
# what the parts before it made.

# ---- templates as they stand ---------------------------------------------------------------------

templates=$(cd "$ROOT/models/templates" && ls | sed 's/\.vmoe$//')
mkdir new
cd new || exit 3
for t in $templates; do
    want 0 '' "template $t: check" "$VMOEC" check "$ROOT/models/templates/$t.vmoe"
    same "template $t: without a warning" log /dev/null
    want 0 '' "template $t: format" "$VMOEC" fmt --check "$ROOT/models/templates/$t.vmoe"
    want 0 "^$t  *[A-Z]" "template $t: listed" "$VMOEC" new --list
    want 0 'vmoec train m_' "template $t: new" "$VMOEC" new "m_$t" --template "$t"
    want 0 '' "template $t: its file checks" "$VMOEC" check "m_$t.vmoe"
    want 0 '' "template $t: its file is formatted" "$VMOEC" fmt --check "m_$t.vmoe"
    sed "s/$t\.vmoe/m_$t.vmoe/g; s,runs/$t,runs/m_$t,g" "$ROOT/models/templates/$t.vmoe" > expected
    same "template $t: only the name is another" "m_$t.vmoe" expected
done
want 0 'vmoec train cats.vmoe$' 'an ending that is typed' "$VMOEC" new cats.vmoe
want 0 'Photos of your own, told apart by a small ConvNeXt that' 'photos is the default' \
    head -1 cats.vmoe

# ---- filled in -----------------------------------------------------------------------------------

python3 - << 'END'
"""Photos of three classes, of mixed sizes and in folders of folders, as PNG files; one class has
a name that is no UTF-8."""
import os, random, struct, zlib

def png(width, height, colour):
    def chunk(kind, data):
        end = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + end
    row = lambda: bytes(min(255, v + random.randrange(30)) for _ in range(width) for v in colour)
    rows = zlib.compress(b"".join(b"\0" + row() for _ in range(height)))
    head = chunk(b"IHDR", struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", rows) + chunk(b"IEND", b"")

random.seed(3)
for part, images in ((b"train", 12), (b"test", 3)):
    for i, name in enumerate((b"apple", b"lime\xff", b"plum")):
        colour = [220 if c == i else 40 for c in range(3)]
        for k in range(images):
            folder = b"fruit/" + part + b"/" + name + b"/day%d" % (k % 2)
            os.makedirs(folder, exist_ok=True)
            with open(folder + b"/%d.png" % k, "wb") as f:
                f.write(png(50 + random.randrange(30), 52 + random.randrange(9), colour))
END
tar czf fruit.tar.gz fruit
sets() { # FILE: its settings, on one line
    sed -n '/^config {/,/^}/s/^  \([a-z]*\) = \([^ ]*\).*/\1=\2/p' "$1" | tr '\n' ' '
}
for data in fruit fruit.tar.gz; do
    for t in photos photos_moe; do
        rm -f filled.vmoe
        want 0 'for 3 classes, 36 images to learn from and 9' "$t with $data" \
            "$VMOEC" new filled --template $t --data $data
        want 0 '' "$t with $data: check" "$VMOEC" check filled.vmoe --data $data
        same "$t with $data: no warning" log /dev/null
        want 0 '' "$t with $data: formatted" "$VMOEC" fmt --check filled.vmoe
        want 0 'classes (apple, lime?, plum), 36 images' "$t with $data: names of classes" \
            grep 'apple' filled.vmoe
        case $(sets filled.vmoe) in
        "folder=\"$data\" classes=3 side=48 batch=8 "*) ok "$t with $data: settings" ;;
        *) fail "$t with $data: settings" "$(sets filled.vmoe)" ;;
        esac
        if [ $data = fruit ]; then
            want 0 'test accuracy' "$t with $data: train" \
                "$VMOEC" train filled.vmoe --epochs 2 --quiet --out runs/$t
        fi
    done
done
want 0 'for 4 classes, 70 images to learn from and 21' 'digits with IDX files' \
    "$VMOEC" new counts --template digits --data ../data
case $(sets counts.vmoe) in
'folder="../data" classes=4 side=32 batch=8 '*) ok 'digits with IDX files: settings' ;;
*) fail 'digits with IDX files: settings' "$(sets counts.vmoe)" ;;
esac
want 0 'test accuracy' 'digits with IDX files: train' \
    "$VMOEC" train counts.vmoe --epochs 1 --quiet --out runs/counts

# ---- what is refused -----------------------------------------------------------------------------

cp cats.vmoe before
want 2 'cats.vmoe is there already' 'a file that is there' "$VMOEC" new cats
same 'stays as it is' cats.vmoe before
ln -s nowhere dogs.vmoe
want 2 'dogs.vmoe is there already' 'a link to nothing' "$VMOEC" new dogs
absent 'nothing is written through it' nowhere
want 2 'is no name' 'a name with a folder' "$VMOEC" new a/b
want 2 'is no name' 'a name with a space' "$VMOEC" new 'a b'
want 2 'is no name' 'an empty name' "$VMOEC" new ''
want 2 'is no name' 'an ending alone' "$VMOEC" new .vmoe
want 2 'needs NAME' 'no name' "$VMOEC" new
want 2 'takes NAME; .b. is one word too many' 'two names' "$VMOEC" new a b
want 2 'takes no name' 'a list of a name' "$VMOEC" new a --list
want 2 'did you mean photos?; there are digits, photos' 'an unknown template' \
    "$VMOEC" new a --template photo
want 3 'tried nowhere/train/' 'data that is not there' "$VMOEC" new a --data nowhere
want 3 'tried fruit/train-images-idx3-ubyte' 'data of another kind' \
    "$VMOEC" new a --template digits --data fruit
mkdir -p empty/train/a empty/test/a
want 1 "class 'a' of train/ has no images" 'a class without images' "$VMOEC" new a --data empty
mkdir "$(printf 'caf\351')"
cp -r fruit/train fruit/test "$(printf 'caf\351')"
want 2 'no UTF-8 text' 'a folder that cannot be named' "$VMOEC" new a --data "$(printf 'caf\351')"
want 3 'VMOEC_MODELS' 'no templates to be found' env VMOEC_MODELS=/nowhere "$VMOEC" new a
want 3 'no templates in' 'a folder of models without templates' env VMOEC_MODELS=. "$VMOEC" new a
absent 'and no file is written' a.vmoe
if [ "$(id -u)" -ne 0 ]; then
    mkdir shut && chmod a-w shut
    want 3 'cannot write' 'a folder that may not be written' sh -c "cd shut && '$VMOEC' new a"
else
    echo 'skip a folder that may not be written: root may write everywhere'
fi
cd ..
