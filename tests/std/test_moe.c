/* std/moe: mixtures that are more than a router, against what they are defined as. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "tests/std/util_std.h"

static const double *value(const Interp *it, const IrGraph *g, OpCode op, const char *name) {
    IrNode *n = ir_find_leaf(g, op, name);
    cr_assert_not_null(n, "there is no %s", name);
    return interp_value(it, &n->out[0])->data;
}

/* ---- soft mixture --------------------------------------------------------------------------- */

enum { B = 2, N = 3, D = 4, E = 2, S = 2, H = 3 };

static double gelu(double x) {
    return 0.5 * x * (1 + erf(x * sqrt(0.5)));
}

/* y += share * mlp_e(x) */
static void add_expert(const Interp *it, const IrGraph *g, int e, const double *x, double share,
                       double *y) {
    const double *up = value(it, g, OP_param, "m.soft.mlp.up.weight") + e * D * H;
    const double *up_bias = value(it, g, OP_param, "m.soft.mlp.up.bias") + e * H;
    const double *down = value(it, g, OP_param, "m.soft.mlp.down.weight") + e * H * D;
    const double *down_bias = value(it, g, OP_param, "m.soft.mlp.down.bias") + e * D;
    double h[H];
    for (int j = 0; j < H; j++) {
        h[j] = up_bias[j];
        for (int d = 0; d < D; d++) h[j] += x[d] * up[d * H + j];
        h[j] = gelu(h[j]);
    }
    for (int d = 0; d < D; d++) {
        double v = down_bias[d];
        for (int j = 0; j < H; j++) v += h[j] * down[j * D + d];
        y[d] += share * v;
    }
}

/* Logits of one image: h[t][s] = scale <x_t / |x_t|, slot_s / |slot_s|>. */
static void soft_logits(const double *x, const double *slot, double scale, double h[N][E * S]) {
    for (int t = 0; t < N; t++)
        for (int s = 0; s < E * S; s++) {
            double dot = 0, xx = 1e-6, ss = 1e-6;
            for (int d = 0; d < D; d++) {
                dot += x[t * D + d] * slot[d * E * S + s];
                xx += x[t * D + d] * x[t * D + d];
                ss += slot[d * E * S + s] * slot[d * E * S + s];
            }
            h[t][s] = scale * dot / sqrt(xx * ss);
        }
}

static void soft_image(const Interp *it, const IrGraph *g, const double *x, double *y) {
    double h[N][E * S];
    soft_logits(x, value(it, g, OP_param, "m.soft.slot"), value(it, g, OP_param, "m.soft.scale")[0],
                h);
    for (int s = 0; s < E * S; s++) {
        double taken[D] = {0}, over_tokens = 0;
        for (int t = 0; t < N; t++) over_tokens += exp(h[t][s]);
        for (int t = 0; t < N; t++)
            for (int d = 0; d < D; d++) taken[d] += exp(h[t][s]) / over_tokens * x[t * D + d];
        for (int t = 0; t < N; t++) {
            double over_slots = 0;
            for (int i = 0; i < E * S; i++) over_slots += exp(h[t][i]);
            add_expert(it, g, s / S, taken, exp(h[t][s]) / over_slots, y + t * D);
        }
    }
}

Test(moe, soft_mixture_follows_its_definition) {
    Arena *a = arena_create();
    IrGraph *g = std_model(a,
                           "use \"std/moe\"\n"
                           "model m(x: f32[B, 3, 4]) {\n"
                           "  soft = soft_moe(x, experts = 2, slots = 2, hidden = 3)\n  y = soft\n"
                           "  loss mean(square(y) * x)\n  metric size = sum(y)\n}\n",
                           B);
    Interp *it = std_run(a, g, NULL, true);
    const double *x = value(it, g, OP_input, "x");
    double want[B * N * D] = {0};
    for (int b = 0; b < B; b++) soft_image(it, g, x + b * N * D, want + b * N * D);
    std_expect(it, "y", want, B * N * D);
    std_check(a, g, NULL);
    arena_destroy(a);
}

/* ---- SwitchHead ----------------------------------------------------------------------------- */

/* With one expert, what is left are the sigmoids: of the token that is read, and of the one that
 * reads. */
Test(moe, switch_head_with_one_expert_is_gated_attention) {
    Arena *a = arena_create();
    static const char *const text =
        "use \"std/moe\"\n"
        "model m(x: f32[B, 3, 4]) {\n"
        "  y = switch_head(x, heads = 2, experts = 1, k = 1)\n"
        "  param q: [4, 4] = xavier()\n  param k: [4, 4] = xavier()\n"
        "  param g0: [4, 1] = xavier()\n  param g1: [4, 1] = xavier()\n"
        "  param v0: [4, 2] = xavier()\n  param v1: [4, 2] = xavier()\n"
        "  param o0: [2, 4] = xavier()\n  param o1: [2, 4] = xavier()\n"
        "  param h0: [4, 1] = xavier()\n  param h1: [4, 1] = xavier()\n"
        "  v = concat([sigmoid(project(x, g0)) * project(x, v0), sigmoid(project(x, g1)) * "
        "project(x, v1)], "
        "-1)\n"
        "  mixed = attention_core(project(x, q), project(x, k), v, heads = 2)\n"
        "  left, right = split(mixed, 2)\n"
        "  z = sigmoid(project(x, h0)) * project(left, o0) + sigmoid(project(x, h1)) * "
        "project(right, o1)\n"
        "  loss of_y = mean(square(y) * x)\n  metric all_y = sum(y)\n  metric of_z = sum(z)\n}\n";
    IrGraph *g = std_model(a, text, B);
    static const char *const twin[][2] = {
        {"q", "y.q.weight"},
        {"k", "y.key.weight"},
        {"g0", "y.value.gate.weight"},
        {"v0", "y.value.linear.weight"},
        {"g1", "y.1.other_value.gate.weight"},
        {"v1", "y.1.other_value.linear.weight"},
        {"h0", "y.out.gate.weight"},
        {"o0", "y.out.linear.weight"},
        {"h1", "y.1.other_out.gate.weight"},
        {"o1", "y.1.other_out.linear.weight"},
    };
    Interp *it = std_run(a, g, NULL, true);
    for (size_t i = 0; i < sizeof twin / sizeof twin[0]; i++) {
        const char *from = arena_printf(a, "m.%s", twin[i][1]),
                   *to = arena_printf(a, "m.%s", twin[i][0]);
        interp_set(it, to, value(it, g, OP_param, from));
    }
    interp_run(it);
    std_expect(it, "z", interp_out(it, "y")->data, B * N * D);
    arena_destroy(a);
}

/* ---- gradients ------------------------------------------------------------------------------ */

Test(moe, layers_learn) {
    static const char *const layers[] = {
        "switch_head(x, heads = 2, experts = 4, k = 2, width = 4)",
        "soft_moe(x, experts = 3, slots = 2, hidden = 4)",
        "vmoe_mlp(x, 4, 2, 6, capacity = 0.5, priority = \"max\")",
        "moe_mlp_renormalised(x, 4, 2, 6)",
        "shared(x, sigmoid_topk_renorm(linear_gate(x, 4), 2))",
    };
    for (size_t i = 0; i < sizeof layers / sizeof layers[0]; i++) {
        Arena *a = arena_create();
        const char *text =
            arena_printf(a,
                         "use \"std/moe\"\n"
                         "layer shared(x: [.., D], route) -> [.., D] {\n"
                         "  glu(x, 4) + (dispatch(x, route) |> glu(4) |> combine(route))\n}\n"
                         "model m(x: f32[B, 5, 6]) {\n  y = %s\n  loss mean(square(y) * x)\n}\n",
                         layers[i]);
        std_check(a, std_model(a, text, 3), NULL);
        arena_destroy(a);
    }
}

/* ---- masks ---------------------------------------------------------------------------------- */

/* Random masking of tokens is a choice by one expert: it takes the tokens of each image with the
 * largest of random numbers, and combine brings them back to their places. Taking all of them
 * changes nothing. */
Test(moe, tokens_taken_at_random_come_back_to_their_places) {
    Arena *a = arena_create();
    IrGraph *g = std_model(a,
                           "layer kept(x: [B, N, D], share) -> [B, N, D] {\n"
                           "  u = uniform_noise(slice(x, -1, 0, 1))\n"
                           "  choice = expert_choice(u, share, groups = B)\n"
                           "  route = with_weights(choice, broadcast(1, [B * N, 1]))\n"
                           "  dispatch(x, route) |> combine(route)\n}\n"
                           "model m(x: f32[B, 8, 3]) {\n"
                           "  all = kept(x, 1)\n  some = kept(x, 0.25)\n"
                           "  metric a = sum(all)\n  metric b = sum(some)\n}\n",
                           5);
    Interp *it = std_run(a, g, NULL, true);
    const double *x = value(it, g, OP_input, "x"), *some = interp_out(it, "some")->data;
    std_expect(it, "all", x, 5 * 8 * 3);
    int elsewhere = 0;
    for (int b = 0; b < 5; b++) {
        int stay = 0;
        for (int t = 0; t < 8; t++) {
            const double *from = x + (b * 8 + t) * 3, *to = some + (b * 8 + t) * 3;
            bool here = to[0] != 0;
            for (int d = 0; d < 3; d++) cr_assert_eq(to[d], here ? from[d] : 0);
            stay += here;
            elsewhere += here && t > 1;
        }
        cr_assert_eq(stay, 2);
    }
    cr_assert_gt(elsewhere, 3, "the same tokens stay in all images");
    arena_destroy(a);
}

/* The tanh formula, written once more, and how far it is from the exact one. */
Test(moe, gelu_by_tanh_is_the_published_formula) {
    Arena *a = arena_create();
    IrGraph *g = std_model(a,
                           "use \"std/vit\"\n"
                           "model m(x: f32[B]) {\n"
                           "  param w: [9] = zeros()\n"
                           "  y = gelu_tanh(w)\n  exact = gelu(w)\n"
                           "  loss sum(y * y)\n  metric mean(y)\n  metric e = mean(exact)\n}\n",
                           1);
    static const StdData points[] = {{"m.w", 9, {-6, -2.5, -1, -1e-3, 0, 0.3, 1, 2.2, 7}}, {0}};
    Interp *it = std_run(a, g, points, true);
    for (int i = 0; i < 9; i++) {
        double x = points[0].v[i],
               inner = sqrt(2 / 3.14159265358979323846) * (x + 0.044715 * x * x * x);
        double y = interp_out(it, "y")->data[i], exact = interp_out(it, "exact")->data[i];
        cr_assert_float_eq(y, x * (1 + tanh(inner)) / 2, 1e-12);
        cr_assert_float_eq(y, exact, 5e-4);
    }
    std_check(a, g, points);
    arena_destroy(a);
}

/* Dropout behind both matrices of a multilayer perceptron: the result itself has zeros in training.
 */
Test(moe, an_mlp_drops_behind_both_matrices) {
    Arena *a = arena_create();
    IrGraph *g =
        std_model(a,
                  "use \"std/vit\"\n"
                  "model m(x: f32[B, 64]) {\n"
                  "  y = mlp(x, 8, dropout = 0.5, bias_init = normal(1))\n  metric mean(y)\n}\n",
                  4);
    Interp *train = std_run(a, g, NULL, true), *eval = std_run(a, g, NULL, false);
    int zero[2] = {0};
    for (int i = 0; i < 4 * 64; i++) {
        zero[0] += interp_out(train, "y")->data[i] == 0;
        zero[1] += interp_out(eval, "y")->data[i] == 0;
    }
    cr_assert(zero[0] > 80 && zero[0] < 176 && zero[1] == 0, "%d and %d of 256", zero[0], zero[1]);
    arena_destroy(a);
}
