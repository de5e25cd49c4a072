#!/bin/sh
# Checks the sources: who includes whom, headers on their own, format, sizes, widths, marks left
# behind, links of pages (scripts/links.py), and warnings of two compilers; and what was built of
# them in BUILD (scripts/objects.py). Prints every finding; exit status 1 if there is any.
#
#   scripts/lint.sh                all checks
#   scripts/lint.sh --check NAME   one of them: includes sizes text markdown shell links format
#                                  warnings objects
#   scripts/lint.sh --list         the C files, for other tools
set -u
cd "$(dirname "$0")/.." || exit 3

FOLDERS=$(find base recipe ir frontend passes interp codegen runtime trainer cli driver \
    tests bench docs \
    -maxdepth 0 2> /dev/null | tr '\n' ' ')
MAX_LINES=800

files() { # the files of our folders whose names match any of the patterns
    for pattern in "$@"; do
        # shellcheck disable=SC2086
        find $FOLDERS -name "$pattern" -type f
    done | sort
}

checks="includes sizes text markdown shell links format warnings objects"
case ${1:-} in
--list)
    files '*.c' '*.h'
    exit 0
    ;;
--check)
    case " $checks " in
    *" ${2:-} "*) checks=$2 ;;
    *)
        echo "no check '${2:-}': $checks" >&2
        exit 2
        ;;
    esac
    ;;
esac

tmp=$(mktemp -d) || exit 3
trap 'rm -rf "$tmp"' EXIT INT TERM
: > "$tmp/findings"
finding() { printf '%s\n' "$*" | tee -a "$tmp/findings"; }
findings() { # one per line of standard input, with a title
    while IFS= read -r line; do finding "$1: $line"; done
}

# Which rooms a room may include, besides itself and (once more) nothing: a room is the longest
# folder of this table that a file lies in. What is written first is included by what comes later
# and never the other way round, so rooms make no circle. runtime/exec/abi.h, the contract between
# plans and the runtime, is for everybody.
all_runtime="runtime/exec runtime/data runtime/log runtime/train"
may_include() {
    case $1 in
    base) echo "" ;;
    recipe) echo "base" ;;
    ir) echo "base" ;;
    frontend/syntax) echo "base" ;;
    frontend) echo "base recipe ir frontend/syntax" ;;
    frontend/meaning) echo "base recipe ir frontend frontend/syntax" ;;
    passes) echo "base recipe ir" ;;
    interp) echo "base ir" ;;
    codegen) echo "base ir" ;;
    codegen/target) echo "base codegen" ;;
    codegen/plan) echo "base ir passes codegen" ;;
    codegen/build) echo "base ir passes codegen codegen/target codegen/plan" ;;
    codegen/kernels) echo "base ir passes codegen codegen/plan codegen/build" ;;
    codegen/load) echo "base ir passes codegen codegen/plan" ;;
    runtime/exec) echo "base" ;;
    runtime/data) echo "base recipe runtime/exec" ;;
    runtime/log) echo "base runtime/exec" ;;
    runtime/train) echo "base recipe runtime/exec runtime/data runtime/log" ;;
    cli) echo "base recipe" $all_runtime ;;
    trainer) echo "base recipe" $all_runtime ;;
    trainer/library) echo "base recipe" $all_runtime "trainer" ;;
    trainer/web) echo "base recipe" $all_runtime ;;
    trainer/program) echo "base recipe" $all_runtime "trainer cli" ;;
    driver/session)
        echo "base recipe ir frontend frontend/syntax passes codegen codegen/plan" $all_runtime ;;
    driver/lsp)
        echo "base recipe ir frontend frontend/syntax passes codegen driver/session" ;;
    driver/commands)
        echo "base recipe ir frontend frontend/syntax passes interp codegen codegen/plan" \
            $all_runtime "driver/session driver/lsp cli" ;;
    driver/bench)
        echo "base recipe ir frontend frontend/syntax passes interp codegen codegen/plan" \
            $all_runtime "driver/session driver/commands cli" ;;
    driver/build)
        echo "base recipe ir frontend passes codegen codegen/plan" $all_runtime \
            "trainer driver/session driver/commands cli" ;;
    tests | bench | docs) echo "any" ;;
    *) return 1 ;;
    esac
}

room_of() { # the longest folder of the table that a path lies in
    folder=$1
    while folder=${folder%/*}; do
        if may_include "$folder" > /dev/null; then
            echo "$folder"
            return
        fi
        case $folder in */*) ;; *) return 1 ;; esac
    done
}

check_includes() {
    files '*.c' '*.h' '*.def' | while IFS= read -r file; do
        room=$(room_of "$file") \
            || { echo "$file: lies in no room that this script knows"; continue; }
        allowed=$(may_include "$room")
        grep -nE '^[[:space:]]*#[[:space:]]*include[[:space:]]*"' "$file" |
            sed 's/^\([0-9]*\):[^"]*"\([^"]*\)".*/\1 \2/' | while read -r line path; do
            if [ ! -f "$path" ]; then
                echo "$file:$line: \"$path\" is not a path from the repository root"
                continue
            fi
            [ "$path" = runtime/exec/abi.h ] && continue
            case " $room $allowed " in
            *" any "* | *" $(room_of "$path" || echo no room) "*) ;;
            *) echo "$file:$line: $room may not include $path" ;;
            esac
        done
    done
    # LLVM's types stay in two files, and come to the rest of the back end through emit.h
    files '*.c' '*.h' | grep -v -e '^codegen/build/emit.h' -e '^codegen/build/unit.c' |
        xargs grep -nE '#[[:space:]]*include[[:space:]]*<llvm' /dev/null
}

check_sizes() {
    # shellcheck disable=SC2086
    { files '*.c' '*.h' '*.def'; find scripts tests -name '*.sh'; } | sort -u \
        | while IFS= read -r file; do
        lines=$(wc -l < "$file")
        [ "$lines" -le "$MAX_LINES" ] || echo "$file: $lines lines, at most $MAX_LINES"
    done
}

check_text() {
    mark='\b(TO''DO|FIX''ME|X''XX)\b'
    # programs with mistakes are as they are: their blanks and line ends may be the mistake
    list=$(files '*.c' '*.h' '*.def' '*.sh' '*.md' '*.vmoe' '*.vir' \
        | grep -v '^tests/errors/.*vmoe$'
        find models scripts editors -type f; ls -- *.md Makefile .ci/run)
    # shellcheck disable=SC2086
    grep -nE "$mark" /dev/null $list | sed 's/$/   (unfinished work)/'
    # shellcheck disable=SC2086
    grep -nE '[[:space:]]+$' /dev/null $list | sed 's/$/   (blanks at the end)/'
    # shellcheck disable=SC2086
    for file in $list; do
        [ ! -s "$file" ] || [ -z "$(tail -c 1 "$file")" ] || echo "$file: no newline at the end"
    done
    find scripts tests -name '*.sh' | while IFS= read -r file; do
        sh -n "$file" 2>&1 || echo "$file: does not parse"
    done
}

# Lines of Markdown, code blocks too, have at most 100 columns. A row of a table cannot be broken,
# nor can a single word, such as an address.
check_markdown() {
    { files '*.md'; ls -- *.md; } | LC_ALL=C.UTF-8 xargs grep -nE '^.{101,}' /dev/null |
        grep -vE '^[^:]*:[0-9]+:[[:space:]]*(\||([-*] )?[^[:space:]]+$)' |
        sed 's/^\([^:]*:[0-9]*\):.*/\1: more than 100 columns/'
}

# Lines of shell files have at most 100 columns. A word that has a line of its own, such as a quoted
# pattern, cannot be broken.
check_shell() {
    word="'[^']*'|\"([^\"\\\\]|\\\\.)*\"|[^[:space:]]+"
    find scripts tests bench .ci \( -name '*.sh' -o -path .ci/run \) 2> /dev/null \
        | LC_ALL=C.UTF-8 xargs grep -nE '^.{101,}' /dev/null \
        | grep -vE "^[^:]*:[0-9]+:[[:space:]]*($word)( \\\\)?\$" \
        | sed 's/^\([^:]*:[0-9]*\):.*/\1: more than 100 columns/'
}

check_links() {
    scripts/links.py 2>&1
}

check_format() {
    files '*.c' '*.h' | xargs clang-format-19 --dry-run -Werror 2>&1 | grep -E '(error|warning):'
}

WARN="-std=c11 -D_GNU_SOURCE -I. -Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes"
WARN="$WARN -Wmissing-prototypes -Wvla -Werror"
LLVM_INCLUDE="-isystem $(${LLVM_CONFIG:-llvm-config-19} --includedir)"

# Debian's clang comes without omp.h; gcc's serves for a syntax check. Only this header: gcc's
# folder would also give clang gcc's stdatomic.h.
mkdir "$tmp/include"
cp "$(gcc -print-file-name=include/omp.h)" "$tmp/include"
compile_with() {
    case $1 in
    gcc) echo "gcc $WARN $LLVM_INCLUDE -fopenmp -fsyntax-only" ;;
    clang) echo "clang-19 $WARN $LLVM_INCLUDE -fopenmp -idirafter $tmp/include -fsyntax-only" ;;
    esac
}

# Programs of tests/build_lib use headers that their test makes: it compiles them, with warnings as
# errors.
check_warnings() {
    jobs=$(nproc)
    for cc in gcc clang; do
        # shellcheck disable=SC2046
        files '*.c' | grep -v '^tests/build_lib/' | xargs -P "$jobs" -n 8 $(compile_with $cc) 2>&1 |
            grep -E '(error|warning):'
        # a header must compile alone: -x c, and a pragma-once warning would be about the main file
        # shellcheck disable=SC2046
        files '*.h' | xargs -P "$jobs" -I{} \
            sh -c '"$@" -x c - < /dev/null -include {}' sh $(compile_with $cc) 2>&1 |
            grep -E '(error|warning):'
    done
}

check_objects() {
    scripts/objects.py "${BUILD:-build}" 2>&1
}

for check in $checks; do
    "check_$check" > "$tmp/out"
    findings "$check" < "$tmp/out"
done
if [ -s "$tmp/findings" ]; then
    echo "lint: $(wc -l < "$tmp/findings") findings"
    exit 1
fi
echo "lint: clean"
