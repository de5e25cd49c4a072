/* References of the mixture-of-experts ops: selection, routing, and moving rows to experts and back. */
#include "interp/ref.h"

#include <string.h>

static void clear(RefTensor *t) {
    memset(t->data, 0, (size_t)ir_elems(&t->type) * sizeof(double));
}

void ref_topk(const RefCall *c) {
    int64_t T = ir_rows(&c->in[0]->type), E = ir_cols(&c->in[0]->type), K = ir_int(c->node, ATTR_topk_k);
    for (int64_t t = 0; t < T; t++) {
        const double *x = c->in[0]->data + t * E;
        double *value = c->out[0].data + t * K, *index = c->out[1].data + t * K;
        for (int64_t j = 0; j < K; j++) {
            int64_t best = -1;
            for (int64_t e = 0; e < E; e++) {
                bool taken = false;
                for (int64_t i = 0; i < j; i++) taken |= index[i] == (double)e;
                if (!taken && (best < 0 || x[e] > x[best])) best = e;
            }
            index[j] = (double)best;
            value[j] = x[best];
        }
    }
}

void ref_take_last(const RefCall *c) {
    int64_t T = ir_rows(&c->in[1]->type), K = ir_cols(&c->in[1]->type), E = ir_cols(&c->in[0]->type);
    for (int64_t t = 0; t < T; t++)
        for (int64_t j = 0; j < K; j++)
            c->out[0].data[t * K + j] = c->in[0]->data[t * E + ref_index(c->in[1], t * K + j, E)];
}

void ref_put_last(const RefCall *c) {
    int64_t T = ir_rows(&c->in[1]->type), K = ir_cols(&c->in[1]->type), E = ir_cols(&c->out[0].type);
    clear(&c->out[0]);
    for (int64_t t = 0; t < T; t++)
        for (int64_t j = 0; j < K; j++)
            c->out[0].data[t * E + ref_index(c->in[1], t * K + j, E)] = c->in[0]->data[t * K + j];
}

void ref_histogram(const RefCall *c) {
    int64_t bins = ir_int(c->node, ATTR_histogram_bins);
    clear(&c->out[0]);
    for (int64_t i = 0, n = ir_elems(&c->in[0]->type); i < n; i++)
        c->out[0].data[ref_index(c->in[0], i, bins)] += 1;
}

void ref_route_counts(const RefCall *c) {
    int64_t P = ir_elems(&c->in[0]->type), E = ir_int(c->node, ATTR_route_counts_experts);
    int64_t S = ir_int(c->node, ATTR_route_counts_segments);
    clear(&c->out[0]);
    for (int64_t s = 0; s < S; s++)
        for (int64_t i = s * P / S; i < (s + 1) * P / S; i++)
            c->out[0].data[s * E + ref_index(c->in[0], i, E)] += 1;
}

/* Does not look at the counts: the sort is the same with and without. */
void ref_route(const RefCall *c) {
    int64_t R = ir_elems(&c->in[0]->type), E = ir_int(c->node, ATTR_route_experts), row = 0;
    for (int64_t e = 0; e < E; e++) {
        c->out[0].data[e] = (double)row;
        for (int64_t pair = 0; pair < R; pair++) {
            if (ref_index(c->in[0], pair, E) != e) continue;
            c->out[1].data[row] = (double)pair;
            c->out[2].data[pair] = (double)row;
            c->out[3].data[row] = (double)e;
            row++;
        }
    }
    c->out[0].data[E] = (double)row;
}

void ref_dispatch(const RefCall *c) {
    int64_t R = c->out[0].type.dim[0], n = ref_row_elems(c->in[0]), k = ir_int(c->node, ATTR_dispatch_k);
    for (int64_t r = 0; r < R; r++) {
        int64_t t = ref_index(c->in[1], r, R) / k;
        memcpy(c->out[0].data + r * n, c->in[0]->data + t * n, (size_t)n * sizeof(double));
    }
}

void ref_expert_expand(const RefCall *c) {
    int64_t R = c->out[0].type.dim[0], n = ref_row_elems(c->in[0]), E = c->in[0]->type.dim[0];
    for (int64_t r = 0; r < R; r++)
        memcpy(c->out[0].data + r * n, c->in[0]->data + ref_index(c->in[1], r, E) * n,
               (size_t)n * sizeof(double));
}

void ref_expert_sum(const RefCall *c) {
    int64_t R = c->in[0]->type.dim[0], n = ref_row_elems(c->in[0]), E = c->out[0].type.dim[0];
    clear(&c->out[0]);
    for (int64_t r = 0; r < R; r++) {
        double *to = c->out[0].data + ref_index(c->in[1], r, E) * n;
        for (int64_t i = 0; i < n; i++) to[i] += c->in[0]->data[r * n + i];
    }
}

/* y[t] = sum_j w[t,j] * rows[row[t,j]]; weights NULL: all 1. */
static void combine(const RefCall *c, const double *weight) {
    int64_t T = c->in[1]->type.dim[0], K = c->in[1]->type.dim[1];
    int64_t R = c->in[0]->type.dim[0], n = ref_row_elems(c->in[0]);
    clear(&c->out[0]);
    for (int64_t t = 0; t < T; t++) {
        for (int64_t j = 0; j < K; j++) {
            const double *from = c->in[0]->data + ref_index(c->in[1], t * K + j, R) * n;
            double w = weight ? weight[t * K + j] : 1;
            for (int64_t i = 0; i < n; i++) c->out[0].data[t * n + i] += w * from[i];
        }
    }
}

void ref_combine(const RefCall *c) {
    combine(c, c->in[2]->data);
}

void ref_combine_rows(const RefCall *c) {
    combine(c, NULL);
}

void ref_combine_dw(const RefCall *c) {
    int64_t T = c->in[1]->type.dim[0], K = c->in[1]->type.dim[1];
    int64_t R = c->in[0]->type.dim[0], n = ref_row_elems(c->in[0]);
    for (int64_t t = 0; t < T; t++) {
        for (int64_t j = 0; j < K; j++) {
            const double *row = c->in[0]->data + ref_index(c->in[1], t * K + j, R) * n;
            double sum = 0;
            for (int64_t i = 0; i < n; i++) sum += c->in[2]->data[t * n + i] * row[i];
            c->out[0].data[t * K + j] = sum;
        }
    }
}
