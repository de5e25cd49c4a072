/* The contract between generated code and the runtime: the only header both the compiler and the
 * runtime include. Plain data, so that a program can be built in memory (JIT) or linked in (ahead
 * of time). Nothing here is allocated or freed by the runtime.
 *
 * A program is a list of tasks run in order by one team of threads. A task is a number of items,
 * cut by the problem's size only; a kernel computes the items it is told. Results depend neither on
 * the team's size nor on who computes what: an item is always computed the same way. */
#ifndef VMOEC_RUNTIME_EXEC_ABI_H
#define VMOEC_RUNTIME_EXEC_ABI_H

#include <stdint.h>

/* Counts changes of what is below. Kept objects do not depend on it: they go by the compiler's
 * identity. */
enum { VM_ABI_VERSION = 8, VM_MAX_RANK = 6 };

/* Memory spaces; every buffer is (space, byte offset). Buffers start at multiples of 64; an
 * argument may point into one, at any element. */
typedef enum VmSpace {
    VM_WEIGHTS, /* learned weights and tables; the same layout in every program of a module */
    VM_STATE,   /* optimizer state, zero at the start; the same layout in every program */
    VM_WORK,    /* inputs, activations, gradients: meaningless between steps */
    VM_PACKED,  /* copies of weights laid out for kernels (VmPack): made from the weights, never
                   saved */
    VM_SPACE_COUNT
} VmSpace;

/* args: pointers to the task's buffers, in the order of VmTask.arg.
 * begin, end: the items to compute, 0 <= begin < end <= VmTask.items.
 * scratch: this thread's private scratch, VmProgram.scratch_bytes long, 64-byte aligned. */
typedef void (*VmKernelFn)(void *const *args, int64_t begin, int64_t end, void *scratch);

typedef struct VmArg {
    int32_t space;
    int64_t offset;
} VmArg;

typedef enum VmTaskKind {
    VM_TASK_WORK,  /* computes values of this step */
    VM_TASK_UPDATE /* changes weights or state, which outlive the step */
} VmTaskKind;

typedef struct VmTask {
    int32_t kind; /* VmTaskKind */
    VmKernelFn fn;
    const char *name; /* kernel's name, for profiles: "matmul_128x256x128_bias_gelu" */
    const VmArg *arg;
    int32_t narg;
    int64_t items;
    int32_t barrier; /* 1: every item of the tasks before must be done first */
    int32_t bf16;    /* 1: flops are those of bf16 dot products */
    double flops;    /* useful arithmetic, for bench */
    double bytes;    /* bytes that must move at least, for bench */
} VmTask;

/* A copy of a weight, or of a part of one, in VM_PACKED. Programs of a module that have a copy at
 * the same offset mean the same copy. It must be right before a step of a program that lists it,
 * and is right after it: what updates the weight updates the copy. */
typedef struct VmPack {
    VmTask task;    /* makes the copy from the weights; all of a program's may run at once */
    int64_t offset; /* where it begins in VM_PACKED */
} VmPack;

typedef enum VmRole {
    VM_ROLE_PARAM,
    VM_ROLE_STATE,
    VM_ROLE_INPUT,   /* image f32, label i32, step scalars */
    VM_ROLE_TABLE,   /* constant: filled from its name, "sincos_2d(12,12,192)", when the program is
                        added */
    VM_ROLE_RNG_KEY, /* i32[2], filled by the runtime each step from (seed, step, stream name) */
    VM_ROLE_OUTPUT,
    VM_ROLE_LOSS,
    VM_ROLE_AUX,
    VM_ROLE_METRIC,
    VM_ROLE_GRAD,
    /* of a route that is measured; all are called as the route is */
    VM_ROLE_OFFSETS, /* i32[E+1]: where each expert's rows begin */
    VM_ROLE_CHOICES, /* i32[T,K]: choices that are served, -1 for others; absent: all are */
    VM_ROLE_LOGITS   /* f32[..,E]: what the gate is the softmax of; absent: there is no gate */
} VmRole;

typedef struct VmTensor {
    const char *name; /* param path, input name, stream name, output name, "grad.<param>" */
    int32_t role;     /* VmRole */
    int32_t dtype;    /* 0 f32, 1 i32 */
    int32_t rank;
    int64_t dim[VM_MAX_RANK];
    int32_t space;
    int64_t offset;   /* dense row-major */
    double weight;    /* loss, aux: weight in the objective */
    const char *init; /* param: initialiser, see docs/language.md */
    const char
        *init_stream;  /* param: name that seeds the initial values; "": the tensor's own name */
    const char *place; /* "model.vmoe:7:12", where the model's text makes it; NULL: not known */
} VmTensor;

typedef struct VmProgram {
    int32_t abi;      /* VM_ABI_VERSION */
    const char *name; /* "classifier.train" */
    int64_t batch;    /* images per step */
    const VmTask *task;
    int32_t ntask;
    const VmTensor *tensor;
    int32_t ntensor;
    const VmPack *pack;
    int32_t npack;
    /* 1: a step changes weights; copies that it does not keep are wrong after it */
    int32_t updates;
    /* Above 0: tasks of kind UPDATE stand from here on only, and tasks before it compute every
     * tensor of role LOSS, AUX and METRIC. It has a barrier, and is begun only when all these are
     * finite: a step whose losses are not changes nothing that outlives it. 0: there is no such
     * place, and the step is run to its end in any case. */
    int32_t gate;
    int64_t space_bytes[VM_SPACE_COUNT];
    int64_t scratch_bytes; /* per thread */
    double macs;           /* forward multiply-accumulates of one step (whole batch) */
} VmProgram;

/* Of programs that evaluate and were asked for it: an output f32[B, classes], what the label is
 * compared with. */
#define VM_OUTPUT_SCORES "scores"

/* Numbers that change from step to step: an input f32[VM_STEP_SCALARS] of programs with updates,
 * filled by vm_step_scalars (runtime/train/train.h). Steps count from t = 1. */
#define VM_INPUT_STEP "step.scalars"
typedef enum VmStepScalar {
    VM_STEP_RATE,        /* the learning rate */
    VM_STEP_CORRECTION1, /* 1 - beta1^t */
    VM_STEP_CORRECTION2, /* 1 - beta2^t */
    VM_STEP_FREE,        /* 0 */
    VM_STEP_SCALARS
} VmStepScalar;

#endif
