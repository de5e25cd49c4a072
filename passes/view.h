/* How a value is found in memory when it is a VIEW of another: shared by fusion and code
 * generation. */
#ifndef VMOEC_PASSES_VIEW_H
#define VMOEC_PASSES_VIEW_H

#include "ir/ir.h"

/* Element (i0, i1, ..) of the viewed value is element offset + sum i_d * stride[d] of the dense
 * row-major buffer of `root`, which is not a VIEW. */
typedef struct View {
    IrValue *root;
    IrType type; /* of the viewed value */
    int64_t offset;
    int64_t stride[IR_MAX_RANK];
} View;

/* False when some reshape on the way cannot be expressed with strides. */
bool view_resolve(IrValue *v, View *out);

/* The first non-VIEW value behind v. */
IrValue *view_root(IrValue *v);

/* Row-major without gaps: the view is `root`'s bytes from `offset`. */
bool view_is_dense(const View *w);

/* Position-preserving: flattened to [rows, cols], element (r, c) of v is element (r, c) of the
 * result. Walks back through reshapes that keep the last dimension, and stop_gradient; stops at
 * anything else. */
IrValue *view_same_position(IrValue *v);

#endif
