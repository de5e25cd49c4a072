/* Trains, evaluates, and keeps weights, metrics and checkpoints.
 *
 * Ownership: a VmX made by vm_x_create is destroyed by vm_x_destroy (NULL is fine). Strings and
 * arrays passed in are copied unless stated. */
#ifndef VMOEC_RUNTIME_TRAIN_TRAIN_H
#define VMOEC_RUNTIME_TRAIN_TRAIN_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "runtime/data/feed.h"
#include "runtime/exec/exec.h"
#include "runtime/log/events.h"

/* ---- tensor files (safetensors.c) ------------------------------------------------------------ */

typedef struct VmTensorView {
    const char *name;
    int dtype; /* 0 f32, 1 i32 */
    int rank;
    int64_t dim[VM_MAX_RANK];
    const void *data;
} VmTensorView;

/* A safetensors file in memory; views point into it and are in the order of their data in the file.
 * F16, BF16, F64 and I64 become f32 and i32 (VM_INPUT when a value does not fit). Every length,
 * offset and overlap is checked. */
typedef struct VmTensorFile VmTensorFile;
VmStatus vm_tensors_open(const char *path, VmTensorFile **out, VmError *err);
/* The same, but only the header is read: views have no data, which vm_tensors_read reads straight
 * to where it is wanted. For those who need no values, or each value once, in its place. */
VmStatus vm_tensors_open_header(const char *path, VmTensorFile **out, VmError *err);
/* Of bytes in memory, which stay where they are as long as it is open. */
VmStatus vm_tensors_open_memory(const void *bytes, size_t size, const char *shown,
                                VmTensorFile **out, VmError *err);
/* The values of one of f's views, as f32 or i32; messages call the file `path`. VM_ENV: what was
 * read until then is there. Several threads may read at once. */
VmStatus vm_tensors_read(const VmTensorFile *f, const VmTensorView *v, void *to, const char *path,
                         VmError *err);
void vm_tensors_close(VmTensorFile *f);
int vm_tensors_count(const VmTensorFile *f);
const VmTensorView *vm_tensors_at(const VmTensorFile *f, int i);
const VmTensorView *vm_tensors_find(const VmTensorFile *f, const char *name);
/* The i-th tensor's type in the file ("BF16"), and its bytes there. */
const char *vm_tensors_type(const VmTensorFile *f, int i);
int64_t vm_tensors_size(const VmTensorFile *f, int i);
/* The i-th pair of the file's __metadata__, in its order; false: there are no more. */
bool vm_tensors_meta(const VmTensorFile *f, int i, const char **name, const char **value);
/* Of the whole file, which is in memory; in hexadecimal, as xxh128sum begins. */
void vm_tensors_fingerprint(const VmTensorFile *f, char out[17]);

/* What a file says of itself, its __metadata__: n names, each with its value behind it. */
typedef struct VmPairs {
    const char *const *at;
    int n;
} VmPairs;

/* Complete or absent: written beside the target, synced, renamed. Names sorted; the data starts at
 * a multiple of 8 bytes and has no holes. meta: nmeta_pairs pairs (name, value) for __metadata__,
 * may be NULL. */
VmStatus vm_tensors_write(const char *path, const VmTensorView *t, int n, const char *const *meta,
                          int nmeta_pairs, VmError *err);

/* The same bytes in memory: *bytes is how many there are. Where `room` is less, what is in `to` is
 * no file. to NULL: they are only counted. */
VmStatus vm_tensors_write_memory(const VmTensorView *t, int n, VmPairs meta, void *to, size_t room,
                                 size_t *bytes, VmError *err);

/* Weights of a program <-> a file. Loading reports every missing, extra and misshapen tensor (first
 * five of each kind by name, with both shapes) and changes nothing unless all fit; of values that
 * cannot be read, or are too large, those before them are there. scope: NULL, or what names begin
 * with that other models share: those that are extra are theirs, and no trouble. */
VmStatus vm_weights_load(VmEngine *e, int program, const char *path, const char *scope,
                         VmError *err);
/* The same of an open file, which messages call `path`. */
VmStatus vm_weights_take(VmEngine *e, int program, const VmTensorFile *f, const char *path,
                         const char *scope, VmError *err);
/* about: none, and the file only says that it is vmoec's. */
VmStatus vm_weights_save(VmEngine *e, int program, VmPairs about, const char *path, VmError *err);

/* VM_INPUT, naming the first weight that has a value which is no finite number, and `path`, where
 * weights came from. */
VmStatus vm_weights_finite(VmEngine *e, int program, const char *path, VmError *err);

/* Copies a tensor over the weight of its name, which has its shape and type. */
void vm_weights_set(VmEngine *e, int program, const VmTensorView *v);

/* ---- what is not finite (failure.c) ---- */

/* A step, or a batch of an evaluation, with a loss or metric that is not finite; or weights that
 * are found not to be. A step whose losses are not finite has changed nothing, so what failed can
 * be looked at again: same images, weights and random numbers. */
typedef struct VmFailure {
    const char *kind; /* "loss", "auxiliary loss", "metric", "weight"; NULL: nothing failed */
    const char *name, *place; /* of it; place NULL: not known */
    double value;
    bool training;
    int64_t step;          /* or batch, from 1; of weights: the last step that was done */
    int64_t first, images; /* evaluation: the batch's first image, from 0; how many it has */
    double rate;           /* training: the learning rate */
    /* The first weight that was not finite when the step began (a step before has made it so), as a
     * text; "": all were. */
    char weight[512];
    uint64_t seed;
    VmFeedSpec feed;
    struct Trainer *run; /* that can be gone over again; NULL: none can */
} VmFailure;

/* Runs another program on what failed, with the weights as they are now. It takes the same inputs
 * and as many images. */
VmStatus vm_failure_again(VmEngine *e, int program, const VmFailure *f, VmError *err);
/* A gradient that is not finite while the losses are leaves weights that are not, and which step it
 * was is not seen before a later one fails. These go over the failed run again, with the same bits:
 * *at becomes the step after the last checkpoint, or the first, and weights and state are those it
 * began with; *last is the last step that was done. */
VmStatus vm_replay_begin(const VmFailure *f, VmFailure *at, int64_t *last, VmError *err);
/* Trains step at->step again, and *at becomes the next one. VM_INPUT, with the text in at->weight:
 * this step has made a weight or state that is not finite. */
VmStatus vm_replay_step(VmFailure *at, VmError *err);
/* "training diverged: loss 'l' is infinite at step 3 with learning rate 0.1". */
void vm_failure_text(const VmFailure *f, char *to, size_t cap);
/* "not a number", "infinite", "minus infinite" */
const char *vm_failure_value(double v);

/* ---- training (trainer.c, checkpoint.c) ---- */

/* Where a run lives. */
typedef struct VmRunPlace {
    const char *out; /* folder: logs, checkpoint/, checkpoint.previous/, weights.safetensors */
    bool numbered;   /* nobody chose it: OUT-2, OUT-3, .. where it is taken */
    bool resume;     /* goes on with the run in it */
    bool overwrite;  /* a run that is in it is moved to OUT.old, OUT.old-2, .. */
} VmRunPlace;

/* Which checkpoint a run resumes from, and whether it may be another run's. */
typedef struct VmResume {
    bool previous, anyway;
} VmResume;

/* What vm_train would refuse about the folder, without touching it: a run that is in it (VM_USAGE),
 * none to resume from (VM_USAGE), another process (VM_ENV, naming it). */
VmStatus vm_run_check(const VmRunPlace *p, VmError *err);

/* What is trained: beside the recipe and the data, all that decides bits. */
typedef struct VmSubject {
    const char *phase; /* name of the train block; required */
    /* fingerprint of the model, so that an edited one is not taken for the old */
    const char *graph;
    const char *const *config_name, *const *config_value; /* settings of the file */
    int nconfig;
    const char *instructions; /* set that kernels are made of ("avx512"); NULL: any */
    const char *version;      /* of this program, for the log; NULL: not told */
    int64_t parameters;       /* of the model, as `info` counts them, for the log */
    const char *compiler;     /* identity of what made the kernels; NULL: any */
    const char *weights; /* fingerprint of the file the weights start from; NULL: initial values.
                            Recorded, but not compared. */
    VmPairs about;       /* what its weights say of themselves, wherever they are saved */
} VmSubject;

/* A file that a run keeps to say what it is. */
typedef struct VmRunFile {
    const char *name; /* VM_RUN_RECORD or VM_RUN_SOURCE */
    const char *text;
} VmRunFile;
#define VM_RUN_RECORD "run.json"
#define VM_RUN_SOURCE "source.vmoe"

/* How a run is made, which decides no bit of it. */
typedef struct VmRun {
    VmRunPlace place;
    const VmRunFile *file; /* [nfile], written when the run begins; one that goes on has its own */
    int nfile;
    VmResume resume;    /* with place.resume */
    int workers;        /* threads that make batches ahead */
    const char *tuning; /* file of tuned kernels in use, for the log; NULL: none */
    unsigned sinks;     /* which log files are written: a set as runtime/log/events.h has them; 0:
                           those by default */
    FILE *progress;     /* NULL: silent; a terminal gets one line rewritten, else plain lines */
    FILE *warnings;     /* NULL: nobody to warn */
    void (*before_step)(void *user); /* called when the first step is about to run; NULL: not */
    /* A checkpoint also after every so many steps or seconds; 0: at the end of epochs only. */
    int64_t save_steps;
    double save_seconds;
    /* Looked at after every step and every batch of an evaluation: not 0, and the run saves a
     * checkpoint and ends. NULL: nobody asks. */
    const volatile sig_atomic_t *stop;
    /* Called when a run fails for a value that is not finite, before it ends: weights are in the
     * engine, and programs may be added to it. What it finds goes into the facts of the event
     * "diverged"; their texts live until the run has ended. NULL: nobody looks closer. */
    void (*failed)(void *user, const VmFailure *f, VmFacts *found);
} VmRun;

/* A training run, whole. */
typedef struct VmTraining {
    const VmRecipe *recipe;
    const VmSubject *subject;
    const VmRun *run;
    const VmDataset *train, *validation, *test; /* the last two NULL: there is none */
} VmTraining;

/* Programs by batch size: the callback returns an engine program index, or -1 with err filled in. A
 * run asks for all it will need before its first step. user goes to before_step too. */
typedef int (*VmProgramSource)(void *user, bool training, int64_t batch, VmError *err);

/* A batch size that a run comes to. of: how many images leave it at their end; 0: whole batches. */
typedef struct VmBatchSize {
    const char *split; /* "training", "validation" or "test" */
    bool training;
    int64_t images, of;
} VmBatchSize;
enum { VM_BATCH_SIZES = 6 };
/* Images of the splits; 0: there is no such split. */
typedef struct VmImageCounts {
    int64_t train, validation, test;
} VmImageCounts;
VmImageCounts vm_image_counts(const VmDataset *train, const VmDataset *validation,
                              const VmDataset *test);
/* All sizes of a run, in the order they are met; returns how many. */
int vm_train_batches(const VmRecipe *r, const VmImageCounts *c, VmBatchSize out[VM_BATCH_SIZES]);
/* The status of why, and its text with where the size comes from. */
VmStatus vm_batch_refused(const VmBatchSize *b, const VmError *why, VmError *err);

typedef struct VmMetric {
    const char *name; /* the program's own */
    double value;
} VmMetric;

enum { VM_MAX_METRICS = 16 };

/* Means over the images of a split: the weighted sum of the losses, and every metric by its name.
 */
typedef struct VmEvalResult {
    int64_t images; /* 0: nothing was evaluated */
    double loss;    /* NAN: the model has none */
    VmMetric metric[VM_MAX_METRICS];
    int nmetric;
} VmEvalResult;

/* NAN: there is none of that name. */
double vm_metric(const VmEvalResult *r, const char *name);

typedef struct VmTrainResult {
    /* train and validation: of the last epoch; test: of the last epoch, or with validation of the
     * weights that are kept. loss NAN: there is none. */
    VmEvalResult train, validation, test;
    double seconds; /* the whole training */
    int64_t steps, total;
    int64_t best_epoch; /* whose weights are kept; 0: the last step's are */
    /* What it was chosen by ("loss" or a metric's own name), that of its validation, and the step
     * at its end; NULL, NAN and 0 without best_epoch. */
    const char *best_metric;
    double best_value;
    int64_t best_step;
    bool stopped; /* by `stop`, before its end: a checkpoint is there and nothing else */
    char folder[4200];
    char weights[4200], metrics[4200]; /* paths; metrics: of the first log */
} VmTrainResult;

/* Trains. Every epoch is judged by `validation`, and the test set met once, at the end, with the
 * weights that are kept; without validation every epoch is judged by `test`. Weights are the
 * caller's to initialise (vm_engine_init, vm_weights_set) before.
 *
 * Before the first step: programs of every batch size that the run will need are built, the folder
 * is made and locked (VM_ENV when another process has it), and room for two checkpoints is checked
 * (VM_ENV). A folder that holds a run is VM_USAGE unless it is to be resumed or moved aside;
 * resuming without a checkpoint is VM_USAGE.
 *
 * A checkpoint is saved after every epoch, and the one before it kept. A loss, metric, weight or
 * state that is no finite number stops the run: VM_INPUT, with the step and the first tensor; the
 * last checkpoint stays. A step whose losses are not finite has changed nothing.
 *
 * Resuming, weights, state and position come from the checkpoint; data, instructions and settings
 * that differ from its run's are VM_USAGE with all of them named (a run of constant rate may be
 * made longer); a damaged one is VM_INPUT.
 *
 * A run that starts from a file (subject->weights) has a checkpoint from step 0 on, so that it can
 * always be resumed without that file. The fingerprint is recorded there and in the "start" line.
 * It is not compared: a resumed run has the checkpoint's weights, whatever they once came from, and
 * takes over its record. */
VmStatus vm_train(VmEngine *e, VmProgramSource source, void *user, const VmTraining *what,
                  VmTrainResult *result, VmError *err);

/* Which images are evaluated. */
typedef enum VmEvalSplit {
    VM_EVAL_TEST,
    VM_EVAL_VALIDATION, /* images of the training set that are held out */
    VM_EVAL_TRAIN,      /* the others */
    VM_EVAL_SPLITS
} VmEvalSplit;
extern const char *const vm_eval_split_names[VM_EVAL_SPLITS];

/* An evaluation of a whole data set, in order, last partial batch included. */
typedef struct VmEvaluation {
    VmEngine *engine;
    VmProgramSource source;
    void *user; /* of source */
    const VmDataset *data;
    int64_t batch;
    const volatile sig_atomic_t
        *stop; /* not 0: it is broken off after a batch; NULL: nobody asks */
    /* Told of every batch while its results are in the engine: images first .. first + n - 1 of the
     * data went through that program. NULL: nobody looks. */
    void (*watch)(void *watcher, int program, int64_t first, int64_t n);
    void *watcher;
    VmFailure *failure; /* says which batch was not finite; NULL: nobody asks */
} VmEvaluation;

/* What classes score, before softmax, for images first .. first + n - 1 of data. */
typedef struct VmScores {
    const VmDataset *data;
    int64_t first, n, classes;
    const float *score; /* [n][classes], until the watcher returns */
} VmScores;

/* Means over the images; a batch with a value that is not finite is VM_INPUT. *stopped (may be
 * NULL): it was broken off, and there is no result. */
VmStatus vm_evaluate(const VmEvaluation *v, VmEvalResult *result, bool *stopped, VmError *err);

/* Fills a program's input VM_INPUT_STEP for step 0, 1, ..; to NULL: it has none. */
void vm_step_scalars(const VmOptimizerSpec *o, double rate, int64_t step, float *to);

#endif
