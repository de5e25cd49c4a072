#!/bin/sh
# A newcomer's way, from a folder of photos to a network that is used: a file from a template,
# training with validation, stopping and going on, what is taken for what, predictions, other
# classes with a new head, and weights through Python's safetensors and back. Photos are made
# here, of mixed sizes and in nested folders.
#
#   VMOEC=build/vmoec tests/newcomer/run.sh        PYTHON: an interpreter with safetensors and numpy
set -u
cd "$(dirname "$0")/../.." || exit 3
VMOEC=${VMOEC:-$PWD/build/vmoec}
case $VMOEC in /*) ;; *) VMOEC=$PWD/$VMOEC ;; esac
ROOT=$PWD PYTHON=${PYTHON:-python3}
VMOEC_MODELS=$PWD/models # the program may have been built elsewhere
export VMOEC_MODELS
[ -x "$VMOEC" ] || { echo "FAIL setup cannot run $VMOEC"; exit 3; }
T=$(mktemp -d) || exit 3
trap 'rm -rf "$T"' EXIT INT TERM
cd "$T" || exit 3
failed=0
# shellcheck source=tests/want.sh
. "$ROOT/tests/want.sh"

python3 "$ROOT/scripts/shapes.py" photos --train 24 --test 8 || exit 3
python3 "$ROOT/scripts/shapes.py" signs cross diamond ring circle --train 12 --test 4 || exit 3

# ---- a file and a run of it ----------------------------------------------------------------------

want 0 'written for 3 classes, 72 images to learn from and 24 to be tried on' \
    'a file from a template' "$VMOEC" new shapes --template photos_moe --data photos
want 0 '' 'it is right' "$VMOEC" check shapes.vmoe
small="--set side=32 --set dims=[8,16,24] --set depths=[1,1,1]"
# shellcheck disable=SC2086
{
    want 0 'best.safetensors (of epoch [0-9]*, the best;' 'training, with validation' \
        "$VMOEC" train shapes.vmoe $small --epochs 30 --out whole
    for file in weights best; do
        want 0 '' "$file weights" test -s whole/$file.safetensors
    done

    # a shell has its jobs ignore Ctrl-C, so Python starts the run and sends it
    python3 - "$VMOEC" train shapes.vmoe $small --epochs 30 --out cut --save-every 1 \
        > out 2> log << 'END'
import os, signal, subprocess, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
run = subprocess.Popen(sys.argv[1:])
for _ in range(6000):
    log = "cut/metrics.jsonl"
    if os.path.exists(log) and '"event":"epoch"' in open(log).read():
        break
    time.sleep(0.01)
run.send_signal(signal.SIGINT)
sys.exit(run.wait())
END
    got=$?
    # on a slow machine the run may be over before anybody sees its first epoch
    if [ $got -eq 130 ] && grep -q 'to go on: vmoec train' out; then
        ok 'Ctrl-C saves and says how to go on'
        want 0 '' 'going on' "$VMOEC" train shapes.vmoe $small --epochs 30 --out cut --resume
    elif [ $got -eq 0 ]; then
        echo 'skip Ctrl-C saves and says how to go on: the run was over'
    else
        fail 'Ctrl-C saves and says how to go on' "exit status $got: $(tail -c 300 log)"
    fi
    same 'the last weights are those of the run that was not stopped' \
        whole/weights.safetensors cut/weights.safetensors
    same 'so are the best ones' whole/best.safetensors cut/best.safetensors

    # ---- using it --------------------------------------------------------------------------------

    W=whole/best.safetensors
    want 0 'on 24 test images' 'how good it is, class by class' \
        "$VMOEC" eval shapes.vmoe $small --weights $W --per-class --confusion
    cp out judged
    want 0 '' 'the confusion matrix as a picture' \
        "$VMOEC" eval shapes.vmoe $small --weights $W --confusion=matrix.svg
    want 0 '<title>[a-z]* taken for' 'which says what was taken for what' cat matrix.svg
    want 0 '' 'classes of a folder of images' \
        "$VMOEC" predict shapes.vmoe $small --weights $W --csv --top 1 photos/test
}
# a path has its class in it: what predict gets right is what eval says
right=$(awk -F, 'NR > 1 && index($1, "/" $2 "/")' out | wc -l)
accuracy=$(sed -n 's/.*accuracy \([0-9.]*\),.*/\1/p' judged)
if [ "$(awk "BEGIN { printf \"%.4f\", $right / 24 }")" = "$accuracy" ]; then
    ok 'as good as evaluation says'
else
    fail 'as good as evaluation says' "$right of 24 are right, accuracy is $accuracy"
fi

# ---- other classes -------------------------------------------------------------------------------

want 0 'written for 4 classes' 'a file for other classes' \
    "$VMOEC" new signs --template photos_moe --data signs
# shellcheck disable=SC2086
{
    want 1 'classes = 3 there, 4 here' 'weights for other classes are no accident' \
        "$VMOEC" train signs.vmoe $small --epochs 2 --out tuned --weights whole/best.safetensors
    want 0 'fresh initial values for classifier.logits' 'a new head on trained layers' \
        "$VMOEC" train signs.vmoe $small --epochs 2 --out tuned --skip-mismatch \
        --weights whole/best.safetensors
    want 0 ': [a-z]* [0-9.]* %' 'which knows the other classes' \
        "$VMOEC" predict signs.vmoe $small --weights tuned/best.safetensors signs/test/ring
}
cp out named
want 0 '' 'by their names' grep -e ring -e cross -e diamond named

# ---- Python and back -----------------------------------------------------------------------------

cat > shapes.rules << 'END'
net.*.w -> *.weight
* -> *
END
# shellcheck disable=SC2086
if "$PYTHON" -c 'import numpy, safetensors' 2> /dev/null; then
    want 0 '' 'export to names of another program' "$VMOEC" export shapes.vmoe $small \
        whole/best.safetensors --to ./shapes.rules -o there.safetensors
    want 0 '' 'Python reads and writes it' "$PYTHON" -c '
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
import json, numpy
x = load_file("there.safetensors")
with safe_open("there.safetensors", "numpy") as f: meta = f.metadata()
assert json.loads(meta["classes"]) == ["circle", "square", "triangle"]
assert any(n.startswith("net.") and n.endswith(".w") for n in x)
save_file({n: numpy.ascontiguousarray(v) for n, v in x.items()}, "back.safetensors", metadata=meta)'
    want 0 '' 'and it comes back' "$VMOEC" import shapes.vmoe $small back.safetensors \
        --from ./shapes.rules -o again.safetensors
    want 0 '^equal: ' 'with the same bits' "$VMOEC" weights whole/best.safetensors again.safetensors
    if grep -q -e 'other values' -e 'only in' out; then
        fail 'all of them' "$(cat out)"
    else
        ok 'all of them'
    fi
    want 0 '' 'and with its classes' "$VMOEC" eval shapes.vmoe $small --weights again.safetensors \
        --per-class --confusion
    same 'which evaluation finds' judged out
else
    echo 'skip weights through Python: no safetensors and numpy here'
fi
exit $failed
