/* vmoec as a library: a .vmoe file is opened, its model compiled for this machine, trained and
 * evaluated, and images are classified with its weights. This is the only header a program needs;
 * docs/library.md has an example.
 *
 *   VmoecOptions o;
 *   Vmoec *v;
 *   vmoec_options_init(&o);
 *   o.path = "tiny.vmoe";
 *   o.models = "models";
 *   if (vmoec_open(&o, &v) == VM_OK) ...
 *   vmoec_close(v);
 *
 * The library prints nothing and never ends the process, with one exception: a mistake of its own
 * (VM_BUG) is a message on stderr and an abort, because nothing it holds can be trusted then. It
 * has no state but that of its handles. It reads these variables of the environment: VMOE_DATA
 * (where data sets are), VMOEC_ISA (instruction set), OMP_NUM_THREADS (when no number of threads is
 * given).
 *
 * Ownership. A handle owns all that comes out of it; what it returns lives until vmoec_close. What
 * goes in (options, their strings and lists) is copied and may go away as soon as the call is over.
 *
 * Threads. A handle is used by one thread at a time, any thread; different handles may be in use in
 * different threads at once, each with threads of its own for computing. Results do not depend on
 * what else is going on.
 *
 * Processes. Code is generated in processes that are forked for it and gone when the call is over;
 * LLVM is never loaded into the process that calls.
 *
 * Not here yet: vmoec_build (a trainer as a program of its own). */
#ifndef VMOEC_DRIVER_SESSION_VMOEC_H
#define VMOEC_DRIVER_SESSION_VMOEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* One opened file and everything made from it. */
typedef struct Vmoec Vmoec;

/* ---- what is said --------------------------------------------------------------------------- */

/* INFO: what somebody who watches a run wants to know; nothing is wrong. */
typedef enum VmoecSeverity { VMOEC_ERROR, VMOEC_WARNING, VMOEC_NOTE, VMOEC_INFO } VmoecSeverity;

/* A place in a file. file NULL: none; line and column count from 1, columns count bytes. */
typedef struct VmoecPlace {
    const char *file;
    int line, column;
} VmoecPlace;

/* The other half of a message: "experts set here". */
typedef struct VmoecRemark {
    VmoecPlace at;
    const char *text;
} VmoecRemark;

/* Text is prose without a full stop. slug names the kind of a mistake in a .vmoe file
 * ("topk-range"), is stable from release to release, and NULL for everything else. */
typedef struct VmoecMessage {
    VmoecSeverity severity;
    const char *slug;
    VmoecPlace at;
    const char *text;
    const VmoecRemark *remark;
    int nremark;
    const char *rendered; /* all of it for a person to read, with the line of source and a caret;
                           * ends with a newline */
} VmoecMessage;

/* ---- opening --------------------------------------------------------------------------------- */

typedef struct VmoecOptions {
    size_t size; /* of this struct, as the program was compiled with it; set by the init function */

    /* The file. With `text` that is its contents, and `path` only its name in messages and the
     * place from which `use "..."` is searched; NULL: it is read. */
    const char *path, *text;

    /* Which model, when the file has several. NULL: the first that is trained, else the first. */
    const char *model;

    /* Which train block, when there are several. NULL: the model's first. */
    const char *phase;

    /* Values of `config`, each "name=value", instead of those in the file. */
    const char *const *set;
    int nset;

    /* "f32" or "bf16": what matrix products round their operands to. NULL: the train block's. */
    const char *precision;

    /* Images per step; 0: the train block's, or 1 without one. */
    int64_t batch;

    /* Of training and evaluation; 0: as many as there are CPUs for this process. */
    int threads;

    /* The most bytes of memory the process may take: training computes more often what it would
     * otherwise keep, in order to fit. 0: the cgroup's limit alone. */
    int64_t memory;

    /* Folder of the layer libraries: `use "std/..."`. NULL: there are none. */
    const char *models;

    /* Folder where compiled kernels are kept between runs; made when it is missing. NULL: nowhere.
     */
    const char *cache;

    /* The code generator, vmoec-llvm.so. NULL: beside the program's executable file, or in
     * ../libexec/vmoec or ../lib/vmoec seen from there. */
    const char *backend;

    /* A file of `vmoec tune`. NULL: none. */
    const char *tuning;

    /* Where the graph is written to that was being compiled when a mistake of the compiler's was
     * found, before the process aborts. NULL: nowhere. */
    const char *crash_file;

    /* Called with every message as soon as there is one, in the thread that uses the handle; NULL:
     * nobody. The message stays the handle's. It must not use the handle. `user` is handed on. */
    void (*on_message)(void *user, const VmoecMessage *m);
    void *user;

    /* `rendered` has the colours of a terminal. */
    bool colour;

    /* Columns of the terminal that shows it: a line of source is cut to fit. 0: not known. */
    int columns;
} VmoecOptions;

/* Sets every option to its default. Call it before setting those you care about. */
void vmoec_options_init(VmoecOptions *o);

/* Opens a file: reads it and checks it, and finds the model. VM_INPUT: the file is wrong; VM_USAGE:
 * an option is; VM_ENV: something could not be read, or memory is not there.
 *
 * *out has to be closed also after a failure, when it can only be asked for its messages; it is
 * NULL when there was no memory for it. */
VmStatus vmoec_open(const VmoecOptions *o, Vmoec **out);

/* Gives everything back. NULL is fine. */
void vmoec_close(Vmoec *v);

/* ---- messages -------------------------------------------------------------------------------- */

/* All messages so far, in the order in which they came. NULL is a handle without any. */
int vmoec_message_count(const Vmoec *v);
const VmoecMessage *vmoec_message(const Vmoec *v, int i); /* NULL: there is no i-th */

/* Status of the last call, and its error as text: "" after VM_OK. Never NULL; a handle that is NULL
 * says that memory is not there. */
VmStatus vmoec_status(const Vmoec *v);
const char *vmoec_error(const Vmoec *v);

/* The model that was chosen; NULL when opening failed. */
const char *vmoec_model(const Vmoec *v);

/* ---- training and evaluation ----------------------------------------------------------------- */

typedef struct VmoecTrainOptions {
    size_t size; /* set by the init function */

    /* Where the data set is. NULL: what the train block says, VMOE_DATA, or the usual place. */
    const char *data;

    /* Folder for metrics.jsonl, the checkpoints and weights.safetensors. Required. */
    const char *out;

    /* A run that is in that folder goes on from its checkpoint; or is moved to OUT.old first. */
    bool resume, overwrite;

    /* Instead of the train block's; seed -1 and 0 for the others: as it says. Steps count before
     * epochs. */
    int64_t seed, epochs, steps, log_every;

    /* A safetensors file that weights start from; those it lacks start as usual. NULL: all do. */
    const char *weights;

    /* Rules for its names: of vmoec's ("timm") or a file of yours (NAME.rules); NULL: they are the
     * model's. Tensors that do not fit are left out instead of refused. */
    const char *rename;
    bool skip_mismatch;
} VmoecTrainOptions;

void vmoec_train_options_init(VmoecTrainOptions *o);

typedef struct VmoecMetric {
    const char *name; /* the model's own */
    double value;
} VmoecMetric;

/* What a set of images gave, as means over them. */
typedef struct VmoecMeans {
    int64_t images; /* 0: there is no such set, or it was not evaluated */
    double loss;    /* NAN: there is none */
    const VmoecMetric *metric;
    int nmetric;
} VmoecMeans;

/* Losses and accuracies are those of the last epoch; with validation those of the test set are of
 * the weights in `weights`. NAN: there is none. Names, metrics and paths live until the handle's
 * next training, or as long as the handle. */
typedef struct VmoecTrained {
    double train_loss, train_accuracy, test_loss, test_accuracy;
    int64_t steps;
    double seconds;
    const char *weights, *metrics; /* paths */

    VmoecMeans train, validation, test; /* the above of them, and all metrics by name */

    /* With `keep = best()`: the epoch, counted from 1, whose weights are in `weights`; the step at
     * its end; what it was chosen by ("loss" or a metric's name), and that of its validation. 0,
     * 0, NULL and NAN when `weights` are those of the last step. */
    int64_t best_epoch, best_step;
    const char *best_metric;
    double best_value;
} VmoecTrained;

/* Trains the model as its train block says. result may be NULL. A handle can be used on after a
 * failure, unless memory ran out in the middle of compiling: then its messages are gone, every
 * further call gives the same error, and it is to be closed. */
VmStatus vmoec_train(Vmoec *v, const VmoecTrainOptions *o, VmoecTrained *result);

typedef struct VmoecEvaluated {
    int64_t images;
    double loss, accuracy; /* accuracy NAN: the model has no such metric */
} VmoecEvaluated;

/* Loss and accuracy of the weights of a safetensors file on the whole test set. data: as in
 * VmoecTrainOptions. */
VmStatus vmoec_eval(Vmoec *v, const char *weights, const char *data, VmoecEvaluated *result);

/* ---- classes of single images ---------------------------------------------------------------- */

/* Weights of the model, loaded and ready to classify images. */
typedef struct VmoecPredictor VmoecPredictor;

typedef struct VmoecPredictOptions {
    size_t size; /* set by the init function */

    /* A safetensors file, read when the predictor is opened and not again. Required. */
    const char *weights;

    /* Weights that were made with other settings of the model, or for images that were prepared in
     * another way, are used, with a warning, instead of refused. */
    bool anyway;

    /* The most images that are computed at once; 0: the handle's (VmoecOptions.batch). */
    int64_t batch;
} VmoecPredictOptions;

void vmoec_predict_options_init(VmoecPredictOptions *o);

/* Loads weights, checks that they are the model's, and compiles for `batch` images. VM_INPUT: the
 * file is wrong, was made in another way, or has not the model's weights; VM_ENV: it cannot be
 * read. *out is NULL after a failure, which vmoec_error of the handle tells.
 *
 * While it is open, vmoec_train, vmoec_eval and a second predictor of the same handle are VM_USAGE:
 * they would use the memory that the weights are in. A file may be opened several times. */
VmStatus vmoec_predictor_open(Vmoec *v, const VmoecPredictOptions *o, VmoecPredictor **out);

/* Gives it back, before or without its handle's end: vmoec_close closes it, too, and then it must
 * not be used any more. NULL is fine. */
void vmoec_predictor_close(VmoecPredictor *p);

/* How many classes the model scores, and the name of class i as the weights know it; its number as
 * text when they know none; NULL: there is no i-th. Lives as long as the predictor. */
int64_t vmoec_predictor_classes(const VmoecPredictor *p);
const char *vmoec_predictor_class(const VmoecPredictor *p, int64_t i);

/* An image to classify: a file, or pixels in memory. Starts as {0}. */
typedef struct VmoecImage {
    const char *path; /* PNG or JPEG; of pixels only what messages call them, NULL: "image 0" */
    const uint8_t *pixels; /* [height][width][channels], row by row; NULL: the file's */
    int64_t height, width;
    int64_t channels; /* 1: grey; 3: red, green, blue; 4: and how opaque, which is not looked at */
} VmoecImage;

/* What became of it. */
typedef struct VmoecPrediction {
    /* VM_OK; VM_INPUT: it is no image that can be used; VM_ENV: it could not be read; VM_USAGE: it
     * has neither path nor pixels, or these have impossible sides. */
    VmStatus status;
    const char *error; /* "" after VM_OK */
    int64_t label;     /* the likeliest class, of equal ones the first; -1 after a mistake */
    const double *probability; /* [classes], of all classes; NULL after a mistake */
} VmoecPrediction;

/* Classifies n images, prepared as evaluation prepares them (and resized, if the train block's data
 * is), with the bits of `vmoec predict` for the same images: `batch` of them at once, and the rest
 * together. Code for a number of images that was not met before is compiled first.
 *
 * out[i] is what became of image[i]; an image that is wrong costs the others nothing, and the call
 * is VM_OK. What out points to is the predictor's, until its next call or its end; images are the
 * caller's, and may go away when the call is over. After a failure of the call, which vmoec_error
 * of the handle tells, every out[i] has its status and nothing else. */
VmStatus vmoec_predict(VmoecPredictor *p, const VmoecImage *image, int64_t n, VmoecPrediction *out);

#endif
