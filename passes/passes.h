/* Passes over the IR: front door of this folder. A pass is a row of passes.def and a function
 * `bool pass_<name>(PassCtx *, IrGraph *)` that returns whether it changed anything. Above each one
 * stand its contract (requires, ensures) and before => after in IR text. The manager verifies after
 * every pass, prints on request, keeps times, and on an internal error the crash file carries the
 * remaining pipeline in its first line. */
#ifndef VMOEC_PASSES_PASSES_H
#define VMOEC_PASSES_PASSES_H

#include "ir/ir.h"
#include "runtime/exec/abi.h"
#include "recipe/recipe.h"

/* In PassCtx.recompute: the light steps, which derive elementwise results (GELU and its derivative)
 * from the value they come from. They save memory and take no time: the work joins kernels that
 * meet that value anyway (fuse.c). */
enum { RECOMPUTE_LIGHT = -1 };

typedef enum PassId {
#define PASS(name, doc) PASS_##name,
#include "passes/passes.def"
    PASS_COUNT
} PassId;

typedef struct PassCtx {
    Arena *scratch;   /* reset after every pass; graphs allocate in their own arena */
    bool training;    /* expand: dropout and noise are on */
    bool input_grads; /* autodiff: gradients of inputs, too */
    enum PassRoutes {
        ROUTES_UNSEEN,
        ROUTES_CHOSEN,  /* the experts chosen by every route, for who compares programs */
        ROUTES_MEASURED /* what a training run measures routes by */
    } routes;           /* telemetry: which outputs it makes */
    enum PassScores {
        SCORES_UNSEEN,
        SCORES_TOO,                  /* beside the model's other results */
        SCORES_ALONE                 /* instead of them */
    } scores;                        /* scores: whether it makes an output of them */
    VmOptimizerSpec optimizer;       /* optimizer: which rule, and its options */
    const struct PassRanges *ranges; /* set by ranges, in the graph's arena */
    /* recompute: how many of its steps to make, 0 none, or RECOMPUTE_LIGHT; sets how many there are
     * (LIGHT: how many were made), and how many of them, the first ones, are light */
    int recompute, recompute_steps, recompute_light;
    const struct RecomputeList *recompute_list; /* NULL, or recompute_list's for an equal graph */
    /* manager */
    bool verify_each;
    /* NULL, or called before every pass with the graph and the passes to come, that one first */
    void (*before)(void *who, const IrGraph *g, const PassId *rest, int n);
    void *who;
    const char *print_after; /* NULL, a pass name, or "all": printed to stderr */
    bool time_passes;
    double seconds[32]; /* by PassId */
    /* Set by a pass that cannot take its graph (an op without gradient on the way to a weight): the
     * graph is then left half done and pass_run returns the message. */
    const char *error;
    /* Set by pass_run with its message: the given graph is at fault, not a pass: IR text written by
     * hand, or sizes that some op made on the way cannot have. where: of the op, if it is known. */
    bool refused;
    IrLoc where;
} PassCtx;

/* What ranges has made outputs of. */
typedef struct PassRange {
    IrValue *value;
    const char *least, *most; /* names of the outputs */
} PassRange;
typedef struct PassGradient {
    const char *name; /* "grad.<param>" */
    IrValue *value;
} PassGradient;
typedef struct PassRanges {
    PassRange *value; /* in graph order */
    int nvalue;
    PassGradient *gradient;
    int ngradient;
} PassRanges;

/* The steps of recompute for one graph, so that a search for how many to make lists them once. */
typedef struct RecomputeList {
    struct RecomputeStep *step;
    int n, light; /* the first ones are light */
    int *drop;    /* of all steps */
    int ndrop;
    int64_t met; /* nodes looked at to weigh steps; for tests */
} RecomputeList;
RecomputeList *recompute_list(Arena *a, IrGraph *g);

#define PASS(name, doc) bool pass_##name(PassCtx *c, IrGraph *g);
#include "passes/passes.def"

/* What `scores` makes an output of, and that output's name; NULL: the model has no such scores. */
IrValue *pass_scores_of(const IrGraph *g);
#define PASS_SCORES VM_OUTPUT_SCORES

PassCtx pass_ctx(Arena *scratch); /* defaults; verify_each is on */

const char *pass_name(PassId p);

/* After fuse: is n elementwise work that its readers do in their loads (fuse.c)? */
bool fuse_is_inline(const IrNode *n);
enum { FUSE_MAX_TAILS = 2 }; /* kernels behind a cluster's anchor, at most */

/* Pipelines as literal lists in manager.c. */
typedef enum Pipeline {
    PIPE_EVAL,  /* telemetry scores expand simplify splitk routing cse narrow fuse */
    PIPE_GRAD,  /* telemetry expand autodiff simplify splitk routing cse narrow fuse: gradients are
                   outputs "grad.<param>" */
    PIPE_TRAIN, /* telemetry expand autodiff optimizer simplify splitk routing cse narrow recompute
                  fuse */
    PIPE_CHECK_EVAL, /* as PIPE_EVAL, with ranges before fuse */
    PIPE_CHECK_GRAD  /* as PIPE_GRAD, with ranges before fuse */
} Pipeline;
int pass_pipeline(Pipeline p, const PassId **list);
/* The same with matrix products in bf16: `precision` comes after `expand`. */
int pass_pipeline_bf16(Pipeline p, const PassId **list);
/* A part of one: from that pass (PASS_COUNT: from the first) until that one, which is not in it
 * (PASS_COUNT: to the end). Both are in the pipeline. */
int pass_pipeline_part(Pipeline p, bool bf16, PassId from, PassId until, const PassId **list);

/* Runs passes in order. NULL, or a message in the graph's arena. With c->refused it is about the
 * given graph ("before the first pass: ...", "pass autodiff: ..."); otherwise the graph did not
 * verify after a pass ("after pass cse: ..."), which is our bug, and the caller decides how to die.
 * A pass that changes the graph, other than fuse, takes every node out of its cluster. */
const char *pass_run(PassCtx *c, IrGraph *g, const PassId *list, int n);

/* "expand,simplify" -> ids. -1 and a message for an unknown name. */
int pass_parse_list(Arena *a, const char *text, PassId *out, int cap, const char **error);

#endif
