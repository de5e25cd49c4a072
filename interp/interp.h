/* The slow, obvious reference: every op in double precision, written from its formula, sharing
 * nothing with the code generator. `vmoec verify` and the tests compare everything with it. One
 * function ref_<op> per row of ops.def (LEAF excepted); EXPAND ops have their own formulas too, so
 * that expansion is checked. */
#ifndef VMOEC_INTERP_INTERP_H
#define VMOEC_INTERP_INTERP_H

#include "ir/ir.h"

/* A tensor of doubles (i32 tensors hold integers exactly). Dense row-major. */
typedef struct RefTensor {
    IrType type;
    double *data;
} RefTensor;

typedef struct Interp Interp;

/* Memory comes from arena a. The graph must verify (MODEL ops allowed; they run in `training` mode
 * or not) and stay as it is while the interpreter is used. */
Interp *interp_create(Arena *a, const IrGraph *g, bool training);

/* Gives an input, param or state leaf its value; data is copied. False when there is no such leaf.
 */
bool interp_set(Interp *it, const char *name, const double *data);
bool interp_set_f32(Interp *it, const char *name, const float *data);
bool interp_set_i32(Interp *it, const char *name, const int32_t *data);
/* Fills every rng_key leaf (and the streams MODEL ops name) for a seed and step, as the runtime
 * does. */
void interp_set_rng(Interp *it, uint64_t seed, uint64_t step);

/* Evaluates the whole graph. Leaves never set are zero, random keys too. What nodes with effects
 * write (weights and state) stands in the leaves after the run, so that calling again is the next
 * step. An index or label outside its range aborts: whoever sets leaves from a user's data checks
 * them before. */
void interp_run(Interp *it);

/* While held, stop_gradient gives the values of the last run without: what differences must see to
 * agree with gradients. */
void interp_hold(Interp *it, bool hold);

/* Every number the next runs compute, and now every leaf that was set, is moved by at most `part`
 * of itself, at random. What changes in the results is what rounding of that size does to them.
 * Choices (indices, comparisons, random numbers) and what only moves numbers stay exact. */
void interp_disturb(Interp *it, double part, uint64_t seed);

const RefTensor *interp_value(const Interp *it, const IrValue *v); /* valid until the next run */
const RefTensor *interp_out(const Interp *it, const char *name);   /* by output name; NULL: none */

/* The objective: sum of weight * value over losses and aux losses. */
double interp_objective(const Interp *it);

#endif
