/* References of reductions, of ops on rows (softmax, norms, losses) and of concat and unslice. */
#include "interp/ref.h"

#include <math.h>
#include <string.h>

void ref_sum(const RefCall *c) {
    const IrType *t = &c->in[0]->type;
    const int64_t *axes;
    int naxes = ir_ints(c->node, ATTR_sum_axes, &axes);
    int64_t stride[IR_MAX_RANK] = {0}, at[IR_MAX_RANK] = {0}, s = 1;
    for (int d = t->rank - 1; d >= 0; d--) {
        bool reduced = false;
        for (int i = 0; i < naxes; i++) reduced |= axes[i] == d;
        if (reduced) continue;
        stride[d] = s;
        s *= t->dim[d];
    }
    double *out = c->out[0].data;
    memset(out, 0, (size_t)ir_elems(&c->out[0].type) * sizeof(double));
    int64_t off = 0;
    for (int64_t i = 0, n = ir_elems(t); i < n; i++) {
        out[off] += c->in[0]->data[i];
        for (int d = t->rank - 1; d >= 0; d--) {
            off += stride[d];
            if (++at[d] < t->dim[d]) break;
            off -= stride[d] * t->dim[d];
            at[d] = 0;
        }
    }
}

/* First index of the largest of x[0..n-1], or of a NaN. */
static int64_t largest(const double *x, int64_t n) {
    int64_t best = 0;
    for (int64_t i = 0; i < n; i++) {
        if (isnan(x[i])) return i;
        if (x[i] > x[best]) best = i;
    }
    return best;
}

void ref_max(const RefCall *c) {
    int64_t n = ir_cols(&c->in[0]->type);
    for (int64_t r = 0, rows = ir_rows(&c->in[0]->type); r < rows; r++) {
        const double *x = c->in[0]->data + r * n;
        c->out[0].data[r] = x[largest(x, n)];
    }
}

void ref_argmax(const RefCall *c) {
    int64_t n = ir_cols(&c->in[0]->type);
    for (int64_t r = 0, rows = ir_rows(&c->in[0]->type); r < rows; r++) {
        const double *x = c->in[0]->data + r * n;
        int64_t best = largest(x, n);
        c->out[0].data[r] = isnan(x[best]) ? -1 : (double)best;
    }
}

void ref_softmax(const RefCall *c) {
    int64_t n = ir_cols(&c->in[0]->type);
    for (int64_t r = 0, rows = ir_rows(&c->in[0]->type); r < rows; r++) {
        const double *x = c->in[0]->data + r * n;
        double *y = c->out[0].data + r * n;
        double top = x[largest(x, n)], sum = 0;
        for (int64_t i = 0; i < n; i++) sum += y[i] = exp(x[i] - top);
        for (int64_t i = 0; i < n; i++) y[i] /= sum;
    }
}

void ref_softmax_grad(const RefCall *c) {
    int64_t n = ir_cols(&c->in[0]->type);
    for (int64_t r = 0, rows = ir_rows(&c->in[0]->type); r < rows; r++) {
        const double *y = c->in[0]->data + r * n, *dy = c->in[1]->data + r * n;
        double dot = 0;
        for (int64_t i = 0; i < n; i++) dot += dy[i] * y[i];
        for (int64_t i = 0; i < n; i++) c->out[0].data[r * n + i] = y[i] * (dy[i] - dot);
    }
}

void ref_layer_norm(const RefCall *c) {
    int64_t n = ir_cols(&c->in[0]->type);
    double eps = ir_float(c->node, ATTR_layer_norm_eps);
    for (int64_t r = 0, rows = ir_rows(&c->in[0]->type); r < rows; r++) {
        const double *x = c->in[0]->data + r * n;
        double mean = 0, var = 0;
        for (int64_t i = 0; i < n; i++) mean += x[i];
        mean /= (double)n;
        for (int64_t i = 0; i < n; i++) var += (x[i] - mean) * (x[i] - mean);
        var /= (double)n;
        double rstd = 1 / sqrt(var + eps);
        for (int64_t i = 0; i < n; i++) c->out[0].data[r * n + i] = (x[i] - mean) * rstd;
        c->out[1].data[r] = rstd;
    }
}

void ref_layer_norm_grad(const RefCall *c) {
    int64_t n = ir_cols(&c->in[0]->type);
    for (int64_t r = 0, rows = ir_rows(&c->in[0]->type); r < rows; r++) {
        const double *y = c->in[0]->data + r * n, *dy = c->in[2]->data + r * n;
        double rstd = c->in[1]->data[r], mean_dy = 0, mean_dyy = 0;
        for (int64_t i = 0; i < n; i++) {
            mean_dy += dy[i] / (double)n;
            mean_dyy += dy[i] * y[i] / (double)n;
        }
        for (int64_t i = 0; i < n; i++)
            c->out[0].data[r * n + i] = rstd * (dy[i] - mean_dy - y[i] * mean_dyy);
    }
}

void ref_rms_norm(const RefCall *c) {
    int64_t n = ir_cols(&c->in[0]->type);
    double eps = ir_float(c->node, ATTR_rms_norm_eps);
    for (int64_t r = 0, rows = ir_rows(&c->in[0]->type); r < rows; r++) {
        const double *x = c->in[0]->data + r * n;
        double squares = 0;
        for (int64_t i = 0; i < n; i++) squares += x[i] * x[i];
        double rstd = 1 / sqrt(squares / (double)n + eps);
        for (int64_t i = 0; i < n; i++) c->out[0].data[r * n + i] = x[i] * rstd;
        c->out[1].data[r] = rstd;
    }
}

void ref_rms_norm_grad(const RefCall *c) {
    int64_t n = ir_cols(&c->in[0]->type);
    for (int64_t r = 0, rows = ir_rows(&c->in[0]->type); r < rows; r++) {
        const double *y = c->in[0]->data + r * n, *dy = c->in[2]->data + r * n;
        double rstd = c->in[1]->data[r], mean = 0;
        for (int64_t i = 0; i < n; i++) mean += dy[i] * y[i] / (double)n;
        for (int64_t i = 0; i < n; i++) c->out[0].data[r * n + i] = rstd * (dy[i] - y[i] * mean);
    }
}

void ref_xent(const RefCall *c) {
    int64_t n = ir_cols(&c->in[0]->type);
    for (int64_t r = 0, rows = ir_rows(&c->in[0]->type); r < rows; r++) {
        const double *x = c->in[0]->data + r * n;
        double top = x[largest(x, n)], sum = 0;
        for (int64_t i = 0; i < n; i++) sum += exp(x[i] - top);
        c->out[0].data[r] = log(sum) + top - x[ref_index(c->in[1], r, n)];
    }
}

/* ---- data movement --------------------------------------------------------------------------- */

/* Product of the dimensions after `axis`: elements of one entry of it. */
static int64_t inner(const IrType *t, int64_t axis) {
    int64_t n = 1;
    for (int d = (int)axis + 1; d < t->rank; d++) n *= t->dim[d];
    return n;
}

/* Copies operand `in` to entries from `start` of dimension `axis` of result 0. */
static void place(const RefCall *c, const RefTensor *in, int64_t axis, int64_t start) {
    int64_t chunk = in->type.dim[axis] * inner(&in->type, axis);
    int64_t step = c->out[0].type.dim[axis] * inner(&in->type, axis);
    double *out = c->out[0].data + start * inner(&in->type, axis);
    if (chunk == 0) return;
    for (int64_t i = 0, n = ir_elems(&in->type) / chunk; i < n; i++)
        memcpy(out + i * step, in->data + i * chunk, (size_t)chunk * sizeof(double));
}

void ref_concat(const RefCall *c) {
    int64_t axis = ir_int(c->node, ATTR_concat_axis), start = 0;
    for (int i = 0; i < c->node->nin; i++) {
        place(c, c->in[i], axis, start);
        start += c->in[i]->type.dim[axis];
    }
}

void ref_unslice(const RefCall *c) {
    memset(c->out[0].data, 0, (size_t)ir_elems(&c->out[0].type) * sizeof(double));
    place(c, c->in[0], ir_int(c->node, ATTR_unslice_axis), ir_int(c->node, ATTR_unslice_start));
}
