/* Orders of choices: rank (short rows by counting what comes before each element, long ones by a
 * radix sort), capacity and fall_through (choices that find room, in such an order). Each item is a
 * row or a group of tokens, done by one thread in a fixed order; results are integers and exact. */
#include "codegen/kernels/rules.h"

/* ---- rank ---- */

enum { DIGIT_BITS = 11, DIGITS = 1 << DIGIT_BITS, PASSES = 3 /* of 11, 11 and 10 bits */ };

typedef struct Radix {
    Val count;          /* i32[PASSES][DIGITS], then the next place of every digit */
    Val key[2], who[2]; /* i32[n]: sorted from one to the other */
    int64_t n;
} Radix;

static Val load32(Kb *k, Val base, Val i) {
    return LLVMBuildLoad2(k->b, k->i32, kb_gep(k, k->i32, base, i), "");
}

static void store32(Kb *k, Val v, Val base, Val i) {
    LLVMBuildStore(k->b, v, kb_gep(k, k->i32, base, i));
}

/* Bits whose unsigned order is the descending order of x, a number or a vector: -0 is 0, and every
 * NaN comes first. */
static Val descending_bits(Kb *k, Val x) {
    bool vector = LLVMTypeOf(x) == k->vf;
    Val zero = vector ? kb_vi(k, 0) : kb_i32(k, 0), plus = vector ? kb_vf(k, 0) : kb_f32(k, 0);
    Val bits = LLVMBuildBitCast(k->b, kb_fadd(k, x, plus), vector ? k->vi : k->i32, "");
    Val negative = LLVMBuildICmp(k->b, LLVMIntSLT, bits, zero, "");
    Val ones = vector ? kb_vi(k, 0x7fffffff) : kb_i32(k, 0x7fffffff);
    Val down = LLVMBuildXor(k->b, bits, ones, ""); /* of what is not negative */
    Val key = LLVMBuildSelect(k->b, negative, bits, down, "");
    return LLVMBuildSelect(k->b, LLVMBuildFCmp(k->b, LLVMRealUNO, x, x, ""), zero, key, "");
}

/* Address index of a key's digit in pass p's counters. */
static Val digit_of(Kb *k, Val key, int p) {
    Val d = LLVMBuildLShr(k->b, key, kb_i32(k, p * DIGIT_BITS), "");
    d = LLVMBuildAnd(k->b, d, kb_i32(k, DIGITS - 1), "");
    return kb_add(k, LLVMBuildZExt(k->b, d, k->i64, ""), kb_i64(k, (int64_t)p * DIGITS));
}

static void bump(Kb *k, Val base, Val at) {
    store32(k, LLVMBuildAdd(k->b, load32(k, base, at), kb_i32(k, 1), ""), base, at);
}

/* Keys of the row, and how often every digit of every pass occurs. */
static void read_keys(Kb *k, const Radix *r, IrValue *x, Val row) {
    Val zero = kb_i64(k, 0),
        from = kb_gep(k, k->f32, kb_ptr(k, x), kb_mul(k, row, kb_i64(k, r->n)));
    Loop l;
    kb_loop(k, &l, zero, kb_i64(k, PASSES * DIGITS), k->vl, NULL, 0);
    kb_store(k, kb_vi(k, 0), kb_gep(k, k->i32, r->count, l.i), NULL);
    kb_loop_end(k, &l);
    kb_loop(k, &l, zero, kb_i64(k, r->n), 1, NULL, 0);
    Val key = descending_bits(k, LLVMBuildLoad2(k->b, k->f32, kb_gep(k, k->f32, from, l.i), ""));
    store32(k, key, r->key[0], l.i);
    store32(k, LLVMBuildTrunc(k->b, l.i, k->i32, ""), r->who[0], l.i);
    for (int p = 0; p < PASSES; p++) bump(k, r->count, digit_of(k, key, p));
    kb_loop_end(k, &l);
}

/* Counts -> the first place of every digit. */
static void first_places(Kb *k, const Radix *r, int p) {
    Val none = kb_i32(k, 0);
    Loop l;
    kb_loop(k, &l, kb_i64(k, (int64_t)p * DIGITS), kb_i64(k, (int64_t)(p + 1) * DIGITS), 1, &none,
            1);
    Val count = load32(k, r->count, l.i);
    store32(k, l.carry[0], r->count, l.i);
    l.next[0] = LLVMBuildAdd(k->b, l.carry[0], count, "");
    kb_loop_end(k, &l);
}

/* One stable pass; the last one writes the place of every element instead of the elements. */
static void sort_pass(Kb *k, const Radix *r, int p, Val out) {
    Val key_from = r->key[p % 2], who_from = r->who[p % 2];
    Loop l;
    first_places(k, r, p);
    kb_loop(k, &l, kb_i64(k, 0), kb_i64(k, r->n), 1, NULL, 0);
    Val key = load32(k, key_from, l.i), who = load32(k, who_from, l.i), digit = digit_of(k, key, p);
    Val place = load32(k, r->count, digit);
    bump(k, r->count, digit);
    Val to = LLVMBuildZExt(k->b, place, k->i64, "");
    if (p == PASSES - 1) {
        store32(k, place, out, LLVMBuildZExt(k->b, who, k->i64, ""));
    } else {
        store32(k, key, r->key[1 - p % 2], to);
        store32(k, who, r->who[1 - p % 2], to);
    }
    kb_loop_end(k, &l);
}

/* Places of a short row: for every element, how many come before it. Sorting has a fixed price of
 * thousands of counters. */
static void count_before(Kb *k, Val from, int64_t n, Val keys, Val out) {
    Val zero = kb_i64(k, 0), cols = kb_i64(k, n), none = kb_vi(k, 0);
    Loop i, j;
    kb_loop(k, &i, zero, cols, k->vl, NULL, 0);
    Val x = kb_load(k, k->vf, kb_gep(k, k->f32, from, i.i), kb_mask_below(k, kb_sub(k, cols, i.i)));
    kb_store(k, descending_bits(k, x), kb_gep(k, k->i32, keys, i.i), NULL);
    kb_loop_end(k, &i);
    kb_loop(k, &i, zero, cols, k->vl, NULL, 0);
    Val own = kb_load(k, k->vi, kb_gep(k, k->i32, keys, i.i), NULL);
    Val index =
        LLVMBuildAdd(k->b, kb_splat(k, LLVMBuildTrunc(k->b, i.i, k->i32, "")), kb_lanes(k), "");
    kb_loop(k, &j, zero, cols, 1, &none, 1);
    Val other = kb_splat(k, load32(k, keys, j.i));
    Val earlier = LLVMBuildICmp(k->b, LLVMIntSLT,
                                kb_splat(k, LLVMBuildTrunc(k->b, j.i, k->i32, "")), index, "");
    Val tie = LLVMBuildAnd(k->b, LLVMBuildICmp(k->b, LLVMIntEQ, other, own, ""), earlier, "");
    Val before = LLVMBuildOr(k->b, LLVMBuildICmp(k->b, LLVMIntULT, other, own, ""), tie, "");
    j.next[0] = LLVMBuildSub(k->b, j.carry[0], LLVMBuildSExt(k->b, before, k->vi, ""), "");
    kb_loop_end(k, &j);
    kb_store(k, j.carry[0], kb_gep(k, k->i32, out, i.i), kb_mask_below(k, kb_sub(k, cols, i.i)));
    kb_loop_end(k, &i);
}

static void rank_short_rows(Kb *k, IrNode *n, int64_t rows, int64_t cols) {
    Val keys = kb_scratch(k, (cols + k->vl) * 4), begin, end;
    Loop l;
    kb_share(k, rows, &begin, &end);
    kb_loop(k, &l, begin, end, 1, NULL, 0);
    Val first = kb_mul(k, l.i, kb_i64(k, cols));
    count_before(k, kb_gep(k, k->f32, kb_ptr(k, n->in[0]), first), cols, keys,
                 kb_gep(k, k->i32, kb_ptr(k, &n->out[0]), first));
    kb_loop_end(k, &l);
}

/* Items: the rows. */
void cg_lower_rank(Kb *k, IrNode *n) {
    const IrType *t = &n->in[0]->type;
    if (ir_cols(t) <= 12 * k->vl) { /* so many comparisons take as long as sorting */
        rank_short_rows(k, n, ir_rows(t), ir_cols(t));
        return;
    }
    Radix r = {.n = ir_cols(t), .count = kb_scratch(k, PASSES * DIGITS * 4)};
    for (int i = 0; i < 2; i++) {
        r.key[i] = kb_scratch(k, r.n * 4);
        r.who[i] = kb_scratch(k, r.n * 4);
    }
    Val begin, end;
    Loop l;
    kb_share(k, ir_rows(t), &begin, &end);
    kb_loop(k, &l, begin, end, 1, NULL, 0);
    read_keys(k, &r, n->in[0], l.i);
    Val out = kb_gep(k, k->i32, kb_ptr(k, &n->out[0]), kb_mul(k, l.i, kb_i64(k, r.n)));
    for (int p = 0; p < PASSES; p++) sort_pass(k, &r, p, out);
    kb_loop_end(k, &l);
}

/* ---- room ---- */

static void clear_room(Kb *k, Val taken, int64_t experts) {
    Loop l;
    kb_loop(k, &l, kb_i64(k, 0), kb_i64(k, experts), 1, NULL, 0);
    store32(k, kb_i32(k, 0), taken, l.i);
    kb_loop_end(k, &l);
}

/* order[place[i]] = i for n elements. */
static void invert(Kb *k, Val place, int64_t n, Val order) {
    Loop l;
    kb_loop(k, &l, kb_i64(k, 0), kb_i64(k, n), 1, NULL, 0);
    kb_store_i32(k, l.i, order, kb_load_i32(k, place, l.i));
    kb_loop_end(k, &l);
}

/* Items: the groups. */
void cg_lower_capacity(Kb *k, IrNode *n) {
    int64_t groups = ir_int(n, ATTR_capacity_groups), tokens = n->in[0]->type.dim[0] / groups;
    int64_t choices = n->in[0]->type.dim[1], experts = ir_int(n, ATTR_capacity_experts);
    Val limit = kb_i64(k, ir_int(n, ATTR_capacity_limit)), zero = kb_i64(k, 0), begin, end;
    Val taken = kb_scratch(k, experts * 4), order = n->nin > 1 ? kb_scratch(k, tokens * 4) : NULL;
    Loop g, j, l;
    kb_share(k, groups, &begin, &end);
    kb_loop(k, &g, begin, end, 1, NULL, 0);
    Val first = kb_mul(k, g.i, kb_i64(k, tokens));
    clear_room(k, taken, experts);
    if (order) invert(k, kb_gep(k, k->i32, kb_ptr(k, n->in[1]), first), tokens, order);
    kb_loop(k, &j, zero, kb_i64(k, choices), 1, NULL, 0);
    kb_loop(k, &l, zero, kb_i64(k, tokens), 1, NULL, 0);
    Val token = kb_add(k, first, order ? kb_load_i32(k, order, l.i) : l.i);
    Val at = kb_add(k, kb_mul(k, token, kb_i64(k, choices)), j.i);
    Val e = kb_load_i32(k, kb_ptr(k, n->in[0]), at), none = kb_i64(k, -1);
    Val some = LLVMBuildICmp(k->b, LLVMIntSGE, e, zero, ""), own = kb_max(k, e, zero);
    Val before = kb_load_i32(k, taken, own);
    Val room = LLVMBuildAnd(k->b, some, LLVMBuildICmp(k->b, LLVMIntSLT, before, limit, ""), "");
    kb_store_i32(k, kb_add(k, before, LLVMBuildZExt(k->b, room, k->i64, "")), taken, own);
    kb_store_i32(k, LLVMBuildSelect(k->b, room, e, none, ""), kb_ptr(k, &n->out[0]), at);
    kb_loop_end(k, &l);
    kb_loop_end(k, &j);
    kb_loop_end(k, &g);
}

/* Items: the groups. */
void cg_lower_fall_through(Kb *k, IrNode *n) {
    int64_t groups = n->in[0]->type.dim[0], pairs = n->in[0]->type.dim[1];
    int64_t experts = ir_int(n, ATTR_fall_through_experts), tokens = pairs / experts;
    Val limit = kb_i64(k, ir_int(n, ATTR_fall_through_limit)), zero = kb_i64(k, 0), begin, end;
    Val taken = kb_scratch(k, experts * 4), order = kb_scratch(k, pairs * 4);
    Loop g, l;
    kb_share(k, groups, &begin, &end);
    kb_loop(k, &g, begin, end, 1, NULL, 0);
    Val out = kb_gep(k, k->i32, kb_ptr(k, &n->out[0]), kb_mul(k, g.i, kb_i64(k, tokens)));
    clear_room(k, taken, experts);
    invert(k, kb_gep(k, k->i32, kb_ptr(k, n->in[0]), kb_mul(k, g.i, kb_i64(k, pairs))), pairs,
           order);
    kb_loop(k, &l, zero, kb_i64(k, tokens), 1, NULL, 0);
    kb_store_i32(k, kb_i64(k, -1), out, l.i);
    kb_loop_end(k, &l);
    kb_loop(k, &l, zero, kb_i64(k, pairs), 1, NULL, 0);
    Val pair = kb_load_i32(k, order, l.i), token = kb_udiv(k, pair, experts),
        e = kb_urem(k, pair, experts);
    Val has = kb_load_i32(k, out, token), before = kb_load_i32(k, taken, e);
    Val takes = LLVMBuildAnd(k->b, LLVMBuildICmp(k->b, LLVMIntSLT, has, zero, ""),
                             LLVMBuildICmp(k->b, LLVMIntSLT, before, limit, ""), "");
    kb_store_i32(k, kb_add(k, before, LLVMBuildZExt(k->b, takes, k->i64, "")), taken, e);
    kb_store_i32(k, LLVMBuildSelect(k->b, takes, e, has, ""), out, token);
    kb_loop_end(k, &l);
    kb_loop_end(k, &g);
}
