/* Random well-typed graphs for the fuzz tests: a pure function of a seed. Operands and attributes
 * are chosen from the op table and offered to the shape rules (ir_try); what they refuse is not
 * added. */
#ifndef VMOEC_TESTS_OPS_UTIL_GEN_GRAPH_H
#define VMOEC_TESTS_OPS_UTIL_GEN_GRAPH_H

#include "tests/ops/util_case.h"

/* About `steps` layers over one input, with params, two losses (three when routed), a metric and an
 * output: MODEL ops and differentiable CORE ops, ready for every pipeline. Leaf names carry their
 * domains for case_fill. */
IrGraph *gen_graph(Arena *a, uint64_t seed, int steps);

/* After interp_run: NULL when small errors cannot flip a choice of g (largest, order, sign), no row
 * is too flat to normalise and nothing is huge, so that f32 and f64 must agree; otherwise which
 * node is to blame. */
const char *gen_unstable(const Interp *it, const IrGraph *g);

/* How many programs a test tries, and the first seed: VMOEC_FUZZ_N and VMOEC_FUZZ_SEED, or the
 * test's own. */
int64_t gen_count(int64_t normal);
uint64_t gen_first(uint64_t normal);

#endif
