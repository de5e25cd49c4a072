/* The top-k that runs at the end of its gate's softmax: the numbers that it chose are those the softmax
 * stored, in descending order, ties and rows without any number in order of experts. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

#include "tests/ops/util_jit.h"

typedef struct Shape {
    int tokens, experts, k;
} Shape;

/* of: what the softmax is taken of. relu: many equal zeros; log: rows without numbers */
static IrGraph *gate(Arena *a, Shape s, const char *of) {
    const char *text = arena_printf(a,
                                    "graph @t {\n"
                                    "  %%0 = input {name = \"x\"} : f32[%d,%d]\n"
                                    "  %%1 = %s %%0 : f32[%d,%d]\n"
                                    "  %%2 = softmax %%1 : f32[%d,%d]\n"
                                    "  %%3, %%4 = topk %%2 {k = %d} : f32[%d,%d], i32[%d,%d]\n"
                                    "  output \"p\" %%2\n"
                                    "  output \"value\" %%3\n"
                                    "  output \"index\" %%4\n"
                                    "}\n",
                                    s.tokens, s.experts, of, s.tokens, s.experts, s.tokens, s.experts, s.k,
                                    s.tokens, s.k, s.tokens, s.k);
    const char *error = NULL;
    IrGraph *g = ir_read(a, text, "gate.vir", &error);
    cr_assert(g, "%s", error ? error : "");
    return g;
}

/* The chosen are those that `rank` others come before. */
static void check_row(const double *p, const double *value, const double *index, Shape s, const char *what) {
    for (int e = 0; e < s.experts; e++) {
        int before = 0;
        for (int o = 0; o < s.experts; o++) {
            bool larger = p[o] > p[e], equal = p[o] == p[e] || (isnan(p[o]) && isnan(p[e]));
            before += larger || (equal && o < e);
        }
        if (before >= s.k) continue;
        cr_assert_eq((int)index[before], e, "%s: place %d has expert %d, not %d", what, before,
                     (int)index[before], e);
        cr_assert(value[before] == p[e] || isnan(p[e]), "%s: place %d has %g, not %g", what, before,
                  value[before], p[e]);
    }
}

static void check(Shape s, const char *of) {
    Arena *a = arena_create();
    const char *isa;
    for (int i = 0; (isa = jit_isa(a, i)); i++) {
        const char *what = arena_printf(a, "%s top %d of %s [%d,%d]", isa, s.k, of, s.tokens, s.experts);
        Jit j = jit_compile(a, gate(a, s, of), PIPE_EVAL, isa, what);
        int kernels = 0;
        for (int t = 0; t < j.program->ntask; t++) kernels += j.program->task[t].items > 0;
        cr_assert_eq(kernels, 1, "%s: %d kernels", what, kernels);
        JitRun one = jit_run(a, &j, 7, 1, what);
        const double *p = jit_find(&one, "p")->data, *value = jit_find(&one, "value")->data;
        const double *index = jit_find(&one, "index")->data;
        for (int t = 0; t < s.tokens; t++)
            check_row(p + t * s.experts, value + t * s.k, index + t * s.k, s, what);
        for (int threads = 2; threads <= 7; threads += 5) {
            JitRun more = jit_run(a, &j, 7, threads, what);
            jit_same_bits(&one, &more, what);
        }
        jit_free(&j);
    }
    arena_destroy(a);
}

Test(gate, top_k_takes_what_the_softmax_gave) {
    static const Shape shape[] = {{37, 4, 2}, {5, 1, 1}, {61, 33, 5}, {131, 256, 2}, {17, 16, 16}, {3, 7, 7}};
    for (size_t i = 0; i < sizeof shape / sizeof shape[0]; i++) {
        check(shape[i], "copy");
        check(shape[i], "relu");
        check(shape[i], "log");
    }
}
