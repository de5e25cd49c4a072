/* The processes that compile. They are forked with the plans in their memory, load LLVM, take
 * kernels from a common queue and hand back objects; LLVM and all it allocated go away with them.
 */
#ifndef VMOEC_CODEGEN_LOAD_WORKERS_H
#define VMOEC_CODEGEN_LOAD_WORKERS_H

#include "codegen/load/cache.h"
#include "codegen/load/loader.h"

typedef struct WorkItem {
    CgJob job;
    const char *text; /* the kernel's text in the cache */
    /* results; object only when code was asked for */
    CgFacts facts;
    const void *object;
    size_t size;
    bool done;
} WorkItem;

typedef struct WorkHelper { /* a shared function's object */
    const char *name;
    const void *object;
    size_t size;
} WorkHelper;

typedef struct Work {
    const CgTarget *target;
    Cache *cache; /* workers keep their objects in it */
    WorkItem *item;
    int n;
    bool code;                /* objects, or facts alone */
    int workers;              /* at most */
    const char *backend;      /* as in CgOptions */
    const IrGraph **lowering; /* set around the lowering of every item, for crash reports */
    /* results */
    WorkHelper *helper; /* every name once */
    int nhelper, cap_helper;
    int started;                                    /* workers */
    double seconds_start, seconds_ir, seconds_llvm; /* summed over workers */
} Work;

/* What the cache calls a shared function. */
const char *work_helper_text(Arena *a, const char *name);

/* Does the work; results are in arena a. NULL, or a message when the environment does not play
 * along. */
const char *work_run(Arena *a, Work *w);

#endif
