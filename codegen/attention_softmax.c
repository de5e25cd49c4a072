/* Scores of a panel of queries, [keys, queries]: a vector holds one key's scores for many queries, so softmax
 * needs no sums across lanes. What can be done while scores are in registers is done there. */
#include "codegen/attention.h"

/* Factor of each probability of key j for a vector of queries: 0 with probability p, else 1/(1-p). */
static Val drop_factor(Kb *k, const Attn *a, Val query, Val j) {
    Val key = kb_ptr(k, a->n->in[3]);
    Val key0 = LLVMBuildLoad2(k->b, k->i32, key, "");
    Val key1 = LLVMBuildLoad2(k->b, k->i32, kb_gep(k, k->i32, key, kb_i64(k, 1)), "");
    Val row = kb_add(k, kb_mul(k, a->item, kb_i64(k, a->nq)), query);
    Val first = LLVMBuildTrunc(k->b, kb_add(k, kb_mul(k, row, kb_i64(k, a->nk)), j), k->i32, "");
    Val step = LLVMBuildMul(k->b, kb_lanes(k), kb_vi(k, (int32_t)a->nk), "");
    Val u = kb_uniform(k, key0, key1, LLVMBuildAdd(k->b, kb_splat(k, first), step, ""));
    double parts = a->dropout * 0x1p24; /* u counts 2^-24ths: u < dropout means u < the next whole count */
    int64_t whole = (int64_t)parts + ((double)(int64_t)parts < parts);
    Val drop = LLVMBuildFCmp(k->b, LLVMRealOLT, u, kb_vf(k, (double)whole * 0x1p-24), "");
    return LLVMBuildSelect(k->b, drop, kb_vf(k, 0), kb_vf(k, 1 / (1 - a->dropout)), "");
}

static Val vec_at(Kb *k, const Attn *a, Val scores, Val j, int v) {
    Val at = kb_add(k, kb_mul(k, j, kb_i64(k, a->score_step)), kb_i64(k, (int64_t)v * k->vl));
    return kb_gep(k, k->f32, scores, at);
}

static Val query_of(Kb *k, const Panel *p, int v) {
    return kb_add(k, p->q0, kb_i64(k, (int64_t)v * k->vl));
}

/* Where the logsumexp of vector v's queries lies, and which lanes are queries. */
static Val lse_at(Kb *k, const Attn *a, const Panel *p, Val base, int v, Val *mask) {
    Val q = query_of(k, p, v);
    *mask = kb_mask_below(k, kb_sub(k, kb_i64(k, a->nq), q));
    return kb_gep(k, k->f32, base, kb_add(k, kb_mul(k, a->item, kb_i64(k, a->nq)), q));
}

static void over_keys(Kb *k, const Attn *a, Loop *l, const Val *init, int n) {
    kb_loop(k, l, kb_i64(k, 0), kb_i64(k, a->nk), 1, init, n);
}

/* [keys, queries] = rows of m times a packed panel */
static Product score_product(Kb *k, const Attn *a, const Panel *p, Mat m, Val packed, Val to) {
    return (Product){.rows = a->nk,
                     .vectors = p->vectors,
                     .a = m.ptr,
                     .a_row = m.step,
                     .a_step = 1,
                     .b = packed,
                     .b_step = (int64_t)p->vectors * k->vl,
                     .c = to,
                     .c_row = a->score_step,
                     .count = kb_i64(k, a->d)};
}

/* ---- forward ---- */

static Val greatest(Kb *k, void *ctx, Val row0, int r, int v, Val sum, Val *most) {
    (void)ctx, (void)row0, (void)r;
    Val more = LLVMBuildFCmp(k->b, LLVMRealOGT, sum, most[v], ""); /* NaN comes out in the sum */
    most[v] = LLVMBuildSelect(k->b, more, sum, most[v], "");
    return sum;
}

void attn_scores(Kb *k, const Attn *a, const Panel *p, Mat key, Val packed, Val scores, Val *most) {
    Product x = score_product(k, a, p, key, packed, scores);
    x.finish = greatest;
    x.ncarry = p->vectors;
    for (int v = 0; v < p->vectors; v++) most[v] = kb_vf(k, -1e39);
    attn_product(k, &x, most);
}

void attn_softmax(Kb *k, const Attn *a, const Panel *p, Val scores, const Val *most, Val *inverse) {
    Loop j;
    Val sum[4];
    for (int v = 0; v < p->vectors; v++) sum[v] = kb_vf(k, 0);
    over_keys(k, a, &j, sum, p->vectors);
    for (int v = 0; v < p->vectors; v++) {
        Val at = vec_at(k, a, scores, j.i, v);
        Val e = kb_exp2(k, kb_fsub(k, kb_load(k, k->vf, at, NULL), most[v]));
        j.next[v] = kb_fadd(k, j.carry[v], e);
        if (a->dropout > 0) e = kb_fmul(k, e, drop_factor(k, a, query_of(k, p, v), j.i));
        kb_store(k, e, at, NULL);
    }
    kb_loop_end(k, &j);
    for (int v = 0; v < p->vectors; v++) {
        Val mask, lse = lse_at(k, a, p, kb_ptr(k, &a->n->out[1]), v, &mask), log_sum = kb_log(k, j.carry[v]);
        kb_store(k, kb_call(k, "llvm.fma", k->vf, (Val[]){most[v], kb_vf(k, 1 / LOG2_E), log_sum}, 3), lse,
                 mask);
        inverse[v] = LLVMBuildFDiv(k->b, kb_vf(k, 1), j.carry[v], "");
    }
}

/* ---- backward ---- */

typedef struct Grads {
    const Attn *a;
    int vectors;
    Val lse[4]; /* in units of log2 */
    Val probs;
} Grads;

static Val probability(Kb *k, void *ctx, Val row0, int r, int v, Val sum, Val *carry) {
    const Grads *g = ctx;
    (void)row0, (void)r, (void)carry;
    return kb_exp2(k, kb_fsub(k, sum, g->lse[v]));
}

/* Even and odd rows of a tile in sums of their own: one chain would take longer than the tile's products. */
static Val add_delta(Kb *k, void *ctx, Val row0, int r, int v, Val sum, Val *delta) {
    const Grads *g = ctx;
    Val p = kb_load(k, k->vf, vec_at(k, g->a, g->probs, kb_add(k, row0, kb_i64(k, r)), v), NULL);
    Val *to = &delta[r % 2 * g->vectors + v];
    *to = kb_call(k, "llvm.fma", k->vf, (Val[]){p, sum, *to}, 3);
    return sum;
}

/* ds and delta with dropout; a negative probability is one that was dropped. */
static void drop_scores(Kb *k, const Attn *a, const Panel *p, Val probs, Val ds, Val *delta) {
    Loop j;
    over_keys(k, a, &j, delta, p->vectors);
    for (int v = 0; v < p->vectors; v++) {
        Val p_at = vec_at(k, a, probs, j.i, v), ds_at = vec_at(k, a, ds, j.i, v);
        Val factor = drop_factor(k, a, query_of(k, p, v), j.i), e = kb_load(k, k->vf, p_at, NULL);
        Val dp = kb_fmul(k, kb_load(k, k->vf, ds_at, NULL), factor);
        Val kept = LLVMBuildFCmp(k->b, LLVMRealOGT, factor, kb_vf(k, 0), "");
        kb_store(k, LLVMBuildSelect(k->b, kept, e, LLVMBuildFNeg(k->b, e, ""), ""), p_at, NULL);
        kb_store(k, dp, ds_at, NULL);
        j.next[v] = kb_call(k, "llvm.fma", k->vf, (Val[]){e, dp, j.carry[v]}, 3);
    }
    kb_loop_end(k, &j);
    for (int v = 0; v < p->vectors; v++) delta[v] = j.carry[v];
}

static void subtract_delta(Kb *k, const Attn *a, const Panel *p, Val probs, Val ds, const Val *delta) {
    Loop j;
    over_keys(k, a, &j, NULL, 0);
    for (int v = 0; v < p->vectors; v++) {
        Val p_at = vec_at(k, a, probs, j.i, v), ds_at = vec_at(k, a, ds, j.i, v);
        Val e = kb_load(k, k->vf, p_at, NULL);
        if (a->dropout > 0) {
            Val kept = LLVMBuildFCmp(k->b, LLVMRealOGT, e, kb_vf(k, 0), "");
            Val scaled = kb_fmul(k, e, kb_vf(k, 1 / (1 - a->dropout)));
            kb_store(k, LLVMBuildSelect(k->b, kept, scaled, kb_vf(k, 0), ""), p_at, NULL);
            e = kb_call(k, "llvm.fabs", k->vf, &e, 1);
        }
        Val d = kb_fsub(k, kb_load(k, k->vf, ds_at, NULL), delta[v]);
        kb_store(k, kb_fmul(k, e, d), ds_at, NULL);
    }
    kb_loop_end(k, &j);
}

void attn_score_grads(Kb *k, const Attn *a, const Panel *p, Mat key, Mat v, Val packed_q, Val packed_do,
                      Val probs, Val ds) {
    Grads g = {.a = a, .vectors = p->vectors, .probs = probs};
    Val delta[8];
    for (int i = 0; i < p->vectors; i++) {
        Val mask, from = lse_at(k, a, p, kb_ptr(k, a->n->in[4]), i, &mask);
        g.lse[i] = kb_fmul(k, kb_load(k, k->vf, from, mask), kb_vf(k, LOG2_E));
        delta[i] = delta[p->vectors + i] = kb_vf(k, 0);
    }
    Product s = score_product(k, a, p, key, packed_q, probs);
    s.finish = probability;
    s.ctx = &g;
    attn_product(k, &s, NULL);
    Product dp = score_product(k, a, p, v, packed_do, ds);
    if (a->dropout == 0) {
        dp.finish = add_delta;
        dp.ctx = &g;
        dp.ncarry = 2 * p->vectors;
    }
    attn_product(k, &dp, delta);
    for (int i = 0; i < p->vectors; i++) delta[i] = kb_fadd(k, delta[i], delta[p->vectors + i]);
    if (a->dropout > 0) drop_scores(k, a, p, probs, ds, delta);
    subtract_delta(k, a, p, probs, ds, delta);
}
