/* Internal to simplify: the rules of simplify_arith.c and simplify_view.c. */
#ifndef VMOEC_PASSES_SIMPLIFY_H
#define VMOEC_PASSES_SIMPLIFY_H

#include "ir/ir.h"

/* A value equal to result 0 of n, or NULL when the rule does not apply. New nodes are built with b,
 * which stands before n; b->error is not used. n->mark is the number of uses of its results before
 * this round, 0 for nodes made in it. The value has the type of the result. */
typedef IrValue *SimplifyRule(IrBuilder *b, const IrNode *n);

typedef struct SimplifyRow {
    OpCode op;
    SimplifyRule *rule;
} SimplifyRow;

/* Tables ended by a row without a rule. */
extern const SimplifyRow simplify_arith[];
extern const SimplifyRow simplify_view[];

/* f32 or i32 constants: the value goes to *c. */
bool simplify_const(const IrValue *v, double *c);

/* Elementwise ops whose operands are all constants (simplify_arith.c). */
IrValue *simplify_fold(IrBuilder *b, const IrNode *n);

#endif
