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
 * The same rules lead from a model's weights back to the tensors of the other program (back.c), as
 * far as they forget nothing.
 *
 * Mistakes are diagnostics at the rule. Nothing here looks at how a model is made or where tensors
 * go: that is import.c, for one. */
#ifndef VMOEC_DRIVER_SESSION_RENAME_H
#define VMOEC_DRIVER_SESSION_RENAME_H

#include "base/vec.h"
#include "driver/session/pattern.h"
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

typedef struct RenameRule {
    Span span; /* src NULL: it is an option's */
    const char *pattern;
    const char *to; /* NULL: what matches is skipped */
    bool again;     /* => : `to` is what the rules below see */
    bool quiet;     /* nobody is told when it is no use */
    VEC(RenameStep) step;
} RenameRule;

typedef struct RenameRules {
    VEC(RenameRule) rule;
} RenameRules;

/* Adds a file's rules, those of the files it uses in their place, which are looked for beside it
 * and in `folder` (NULL: nowhere else). quiet: they come with vmoec and serve files that differ. */
void session_rules_read(Arena *a, const Source *src, const char *folder, bool quiet, RenameRules *r,
                        Diags *d);
/* Adds a rule without a place that skips what matches. */
void session_rules_skip(Arena *a, const char *pattern, RenameRules *r);
/* Adds the rule that a tensor with a weight's name, the model's in front, becomes that weight. */
void session_rules_same(Arena *a, const char *model, RenameRules *r);

/* ---- using (rename.c) ------------------------------------------------------------------------ */

typedef struct RenameTask {
    const RenameRules *rules;
    const VmTensorView *tensor; /* what there is */
    int ntensor;
    const char *path;           /* of its file, for messages */
    const char *model;          /* in front of the names on the right */
    const VmTensorView *weight; /* that the model has; their data count for back.c alone */
    int nweight;
    int64_t channels;   /* of the model's images; 0: it has none */
    bool skip_mismatch; /* tensors that do not fit are skipped, not refused */
} RenameTask;

typedef enum RenameFate { RENAME_LOADED, RENAME_SKIPPED, RENAME_UNUSED } RenameFate;

/* What became of a tensor. */
typedef struct Renamed {
    const VmTensorView *tensor;
    RenameFate fate;
    const RenameRule *rule; /* that counts; NULL: none */
    const char *name;       /* that it gives; without it the first that the model lacks, or NULL */
    int weight; /* number of the weight it becomes, or, skipped, does not fit; -1: none */
} Renamed;

typedef struct Rename {
    const RenameTask *task;
    Renamed *of; /* a row per tensor, in their order */
    int n;
    const Renamed **maker; /* of each weight; NULL: it is missing */
    int loaded, skipped, unused, missing;
    int unfit; /* of the skipped: for their shape */
    int idle;  /* rules that were no use */
} Rename;

/* Decides about every tensor. Errors: a step that a shape does not allow, a tensor that ends with
 * another shape than its weight, two tensors for one weight. Warnings: rules that match nothing. */
Rename *session_rename(Arena *a, const RenameTask *t, Diags *d);

/* The weight that the i-th tensor, which is loaded, becomes, with values. For a task without
 * errors. */
VmTensorView session_rename_value(Arena *a, const Rename *r, int i);

/* What the rules make of single tensors, for those who ask again and again. Nothing is noted of
 * them, and mistakes are only those of the result's fate. */
typedef struct RenameProbe RenameProbe;
RenameProbe *session_rename_probe(Arena *a, const RenameTask *t);
Renamed session_rename_try(RenameProbe *p, const VmTensorView *tensor);

/* All that became of tensors and weights, in lines for a person. */
const char *session_rename_text(Arena *a, const Rename *r);
/* "f32[3,4]" */
const char *session_view_text(Arena *a, const VmTensorView *v);

/* ---- and back (back.c) ----------------------------------------------------------------------- */

/* What a weight is called by the other program. */
typedef struct RenamedBack {
    const VmTensorView *weight;
    const RenameRule *rule; /* that makes the weight of that tensor; NULL: none does */
    const char *name;
    VmTensorView tensor; /* with its shape; no data */
    bool left_out;       /* by an option */
} RenamedBack;

typedef struct RenameBack {
    const RenameTask *task;
    RenamedBack *of; /* a row per weight, in their order */
    int named, left_out;
    int idle; /* rules that were no use */
} RenameBack;

/* Finds a tensor for every weight that no pattern of skip leaves out (names below the model's), so
 * that session_rename makes of it the weight again. Errors: rules that forget something which a
 * weight needs, weights without a rule. The task's tensors do not count. */
RenameBack *session_rename_back(Arena *a, const RenameTask *t, const char *const *skip, int nskip,
                                Diags *d);

/* The i-th weight, which is named, as that tensor, with values. */
VmTensorView session_rename_back_value(Arena *a, const RenameBack *r, int i);

#endif
