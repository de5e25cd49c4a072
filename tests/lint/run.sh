#!/bin/sh
# The lint itself: in a scratch copy of the sources it must report what was put there wrong, and
# nothing in the sources as they are.
set -u
cd "$(dirname "$0")/../.." || exit 3
root=$PWD
tmp=$(mktemp -d) || exit 3
trap 'rm -rf "$tmp"' EXIT INT TERM

# A copy of the sources, in which nothing is built.
fresh() {
    rm -rf "$tmp/tree"
    mkdir "$tmp/tree"
    for folder in base ir frontend passes interp codegen recipe runtime trainer cli driver \
        scripts; do
        [ ! -d "$folder" ] || cp -R "$folder" "$tmp/tree/"
    done
    cd "$tmp/tree" || exit 3
}

# want NAME CHECK STATUS PATTERN: what one check says of the copy
want() {
    scripts/lint.sh --check "$2" > "$tmp/out" 2>&1
    status=$?
    if [ "$status" -ne "$3" ]; then
        echo "FAIL $1 exit status $status, not $3: $(tail -n 2 "$tmp/out" | tr '\n' ' ')"
    elif ! grep -q -e "$4" "$tmp/out"; then
        echo "FAIL $1 does not say '$4': $(head -n 2 "$tmp/out" | tr '\n' ' ')"
    else
        echo "ok $1"
    fi
    cd "$root" || exit 3
}

# ---- includes ----

fresh
want 'includes of the sources as they are' includes 0 'lint: clean'
fresh
echo '#include "codegen/kernels/gemm.h"' >> codegen/build/emit.h
want 'the builder may not include kernels: a circle' includes 1 \
    'codegen/build/emit.h:[0-9]*: codegen/build may not include codegen/kernels/gemm.h'
fresh
echo '#include "driver/session/session.h"' >> runtime/train/train.h
want 'the runtime may not include the driver' includes 1 \
    'runtime/train may not include driver/session/session.h'
fresh
mkdir attic && echo > attic/x.h
echo '#include "attic/x.h"' >> base/arena.h
want 'a folder that is no room' includes 1 'base may not include attic/x.h'
fresh
want 'a check that is none' nonsense 2 "no check 'nonsense'"

# ---- shell files ----

fresh
want 'shell files as they are' shell 0 'lint: clean'
fresh
long=$(printf 'x%.0s' 1 2 3 4 5 6 7 8 9 10)
long=$long$long$long$long$long$long$long$long$long$long
echo "echo $long" > scripts/long.sh
want 'a line of more than 100 columns' shell 1 'scripts/long.sh:1: more than 100 columns'
fresh
{
    printf 'echo \\\n'
    printf "    '%s %s' \\\\\n" "$long" y
    printf '    "%s"\n    %s\n' "$long" "$long"
} > scripts/long.sh
want 'a word that has a line of its own' shell 0 'lint: clean'
fresh
printf "    '%s' '%s'\n" "$long" y > scripts/long.sh
want 'two words have not' shell 1 'scripts/long.sh:1: more than 100 columns'

# ---- links ----

# page TEXT: docs/a.md says it, beside docs/b.md, which has two headings of one name
page() {
    rm -rf "$tmp/tree"
    mkdir -p "$tmp/tree/docs" "$tmp/tree/scripts"
    cp scripts/lint.sh scripts/links.py "$tmp/tree/scripts"
    cd "$tmp/tree" || exit 3
    echo '# Readme' > README.md
    echo 'docs: ## docs/b.md' > Makefile
    printf '# B\n\n## `--set` and *more*: twice\n\n## `--set` and *more*: twice\n' > docs/b.md
    printf '# A\n\n%s\n' "$1" > docs/a.md
}
page 'See [b](b.md), [its end](b.md#--set-and-more-twice-1), [here](#a), [the
web](https://example.org/c.md#d) and `[code](c.md)`.'
want 'links that lead somewhere' links 0 'lint: clean'
page 'See [c](c.md).'
want 'a link to no page' links 1 'docs/a.md:3: there is no docs/c.md'
page 'See [the end](b.md#twice).'
want 'a link to no heading' links 1 'docs/a.md:3: docs/b.md has no heading #twice'
page 'See docs/c.md.'
want 'a page that is named and not there' links 1 'docs/a.md:3: there is no docs/c.md'
page 'See [b](b.md).'
mkdir driver && echo '/* docs/c.md has more. */' > driver/a.h
want 'the same in a comment' links 1 'driver/a.h:1: there is no docs/c.md'

# ---- objects ----

# object FILE SOURCE: FILE of the copy, compiled to where the build would have put it
object() {
    mkdir -p "$(dirname "$1")" "build/obj/$(dirname "$1")"
    printf '%s\n' "$2" > "$1.c"
    ${CC:-gcc} -c "$1.c" -o "build/obj/$1.o"
}

fresh
want 'objects without a build' objects 1 'build first'
fresh
object base/lint_a 'void ir_lint(void); void vm_lint(void) { ir_lint(); }'
object ir/lint_b 'void vm_lint(void); void ir_lint(void) { vm_lint(); }'
want 'a circle between rooms' objects 1 'base/lint_a ir/lint_b: a circle between base and ir'
fresh
object recipe/lint_a 'void vm_one(void); void vm_two(void); void vm_one(void) { vm_two(); }'
object recipe/lint_b 'void vm_one(void); void vm_two(void); void vm_two(void) { vm_one(); }'
want 'a circle within a room' objects 1 'recipe/lint_a recipe/lint_b: a circle of 2 files'
fresh
object passes/lint 'int printf(const char *, ...); void pass_lint(int x) { printf("%d", x); }'
want 'printf below the commands' objects 1 'passes/lint.c: printf below driver/commands'
fresh
object runtime/exec/lint '#include <stdio.h>
void vm_lint(void); void vm_lint(void) { fprintf(stderr, "%d", 1); }'
want 'stderr below the commands' objects 1 'runtime/exec/lint.c: stderr below driver/commands'
fresh
object ir/lint 'void exit(int); void ir_lint(void); void ir_lint(void) { exit(1); }'
want 'exit below the commands' objects 1 'ir/lint.c: exit below driver/commands'
fresh
object codegen/plan/lint 'int lint(void); int lint(void) { return 1; }'
want 'an export without a prefix' objects 1 \
    'codegen/plan/lint.c: lint has no prefix of codegen/plan'
fresh
object driver/commands/lint '#include <stdio.h>
int any_name(void); int any_name(void) { return printf("x"); }'
want 'commands may print' objects 1 'the circle .* is gone'
if grep -q 'driver/commands/lint' "$tmp/out"; then
    echo 'FAIL commands may export what they like' "$(grep driver/commands/lint "$tmp/out")"
else
    echo 'ok commands may export what they like'
fi
