/* Scores of a panel of queries, [keys, queries]: a vector holds one key's scores for many queries,
 * so softmax needs no sums across lanes. What can be done while scores are in registers is done
 * there. */
#include "codegen/kernels/attention.h"

/* Factor of each probability of key j for a vector of queries: 0 with probability p, else 1/(1-p).
 */
static Val drop_factor(Kb *k, const Attn *a, Val query, Val j) {
    Val key = kb_ptr(k, a->n->in[3]);
    Val key0 = LLVMBuildLoad2(k->b, k->i32, key, "");
    Val key1 = LLVMBuildLoad2(k->b, k->i32, kb_gep(k, k->i32, key, kb_i64(k, 1)), "");
    Val row = kb_add(k, kb_mul(k, a->item, kb_i64(k, a->nq)), query);
    Val first = LLVMBuildTrunc(k->b, kb_add(k, kb_mul(k, row, kb_i64(k, a->nk)), j), k->i32, "");
    Val step = LLVMBuildMul(k->b, kb_lanes(k), kb_vi(k, (int32_t)a->nk), "");
    Val u = kb_uniform(k, key0, key1, LLVMBuildAdd(k->b, kb_splat(k, first), step, ""));
    double parts =
        a->dropout * 0x1p24; /* u counts 2^-24ths: u < dropout means u < the next whole count */
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

/* Keys j and, where it exists, j + 1; sums are carried from pair to pair. odd: is there a key j +
 * 1? */
typedef void (*KeysBody)(Kb *k, const void *ctx, Val j, bool odd, Val *sums);
static void over_key_pairs(Kb *k, const Attn *a, KeysBody body, const void *ctx, Val *sums, int n) {
    Loop l;
    kb_loop(k, &l, kb_i64(k, 0), kb_i64(k, a->nk / 2 * 2), 2, sums, n);
    for (int i = 0; i < n; i++) l.next[i] = l.carry[i];
    body(k, ctx, l.i, true, l.next);
    kb_loop_end(k, &l);
    for (int i = 0; i < n; i++) sums[i] = l.carry[i];
    if (a->nk % 2) body(k, ctx, kb_i64(k, a->nk - 1), false, sums);
}

/* Vector v of row j/2: a pair of every two keys' numbers x. */
static void store_pair(Kb *k, const Attn *a, Val scores, Val j, int v, const Val x[2]) {
    kb_store(k, kb_pair(k, x[0], x[1]), vec_at(k, a, scores, kb_udiv(k, j, 2), v), NULL);
}

/* From raw scores to units of log2, less `offset`. */
static Val scaled(Kb *k, const Attn *a, Val score, Val offset) {
    if (!a->bf16) return kb_fsub(k, score, offset);
    return kb_fma(k, score, kb_vf(k, a->scale * LOG2_E), LLVMBuildFNeg(k->b, offset, ""));
}

/* [keys, queries] = rows of m times a packed panel */
static Product score_product(Kb *k, const Attn *a, const Panel *p, Mat m, Val packed, Val to) {
    return (Product){.bf16 = a->bf16,
                     .rows = a->nk,
                     .vectors = p->vectors,
                     .a = m.ptr,
                     .a_row = m.step,
                     .a_step = 1,
                     .b = packed,
                     .b_step = (int64_t)p->vectors * k->vl,
                     .c = to,
                     .c_row = a->score_step,
                     .count = kb_i64(k, a->words)};
}

/* ---- forward ---- */

static Val greatest(Kb *k, void *ctx, Val row0, int r, int v, Val sum, Val *most) {
    const Attn *a = ctx;
    (void)row0, (void)r;
    LLVMRealPredicate beats = a->bf16 && a->scale < 0 ? LLVMRealOLT : LLVMRealOGT;
    Val more = LLVMBuildFCmp(k->b, beats, sum, most[v], ""); /* NaN comes out in the sum */
    most[v] = LLVMBuildSelect(k->b, more, sum, most[v], "");
    return sum;
}

void attn_scores(Kb *k, const Attn *a, const Panel *p, Mat key, Val packed, Val scores, Val *most) {
    Product x = score_product(k, a, p, key, packed, scores);
    x.finish = greatest;
    x.ctx = (void *)a;
    x.ncarry = p->vectors;
    for (int v = 0; v < p->vectors; v++) most[v] = kb_vf(k, a->bf16 && a->scale < 0 ? 1e39 : -1e39);
    attn_product(k, &x, most);
    for (int v = 0; v < p->vectors && a->bf16; v++)
        most[v] = kb_fmul(k, most[v], kb_vf(k, a->scale * LOG2_E));
}

typedef struct Softmax {
    const Attn *a;
    const Panel *p;
    Val scores;
    const Val *most;
} Softmax;

/* The exponential of a score, which sum[v] gets and dropout may drop. */
static Val exponential(Kb *k, const Softmax *s, Val j, int v, Val *sum) {
    const Attn *a = s->a;
    Val e = kb_exp2(
        k, scaled(k, a, kb_load(k, k->vf, vec_at(k, a, s->scores, j, v), NULL), s->most[v]));
    sum[v] = kb_fadd(k, sum[v], e);
    return a->dropout > 0 ? kb_fmul(k, e, drop_factor(k, a, query_of(k, s->p, v), j)) : e;
}

static void exponentials(Kb *k, const void *ctx, Val j, bool odd, Val *sum) {
    const Softmax *s = ctx;
    for (int v = 0; v < s->p->vectors; v++) {
        Val e[] = {exponential(k, s, j, v, sum), kb_vf(k, 0)};
        if (odd) e[1] = exponential(k, s, kb_add(k, j, kb_i64(k, 1)), v, sum);
        store_pair(k, s->a, s->scores, j, v, e);
    }
}

void attn_softmax(Kb *k, const Attn *a, const Panel *p, Val scores, const Val *most, Val *inverse) {
    Softmax s = {a, p, scores, most};
    Val sum[4];
    for (int v = 0; v < p->vectors; v++) sum[v] = kb_vf(k, 0);
    if (a->bf16) {
        over_key_pairs(k, a, exponentials, &s, sum, p->vectors);
    } else {
        Loop j;
        over_keys(k, a, &j, sum, p->vectors);
        for (int v = 0; v < p->vectors; v++) {
            j.next[v] = j.carry[v];
            kb_store(k, exponential(k, &s, j.i, v, j.next), vec_at(k, a, scores, j.i, v), NULL);
        }
        kb_loop_end(k, &j);
        for (int v = 0; v < p->vectors; v++) sum[v] = j.carry[v];
    }
    for (int v = 0; v < p->vectors; v++) {
        Val mask, lse = lse_at(k, a, p, kb_ptr(k, &a->n->out[1]), v, &mask),
                  log_sum = kb_log(k, sum[v]);
        kb_store(k, kb_fma(k, most[v], kb_vf(k, 1 / LOG2_E), log_sum), lse, mask);
        inverse[v] = LLVMBuildFDiv(k->b, kb_vf(k, 1), sum[v], "");
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
    return kb_exp2(k, scaled(k, g->a, sum, g->lse[v]));
}

/* Even and odd rows of a tile in sums of their own: one chain would take longer than the tile's
 * products. */
static Val add_delta(Kb *k, void *ctx, Val row0, int r, int v, Val sum, Val *delta) {
    const Grads *g = ctx;
    Val p = kb_load(k, k->vf, vec_at(k, g->a, g->probs, kb_add(k, row0, kb_i64(k, r)), v), NULL);
    Val *to = &delta[r % 2 * g->vectors + v];
    *to = kb_fma(k, p, sum, *to);
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
        j.next[v] = kb_fma(k, e, dp, j.carry[v]);
    }
    kb_loop_end(k, &j);
    for (int v = 0; v < p->vectors; v++) delta[v] = j.carry[v];
}

typedef struct Subtract {
    const Attn *a;
    const Panel *p;
    const PanelScores *s;
    const Val *delta;
} Subtract;

/* Key j's ds, scaled with bf16 (f32 scales do); *prob: its probability after dropout. */
static Val less_delta(Kb *k, const Subtract *x, Val j, int v, Val *prob) {
    const Attn *a = x->a;
    Val e = *prob = kb_load(k, k->vf, vec_at(k, a, x->s->probs, j, v), NULL);
    if (a->dropout > 0) {
        Val kept = LLVMBuildFCmp(k->b, LLVMRealOGT, e, kb_vf(k, 0), "");
        Val more = kb_fmul(k, e, kb_vf(k, 1 / (1 - a->dropout)));
        *prob = LLVMBuildSelect(k->b, kept, more, kb_vf(k, 0), "");
        e = kb_call(k, "llvm.fabs", k->vf, &e, 1);
    }
    Val d = kb_load(k, k->vf, vec_at(k, a, x->s->ds, j, v), NULL);
    if (!a->bf16) return kb_fmul(k, e, kb_fsub(k, d, x->delta[v]));
    Val scale = kb_vf(k, a->scale), offset = kb_fmul(k, x->delta[v], kb_vf(k, -a->scale));
    return kb_fmul(k, e, kb_fma(k, d, scale, offset));
}

/* A key's numbers x of every vector, rounded. Whole cache lines: a panel begins at one. */
static void store_short(Kb *k, const Attn *a, Val scores, Val j, int vectors, const Val *x) {
    Val row = kb_mul(k, j, kb_i64(k, 2 * a->short_step));
    for (int v = 0; v < vectors; v += 2) {
        Val to =
            kb_gep(k, kb_elem(k, DT_bf16), scores, kb_add(k, row, kb_i64(k, (int64_t)v * k->vl)));
        if (v + 1 < vectors)
            kb_store(k, kb_round_two(k, x[v], x[v + 1]), to, NULL);
        else
            kb_store_bf16(k, x[v], to, NULL);
    }
}

static void subtract_pair(Kb *k, const void *ctx, Val j, bool odd, Val *sums) {
    const Subtract *x = ctx;
    Val prob[2][4], ds[2][4];
    int vectors = x->p->vectors;
    (void)sums;
    for (int v = 0; v < vectors; v++) ds[1][v] = kb_vf(k, 0);
    for (int i = 0; i < 1 + odd; i++) {
        Val key = kb_add(k, j, kb_i64(k, i));
        for (int v = 0; v < vectors; v++) ds[i][v] = less_delta(k, x, key, v, &prob[i][v]);
        store_short(k, x->a, x->s->short_probs, key, vectors, prob[i]);
        store_short(k, x->a, x->s->short_ds, key, vectors, ds[i]);
    }
    for (int v = 0; v < vectors; v++)
        store_pair(k, x->a, x->s->ds, j, v, (Val[]){ds[0][v], ds[1][v]});
}

static void subtract_delta(Kb *k, const Attn *a, const Panel *p, const PanelScores *s,
                           const Val *delta) {
    Subtract x = {a, p, s, delta};
    Loop j;
    if (a->bf16) {
        over_key_pairs(k, a, subtract_pair, &x, NULL, 0);
        return;
    }
    over_keys(k, a, &j, NULL, 0);
    for (int v = 0; v < p->vectors; v++) {
        Val prob, ds = less_delta(k, &x, j.i, v, &prob);
        if (a->dropout > 0) kb_store(k, prob, vec_at(k, a, s->probs, j.i, v), NULL);
        kb_store(k, ds, vec_at(k, a, s->ds, j.i, v), NULL);
    }
    kb_loop_end(k, &j);
}

void attn_score_grads(Kb *k, const Attn *a, const Panel *p, Mat key, Mat v, Val packed_q,
                      Val packed_do, const PanelScores *to) {
    Val probs = to->probs, ds = to->ds;
    Grads g = {.a = a, .vectors = p->vectors, .probs = probs};
    Val delta[8];
    for (int i = 0; i < p->vectors; i++) {
        Val mask, from = lse_at(k, a, p, kb_ptr(k, a->n->in[4]), i, &mask);
        g.lse[i] = kb_fmul(k, kb_load(k, k->vf, from, mask), kb_vf(k, LOG2_E));
        /* pairs of queries are summed over: the partner of an odd last one has probability 0 */
        if (a->bf16) g.lse[i] = LLVMBuildSelect(k->b, mask, g.lse[i], kb_vf(k, 1e30), "");
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
    subtract_delta(k, a, p, to, delta);
}
