/* Internal to fusion. */
#ifndef VMOEC_PASSES_FUSE_H
#define VMOEC_PASSES_FUSE_H

#include "passes/passes.h"

/* legalize.c: inserts copies so that every operand can be read by its consumer's code. */
bool fuse_legalize(PassCtx *c, IrGraph *g);

/* legalize.c: does kernel n evaluate operand i position by position, so that its producer may join
 * the cluster? What else a kernel reads, it reads from memory. */
bool fuse_evaluates(const IrNode *n, int i);

/* legalize.c: does reading v in a load touch x, other than at the position that is asked for? */
bool fuse_reads_elsewhere(IrValue *v, const IrValue *x);

/* legalize.c: would n be done in its readers' loads? A product of gathered rows with one number per
 * row: the gradient of `combine`. Writing it out would be writing routed copies. */
bool fuse_wants_inline(const IrNode *n);

#endif
