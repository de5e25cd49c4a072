/* Scaled dot-product attention, forward and backward. A work item is a block of queries of one (image, head)
 * forward and a whole (image, head) backward. Scores live in this thread's scratch for a block of queries at
 * a time, never in memory as a whole; backward recomputes them from the saved logsumexp (Dao et al. 2022). dk
 * and dv are accumulated over query blocks in ascending order by the item's only owner.
 *
 * Scores are kept transposed, [keys, queries]: a vector holds one key's scores for many queries, so softmax
 * needs no sums across lanes. Lanes past the last query repeat it and are never stored. */
#include "codegen/emit.h"

/* Scores are scaled by it as well, so that softmax needs powers of two only. */
#define LOG2_E 1.4426950408889634

typedef struct Attn {
    IrNode *n;
    int64_t batch, heads, nq, nk, d; /* queries, keys, head size */
    Tile score, out;                 /* tiles for [keys, queries] and [.., head size] products */
    int64_t block;                   /* queries at a time: whole panels of the score tile */
    int64_t d_padded;                /* floats of a head's row in scratch */
    double scale, dropout;
    Val row_ptr, out_ptr, zero_ptr; /* scratch: a tile's rows of a and c; zeros for sums to start from */
    Val b_index, h_index, item;     /* this item */
    Val q0, rows;                   /* the block: first query, how many */
} Attn;

static Attn describe(Kb *k, IrNode *n, AttrId heads, AttrId scale, AttrId dropout) {
    enum { WANT_BLOCK = 64, MOST_ROWS = 8 };
    const IrType *q = &n->in[0]->type, *kv = &n->in[1]->type;
    Attn a = {.n = n, .batch = q->dim[0], .heads = ir_int(n, heads), .nq = q->dim[1], .nk = kv->dim[1]};
    a.d = q->dim[2] / a.heads;
    a.scale = ir_float(n, scale);
    a.dropout = ir_float(n, dropout);
    a.score = tile_choose(k->target, a.nq);
    a.out = tile_choose(k->target, a.d);
    int64_t panels = (a.nq + a.score.nr - 1) / a.score.nr, most = (WANT_BLOCK + a.score.nr - 1) / a.score.nr;
    a.block = (panels < most ? panels : most) * a.score.nr;
    a.d_padded = (a.d + a.out.nr - 1) / a.out.nr * a.out.nr;
    a.row_ptr = kb_scratch(k, MOST_ROWS * 8);
    a.out_ptr = kb_scratch(k, MOST_ROWS * 8);
    return a;
}

/* Rows of `step` floats. */
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

/* Columns c0.. (at most a vector, `n` of them) of a vector's worth of the block's rows, transposed into the
 * panel: row c of the panel is column c of m. */
static void pack_square(Kb *k, const Attn *a, Mat m, Val group, Val c0, int64_t n, Val panel) {
    Val row[16], mask = n < k->vl ? kb_mask_below(k, kb_i64(k, n)) : NULL;
    for (int i = 0; i < k->vl; i++) {
        Val q = kb_add(k, kb_add(k, a->q0, group), kb_i64(k, i));
        q = kb_min(k, q, kb_i64(k, a->nq - 1));
        row[i] = kb_load(k, k->vf, kb_gep(k, k->f32, row_at(k, m, q), c0), mask);
    }
    kb_transpose(k, row);
    for (int c = 0; c < n; c++) {
        Val at = kb_mul(k, kb_add(k, c0, kb_i64(k, c)), kb_i64(k, a->score.nr));
        kb_store(k, row[c], kb_gep(k, k->f32, panel, at), NULL);
    }
}

/* The block's rows of m, transposed: [panels][d][nr]. */
static void pack_block(Kb *k, const Attn *a, Mat m, Val to) {
    int64_t nr = a->score.nr, whole = a->d / k->vl * k->vl;
    Loop g, c;
    kb_loop(k, &g, kb_i64(k, 0), a->rows, k->vl, NULL, 0);
    Val panel = kb_mul(k, kb_udiv(k, g.i, nr), kb_i64(k, a->d * nr));
    Val lane0 = nr == k->vl ? kb_i64(k, 0) : kb_urem(k, g.i, nr);
    panel = kb_gep(k, k->f32, to, kb_add(k, panel, lane0));
    kb_loop(k, &c, kb_i64(k, 0), kb_i64(k, whole), k->vl, NULL, 0);
    pack_square(k, a, m, g.i, c.i, k->vl, panel);
    kb_loop_end(k, &c);
    if (whole < a->d) pack_square(k, a, m, g.i, kb_i64(k, whole), a->d - whole, panel);
    kb_loop_end(k, &g);
}

/* c[rows x cols] (+)= A b, with element (i, kk) of A at a + i*a_row + kk*a_step, b in panels `panel` floats
 * apart, rows of b_step floats. */
typedef struct Product {
    Tile t;
    Val a;
    int64_t a_row, a_step;
    Val b;
    int64_t b_step, panel;
    Val c;
    int64_t ldc;
} Product;

/* Tables of a tile: where its rows of a and c are, and a row of zeros for sums to start from. */
static void tile_rows(Kb *k, const Attn *a, const Product *x, Val row0, Val rows) {
    for (int i = 0; i < x->t.rows; i++) {
        Val row = kb_min(k, kb_add(k, row0, kb_i64(k, i)), kb_sub(k, rows, kb_i64(k, 1)));
        Val from = kb_gep(k, k->f32, x->a, kb_mul(k, row, kb_i64(k, x->a_row)));
        Val to = kb_gep(k, k->f32, x->c, kb_mul(k, row, kb_i64(k, x->ldc)));
        LLVMBuildStore(k->b, from, kb_gep(k, k->ptr, a->row_ptr, kb_i64(k, i)));
        LLVMBuildStore(k->b, to, kb_gep(k, k->ptr, a->out_ptr, kb_i64(k, i)));
    }
}

/* accumulate NULL: c begins with zeros. */
static void product(Kb *k, const Attn *a, const Product *x, Val rows, Val cols, Val inner, Val accumulate) {
    Loop r, p;
    kb_loop(k, &r, kb_i64(k, 0), rows, x->t.rows, NULL, 0);
    tile_rows(k, a, x, r.i, rows);
    kb_loop(k, &p, kb_i64(k, 0), kb_udiv(k, kb_add(k, cols, kb_i64(k, x->t.nr - 1)), x->t.nr), 1, NULL, 0);
    Val at = kb_mul(k, p.i, kb_i64(k, x->t.nr));
    Micro m = {.tile = x->t, .a_rows = a->row_ptr, .a_step = kb_i64(k, x->a_step), .count = inner};
    m.b = kb_gep(k, k->f32, x->b, kb_mul(k, p.i, kb_i64(k, x->panel)));
    m.b_step = kb_i64(k, x->b_step);
    m.c_rows = a->out_ptr;
    m.c_at = at;
    if (accumulate) {
        m.init_rows = LLVMBuildSelect(k->b, accumulate, a->out_ptr, a->zero_ptr, "");
        m.init_at = LLVMBuildSelect(k->b, accumulate, at, kb_i64(k, 0), "");
    }
    kb_micro(k, &m);
    kb_loop_end(k, &p);
    kb_loop_end(k, &r);
}

/* Heads whose rows are whole panels are written where they belong; others go through scratch. */
static bool writes_in_place(const Attn *a) {
    return a->d % a->out.nr == 0;
}

/* Fills zero_ptr: pointers to one row of zeros. Once per call. */
static void make_zeros(Kb *k, Attn *a) {
    Val row = kb_scratch(k, a->out.nr * 4);
    a->zero_ptr = kb_scratch(k, a->out.rows * 8);
    for (int i = 0; i < a->out.vectors; i++)
        kb_store(k, kb_vf(k, 0), kb_gep(k, k->f32, row, kb_i64(k, (int64_t)i * k->vl)), NULL);
    for (int i = 0; i < a->out.rows; i++)
        LLVMBuildStore(k->b, row, kb_gep(k, k->ptr, a->zero_ptr, kb_i64(k, i)));
}

/* c[keys, block] = rows of m times the packed block. */
static void score_product(Kb *k, const Attn *a, Mat m, Val packed, Val c) {
    int64_t nr = a->score.nr;
    Product x = {a->score, m.ptr, m.step, 1, packed, nr, a->d * nr, c, a->block};
    product(k, a, &x, kb_i64(k, a->nk), a->rows, kb_i64(k, a->d), NULL);
}

/* c[block, d] = scores^T b: one row per query, summed over keys. */
static void query_product(Kb *k, const Attn *a, Val scores, Mat b, Mat c) {
    Product x = {a->out, scores, 1, a->block, b.ptr, b.step, a->out.nr, c.ptr, c.step};
    product(k, a, &x, a->rows, kb_i64(k, a->d), kb_i64(k, a->nk), NULL);
}

/* c[keys, d] (+)= scores b: one row per key, summed over the block's queries. */
static void key_product(Kb *k, const Attn *a, Val scores, Mat b, Mat c, Val accumulate) {
    Product x = {a->out, scores, a->block, 1, row_at(k, b, a->q0), b.step, a->out.nr, c.ptr, c.step};
    product(k, a, &x, kb_i64(k, a->nk), kb_i64(k, a->d), a->rows, accumulate);
}

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

static Val vec_at(Kb *k, const Attn *a, Val scores, Val j, Val q) {
    return kb_gep(k, k->f32, scores, kb_add(k, kb_mul(k, j, kb_i64(k, a->block)), q));
}

/* Where the logsumexp of the block's query q lies, and which lanes are queries. */
static Val lse_at(Kb *k, const Attn *a, Val base, Val q, Val *mask) {
    *mask = kb_mask_below(k, kb_sub(k, a->rows, q));
    Val at = kb_add(k, kb_add(k, kb_mul(k, a->item, kb_i64(k, a->nq)), a->q0), q);
    return kb_gep(k, k->f32, base, at);
}

static void over_keys(Kb *k, const Attn *a, Loop *l, const Val *init, int n) {
    kb_loop(k, l, kb_i64(k, 0), kb_i64(k, a->nk), 1, init, n);
}

/* Scores of the block -> exponentials, dropped where dropout says so; one over their sums to `inverses`,
 * logsumexp to memory. */
static void softmax_block(Kb *k, const Attn *a, Val scores, Val inverses) {
    Loop g, j;
    kb_loop(k, &g, kb_i64(k, 0), a->rows, k->vl, NULL, 0);
    Val most = kb_vf(k, -1e39), sum = kb_vf(k, 0), scale = kb_vf(k, a->scale * LOG2_E);
    over_keys(k, a, &j, &most, 1);
    Val s = kb_load(k, k->vf, vec_at(k, a, scores, j.i, g.i), NULL);
    Val more = LLVMBuildFCmp(k->b, LLVMRealUGT, s, j.carry[0], "");
    j.next[0] = LLVMBuildSelect(k->b, more, s, j.carry[0], "");
    kb_loop_end(k, &j);
    most = kb_fmul(k, j.carry[0], scale);
    Val negative = LLVMBuildFNeg(k->b, most, "");
    over_keys(k, a, &j, &sum, 1);
    Val at = vec_at(k, a, scores, j.i, g.i);
    Val x = kb_call(k, "llvm.fma", k->vf, (Val[]){kb_load(k, k->vf, at, NULL), scale, negative}, 3);
    Val e = kb_exp2(k, x);
    kb_store(k, e, at, NULL);
    j.next[0] = kb_fadd(k, j.carry[0], e);
    kb_loop_end(k, &j);
    Val mask, lse = lse_at(k, a, kb_ptr(k, &a->n->out[1]), g.i, &mask);
    Val log_sum = kb_log(k, j.carry[0]);
    kb_store(k, kb_call(k, "llvm.fma", k->vf, (Val[]){most, kb_vf(k, 1 / LOG2_E), log_sum}, 3), lse, mask);
    Val inverse = LLVMBuildFDiv(k->b, kb_vf(k, 1), j.carry[0], "");
    kb_store(k, inverse, kb_gep(k, k->f32, inverses, g.i), NULL);
    if (a->dropout > 0) {
        over_keys(k, a, &j, NULL, 0);
        at = vec_at(k, a, scores, j.i, g.i);
        Val p = kb_fmul(k, kb_load(k, k->vf, at, NULL), drop_factor(k, a, kb_add(k, a->q0, g.i), j.i));
        kb_store(k, p, at, NULL);
        kb_loop_end(k, &j);
    }
    kb_loop_end(k, &g);
}

typedef struct ScaleRow {
    Val row, factor;
} ScaleRow;

static void scale_vector(Kb *k, Pos pos, Val *carry, void *ctx) {
    const ScaleRow *s = ctx;
    (void)carry;
    Val at = kb_gep(k, k->f32, s->row, pos.col);
    kb_store(k, kb_fmul(k, kb_load(k, k->vf, at, pos.mask), s->factor), at, pos.mask);
}

/* Divides the block's rows by their sums of exponentials: d numbers each, where the probabilities are nk. */
static void normalise(Kb *k, const Attn *a, Mat out, Val inverses) {
    Loop r;
    kb_loop(k, &r, kb_i64(k, 0), a->rows, 1, NULL, 0);
    Val inverse = LLVMBuildLoad2(k->b, k->f32, kb_gep(k, k->f32, inverses, r.i), "");
    ScaleRow s = {row_at(k, out, r.i), kb_splat(k, inverse)};
    kb_cols(k, r.i, a->d, NULL, 0, scale_vector, &s);
    kb_loop_end(k, &r);
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

/* Rows computed in scratch to where they belong. */
static void copy_out(Kb *k, const Attn *a, Mat from, Mat to, Val rows) {
    Loop r;
    if (writes_in_place(a)) return;
    kb_loop(k, &r, kb_i64(k, 0), rows, 1, NULL, 0);
    CopyRow c = {row_at(k, from, r.i), row_at(k, to, r.i)};
    kb_cols(k, r.i, a->d, NULL, 0, copy_vector, &c);
    kb_loop_end(k, &r);
}

/* Asks for the next item's rows of operand v: few tokens make heads of short rows far apart, which the
 * hardware does not foresee. */
static void prefetch_next(Kb *k, const Attn *a, IrValue *v, Val next) {
    enum { FEW = 64, LINE = 16 };
    const IrType *t = &v->type;
    View w;
    Loop r;
    if (t->dim[1] > FEW) return;
    view_resolve(v, &w);
    Val b = kb_udiv(k, next, a->heads), h = kb_urem(k, next, a->heads);
    Val at = kb_add(k, kb_mul(k, b, kb_i64(k, w.stride[0])), kb_mul(k, h, kb_i64(k, a->d)));
    kb_loop(k, &r, kb_i64(k, 0), kb_i64(k, t->dim[1]), 1, NULL, 0);
    Val row = kb_add(k, at, kb_mul(k, r.i, kb_i64(k, w.stride[1])));
    for (int64_t c = 0; c < a->d; c += LINE) kb_prefetch(k, kb_view_ptr(k, &w), kb_add(k, row, kb_i64(k, c)));
    kb_loop_end(k, &r);
}

/* Items are heads of images, each cut into `parts`; *part is this one's. */
static void item_loop(Kb *k, Attn *a, Loop *l, int64_t parts, Val *part) {
    Val begin, end;
    kb_share(k, a->batch * a->heads * parts, &begin, &end);
    kb_loop(k, l, begin, end, 1, NULL, 0);
    a->item = kb_udiv(k, l->i, parts);
    *part = kb_urem(k, l->i, parts);
    a->b_index = kb_udiv(k, a->item, a->heads);
    a->h_index = kb_urem(k, a->item, a->heads);
    Val next = kb_add(k, a->item, kb_i64(k, 1));
    for (int i = 0; i < 3; i++) prefetch_next(k, a, a->n->in[i], next);
    if (a->n->op == OP_sdpa_grad) prefetch_next(k, a, a->n->in[5], next);
}

static void set_block(Kb *k, Attn *a, Val q0) {
    a->q0 = q0;
    a->rows = kb_min(k, kb_i64(k, a->block), kb_sub(k, kb_i64(k, a->nq), q0));
}

static int64_t scores_bytes(const Attn *a) {
    return a->nk * a->block * 4;
}

/* `rows` rows of a head in scratch, for heads that are not written in place. */
static Val head_scratch(Kb *k, const Attn *a, int64_t rows) {
    return writes_in_place(a) ? NULL : kb_scratch(k, rows * a->d_padded * 4);
}

static Mat target(const Attn *a, Mat result, Val scratch) {
    return scratch ? (Mat){scratch, a->d_padded} : result;
}

/* The block's queries of a head. */
static Mat block_of(Kb *k, const Attn *a, Mat m) {
    return (Mat){row_at(k, m, a->q0), m.step};
}

void cg_lower_sdpa(Kb *k, IrNode *n) {
    Attn a = describe(k, n, ATTR_sdpa_heads, ATTR_sdpa_scale, ATTR_sdpa_dropout);
    Val packed = kb_scratch(k, a.block * a.d * 4), scores = kb_scratch(k, scores_bytes(&a));
    Val scratch = head_scratch(k, &a, a.block), inverses = kb_scratch(k, a.block * 4);
    Loop item;
    Val part;
    item_loop(k, &a, &item, (a.nq + a.block - 1) / a.block, &part);
    set_block(k, &a, kb_mul(k, part, kb_i64(k, a.block)));
    Mat q = head_of(k, &a, n->in[0]), key = head_of(k, &a, n->in[1]), v = head_of(k, &a, n->in[2]);
    pack_block(k, &a, q, packed);
    score_product(k, &a, key, packed, scores);
    softmax_block(k, &a, scores, inverses);
    Mat out = block_of(k, &a, head_of_result(k, &a, 0)), to = target(&a, out, scratch);
    query_product(k, &a, scores, v, to);
    normalise(k, &a, to, inverses);
    copy_out(k, &a, to, out, a.rows);
    kb_loop_end(k, &item);
}

/* ---- backward ---- */

/* p: scores -> dropped probabilities; ds: do v^T -> p (m dp - delta) scale with delta = sum_j p m dp, which
 * equals <do, o>. m is the dropout factor. */
static void score_grad_block(Kb *k, const Attn *a, Val p, Val ds) {
    Loop g, j;
    kb_loop(k, &g, kb_i64(k, 0), a->rows, k->vl, NULL, 0);
    Val mask, delta = kb_vf(k, 0), scale = kb_vf(k, a->scale * LOG2_E), query = kb_add(k, a->q0, g.i);
    Val lse_ptr = lse_at(k, a, kb_ptr(k, a->n->in[4]), g.i, &mask);
    Val negative = kb_fmul(k, kb_load(k, k->vf, lse_ptr, mask), kb_vf(k, -LOG2_E));
    over_keys(k, a, &j, &delta, 1);
    Val p_at = vec_at(k, a, p, j.i, g.i), ds_at = vec_at(k, a, ds, j.i, g.i);
    Val x = kb_call(k, "llvm.fma", k->vf, (Val[]){kb_load(k, k->vf, p_at, NULL), scale, negative}, 3);
    Val e = kb_exp2(k, x);
    Val dp = kb_load(k, k->vf, ds_at, NULL);
    if (a->dropout > 0) dp = kb_fmul(k, dp, drop_factor(k, a, query, j.i));
    kb_store(k, e, p_at, NULL);
    kb_store(k, dp, ds_at, NULL);
    j.next[0] = kb_call(k, "llvm.fma", k->vf, (Val[]){e, dp, j.carry[0]}, 3);
    kb_loop_end(k, &j);
    delta = j.carry[0];
    over_keys(k, a, &j, NULL, 0);
    p_at = vec_at(k, a, p, j.i, g.i), ds_at = vec_at(k, a, ds, j.i, g.i);
    e = kb_load(k, k->vf, p_at, NULL);
    Val d = kb_fmul(k, e, kb_fsub(k, kb_load(k, k->vf, ds_at, NULL), delta));
    kb_store(k, kb_fmul(k, d, kb_vf(k, a->scale)), ds_at, NULL);
    if (a->dropout > 0) kb_store(k, kb_fmul(k, e, drop_factor(k, a, query, j.i)), p_at, NULL);
    kb_loop_end(k, &j);
    kb_loop_end(k, &g);
}

void cg_lower_sdpa_grad(Kb *k, IrNode *n) {
    Attn a = describe(k, n, ATTR_sdpa_grad_heads, ATTR_sdpa_grad_scale, ATTR_sdpa_grad_dropout);
    Val qt = kb_scratch(k, a.block * a.d * 4), dot = kb_scratch(k, a.block * a.d * 4);
    Val p = kb_scratch(k, scores_bytes(&a)), ds = kb_scratch(k, scores_bytes(&a));
    Val dq_scratch = head_scratch(k, &a, a.block), dk_scratch = head_scratch(k, &a, a.nk);
    Val dv_scratch = head_scratch(k, &a, a.nk);
    Loop item, block;
    Val part;
    make_zeros(k, &a);
    item_loop(k, &a, &item, 1, &part);
    Mat q = head_of(k, &a, n->in[0]), key = head_of(k, &a, n->in[1]), v = head_of(k, &a, n->in[2]);
    Mat dout = head_of(k, &a, n->in[5]);
    Mat dk_out = head_of_result(k, &a, 1), dk = target(&a, dk_out, dk_scratch);
    Mat dv_out = head_of_result(k, &a, 2), dv = target(&a, dv_out, dv_scratch);
    kb_loop(k, &block, kb_i64(k, 0), kb_i64(k, a.nq), a.block, NULL, 0);
    set_block(k, &a, block.i);
    pack_block(k, &a, q, qt);
    pack_block(k, &a, dout, dot);
    score_product(k, &a, key, qt, p);
    score_product(k, &a, v, dot, ds);
    score_grad_block(k, &a, p, ds);
    Val more = LLVMBuildICmp(k->b, LLVMIntSGT, a.q0, kb_i64(k, 0), "");
    Mat dq_out = block_of(k, &a, head_of_result(k, &a, 0)), dq = target(&a, dq_out, dq_scratch);
    query_product(k, &a, ds, key, dq);
    key_product(k, &a, ds, q, dk, more);
    key_product(k, &a, p, dout, dv, more);
    copy_out(k, &a, dq, dq_out, a.rows);
    kb_loop_end(k, &block);
    copy_out(k, &a, dk, dk_out, kb_i64(k, a.nk));
    copy_out(k, &a, dv, dv_out, kb_i64(k, a.nk));
    kb_loop_end(k, &item);
}
