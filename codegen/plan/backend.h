/* The seam between the two halves of this folder. Plans, signatures, the cache and the loader are
 * part of the program; what needs LLVM (every file that includes codegen/build/emit.h) is a shared
 * object beside it, loaded by the processes that compile and by nobody else: a process that trains
 * holds no compiler. Programs that link both halves, as the unit tests do, need no shared object.
 */
#ifndef VMOEC_CODEGEN_PLAN_BACKEND_H
#define VMOEC_CODEGEN_PLAN_BACKEND_H

#include "codegen/plan/plan.h"

/* Identifies the sources that code is made by: codegen/, passes/, ir/ and the headers shared with
 * the runtime. Made by the Makefile. */
extern const char cg_compiler_id[];

/* What lowering finds out about a kernel. */
typedef struct CgFacts {
    int64_t scratch_bytes, items;
} CgFacts;

typedef struct CgJob {
    Plan *plan;
    PlanCluster *cluster;
} CgJob;

/* Every kernel is an object of its own, which defines this function. Functions that kernels share
 * are objects too, under their own names. */
#define CG_KERNEL_SYMBOL "vmoe_kernel"
typedef void (*CgSink)(void *user, const char *symbol, const void *object, size_t size);

typedef struct CgUnit CgUnit; /* LLVM's state */

typedef struct CgBackend {
    const char *id; /* cg_compiler_id */
    /* NULL and *error when LLVM cannot serve the target. */
    CgUnit *(*create)(Arena *a, const CgTarget *t, const char **error);
    void (*destroy)(CgUnit *u);
    /* Lowers a kernel and throws the code away. */
    CgFacts (*facts)(CgUnit *u, CgJob job);
    /* Makes a kernel's object and those of shared functions this unit has not made before; the sink
     * gets each, the kernel last. NULL or a message. Adds the time it took to seconds[0] (LLVM IR)
     * and [1] (LLVM).
     */
    const char *(*compile)(CgUnit *u, CgJob job, CgFacts *facts, CgSink sink, void *user,
                           double *seconds);
    /* All kernels in one module, as LLVM IR or as assembly. NULL or a message. */
    const char *(*print)(CgUnit *u, const CgJob *job, int n, bool assembly, Text *out);
    /* The file of the LLVM library in use; "" when it is not known. */
    const char *(*library)(void);
} CgBackend;

/* backend.c: the back end that is linked in, or the shared object's, loaded into this process. path
 * NULL: beside the program. NULL and *error: it is not there, or of another build. */
const CgBackend *backend_load(Arena *a, const char *path, const char **error);

#endif
