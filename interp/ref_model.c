/* References of MODEL ops, from their own formulas and not from their expansions, so that comparing
 * the two checks `expand`. */
#include "interp/ref.h"

#include <math.h>
#include <string.h>

#include "base/rng.h"

static void map1(const RefCall *c, double (*f)(double)) {
    for (int64_t i = 0, n = ir_elems(&c->out[0].type); i < n; i++)
        c->out[0].data[i] = f(c->in[0]->data[i]);
}

static double f_silu(double x) {
    return x / (1 + exp(-x));
}
static double f_softplus(double x) {
    return x > 0 ? x + log1p(exp(-x)) : log1p(exp(x));
}
static double f_square(double x) {
    return x * x;
}

void ref_silu(const RefCall *c) {
    map1(c, f_silu);
}
void ref_softplus(const RefCall *c) {
    map1(c, f_softplus);
}
void ref_square(const RefCall *c) {
    map1(c, f_square);
}

/* y = b + x w for one row; b NULL: no bias. w is [I,O]. */
static void affine(const double *x, const double *w, const double *b, int64_t I, int64_t O,
                   double *y) {
    for (int64_t o = 0; o < O; o++) y[o] = b ? b[o] : 0;
    for (int64_t i = 0; i < I; i++)
        for (int64_t o = 0; o < O; o++) y[o] += x[i] * w[i * O + o];
}

void ref_linear(const RefCall *c) {
    int64_t I = ir_cols(&c->in[0]->type), O = ir_cols(&c->out[0].type);
    const double *bias = c->node->nin > 2 ? c->in[2]->data : NULL;
    for (int64_t r = 0, n = ir_rows(&c->out[0].type); r < n; r++)
        affine(c->in[0]->data + r * I, c->in[1]->data, bias, I, O, c->out[0].data + r * O);
}

/* Uses the expert of each row; the offsets say the same and are checked against it. */
void ref_expert_linear(const RefCall *c) {
    int64_t R = c->in[0]->type.dim[0], E = c->in[1]->type.dim[0];
    int64_t I = ir_cols(&c->in[0]->type), O = ir_cols(&c->out[0].type);
    int64_t per_row = O ? ref_row_elems(&c->out[0]) / O : 0;
    for (int64_t r = 0; r < R; r++) {
        int64_t e = ref_index(c->in[3], r, E + 1);
        if (e == E) { /* nobody's row */
            memset(c->out[0].data + r * per_row * O, 0, (size_t)(per_row * O) * sizeof(double));
            continue;
        }
        VM_CHECK(ref_index(c->in[2], e, R + 1) <= r && r < ref_index(c->in[2], e + 1, R + 1),
                 "interpreter: row %lld is not among the rows of expert %lld", (long long)r,
                 (long long)e);
        const double *w = c->in[1]->data + e * I * O;
        const double *bias = c->node->nin > 4 ? c->in[4]->data + e * O : NULL;
        for (int64_t i = r * per_row; i < (r + 1) * per_row; i++)
            affine(c->in[0]->data + i * I, w, bias, I, O, c->out[0].data + i * O);
    }
}

/* In two passes: the mean of each column, then the squared distances to it. */
void ref_variance(const RefCall *c) {
    int64_t cols = ir_cols(&c->in[0]->type), rows = ir_rows(&c->in[0]->type);
    for (int64_t j = 0; j < cols; j++) {
        double mean = 0, sum = 0;
        for (int64_t i = 0; i < rows; i++) mean += c->in[0]->data[i * cols + j];
        mean /= (double)rows;
        for (int64_t i = 0; i < rows; i++) {
            double d = c->in[0]->data[i * cols + j] - mean;
            sum += d * d;
        }
        c->out[0].data[j] = sum / (double)rows;
    }
}

void ref_mean(const RefCall *c) {
    const IrType *t = &c->in[0]->type;
    const int64_t *axes;
    int naxes = ir_ints(c->node, ATTR_mean_axes, &axes);
    int64_t count = 1;
    for (int i = 0; i < naxes; i++) count *= t->dim[axes[i]];
    for (int64_t i = 0, n = ir_elems(&c->out[0].type); i < n; i++) c->out[0].data[i] = 0;
    for (int64_t i = 0, n = ir_elems(t); i < n; i++) {
        /* Take i apart from the last dimension on, and put the dimensions that stay together again.
         */
        int64_t rest = i, off = 0, place = 1;
        for (int d = t->rank - 1; d >= 0; d--) {
            bool reduced = false;
            for (int j = 0; j < naxes; j++) reduced |= axes[j] == d;
            if (!reduced) {
                off += rest % t->dim[d] * place;
                place *= t->dim[d];
            }
            rest /= t->dim[d];
        }
        c->out[0].data[off] += c->in[0]->data[i] / (double)count;
    }
}

void ref_dropout(const RefCall *c) {
    double p = c->training ? ir_float(c->node, ATTR_dropout_p) : 0;
    uint32_t key[2];
    ref_stream_key(c, ir_str(c->node, ATTR_dropout_stream), key);
    for (int64_t i = 0, n = ir_elems(&c->out[0].type); i < n; i++)
        c->out[0].data[i] = c->in[0]->data[i] * ref_keep(key, i, p);
}

void ref_noise(const RefCall *c) {
    const char *kind = ir_str(c->node, ATTR_noise_kind);
    uint32_t key[2];
    ref_stream_key(c, ir_str(c->node, ATTR_noise_stream), key);
    for (int64_t i = 0, n = ir_elems(&c->out[0].type); i < n; i++) {
        double u = (double)vm_rng_uniform(key, (uint32_t)i), y = 2 * u - 1;
        if (!strcmp(kind, "normal")) y = sqrt(2) * ref_inverse_erf(y + 0x1p-24);
        if (!strcmp(kind, "gumbel")) y = -log(-log(fmax(u, 0x1p-25)));
        c->out[0].data[i] = c->training ? y : 0;
    }
}

void ref_routed(const RefCall *c) {
    for (int64_t i = 0, n = ir_elems(&c->out[0].type); i < n; i++)
        c->out[0].data[i] = c->in[0]->data[i];
}

void ref_by_mode(const RefCall *c) {
    const RefTensor *from = c->in[c->training ? 0 : 1];
    for (int64_t i = 0, n = ir_elems(&c->out[0].type); i < n; i++)
        c->out[0].data[i] = from->data[i];
}

/* Probability numerator exp(q_i k_j / sqrt(d) - top) of head columns; q and k point at them. */
static double affinity(const double *q, const double *k, int64_t d) {
    double s = 0;
    for (int64_t x = 0; x < d; x++) s += q[x] * k[x];
    return s / sqrt((double)d);
}

/* One query row of one head: o[0..d-1] = sum_j softmax_j(affinity) * keep_j * v_j. */
static void attend(const double *q, const double *k, const double *v, int64_t M, int64_t D,
                   int64_t d, const uint32_t key[2], int64_t element, double p, double *o) {
    double top = -INFINITY, sum = 0;
    for (int64_t j = 0; j < M; j++) top = fmax(top, affinity(q, k + j * D, d));
    for (int64_t x = 0; x < d; x++) o[x] = 0;
    for (int64_t j = 0; j < M; j++) {
        double w = exp(affinity(q, k + j * D, d) - top);
        sum += w;
        w *= ref_keep(key, element + j, p);
        for (int64_t x = 0; x < d; x++) o[x] += w * v[j * D + x];
    }
    for (int64_t x = 0; x < d; x++) o[x] /= sum;
}

void ref_attention(const RefCall *c) {
    int64_t B = c->in[0]->type.dim[0], N = c->in[0]->type.dim[1], D = c->in[0]->type.dim[2];
    int64_t M = c->in[1]->type.dim[1], heads = ir_int(c->node, ATTR_attention_heads), d = D / heads;
    double p = c->training ? ir_float(c->node, ATTR_attention_dropout) : 0;
    uint32_t key[2];
    ref_stream_key(c, ir_str(c->node, ATTR_attention_stream), key);
    for (int64_t b = 0; b < B; b++)
        for (int64_t h = 0; h < heads; h++)
            for (int64_t i = 0; i < N; i++) {
                int64_t at_q = (b * N + i) * D + h * d, at_k = b * M * D + h * d;
                attend(c->in[0]->data + at_q, c->in[1]->data + at_k, c->in[2]->data + at_k, M, D, d,
                       key, ((b * heads + h) * N + i) * M, p, c->out[0].data + at_q);
            }
}

void ref_patchify(const RefCall *c) {
    const IrType *t = &c->in[0]->type;
    int64_t B = t->dim[0], C = t->dim[1], H = t->dim[2], W = t->dim[3];
    int64_t p = ir_int(c->node, ATTR_patchify_patch), across = W / p, patches = H / p * across;
    for (int64_t b = 0; b < B; b++)
        for (int64_t ch = 0; ch < C; ch++)
            for (int64_t y = 0; y < H; y++)
                for (int64_t x = 0; x < W; x++) {
                    int64_t patch = y / p * across + x / p, inside = (y % p * p + x % p) * C + ch;
                    c->out[0].data[(b * patches + patch) * p * p * C + inside] =
                        c->in[0]->data[((b * C + ch) * H + y) * W + x];
                }
}

void ref_cross_entropy(const RefCall *c) {
    int64_t B = c->in[0]->type.dim[0], C = c->in[0]->type.dim[1];
    double sum = 0;
    for (int64_t b = 0; b < B; b++) {
        const double *x = c->in[0]->data + b * C;
        double at_label = x[ref_index(c->in[1], b, C)], top = x[0], z = 0;
        for (int64_t i = 1; i < C; i++) top = x[i] > top ? x[i] : top;
        for (int64_t i = 0; i < C; i++) z += exp(x[i] - top);
        sum -= at_label - top - log(z); /* -log of the label's probability */
    }
    c->out[0].data[0] = sum / (double)B;
}

void ref_accuracy(const RefCall *c) {
    int64_t B = c->in[0]->type.dim[0], C = c->in[0]->type.dim[1], right = 0;
    for (int64_t b = 0; b < B; b++) {
        const double *x = c->in[0]->data + b * C;
        int64_t label = ref_index(c->in[1], b, C);
        bool best = true; /* nothing is larger, and nothing before it is as large */
        for (int64_t i = 0; i < C; i++) best &= i < label ? x[i] < x[label] : x[i] <= x[label];
        right += best;
    }
    c->out[0].data[0] = (double)right / (double)B;
}

void ref_load_balance(const RefCall *c) {
    int64_t E = ir_cols(&c->in[0]->type), T = ir_rows(&c->in[0]->type),
            K = ir_cols(&c->in[1]->type);
    double sum = 0;
    for (int64_t e = 0; e < E; e++) {
        double first = 0, prob = 0;
        for (int64_t t = 0; t < T; t++) {
            first += c->in[1]->data[t * K] == (double)e;
            prob += c->in[0]->data[t * E + e];
        }
        sum += first / (double)T * (prob / (double)T);
    }
    c->out[0].data[0] = (double)E * sum;
}
