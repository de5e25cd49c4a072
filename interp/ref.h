/* Internal to the interpreter: one reference function per op that is not a LEAF, declared by
 * pasting the op table, so that a missing one is a link error. A reference reads dense row-major
 * operands and fills dense row-major results; operands never alias results. Types have been checked
 * by the IR's verifier; values (indices into a row, offsets) are checked here. */
#ifndef VMOEC_INTERP_REF_H
#define VMOEC_INTERP_REF_H

#include "interp/interp.h"

typedef struct RefCall {
    const IrNode *node;         /* attributes */
    const RefTensor *const *in; /* one per operand */
    RefTensor *out;             /* one per result */
    bool training;              /* MODEL ops: dropout is on */
    bool seeded;                /* false: every random key is (0, 0), like leaves never set */
    uint64_t seed, step;
} RefCall;

typedef void (*RefFn)(const RefCall *c);

#define REF_LEAF(name)
#define REF_VIEW(name) void ref_##name(const RefCall *c);
#define REF_ELTWISE(name) void ref_##name(const RefCall *c);
#define REF_GATHER(name) void ref_##name(const RefCall *c);
#define REF_KERNEL(name) void ref_##name(const RefCall *c);
#define REF_EXPAND(name) void ref_##name(const RefCall *c);
#define ROUTE_OF(route, name) REF_##route(name)
#define OP(name, lo, hi, nout, stage, route, grad, ...) ROUTE_OF(route, name)
#include "ir/ops.def"
#undef ROUTE_OF

/* An element of an index tensor, which must lie in 0..n-1. */
int64_t ref_index(const RefTensor *t, int64_t i, int64_t n);

/* Elements of one entry of the leading dimension: [R,..] -> number of elements in [..]. */
int64_t ref_row_elems(const RefTensor *t);

/* The key of operand `t` (i32[2]) as the random number generator takes it. */
void ref_key(const RefTensor *t, uint32_t key[2]);

/* The key of a stream that a MODEL op names. */
void ref_stream_key(const RefCall *c, const char *stream, uint32_t key[2]);

/* x as a bfloat16: the nearest, ties to even; what is below 2^-126 is 0. */
double ref_bf16(double x);

/* erf^-1 x: infinite at -1 and 1, NaN beyond. */
double ref_inverse_erf(double x);

/* Factor of one element under dropout: 0 or 1/(1-p). */
double ref_keep(const uint32_t key[2], int64_t element, double p);

#endif
