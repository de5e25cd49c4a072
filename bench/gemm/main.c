/* Times products in one library. A problem is a line "M N K TA TB COUNT SPLIT WEIGHT" on stdin:
 * COUNT products of that shape, whose m (SPLIT m), or k (SPLIT k), is shared by all of them as
 * experts share rows; SPLIT - : each has all of it. The answer is a line "MILLISECONDS ERROR": the
 * median of about a tenth of a second's runs, and the largest error of some elements, relative to
 * what a sum of that length may lose. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench/gemm/gemm.h"

enum { MIN_RUNS = 7, MAX_RUNS = 2000, SAMPLES = 32 };
#define SECONDS 0.1

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void *gemm_alloc(int64_t bytes) {
    void *p = aligned_alloc(64, ((size_t)bytes + 127) / 64 * 64);
    if (!p) {
        fprintf(stderr, "no memory for %lld bytes\n", (long long)bytes);
        exit(3);
    }
    return p;
}

double gemm_seconds(void (*run)(void *), void *state) {
    double best = INFINITY;
    run(state);
    for (int i = 0; i < 5; i++) {
        double t0 = now();
        run(state);
        best = fmin(best, now() - t0);
    }
    return best;
}

void *gemm_faster(void *best, void *state, double *seconds) {
    double t = gemm_seconds(gemm_run, state);
    if (best && *seconds <= t) {
        gemm_free(state);
        return best;
    }
    if (best) gemm_free(best);
    *seconds = t;
    return state;
}

static int by_value(const void *x, const void *y) {
    double a = *(const double *)x, b = *(const double *)y;
    return (a > b) - (a < b);
}

static double median_seconds(void *state) {
    static double t[MAX_RUNS];
    double start = now();
    int n = 0;
    while (n < MAX_RUNS && (n < MIN_RUNS || now() - start < SECONDS)) {
        double t0 = now();
        gemm_run(state);
        t[n++] = now() - t0;
    }
    qsort(t, (size_t)n, sizeof *t, by_value);
    return t[n / 2];
}

static uint32_t random_bits(uint32_t *s) {
    *s = *s * 1664525u + 1013904223u;
    return *s >> 8;
}

static float *random_matrix(int64_t n, uint32_t seed) {
    float *x = gemm_alloc(n * 4);
    for (int64_t i = 0; i < n; i++) x[i] = (float)random_bits(&seed) / (float)(1 << 23) - 1;
    return x;
}

/* Sampled elements in double precision; numbers are in [-1, 1), so a sum of k has size sqrt(k) / 3.
 */
static double worst_error(const Problem *p) {
    double worst = 0;
    uint32_t seed = 7;
    for (int s = 0; s < SAMPLES; s++) {
        const Product *x = &p->product[random_bits(&seed) % (uint32_t)p->count];
        int64_t i = random_bits(&seed) % x->m, j = random_bits(&seed) % x->n;
        double sum = 0;
        for (int64_t k = 0; k < x->k; k++)
            sum += (double)x->a[p->ta ? k * x->m + i : i * x->k + k] *
                   (double)x->b[p->tb ? j * x->k + k : k * x->n + j];
        worst = fmax(worst, fabs(sum - (double)x->c[i * x->n + j]) / (sqrt((double)x->k) / 3));
    }
    return worst;
}

static int64_t share(int64_t whole, int i, int count) {
    return whole * (i + 1) / count - whole * i / count;
}

/* false: the library cannot. */
static bool measure(Problem *p, char split, int64_t m, int64_t n, int64_t k) {
    int64_t as = 0, bs = 0, cs = 0;
    for (int i = 0; i < p->count; i++) {
        Product *x = &p->product[i];
        *x = (Product){.m = split == 'm' ? share(m, i, p->count) : m,
                       .n = n,
                       .k = split == 'k' ? share(k, i, p->count) : k};
        as += x->m * x->k;
        bs += x->k * n;
        cs += x->m * n;
    }
    float *a = random_matrix(as, 1), *b = random_matrix(bs, 2), *c = gemm_alloc(cs * 4);
    memset(c, 0, (size_t)cs * 4);
    int64_t ai = 0, bi = 0, ci = 0;
    for (int i = 0; i < p->count; i++) {
        Product *x = &p->product[i];
        x->a = a + ai, x->b = b + bi, x->c = c + ci;
        ai += x->m * x->k, bi += x->k * n, ci += x->m * n;
    }
    void *state = gemm_prepare(p);
    if (state) {
        double seconds = median_seconds(state);
        memset(c, 0, (size_t)cs * 4);
        gemm_run(state);
        printf("%.9g %.3g\n", 1e3 * seconds, worst_error(p));
        gemm_free(state);
    }
    free(a);
    free(b);
    free(c);
    return state != NULL;
}

int main(void) {
    printf("%s\n", gemm_version());
    fflush(stdout);
    long long m, n, k;
    int ta, tb, count, weight;
    char split;
    char line[256];
    while (fgets(line, sizeof line, stdin)) {
        int got = sscanf(line, "%lld %lld %lld %d %d %d %c %d", &m, &n, &k, &ta, &tb, &count,
                         &split, &weight);
        if (got != 8 || m < 1 || n < 1 || k < 1 || count < 1 ||
            (split != '-' && (split == 'k' ? k : m) < count)) {
            fprintf(stderr, "cannot read: %s", line);
            return 1;
        }
        Problem p = {.count = count, .ta = ta, .tb = tb, .weight = weight};
        p.product = calloc((size_t)count, sizeof *p.product);
        if (!p.product) return 3;
        if (!measure(&p, split, m, n, k)) printf("none\n");
        free(p.product);
        fflush(stdout);
    }
    return 0;
}
