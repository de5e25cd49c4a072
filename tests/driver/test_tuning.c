/* Tuning files: what is read, and where mistakes are found (D_tuning_file). */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <string.h>

#include "driver/session/session.h"

static TuningFile *read_tuning(const char *text, Diags **d) {
    Arena *a = arena_create();
    *d = diags_create(a);
    TuningFile *f = session_tuning_read(a, source_from_text(a, "f.tune", text), *d);
    for (const Diag *e = (*d)->first; e; e = e->next)
        cr_assert(eq(int, (int)e->id, (int)D_tuning_file));
    return f;
}

/* "LINE:COLUMN message" of the first mistake, or "". */
static const char *mistake(const char *text) {
    Diags *d;
    read_tuning(text, &d);
    int line, col;
    if (!d->first) return "";
    span_place(d->first->span, &line, &col);
    return arena_printf(d->arena, "%d:%d %s", line, col, d->first->text);
}

Test(tuning, a_file_as_it_is_written) {
    Diags *d;
    TuningFile *f =
        read_tuning("# made by hand\r\n"
                    "cpu AMD EPYC   # here\n"
                    "isa avx512\nthreads 2\ncompiler abc\n\n"
                    "matmul m=3152 n=768 k=192 -> rows=96 cols=256  # 1.04x\n"
                    "\texpert_matmul_dw count=8 m=256 n=128 k=4096 ->\trows= 91 cols=128",
                    &d);
    cr_assert(eq(int, d->nerrors, 0));
    cr_assert(eq(str, (char *)f->cpu, "AMD EPYC"));
    cr_assert(eq(str, (char *)f->isa, "avx512"));
    cr_assert(eq(int, f->blocks.n, 2));
    const CgBlocks *b = f->blocks.list;
    Arena *a = arena_create();
    cr_assert(eq(str, (char *)session_tuning_text(a, &b[0].product), "matmul m=3152 n=768 k=192"));
    cr_assert(eq(str, (char *)session_tuning_text(a, &b[1].product),
                 "expert_matmul_dw count=8 m=256 n=128 k=4096"));
    cr_assert(eq(long, (long)b[0].rows, 96));
    cr_assert(eq(long, (long)b[0].cols, 256));
    cr_assert(eq(long, (long)b[1].rows, 91));
}

Test(tuning, a_file_may_be_empty) {
    cr_assert(eq(str, (char *)mistake(""), ""));
    cr_assert(eq(str, (char *)mistake("\n  # nothing\n\n"), ""));
}

Test(tuning, mistakes_say_where_and_what_was_expected) {
    static const char *const cases[][2] = {
        {"\nmatmull m=1 n=1 k=1 -> rows=1 cols=1",
         "2:1 expected a product (matmul, matmul_ta, expert_matmul, "
         "expert_matmul_dw, conv, conv_dx, conv_dw) or cpu, isa, threads, compiler, found "
         "'matmull'; did you mean matmul?"},
        {"matmul n=1", "1:8 expected m=, found 'n='"},
        {"matmul m=1 n=2 k=3", "1:19 expected ->, found the end of the line"},
        {"matmul m=1 n=2 k=3 -> rows=0 cols=9",
         "1:28 expected a whole number from 1 to 1024 for rows, found '0'"},
        {"matmul m=1 n=2 k=3 -> rows=9 cols=1025",
         "1:35 expected a whole number from 1 to 1024 for cols, found '1025'"},
        {"matmul m=1 n=2 k=99999999999999999999 -> rows=9 cols=9",
         "1:18 expected a whole number from 1 to 2147483647 for k, found '99999999999999999999'"},
        {"matmul m=-1 n=2 k=3 -> rows=9 cols=9",
         "1:10 expected a whole number from 1 to 2147483647 for m, found '-1'"},
        {"matmul m= # 4",
         "1:10 expected a whole number from 1 to 2147483647 for m, found the end of the line"},
        {"matmul m=1 n=2 k=3 -> rows=9 cols=9 kc=4",
         "1:37 expected the end of the line, found 'kc='"},
        {"matmul m=1 n=2 k=3 -> rows=9 cols=9\nmatmul m=1 n=2 k=3 -> rows=8 cols=9",
         "2:1 expected each product once, found this one a second time"},
        {"isa avx2\nisa avx2", "2:1 expected isa once and before the products, found it again"},
        {"matmul m=1 n=2 k=3 -> rows=9 cols=9\ncpu x",
         "2:1 expected cpu once and before the products, found it after one"},
        {"cpu", "1:4 expected a value for cpu, found the end of the line"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        cr_assert(eq(str, (char *)mistake(cases[i][0]), (char *)cases[i][1]));
}

Test(tuning, a_file_lies_beside_its_model) {
    Arena *a = arena_create();
    cr_assert(eq(str, (char *)session_tuning_beside(a, "models/x.vmoe"), "models/x.tune"));
    cr_assert(eq(str, (char *)session_tuning_beside(a, "model"), "model.tune"));
    arena_destroy(a);
}
