#!/bin/sh
# Two runs in one folder, a folder that moves, and little room: a full disk, a read-only folder, few
# descriptors, short files. What a run may end with is exit status 0 and the weights of an
# undisturbed run, or 3 and a message; what had been saved can be resumed.
#
#   VMOEC=build/vmoec tests/faults/twice.sh        FAULTS=long: every size and limit;
# FAULTS_OVER=trainer: by what vmoec builds of the model
set -u
cd "$(dirname "$0")/../.." || exit 3
VMOEC=${VMOEC:-$PWD/${BUILD:-build}/vmoec}
case $VMOEC in /*) ;; *) VMOEC=$PWD/$VMOEC ;; esac
VMOEC_MODELS=$PWD/models
[ -x "$VMOEC" ] || { echo "FAIL setup cannot run $VMOEC"; exit 3; }
T=$(mktemp -d) || exit 3
VMOEC_CACHE_DIR=$T/cache
export VMOEC_MODELS VMOEC_CACHE_DIR
unset VMOE_DATA
running=
clean_up() {
    # shellcheck disable=SC2086
    [ -z "$running" ] || kill -9 $running 2> /dev/null
    umount "$T/small" 2> /dev/null
    rm -rf "$T"
}
trap clean_up EXIT
trap 'exit 3' INT TERM
python3 tests/faults/data.py "$T" || { echo "FAIL setup cannot make data"; exit 3; }
cd "$T" || exit 3
mkdir small
# How the program under test is told to train; without an --out it goes to runs/linear.
TRAIN="$VMOEC train linear.vmoe" OF=
if [ "${FAULTS_OVER:-vmoec}" = trainer ]; then
    mkdir built && "$VMOEC" build linear.vmoe -o built/linear > log 2>&1 ||
        { echo "FAIL setup a trainer: $(head -c 300 log)"; exit 1; }
    TRAIN="$T/built/linear train --data data" OF='of a trainer: '
fi

failed=0 tried=0 bad=0 first=
ok() { echo "ok $OF$1"; tried=$((tried + 1)); }
fail() {
    echo "FAIL $OF$1: $2" | tr '\n' ' '
    echo
    failed=1 tried=$((tried + 1)) bad=$((bad + 1))
}
# A kind's line in the table of figures.
row() {
    [ -z "${FAULTS_TABLE:-}" ] || printf '%s\t%d\t%d\n' "$OF$1" $tried $bad >> "$FAULTS_TABLE"
    tried=0 bad=0
}
log() { tail -c 300 log; }
run() { timeout 20 \
    $TRAIN --quiet --threads 1 "$@" > out.txt 2> log < /dev/null; }
await() { # until FILE is there
    n=0
    while ! [ -e "$1" ] && [ $n -lt 400 ]; do sleep 0.05; n=$((n + 1)); done
    [ -e "$1" ]
}
stop() {
    kill -9 "$1" 2> /dev/null
    wait "$1" 2> /dev/null
    running=
}

run --epochs 2 --out clean || { echo "FAIL setup an undisturbed run: $(log)"; exit 1; }
cp clean/weights.safetensors want

# ---- two runs in one folder ----

# refused NAME STATUS: the second run was refused because of the first.
refused() {
    if [ "$2" -eq 3 ] && grep -q -i -e 'in use' -e 'process' -e 'another' log; then ok "$1"; else
        fail "$1" "exit $2 instead of 3 and a word about who has it: $(log)"
    fi
}
# together NAME FOLDER OPTIONS...: a second and a third run beside one that goes on.
together() {
    name=$1 folder=$2
    shift 2
    $TRAIN --quiet --threads 1 --epochs 100000 "$@" > first.txt 2>&1 &
    running=$!
    if ! await "$folder/checkpoint"; then
        fail "$name" "the first run saves nothing: $(tail -c 300 first.txt)"
        stop $running
        return
    fi
    run --epochs 2 "$@"
    status=$?
    # Without --out a second run may say so and take a folder of its own.
    if [ $# -eq 0 ] && [ $status -eq 0 ] && cmp -s want "$folder-2/weights.safetensors"; then
        if grep -q -e "$folder-2" log; then
            ok "$name: a second run"
        else
            fail "$name: a second run" "goes elsewhere unsaid"
        fi
        rm -rf "$folder-2"
    else
        refused "$name: a second run" $status
    fi
    run --epochs 100001 --resume "$@"
    refused "$name: one that resumes" $?
    if "$VMOEC" help train | grep -q -e --overwrite; then
        run --epochs 2 --overwrite "$@"
        refused "$name: one that overwrites" $?
    fi
    if kill -0 $running 2> /dev/null; then ok "$name: the first run goes on"; else
        fail "$name: the first run goes on" "$(tail -c 300 first.txt)"
    fi
    stop $running
    run --epochs 100000 --steps 1 --resume "$@" # the lock went with its process
    status=$?
    if [ $status -eq 3 ]; then
        fail "$name: the folder is free afterwards" "exit $status: $(log)"
    else
        ok "$name: the folder is free afterwards"
    fi
}
together 'one folder named by both' both --out both
together 'the folder of the file' runs/linear

name='one folder, one process number in two namespaces'
if unshare --pid --fork --kill-child true 2> /dev/null; then
    unshare --pid --fork --kill-child \
        $TRAIN --quiet --threads 1 --epochs 100000 --out spaces \
        > first.txt 2>&1 &
    running=$!
    await spaces/checkpoint
    timeout 60 unshare --pid --fork --kill-child \
        $TRAIN --quiet --threads 1 --epochs 2 --out spaces \
        > out.txt 2> log
    refused "$name" $?
    kill "$running" 2> /dev/null
    stop "$running"
else
    echo "skip $name: unshare may not make namespaces here"
fi

# All at the same moment: one has the folder, the others are refused.
name='five runs begun at once in one folder'
for i in 1 2 3 4 5; do
    { $TRAIN --quiet --threads 1 --epochs 2 --out five > five.$i 2>&1; echo $? \
        > five.$i.status; } &
done
wait
done=$(cat five.*.status | grep -c '^0$')
other=$(cat five.*.status | grep -c -v -e '^0$' -e '^2$' -e '^3$')
if [ "$done" -ne 1 ] || [ "$other" -ne 0 ]; then
    fail "$name" "exit statuses $(cat five.*.status | tr '\n' ' ')"
elif cmp -s want five/weights.safetensors; then ok "$name"; else fail "$name" "other weights"; fi
row 'two runs in one folder'

# ---- a folder that moves ----

name='the folder moves while the run goes on'
$TRAIN --quiet --threads 1 --epochs 80 --out stays > log 2>&1
$TRAIN --quiet --threads 1 --epochs 80 --out moves > log 2>&1 &
running=$!
await moves/checkpoint && mv moves moved
wait $running
status=$? running=
if [ $status -eq 3 ] && [ -s log ]; then ok "$name"
elif [ $status -ne 0 ]; then fail "$name" "exit $status: $(log)"
elif cmp -s stays/weights.safetensors moved/weights.safetensors \
    || cmp -s stays/weights.safetensors moves/weights.safetensors
then ok "$name"; else fail "$name" "exit 0 and no right weights in either place"; fi
left=$(find moves moved -name '.vmoec-*' 2> /dev/null | head -1)
if [ -z "$left" ]; then
    ok "$name: nothing is left behind"
else
    fail "$name: nothing is left behind" "$left"
fi
row 'a folder that moves'

# ---- little room ----

# limited WHAT STATUS FOLDER: the outcome of one run, and what it saved.
limited() {
    what=$1 status=$2 folder=$3
    if [ "$status" -eq 127 ] && grep -q 'shared libraries' log; then return; fi
    tried=$((tried + 1))
    why=
    if [ "$status" -eq 0 ]; then
        cmp -s want "$folder/weights.safetensors" || why="other weights with exit 0"
    elif [ "$status" -ne 3 ]; then why="exit $status: $(log)"
    elif ! [ -s log ]; then why="exit 3 without a message"
    elif [ -d "$folder/checkpoint" ] || [ -d "$folder/checkpoint.previous" ]; then
        rm -rf elsewhere
        cp -R "$folder" elsewhere
        if ! run --epochs 2 --out elsewhere --resume; then why="resumed elsewhere: $(log)"
        elif ! cmp -s want elsewhere/weights.safetensors; then
            why="other weights, resumed elsewhere"
        fi
    fi
    [ -n "$why" ] || return
    bad=$((bad + 1))
    [ -n "$first" ] || first="$what: $why"
}
# summary KIND: one line for all limits of a kind.
summary() {
    if [ $tried -eq 0 ]; then echo "skip $OF$1: nothing could be tried"
    elif [ $bad -eq 0 ]; then echo "ok $OF$1 ($tried)"
    else
        echo "FAIL $OF$1: $bad of $tried are bad; $first" | tr '\n' ' '
        echo
        failed=1
    fi
    row "$1"
    first=
}
every() { # FROM STEP TO SAMPLE: all of them in a long run
    if [ "${FAULTS:-}" = long ]; then seq "$1" "$2" "$3"; else seq "$1" "$4" "$3"; fi
}

# midway NAME HOW BACK: HOW takes a running run its folder `midway`, which then ends with status 3
# and a message; BACK gives it back, and the run goes on to the right weights, or begins again.
midway() {
    name=$1 how=$2 back=$3
    $as $TRAIN --quiet --threads 1 --epochs 400 --out "$folder" > first.txt 2> log &
    running=$!
    await "$folder/checkpoint"
    eval "$how" || { fail "$name" "cannot: $how"; stop $running; return; }
    n=0
    while kill -0 $running 2> /dev/null && [ $n -lt 400 ]; do sleep 0.05; n=$((n + 1)); done
    if kill -0 $running 2> /dev/null; then
        fail "$name" 'the run goes on'
        stop $running
        return
    fi
    wait $running
    status=$? running=
    if [ $status -ne 3 ] || ! grep -q ': error: ' log; then
        fail "$name" "exit $status: $(log)"
        return
    fi
    left=$(find "$folder" -name '.vmoec-*' 2> /dev/null | head -1)
    eval "$back"
    again=--resume
    [ -d "$folder/checkpoint" ] || again=
    # shellcheck disable=SC2086
    timeout 60 $TRAIN --quiet --threads 1 --epochs 400 --out "$folder" $again > out.txt 2> log
    status=$?
    if [ $status -ne 0 ]; then fail "$name" "gone on with: exit $status: $(log)"
    elif ! cmp -s want400 "$folder/weights.safetensors"; then fail "$name" 'other weights'
    elif [ -n "$left" ]; then fail "$name" "left behind: $left"
    else ok "$name"; fi
}
as=
$TRAIN --quiet --threads 1 --epochs 400 --out long > out.txt 2> log \
    || fail 'an undisturbed long run' "$(log)"
cp long/weights.safetensors want400
folder=midway
# what is saved meanwhile may need a second time
midway 'the folder is removed in mid-run' 'until rm -rf midway 2> /dev/null; do :; done' ''
rm -rf midway
name='the folder can only be read from the middle of a run on'
if [ "$(id -u)" -ne 0 ]; then
    midway "$name" 'chmod 555 midway' 'chmod 755 midway'
elif setpriv --reuid 65534 --regid 65534 --clear-groups true 2> /dev/null; then
    mkdir theirs && chmod 711 "$T" && chown 65534:65534 theirs && chmod -R a+rX data "$T/cache"
    as='setpriv --reuid 65534 --regid 65534 --clear-groups env VMOEC_CACHE=off'
    folder=theirs/midway
    # what is left of a checkpoint that could not be renamed stays, since nothing may be removed
    midway "$name" 'chmod 555 theirs/midway' \
        'chmod 755 theirs/midway; left=; chown -R 0:0 theirs'
    as=
else
    echo "skip $name: setpriv cannot change the user here"
fi
folder=small/out
if mount -t tmpfs -o size=1m none small 2> /dev/null; then
    midway 'the disk is full from the middle of a run on' \
        'dd if=/dev/zero of=small/filler bs=4k 2> filled; [ -s small/filler ]' 'rm small/filler'
    umount small
else
    echo "skip the disk is full from the middle of a run on: file systems cannot be mounted here"
fi
row 'the folder is taken in mid-run'

if mount -t tmpfs -o size=64k none small 2> /dev/null; then
    umount small
    for kb in $(every 4 4 120 28); do
        mount -t tmpfs -o size="${kb}k" none small
        run --epochs 2 --out small/out
        limited "$kb KiB" $? small/out
        umount small
    done
    summary 'a full disk'
    mount -t tmpfs -o size=1m none small
    cp -R clean small/out
    mkdir small/empty
    mount -o remount,ro small
    for options in '--out small/out --resume' '--out small/new' '--out small/empty'; do
        # shellcheck disable=SC2086
        run --epochs 3 $options
        status=$?
        tried=$((tried + 1))
        if [ $status -ne 3 ] || ! [ -s log ]; then
            bad=$((bad + 1)) first="$options: exit $status: $(log)"
        fi
    done
    umount small
    summary 'a read-only folder'
else
    echo "skip a full disk: file systems cannot be mounted here"
    echo "skip a read-only folder: file systems cannot be mounted here"
fi

if prlimit --nofile=64 true 2> /dev/null; then
    for n in $(every 3 1 24 5); do
        rm -rf few
        timeout 60 prlimit --nofile="$n" \
            $TRAIN --quiet --threads 1 --epochs 2 --out few > out.txt 2> log
        limited "$n descriptors" $? few
    done
    summary 'few descriptors'
    # Output goes through a pipe: it is not what the limit is about.
    for n in $(every 0 50 4000 571); do
        rm -rf short
        { timeout 60 prlimit --fsize="$n" \
            $TRAIN --quiet --threads 1 --epochs 2 --out short 2>&1
            echo $? > status; } | cat > log
        limited "files of $n bytes" "$(cat status)" short
    done
    summary 'short files'
else
    echo "skip few descriptors: there is no prlimit"
    echo "skip short files: there is no prlimit"
fi
exit $failed
