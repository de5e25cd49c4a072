/* OpenBLAS and BLIS through the interface both have. A weight may be stored either way round,
 * whichever is faster; neither has an interface for packing ahead. */
#include <stdio.h>
#include <stdlib.h>

#include "bench/gemm/gemm.h"

/* The interface is older than its headers, which the two libraries install under one name. */
enum { ROW_MAJOR = 101, NO_TRANS = 111, TRANS = 112 };
void cblas_sgemm(int layout, int ta, int tb, int m, int n, int k, float alpha, const float *a,
                 int lda, const float *b, int ldb, float beta, float *c, int ldc);

#ifdef GEMM_blis
void bli_init(void);
const char *bli_info_get_version_str(void);
int bli_arch_query_id(void);
char *bli_arch_string(int id);

const char *gemm_version(void) {
    static char text[128];
    bli_init();
    snprintf(text, sizeof text, "BLIS %s (%s)", bli_info_get_version_str(),
             bli_arch_string(bli_arch_query_id()));
    return text;
}
#else
char *openblas_get_config(void);
char *openblas_get_corename(void);

const char *gemm_version(void) {
    static char text[256];
    snprintf(text, sizeof text, "%s (%s)", openblas_get_config(), openblas_get_corename());
    return text;
}
#endif

typedef struct State {
    const Problem *p;
    float **turned; /* each b the other way round; NULL: as given */
} State;

static void run(const State *s, bool turned) {
    const Problem *p = s->p;
    bool tb = p->tb != turned;
    for (int i = 0; i < p->count; i++) {
        const Product *x = &p->product[i];
        cblas_sgemm(ROW_MAJOR, p->ta ? TRANS : NO_TRANS, tb ? TRANS : NO_TRANS, (int)x->m,
                    (int)x->n, (int)x->k, 1, x->a, (int)(p->ta ? x->m : x->k),
                    turned ? s->turned[i] : x->b, (int)(tb ? x->k : x->n), 0, x->c, (int)x->n);
    }
}

static void run_given(void *state) {
    run(state, false);
}

void gemm_run(void *state) {
    run(state, ((State *)state)->turned != NULL);
}

static void forget(State *s) {
    for (int i = 0; s->turned && i < s->p->count; i++) free(s->turned[i]);
    free(s->turned);
    s->turned = NULL;
}

void gemm_free(void *state) {
    forget(state);
    free(state);
}

/* b[rows, cols] -> [cols, rows] */
static float *turn(const float *b, int64_t rows, int64_t cols) {
    float *t = gemm_alloc(rows * cols * 4);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++) t[j * rows + i] = b[i * cols + j];
    return t;
}

void *gemm_prepare(const Problem *p) {
    State *s = gemm_alloc(sizeof *s);
    *s = (State){.p = p};
    if (!p->weight) return s;
    double given = gemm_seconds(run_given, s);
    s->turned = gemm_alloc((int64_t)sizeof *s->turned * p->count);
    for (int i = 0; i < p->count; i++) {
        const Product *x = &p->product[i];
        s->turned[i] = turn(x->b, p->tb ? x->n : x->k, p->tb ? x->k : x->n);
    }
    if (gemm_seconds(gemm_run, s) > given) forget(s);
    return s;
}
