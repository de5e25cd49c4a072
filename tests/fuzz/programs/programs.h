/* Random programs against the reference: one program is elaborated, interpreted in f64, compiled
 * for every instruction set, run with one thread and three, without a budget of memory and with a
 * tight one, and compared. A run of many seeds survives those that crash or never end. A program
 * that fails is made smaller. */
#ifndef VMOEC_TESTS_FUZZ_PROGRAMS_PROGRAMS_H
#define VMOEC_TESTS_FUZZ_PROGRAMS_PROGRAMS_H

#include "codegen/codegen.h"
#include "frontend/frontend.h"
#include "interp/interp.h"
#include "passes/passes.h"
#include "runtime/exec/exec.h"

/* ---- what became of a program ---------------------------------------------------------------- */

typedef enum Outcome {
#define OUTCOME(name, bad, doc) OUT_OF_##name,
#include "tests/fuzz/programs/outcomes.def"
    OUTCOMES
} Outcome;
extern const char *const outcome_names[OUTCOMES];
extern const bool outcome_bad[OUTCOMES];

/* Where it happened: failures of one kind and stage are alike. */
typedef struct Verdict {
    Outcome outcome;
    char stage[32]; /* "train avx2", "gradients avx512-halves", "front" */
    char text[200]; /* what was seen; one line */
} Verdict;

/* Returns false, for who returns that. */
bool verdict_set(Verdict *v, Outcome o, const char *stage, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* Sums over programs. */
typedef struct Tally {
    int64_t outcome[OUTCOMES];
    int64_t tried;     /* data that programs were run on: several where choices were close */
    int64_t compared;  /* tensors beside the reference's */
    int64_t loosened;  /* of those: equal only as far as the program's own sensitivity excuses */
    int64_t blind;     /* of those: so sensitive that the comparison says nothing */
    int64_t bits;      /* tensors whose bits were compared between threads and budgets */
    double seconds[4]; /* front and passes, interpreter, code generation, running */
} Tally;

typedef struct CheckOptions {
    const char *const *isa; /* [nisa] */
    int nisa;
    int64_t batch;     /* of models without a train block */
    uint64_t seed;     /* of data */
    const char *cache; /* where kernels are kept from program to program; NULL: nowhere */
    OpCode broken; /* compiled code takes these for tanh: to see that it is found; OP_COUNT: none */
    bool slow;     /* no program ends, to see what becomes of those */
} CheckOptions;

/* The instruction sets that can be run here: "avx2", and "avx512" or its halves. */
int check_isas(const char *out[2]);
/* Runs a program; adds to *t. text: of its file. */
Verdict check_program(const char *text, const CheckOptions *o, Tally *t);

/* ---- the front (front.c) --------------------------------------------------------------------- */

/* A program on its way: the model's graphs and what they are called. */
typedef struct Front {
    Arena *arena;
    FeExperiment *e;
    VmOptimizerSpec optimizer;
    const IrGraph *model; /* MODEL ops */
    const IrGraph *eval;  /* with routes as results; MODEL ops too */
    const IrGraph *grad;  /* differentiated; NULL: there is nothing to learn */
    const IrGraph *step;  /* with the optimizer's updates */
    OpCode broken;        /* as in CheckOptions */
} Front;

/* False after filling in the verdict. f->broken is set. */
bool front_open(Front *f, Arena *a, const char *text, int64_t batch, Verdict *v);
/* A clone of the model behind the passes of a pipeline until one of them (PASS_COUNT: all).
 * recompute as in PassCtx. NULL: a pass refuses it, and the verdict says so. */
IrGraph *front_lower(const Front *f, Pipeline pipe, PassId until, int recompute, Verdict *v);

/* ---- data and the reference (refer.c) -------------------------------------------------------- */

enum { REFER_MOVED = 4 };

/* A graph interpreted, and again with every number moved a little. */
typedef struct Reference {
    const IrGraph *g;
    Interp *exact, *moved[REFER_MOVED];
} Reference;

/* Values of inputs, weights and states by name: what both sides are given. */
typedef struct Given {
    const char *name;
    IrType type;
    float *f32;
    int32_t *i32;
} Given;
typedef struct Data {
    Given *item;
    int n;
    uint64_t seed;
} Data;

/* Weights are the initial ones (taken from e), moved a little; inputs are made up. */
Data data_make(Arena *a, const IrGraph *model, VmEngine *e, uint64_t seed);
void data_give(const Data *d, VmEngine *e, int program);
void data_refer(const Data *d, Interp *it);

Reference refer(Arena *a, const IrGraph *g, bool training, const Data *d);
/* Whether rounding may decide something: a choice that differs between the runs, or a number that
 * is not finite. NULL: it may not; else what. */
const char *refer_unstable(const Reference *r);
/* How far rounding may move a result: of its tensor, and whether that is nearly all of it. */
double refer_slack(const Reference *r, const RefTensor *want, const char *name);
/* Gradients of r against differences of the objective of the model along random directions; false
 * after filling in the verdict. */
bool refer_slopes(Arena *a, const IrGraph *model, const Reference *r, const Data *d, Verdict *v);
/* Results of two interpreted graphs of the same names, which must be the same in f64. */
bool refer_agrees(const Reference *a, const Reference *b, Verdict *v);

/* ---- compiled code (compiled.c) -------------------------------------------------------------- */

enum { ENGINES = 4, KINDS = 3 };
typedef enum CompiledKind { C_EVAL, C_GRAD, C_TRAIN } CompiledKind;

/* One instruction set: programs without and with a budget, each with one thread and three. */
typedef struct Compiled {
    const char *isa;
    CgModule *module;
    VmProgram *program[2][KINDS]; /* [budget]; NULL: none */
    VmEngine *engine[ENGINES];    /* one thread, three; with a budget one, three */
    int index[ENGINES][KINDS];    /* -1: none */
} Compiled;

/* cache: as in CgOptions. */
bool compiled_make(Compiled *c, const Front *f, const char *isa, const char *cache, Verdict *v,
                   Tally *t);
void compiled_free(Compiled *c);
extern const char *const engine_names[ENGINES];

/* ---- many programs (block.c) ----------------------------------------------------------------- */

typedef struct BlockOptions {
    uint64_t first, count;
    int jobs, size;    /* seeds of a block */
    int limit;         /* seconds of computing of a program */
    int seconds;       /* after which no block is begun; 0: all are run */
    const char *state; /* file of finished blocks; NULL: none */
    CheckOptions check;
} BlockOptions;

/* Number of bad programs. */
int64_t blocks_run(const BlockOptions *o);
/* One program in a process of its own. */
Verdict check_apart(const char *text, const CheckOptions *o, int limit, Tally *t);

/* ---- smaller programs (reduce.c) ------------------------------------------------------------- */

/* Does this text still fail in the way that is looked for? */
typedef bool Judge(void *user, const char *text);
/* The smallest text that was found, in arena a. tries: of the judge, counted. */
const char *reduce(Arena *a, const char *text, Judge *judge, void *user, int *tries);
int reduce_lines(const char *text); /* those that are not blank */

/* ---- coverage (coverage.c) ------------------------------------------------------------------- */

/* Prints what of the language `count` programs from seed `first` use; returns how many of it never
 * appeared. */
int coverage_print(uint64_t first, int count, bool all);

#endif
