/* What a model may take that is trained or evaluated on a data set: the only place that says so.
 *
 *   image   f32[B, C, H, W]; always
 *   label   i32[B], numbers of classes, or f32[B, classes], shares of classes; or no label at all
 *
 * The front end asks before there are data, the driver when they are open, the trainer when it has
 * a program. */
#ifndef VMOEC_RECIPE_INPUTS_H
#define VMOEC_RECIPE_INPUTS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "runtime/exec/abi.h"

/* What an input is, by its name. */
typedef enum VmInputUse {
    VM_USE_IMAGE,
    VM_USE_CLASS,  /* label, of integers */
    VM_USE_SHARES, /* label, of numbers */
    VM_USE_NONE    /* the data have nothing for it */
} VmInputUse;
VmInputUse vm_input_use(const VmTensor *input);

typedef struct VmModelInputs {
    const VmTensor *at; /* name, dtype, rank and dim are looked at */
    int n;
    int64_t classes; /* that numbers of classes are below; 0: not known; -1: they are no classes */
    const char *limit; /* what says so: ", the label has" */
} VmModelInputs;

/* Sizes that are not known are 0. */
typedef struct VmDataShape {
    const char *name; /* "mnist" */
    int64_t channels, height, width, classes;
    bool mixed;              /* labels are shares of classes, which augmentation mixes */
    bool exact;              /* a model may not know more classes either */
    const char *class_names; /* " (cat, dog)", or "" */
} VmDataShape;

/* The first input at or behind *at that does not fit: VM_INPUT, *at is which. *at = n: an input is
 * missing. To find all, go on from *at + 1. */
VmStatus vm_inputs_check(const VmModelInputs *m, const VmDataShape *d, int *at, VmError *err);

#endif
