#!/bin/sh
# What stands between a mistake in memory and its use: how vmoec, its shared object, its library and
# the programs that it builds were compiled and linked; that no memory is ever writable and
# executable at once; and that a built trainer does with the system calls of calls.def.
#
#   VMOEC=build/vmoec BUILD=build tests/hardening/run.sh
set -u
cd "$(dirname "$0")/../.." || exit 3
ROOT=$PWD
BUILD=$(realpath "${BUILD:-build}")
VMOEC=$(realpath "${VMOEC:-$BUILD/vmoec}")
VMOEC_MODELS=$ROOT/models
T=$(mktemp -d) || exit 3
VMOEC_CACHE_DIR=$T/cache
export VMOEC_MODELS VMOEC_CACHE_DIR
unset VMOE_DATA OMP_NUM_THREADS
running=
clean_up() {
    [ -z "$running" ] || kill -9 "$running" 2> /dev/null
    rm -rf "$T"
}
trap clean_up EXIT
trap 'exit 3' INT TERM
JAIL=$BUILD/tests/hardening/jail.so TRIES=$BUILD/tests/hardening/tries
failed=0
ok() { echo "ok $1"; }
fail() {
    echo "FAIL $1 $2" | tr '\n' ' '
    echo
    failed=1
}
if nm "$VMOEC" 2> /dev/null | grep -q -m 1 __asan_init; then
    echo "skip hardening a sanitizer's program is not what is shipped"
    exit 0
fi
for need in "$JAIL" "$TRIES"; do
    [ -e "$need" ] || { echo "FAIL setup there is no $need: make tests"; exit 3; }
done
python3 tests/faults/data.py "$T" && cd "$T" && "$VMOEC" build moe.vmoe -o trainer > log 2>&1 ||
    { echo "FAIL setup a trainer: $(head -c 300 log)"; exit 1; }

# ---- how it was compiled and linked --------------------------------------------------------------

# says NAME FILE PATTERN OPTION..: does readelf with the options say so of the file?
says() {
    name=$1 file=$2 pattern=$3
    shift 3
    if readelf -W "$@" "$file" 2> log | grep -q -E -e "$pattern"; then ok "$name"; else
        fail "$name" "readelf $* has no '$pattern'"
    fi
}
# never NAME FILE PATTERN OPTION..
never() {
    name=$1 file=$2 pattern=$3
    shift 3
    if ! readelf -W "$@" "$file" > said 2> log || ! [ -s said ]; then
        fail "$name" "readelf cannot read it: $(head -c 200 log)"
    elif grep -q -E -e "$pattern" said; then
        fail "$name" "$(grep -m 1 -E -e "$pattern" said)"
    else
        ok "$name"
    fi
}
for file in "$VMOEC" "$BUILD/vmoec-llvm.so" "$T/trainer"; do
    what=${file##*/}
    says "$what can lie anywhere" "$file" 'Type: +DYN' -h
    case $what in
    *.so) ;;
    *) says "$what is a program that can lie anywhere" "$file" 'FLAGS_1.* PIE' -d ;;
    esac
    says "$what: tables of the linker are read-only" "$file" 'GNU_RELRO' -l
    says "$what: all of them, from the start" "$file" 'FLAGS_1.* NOW' -d
    says "$what: the stack is no code" "$file" 'GNU_STACK.* RW  *0x' -l
    never "$what: no segment is writable and code" "$file" '(LOAD|GNU_STACK).* RWE' -l
    never "$what: code is never relocated" "$file" 'TEXTREL' -d
    says "$what: stacks have a guard value" "$file" '__stack_chk_fail' --dyn-syms
    says "$what: copies know their room" "$file" '__[a-z]+_chk' --dyn-syms
done
probes() { # objects that touch every page of a large frame
    objdump -d --no-show-raw-insn "$1" 2> log | grep -c -E 'or[qbl] +\$0x0,.*\(%rsp'
}
if ! printf 'int x;' | "${CC:-gcc}" -Werror -fstack-clash-protection -xc -c - -o /dev/null \
    2> /dev/null || [ "$(uname -m)" != x86_64 ]; then
    echo 'skip large frames are touched page by page: this compiler cannot'
else
    for file in "$VMOEC" "$T/trainer"; do
        if [ "$(probes "$file")" -gt 0 ]; then ok "${file##*/}: large frames touch every page"; else
            fail "${file##*/}: large frames touch every page" 'none does'
        fi
    done
fi
if ! [ -e "$BUILD/libvmoec.a" ]; then
    fail 'libvmoec.a' 'is not there: make library'
else
    for name in __stack_chk_fail __snprintf_chk; do
        if nm "$BUILD/libvmoec.a" 2> /dev/null | grep -q -m 1 "U $name"; then
            ok "libvmoec.a asks for $name"
        else
            fail "libvmoec.a asks for $name" 'no'
        fi
    done
fi

# ---- memory that is written to is not run --------------------------------------------------------

# jailed KIND COMMAND..: its exit status; 159 is SIGSYS
jailed() {
    kind=$1
    shift
    # a shell of its own says on its stderr that the command was killed, not on ours
    (VMOE_JAIL=$kind LD_PRELOAD=$JAIL exec "$@") > out 2> log < /dev/null
}
# tries KIND WHAT STATUS
tries() {
    { jailed "$1" "$TRIES" "$2"; status=$?; } 2> /dev/null
    if [ $status -eq "$3" ]; then ok "the filter '$1' and '$2'"; else
        fail "the filter '$1' and '$2'" "exit status $status, not $3: $(cat out log)"
    fi
}
if ! jailed code true; then
    echo "skip memory is never both, and trainers in a filter: $(head -c 200 log)"
    exit $failed
fi
for what in file thread execve fork socket code-change code-map; do tries code $what 0; done
for what in both-change both-map; do tries code $what 159; done

# The first line of NAME says nothing: what would be wrong. Kernels are compiled, then found.
for state in cold warm; do
    name="no memory is both while vmoec trains, $state cache"
    jailed code "$VMOEC" train moe.vmoe --data data --threads 2 --out "run-$state" --quiet
    status=$?
    if [ $status -eq 0 ]; then ok "$name"; else
        fail "$name" "exit status $status: $(head -c 300 log)"
    fi
done

# maps NAME CODE COMMAND..: looks at the mappings of a run; CODE: there are kernels of the JIT, or
# none
maps() {
    name=$1 code=$2
    shift 2
    "$@" > out 2> log < /dev/null &
    running=$!
    n=0
    while ! [ -e "$name-run/checkpoint" ] && [ $n -lt 400 ]; do sleep 0.05; n=$((n + 1)); done
    n=0
    : > all
    while [ $n -lt 10 ] && cat "/proc/$running/maps" >> all; do n=$((n + 1)); sleep 0.02; done
    kill -9 "$running" 2> /dev/null
    wait "$running" 2> /dev/null
    running=
    found=none
    ! grep -q -E '^[^ ]+ r-xp 00000000 00:00 0 *$' all || found=kernels
    if [ $n -lt 10 ]; then fail "mappings of $name" "it ended: $(head -c 300 log)"
    elif grep -q -E '^[^ ]+ .wx' all; then
        fail "mappings of $name" "$(grep -m 1 -E '^[^ ]+ .wx' all)"
    elif [ "$found" != "$code" ]; then
        fail "mappings of $name" "code outside files: $found, not $code"
    else
        ok "mappings of $name: none is writable and code"
    fi
}
maps vmoec kernels "$VMOEC" train moe.vmoe --data data --threads 1 --epochs 1000000 \
    --out vmoec-run --quiet
maps trainer none ./trainer train --data data --threads 1 --epochs 1000000 \
    --out trainer-run --quiet

# ---- a trainer in a filter -----------------------------------------------------------------------

for what in file thread; do tries trainer $what 0; done
for what in execve fork socket ptrace code-change code-map both-change both-map; do
    tries trainer $what 159
done

# both NAME COMMAND..: says the same in the filter and outside; what is measured is left out
both() {
    name=$1
    shift
    "$@" > want 2> log < /dev/null
    status=$?
    jailed trainer "$@"
    got=$?
    if [ $got -ne $status ]; then
        fail "in the filter: $name" "exit status $got, not $status: $(head -c 300 log)"
    elif ! cmp -s want out; then
        fail "in the filter: $name" "other output: $(diff want out | head -3)"
    else
        ok "in the filter: $name"
    fi
}
# trained NAME OPTION..: the weights of a run in the filter are those of one outside
trained() {
    name=$1
    shift
    ./trainer train --data data --quiet --out free "$@" > log 2>&1 ||
        { fail "$name" "without the filter: $(head -c 300 log)"; return; }
    jailed trainer ./trainer train --data data --quiet --out shut "$@"
    status=$?
    if [ $status -ne 0 ]; then fail "in the filter: $name" "exit status $status: $(cat log)"
    elif cmp -s free/weights.safetensors shut/weights.safetensors; then ok "in the filter: $name"
    else fail "in the filter: $name" 'other weights'; fi
}
trained 'a new run' --threads 2 --workers 2 --epochs 3 --log jsonl,csv
trained 'a run that goes on' --threads 3 --workers 1 --epochs 5 --resume
trained 'a run in its own place' --threads 1 --epochs 2 --overwrite
both 'eval' ./trainer eval --data data --weights free/weights.safetensors --threads 2 --json
both 'eval with tables' ./trainer eval --data data --weights free/weights.safetensors \
    --threads 1 --per-class --confusion --predictions list.csv
both 'predict' ./trainer predict --weights free/weights.safetensors --threads 2 \
    data/test/a/000.png data/test/b/001.png
both 'predict a folder' ./trainer predict --weights free/weights.safetensors data/test
both 'info' ./trainer info
both 'no such data' ./trainer train --data nowhere --out never
both 'no such option' ./trainer train --nonsense

sed -n 's/^CALL(\([a-z0-9_]*\),.*/\1/p' "$ROOT/tests/hardening/calls.def" | sort -u > allowed
sed -n '/<!-- calls -->/,/<!-- end -->/p' "$ROOT/docs/reliability.md" |
    grep -o -E '`[a-z0-9_]+`' | tr -d '`' | sort -u > listed
if cmp -s allowed listed; then ok 'docs/reliability.md lists the calls of a trainer'; else
    fail 'docs/reliability.md lists the calls of a trainer' "$(diff allowed listed | grep '^[<>]')"
fi
exit $failed
