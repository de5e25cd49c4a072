/* Code generation: front door of this folder. A fused graph is planned; every distinct cluster
 * becomes one kernel, LLVM vector IR for a target, an object, code in memory; and the plan a
 * VmProgram the runtime runs. LLVM's types stay inside this folder. Failures of the environment (no
 * memory, LLVM refuses the target) come back as a message; a cluster that cannot be lowered is our
 * bug. */
#ifndef VMOEC_CODEGEN_CODEGEN_H
#define VMOEC_CODEGEN_CODEGEN_H

#include "ir/ir.h"
#include "runtime/exec/abi.h"

/* What code generation asks of a target beyond what all have: vectors.
 * Masks and gathers are not asked for: where there are none, LLVM writes them out lane by lane. */
typedef enum CgFeature {
    CG_SCALE = 1, /* x * 2^n in one instruction, for any n */
    CG_BF16 = 2,  /* products of bf16 pairs in one instruction */
    /* What is fused behind a product takes two vectors at a time: their chains of dependent steps
     * overlap, which the CPU by itself does not see far enough ahead to do. */
    CG_ABREAST = 4,
    CG_FUSED = 8 /* a b + c in one instruction, rounded once */
} CgFeature;

/* What code is made for: a row of codegen/target/isa.def. */
typedef struct CgTarget {
    const char *id;  /* its name: "avx512-bf16" */
    const char *isa; /* its instruction set, "avx512" | "neon", which decides the bits of results */
    const char *triple; /* its architecture and system in LLVM's words */
    int elf;            /* its architecture in ELF's numbers; EM_NONE: objects are WebAssembly */
    int vector_floats;
    int vector_registers;
    unsigned has;         /* CgFeature bits */
    bool native;          /* the CPU that this process runs on; else any that has the target */
    const char *cpu;      /* LLVM's name of it; "host": whatever LLVM finds here */
    const char *features; /* in LLVM's words; with "host", beside those it finds */
    int64_t l1d, l2;      /* bytes of a core's data caches; 0: not known */
    const char *name;     /* the CPU in its maker's words; may be "" */
    const char *host; /* what "host" is found from: tells one CPU's code from another's; else "" */
} CgTarget;

/* The best that the host can run; VMOEC_ISA=avx2 or avx512 chooses the smaller set or insists on
 * the larger, and avx512-halves, which is for tests, is avx512's code with AVX2's instructions.
 * NULL and *error when it can run none or the variable is wrong. */
const CgTarget *cg_target_host(Arena *a, const char **error);
/* One by its name, for which the host can plan and print code that it need not be able to run;
 * NULL: there is none. Its caches are not known. */
const CgTarget *cg_target_named(const char *id);
/* The i-th of all; NULL: there are no more. */
const CgTarget *cg_target_at(int i);
/* What a target without the feature would need: "AVX512_BF16, which this CPU does not have". */
const char *cg_target_lack(Arena *a, const CgTarget *t, CgFeature feature);

/* A module holds the kernels of several programs (train, eval, last partial batch); equal clusters
 * are compiled once. It owns code and program data. LLVM runs in other processes and is never part
 * of this one, except for the text dumps below. */
typedef struct CgModule CgModule;

typedef struct CgStats {
    int clusters, kernels; /* total, distinct */
    int cached, compiled;  /* kernels taken from the cache, and made */
    int workers;           /* the most processes that compiled at once */
    int64_t code_bytes;    /* mapped */
    double seconds_plan, seconds_cache, seconds_load;
    double seconds_workers; /* from starting the workers until the last one is done */
    /* of seconds_workers, summed over the workers */
    double seconds_start, seconds_ir, seconds_llvm;
    const char *cache_note; /* why there is no cache or no writing to it; NULL: all is well */
    bool cache_refused;     /* because others could put code of theirs into it */
} CgStats;

typedef struct CgOptions {
    int workers;           /* processes that compile at once; below 1: one */
    const char *cache_dir; /* where objects are kept; NULL: nowhere. Made when missing, refused when
                            * others than this user and root can change what is in it */
    const char *backend;   /* the shared object with LLVM; NULL: beside the program */
} CgOptions;

CgModule *cg_module_create(const CgTarget *t);
void cg_module_destroy(CgModule *m); /* programs and function pointers die with it */
/* One worker and no cache unless this says otherwise. Call before compiling. */
void cg_module_options(CgModule *m, const CgOptions *o);

/* A matrix product, by what its blocks are chosen from: `count` products m x k by k x n. Grouped by
 * expert, count is the number of experts and the routed rows (m, or k of a weight gradient) are
 * those of all. */
enum { CG_BLOCK_MAX = 1024 };
typedef struct CgProduct {
    const char *kind; /* one of ir_product_name, or equal text */
    int64_t count, m, n, k;
} CgProduct;
bool cg_product_equal(const CgProduct *a, const CgProduct *b);

/* Blocks of rows x cols results, 1 to CG_BLOCK_MAX each, instead of those that
 * codegen/plan/blocks.c chooses; they are rounded to whole register tiles. Results keep their bits.
 */
typedef struct CgBlocks {
    CgProduct product;
    int64_t rows, cols;
} CgBlocks;
typedef struct CgTuning {
    const CgBlocks *list;
    int n;
} CgTuning;
/* For programs added from now on; NULL: none. Must live until they are added. */
void cg_module_tuning(CgModule *m, const CgTuning *t);

/* For programs added from now on: weights are packed in every step, into memory that the step
 * shares with other things, instead of in copies that outlive it. Slower; results keep their bits.
 * The same for all programs that one engine runs. */
void cg_module_pack_in_step(CgModule *m, bool on);

/* The product that a task of the module's program computes, with the blocks it has; false: it is
 * none. */
typedef struct CgChosen {
    CgBlocks blocks;
    int64_t tile_rows, tile_cols, typical_rows; /* typical: of one of its matrices */
} CgChosen;
bool cg_task_product(const CgModule *m, const VmProgram *p, int task, CgChosen *out);
/* The blocks nearest to rows x cols that it could have, evened out over its rows. */
CgBlocks cg_blocks_near(const CgChosen *c, int64_t rows, int64_t cols);
/* Tells one build of the compiler from another. */
const char *cg_compiler(void);

/* Plans a fused CORE graph, which must live until it is compiled. The program's items and scratch
 * size are known after cg_module_facts, and it is usable after cg_module_compile. */
VmProgram *cg_add_program(CgModule *m, IrGraph *g, const char *name, int64_t batch, double macs);

/* What the plan of a fused graph takes, without lowering it (footprint.c). */
enum { CG_HOLDERS = 5 };
typedef struct CgFootprint {
    int64_t space[VM_SPACE_COUNT];
    int64_t live;      /* most bytes of VM_WORK that matter at once: no placement takes less */
    double flops;      /* arithmetic of products and attention, made again or not */
    int64_t packed;    /* bytes that pack tasks of a step write */
    int tasks, widest; /* number of tasks; the one at which `live` is reached */
    /* The largest buffers of that moment; value NULL: a packed matrix. */
    struct {
        const IrValue *value;
        int64_t bytes;
    } holder[CG_HOLDERS];
    int nholder;
} CgFootprint;
/* pack_in_step: as with cg_module_pack_in_step. */
void cg_footprint(Arena *a, const CgTarget *t, IrGraph *g, bool pack_in_step, CgFootprint *out);
/* The same, but when no placement takes `enough` bytes of VM_WORK and VM_PACKED or less, it stops
 * before there is one: false, and space[VM_WORK] is a lower bound. */
bool cg_footprint_within(Arena *a, const CgTarget *t, IrGraph *g, bool pack_in_step, int64_t enough,
                         CgFootprint *out);

/* Finds kernels in the cache or compiles them, loads the code and fills in the programs. The
 * workers are forked here; NULL or a message. A worker that dies of our own mistake ends this
 * process like one. */
const char *cg_module_compile(CgModule *m);

/* Makes the code of all programs for a linker instead of for this process: the sink gets each
 * object, whose bytes are its own until it returns, and its name, which no other has. Everything
 * about the programs is known then but their functions. Not for a module with code that is loaded.
 * NULL or a message. */
typedef void (*CgObjectSink)(void *user, const char *name, const void *data, size_t size);
const char *cg_module_objects(CgModule *m, CgObjectSink sink, void *user);
/* The name that the function of the program's task has there; of the i-th packed copy. */
enum { CG_SYMBOL = 12 };
void cg_task_symbol(const CgModule *m, const VmProgram *p, int task, char out[CG_SYMBOL]);
void cg_pack_symbol(const CgModule *m, const VmProgram *p, int i, char out[CG_SYMBOL]);

/* Fills in the items and scratch sizes of all programs without making code. NULL or a message. */
const char *cg_module_facts(CgModule *m);

/* The graph of the kernel that is being lowered; NULL outside of that. For reports of our own
 * mistakes. */
const IrGraph *cg_module_lowering(const CgModule *m);

const CgStats *cg_module_stats(const CgModule *m);

/* Text dumps: the memory plan added last; LLVM IR and assembly of what was not compiled yet. These
 * load LLVM into this process. NULL or a message. */
void cg_print_plan(Text *t, CgModule *m);
const char *cg_print_llvm(Text *t, CgModule *m);
const char *cg_print_asm(Text *t, CgModule *m);

#endif
