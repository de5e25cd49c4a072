/* libxsmm: its small kernels (code made at run time for one block) under a blocking of ours, with
 * the fastest of several block sizes. Its own large product is not used: it hands over to a BLAS.
 * libxsmm is column-major: c^T = b^T a^T, so that its rows are our columns. A weight is cut into
 * panels of columns before the clock starts; another b while it runs. */
#include "bench/gemm/gemm.h"

#if __has_include(<libxsmm.h>)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"
#pragma GCC diagnostic ignored "-Wstrict-prototypes"
#include <libxsmm.h>
#pragma GCC diagnostic pop
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* inner dimension of one kernel call: a panel of 64 columns then fits in L2 */
enum { MAX_INNER = 512 };

typedef struct State {
    const Problem *p;
    int64_t rows, cols; /* of a block */
    float **panel;      /* [product]: b as [panels][k][cols] */
} State;

const char *gemm_version(void) {
    static char text[64];
    libxsmm_init();
    snprintf(text, sizeof text, "libxsmm %s (%s)", LIBXSMM_VERSION, libxsmm_get_target_arch());
    return text;
}

static int64_t smaller(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static int64_t blocks(int64_t n, int64_t block) {
    return (n + block - 1) / block;
}

/* One panel of columns, [k][cols], the last one's missing columns left alone. */
static void cut_panel(const Problem *p, const Product *x, int64_t cols, int64_t i, float *to) {
    int64_t from = i * cols, n = smaller(cols, x->n - from);
    for (int64_t k = 0; k < x->k; k++)
        for (int64_t j = 0; j < n; j++)
            to[k * cols + j] = p->tb ? x->b[(from + j) * x->k + k] : x->b[k * x->n + from + j];
}

static void cut(State *s, int i) {
    const Product *x = &s->p->product[i];
    int64_t n = blocks(x->n, s->cols);
#pragma omp parallel for
    for (int64_t j = 0; j < n; j++)
        cut_panel(s->p, x, s->cols, j, s->panel[i] + j * x->k * s->cols);
}

/* rows x cols of c at (i, j): panel times rows of a, over the inner dimension in pieces. */
static void block(const State *s, const Product *x, const float *panel, const float *a, int64_t lda,
                  float *c, int64_t m, int64_t n) {
    const libxsmm_blasint la = (libxsmm_blasint)s->cols, lb = (libxsmm_blasint)lda,
                          lc = (libxsmm_blasint)x->n;
    const float one = 1, zero = 0;
    for (int64_t k = 0; k < x->k; k += MAX_INNER) {
        libxsmm_smmfunction f = libxsmm_smmdispatch(
            (libxsmm_blasint)n, (libxsmm_blasint)m, (libxsmm_blasint)smaller(MAX_INNER, x->k - k),
            &la, &lb, &lc, &one, k ? &one : &zero, NULL, NULL);
        if (!f) {
            fprintf(stderr, "libxsmm has no kernel for a block of %d x %d\n", (int)m, (int)n);
            exit(3);
        }
        f(panel + k * s->cols, a + k, c);
    }
}

/* Rows [k][from..] of a transposed a as [rows][k]. */
static void turn_rows(const Product *x, int64_t from, int64_t m, float *to) {
    for (int64_t k = 0; k < x->k; k++)
        for (int64_t r = 0; r < m; r++) to[r * x->k + k] = x->a[k * x->m + from + r];
}

static void run_product(const State *s, const Product *x, const float *panels) {
    int64_t nr = blocks(x->m, s->rows), nc = blocks(x->n, s->cols);
#pragma omp parallel
    {
        float *turned = s->p->ta ? gemm_alloc(s->rows * x->k * 4) : NULL;
        int64_t have = -1; /* the row block in `turned` */
#pragma omp for
        for (int64_t i = 0; i < nr * nc; i++) {
            int64_t row = i / nc * s->rows, col = i % nc * s->cols,
                    m = smaller(s->rows, x->m - row);
            const float *a = x->a + row * x->k;
            if (turned && have != row) turn_rows(x, row, m, turned), have = row;
            if (turned) a = turned;
            block(s, x, panels + i % nc * x->k * s->cols, a, x->k, x->c + row * x->n + col, m,
                  smaller(s->cols, x->n - col));
        }
        free(turned);
    }
}

void gemm_run(void *state) {
    State *s = state;
    for (int i = 0; i < s->p->count; i++) {
        const Product *x = &s->p->product[i];
        if (!s->p->weight) cut(s, i);
        run_product(s, x, s->panel[i]);
    }
}

void gemm_free(void *state) {
    State *s = state;
    for (int i = 0; s->panel && i < s->p->count; i++) free(s->panel[i]);
    free(s->panel);
    free(s);
}

static State *prepare(const Problem *p, int64_t rows, int64_t cols) {
    State *s = gemm_alloc(sizeof *s);
    *s = (State){.p = p, .rows = rows, .cols = cols};
    s->panel = gemm_alloc((int64_t)sizeof *s->panel * p->count);
    for (int i = 0; i < p->count; i++) {
        const Product *x = &p->product[i];
        int64_t floats = blocks(x->n, cols) * cols * x->k;
        s->panel[i] = gemm_alloc(floats * 4);
        memset(s->panel[i], 0, (size_t)floats * 4);
        cut(s, i);
    }
    return s;
}

void *gemm_prepare(const Problem *p) {
    static const int64_t way[][2] = {{24, 64}, {48, 64}, {96, 64}, {32, 48}, {96, 48}};
    State *best = NULL;
    double seconds = 0;
    for (int i = 0; i < 5; i++)
        best = gemm_faster(best, prepare(p, way[i][0], way[i][1]), &seconds);
    return best;
}
#else
typedef int xsmm_is_not_installed; /* then this does not link, and make bench says so */
#endif
