/* Classes of single images: files or pixels, one after the other, through a program that scores
 * classes. Images are prepared as evaluation prepares them. */
#ifndef VMOEC_RUNTIME_TRAIN_CLASSIFY_H
#define VMOEC_RUNTIME_TRAIN_CLASSIFY_H

#include "runtime/train/about.h"

typedef struct VmPredicted {
    const char *path;          /* as it came */
    const double *probability; /* [classes]; NULL: `why` says why not */
    int64_t classes;
    const char *const *class_name; /* [nclass_name]: of the first of them; the others have none */
    int64_t nclass_name;
    const char *why;
    /* VM_INPUT: it is no image; VM_USAGE: nor are these pixels; VM_ENV: it cannot be read, or
     * memory is not there */
    VmStatus status;
} VmPredicted;

/* Images, wherever they come from. */
typedef struct VmImageStream {
    /* The next one, which lives until it has been told of; false: there are no more. */
    bool (*next)(void *user, VmSingleImage *out);
    /* Every one in its turn: the probabilities of the classes, or why there are none. */
    void (*got)(void *user, const VmPredicted *p);
    void *user;
} VmImageStream;

/* What classifies. All of it outlives the classifier. */
typedef struct VmClassifying {
    VmEngine *engine;
    /* The engine's program with the output VM_OUTPUT_SCORES for so many images, with its weights;
     * -1 and err. */
    int (*program)(void *user, int64_t images, VmError *err);
    /* How many of so many images go through a program at once; NULL: all. */
    int64_t (*portion)(void *user, int64_t images);
    void *user;
    const char *input; /* name of the images */
    VmPreparation image;
    VmDataQuery query; /* whose preparation they have */
    int64_t batch;     /* most images in memory */
    int64_t classes;
    const char *const *class_name; /* [nclass_name] */
    int64_t nclass_name;
    int threads;
} VmClassifying;

typedef struct VmClassifier VmClassifier;
/* *out is to be closed also after a failure. It lives in the arena, but for the images. */
VmStatus vm_classifier_open(Arena *a, const VmClassifying *how, VmClassifier **out, VmError *err);
/* VM_OK also when some images could not be read. */
VmStatus vm_classifier_run(VmClassifier *c, const VmImageStream *from, VmError *err);
void vm_classifier_close(VmClassifier *c); /* NULL is fine */

/* Softmax of n scores, in double precision. */
void vm_softmax(const float *score, int64_t n, double *probability);

#endif
