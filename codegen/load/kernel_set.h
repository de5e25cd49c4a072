/* The distinct kernels of a module. Internal to this folder. */
#ifndef VMOEC_CODEGEN_LOAD_KERNEL_SET_H
#define VMOEC_CODEGEN_LOAD_KERNEL_SET_H

#include "codegen/load/cache.h"
#include "codegen/load/loader.h"

typedef struct Kernel {
    const char *signature;
    uint64_t hash;
    CgJob job;  /* the first cluster that needs it */
    bool known; /* facts are */
    CgFacts facts;
    VmKernelFn fn; /* NULL: not compiled */
} Kernel;

typedef struct KernelSet {
    Arena *arena;
    const CgTarget *target;
    CgOptions options;
    Cache *cache; /* opened when it is first needed */
    Code *code;
    Kernel *item;
    int n, cap;
    int *slot;               /* hash table of kernel numbers + 1, 0: empty */
    int nslot;               /* a power of two */
    const IrGraph *lowering; /* see cg_module_lowering */
    CgStats *stats;
} KernelSet;

/* What code and kernels need lives in a; the caller may set options until the first compilation. */
void kernel_set_init(KernelSet *s, Arena *a, const CgTarget *t, CgStats *stats);
void kernel_set_destroy(KernelSet *s); /* the functions are gone then */

/* The number of a cluster's kernel: an equal one's, or a new one. */
int kernel_set_add(KernelSet *s, Plan *p, PlanCluster *c);

/* Makes every kernel's facts known and, with `code`, its function. NULL or a message. */
const char *kernel_set_compile(KernelSet *s, bool code);

/* Objects of all kernels and of the functions they share, for a linker; nothing is loaded. The
 * function of kernel i is kernel_set_symbol(i) there. NULL or a message. */
enum { KERNEL_SYMBOL = sizeof CG_KERNEL_SYMBOL };
void kernel_set_symbol(int kernel, char out[KERNEL_SYMBOL]);
const char *kernel_set_objects(KernelSet *s, CgObjectSink sink, void *user);

/* LLVM IR or assembly of the kernels without code; g is the graph to report should lowering crash.
 * NULL or a message. */
const char *kernel_set_print(KernelSet *s, const IrGraph *g, bool assembly, Text *out);

#endif
