/* Random numbers, own arithmetic and initial values. */
#include "runtime/exec/internal.h"
#include "base/rng.h"
#include "tests/unit/runtime/runtime_test.h"

#include <math.h>

Test(runtime_init, log_and_power_are_accurate) {
    for (double x = 1e-300; x < 1e300; x *= 1.37) {
        cr_assert(fabs(vm_log(x) - log(x)) <= 4e-16 * (1 + fabs(log(x))), "log %g", x);
    }
    for (double x = 0.5; x < 2; x += 0.00037) {
        cr_assert(fabs(vm_log(x) - log(x)) <= 1e-15 * fabs(log(x)) + 1e-19, "log %.17g", x);
    }
    cr_assert_eq(vm_log(1), 0.0);
    for (uint64_t n = 0; n < 5000; n += 37) {
        cr_assert(fabs(vm_power(0.999, n) - pow(0.999, (double)n)) <=
                  1e-13 * pow(0.999, (double)n));
    }
    cr_assert_eq(vm_power(0.9, 1), 0.9);
}

Test(runtime_init, cosine_is_accurate) {
    for (int i = 0; i <= 1000; i++) {
        double x = i / 1000.0;
        cr_assert(fabs(vm_cos_pi(x) - cos(acos(-1) * x)) < 1e-15, "cos(pi %g)", x);
    }
    cr_assert_eq(vm_cos_pi(0), 1.0);
    cr_assert_eq(vm_cos_pi(1), -1.0);
    cr_assert_eq(vm_cos_pi(0.5), 0.0);
}

/* Values from an independent implementation (Python's statistics.NormalDist). */
Test(runtime_init, normal_quantile) {
    static const double known[][2] = {
        {1e-10, -6.361340902404056},
        {1e-05, -4.2648907939228256},
        {0.02, -2.0537489106318225},
        {0.07, -1.4757910281791702},
        {0.1, -1.2815515655446008},
        {0.3, -0.5244005127080407},
        {0.5, 0},
        {0.7, 0.5244005127080407},
        {0.92, 1.4050715603096327},
        {0.95, 1.6448536269514715},
        {0.99999, 4.26489079392384},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        double got = vm_normal_quantile(known[i][0]);
        cr_assert(fabs(got - known[i][1]) < 2e-14, "quantile(%g) = %.17g", known[i][0], got);
    }
}

Test(runtime_init, uniform_numbers_are_uniform) {
    uint32_t key[2], other[2];
    vm_rng_key(1, vm_hash_name("a"), 0, key);
    vm_rng_key(1, vm_hash_name("a"), 1, other);
    int bin[16] = {0}, equal = 0;
    for (uint32_t i = 0; i < 160000; i++) {
        float u = vm_rng_uniform(key, i);
        cr_assert(u >= 0 && u < 1);
        bin[(int)(u * 16)]++;
        equal += vm_rng_bits(key, i) == vm_rng_bits(other, i);
    }
    double chi = 0;
    for (int i = 0; i < 16; i++) chi += (bin[i] - 10000.0) * (bin[i] - 10000.0) / 10000.0;
    cr_assert(chi < 45, "chi-squared with 15 degrees of freedom: %g", chi); /* p about 1e-4 */
    cr_assert(equal < 5);
}

enum { COUNT = 40000 };

static float *values(const char *rule, const char *name, const char *stream, uint64_t seed,
                     int threads) {
    VmTensor t = {
        .name = name, .rank = 2, .dim = {COUNT / 100, 100}, .init = rule, .init_stream = stream};
    float *v = calloc(COUNT, sizeof *v);
    VmError err = {.text = ""};
    cr_assert(vm_init_tensor(&t, seed, threads, v, &err) == VM_OK, "%s", err.text);
    return v;
}

static void moments(const float *v, double *mean, double *std, double *least, double *most) {
    double sum = 0, squares = 0;
    *least = *most = (double)v[0];
    for (int i = 0; i < COUNT; i++) {
        sum += (double)v[i];
        squares += (double)v[i] * (double)v[i];
        if ((double)v[i] < *least) *least = (double)v[i];
        if ((double)v[i] > *most) *most = (double)v[i];
    }
    *mean = sum / COUNT;
    *std = sqrt(squares / COUNT - *mean * *mean);
}

/* Expected standard deviation and largest magnitude of a rule. */
static void check_rule(const char *rule, double expected_std, double bound, double reached) {
    float *v = values(rule, "w", "", 3, 1);
    double mean, std, least, most;
    moments(v, &mean, &std, &least, &most);
    cr_assert(fabs(mean) < 5 * expected_std / sqrt(COUNT), "%s: mean %g", rule, mean);
    cr_assert(fabs(std / expected_std - 1) < 0.02, "%s: std %g", rule, std);
    cr_assert(most <= bound && least >= -bound, "%s: %g..%g", rule, least, most);
    cr_assert(most > reached && least < -reached, "%s: %g..%g", rule, least, most);
    free(v);
}

Test(runtime_init, rules_have_their_moments) {
    check_rule("normal(0.02)", 0.02, 0.02 * 6.5, 0.02 * 3.5);
    check_rule("trunc_normal(0.02)", 0.02 * 0.8796256610342398, 0.04, 0.0399);
    check_rule("uniform(0.1)", 0.1 / sqrt(3), 0.1, 0.0999);
    check_rule("xavier(128,256)", sqrt(2.0 / 384), sqrt(6.0 / 384), sqrt(6.0 / 384) * 0.999);
    check_rule("he(128)", sqrt(2.0 / 128), sqrt(2.0 / 128) * 6.5, sqrt(2.0 / 128) * 3.5);
}

Test(runtime_init, constants) {
    static const struct {
        const char *rule;
        float value;
    } rules[] = {{"zeros", 0}, {"ones", 1}, {"const(0.5)", 0.5f}, {"const(-1e-3)", -1e-3f}};
    for (size_t i = 0; i < 4; i++) {
        float *v = values(rules[i].rule, "w", "", 3, 1);
        for (int j = 0; j < COUNT; j++) cr_assert(v[j] == rules[i].value);
        free(v);
    }
}

Test(runtime_init, values_depend_on_seed_and_stream_only) {
    float *a = values("normal(1)", "a", "", 1, 1), *threads = values("normal(1)", "a", "", 1, 5);
    float *b = values("normal(1)", "b", "", 1, 1), *seed = values("normal(1)", "a", "", 2, 1);
    float *stream = values("normal(1)", "b", "a", 1, 1);
    cr_assert(memcmp(a, threads, COUNT * sizeof *a) == 0, "independent of the team");
    cr_assert(memcmp(a, stream, COUNT * sizeof *a) == 0, "the stream names the values");
    int same_b = 0, same_seed = 0;
    for (int i = 0; i < COUNT; i++) {
        same_b += a[i] == b[i];
        same_seed += a[i] == seed[i];
    }
    cr_assert(same_b < 10 && same_seed < 10);
    free(a);
    free(b);
    free(seed);
    free(stream);
    free(threads);
}

/* Every part along the first dimension has the values the first part has anyway, for any team and
 * size. */
Test(runtime_init, equal_parts) {
    static const char *const rule[][2] = {{"normal(1)", "same(normal(1))"},
                                          {"trunc_normal(0.02)", "same(trunc_normal(0.02))"},
                                          {"xavier(20,30)", "same(xavier(20,30))"},
                                          {"const(2)", "same(const(2))"},
                                          {"ones", "same(ones)"}};
    enum { PARTS = 3, PART = 11003, ALL = PARTS * PART };
    static float plain[ALL], same[ALL], again[ALL];
    for (size_t i = 0; i < sizeof rule / sizeof rule[0]; i++) {
        VmError err = {.text = ""};
        VmTensor t = {.name = "w", .rank = 2, .dim = {PARTS, PART}, .init = rule[i][0]};
        cr_assert(vm_init_tensor(&t, 1, 1, plain, &err) == VM_OK, "%s", err.text);
        t.init = rule[i][1];
        cr_assert(vm_init_tensor(&t, 1, 1, same, &err) == VM_OK, "%s", err.text);
        cr_assert(vm_init_tensor(&t, 1, 5, again, &err) == VM_OK, "%s", err.text);
        cr_assert(memcmp(same, again, sizeof same) == 0, "%s: independent of the team", t.init);
        for (int j = 0; j < PARTS; j++)
            cr_assert(memcmp(same + j * PART, plain, PART * sizeof *same) == 0, "%s, part %d",
                      t.init, j);
        cr_assert((memcmp(same, plain, sizeof same) == 0) == (i >= 3), "%s", t.init);
    }
    VmError err = {.text = ""};
    VmTensor one = {.name = "w", .rank = 2, .dim = {1, PART}, .init = "same(normal(1))"};
    cr_assert(vm_init_tensor(&one, 1, 1, same, &err) == VM_OK);
    one.init = "normal(1)";
    cr_assert(vm_init_tensor(&one, 1, 1, plain, &err) == VM_OK);
    cr_assert(memcmp(same, plain, PART * sizeof *same) == 0, "one part is all of it");
}

/* Pinned, so that a change of the generator or the arithmetic does not go unnoticed. */
Test(runtime_init, values_are_pinned) {
    float *n = values("normal(1)", "w", "", 0, 1), *t = values("trunc_normal(1)", "w", "", 0, 1);
    float *u = values("uniform(1)", "w", "", 0, 1);
    static const float pinned[3][3] = {{-1.17667234f, 1.61141276f, -1.25863886f},
                                       {-1.09404063f, 1.44764113f, -1.16457832f},
                                       {-0.760673702f, 0.892910242f, -0.791839182f}};
    for (int i = 0; i < 3; i++) {
        cr_assert(n[i] == pinned[0][i] && t[i] == pinned[1][i] && u[i] == pinned[2][i],
                  "%d: %a %a %a", i, (double)n[i], (double)t[i], (double)u[i]);
    }
    free(n);
    free(t);
    free(u);
}

Test(runtime_init, wrong_rules_are_refused) {
    static const char *const wrong[] = {"",
                                        "zero",
                                        "normal",
                                        "normal()",
                                        "normal(1",
                                        "normal(1)x",
                                        "normal(-1)",
                                        "normal(nan)",
                                        "uniform(1,2)",
                                        "xavier(3)",
                                        "xavier(0,0)",
                                        "xavier(-1,5)",
                                        "const(inf)",
                                        "kaiming(3)",
                                        "ones(1)",
                                        "const(a)",
                                        "trunc_normal(1e999)",
                                        "same",
                                        "same()",
                                        "same(normal(1)",
                                        "same(ones))",
                                        "same(same(ones))",
                                        "zeros)",
                                        "same(ones",
                                        "same(kaiming(3))",
                                        "normal(1))",
                                        "same(normal)",
                                        "same(xavier(0,0))"};
    float v[4];
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        VmTensor t = {.name = "layer.weight", .rank = 1, .dim = {4}, .init = wrong[i]};
        VmError err = {.text = ""};
        cr_assert(vm_init_tensor(&t, 0, 1, v, &err) == VM_INPUT, "'%s' was taken", wrong[i]);
        cr_assert(strstr(err.text, "layer.weight") != NULL);
    }
}
