/* std/gates against formulas written out in C, and gradients against differences; noise is there in
 * training only. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "runtime/train/train.h"
#include "tests/ops/util_jit.h"
#include "tests/std/util_std.h"

enum { T = 3, D = 4, W = 5, E = 3 };

static const StdData data[] = {
    {"m.gate.u.weight", D *W, {.3, -.2, .5,  .1, .7,  -.4, .2,  .6, -.1, .3,
                               .9, .4,  -.3, .2, -.6, .1,  -.8, .3, .5,  .2}},
    {"m.gate.u.bias", W, {.1, -.1, .2, 0, .3}},
    {"m.gate.centre", W *E, {.2, -.3, .4, .1, .5, -.2, -.6, .3, .1, .4, -.1, .2, .3, .6, -.5}},
    {"x", T *D, {1, .5, -.5, .2, -.3, .8, .1, -1, .4, .6, -.9, .7}},
    {"m.gate.temperature.theta", 1, {.4}},
    {0}};

static void project(int t, double *u) {
    for (int w = 0; w < W; w++) {
        u[w] = data[1].v[w];
        for (int i = 0; i < D; i++) u[w] += data[3].v[t * D + i] * data[0].v[i * W + w];
    }
}

static IrGraph *metric_gate(Arena *a, const char *call) {
    return std_model(a,
                     arena_printf(a,
                                  "use \"std/gates\"\n"
                                  "model m(x: f32[B, 4], weight: f32[B, 3]) {\n"
                                  "  gate = %s\n"
                                  "  loss total = sum(gate * weight)\n"
                                  "  metric size = mean(gate)\n}\n",
                                  call),
                     T);
}

/* result 0: cosine, 1: negative squared distance */
static void check_metric(const char *call, int kind) {
    Arena *a = arena_create();
    IrGraph *g = metric_gate(a, call);
    double want[T * E];
    for (int t = 0; t < T; t++) {
        double u[W];
        project(t, u);
        for (int e = 0; e < E; e++) {
            double dot = 0, uu = 1e-12, mm = 1e-12, distance = 0;
            for (int w = 0; w < W; w++) {
                double m = data[2].v[w * E + e];
                dot += u[w] * m, uu += u[w] * u[w], mm += m * m;
                distance += (u[w] - m) * (u[w] - m);
            }
            want[t * E + e] = exp(.4) * (kind == 0 ? dot / sqrt(uu * mm) : -distance);
        }
    }
    std_expect(std_run(a, g, data, true), "gate", want, T * E);
    std_check(a, g, data);
    arena_destroy(a);
}

Test(gates, cosine) {
    check_metric("cosine_gate(x, 3, width = 5)", 0);
}

Test(gates, l2) {
    check_metric("l2_gate(x, 3, width = 5)", 1);
}

/* At most 100, and no gradient from there on. */
Test(gates, the_temperature_is_bounded) {
    Arena *a = arena_create();
    IrGraph *g = metric_gate(a, "cosine_gate(x, 3, width = 5)");
    StdData hot[6], hotter[6];
    memcpy(hot, data, sizeof data);
    hot[4].v[0] = log(100);
    memcpy(hotter, hot, sizeof hot);
    hotter[4].v[0] = 50;
    Interp *x = std_run(a, g, hot, true), *y = std_run(a, g, hotter, true);
    std_expect(y, "gate", interp_out(x, "gate")->data, T * E);
    arena_destroy(a);
}

Test(gates, linear) {
    Arena *a = arena_create();
    IrGraph *g = metric_gate(a, "linear_gate(x, 3, bias = true)");
    const StdData d[] = {{"m.gate.weight", 12, {1, 0, 2, 0, 1, 0, 3, 0, 1, 0, -1, 0}},
                         {"m.gate.bias", 3, {10, 20, 30}},
                         {"x", 12, {1, 2, 3, 4, 0, 0, 0, 0, 1, 1, 1, 1}},
                         {0}};
    STD_EXPECT(std_run(a, g, d, true), "gate", 20, 18, 35, 10, 20, 30, 14, 20, 33);
    std_check(a, g, d);
    arena_destroy(a);
}

static IrGraph *noisy(Arena *a) {
    return std_model(a,
                     "use \"std/gates\"\n"
                     "model m(x: f32[B, 6], w: f32[B, 5]) {\n"
                     "  h, rough, sigma = shazeer_gate(x, 5)\n"
                     "  near = jitter(x, 0.1)\n"
                     "  smooth = vmoe_noise(h, scale = 2)\n"
                     "  drawn = gumbel(h)\n"
                     "  metric a = sum(h)\n"
                     "  metric b = sum(sigma)\n"
                     "  metric c = sum(near)\n"
                     "  loss of_rough = sum(square(rough) * w)\n"
                     "  aux of_smooth = sum(square(smooth) * w)\n"
                     "  aux of_drawn = sum(square(drawn) * w)\n"
                     "  aux of_near = sum(square(linear(near, 5)) * w)\n"
                     "  metric d = sum(rough)\n  metric e = sum(smooth)\n  metric f = sum(drawn)\n"
                     "}\n",
                     40);
}

static const double *result(const Interp *it, const char *name) {
    const RefTensor *t = interp_out(it, name);
    cr_assert_not_null(t, "there is no result %s", name);
    return t->data;
}

/* Both matrices of Shazeer's gate are 0 at first: h is 0 and sigma ln 2 + eps. */
Test(gates, noise_in_training) {
    Arena *a = arena_create();
    IrGraph *g = noisy(a);
    static const StdData zero[] = {
        {"m.shazeer_gate.weight", 24, {0}}, {"m.shazeer_gate.noise", 24, {0}}, {0}};
    IrNode *w = ir_find_leaf(g, OP_param, "m.shazeer_gate.weight");
    cr_assert_eq(ir_elems(&w->out[0].type), 30);
    Interp *it = std_run(a, g, NULL, true);
    double none[30] = {0};
    for (int i = 0; i < 2; i++) cr_assert(interp_set(it, zero[i].name, none));
    interp_run(it);
    const double *h = result(it, "h"), *sigma = result(it, "sigma"), *rough = result(it, "rough");
    const double *smooth = result(it, "smooth"), *drawn = result(it, "drawn"),
                 *near = result(it, "near");
    const double *x = interp_value(it, &ir_find_leaf(g, OP_input, "x")->out[0])->data;
    double rough2 = 0, smooth2 = 0, mean = 0;
    for (int i = 0; i < 200; i++) {
        cr_assert(h[i] == 0 && fabs(sigma[i] - log(2) - 0.01) < 1e-12);
        rough2 += rough[i] * rough[i] / 200;
        smooth2 += smooth[i] * smooth[i] / 200;
        mean += drawn[i] / 200;
    }
    cr_assert(fabs(rough2 / (sigma[0] * sigma[0]) - 1) < 0.35, "variance %g", rough2);
    cr_assert(fabs(smooth2 / 0.16 - 1) < 0.35, "variance %g", smooth2);
    cr_assert(fabs(mean - 0.5772) < 0.35, "mean %g", mean);
    int moved = 0;
    for (int i = 0; i < 240; i++) {
        cr_assert(fabs(near[i] - x[i]) <= 0.1 * fabs(x[i]));
        moved += near[i] != x[i];
    }
    cr_assert_gt(moved, 230);
    arena_destroy(a);
}

Test(gates, no_noise_in_evaluation) {
    Arena *a = arena_create();
    Interp *it = std_run(a, noisy(a), NULL, false);
    const double *h = result(it, "h");
    static const char *const same[] = {"rough", "smooth", "drawn"};
    for (int k = 0; k < 3; k++) std_expect(it, same[k], h, 200);
    arena_destroy(a);
}

Test(gates, gradients_flow_through_h_and_sigma) {
    Arena *a = arena_create();
    std_check(a, noisy(a), NULL);
    arena_destroy(a);
}

/* Points near a centre, and one on it: what |u|^2 + |m|^2 - 2 <u, m> would round away. */
Test(gates, small_distances_keep_their_digits) {
    enum { WIDE = 40, POINTS = 6 };
    Arena *a = arena_create();
    IrGraph *g = std_model(a,
                           "use \"std/gates\"\n"
                           "model m(x: f32[B, 40]) {\n"
                           "  param centre: [40, 3] = normal(1)\n"
                           "  y = squared_distances(x, centre)\n  loss sum(y)\n}\n",
                           POINTS);
    float x[POINTS * WIDE], centre[WIDE * 3];
    for (int d = 0; d < WIDE * 3; d++) centre[d] = (float)(d * 37 % 101) / 10;
    for (int p = 0; p < POINTS; p++)
        for (int d = 0; d < WIDE; d++) /* on the centre p mod 3, or so many last places from it */
            x[p * WIDE + d] =
                centre[d * 3 + p % 3] + (p ? ldexpf((float)(d % 5 - 2), 2 * p - 19) : 0);
    const char *isa;
    for (int i = 0; (isa = jit_isa(a, i)); i++) {
        Jit j = jit_compile(a, g, PIPE_EVAL, isa, "distances");
        VmEngine *e;
        VmError err;
        cr_assert_eq(vm_engine_create(1, &e, &err), VM_OK, "%s", err.text);
        cr_assert_eq(vm_engine_add(e, j.program, &err), 0, "%s", err.text);
        memcpy(vm_engine_data(e, 0, "x"), x, sizeof x);
        memcpy(vm_engine_data(e, 0, "m.centre"), centre, sizeof centre);
        vm_engine_run(e, 0, 0, 0);
        const float *y = vm_engine_data(e, 0, "y");
        for (int p = 0; p < POINTS; p++) {
            for (int k = 0; k < 3; k++) {
                double want = 0;
                for (int d = 0; d < WIDE; d++)
                    want += pow((double)x[p * WIDE + d] - (double)centre[d * 3 + k], 2);
                double got = (double)y[p * 3 + k];
                cr_assert(fabs(got - want) <= 1e-6 * want, "%s, point %d, centre %d: %g, not %g",
                          isa, p, k, got, want);
            }
        }
        vm_engine_destroy(e);
        jit_free(&j);
    }
    arena_destroy(a);
}
