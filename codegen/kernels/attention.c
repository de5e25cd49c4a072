/* Scaled dot-product attention, forward and backward. A work item is some panels of queries of one
 * (image, head) forward and a whole (image, head) backward. Scores live in this thread's scratch
 * for a panel (forward) or a block of panels (backward) at a time, never in memory as a whole;
 * backward recomputes them from the saved logsumexp (Dao et al. 2022). dk and dv are accumulated
 * over blocks in ascending order by the item's only owner.
 *
 * Scores are kept transposed, [keys, queries]. A panel is two vectors of queries, the last one
 * three where their number is odd, so at most a vector is padded; lanes past the last query are
 * never stored. */
#include "codegen/kernels/attention.h"
#include "codegen/kernels/rules.h"

enum { VECTORS = 2, WANT_ITEMS = 64 };

static Attn describe(Kb *k, IrNode *n, AttrId heads, AttrId scale, AttrId dropout) {
    const IrType *q = &n->in[0]->type, *kv = &n->in[1]->type;
    Attn a = {
        .n = n, .batch = q->dim[0], .heads = ir_int(n, heads), .nq = q->dim[1], .nk = kv->dim[1]};
    a.d = q->dim[2] / a.heads;
    a.scale = ir_float(n, scale);
    a.dropout = ir_float(n, dropout);
    a.vectors = (a.nq + k->vl - 1) / k->vl;
    a.panels = a.vectors < VECTORS ? 1 : a.vectors / VECTORS;
    a.row = (a.d + k->vl - 1) / k->vl * k->vl;
    a.bf16 = ir_rounds_operands(n);
    a.words = a.bf16 ? a.d / 2 : a.d;
    a.spare = kb_scratch(k, k->vl * 4);
    return a;
}

/* Vectors of the last panel, which is the widest. */
static int last_vectors(const Attn *a) {
    return (int)(a->vectors - (a->panels - 1) * VECTORS);
}

static Val copy_of(Kb *k, const Attn *a, int64_t rows) {
    return kb_scratch(k, rows * a->row * 4);
}

/* Room for copies of an operand's rows, and for rows of pairs made of two rows each. */
static Mat rows_of(Kb *k, const Attn *a, int64_t rows) {
    int64_t step = (a->words + k->vl - 1) / k->vl * k->vl;
    return (Mat){kb_scratch(k, rows * step * 4), step, false};
}

static Mat pairs_of(Kb *k, const Attn *a, int64_t rows) {
    return (Mat){copy_of(k, a, (rows + 1) / 2), a->row, false};
}

static Val panel_scratch(Kb *k, const Attn *a) {
    return kb_scratch(k, a->d * last_vectors(a) * k->vl * 4);
}

/* Calls body for the panels [first, end). */
typedef void (*PanelBody)(Kb *k, const Attn *a, const Panel *p, Val number, void *ctx);
static void for_panels(Kb *k, const Attn *a, Val first, Val end, PanelBody body, void *ctx) {
    Loop l;
    int last = last_vectors(a);
    bool same = last == VECTORS || a->panels == 1;
    Val stop = same ? end : kb_min(k, end, kb_i64(k, a->panels - 1));
    kb_loop(k, &l, first, stop, 1, NULL, 0);
    Panel p = {same ? last : VECTORS, kb_mul(k, l.i, kb_i64(k, VECTORS * k->vl))};
    body(k, a, &p, l.i, ctx);
    kb_loop_end(k, &l);
    if (same) return;
    kb_loop(k, &l, kb_i64(k, a->panels - 1), end, 1, NULL, 0);
    p = (Panel){last, kb_mul(k, l.i, kb_i64(k, VECTORS * k->vl))};
    body(k, a, &p, l.i, ctx);
    kb_loop_end(k, &l);
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
}

/* c[d, queries] = columns of m times the panel's [keys, queries], summed over keys or pairs of
 * them. */
static Product column_product(Kb *k, const Attn *a, const Panel *p, Mat m, Val scores, Val to) {
    return (Product){.bf16 = a->bf16,
                     .rows = a->d,
                     .vectors = p->vectors,
                     .a = m.ptr,
                     .a_row = 1,
                     .a_step = m.step,
                     .b = scores,
                     .b_step = a->score_step,
                     .c = to,
                     .c_row = (int64_t)p->vectors * k->vl,
                     .count = kb_i64(k, a->bf16 ? (a->nk + 1) / 2 : a->nk)};
}

/* ---- forward ---- */

typedef struct Forward {
    Mat q, key, v, out;
    Val packed, scores, sums;
} Forward;

static Val divide(Kb *k, void *ctx, Val row0, int r, int v, Val sum, Val *carry) {
    const Val *inverse = ctx;
    (void)row0, (void)r, (void)carry;
    return kb_fmul(k, sum, inverse[v]);
}

/* Results are divided by the sums of exponentials: d numbers of a query, where the probabilities
 * are nk. */
static void forward_panel(Kb *k, const Attn *a, const Panel *p, Val number, void *ctx) {
    const Forward *f = ctx;
    Val most[4], inverse[4];
    for (int i = 0; i < 3; i++) attn_prefetch(k, a, a->n->in[i], number);
    attn_pack(k, a, p, f->q, a->scale * LOG2_E, f->packed);
    attn_scores(k, a, p, f->key, f->packed, f->scores, most);
    attn_softmax(k, a, p, f->scores, most, inverse);
    Product x = column_product(k, a, p, f->v, f->scores, f->sums);
    x.finish = divide;
    x.ctx = inverse;
    attn_product(k, &x, NULL);
    attn_unpack(k, a, p, f->sums, f->out);
}

void cg_lower_sdpa(Kb *k, IrNode *n) {
    Attn a = describe(k, n, ATTR_sdpa_heads, ATTR_sdpa_scale, ATTR_sdpa_dropout);
    a.score_step = last_vectors(&a) * k->vl;
    Forward f = {.packed = panel_scratch(k, &a), .sums = panel_scratch(k, &a)};
    f.scores = kb_scratch(k, a.nk * a.score_step * 4);
    f.key = rows_of(k, &a, a.nk);
    f.v = a.bf16 ? pairs_of(k, &a, a.nk) : rows_of(k, &a, a.nk);
    int64_t heads = a.batch * a.heads, parts = (WANT_ITEMS + heads - 1) / heads;
    if (parts > a.panels) parts = a.panels;
    Loop item;
    Val part;
    item_loop(k, &a, &item, parts, &part);
    f.q = attn_head(k, &a, n->in[0]);
    f.out = attn_head_result(k, &a, 0);
    attn_copy(k, &a, attn_head(k, &a, n->in[1]), f.key, a.nk);
    (a.bf16 ? attn_pair : attn_copy)(k, &a, attn_head(k, &a, n->in[2]), f.v, a.nk);
    Val panels = kb_i64(k, a.panels);
    Val first = kb_udiv(k, kb_mul(k, part, panels), parts);
    Val end = kb_udiv(k, kb_mul(k, kb_add(k, part, kb_i64(k, 1)), panels), parts);
    for_panels(k, &a, first, end, forward_panel, &f);
    kb_loop_end(k, &item);
}

/* ---- backward ---- */

typedef struct Backward {
    Mat q, key, v, dout; /* copies */
    Mat q2, key2,
        dout2;      /* what sums over queries or keys read: the copies, with bf16 pairs of rows */
    Mat dq, dk, dv; /* dk and dv: where they are summed */
    Val packed_q, packed_do;   /* of a panel */
    Val probs, ds, sums;       /* of the block; with bf16 of a panel */
    Val short_probs, short_ds; /* bf16: of the block */
    int64_t block;             /* panels at a time */
    Val first;                 /* the block's first panel */
} Backward;

/* Two blocks of scores take half of a second level cache of 1 MiB, whole heads where they fit. An
 * odd number of vectors between rows spreads a panel's rows over the whole first level cache. */
static void choose_block(const Kb *k, Attn *a, Backward *x) {
    enum { BYTES = 512 << 10 };
    int64_t most = BYTES / (2 * a->nk * VECTORS * k->vl * (a->bf16 ? 2 : 4));
    if (most < 1) most = 1;
    int64_t blocks = (a->panels + most - 1) / most;
    x->block = (a->panels + blocks - 1) / blocks;
    int64_t vectors = (x->block - 1) * VECTORS + last_vectors(a);
    a->score_step = (a->bf16 ? last_vectors(a) : vectors | 1) * k->vl;
    a->short_step = ((vectors + 1) / 2 | 1) * k->vl;
}

static Val panel_at(Kb *k, const Backward *x, DType type, Val scores, Val number) {
    Val at = kb_mul(k, kb_sub(k, number, x->first), kb_i64(k, VECTORS * k->vl));
    return kb_gep(k, kb_elem(k, type), scores, at);
}

static PanelScores panel_scores(Kb *k, const Attn *a, const Backward *x, Val number) {
    if (!a->bf16)
        return (PanelScores){.probs = panel_at(k, x, DT_f32, x->probs, number),
                             .ds = panel_at(k, x, DT_f32, x->ds, number)};
    return (PanelScores){x->probs, x->ds, panel_at(k, x, DT_bf16, x->short_probs, number),
                         panel_at(k, x, DT_bf16, x->short_ds, number)};
}

static void backward_panel(Kb *k, const Attn *a, const Panel *p, Val number, void *ctx) {
    const Backward *x = ctx;
    for (int i = 0; i < 6; i++)
        if (i < 3 || i == 5) attn_prefetch(k, a, a->n->in[i], number);
    PanelScores s = panel_scores(k, a, x, number);
    attn_pack(k, a, p, x->q, a->scale * LOG2_E, x->packed_q);
    attn_pack(k, a, p, x->dout, a->scale, x->packed_do); /* so that ds contains the scale */
    attn_score_grads(k, a, p, x->key, x->v, x->packed_q, x->packed_do, &s);
    Product dq = column_product(k, a, p, x->key2, s.ds, x->sums);
    attn_product(k, &dq, NULL);
    attn_unpack(k, a, p, x->sums, x->dq);
}

/* c[keys, d] (+)= scores of the block times rows of m: summed over `count` rows (queries or pairs
 * of them) from row0 on. */
typedef struct KeyProduct {
    const Attn *a;
    Val scores, b, count;
    Mat m, to;
    bool accumulate;
} KeyProduct;

/* The columns of `width` vectors from column `col` on. */
static void key_columns(Kb *k, const KeyProduct *x, Val col, int64_t width) {
    const Attn *a = x->a;
    Product p = {
        .bf16 = a->bf16, .rows = a->nk, .vectors = (int)width, .a = x->scores, .a_step = 1};
    p.a_row = a->bf16 ? a->short_step : a->score_step;
    p.b = kb_gep(k, k->f32, x->b, col);
    p.b_step = x->m.step;
    p.c = kb_gep(k, k->f32, x->to.ptr, col);
    p.c_row = x->to.step;
    p.accumulate = x->accumulate;
    p.count = x->count;
    attn_product(k, &p, NULL);
}

/* Parts as wide as registers allow and as equal as can be. A head of common size has few, which are
 * written out; of others, all that have the same width share a loop. */
static void key_product(Kb *k, const KeyProduct *x) {
    enum { WIDEST = 4, WRITTEN_OUT = 4 };
    int64_t vectors = x->a->row / k->vl, most = k->target->vector_registers >= 32 ? WIDEST : 2;
    int64_t parts = (vectors + most - 1) / most, done = 0;
    if (parts > WRITTEN_OUT) {
        Loop l;
        done = vectors / most * most;
        kb_loop(k, &l, kb_i64(k, 0), kb_i64(k, done * k->vl), most * k->vl, NULL, 0);
        key_columns(k, x, l.i, most);
        kb_loop_end(k, &l);
        parts = done < vectors;
    }
    for (int64_t i = 0; i < parts; i++) {
        int64_t width = (vectors - done + parts - i - 1) / (parts - i);
        key_columns(k, x, kb_i64(k, done * k->vl), width);
        done += width;
    }
}

static void backward_block(Kb *k, const Attn *a, Backward *x) {
    Val end = kb_min(k, kb_add(k, x->first, kb_i64(k, x->block)), kb_i64(k, a->panels));
    for_panels(k, a, x->first, end, backward_panel, x);
    Val width = kb_i64(k, VECTORS * k->vl), q0 = kb_mul(k, x->first, width),
        stop = kb_mul(k, end, width);
    Val last = LLVMBuildICmp(k->b, LLVMIntEQ, end, kb_i64(k, a->panels), "");
    stop = LLVMBuildSelect(k->b, last, kb_i64(k, a->nq), stop, "");
    Val count = kb_sub(k, stop, q0);
    if (a->bf16) { /* blocks begin at even queries */
        count = kb_udiv(k, kb_add(k, count, kb_i64(k, 1)), 2);
        q0 = kb_udiv(k, q0, 2);
    }
    KeyProduct dk = {.a = a, .scores = a->bf16 ? x->short_ds : x->ds, .m = x->q2, .to = x->dk};
    KeyProduct dv = {
        .a = a, .scores = a->bf16 ? x->short_probs : x->probs, .m = x->dout2, .to = x->dv};
    KeyProduct *const both[] = {&dk, &dv};
    for (int i = 0; i < 2; i++) {
        both[i]->b = attn_row(k, both[i]->m, q0);
        both[i]->count = count;
        both[i]->accumulate = x->block < a->panels;
        key_product(k, both[i]);
    }
}

/* Heads of whole vectors are summed where they belong; others in scratch. */
static Mat sums_of(Kb *k, const Attn *a, Val scratch, int result) {
    return scratch ? (Mat){scratch, a->row, false} : attn_head_result(k, a, result);
}

static void backward_scratch(Kb *k, Attn *a, Backward *x) {
    x->packed_q = panel_scratch(k, a);
    x->packed_do = panel_scratch(k, a);
    x->sums = panel_scratch(k, a);
    choose_block(k, a, x);
    x->probs = kb_scratch(k, a->nk * a->score_step * 4);
    x->ds = kb_scratch(k, a->nk * a->score_step * 4);
    x->q = rows_of(k, a, a->nq);
    x->dout = rows_of(k, a, a->nq);
    x->key = rows_of(k, a, a->nk);
    x->v = rows_of(k, a, a->nk);
    x->q2 = x->q, x->dout2 = x->dout, x->key2 = x->key;
    if (!a->bf16) return;
    x->short_probs = kb_scratch(k, a->nk * a->short_step * 4);
    x->short_ds = kb_scratch(k, a->nk * a->short_step * 4);
    x->q2 = pairs_of(k, a, a->nq);
    x->dout2 = pairs_of(k, a, a->nq);
    x->key2 = pairs_of(k, a, a->nk);
}

static void copy_operands(Kb *k, const Attn *a, const Backward *x) {
    attn_copy(k, a, attn_head(k, a, a->n->in[0]), x->q, a->nq);
    attn_copy(k, a, attn_head(k, a, a->n->in[5]), x->dout, a->nq);
    attn_copy(k, a, attn_head(k, a, a->n->in[1]), x->key, a->nk);
    attn_copy(k, a, attn_head(k, a, a->n->in[2]), x->v, a->nk);
    if (!a->bf16) return;
    const Mat from[] = {x->q, x->dout, x->key}, to[] = {x->q2, x->dout2, x->key2};
    for (int i = 0; i < 3; i++) {
        Mat halves = {from[i].ptr, 2 * from[i].step, true};
        attn_pair(k, a, halves, to[i], i < 2 ? a->nq : a->nk);
    }
}

void cg_lower_sdpa_grad(Kb *k, IrNode *n) {
    Attn a = describe(k, n, ATTR_sdpa_grad_heads, ATTR_sdpa_grad_scale, ATTR_sdpa_grad_dropout);
    Backward x = {0};
    backward_scratch(k, &a, &x);
    bool whole = a.d == a.row;
    Val dk_scratch = whole ? NULL : copy_of(k, &a, a.nk),
        dv_scratch = whole ? NULL : copy_of(k, &a, a.nk);
    Loop item, block;
    Val part;
    item_loop(k, &a, &item, 1, &part);
    copy_operands(k, &a, &x);
    x.dq = attn_head_result(k, &a, 0);
    x.dk = sums_of(k, &a, dk_scratch, 1);
    x.dv = sums_of(k, &a, dv_scratch, 2);
    if (x.block < a.panels) {
        attn_clear(k, &a, x.dk, a.nk);
        attn_clear(k, &a, x.dv, a.nk);
    }
    kb_loop(k, &block, kb_i64(k, 0), kb_i64(k, a.panels), x.block, NULL, 0);
    x.first = block.i;
    backward_block(k, &a, &x);
    kb_loop_end(k, &block);
    if (!whole) {
        attn_copy(k, &a, x.dk, attn_head_result(k, &a, 1), a.nk);
        attn_copy(k, &a, x.dv, attn_head_result(k, &a, 2), a.nk);
    }
    kb_loop_end(k, &item);
}
