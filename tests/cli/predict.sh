# Classes of single images, and what a model takes images for. Part of run.sh; goes on from the
# weights of about.sh.

W=about/weights.safetensors
# What evaluation says of every image, and predict of the same files, must be the same.
want 0 '' 'eval with a list of answers' "$VMOEC" eval heads.vmoe --weights $W --split train \
    --predictions list.csv
find colours/train -name '*.png' | sort > files
want 0 '' 'predict from standard input' \
    sh -c "'$VMOEC' predict heads.vmoe --weights $W --csv --top 1 - < files"
cp out predicted.csv
cut -d, -f3,4 list.csv > answers
cut -d, -f2,3 predicted.csv | sed '1s/.*/answer,probability/' > predicted
same 'the same answers and probabilities' answers predicted
cut -d, -f1 predicted.csv | sed 1d > order
same 'in the order of the list' files order
cut -d, -f5 list.csv | sed '1s,.*,file,; 2,$s,^,colours/train/,' > listed
sed '1i file' files > order
same 'which has their names' order listed
want 0 '' 'predict a folder' "$VMOEC" predict heads.vmoe --weights $W --csv --top 1 colours/train
same 'is its images by name' predicted.csv out
want 0 '' 'predict with other batches' \
    "$VMOEC" predict heads.vmoe --weights $W --csv --top 1 colours/train --batch 5
same 'gives the same bits' predicted.csv out
want 0 '^colours/test/red/0.png: red [0-9.]* %, [a-z]* [0-9.]* %$' 'predict one image' \
    "$VMOEC" predict heads.vmoe --weights $W --top 2 colours/test/red/0.png
want 0 \
    '^{"image":"colours/test/red/0.png","class":"red","probability":0.[0-9]*,"top":\[{"class":"red","label":2,"probability":0.[0-9]*}\]}$' \
    'predict as JSON' \
    "$VMOEC" predict heads.vmoe --weights $W --json --top 1 colours/test/red/0.png
want 3 '' 'a file that is no image, and one that is not there' \
    "$VMOEC" predict heads.vmoe --weights $W colours/test/red/0.png heads.vmoe nowhere.png
for line in '^colours/test/red/0.png: red' 'error: heads.vmoe: neither a JPEG nor a PNG' \
    "error: cannot open 'nowhere.png'" 'error: 2 of 3 images could not be classified'; do
    if cat out log | grep -q -e "$line"; then ok "said: $line"; else fail "$line" "$(cat log)"; fi
done
want 1 '"error":"heads.vmoe: neither a JPEG' 'also as JSON' \
    "$VMOEC" predict heads.vmoe --weights $W --json heads.vmoe
mkdir -p none
want 1 'none: no .jpg, .jpeg or .png in this folder' 'a folder without images' \
    "$VMOEC" predict heads.vmoe --weights $W none
want 1 'no image was named' 'an empty list' \
    sh -c "'$VMOEC' predict heads.vmoe --weights $W - < /dev/null"
want 2 'predict needs images' 'no images' "$VMOEC" predict heads.vmoe --weights $W
want 2 'exclude each other' 'two forms at once' \
    "$VMOEC" predict heads.vmoe --weights $W --json --csv files
want 1 'heads = 4 there, 8 here' 'predict with weights of another setting' \
    "$VMOEC" predict heads.vmoe --weights $W --set heads=8 colours/test/red/0.png
want 1 'is 8 x 8 but what the model takes is 16 x 16' 'an image of another size' \
    sh -c "sed 's/B, 3, 8, 8/B, 3, 16, 16/' heads.vmoe > large.vmoe && \
    '$VMOEC' init large.vmoe -o large.safetensors && \
    '$VMOEC' predict large.vmoe --weights large.safetensors colours/test/red/0.png"
want 0 ': [0-3] [0-9.]* %' 'which is resized where the data is; classes without names are numbers' \
    sh -c "sed -i 's/batch = 4,/batch = 4, resize = 16,/' large.vmoe && \
    '$VMOEC' predict large.vmoe --weights large.safetensors colours/test/red/0.png"
cat > regression.vmoe << 'END'
model m(image: f32[B, 3, 8, 8]) {
  y = linear(reshape(image, [B, 192]), 1)
  loss mean(y * y)
}
train m {
  data = image_folder(dir = "colours", batch = 4)
  epochs = 1
}
END
"$VMOEC" init regression.vmoe -o regression.safetensors
want 1 'm scores no classes' 'predict without classes' \
    "$VMOEC" predict regression.vmoe --weights regression.safetensors colours/test/red/0.png
want 1 'm scores no classes' 'a confusion matrix without classes' \
    "$VMOEC" eval regression.vmoe --weights regression.safetensors --confusion

# ---- what was taken for what ---------------------------------------------------------------------

want 0 '^red  *6  *6  *100.00  *100.00$' 'eval --per-class' \
    "$VMOEC" eval heads.vmoe --weights $W --split train --per-class
want 0 '^ 2 red    *\. *\. *6 *\.$' 'eval --confusion' \
    "$VMOEC" eval heads.vmoe --weights $W --split train --confusion
want 0 '"confusion":\[\[6,0,0,0\],\[0,6,0,0\],\[0,0,6,0\],\[0,0,0,6\]\]' 'as JSON' \
    "$VMOEC" eval heads.vmoe --weights $W --split train --confusion --json
want 0 '' 'as a picture' "$VMOEC" eval heads.vmoe --weights $W --confusion=matrix.svg
cp heads.vmoe kept
want 2 "would replace 'heads.vmoe', which is read" 'a picture over the model' \
    "$VMOEC" eval heads.vmoe --weights $W --confusion=heads.vmoe
same 'which stays' kept heads.vmoe
want 0 '' 'which is well-formed' python3 -c 'import xml.dom.minidom as m
d = m.parse("matrix.svg")
assert sum(r.firstChild is not None for r in d.getElementsByTagName("rect")) == 4'
want 2 'has no images for validation' 'a split that is not there' \
    "$VMOEC" eval heads.vmoe --weights $W --split validation
want 2 "is train, validation or test, not 'all'" 'no split' \
    "$VMOEC" eval heads.vmoe --weights $W --split all
sed 's/epochs = 2/epochs = 2\n  validation = 0.25/' heads.vmoe > held.vmoe
want 0 '' 'train with validation' "$VMOEC" train held.vmoe --out held --seed 3 --quiet
want 0 'on 8 validation images' 'eval --split validation' \
    "$VMOEC" eval held.vmoe --weights held/weights.safetensors --split validation
loss=$(sed 's/.*loss \([0-9.]*\) on.*/\1/' out)
# the seed of the run says which images these are
if python3 - "$loss" << 'END'
import json, sys
last = [e for e in map(json.loads, open("held/metrics.jsonl")) if e["event"] == "epoch"][-1]
sys.exit(abs(last["validation_loss"] - float(sys.argv[1])) > 1e-5)
END
then ok 'images are those of the run'; else fail 'images are those of the run' "$loss"; fi
want 0 'on 16 train images' 'eval --split train' \
    "$VMOEC" eval held.vmoe --weights held/weights.safetensors --split train
# Of the data only what is asked for is opened.
mkdir -p untested && cp -r colours/train untested/
want 0 'on 24 train images' 'eval --split train where there is no test set' \
    "$VMOEC" eval heads.vmoe --weights $W --split train --data untested
want 0 'on 8 validation images' 'eval --split validation there' \
    "$VMOEC" eval held.vmoe --weights held/weights.safetensors --split validation --data untested
want 3 'neither test/ nor val/ is there' 'eval of the test set there' \
    "$VMOEC" eval heads.vmoe --weights $W --data untested

# ---- names of images -----------------------------------------------------------------------------

# names LIST: the files of a list of answers, whose classes must be their folders.
names() {
    python3 - "$@" << 'END'
import csv, sys
rows = list(csv.reader(open(sys.argv[-1], encoding="utf-8", errors="surrogateescape", newline="")))
assert rows[0] == ["image", "class", "answer", "probability", "file"], rows[0]
for i, row in enumerate(rows[1:]):
    assert len(row) == 5 and int(row[0]) == i, row
    assert row[4].split("/")[-2] == row[1], row
    sys.stdout.buffer.write(row[4].encode("utf-8", "surrogateescape") + b"\n")
END
}
H=held/weights.safetensors
for split in validation train; do
    want 0 '' "a list of the $split images" "$VMOEC" eval held.vmoe --weights $H --split $split \
        --predictions $split.csv
    names $split.csv > $split.names || fail "the list of $split images" "$(head -3 $split.csv)"
done
if [ "$(wc -l < validation.names)" -eq 8 ]; then ok 'eight are held out'; else
    fail 'eight are held out' "$(cat validation.names)"; fi
sort validation.names train.names > listed
sed 's,^colours/train/,,' files | sort > order
same 'all others are trained on' order listed
sed 's/batch = 4,/batch = 4, cache = "none",/' held.vmoe > decoded.vmoe
want 0 '' 'a list of images that are not in memory' "$VMOEC" eval decoded.vmoe --weights $H \
    --split validation --predictions decoded.csv
same 'is the same' validation.csv decoded.csv

odd=odd/train/red
mkdir -p odd && cp -r colours/train odd/ && rm $odd/*
printf 'a,b.png\nsay "so".png\ncaf\351.png\n x .png\n' > odd.names
while IFS= read -r name; do picture red > "$odd/$name"; done < odd.names
picture red > "$odd/$(printf 'two\nlines.png')"
want 0 'skipped 1 file.*two?lines.png' 'a list with odd names' \
    "$VMOEC" eval heads.vmoe --weights $W --split train --data odd --predictions odd.csv
names odd.csv | grep -a '^red/' | sed 's,^red/,,' | LC_ALL=C sort > listed
LC_ALL=C sort odd.names > order
same 'has them byte by byte' order listed
for line in '"red/a,b.png"' '"red/say ""so"".png"'; do
    if grep -q ",$line\$" odd.csv; then ok "as $line"; else fail "$line" "$(cat odd.csv)"; fi
done
mkdir -p top && cp -r colours top/photos && tar cf photos.tar -C top photos
want 0 '' 'a list of an archive' "$VMOEC" eval heads.vmoe --weights $W --split train \
    --data photos.tar --predictions archive.csv
names archive.csv > listed
sed 's,^colours/,photos/,' files > order
same 'has the names of its entries' order listed
"$VMOEC" init $F -o numbers.safetensors
want 0 '' 'a list of images that are no files' \
    "$VMOEC" eval $F --weights numbers.safetensors --predictions numbers.csv
if [ "$(head -1 numbers.csv)" = image,class,answer,probability ] \
    && [ "$(wc -l < numbers.csv)" = 22 ]
then ok 'has numbers alone'; else fail 'has numbers alone' "$(head -3 numbers.csv)"; fi

# A folder val/ beside train/ and test/ is the validation set.
cp -r colours judged
for colour in red green blue white; do
    mkdir -p judged/val/$colour
    for i in 0 1 2; do picture $colour > judged/val/$colour/$i.png; done
done
picture blue > judged/val/red/2.png # one that is hard to tell
sed 's/dir = "colours"/dir = "judged"/' heads.vmoe > judged.vmoe
want 0 '' 'train with val/' "$VMOEC" train judged.vmoe --out judged.run --seed 3 --quiet
want 0 'on 12 validation images' 'eval --split validation of val/' \
    "$VMOEC" eval judged.vmoe --weights judged.run/weights.safetensors --split validation \
    --predictions judged.csv
loss=$(sed 's/.*loss \([0-9.]*\) on.*/\1/' out)
if python3 - "$loss" << 'END'
import json, sys
last = [e for e in map(json.loads, open("judged.run/metrics.jsonl")) if e["event"] == "epoch"][-1]
sys.exit(abs(last["validation_loss"] - float(sys.argv[1])) > 1e-5)
END
then ok 'is the loss that the run had there'; else fail 'the loss of val/' "$loss"; fi
cut -d, -f3,4 judged.csv | sed 1d > answers
want 0 '' 'predict the images of val/' \
    "$VMOEC" predict judged.vmoe --weights judged.run/weights.safetensors --csv --top 1 judged/val
cut -d, -f2,3 out | sed 1d > predicted
same 'they are what eval --split validation saw' answers predicted
want 0 'on 4 test images' 'the test set is another' \
    "$VMOEC" eval judged.vmoe --weights judged.run/weights.safetensors
want 0 'on 24 train images' 'and nothing is held out of training' \
    "$VMOEC" eval judged.vmoe --weights judged.run/weights.safetensors --split train
rm -r judged/test
want 0 'on 12 test images' 'val/ alone is the test set' \
    "$VMOEC" eval judged.vmoe --weights judged.run/weights.safetensors
want 2 'has no images for validation' 'and then there is no validation set' \
    "$VMOEC" eval judged.vmoe --weights judged.run/weights.safetensors --split validation
