/* A handle of a model's library, as the files of this folder see it. What is public stands in
 * api.h, whose names a build replaces by the model's. Nothing here prints, ends the process or
 * keeps anything outside the handle. */
#ifndef VMOEC_TRAINER_LIBRARY_LIBRARY_H
#define VMOEC_TRAINER_LIBRARY_LIBRARY_H

#include "runtime/train/internal.h"
#include "trainer/built.h"
#include "trainer/library/api.h"

typedef enum vmlib_life {
    VMLIB_DEAD = 0, /* closed, or never made */
    VMLIB_FAILED = 0x766d6c66,
    VMLIB_ALIVE = 0x766d6c61
} vmlib_life;

/* A program of the handle. */
typedef struct vmlib_program {
    VmBuiltUse use;
    VmBinding bind;
    const float *score; /* [batch][classes]; NULL: it has none */
    int64_t classes;
} vmlib_program;

struct vmlib {
    uint32_t life; /* vmlib_life */
    _Atomic int busy;
    const VmBuilt *built;
    VmEngine *engine;
    vmlib_program *program; /* [nprogram], in the engine's order */
    int nprogram;
    int any, stateful;  /* programs with the weights, and with the optimizer's state; -1: none */
    VmTensorView *view; /* [nweight + nstate] */
    int nweight, nstate;
    int32_t *label; /* [the largest batch]: of a batch before it is checked */
    bool ready;     /* there are weights */
    int64_t seed, images, step, per_epoch, all_steps, warmup; /* images 0: not known */
    double loss;
    VmError err;
};

/* ---- handle.c -------------------------------------------------------------------------------- */

/* Begins a call: VM_USAGE when the handle is none, is at work, or has no weights and needs them.
 * What begins is ended by vmlib_end, which gives the status. */
VmStatus vmlib_begin(vmlib *h, bool weights);
vmlib_status vmlib_end(vmlib *h, VmStatus s);

/* The handle's program; NULL and the reason in h->err. */
vmlib_program *vmlib_find(vmlib *h, VmBuiltUse use, int64_t images);
/* Whether the handle has programs for a use. */
bool vmlib_has(const vmlib *h, VmBuiltUse use);

/* A run of so many images per epoch (0: as many as the build's data had) that stands at step 0. */
void vmlib_plan(vmlib *h, int64_t images);
/* Optimizer state as it is before the first step: zero. */
void vmlib_clear_state(vmlib *h);

/* ---- steps.c --------------------------------------------------------------------------------- */

/* Puts images and labels where the program reads them. VM_INPUT for a value that is not finite and
 * a label that is no class. */
VmStatus vmlib_feed(vmlib *h, vmlib_program *p, const float *images, const int32_t *labels);
VmStatus vmlib_feed_images(vmlib *h, vmlib_program *p, const float *images);
/* The same of a batch that somebody fills; b says which it is. */
VmStatus vmlib_fill_in(vmlib *h, vmlib_program *p, const vmlib_batch *b, vmlib_fill fill,
                       void *user);

#endif
