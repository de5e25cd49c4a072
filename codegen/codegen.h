/* Code generation: front door of this folder. A planned graph (passes: fuse) becomes one kernel per
 * distinct cluster, LLVM vector IR for the host, machine code by JIT, and a VmProgram the runtime runs.
 * LLVM's types stay inside this folder. Failures of the environment (no memory, LLVM refuses the target)
 * come back as a message; a cluster that cannot be lowered is our bug. */
#ifndef VMOEC_CODEGEN_CODEGEN_H
#define VMOEC_CODEGEN_CODEGEN_H

#include "ir/ir.h"
#include "runtime/abi.h"

/* What the machine can do. */
typedef struct CgTarget {
    const char *isa;      /* "avx512" | "avx2" */
    int vector_floats;    /* 16 | 8 */
    int vector_registers; /* 32 | 16 */
    const char *cpu;      /* LLVM's name of the host CPU */
    const char *features;
} CgTarget;

/* The host; VMOEC_ISA=avx2 or avx512 chooses the smaller or insists on the larger. NULL and *error when the
 * host has neither AVX-512 nor AVX2+FMA or the variable is wrong. */
const CgTarget *cg_target_host(Arena *a, const char **error);

/* A module holds the kernels of several programs (train, eval, last partial batch); equal clusters are
 * compiled once. It owns its LLVM state, code and program data. */
typedef struct CgModule CgModule;

typedef struct CgStats {
    int clusters, kernels;                         /* total, distinct */
    double seconds_plan, seconds_ir, seconds_llvm; /* time spent */
} CgStats;

CgModule *cg_module_create(const CgTarget *t, const char **error);
void cg_module_destroy(CgModule *m); /* programs and function pointers die with it */

/* Plans memory and lowers a fused CORE graph. The program is usable after cg_module_compile. */
VmProgram *cg_add_program(CgModule *m, IrGraph *g, const char *name, int64_t batch, double macs,
                          bool training);

/* Optimises and compiles what was added since the last call, and fills in the programs' function
 * pointers. NULL or a message. */
const char *cg_module_compile(CgModule *m);

const CgStats *cg_module_stats(const CgModule *m);

/* Text dumps of what was added last: clusters and memory plan; LLVM IR; assembly. */
void cg_print_plan(Text *t, CgModule *m);
void cg_print_llvm(Text *t, CgModule *m);
const char *cg_print_asm(Text *t, CgModule *m); /* NULL or a message */

#endif
