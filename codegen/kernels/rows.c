/* Kernels that work row by row: softmax, layer norm, cross-entropy, largest element, and their
 * gradients.
 *
 * Operands are evaluated once per row (with whatever elementwise producers were fused) into this
 * thread's scratch; further passes read the scratch. Elementwise consumers run in the last pass,
 * and a top-k of the result (a gate's) takes the row from there. Sums have one accumulator vector
 * per row, folded by the fixed tree of kb_hsum. */
#include "codegen/kernels/gemm.h"
#include "codegen/kernels/rules.h"
#include "codegen/kernels/topk.h"

enum { MAX_ROW_OPERANDS = 2 };

typedef struct Row {
    IrNode *n;
    int64_t rows, cols;
    int nop;                       /* operands kept in scratch */
    int operand[MAX_ROW_OPERANDS]; /* which ones */
    Val scratch[MAX_ROW_OPERANDS];
    Val scalar[3]; /* per-row results of earlier passes */
    /* passes */
    ColsBody first; /* sees the operands' values through row_operand() */
    int ncarry;
    TopK topk; /* n NULL: the cluster ends with this kernel's consumers */
    Val to; /* where the row goes as a product's operand (gemm_product_of_rows); NULL: it is stored
             */
    void (*emit_row)(Kb *k, struct Row *r, Val row);
} Row;

static int64_t padded(const Kb *k, int64_t cols) {
    return (cols + k->vl - 1) / k->vl * k->vl;
}

/* Pass 0 of every row kernel: operands -> scratch, and store fused producers that others read. */
static void load_operands(Kb *k, Pos pos, Val *carry, void *ctx) {
    Row *r = ctx;
    for (int i = 0; i < r->nop; i++) {
        Val v = kb_eval(k, r->n->in[r->operand[i]], pos);
        kb_store(k, v, kb_gep(k, k->f32, r->scratch[i], pos.col), NULL);
    }
    kb_store_arrived(k, pos);
    if (r->first) r->first(k, pos, carry, r);
}

static Val operand(Kb *k, const Row *r, int i, Pos pos) {
    return kb_load(k, k->vf, kb_gep(k, k->f32, r->scratch[i], pos.col), NULL);
}

/* The anchor's result at pos: stored, and handed to its elementwise consumers. */
static void finish(Kb *k, const Row *r, Val y, Pos pos) {
    const IrValue *v = &r->n->out[0];
    kb_bind(k, v, y);
    if (r->to) {
        Val made = kb_eval(k, k->cl->anchor->in[0], pos);
        kb_store(k, made, kb_gep(k, k->f32, r->to, pos.col), NULL);
        return;
    }
    kb_store_value(k, v, y, pos);
    kb_store_members(k, STORE_AFTER_ANCHOR, pos);
    if (r->topk.n) topk_vector(k, &r->topk, pos);
}

static void one_row(Kb *k, Val row, void *ctx) {
    Row *r = ctx;
    r->emit_row(k, r, row);
    if (r->topk.n) topk_row(k, &r->topk, row);
}

static void make_row(Kb *k, Val row, Val to, void *ctx) {
    Row *r = ctx;
    r->to = to;
    r->emit_row(k, r, row);
}

static void run_rows(Kb *k, Row *r) {
    const IrType *t = &r->n->in[0]->type;
    r->rows = ir_rows(t);
    r->cols = ir_cols(t);
    for (int i = 0; i < r->nop; i++) r->scratch[i] = kb_scratch(k, padded(k, r->cols) * 4);
    if (plan_row_tail(k->cl)) topk_begin(k, &r->topk, plan_row_tail(k->cl));
    if (k->cl->front)
        gemm_product_of_rows(k, make_row, r);
    else
        kb_rows(k, r->rows, r->cols, one_row, r);
}

/* Largest of the row so far, for an exponential to stay in range: a NaN may get lost here, for it
 * reaches the sum of exponentials anyhow. */
static void pass_shift(Kb *k, Pos pos, Val *carry, void *ctx) {
    Val x = kb_keep(k, operand(k, ctx, 0, pos), pos, kb_vf(k, -1e39));
    Val more = LLVMBuildFCmp(k->b, LLVMRealUGT, x, carry[0], "");
    carry[0] = LLVMBuildSelect(k->b, more, x, carry[0], "");
}

/* scratch 0: x -> exp(x - max); carry: its sum */
static void pass_exp_sum(Kb *k, Pos pos, Val *carry, void *ctx) {
    Row *r = ctx;
    Val e = kb_exp(k, kb_fsub(k, operand(k, r, 0, pos), kb_splat(k, r->scalar[0])));
    kb_store(k, e, kb_gep(k, k->f32, r->scratch[0], pos.col), NULL);
    carry[0] = kb_fadd(k, carry[0], kb_keep(k, e, pos, kb_vf(k, 0)));
}

static void pass_scale(Kb *k, Pos pos, Val *carry, void *ctx) {
    Row *r = ctx;
    (void)carry;
    finish(k, r, kb_fmul(k, operand(k, r, 0, pos), kb_splat(k, r->scalar[1])), pos);
}

static void softmax_row(Kb *k, Row *r, Val row) {
    Val m = kb_vf(k, -1e39), s = kb_vf(k, 0);
    kb_cols(k, row, r->cols, &m, 1, load_operands, r);
    r->scalar[0] = kb_hmax(k, m);
    kb_cols(k, row, r->cols, &s, 1, pass_exp_sum, r);
    r->scalar[1] = kb_fdiv(k, kb_f32(k, 1), kb_hsum(k, s));
    kb_cols(k, row, r->cols, NULL, 0, pass_scale, r);
}

void cg_lower_softmax(Kb *k, IrNode *n) {
    Row r = {.n = n, .nop = 1, .first = pass_shift, .emit_row = softmax_row};
    run_rows(k, &r);
}

static void pass_dot(Kb *k, Pos pos, Val *carry, void *ctx) {
    Val p = kb_fmul(k, operand(k, ctx, 0, pos), operand(k, ctx, 1, pos));
    carry[0] = kb_fadd(k, carry[0], kb_keep(k, p, pos, kb_vf(k, 0)));
}

static void pass_softmax_grad(Kb *k, Pos pos, Val *carry, void *ctx) {
    Row *r = ctx;
    (void)carry;
    Val d = kb_fsub(k, operand(k, r, 1, pos), kb_splat(k, r->scalar[0]));
    finish(k, r, kb_fmul(k, operand(k, r, 0, pos), d), pos);
}

static void softmax_grad_row(Kb *k, Row *r, Val row) {
    Val s = kb_vf(k, 0);
    kb_cols(k, row, r->cols, &s, 1, load_operands, r);
    r->scalar[0] = kb_hsum(k, s);
    kb_cols(k, row, r->cols, NULL, 0, pass_softmax_grad, r);
}

void cg_lower_softmax_grad(Kb *k, IrNode *n) {
    Row r = {.n = n, .nop = 2, .operand = {0, 1}, .first = pass_dot, .emit_row = softmax_grad_row};
    run_rows(k, &r);
}

static void pass_sum(Kb *k, Pos pos, Val *carry, void *ctx) {
    carry[0] = kb_fadd(k, carry[0], kb_keep(k, operand(k, ctx, 0, pos), pos, kb_vf(k, 0)));
}

static void pass_sum_squares(Kb *k, Pos pos, Val *carry, void *ctx) {
    Row *r = ctx;
    Val d = kb_fsub(k, operand(k, r, 0, pos), kb_splat(k, r->scalar[0]));
    carry[0] = kb_fadd(k, carry[0], kb_keep(k, kb_fmul(k, d, d), pos, kb_vf(k, 0)));
}

static void pass_normalize(Kb *k, Pos pos, Val *carry, void *ctx) {
    Row *r = ctx;
    (void)carry;
    Val d = kb_fsub(k, operand(k, r, 0, pos), kb_splat(k, r->scalar[0]));
    finish(k, r, kb_fmul(k, d, kb_splat(k, r->scalar[1])), pos);
}

/* scratch 0: x -> x - its first element, exact where they are close; carry: the sum */
static void pass_shift_row(Kb *k, Pos pos, Val *carry, void *ctx) {
    Row *r = ctx;
    Val d = kb_fsub(k, operand(k, r, 0, pos), kb_splat(k, r->scalar[0]));
    kb_store(k, d, kb_gep(k, k->f32, r->scratch[0], pos.col), NULL);
    carry[0] = kb_fadd(k, carry[0], kb_keep(k, d, pos, kb_vf(k, 0)));
}

/* The variance about the mean in scalar[0], without eps. */
static Val variance_of_row(Kb *k, Row *r, Val row) {
    Val q = kb_vf(k, 0);
    kb_cols(k, row, r->cols, &q, 1, pass_sum_squares, r);
    return kb_fmul(k, kb_hsum(k, q), kb_f32(k, 1.0 / (double)r->cols));
}

/* The mean, in scalar[0], is rounded to the size of the numbers. Where their spread is less than
 * 2^-10 of it (or both are 0 or infinite), that would be seen in the result: numbers are replaced
 * by their distance from the first of them, and equal ones are exactly 0. Other rows keep what they
 * have. Gives the variance. */
static Val recentre(Kb *k, Row *r, Val row, Val var) {
    Val mean = r->scalar[0];
    Val spread = kb_fmul(k, var, kb_f32(k, 0x1p20));
    If narrow;
    LLVMBasicBlockRef before = LLVMGetInsertBlock(k->b);
    kb_if(k, &narrow, LLVMBuildFCmp(k->b, LLVMRealOLE, spread, kb_fmul(k, mean, mean), ""));
    Val s = kb_vf(k, 0);
    r->scalar[0] = LLVMBuildLoad2(k->b, k->f32, r->scratch[0], "");
    kb_cols(k, row, r->cols, &s, 1, pass_shift_row, r);
    r->scalar[0] = kb_fmul(k, kb_hsum(k, s), kb_f32(k, 1.0 / (double)r->cols));
    Val own[] = {r->scalar[0], variance_of_row(k, r, row)}, usual[] = {mean, var}, joined[2];
    LLVMBasicBlockRef inside = LLVMGetInsertBlock(k->b);
    kb_if_end(k, &narrow);
    for (int i = 0; i < 2; i++) {
        joined[i] = LLVMBuildPhi(k->b, k->f32, "");
        LLVMAddIncoming(joined[i], &usual[i], &before, 1);
        LLVMAddIncoming(joined[i], &own[i], &inside, 1);
    }
    r->scalar[0] = joined[0];
    return joined[1];
}

/* Two passes over the row (mean, then centred squares), and two more where the mean has lost the
 * digits that matter: no cancellation. */
static void layer_norm_row(Kb *k, Row *r, Val row) {
    Val n = kb_f32(k, 1.0 / (double)r->cols), s = kb_vf(k, 0);
    kb_cols(k, row, r->cols, &s, 1, load_operands, r);
    r->scalar[0] = kb_fmul(k, kb_hsum(k, s), n);
    Val var = recentre(k, r, row, variance_of_row(k, r, row));
    var = kb_fadd(k, var, kb_f32(k, ir_float(r->n, ATTR_layer_norm_eps)));
    r->scalar[1] = kb_fdiv(k, kb_f32(k, 1), kb_call(k, "llvm.sqrt", k->f32, &var, 1));
    if (plan_is_stored(k->plan, &r->n->out[1]) && !r->to)
        LLVMBuildStore(k->b, r->scalar[1], kb_gep(k, k->f32, kb_ptr(k, &r->n->out[1]), row));
    kb_cols(k, row, r->cols, NULL, 0, pass_normalize, r);
}

void cg_lower_layer_norm(Kb *k, IrNode *n) {
    Row r = {.n = n, .nop = 1, .first = pass_sum, .emit_row = layer_norm_row};
    run_rows(k, &r);
}

/* carry: sum dy, sum dy*y */
static void pass_norm_sums(Kb *k, Pos pos, Val *carry, void *ctx) {
    Val y = operand(k, ctx, 0, pos), dy = kb_keep(k, operand(k, ctx, 1, pos), pos, kb_vf(k, 0));
    carry[0] = kb_fadd(k, carry[0], dy);
    carry[1] = kb_fadd(k, carry[1], kb_keep(k, kb_fmul(k, dy, y), pos, kb_vf(k, 0)));
}

static void pass_layer_norm_grad(Kb *k, Pos pos, Val *carry, void *ctx) {
    Row *r = ctx;
    (void)carry;
    Val y = operand(k, r, 0, pos), dy = operand(k, r, 1, pos);
    Val d = kb_fsub(k, kb_fsub(k, dy, kb_splat(k, r->scalar[0])),
                    kb_fmul(k, y, kb_splat(k, r->scalar[1])));
    finish(k, r, kb_fmul(k, d, kb_splat(k, r->scalar[2])), pos);
}

static void layer_norm_grad_row(Kb *k, Row *r, Val row) {
    Val s[2] = {kb_vf(k, 0), kb_vf(k, 0)}, n = kb_f32(k, 1.0 / (double)r->cols);
    kb_cols(k, row, r->cols, s, 2, load_operands, r);
    r->scalar[0] = kb_fmul(k, kb_hsum(k, s[0]), n);
    r->scalar[1] = kb_fmul(k, kb_hsum(k, s[1]), n);
    r->scalar[2] = LLVMBuildLoad2(k->b, k->f32, kb_gep(k, k->f32, kb_ptr(k, r->n->in[1]), row), "");
    kb_cols(k, row, r->cols, NULL, 0, pass_layer_norm_grad, r);
}

void cg_lower_layer_norm_grad(Kb *k, IrNode *n) {
    Row r = {.n = n,
             .nop = 2,
             .operand = {0, 2},
             .first = pass_norm_sums,
             .emit_row = layer_norm_grad_row};
    run_rows(k, &r);
}

/* Norms by the mean square: as above, without a mean, so that nothing can cancel. */
static void pass_squares(Kb *k, Pos pos, Val *carry, void *ctx) {
    Val x = operand(k, ctx, 0, pos);
    carry[0] = kb_fadd(k, carry[0], kb_keep(k, kb_fmul(k, x, x), pos, kb_vf(k, 0)));
}

static void rms_norm_row(Kb *k, Row *r, Val row) {
    Val s = kb_vf(k, 0);
    kb_cols(k, row, r->cols, &s, 1, load_operands, r);
    Val mean = kb_fmul(k, kb_hsum(k, s), kb_f32(k, 1.0 / (double)r->cols));
    mean = kb_fadd(k, mean, kb_f32(k, ir_float(r->n, ATTR_rms_norm_eps)));
    r->scalar[1] = kb_fdiv(k, kb_f32(k, 1), kb_call(k, "llvm.sqrt", k->f32, &mean, 1));
    if (plan_is_stored(k->plan, &r->n->out[1]) && !r->to)
        LLVMBuildStore(k->b, r->scalar[1], kb_gep(k, k->f32, kb_ptr(k, &r->n->out[1]), row));
    kb_cols(k, row, r->cols, NULL, 0, pass_scale, r);
}

void cg_lower_rms_norm(Kb *k, IrNode *n) {
    Row r = {.n = n, .nop = 1, .first = pass_squares, .emit_row = rms_norm_row};
    run_rows(k, &r);
}

static void pass_rms_norm_grad(Kb *k, Pos pos, Val *carry, void *ctx) {
    Row *r = ctx;
    (void)carry;
    Val d = kb_fsub(k, operand(k, r, 1, pos),
                    kb_fmul(k, operand(k, r, 0, pos), kb_splat(k, r->scalar[0])));
    finish(k, r, kb_fmul(k, d, kb_splat(k, r->scalar[1])), pos);
}

static void rms_norm_grad_row(Kb *k, Row *r, Val row) {
    Val s = kb_vf(k, 0);
    kb_cols(k, row, r->cols, &s, 1, load_operands, r);
    r->scalar[0] = kb_fmul(k, kb_hsum(k, s), kb_f32(k, 1.0 / (double)r->cols));
    r->scalar[1] = LLVMBuildLoad2(k->b, k->f32, kb_gep(k, k->f32, kb_ptr(k, r->n->in[1]), row), "");
    kb_cols(k, row, r->cols, NULL, 0, pass_rms_norm_grad, r);
}

void cg_lower_rms_norm_grad(Kb *k, IrNode *n) {
    Row r = {.n = n, .nop = 2, .operand = {0, 2}, .first = pass_dot, .emit_row = rms_norm_grad_row};
    run_rows(k, &r);
}

static void store_scalar(Kb *k, const IrValue *v, Val x, Val row) {
    LLVMBuildStore(k->b, x, kb_gep(k, LLVMTypeOf(x), kb_ptr(k, v), row));
}

/* loss[row] = max + ln(sum exp(x - max)) - x[label] */
static void xent_row(Kb *k, Row *r, Val row) {
    Val m = kb_vf(k, -1e39), s = kb_vf(k, 0);
    kb_cols(k, row, r->cols, &m, 1, load_operands, r);
    Val label = LLVMBuildLoad2(k->b, k->i32, kb_gep(k, k->i32, kb_ptr(k, r->n->in[1]), row), "");
    Val at = kb_gep(k, k->f32, r->scratch[0], LLVMBuildSExt(k->b, label, k->i64, ""));
    Val target = LLVMBuildLoad2(k->b, k->f32, at, "");
    r->scalar[0] = kb_hmax(k, m);
    kb_cols(k, row, r->cols, &s, 1, pass_exp_sum, r);
    Val lse =
        LLVMBuildExtractElement(k->b, kb_log(k, kb_splat(k, kb_hsum(k, s))), kb_i32(k, 0), "");
    store_scalar(k, &r->n->out[0], kb_fsub(k, kb_fadd(k, lse, r->scalar[0]), target), row);
}

void cg_lower_xent(Kb *k, IrNode *n) {
    Row r = {.n = n, .nop = 1, .first = pass_shift, .emit_row = xent_row};
    run_rows(k, &r);
}

static void pass_max(Kb *k, Pos pos, Val *carry, void *ctx) {
    carry[0] = kb_fmax(k, carry[0], kb_keep(k, operand(k, ctx, 0, pos), pos, kb_vf(k, -1e39)));
}

static void max_row(Kb *k, Row *r, Val row) {
    Val m = kb_vf(k, -1e39);
    kb_cols(k, row, r->cols, &m, 1, load_operands, r);
    store_scalar(k, &r->n->out[0], kb_hmax(k, m), row);
}

void cg_lower_max(Kb *k, IrNode *n) {
    Row r = {.n = n, .nop = 1, .first = pass_max, .emit_row = max_row};
    run_rows(k, &r);
}

/* carry: per lane the largest value and its column; a later column wins only if strictly larger. A
 * NaN stays.
 */
static void pass_argmax(Kb *k, Pos pos, Val *carry, void *ctx) {
    Val x = kb_keep(k, operand(k, ctx, 0, pos), pos, kb_vf(k, -1e39));
    Val col =
        LLVMBuildAdd(k->b, kb_splat(k, LLVMBuildTrunc(k->b, pos.col, k->i32, "")), kb_lanes(k), "");
    Val more = LLVMBuildFCmp(k->b, LLVMRealOGT, x, carry[0], "");
    carry[0] = kb_fmax(k, carry[0], x);
    carry[1] = LLVMBuildSelect(k->b, more, col, carry[1], "");
}

static void argmax_row(Kb *k, Row *r, Val row) {
    Val c[2] = {kb_vf(k, -1e39), kb_vi(k, INT32_MAX)};
    kb_cols(k, row, r->cols, c, 2, load_operands, r);
    Val best = kb_hmax(k, c[0]), bad = LLVMBuildFCmp(k->b, LLVMRealUNO, best, best, "");
    Val is_best = LLVMBuildFCmp(k->b, LLVMRealOEQ, c[0], kb_splat(k, best), "");
    Val idx = LLVMBuildSelect(k->b, is_best, c[1], kb_vi(k, INT32_MAX), "");
    Val lowest =
        kb_call(k, "llvm.vector.reduce.smin", k->vi, &idx, 1); /* integer: any order, same result */
    /* a row without any number above -inf has index 0, as the first of equals */
    Val none = LLVMBuildICmp(k->b, LLVMIntEQ, lowest, kb_i32(k, INT32_MAX), "");
    lowest = LLVMBuildSelect(k->b, none, kb_i32(k, 0), lowest, "");
    store_scalar(k, &r->n->out[0], LLVMBuildSelect(k->b, bad, kb_i32(k, -1), lowest, ""), row);
}

void cg_lower_argmax(Kb *k, IrNode *n) {
    Row r = {.n = n, .nop = 1, .first = pass_argmax, .emit_row = argmax_row};
    run_rows(k, &r);
}
