/* Graphs on their way to code generation: the shipped models and IR text, run through a pipeline.
 * Failures fail the running test. */
#ifndef VMOEC_TESTS_UNIT_CODEGEN_UTIL_PROGRAM_H
#define VMOEC_TESTS_UNIT_CODEGEN_UTIL_PROGRAM_H

#include "codegen/plan/plan.h"
#include "passes/passes.h"

/* Paths of the models in models/, ended by NULL. */
extern const char *const program_models[];

/* The first model of a file for `batch` images, before any pass. `set`: "depth=8" as with --set, or
 * NULL. */
IrGraph *program_elaborate(Arena *a, const char *path, const char *set, int64_t batch);

/* Runs the pipeline on g itself: training mode for all but PIPE_EVAL. */
void program_run(IrGraph *g, Pipeline pipe);

/* Reads IR text and runs one pass, or none (PASS_COUNT). */
IrGraph *program_read(Arena *a, const char *text, PassId pass);

/* Both instruction sets (0: avx512, 1: avx2), whatever the host has: for planning only. */
const CgTarget *program_target(int i);

#endif
