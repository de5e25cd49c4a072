/* References of the mixture-of-experts ops: selection, routing, and moving rows to experts and
 * back. */
#include "interp/ref.h"

#include <math.h>
#include <string.h>

static void clear(RefTensor *t) {
    memset(t->data, 0, (size_t)ir_elems(&t->type) * sizeof(double));
}

/* An index that names nothing. */
static bool is_none(const RefTensor *t, int64_t i) {
    return t->data[i] == -1;
}

void ref_topk(const RefCall *c) {
    int64_t T = ir_rows(&c->in[0]->type), E = ir_cols(&c->in[0]->type),
            K = ir_int(c->node, ATTR_topk_k);
    for (int64_t t = 0; t < T; t++) {
        const double *x = c->in[0]->data + t * E;
        double *value = c->out[0].data + t * K, *index = c->out[1].data + t * K;
        for (int64_t j = 0; j < K; j++) {
            int64_t best = -1;
            for (int64_t e = 0; e < E; e++) {
                bool taken = false;
                for (int64_t i = 0; i < j; i++) taken |= index[i] == (double)e;
                if (!taken && (best < 0 || x[e] > x[best] || (isnan(x[e]) && !isnan(x[best]))))
                    best = e;
            }
            index[j] = (double)best;
            value[j] = x[best];
        }
    }
}

void ref_take_last(const RefCall *c) {
    int64_t T = ir_rows(&c->in[1]->type), K = ir_cols(&c->in[1]->type),
            E = ir_cols(&c->in[0]->type);
    for (int64_t t = 0; t < T; t++)
        for (int64_t j = 0; j < K; j++)
            if (is_none(c->in[1], t * K + j))
                c->out[0].data[t * K + j] = 0;
            else
                c->out[0].data[t * K + j] =
                    c->in[0]->data[t * E + ref_index(c->in[1], t * K + j, E)];
}

void ref_gather(const RefCall *c) {
    int64_t n = c->in[0]->type.dim[0], row = ir_elems(&c->in[0]->type) / n;
    clear(&c->out[0]);
    for (int64_t r = 0, rows = ir_elems(&c->in[1]->type); r < rows; r++) {
        double at = c->in[1]->data[r];
        if (!(at >= 0 && at < (double)n)) continue;
        memcpy(c->out[0].data + r * row, c->in[0]->data + (int64_t)at * row,
               (size_t)row * sizeof(double));
    }
}

void ref_put_last(const RefCall *c) {
    int64_t T = ir_rows(&c->in[1]->type), K = ir_cols(&c->in[1]->type),
            E = ir_cols(&c->out[0].type);
    clear(&c->out[0]);
    for (int64_t t = 0; t < T; t++)
        for (int64_t j = 0; j < K; j++)
            if (!is_none(c->in[1], t * K + j))
                c->out[0].data[t * E + ref_index(c->in[1], t * K + j, E)] =
                    c->in[0]->data[t * K + j];
}

void ref_histogram(const RefCall *c) {
    int64_t bins = ir_int(c->node, ATTR_histogram_bins);
    clear(&c->out[0]);
    for (int64_t i = 0, n = ir_elems(&c->in[0]->type); i < n; i++)
        if (!is_none(c->in[0], i)) c->out[0].data[ref_index(c->in[0], i, bins)] += 1;
}

void ref_route_counts(const RefCall *c) {
    int64_t P = ir_elems(&c->in[0]->type), E = ir_int(c->node, ATTR_route_counts_experts);
    int64_t S = ir_int(c->node, ATTR_route_counts_segments);
    clear(&c->out[0]);
    for (int64_t s = 0; s < S; s++)
        for (int64_t i = s * P / S; i < (s + 1) * P / S; i++)
            if (!is_none(c->in[0], i)) c->out[0].data[s * E + ref_index(c->in[0], i, E)] += 1;
}

/* Does not look at the counts: the sort is the same with and without. */
void ref_route(const RefCall *c) {
    int64_t P = ir_elems(&c->in[0]->type), R = c->out[1].type.dim[0],
            E = ir_int(c->node, ATTR_route_experts);
    int64_t row = 0;
    bool drops = ir_int(c->node, ATTR_route_rows) > 0;
    for (int64_t pair = 0; pair < P; pair++) c->out[2].data[pair] = -1;
    for (int64_t e = 0; e < E; e++) {
        c->out[0].data[e] = (double)row;
        for (int64_t pair = 0; pair < P; pair++) {
            if (drops && is_none(c->in[0], pair)) continue;
            if (ref_index(c->in[0], pair, E) != e) continue;
            VM_CHECK(row < R, "route: more pairs than its %lld rows", (long long)R);
            c->out[1].data[row] = (double)pair;
            c->out[2].data[pair] = (double)row;
            c->out[3].data[row] = (double)e;
            row++;
        }
    }
    c->out[0].data[E] = (double)row;
    for (; row < R; row++) {
        c->out[1].data[row] = 0;
        c->out[3].data[row] = (double)E;
    }
}

void ref_rank(const RefCall *c) {
    int64_t rows = ir_rows(&c->in[0]->type), n = ir_cols(&c->in[0]->type);
    for (int64_t r = 0; r < rows; r++) {
        const double *x = c->in[0]->data + r * n;
        for (int64_t i = 0; i < n; i++) {
            int64_t before = 0;
            for (int64_t j = 0; j < n; j++) {
                bool more = x[j] > x[i] || (isnan(x[j]) && !isnan(x[i]));
                bool equal = x[j] == x[i] || (isnan(x[j]) && isnan(x[i]));
                before += more || (equal && j < i);
            }
            c->out[0].data[r * n + i] = (double)before;
        }
    }
}

/* place: of each token in its group. */
static void keep_within(const RefCall *c, int64_t E, int64_t groups, double limit,
                        int64_t (*place_of)(const RefCall *c, int64_t t, int64_t n)) {
    int64_t T = c->in[0]->type.dim[0], K = c->in[0]->type.dim[1], n = T / groups;
    double *kept = c->out[0].data;
    for (int64_t i = 0; i < T * K; i++) kept[i] = -1;
    for (int64_t g = 0; g < groups; g++)
        for (int64_t e = 0; e < E; e++) {
            double taken = 0;
            for (int64_t j = 0; j < K; j++)
                for (int64_t place = 0; place < n; place++)
                    for (int64_t t = g * n; t < (g + 1) * n; t++) {
                        if (place_of(c, t, n) != place || c->in[0]->data[t * K + j] != (double)e)
                            continue;
                        if (taken++ < limit) kept[t * K + j] = (double)e;
                    }
        }
}

static int64_t given_place(const RefCall *c, int64_t t, int64_t n) {
    return c->node->nin > 1 ? ref_index(c->in[1], t, n) : t % n;
}

void ref_capacity(const RefCall *c) {
    keep_within(c, ir_int(c->node, ATTR_capacity_experts), ir_int(c->node, ATTR_capacity_groups),
                (double)ir_int(c->node, ATTR_capacity_limit), given_place);
}

/* How many tokens of the group have a higher priority, or the same and stand before. */
static int64_t place_by_priority(const RefCall *c, int64_t t, int64_t n) {
    if (c->node->nin < 2) return t % n;
    const double *p = c->in[1]->data;
    int64_t before = 0;
    for (int64_t o = t / n * n; o < (t / n + 1) * n; o++)
        before += p[o] > p[t] || (p[o] == p[t] && o < t);
    return before;
}

void ref_expert_capacity(const RefCall *c) {
    AttrId limit = c->training ? ATTR_expert_capacity_train : ATTR_expert_capacity_eval;
    keep_within(c, ir_int(c->node, ATTR_expert_capacity_experts),
                ir_int(c->node, ATTR_expert_capacity_groups), (double)ir_int(c->node, limit),
                place_by_priority);
}

void ref_fall_through(const RefCall *c) {
    int64_t groups = c->in[0]->type.dim[0], pairs = c->in[0]->type.dim[1];
    int64_t E = ir_int(c->node, ATTR_fall_through_experts), n = pairs / E;
    int64_t limit = ir_int(c->node, ATTR_fall_through_limit);
    for (int64_t i = 0; i < groups * n; i++) c->out[0].data[i] = -1;
    for (int64_t g = 0; g < groups; g++) {
        double *expert = c->out[0].data + g * n;
        for (int64_t place = 0; place < pairs; place++) {
            int64_t pair = 0, taken = 0;
            while (ref_index(c->in[0], g * pairs + pair, pairs) != place) pair++;
            for (int64_t t = 0; t < n; t++) taken += expert[t] == (double)(pair % E);
            if (expert[pair / E] < 0 && taken < limit) expert[pair / E] = (double)(pair % E);
        }
    }
}

void ref_dispatch(const RefCall *c) {
    int64_t R = c->out[0].type.dim[0], n = ref_row_elems(c->in[0]),
            k = ir_int(c->node, ATTR_dispatch_k);
    for (int64_t r = 0; r < R; r++) {
        int64_t t = ref_index(c->in[1], r, c->in[0]->type.dim[0] * k) / k;
        memcpy(c->out[0].data + r * n, c->in[0]->data + t * n, (size_t)n * sizeof(double));
    }
}

void ref_expert_expand(const RefCall *c) {
    int64_t R = c->out[0].type.dim[0], n = ref_row_elems(c->in[0]), E = c->in[0]->type.dim[0];
    for (int64_t r = 0; r < R; r++) {
        int64_t e = ref_index(c->in[1], r, E + 1);
        memcpy(c->out[0].data + r * n, c->in[0]->data + (e < E ? e : E - 1) * n,
               (size_t)n * sizeof(double));
    }
}

void ref_expert_sum(const RefCall *c) {
    int64_t R = c->in[0]->type.dim[0], n = ref_row_elems(c->in[0]), E = c->out[0].type.dim[0];
    clear(&c->out[0]);
    for (int64_t r = 0; r < R; r++) {
        int64_t e = ref_index(c->in[1], r, E + 1);
        if (e == E) continue;
        double *to = c->out[0].data + e * n;
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
            if (is_none(c->in[1], t * K + j)) continue;
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
            c->out[0].data[t * K + j] = 0;
            if (is_none(c->in[1], t * K + j)) continue;
            const double *row = c->in[0]->data + ref_index(c->in[1], t * K + j, R) * n;
            double sum = 0;
            for (int64_t i = 0; i < n; i++) sum += c->in[2]->data[t * n + i] * row[i];
            c->out[0].data[t * K + j] = sum;
        }
    }
}
