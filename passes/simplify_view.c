/* Rules for views, data movement, and reductions that only change the shape. Normal forms: a
 * transpose or broadcast that moves no element is a reshape; chains of one kind of view are one
 * view. */
#include "passes/simplify.h"

#include <math.h>

static IrValue *view_of(IrValue *v, OpCode op) {
    return v->node->op == op ? v->node->in[0] : NULL;
}

/* A view or gather of a constant is a constant. */
static IrValue *rule_of_const(IrBuilder *b, const IrNode *n) {
    double c;
    return simplify_const(n->in[0], &c) ? ir_const(b, c, n->out[0].type) : NULL;
}

/* reshape(reshape(x)) -> reshape(x); nothing if the shape is already x's */
static IrValue *rule_reshape(IrBuilder *b, const IrNode *n) {
    IrValue *x = n->in[0], *inner = view_of(x, OP_reshape);
    if (ir_shape_equal(&x->type, &n->out[0].type)) return x;
    return inner ? ir_reshape(b, inner, &n->out[0].type) : NULL;
}

/* Dimensions of t without leading ones: the rank, with *first at the first that is not one. */
static int without_leading_ones(const IrType *t, const int64_t **first) {
    int skip = 0;
    while (skip < t->rank && t->dim[skip] == 1) skip++;
    *first = t->dim + skip;
    return t->rank - skip;
}

static bool same_but_leading_ones(const IrType *a, const IrType *b) {
    const int64_t *x, *y;
    int rank = without_leading_ones(a, &x);
    if (rank != without_leading_ones(b, &y)) return false;
    for (int i = 0; i < rank; i++) {
        if (x[i] != y[i]) return false;
    }
    return true;
}

/* broadcast(broadcast(x)) -> broadcast(x); leading ones that a reshape below it adds or removes do
 * not matter; one that repeats nothing is a reshape */
static IrValue *rule_broadcast(IrBuilder *b, const IrNode *n) {
    IrValue *x = n->in[0];
    const IrType *t = &n->out[0].type;
    if (ir_elems(&x->type) == ir_elems(t)) return ir_reshape(b, x, t);
    IrValue *inner = view_of(x, OP_broadcast);
    if (inner) return ir_broadcast(b, inner, t);
    inner = view_of(x, OP_reshape);
    if (!inner || inner->type.rank > t->rank || !same_but_leading_ones(&inner->type, &x->type))
        return NULL;
    return ir_broadcast(b, inner, t);
}

/* The dimensions longer than one keep their order. */
static bool keeps_order(const IrType *t, const int64_t *perm, int rank) {
    int64_t last = -1;
    for (int i = 0; i < rank; i++) {
        if (t->dim[perm[i]] == 1) continue;
        if (perm[i] < last) return false;
        last = perm[i];
    }
    return true;
}

/* transpose(transpose(x)) -> transpose(x); one that moves nothing is a reshape */
static IrValue *rule_transpose(IrBuilder *b, const IrNode *n) {
    const int64_t *outer, *first;
    IrValue *x = n->in[0], *inner = view_of(x, OP_transpose);
    int rank = ir_ints(n, ATTR_transpose_perm, &outer);
    if (keeps_order(&x->type, outer, rank)) return ir_reshape(b, x, &n->out[0].type);
    if (!inner) return NULL;
    int64_t perm[IR_MAX_RANK];
    ir_ints(x->node, ATTR_transpose_perm, &first);
    for (int i = 0; i < rank; i++) perm[i] = first[outer[i]];
    return IR_OP(b, transpose, VALS(inner), ATTRS(A_INTS(transpose_perm, perm, rank)));
}

static IrValue *slice_or_all(IrBuilder *b, IrValue *x, int axis, int64_t start, int64_t size) {
    return size == x->type.dim[axis] ? x : ir_slice(b, x, axis, start, size);
}

/* A slice that lies within one operand of a concat. */
static IrValue *slice_of_concat(IrBuilder *b, const IrNode *concat, int axis, int64_t start,
                                int64_t size) {
    int64_t at = 0;
    for (int i = 0; i < concat->nin; i++) {
        int64_t end = at + concat->in[i]->type.dim[axis];
        if (start >= at && start + size <= end)
            return slice_or_all(b, concat->in[i], axis, start - at, size);
        at = end;
    }
    return NULL;
}

/* A slice that lies within the placed part of an unslice, or beside it. */
static IrValue *slice_of_unslice(IrBuilder *b, const IrNode *n, int axis, int64_t start,
                                 int64_t size) {
    const IrNode *placed = n->in[0]->node;
    IrValue *x = placed->in[0];
    int64_t at = ir_int(placed, ATTR_unslice_start), end = at + x->type.dim[axis];
    if (start >= at && start + size <= end) return slice_or_all(b, x, axis, start - at, size);
    return start >= end || start + size <= at ? ir_const(b, 0.0, n->out[0].type) : NULL;
}

/* slice(slice(x)) along one dimension -> slice(x); slices of what was just put together -> the part
 */
static IrValue *rule_slice(IrBuilder *b, const IrNode *n) {
    IrValue *x = n->in[0];
    const IrNode *maker = x->node;
    int axis = (int)ir_int(n, ATTR_slice_axis);
    int64_t start = ir_int(n, ATTR_slice_start), size = ir_int(n, ATTR_slice_size);
    if (size == x->type.dim[axis]) return x;
    if (maker->op == OP_slice && ir_int(maker, ATTR_slice_axis) == axis)
        return ir_slice(b, maker->in[0], axis, ir_int(maker, ATTR_slice_start) + start, size);
    if (maker->op == OP_concat && ir_int(maker, ATTR_concat_axis) == axis)
        return slice_of_concat(b, maker, axis, start, size);
    if (maker->op == OP_unslice && ir_int(maker, ATTR_unslice_axis) == axis)
        return slice_of_unslice(b, n, axis, start, size);
    return NULL;
}

/* Neighbouring slices of one value -> one slice; NULL when the operands are anything else. */
static IrValue *concat_of_slices(IrBuilder *b, const IrNode *n, int axis) {
    IrValue *x = view_of(n->in[0], OP_slice);
    int64_t at = x ? ir_int(n->in[0]->node, ATTR_slice_start) : 0, first = at;
    for (int i = 0; i < n->nin; i++) {
        const IrNode *s = n->in[i]->node;
        if (s->op != OP_slice || s->in[0] != x) return NULL;
        if (ir_int(s, ATTR_slice_axis) != axis || ir_int(s, ATTR_slice_start) != at) return NULL;
        at += ir_int(s, ATTR_slice_size);
    }
    return slice_or_all(b, x, axis, first, at - first);
}

/* concat(x) -> x; of equal constants -> a constant; of neighbouring slices -> a slice */
static IrValue *rule_concat(IrBuilder *b, const IrNode *n) {
    double c, d;
    if (n->nin == 1) return n->in[0];
    if (!simplify_const(n->in[0], &c))
        return concat_of_slices(b, n, (int)ir_int(n, ATTR_concat_axis));
    for (int i = 1; i < n->nin; i++) {
        if (!simplify_const(n->in[i], &d) || c != d || signbit(c) != signbit(d)) return NULL;
    }
    return ir_const(b, c, n->out[0].type);
}

/* unslice to the full size -> x; of zeros -> zeros */
static IrValue *rule_unslice(IrBuilder *b, const IrNode *n) {
    double c;
    if (ir_type_equal(&n->in[0]->type, &n->out[0].type)) return n->in[0];
    return simplify_const(n->in[0], &c) && c == 0.0 ? ir_const(b, 0.0, n->out[0].type) : NULL;
}

/* sum over dimensions of size one -> reshape; over a constant whose partial sums are exact ->
 * constant */
static IrValue *rule_sum(IrBuilder *b, const IrNode *n) {
    IrValue *x = n->in[0];
    double c, count = (double)ir_elems(&x->type) / (double)ir_elems(&n->out[0].type);
    if (count == 1.0) return ir_reshape(b, x, &n->out[0].type);
    if (!simplify_const(x, &c) || c != floor(c) || fabs(c) * count > 0x1p24) return NULL;
    return ir_const(b, c * count, n->out[0].type);
}

/* ---- sums of unslices ------------------------------------------------------------------------ */

enum { MAX_TERMS = 64 };

/* The terms of a sum: parts placed along one dimension, and at most one other value. */
typedef struct Terms {
    const IrNode *part[MAX_TERMS];
    int nparts;
    IrValue *other;
} Terms;

static int64_t part_start(const IrNode *p) {
    return ir_int(p, ATTR_unslice_start);
}

/* Parts are kept in the order of their starts. */
static bool add_part(Terms *t, const IrNode *p) {
    if (t->nparts == MAX_TERMS) return false;
    if (t->nparts && ir_int(p, ATTR_unslice_axis) != ir_int(t->part[0], ATTR_unslice_axis))
        return false;
    int i = t->nparts++;
    for (; i > 0 && part_start(t->part[i - 1]) > part_start(p); i--) t->part[i] = t->part[i - 1];
    t->part[i] = p;
    return true;
}

/* Sums below the root, depth 0, count only if nobody else uses them. A sum of MAX_TERMS terms is no
 * deeper than that. */
static bool collect(Terms *t, IrValue *v, int depth) {
    const IrNode *n = v->node;
    if (n->op == OP_unslice) return add_part(t, n);
    if (n->op == OP_add && (depth == 0 || n->mark == 1) && depth < MAX_TERMS)
        return collect(t, n->in[1], depth + 1) && collect(t, n->in[0], depth + 1);
    if (t->other) return false;
    t->other = v;
    return true;
}

static bool tiles(const Terms *t, int64_t size) {
    int64_t at = 0;
    for (int i = 0; i < t->nparts; i++) {
        if (part_start(t->part[i]) != at) return false;
        at += t->part[i]->in[0]->type.dim[ir_int(t->part[i], ATTR_unslice_axis)];
    }
    return at == size;
}

/* unslice(x) + unslice(y) + .. + z -> concat(x, y, ..) + z where the parts tile the dimension.
 * Every element is a part plus zeros plus z, so one other term leaves nothing to round differently.
 */
static IrValue *rule_tiles(IrBuilder *b, const IrNode *n) {
    Terms t = {.nparts = 0};
    if (!collect(&t, &n->out[0], 0) || t.nparts < 2) return NULL;
    int64_t axis = ir_int(t.part[0], ATTR_unslice_axis);
    if (!tiles(&t, n->out[0].type.dim[axis])) return NULL;
    IrValue *in[MAX_TERMS];
    for (int i = 0; i < t.nparts; i++) in[i] = t.part[i]->in[0];
    IrValue *whole = IR_OP(b, concat, in, t.nparts, ATTRS(A_INT(concat_axis, axis)));
    return t.other ? ir_binary(b, OP_add, whole, t.other) : whole;
}

const SimplifyRow simplify_view[] = {
    {OP_reshape, rule_of_const},
    {OP_reshape, rule_reshape},
    {OP_broadcast, rule_of_const},
    {OP_broadcast, rule_broadcast},
    {OP_transpose, rule_of_const},
    {OP_transpose, rule_transpose},
    {OP_slice, rule_of_const},
    {OP_slice, rule_slice},
    {OP_dispatch, rule_of_const},
    {OP_expert_expand, rule_of_const},
    {OP_concat, rule_concat},
    {OP_unslice, rule_unslice},
    {OP_sum, rule_sum},
    {OP_add, rule_tiles},
    {OP_COUNT, NULL},
};
