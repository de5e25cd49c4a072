/* A tiny program whose kernels are written in C, to train without a compiler: softmax regression on
 * 4 x 4 images with three classes, dropout on the pixels and Adam. */
#ifndef VMOEC_TESTS_UNIT_RUNTIME_UTIL_TOY_H
#define VMOEC_TESTS_UNIT_RUNTIME_UTIL_TOY_H

#include "runtime/train/internal.h"

enum { TOY_WEIGHTS = 48 };

extern int toy_kill_at_run; /* the process dies in this run of the optimizer; 0: never */
extern int toy_stop_at_run; /* toy_stop is set in this run of it, once; 0: never */
extern volatile sig_atomic_t toy_stop;
extern uint32_t toy_seen_key[64]; /* of the steps of this process */
extern int toy_seen_keys;

typedef struct Toy {
    VmEngine *e;
    VmProgram program[2][3];
    VmTask task[2][3][3];
    VmTensor tensor[2][3][10];
    int index[2][3]; /* 0: not added yet, else 1 + engine index */
    int64_t side;    /* of the images the model wants; 4 unless a test says otherwise */
} Toy;

/* A VmProgramSource for batches of 8, 6 and 2. */
int toy_source(void *user, bool training, int64_t batch, VmError *err);

/* One process's worth of training: fresh engine, initial weights, vm_train. */
typedef struct ToyRun {
    VmStatus status;
    VmTrainResult result;
    VmError err;
    float w[TOY_WEIGHTS];
} ToyRun;

/* All that vm_train is given, beside data. */
typedef struct ToyConfig {
    VmRecipe recipe;
    VmSubject subject;
    VmRun run;
} ToyConfig;

ToyConfig toy_config(const char *out);
/* early: every program is added before. */
ToyRun toy_train_on(const char *dir, const ToyConfig *c, int threads, int64_t side, bool early);
ToyRun toy_train(const char *dir, const ToyConfig *c, int threads);
void toy_open(const char *dir, VmSplit split, VmDataset **d);
/* 22 training images: batches of 8, 8 and 6. 10 test images: 8 and 2. Removed by rt_remove. */
char *toy_data(void);
void toy_same_weights(const ToyRun *a, const ToyRun *b, const char *what);

#endif
