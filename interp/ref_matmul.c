/* References of matrix products and attention. Loops are ordered so that the innermost one walks
 * memory; nothing else is done for speed. */
#include "interp/ref.h"

#include <math.h>
#include <string.h>

#include "base/rng.h"

static void clear(RefTensor *t) {
    memset(t->data, 0, (size_t)ir_elems(&t->type) * sizeof(double));
}

/* y[m,n] += sum_k a[m*am + k*ak] * b[k,n], b stored [K,N], or [N,K] with tb. y is dense [M,N]. */
static void gemm(int64_t M, int64_t N, int64_t K, const double *a, int64_t am, int64_t ak,
                 const double *b, bool tb, double *y) {
    for (int64_t m = 0; m < M; m++) {
        if (tb) {
            for (int64_t n = 0; n < N; n++) {
                double sum = 0;
                for (int64_t k = 0; k < K; k++) sum += a[m * am + k * ak] * b[n * K + k];
                y[m * N + n] += sum;
            }
            continue;
        }
        for (int64_t k = 0; k < K; k++) {
            double x = a[m * am + k * ak];
            for (int64_t n = 0; n < N; n++) y[m * N + n] += x * b[k * N + n];
        }
    }
}

void ref_matmul(const RefCall *c) {
    const IrType *ta = &c->in[0]->type, *tb = &c->in[1]->type, *ty = &c->out[0].type;
    bool trans_a = ir_int(c->node, ATTR_matmul_ta), trans_b = ir_int(c->node, ATTR_matmul_tb);
    int64_t N = ty->dim[ty->rank - 1], K = trans_a ? ta->dim[ta->rank - 2] : ta->dim[ta->rank - 1];
    clear(&c->out[0]);
    if (tb->rank == 2) { /* leading dimensions of a are rows; with ta a has rank 2 too */
        int64_t M = ir_rows(ty);
        gemm(M, N, K, c->in[0]->data, trans_a ? 1 : K, trans_a ? M : 1, c->in[1]->data, trans_b,
             c->out[0].data);
        return;
    }
    int64_t M = ty->dim[ty->rank - 2], batch = ir_rows(ty) / (M ? M : 1);
    for (int64_t i = 0; i < batch; i++)
        gemm(M, N, K, c->in[0]->data + i * M * K, trans_a ? 1 : K, trans_a ? M : 1,
             c->in[1]->data + i * K * N, trans_b, c->out[0].data + i * M * N);
}

/* ---- one matrix per expert ------------------------------------------------------------------- */

/* First row of expert e, and of e + 1, checked. */
static void expert_range(const RefTensor *offsets, int64_t e, int64_t R, int64_t *lo, int64_t *hi) {
    *lo = ref_index(offsets, e, R + 1);
    *hi = ref_index(offsets, e + 1, R + 1);
    VM_CHECK(*lo <= *hi, "interpreter: expert offsets fall from %lld to %lld", (long long)*lo,
             (long long)*hi);
}

void ref_expert_matmul(const RefCall *c) {
    const RefTensor *x = c->in[0], *w = c->in[1];
    int64_t R = x->type.dim[0], E = w->type.dim[0], I = ir_cols(&x->type),
            O = ir_cols(&c->out[0].type);
    int64_t per_row = I ? ref_row_elems(x) / I : 0; /* matrix rows in one routed row */
    clear(&c->out[0]);
    for (int64_t e = 0; e < E; e++) {
        int64_t lo, hi;
        expert_range(c->in[2], e, R, &lo, &hi);
        gemm((hi - lo) * per_row, O, I, x->data + lo * per_row * I, I, 1, w->data + e * I * O,
             ir_int(c->node, ATTR_expert_matmul_tb), c->out[0].data + lo * per_row * O);
    }
}

void ref_expert_matmul_dw(const RefCall *c) {
    const RefTensor *x = c->in[0], *dy = c->in[1];
    int64_t R = x->type.dim[0], E = c->in[2]->type.dim[0] - 1, I = ir_cols(&x->type),
            O = ir_cols(&dy->type);
    int64_t per_row = I ? ref_row_elems(x) / I : 0,
            parts = ir_int(c->node, ATTR_expert_matmul_dw_parts);
    clear(&c->out[0]);
    for (int64_t i = 0; i < parts * E; i++) {
        int64_t p = i / E, lo, hi;
        expert_range(c->in[2], i % E, R, &lo, &hi);
        int64_t n = (hi - lo) * per_row, begin = lo * per_row + p * n / parts;
        gemm(I, O, lo * per_row + (p + 1) * n / parts - begin, x->data + begin * I, 1, I,
             dy->data + begin * O, false, c->out[0].data + i * I * O);
    }
}

/* ---- attention ------------------------------------------------------------------------------- */

/* One head of one image: rows are d apart by the full width D. */
typedef struct Head {
    int64_t N, M, D, d; /* queries, keys, width, width of a head */
    const double *q, *k, *v;
    double scale, drop;
    bool bf16; /* what multiplies v, do, q and k is rounded */
    uint32_t key[2];
    int64_t element; /* random element of (i, j) = (0, 0) */
} Head;

static double dot(const double *a, const double *b, int64_t n) {
    double s = 0;
    for (int64_t i = 0; i < n; i++) s += a[i] * b[i];
    return s;
}

static double score(const Head *h, int64_t i, int64_t j) {
    return h->scale * dot(h->q + i * h->D, h->k + j * h->D, h->d);
}

static double kept(const Head *h, int64_t i, int64_t j) {
    return ref_keep(h->key, h->element + i * h->M + j, h->drop);
}

static double factor(const Head *h, double x) {
    return h->bf16 ? ref_bf16(x) : x;
}

static Head head_at(const RefCall *c, int64_t b, int64_t head, int64_t heads) {
    const IrType *tq = &c->in[0]->type, *tk = &c->in[1]->type;
    Head h = {.N = tq->dim[1], .M = tk->dim[1], .D = tq->dim[2], .d = tq->dim[2] / heads};
    h.q = c->in[0]->data + b * h.N * h.D + head * h.d;
    h.k = c->in[1]->data + b * h.M * h.D + head * h.d;
    h.v = c->in[2]->data + b * h.M * h.D + head * h.d;
    h.element = (b * heads + head) * h.N * h.M;
    h.bf16 = ir_rounds_operands(c->node);
    ref_key(c->in[3], h.key);
    return h;
}

static void head_forward(const Head *h, double *o, double *lse) {
    for (int64_t i = 0; i < h->N; i++) {
        double top = -INFINITY, sum = 0;
        for (int64_t j = 0; j < h->M; j++) top = fmax(top, score(h, i, j));
        for (int64_t j = 0; j < h->M; j++) sum += exp(score(h, i, j) - top);
        lse[i] = top + log(sum);
        for (int64_t x = 0; x < h->d; x++) o[i * h->D + x] = 0;
        for (int64_t j = 0; j < h->M; j++) {
            double e = factor(h, exp(score(h, i, j) - top) * kept(h, i, j));
            for (int64_t x = 0; x < h->d; x++) o[i * h->D + x] += e / sum * h->v[j * h->D + x];
        }
    }
}

void ref_sdpa(const RefCall *c) {
    int64_t heads = ir_int(c->node, ATTR_sdpa_heads);
    for (int64_t b = 0; b < c->in[0]->type.dim[0]; b++) {
        for (int64_t i = 0; i < heads; i++) {
            Head h = head_at(c, b, i, heads);
            h.scale = ir_float(c->node, ATTR_sdpa_scale);
            h.drop = ir_float(c->node, ATTR_sdpa_dropout);
            head_forward(&h, c->out[0].data + b * h.N * h.D + i * h.d,
                         c->out[1].data + (b * heads + i) * h.N);
        }
    }
}

/* With p the probabilities and m the dropout factors: dv_j = sum_i p m do_i, dp = m <do_i, v_j>,
 * ds = scale p (dp - sum_j p dp), dq_i = sum_j ds k_j, dk_j = sum_i ds q_i. */
static void head_backward(const Head *h, const double *go, const double *lse, double *dq,
                          double *dk, double *dv) {
    for (int64_t i = 0; i < h->N; i++) {
        double mean = 0;
        for (int64_t j = 0; j < h->M; j++) {
            double p = exp(score(h, i, j) - lse[i]);
            mean += p * kept(h, i, j) * dot(go + i * h->D, h->v + j * h->D, h->d);
        }
        for (int64_t j = 0; j < h->M; j++) {
            double p = exp(score(h, i, j) - lse[i]), m = kept(h, i, j);
            double dp = dot(go + i * h->D, h->v + j * h->D, h->d);
            double ds = factor(h, h->scale * p * (m * dp - mean)), dropped = factor(h, p * m);
            for (int64_t x = 0; x < h->d; x++) {
                dq[i * h->D + x] += ds * h->k[j * h->D + x];
                dk[j * h->D + x] += ds * h->q[i * h->D + x];
                dv[j * h->D + x] += dropped * go[i * h->D + x];
            }
        }
    }
}

void ref_sdpa_grad(const RefCall *c) {
    int64_t heads = ir_int(c->node, ATTR_sdpa_grad_heads);
    for (int i = 0; i < 3; i++) clear(&c->out[i]);
    for (int64_t b = 0; b < c->in[0]->type.dim[0]; b++) {
        for (int64_t i = 0; i < heads; i++) {
            Head h = head_at(c, b, i, heads);
            h.scale = ir_float(c->node, ATTR_sdpa_grad_scale);
            h.drop = ir_float(c->node, ATTR_sdpa_grad_dropout);
            int64_t at_q = b * h.N * h.D + i * h.d, at_k = b * h.M * h.D + i * h.d;
            head_backward(&h, c->in[5]->data + at_q, c->in[4]->data + (b * heads + i) * h.N,
                          c->out[0].data + at_q, c->out[1].data + at_k, c->out[2].data + at_k);
        }
    }
}
