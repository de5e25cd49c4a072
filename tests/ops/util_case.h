/* What the op tests share: graphs made from rows of cases.def, data for their leaves, comparison of
 * results. Requires the IR and the interpreter; knows nothing of code generation. */
#ifndef VMOEC_TESTS_OPS_UTIL_CASE_H
#define VMOEC_TESTS_OPS_UTIL_CASE_H

#include "interp/interp.h"

typedef enum CaseFill { FILL_none, FILL_even, FILL_one, FILL_gap, FILL_drop } CaseFill;

typedef struct OpCase {
    OpCode op;
    int T, K, E; /* ROUTED rows */
    CaseFill fill;
    const char *operands, *attrs;
    double tolerance, flops;
} OpCase;

extern const OpCase op_cases[];
extern const int op_ncases;

/* "matmul f[3,17] p.f[17,33] {tb=1}" for messages. */
const char *case_text(Arena *a, const OpCase *c);

/* Values of an operand's domain flip where f32 and f64, or x - h and x + h, differ: nothing to
 * differentiate. True for rows with `tie` or `wide` operands. */
bool case_has_ties(const OpCase *c);

/* The graph of a case: leaves, the op, every result as output "y0", "y1", ... as_params: float
 * inputs become params so that autodiff reports their gradients (bool excepted). *node is the op's
 * node. */
IrGraph *case_graph(Arena *a, const OpCase *c, bool as_params, IrNode **node);

/* Adds loss "objective" = sum(v * fixed random weights), the weights being input "objective:f". */
void case_add_objective(IrGraph *g, IrValue *v);

/* Fills data[ir_elems] of an input, param or state leaf with values that f32 holds exactly: a pure
 * function of seed and name. The part of the name after the last ':' is the domain: f       uniform
 * in [-2,2)             pos   uniform in [0.5,2) sep     every last dimension is a permutation of
 * values 0.375 apart: selection cannot flip tie     -1, 0 or 1                    wide  magnitudes
 * from 1e-4 to 80, both signs, and zeros bool    0 or 1                        int<n>  0..n-1 perm
 * a permutation of 0..n-1 over all elements step    (lr, c1, c2, 0) of adamw      choice<E>even,
 * choice<E>one, choice<E>gap: see cases.def x<s>    uniform in [-s,s), s any number anything else:
 * as f */
void case_fill(const IrNode *leaf, uint64_t seed, double *data);

/* Fills every input, param and state leaf and the random keys (seed, step 3). */
void case_fill_all(Interp *it, const IrGraph *g, uint64_t seed);

/* Worst |got - want| / (|want| + min(cap, max|want|) / 10 + 0.01) over n values, want rounded to
 * f32 if `f32`. Infinity where only one is finite or the infinities differ. cap: INFINITY where
 * rounding errors grow with the largest result (sums), 1 where every element stands alone. *at (may
 * be NULL): where. */
double case_error(const double *want, const double *got, int64_t n, bool f32, double cap,
                  int64_t *at);

/* ---- numbers (fixed generator, so that a seed names a test) ---------------------------------- */

typedef struct CaseRng {
    uint64_t state;
} CaseRng;
uint64_t case_next(CaseRng *r);
int64_t case_below(CaseRng *r, int64_t n); /* 0..n-1 */
double case_unit(CaseRng *r);              /* [0,1), 24 bits */

#endif
