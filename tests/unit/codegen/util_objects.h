/* Objects as code generation makes them, for the tests of what keeps and loads them. */
#ifndef VMOEC_TESTS_UNIT_CODEGEN_UTIL_OBJECTS_H
#define VMOEC_TESTS_UNIT_CODEGEN_UTIL_OBJECTS_H

#include "codegen/plan/backend.h"
#include "codegen/load/loader.h"

enum { MAX_OBJECTS = 64 };

typedef struct Objects {
    Arena *arena;
    LoadObject item[MAX_OBJECTS]; /* shared functions before the kernels that call them */
    CgFacts facts[MAX_OBJECTS];
    int n;
} Objects;

/* The kernels of a training step of a small model, compiled in this process: for this CPU, or for a
 * target. */
Objects objects_make(Arena *a);
Objects objects_make_for(Arena *a, const CgTarget *t);
/* Those of a fused graph. */
Objects objects_of(Arena *a, IrGraph *g, const CgTarget *t);

/* A copy that ends where its memory ends, so that reads past it are found. Free it. */
void *objects_exact_copy(const void *data, size_t size);

#endif
