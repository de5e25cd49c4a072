/* std/losses against published numbers, closed forms and differences. The gate: three tokens, four
 * experts, two of them chosen; h and the unit draws n are given, the noisy values are h + n / 4. */
#include <criterion/criterion.h>
#include <math.h>

#include "tests/std/util_std.h"

enum { T = 3, E = 4, K = 2 };
static const double h[T][E] = {{1, .5, -.5, 0}, {.2, .1, .9, -1}, {2, 1.5, 0, -.5}};
static const double n[T][E] = {{.1, -.2, .3, 0}, {-.1, .4, 0, .2}, {0, .1, -.3, .2}};

static const StdData data[] = {{"m.h", 12, {1, .5, -.5, 0, .2, .1, .9, -1, 2, 1.5, 0, -.5}},
                               {"n", 12, {.1, -.2, .3, 0, -.1, .4, 0, .2, 0, .1, -.3, .2}},
                               {0}};

static IrGraph *model(Arena *a, const char *body) {
    return std_model(a,
                     arena_printf(a,
                                  "use \"std/losses\"\n"
                                  "model m(n: f32[B, 4]) {\n"
                                  "  param h: [3, 4] = zeros()\n"
                                  "  noisy = h + n / 4\n"
                                  "  p = softmax(h)\n"
                                  "  images = reshape(p, [3, 1, 4])\n"
                                  "%s}\n",
                                  body),
                     3);
}

Test(losses, balance_has_the_published_numbers) {
    Arena *a = arena_create();
    IrGraph *g = model(
        a,
        "  route = top_k(noisy, 2)\n"
        "  mass = sum(p, axis = 0)\n"
        "  chance = mean(normal_cdf((h - slice(top_values(noisy, 2), -1, 1, 1)) * 4), axis = 0)\n"
        "  metric mass_sample = cv_squared(mass, sample = true)\n"
        "  metric read = mean(chance)\n"
        "  loss importance(p)\n"
        "  aux load(h, noisy, 2, 1 / 4)\n"
        "  aux switch_balance(p, route)\n"
        "  aux gshard_balance(p, route)\n"
        "  metric noisy_balance = switch_balance(softmax(noisy), route)\n"
        "  chosen = top_k(p, 2)\n"
        "  aux megablocks_balance(p, chosen)\n"
        "  counts = choice_counts(capacity(chosen, 0.1, multiple = 1))\n"
        "  few = choice_counts(keep_pairs(chosen, less(0.3, weights(chosen))))\n"
        "  metric all_counts = sum(counts)\n  metric all_few = sum(few)\n"
        "  aux z_loss(h)\n");
    Interp *it = std_run(a, g, data, true);
    STD_EXPECT(it, "mass", 1.240294, .822968, .652952, .283786);
    STD_EXPECT(it, "chance", .819127, .461337, .332506, .011977);
    STD_EXPECT(it, "importance", 0.209994);
    STD_EXPECT(it, "mass_sample", 0.279992);
    STD_EXPECT(it, "load", 0.506567);
    STD_EXPECT(it, "switch_balance", 1.392684);
    STD_EXPECT(it, "gshard_balance", 1.392684);
    STD_EXPECT(it, "noisy_balance", 1.385011);
    STD_EXPECT(it, "z_loss", 4.216233);
    /* choices of p: experts 0 1, 2 0, 0 1 */
    STD_EXPECT(it, "counts", 3, 2, 1, 0);
    STD_EXPECT(it, "few", 2, 1, 1, 0); /* p of the choices: .455 .276, .477 .237, .548 .333 */
    STD_EXPECT(it, "megablocks_balance", 4.0 / 6 * (3 * 1.240294 + 2 * .822968 + .652952) / 3);
    std_check(a, g, data);
    arena_destroy(a);
}

/* Two groups of two rows. Each group's expert is its own, so a loss of both together would be 0 or
 * nearly so.
 */
Test(losses, of_groups_are_taken_apart) {
    Arena *a = arena_create();
    IrGraph *g =
        std_model(a,
                  "use \"std/losses\"\nuse \"std/routers\"\n"
                  "model m(h: f32[B, 2]) {\n"
                  "  p = softmax(h)\n  route = softmax_topk(h, 1)\n"
                  "  loss first = importance(slice(p, 0, 0, 2))\n  loss second = "
                  "importance(slice(p, 0, 2, 2))\n"
                  "  loss both = importance(p, groups = 2)\n  loss mixed = importance(p)\n"
                  "  loss load_first = load(slice(h, 0, 0, 2), slice(h, 0, 0, 2), 1, 0.5)\n"
                  "  loss load_second = load(slice(h, 0, 2, 2), slice(h, 0, 2, 2), 1, 0.5)\n"
                  "  loss loads = load(h, h, 1, 0.5, groups = 2)\n"
                  "  loss shazeer = shazeer_importance(route, groups = 2)\n"
                  "  loss shazeer_mixed = shazeer_importance(route)\n"
                  "  loss shazeer_loads = shazeer_load(h, h, 1, 0.5, groups = 2)\n}\n",
                  4);
    static const StdData rows[] = {{"h", 8, {3, 0, 2, 0, 0, 2, 0, 1.5}}, {0}};
    Interp *it = std_run(a, g, rows, true);
    static const char *const pair[][3] = {{"first", "second", "both"},
                                          {"load_first", "load_second", "loads"}};
    for (int i = 0; i < 2; i++) {
        double one = interp_out(it, pair[i][0])->data[0], two = interp_out(it, pair[i][1])->data[0];
        cr_assert_neq(one, two);
        cr_assert_float_eq(interp_out(it, pair[i][2])->data[0], (one + two) / 2, 1e-12);
    }
    cr_assert_lt(interp_out(it, "mixed")->data[0], 0.01);
    STD_EXPECT(it, "shazeer", 2); /* all weight on one of two: CV^2 with n - 1 is 2 */
    cr_assert_lt(interp_out(it, "shazeer_mixed")->data[0], 0.01);
    cr_assert_gt(interp_out(it, "shazeer_loads")->data[0], 1);
    arena_destroy(a);
}

/* The layer hands its groups on: two groups of one image each, whose gates point at different
 * experts. */
Test(losses, the_layer_of_vmoe_takes_them_in_its_groups) {
    Arena *a = arena_create();
    IrGraph *g =
        std_model(a,
                  "use \"std/moe\"\n"
                  "model m(x: f32[B, 4, 2]) {\n"
                  "  y = vmoe_mlp(x, experts = 2, top_k = 1, hidden = 2, groups = B)\n  y\n}\n",
                  2);
    static const StdData images[] = {
        {"x", 16, {1, 0, 1, 0, 1, 0, 1, 0, -1, 0, -1, 0, -1, 0, -1, 0}},
        {"m.y.gate.weight", 4, {4, -4, 0, 0}},
        {0}};
    double p = 1 / (1 + exp(-8)), cv = (2 * p - 1) * (2 * p - 1); /* of p and 1 - p */
    Interp *it = std_run(a, g, images, false);
    STD_EXPECT(it, "y.importance", cv);
    arena_destroy(a);
}

Test(losses, inverse_variation_has_the_published_numbers) {
    Arena *a = arena_create();
    IrGraph *g =
        model(a, "  for t in 0..3 {\n    metric token = sharpness(slice(p, 0, t, 1), 1e-6)\n  }\n"
                 "  for e in 0..4 {\n"
                 "    metric images = batch_variation(slice(images, 2, e, 1), 1e-6)\n"
                 "    metric wise = batchwise_variation(slice(images, 2, e, 1))\n  }\n"
                 "  metric sample = sharpness(p, 1e-6, sample = true)\n"
                 "  loss sharpness(p)\n"
                 "  aux batch_variation(images)\n"
                 "  aux batchwise_variation(images)\n");
    Interp *it = std_run(a, g, data, true);
    static const double token[] = {13.968266, 11.768472, 5.927509};
    static const double image[] = {24.295766, 117.867557, 6.436921, 34.180046};
    static const double wise[] = {.041157, .008480, .155348, .029246};
    for (int t = 0; t < T; t++) std_expect(it, arena_printf(a, "%d.token", t), &token[t], 1);
    for (int e = 0; e < E; e++) {
        std_expect(it, arena_printf(a, "%d.images", e), &image[e], 1);
        double got = interp_out(it, arena_printf(a, "%d.wise", e))->data[0];
        cr_assert(fabs(got - wise[e]) < 1e-6, "expert %d: %.9g, expected %.9g", e, got,
                  wise[e]); /* as printed */
    }
    STD_EXPECT(it, "sample", 7.916154);
    std_check(a, g, data);
    arena_destroy(a);
}

/* Squared coefficient of variation, sample variance. */
static double cv_sample(const double *x) {
    double mean = 0, var = 0;
    for (int e = 0; e < E; e++) mean += x[e] / E;
    for (int e = 0; e < E; e++) var += (x[e] - mean) * (x[e] - mean) / (E - 1);
    return var / (mean * mean + 1e-10);
}

/* The k-th largest of a row without entry `skip` (-1: none), k from 1. */
static double kth(const double *row, int k, int skip) {
    for (int e = 0; e < E; e++) {
        int above = 0;
        for (int o = 0; o < E; o++) above += o != skip && row[o] > row[e];
        if (e != skip && above == k - 1) return row[e];
    }
    return NAN;
}

Test(losses, shazeers_losses_follow_their_definitions) {
    Arena *a = arena_create();
    IrGraph *g =
        model(a, "  chosen = top_k(noisy, 2)\n"
                 "  loss shazeer_importance(with_weights(chosen, softmax(weights(chosen))))\n"
                 "  sigma = softplus(h) + 0.01\n"
                 "  aux shazeer_load(h, noisy, 2, sigma)\n"
                 "  aux three = shazeer_load(h, noisy, 3, sigma)\n");
    double importance[E] = {0}, load[2][E] = {{0}};
    for (int t = 0; t < T; t++) {
        double noisy[E], sum = 0;
        for (int e = 0; e < E; e++) noisy[e] = h[t][e] + n[t][e] / 4;
        for (int e = 0; e < E; e++) sum += noisy[e] >= kth(noisy, K, -1) ? exp(noisy[e]) : 0;
        for (int e = 0; e < E; e++) {
            importance[e] += noisy[e] >= kth(noisy, K, -1) ? exp(noisy[e]) / sum : 0;
            double sigma = log(1 + exp(h[t][e])) + 0.01;
            for (int k = 2; k <= 3; k++)
                load[k - 2][e] += 0.5 * erfc((kth(noisy, k, e) - h[t][e]) / sigma / sqrt(2));
        }
    }
    Interp *it = std_run(a, g, data, true);
    STD_EXPECT(it, "shazeer_importance", cv_sample(importance));
    STD_EXPECT(it, "shazeer_load", cv_sample(load[0]));
    STD_EXPECT(it, "three", cv_sample(load[1]));
    std_check(a, g, data);
    arena_destroy(a);
}

Test(losses, distillation_and_super_classes) {
    Arena *a = arena_create();
    IrGraph *g = std_model(a,
                           "use \"std/losses\"\n"
                           "model m(n: f32[B, 4], label: class[B, 6]) {\n"
                           "  param h: [3, 4] = zeros()\n"
                           "  param teacher: [3, 4] = zeros()\n"
                           "  loss kl_distillation(h, teacher)\n"
                           "  aux mse_distillation(h, teacher)\n"
                           "  aux super_class(h, label, [3, 0, 0, 1, 2, 1])\n"
                           "  aux logs = mean(log_softmax(h + n))\n"
                           "}\n",
                           3);
    const StdData d[] = {data[0],
                         {"m.teacher", 12, {0, 1, 2, 3, 1, 1, 1, 1, -1, 2, .5, 0}},
                         {"n", 12, {0}},
                         {"label", 3, {3, 0, 5}},
                         {0}};
    static const int group[] = {1, 3, 1};
    double kl = 0, mse = 0, super = 0, logs = 0;
    for (int t = 0; t < T; t++) {
        const double *teacher = &d[1].v[t * E];
        double q = 0, p = 0;
        for (int e = 0; e < E; e++) q += exp(h[t][e]), p += exp(teacher[e]);
        for (int e = 0; e < E; e++) {
            kl += exp(teacher[e]) / p * (teacher[e] - log(p) - h[t][e] + log(q)) / T;
            mse += (h[t][e] - teacher[e]) * (h[t][e] - teacher[e]) / (T * E);
            logs += (h[t][e] - log(q)) / (T * E);
        }
        super += (log(q) - h[t][group[t]]) / T;
    }
    Interp *it = std_run(a, g, d, true);
    STD_EXPECT(it, "kl_distillation", kl);
    STD_EXPECT(it, "mse_distillation", mse);
    STD_EXPECT(it, "super_class", super);
    STD_EXPECT(it, "logs", logs);
    std_check(a, g, d);
    arena_destroy(a);
}

/* logsumexp neither overflows nor vanishes. */
Test(losses, logsumexp_of_large_numbers) {
    Arena *a = arena_create();
    IrGraph *g = std_model(a,
                           "model m(x: f32[B, 2]) {\n"
                           "  y = logsumexp(x)\n  v = variance(x, 1)\n  w = variance(x, [0, 1])\n"
                           "  metric a = mean(y)\n  metric b = mean(v)\n  metric c = sum(w)\n}\n",
                           3);
    const StdData d[] = {{"x", 6, {5000, 5000, -5000, -5001, 0, 2}}, {0}};
    Interp *it = std_run(a, g, d, false);
    STD_EXPECT(it, "y", 5000 + log(2), -5000 + log(1 + exp(-1)), 2 + log(1 + exp(-2)));
    STD_EXPECT(it, "v", 0, 0.25, 1);
    double mean = (10000.0 - 10001 + 2) / 6;
    double var = 0;
    for (int i = 0; i < 6; i++) var += (d[0].v[i] - mean) * (d[0].v[i] - mean) / 6;
    STD_EXPECT(it, "w", var);
    arena_destroy(a);
}

Test(losses, similarity_of_experts_has_the_published_numbers) {
    Arena *a = arena_create();
    IrGraph *g = std_model(a,
                           "use \"std/losses\"\n"
                           "model m(c: f32[B, 3]) {\n"
                           "  s = expert_similarity(c)\n  j = weighted_jaccard(c)\n"
                           "  metric all_s = sum(s)\n  metric all_j = sum(j)\n}\n",
                           4);
    const StdData counts[] = {{"c", 12, {5, 3, 0, 2, 3, 4, 0, 0, 6, 7, 1, 1}}, {0}};
    Interp *it = std_run(a, g, counts, false);
    STD_EXPECT(it, "s", 1, .571429, .24, .571429, 1, .444444, .24, .444444, 1);
    STD_EXPECT(it, "j", 1, .4, .136364, .4, 1, .285714, .136364, .285714, 1);
    arena_destroy(a);
}

Test(losses, a_yes_or_no_for_every_class) {
    Arena *a = arena_create();
    IrGraph *g = std_model(a,
                           "use \"std/losses\"\n"
                           "model m(label: class[B, 3]) {\n"
                           "  param z: [2, 3] = zeros()\n"
                           "  loss sigmoid_cross_entropy(z, label)\n}\n",
                           2);
    const StdData data2[] = {{"m.z", 6, {1, -2, .5, 0, 3, -1}}, {"label", 2, {2, 0}}, {0}};
    Interp *it = std_run(a, g, data2, true);
    const double z[6] = {1, -2, .5, 0, 3, -1};
    double want = -(0.5 + 0) / 2;
    for (int i = 0; i < 6; i++) want += log1p(exp(z[i])) / 2;
    STD_EXPECT(it, "sigmoid_cross_entropy", want);
    std_check(a, g, data2);
    arena_destroy(a);
}
