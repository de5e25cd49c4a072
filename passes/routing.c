/* routing: count the pairs of long routing sorts in segments, so that they run side by side.
 *
 * requires  CORE ops
 * ensures   a `route` of many pairs has the counts of its segments as operand 1, and a `histogram`
 * of many elements is the sum of such counts; cse makes one node of the counts of the same choices.
 * Short ones stay as they are: one thread is done before a second one would have begun.
 *
 * Segments follow from shapes only. They are no question of bits, for counts and rows are exact,
 * but kernels and plans should not differ between machines.
 *
 * before  %1, %2, %3, %4 = route %0 {experts = 4} : ..               (%0 i32[16384,1])
 *         %5 = histogram %0 {bins = 4} : f32[4]
 * after   %1 = route_counts %0 {experts = 4, segments = 16} : i32[16,4]
 *         %2, %3, %4, %5 = route %0, %1 {experts = 4} : ..
 *         %6 = cast %1 : f32[16,4]
 *         %7 = sum %6 {axes = [0]} : f32[4]                          (with a route_counts of its
 * own until cse) */
#include "passes/passes.h"

enum {
    FEWEST_PAIRS = 8192,  /* below, a microsecond or two is all there is to gain */
    SEGMENT_PAIRS = 1024, /* a microsecond's work */
    MOST_SEGMENTS = 16,
    COUNT_SHARE = 4
};

/* Every segment adds the counts of all: at most one addition for COUNT_SHARE of its pairs. */
static int64_t segments_of(int64_t pairs, int64_t experts) {
    int64_t s = pairs / SEGMENT_PAIRS;
    if (pairs < FEWEST_PAIRS) return 1;
    if (s > MOST_SEGMENTS) s = MOST_SEGMENTS;
    while (s > 1 && s * s > pairs / experts / COUNT_SHARE) s--;
    return s;
}

/* NULL: one segment is best. */
static IrValue *counts_of(IrBuilder *b, IrValue *choices, int64_t experts) {
    int64_t segments = segments_of(ir_elems(&choices->type), experts);
    if (segments == 1) return NULL;
    return IR_OP(
        b, route_counts, VALS(choices),
        ATTRS(A_INT(route_counts_experts, experts), A_INT(route_counts_segments, segments)));
}

static bool split_route(IrGraph *g, IrBuilder *b, IrNode *n) {
    int64_t experts = ir_int(n, ATTR_route_experts);
    IrValue *counts = n->nin == 1 ? counts_of(b, n->in[0], experts) : NULL;
    if (!counts) return false;
    IrNode *split =
        IR_OP(b, route, VALS(n->in[0], counts),
              ATTRS(A_INT(route_experts, experts), A_INT(route_rows, ir_int(n, ATTR_route_rows))))
            ->node;
    for (int i = 0; i < n->nout; i++) ir_replace_uses(g, &n->out[i], &split->out[i]);
    return true;
}

static bool split_histogram(IrGraph *g, IrBuilder *b, IrNode *n) {
    enum { EXACT = 1 << 24 }; /* f32 holds every count up to this one */
    static const int64_t axis = 0;
    if (ir_elems(&n->in[0]->type) > EXACT) return false;
    IrValue *counts = counts_of(b, n->in[0], ir_int(n, ATTR_histogram_bins));
    if (!counts) return false;
    ir_replace_uses(g, &n->out[0], ir_sum_axes(b, ir_unary(b, OP_cast, counts), &axis, 1));
    return true;
}

bool pass_routing(PassCtx *c, IrGraph *g) {
    (void)c;
    bool changed = false;
    IR_FOR (n, g) {
        IrBuilder b = ir_builder(g);
        b.at = n;
        b.loc = n->loc;
        if (n->op == OP_route) changed |= split_route(g, &b, n);
        if (n->op == OP_histogram) changed |= split_histogram(g, &b, n);
    }
    if (changed) ir_dce(g, false);
    return changed;
}
