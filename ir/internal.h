/* Shared by the files of ir/ only. */
#ifndef VMOEC_IR_INTERNAL_H
#define VMOEC_IR_INTERNAL_H

#include "base/map.h"
#include "ir/ir.h"

/* A tensor has fewer elements than this, so element counts and byte counts never overflow. */
#define IR_MAX_ELEMS (INT64_C(1) << 40)

/* DT_COUNT when there is none of that name. */
DType ir_dtype_by_name(const char *name);

/* NULL when the type is legal: 1 <= dimensions, fewer than IR_MAX_ELEMS elements. */
const char *ir_type_check(Arena *a, const IrType *t);

/* ---- nodes (graph.c) ------------------------------------------------------------------------ */

/* A node outside the list, attributes at their defaults, operands NULL. */
IrNode *ir_node_new(IrGraph *g, OpCode op, int nin);
/* Links it in before `at`, or at the end. */
void ir_node_insert(IrGraph *g, IrNode *n, IrNode *at);
IrAttr *ir_attr(const IrNode *n, AttrId id, AttrKind kind);

/* The default of an attribute as a value; all zero for a required one. Strings are copied. */
IrAttr ir_attr_default(Arena *a, AttrId id);

/* ---- text ------------------------------------------------------------------------------------ */

/* The shortest text that reads back to the same bits. */
void ir_print_number(Text *t, double x);
/* In quotes, with \" \\ \n \t \r and \xHH for other control bytes. */
void ir_print_string(Text *t, const char *s);
/* [A-Za-z_][A-Za-z0-9_.-]* : may stand after '@' without quotes. */
bool ir_is_name(const char *s);

/* ---- verifier -------------------------------------------------------------------------------- */

/* ir_verify that also tells where the trouble is. */
const char *ir_verify_at(Arena *a, const IrGraph *g, bool allow_model, IrLoc *where);

/* ---- shape rules ----------------------------------------------------------------------------- */

/* One rule per op that is not a leaf. Called with the right number of operands, legal operand types
 * and all required attributes. */
#define IR_RULE_LEAF(name)
#define IR_RULE(name) const char *shape_##name(Arena *a, IrNode *n);
#define IR_RULE_VIEW IR_RULE
#define IR_RULE_ELTWISE IR_RULE
#define IR_RULE_GATHER IR_RULE
#define IR_RULE_KERNEL IR_RULE
#define IR_RULE_EXPAND IR_RULE
#define OP(name, lo, hi, nout, stage, route, ...) IR_RULE_##route(name)
#include "ir/ops.def"

/* "softmax: <message>", in a. */
const char *ir_shape_fail(Arena *a, const IrNode *n, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* The type of operand i as text. */
const char *ir_shape_in(Arena *a, const IrNode *n, int i);
/* Checks return NULL when fine. */
const char *ir_want_dtype(Arena *a, const IrNode *n, int i, DType d);
/* Operand i of a product: f32, or bf16 too when the op rounds its operands. */
const char *ir_want_factor(Arena *a, const IrNode *n, int i, bool bf16);
const char *ir_want_f32(Arena *a, const IrNode *n); /* all operands */
const char *ir_want_rank(Arena *a, const IrNode *n, int i, int lo, int hi);
const char *ir_want_like(Arena *a, const IrNode *n, int i, const IrType *t); /* the same type */
const char *ir_want_int(Arena *a, const IrNode *n, AttrId id, int64_t lo, int64_t hi);
const char *ir_want_probability(Arena *a, const IrNode *n, AttrId id);
const char *ir_want_finite(Arena *a, const IrNode *n, AttrId id, double lo);
const char *ir_want_axis(Arena *a, const IrNode *n, AttrId id);
/* Operand i is the random key of a stream. */
const char *ir_want_key(Arena *a, const IrNode *n, int i);
/* Random elements are numbered with 32 bits. */
const char *ir_want_random_count(Arena *a, const IrNode *n, int64_t elems);
/* Sets result i; NULL or why the type is illegal. */
const char *ir_set_result(Arena *a, IrNode *n, int i, IrType t);

#define TRY(check)                                                                                 \
    do {                                                                                           \
        const char *message_ = (check);                                                            \
        if (message_) return message_;                                                             \
    } while (0)

#endif
