/* Scaled dot-product attention, forward and backward, one (image, head) per work item. Scores live in this
 * thread's scratch for a block of queries at a time, never in memory as a whole; backward recomputes them
 * from the saved logsumexp (Dao et al. 2022). dk and dv are accumulated over query blocks in ascending
 * order by the item's only owner. */
#include <math.h>

#include "codegen/emit.h"

enum { QUERY_BLOCK = 48 }; /* a multiple of every tile's rows (4, 6, 8) */

typedef struct Attn {
    IrNode *n;
    int64_t batch, heads, nq, nk, d; /* queries, keys, head size */
    Tile score, out;                 /* tiles for [.., keys] and [.., head size] products */
    int64_t keys_padded, d_padded;
    double scale, dropout;
    Val row_ptr, b_index, h_index, item; /* row_ptr: scratch; the rest: this item */
} Attn;

static Attn describe(Kb *k, IrNode *n, AttrId heads, AttrId scale, AttrId dropout) {
    const IrType *q = &n->in[0]->type, *kv = &n->in[1]->type;
    Attn a = {.n = n, .batch = q->dim[0], .heads = ir_int(n, heads), .nq = q->dim[1], .nk = kv->dim[1]};
    a.d = q->dim[2] / a.heads;
    a.scale = ir_float(n, scale);
    a.dropout = ir_float(n, dropout);
    a.score = tile_choose(k->target, a.nk);
    a.out = tile_choose(k->target, a.d);
    a.keys_padded = (a.nk + a.score.nr - 1) / a.score.nr * a.score.nr;
    a.d_padded = (a.d + a.out.nr - 1) / a.out.nr * a.out.nr;
    a.row_ptr = kb_scratch(k, 8 * 8);
    return a;
}

/* One operand's matrix of this item: rows of `step` floats. */
typedef struct Mat {
    Val ptr;
    int64_t step;
} Mat;

static Mat head_of(Kb *k, const Attn *a, IrValue *v) {
    View w;
    view_resolve(v, &w);
    Val at = kb_add(k, kb_mul(k, a->b_index, kb_i64(k, w.stride[0])), kb_mul(k, a->h_index, kb_i64(k, a->d)));
    return (Mat){kb_gep(k, k->f32, kb_view_ptr(k, &w), at), w.stride[1]};
}

static Mat head_of_result(Kb *k, const Attn *a, int r) {
    const IrValue *v = &a->n->out[r];
    int64_t ld = plan_place_of(k->plan, v).ld;
    Val at = kb_add(k, kb_mul(k, a->b_index, kb_i64(k, v->type.dim[1] * ld)),
                    kb_mul(k, a->h_index, kb_i64(k, a->d)));
    return (Mat){kb_gep(k, k->f32, kb_ptr(k, v), at), ld};
}

static Val row_at(Kb *k, Mat m, Val row) {
    return kb_gep(k, k->f32, m.ptr, kb_mul(k, row, kb_i64(k, m.step)));
}

/* m^T in panels for the score products: [panels][d][nr], zero padded. */
static void pack_transposed(Kb *k, const Attn *a, Mat m, Val to) {
    Loop p, c;
    int64_t nr = a->score.nr;
    kb_loop(k, &p, kb_i64(k, 0), kb_i64(k, a->keys_padded / nr), 1, NULL, 0);
    Val panel = kb_gep(k, k->f32, to, kb_mul(k, p.i, kb_i64(k, a->d * nr)));
    kb_loop(k, &c, kb_i64(k, 0), kb_i64(k, a->d), 1, NULL, 0);
    for (int v = 0; v < a->score.vectors; v++) {
        Val key0 = kb_add(k, kb_mul(k, p.i, kb_i64(k, nr)), kb_i64(k, (int64_t)v * k->vl));
        Val mask = kb_mask_below(k, kb_sub(k, kb_i64(k, a->nk), key0));
        Val ptr = kb_gep(k, k->f32, row_at(k, m, key0), c.i);
        Val x = kb_load_strided(k, k->vf, k->f32, ptr, m.step, mask);
        Val at = kb_add(k, kb_mul(k, c.i, kb_i64(k, nr)), kb_i64(k, (int64_t)v * k->vl));
        kb_store(k, x, kb_gep(k, k->f32, panel, at), NULL);
    }
    kb_loop_end(k, &c);
    kb_loop_end(k, &p);
}

/* c[rows x cols] (+)= A b, with element (i, kk) of A at a + i*a_row + kk*a_step. b: panels of `inner` rows
 * when packed, else rows of b_step floats. */
typedef struct Product {
    Tile t;
    Val a;
    int64_t a_row, a_step;
    Val b;
    int64_t b_step, panel; /* panel: floats from one panel of b to the next */
    Val c;
    int64_t ldc, cols;
} Product;

static void product(Kb *k, const Attn *a, const Product *x, Val rows, Val inner, Val accumulate) {
    Loop r, p;
    kb_loop(k, &r, kb_i64(k, 0), rows, x->t.rows, NULL, 0);
    for (int i = 0; i < x->t.rows; i++) {
        Val row = kb_min(k, kb_add(k, r.i, kb_i64(k, i)), kb_sub(k, rows, kb_i64(k, 1)));
        Val ptr = kb_gep(k, k->f32, x->a, kb_mul(k, row, kb_i64(k, x->a_row)));
        LLVMBuildStore(k->b, ptr, kb_gep(k, k->ptr, a->row_ptr, kb_i64(k, i)));
    }
    kb_loop(k, &p, kb_i64(k, 0), kb_i64(k, (x->cols + x->t.nr - 1) / x->t.nr), 1, NULL, 0);
    Val b = kb_gep(k, k->f32, x->b, kb_mul(k, p.i, kb_i64(k, x->panel)));
    Val at = kb_add(k, kb_mul(k, r.i, kb_i64(k, x->ldc)), kb_mul(k, p.i, kb_i64(k, x->t.nr)));
    kb_micro(k, x->t, a->row_ptr, kb_i64(k, x->a_step), b, kb_i64(k, x->b_step), inner,
             kb_gep(k, k->f32, x->c, at), kb_i64(k, x->ldc), accumulate);
    kb_loop_end(k, &p);
    kb_loop_end(k, &r);
}

static Product score_product(const Attn *a, Mat rows, Val q0_ptr, Val packed, Val c) {
    int64_t nr = a->score.nr;
    return (Product){a->score, q0_ptr, rows.step, 1, packed, nr, a->d * nr, c, a->keys_padded, a->nk};
}

/* A: rows of scores (or, transposed, their columns); b: rows of a head. */
static Product out_product(const Attn *a, Val scores, bool transposed, Mat b, Val b_ptr, Val c, int64_t ldc) {
    int64_t lds = a->keys_padded, nr = a->out.nr;
    return (Product){a->out, scores, transposed ? 1 : lds, transposed ? lds : 1, b_ptr, b.step, nr, c,
                     ldc,    a->d};
}

/* Factor of each probability: 0 with probability p, else 1/(1-p). */
static Val drop_factor(Kb *k, const Attn *a, Val query, Val col) {
    Val key = kb_ptr(k, a->n->in[3]);
    Val key0 = LLVMBuildLoad2(k->b, k->i32, key, "");
    Val key1 = LLVMBuildLoad2(k->b, k->i32, kb_gep(k, k->i32, key, kb_i64(k, 1)), "");
    Val row = kb_add(k, kb_mul(k, a->item, kb_i64(k, a->nq)), query);
    Val first = LLVMBuildTrunc(k->b, kb_add(k, kb_mul(k, row, kb_i64(k, a->nk)), col), k->i32, "");
    Val u = kb_uniform(k, key0, key1, LLVMBuildAdd(k->b, kb_splat(k, first), kb_lanes(k), ""));
    double threshold = ceil(a->dropout * 0x1p24) * 0x1p-24; /* u is a multiple of 2^-24 */
    Val drop = LLVMBuildFCmp(k->b, LLVMRealOLT, u, kb_vf(k, threshold), "");
    return LLVMBuildSelect(k->b, drop, kb_vf(k, 0), kb_vf(k, 1 / (1 - a->dropout)), "");
}

/* ---- forward ---- */

typedef struct Scores {
    const Attn *a;
    Val row, query; /* scores of one query (pointer), its index */
    Val x, y;       /* scalars of the pass */
    Val grad;       /* backward: row of dp, then of ds */
} Scores;

static Val score_at(Kb *k, const Scores *s, Val col) {
    return kb_gep(k, k->f32, s->row, col);
}

static void pass_max(Kb *k, Pos pos, Val *carry, void *ctx) {
    Val v = kb_keep(k, kb_load(k, k->vf, score_at(k, ctx, pos.col), NULL), pos, kb_vf(k, -1e39));
    carry[0] = LLVMBuildSelect(k->b, LLVMBuildFCmp(k->b, LLVMRealUGT, v, carry[0], ""), v, carry[0], "");
}

/* x: largest score times scale */
static void pass_exp(Kb *k, Pos pos, Val *carry, void *ctx) {
    const Scores *s = ctx;
    Val at = score_at(k, s, pos.col), v = kb_load(k, k->vf, at, NULL);
    v = LLVMBuildFMul(k->b, v, kb_vf(k, s->a->scale), "");
    Val e = kb_exp(k, LLVMBuildFSub(k->b, v, kb_splat(k, s->x), ""));
    kb_store(k, e, at, NULL);
    carry[0] = LLVMBuildFAdd(k->b, carry[0], kb_keep(k, e, pos, kb_vf(k, 0)), "");
}

/* x: 1 / sum of exponentials */
static void pass_probability(Kb *k, Pos pos, Val *carry, void *ctx) {
    const Scores *s = ctx;
    (void)carry;
    Val at = score_at(k, s, pos.col);
    Val p = LLVMBuildFMul(k->b, kb_load(k, k->vf, at, NULL), kb_splat(k, s->x), "");
    if (s->a->dropout > 0) p = LLVMBuildFMul(k->b, p, drop_factor(k, s->a, s->query, pos.col), "");
    kb_store(k, p, at, NULL);
}

static void softmax_row(Kb *k, const Attn *a, Val scores, Val r, Val query) {
    Scores s = {.a = a, .query = query};
    s.row = kb_gep(k, k->f32, scores, kb_mul(k, r, kb_i64(k, a->keys_padded)));
    Val m = kb_vf(k, -1e39), sum = kb_vf(k, 0);
    kb_cols(k, query, a->nk, &m, 1, pass_max, &s);
    s.x = LLVMBuildFMul(k->b, kb_hmax(k, m), kb_f32(k, a->scale), "");
    kb_cols(k, query, a->nk, &sum, 1, pass_exp, &s);
    Val total = kb_hsum(k, sum);
    Val log = LLVMBuildExtractElement(k->b, kb_log(k, kb_splat(k, total)), kb_i32(k, 0), "");
    Val at = kb_add(k, kb_mul(k, a->item, kb_i64(k, a->nq)), query);
    Val lse = kb_gep(k, k->f32, kb_ptr(k, &a->n->out[1]), at);
    LLVMBuildStore(k->b, LLVMBuildFAdd(k->b, s.x, log, ""), lse);
    s.x = LLVMBuildFDiv(k->b, kb_f32(k, 1), total, "");
    kb_cols(k, query, a->nk, NULL, 0, pass_probability, &s);
}

typedef struct CopyRow {
    Val from, to;
} CopyRow;

static void copy_vector(Kb *k, Pos pos, Val *carry, void *ctx) {
    const CopyRow *c = ctx;
    (void)carry;
    kb_store(k, kb_load(k, k->vf, kb_gep(k, k->f32, c->from, pos.col), NULL),
             kb_gep(k, k->f32, c->to, pos.col), pos.mask);
}

/* Rows of scratch (d_padded floats apart) to rows first.. of a result. */
static void copy_out(Kb *k, const Attn *a, Val from, Mat to, Val first, Val rows) {
    Loop r;
    kb_loop(k, &r, kb_i64(k, 0), rows, 1, NULL, 0);
    CopyRow c = {kb_gep(k, k->f32, from, kb_mul(k, r.i, kb_i64(k, a->d_padded))),
                 row_at(k, to, kb_add(k, first, r.i))};
    kb_cols(k, r.i, a->d, NULL, 0, copy_vector, &c);
    kb_loop_end(k, &r);
}

static void item_loop(Kb *k, Attn *a, Loop *l) {
    Val begin, end;
    kb_share(k, a->batch * a->heads, &begin, &end);
    kb_loop(k, l, begin, end, 1, NULL, 0);
    a->item = l->i;
    a->b_index = kb_udiv(k, l->i, a->heads);
    a->h_index = kb_urem(k, l->i, a->heads);
}

static Val no(Kb *k) {
    return LLVMConstInt(k->i1, 0, 0);
}

void cg_lower_sdpa(Kb *k, IrNode *n) {
    Attn a = describe(k, n, ATTR_sdpa_heads, ATTR_sdpa_scale, ATTR_sdpa_dropout);
    Val packed = kb_scratch(k, a.keys_padded * a.d * 4),
        scores = kb_scratch(k, QUERY_BLOCK * a.keys_padded * 4);
    Val result = kb_scratch(k, QUERY_BLOCK * a.d_padded * 4);
    Loop item, block, r;
    item_loop(k, &a, &item);
    Mat q = head_of(k, &a, n->in[0]), key = head_of(k, &a, n->in[1]), v = head_of(k, &a, n->in[2]);
    Mat o = head_of_result(k, &a, 0);
    pack_transposed(k, &a, key, packed);
    kb_loop(k, &block, kb_i64(k, 0), kb_i64(k, a.nq), QUERY_BLOCK, NULL, 0);
    Val rows = kb_min(k, kb_i64(k, QUERY_BLOCK), kb_sub(k, kb_i64(k, a.nq), block.i));
    Product s = score_product(&a, q, row_at(k, q, block.i), packed, scores);
    product(k, &a, &s, rows, kb_i64(k, a.d), no(k));
    kb_loop(k, &r, kb_i64(k, 0), rows, 1, NULL, 0);
    softmax_row(k, &a, scores, r.i, kb_add(k, block.i, r.i));
    kb_loop_end(k, &r);
    Product y = out_product(&a, scores, false, v, v.ptr, result, a.d_padded);
    product(k, &a, &y, rows, kb_i64(k, a.nk), no(k));
    copy_out(k, &a, result, o, block.i, rows);
    kb_loop_end(k, &block);
    kb_loop_end(k, &item);
}

/* ---- backward ---- */

static void pass_delta(Kb *k, Pos pos, Val *carry, void *ctx) {
    const CopyRow *c = ctx; /* from: o, to: do */
    Val x = kb_load(k, k->vf, kb_gep(k, k->f32, c->from, pos.col), pos.mask);
    Val y = kb_load(k, k->vf, kb_gep(k, k->f32, c->to, pos.col), pos.mask);
    carry[0] = LLVMBuildFAdd(k->b, carry[0], LLVMBuildFMul(k->b, x, y, ""), "");
}

/* row: scores -> dropped probabilities; grad: dp -> ds = p (m dp - delta) scale. x: lse, y: delta. */
static void pass_score_grad(Kb *k, Pos pos, Val *carry, void *ctx) {
    const Scores *s = ctx;
    (void)carry;
    Val at = score_at(k, s, pos.col), gat = kb_gep(k, k->f32, s->grad, pos.col);
    Val t = LLVMBuildFMul(k->b, kb_load(k, k->vf, at, NULL), kb_vf(k, s->a->scale), "");
    Val p = kb_exp(k, LLVMBuildFSub(k->b, t, kb_splat(k, s->x), "")), dropped = p;
    Val dp = kb_load(k, k->vf, gat, NULL);
    if (s->a->dropout > 0) {
        Val m = drop_factor(k, s->a, s->query, pos.col);
        dropped = LLVMBuildFMul(k->b, p, m, "");
        dp = LLVMBuildFMul(k->b, dp, m, "");
    }
    Val ds = LLVMBuildFMul(k->b, p, LLVMBuildFSub(k->b, dp, kb_splat(k, s->y), ""), "");
    kb_store(k, dropped, at, NULL);
    kb_store(k, LLVMBuildFMul(k->b, ds, kb_vf(k, s->a->scale), ""), gat, NULL);
}

static void score_grad_row(Kb *k, const Attn *a, Val scores, Val grads, Mat o, Mat dout, Val r, Val query) {
    Val at = kb_mul(k, r, kb_i64(k, a->keys_padded)), delta = kb_vf(k, 0);
    CopyRow od = {row_at(k, o, query), row_at(k, dout, query)};
    kb_cols(k, query, a->d, &delta, 1, pass_delta, &od);
    Val index = kb_add(k, kb_mul(k, a->item, kb_i64(k, a->nq)), query);
    Scores s = {.a = a, .query = query, .y = kb_hsum(k, delta)};
    s.row = kb_gep(k, k->f32, scores, at);
    s.grad = kb_gep(k, k->f32, grads, at);
    s.x = LLVMBuildLoad2(k->b, k->f32, kb_gep(k, k->f32, kb_ptr(k, a->n->in[5]), index), "");
    kb_cols(k, query, a->nk, NULL, 0, pass_score_grad, &s);
}

void cg_lower_sdpa_grad(Kb *k, IrNode *n) {
    Attn a = describe(k, n, ATTR_sdpa_grad_heads, ATTR_sdpa_grad_scale, ATTR_sdpa_grad_dropout);
    int64_t rows_padded = (a.nk + QUERY_BLOCK - 1) / QUERY_BLOCK * QUERY_BLOCK;
    Val kt = kb_scratch(k, a.keys_padded * a.d * 4), vt = kb_scratch(k, a.keys_padded * a.d * 4);
    Val p = kb_scratch(k, QUERY_BLOCK * a.keys_padded * 4),
        ds = kb_scratch(k, QUERY_BLOCK * a.keys_padded * 4);
    Val dq = kb_scratch(k, QUERY_BLOCK * a.d_padded * 4);
    Val dk = kb_scratch(k, rows_padded * a.d_padded * 4), dv = kb_scratch(k, rows_padded * a.d_padded * 4);
    Loop item, block, r;
    item_loop(k, &a, &item);
    Mat q = head_of(k, &a, n->in[0]), key = head_of(k, &a, n->in[1]), v = head_of(k, &a, n->in[2]);
    Mat o = head_of(k, &a, n->in[4]), dout = head_of(k, &a, n->in[6]);
    pack_transposed(k, &a, key, kt);
    pack_transposed(k, &a, v, vt);
    kb_loop(k, &block, kb_i64(k, 0), kb_i64(k, a.nq), QUERY_BLOCK, NULL, 0);
    Val rows = kb_min(k, kb_i64(k, QUERY_BLOCK), kb_sub(k, kb_i64(k, a.nq), block.i));
    Val q0 = row_at(k, q, block.i), do0 = row_at(k, dout, block.i);
    Product s = score_product(&a, q, q0, kt, p), dp = score_product(&a, dout, do0, vt, ds);
    product(k, &a, &s, rows, kb_i64(k, a.d), no(k));
    product(k, &a, &dp, rows, kb_i64(k, a.d), no(k));
    kb_loop(k, &r, kb_i64(k, 0), rows, 1, NULL, 0);
    score_grad_row(k, &a, p, ds, o, dout, r.i, kb_add(k, block.i, r.i));
    kb_loop_end(k, &r);
    Val more = LLVMBuildICmp(k->b, LLVMIntSGT, block.i, kb_i64(k, 0), "");
    Product xq = out_product(&a, ds, false, key, key.ptr, dq, a.d_padded);
    Product xk = out_product(&a, ds, true, q, q0, dk, a.d_padded);
    Product xv = out_product(&a, p, true, dout, do0, dv, a.d_padded);
    product(k, &a, &xq, rows, kb_i64(k, a.nk), no(k));
    product(k, &a, &xk, kb_i64(k, a.nk), rows, more);
    product(k, &a, &xv, kb_i64(k, a.nk), rows, more);
    copy_out(k, &a, dq, head_of_result(k, &a, 0), block.i, rows);
    kb_loop_end(k, &block);
    copy_out(k, &a, dk, head_of_result(k, &a, 1), kb_i64(k, 0), kb_i64(k, a.nk));
    copy_out(k, &a, dv, head_of_result(k, &a, 2), kb_i64(k, 0), kb_i64(k, a.nk));
    kb_loop_end(k, &item);
}
