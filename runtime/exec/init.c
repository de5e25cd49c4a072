/* Initial weights: every value is a pure function of (seed, the weight's stream, element number),
 * computed in double and rounded once. The stream is `init_stream`, or the weight's name: weights
 * that share a stream start equal. The leading expert dimension of a per-expert weight just
 * continues the numbering, or, with "same(rule)", every expert has the numbers of the first.
 *
 * Does not: know layers; fan-in and fan-out are written in the rule. */
#include "runtime/exec/internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"

typedef enum Rule { RULE_CONST, RULE_NORMAL, RULE_TRUNC_NORMAL, RULE_UNIFORM } Rule;

typedef struct Init {
    Rule rule;
    double scale; /* the constant, the standard deviation, half the width */
    bool same;    /* the parts along dimension 0 are equal */
} Init;

/* "(a)" or "(a,b)" with exactly n finite numbers (n = 0: nothing), and then the tail. */
static bool parse_numbers(const char *s, int n, double *v, const char *tail) {
    if (n > 0 && *s++ != '(') return false;
    for (int i = 0; i < n; i++) {
        char *end;
        v[i] = strtod(s, &end);
        if (end == s || !isfinite(v[i]) || *end != (i + 1 < n ? ',' : ')')) return false;
        s = end + 1;
    }
    return strcmp(s, tail) == 0;
}

static bool parse_init(const char *text, Init *out) {
    static const struct {
        const char *name;
        Rule rule;
        int numbers;
    } rules[] = {{"zeros", RULE_CONST, 0},
                 {"ones", RULE_CONST, 0},
                 {"const", RULE_CONST, 1},
                 {"normal", RULE_NORMAL, 1},
                 {"uniform", RULE_UNIFORM, 1},
                 {"xavier", RULE_UNIFORM, 2},
                 {"trunc_normal", RULE_TRUNC_NORMAL, 1}};
    bool same = strncmp(text, "same(", 5) == 0;
    if (same) text += 5;
    size_t n = strcspn(text, "()");
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        double v[2] = {strcmp(rules[i].name, "ones") == 0, 0};
        if (strlen(rules[i].name) != n || memcmp(text, rules[i].name, n) != 0) continue;
        if (!parse_numbers(text + n, rules[i].numbers, v, same ? ")" : "")) return false;
        *out = (Init){.rule = rules[i].rule, .scale = v[0], .same = same};
        if (rules[i].numbers < 2) return out->rule == RULE_CONST || out->scale >= 0;
        if (v[0] < 0 || v[1] < 0 || !(v[0] + v[1] > 0)) return false;
        out->scale = sqrt(6 / (v[0] + v[1]));
        return true;
    }
    return false;
}

/* P(x < -2) of the normal distribution: where trunc_normal cuts, on both sides. */
static const double cut = 0.022750131948179207200;

/* Uniform in (0, 1), never at its ends. */
static inline double uniform(const uint32_t key[2], uint32_t element) {
    return (vm_rng_bits(key, element) + 0.5) * 0x1p-32;
}

static void fill_normal(const Init *in, const uint32_t key[2], int64_t begin, int64_t end,
                        float *dst) {
    double from = in->rule == RULE_NORMAL ? 0 : cut,
           width = in->rule == RULE_NORMAL ? 1 : 1 - 2 * cut;
    for (int64_t i = begin; i < end; i++)
        dst[i] = (float)(in->scale * vm_normal_quantile(from + width * uniform(key, (uint32_t)i)));
}

/* The rule most weights use, in the widest vectors there are: no operation here depends on another
 * element's, so bits are the same in every version. Runs of a constant length are what a compiler
 * makes vectors of. */
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__)
__attribute__((target_clones("avx512f", "avx2", "default")))
#endif
static void
fill_uniform(double scale, const uint32_t key[2], int64_t begin, int64_t end, float *dst) {
    const uint32_t k[2] = {key[0], key[1]};
    enum { RUN = 64 };
    int64_t i = begin;
    for (; i + RUN <= end; i += RUN) {
        float run[RUN];
        for (int j = 0; j < RUN; j++)
            run[j] = (float)(scale * (2 * uniform(k, (uint32_t)i + (uint32_t)j) - 1));
        memcpy(dst + i, run, sizeof run);
    }
    for (; i < end; i++) dst[i] = (float)(scale * (2 * uniform(k, (uint32_t)i) - 1));
}

static void fill(const Init *in, const uint32_t key[2], int64_t begin, int64_t end, float *dst) {
    if (in->rule == RULE_UNIFORM)
        fill_uniform(in->scale, key, begin, end, dst);
    else if (in->rule == RULE_CONST)
        for (int64_t i = begin; i < end; i++) dst[i] = (float)in->scale;
    else
        fill_normal(in, key, begin, end, dst);
}

VmStatus vm_init_tensor(const VmTensor *t, uint64_t seed, int threads, float *dst, VmError *err) {
    (void)threads; /* unused in a build without OpenMP */
    Init in;
    const char *rule = t->init ? t->init : "";
    if (t->dtype != 0) return vm_fail(err, VM_INPUT, "weight '%s' is not f32", t->name);
    if (!parse_init(rule, &in)) {
        return vm_fail(
            err, VM_INPUT,
            "weight '%s': unknown initialiser '%s'; expected zeros, ones, const(c), normal(std), "
            "trunc_normal(std), uniform(a) or xavier(fan_in,fan_out), or same(one of these)",
            t->name, rule);
    }
    const char *stream = t->init_stream && *t->init_stream ? t->init_stream : t->name;
    uint64_t hash = vm_hash_name(stream);
    int64_t all = vm_tensor_elems(t),
            parts = in.same && t->rank > 0 && t->dim[0] > 0 ? t->dim[0] : 1;
    int64_t n = all / parts;
    const int64_t block = INT64_C(1) << 32; /* a key numbers 2^32 elements */
    for (int64_t base = 0; base < n; base += block) {
        uint32_t key[2];
        vm_rng_key(seed, hash, UINT64_MAX - (uint64_t)(base / block), key);
        int64_t end = n - base < block ? n - base : block;
        const int64_t piece = 1 << 13;
#pragma omp parallel for num_threads(threads) schedule(static) if (end > 1 << 14)
        for (int64_t i = 0; i < end; i += piece)
            fill(&in, key, i, i + piece < end ? i + piece : end, dst + base);
    }
#pragma omp parallel for num_threads(threads) schedule(static) if (all > 1 << 14)
    for (int64_t i = 1; i < parts; i++) memcpy(dst + i * n, dst, (size_t)n * sizeof *dst);
    return VM_OK;
}
