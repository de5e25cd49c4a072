/* A norm in front of the product that alone reads it: one kernel, no row of the norm in memory, and
 * the bits of a norm that is stored. */
#include <criterion/criterion.h>
#include <string.h>

#include "tests/ops/util_jit.h"

typedef struct Shape {
    int rows, width, cols;
} Shape;

/* stored: the norm is an output, too, so that it has to be in memory */
static IrGraph *normed_product(Arena *a, Shape s, bool stored) {
    Text t = text_new(a);
    text_addf(&t,
              "graph @t {\n"
              "  %%0 = param {name = \"x\"} : f32[%d,%d]\n"
              "  %%1 = param {name = \"scale\"} : f32[%d]\n"
              "  %%2 = param {name = \"w\"} : f32[%d,%d]\n"
              "  %%3 = param {name = \"b\"} : f32[%d]\n"
              "  %%4, %%5 = layer_norm %%0 {eps = 1e-06} : f32[%d,%d], f32[%d,1]\n",
              s.rows, s.width, s.width, s.width, s.cols, s.cols, s.rows, s.width, s.rows);
    text_addf(&t,
              "  %%6 = broadcast %%1 {shape = [%d,%d]} : f32[%d,%d]\n"
              "  %%7 = mul %%4, %%6 : f32[%d,%d]\n"
              "  %%8 = matmul %%7, %%2 : f32[%d,%d]\n"
              "  %%9 = broadcast %%3 {shape = [%d,%d]} : f32[%d,%d]\n"
              "  %%10 = add %%8, %%9 : f32[%d,%d]\n"
              "  %%11 = gelu %%10 : f32[%d,%d]\n",
              s.rows, s.width, s.rows, s.width, s.rows, s.width, s.rows, s.cols, s.rows, s.cols,
              s.rows, s.cols, s.rows, s.cols, s.rows, s.cols);
    text_add(&t, "  output \"y\" %11\n");
    if (stored) text_add(&t, "  output \"norm\" %7\n");
    text_add(&t, "}\n");
    const char *error = NULL;
    IrGraph *g = ir_read(a, t.data, "front.vir", &error);
    cr_assert(g, "%s", error ? error : "");
    return g;
}

static void check(Shape s, int kernels) {
    Arena *a = arena_create();
    const char *isa;
    for (int i = 0; (isa = jit_isa(a, i)); i++) {
        const char *what = arena_printf(a, "%s [%d,%d] to %d", isa, s.rows, s.width, s.cols);
        Jit fused = jit_compile(a, normed_product(a, s, false), PIPE_EVAL, isa, what);
        Jit apart = jit_compile(a, normed_product(a, s, true), PIPE_EVAL, isa, what);
        cr_assert_eq(jit_kernels(&fused), kernels, "%s: %d kernels", what, jit_kernels(&fused));
        cr_assert_eq(jit_kernels(&apart), 2, "%s: %d kernels with a stored norm", what,
                     jit_kernels(&apart));
        JitRun one = jit_run(a, &fused, 7, 1, what), two = jit_run(a, &apart, 7, 1, what);
        const JitResult *y = jit_find(&one, "y"), *want = jit_find(&two, "y");
        for (int64_t e = 0; e < ir_elems(&y->type); e++)
            cr_assert(y->data[e] == want->data[e], "%s: element %d is %.9g, not %.9g", what, (int)e,
                      y->data[e], want->data[e]);
        JitRun more = jit_run(a, &fused, 7, 3, what);
        jit_same_bits(&one, &more, what);
        jit_free(&fused);
        jit_free(&apart);
    }
    arena_destroy(a);
}

Test(front, a_norm_in_the_product_has_the_bits_of_one_before_it) {
    check((Shape){1100, 40, 50}, 1);
    check((Shape){1024, 41, 130}, 1);
    check((Shape){2048, 192, 8}, 1);
    check((Shape){1023, 40, 50}, 2);
}
