/* The op table as data, generated from ops.def. */
#include "ir/ir.h"

#include <string.h>

/* One struct per op with one byte per attribute: its size is the number of attributes. */
struct AttrsOf_ {
    char first;
#define OP(name, ...)                                                                              \
    }                                                                                              \
    ;                                                                                              \
    struct AttrsOf_##name {                                                                        \
        char first;
#define ATTR(op, name, ...) char attr_##name;
#include "ir/ops.def"
};

/* FIRST_<op>: how many attributes stand before the op. BACK_ steps the counter back, so that only
 * ATTR rows count. */
enum {
#define OP(name, ...) FIRST_##name, BACK_##name = FIRST_##name - 1,
#define ATTR(op, name, ...) SLOT_##op##_##name,
#include "ir/ops.def"
};

/* The flag names of ops.def. */
#define EFFECT OPF_EFFECT
#define EPI OPF_EPI
#define PRO OPF_PRO
#define COMMUTE OPF_COMMUTE
#define LEAD OPF_LEAD
#define TAIL OPF_TAIL
#define FRONT OPF_FRONT
#define SPREAD OPF_SPREAD
#define SPARE OPF_SPARE

/* What the columns `work` and `reads` say. */
#define WORK_NONE false
#define WORK_WORK true
#define NONE READ_NONE
#define VALUE READ_VALUE
#define ROWS READ_ROWS
#define STRIDED READ_STRIDED
#define LINES READ_LINES
#define DENSE READ_DENSE
#define FACTOR READ_FACTOR
#define PACKED READ_PACKED
#define WITHOUT_PARENTHESES(...) __VA_ARGS__

const OpInfo ir_ops[OP_COUNT] = {
#define OP(name_, lo, hi, nout_, stage_, route_, grad_, flags_, work_, reads_, sig, doc_)          \
    [OP_##name_] = {.name = #name_,                                                                \
                    .min_in = lo,                                                                  \
                    .max_in = hi,                                                                  \
                    .nout = nout_,                                                                 \
                    .stage = STAGE_##stage_,                                                       \
                    .route = ROUTE_##route_,                                                       \
                    .grad = GRAD_##grad_,                                                          \
                    .flags = flags_,                                                               \
                    .work = WORK_##work_,                                                          \
                    .reads = {WITHOUT_PARENTHESES reads_},                                         \
                    .signature = sig,                                                              \
                    .doc = doc_,                                                                   \
                    .first_attr = (AttrId)FIRST_##name_,                                           \
                    .nattr = (int)sizeof(struct AttrsOf_##name_) - 1},
#include "ir/ops.def"
};

const AttrInfo ir_attrs[ATTR_COUNT] = {
#define ATTR(op_, name_, kind_, dflt_, doc_)                                                       \
    [ATTR_##op_##_##name_] = {.op = OP_##op_,                                                      \
                              .name = #name_,                                                      \
                              .kind = ATTR_KIND_##kind_,                                           \
                              .required = sizeof(#dflt_) == sizeof "REQ" && #dflt_[0] == 'R',      \
                              .dflt = #dflt_,                                                      \
                              .doc = doc_},
#include "ir/ops.def"
};

OpCode ir_op_by_name(const char *name) {
    for (int i = 0; i < OP_COUNT; i++)
        if (strcmp(ir_ops[i].name, name) == 0) return (OpCode)i;
    return OP_COUNT;
}

AttrId ir_attr_by_name(OpCode op, const char *name) {
    for (int i = 0; i < ir_ops[op].nattr; i++) {
        AttrId id = (AttrId)((int)ir_ops[op].first_attr + i);
        if (strcmp(ir_attrs[id].name, name) == 0) return id;
    }
    return ATTR_COUNT;
}

AttrId ir_bf16_attr(OpCode op) {
    return ir_attr_by_name(op, "bf16");
}

unsigned ir_reads(OpCode op, int i) {
    const unsigned char *reads = ir_ops[op].reads;
    if (i >= IR_MAX_READS) i = IR_MAX_READS - 1;
    while (i > 0 && !reads[i]) i--;
    return reads[i];
}

bool ir_rounds_operands(const IrNode *n) {
    AttrId id = ir_bf16_attr(n->op);
    return id != ATTR_COUNT && ir_int(n, id) != 0;
}

bool ir_rounds_operand(const IrNode *n, int i) {
    return (ir_reads(n->op, i) & READ_FACTOR) && ir_rounds_operands(n);
}

IrValue *ir_written(const IrNode *n, int r) {
    if (!(ir_ops[n->op].flags & OPF_EFFECT)) return NULL;
    return n->in[r == 0 ? 0 : r + 1];
}
