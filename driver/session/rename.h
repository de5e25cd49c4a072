/* Tensors of other programs as weights of a model: rules over names, and what they do to shapes.
 *
 *   # a comment
 *   use timm_resnet                                    all rules of another file
 *   skip *.num_batches_tracked                         tensors that no weight needs
 *   *.running_mean => *.mean                           another name, for the rules below
 *   blocks.*.mlp.fc1.weight -> *.mlp.up.weight         transpose(1,0)
 *
 * `*` stands for any characters, dots among them, and for as few as will do; `?` for one. On the
 * right, the first `*` is what the first on the left stood for, and so on; {2} is what the second
 * stood for, {2+1} and {2-1} a number near it. Behind -> names are below the model's:
 * `logits.weight` for `classifier.logits.weight`. Of rules that match a tensor, the first counts
 * that skips it or names a weight that the model has. What else a rule may do are the rows of
 * rename.def.
 *
 * Mistakes are diagnostics at the rule. Neither file looks at how a model is made or where tensors
 * go: that is import.c, for one. */
#ifndef VMOEC_DRIVER_SESSION_RENAME_H
#define VMOEC_DRIVER_SESSION_RENAME_H

#include "base/vec.h"
#include "frontend/syntax/diag.h"
#include "runtime/train/train.h"

/* ---- reading (rules.c) ----------------------------------------------------------------------- */

typedef enum RenameStepKind {
#define STEP(name, ...) STEP_##name,
#include "driver/session/rename.def"
    STEP_COUNT
} RenameStepKind;

typedef struct RenameStep {
    RenameStepKind kind;
    int n;
    int64_t arg[VM_MAX_RANK];
    Span span;
} RenameStep;

enum { RENAME_STARS = 16 }; /* of a pattern, at most */

typedef struct RenameRule {
    Span span; /* src NULL: it is an option's */
    const char *pattern;
    const char *to; /* NULL: what matches is skipped */
    bool again;     /* => : `to` is what the rules below see */
    VEC(RenameStep) step;
} RenameRule;

typedef struct RenameRules {
    VEC(RenameRule) rule;
} RenameRules;

/* Adds a file's rules, those of the files it uses in their place, which are looked for beside it
 * and in `folder` (NULL: nowhere else). */
void session_rules_read(Arena *a, const Source *src, const char *folder, RenameRules *r, Diags *d);
/* Adds a rule without a place that skips what matches. */
void session_rules_skip(Arena *a, const char *pattern, RenameRules *r);

/* ---- using (rename.c) ------------------------------------------------------------------------ */

typedef struct RenameTask {
    const RenameRules *rules;
    const VmTensorFile *file;
    const char *path;           /* of the file, for messages */
    const char *model;          /* in front of the names on the right */
    const VmTensorView *weight; /* that the model has; their data do not count */
    int nweight;
} RenameTask;

typedef enum RenameFate { RENAME_LOADED, RENAME_SKIPPED, RENAME_UNUSED } RenameFate;

/* What became of a tensor. */
typedef struct Renamed {
    const VmTensorView *tensor;
    RenameFate fate;
    const RenameRule *rule; /* that counts; NULL: none */
    const char *name;       /* that it gives; without it the first that the model lacks, or NULL */
    int weight;             /* number of the weight it becomes; -1: none */
} Renamed;

typedef struct Rename {
    const RenameTask *task;
    Renamed *of; /* a row per tensor of the file, in its order */
    int n;
    const Renamed **maker; /* of each weight; NULL: it is missing */
    int loaded, skipped, unused, missing;
} Rename;

/* Decides about every tensor. Errors: a step that a shape does not allow, a tensor that ends with
 * another shape than its weight, two tensors for one weight. Warnings: rules that match nothing. */
Rename *session_rename(Arena *a, const RenameTask *t, Diags *d);

/* The weights that are loaded, with values; returns how many. For a task without errors. */
int session_rename_values(Arena *a, const Rename *r, VmTensorView **out);

/* Whether the pattern stands for the whole name. */
bool session_name_matches(const char *pattern, const char *name);

#endif
