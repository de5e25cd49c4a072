/* Tables from op to lowering rule, generated from ops.def: a missing rule is a link error. */
#include "codegen/kernels/rules.h"

#include "codegen/kernels/gemm.h"

static CgEmit emit_rule(OpCode op) {
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

static CgGatherRow gather_rule(OpCode op) {
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

typedef void (*CgLower)(Kb *, IrNode *);

static CgLower lower_rule(OpCode op) {
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

static void lower(Kb *k) {
    IrNode *kernel = plan_row_kernel(k->cl);
    if (k->cl->pack)
        cg_lower_pack(k);
    else if (k->cl->anchor)
        lower_rule(kernel->op)(k, kernel);
    else
        cg_lower_map(k);
}

const CgRules cg_rules = {.lower = lower,
                          .emit = emit_rule,
                          .gather = gather_rule,
                          .rows_of_product = gemm_rows_of_product};
