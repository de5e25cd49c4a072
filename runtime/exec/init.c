/* Initial weights: every value is a pure function of (seed, the weight's stream, element number),
 * computed in double and rounded once. The stream is `init_stream`, or the weight's name: weights
 * that share a stream start equal. The leading expert dimension of a per-expert weight just
 * continues the numbering, or, with "same(rule)", every expert has the numbers of the first.
 *
 * Does not: know layers; fan-in and fan-out are written in the rule's text. */
#include "runtime/exec/internal.h"

#include <math.h>
#include <string.h>

#include "base/rng.h"

/* P(x < -2) of the normal distribution: where trunc_normal cuts, on both sides. */
static const double cut = 0.022750131948179207200;

/* Uniform in (0, 1), never at its ends. */
static inline double uniform(const uint32_t key[2], uint32_t element) {
    return (vm_rng_bits(key, element) + 0.5) * 0x1p-32;
}

static void fill_constant(double value, const VmFill *f) {
    for (int64_t i = f->begin; i < f->end; i++) f->dst[i] = (float)value;
}

/* Of the normal distribution the part whose probabilities are from `from` on, `width` of them. */
static void fill_normal(double std, double from, double width, const VmFill *f) {
    for (int64_t i = f->begin; i < f->end; i++)
        f->dst[i] = (float)(std * vm_normal_quantile(from + width * uniform(f->key, (uint32_t)i)));
}

/* The rule most weights use, in the widest vectors there are: no operation here depends on another
 * element's, so bits are the same in every version. Runs of a constant length are what a compiler
 * makes vectors of. */
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__)
__attribute__((target_clones("avx512f", "avx2", "default")))
#endif
static void
fill_uniform(double bound, const VmFill *f) {
    const uint32_t k[2] = {f->key[0], f->key[1]};
    float *dst = f->dst;
    enum { RUN = 64 };
    int64_t i = f->begin;
    for (; i + RUN <= f->end; i += RUN) {
        float run[RUN];
        for (int j = 0; j < RUN; j++)
            run[j] = (float)(bound * (2 * uniform(k, (uint32_t)i + (uint32_t)j) - 1));
        memcpy(dst + i, run, sizeof run);
    }
    for (; i < f->end; i++) dst[i] = (float)(bound * (2 * uniform(k, (uint32_t)i) - 1));
}

/* ---- the rules ------------------------------------------------------------------------------- */

void vm_init_zeros(const VmInit *in, const VmFill *f) {
    (void)in;
    fill_constant(0, f);
}

void vm_init_ones(const VmInit *in, const VmFill *f) {
    (void)in;
    fill_constant(1, f);
}

void vm_init_constant(const VmInit *in, const VmFill *f) {
    fill_constant(in->number[0], f);
}

void vm_init_normal(const VmInit *in, const VmFill *f) {
    fill_normal(in->number[0], 0, 1, f);
}

void vm_init_trunc_normal(const VmInit *in, const VmFill *f) {
    fill_normal(in->number[0], cut, 1 - 2 * cut, f);
}

void vm_init_uniform(const VmInit *in, const VmFill *f) {
    fill_uniform(in->number[0], f);
}

/* Glorot and Bengio 2010, equation 16. */
void vm_init_xavier(const VmInit *in, const VmFill *f) {
    fill_uniform(sqrt(6 / (in->number[0] + in->number[1])), f);
}

/* He, Zhang, Ren and Sun 2015, equation 10: for weights behind which a ReLU stands. */
void vm_init_he(const VmInit *in, const VmFill *f) {
    fill_normal(sqrt(2 / in->number[0]), 0, 1, f);
}

static void (*const rules[VM_INIT_COUNT])(const VmInit *, const VmFill *) = {
#define INIT(name, ...) vm_init_##name,
#include "base/inits.def"
};

VmStatus vm_init_tensor(const VmTensor *t, uint64_t seed, int threads, float *dst, VmError *err) {
    (void)threads; /* unused in a build without OpenMP */
    VmInit in;
    const char *rule = t->init ? t->init : "";
    if (t->dtype != 0) return vm_fail(err, VM_INPUT, "weight '%s' is not f32", t->name);
    if (!vm_read_init(rule, &in)) {
        return vm_fail(err, VM_INPUT, "weight '%s': unknown initialiser '%s'; expected %s", t->name,
                       rule, vm_init_forms);
    }
    const char *stream = t->init_stream && *t->init_stream ? t->init_stream : t->name;
    uint64_t hash = vm_hash_name(stream);
    int64_t all = vm_tensor_elems(t),
            parts = in.same && t->rank > 0 && t->dim[0] > 0 ? t->dim[0] : 1;
    int64_t n = all / parts;
    const int64_t block = INT64_C(1) << 32; /* a key numbers 2^32 elements */
    enum { SMALL = 1 << 14 };               /* for one thread, without OpenMP */
    for (int64_t base = 0; base < n; base += block) {
        uint32_t key[2];
        vm_rng_key(seed, hash, UINT64_MAX - (uint64_t)(base / block), key);
        int64_t end = n - base < block ? n - base : block;
        const int64_t piece = 1 << 13;
        if (threads == 1 || end <= SMALL) {
            rules[in.kind](&in, &(VmFill){key, 0, end, dst + base});
            continue;
        }
#pragma omp parallel for num_threads(threads) schedule(static)
        for (int64_t i = 0; i < end; i += piece)
            rules[in.kind](&in, &(VmFill){key, i, i + piece < end ? i + piece : end, dst + base});
    }
    if (threads == 1 || all <= SMALL) {
        for (int64_t i = 1; i < parts; i++) memcpy(dst + i * n, dst, (size_t)n * sizeof *dst);
        return VM_OK;
    }
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t i = 1; i < parts; i++) memcpy(dst + i * n, dst, (size_t)n * sizeof *dst);
    return VM_OK;
}
