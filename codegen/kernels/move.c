/* Kernels that place data: concat, unslice. Operands are evaluated in the load. */
#include "codegen/kernels/rules.h"

typedef struct Move {
    IrNode *n;
    IrValue *from;
    bool last;         /* along the last dimension */
    int64_t rest;      /* rows below the axis, when it is not the last */
    int64_t from_rows; /* operand's axis length times rest */
    int64_t to_rows;   /* result's axis length times rest */
    int64_t start;     /* where the operand begins on the axis */
    int64_t cols;
} Move;

static Move move_along(IrNode *n, IrValue *from, int64_t axis, int64_t start) {
    const IrType *ft = &from->type, *tt = &n->out[0].type;
    Move m = {.n = n,
              .from = from,
              .last = axis == ft->rank - 1,
              .rest = 1,
              .start = start,
              .cols = ir_cols(ft)};
    for (int d = (int)axis + 1; d < ft->rank - 1; d++) m.rest *= ft->dim[d];
    m.from_rows = ft->dim[axis] * m.rest;
    m.to_rows = tt->dim[axis] * m.rest;
    return m;
}

static void copy_vector(Kb *k, Pos pos, Val *carry, void *ctx) {
    const Move *m = ctx;
    (void)carry;
    Val v = kb_eval(k, m->from, pos);
    Pos to = pos;
    if (m->last) {
        to.col = kb_add(k, pos.col, kb_i64(k, m->start));
    } else {
        Val above = kb_mul(k, kb_udiv(k, pos.row, m->from_rows), kb_i64(k, m->to_rows));
        Val within = kb_add(k, kb_urem(k, pos.row, m->from_rows), kb_i64(k, m->start * m->rest));
        to.row = kb_add(k, above, m->from_rows == 1 ? kb_i64(k, m->start * m->rest) : within);
    }
    kb_store_value(k, &m->n->out[0], v, to);
}

static void copy_row(Kb *k, Val row, void *ctx) {
    const Move *m = ctx;
    kb_cols(k, row, m->cols, NULL, 0, copy_vector, ctx);
}

void cg_lower_concat(Kb *k, IrNode *n) {
    int64_t axis = ir_int(n, ATTR_concat_axis), start = 0;
    for (int i = 0; i < n->nin; i++) {
        Move m = move_along(n, n->in[i], axis, start);
        kb_rows(k, ir_rows(&n->in[i]->type), m.cols, copy_row, &m);
        start += n->in[i]->type.dim[axis];
    }
}

static void zero_vector(Kb *k, Pos pos, Val *carry, void *ctx) {
    const Move *m = ctx;
    (void)carry;
    bool is_f32 = m->n->out[0].type.dtype == DT_f32;
    kb_store_value(k, &m->n->out[0], is_f32 ? kb_vf(k, 0) : kb_vi(k, 0), pos);
}

/* One row of the result: zeros, then what the operand has of it. */
static void unslice_row(Kb *k, Val row, void *ctx) {
    Move *m = ctx;
    int64_t cols = ir_cols(&m->n->out[0].type);
    kb_cols(k, row, cols, NULL, 0, zero_vector, m);
    if (m->last) {
        kb_cols(k, row, m->cols, NULL, 0, copy_vector, m);
        return;
    }
    Val within = kb_urem(k, row, m->to_rows), first = kb_i64(k, m->start * m->rest);
    Val above = kb_udiv(k, row, m->to_rows);
    Val inside = LLVMBuildAnd(
        k->b, LLVMBuildICmp(k->b, LLVMIntSGE, within, first, ""),
        LLVMBuildICmp(k->b, LLVMIntSLT, within, kb_add(k, first, kb_i64(k, m->from_rows)), ""), "");
    If f;
    kb_if(k, &f, inside);
    Val from = kb_add(k, kb_mul(k, above, kb_i64(k, m->from_rows)), kb_sub(k, within, first));
    kb_cols(k, from, m->cols, NULL, 0, copy_vector, m);
    kb_if_end(k, &f);
}

void cg_lower_unslice(Kb *k, IrNode *n) {
    Move m = move_along(n, n->in[0], ir_int(n, ATTR_unslice_axis), ir_int(n, ATTR_unslice_start));
    const IrType *t = &n->out[0].type;
    kb_rows(k, ir_rows(t), ir_cols(t), unslice_row, &m);
}
