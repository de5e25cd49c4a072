/* Front end: from .vmoe text to one IR graph per model. Front door of this folder.
 *
 * A file is parsed once (fe_load: with everything it `use`s), then a model is elaborated for a
 * batch size: configuration is folded, loops are unrolled, layers are expanded in place, names
 * become weight paths, shapes are checked, and MODEL ops come out. Elaborating again for another
 * batch size gives the same weights in the same order. */
#ifndef VMOEC_FRONTEND_FRONTEND_H
#define VMOEC_FRONTEND_FRONTEND_H

#include "frontend/syntax/diag.h"
#include "ir/ir.h"

typedef struct FeExperiment FeExperiment;

typedef struct FeOptions {
    const char *const *set; /* "experts=16" */
    int nset;
    const char
        *model_dir; /* where `use "std/..."` is searched after the file's own folder; NULL: none */
} FeOptions;

/* Loads and checks everything that does not depend on a batch size. NULL only if the file itself
 * cannot be read (err says why); otherwise look at diags_errors. Messages go to d. --set mistakes
 * are diagnostics without a place. */
FeExperiment *fe_load(Arena *a, const char *path, const FeOptions *opt, Diags *d, VmError *err);

/* Values of `config` after --set, in order of declaration, as text: for logs. */
int fe_config(const FeExperiment *e, const char *const **names, const char *const **values);

/* ---- train blocks ------------------------------------------------------------------------- */

typedef enum FeSchedule { SCHED_constant, SCHED_cosine } FeSchedule;

/* A duration: `5 epochs`, `100 steps`. */
typedef struct FeSpan {
    double count;
    bool in_steps;
} FeSpan;

/* A number, or one for each of the three channels. */
typedef struct FePerChannel {
    int n; /* 1 or 3: how many were given */
    double at[3];
} FePerChannel;

/* A pattern over weight names: `*` stands for any characters, `?` for one. */
typedef struct FePattern {
    const char *text;
    Span span;
} FePattern;

/* One train block, checked; fields left out have the defaults of docs/language.md. */
typedef struct FeTrain {
    const char *model; /* name of the model it trains */
    Span span;
    struct {
        const char *kind;       /* "fashion_mnist" | "mnist" | "idx" | "cifar10" | "image_folder" */
        const char *dir;        /* NULL: --data, then VMOE_DATA, then the kind's usual place */
        int64_t batch;          /* images per step */
        int64_t channels;       /* 1 or 3 */
        int64_t resize;         /* 0: keep the size; else bilinear antialiased to resize x resize */
        FePerChannel mean, std; /* x = (pixel/255 - mean)/std */
        bool shuffle, drop_last;
        Span span;
    } data;
    struct {
        const char *kind; /* "adamw" | "adam" (decay 0) */
        double beta1, beta2, eps, weight_decay;
    } optimizer;
    struct {
        FeSchedule kind;
        double peak, minimum; /* constant: peak */
        FeSpan warmup;        /* linear from peak/steps at the first step */
    } schedule;
    FeSpan epochs;
    uint64_t seed;
    int64_t log_every;       /* steps between "step" lines in metrics.jsonl */
    bool bf16;               /* precision = bf16: matrix products round their operands */
    const FePattern *freeze; /* weights that training leaves alone */
    int nfreeze;
} FeTrain;

int fe_ntrain(const FeExperiment *e);
const FeTrain *fe_train(const FeExperiment *e, int i);

int fe_nmodel(const FeExperiment *e);
const char *fe_model_name(const FeExperiment *e, int i);
/* Name of a model's i-th input; NULL when it has fewer, or there is no such model. */
const char *fe_model_input(const FeExperiment *e, const char *model, int i);

/* ---- elaboration ---------------------------------------------------------------------------- */

/* The MODEL-stage graph of a model. `batch` is the value of the model's first free dimension (B of
 * its first parameter); 0: taken from its train block, or 1 without one. Inputs are named after the
 * model's parameters. NULL if there are errors (in d). The result verifies with allow_model true.
 */
/* Where loc points, or, if that is in no file of the experiment, the model's name: for messages
 * about a graph that fe_elaborate made. */
Span fe_place(const FeExperiment *e, IrLoc loc, const char *model);
IrGraph *fe_elaborate(FeExperiment *e, Arena *a, const char *model, int64_t batch, Diags *d);

/* Per-layer rows for `vmoec info`: path prefix -> parameters. Computed from the graph by the
 * driver. */

#endif
