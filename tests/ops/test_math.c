/* The error bounds that codegen/build/math.c states, over f32 numbers of every magnitude: one in
 * about a thousand of all bit patterns, infinities, NaNs and denormals among them, against the C
 * library in double precision.
 */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "interp/ref.h"
#include "runtime/exec/exec.h"
#include "tests/ops/util_jit.h"
#include "tests/unit/codegen/util_program.h"

enum { COUNT = 1 << 22, STRIDE = 1021 }; /* STRIDE * COUNT is just below 2^32 */

static const char *const text = "graph @t {\n"
                                "  %0 = input {name = \"x\"} : f32[4194304]\n"
                                "  %1 = exp %0 : f32[4194304]\n"
                                "  %2 = log %0 : f32[4194304]\n"
                                "  %3 = tanh %0 : f32[4194304]\n"
                                "  %4 = erf %0 : f32[4194304]\n"
                                "  %5 = sigmoid %0 : f32[4194304]\n"
                                "  %6 = rsqrt %0 : f32[4194304]\n"
                                "  %7 = gelu %0 : f32[4194304]\n"
                                "  %8 = erfinv %0 : f32[4194304]\n"
                                "  %9 = log1p %0 : f32[4194304]\n"
                                "  %10 = softplus %0 : f32[4194304]\n"
                                "  %11 = gelu_tanh %0 : f32[4194304]\n"
                                "  %12 = gelu_tanh_grad %0 : f32[4194304]\n"
                                "  output \"gelu_tanh\" %11\n"
                                "  output \"gelu_tanh_grad\" %12\n"
                                "  output \"log1p\" %9\n"
                                "  output \"softplus\" %10\n"
                                "  output \"gelu\" %7\n"
                                "  output \"exp\" %1\n"
                                "  output \"log\" %2\n"
                                "  output \"tanh\" %3\n"
                                "  output \"erf\" %4\n"
                                "  output \"erfinv\" %8\n"
                                "  output \"sigmoid\" %5\n"
                                "  output \"rsqrt\" %6\n"
                                "}\n";

static double sigmoid(double x) {
    return 1 / (1 + exp(-x));
}
static double softplus(double x) {
    return fmax(x, 0) + log1p(exp(-fabs(x))) + (isnan(x) ? x : 0);
}
static double gelu(double x) {
    return x * 0.5 * erfc(-x * sqrt(0.5));
}
/* u, and the formulas by sigmoid(u); products of infinities and 0 are NaN as in the published form.
 */
static double gelu_u(double x) {
    return 2 * sqrt(2 / 3.14159265358979323846) * (x + 0.044715 * x * x * x);
}
static double gelu_tanh(double x) {
    return x * sigmoid(gelu_u(x));
}
static double gelu_tanh_grad(double x) {
    double s = sigmoid(gelu_u(x)), slope = 2 * sqrt(2 / 3.14159265358979323846);
    slope *= 1 + 3 * 0.044715 * fmin(x * x, 1e6);
    return s + x * s * sigmoid(-gelu_u(x)) * slope + (isnan(x) ? x : 0);
}
static double rsqrt(double x) {
    return 1 / sqrt(x);
}

/* A result is right when its error is at most `ulps` + `square` x^2 units in the last place, or
 * `absolute`. GELU stands for the normal distribution function: 3e-7 are at most 5 ulp, and a
 * product follows. */
typedef struct Bound {
    const char *name;
    double (*exact)(double);
    double ulps, absolute, square;
} Bound;

static const Bound bounds[] = {{"exp", exp, 2, 0, 0},
                               {"log", log, 2, 1e-7, 0},
                               {"log1p", log1p, 4, 0, 0},
                               {"softplus", softplus, 5, 1e-44, 0},
                               {"tanh", tanh, 3, 0, 0},
                               {"erf", erf, 3, 0, 0},
                               {"erfinv", ref_inverse_erf, 4, 0, 0},
                               {"sigmoid", sigmoid, 3, 3e-39, 0},
                               {"rsqrt", rsqrt, 2, 0, 0},
                               {"gelu", gelu, 7, 1e-36, 0.5},
                               {"gelu_tanh", gelu_tanh, 7, 1e-36, 2},
                               {"gelu_tanh_grad", gelu_tanh_grad, 7, 4e-7, 2}};

/* What one unit in the last place of x as an f32 is. */
static double ulp(double x) {
    int e;
    frexp(x, &e);
    return ldexp(1, e - 24 < -149 ? -149 : e - 24);
}

static void check(const Bound *b, const float *x, const float *y, const char *isa) {
    double worst = 0, at = 0;
    for (int i = 0; i < COUNT; i++) {
        double want = b->exact((double)x[i]), got = (double)y[i];
        if (isnan(want) || isinf((float)want)) {
            bool same = isnan(want) ? isnan(got) : got == want || fabs(got) > 3.4e38;
            cr_assert(same, "%s, %s of %.9g is %.9g", isa, b->name, (double)x[i], got);
            continue;
        }
        double error = fabs(got - want);
        if (error <= b->absolute) continue;
        error =
            isfinite(got) ? error / ulp(want) - b->square * (double)x[i] * (double)x[i] : INFINITY;
        if (error > worst) worst = error, at = (double)x[i];
    }
    cr_assert(worst <= b->ulps, "%s, %s of %.9g is off by %.3f ulp, at most %.0f", isa, b->name, at,
              worst, b->ulps);
}

Test(math, errors_are_within_the_stated_bounds, .timeout = 120) {
    Arena *a = arena_create();
    IrGraph *g = program_read(a, text, PASS_COUNT);
    const char *isa;
    for (int i = 0; (isa = jit_isa(a, i)); i++) {
        Jit j = jit_compile(a, g, PIPE_EVAL, isa, "math");
        VmEngine *e;
        VmError err;
        cr_assert_eq(vm_engine_create(2, &e, &err), VM_OK, "%s", err.text);
        cr_assert_eq(vm_engine_add(e, j.program, &err), 0, "%s", err.text);
        float *x = vm_engine_data(e, 0, "x");
        for (uint32_t k = 0; k < COUNT; k++) {
            uint32_t bits = k * STRIDE;
            memcpy(&x[k], &bits, sizeof bits);
        }
        vm_engine_run(e, 0, 0, 0);
        for (size_t b = 0; b < sizeof bounds / sizeof bounds[0]; b++)
            check(&bounds[b], x, vm_engine_data(e, 0, bounds[b].name), isa);
        vm_engine_destroy(e);
        jit_free(&j);
    }
    arena_destroy(a);
}
