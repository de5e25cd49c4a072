/* A small model compiled for training, and what training makes of its weights: for tests of what
 * must not change a bit. Failures fail the running test. */
#ifndef VMOEC_TESTS_UNIT_CODEGEN_UTIL_MODULE_H
#define VMOEC_TESTS_UNIT_CODEGEN_UTIL_MODULE_H

#include "codegen/codegen.h"

typedef struct Made {
    CgModule *m;
    VmProgram *p;
    CgStats stats; /* after compiling */
} Made;

/* The training step of a sparse model of depth 2. tuning: NULL: none. */
Made module_make(Arena *a, const CgTarget *t, const CgOptions *o, const CgTuning *tuning,
                 int64_t batch);

/* The host as it is, or as VMOEC_ISA says. */
const CgTarget *module_host(Arena *a);

/* Every weight's bits after two steps from fixed inputs, mixed. */
uint64_t module_train(const Made *x, int threads);

#endif
