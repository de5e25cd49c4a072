#!/bin/sh
# Installs what is missing to build and run vmoec, and to test it, from Debian's packages.
#
#   scripts/setup.sh [--check] [run] [test] [fuzz] [threads] [arm] [wasm]      default: run test
#
# arm: what programs for AArch64 are built and tested with (docs/trainers_arm.md); the libraries of
# that machine need `dpkg --add-architecture arm64` first.
#
# wasm: what pages for browsers are built and tested with (docs/trainers_wasm.md).
#
# Every need is probed first; when all are met, nothing is installed and no network is used. Without
# the right to install, the command to run by hand is printed and the exit status is 3.
set -eu
cd "$(dirname "$0")/.."

header() { # does header $1 compile?
    printf '#include <%s>\n' "$1" | gcc -fsyntax-only -xc - 2> /dev/null
}
tool() { command -v "$1" > /dev/null 2>&1; }
fashion_mnist() {
    [ -f /usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz ] || [ -n "${VMOE_DATA:-}" ]
}
filecheck() { tool FileCheck-19 || [ -x /usr/lib/llvm-19/bin/FileCheck ]; }
clang_runtime() {
    tool clang-19 && [ -n \
        "$(find "$(clang-19 -print-resource-dir)/lib" -name 'libclang_rt.fuzzer*.a' 2> /dev/null)" ]
}
openmp_of_clang() {
    tool clang-19 && [ -e "$(clang-19 -print-file-name=libarcher.so)" ]
}

arm() { [ -e "/usr/lib/aarch64-linux-gnu/lib$1.a" ]; }

wasm_runtime() { [ -e /usr/lib/llvm-19/lib/clang/19/lib/wasi/libclang_rt.builtins-wasm32.a ]; }

missing=
need() { # $1: package; the rest: its probe
    package=$1
    shift
    if ! "$@"; then missing="$missing $package"; fi
}

check=false
[ $# -gt 0 ] || set -- run test
for what in "$@"; do
    case $what in
    --check) check=true ;;
    run)
        need gcc tool gcc
        need libc6-dev header stdlib.h
        need make tool make
        need llvm-19-dev tool "${LLVM_CONFIG:-llvm-config-19}"
        need libjansson-dev header jansson.h
        need zlib1g-dev header zlib.h
        need libarchive-dev header archive.h
        need libturbojpeg0-dev header turbojpeg.h
        need libspng-dev header spng.h
        need libxxhash-dev header xxhash.h
        need dataset-fashion-mnist fashion_mnist
        ;;
    test)
        need libcriterion-dev header criterion/criterion.h
        need llvm-19-tools filecheck
        need clang-19 tool clang-19
        need clang-format-19 tool clang-format-19
        need python3 tool python3
        need strace tool strace
        need libxml2-utils tool xmllint
        need zstd tool zstd
        ;;
    fuzz)
        need clang-19 tool clang-19
        need libclang-rt-19-dev clang_runtime
        ;;
    threads)
        need clang-19 tool clang-19
        need libomp-19-dev openmp_of_clang
        ;;
    arm)
        need gcc-aarch64-linux-gnu tool aarch64-linux-gnu-gcc
        need libc6-dev-arm64-cross test -e /usr/aarch64-linux-gnu/include/stdlib.h
        need qemu-user tool qemu-aarch64
        need libjansson-dev:arm64 arm jansson
        need libxxhash-dev:arm64 arm xxhash
        need zlib1g-dev:arm64 arm z
        ;;
    wasm)
        need clang-19 tool clang-19
        need lld-19 tool wasm-ld-19
        need llvm-19 tool llvm-ar-19
        need wasi-libc test -e /usr/lib/wasm32-wasi/libc.a
        need libclang-rt-19-dev-wasm32 wasm_runtime
        need nodejs tool node
        need chromium tool chromium
        ;;
    *)
        echo "setup.sh: expected run, test, fuzz, threads, arm, wasm or --check, found $what" >&2
        exit 2
        ;;
    esac
done

[ -n "$missing" ] || exit 0
by_hand="apt-get update && apt-get install -y --no-install-recommends$missing"
if $check; then
    echo "missing:$missing"
    exit 3
fi

as_root=
if [ "$(id -u)" -ne 0 ]; then
    if ! tool sudo || ! sudo -n true 2> /dev/null; then
        echo "setup: these packages are missing; run as root: $by_hand" >&2
        exit 3
    fi
    as_root="sudo"
fi
if ! tool apt-get; then
    echo "setup: this system has no apt-get; needed are the equivalents of:$missing" >&2
    exit 3
fi
echo "setup: installing$missing"
# A stale index is no reason to stop: what is needed may be known to it.
$as_root apt-get update -q || echo "setup: apt-get update failed, going on with the old index" >&2
# shellcheck disable=SC2086
if ! $as_root env DEBIAN_FRONTEND=noninteractive apt-get install \
    -y -q --no-install-recommends $missing; then
    echo "setup: the installation failed; run as root: $by_hand" >&2
    exit 3
fi
