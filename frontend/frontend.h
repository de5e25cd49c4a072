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
#include "recipe/recipe.h"

typedef struct FeExperiment FeExperiment;

typedef struct FeOptions {
    const char *text;       /* of the file; NULL: it is read */
    const char *const *set; /* "experts=16" */
    int nset;
    /* where `use "std/..."` is searched after the file's own folder; NULL: none */
    const char *model_dir;
    /* Text of a file, by its canonical path, that counts instead of what the disk has, as long as
     * the experiment lives; NULL: none, or nobody to ask. */
    const char *(*unsaved)(void *user, const char *real);
    void *user;
} FeOptions;

/* Loads and checks everything that does not depend on a batch size. NULL only if the file itself
 * cannot be read (err says why); otherwise look at diags_errors. Messages go to d. --set mistakes
 * are diagnostics without a place. */
FeExperiment *fe_load(Arena *a, const char *path, const FeOptions *opt, Diags *d, VmError *err);

/* Warnings of what stands in the file and is hardly meant: names that nothing uses, layers that
 * nothing calls, lengths that do not fit. Of a file that loaded without errors. */
void fe_advise(FeExperiment *e, Diags *d);

/* Values of `config` after --set, in order of declaration, as text: for logs. */
int fe_config(const FeExperiment *e, const char *const **names, const char *const **values);

/* The files of the experiment: path as messages call it, text, and whether it belongs to the layer
 * libraries. Of the others the main file is the last. */
int fe_nfile(const FeExperiment *e);
const char *fe_file(const FeExperiment *e, int i, const char **text, bool *library);

/* ---- train blocks ------------------------------------------------------------------------- */

/* Where the value of an option stands: `dir` of `data = idx(dir = "d")`. */
typedef struct FeOptionPlace {
    const VmOption *option;
    Span span;
} FeOptionPlace;

/* One train block, checked; fields left out have the defaults of recipe/recipe.def. */
typedef struct FeTrain {
    const char *name;  /* of the phase; the model's where it says no other */
    const char *model; /* name of the model it trains */
    Span span;
    const struct Ast *ast;
    VmRecipe recipe;
    Span place[VM_FIELDS]; /* of each field; src NULL: it is not given */
    const Span *pattern;   /* of each pattern of recipe.freeze */
    FeOptionPlace *option; /* of the options that are given, in the order they are read */
    int noption, option_room;
} FeTrain;
/* Where an option of a field is given; else the field; src NULL: neither is. */
Span fe_option_place(const FeTrain *t, VmFieldId field, const char *option);

int fe_ntrain(const FeExperiment *e);
const FeTrain *fe_train(const FeExperiment *e, int i);
/* A model's first train block; NULL: it has none. */
const FeTrain *fe_train_of(const FeExperiment *e, const char *model);

int fe_nmodel(const FeExperiment *e);
const char *fe_model_name(const FeExperiment *e, int i);
/* What names of its weights begin with. */
const char *fe_model_scope(const FeExperiment *e, int i);
/* Name of a model's i-th input; NULL when it has fewer, or there is no such model. */
const char *fe_model_input(const FeExperiment *e, const char *model, int i);

/* Warnings of a train block's lengths, for `epochs` as a run has them: a warm-up that is as long or
 * longer, and no step at all. steps_per_epoch 0: not known, then only what is sure is said. */
void fe_advise_lengths(const FeTrain *t, VmSpan epochs, int64_t steps_per_epoch, Diags *d);
/* What a data set's classes say of a model that g is of: an error where there are more than it
 * knows, a warning where there are fewer. list: " (cat, dog)", or "". False after an error. */
bool fe_check_classes(const FeExperiment *e, const FeTrain *t, const IrGraph *g, int64_t known,
                      int64_t classes, const char *list, Diags *d);

/* ---- elaboration ---------------------------------------------------------------------------- */

/* The MODEL-stage graph of a model. `batch` is the value of the model's first free dimension (B of
 * its first parameter); 0: taken from its train block, or 1 without one. Inputs are named after the
 * model's parameters. NULL if there are errors (in d). The result verifies with allow_model true.
 */
/* Where loc points, or, if that is in no file of the experiment, the model's name: for messages
 * about a graph that fe_elaborate made. */
Span fe_place(const FeExperiment *e, IrLoc loc, const char *model);
IrGraph *fe_elaborate(FeExperiment *e, Arena *a, const char *model, int64_t batch, Diags *d);
/* The same of the model that a train block trains, as that block has it: frozen weights, its batch,
 * its data. fe_elaborate takes the model's first block. */
IrGraph *fe_elaborate_phase(FeExperiment *e, Arena *a, const FeTrain *t, int64_t batch, Diags *d);

/* Per-layer rows for `vmoec info`: path prefix -> parameters. Computed from the graph by the
 * driver. */

#endif
