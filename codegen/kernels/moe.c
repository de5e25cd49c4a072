/* Kernels around experts: top-k, taking and placing by index, and the combination of expert rows.
 * Orders are fixed: ties go to the lowest expert, contributions are added in order of choice.
 * Counting and sorting by expert are route.c's. */
#include "codegen/kernels/rules.h"
#include "codegen/kernels/topk.h"

static Val load_f32(Kb *k, Val ptr, Val i) {
    return LLVMBuildLoad2(k->b, k->f32, kb_gep(k, k->f32, ptr, i), "");
}
static void store_f32(Kb *k, Val v, Val ptr, Val i) {
    LLVMBuildStore(k->b, v, kb_gep(k, k->f32, ptr, i));
}

static int64_t padded_bytes(const Kb *k, int64_t cols) {
    return (cols + k->vl - 1) / k->vl * k->vl * 4;
}

/* ---- top-k ---- */

void topk_begin(Kb *k, TopK *t, IrNode *topk) {
    *t = (TopK){.n = topk, .cols = ir_cols(&topk->in[0]->type), .k = ir_int(topk, ATTR_topk_k)};
    t->row = kb_scratch(k, padded_bytes(k, t->cols));
    t->alive = kb_scratch(k, padded_bytes(k, t->cols));
}

void topk_vector(Kb *k, const TopK *t, Pos pos) {
    kb_store(k, kb_eval(k, t->n->in[0], pos), kb_gep(k, k->f32, t->row, pos.col), NULL);
    Val ones = kb_keep(k, kb_vi(k, -1), pos, kb_vi(k, 0));
    kb_store(k, ones, kb_gep(k, k->i32, t->alive, pos.col), NULL);
}

/* Takes the last choice out. carry: per lane the best value and its column (INT32_MAX: none yet). A
 * later column wins only if strictly larger, or if it is the first NaN: those come before all
 * numbers. */
static void pass_best(Kb *k, Pos pos, Val *carry, void *ctx) {
    const TopK *t = ctx;
    Val x = kb_load(k, k->vf, kb_gep(k, k->f32, t->row, pos.col), NULL),
        at = kb_gep(k, k->i32, t->alive, pos.col);
    Val col =
        LLVMBuildAdd(k->b, kb_splat(k, LLVMBuildTrunc(k->b, pos.col, k->i32, "")), kb_lanes(k), "");
    Val gone = LLVMBuildICmp(k->b, LLVMIntEQ, col, t->chosen, "");
    Val alive = LLVMBuildSelect(k->b, gone, kb_vi(k, 0), kb_load(k, k->vi, at, NULL), "");
    kb_store(k, alive, at, NULL);
    Val fresh = LLVMBuildICmp(k->b, LLVMIntEQ, carry[1], kb_vi(k, INT32_MAX), "");
    Val larger = LLVMBuildFCmp(k->b, LLVMRealOGT, x, carry[0], ""); /* than a NaN, nothing is */
    Val number = LLVMBuildFCmp(k->b, LLVMRealORD, carry[0], carry[0], "");
    Val bad = LLVMBuildAnd(k->b, LLVMBuildFCmp(k->b, LLVMRealUNO, x, x, ""), number, "");
    Val better = LLVMBuildOr(k->b, fresh, LLVMBuildOr(k->b, larger, bad, ""), "");
    better = LLVMBuildAnd(k->b, better, LLVMBuildICmp(k->b, LLVMIntNE, alive, kb_vi(k, 0), ""), "");
    carry[0] = LLVMBuildSelect(k->b, better, x, carry[0], "");
    carry[1] = LLVMBuildSelect(k->b, better, col, carry[1], "");
}

/* The lowest column among the lanes that hold a NaN or, without any, the largest value. */
static Val lowest_best(Kb *k, const Val best[2]) {
    Val none = kb_vi(k, INT32_MAX), held = LLVMBuildICmp(k->b, LLVMIntNE, best[1], none, "");
    Val top = kb_splat(k, kb_hmax(k, best[0])); /* a NaN, if there is one: equal to nothing */
    Val is_best = LLVMBuildFCmp(k->b, LLVMRealOEQ, best[0], top, "");
    Val bad = LLVMBuildFCmp(k->b, LLVMRealUNO, best[0], best[0], "");
    is_best = LLVMBuildAnd(k->b, LLVMBuildOr(k->b, is_best, bad, ""), held, "");
    Val col = LLVMBuildSelect(k->b, is_best, best[1], none, "");
    return LLVMBuildSExt(k->b, kb_call(k, "llvm.vector.reduce.smin", k->vi, &col, 1), k->i64, "");
}

void topk_row(Kb *k, TopK *t, Val row) {
    Val value = kb_ptr(k, &t->n->out[0]), index = kb_ptr(k, &t->n->out[1]), nothing = kb_i64(k, -1);
    Loop j;
    kb_loop(k, &j, kb_i64(k, 0), kb_i64(k, t->k), 1, &nothing, 1);
    t->chosen = kb_splat(k, LLVMBuildTrunc(k->b, j.carry[0], k->i32, ""));
    Val best[2] = {kb_vf(k, -1e39), kb_vi(k, INT32_MAX)};
    kb_cols(k, row, t->cols, best, 2, pass_best, t);
    Val e = lowest_best(k, best), at = kb_add(k, kb_mul(k, row, kb_i64(k, t->k)), j.i);
    store_f32(k, load_f32(k, t->row, e), value, at);
    kb_store_i32(k, e, index, at);
    j.next[0] = e;
    kb_loop_end(k, &j);
}

static void each_vector(Kb *k, Pos pos, Val *carry, void *ctx) {
    (void)carry;
    topk_vector(k, ctx, pos);
    kb_store_arrived(k, pos);
}

static void each_row(Kb *k, Val row, void *ctx) {
    TopK *t = ctx;
    kb_cols(k, row, t->cols, NULL, 0, each_vector, t);
    topk_row(k, t, row);
}

void cg_lower_topk(Kb *k, IrNode *n) {
    TopK t;
    topk_begin(k, &t, n);
    kb_rows(k, ir_rows(&n->in[0]->type), t.cols, each_row, &t);
}

/* ---- taking and placing by index ---- */

/* A row operation on operand 0, kept in scratch. */
typedef struct Pick {
    IrNode *n;
    int64_t cols, k; /* operand 0's and the index's last dimension */
    Val row;
} Pick;

static void load_row(Kb *k, Pos pos, Val *carry, void *ctx) {
    const Pick *p = ctx;
    (void)carry;
    kb_store(k, kb_eval(k, p->n->in[0], pos), kb_gep(k, k->f32, p->row, pos.col), NULL);
}

static void take_row(Kb *k, Val row, void *ctx) {
    const Pick *p = ctx;
    kb_cols(k, row, p->cols, NULL, 0, load_row, ctx);
    Val index = kb_ptr(k, p->n->in[1]), out = kb_ptr(k, &p->n->out[0]);
    Loop j;
    kb_loop(k, &j, kb_i64(k, 0), kb_i64(k, p->k), 1, NULL, 0);
    Val at = kb_add(k, kb_mul(k, row, kb_i64(k, p->k)), j.i);
    Val e = kb_load_i32(k, index, at), none = LLVMBuildICmp(k->b, LLVMIntSLT, e, kb_i64(k, 0), "");
    Val x = load_f32(k, p->row, kb_max(k, e, kb_i64(k, 0)));
    store_f32(k, LLVMBuildSelect(k->b, none, kb_f32(k, 0), x, ""), out, at);
    kb_loop_end(k, &j);
}

void cg_lower_take_last(Kb *k, IrNode *n) {
    const IrType *t = &n->in[0]->type;
    Pick p = {n, ir_cols(t), ir_cols(&n->in[1]->type), NULL};
    p.row = kb_scratch(k, padded_bytes(k, p.cols));
    kb_rows(k, ir_rows(t), p.cols, take_row, &p);
}

static void zero_vector(Kb *k, Pos pos, Val *carry, void *ctx) {
    const Pick *p = ctx;
    (void)carry;
    kb_store_value(k, &p->n->out[0], kb_vf(k, 0), pos);
}

static void put_row(Kb *k, Val row, void *ctx) {
    const Pick *p = ctx;
    int64_t experts = ir_cols(&p->n->out[0].type);
    kb_cols(k, row, p->k, NULL, 0, load_row, ctx);
    kb_cols(k, row, experts, NULL, 0, zero_vector, ctx);
    Val index = kb_ptr(k, p->n->in[1]), out = kb_ptr(k, &p->n->out[0]);
    Loop j;
    kb_loop(k, &j, kb_i64(k, 0), kb_i64(k, p->k), 1, NULL, 0);
    Val e = kb_load_i32(k, index, kb_add(k, kb_mul(k, row, kb_i64(k, p->k)), j.i));
    If some;
    kb_if(k, &some, LLVMBuildICmp(k->b, LLVMIntSGE, e, kb_i64(k, 0), ""));
    store_f32(k, load_f32(k, p->row, j.i), out, kb_add(k, kb_mul(k, row, kb_i64(k, experts)), e));
    kb_if_end(k, &some);
    kb_loop_end(k, &j);
}

void cg_lower_put_last(Kb *k, IrNode *n) {
    const IrType *t = &n->in[0]->type;
    Pick p = {n, ir_cols(&n->out[0].type), ir_cols(t), NULL};
    p.row = kb_scratch(k, padded_bytes(k, p.k));
    kb_rows(k, ir_rows(t), p.cols, put_row, &p);
}

/* Is there a row, or is it -1? Scalars and vectors. */
static Val has_row(Kb *k, Val row) {
    return LLVMBuildICmp(k->b, LLVMIntSGE, row, LLVMConstNull(LLVMTypeOf(row)), "");
}

/* y[t] = sum_j w[t,j] * rows[row[t,j]]; without weights when in[2] is absent. */
typedef struct Combine {
    IrNode *n;
    int64_t inner, cols, k;
    bool weighted;
} Combine;

static void finish(Kb *k, const Combine *c, Val sum, Pos pos) {
    const IrValue *y = &c->n->out[0];
    kb_bind(k, y, sum);
    kb_store_value(k, y, sum, pos);
    kb_store_members(k, STORE_ALL, pos);
}

static void combine_vector(Kb *k, Pos pos, Val *carry, void *ctx) {
    const Combine *c = ctx;
    (void)carry;
    Val rows = kb_ptr(k, c->n->in[0]), slot = kb_ptr(k, c->n->in[1]), acc = kb_vf(k, 0);
    Val token = kb_udiv(k, pos.row, c->inner), within = kb_urem(k, pos.row, c->inner);
    Loop j;
    kb_loop(k, &j, kb_i64(k, 0), kb_i64(k, c->k), 1, &acc, 1);
    Val at = kb_add(k, kb_mul(k, token, kb_i64(k, c->k)), j.i);
    Val routed = kb_load_i32(k, slot, at), some = has_row(k, routed);
    Val r = kb_add(k, kb_mul(k, kb_max(k, routed, kb_i64(k, 0)), kb_i64(k, c->inner)), within);
    Val x = kb_load(k, k->vf,
                    kb_gep(k, k->f32, rows, kb_add(k, kb_mul(k, r, kb_i64(k, c->cols)), pos.col)),
                    pos.mask);
    x = LLVMBuildSelect(k->b, some, x, kb_vf(k, 0), "");
    if (c->weighted) {
        Val w = kb_splat(k, load_f32(k, kb_ptr(k, c->n->in[2]), at));
        j.next[0] = kb_fma(k, w, x, j.carry[0]);
    } else {
        j.next[0] = LLVMBuildFAdd(k->b, j.carry[0], x, "");
    }
    kb_loop_end(k, &j);
    finish(k, c, j.carry[0], pos);
}

/* Rows of one number each, [R] -> [T]: every lane is a token. */
static void combine_lanes(Kb *k, Pos pos, Val *carry, void *ctx) {
    const Combine *c = ctx;
    (void)carry;
    Val rows = kb_ptr(k, c->n->in[0]), slot = kb_ptr(k, c->n->in[1]), acc = kb_vf(k, 0);
    Loop j;
    kb_loop(k, &j, kb_i64(k, 0), kb_i64(k, c->k), 1, &acc, 1);
    Val first = kb_add(k, kb_mul(k, pos.col, kb_i64(k, c->k)), j.i);
    Val r = kb_load_strided(k, k->vi, k->i32, kb_gep(k, k->i32, slot, first), c->k, pos.mask);
    Val some = has_row(k, r);
    if (pos.mask) some = LLVMBuildAnd(k->b, some, pos.mask, "");
    Val x = kb_load_indexed(k, k->vf, k->f32, rows, r, some);
    if (c->weighted) {
        Val at = kb_gep(k, k->f32, kb_ptr(k, c->n->in[2]), first);
        Val w = kb_load_strided(k, k->vf, k->f32, at, c->k, pos.mask);
        j.next[0] = kb_fma(k, w, x, j.carry[0]);
    } else {
        j.next[0] = LLVMBuildFAdd(k->b, j.carry[0], x, "");
    }
    kb_loop_end(k, &j);
    finish(k, c, j.carry[0], pos);
}

static void combine_row(Kb *k, Val row, void *ctx) {
    const Combine *c = ctx;
    kb_cols(k, row, c->cols, NULL, 0, c->inner ? combine_vector : combine_lanes, ctx);
}

static void lower_combine(Kb *k, IrNode *n, bool weighted) {
    const IrType *t = &n->out[0].type, *rt = &n->in[0]->type;
    int64_t inner =
        rt->rank > 1 ? ir_rows(rt) / rt->dim[0] : 0; /* rows of a token; 0: each is one number */
    Combine c = {n, inner, ir_cols(t), ir_cols(&n->in[1]->type), weighted};
    kb_rows(k, ir_rows(t), c.cols, combine_row, &c);
}

void cg_lower_combine(Kb *k, IrNode *n) {
    lower_combine(k, n, true);
}
void cg_lower_combine_rows(Kb *k, IrNode *n) {
    lower_combine(k, n, false);
}

typedef struct CombineDw {
    Val rows, dy; /* at the row of this pair and of this token */
} CombineDw;

static void pass_dot(Kb *k, Pos pos, Val *carry, void *ctx) {
    const CombineDw *c = ctx;
    Val a = kb_load(k, k->vf, kb_gep(k, k->f32, c->rows, pos.col), pos.mask);
    Val b = kb_load(k, k->vf, kb_gep(k, k->f32, c->dy, pos.col), pos.mask);
    carry[0] = kb_fma(k, a, b, carry[0]);
}

static void combine_dw_row(Kb *k, Val token, void *ctx) {
    IrNode *n = ctx;
    int64_t kk = ir_cols(&n->in[1]->type), each = ir_elems(&n->in[0]->type) / n->in[0]->type.dim[0];
    CombineDw c;
    c.dy = kb_gep(k, k->f32, kb_ptr(k, n->in[2]), kb_mul(k, token, kb_i64(k, each)));
    Loop j;
    kb_loop(k, &j, kb_i64(k, 0), kb_i64(k, kk), 1, NULL, 0);
    Val at = kb_add(k, kb_mul(k, token, kb_i64(k, kk)), j.i), acc = kb_vf(k, 0);
    Val r = kb_load_i32(k, kb_ptr(k, n->in[1]), at), some = has_row(k, r);
    r = kb_max(k, r, kb_i64(k, 0));
    c.rows = kb_gep(k, k->f32, kb_ptr(k, n->in[0]), kb_mul(k, r, kb_i64(k, each)));
    kb_cols(k, token, each, &acc, 1, pass_dot, &c);
    Val dot = LLVMBuildSelect(k->b, some, kb_hsum(k, acc), kb_f32(k, 0), "");
    store_f32(k, dot, kb_ptr(k, &n->out[0]), at);
    kb_loop_end(k, &j);
}

void cg_lower_combine_dw(Kb *k, IrNode *n) {
    int64_t tokens = n->in[1]->type.dim[0];
    kb_rows(k, tokens, ir_elems(&n->in[0]->type) / n->in[0]->type.dim[0], combine_dw_row, n);
}
