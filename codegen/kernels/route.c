/* Counting and sorting by expert: histogram, route_counts and route. A stable counting sort over
 * the pairs (token, choice) in flattened order: how often each expert occurs, where its rows begin,
 * then every pair to its row. With the counts of segments of the pairs as an operand, every segment
 * is an item that finds its own rows: those of earlier experts and of earlier segments come before
 * them. Without, one item does it all. requires indices of experts that exist, or -1. Results are
 * exact; who computes an item does not matter.
 *
 * Counters and cursors have a place more than there are experts, for pairs without one. */
#include "codegen/kernels/rules.h"

typedef struct Sort {
    Val index; /* i32[pairs] */
    int64_t pairs, experts, segments;
    int64_t rows; /* route: of the result */
    bool drops;   /* route: pairs may be without an expert */
} Sort;

/* The expert of a pair as a place: the last one for none. */
static Val place_of(Kb *k, const Sort *s, Val e) {
    Val none = LLVMBuildICmp(k->b, LLVMIntSLT, e, kb_i64(k, 0), "");
    return LLVMBuildSelect(k->b, none, kb_i64(k, s->experts), e, "");
}

static Val segment_begin(Kb *k, const Sort *s, Val segment) {
    return kb_udiv(k, kb_mul(k, segment, kb_i64(k, s->pairs)), s->segments);
}

enum { FEW_EXPERTS = 16 }; /* their counters are registers */

/* Lanes count one expert each time they meet it; nothing waits for memory. */
static void count_few(Kb *k, const Sort *s, Val from, Val to, Val counts) {
    Val counter[FEW_EXPERTS];
    int n = (int)s->experts;
    for (int e = 0; e < n; e++) counter[e] = kb_vi(k, 0);
    Loop l;
    kb_loop(k, &l, from, to, k->vl, counter, n);
    Val mask = kb_mask_below(k, kb_min(k, kb_sub(k, to, l.i), kb_i64(k, k->vl)));
    Val index = kb_load(k, k->vi, kb_gep(k, k->i32, s->index, l.i), mask);
    index = LLVMBuildSelect(k->b, mask, index, kb_vi(k, -1), "");
    for (int e = 0; e < n; e++) {
        Val met = LLVMBuildICmp(k->b, LLVMIntEQ, index, kb_vi(k, e), "");
        l.next[e] = LLVMBuildSub(k->b, l.carry[e], LLVMBuildSExt(k->b, met, k->vi, ""), "");
    }
    kb_loop_end(k, &l);
    for (int e = 0; e < n; e++) {
        Val sum = kb_call(k, "llvm.vector.reduce.add", k->vi, &l.carry[e], 1);
        LLVMBuildStore(k->b, sum, kb_gep(k, k->i32, counts, kb_i64(k, e)));
    }
}

/* counts[e] = how often e occurs among the pairs [from, to). counts has a place more. */
static void count_pairs(Kb *k, const Sort *s, Val from, Val to, Val counts) {
    Val zero = kb_i64(k, 0);
    Loop l;
    if (s->experts <= FEW_EXPERTS) {
        count_few(k, s, from, to, counts);
        return;
    }
    kb_loop(k, &l, zero, kb_i64(k, s->experts + 1), 1, NULL, 0);
    kb_store_i32(k, zero, counts, l.i);
    kb_loop_end(k, &l);
    kb_loop(k, &l, from, to, 1, NULL, 0);
    Val e = place_of(k, s, kb_load_i32(k, s->index, l.i));
    kb_store_i32(k, kb_add(k, kb_load_i32(k, counts, e), kb_i64(k, 1)), counts, e);
    kb_loop_end(k, &l);
}

void cg_lower_histogram(Kb *k, IrNode *n) {
    Sort s = {
        kb_ptr(k, n->in[0]), ir_elems(&n->in[0]->type), ir_elems(&n->out[0].type), 1, 0, true};
    Val out = kb_ptr(k, &n->out[0]), counts = kb_scratch(k, (s.experts + 1) * 4);
    If only;
    Loop l;
    kb_single(k, &only);
    count_pairs(k, &s, kb_i64(k, 0), kb_i64(k, s.pairs), counts);
    kb_loop(k, &l, kb_i64(k, 0), kb_i64(k, s.experts), 1, NULL, 0);
    Val count = LLVMBuildSIToFP(k->b, kb_load_i32(k, counts, l.i), k->f32, "");
    LLVMBuildStore(k->b, count, kb_gep(k, k->f32, out, l.i));
    kb_loop_end(k, &l);
    kb_if_end(k, &only);
}

/* Items: the segments. */
void cg_lower_route_counts(Kb *k, IrNode *n) {
    Sort s = {.index = kb_ptr(k, n->in[0]),
              .pairs = ir_elems(&n->in[0]->type),
              .experts = ir_int(n, ATTR_route_counts_experts),
              .segments = ir_int(n, ATTR_route_counts_segments)};
    Val counts = kb_ptr(k, &n->out[0]), own = kb_scratch(k, (s.experts + 1) * 4), begin, end;
    Loop l;
    kb_share(k, s.segments, &begin, &end);
    kb_loop(k, &l, begin, end, 1, NULL, 0);
    Val next = segment_begin(k, &s, kb_add(k, l.i, kb_i64(k, 1)));
    Val to = kb_gep(k, k->i32, counts, kb_mul(k, l.i, kb_i64(k, s.experts)));
    count_pairs(k, &s, segment_begin(k, &s, l.i), next, own);
    Loop e;
    kb_loop(k, &e, kb_i64(k, 0), kb_i64(k, s.experts), 1, NULL, 0);
    kb_store_i32(k, kb_load_i32(k, own, e.i), to, e.i);
    kb_loop_end(k, &e);
    kb_loop_end(k, &l);
}

/* to[r] = e for rows [from, to): in order, where placing pairs would write here and there. */
static void fill_rows(Kb *k, Val expert, Val e, Val from, Val to) {
    Val value = kb_splat(k, LLVMBuildTrunc(k->b, e, k->i32, ""));
    Loop l;
    kb_loop(k, &l, from, to, k->vl, NULL, 0);
    Val mask = kb_mask_below(k, kb_min(k, kb_sub(k, to, l.i), kb_i64(k, k->vl)));
    kb_store(k, value, kb_gep(k, k->i32, expert, l.i), mask);
    kb_loop_end(k, &l);
}

/* cursor[e]: the first row of expert e that belongs to `segment`, and behind them how many rows are
 * somebody's. Fills `expert` for as many rows as the segment has pairs, [first, last), and `pair`
 * where they are nobody's. */
static void first_rows(Kb *k, const Sort *s, Val counts, Val segment, Val first, Val last,
                       Val cursor, Val expert, Val pair) {
    Val zero = kb_i64(k, 0), none[2] = {zero, zero};
    Loop e, t;
    kb_loop(k, &e, zero, kb_i64(k, s->experts), 1, &zero, 1);
    kb_loop(k, &t, zero, kb_i64(k, s->segments), 1, none, 2);
    Val count = kb_load_i32(k, counts, kb_add(k, kb_mul(k, t.i, kb_i64(k, s->experts)), e.i));
    Val earlier = LLVMBuildICmp(k->b, LLVMIntSLT, t.i, segment, "");
    t.next[0] = kb_add(k, t.carry[0], count);
    t.next[1] = kb_add(k, t.carry[1], LLVMBuildSelect(k->b, earlier, count, zero, ""));
    kb_loop_end(k, &t);
    Val begin = e.carry[0], end = kb_add(k, begin, t.carry[0]);
    kb_store_i32(k, kb_add(k, begin, t.carry[1]), cursor, e.i);
    fill_rows(k, expert, e.i, kb_max(k, begin, first), kb_min(k, end, last));
    e.next[0] = end;
    kb_loop_end(k, &e);
    kb_store_i32(k, e.carry[0], cursor, kb_i64(k, s->experts));
    if (!s->drops) return;
    Val from = kb_max(k, e.carry[0], first), to = kb_min(k, last, kb_i64(k, s->rows));
    fill_rows(k, expert, kb_i64(k, s->experts), from, to);
    fill_rows(k, pair, zero, from, to);
}

/* The first segment's first rows are those of the experts. */
static void store_offsets(Kb *k, const Sort *s, Val segment, Val cursor, Val offset) {
    If first;
    Loop l;
    kb_if(k, &first, LLVMBuildICmp(k->b, LLVMIntEQ, segment, kb_i64(k, 0), ""));
    kb_loop(k, &l, kb_i64(k, 0), kb_i64(k, s->experts + 1), 1, NULL, 0);
    kb_store_i32(k, kb_load_i32(k, cursor, l.i), offset, l.i);
    kb_loop_end(k, &l);
    kb_if_end(k, &first);
}

/* Every pair of [from, to) to its expert's next row; without an expert, nowhere. */
static void place_pairs(Kb *k, const Sort *s, const IrNode *n, Val from, Val to, Val cursor) {
    Val pair = kb_ptr(k, &n->out[1]), row = kb_ptr(k, &n->out[2]), zero = kb_i64(k, 0);
    Val nowhere = s->drops ? kb_scratch(k, 4) : NULL;
    Loop l;
    kb_loop(k, &l, from, to, 1, NULL, 0);
    Val e = kb_load_i32(k, s->index, l.i), at = s->drops ? place_of(k, s, e) : e;
    Val r = kb_load_i32(k, cursor, at), to_pair = kb_gep(k, k->i32, pair, r), to_row = r;
    kb_store_i32(k, kb_add(k, r, kb_i64(k, 1)), cursor, at);
    if (s->drops) {
        Val none = LLVMBuildICmp(k->b, LLVMIntSLT, e, zero, "");
        to_pair = LLVMBuildSelect(k->b, none, nowhere, to_pair, "");
        to_row = LLVMBuildSelect(k->b, none, kb_i64(k, -1), r, "");
    }
    kb_store_i32(k, l.i, to_pair, zero);
    kb_store_i32(k, to_row, row, l.i);
    kb_loop_end(k, &l);
}

/* Items: the segments; one without counts. */
void cg_lower_route(Kb *k, IrNode *n) {
    bool counted = n->nin > 1;
    Sort s = {kb_ptr(k, n->in[0]),           ir_elems(&n->in[0]->type),
              ir_int(n, ATTR_route_experts), counted ? n->in[1]->type.dim[0] : 1,
              n->out[1].type.dim[0],         ir_int(n, ATTR_route_rows) > 0};
    Val counts = counted ? kb_ptr(k, n->in[1]) : kb_scratch(k, (s.experts + 1) * 4), begin, end;
    Val offset = kb_ptr(k, &n->out[0]), cursor = kb_scratch(k, (s.experts + 1) * 4);
    Loop l;
    kb_share(k, s.segments, &begin, &end);
    kb_loop(k, &l, begin, end, 1, NULL, 0);
    Val first = segment_begin(k, &s, l.i),
        last = segment_begin(k, &s, kb_add(k, l.i, kb_i64(k, 1)));
    if (!counted) count_pairs(k, &s, first, last, counts);
    first_rows(k, &s, counts, l.i, first, last, cursor, kb_ptr(k, &n->out[3]),
               kb_ptr(k, &n->out[1]));
    store_offsets(k, &s, l.i, cursor, offset);
    place_pairs(k, &s, n, first, last, cursor);
    kb_loop_end(k, &l);
}
