/* What the tests of generated code share: graphs compiled for an instruction set and run by the
 * runtime on case_fill's data, results as doubles. */
#ifndef VMOEC_TESTS_OPS_UTIL_JIT_H
#define VMOEC_TESTS_OPS_UTIL_JIT_H

#include "codegen/codegen.h"
#include "passes/passes.h"
#include "tests/ops/util_case.h"

/* "avx512" and "avx2"; isa i is the (i+1)-th that this host has, NULL after the last. Both must
 * compute the same within tolerance, so tests run all of them. */
const char *jit_isa(Arena *a, int i);

/* False for graphs with bf16 where the host, restricted to that instruction set, has no code for
 * it. */
bool jit_can(Arena *a, const IrGraph *g, const char *isa);

/* A compiled copy of a graph. The module dies with jit_free. */
typedef struct Jit {
    CgModule *module;
    VmProgram *program;
    const IrGraph *g; /* after the passes: names of leaves and outputs */
} Jit;

/* Runs the pipeline on a clone of g in training mode and compiles it. Fails the running test, with
 * `what` in the message, when something refuses. */
Jit jit_compile(Arena *a, const IrGraph *g, Pipeline pipe, const char *isa, const char *what);
/* The same with so many steps of the pass recompute. */
Jit jit_compile_recomputing(Arena *a, const IrGraph *g, Pipeline pipe, const char *isa, int steps,
                            const char *what);
/* And with weights packed in every step. */
Jit jit_compile_saving(Arena *a, const IrGraph *g, Pipeline pipe, const char *isa, int steps,
                       bool pack_in_step, const char *what);
void jit_free(Jit *j);
/* Tasks that have something to do. */
int jit_kernels(const Jit *j);

/* Everything a run leaves behind, in the order of the graph's outputs followed by its params and
 * states. */
typedef struct JitResult {
    const char *name;
    IrType type;
    double *data;
} JitResult;

typedef struct JitRun {
    JitResult *item;
    int n;
} JitRun;

/* One step with the data of case_fill(seed), random step 3, on that many threads. */
JitRun jit_run(Arena *a, const Jit *j, uint64_t seed, int threads, const char *what);
const JitResult *jit_find(const JitRun *r, const char *name);

/* Fails the test unless both runs have the same bits. */
void jit_same_bits(const JitRun *x, const JitRun *y, const char *what);

#endif
