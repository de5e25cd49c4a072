/* A training run in progress, as the files of the trainer see it: trainer.c (steps and epochs),
 * begin.c (up to the first step), judge.c (evaluations, and what follows from them). */
#ifndef VMOEC_RUNTIME_TRAIN_TRAINER_H
#define VMOEC_RUNTIME_TRAIN_TRAINER_H

#include "runtime/train/internal.h"

typedef struct Trainer {
    VmEngine *e;
    VmProgramSource source;
    void *user;
    const VmTraining *what;
    const VmRecipe *recipe;
    int64_t warmup; /* steps */
    VmRunFolder folder;
    VmCheckpoints *checkpoints;
    VmRunState run;
    VmBinding bind;
    VmRouting routing;
    VmLog log;
    VmFeed *feed;       /* of training images */
    VmFeedSpec fed;     /* how it was opened */
    bool began;         /* a step was run */
    bool stopped;       /* somebody asked the run to end: it saves and does */
    double lr;          /* of the last step */
    double saved;       /* when the last checkpoint was */
    double log_time;    /* of the last logged step */
    int64_t log_images; /* since then */
} Trainer;

/* ---- begin.c ---- */

/* Looks at the recipe and plans the run's steps; touches nothing. */
VmStatus vm_trainer_plan(Trainer *t, VmError *err);
/* Everything before the first step: programs, folder, log, checkpoint to go on from, feed. */
VmStatus vm_trainer_begin(Trainer *t, VmError *err);
VmStatus vm_trainer_bind(Trainer *t, int64_t batch, VmError *err);

/* ---- diverged.c ---- */

/* VM_INPUT when a loss or metric of the step that has just run is not finite, after everybody was
 * told: nothing was changed by it. */
VmStatus vm_trainer_check_step(Trainer *t, VmError *err);
/* Tells everybody of an evaluation that failed. */
void vm_trainer_say_failed(Trainer *t, VmFailure *f);
/* Tells everybody that weights or state are not finite after the last step, as `why` says. */
void vm_trainer_say_weights(Trainer *t, const VmError *why);

/* ---- judge.c ---- */

/* What the recipe asks of validation and metrics is there. */
VmStatus vm_trainer_check_judges(const Trainer *t, VmError *err);
/* Judges an epoch that has ended: fills r's means, keeps the weights that are best. t->stopped: it
 * was broken off, and is to be done again. */
VmStatus vm_trainer_judge(Trainer *t, VmEpochRecord *r, VmError *err);
/* No step is left, or nobody waits for a better epoch any longer. */
bool vm_trainer_is_over(const Trainer *t);
/* The end of a run: its weights are saved, those that are kept are met with the test set. */
VmStatus vm_trainer_finish(Trainer *t, VmTrainResult *result, VmError *err);

#endif
