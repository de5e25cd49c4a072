/* Gates in one kernel: a product, its softmax and the top-k. The numbers that the top-k chose are
 * those the softmax stored, in descending order, ties and rows without any number in order of
 * experts; the softmax is that of the logits the kernel stored, and these are the product's. */
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
                                    s.tokens, s.experts, of, s.tokens, s.experts, s.tokens,
                                    s.experts, s.k, s.tokens, s.k, s.tokens, s.k);
    const char *error = NULL;
    IrGraph *g = ir_read(a, text, "gate.vir", &error);
    cr_assert(g, "%s", error ? error : "");
    return g;
}

/* The chosen are those that `rank` others come before. */
static void check_row(const double *p, const double *value, const double *index, Shape s,
                      const char *what) {
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
        const char *what =
            arena_printf(a, "%s top %d of %s [%d,%d]", isa, s.k, of, s.tokens, s.experts);
        Jit j = jit_compile(a, gate(a, s, of), PIPE_EVAL, isa, what);
        cr_assert_eq(jit_kernels(&j), 1, "%s: %d kernels", what, jit_kernels(&j));
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
    static const Shape shape[] = {{37, 4, 2},    {5, 1, 1},    {61, 33, 5},
                                  {131, 256, 2}, {17, 16, 16}, {3, 7, 7}};
    for (size_t i = 0; i < sizeof shape / sizeof shape[0]; i++) {
        check(shape[i], "copy");
        check(shape[i], "relu");
        check(shape[i], "log");
    }
}

/* ---- behind a product ---- */

enum { WIDTH = 40 };

/* renormalised: the top-k of the logits; otherwise of their softmax */
static IrGraph *routed(Arena *a, Shape s, bool bias, bool renormalised) {
    Text t = text_new(a);
    text_addf(&t,
              "graph @t {\n"
              "  %%0 = param {name = \"x\"} : f32[%d,%d]\n"
              "  %%1 = param {name = \"w\"} : f32[%d,%d]\n"
              "  %%2 = param {name = \"b\"} : f32[%d]\n"
              "  %%3 = matmul %%0, %%1 : f32[%d,%d]\n",
              s.tokens, WIDTH, WIDTH, s.experts, s.experts, s.tokens, s.experts);
    if (bias)
        text_addf(&t,
                  "  %%4 = broadcast %%2 {shape = [%d,%d]} : f32[%d,%d]\n"
                  "  %%5 = add %%3, %%4 : f32[%d,%d]\n",
                  s.tokens, s.experts, s.tokens, s.experts, s.tokens, s.experts);
    int logits = bias ? 5 : 3;
    if (!renormalised)
        text_addf(&t, "  %%6 = softmax %%%d : f32[%d,%d]\n", logits, s.tokens, s.experts);
    text_addf(&t,
              "  %%7, %%8 = topk %%%d {k = %d} : f32[%d,%d], i32[%d,%d]\n"
              "  output \"logits\" %%%d\n"
              "  output \"p\" %%%d\n"
              "  output \"value\" %%7\n"
              "  output \"index\" %%8\n"
              "}\n",
              renormalised ? logits : 6, s.k, s.tokens, s.k, s.tokens, s.k, logits,
              renormalised ? logits : 6);
    const char *error = NULL;
    IrGraph *g = ir_read(a, t.data, "routed.vir", &error);
    cr_assert(g, "%s", error ? error : "");
    return g;
}

static void near(double is, double want, const char *what) {
    cr_assert(fabs(is - want) <= 1e-5 * (1 + fabs(want)), "%s: %.9g, not %.9g", what, is, want);
}

static void check_logits(const JitRun *r, Shape s, bool bias, const char *what) {
    const double *x = jit_find(r, "x")->data, *w = jit_find(r, "w")->data,
                 *b = jit_find(r, "b")->data;
    const double *logits = jit_find(r, "logits")->data;
    for (int t = 0; t < s.tokens; t++)
        for (int e = 0; e < s.experts; e++) {
            double sum = bias ? b[e] : 0;
            for (int i = 0; i < WIDTH; i++) sum += x[t * WIDTH + i] * w[i * s.experts + e];
            near(logits[t * s.experts + e], sum, what);
        }
}

static void check_softmax(const JitRun *r, Shape s, const char *what) {
    const double *logits = jit_find(r, "logits")->data, *p = jit_find(r, "p")->data;
    for (int t = 0; t < s.tokens; t++, logits += s.experts, p += s.experts) {
        double sum = 0;
        for (int e = 0; e < s.experts; e++) sum += exp(logits[e]);
        for (int e = 0; e < s.experts; e++) near(p[e], exp(logits[e]) / sum, what);
    }
}

static void check_routed(Shape s, bool bias, bool renormalised) {
    Arena *a = arena_create();
    const char *isa;
    for (int i = 0; (isa = jit_isa(a, i)); i++) {
        const char *what = arena_printf(a, "%s top %d of %s, [%d,%d], %s", isa, s.k,
                                        renormalised ? "logits" : "softmax", s.tokens, s.experts,
                                        bias ? "with bias" : "no bias");
        Jit j = jit_compile(a, routed(a, s, bias, renormalised), PIPE_EVAL, isa, what);
        cr_assert_eq(jit_kernels(&j), 1, "%s: %d kernels", what, jit_kernels(&j));
        JitRun one = jit_run(a, &j, 7, 1, what);
        check_logits(&one, s, bias, what);
        if (!renormalised) check_softmax(&one, s, what);
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

Test(gate, product_softmax_and_top_k_are_one_kernel) {
    static const Shape shape[] = {{37, 4, 2},     {5, 1, 1},    {61, 33, 5},
                                  {1300, 256, 2}, {17, 16, 16}, {3, 7, 7}};
    for (size_t i = 0; i < sizeof shape / sizeof shape[0]; i++)
        for (int form = 0; form < 4; form++) check_routed(shape[i], form % 2, form / 2);
}
