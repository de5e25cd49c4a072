/* Internal: the gradient rules, one function per op whose grad column is YES. A missing rule is a
 * link error. The engine in autodiff.c knows no op; the rules in grad_core.c and grad_moe.c know no
 * graph. */
#ifndef VMOEC_PASSES_GRAD_H
#define VMOEC_PASSES_GRAD_H

#include "ir/ir.h"

/* Builds, with b, the gradients of n's operands from those of its results.
 * dy: one per result, of the result's type; NULL where the objective does not depend on it, but at
 * least one is there. i32 results never have one. dx: one per operand, NULL at first; left NULL
 * where the gradient is zero. Each must have its operand's type. What the engine does not need is
 * dropped, so rules do not ask which operands matter. A rule that cannot serve a legal node says
 * why in b->error. */
typedef void GradFn(IrBuilder *b, const IrNode *n, IrValue *const *dy, IrValue **dx);

#define GRAD_RULE_YES(name) GradFn grad_##name;
#define GRAD_RULE_STOP(name)
#define GRAD_RULE_VIA(name)
#define GRAD_RULE_END(name)
#define OP(name, lo, hi, nout, stage, route, grad, ...) GRAD_RULE_##grad(name)
#include "ir/ops.def"

#endif
