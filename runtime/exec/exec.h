/* Executes programs (abi.h): threads, the engine that owns memory and runs steps, and what this
 * machine can do. Plain C and OpenMP; knows nothing of the compiler.
 *
 * Ownership: a VmX made by vm_x_create is destroyed by vm_x_destroy (NULL is fine). Strings and
 * arrays passed in are copied unless stated. */
#ifndef VMOEC_RUNTIME_EXEC_EXEC_H
#define VMOEC_RUNTIME_EXEC_EXEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "runtime/exec/abi.h"

/* ---- threads (team.c) ----------------------------------------------------------------------- */

/* CPUs this process may really use: affinity mask and cgroup quota (v1 and v2), at least 1. */
int vm_cpus(void);
/* Bytes of memory that the cgroups of this process allow it; 0: no limit. */
int64_t vm_memory_limit(void);
/* requested > 0: that many (capped at 256); 0: OMP_NUM_THREADS where it is a number, else
 * vm_cpus(). */
int vm_threads(int requested);

/* ---- engine: memory and step execution (engine.c, memory.c) ---------------------------------- */

/* Runs programs that share weights and state. Memory: one aligned block per space, as large as the
 * largest program needs, allocated when a program is added. A step allocates nothing. */
typedef struct VmEngine VmEngine;

VmStatus vm_engine_create(int threads, VmEngine **out, VmError *err);
void vm_engine_destroy(VmEngine *e);
int vm_engine_threads(const VmEngine *e);

/* Borrows p, which must outlive e. Programs added later must have the same weight tensors (names,
 * shapes, offsets) as the first; state likewise among those that have any. Returns the program's
 * index or -1. Adding never disturbs weights or state already there. */
int vm_engine_add(VmEngine *e, const VmProgram *p, VmError *err);

/* Memory that somebody hands in, given out from its beginning; it stays its owner's, and pieces do
 * not come back. `at` is aligned to VM_REGION_ALIGN. (memory.c) */
enum { VM_REGION_ALIGN = 64 };
typedef struct VmRegion {
    unsigned char *at;
    size_t left;
} VmRegion;
/* What a piece takes of a region. */
size_t vm_region_piece(size_t bytes);
/* Zeroed and aligned; NULL: there is not as much left, or n * size overflows. */
void *vm_region_take(VmRegion *r, size_t n, size_t size);

/* Bytes of a region that an engine of these programs takes, and one that lies in it altogether:
 * program i of the list is its number i, and it takes no memory beside what the system takes for
 * threads. More programs cannot be added. A region that is too small is VM_USAGE; after another
 * failure what was taken of it is lost. Destroying the engine is not needed. */
size_t vm_engine_needs(const VmProgram *const *p, int n, int threads);
VmStatus vm_engine_create_in(VmRegion *r, const VmProgram *const *p, int n, int threads,
                             VmEngine **out, VmError *err);

/* Where a tensor of program i lives; stable until the next vm_engine_add. NULL: no such tensor. A
 * weight may be written to until the next run; to write it after that, ask again or call
 * vm_engine_weights_changed. */
void *vm_engine_data(VmEngine *e, int program, const char *name);
const VmTensor *vm_engine_tensor(const VmEngine *e, int program, const char *name);
/* The same of the program's own tensor t. A result may have the name of an input, which then is the
 * one that a name finds. */
void *vm_engine_address(VmEngine *e, int program, const VmTensor *t);

/* Fills an input of a program with random numbers as training would see them: images about normal,
 * labels below `classes` (0: below 2). A pure function of the seed and the input's name.
 * (made_up.c) */
void vm_made_up_input(const VmTensor *t, int64_t classes, uint64_t seed, void *to);

/* Weights were written from outside: what was made from them is made again before the next run. */
void vm_engine_weights_changed(VmEngine *e);

/* Sets the random keys for (seed, step) and runs one step. step counts from 0 over the whole run.
 * False: a loss or metric is not finite, and the step ended at the program's gate: weights and
 * state are what they were. */
bool vm_engine_run(VmEngine *e, int program, uint64_t seed, uint64_t step);

/* Same, adding each task's wall time (thread 0, including the wait at its barrier) to
 * seconds[ntask]. */
void vm_engine_profile(VmEngine *e, int program, uint64_t seed, uint64_t step, double *seconds);

/* Fills every weight from its `init` rule: a pure function of (seed, weight name, element).
 * VM_INPUT for a rule it does not know (base/inits.def). */
VmStatus vm_engine_init(VmEngine *e, uint64_t seed, VmError *err);

/* Peak bytes of the engine's blocks. */
int64_t vm_engine_bytes(const VmEngine *e);

/* ---- machine peaks (peaks.c) ----------------------------------------------------------------- */

/* Measured on `threads` threads right now: f32 FMA GFLOP/s and copy bandwidth GB/s (read + write).
 */
void vm_measure_peaks(int threads, double *gflops, double *gbs);
/* GFLOP/s of bf16 dot products summed in f32; 0: this CPU has no instruction for them. */
double vm_measure_bf16_peak(int threads);

#endif
