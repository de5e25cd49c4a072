/* Rules for constants and elementwise ops. x and y are any values, c and d constants.
 *
 * Folding evaluates only ops that every machine rounds alike; exp and its kind stay, so that no
 * result depends on the compiler's own math library. */
#include "passes/simplify.h"

#include <float.h>
#include <math.h>

/* Constants are kept in double precision but used as f32: nothing may overflow or vanish there.
 * False for NaN. Of two such numbers no product or quotient vanishes in double. */
static bool fits_f32(double c) {
    double m = fabs(c);
    return m == 0.0 || (m >= FLT_MIN && m <= FLT_MAX);
}

/* The f32 an f32 constant is used as. */
static double as_f32(double c) {
    return (double)(float)c;
}

static bool evaluate(OpCode op, const double *a, double *r) {
    switch (op) {
    case OP_neg: *r = -a[0]; return true;
    case OP_abs: *r = fabs(a[0]); return true;
    case OP_sqrt: *r = sqrt(a[0]); return true;
    case OP_relu: *r = a[0] > 0.0 ? a[0] : 0.0; return true;
    case OP_cast: *r = as_f32(a[0]); return true;
    case OP_add: *r = a[0] + a[1]; return true;
    case OP_sub: *r = a[0] - a[1]; return true;
    case OP_mul: *r = a[0] * a[1]; return true;
    case OP_div: *r = a[0] / a[1]; return true;
    case OP_maximum: *r = a[0] < a[1] ? a[1] : a[0]; return true;
    case OP_minimum: *r = a[1] < a[0] ? a[1] : a[0]; return true;
    case OP_less: *r = a[0] < a[1]; return as_f32(a[0]) == a[0] && as_f32(a[1]) == a[1];
    case OP_equal: *r = a[0] == a[1]; return as_f32(a[0]) == a[0] && as_f32(a[1]) == a[1];
    default: return false;
    }
}

IrValue *simplify_fold(IrBuilder *b, const IrNode *n) {
    double a[2], r;
    if (ir_ops[n->op].route != ROUTE_ELTWISE || n->nin < 1 || n->nin > 2) return NULL;
    for (int i = 0; i < n->nin; i++) {
        if (!simplify_const(n->in[i], &a[i]) || !fits_f32(a[i])) return NULL;
    }
    if (!evaluate(n->op, a, &r) || !fits_f32(r)) return NULL;
    return ir_const(b, r, n->out[0].type);
}

static bool is_const(const IrValue *v, double want) {
    double c;
    return simplify_const(v, &c) && c == want;
}

/* v = x with op(x): gives x. */
static IrValue *operand_of(const IrValue *v, OpCode op) {
    return v->node->op == op ? v->node->in[0] : NULL;
}

/* v = x * c in either order. */
static IrValue *scaled(const IrValue *v, double *c) {
    const IrNode *n = v->node;
    if (n->op != OP_mul) return NULL;
    if (simplify_const(n->in[1], c)) return n->in[0];
    return simplify_const(n->in[0], c) ? n->in[1] : NULL;
}

static IrValue *times(IrBuilder *b, IrValue *x, double c) {
    return c == 1.0 ? x : ir_scale(b, x, c);
}

/* Neither NaN nor infinite, whatever the inputs are. */
static bool is_finite(const IrValue *v) {
    double c;
    OpCode op = v->node->op;
    if (simplify_const(v, &c)) return fits_f32(c);
    return op == OP_less || op == OP_equal || op == OP_cast || op == OP_uniform ||
           op == OP_histogram;
}

/* x + 0 -> x    x + -y -> x - y    -x + y -> y - x */
static IrValue *rule_add(IrBuilder *b, const IrNode *n) {
    IrValue *x = n->in[0], *y = n->in[1], *z;
    if (is_const(y, 0.0)) return x;
    if (is_const(x, 0.0)) return y;
    if ((z = operand_of(y, OP_neg))) return ir_binary(b, OP_sub, x, z);
    if ((z = operand_of(x, OP_neg))) return ir_binary(b, OP_sub, y, z);
    return NULL;
}

/* x - 0 -> x    0 - x -> -x    x - -y -> x + y */
static IrValue *rule_sub(IrBuilder *b, const IrNode *n) {
    IrValue *x = n->in[0], *y = n->in[1], *z;
    if (is_const(y, 0.0)) return x;
    if (is_const(x, 0.0)) return ir_unary(b, OP_neg, y);
    if ((z = operand_of(y, OP_neg))) return ir_binary(b, OP_add, x, z);
    return NULL;
}

/* x * 1 -> x    x * -1 -> -x    (x * c) * d -> x * (c d)    -x * c -> x * -c
 * x * 0 -> 0 only where x cannot be NaN or infinite */
static IrValue *scale_rule(IrBuilder *b, IrValue *x, double d) {
    double c;
    IrValue *y;
    if (d == 1.0) return x;
    if (d == -1.0) return ir_unary(b, OP_neg, x);
    if (d == 0.0) return is_finite(x) ? ir_const(b, 0.0, x->type) : NULL;
    if ((y = operand_of(x, OP_neg))) return times(b, y, -d);
    y = scaled(x, &c);
    if (!y || c == 0.0 || !fits_f32(c) || !fits_f32(d) || !fits_f32(c * d)) return NULL;
    return times(b, y, c * d);
}

static IrValue *rule_mul(IrBuilder *b, const IrNode *n) {
    IrValue *x = n->in[0], *y = n->in[1];
    double c;
    if (simplify_const(y, &c)) return scale_rule(b, x, c);
    if (simplify_const(x, &c)) return scale_rule(b, y, c);
    IrValue *u = operand_of(x, OP_neg), *v = operand_of(y, OP_neg);
    return u && v ? ir_binary(b, OP_mul, u, v) : NULL;
}

/* x / 2^k -> x * 2^-k, which is exact where the reciprocal is a normal number */
static IrValue *rule_div(IrBuilder *b, const IrNode *n) {
    double c;
    int exponent;
    if (!simplify_const(n->in[1], &c) || c == 0.0 || !fits_f32(c) || !fits_f32(1.0 / c))
        return NULL;
    return fabs(frexp(c, &exponent)) == 0.5 ? times(b, n->in[0], 1.0 / c) : NULL;
}

/* -(-x) -> x    -(x * c) -> x * -c */
static IrValue *rule_neg(IrBuilder *b, const IrNode *n) {
    double c;
    IrValue *x = operand_of(n->in[0], OP_neg);
    if (x) return x;
    x = scaled(n->in[0], &c);
    return x && c != 0.0 ? times(b, x, -c) : NULL;
}

/* |-x| -> |x|    ||x|| -> |x| */
static IrValue *rule_abs(IrBuilder *b, const IrNode *n) {
    IrValue *x = operand_of(n->in[0], OP_neg);
    if (x) return ir_unary(b, OP_abs, x);
    return operand_of(n->in[0], OP_abs) ? n->in[0] : NULL;
}

static IrValue *rule_relu(IrBuilder *b, const IrNode *n) {
    (void)b;
    return operand_of(n->in[0], OP_relu) ? n->in[0] : NULL;
}

/* A constant condition, or the same value on both sides. */
static IrValue *rule_select(IrBuilder *b, const IrNode *n) {
    (void)b;
    double c;
    if (n->in[1] == n->in[2]) return n->in[1];
    return simplify_const(n->in[0], &c) ? n->in[c != 0.0 ? 1 : 2] : NULL;
}

/* max(x, x) and min(x, x) -> x */
static IrValue *rule_same(IrBuilder *b, const IrNode *n) {
    (void)b;
    return n->in[0] == n->in[1] ? n->in[0] : NULL;
}

static IrValue *rule_copy(IrBuilder *b, const IrNode *n) {
    (void)b;
    return n->in[0]->node->op == OP_copy ? n->in[0] : NULL;
}

const SimplifyRow simplify_arith[] = {
    {OP_add, rule_add},      {OP_sub, rule_sub},       {OP_mul, rule_mul},
    {OP_div, rule_div},      {OP_neg, rule_neg},       {OP_abs, rule_abs},
    {OP_relu, rule_relu},    {OP_select, rule_select}, {OP_maximum, rule_same},
    {OP_minimum, rule_same}, {OP_copy, rule_copy},     {OP_COUNT, NULL},
};
