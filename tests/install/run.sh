#!/bin/sh
# Installing, and what is made from the option table for it: the program runs from where it was
# installed with nothing set, from a tree that was moved and from an unpacked Debian package;
# uninstalling leaves nothing of ours and everything of others; man pages, completions and grammars
# have what the program has.
set -u
cd "$(dirname "$0")/../.." || exit 3
BUILD=${BUILD:-build}
VMOEC=${VMOEC:-$PWD/$BUILD/vmoec}
[ -x "$VMOEC" ] || { echo "FAIL setup cannot run $VMOEC"; exit 3; }
T=$(mktemp -d) || exit 3
trap 'rm -rf "$T"' EXIT INT TERM

failed=0
ok() { echo "ok $1"; }
fail() {
    echo "FAIL $1 $2"
    failed=1
}
# does NAME COMMAND...: passes when the command does; its output is the reason otherwise
does() {
    name=$1
    shift
    if "$@" > "$T/log" 2>&1; then ok "$name"; else fail "$name" "$(head -c 300 "$T/log")"; fi
}

# ---- a model and a few images --------------------------------------------------------------------

python3 - "$T/data" << 'END'
import os, random, struct, sys

os.makedirs(sys.argv[1])
random.seed(1)
for part, n in (("train", 32), ("t10k", 8)):
    with open(f"{sys.argv[1]}/{part}-images-idx3-ubyte", "wb") as f:
        f.write(struct.pack(">4i", 0x803, n, 8, 8) + random.randbytes(n * 64))
    with open(f"{sys.argv[1]}/{part}-labels-idx1-ubyte", "wb") as f:
        f.write(struct.pack(">2i", 0x801, n) + bytes(i % 4 for i in range(n)))
END
cat > "$T/m.vmoe" << 'END'
use "std/moe"

model m(image: f32[B, 1, 8, 8], label: class[B, 4]) {
  x = patch_embed(image, 4, 16)
  x = x + moe_mlp(norm(x), experts = 2, top_k = 1, hidden = 16)
  logits = linear(mean(x, axis = 1), 4)
  loss cross_entropy(logits, label)
}

train m { data = idx(dir = "data", batch = 8) }
END

# In a folder of its own and with next to nothing set.
alone() { (cd "$T" && env -i PATH=/usr/bin:/bin HOME="$T" "$@"); }
# works NAME PROGRAM
works() {
    does "$1: check" alone "$2" check m.vmoe
    does "$1: info" alone "$2" info m.vmoe
    does "$1: two steps of training" alone "$2" train m.vmoe --data data --steps 2 \
        --overwrite --out runs/m
    does "$1: weights are there" test -s "$T/runs/m/weights.safetensors"
    does "$1: a program of its own" alone "$2" build m.vmoe -o m --data data
    does "$1: which trains" alone ./m train --data data --steps 2 --overwrite --out runs/built
    does "$1: to the same weights" cmp "$T/runs/m/weights.safetensors" \
        "$T/runs/built/weights.safetensors"
}

# ---- make install, make uninstall ----------------------------------------------------------------

places() { BUILD=$BUILD DESTDIR=$T/dest PREFIX=$1 make --no-print-directory "$2"; }
does 'install' places /opt/vmoec install
works 'installed' "$T/dest/opt/vmoec/bin/vmoec"
mkdir "$T/elsewhere"
mv "$T/dest/opt/vmoec" "$T/elsewhere/tree"
works 'moved' "$T/elsewhere/tree/bin/vmoec"
mv "$T/elsewhere/tree" "$T/dest/opt/vmoec"
mkdir -p "$T/dest/opt/vmoec/share/fish/vendor_completions.d"
: > "$T/dest/opt/vmoec/share/fish/vendor_completions.d/other.fish"
does 'uninstall' places /opt/vmoec uninstall
left=$(cd "$T/dest/opt/vmoec" && find . -type f)
if [ "$left" = ./share/fish/vendor_completions.d/other.fish ]; then
    ok "uninstall leaves other programs' files"
else
    fail "uninstall leaves other programs' files" "$left"
fi
rm -rf "$T/dest"
does 'install into /usr/local by default' env BUILD="$BUILD" DESTDIR="$T/dest" \
    make --no-print-directory install
does 'which has the program' test -x "$T/dest/usr/local/bin/vmoec"
rm -rf "$T/dest"
does 'install again' places /opt/vmoec install
does 'uninstall again' places /opt/vmoec uninstall
left=$(find "$T/dest/opt" -mindepth 1)
case $left in
"" | "$T/dest/opt/vmoec") ok 'uninstall leaves nothing' ;;
*) fail 'uninstall leaves nothing' "$left" ;;
esac
if PREFIX=relative scripts/install.sh install > "$T/log" 2>&1; then
    fail 'a relative prefix is refused' "$(cat "$T/log")"
else
    ok 'a relative prefix is refused'
fi

# ---- the Debian package --------------------------------------------------------------------------

version=$("$VMOEC" --version | sed -n 's/^vmoec //p')
if command -v dpkg-deb > /dev/null && command -v dpkg-shlibdeps > /dev/null; then
    deb=$(BUILD=$BUILD VERSION=$version scripts/deb.sh) || fail 'make a package' "$deb"
    cp "$deb" "$T/first.deb"
    does 'unpack it' dpkg-deb -x "$deb" "$T/package"
    works 'packaged' "$T/package/usr/bin/vmoec"
    does 'it depends on LLVM' sh -c 'dpkg-deb -f "$1" Depends | grep -q libllvm' sh "$deb"
    does 'and the C library' sh -c 'dpkg-deb -f "$1" Depends | grep -q "libc6 (>="' sh "$deb"
    BUILD=$BUILD VERSION=$version scripts/deb.sh > "$T/log" 2>&1
    does 'made again it has the same bytes' cmp "$deb" "$T/first.deb"
else
    echo "skip the Debian package dpkg-dev is not installed"
fi

# ---- man pages -----------------------------------------------------------------------------------

# Every option of `help COMMAND` stands in the command's page.
for command in $("$VMOEC" manual commands); do
    "$VMOEC" manual man "$command" | sed 's/\\-/-/g' > "$T/page"
    missing=
    for option in $("$VMOEC" help "$command" | sed -n 's/^  \(--*[a-z-]*\).*/\1/p'); do
        grep -q -e "^.fB$option.fR" "$T/page" || missing="$missing $option"
    done
    if [ -z "$missing" ]; then
        ok "page of $command"
    else
        fail "page of $command" "lacks$missing"
    fi
done
if command -v groff > /dev/null; then
    for page in '' $("$VMOEC" manual commands); do
        # shellcheck disable=SC2086
        "$VMOEC" manual man $page | groff -man -Tutf8 -ww -z 2>> "$T/groff"
    done
    if [ -s "$T/groff" ]; then
        fail 'pages are good roff' "$(head -3 "$T/groff")"
    else
        ok 'pages are good roff'
    fi
else
    echo 'skip pages are good roff: groff is not installed'
fi

# ---- completions ---------------------------------------------------------------------------------

"$VMOEC" manual bash > "$T/vmoec.bash"
"$VMOEC" manual zsh > "$T/_vmoec"
"$VMOEC" manual fish > "$T/vmoec.fish"
cat > "$T/complete.bash" << 'END'
# What a word at the end of a command line is completed to.
source "$1/vmoec.bash"
shift
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
_vmoec
printf '%s\n' "${COMPREPLY[@]}" | sort | tr '\n' ' '
END
# completes EXPECTED NAME WORD...
completes() {
    expected=$1 name=$2
    shift 2
    got=$(cd "$T" && bash complete.bash "$T" "$@")
    if [ "$got" = "$expected " ]; then ok "bash: $name"; else fail "bash: $name" "$got"; fi
}
touch "$T/other.txt" "$T/graph.vir"
completes 'train' 'a command' vmoec tra
completes '--mem-budget' 'an option' vmoec info --mem
completes 'infer train' 'words of an option' vmoec info --mode ''
completes 'm.vmoe' 'a file' vmoec check m
completes 'graph.vir' 'a graph' vmoec opt g
completes 'runs' 'a folder' vmoec train --out ru
completes 'zsh' 'a kind of manual' vmoec manual z
completes 'verify' 'what help is about' vmoec help ver
for command in $("$VMOEC" manual commands); do
    want=$("$VMOEC" help "$command" | sed -n 's/^  \(--*[a-z-]*\).*/\1/p'; echo --help)
    want=$(printf '%s\n' "$want" | grep -e '^--' | sort | tr '\n' ' ')
    completes "${want% }" "options of $command" vmoec "$command" --
done
for shell in zsh fish; do
    file=$T/_vmoec
    [ $shell = fish ] && file=$T/vmoec.fish
    if command -v $shell > /dev/null; then
        does "$shell reads its completion" $shell -n "$file"
    else
        echo "skip $shell reads its completion: $shell is not installed"
    fi
done

# ---- editors -------------------------------------------------------------------------------------

# made KIND FILE
made() {
    "$VMOEC" manual "$1" > "$T/made"
    if cmp -s "$T/made" "$2"; then ok "$2"; else fail "$2" "is out of date: run make docs"; fi
}
made textmate editors/vscode/syntaxes/vmoe.tmLanguage.json
made vim editors/vim/syntax/vmoe.vim
does 'JSON of the VS Code folder' python3 tests/install/vscode.py editors/vscode "$version"
if command -v vim > /dev/null && vim --version | grep -q '+syntax'; then
    # shellcheck disable=SC2016
    does 'Vim reads its file' sh -c 'vim -es -u NONE -c "set rtp^=editors/vim" -c "syntax on" \
        -c "runtime ftdetect/vmoe.vim" -c "edit models/vmoe_fmnist.vmoe" -c "set ft=vmoe" \
        -c "if b:current_syntax != \"vmoe\" | cquit | endif" -c "call search(\"softmax(\")" \
        -c "let is = synIDattr(synID(line(\".\"), col(\".\"), 1), \"name\")" \
        -c "if is != \"vmoeBuiltin\" | cquit | endif" -c "qa!"'
else
    echo 'skip Vim reads its file: there is no Vim with syntax'
fi
exit $failed
