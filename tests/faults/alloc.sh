#!/bin/sh
# One allocation that fails, wherever it is, ends in exit status 3 with a message or is survived:
# the right files and exit status 0. Never a signal, another status, a file that is wrong or half
# written, nor something left over after the next start.
#
#   VMOEC=build/vmoec BUILD=build tests/faults/alloc.sh [COMMAND..]
#
# FAULT_SITES: at most so many sites per command and process, spread evenly (default 12; 0: every
# one). FAULT_WORKER_SITES: the same in processes that compile (default FAULT_SITES; 0: 2000, LLVM
# makes many). FAULT_TRACE=1: says where each bad site is.
set -u
cd "$(dirname "$0")/../.." || exit 3
VMOEC=$(realpath "${VMOEC:-build/vmoec}") BUILD=$(realpath "${BUILD:-build}")
SITES=${FAULT_SITES:-12}
WORKER_SITES=${FAULT_WORKER_SITES:-$SITES}
[ "$WORKER_SITES" -ne 0 ] || WORKER_SITES=2000
INJECT=$BUILD/tests/faults/malloc.so
[ -e "$INJECT" ] || { echo "FAIL alloc there is no $INJECT: make tests"; exit 3; }
if nm "$VMOEC" 2> /dev/null | grep -q -m 1 __asan_init; then
    echo "skip alloc a sanitizer has an allocator of its own"
    exit 0
fi
T=$(mktemp -d) || exit 3
trap 'rm -rf "$T"' EXIT INT TERM
cd "$T" || exit 3
failed=0

# ---- a model and its data ------------------------------------------------------------------------

be32() { # numbers as IDX files have them
    for x; do
        for at in 24 16 8 0; do
            # shellcheck disable=SC2059
            printf "\\$(printf %03o $((x >> at & 255)))"
        done
    done
}
pixels() { yes 'some pixels, which need no meaning' | head -c "$1"; }
labels() { yes | head -n "$1" | awk '{ printf "%c", NR % 9 + 1 }'; }
mkdir data
for split in train:8 t10k:4; do
    n=${split#*:}
    { be32 2051 "$n" 28 28; pixels $((n * 784)); } > "data/${split%:*}-images-idx3-ubyte"
    { be32 2049 "$n"; labels "$n"; } > "data/${split%:*}-labels-idx1-ubyte"
done
cat > m.vmoe << 'END'
model m(image: f32[B, 1, 28, 28], label: class[B, 10]) {
  logits = linear(reshape(image, [dim(image, 0), -1]), 10)
  loss cross_entropy(logits, label)
  metric accuracy(logits, label)
}

train m {
  data = mnist(batch = 4)
  schedule = constant(peak = 1e-3)
  epochs = 1
}
END
sed 's/ = /   =   /' m.vmoe > ugly.vmoe
image='"image":{"dtype":"F32","shape":[2,1,28,28],"data_offsets":[0,6272]}'
label='"label":{"dtype":"I32","shape":[2],"data_offsets":[6272,6280]}'
header=$(printf '%-152s' "{$image,$label}") # a multiple of eight bytes
{ printf '\230\0\0\0\0\0\0\0%s' "$header"; head -c 6280 /dev/zero; } > inputs.safetensors
python3 - << 'END'
import struct, zlib
def chunk(t, d): return struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d))
rows = b"".join(b"\0" + bytes((7 * x * y) % 256 for x in range(28)) for y in range(28))
with open("digit.png", "wb") as f:
    f.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 28, 28, 8, 0, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))
END
export VMOEC_CACHE_DIR="$T/kernels"
"$VMOEC" init m.vmoe -o first.safetensors > log 2>&1 &&
    "$VMOEC" train m.vmoe --data data --threads 1 --steps 2 --quiet --out half > log 2>&1 ||
    { echo "FAIL alloc $(head -c 300 log)"; exit 1; }

# The program that is under test, and what stands for the model on its command line.
PROGRAM=$VMOEC MODEL=m.vmoe OF=
if [ "${FAULTS_OVER:-vmoec}" = trainer ]; then
    "$VMOEC" build m.vmoe --images -o trainer > log 2>&1 ||
        { echo "FAIL alloc $(head -c 300 log)"; exit 1; }
    PROGRAM=$T/trainer MODEL='' OF='of a trainer: '
fi

# ---- one command ---------------------------------------------------------------------------------

# What a command gets in its folder and what it is; its files and what it prints are compared.
arrange() {
    rm -rf w
    mkdir w
    cp m.vmoe ugly.vmoe w
    case $1 in
    train-resume) cp -r half w/run ;;
    fmt-write) cp ugly.vmoe w/own.vmoe ;;
    esac
    case $2 in cold) rm -rf cold ;; esac
}
command_of() {
    case $1 in
    check) echo check m.vmoe --json ;;
    info) echo info ${MODEL:+m.vmoe --threads 1} --json ;;
    fmt) echo fmt ugly.vmoe ;;
    fmt-write) echo fmt --write own.vmoe ;;
    init) echo init m.vmoe -o out.safetensors ;;
    eval) echo eval $MODEL --data ../data --threads 1 --weights ../first.safetensors ;;
    eval-all) echo eval $MODEL --data ../data --threads 1 --weights ../first.safetensors \
        --per-class --confusion --predictions list.csv ;;
    predict) echo predict $MODEL --threads 1 --weights ../first.safetensors --csv .. ;;
    run) echo run m.vmoe --threads 1 --weights ../first.safetensors --inputs ../inputs.safetensors \
        --outputs out.safetensors ;;
    train) echo train $MODEL --data ../data --threads 1 --steps 2 --out run ;;
    train-resume) echo train $MODEL --data ../data --threads 1 --steps 4 --out run --resume ;;
    train-on) echo train $MODEL --data ../data --threads 1 --steps 2 --out run --resume ;;
    train-anew) echo train $MODEL --data ../data --threads 1 --steps 2 --out run --overwrite ;;
    esac
}
# $1: command, $2: cold or warm, further: assignments for its environment. Sets rc.
start() {
    starting=$1
    cache=$T/kernels
    [ "$2" != cold ] || cache=$T/cold
    shift 2
    # shellcheck disable=SC2046
    (cd w && exec timeout 60 env VMOEC_CACHE_DIR="$cache" "$@" \
        "$PROGRAM" $(command_of "$starting")) > out 2> log < /dev/null
    rc=$?
}
# What must be equal; numbers that are measured are left out.
result() {
    (cd w && find . -name '.vmoec-*' -o -type f -print | grep -v '\.lock$' | sort)
    case $1 in
    train*) : ;;
    *) sed -e 's/"process":[0-9]*//' -e 's/"peak":[0-9]*//' out ;;
    esac
    (cd w && find . -name '.vmoec-*' -o \( -name '*.safetensors' -o -name '*.vmoe' \) \
        -exec cksum {} + | sort)
}
# A file that is there after a failure is as it was before, or as a whole run makes it. What has a
# temporary name goes at the next start.
half_written() {
    (cd w && find . -name '.vmoec-*' -prune -o \( -name '*.safetensors' -o -name '*.vmoe' \) \
        -exec cksum {} + | sort) |
        comm -13 known - | head -1
}

# Fails one allocation after the other of $2 (parent or worker) in command $1, with a warm or cold
# cache ($3).
sites() {
    command=$1 who=$2 state=$3 limit=$4 bad=0 tried=0
    name="alloc: $OF$command, $who, $state cache"
    arrange "$command" "$state"
    (cd w && find . -type f -exec cksum {} + | sort) > before
    rm -f count
    start "$command" "$state" LD_PRELOAD="$INJECT" VMOE_FAIL_COUNT="$T/count"
    [ $rc -eq 0 ] || { echo "FAIL $name: exit status $rc without a failure: $(head -c 200 log)"; \
        failed=1; return; }
    result "$command" > good
    (cd w && find . -type f -exec cksum {} + | sort) | sort -u - before > known
    # shellcheck disable=SC2046
    set -- $(od -A n -t u8 count)
    total=$1
    [ "$who" = parent ] || total=$2
    step=1
    [ "$limit" -eq 0 ] || [ "$total" -le "$limit" ] || step=$(((total + limit - 1) / limit))
    n=$((1 + step / 3))
    while [ $n -le "$total" ]; do
        arrange "$command" "$state"
        start "$command" "$state" LD_PRELOAD="$INJECT" VMOE_FAIL_AT=$n VMOE_FAIL_IN="$who"
        tried=$((tried + 1))
        why=
        case $rc in
        0) result "$command" > now
            cmp -s good now || \
                why="exit status 0 and another result: $(diff good now | sed -n 2p)" ;;
        3) grep -q "^${PROGRAM##*/}: " log || \
                why="exit status 3 without a message: $(head -c 100 log)"
            half=$(half_written)
            [ -z "$half" ] || why="a wrong file: $half" ;;
        *) why="exit status $rc: $(tail -n 1 log | head -c 160)" ;;
        esac
        if [ -z "$why" ] && [ $rc -eq 3 ]; then # the next start puts all right
            case $command in
            init | fmt-write | run | train)
                case $command in
                train) # on from a checkpoint, or anew where there was none yet
                    start train-on warm
                    [ $rc -eq 0 ] || start train-anew warm
                    rm -rf w/run.old* ;;
                *) start "$command" warm ;;
                esac
                result "$command" > now
                if [ $rc -ne 0 ] || ! cmp -s good now; then
                    why="the next start: exit status $rc, $(diff good now | sed -n 2p)"
                    why="$why $(head -c 100 log)"
                fi
                left=$(find w -name '.vmoec-*' | head -1)
                [ -z "$left" ] || why="left over: $left" ;;
            esac
        fi
        if [ -n "$why" ]; then
            bad=$((bad + 1))
            [ $bad -gt 5 ] || echo "  site $n: $why"
            if [ "${FAULT_TRACE:-0}" = 1 ]; then
                arrange "$command" "$state"
                start "$command" "$state" LD_PRELOAD="$INJECT" VMOE_FAIL_AT=$n VMOE_FAIL_IN="$who" \
                    VMOE_FAIL_TRACE=1
                sed 's/^/    /' log
            fi
        fi
        n=$((n + step))
    done
    [ -z "${FAULTS_TABLE:-}" ] \
        || printf '%san allocation fails: %s, %s\t%d\t%d\n' "$OF" "$command" "$who" $tried $bad \
        >> "$FAULTS_TABLE"
    if [ $bad -eq 0 ]; then
        echo "ok $name ($tried of $total sites)"
    else
        echo "FAIL $name $bad of $tried sites ($total in all)"
        failed=1
    fi
}

if [ $# -eq 0 ] && [ -n "$OF" ]; then
    set -- info eval eval-all predict train train-resume
elif [ $# -eq 0 ]; then
    set -- check info fmt fmt-write init eval eval-all predict run train train-resume
fi
for what; do
    sites "$what" parent warm "$SITES"
    case $OF$what in # a trainer has no workers that compile
    eval | train) sites "$what" worker cold "$WORKER_SITES" ;;
    esac
done
exit $failed
