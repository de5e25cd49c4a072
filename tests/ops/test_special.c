/* NaN and infinities through what looks for the largest, against the interpreter and against what
 * the reference manual promises: a NaN is never lost, and never counts as right. Widths around
 * those of vectors, a NaN in every place of a row. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "runtime/exec/exec.h"
#include "tests/ops/util_jit.h"
#include "tests/std/util_std.h"

enum {
    PLAIN = 6,
    MAX_WIDTH = 35,
    CHOSEN = 3
}; /* PLAIN rows without a NaN in a place of their own */

static const char *const text =
    "model m(x: f32[B, %d], z: f32[B, %d], label: class[B, %d]) {\n"
    "  largest = max(x)\n  best = top_values(x, %d)\n  lse = logsumexp(x)\n  p = softmax(x)\n"
    "  larger = maximum(x, z)\n  smaller = minimum(x, z)\n  positive = relu(x)\n"
    "  metric a = mean(largest)\n  metric b = mean(best)\n  metric c = mean(lse)\n  metric d = "
    "mean(p)\n"
    "  metric e = mean(larger)\n  metric f = mean(smaller)\n  metric g = mean(positive)\n"
    "  metric accuracy(x, label)\n}\n";
static const char *const results[] = {"largest", "best",    "lse",      "p",
                                      "larger",  "smaller", "positive", "accuracy"};

typedef struct Special {
    int rows, cols;
    float x[(MAX_WIDTH + PLAIN) * MAX_WIDTH], z[(MAX_WIDTH + PLAIN) * MAX_WIDTH];
    int32_t label[MAX_WIDTH + PLAIN];
} Special;

/* Row r < cols has one NaN, in column r; then rows of numbers, with one infinity, of infinities, of
 * NaN. */
static void fill(Special *s, int cols) {
    s->cols = cols;
    s->rows = cols + PLAIN;
    for (int r = 0; r < s->rows; r++) {
        s->label[r] = 0;
        for (int c = 0; c < cols; c++) {
            int kind = r - cols;
            float v = (float)((c * 7 + r * 3) % 11) - 5;
            if (kind < 0 && c == r) v = NAN;
            if (kind == 1 && c == cols / 2) v = INFINITY;
            if (kind == 2) v = c == cols - 1 ? 2 : -INFINITY;
            if (kind == 3) v = -INFINITY;
            if (kind == 4) v = NAN;
            if (kind == 5) v = c == 0 ? 100 : v; /* the one that is right */
            s->x[r * cols + c] = v;
            s->z[r * cols + c] = (c + r) % 3 ? 0 : (c + r) % 2 ? NAN : -INFINITY;
        }
    }
}

static Interp *interpret(Arena *a, const IrGraph *g, const Special *s) {
    Interp *it = interp_create(a, g, false);
    interp_set_f32(it, "x", s->x);
    interp_set_f32(it, "z", s->z);
    interp_set_i32(it, "label", s->label);
    interp_run(it);
    return it;
}

static bool same(double got, double want) {
    if (isnan(want)) return isnan(got);
    return got == want || fabs(got - want) <= 1e-6 * fabs(want) + 1e-7;
}

/* What the language's reference says, on one row. */
static void promised(const Special *s, const Interp *it, int r) {
    int nans = 0, width = s->cols < CHOSEN ? s->cols : CHOSEN;
    for (int c = 0; c < s->cols; c++) nans += isnan(s->x[r * s->cols + c]);
    const double *best = interp_out(it, "best")->data + (int64_t)r * width;
    double largest = interp_out(it, "largest")->data[r], lse = interp_out(it, "lse")->data[r];
    for (int i = 0; i < width; i++)
        cr_assert_eq(isnan(best[i]), i < nans, "%d columns, row %d: NaNs come first", s->cols, r);
    cr_assert(same(largest, best[0]), "%d columns, row %d: the largest is %g", s->cols, r, largest);
    if (nans) cr_assert(isnan(lse), "%d columns, row %d: logsumexp %g", s->cols, r, lse);
    if (r - s->cols == 1) cr_assert_eq(lse, INFINITY, "%d columns: logsumexp %g", s->cols, lse);
    if (r - s->cols == 2) cr_assert_eq(lse, 2.0, "%d columns: logsumexp %g", s->cols, lse);
    if (r - s->cols == 3) cr_assert_eq(lse, -INFINITY, "%d columns: logsumexp %g", s->cols, lse);
}

static void compare(const Special *s, const Interp *it, const Jit *j, const char *isa) {
    VmEngine *e;
    VmError err;
    cr_assert_eq(vm_engine_create(1, &e, &err), VM_OK, "%s", err.text);
    cr_assert_eq(vm_engine_add(e, j->program, &err), 0, "%s", err.text);
    size_t bytes = sizeof(float) * (size_t)(s->rows * s->cols);
    memcpy(vm_engine_data(e, 0, "x"), s->x, bytes);
    memcpy(vm_engine_data(e, 0, "z"), s->z, bytes);
    memcpy(vm_engine_data(e, 0, "label"), s->label, sizeof(int32_t) * (size_t)s->rows);
    vm_engine_run(e, 0, 0, 0);
    for (size_t i = 0; i < sizeof results / sizeof *results; i++) {
        const RefTensor *want = interp_out(it, results[i]);
        const float *got = vm_engine_data(e, 0, results[i]);
        for (int64_t k = 0; k < ir_elems(&want->type); k++)
            cr_assert(same((double)got[k], want->data[k]), "%s, %d columns, %s[%d] is %g, not %g",
                      isa, s->cols, results[i], (int)k, (double)got[k], want->data[k]);
    }
    vm_engine_destroy(e);
}

Test(special, a_nan_is_never_lost, .timeout = 120) {
    static const int widths[] = {1, 2, 5, 8, 16, 17, 33, MAX_WIDTH};
    Special s;
    for (size_t w = 0; w < sizeof widths / sizeof *widths; w++) {
        Arena *a = arena_create();
        int n = widths[w];
        fill(&s, n);
        IrGraph *g = std_model(a, arena_printf(a, text, n, n, n, n < CHOSEN ? n : CHOSEN), s.rows);
        Interp *it = interpret(a, g, &s);
        for (int r = 0; r < s.rows; r++) promised(&s, it, r);
        double right = 0;
        for (int r = 0; r < s.rows; r++) {
            bool best = !isnan(s.x[r * n]);
            for (int c = 1; c < n; c++) best = best && s.x[r * n + c] <= s.x[r * n];
            right += best;
        }
        cr_assert_float_eq(interp_out(it, "accuracy")->data[0], right / s.rows, 1e-9);
        const char *isa;
        for (int i = 0; (isa = jit_isa(a, i)); i++) {
            Jit j = jit_compile(a, g, PIPE_EVAL, isa, "special values");
            compare(&s, it, &j, isa);
            jit_free(&j);
        }
        arena_destroy(a);
    }
}
