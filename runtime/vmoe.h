/* The vmoec runtime: executes programs (abi.h), reads data, trains, and keeps weights, metrics and
 * checkpoints. Plain C and OpenMP; knows nothing of the compiler.
 *
 * Errors: functions that can fail return a VmStatus (base/status.h). Nothing exits, nothing prints, except
 * where said.
 *
 * Ownership: a VmX made by vm_x_create is destroyed by vm_x_destroy (NULL is fine). Strings and arrays
 * passed in are copied unless stated. */
#ifndef VMOEC_RUNTIME_VMOE_H
#define VMOEC_RUNTIME_VMOE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/hash.h"
#include "base/status.h"
#include "runtime/abi.h"

/* ---- threads (team.c) ----------------------------------------------------------------------- */

/* CPUs this process may really use: affinity mask and cgroup quota (v1 and v2), at least 1. */
int vm_cpus(void);
/* Bytes of memory that the cgroups of this process allow it; 0: no limit. */
int64_t vm_memory_limit(void);
/* requested > 0: that many (capped at 256); 0: OMP_NUM_THREADS where it is a number, else vm_cpus(). */
int vm_threads(int requested);

/* ---- engine: memory and step execution (engine.c, memory.c) ----------------------------------- */

/* Runs programs that share weights and state. Memory: one aligned block per space, as large as the
 * largest program needs, allocated when a program is added. A step allocates nothing. */
typedef struct VmEngine VmEngine;

VmStatus vm_engine_create(int threads, VmEngine **out, VmError *err);
void vm_engine_destroy(VmEngine *e);
int vm_engine_threads(const VmEngine *e);

/* Borrows p, which must outlive e. Programs added later must have the same weight tensors (names,
 * shapes, offsets) as the first; state likewise among those that have any. Returns the program's index
 * or -1. Adding never disturbs weights or state already there. */
int vm_engine_add(VmEngine *e, const VmProgram *p, VmError *err);

/* Where a tensor of program i lives; stable until the next vm_engine_add. NULL: no such tensor. A weight may
 * be written to until the next run; to write it after that, ask again or call vm_engine_weights_changed. */
void *vm_engine_data(VmEngine *e, int program, const char *name);
const VmTensor *vm_engine_tensor(const VmEngine *e, int program, const char *name);

/* Weights were written from outside: what was made from them is made again before the next run. */
void vm_engine_weights_changed(VmEngine *e);

/* Sets the random keys for (seed, step) and runs one step. step counts from 0 over the whole run. */
void vm_engine_run(VmEngine *e, int program, uint64_t seed, uint64_t step);

/* Same, adding each task's wall time (thread 0, including the wait at its barrier) to seconds[ntask]. */
void vm_engine_profile(VmEngine *e, int program, uint64_t seed, uint64_t step, double *seconds);

/* Fills every weight from its `init` rule: a pure function of (seed, weight name, element).
 * zeros ones const(c) normal(std) trunc_normal(std) uniform(a) xavier(fan_in,fan_out), or one of these in
 * same(): the parts along dimension 0 start equal. VM_INPUT for a rule it does not know. */
VmStatus vm_engine_init(VmEngine *e, uint64_t seed, VmError *err);

/* Peak bytes of the engine's blocks. */
int64_t vm_engine_bytes(const VmEngine *e);

/* ---- tensor files (safetensors.c) -------------------------------------------------------------- */

typedef struct VmTensorView {
    const char *name;
    int dtype; /* 0 f32, 1 i32 */
    int rank;
    int64_t dim[VM_MAX_RANK];
    const void *data;
} VmTensorView;

/* A safetensors file in memory; views point into it and are in the order of their data in the file. Values of
 * type F64 and I64 are converted on load (VM_INPUT when one does not fit). Every length, offset and overlap
 * is checked. */
typedef struct VmTensorFile VmTensorFile;
VmStatus vm_tensors_open(const char *path, VmTensorFile **out, VmError *err);
void vm_tensors_close(VmTensorFile *f);
int vm_tensors_count(const VmTensorFile *f);
const VmTensorView *vm_tensors_at(const VmTensorFile *f, int i);
const VmTensorView *vm_tensors_find(const VmTensorFile *f, const char *name);

/* Complete or absent: written beside the target, synced, renamed. Names sorted; the data starts at a multiple
 * of 8 bytes and has no holes. meta: nmeta_pairs pairs (name, value) for __metadata__, may be NULL. */
VmStatus vm_tensors_write(const char *path, const VmTensorView *t, int n, const char *const *meta,
                          int nmeta_pairs, VmError *err);

/* Weights of a program <-> a file. Loading reports every missing, extra and misshapen tensor (first
 * five of each kind by name, with both shapes) and changes nothing unless all fit. */
VmStatus vm_weights_load(VmEngine *e, int program, const char *path, VmError *err);
VmStatus vm_weights_save(VmEngine *e, int program, const char *path, VmError *err);

/* VM_INPUT, naming the first weight that has a value which is no finite number, and `path`, where weights
 * came from. */
VmStatus vm_weights_finite(VmEngine *e, int program, const char *path, VmError *err);

/* What vm_weights_load_some found. */
typedef struct VmWeightsFound {
    int total, taken;     /* weights of the program; those of them that are in the file */
    int unknown;          /* tensors of the file that are no weights of the program */
    const char *other[3]; /* the first weights that are not in the file; strings of the program */
    char fingerprint[17]; /* of the file, in hexadecimal */
} VmWeightsFound;

/* Loads the weights that the file has, by name, and leaves the others as they are. VM_INPUT, and nothing
 * changes, when one has another shape or type (as in vm_weights_load), or when the file has none at all. */
VmStatus vm_weights_load_some(VmEngine *e, int program, const char *path, VmWeightsFound *found,
                              VmError *err);

/* ---- data (kinds.c, stream.c, idx.c, image_*.c, resize.c, dataset.c) -------------------------  */

typedef struct VmDataSpec {
    const char *kind;       /* "fashion_mnist" | "mnist" | "idx" | "cifar10" | "image_folder" */
    const char *dir;        /* NULL: VMOE_DATA/<kind>, VMOE_DATA, then the kind's usual place */
    int64_t channels;       /* of image folders: 3 or 1 (grey); 0: 3. The others have 1 */
    int64_t resize;         /* 0: keep */
    double mean[3], std[3]; /* per channel */
    int64_t classes;        /* labels must be below it; 0: any */
    int threads;            /* that decode; 0: vm_threads(0) */
} VmDataSpec;

/* One split in memory, as bytes. Resizing (to a square of side `resize`, bilinear with antialiasing) rounds
 * to bytes as image libraries do. An explicit `dir` is the only place looked at (and DIR/<kind>). Files that
 * are missing are VM_ENV, with every place tried and how to get the data; so are files that cannot be opened
 * or read. Files with wrong contents are VM_INPUT; of images, the first ten by name and how many there are.
 *
 * The order of images is that of an IDX file, or bytewise by class and file name. */
typedef struct VmDataset VmDataset;
typedef enum VmSplit { VM_TRAIN, VM_TEST, VM_SPLITS } VmSplit;
VmStatus vm_dataset_open(const VmDataSpec *spec, VmSplit split, int64_t limit /* 0: all */, VmDataset **out,
                         VmError *err);
/* Both, at once: an archive is unpacked only once. */
VmStatus vm_dataset_open_all(const VmDataSpec *spec, VmDataset *out[VM_SPLITS], VmError *err);
void vm_dataset_close(VmDataset *d);
/* Bytes of images and labels in memory. */
int64_t vm_dataset_bytes(const VmDataset *d);
/* The same and the number of images of splits that are not open, from files' headers (an archive is read
 * through, but nothing decoded). Errors as vm_dataset_open, without a look at the contents. */
VmStatus vm_dataset_measure(const VmDataSpec *spec, int64_t bytes[VM_SPLITS], int64_t images[VM_SPLITS],
                            VmError *err);
/* What a user should know of the data, a sentence; NULL: nothing. */
const char *vm_dataset_warning(const VmDataset *d);
/* Whether the data is an archive, which is read through to be measured; false also when there is none. */
bool vm_dataset_is_archive(const VmDataSpec *spec);
/* Of everything that training sees of a split: images as bytes (after resizing), labels, sides, channels and
 * the names of class folders. Equal data gives equal fingerprints, from a folder or an archive. All bytes are
 * read, about 10 GB/s. */
VmHash vm_dataset_fingerprint(const VmDataset *d);
/* The name of class i of a data set with class folders; NULL: it has no names, or no such class. */
const char *vm_dataset_class(const VmDataset *d, int64_t i);
int64_t vm_dataset_size(const VmDataset *d);
/* classes: what the kind or its class folders say; of other data the largest label + 1. */
void vm_dataset_shape(const VmDataset *d, int64_t *channels, int64_t *height, int64_t *width,
                      int64_t *classes);
/* Normalised images and labels of the given indices, densely into image[n][C][H][W] and label[n]. */
void vm_dataset_batch(const VmDataset *d, const int64_t *index, int64_t n, float *image, int32_t *label);
/* The order of one epoch: a permutation of 0..size-1, a pure function of (seed, epoch). */
void vm_dataset_shuffle(int64_t size, uint64_t seed, uint64_t epoch, int64_t *index);

/* ---- training (trainer.c, metrics.c, progress.c, checkpoint.c) ------------------------------------ */

/* Where a run lives. */
typedef struct VmRunPlace {
    const char *out; /* folder: metrics.jsonl, checkpoint/, checkpoint.previous/, weights.safetensors */
    bool numbered;   /* nobody chose it: OUT-2, OUT-3, .. where it is taken */
    bool resume;     /* goes on with the run in it */
    bool overwrite;  /* a run that is in it is moved to OUT.old, OUT.old-2, .. */
} VmRunPlace;

/* Which checkpoint a run resumes from, and whether it may be another run's. */
typedef struct VmResume {
    bool previous, anyway;
} VmResume;

/* What vm_train would refuse about the folder, without touching it: a run that is in it (VM_USAGE), none to
 * resume from (VM_USAGE), another process (VM_ENV, naming it). */
VmStatus vm_run_check(const VmRunPlace *p, VmError *err);

typedef struct VmTrainConfig {
    int64_t batch;
    double epochs; /* ignored when steps > 0 */
    int64_t steps; /* total; 0: from epochs */
    uint64_t seed;
    bool shuffle, drop_last;
    int schedule; /* 0 constant, 1 cosine */
    double lr_peak, lr_min;
    int64_t warmup_steps;
    double beta1, beta2;
    int64_t log_every;
    VmRunPlace place;
    VmResume resume;          /* with place.resume */
    const char *compiler;     /* identity of what made the kernels; NULL: any */
    const char *instructions; /* set that kernels are made of ("avx512"), which decides bits; NULL: any */
    const char *weights;      /* fingerprint of the file the weights start from; NULL: initial values */
    const char *tuning;       /* file of tuned kernels in use, for the "start" line; NULL: none */
    const char *phase;        /* model's name; required */
    const char *const *config_name, *const *config_value; /* for the "start" line; compared on resume */
    int nconfig;
    FILE *progress;                  /* NULL: silent; a terminal gets one line rewritten, else plain lines */
    FILE *warnings;                  /* NULL: nobody to warn */
    void (*before_step)(void *user); /* called when the first step is about to run; NULL: not */
} VmTrainConfig;

/* Programs by batch size: the callback returns an engine program index, or -1 with err filled in. A run asks
 * for all it will need before its first step. user goes to before_step too. */
typedef int (*VmProgramSource)(void *user, bool training, int64_t batch, VmError *err);

/* A batch size that a run comes to. of: how many images leave it at their end; 0: whole batches. */
typedef struct VmBatchSize {
    bool training;
    int64_t images, of;
} VmBatchSize;
enum { VM_BATCH_SIZES = 4 };
/* All sizes of a run, in the order they are met; returns how many. test_images 0: there is no test set. */
int vm_train_batches(const VmTrainConfig *c, int64_t train_images, int64_t test_images,
                     VmBatchSize out[VM_BATCH_SIZES]);
/* The status of why, and its text with where the size comes from. */
VmStatus vm_batch_refused(const VmBatchSize *b, const VmError *why, VmError *err);

typedef struct VmTrainResult {
    /* of the last epoch; NAN: no epoch ran, no test set, or no metric "accuracy" */
    double train_loss, test_loss, train_accuracy, test_accuracy;
    double seconds; /* the whole training */
    int64_t steps;
    char weights[4200], metrics[4200]; /* paths */
} VmTrainResult;

/* Trains and evaluates on `test` after every epoch. `test` may be NULL. Weights are the caller's to
 * initialise (vm_engine_init, vm_weights_load_some) before.
 *
 * Before the first step: programs of every batch size that the run will need are built, the folder is made
 * and locked (VM_ENV when another process has it), and room for two checkpoints is checked (VM_ENV). A folder
 * that holds a run is VM_USAGE unless it is to be resumed or moved aside; resuming without a checkpoint is
 * VM_USAGE.
 *
 * A checkpoint is saved after every epoch, and the one before it kept. A loss, weight or state that is no
 * finite number stops the run: VM_INPUT, with the step and the first tensor; the last checkpoint stays.
 *
 * Resuming, weights, state and position come from the checkpoint; data, instructions and settings that differ
 * from its run's are VM_USAGE with all of them named (a run of constant rate may be made longer); a damaged
 * one is VM_INPUT.
 *
 * A run that starts from a file (cfg->weights) has a checkpoint from step 0 on, so that it can always be
 * resumed without that file. The fingerprint is recorded there and in the "start" line. It is not compared: a
 * resumed run has the checkpoint's weights, whatever they once came from, and takes over its record. */
VmStatus vm_train(VmEngine *e, VmProgramSource source, void *user, const VmTrainConfig *cfg,
                  const VmDataset *train, const VmDataset *test, VmTrainResult *result, VmError *err);

typedef struct VmEvalResult {
    int64_t images;
    double loss, accuracy;
} VmEvalResult;
/* Whole split in order, last partial batch included. Means are weighted by images. */
VmStatus vm_evaluate(VmEngine *e, VmProgramSource source, void *user, const VmDataset *data, int64_t batch,
                     VmEvalResult *result, VmError *err);

/* ---- machine peaks (peaks.c) ---------------------------------------------------------------------- */

/* Measured on `threads` threads right now: f32 FMA GFLOP/s and copy bandwidth GB/s (read + write). */
void vm_measure_peaks(int threads, double *gflops, double *gbs);
/* GFLOP/s of bf16 dot products summed in f32; 0: this CPU has no instruction for them. */
double vm_measure_bf16_peak(int threads);

#endif
