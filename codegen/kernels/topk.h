/* The top-k, alone or at the end of a row kernel (moe.c). */
#ifndef VMOEC_CODEGEN_KERNELS_TOPK_H
#define VMOEC_CODEGEN_KERNELS_TOPK_H

#include "codegen/build/emit.h"

typedef struct TopK {
    IrNode *n;
    int64_t cols, k; /* of operand 0, chosen */
    Val row, alive,
        chosen; /* scratch: the row; lanes not yet chosen (i32); the last choice, in every lane */
} TopK;
/* Takes the scratch. Then, for every row, its vectors in order and the row itself. */
void topk_begin(Kb *k, TopK *t, IrNode *topk);
void topk_vector(Kb *k, const TopK *t, Pos pos);
void topk_row(Kb *k, TopK *t, Val row);

#endif
