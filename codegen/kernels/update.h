/* Kernels that update weights of which packed copies are kept. Internal to this folder. */
#ifndef VMOEC_CODEGEN_KERNELS_UPDATE_H
#define VMOEC_CODEGEN_KERNELS_UPDATE_H

#include "codegen/build/emit.h"

/* A run of items over a weight of type t. Body for every vector of it, in tiles; it stores the
 * cluster's results, and what is then in the weight goes into the copies. */
void cg_update(Kb *k, const IrType *t, ColsBody body, void *ctx);

#endif
