#!/bin/sh
# Puts what was built into its places under a prefix, or takes it away again.
#
#   BUILD=build PREFIX=/usr/local DESTDIR= scripts/install.sh install|uninstall
#
# The program finds the code generator in ../libexec/vmoec, models in ../share/vmoec/models and what
# programs are built of in ../lib/vmoec/kit, seen from where it lies: an installed tree may be moved
# as a whole.
set -eu
cd "$(dirname "$0")/.."

BUILD=${BUILD:-build}
to=${DESTDIR:-}${PREFIX:-/usr/local}
case $to in /*) ;; *) echo "install.sh: PREFIX must begin with /, not '$to'" >&2; exit 2 ;; esac
vmoec=$BUILD/vmoec

# Ours alone, and those that other programs share: man pages, completions, files for Vim.
OWN="libexec/vmoec lib/vmoec share/vmoec"
BASH=share/bash-completion/completions
ZSH=share/zsh/site-functions
FISH=share/fish/vendor_completions.d
VIM=share/vim/vimfiles
MAN=share/man/man1
SHARED="bin/vmoec $BASH/vmoec $ZSH/_vmoec $FISH/vmoec.fish"
for kind in syntax ftdetect ftplugin; do SHARED="$SHARED $VIM/$kind/vmoe.vim"; done

write() { # FILE COMMAND...: what a command prints becomes a file
    file=$to/$1
    shift
    mkdir -p "$(dirname "$file")"
    "$@" > "$file"
    chmod 644 "$file"
}
tree() { # FROM TO: all files of a folder that the repository would have
    (cd "$1" && find . -type f ! -path '*/node_modules/*' ! -path './obj/*' ! -name '*.tune') |
        while IFS= read -r f; do install -D -m 644 "$1/$f" "$to/$2/$f"; done
}

put() {
    [ -x "$vmoec" ] || { echo "install.sh: there is no $vmoec: run make first" >&2; exit 3; }
    install -D -m 755 "$vmoec" "$to/bin/vmoec"
    install -D -m 644 "$BUILD/vmoec-llvm.so" "$to/libexec/vmoec/vmoec-llvm.so"
    install -D -m 644 "$BUILD/kit/libvmoec-trainer.a" "$to/lib/vmoec/kit/libvmoec-trainer.a"
    tree "$BUILD/kit/include" lib/vmoec/kit/include
    for kit in "$BUILD"/kit-*; do # of other machines, where they were made
        [ ! -d "$kit" ] || tree "$kit" "lib/vmoec/${kit##*/}"
    done
    tree models share/vmoec/models
    tree editors share/vmoec/editors
    for kind in syntax ftdetect ftplugin; do
        install -D -m 644 editors/vim/$kind/vmoe.vim "$to/$VIM/$kind/vmoe.vim"
    done
    write $BASH/vmoec "$vmoec" manual bash
    write $ZSH/_vmoec "$vmoec" manual zsh
    write $FISH/vmoec.fish "$vmoec" manual fish
    write $MAN/vmoec.1 "$vmoec" manual man
    for command in $("$vmoec" manual commands); do
        write "$MAN/vmoec-$command.1" "$vmoec" manual man "$command"
    done
}

# Folders that were made for these files go when they are empty; those of a system stay.
take_away() {
    for name in $OWN; do rm -rf "${to:?}/$name"; done
    for name in $SHARED; do rm -f "$to/$name"; done
    rm -f "$to/$MAN/vmoec.1" "$to/$MAN"/vmoec-*.1
    folders="$BASH share/bash-completion $ZSH share/zsh $FISH share/fish $VIM/syntax $VIM/ftdetect
        $VIM/ftplugin $VIM share/vim $MAN share/man share libexec lib bin"
    case $to in /usr | /usr/local) return ;; esac
    for folder in $folders; do rmdir "$to/$folder" 2> /dev/null || true; done
}

umask 022
case ${1:-} in
install) put ;;
uninstall) take_away ;;
*)
    echo "install.sh: expected install or uninstall, found '${1:-}'" >&2
    exit 2
    ;;
esac
