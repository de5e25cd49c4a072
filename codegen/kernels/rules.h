/* The rules by which clusters become code: one per row of ops.def, named after it, and those of
 * clusters that have no anchor. Internal to this folder. */
#ifndef VMOEC_CODEGEN_KERNELS_RULES_H
#define VMOEC_CODEGEN_KERNELS_RULES_H

#include "codegen/build/emit.h"

#define CG_LEAF(n)
#define CG_VIEW(n)
#define CG_EXPAND(n)
#define CG_GATHER(n) Val cg_gather_row_##n(Kb *k, const IrNode *node, Val index);
#define CG_ELTWISE(n) Val cg_emit_##n(Kb *k, const IrNode *node, Val *in, Pos pos);
#define CG_KERNEL(n) void cg_lower_##n(Kb *k, IrNode *node);
#define OP(name, lo, hi, nout, stage, route, ...) CG_##route(name)
#include "ir/ops.def"
#undef CG_LEAF
#undef CG_VIEW
#undef CG_EXPAND
#undef CG_GATHER
#undef CG_ELTWISE
#undef CG_KERNEL

/* map.c, pack.c: clusters without an anchor */
void cg_lower_map(Kb *k);
void cg_lower_pack(Kb *k);

/* rules.c: what the builder is given. */
extern const CgRules cg_rules;

#endif
