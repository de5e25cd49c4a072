/* Norms of rows whose numbers are close together compared with their size: of equal numbers exactly
 * 0, however large they are, of others as right as the numbers are. The mean of such a row, rounded
 * to f32, is not good enough to subtract. Values and gradients, alone and inside the product that
 * reads the norm. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "runtime/exec/exec.h"
#include "tests/ops/util_jit.h"
#include "tests/std/util_std.h"

enum { MAX_WIDTH = 385 };

static const char *const text = "model m(dy: f32[B, %d]) {\n"
                                "  param x: [%d, %d] = zeros()\n"
                                "  y = layer_norm(x)\n"
                                "  loss sum(y * dy)\n"
                                "  y\n}\n";
static const float sizes[] = {0,           1e-40f,    1e-25f,   1e-3f, 0.1f,   1,
                              -3.3333333f, 106656.3f, -1.1e15f, 1e19f, 3.3e38f};
enum { EQUAL = sizeof sizes / sizeof *sizes, NEAR = 6, ROWS = EQUAL + NEAR };

/* Rows of equal numbers, then rows of a number and a few of its last places; the last two are
 * ordinary. */
static void fill(float *x, float *dy, int cols) {
    for (int r = 0; r < ROWS; r++) {
        for (int c = 0; c < cols; c++) {
            float v = r < EQUAL ? sizes[r] : ldexpf(1.5f, (r - EQUAL) * 5),
                  step = ldexpf(1, (r - EQUAL) * 5 - 21);
            if (r >= EQUAL) v += (float)(c % 5) * step;
            if (r >= ROWS - 2) v = (float)((c * 37 + r) % 101) - 30;
            x[r * cols + c] = v;
            dy[r * cols + c] = (float)((c * 13 + r * 5) % 17) / 8 - 1;
        }
    }
}

/* 1 / sqrt(variance + eps): what a gradient's terms, which may cancel, are multiplied by. */
static double slope(const float *x, int n) {
    double mean = 0, var = 0;
    for (int i = 0; i < n; i++) mean += (double)x[i] / n;
    for (int i = 0; i < n; i++) var += ((double)x[i] - mean) * ((double)x[i] - mean) / n;
    return 1 / sqrt(var + 1e-6);
}

static void check(const float *got, const RefTensor *want, int cols, const float *x,
                  const char *what, const char *isa) {
    for (int r = 0; r < ROWS; r++) {
        double largest = x ? slope(x + r * cols, cols) : 0;
        for (int c = 0; c < cols; c++) largest = fmax(largest, fabs(want->data[r * cols + c]));
        for (int c = 0; c < cols; c++) {
            double have = (double)got[r * cols + c], expected = want->data[r * cols + c];
            cr_assert(fabs(have - expected) <= 2e-5 * largest,
                      "%s, %d columns, row %d: %s[%d] is %g, not %g", isa, cols, r, what, c, have,
                      expected);
        }
    }
}

static void run(const char *isa, int cols) {
    static float x[ROWS * MAX_WIDTH], dy[ROWS * MAX_WIDTH];
    Arena *a = arena_create();
    IrGraph *g = std_model(a, arena_printf(a, text, cols, ROWS, cols), ROWS);
    fill(x, dy, cols);
    Jit j = jit_compile(a, g, PIPE_GRAD, isa, "norm");
    IrGraph *grad = ir_graph_clone(a, g);
    static const PassId passes[] = {PASS_expand, PASS_autodiff};
    PassCtx c = pass_ctx(arena_create());
    c.training = true;
    cr_assert_null(pass_run(&c, grad, passes, 2));
    arena_destroy(c.scratch);
    Interp *it = interp_create(a, grad, true);
    interp_set_f32(it, "m.x", x);
    interp_set_f32(it, "dy", dy);
    interp_run(it);
    VmEngine *e;
    VmError err;
    cr_assert_eq(vm_engine_create(1, &e, &err), VM_OK, "%s", err.text);
    cr_assert_eq(vm_engine_add(e, j.program, &err), 0, "%s", err.text);
    size_t bytes = sizeof(float) * (size_t)(ROWS * cols);
    memcpy(vm_engine_data(e, 0, "m.x"), x, bytes);
    memcpy(vm_engine_data(e, 0, "dy"), dy, bytes);
    vm_engine_run(e, 0, 0, 0);
    const float *y = vm_engine_data(e, 0, "y");
    for (int r = 0; r < EQUAL; r++)
        for (int i = 0; i < cols; i++)
            cr_assert(y[r * cols + i] == 0, "%s, %d columns of %g: %g", isa, cols, (double)sizes[r],
                      (double)y[r * cols + i]);
    check(y, interp_out(it, "y"), cols, NULL, "y", isa);
    check(vm_engine_data(e, 0, "grad.m.x"), interp_out(it, "grad.m.x"), cols, x, "gradient", isa);
    vm_engine_destroy(e);
    jit_free(&j);
    arena_destroy(a);
}

Test(norm, of_equal_numbers_is_zero_and_of_close_ones_right, .timeout = 120) {
    static const int widths[] = {1, 2, 7, 8, 16, 17, 33, 100, 384, MAX_WIDTH};
    Arena *a = arena_create();
    const char *isa;
    for (int i = 0; (isa = jit_isa(a, i)); i++)
        for (size_t w = 0; w < sizeof widths / sizeof *widths; w++) run(isa, widths[w]);
    arena_destroy(a);
}
