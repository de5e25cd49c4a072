/* A built model in use: its programs in an engine, its data, its weights. What a trainer's commands
 * and its library stand on. Nothing here prints or ends the process. */
#ifndef VMOEC_TRAINER_MODEL_H
#define VMOEC_TRAINER_MODEL_H

#include "base/arena.h"
#include "runtime/train/about.h"
#include "runtime/train/train.h"
#include "trainer/built.h"

typedef struct VmModel {
    const VmBuilt *built;
    Arena *arena;
    VmEngine *engine;
    int *index;            /* [nprogram]: in the engine; -1: not added */
    VmBuiltUse evaluates;  /* what an evaluation's programs are for */
    VmModelInputs inputs;  /* that data must have */
    VmPreparation image;   /* of images */
    const char *input;     /* name of the images; NULL: it takes none */
    const char *cache_dir; /* as in VmDataQuery */
    const VmAbout *about;  /* of weights whose classes data are matched with; NULL: none */
    VmDataset *data[VM_SPLITS], *rest, *held; /* as in a session: whole sets, and two parts */
    const VmDataset *train, *validation;      /* of these, what is trained on, and what judges */
    double data_seconds;                      /* that opening the data took */
    void (*warn)(void *user, const char *text);
    void *user;
} VmModel;

/* The instructions that the kernels need and this CPU has not are VM_ENV, by name. To be closed in
 * any case. threads: 0 for all CPUs. */
VmStatus vm_model_open(VmModel *m, const VmBuilt *b, int threads, VmError *err);
void vm_model_close(VmModel *m);

/* The engine's number of the program for so many images; -1 with the list of those there are. */
int vm_model_program(VmModel *m, VmBuiltUse use, int64_t images, VmError *err);
/* "1, 64": images per step of the programs for a use. */
const char *vm_model_sizes(const VmModel *m, VmBuiltUse use);
/* The greatest size of at most `images`; 0: there is none. */
int64_t vm_model_size(const VmModel *m, VmBuiltUse use, int64_t images);
/* A VmProgramSource; user is the model. */
int vm_model_source(void *user, bool training, int64_t images, VmError *err);

/* ---- data (data.c) --------------------------------------------------------------------------- */

VmDataQuery vm_model_query(const VmModel *m, const char *dir);
/* What is opened of the data. */
typedef struct VmModelWant {
    bool split[VM_SPLITS];
    bool files; /* as in VmDataQuery */
} VmModelWant;

/* Opens the data and compares it with the model: sides, channels, classes by number and, where both
 * have names, by name. */
VmStatus vm_model_data(VmModel *m, const char *dir, const VmModelWant *want, VmError *err);
/* Divides the training set as the recipe has it, with the run's seed. */
VmStatus vm_model_hold_out(VmModel *m, int64_t seed, VmError *err);
void vm_model_data_close(VmModel *m);

/* ---- weights (weights.c) --------------------------------------------------------------------- */

/* The weights of a file, or those inside when path is NULL; messages call them *shown. */
VmStatus vm_model_weights_open(VmModel *m, const char *path, VmTensorFile **out, const char **shown,
                               VmError *err);
/* Settings or a preparation of images other than the model's are VM_INPUT, or with `anyway` a
 * warning. */
VmStatus vm_model_about_check(VmModel *m, const VmAbout *x, bool anyway, VmError *err);
/* The values of an open file, into a program of the engine. */
VmStatus vm_model_weights_take(VmModel *m, int program, const VmTensorFile *f, const char *shown,
                               VmError *err);

/* ---- training (train.c) ---------------------------------------------------------------------- */

typedef struct VmModelRun {
    const char *data, *weights; /* NULL: where the recipe says; as `start_inside` says */
    bool start_inside;          /* from the weights inside, if there are some */
    int64_t seed, epochs, steps, log_every; /* seed -1, others 0: the recipe's */
    const char *const *command;             /* [ncommand]: for the run's record */
    int ncommand;
    VmRun run; /* place, resume, sinks, progress, signals; files and workers too */
} VmModelRun;

VmStatus vm_model_train(VmModel *m, const VmModelRun *how, VmTrainResult *out, VmError *err);

#endif
