/* Internal to fusion. */
#ifndef VMOEC_PASSES_FUSE_H
#define VMOEC_PASSES_FUSE_H

#include "passes/passes.h"

/* legalize.c: inserts copies so that every operand can be read by its consumer's code. */
bool fuse_legalize(PassCtx *c, IrGraph *g);

#endif
