/* Internal header of elaboration: compile-time values, scopes, weight paths, and the state shared
 * by load.c, config.c, value.c, elab*.c, builtins*.c and train.c. Values are immutable and live in
 * the arena of the Elab that made them. FV_BAD stands for a mistake that was reported: whoever
 * meets it stays silent. */
#ifndef VMOEC_FRONTEND_MEANING_SEMA_H
#define VMOEC_FRONTEND_MEANING_SEMA_H

#include "frontend/syntax/ast.h"
#include "frontend/frontend.h"
#include "base/inits.h"
#include "base/map.h"
#include "base/names.h"
#include "base/vec.h"

/* ---- values (value.c) ----------------------------------------------------------------------- */

typedef enum FeKind {
    FV_BAD,
    FV_INT,
    FV_FLOAT,
    FV_BOOL,
    FV_STR,
    FV_LIST,
    FV_TIME, /* 5 epochs, 100 steps */
    FV_INIT, /* an initialiser: xavier() */
    FV_TENSOR,
    FV_ROUTE
} FeKind;

typedef struct FeValue FeValue;

/* One routing decision: which tokens go to which experts. Grouped tensors and per-expert weights
 * point at the group they belong to; two are compatible only if it is the same one. */
typedef struct FeGroup {
    int64_t tokens, k, experts; /* T, K, E */
    int lead_rank;              /* routed leading dimensions, product T */
    int64_t lead[IR_MAX_RANK];
    IrValue *gate;    /* f32[..,E]: what the choices were made by; NULL: no gate made them */
    IrValue *chosen;  /* i32[T,K]: the router's choices */
    IrValue *index;   /* i32[T,K]: those that are served, -1 for the others */
    IrValue *value;   /* f32[T,K]: of the gate at the choices */
    int64_t rows;     /* R: as many as are served, or more; 0: T*K */
    IrValue *offsets; /* i32[E+1] */
    IrValue *pair;    /* i32[R] */
    IrValue *row;     /* i32[T,K] */
    IrValue *expert;  /* i32[R] */
    Span span;        /* the call that made it */
} FeGroup;

struct FeValue {
    FeKind kind;
    Span span;     /* where it was made */
    int64_t i;     /* FV_INT, FV_BOOL */
    double f;      /* FV_FLOAT, FV_TIME count, FV_INIT number */
    const char *s; /* FV_STR */
    bool in_steps; /* FV_TIME */
    int n;         /* FV_LIST */
    int64_t size;  /* FV_LIST: elements, those of inner lists too */
    const FeValue *const *item;
    VmInitKind init; /* FV_INIT */
    bool decay, same;
    IrValue *v;        /* FV_TENSOR; FV_ROUTE: combine weights [T,K] */
    FeGroup *group;    /* FV_TENSOR: not NULL for grouped rows and per-expert weights; FV_ROUTE */
    bool per_expert;   /* FV_TENSOR with group: [E,..] instead of [R,..] */
    int64_t classes;   /* FV_TENSOR from class[B, C]: C; 0 otherwise */
    const char *maker; /* FV_TENSOR: the layer whose result it is, or NULL */
    bool is_input;     /* FV_TENSOR: a parameter of the model */
    bool overridden;   /* by --set: span is the config entry that says something else */
};

FeValue *fv_new(Arena *a, FeKind k, Span s);
const FeValue *fv_bad(void);
FeValue *fv_int(Arena *a, int64_t i, Span s);
FeValue *fv_float(Arena *a, double f, Span s);
FeValue *fv_bool(Arena *a, bool b, Span s);
FeValue *fv_str(Arena *a, const char *text, Span s);
FeValue *fv_tensor(Arena *a, IrValue *v, FeGroup *group, bool per_expert, Span s);
bool fv_is_number(const FeValue *v);
double fv_number(const FeValue *v); /* of FV_INT or FV_FLOAT */
bool fv_equal(const FeValue *a, const FeValue *b);
/* "an integer", "a tensor" */
const char *fv_kind_name(FeKind k);
/* As in logs: 128, 0.001, true, [1, 2], 5 epochs, f32[8,16]. */
const char *fv_text(Arena *a, const FeValue *v);
/* For messages: kind and value, "the integer 3", "a tensor f32[2,3] grouped by 4 experts". */
const char *fv_describe(Arena *a, const FeValue *v);
/* Shortest text that reads back to the same double. */
const char *fe_number_text(Arena *a, double x);

/* ---- the experiment (load.c) ---------------------------------------------------------------- */

typedef struct FeFile {
    const Source *src;
    const Ast *ast;
    const char *path; /* as it was opened; src->path is what messages call it */
    const char *real; /* canonical path */
    Span used_at;     /* the first `use` that asked for it; no source: main file, core */
    bool is_std;      /* found in model_dir: errors inside are reported at the caller */
    bool loading;
} FeFile;

typedef struct FeLayer {
    const Ast *ast;
    const FeFile *file;
    bool makes_weights; /* it or a layer it calls has a `param` statement on some branch */
    struct FeCaller *callers;
} FeLayer;

typedef struct FeConfig {
    const char *name;
    const FeValue *value;
    Span span;
    const Source *src;
} FeConfig;

/* A layer of a library file, which may not be loaded. */
typedef struct FeOffer {
    const char *layer, *use; /* "attention", "std/vit" */
} FeOffer;

struct FeExperiment {
    Arena *a;
    const FeOptions *opt;
    VEC(FeFile *)
    file; /* in order of loading: a file follows those it uses; the main file is last */
    VEC(FeLayer *) layer;
    VEC(const Ast *) model;
    VEC(const Ast *) train_ast;
    VEC(FeConfig) config;
    FeTrain *train;
    int ntrain;
    Names layer_of, model_of, phase_of; /* by name */
    Names train_of;                     /* a model's first train block */
    Names config_of; /* one more than the place in config.at, which moves as it grows */
    Names file_of;   /* by canonical path */
    Names set_of;    /* by name: the text after '=' of the last --set */
    int use_depth;
    VEC(FeOffer) offer; /* library.c; read when they are needed */
    VEC(const char *) offered_file;
    bool offers_read;
    const FeFile *main;
    const char **config_name, **config_text;
    bool failed; /* there were errors: nothing elaborates */
    bool watched;
    Map seen_of; /* FeSeen by node, of the main file (watch.c) */
};

FeLayer *fe_find_layer(const FeExperiment *e, const char *name);
const FeConfig *fe_find_config(const FeExperiment *e, const char *name);
const Ast *fe_find_model(const FeExperiment *e, const char *name);

/* Of the layers that the model folder has (library.c): the file with a layer of that name, all of
 * them, and the file whose name is near; NULL: none. */
const char *fe_offered_use(FeExperiment *e, const char *layer);
const FeOffer *fe_offers(FeExperiment *e, int *n);
const char *fe_offered_near(FeExperiment *e, const char *use);

/* ---- elaboration state (elab.c) ------------------------------------------------------------- */

typedef struct FeBinding {
    const char *name;
    const FeValue *value;
    Span span;             /* where it was bound */
    const char *fixed;     /* why it may not be assigned ("a dimension"), NULL: it may */
    struct FeState *state; /* what a `state` statement declared, else NULL */
    struct FeBinding *next;
} FeBinding;

typedef struct FeScope {
    FeBinding *first; /* the newest */
    int n;
    Names of;           /* where there are many bindings: the newest of each name */
    struct FeScope *up; /* enclosing block of the same layer */
} FeScope;

typedef struct FeState {
    const FeValue *value; /* as it is at the start of a step */
    const char *name;
    Span span, updated;   /* the two statements; no source: no update yet */
    struct FeState *next; /* of the model */
} FeState;

/* Where weights go. */
typedef struct FePath {
    const char *text; /* "classifier.3.moe" */
    const char *init; /* the same without indices of same_init loops: names the initial values */
    const char *rel;  /* without the model's name: "3.moe"; "" at the model itself */
} FePath;

struct FeActual;

typedef struct FeFrame {
    FeScope *scope;
    const struct FeActual *const *given; /* to each parameter of the layer; NULL: nothing was */
    const FeLayer *layer;                /* NULL: a model, config or train block */
    const char *name;
    FeGroup *group; /* not NULL: weights made here are per expert */
    Span call;      /* src NULL for a model */
    struct FeFrame *up;
} FeFrame;

typedef struct FeMade { /* a weight, and where the user's text has it made */
    IrNode *weight;
    Span place;
    bool in_call; /* of a library layer, `what`; otherwise a statement, of the weight `what` */
    const char *what;
    struct FeMade *next;
} FeMade;

typedef struct FeOutName { /* a model binding that feeds a loss or metric */
    const char *name;
    IrValue *value;
    Span span;
    IrNode *routed; /* of a route: takes its name; else NULL */
    struct FeOutName *next;
} FeOutName;

typedef struct Elab {
    FeExperiment *e;
    Arena *a;
    Diags *d;
    IrGraph *g; /* NULL while config and train blocks are evaluated */
    IrBuilder b;
    FeFrame *frame;
    const FePath *path;
    const char *model;
    /* names of weights, streams and results already taken; count: how many were made from this one
     */
    Names used;
    Names said; /* library files that a layer was missing of */
    /* `name = call`: the call that takes the binding's name as its component */
    const Ast *named_call;
    const char *named_as;
    bool matrices_decay; /* alone: weights of one dimension do not */
    const Ast *updating; /* the update whose value is being evaluated, or NULL */
    FeState *states;     /* the newest first */
    FeMade *made;        /* the newest first */
    FeOutName *outs, **outs_tail;
    FeOutName *routes, **routes_tail;
    int depth;       /* of evaluation, to protect the stack */
    int call_depth;  /* of layer calls */
    int steps;       /* loop iterations and layer calls so far */
    int64_t items;   /* of the lists of config */
    int64_t work;    /* expressions evaluated and list elements made so far */
    int64_t weights; /* elements of weights made so far */
    int nloss, naux;
    int nnamed; /* weights and results so far */
    bool failed;
    bool left;    /* error() was reached: leave the layer */
    bool stopped; /* a limit was hit: unwind */
} Elab;

enum {
    FE_MAX_STEPS = 100000, /* loop iterations and layer calls of a model */
    FE_MAX_NAMED = 10000,  /* weights and results of a model */
    /* elements of a list, and of all values of config, with those of inner lists */
    FE_MAX_ITEMS = 100000,
    FE_MAX_WORK = 2000000, /* expressions and list elements that are evaluated */
    FE_MAX_NODES = 50000,  /* operations of a model */
    FE_MAX_USES = 64,      /* files that use each other in a row */
    FE_MAX_PARAMS = 256,   /* of a layer or model */
    FE_MAX_CALLS = 32,     /* nested layer calls */
    FE_MAX_DEPTH = 1500,   /* nested evaluations: bounds the stack */
    FE_MAX_NOTES = 4       /* enclosing calls named in a message */
};
#define FE_MAX_ELEMS (INT64_C(1) << 40)
#define FE_MAX_BYTES 0x1p47 /* of all tensors of a model */

Elab elab_new(FeExperiment *e, Arena *a, Diags *d);

/* Reports at s; inside a library layer at the user's call instead, with a note at s. Notes name the
 * calls that led here. NULL when the same mistake was reported before. */
Diag *sema_error(Elab *E, Span s, DiagId id, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* The same about a value: where it was an argument of the user's, that argument is the place. */
Diag *sema_error_of(Elab *E, const FeValue *cause, Span s, DiagId id, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
Diag *sema_warning(Elab *E, Span s, DiagId id, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* Nothing for NULL and for spans without a source. */
void sema_note(Elab *E, Diag *to, Span s, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* The place that a message at s has: of the user's call where s is in a library layer. *frame:
 * whose statement it is part of. */
Span elab_user_place(const Elab *E, Span s, const FeFrame **frame);
/* The same where the diagnostic itself stands elsewhere. */
void sema_note_beside(Elab *E, Diag *to, Span s, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

IrLoc span_loc(Span s);
/* Sets the location of nodes built next. */
void elab_at(Elab *E, Span s);

/* Statements. Returns the value of the trailing expression statement when `tail`, else NULL. */
const FeValue *eval_block(Elab *E, Ast *const *stmt, int n, bool tail);

/* ---- expressions (elab_expr.c, elab_const.c) ------------------------------------------------ */

const FeValue *eval_expr(Elab *E, const Ast *x); /* never NULL */
bool eval_int(Elab *E, const Ast *x, const char *what, int64_t *out);
bool eval_condition(Elab *E, const Ast *x, bool *out);
const FeValue *const_binary(Elab *E, const Ast *x, const FeValue *a, const FeValue *b);
const FeValue *const_unary(Elab *E, const Ast *x, const FeValue *a);
const FeValue *check_finite(Elab *E, Span s, double f);

/* What an editor may ask of a node (watch.c). */
typedef struct FeSeen {
    const FeValue *value; /* the first one; NULL: it had none */
    int calls;
    int64_t parameters;
} FeSeen;

/* Remember a value of x, and how many elements of weights it made, if the experiment is watched. */
void sema_saw(Elab *E, const Ast *x, const FeValue *v);
void sema_made(Elab *E, const Ast *x, int64_t weights);
const FeSeen *sema_seen(const FeExperiment *e, const Ast *x); /* NULL: never evaluated */

/* ---- names that nothing has (unknown.c) ------------------------------------------------------ */

/* Both report and return FV_BAD. */
const FeValue *sema_unknown_name(Elab *E, const Ast *x);
const FeValue *sema_unknown_call(Elab *E, const Ast *x);
/* What follows "`f` has no parameter `name`": never NULL. */
const char *sema_argument_hint(Elab *E, const char *name, const char *const *param, int nparam);
/* Where a train block has what is no field, or no option of a choice; NULL: nowhere. */
const char *sema_field_hint(Elab *E, const Ast *block, const char *name, const Ast *value);
/* What stands at a place, on one line and not too long. */
const char *fe_source_text(Arena *a, Span s);
/* "16 and 32 do": the divisors of n on both sides of k. */
const char *fe_near_divisors(Arena *a, int64_t n, int64_t k);

/* ---- layers, weights, names (elab_layer.c, elab_type.c, elab_name.c) ------------------------ */

typedef struct FeActual { /* an evaluated argument */
    const char *name;     /* NULL: positional */
    const FeValue *value;
    Span span;      /* of the value */
    Span name_span; /* of the name, when there is one */
} FeActual;

/* Assigns actuals to parameter names; reports too many, unknown, duplicate. decl may be without a
 * source. slot[i] is NULL where nothing was given. False after a mistake. */
bool match_args(Elab *E, const char *callee, Span decl, const char *const *param, int nparam,
                const FeActual *act, int nact, const FeActual **slot);
const FeValue *call_layer(Elab *E, const FeLayer *l, const Ast *call);
FeActual *eval_args(Elab *E, const Ast *call);

/* elab_weight.c */
void elab_weight(Elab *E, const Ast *stmt);
void elab_state(Elab *E, const Ast *stmt);
void elab_update(Elab *E, const Ast *stmt);
/* Of a whole model: states without an update, losses that only states decide. */
void check_states(Elab *E);

/* A value against a declared type: binds unknown dimension names in `scope`, checks known ones.
 * `what` names the value in messages: "argument `x` of `norm`". at: where it was given. */
bool match_type(Elab *E, const Ast *type, const FeValue *v, FeFrame *callee, Span at,
                const char *what);

FeBinding *scope_find(const FeFrame *f, const char *name);
FeBinding *scope_bind(Elab *E, FeScope *s, const char *name, const FeValue *v, Span span,
                      const char *fixed);

/* The call inside a bound expression that takes the binding's name, or NULL. */
const Ast *named_call(const FeExperiment *e, const Ast *x);
FePath *path_child(Elab *E, const FePath *p, const char *component);
FePath *path_index(Elab *E, const FePath *p, int64_t index, bool same_init);
/* base, base_2, base_3: the first that is not taken; takes it. */
const char *unique_name(Elab *E, const char *base);
bool take_name(Elab *E, const char *name); /* false: taken already */
/* Counts one more weight or result; false after reporting too many. */
bool count_named(Elab *E, Span s);
const char *path_join(Arena *a, const char *path, const char *name);
void fe_mark_weight_layers(FeExperiment *e);

/* ---- builtins (builtins*.c) ----------------------------------------------------------------- */

enum { FE_MAX_ARGS = 8 };
typedef struct FeCall {
    const Ast *ast;
    const struct FeBuiltin *b;
    const FeValue *arg[FE_MAX_ARGS]; /* NULL: left out */
    Span span[FE_MAX_ARGS];
    const char *param[FE_MAX_ARGS];
    int nparam;
} FeCall;

typedef const FeValue *(*FeBuiltinFn)(Elab *E, const FeCall *c);
typedef struct FeBuiltin {
    const char *name;
    const char *params; /* "x eps?": optional ones end in '?' */
    FeBuiltinFn fn;
    OpCode op;
} FeBuiltin;

const FeBuiltin *fe_find_builtin(const char *name);
int fe_nbuiltin(void);
const FeBuiltin *fe_builtin_at(int i);
const FeValue *call_builtin(Elab *E, const FeBuiltin *b, const Ast *call);

/* One prototype per function that builtins.def names. */
#define BUILTIN(name, params, fn, op) const FeValue *builtin_##fn(Elab *E, const FeCall *c);
#include "frontend/meaning/builtins.def"

/* Argument i as something; false after reporting. Defaults are kept when the argument is left out.
 */
bool arg_tensor(Elab *E, const FeCall *c, int i, const FeValue **out);
bool arg_int(Elab *E, const FeCall *c, int i, int64_t lo, int64_t hi, int64_t *out);
bool arg_float(Elab *E, const FeCall *c, int i, double lo, double hi, double *out);
bool arg_bool(Elab *E, const FeCall *c, int i, bool *out);
bool arg_ints(Elab *E, const FeCall *c, int i, int64_t *out, int cap, int *n);
bool arg_axis(Elab *E, const FeCall *c, int i, const FeValue *x, int64_t *axis);
/* One axis or a list of them, all when left out; ascending. */
bool arg_axes(Elab *E, const FeCall *c, int i, const FeValue *x, int64_t *axes, int *n);
bool arg_route(Elab *E, const FeCall *c, int i, const FeValue **out);
/* One of n words; *out: which. */
bool arg_word(Elab *E, const FeCall *c, int i, const char *const *word, int n, int *out);
const FeValue *arg_kind_error(Elab *E, const FeCall *c, int i, const char *expected);

/* builtins_moe.c: what every router begins and ends with. Checks that x has rows and is not
 * grouped; `form` says what it should be. */
bool check_routable(Elab *E, const FeCall *c, const FeValue *x, const char *form);
/* The leading dimensions of a tensor are what g routes. */
void set_routed(FeGroup *g, const IrType *t);
/* Checks that a gate is f32[.., E] and not grouped. */
bool check_gate(Elab *E, const FeCall *c, const FeValue *gate);
/* The gate as f32[T,E]; sets lead dimensions, tokens and experts of g. */
IrValue *flat_gate(Elab *E, const FeValue *gate, FeGroup *g);
/* A route value of g, whose k, index, chosen, value and rows are set, with weights w: f32[T,K]. */
const FeValue *make_route(Elab *E, const FeCall *c, FeGroup *g, const FeValue *from, IrValue *w);

/* Builds a node at s; a refusal of the shape rule is reported at the call with notes at its
 * operands. NULL then. */
IrValue *build(Elab *E, Span s, const char *what, OpCode op, const FeValue *const *operand,
               int noperand, IrValue *const *in, int nin, const AttrArg *attr, int nattr);
/* Per-expert value as rows of its group. */
const FeValue *expand_rows(Elab *E, Span s, const FeValue *v);
/* The common group of values; false after reporting two different ones. *rows: some value is
 * grouped rows. */
bool common_group(Elab *E, Span s, const char *what, const FeValue *const *v, int n,
                  FeGroup **group, bool *rows);
/* Up to three tensors or numbers, brought to one shape: what an elementwise op takes. Tensors are
 * all f32 or, where `ints`, all i32. False after reporting. */
enum { FE_MAX_MEET = 3 };
typedef struct FeMeet {
    IrValue *x[FE_MAX_MEET];
    FeGroup *group;
    bool per_expert;
} FeMeet;
bool tensor_meet(Elab *E, Span s, const char *what, const FeValue *const *v, int n, bool ints,
                 FeMeet *m);
/* a < b and the others, of which one at least is a tensor: 1 or 0. */
const FeValue *tensor_compare(Elab *E, const Ast *x, const FeValue *a, const FeValue *b);
/* Elementwise op on two values (numbers or tensors) with broadcasting. */
const FeValue *tensor_binary(Elab *E, Span s, const char *what, OpCode op, const FeValue *a,
                             const FeValue *b);
const FeValue *tensor_unary(Elab *E, Span s, const char *what, OpCode op, const FeValue *a);

/* ---- what is hardly meant (advise.c, doubts.c, unused.c, uncalled.c)
 * ------------------------------------ */

/* Remembers where a weight is made. */
void sema_note_weight(Elab *E, const Ast *stmt, IrNode *w);
/* c is a cross-entropy whose logits are f32. */
void sema_softmax_twice(Elab *E, const FeCall *c);
/* Of a whole model without mistakes, whose results are known. */
void check_doubts(Elab *E);
/* The names of the layers that the models come to. */
Names fe_called_layers(FeExperiment *e);
void fe_warn_unused(FeExperiment *e, Diags *d);
/* Reports unknown names in layers that no model comes to. */
void fe_check_uncalled(FeExperiment *e, Diags *d);

/* ---- frozen weights (freeze.c) --------------------------------------------------------------- */

/* Marks the weights of E->g that t's patterns match; reports patterns without a match. */
void freeze_weights(Elab *E, const FeTrain *t);

/* ---- config and train (config.c, train.c) --------------------------------------------------- */

void fe_load_config(FeExperiment *e, Diags *d);
void fe_load_trains(FeExperiment *e, Diags *d);
/* Of a whole model: keep and stop name metrics that it has. */
void fe_check_judges(Elab *E, const FeTrain *t);

#endif
