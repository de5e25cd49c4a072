/* Tables from op to lowering rule, generated from ops.def: a missing rule is a link error. */
#include "codegen/build/emit.h"

CgEmit cg_emit_rule(OpCode op) {
#define R_LEAF(n) NULL
#define R_VIEW(n) NULL
#define R_EXPAND(n) NULL
#define R_GATHER(n) NULL
#define R_KERNEL(n) NULL
#define R_ELTWISE(n) cg_emit_##n
    static const CgEmit rule[OP_COUNT] = {
#define OP(name, lo, hi, nout, stage, route, ...) [OP_##name] = R_##route(name),
#include "ir/ops.def"
    };
#undef R_ELTWISE
    VM_CHECK(rule[op], "codegen: %s is not elementwise", ir_ops[op].name);
    return rule[op];
}

CgGatherRow cg_gather_rule(OpCode op) {
#undef R_GATHER
#define R_ELTWISE(n) NULL
#define R_GATHER(n) cg_gather_row_##n
    static const CgGatherRow rule[OP_COUNT] = {
#define OP(name, lo, hi, nout, stage, route, ...) [OP_##name] = R_##route(name),
#include "ir/ops.def"
    };
#undef R_GATHER
    VM_CHECK(rule[op], "codegen: %s is not a gather", ir_ops[op].name);
    return rule[op];
}

CgLower cg_lower_rule(OpCode op) {
#undef R_KERNEL
#define R_GATHER(n) NULL
#define R_KERNEL(n) cg_lower_##n
    static const CgLower rule[OP_COUNT] = {
#define OP(name, lo, hi, nout, stage, route, ...) [OP_##name] = R_##route(name),
#include "ir/ops.def"
    };
    VM_CHECK(rule[op], "codegen: %s is not a kernel", ir_ops[op].name);
    return rule[op];
}
