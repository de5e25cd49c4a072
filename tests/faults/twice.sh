#!/bin/sh
# Two runs in one folder, a folder that moves, and little room: a full disk, a read-only folder, few
# descriptors, short files. What a run may end with is exit status 0 and the weights of an
# undisturbed run, or 3 and a message; what had been saved can be resumed.
#
#   VMOEC=build/vmoec tests/faults/twice.sh        FAULTS=long: every size and limit
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

failed=0 tried=0 bad=0 first=
ok() { echo "ok $1"; tried=$((tried + 1)); }
fail() {
    echo "FAIL $1: $2" | tr '\n' ' '
    echo
    failed=1 tried=$((tried + 1)) bad=$((bad + 1))
}
# A kind's line in the table of figures.
row() {
    [ -z "${FAULTS_TABLE:-}" ] || printf '%s\t%d\t%d\n' "$1" $tried $bad >> "$FAULTS_TABLE"
    tried=0 bad=0
}
log() { tail -c 300 log; }
run() { timeout 20 \
    "$VMOEC" train linear.vmoe --quiet --threads 1 "$@" > out.txt 2> log < /dev/null; }
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
    "$VMOEC" train linear.vmoe --quiet --threads 1 --epochs 100000 "$@" > first.txt 2>&1 &
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
        "$VMOEC" train linear.vmoe --quiet --threads 1 --epochs 100000 --out spaces \
        > first.txt 2>&1 &
    running=$!
    await spaces/checkpoint
    timeout 60 unshare --pid --fork --kill-child \
        "$VMOEC" train linear.vmoe --quiet --threads 1 --epochs 2 --out spaces \
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
    { "$VMOEC" train linear.vmoe --quiet --threads 1 --epochs 2 --out five > five.$i 2>&1; echo $? \
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
"$VMOEC" train linear.vmoe --quiet --threads 1 --epochs 80 --out stays > log 2>&1
"$VMOEC" train linear.vmoe --quiet --threads 1 --epochs 80 --out moves > log 2>&1 &
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
    if [ $tried -eq 0 ]; then echo "skip $1: nothing could be tried"
    elif [ $bad -eq 0 ]; then echo "ok $1 ($tried)"
    else
        echo "FAIL $1: $bad of $tried are bad; $first" | tr '\n' ' '
        echo
        failed=1
    fi
    row "$1"
    first=
}
every() { # FROM STEP TO SAMPLE: all of them in a long run
    if [ "${FAULTS:-}" = long ]; then seq "$1" "$2" "$3"; else seq "$1" "$4" "$3"; fi
}

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
            "$VMOEC" train linear.vmoe --quiet --threads 1 --epochs 2 --out few > out.txt 2> log
        limited "$n descriptors" $? few
    done
    summary 'few descriptors'
    # Output goes through a pipe: it is not what the limit is about.
    for n in $(every 0 50 4000 571); do
        rm -rf short
        { timeout 60 prlimit --fsize="$n" \
            "$VMOEC" train linear.vmoe --quiet --threads 1 --epochs 2 --out short 2>&1
            echo $? > status; } | cat > log
        limited "files of $n bytes" "$(cat status)" short
    done
    summary 'short files'
else
    echo "skip few descriptors: there is no prlimit"
    echo "skip short files: there is no prlimit"
fi
exit $failed
