/* What `vmoec build` writes into a trainer: everything that is known of a model without its data,
 * as constants of a C file, whose programs point to the kernels linked beside it. */
#ifndef VMOEC_TRAINER_BUILT_H
#define VMOEC_TRAINER_BUILT_H

#include "base/status.h"
#include "recipe/recipe.h"
#include "runtime/exec/abi.h"

/* What a program is for. */
typedef enum VmBuiltUse {
    VM_BUILT_TRAIN,   /* a step of training */
    VM_BUILT_JUDGE,   /* evaluation during training: losses and metrics */
    VM_BUILT_EVAL,    /* the same and, where the model scores classes, VM_OUTPUT_SCORES */
    VM_BUILT_PREDICT, /* VM_OUTPUT_SCORES alone */
    VM_BUILT_USES
} VmBuiltUse;

/* Its images per step are program->batch. */
typedef struct VmBuiltProgram {
    VmBuiltUse use;
    const VmProgram *program;
} VmBuiltProgram;

typedef struct VmBuiltFile {
    const char *path, *text;
} VmBuiltFile;

typedef struct VmBuilt {
    int32_t abi; /* VM_ABI_VERSION */
    /* The model's text, and those of the user's own files that it uses [nused]. */
    const char *file, *source, *source_commit; /* the last NULL: not known */
    const VmBuiltFile *used;
    int32_t nused;
    const char *model, *phase;
    const char *scope; /* as vm_weights_take has it; NULL: no other model shares weights */
    const char *const *setting, *const *value; /* [nsetting] */
    int32_t nsetting;
    const VmRecipe *recipe;
    /* As in VmSubject: fingerprint of the model, the instruction set that decides bits, what made
     * the kernels. */
    const char *graph, *instructions, *compiler;
    int64_t parameters;
    int64_t classes; /* that the model knows; 0: it does not say; -1: the label is no class */
    const char *const *class_name; /* [nclass_name], by label; none: the data have no names */
    int64_t nclass_name;
    /* What the kernels were made for, in words; and what a CPU must have to run them [nneeds],
     * names of base/cpu.h. */
    const char *target;
    const char *const *needs;
    int32_t nneeds;
    const VmBuiltProgram *program;
    int32_t nprogram;
    const char *info;             /* what `vmoec info` prints */
    const unsigned char *weights; /* a safetensors file [nweights]; NULL: none inside */
    size_t nweights;
    /* What its weights say of themselves, with the recipe's seed: names, each with its value behind
     * it [2 * nabout]; and how many images the data had for training. For libraries; else 0. */
    const char *const *about;
    int32_t nabout;
    int64_t train_images;
} VmBuilt;

extern const VmBuilt vm_built;

/* The command predict, for programs that read files of images (program/predict.c); NULL: this one
 * does not, and needs no library for them. */
struct Args;
typedef VmStatus VmBuiltCommand(const struct Args *a);
extern VmBuiltCommand *const vm_built_predict;

/* ---- built.c --------------------------------------------------------------------------------- */

/* VM_ENV, naming the instructions that the kernels need and this CPU has not. */
VmStatus vm_built_check_cpu(const VmBuilt *b, VmError *err);
/* The program's place in the list; -1: there is none. */
int vm_built_find(const VmBuilt *b, VmBuiltUse use, int64_t images);
/* "1, 64": images per step of the programs for a use. */
const char *vm_built_sizes(const VmBuilt *b, VmBuiltUse use, char *to, size_t cap);
/* VM_USAGE: there is no such program, but for those sizes. */
VmStatus vm_built_lacks(const VmBuilt *b, VmBuiltUse use, int64_t images, VmError *err);

#endif
