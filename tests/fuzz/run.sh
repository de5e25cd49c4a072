#!/bin/sh
# A bounded run of the parser's fuzzer over every .vmoe of the repository, with sanitizers.
# Usage: tests/fuzz/run.sh [ITERATIONS [SEED]]; CC and BUILD as for make. Takes a few seconds.
set -u
cd "$(dirname "$0")/../.." || exit 3
out=${BUILD:-build}/fuzz
mkdir -p "$out"
if ! ${CC:-gcc} -std=c11 -D_GNU_SOURCE -I. -O1 -g -Wall -Wextra -fsanitize=address,undefined \
    -fno-sanitize-recover=undefined tests/fuzz/fuzz_parse.c ir/arena.c frontend/source.c \
    frontend/diag.c frontend/diag_print.c frontend/lexer.c frontend/parser_core.c frontend/parser_expr.c \
    frontend/parser.c frontend/ast_dump.c frontend/format.c frontend/format_expr.c -o "$out/fuzz_parse"; then
    echo "FAIL fuzz_parse does not compile"
    exit 1
fi
find models tests -name '*.vmoe' | sort > "$out/seeds"
seed=${2:-1}
if xargs "$out/fuzz_parse" -n "${1:-5000}" -s "$seed" < "$out/seeds"; then
    echo "ok fuzz_parse (seed $seed)"
else
    echo "FAIL fuzz_parse seed $seed"
    exit 1
fi
