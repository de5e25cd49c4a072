/* Matrix products by other libraries, one program per library (their symbols clash). main.c reads
 * problems, fills operands, times and checks; a backend (cblas.c, onednn.c, xsmm.c) computes.
 * Row-major f32 throughout.
 */
#ifndef VMOEC_BENCH_GEMM_GEMM_H
#define VMOEC_BENCH_GEMM_GEMM_H

#include <stdbool.h>
#include <stdint.h>

/* c[m,n] = a b. a is stored [m,k], or [k,m] with ta; b [k,n], or [n,k] with tb. */
typedef struct Product {
    int64_t m, n, k;
    const float *a, *b;
    float *c;
} Product;

/* Products of one call: one, a batch, or one per expert. */
typedef struct Problem {
    Product *product;
    int count;
    bool ta, tb;
    bool weight; /* b is a learned weight: it may be laid out anew before the clock starts */
} Problem;

const char *gemm_version(void);

/* Whatever may be done ahead, choosing the fastest of the ways the library offers. NULL: it cannot.
 */
void *gemm_prepare(const Problem *p);
void gemm_run(void *state);
void gemm_free(void *state);

/* For backends that try several ways: seconds of one run, the best of some. */
double gemm_seconds(void (*run)(void *), void *state);
/* The faster of two prepared states, the other one freed; best NULL: state. *seconds: of the best.
 */
void *gemm_faster(void *best, void *state, double *seconds);
void *gemm_alloc(int64_t bytes); /* aligned to 64 bytes, never NULL; free() */

#endif
