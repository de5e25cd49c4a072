/* What the files of runtime/exec share with each other and with the other rooms of the runtime. */
#ifndef VMOEC_RUNTIME_EXEC_INTERNAL_H
#define VMOEC_RUNTIME_EXEC_INTERNAL_H

#include <stdatomic.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/inits.h"
#include "runtime/exec/exec.h"

/* ---- memory.c -------------------------------------------------------------------------------- */

/* Zeroed array; NULL when out of memory or when n * size overflows. n = 0 gives a valid pointer.
 * Freed with free(). The runtime allocates here and in vm_block_alloc only. */
void *vm_calloc(size_t n, size_t size);

/* ---- pages.c --------------------------------------------------------------------------------- */

/* Zeroed memory for tensors, aligned to 64 bytes; large blocks to 2 MiB, in huge pages where the
 * system gives them. A block of 0 bytes has a valid, unused address. */
typedef struct VmBlock {
    unsigned char *data;
    size_t bytes;
    void *map; /* what was mapped, NULL: data came from the heap */
    size_t map_bytes;
} VmBlock;
bool vm_block_alloc(VmBlock *b, size_t bytes);
void vm_block_free(VmBlock *b); /* zeroes *b; an empty block is fine */

/* ---- cgroup.c -------------------------------------------------------------------------------- */

/* CPUs allowed by the cgroup quota as seen under the file system root `root` ("" for the real one):
 * the smallest of this process's group and its parents, rounded up; 0: no limit. */
int vm_quota_cpus(const char *root);
/* Bytes of memory that the cgroups allow, in the same way; 0: no limit. */
int64_t vm_quota_memory(const char *root);

/* ---- team.c ---------------------------------------------------------------------------------- */

/* VM_OK when a team of this many can be made; OpenMP would end the process when it cannot. To be
 * asked before the first parallel region of that size. */
VmStatus vm_team_ready(int threads, VmError *err);

/* A barrier for one team. Generations count up, so a fast thread can enter the next barrier while a
 * slow one is still leaving this one. */
typedef struct VmBarrier {
    _Alignas(64) _Atomic uint32_t arrived;
    _Alignas(64) _Atomic uint32_t generation;
    _Alignas(64) _Atomic uint32_t sleepers;
} VmBarrier;

/* Returns when all n threads of the team are here. `spins` rounds of waiting come before sleeping:
 * vm_barrier_spins(n, cpus) says how many are sensible. */
void vm_barrier_wait(VmBarrier *b, int n, int spins);
int vm_barrier_spins(int n, int cpus);

/* The same wait for a word that only grows: returns when *word > value. Whoever makes it grow calls
 * vm_word_wake after storing. */
void vm_word_wait(_Atomic uint32_t *word, _Atomic uint32_t *sleepers, uint32_t value, int spins);
void vm_word_wake(_Atomic uint32_t *word, _Atomic uint32_t *sleepers);

/* OpenMP's two questions, declared here because a compiler may be installed without its omp.h. */
int omp_get_thread_num(void);
int omp_get_num_threads(void);

/* ---- check.c --------------------------------------------------------------------------------- */

/* VM_ENV when a buffer lies outside the program's memory, or the like. */
VmStatus vm_program_check(const VmProgram *p, VmError *err);
/* VM_OK: both list the tensors of the role in the same order with the same layout. */
VmStatus vm_same_layout(const VmProgram *a, const VmProgram *b, VmRole role, VmError *err);
/* The program's first tensor of the role from `from` on; ntensor: there is none. */
int vm_next_of_role(const VmProgram *p, int from, VmRole role);

/* ---- step.c ---------------------------------------------------------------------------------- */

/* A task with its buffers' addresses. */
typedef struct VmStepTask {
    VmKernelFn fn;
    void **args;
    int64_t items;
    int32_t barrier;
} VmStepTask;

/* The next item of one thread's share of one task. */
typedef struct VmCursor {
    _Alignas(64) _Atomic int64_t next;
} VmCursor;

/* Items done of a phase, at the phase's first task. */
typedef struct VmDone {
    _Alignas(64) _Atomic int64_t items;
} VmDone;

typedef struct VmStep {
    VmStepTask *task;
    int ntask;
    bool profile;          /* every task is a phase of its own */
    int gate;              /* as in VmProgram */
    const float **watched; /* [nwatched]: numbers that must be finite there */
    int nwatched;
    bool refused;                       /* one was not: the step ended at the gate */
    int threads;                        /* of the team the cursors are set for */
    VmCursor *cursor;                   /* [ntask][threads] */
    VmDone *done;                       /* [ntask] */
    _Alignas(64) _Atomic uint32_t over; /* phases finished */
    _Alignas(64) _Atomic uint32_t sleepers;
} VmStep;

/* Sets the shares for a team of n before it starts. */
void vm_step_prepare(VmStep *s, int n);
/* What thread `me` does in the step, up to the gate if it is refused; a share whose thread is
 * missing is done by the others. seconds NULL, or [ntask]: adds wall time per task (with profile
 * set). */
void vm_step_run(VmStep *s, int me, int spins, void *scratch, double *seconds);

/* ---- engine.c -------------------------------------------------------------------------------- */

const VmProgram *vm_engine_program(const VmEngine *e, int program);
int64_t vm_tensor_elems(const VmTensor *t);
/* "f32[64,192]" in buf. */
const char *vm_shape_text(int dtype, int rank, const int64_t *dim, char *buf, size_t cap);

/* ---- exact.c: arithmetic whose bits do not depend on a library ------------------------------- */

/* Only +, -, *, / and sqrt of IEEE doubles: the same bits everywhere. */
double vm_log(double x);               /* x a positive normal number; error below 1e-15 relative */
double vm_exp(double x);               /* |x| < 700; error below 1e-15 relative */
double vm_sin(double x);               /* 0 <= x < 2^20; error below 1e-15 */
double vm_cos(double x);               /* the same */
double vm_cos_pi(double x);            /* cos(pi x), 0 <= x <= 1; error below 1e-15 */
double vm_power(double x, uint64_t n); /* x^n by squaring */
double vm_normal_quantile(double p);   /* inverse of the normal distribution, 0 < p < 1 */

/* ---- init.c ---------------------------------------------------------------------------------- */

/* Elements begin..end of a weight (dst is element 0), whose random numbers have this key. */
typedef struct VmFill {
    const uint32_t *key;
    int64_t begin, end;
    float *dst;
} VmFill;

/* The rule of every row of inits.def. */
#define INIT(name, ...) void vm_init_##name(const VmInit *in, const VmFill *f);
#include "base/inits.def"

/* Initial values of one weight into dst[elems]. VM_INPUT for an unknown or ill-formed rule. */
VmStatus vm_init_tensor(const VmTensor *t, uint64_t seed, int threads, float *dst, VmError *err);

/* ---- peaks_x86.c, peaks_aarch64.c: the one for this architecture ----------------------------- */

/* Runs so many rounds of multiply-adds; how many operations that were. */
typedef double (*VmPeakKernel)(int64_t rounds);
VmPeakKernel vm_peak_f32(void);
VmPeakKernel vm_peak_bf16(void); /* dot products; NULL: this CPU has no instruction for them */

/* ---- table.c --------------------------------------------------------------------------------- */

/* The numbers of a VM_ROLE_TABLE tensor into dst[elems]. VM_ENV for a formula this runtime does not
 * know. */
VmStatus vm_fill_table(const VmTensor *t, float *dst, VmError *err);

#endif
