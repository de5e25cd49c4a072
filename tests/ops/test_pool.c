/* Pooling inside clusters, against the interpreter: elementwise work before it is done in its
 * loads, behind its gradient in the store; a NaN is never lost; an index that nobody reads costs
 * nothing. Plain poolings are rows of cases.def. */
#include <criterion/criterion.h>
#include <math.h>

#include "tests/ops/util_jit.h"

static const uint64_t seed = 5;

/* Channels around the widths of vectors, kernels and strides around each other. log makes a NaN of
 * one number in forty. */
typedef struct Sizes {
    int h, w, c, kh, kw, stride, pad[4];
} Sizes;

static const Sizes sizes[] = {
    {6, 8, 33, 2, 2, 2, {0, 0, 0, 0}},  {7, 9, 3, 3, 3, 2, {1, 1, 1, 1}},
    {5, 6, 16, 3, 2, 1, {2, 0, 1, 1}},  {9, 8, 1, 2, 2, 3, {0, 1, 1, 0}},
    {11, 10, 9, 5, 5, 1, {2, 2, 2, 2}}, {4, 4, 7, 4, 4, 1, {0, 0, 0, 0}},
};
enum { SIZES = sizeof sizes / sizeof sizes[0] };

static int results(int size, int pad, int kernel, int stride) {
    return (int)ir_conv_results(size, pad, kernel, stride);
}

/* Reads text with %s places filled by the type of images, the type of results, and the window. */
static IrGraph *graph_of(Arena *a, const Sizes *s, bool grad) {
    const char *error;
    const char *x = arena_printf(a, "[2,%d,%d,%d]", s->h, s->w, s->c);
    const char *y =
        arena_printf(a, "[2,%d,%d,%d]", results(s->h, s->pad[0] + s->pad[2], s->kh, s->stride),
                     results(s->w, s->pad[1] + s->pad[3], s->kw, s->stride), s->c);
    const char *window =
        arena_printf(a, "kernel = [%d,%d], pad = [%d,%d,%d,%d], stride = %d", s->kh, s->kw,
                     s->pad[0], s->pad[1], s->pad[2], s->pad[3], s->stride);
    const char *pool = arena_printf(a,
                                    "graph @t {\n  %%0 = input {name = \"x:f\"} : f32%s\n"
                                    "  %%1 = const {value = 1.9} : f32%s\n"
                                    "  %%2 = add %%0, %%1 : f32%s\n  %%3 = log %%2 : f32%s\n"
                                    "  %%4, %%5 = max_pool %%3 {%s} : f32%s, i32%s\n"
                                    "  output \"y\" %%4\n  output \"index\" %%5\n}\n",
                                    x, x, x, x, window, y, y);
    const char *back = arena_printf(a,
                                    "graph @t {\n  %%0 = input {name = \"i:int%d\"} : i32%s\n"
                                    "  %%1 = input {name = \"dy:f\"} : f32%s\n"
                                    "  %%2 = input {name = \"x:f\"} : f32%s\n"
                                    "  %%3 = max_pool_grad %%0, %%1 {%s, height = %d, width = %d}"
                                    " : f32%s\n"
                                    "  %%4 = mul %%3, %%2 : f32%s\n  %%5 = add %%4, %%2 : f32%s\n"
                                    "  output \"dx\" %%3\n  output \"z\" %%5\n}\n",
                                    s->kh * s->kw, y, y, x, window, s->h, s->w, x, x, x);
    IrGraph *g = ir_read(a, grad ? back : pool, "pool", &error);
    cr_assert_not_null(g, "%s", error);
    return g;
}

static void check_output(const JitRun *run, const Interp *it, const char *name, double tolerance,
                         const char *what) {
    const JitResult *got = jit_find(run, name);
    const RefTensor *want = interp_out(it, name);
    int64_t at;
    cr_assert(got && want);
    double err = case_error(want->data, got->data, ir_elems(&want->type),
                            want->type.dtype == DT_f32, INFINITY, &at);
    cr_assert(err <= tolerance, "%s: %s[%lld] is %g, expected %g", what, name, (long long)at,
              got->data[at], want->data[at]);
}

/* One kernel does it all; the same bits with 1 and 3 threads. */
static void check(Arena *a, const Sizes *s, bool grad, const char *isa) {
    const char *what = arena_printf(a, "%s, kernel %d x %d, %d channels, %s",
                                    grad ? "gradient" : "pool", s->kh, s->kw, s->c, isa);
    IrGraph *g = graph_of(a, s, grad);
    Interp *it = interp_create(a, g, true);
    case_fill_all(it, g, seed);
    interp_run(it);
    Jit j = jit_compile(a, g, PIPE_EVAL, isa, what);
    cr_expect_eq(jit_kernels(&j), 1, "%s: %d kernels", what, jit_kernels(&j));
    JitRun one = jit_run(a, &j, seed, 1, what), three = jit_run(a, &j, seed, 3, what);
    jit_same_bits(&one, &three, what);
    check_output(&one, it, grad ? "dx" : "index", grad ? 1e-6 : 0, what);
    check_output(&one, it, grad ? "z" : "y", 1e-5, what);
    jit_free(&j);
}

Test(pool, with_elementwise_work_around_it, .timeout = 120) {
    Arena *a = arena_create();
    const char *isa;
    for (int i = 0; (isa = jit_isa(a, i)); i++)
        for (int k = 0; k < SIZES; k++)
            for (int grad = 0; grad < 2; grad++) check(a, &sizes[k], grad, isa);
    arena_destroy(a);
}

Test(pool, a_window_with_nan_has_no_index) {
    Arena *a = arena_create();
    IrGraph *g = graph_of(a, &sizes[1], false);
    Interp *it = interp_create(a, g, true);
    case_fill_all(it, g, seed);
    interp_run(it);
    const RefTensor *y = interp_out(it, "y"), *index = interp_out(it, "index");
    int nans = 0;
    for (int64_t i = 0; i < ir_elems(&y->type); i++) {
        nans += isnan(y->data[i]);
        cr_assert_eq(isnan(y->data[i]) != 0, index->data[i] == -1);
    }
    cr_assert(nans > 10 && nans < ir_elems(&y->type) / 2, "%d NaN", nans);
    arena_destroy(a);
}

Test(pool, an_unread_index_is_not_written) {
    Arena *a = arena_create();
    const char *isa = jit_isa(a, 0);
    IrGraph *g = graph_of(a, &sizes[0], false);
    Jit both = jit_compile(a, g, PIPE_EVAL, isa, "both");
    g->nout = 1;
    Jit one = jit_compile(a, g, PIPE_EVAL, isa, "one");
    cr_expect_eq(both.program->task[0].narg, 3);
    cr_expect_eq(one.program->task[0].narg, 2);
    JitRun x = jit_run(a, &both, seed, 1, "both"), y = jit_run(a, &one, seed, 1, "one");
    x.n = y.n;
    jit_same_bits(&x, &y, "with and without the index");
    jit_free(&both);
    jit_free(&one);
    arena_destroy(a);
}
