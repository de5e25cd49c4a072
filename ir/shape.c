/* Result types: the entry point, the checks rules share, and the rules of leaves, views and
 * elementwise ops. The other rules are in shape_tensor.c and shape_moe.c.
 *
 * Messages are read by users of .vmoe files: they start with the op, and give what was expected and
 * what was found. A rule never aborts: whatever the operands and attributes are, it answers. */
#include "base/inits.h"
#include "ir/internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef const char *(*ShapeFn)(Arena *, IrNode *);

#define ENTRY_LEAF(name) NULL
#define ENTRY_VIEW(name) shape_##name
#define ENTRY_ELTWISE(name) shape_##name
#define ENTRY_GATHER(name) shape_##name
#define ENTRY_KERNEL(name) shape_##name
#define ENTRY_EXPAND(name) shape_##name
static const ShapeFn rules[OP_COUNT] = {
#define OP(name, lo, hi, nout, stage, route, ...) [OP_##name] = ENTRY_##route(name),
#include "ir/ops.def"
};

/* ---- shared checks --------------------------------------------------------------------------- */

/* Ops under the name the language has for them. */
static const char *op_label(const IrNode *n) {
    return n->op == OP_topk ? "top_k" : ir_ops[n->op].name;
}

const char *ir_shape_fail(Arena *a, const IrNode *n, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    const char *message = arena_vprintf(a, fmt, ap);
    va_end(ap);
    return arena_printf(a, "%s: %s", op_label(n), message);
}

const char *ir_shape_in(Arena *a, const IrNode *n, int i) {
    return ir_type_text(a, &n->in[i]->type);
}

const char *ir_want_dtype(Arena *a, const IrNode *n, int i, DType d) {
    if (n->in[i]->type.dtype == d) return NULL;
    return ir_shape_fail(a, n, "expected %s elements in operand %d, found %s", ir_dtype_name(d),
                         i + 1, ir_shape_in(a, n, i));
}

const char *ir_want_f32(Arena *a, const IrNode *n) {
    for (int i = 0; i < n->nin; i++) TRY(ir_want_dtype(a, n, i, DT_f32));
    return NULL;
}

const char *ir_want_factor(Arena *a, const IrNode *n, int i, bool bf16) {
    if (bf16 && n->in[i]->type.dtype == DT_bf16) return NULL;
    return ir_want_dtype(a, n, i, DT_f32);
}

const char *ir_want_rank(Arena *a, const IrNode *n, int i, int lo, int hi) {
    int rank = n->in[i]->type.rank;
    if (rank >= lo && rank <= hi) return NULL;
    const char *bound = lo == hi ? "" : hi == IR_MAX_RANK ? "at least " : "";
    if (lo != hi && hi != IR_MAX_RANK)
        return ir_shape_fail(a, n, "expected %d to %d dimensions in operand %d, found %s", lo, hi,
                             i + 1, ir_shape_in(a, n, i));
    return ir_shape_fail(a, n, "expected %s%d dimension%s in operand %d, found %s", bound, lo,
                         lo == 1 ? "" : "s", i + 1, ir_shape_in(a, n, i));
}

const char *ir_want_like(Arena *a, const IrNode *n, int i, const IrType *t) {
    if (ir_type_equal(&n->in[i]->type, t)) return NULL;
    return ir_shape_fail(a, n, "expected %s as operand %d, found %s", ir_type_text(a, t), i + 1,
                         ir_shape_in(a, n, i));
}

const char *ir_want_int(Arena *a, const IrNode *n, AttrId id, int64_t lo, int64_t hi) {
    int64_t v = ir_int(n, id);
    if (v >= lo && v <= hi) return NULL;
    if (hi == INT64_MAX)
        return ir_shape_fail(a, n, "%s is %lld, expected at least %lld", ir_attrs[id].name,
                             (long long)v, (long long)lo);
    return ir_shape_fail(a, n, "%s is %lld, expected %lld to %lld", ir_attrs[id].name, (long long)v,
                         (long long)lo, (long long)hi);
}

const char *ir_want_probability(Arena *a, const IrNode *n, AttrId id) {
    double p = ir_float(n, id);
    if (p >= 0 && p < 1) return NULL; /* a NaN fails both */
    return ir_shape_fail(a, n, "%s is %g, expected at least 0 and less than 1", ir_attrs[id].name,
                         p);
}

const char *ir_want_finite(Arena *a, const IrNode *n, AttrId id, double lo) {
    double v = ir_float(n, id);
    if (isfinite(v) && v >= lo) return NULL;
    if (isinf(lo))
        return ir_shape_fail(a, n, "%s is %g, expected a finite number", ir_attrs[id].name, v);
    return ir_shape_fail(a, n, "%s is %g, expected at least %g", ir_attrs[id].name, v, lo);
}

const char *ir_want_axis(Arena *a, const IrNode *n, AttrId id) {
    int rank = n->in[0]->type.rank;
    int64_t axis = ir_int(n, id);
    if (axis >= 0 && axis < rank) return NULL;
    return ir_shape_fail(a, n, "axis is %lld, but %s has %d dimension%s (counted from 0)",
                         (long long)axis, ir_shape_in(a, n, 0), rank, rank == 1 ? "" : "s");
}

const char *ir_want_key(Arena *a, const IrNode *n, int i) {
    IrType key = IR_TYPE(DT_i32, 2);
    return ir_want_like(a, n, i, &key);
}

const char *ir_want_random_count(Arena *a, const IrNode *n, int64_t elems) {
    if (elems <= INT64_C(1) << 32) return NULL;
    return ir_shape_fail(a, n, "expected at most 2^32 random numbers in one tensor, found %lld",
                         (long long)elems);
}

const char *ir_set_result(Arena *a, IrNode *n, int i, IrType t) {
    const char *message = ir_type_check(a, &t);
    if (message) return ir_shape_fail(a, n, "result: %s", message);
    n->out[i].type = t;
    return NULL;
}

/* ---- leaves ---------------------------------------------------------------------------------- */

static const char *infer_param(Arena *a, IrNode *n) {
    TRY(ir_want_int(a, n, ATTR_param_decay, 0, 1));
    TRY(ir_want_int(a, n, ATTR_param_frozen, 0, 1));
    TRY(ir_want_int(a, n, ATTR_param_state, 0, 1));
    const char *init = ir_str(n, ATTR_param_init);
    VmInit rule;
    if (!vm_read_init(init, &rule))
        return ir_shape_fail(a, n, "init is \"%s\", expected %s", init, vm_init_forms);
    if (rule.same && n->out[0].type.rank == 0)
        return ir_shape_fail(a, n, "init is \"%s\", but there is no dimension 0", init);
    return NULL;
}

bool ir_table_sincos_2d(const char *values, int64_t *rows, int64_t *cols, int64_t *dim) {
    long long v[3];
    int end = 0;
    if (strspn(values, "sincos_2d(,0123456789)") != strlen(values))
        return false; /* no signs, no blanks */
    if (sscanf(values, "sincos_2d(%9lld,%9lld,%9lld)%n", &v[0], &v[1], &v[2], &end) != 3)
        return false;
    if (end == 0 || values[end]) return false;
    *rows = v[0];
    *cols = v[1];
    *dim = v[2];
    int64_t elems;
    if (v[0] < 1 || v[1] < 1 || v[2] < 4 || v[2] % 4 != 0) return false;
    return !__builtin_mul_overflow(v[0] * v[1], v[2], &elems) && elems <= INT64_C(1) << 31;
}

static const char *infer_table(Arena *a, IrNode *n) {
    int64_t rows, cols, dim;
    const char *values = ir_str(n, ATTR_table_values);
    if (!ir_table_sincos_2d(values, &rows, &cols, &dim))
        return ir_shape_fail(a, n, "values are \"%s\", expected sincos_2d(rows,cols,dim)", values);
    IrType want = IR_TYPE(DT_f32, rows * cols, dim);
    if (!ir_type_equal(&n->out[0].type, &want))
        return ir_shape_fail(a, n, "%s has the type %s, found %s", values, ir_type_text(a, &want),
                             ir_type_text(a, &n->out[0].type));
    return NULL;
}

static const char *infer_const(Arena *a, IrNode *n) {
    double v = ir_float(n, ATTR_const_value);
    bool integer = v >= INT32_MIN && v <= INT32_MAX && v == (double)(int64_t)v;
    if (n->out[0].type.dtype == DT_i32 && !integer)
        return ir_shape_fail(a, n, "value is %g, expected an i32 integer", v);
    return NULL;
}

/* Leaves come with their type; this only checks it. */
static const char *infer_leaf(Arena *a, IrNode *n) {
    const IrType *t = &n->out[0].type;
    const char *message = ir_type_check(a, t);
    if (message) return ir_shape_fail(a, n, "%s", message);
    IrType key = IR_TYPE(DT_i32, 2);
    if (n->op == OP_rng_key && !ir_type_equal(t, &key))
        return ir_shape_fail(a, n, "expected the type i32[2], found %s", ir_type_text(a, t));
    if ((n->op == OP_param || n->op == OP_state) && t->dtype != DT_f32)
        return ir_shape_fail(a, n, "expected f32 elements, found %s", ir_type_text(a, t));
    if (t->dtype == DT_bf16)
        return ir_shape_fail(a, n, "expected f32 or i32 elements, found %s", ir_type_text(a, t));
    if (n->op == OP_const) return infer_const(a, n);
    if (!n->attr[0].s[0])
        return ir_shape_fail(a, n, "%s is empty", ir_attrs[ir_ops[n->op].first_attr].name);
    if (n->op == OP_table) return infer_table(a, n);
    return n->op == OP_param ? infer_param(a, n) : NULL;
}

/* ---- entry ----------------------------------------------------------------------------------- */

static const char *check_operands(Arena *a, const IrNode *n) {
    const OpInfo *info = &ir_ops[n->op];
    if (n->nin < info->min_in || n->nin > info->max_in) {
        if (info->min_in == info->max_in)
            return ir_shape_fail(a, n, "expected %d operand%s, found %d", info->min_in,
                                 info->min_in == 1 ? "" : "s", n->nin);
        return ir_shape_fail(a, n, "expected %d to %d operands, found %d", info->min_in,
                             info->max_in, n->nin);
    }
    for (int i = 0; i < n->nin; i++) {
        if (!n->in[i]) return ir_shape_fail(a, n, "operand %d is missing", i + 1);
        const char *message = ir_type_check(a, &n->in[i]->type);
        if (message) return ir_shape_fail(a, n, "operand %d: %s", i + 1, message);
    }
    return NULL;
}

static const char *check_attrs(Arena *a, const IrNode *n) {
    const OpInfo *info = &ir_ops[n->op];
    for (int i = 0; i < info->nattr; i++) {
        const AttrInfo *at = &ir_attrs[(int)info->first_attr + i];
        if (at->required && !n->attr[i].set)
            return ir_shape_fail(a, n, "%s is not given", at->name);
        if (at->kind == ATTR_KIND_STR && !n->attr[i].s)
            return ir_shape_fail(a, n, "%s is NULL", at->name);
        if (at->kind == ATTR_KIND_INTS && (n->attr[i].n < 0 || (n->attr[i].n > 0 && !n->attr[i].v)))
            return ir_shape_fail(a, n, "%s is no list", at->name);
    }
    return NULL;
}

const char *ir_infer(Arena *a, IrNode *n) {
    if ((unsigned)n->op >= OP_COUNT) return arena_printf(a, "unknown op %d", (int)n->op);
    TRY(check_operands(a, n));
    TRY(check_attrs(a, n));
    return rules[n->op] ? rules[n->op](a, n) : infer_leaf(a, n);
}

/* ---- views ----------------------------------------------------------------------------------- */

/* The type with the dimensions of an INTS attribute. */
static const char *type_from_attr(Arena *a, const IrNode *n, AttrId id, DType d, IrType *t) {
    const int64_t *dim;
    int rank = ir_ints(n, id, &dim);
    if (rank > IR_MAX_RANK)
        return ir_shape_fail(a, n, "expected at most %d dimensions in shape, found %d", IR_MAX_RANK,
                             rank);
    *t = ir_type(d, rank, dim);
    const char *message = ir_type_check(a, t);
    return message ? ir_shape_fail(a, n, "shape: %s", message) : NULL;
}

const char *shape_reshape(Arena *a, IrNode *n) {
    const IrType *x = &n->in[0]->type;
    IrType t;
    TRY(type_from_attr(a, n, ATTR_reshape_shape, x->dtype, &t));
    if (ir_elems(&t) != ir_elems(x))
        return ir_shape_fail(a, n, "expected a shape of %lld elements for %s, found %s with %lld",
                             (long long)ir_elems(x), ir_shape_in(a, n, 0), ir_type_text(a, &t),
                             (long long)ir_elems(&t));
    return ir_set_result(a, n, 0, t);
}

const char *shape_broadcast(Arena *a, IrNode *n) {
    const IrType *x = &n->in[0]->type;
    IrType t;
    TRY(type_from_attr(a, n, ATTR_broadcast_shape, x->dtype, &t));
    int extra = t.rank - x->rank;
    bool fits = extra >= 0;
    for (int i = 0; fits && i < x->rank; i++)
        fits = x->dim[i] == t.dim[i + extra] || x->dim[i] == 1;
    if (!fits)
        return ir_shape_fail(a, n,
                             "%s does not broadcast to %s (dimensions are compared from the right)",
                             ir_shape_in(a, n, 0), ir_type_text(a, &t));
    return ir_set_result(a, n, 0, t);
}

const char *shape_transpose(Arena *a, IrNode *n) {
    const IrType *x = &n->in[0]->type;
    const int64_t *perm;
    int count = ir_ints(n, ATTR_transpose_perm, &perm);
    if (count != x->rank)
        return ir_shape_fail(a, n,
                             "expected a permutation of %d dimensions for %s, found %d entries",
                             x->rank, ir_shape_in(a, n, 0), count);
    IrType t = ir_type(x->dtype, x->rank, x->dim);
    unsigned seen = 0;
    for (int i = 0; i < count; i++) {
        if (perm[i] < 0 || perm[i] >= count || (seen >> perm[i] & 1))
            return ir_shape_fail(a, n, "expected a permutation of 0 to %d, found %lld%s", count - 1,
                                 (long long)perm[i],
                                 perm[i] < 0 || perm[i] >= count ? "" : " twice");
        seen |= 1u << perm[i];
        t.dim[i] = x->dim[perm[i]];
    }
    return ir_set_result(a, n, 0, t);
}

const char *shape_slice(Arena *a, IrNode *n) {
    TRY(ir_want_axis(a, n, ATTR_slice_axis));
    IrType t = n->in[0]->type;
    int64_t axis = ir_int(n, ATTR_slice_axis), start = ir_int(n, ATTR_slice_start);
    TRY(ir_want_int(a, n, ATTR_slice_start, 0, t.dim[axis] - 1));
    int64_t size = ir_int(n, ATTR_slice_size);
    if (size < 1 || size > t.dim[axis] - start)
        return ir_shape_fail(a, n,
                             "size is %lld, expected 1 to %lld from %lld in dimension %lld of %s",
                             (long long)size, (long long)(t.dim[axis] - start), (long long)start,
                             (long long)axis, ir_shape_in(a, n, 0));
    t.dim[axis] = size;
    return ir_set_result(a, n, 0, t);
}

/* ---- elementwise ----------------------------------------------------------------------------- */

static const char *same_shapes(Arena *a, const IrNode *n) {
    for (int i = 1; i < n->nin; i++)
        if (!ir_shape_equal(&n->in[i]->type, &n->in[0]->type))
            return ir_shape_fail(a, n, "expected operands of one shape, found %s and %s",
                                 ir_shape_in(a, n, 0), ir_shape_in(a, n, i));
    return NULL;
}

static const char *elementwise(Arena *a, IrNode *n) {
    TRY(ir_want_f32(a, n));
    TRY(same_shapes(a, n));
    return ir_set_result(a, n, 0, n->in[0]->type);
}

static const char *comparison(Arena *a, IrNode *n) {
    TRY(ir_want_dtype(a, n, 1, n->in[0]->type.dtype));
    TRY(same_shapes(a, n));
    IrType t = n->in[0]->type;
    t.dtype = DT_f32;
    return ir_set_result(a, n, 0, t);
}

const char *shape_copy(Arena *a, IrNode *n) {
    return ir_set_result(a, n, 0, n->in[0]->type);
}

const char *shape_stop_gradient(Arena *a, IrNode *n) {
    return ir_set_result(a, n, 0, n->in[0]->type);
}

const char *shape_kept(Arena *a, IrNode *n) {
    return ir_set_result(a, n, 0, n->in[0]->type);
}

#define ELEMENTWISE(name)                                                                          \
    const char *shape_##name(Arena *a, IrNode *n) {                                                \
        return elementwise(a, n);                                                                  \
    }
ELEMENTWISE(neg)
ELEMENTWISE(abs)
ELEMENTWISE(exp)
ELEMENTWISE(log)
ELEMENTWISE(log1p)
ELEMENTWISE(sqrt)
ELEMENTWISE(rsqrt)
ELEMENTWISE(tanh)
ELEMENTWISE(erf)
ELEMENTWISE(erfinv)
ELEMENTWISE(sigmoid)
ELEMENTWISE(relu)
ELEMENTWISE(gelu)
ELEMENTWISE(gelu_grad)
ELEMENTWISE(gelu_tanh)
ELEMENTWISE(gelu_tanh_grad)
ELEMENTWISE(add)
ELEMENTWISE(sub)
ELEMENTWISE(mul)
ELEMENTWISE(div)
ELEMENTWISE(maximum)
ELEMENTWISE(minimum)
ELEMENTWISE(silu)
ELEMENTWISE(softplus)
ELEMENTWISE(square)

const char *shape_select(Arena *a, IrNode *n) {
    TRY(ir_want_dtype(a, n, 0, DT_f32));
    if (n->in[1]->type.dtype != DT_i32) TRY(ir_want_dtype(a, n, 1, DT_f32));
    TRY(ir_want_dtype(a, n, 2, n->in[1]->type.dtype));
    TRY(same_shapes(a, n));
    return ir_set_result(a, n, 0, n->in[1]->type);
}

const char *shape_by_mode(Arena *a, IrNode *n) {
    if (n->in[0]->type.dtype != DT_i32) TRY(ir_want_dtype(a, n, 0, DT_f32));
    TRY(ir_want_like(a, n, 1, &n->in[0]->type));
    return ir_set_result(a, n, 0, n->in[0]->type);
}

const char *shape_less(Arena *a, IrNode *n) {
    return comparison(a, n);
}

const char *shape_equal(Arena *a, IrNode *n) {
    return comparison(a, n);
}

const char *shape_cast(Arena *a, IrNode *n) {
    TRY(ir_want_dtype(a, n, 0, DT_i32));
    IrType t = n->in[0]->type;
    t.dtype = DT_f32;
    return ir_set_result(a, n, 0, t);
}

const char *shape_lookup(Arena *a, IrNode *n) {
    const int64_t *value;
    int count = ir_ints(n, ATTR_lookup_values, &value);
    TRY(ir_want_dtype(a, n, 0, DT_i32));
    if (count < 1) return ir_shape_fail(a, n, "expected at least one value, found none");
    for (int i = 0; i < count; i++)
        if (value[i] < INT32_MIN || value[i] > INT32_MAX)
            return ir_shape_fail(a, n, "value %d is %lld, expected an i32 integer", i,
                                 (long long)value[i]);
    return ir_set_result(a, n, 0, n->in[0]->type);
}

const char *shape_narrow(Arena *a, IrNode *n) {
    TRY(ir_want_f32(a, n));
    IrType t = n->in[0]->type;
    t.dtype = DT_bf16;
    return ir_set_result(a, n, 0, t);
}

const char *shape_iota(Arena *a, IrNode *n) {
    IrType t;
    TRY(type_from_attr(a, n, ATTR_iota_shape, DT_i32, &t));
    if (ir_cols(&t) > INT32_MAX)
        return ir_shape_fail(a, n, "expected a last dimension below 2^31, found %s",
                             ir_type_text(a, &t));
    return ir_set_result(a, n, 0, t);
}

const char *shape_uniform(Arena *a, IrNode *n) {
    IrType t;
    TRY(ir_want_key(a, n, 0));
    TRY(type_from_attr(a, n, ATTR_uniform_shape, DT_f32, &t));
    TRY(ir_want_random_count(a, n, ir_elems(&t)));
    return ir_set_result(a, n, 0, t);
}

const char *shape_dropout(Arena *a, IrNode *n) {
    TRY(ir_want_f32(a, n));
    TRY(ir_want_probability(a, n, ATTR_dropout_p));
    TRY(ir_want_random_count(a, n, ir_elems(&n->in[0]->type)));
    return ir_set_result(a, n, 0, n->in[0]->type);
}

const char *shape_noise(Arena *a, IrNode *n) {
    TRY(ir_want_f32(a, n));
    const char *kind = ir_str(n, ATTR_noise_kind);
    if (strcmp(kind, "normal") != 0 && strcmp(kind, "uniform") != 0 && strcmp(kind, "gumbel") != 0)
        return ir_shape_fail(a, n, "kind is \"%s\", expected normal, uniform or gumbel", kind);
    TRY(ir_want_random_count(a, n, ir_elems(&n->in[0]->type)));
    return ir_set_result(a, n, 0, n->in[0]->type);
}
