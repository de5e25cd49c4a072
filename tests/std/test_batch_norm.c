/* std/conv's batch_norm against PyTorch's BatchNorm2d in f64 (torch_batch_norm.py), and what its
 * states and modes promise. */
#include <criterion/criterion.h>

#include "tests/std/util_std.h"

/* The images are a weight, so that their gradient is a result. */
static const char *const model = "use \"std/conv\"\n"
                                 "model m(target: f32[B, 2, 2, 3]) {\n"
                                 "  param x: [2, 2, 2, 3] = zeros()\n"
                                 "  y = batch_norm(x, momentum = 0.25, eps = 1e-3)\n"
                                 "  loss total = sum(square(y) * target)\n"
                                 "}\n";

static const StdData data[] = {
    {"m.x", 24, {2.647, -0.484, -0.189, 0.203, 1.498,  1.765,  3.017,  -0.521,
                 0.276, -0.425, 2.214,  1.995, -0.636, -0.546, -0.086, -3.299,
                 4.834, 1.504,  0.744,  1.348, 2.9,    -2.759, 4.306,  -0.664}},
    {"target", 24, {-1.398, 0.748,  -0.422, 1.138, -0.899, 0.337,  -0.015, -0.268,
                    -0.691, -0.812, -0.561, 1.35,  -2.101, -1.173, 1.641,  -0.395,
                    0.007,  2.14,   0.894,  0.862, 1.13,   -0.104, 0.077,  -0.915}},
    {"m.y.scale", 3, {1.5, -0.5, 0.75}},
    {"m.y.bias", 3, {0.25, 0.5, -1}},
    {"m.y.mean", 3, {0.5, -0.25, 1}},
    {"m.y.var", 3, {2, 0.5, 1.25}},
    {NULL, 0, {0}}};

Test(batch_norm, trains_as_pytorch_does) {
    Arena *a = arena_create();
    IrGraph *g = std_model(a, model, 2);
    Interp *it = std_run(a, std_differentiated(a, g), data, true);
    STD_EXPECT(it, "y", 2.17303408, 1.01884731, -1.71088877, 0.439075294, 0.520884538, -0.4779349,
               2.43554012, 1.02814328, -1.41747856, -0.00647549223, 0.340994861, -0.33280727,
               -0.156174881, 1.03442434, -1.64589683, -2.04550887, -0.317260664, -0.642623211,
               0.822901687, 0.558570923, 0.238238405, -1.66239195, -0.184604589, -2.01060887);
    STD_EXPECT(it, "grad.m.x", -3.04634958, -0.48489808, 0.734582078, 0.917249117, 0.175656559,
               0.166098666, 1.37232221, 0.035710833, 1.18943404, -0.055649944, 0.0517644162,
               -0.133377661, 0.31130821, 0.506426478, -3.55628533, -0.158473878, 0.0126860219,
               -1.4390527, 1.48589433, -0.304787504, 1.02619729, -0.826300465, 0.0074412759,
               2.01240362);
    STD_EXPECT(it, "grad.m.y.scale", -10.3011473, 1.35275179, -4.21027406);
    STD_EXPECT(it, "grad.m.y.bias", -1.04969334, -1.84268986, -1.75218996);
    STD_EXPECT(it, "state.m.y.mean", 0.359125, 0.20778125, 0.98440625);
    STD_EXPECT(it, "state.m.y.var", 2.77685671, 1.50629496, 1.34086892);
    std_check(a, g, data);
    arena_destroy(a);
}

Test(batch_norm, evaluates_as_pytorch_does) {
    Arena *a = arena_create();
    Interp *it = std_run(a, std_model(a, model, 2), data, false);
    STD_EXPECT(it, "y", 2.52666829, 0.665297772, -1.7972866, -0.0649373465, -0.734788482,
               -0.487027547, 2.91901448, 0.691434599, -1.48547981, -0.730865473, -1.24057141,
               -0.332800535, -0.954608841, 0.709094617, -1.72821972, -3.77844101, -3.09134133,
               -0.662041678, 0.508736406, -0.628828372, 0.274049229, -3.20582765, -2.71836174,
               -2.1157989);
    arena_destroy(a);
}

/* Its states have no gradient, and are no weights of an objective. */
Test(batch_norm, gradients_are_of_weights) {
    Arena *a = arena_create();
    IrGraph *g = std_differentiated(a, std_model(a, model, 2));
    cr_assert_not_null(ir_find_out(g, "grad.m.y.scale"));
    cr_assert_null(ir_find_out(g, "grad.m.y.mean"));
    cr_assert_null(ir_find_out(g, "grad.m.y.var"));
    cr_assert_eq(ir_find_out(g, "state.m.y.mean")->kind, OUT_update);
    arena_destroy(a);
}

/* Without scale and bias there are no weights, and the result has mean 0 and variance 1. */
Test(batch_norm, without_scale_and_bias) {
    Arena *a = arena_create();
    IrGraph *g = std_model(a,
                           "use \"std/conv\"\n"
                           "model m(x: f32[B, 3, 4]) {\n"
                           "  y = batch_norm(x, eps = 0, affine = false)\n"
                           "  m, v = moments(y)\n"
                           "  metric mean = mean(square(m))\n  metric variance = mean(v)\n"
                           "  y\n}\n",
                           5);
    IR_FOR (n, g) cr_assert(n->op != OP_param || ir_int(n, ATTR_param_state) == 1);
    Interp *it = std_run(a, g, NULL, true);
    cr_assert_lt(interp_out(it, "mean")->data[0], 1e-24);
    STD_EXPECT(it, "variance", 1);
    arena_destroy(a);
}

/* One image of one pixel: evaluation knows the running statistics. */
Test(batch_norm, evaluates_a_single_row) {
    Arena *a = arena_create();
    IrGraph *g =
        std_model(a,
                  "use \"std/conv\"\n"
                  "model m(x: f32[B, 1, 1, 2]) { batch_norm(x, eps = 0, affine = false) }\n",
                  1);
    static const StdData row[] = {{"x", 2, {3, -2}},
                                  {"m.batch_norm.mean", 2, {1, -1}},
                                  {"m.batch_norm.var", 2, {4, 0.25}},
                                  {NULL, 0, {0}}};
    Interp *it = std_run(a, g, row, false);
    STD_EXPECT(it, "output", 1, -2);
    arena_destroy(a);
}
