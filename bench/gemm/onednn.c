/* oneDNN 2: the matmul and the inner product primitives, whichever is faster. A weight gets the
 * layout the primitive asks for, before the clock starts. */
#include "bench/gemm/gemm.h"

#if __has_include(<oneapi/dnnl/dnnl.h>)
#include <oneapi/dnnl/dnnl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A primitive with its arguments. */
typedef struct Op {
    dnnl_primitive_t primitive;
    dnnl_exec_arg_t arg[3];
    int narg;
    float *packed; /* the weight in its own layout, or NULL */
} Op;

typedef struct State {
    int count;
    Op *op;
} State;

static dnnl_engine_t engine;
static dnnl_stream_t stream;

static void check(dnnl_status_t s, const char *what) {
    if (s == dnnl_success) return;
    fprintf(stderr, "oneDNN: %s fails with %d\n", what, (int)s);
    exit(3);
}

const char *gemm_version(void) {
    static char text[64];
    const dnnl_version_t *v = dnnl_version();
    check(dnnl_engine_create(&engine, dnnl_cpu, 0), "engine");
    check(dnnl_stream_create(&stream, engine, dnnl_stream_default_flags), "stream");
    snprintf(text, sizeof text, "oneDNN %d.%d.%d", v->major, v->minor, v->patch);
    return text;
}

/* [rows, cols] of a matrix stored that way, or transposed. */
static dnnl_memory_desc_t matrix(int64_t rows, int64_t cols, bool transposed) {
    dnnl_memory_desc_t d;
    dnnl_dims_t dim = {rows, cols}, stride = {transposed ? 1 : cols, transposed ? rows : 1};
    check(dnnl_memory_desc_init_by_strides(&d, 2, dim, dnnl_f32, stride), "memory");
    return d;
}

static dnnl_memory_desc_t any(int64_t rows, int64_t cols) {
    dnnl_memory_desc_t d;
    dnnl_dims_t dim = {rows, cols};
    check(dnnl_memory_desc_init_by_tag(&d, 2, dim, dnnl_f32, dnnl_format_tag_any), "memory");
    return d;
}

static dnnl_memory_t memory(const dnnl_memory_desc_t *d, const float *data) {
    dnnl_memory_t m;
    check(dnnl_memory_create(&m, d, engine, (void *)data), "memory");
    return m;
}

static void add_arg(Op *op, int which, const dnnl_memory_desc_t *d, const float *data) {
    op->arg[op->narg++] = (dnnl_exec_arg_t){which, memory(d, data)};
}

/* The weight in the layout that pd wants. */
static void add_weight(Op *op, dnnl_primitive_desc_t pd, const dnnl_memory_desc_t *given,
                       const float *data) {
    const dnnl_memory_desc_t *want = dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0);
    if (dnnl_memory_desc_equal(want, given)) {
        add_arg(op, DNNL_ARG_WEIGHTS, given, data);
        return;
    }
    op->packed = gemm_alloc((int64_t)dnnl_memory_desc_get_size(want));
    memset(op->packed, 0, dnnl_memory_desc_get_size(want));
    add_arg(op, DNNL_ARG_WEIGHTS, want, op->packed);
    dnnl_primitive_desc_t rd;
    dnnl_primitive_t reorder;
    check(dnnl_reorder_primitive_desc_create(&rd, given, engine, want, engine, NULL), "reorder");
    check(dnnl_primitive_create(&reorder, rd), "reorder");
    dnnl_exec_arg_t arg[] = {{DNNL_ARG_FROM, memory(given, data)},
                             {DNNL_ARG_TO, op->arg[op->narg - 1].memory}};
    check(dnnl_primitive_execute(reorder, stream, 2, arg), "reorder");
    check(dnnl_stream_wait(stream), "reorder");
    dnnl_memory_destroy(arg[0].memory);
    dnnl_primitive_destroy(reorder);
    dnnl_primitive_desc_destroy(rd);
}

static bool make(Op *op, dnnl_primitive_desc_t *pd, const void *desc, dnnl_primitive_desc_t hint) {
    if (dnnl_primitive_desc_create(pd, desc, NULL, engine, hint) != dnnl_success) return false;
    check(dnnl_primitive_create(&op->primitive, *pd), "primitive");
    return true;
}

static bool matmul(Op *op, const Problem *p, const Product *x) {
    dnnl_memory_desc_t a = matrix(x->m, x->k, p->ta), b = matrix(x->k, x->n, p->tb),
                       c = matrix(x->m, x->n, false);
    dnnl_memory_desc_t w = p->weight ? any(x->k, x->n) : b;
    dnnl_matmul_desc_t d;
    dnnl_primitive_desc_t pd;
    if (dnnl_matmul_desc_init(&d, &a, &w, NULL, &c) != dnnl_success || !make(op, &pd, &d, NULL))
        return false;
    add_arg(op, DNNL_ARG_SRC, &a, x->a);
    add_weight(op, pd, &b, x->b);
    add_arg(op, DNNL_ARG_DST, &c, x->c);
    dnnl_primitive_desc_destroy(pd);
    return true;
}

/* dst[m, n] = src[m, k] weights[n, k]^T */
static bool inner_product(Op *op, const Problem *p, const Product *x) {
    if (p->ta) return false;
    dnnl_memory_desc_t a = matrix(x->m, x->k, false), b = matrix(x->n, x->k, !p->tb),
                       c = matrix(x->m, x->n, false);
    dnnl_memory_desc_t w = p->weight ? any(x->n, x->k) : b;
    dnnl_inner_product_desc_t d;
    dnnl_primitive_desc_t pd;
    if (dnnl_inner_product_forward_desc_init(&d, dnnl_forward_inference, &a, &w, NULL, &c) !=
            dnnl_success ||
        !make(op, &pd, &d, NULL))
        return false;
    add_arg(op, DNNL_ARG_SRC, &a, x->a);
    add_weight(op, pd, &b, x->b);
    add_arg(op, DNNL_ARG_DST, &c, x->c);
    dnnl_primitive_desc_destroy(pd);
    return true;
}

/* diff_weights[m, n] = diff_dst[k, m]^T src[k, n] */
static bool weight_gradient(Op *op, const Problem *p, const Product *x) {
    if (!p->ta || p->tb) return false;
    dnnl_memory_desc_t dst = matrix(x->k, x->m, false), src = matrix(x->k, x->n, false),
                       c = matrix(x->m, x->n, false);
    dnnl_inner_product_desc_t fd, d;
    dnnl_primitive_desc_t hint, pd;
    if (dnnl_inner_product_forward_desc_init(&fd, dnnl_forward_training, &src, &c, NULL, &dst) !=
            dnnl_success ||
        dnnl_primitive_desc_create(&hint, &fd, NULL, engine, NULL) != dnnl_success)
        return false;
    bool ok =
        dnnl_inner_product_backward_weights_desc_init(&d, &src, &c, NULL, &dst) == dnnl_success &&
        make(op, &pd, &d, hint);
    dnnl_primitive_desc_destroy(hint);
    if (!ok) return false;
    add_arg(op, DNNL_ARG_SRC, &src, x->b);
    add_arg(op, DNNL_ARG_DIFF_DST, &dst, x->a);
    add_arg(op, DNNL_ARG_DIFF_WEIGHTS, &c, x->c);
    dnnl_primitive_desc_destroy(pd);
    return true;
}

void gemm_run(void *state) {
    const State *s = state;
    for (int i = 0; i < s->count; i++)
        check(dnnl_primitive_execute(s->op[i].primitive, stream, s->op[i].narg, s->op[i].arg),
              "execute");
    check(dnnl_stream_wait(stream), "wait");
}

void gemm_free(void *state) {
    State *s = state;
    for (int i = 0; i < s->count; i++) {
        for (int j = 0; j < s->op[i].narg; j++) dnnl_memory_destroy(s->op[i].arg[j].memory);
        if (s->op[i].primitive) dnnl_primitive_destroy(s->op[i].primitive);
        free(s->op[i].packed);
    }
    free(s->op);
    free(s);
}

typedef bool Way(Op *op, const Problem *p, const Product *x);

static State *prepare(const Problem *p, Way *way) {
    State *s = gemm_alloc(sizeof *s);
    *s = (State){.count = p->count, .op = gemm_alloc((int64_t)sizeof(Op) * p->count)};
    memset(s->op, 0, sizeof(Op) * (size_t)p->count);
    for (int i = 0; i < p->count; i++) {
        if (way(&s->op[i], p, &p->product[i])) continue;
        gemm_free(s);
        return NULL;
    }
    return s;
}

void *gemm_prepare(const Problem *p) {
    static Way *const ways[] = {matmul, inner_product, weight_gradient};
    State *best = NULL;
    double seconds = 0;
    for (int i = 0; i < 3; i++) {
        State *s = prepare(p, ways[i]);
        if (s) best = gemm_faster(best, s, &seconds);
    }
    return best;
}
#else
typedef int onednn_is_not_installed; /* then this does not link, and make bench says so */
#endif
