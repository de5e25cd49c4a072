#!/bin/sh
# Libraries that `vmoec build --lib` makes: the bits of `vmoec train` from C, C++ and Python,
# several handles and libraries in one program, memory to the byte, and calls that are refused.
#
#   VMOEC=build/vmoec tests/build_lib/run.sh
set -u
cd "$(dirname "$0")/../.." || exit 3
# shellcheck source=tests/begin.sh
. tests/begin.sh
cp tests/cli/tiny.vmoe "$T"
cd "$T" || exit 3
dataset data
TMPDIR=$T/tmp
export TMPDIR
mkdir "$TMPDIR"
CC=${CC:-cc}
LIBS="-fopenmp -ljansson -lxxhash -lm"
SRC=$ROOT/tests/build_lib
preload= # what Python lacks that the library needs
[ "$sanitized" = 0 ] || preload="env LD_PRELOAD=$(cc -print-file-name=libasan.so)"
[ "$sanitized" = 0 ] || preload="$preload ASAN_OPTIONS=detect_leaks=0"

# ---- the library ---------------------------------------------------------------------------------

want 0 'lib/libtiny.a, .so and tiny.h: .*trains with 1, 6, 16 images' 'build' \
    "$VMOEC" build tiny.vmoe --lib -o lib/ --batch 1,16
if [ -z "$(ls "$TMPDIR")" ]; then ok 'nothing is left behind'; else
    fail 'nothing is left behind' "$(ls "$TMPDIR")"; fi
echo '#include "tiny.h"
int main(void) { return tiny_memory_needed(1, 0) == 0 || TINY_CLASSES != 4; }' > use.c
cp use.c use.cc
want 0 '' 'the header is C99' \
    "$CC" -std=c99 -Wall -Wextra -pedantic -Werror -Ilib use.c -o use99 lib/libtiny.a $LIBS
want 0 '' 'and C++' \
    c++ -std=c++98 -Wall -Wextra -Werror -Ilib use.cc -o use98 lib/libtiny.so
want 0 '' 'and they run' sh -c './use99 && LD_LIBRARY_PATH=lib ./use98'
for kind in a so; do
    # shellcheck disable=SC2046
    nm -g --defined-only $([ $kind = so ] && echo -D) lib/libtiny.$kind > names 2>&1
    odd=$(awk 'NF == 3 && $3 !~ /^tiny_/ { print $3 }' names)
    there=$(grep -c ' T tiny_' names)
    if [ -z "$odd" ] && [ "$there" -eq "$(grep -c '^[a-z].* \**tiny_[a-z_]*(' lib/tiny.h)" ]; then
        ok "exactly the header's functions are visible in the .$kind"
    else
        fail "names of the .$kind" "$odd $there"
    fi
    # shellcheck disable=SC2046
    odd=$(nm $([ $kind = so ] && echo -D) lib/libtiny.$kind \
        | grep -E ' U (exit|_exit|abort|printf|puts|perror|stderr|stdout|inflate|archive|tj|spng)')
    if [ -z "$odd" ]; then ok "the .$kind neither prints nor ends the process"; else
        fail "what the .$kind calls" "$odd"; fi
done
written=
[ "$sanitized" = 1 ] || written=$(readelf -SW lib/libtiny.a | sed 's/^ *\[ *[0-9]*\] //' \
    | awk '$1 ~ /^\.(data|bss)/ && $1 !~ /rel\.ro/ && $5 !~ /^0*$/ { print $1 }')
if [ -z "$written" ]; then ok 'it has no variables that are written to'; else
    fail 'it has variables' "$written"; fi
if [ "$sanitized" = 0 ] && readelf -d lib/libtiny.so | grep NEEDED \
    | grep -v -e jansson -e xxhash -e 'libm\.' -e 'libc\.' -e gomp -e ld-linux | grep .; then
    fail 'what it needs' "$(readelf -d lib/libtiny.so | grep NEEDED)"; else
    ok 'it needs libc, libm, OpenMP, jansson and xxhash alone'; fi
want 0 '' 'another place and name' "$VMOEC" build tiny.vmoe --lib -o deep/er/small --batch 16
want 0 '^libsmall.a libsmall.so small.h $' 'which -o says' sh -c 'ls deep/er | tr "\n" " "'

# ---- the same bits -------------------------------------------------------------------------------

program() { # NAME: tests/build_lib/NAME.c with the archive
    "$CC" -std=c11 -O1 -Wall -Wextra -Werror -D_GNU_SOURCE -I"$ROOT" -Ilib "$SRC/$1.c" \
        lib/libtiny.a $LIBS -o "$1" 2> log || fail "$1 compiles" "$(head -c 500 log)"
}
program train
means() { # what a log says of epochs: train and test
    python3 -c '
import json, sys
for x in map(json.loads, open(sys.argv[1])):
    if x["event"] == "epoch":
        print(*("%.9g" % x[k] for k in sys.argv[2].split(",")))' "$1" "$2"
}
nine() { # the same numbers with the digits that logs have
    python3 -c '
import sys
for line in open(sys.argv[1]):
    print(*("%.9g" % float(x) for x in line.split()))' "$1"
}
for order in shuffled stored; do
    if [ $order = stored ]; then
        sed -i 's/batch = 16/batch = 16, shuffle = false/' tiny.vmoe
        want 0 '' 'build, without shuffling' \
            "$VMOEC" build tiny.vmoe --lib -o lib/ --batch 1,16
        program train
    fi
    want 0 '' 'vmoec train' "$VMOEC" train tiny.vmoe --out $order --quiet --threads 1
    for threads in 1 2; do
        for how in epochs steps breaks; do
            want 0 '' "the library trains, $order, in $how, $threads threads" \
                ./train $how $threads data $how.safetensors
            same 'with the same weights' $order/weights.safetensors $how.safetensors
            cp out $order.$how.$threads.txt
        done
    done
done

# ---- several at once -----------------------------------------------------------------------------

sed 's/dim = 16/dim = 24/; s/idx(dir/idx(mean = 0.2, dir/' tiny.vmoe > wide.vmoe
want 0 'lib/libother.a' 'another library' "$VMOEC" build wide.vmoe --lib --name other -o lib
"$CC" -std=c11 -O1 -Wall -Wextra -Werror -D_GNU_SOURCE -Ilib "$SRC/several.c" lib/libtiny.a \
    lib/libother.a $LIBS -o several 2> log || fail 'several compiles' "$(cat log)"
want 0 '' 'two handles and another library in one program, at once' ./several
"$CC" -std=c11 -O1 -Wall -Wextra -Werror -D_GNU_SOURCE -Ilib "$SRC/several.c" -Llib -ltiny \
    -lother -lpthread -o several 2> log || fail 'several compiles' "$(cat log)"
want 0 '' 'the same of shared objects' env LD_LIBRARY_PATH=lib ./several

# Weights that only another model of the file has are no trouble, given or inside.
cp "$ROOT/tests/build/scoped.vmoe" .
"$VMOEC" init scoped.vmoe --model large -o large.safetensors > log 2>&1 || cat log
want 0 '' 'a library of a model that shares weights' \
    "$VMOEC" build scoped.vmoe --model small --weights large.safetensors --lib -o lib
cat > shared.py << 'END'
import ctypes, sys

lib = ctypes.CDLL("lib/libsmall.so")
lib.small_memory_needed.restype = ctypes.c_size_t
lib.small_error.restype = ctypes.c_char_p
memory = ctypes.create_string_buffer(lib.small_memory_needed(1, 0))
h = ctypes.c_void_p()
if lib.small_create(memory, ctypes.c_size_t(len(memory)), 1, 0, ctypes.byref(h)):
    sys.exit(3)
for status in (lib.small_load_inside(h), lib.small_load(h, b"large.safetensors")):
    if status:
        sys.exit(lib.small_error(h).decode())
END
want 0 '' 'takes those of the other' $preload python3 shared.py

# ---- other languages -----------------------------------------------------------------------------

awk '/^```c$/ { on = 1; next } /^```$/ { on = 0 } on' "$ROOT"/docs/trainers*.md > page.c
same 'the program of the page is the one that is tried here' page.c "$SRC/example.c"
program example
want 0 '^epoch 2: loss 0\.[0-9]*, accuracy ' 'the example' ./example
want 0 '' 'the example in C++ compiles' c++ -std=c++17 -O1 -Wall -Wextra -Werror -Ilib \
    "$SRC/example.cpp" -Llib -ltiny -o examplecpp
want 0 '^loss .* right$' 'the example in C++' env LD_LIBRARY_PATH=lib ./examplecpp
want 0 '^five images: .* not built for predicting 5 images at once, but for 1, 16' \
    'the example in Python' \
    $preload python3 "$SRC/example.py" lib/libtiny.so data python.safetensors
same 'with the same weights' stored/weights.safetensors python.safetensors

# ---- what is refused -----------------------------------------------------------------------------

program misuse
mkdir bad
sed 's/dim = 16/dim = 24/' tiny.vmoe > other.vmoe
want 0 '' 'weights of another shape' "$VMOEC" init other.vmoe -o bad/other.safetensors
python3 - stored/weights.safetensors bad/nan.safetensors << 'PY'
import sys

data = bytearray(open(sys.argv[1], "rb").read())
data[-4:] = b"\x00\x00\xc0\x7f"
open(sys.argv[2], "wb").write(data)
PY
./misuse bad > said 2> log
status=$?
cat said
grep -q '^ok a damaged file' said || fail 'misuse' "status $status: $(head -c 300 log)"
if grep -q FAIL said; then
    fail 'misuse' "$(head -c 600 log)"
fi
want 2 "'2tiny' is no such name" 'a name that is none' \
    "$VMOEC" build tiny.vmoe --lib --name 2tiny -o lib/
want 2 "'class' means something else" 'a word of C++' "$VMOEC" build tiny.vmoe --lib -o lib/class
want 2 'name is for libraries' '--name without --lib' "$VMOEC" build tiny.vmoe --name x -o lib/x
want 2 'images is for programs' '--images with --lib' \
    "$VMOEC" build tiny.vmoe --images --lib -o lib/
want 3 "cannot run 'no-such-tool'" 'no archiver' \
    env AR=no-such-tool "$VMOEC" build tiny.vmoe --lib -o none/
if [ -z "$(ls none)" ]; then ok 'nothing is half-written'; else
    fail 'nothing is half-written' "$(ls none)"; fi

# ---- a small machine -----------------------------------------------------------------------------

python3 - << 'PY'
# Images whose class is the quarter that is bright, 320 to train and 64 to test.
import os, random, struct

os.mkdir("quarters")
rng = random.Random(1)
for which, n in (("train", 320), ("t10k", 64)):
    image, label = bytearray(), bytearray()
    for _ in range(n):
        k = rng.randrange(4)
        label.append(k)
        for y in range(8):
            for x in range(8):
                image.append(rng.randrange(100) + 150 * (y // 4 * 2 + x // 4 == k))
    for kind, head, data in (
        ("images-idx3", struct.pack(">IIII", 2051, n, 8, 8), image),
        ("labels-idx1", struct.pack(">II", 2049, n), label),
    ):
        open(f"quarters/{which}-{kind}-ubyte", "wb").write(head + data)
PY
want 0 'lib/libcnn.a' 'a convolutional network' "$VMOEC" build "$SRC/cnn.vmoe" --lib -o lib/ \
    --data quarters --set size=8 --set classes=4 --set passes=3
"$CC" -std=c11 -O1 -Wall -Wextra -Werror -D_GNU_SOURCE -Ilib "$SRC/budget.c" lib/libcnn.a $LIBS \
    -o budget 2> log || fail 'budget compiles' "$(cat log)"
mkdir few
for f in quarters/*; do head -c 1200 "$f" > "few/$(basename "$f")"; done
printf '\0\0\0\20' | tee tail | dd of=few/train-images-idx3-ubyte bs=1 seek=4 conv=notrunc 2> log
if [ "$sanitized" = 0 ]; then # which need far more
    want 0 'epoch 3: test accuracy 1.0000$' 'it learns within 32 MiB of address space' \
        ./budget quarters 32
    want 3 '' 'the limit is one' ./budget quarters 100
    want 2 'expected at least 32 images in an epoch of whole batches, found 16' \
        'an epoch without a batch' ./budget few 32
fi
"$VMOEC" train "$SRC/cnn.vmoe" --data quarters --set size=8 --set classes=4 --set passes=3 \
    --out cnn --quiet > log 2>&1
if grep -q '"test_accuracy": *1[,}.]' cnn/metrics.jsonl; then ok 'as vmoec train does'; else
    fail 'as vmoec train does' "$(tail -n 1 cnn/metrics.jsonl) $(cat log)"; fi

for order in shuffled stored; do
    means $order/metrics.jsonl train_loss,train_accuracy,test_loss,test_accuracy > said
    nine $order.epochs.1.txt > numbers
    same "losses and metrics of epochs, $order" said numbers
done
exit $failed
