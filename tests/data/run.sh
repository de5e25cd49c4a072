#!/bin/sh
# Data and threads that are not there, as a user meets them: exit codes and messages. Data are made
# here.
#
#   VMOEC=build/vmoec tests/data/run.sh
set -u
cd "$(dirname "$0")/../.." || exit 3
VMOEC=$(realpath "${VMOEC:-build/vmoec}")
export VMOEC_MODELS=$PWD/models
[ -x "$VMOEC" ] || { echo "FAIL setup cannot run $VMOEC"; exit 3; }
T=$(mktemp -d) || exit 3
group=
trap 'chmod -R u+rwx "$T"; rm -rf "$T"; [ -z "$group" ] || rmdir "$group"' EXIT INT TERM
cp tests/data/pixels.vmoe "$T"
chmod 755 "$T" # another user runs tests in it
cd "$T" || exit 3
export VMOEC_CACHE_DIR=${VMOEC_CACHE_DIR:-$T/cache}

failed=0
# want STATUS PATTERN NAME COMMAND...: the status, and a line of the output that matches. A crash is
# never right.
want() {
    status=$1 pattern=$2 name=$3
    shift 3
    timeout 60 "$@" > out 2> log < /dev/null
    got=$?
    if [ "$got" -ne "$status" ]; then
        echo "FAIL $name exit status $got instead of $status: $(head -c 400 log)"
    elif ! cat out log | grep -q -e "$pattern"; then
        echo "FAIL $name no line matches '$pattern': $(cat out log | head -c 400)"
    else
        echo "ok $name"
        return
    fi
    failed=1
}
also() { # PATTERN NAME: another line of the last output
    if grep -q -e "$1" log; then
        echo "ok $2"
    else
        echo "FAIL $2 no line matches '$1': $(head -c 400 log)" && failed=1
    fi
}
train() { # STATUS PATTERN NAME OPTION...
    status=$1 pattern=$2 name=$3
    shift 3
    want "$status" "$pattern" "$name" \
        "$VMOEC" train pixels.vmoe --quiet --threads 1 --out run --overwrite "$@"
}

picture() { # COLOUR: a PNG of 8 x 8
    case $1 in
    red) printf %s iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAEU \
        lEQVR42mM4ISeHFTEMLQkAkL9BAc9woTwAAAAASUVORK5CYII= ;;
    blue) printf %s iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAEU \
        lEQVR42mOQkzuBFTEMLQkAO79BAQ68oXkAAAAASUVORK5CYII= ;;
    esac | base64 -d
}
pictures() { # DIR CLASS...: a colour per class
    dir=$1
    shift
    for class; do
        mkdir -p "$dir/train/$class" "$dir/test/$class"
        for i in 0 1 2 3; do picture "$class" > "$dir/train/$class/$i.png"; done
        picture "$class" > "$dir/test/$class/0.png"
    done
}

pictures data red blue
train 0 'test accuracy' 'pictures are trained on'

# ---- bad images ----------------------------------------------------------------------------------

cp -r data bad
echo text > bad/train/blue/1.png
head -c 60 data/train/red/2.png > bad/train/red/2.png
printf '\377\330\377\331' > bad/test/red/7.jpg
(cd bad && tar -cf ../bad.tar train test)
for set in bad bad.tar; do
    train 1 "$set: 3 of 11 images cannot be used" "$set: all bad images are counted" --data $set
    also '^  train/blue/1.png: neither a JPEG nor a PNG' "$set: the first is named"
    also '^  train/red/2.png: damaged PNG' "$set: the second is named"
    also "^  test/red/7.jpg: damaged JPEG: it ends before the image's header" \
        "$set: so is that of the test set"
done
for i in $(seq 10 40); do echo text > "bad/train/blue/$i.png"; done
train 1 '^  and 24 more' 'ten are named, the rest counted' --data bad
[ "$(wc -l < log)" -eq 12 ] && echo 'ok ten lines and two' \
    || { echo "FAIL ten lines and two: $(cat log)"; failed=1; }

# ---- archives that are not whole -----------------------------------------------------------------

tar -C data -cf whole.tar --sort=name train test
train 0 'test accuracy' 'a whole archive' --data whole.tar
head -c 8192 whole.tar > cut.tar
train 1 'cut off\|damaged' 'an archive that is cut off' --data cut.tar
cat whole.tar whole.tar > twice.tar
train 1 'something follows the end of the archive' 'two archives in one file' --data twice.tar
for pack in gzip bzip2 xz zstd; do
    if ! command -v $pack > /dev/null; then
        echo "skip $pack: it is not installed"
        continue
    fi
    $pack -c whole.tar > whole.packed
    train 0 'test accuracy' "$pack: whole" --data whole.packed
    (cat whole.packed; printf 'more of it') > longer
    train 1 'longer: damaged' "$pack: something behind it" --data longer
    head -c -5 whole.packed > shorter
    train 1 'shorter: .*cut off' "$pack: cut off" --data shorter
done
if command -v zstd > /dev/null; then
    zstd -q --no-check -c whole.tar > plain.zst
    train 0 'warning: .*without a checksum' 'zstd without its checksum is said' --data plain.zst
fi
# ---- files that are no files, and files that cannot be opened ------------------------------------

cp -r data odd
mkfifo odd/train/red/9.png
train 1 'train/red/9.png is a pipe' 'a pipe in place of an image' --data odd
rm odd/train/red/9.png
ln -s nowhere odd/train/red/9.png
train 1 'a link to nothing' 'a link to nothing in place of an image' --data odd
rm odd/train/red/9.png
mkdir odd/train/red/9.png
train 1 'train/red/9.png is a folder; expected an image' 'a folder in place of an image' --data odd
tar -C odd -cf odd.tar train test
train 1 'train/red/9.png/* is a folder; expected an image' 'the same in an archive' --data odd.tar
rmdir odd/train/red/9.png
ln -sf ../blue/0.png odd/train/red/9.png
train 0 'test accuracy' 'a link to an image' --data odd
mkfifo pipe
train 3 "'pipe' is a pipe" 'a pipe in place of the data' --data pipe
train 3 "'/dev/zero' is a pipe, device or socket" 'a device in place of the data' --data /dev/zero
ln -s nowhere dangling
train 3 "'dangling' is a link to nothing" 'a link to nothing in place of the data' --data dangling
long=$(printf 'x%.0s' $(seq 200))
deep=.
for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do deep=$deep/$long$i; done
mkdir -p "$deep" && cp -r data/* "$deep"
train 0 'test accuracy' 'a path of 3000 bytes' --data "$deep"
want 3 'Too many open files' 'no descriptor left' sh -c 'ulimit -n 4; exec "$@"' - \
    "$VMOEC" train pixels.vmoe --quiet --threads 1 --out run --overwrite --data data
as_user=
[ "$(id -u)" != 0 ] || as_user='setpriv --reuid 65534 --clear-groups'
if $as_user test -x "$VMOEC" && $as_user test -r "$VMOEC_MODELS/std/vit.vmoe"; then
    cp -r data closed
    chmod 0 closed/train
    want 3 "cannot open 'closed/train.*Permission denied" 'a folder that may not be read' $as_user \
        env VMOEC_CACHE=off \
        "$VMOEC" train pixels.vmoe --quiet --threads 1 --out /tmp/never --data closed
    chmod 755 closed/train
    chmod 0 closed/train/red/1.png
    want 3 "cannot open 'closed/train/red/1.png': Permission denied" \
        'an image that may not be read' $as_user \
        env VMOEC_CACHE=off \
        "$VMOEC" train pixels.vmoe --quiet --threads 1 --out /tmp/never --data closed
else
    echo "skip files that may not be read: no other user can run the program where it is"
fi

# ---- a validation set of its own -----------------------------------------------------------------

cp -r data judged
for class in red blue; do
    mkdir -p "judged/val/$class"
    for i in 0 1 2; do picture "$class" > "judged/val/$class/$i.png"; done
done
run() { # STATUS PATTERN NAME FILE OPTION...: as a user sees it
    status=$1 pattern=$2 name=$3 file=$4
    shift 4
    want "$status" "$pattern" "$name" "$VMOEC" train "$file" --threads 1 --out run --overwrite "$@"
}
train 0 'test accuracy' 'without val/' --data data
cp run/weights.safetensors plain.safetensors
tar -C judged -cf judged.tar val test train
mkdir top && cp -r judged top/photos && tar -C top -cf topped.tar photos
sets='judged judged.tar topped.tar'
if command -v python3 > /dev/null; then
    (cd judged && python3 -m zipfile -c ../judged.zip val test train) && sets="$sets judged.zip"
fi
for set in $sets; do
    run 0 ', 8 images, 6 for validation, 2 for the test; 2 steps of 4' "$set: val/ validates" \
        pixels.vmoe --data $set
    want 0 '"event":"epoch".*"validation_loss":' "$set: an epoch is judged by it" \
        cat run/metrics.jsonl
    want 1 '^0' "$set: and not by the test set" grep -c '"event":"epoch".*"test_accuracy"' \
        run/metrics.jsonl
    want 0 '"event":"end".*"test_accuracy":' "$set: which is met at the end" cat run/metrics.jsonl
    want 0 '^$' "$set: weights do not depend on it" \
        sh -c 'cmp run/weights.safetensors plain.safetensors && echo'
done
sed 's/epochs = 1/epochs = 3\n  keep = best("loss")\n  stop = patience(1)/' pixels.vmoe > best.vmoe
run 0 'best.safetensors (of epoch [123], the best;' 'the best weights by val/' best.vmoe \
    --data judged
run 1 'keep = best needs validation: .*or a folder val/ to the data beside train/ and test/' \
    'there is none to be best by' best.vmoe --data data
sed 's/epochs = 1/epochs = 3\n  validation = 0.25/' pixels.vmoe > share.vmoe
run 0 "val/ of judged is not used: \`validation\` of the train block holds out a share of train/" \
    'a share goes before val/, and that is said' share.vmoe --data judged
also ', 6 images, 2 for validation, 2 for the test;' 'the share is of the training set'
mkdir modern && cp -r judged/train judged/val modern # as ImageNet is
run 0 ', 8 images, 6 for the test; 2 steps of 4' 'without test/, val/ is the test set' pixels.vmoe \
    --data modern
run 0 ', 6 images, 2 for validation, 6 for the test;' 'also beside a share' share.vmoe --data modern
run 1 '(val/ alone is the test set)' 'and no epoch is chosen by it' best.vmoe --data modern
mv modern/val modern/validation
run 0 ', 8 images, 6 for the test; 2 steps of 4' 'by any of its names' pixels.vmoe --data modern
cp -r judged odd-val
mkdir odd-val/val/green
picture red > odd-val/val/green/0.png
train 1 "class 'green' of val/ is not one of the 2 of train/" 'its classes are those of train/' \
    --data odd-val
want 1 "class 'green' of val/ is not one of the 2 of train/" 'check says so, too' \
    "$VMOEC" check pixels.vmoe --data odd-val
want 0 "warning: val/ of judged is not used: \`validation\` of the train block holds out a share" \
    'and that a share goes before val/' "$VMOEC" check share.vmoe --data judged
rm -r odd-val/val/green
echo text > odd-val/val/red/9.png
train 1 'odd-val/val/red/9.png: neither a JPEG nor a PNG' 'a damaged image of it' --data odd-val
sed 's/dir = "data"/dir = "data", bad = "skip"/' pixels.vmoe > skip-val.vmoe
run 0 '1 of 7 images of the validation set of the data is damaged and left out:' \
    'it may be left out' skip-val.vmoe --data odd-val
also ', 8 images, 6 for validation, 2 for the test;' 'and does not count'
"$VMOEC" train pixels.vmoe --quiet --threads 1 --out going --overwrite --data judged > log 2>&1
for set in judged.tar judged; do
    want 0 'test accuracy' "$set: going on with the same val/" "$VMOEC" train pixels.vmoe --quiet \
        --threads 1 --out going --resume --data $set --epochs 2
    rm -r going \
        && "$VMOEC" train pixels.vmoe --quiet --threads 1 --out going --data judged > log 2>&1
done
picture blue > odd-val/val/red/9.png
want 2 'validation_data: 6 images, fingerprint .* there, 7 images, fingerprint .* here' \
    'going on with another val/ is refused' "$VMOEC" train pixels.vmoe --quiet --threads 1 \
    --out going --resume --data odd-val
want 2 'validation_data: .* there, nothing here' 'or without it' "$VMOEC" train pixels.vmoe \
    --quiet \
    --threads 1 --out going --resume --data data

# ---- data that does not fit the model ------------------------------------------------------------

pictures one red
train 0 'warning: .*the data has 1 class (red) but the logits of m have 2' \
    'fewer classes than logits' --data one
pictures three red blue
cp -r three/train/red three/train/green
train 1 'the data has 3 classes (blue, green, red) but the logits of m have 2' \
    'more classes than logits' --data three
head -c 60 data/train/red/2.png > three/train/red/2.png
tar -C three -cf three.tar train test
for set in three three.tar; do
    want 1 'the data has 3 classes (blue, green, red) but the logits of m have 2' \
        "$set: check says so without reading the images" "$VMOEC" check pixels.vmoe --data $set
    want 1 '^0' "$set: of which one is damaged" grep -c damaged log
done
"$VMOEC" init pixels.vmoe --set size=4 -o small.safetensors
want 1 'the test set of the data gives images \[B, 3, 8, 8\], the model takes f32\[[0-9]*,3,4,4\]' \
    'the test set is named' \
    "$VMOEC" eval pixels.vmoe --set size=4 --weights small.safetensors --data data

# ---- where data is and what it takes -------------------------------------------------------------

mkdir -p elsewhere
cd elsewhere || exit 3
want 0 'test accuracy' 'a relative dir is looked up beside its file' \
    "$VMOEC" train ../pixels.vmoe --quiet --threads 1 --out ../run --overwrite
cd ..
sed 's/dir = "data"/dir = "nowhere"/' pixels.vmoe > elsewhere/nowhere.vmoe
want 3 'tried elsewhere/nowhere/train/ (beside the file)' 'the place beside the file is named' \
    "$VMOEC" train elsewhere/nowhere.vmoe --quiet --out run --overwrite
also 'tried nowhere/train/ (in the current folder)' 'so is that in the current folder'
sed 's/dir = "data"/dir = "data", bad = "skip"/' pixels.vmoe > skip.vmoe
want 0 '[0-9]* of [0-9]* images of the training set of the data are damaged and left out:' \
    'damaged images are left out' \
    "$VMOEC" train skip.vmoe --quiet --threads 1 --out run --overwrite --data bad
want 0 \
    '"event":"left_out".*"split":"training","images":[0-9]*,"first":."train/blue/1.png: neither' \
    'and an event of the log' cat run/metrics.jsonl
want 0 '"event":"left_out".*"split":"test","images":1,"first":."test/red/7.jpg: damaged JPEG' \
    'for every split' cat run/metrics.jsonl
want 1 '^0' 'but of no split that is whole' grep -c '"split":"validation"' run/metrics.jsonl
for cache in memory none disk; do
    sed "s/dir = \"data\"/dir = \"data\", cache = \"$cache\"/" pixels.vmoe > cached.vmoe
    "$VMOEC" train cached.vmoe --quiet --threads 1 --out "run-$cache" --overwrite > /dev/null 2>&1
    if cmp "run-$cache/weights.safetensors" run-memory/weights.safetensors; then
        echo "ok cache = $cache gives the same weights"
    else
        echo "FAIL cache = $cache other weights" && failed=1
    fi
done
sed 's/dir = "data"/dir = "data", cache = "disc"/' pixels.vmoe > word.vmoe
want 1 'is "memory", "disk" or "none", this is "disc": did you mean "disk"' 'a word that is none' \
    "$VMOEC" check word.vmoe

# 400 images of 192 KiB each
for class in red blue; do
    mkdir -p "large/train/$class/deep" "large/test/$class"
    picture "$class" > "large/test/$class/0.png"
    for i in $(seq 200); do picture "$class" > "large/train/$class/deep/$i.png"; done
done
sed 's/dir = "data"/dir = "large", resize = 256/; s/size = 8/size = 256/' pixels.vmoe > large.vmoe
want 0 'test accuracy' 'a folder larger than the memory budget is decoded ahead' \
    "$VMOEC" train large.vmoe --threads 1 --out run --overwrite --mem-budget 40MiB
peak=$(sed -n 's/^memory \([0-9]*\).*/\1/p' out log)
if [ "${peak:-99}" -lt 40 ]; then echo "ok it stays within it"; else
    echo "FAIL it stays within it: $peak MiB" && failed=1
fi
mv large/train large/val && cp -r large/test large/train # now most of it is for validation
want 0 ', 2 images, 400 for validation, 2 for the test;' 'so is a large validation set' \
    "$VMOEC" train large.vmoe --threads 1 --out run --overwrite --mem-budget 40MiB
peak=$(sed -n 's/^memory \([0-9]*\).*/\1/p' out log)
if [ "${peak:-99}" -lt 40 ]; then echo "ok it is counted"; else
    echo "FAIL it is counted: $peak MiB" && failed=1
fi
want 0 '"data_wait":' 'the log says how long steps waited for images' cat run/metrics.jsonl

# ---- threads -------------------------------------------------------------------------------------

OMP_NUM_THREADS=1 "$VMOEC" train pixels.vmoe --quiet --out run --overwrite > /dev/null
want 0 '"threads":1[,}]' 'OMP_NUM_THREADS is the number of threads' cat run/metrics.jsonl
OMP_NUM_THREADS=1 "$VMOEC" train pixels.vmoe --quiet --threads 2 --out run --overwrite > /dev/null
want 0 '"threads":2[,}]' '--threads goes before OMP_NUM_THREADS' cat run/metrics.jsonl

cat > none.c << 'C'
#include <errno.h>
#include <stdlib.h>
int pthread_create(void *t, const void *a, void *f, void *x) {
    if (getenv("LIBRARY_EXITS")) exit(1);
    return EAGAIN;
}
C
if "${CC:-gcc}" -shared -fPIC none.c -o none.so 2> /dev/null \
    && ! nm -D "$VMOEC" | grep -q __asan_init; then
    want 3 'cannot make 4 threads, only 1: Resource temporarily' 'no thread can be made' env \
        LD_PRELOAD="$PWD/none.so" \
        "$VMOEC" train pixels.vmoe --quiet --threads 4 --out run --overwrite
    want 3 'a library could not go on' 'a library calls exit' env LD_PRELOAD="$PWD/none.so" \
        LIBRARY_EXITS=1 \
        "$VMOEC" train pixels.vmoe --quiet --threads 4 --out run --overwrite
else
    echo "skip threads that cannot be made: no compiler for a library to load first," \
        "or a sanitizer's build"
fi
pids=/sys/fs/cgroup/pids
[ -d $pids ] || pids=/sys/fs/cgroup
if mkdir $pids/vmoec-test-$$ 2> /dev/null && group=$pids/vmoec-test-$$ \
    && echo 3 2> /dev/null > $group/pids.max; then
    want 3 'cannot make 8 threads, only' 'a limit of processes' \
        sh -c "echo \$\$ > $group/cgroup.procs; exec \"\$@\"" - \
        "$VMOEC" train pixels.vmoe --quiet --threads 8 --out run --overwrite
    sleep 0.2 # the group is empty a moment later
else
    echo "skip a limit of processes: no cgroup can be made here"
fi
exit $failed
