/* A run's own files about itself: source.vmoe, the text it was made from, and run.json, everything
 * else that somebody needs who finds the folder years later. docs/runs.md has the format. */
#ifndef VMOEC_RUNTIME_TRAIN_DESCRIBE_H
#define VMOEC_RUNTIME_TRAIN_DESCRIBE_H

#include "base/arena.h"
#include "runtime/train/train.h"

/* A file of the user's that the source uses. */
typedef struct VmUsedFile {
    const char *path, *text;
} VmUsedFile;

/* NULL: not known. */
typedef struct VmDescription {
    const char *const *command; /* [ncommand]: all words of the command line */
    int ncommand;
    const char *file, *source, *source_commit; /* path, text, and commit in the user's repository */
    const VmUsedFile *used;                    /* [nused] */
    int nused;
    const char *weights; /* the file that the run starts from */
    const char *version, *commit, *llvm, *instructions, *model, *phase;
    int threads;
    const char *const *name, *const *value; /* settings [nsetting] */
    int nsetting;
    const VmRecipe *recipe;
    const VmDataQuery *query;
    const VmDataset *classes; /* whose names are the classes' */
    const VmDataset *train, *held, *test;
} VmDescription;

/* The two files; false: memory is not there. */
bool vm_describe(Arena *a, const VmDescription *d, VmRunFile out[2]);

#endif
