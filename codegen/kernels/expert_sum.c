/* Sums over each expert's rows: the gradients of biases and other values per expert. Elementwise
 * producers are evaluated in the load.
 *
 * An item is a strip of columns of one expert. Its rows are found by bisection, because the operand
 * says which expert a row belongs to and is ascending; they are added in two or four interleaved
 * chains (rows of one number: in one chain per lane), so the order depends on the routing only. */
#include "codegen/kernels/rules.h"

/* A strip is half a row where that is possible, so that an expert with most of the rows is two
 * items at least. */
enum { MAX_STRIP = 8, ACCUMULATORS = 16, MAX_WAYS = 4 };

typedef struct ExpertSum {
    IrNode *n;
    int64_t experts, routed, inner, cols;
} ExpertSum;

/* The first routed row whose expert is at least e. */
static Val first_row(Kb *k, const ExpertSum *x, Val e) {
    Val owner = kb_ptr(k, x->n->in[1]), base = kb_i64(k, 0);
    Val want = LLVMBuildTrunc(k->b, e, k->i32, "");
    for (int64_t n = x->routed, half; n > 0; n -= half) { /* n rows from base are open */
        half = (n + 1) / 2;
        Val at = kb_gep(k, k->i32, owner, kb_add(k, base, kb_i64(k, half - 1)));
        Val below = LLVMBuildICmp(k->b, LLVMIntSLT, LLVMBuildLoad2(k->b, k->i32, at, ""), want, "");
        base = LLVMBuildSelect(k->b, below, kb_add(k, base, kb_i64(k, half)), base, "");
        if (n == 1) break;
    }
    return base;
}

/* acc[s] += columns col + s vl.. of routed row `row`. */
static void add_row(Kb *k, const ExpertSum *x, Val row, Val inner, Val col, int strip, Val mask,
                    const Val *acc, Val *next) {
    Val from = kb_add(k, kb_mul(k, row, kb_i64(k, x->inner)), inner);
    for (int s = 0; s < strip; s++) {
        kb_new_pos(k);
        Pos pos = {from, kb_add(k, col, kb_i64(k, s * k->vl)), mask};
        next[s] = kb_fadd(k, acc[s], kb_eval(k, x->n->in[0], pos));
    }
    kb_new_pos(k);
}

static void sum_strip(Kb *k, const ExpertSum *x, Val expert, Val inner, Val col, int strip,
                      Val mask) {
    int ways = ACCUMULATORS / strip < MAX_WAYS ? ACCUMULATORS / strip : MAX_WAYS;
    Val first = first_row(k, x, expert), last = first_row(k, x, kb_add(k, expert, kb_i64(k, 1)));
    Val count = kb_sub(k, last, first), zero[ACCUMULATORS];
    Val whole = kb_add(k, first, kb_mul(k, kb_udiv(k, count, ways), kb_i64(k, ways)));
    for (int i = 0; i < ways * strip; i++) zero[i] = kb_vf(k, 0);
    Loop l, rest;
    kb_loop(k, &l, first, whole, ways, zero, ways * strip);
    for (int w = 0; w < ways; w++)
        add_row(k, x, kb_add(k, l.i, kb_i64(k, w)), inner, col, strip, mask, l.carry + w * strip,
                l.next + w * strip);
    kb_loop_end(k, &l);
    kb_loop(k, &rest, whole, last, 1, l.carry, strip); /* the last rows go to the first chain */
    add_row(k, x, rest.i, inner, col, strip, mask, rest.carry, rest.next);
    kb_loop_end(k, &rest);
    Val row = kb_add(k, kb_mul(k, expert, kb_i64(k, x->inner)), inner);
    for (int s = 0; s < strip; s++) {
        Val sum = kb_fadd(k, rest.carry[s], l.carry[strip + s]);
        for (int w = 2; w < ways; w += 2)
            sum = kb_fadd(k, sum, kb_fadd(k, l.carry[w * strip + s], l.carry[(w + 1) * strip + s]));
        kb_store_value(k, &x->n->out[0], sum,
                       (Pos){row, kb_add(k, col, kb_i64(k, s * k->vl)), mask});
    }
}

/* Items: every strip of `width` columns, n of them from column `from`, of every expert. */
static void strips(Kb *k, const ExpertSum *x, int64_t from, int64_t n, int strip, Val mask) {
    if (n <= 0) return;
    int64_t width = (int64_t)strip * k->vl, each = x->inner * n;
    Val begin, end;
    kb_share(k, x->experts * each, &begin, &end);
    Loop l;
    kb_loop(k, &l, begin, end, 1, NULL, 0);
    Val within = kb_urem(k, l.i, each);
    Val col = kb_add(k, kb_mul(k, kb_urem(k, within, n), kb_i64(k, width)), kb_i64(k, from));
    sum_strip(k, x, kb_udiv(k, l.i, each), kb_udiv(k, within, n), col, strip, mask);
    kb_loop_end(k, &l);
}

/* [R] -> [E]: every row is one number, and consecutive ones belong together. */
static void add_numbers(Kb *k, Pos pos, Val *carry, void *ctx) {
    const ExpertSum *x = ctx;
    carry[0] = kb_fadd(k, carry[0], kb_keep(k, kb_eval(k, x->n->in[0], pos), pos, kb_vf(k, 0)));
}

static void sum_numbers(Kb *k, const ExpertSum *x) {
    Val begin, end, out = kb_ptr(k, &x->n->out[0]);
    kb_share(k, x->experts, &begin, &end);
    Loop e, r;
    kb_loop(k, &e, begin, end, 1, NULL, 0);
    Val first = first_row(k, x, e.i), last = first_row(k, x, kb_add(k, e.i, kb_i64(k, 1))),
        zero = kb_vf(k, 0);
    kb_loop(k, &r, first, last, k->vl, &zero, 1);
    kb_new_pos(k);
    r.next[0] = r.carry[0];
    add_numbers(k, (Pos){kb_i64(k, 0), r.i, kb_mask_below(k, kb_sub(k, last, r.i))}, r.next,
                (void *)x);
    kb_loop_end(k, &r);
    LLVMBuildStore(k->b, kb_hsum(k, r.carry[0]), kb_gep(k, k->f32, out, e.i));
    kb_loop_end(k, &e);
    kb_new_pos(k);
}

void cg_lower_expert_sum(Kb *k, IrNode *n) {
    const IrType *t = &n->in[0]->type;
    ExpertSum x = {n, ir_int(n, ATTR_expert_sum_experts), t->dim[0], 1, ir_cols(t)};
    if (t->rank == 1) {
        sum_numbers(k, &x);
        return;
    }
    x.inner = ir_rows(t) / t->dim[0];
    int64_t vectors = x.cols / k->vl, done = vectors * k->vl;
    int strip = (int)(vectors / 2 < MAX_STRIP ? vectors / 2 : MAX_STRIP);
    if (strip < 1) strip = 1;
    while (strip & (strip - 1)) strip &= strip - 1; /* a power of two */
    int64_t wide = vectors / strip;
    strips(k, &x, 0, wide, strip, NULL);
    strips(k, &x, wide * strip * k->vl, vectors - wide * strip, 1, NULL);
    if (x.cols > done) strips(k, &x, done, 1, 1, kb_mask_below(k, kb_i64(k, x.cols - done)));
}
