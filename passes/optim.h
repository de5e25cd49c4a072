/* What the rules of optimizers are written with (optim.c). A rule builds the update of one weight
 * as plain IR: elementwise work on the weight, its gradient and its state, and an `assign` for
 * every leaf that changes. It runs once for every weight that has a gradient. */
#ifndef VMOEC_PASSES_OPTIM_H
#define VMOEC_PASSES_OPTIM_H

#include "ir/ir.h"
#include "recipe/recipe.h"
#include "runtime/exec/abi.h"

typedef struct Optim {
    IrBuilder *b;
    Arena *scratch;
    const VmOptimizerSpec *spec; /* the options that the train block gives */
    IrNode *param;               /* the weight */
    bool clash;                  /* set: a leaf that it needs exists with another type */
} Optim;

/* optim_<name>: the rule of every row of recipe/optimizers.def. The gradient is read from memory
 * wherever it is made, so that an update is one kernel of its own. */
#define CHOICE(field, name, doc) void optim_##name(Optim *o, IrValue *weight, IrValue *gradient);
#include "recipe/optimizers.def"

/* Numbers that change from step to step: all of them, f32[VM_STEP_SCALARS], and one of them in the
 * weight's shape. */
IrValue *optim_step(Optim *o);
IrValue *optim_scalar(Optim *o, VmStepScalar which);

/* State of the weight's shape that is kept from step to step and in checkpoints, zero at first,
 * under the name NAME.<weight>. */
IrValue *optim_state(Optim *o, const char *name);

/* The weight decay of this weight: 0 for those that have none. */
double optim_decay(const Optim *o);

/* From the next step on, x (the weight or state) is v. */
void optim_assign(Optim *o, IrValue *x, IrValue *v);

#endif
