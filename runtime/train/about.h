/* What weights say of themselves, in their file's __metadata__: model, settings, how images were
 * prepared, classes in the order of the logits, the run's seed. docs/runs.md has the format.
 *
 * Texts live in the arena that was given. */
#ifndef VMOEC_RUNTIME_TRAIN_ABOUT_H
#define VMOEC_RUNTIME_TRAIN_ABOUT_H

#include "base/arena.h"
#include "base/text.h"
#include "runtime/train/train.h"

/* How a pixel's bytes become what a model is given: sides and channels of its images, whether files
 * of other sizes are resized, and per channel (x / 255 - mean) / std. */
typedef struct VmPreparation {
    int64_t channels, height, width;
    bool resize;
    double mean[3], std[3];
} VmPreparation;

/* What a file of weights says; what it does not say is 0. */
typedef struct VmAbout {
    const char *path;
    const char **name, **value; /* [nsetting] */
    int nsetting;
    VmPreparation image;
    bool has_image, has_seed;
    uint64_t seed;              /* of its run */
    const char *const *classes; /* [nclasses], in the order of the logits */
    int64_t nclasses;
} VmAbout;

/* What is to be said. */
typedef struct VmMaking {
    const char *version, *model;
    const char *const *name, *const *value; /* [nsetting] */
    int nsetting;
    const VmPreparation *image; /* NULL: the model takes no images */
    const VmDataset *train;     /* whose classes have names; NULL: not known */
    int64_t seed;
} VmMaking;

/* False: memory is not there. */
bool vm_about_write(Arena *a, const VmMaking *m, VmPairs *out);
/* A file may say nothing of it, and one of another program has pairs that mean something else.
 * VM_ENV: memory is not there. */
VmStatus vm_about_read(Arena *a, const VmTensorFile *f, const char *path, VmAbout *out,
                       VmError *err);

/* "size 32 x 32 there, 28 x 28 here; .."; empty: images are prepared alike, or it is not known. */
Text vm_about_image(Arena *a, const VmAbout *x, const VmPreparation *here);
/* "heads = 8 there, 4 here; .." of all settings that differ; empty: none does. */
Text vm_about_settings(Arena *a, const VmAbout *x, const char *const *name,
                       const char *const *value, int n);

#endif
