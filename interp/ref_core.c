/* References of views, elementwise ops and updates: the formula of ops.def, one element at a
 * time, in double. */
#include "interp/ref.h"

#include <math.h>
#include <string.h>

#include "base/rng.h"

/* ---- views ----------------------------------------------------------------------------------- */

/* out[i0,i1,..] = in[base + sum i_d * stride[d]], over the dimensions of out. */
static void read_strided(const RefCall *c, int64_t base, const int64_t *stride) {
    const IrType *t = &c->out[0].type;
    const double *in = c->in[0]->data;
    double *out = c->out[0].data;
    int64_t at[IR_MAX_RANK] = {0};
    int64_t off = base;
    for (int64_t i = 0, n = ir_elems(t); i < n; i++) {
        out[i] = in[off];
        for (int d = t->rank - 1; d >= 0; d--) {
            off += stride[d];
            if (++at[d] < t->dim[d]) break;
            off -= stride[d] * t->dim[d];
            at[d] = 0;
        }
    }
}

static void row_major(const IrType *t, int64_t *stride) {
    int64_t s = 1;
    for (int d = t->rank - 1; d >= 0; d--) {
        stride[d] = s;
        s *= t->dim[d];
    }
}

void ref_reshape(const RefCall *c) {
    memcpy(c->out[0].data, c->in[0]->data, (size_t)ir_elems(&c->out[0].type) * sizeof(double));
}

void ref_broadcast(const RefCall *c) {
    const IrType *from = &c->in[0]->type, *to = &c->out[0].type;
    int64_t dense[IR_MAX_RANK], stride[IR_MAX_RANK] = {0};
    row_major(from, dense);
    int shift = to->rank - from->rank;
    for (int d = 0; d < from->rank; d++) stride[d + shift] = from->dim[d] == 1 ? 0 : dense[d];
    read_strided(c, 0, stride);
}

void ref_transpose(const RefCall *c) {
    const int64_t *perm;
    int n = ir_ints(c->node, ATTR_transpose_perm, &perm);
    int64_t dense[IR_MAX_RANK], stride[IR_MAX_RANK] = {0};
    row_major(&c->in[0]->type, dense);
    for (int d = 0; d < n; d++) stride[d] = dense[perm[d]];
    read_strided(c, 0, stride);
}

void ref_slice(const RefCall *c) {
    int64_t stride[IR_MAX_RANK] = {0};
    row_major(&c->in[0]->type, stride);
    int64_t axis = ir_int(c->node, ATTR_slice_axis);
    read_strided(c, ir_int(c->node, ATTR_slice_start) * stride[axis], stride);
}

/* ---- elementwise ----------------------------------------------------------------------------- */

static void map1(const RefCall *c, double (*f)(double)) {
    for (int64_t i = 0, n = ir_elems(&c->out[0].type); i < n; i++)
        c->out[0].data[i] = f(c->in[0]->data[i]);
}

static void map2(const RefCall *c, double (*f)(double, double)) {
    for (int64_t i = 0, n = ir_elems(&c->out[0].type); i < n; i++)
        c->out[0].data[i] = f(c->in[0]->data[i], c->in[1]->data[i]);
}

static double f_same(double x) {
    return x;
}
static double f_neg(double x) {
    return -x;
}
static double f_rsqrt(double x) {
    return 1 / sqrt(x);
}
/* Newton's method on erf, or on erfc where 1 - |x| has the digits. The first guess (Winitzki) is
 * right to a few thousandths. */
double ref_inverse_erf(double x) {
    double a = fabs(x), rest = 1 - a;
    if (!(a < 1)) return a == 1 ? copysign(INFINITY, x) : NAN;
    double l = log1p(-a * a), h = 2 / (3.14159265358979323846 * 0.147) + l / 2;
    double y = sqrt(sqrt(h * h - l / 0.147) - h);
    for (int i = 0; i < 6; i++) {
        double over = a < 0.5 ? erf(y) - a : rest - erfc(y);
        y -= over * 0.88622692545275801365 * exp(y * y);
    }
    return copysign(y, x);
}
static double f_sigmoid(double x) {
    return 1 / (1 + exp(-x));
}
static double f_relu(double x) {
    return x < 0 ? 0 : x; /* NaN stays */
}
/* Phi(x), the normal distribution function. */
static double f_phi(double x) {
    return 0.5 * erfc(-x * 0.70710678118654752440);
}
static double f_gelu(double x) {
    return x * f_phi(x);
}
static double f_gelu_grad(double x) {
    return f_phi(x) + x * 0.39894228040143267794 * exp(-0.5 * x * x);
}
/* u of x sigmoid(u), twice what the published formula takes the tanh of. */
static double gelu_argument(double x) {
    return 2 * 0.79788456080286535588 * (x + 0.044715 * x * x * x);
}
static double f_gelu_tanh(double x) {
    return x * f_sigmoid(gelu_argument(x));
}
/* By the tanh: (1 + t) / 2 + x (1 - t^2) / 2 * slope, which is 0 where t is 1 or -1. */
static double f_gelu_tanh_grad(double x) {
    double t = tanh(gelu_argument(x) / 2), slope = 0.79788456080286535588;
    slope *= 1 + 3 * 0.044715 * fmin(x * x, 1e6);
    return f_sigmoid(gelu_argument(x)) + 0.5 * x * (1 - t * t) * slope + (isnan(x) ? x : 0);
}
static double f_add(double a, double b) {
    return a + b;
}
static double f_sub(double a, double b) {
    return a - b;
}
static double f_mul(double a, double b) {
    return a * b;
}
static double f_div(double a, double b) {
    return a / b;
}
static double f_maximum(double a, double b) {
    return isnan(a) || !(b > a || isnan(b)) ? a : b;
}
static double f_minimum(double a, double b) {
    return isnan(a) || !(b < a || isnan(b)) ? a : b;
}
static double f_less(double a, double b) {
    return a < b;
}
static double f_equal(double a, double b) {
    return a == b;
}

void ref_copy(const RefCall *c) {
    map1(c, f_same);
}
void ref_stop_gradient(const RefCall *c) {
    map1(c, f_same);
}
void ref_kept(const RefCall *c) {
    map1(c, f_same);
}
void ref_narrow(const RefCall *c) {
    map1(c, ref_bf16);
}
void ref_neg(const RefCall *c) {
    map1(c, f_neg);
}
void ref_abs(const RefCall *c) {
    map1(c, fabs);
}
void ref_exp(const RefCall *c) {
    map1(c, exp);
}
void ref_log(const RefCall *c) {
    map1(c, log);
}
void ref_log1p(const RefCall *c) {
    map1(c, log1p);
}
void ref_sqrt(const RefCall *c) {
    map1(c, sqrt);
}
void ref_rsqrt(const RefCall *c) {
    map1(c, f_rsqrt);
}
void ref_tanh(const RefCall *c) {
    map1(c, tanh);
}
void ref_erf(const RefCall *c) {
    map1(c, erf);
}
void ref_erfinv(const RefCall *c) {
    map1(c, ref_inverse_erf);
}
void ref_sigmoid(const RefCall *c) {
    map1(c, f_sigmoid);
}
void ref_relu(const RefCall *c) {
    map1(c, f_relu);
}
void ref_gelu(const RefCall *c) {
    map1(c, f_gelu);
}
void ref_gelu_grad(const RefCall *c) {
    map1(c, f_gelu_grad);
}
void ref_gelu_tanh(const RefCall *c) {
    map1(c, f_gelu_tanh);
}
void ref_gelu_tanh_grad(const RefCall *c) {
    map1(c, f_gelu_tanh_grad);
}
void ref_cast(const RefCall *c) {
    map1(c, f_same);
}
void ref_lookup(const RefCall *c) {
    const int64_t *value;
    int count = ir_ints(c->node, ATTR_lookup_values, &value);
    for (int64_t i = 0, n = ir_elems(&c->out[0].type); i < n; i++)
        c->out[0].data[i] = (double)value[ref_index(c->in[0], i, count)];
}
void ref_add(const RefCall *c) {
    map2(c, f_add);
}
void ref_sub(const RefCall *c) {
    map2(c, f_sub);
}
void ref_mul(const RefCall *c) {
    map2(c, f_mul);
}
void ref_div(const RefCall *c) {
    map2(c, f_div);
}
void ref_maximum(const RefCall *c) {
    map2(c, f_maximum);
}
void ref_minimum(const RefCall *c) {
    map2(c, f_minimum);
}
void ref_less(const RefCall *c) {
    map2(c, f_less);
}
void ref_equal(const RefCall *c) {
    map2(c, f_equal);
}

void ref_select(const RefCall *c) {
    for (int64_t i = 0, n = ir_elems(&c->out[0].type); i < n; i++)
        c->out[0].data[i] = c->in[0]->data[i] != 0 ? c->in[1]->data[i] : c->in[2]->data[i];
}

void ref_iota(const RefCall *c) {
    int64_t cols = ir_cols(&c->out[0].type);
    for (int64_t i = 0, n = ir_elems(&c->out[0].type); i < n; i++)
        c->out[0].data[i] = (double)(i % cols);
}

void ref_uniform(const RefCall *c) {
    uint32_t key[2];
    ref_key(c->in[0], key);
    for (int64_t i = 0, n = ir_elems(&c->out[0].type); i < n; i++)
        c->out[0].data[i] = vm_rng_uniform(key, (uint32_t)i);
}

/* ---- updates --------------------------------------------------------------------------------- */

void ref_assign(const RefCall *c) { /* the engine stores it */
    for (int64_t i = 0, n = ir_elems(&c->out[0].type); i < n; i++)
        c->out[0].data[i] = c->in[1]->data[i];
}

void ref_adamw(const RefCall *c) {
    const double *p = c->in[0]->data, *g = c->in[1]->data, *m = c->in[2]->data, *v = c->in[3]->data;
    const double lr = c->in[4]->data[0], c1 = c->in[4]->data[1], c2 = c->in[4]->data[2];
    double b1 = ir_float(c->node, ATTR_adamw_beta1), b2 = ir_float(c->node, ATTR_adamw_beta2);
    double eps = ir_float(c->node, ATTR_adamw_eps), decay = ir_float(c->node, ATTR_adamw_decay);
    for (int64_t i = 0, n = ir_elems(&c->out[0].type); i < n; i++) {
        double mi = b1 * m[i] + (1 - b1) * g[i];
        double vi = b2 * v[i] + (1 - b2) * g[i] * g[i];
        c->out[0].data[i] = p[i] - lr * (decay * p[i] + (mi / c1) / (sqrt(vi / c2) + eps));
        c->out[1].data[i] = mi;
        c->out[2].data[i] = vi;
    }
}
