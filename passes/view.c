/* Views: composing reshape, broadcast, transpose and slice into one offset and one set of strides.
 * Nothing is moved here; where strides cannot express a reshape, fusion inserts a copy. */
#include "passes/view.h"

static void dense_strides(const IrType *t, int64_t *stride) {
    int64_t s = 1;
    for (int d = t->rank - 1; d >= 0; d--) {
        stride[d] = s;
        s *= t->dim[d];
    }
}

/* Strides of `to` over the elements that w walks in row-major order; false if no strides do it.
 * Both shapes are cut into the shortest runs of dimensions with equal products; inside a run the
 * old dimensions must be collapsible into one. */
static bool reshape_strides(const View *w, const IrType *to, int64_t *stride) {
    int i = 0, j = 0;
    while (i < w->type.rank || j < to->rank) {
        int i0 = i, j0 = j;
        int64_t a = i < w->type.rank ? w->type.dim[i++] : 1;
        int64_t b = j < to->rank ? to->dim[j++] : 1;
        while (a != b) {
            if (a < b) {
                if (i == w->type.rank) return false;
                a *= w->type.dim[i++];
            } else {
                if (j == to->rank) return false;
                b *= to->dim[j++];
            }
        }
        int64_t inner = 0; /* stride of the run seen as one dimension */
        int64_t expect = 0;
        bool any = false;
        for (int d = i - 1; d >= i0; d--) {
            if (w->type.dim[d] == 1) continue;
            if (!any)
                inner = w->stride[d];
            else if (w->stride[d] != expect)
                return false;
            any = true;
            expect = w->stride[d] * w->type.dim[d];
        }
        int64_t s = inner;
        for (int d = j - 1; d >= j0; d--) {
            stride[d] = to->dim[d] == 1 ? 0 : s;
            s *= to->dim[d];
        }
    }
    return true;
}

bool view_resolve(IrValue *v, View *out) {
    IrNode *n = v->node;
    if (ir_ops[n->op].route != ROUTE_VIEW) {
        *out = (View){.root = v, .type = v->type};
        dense_strides(&v->type, out->stride);
        return true;
    }
    View w;
    if (!view_resolve(n->in[0], &w)) return false;
    *out = w;
    out->type = v->type;
    switch (n->op) {
    case OP_slice: {
        int64_t axis = ir_int(n, ATTR_slice_axis);
        out->offset += ir_int(n, ATTR_slice_start) * w.stride[axis];
        return true;
    }
    case OP_transpose: {
        const int64_t *perm;
        int rank = ir_ints(n, ATTR_transpose_perm, &perm);
        for (int d = 0; d < rank; d++) out->stride[d] = w.stride[perm[d]];
        return true;
    }
    case OP_broadcast: {
        int shift = v->type.rank - w.type.rank;
        for (int d = 0; d < v->type.rank; d++) {
            bool repeats = d < shift || w.type.dim[d - shift] != v->type.dim[d];
            out->stride[d] = repeats ? 0 : w.stride[d - shift];
        }
        return true;
    }
    case OP_stop_gradient:
    case OP_kept: return true;
    case OP_reshape: return reshape_strides(&w, &v->type, out->stride);
    default: VM_BUG("view_resolve: %s is not a known view", ir_ops[n->op].name);
    }
}

IrValue *view_root(IrValue *v) {
    while (ir_ops[v->node->op].route == ROUTE_VIEW) v = v->node->in[0];
    return v;
}

bool view_is_dense(const View *w) {
    int64_t s = 1;
    for (int d = w->type.rank - 1; d >= 0; d--) {
        if (w->type.dim[d] != 1 && w->stride[d] != s) return false;
        s *= w->type.dim[d];
    }
    return true;
}

IrValue *view_same_position(IrValue *v) {
    while (v->node->op == OP_stop_gradient ||
           (v->node->op == OP_reshape && ir_cols(&v->type) == ir_cols(&v->node->in[0]->type)))
        v = v->node->in[0];
    return v;
}
