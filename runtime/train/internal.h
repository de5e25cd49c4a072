/* What the files of runtime/train share, one section per file. */
#ifndef VMOEC_RUNTIME_TRAIN_INTERNAL_H
#define VMOEC_RUNTIME_TRAIN_INTERNAL_H

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "runtime/data/feed.h"
#include "runtime/exec/internal.h"
#include "runtime/log/events.h"
#include "runtime/log/routes.h"
#include "runtime/train/train.h"

/* ---- safetensors.c, weights.c ---------------------------------------------------------------- */

/* VM_OK when every tensor of `role` in the program is in f with its shape and type, and nothing
 * else is. */
VmStatus vm_tensors_check(VmEngine *e, int program, VmRole role, const VmTensorFile *f,
                          const char *path, VmError *err);
/* The same of the tensors of all roles in a set, 1u << VM_ROLE_PARAM | ..; scope as
 * vm_weights_take has it. */
VmStatus vm_tensors_check_roles(VmEngine *e, int program, unsigned roles, const VmTensorFile *f,
                                const char *path, const char *scope, VmError *err);
/* The first of n numbers that is infinite or not a number; -1: all are finite. */
int64_t vm_first_not_finite(const float *x, int64_t n);
/* VM_INPUT, naming the first, when a tensor of f has a value that is infinite or not a number; the
 * whole file is in memory. */
VmStatus vm_tensors_file_finite(const VmTensorFile *f, const char *path, VmError *err);
/* The program's tensors of a role as a file has them; to NULL: only how many there are. */
int vm_tensors_views(VmEngine *e, int program, VmRole role, VmTensorView *to);
/* Copies those that are in f; their shapes and types must have been compared. Fails only for a file
 * of which the header alone is in memory. */
VmStatus vm_tensors_apply(VmEngine *e, int program, VmRole role, const VmTensorFile *f,
                          const char *path, VmError *err);
/* Length and fingerprint of a file. */
typedef struct VmFileSum {
    int64_t bytes;
    VmHash hash;
} VmFileSum;

/* Like vm_tensors_open, of a name in an open folder; `shown` is the file in messages. */
VmStatus vm_tensors_open_in(const VmDir *d, const char *name, const char *shown, VmTensorFile **out,
                            VmError *err);
VmFileSum vm_tensors_sum(const VmTensorFile *f);
/* Like vm_tensors_write, in an open folder. sum: what was written; may be NULL. */
VmStatus vm_tensors_write_in(const VmDir *d, const char *name, const VmTensorView *t, int n,
                             const char *const *meta, int nmeta_pairs, VmFileSum *sum,
                             VmError *err);
VmStatus vm_tensors_save_in(VmEngine *e, int program, VmRole role, VmPairs about, const VmDir *d,
                            const char *name, VmFileSum *sum, VmError *err);
/* About as many as vm_tensors_save_in writes, rather more; without what the file says of itself. */
int64_t vm_tensors_bytes(VmEngine *e, int program, VmRole role);
/* VM_INPUT when a tensor of the role has a value that is infinite or not a number: the message
 * begins with `what` and names the first such tensor and its place in the model's text. */
VmStatus vm_tensors_finite(VmEngine *e, int program, VmRole role, const char *what, VmError *err);

/* ---- schedule.c ------------------------------------------------------------------------------ */

/* Learning rate of step 0..total-1, after a warm-up of so many steps. */
double vm_learning_rate(const VmScheduleSpec *s, int64_t step, int64_t warmup, int64_t total);

/* ---- batches.c ------------------------------------------------------------------------------- */

int64_t vm_steps_per_epoch(const VmDataSpec *d, int64_t images);
int64_t vm_total_steps(const VmRecipe *r, int64_t images);

/* ---- bind.c, binding.c: a program's inputs and results as the trainer uses them -------------- */

typedef struct VmTerm {
    const VmTensor *tensor;
    const float *value;
} VmTerm;

typedef struct VmBinding {
    int program; /* -1: nothing bound */
    int64_t batch;
    VmBatch input; /* where images and labels go */
    float *step;   /* NULL: the program takes none */
    VmTerm *term;  /* losses, aux losses, metrics in the program's order */
    int nterm;
} VmBinding;

/* Asks the source for a program and finds its tensors, checking them against the data. Frees what b
 * held before. Valid until a program is added to the engine. */
VmStatus vm_bind(VmBinding *b, VmEngine *e, VmProgramSource source, void *user, bool training,
                 int64_t batch, const VmDataset *data, VmError *err);
void vm_binding_free(VmBinding *b);
/* An input that data fill. */
bool vm_binding_feeds(const VmTensor *t);
/* Finds the inputs, the step scalars and the terms of b->program, of the engine; b->term has room
 * for as many as the program has tensors. */
VmStatus vm_binding_find(VmBinding *b, VmEngine *e, VmError *err);
bool vm_binding_has_loss(const VmBinding *b);
/* Sum of weight * value over the terms of role LOSS; with aux, over AUX also. NAN: there are none.
 */
double vm_binding_loss(const VmBinding *b, bool aux);

/* ---- result.c: means of an evaluation ---- */

/* Takes a batch's values into the sums, weighted by its images; the names are the program's. */
void vm_result_add(VmEvalResult *sum, const VmBinding *b, int64_t images);
/* Makes means of them. */
void vm_result_mean(VmEvalResult *sum);

/* ---- failure.c ---- */

/* The first loss or metric that is not finite, into f; false: all are. */
bool vm_failure_find(const VmBinding *b, VmFailure *f);

/* ---- sums.c: means of an epoch of training ---- */

/* Over batches: losses, a smaller last batch counts as much as the others. Over images: metrics, in
 * the order of the program's terms. */
typedef struct VmSums {
    double loss, objective, metric[VM_MAX_METRICS];
    int64_t batches, images;
    int nmetric;
} VmSums;

void vm_sums_add(VmSums *s, const VmBinding *b, int64_t images);
/* loss NAN: nothing was added. */
VmEvalResult vm_sums_means(const VmSums *s, const VmBinding *b);
bool vm_sums_finite(const VmSums *s);

/* ---- say.c: what the trainer says of a run, as events ---- */

/* The best epoch so far by a metric; epoch 0: none was judged yet. */
typedef struct VmBest {
    int64_t epoch;
    double value;
    VmFileSum file; /* of VM_BEST_FILE, where weights are kept */
} VmBest;
typedef enum VmBestId { VM_BEST_KEPT, VM_BEST_STOP, VM_BESTS } VmBestId;

/* Where a run stands. */
typedef struct VmRunState {
    int64_t step;   /* steps done */
    int64_t judged; /* how many were, when an epoch was last judged */
    int64_t steps_per_epoch, total, train_images;
    VmSums sums;           /* of the epoch that is not judged yet, or goes on; else zero */
    VmBest best[VM_BESTS]; /* whose weights are kept; by which the run may stop */
    char weights[24];      /* fingerprint of the file that the weights started from; "none" */
} VmRunState;

typedef struct VmEpochRecord {
    int64_t epoch, step;                  /* 1-based: how many are done */
    VmEvalResult train, validation, test; /* loss NAN: it was not evaluated */
    double train_objective;
    double seconds, images_per_second, judge_seconds;
    double data_wait; /* seconds of those that steps waited for their images */
} VmEpochRecord;

/* A run in a line, for who watches. */
typedef struct VmOutline {
    const char *folder;
    int64_t parameters;
    VmImageCounts images;
    int threads;
} VmOutline;
VmStatus vm_say_start(VmLog *log, const VmTraining *what, const VmRunState *run, const VmOutline *o,
                      VmError *err);
/* Damaged images of the data that are left out; nothing if there are none. */
VmStatus vm_say_left_out(VmLog *log, const VmTraining *what, const VmRunState *run, VmError *err);
/* The test at the end of a run with validation. */
VmStatus vm_say_end(VmLog *log, const VmRunState *run, const VmTrainResult *r, VmError *err);
/* After every step: its epoch, learning rate, speed (images per second), the means so far, and how
 * evenly experts are loaded. Takes no memory. */
VmStatus vm_say_tick(VmLog *log, const VmRunState *run, const VmBinding *b,
                     const VmRouting *routing, int64_t epoch, double lr, double rate, VmError *err);
/* A logged step, with what the program that ran it said. */
VmStatus vm_say_step(VmLog *log, int64_t epoch, int64_t step, double lr, double rate,
                     const VmBinding *b, const VmRouting *routing, VmError *err);
/* A run ends for a value that is not finite; found is taken over. */
VmStatus vm_say_failure(VmLog *log, const VmRunState *run, const VmFailure *f, VmFacts found,
                        VmError *err);
VmStatus vm_say_epoch(VmLog *log, const VmEpochRecord *r, const VmRouting *routing, VmError *err);

/* ---- run_folder.c ---------------------------------------------------------------------------- */

#define VM_CHECKPOINT "checkpoint"
#define VM_CHECKPOINT_PREVIOUS "checkpoint.previous"
#define VM_WEIGHTS_FILE "weights.safetensors"
#define VM_STATE_FILE "state.safetensors"
#define VM_BEST_FILE "best.safetensors"

/* What a checkpoint's folder holds: nothing else is ever removed from one. */
enum { VM_CHECKPOINT_FILES = 3 };
extern const char *const vm_checkpoint_files[VM_CHECKPOINT_FILES];

/* A run's folder, open and this process's own. */
typedef struct VmRunFolder {
    VmDir dir;
    VmLock lock; /* none: the file system has no locks */
    char aside[1024],
        passed_over[1024]; /* where an old run went; why a folder was not taken; "": neither */
} VmRunFolder;

/* Makes the folder or finds it, locks it, and removes what killed processes left in it. Numbered:
 * the first of OUT, OUT-2, .. that is free, or (resume) the last that has a checkpoint. Errors as
 * vm_train says. */
VmStatus vm_run_open(VmRunFolder *r, const VmRunPlace *p, VmError *err);
/* Writes the files that say what the run is, but for those that are there. */
VmStatus vm_run_describe(const VmRunFolder *r, const VmRun *run, VmError *err);
/* Whether somebody has moved the folder since, and where it is now. */
bool vm_run_moved(const VmRunFolder *r, const char *path, char now[4200]);
void vm_run_close(VmRunFolder *r);

/* ---- checkpoint.c ---------------------------------------------------------------------------- */

/* The checkpoints of one run in its folder, which is borrowed, like what the weights say and the
 * routes, whose sums over an unfinished epoch they keep (NULL: none). */
typedef struct VmCheckpoints VmCheckpoints;
VmStatus vm_checkpoints_open(VmCheckpoints **out, VmRunFolder *folder, const VmTraining *what,
                             int64_t total, VmRouting *routing, VmError *err);
void vm_checkpoints_close(VmCheckpoints *k);

/* Makes the present weights, state and position OUT/checkpoint, and the one that was there
 * OUT/checkpoint.previous. VM_INPUT, and nothing changes, when a value is no finite number. */
VmStatus vm_checkpoint_save(VmCheckpoints *k, VmEngine *e, int program, const VmRunState *s,
                            VmError *err);
/* VM_INPUT, naming the first, when weights, state or sums have a value that is no finite number. */
VmStatus vm_checkpoint_values(VmEngine *e, int program, const VmRunState *s, VmError *err);
/* Reads a checkpoint into engine and *s, which holds this run's steps_per_epoch, total and
 * train_images on entry. VM_USAGE when it is another run's, with every difference; with how->anyway
 * these are in differences (else ""). VM_INPUT when it is damaged. Nothing changes on error. With
 * how->previous the newest one becomes OUT/checkpoint.kept-1. */
VmStatus vm_checkpoint_load(VmCheckpoints *k, VmEngine *e, int program, const VmResume *how,
                            VmRunState *s, VmError *differences, VmError *err);
/* About what one takes on disk, and VM_ENV when there is no room for two and the weights. */
int64_t vm_checkpoint_bytes(VmEngine *e, int program);
VmStatus vm_checkpoint_room(VmCheckpoints *k, VmEngine *e, int program, VmError *err);

#endif
