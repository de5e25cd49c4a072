# What weights say of themselves, and weights that are used in another way than they were made in.
# Part of run.sh.

cat > heads.vmoe << 'END'
use "std/vit"
config {
  heads = 4
  drop = 0.1
  mean = 0.5
}
model m(image: f32[B, 3, 8, 8], label: class[B, 4]) {
  x = patch_embed(image, 4, 32)
  x = x + attention(norm(x), heads)
  x = dropout(x, drop)
  logits = linear(mean(x, axis = 1), 4)
  loss cross_entropy(logits, label)
  metric accuracy(logits, label)
}
train m {
  data = image_folder(dir = "colours", batch = 4, mean = mean)
  schedule = constant(peak = 1e-3)
  epochs = 2
}
END
pictures colours
want 0 '' 'train on class folders' "$VMOEC" train heads.vmoe --out about --quiet
W=about/weights.safetensors
about() { # NAME PATTERN FILE: a pair of the file
    if "$VMOEC" weights "$3" | grep -q -e "$2"; then
        ok "$1"
    else
        fail "$1" "no line '$2' in $3"
    fi
}
for f in $W about/checkpoint/weights.safetensors; do
    about "classes in $f" '^classes: \["blue","green","red","white"\]$' $f
    about "settings in $f" '^settings: {"heads":"4","drop":"0.1","mean":"0.5"}$' $f
    about "preparation in $f" \
        '^image: {"channels":3,"height":8,"width":8,"resize":false,"mean":\[0.5,' $f
    about "seed in $f" '^run: {"seed":0}$' $f
done
want 0 '' 'init for its settings' "$VMOEC" init heads.vmoe --set heads=8 -o heads8.safetensors
about 'settings of init' '"heads":"8"' heads8.safetensors

# the folder
same 'the source of a run' heads.vmoe about/source.vmoe
if python3 - << 'END'
import json
r = json.load(open("about/run.json"))
assert r["format"] == 1 and r["command"][1:] == ["train", "heads.vmoe", "--out", "about", "--quiet"]
assert r["settings"] == {"heads": "4", "drop": "0.1", "mean": "0.5"} and r["recipe"]["seed"] == 0
assert r["data"]["classes"] == ["blue", "green", "red", "white"] and r["used"] == []
assert r["data"]["train"]["images"] == 24 and len(r["data"]["test"]["fingerprint"]) == 32
assert r["data"]["place"].endswith("/colours") and "source_commit" not in r
END
then
    ok 'what a run says of itself'
else
    fail 'what a run says of itself' "$(cat about/run.json)"
fi
for file in run.json source.vmoe; do
    rm -rf mine && mkdir mine && echo 'not a run' > mine/$file && cp mine/$file kept
    want 2 "mine/$file' is there and belongs to no run" "somebody's own $file" \
        "$VMOEC" train heads.vmoe --out mine --quiet --steps 1
    same 'which stays' kept mine/$file
done
rm -rf mine && mkdir mine && cp about/run.json about/source.vmoe mine
want 0 '' 'those of a run that ended at once' \
    "$VMOEC" train heads.vmoe --out mine --quiet --steps 1
cp about/run.json first.json
want 0 '' 'a run that goes on' "$VMOEC" train heads.vmoe --out about --epochs 3 --resume --quiet
same 'keeps what it said' first.json about/run.json
mkdir -p repository && cp heads.vmoe repository/ && if git init -q repository 2> /dev/null &&
    git -C repository add heads.vmoe \
        && git -C repository -c user.name=a -c user.email=a commit -qm one; then
    commit=$(git -C repository rev-parse HEAD)
    want 0 '' 'train from a repository' "$VMOEC" train repository/heads.vmoe --data colours \
        --out committed --steps 1 --quiet
    want 0 "\"source_commit\": \"$commit\"" 'whose commit is known' cat committed/run.json
    echo '# more' >> repository/heads.vmoe
    want 0 '' 'train what is not committed' "$VMOEC" train repository/heads.vmoe --data colours \
        --out changed --steps 1 --quiet
    want 0 "\"source_commit\": \"$commit-dirty\"" 'which is known, too' cat changed/run.json
else
    echo 'skip the commit of a source: no git'
fi

# settings
want 0 'm: accuracy' 'weights as they were made' "$VMOEC" eval heads.vmoe --weights $W
want 1 'heads = 4 there, 8 here' 'weights of another setting' \
    "$VMOEC" eval heads.vmoe --weights $W --set heads=8
want 1 "set 'heads=4' chooses theirs" 'and what to do' \
    "$VMOEC" eval heads.vmoe --weights $W --set heads=8
want 0 'warning: .*heads = 4 there, 8 here' 'all the same with --anyway' \
    "$VMOEC" eval heads.vmoe --weights $W --set heads=8 --anyway
want 0 '' 'a setting that scores do not depend on' \
    "$VMOEC" eval heads.vmoe --weights $W --set drop=0.3
if grep -q warning log; then
    fail 'and no word about it' "$(cat log)"
else
    ok 'and no word about it'
fi
want 0 'warning: .*heads = 4 there, 8 here' 'a run that starts from weights of another setting' \
    "$VMOEC" train heads.vmoe --weights $W --set heads=8 --steps 1 --out other --quiet
want 0 'vmoec: .*heads = 4 there, 8 here' 'a run that takes what fits' \
    "$VMOEC" train heads.vmoe --weights $W --set heads=8 --skip-mismatch --steps 1 --out part
want 1 'heads = 8 there, 4 here' 'run with weights of another setting' "$VMOEC" run heads.vmoe \
    --weights heads8.safetensors --inputs in.safetensors --outputs o.safetensors

# preparation
want 1 'another way: mean 0.5 there, 0.25 here' 'images prepared in another way' \
    "$VMOEC" eval heads.vmoe --weights $W --set mean=0.25
want 0 'warning: .*mean 0.5 there, 0.25 here' 'and all the same with --anyway' \
    "$VMOEC" eval heads.vmoe --weights $W --set mean=0.25 --anyway

# classes
"$VMOEC" eval heads.vmoe --weights $W > right 2> log
rm -rf fewer && mkdir -p fewer && cp -r colours/test fewer/
want 0 '' 'a folder of test images alone' "$VMOEC" eval heads.vmoe --weights $W --data fewer
same 'with the same result' right out
# "abc" sorts first: without names red would be class 1
cp -r colours more && mkdir more/train/abc && picture red > more/train/abc/0.png
want 0 '' 'a folder whose training set has one class more' \
    "$VMOEC" eval heads.vmoe --weights $W --data more
same 'with its labels matched by name' right out
mv fewer/test/red fewer/test/scarlet
want 1 "class 'scarlet' of test/ is none of the 4 that the weights know: blue, green, red, white" \
    'a class that the weights do not know' "$VMOEC" eval heads.vmoe --weights $W --data fewer
cp -r colours renamed && mv renamed/train/red renamed/train/scarlet &&
    mv renamed/test/red renamed/test/scarlet
want 0 \
    'vmoec: .*other classes, or in another order: blue, green, red, white there, blue, green, scarlet, white here' \
    'a run that starts from weights for other classes' \
    "$VMOEC" train heads.vmoe --weights $W --data renamed --steps 1 --out anew
