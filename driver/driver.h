/* The command line program: internal header of this folder, in the order things run. Commands
 * return a VmStatus, which is also the exit code: 0 done, 1 the input is wrong, 2 the command line
 * is wrong, 3 the environment failed. Messages go to stderr, results to stdout. */
#ifndef VMOEC_DRIVER_DRIVER_H
#define VMOEC_DRIVER_DRIVER_H

#include "base/clock.h"
#include "base/json.h"
#include "codegen/codegen.h"
#include "frontend/frontend.h"
#include "passes/passes.h"
#include "runtime/train/train.h"

/* ---- command line (options.c, from options.def) --------------------------------------------- */

typedef enum CmdId {
#define CMD(name, ...) CMD_##name,
#include "driver/commands/options.def"
    CMD_COUNT
} CmdId;

/* One id per OPT row: OPT_batch. */
typedef enum OptId {
#define OPT(name, ...) OPT_##name,
#include "driver/commands/options.def"
    OPT_COUNT
} OptId;

/* What options are, by their kind. */
typedef bool OptFlag;
typedef const char *OptStr; /* NULL when not given */
typedef int64_t OptInt;     /* -1 when not given: opt_or */
typedef struct OptMaybe {
    bool given;
    const char *text; /* what stands behind =, or NULL */
} OptMaybe;
typedef struct OptList {
    const char **list;
    int n, cap;
} OptList;
#define OPT_TYPE_FLAG OptFlag
#define OPT_TYPE_STR OptStr
#define OPT_TYPE_INT OptInt
#define OPT_TYPE_MAYBE OptMaybe
#define OPT_TYPE_LIST OptList

/* A member per option, in the order of the table. Options that a command does not take are not
 * given. */
typedef struct Options {
#define OPT(name, kind, ...) OPT_TYPE_##kind name;
#include "driver/commands/options.def"
} Options;

/* A parsed command line. Strings belong to argv, lists to the arena. */
typedef struct Args {
    Arena *arena;
    CmdId cmd;
    const char **operand;
    int noperand;
    double started; /* drv_process_start() */
    bool given[OPT_COUNT];
    Options o;
} Args;

/* argv[0] is the first word after the command's name. VM_USAGE with a message on stderr. */
VmStatus args_parse(Arena *a, CmdId cmd, int argc, char **argv, Args *out);

static inline int64_t opt_or(OptInt given, int64_t otherwise) {
    return given >= 0 ? given : otherwise;
}
/* The option as it is typed: "--log-every", "-o". */
const char *opt_typed(Arena *a, OptId id);
/* VM_USAGE with a message when the option, which the command needs, was not given. */
VmStatus args_require(const Args *a, OptId id);

CmdId cmd_by_name(const char *name); /* CMD_COUNT when there is none */
const char *cmd_suggest(const char *name);
void cmd_help(FILE *f, CmdId cmd); /* CMD_COUNT: the overview */

/* Commands: cmd_<name>.c each. */
#define CMD(name, ...) VmStatus cmd_##name(const Args *a);
#include "driver/commands/options.def"

/* ---- small things (util.c) ------------------------------------------------------------------- */

/* "vmoec: error: ..." on stderr; returns the status it was given. */
VmStatus drv_fail(VmStatus s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Writes a whole file: beside the target first, synced, then renamed. Complete or absent. */
VmStatus drv_write_file(const char *path, const char *data, size_t len);
/* Writes text to --o's file, or to stdout when path is NULL. */
VmStatus drv_write_output(const char *path, const char *data, size_t len);

/* VM_ENV with a message when stdout could not take everything, or stderr: call last. */
VmStatus drv_flush(VmStatus s);
/* Call first: a file that is opened never gets the number of a standard stream that is closed, so
 * that messages cannot end up in it. */
void drv_standard_files(void);

/* VM_OK without errors; VM_ENV when a library could not be read; VM_USAGE when all of them are on
 * the command line (--set); else VM_INPUT. */
VmStatus drv_diags_status(const Diags *d);

double drv_median(double *x, int n); /* sorts x; n >= 1 */
/* vm_seconds() when this process began to run, as far as its CPU time tells: call first in main. */
double drv_process_start(void);

/* Where objects are kept between runs: VMOEC_CACHE_DIR, XDG_CACHE_HOME/vmoec or ~/.cache/vmoec.
 * NULL: nowhere, because VMOEC_CACHE is off or there is no such place. */
const char *drv_cache_dir(Arena *a);

/* Where layers are found and what --set says, in the arena: the front end keeps it. The folder of
 * .vmoe libraries is VMOEC_MODELS, or ../models beside the program's folder; NULL after a message:
 * neither exists.
 */
const FeOptions *drv_fe_options(Arena *a, const OptList *set);

/* "195.3 KiB", "1.2 MiB" */
const char *drv_bytes_text(Arena *a, int64_t bytes);
/* "500M" -> bytes. K M G T and KiB .. TiB count 1024, KB .. TB 1000; a number alone is bytes.
 * VM_USAGE with a message naming the option when it is no size from 1 byte to 2^60. */
VmStatus drv_parse_size(const char *text, const char *option, int64_t *bytes);

/* ---- JSON (json.c) ------------------------------------------------------------------------------
 */

/* Call first: from then on JSON without memory ends the process like an arena, and nobody has to
 * look whether a part of a result is missing. */
void drv_json_memory(void);

/* ---- counting (count.c) -----------------------------------------------------------------------
 */

/* What a part of a model costs. */
typedef struct Count {
    const char *name; /* path prefix */
    int64_t params;
    int64_t active; /* parameters one token meets: k of E experts */
    double macs;    /* forward, one image */
    double
        attention; /* those of them that multiply queries with keys and probabilities with values */
} Count;

typedef struct Counts {
    Count total;
    int64_t image; /* parameters one image meets at most: all experts that its tokens may choose */
    Count *module; /* in order of first appearance */
    int nmodule;
    int64_t batch; /* the graph's */
} Counts;

/* Counts a MODEL-stage graph elaborated for `batch` images. Multiply-accumulates are those that
 * ir_work finds: of matrix products (with experts, on the rows really routed) and attention. */
Counts count_model(Arena *a, const IrGraph *g, int64_t batch);

/* Whether there is anything to differentiate. */
bool model_has_loss(const IrGraph *g);

/* Number of classes an i32 input is compared against (columns of the logits), 0 when it is not a
 * label. */
int64_t count_classes(const IrGraph *g, const char *input);

/* ---- products of a step (matmuls.c) -------------------------------------------------------------
 */

/* A distinct matrix product as `bench --kernel` takes it, and how often a step needs it. */
typedef struct Matmul {
    const char *text;
    int calls;
} Matmul;

/* Those of a graph of CORE ops, in order of first use; returns how many. */
int count_matmuls(Arena *a, const IrGraph *g, Matmul **out);

/* ---- the pipeline (compile.c) ------------------------------------------------------------------
 */

/* What a program computes: which passes run and whether dropout is on. */
typedef struct ProgramKind {
    Pipeline pipe;
    bool training;
    bool dense; /* the model's dense twin (passes/dense.c): other weights, so it needs an engine of
                   its own */
} ProgramKind;
#define KIND_EVAL ((ProgramKind){PIPE_EVAL, false, false})
#define KIND_TRAIN ((ProgramKind){PIPE_TRAIN, true, false})
#define KIND_GRAD ((ProgramKind){PIPE_GRAD, true, false})

typedef struct Program {
    ProgramKind kind;
    int64_t batch;
    bool routes;
    int variant;
    bool compiled;
    int index; /* in the session's engine; -1: not added */
    VmProgram *code;
} Program;

enum { SESSION_MAX_PROGRAMS = 16 };

/* Who decides which experts a token meets: the gates, or a benchmark. */
typedef struct Routing {
    enum { ROUTING_LEARNED, ROUTING_FORCED } kind;
    double share; /* forced: of the tokens whose first choice is expert 0; 0: equal loads */
    const char *text;
} Routing;

/* --mem-budget and what it led to (budget.c). */
typedef struct Budget {
    int64_t limit;                    /* 0: there is none */
    bool of_group;                    /* it is the cgroup's, not the option's */
    int steps, all;                   /* of the pass recompute: made, and how many there are */
    double flops_before, flops_after; /* of products and attention in one step of training */
    int64_t before, after;            /* predicted peaks */
    bool pack_in_step;                /* no packed copy of a weight outlives a step */
    int tries;                        /* plans that the choice took */
} Budget;

/* One file being compiled: everything from its text to running programs. */
typedef struct Session {
    Arena *arena, *scratch, *crash;
    const char *path;
    Diags *diags;
    FeExperiment *exp;
    const char *model;    /* the chosen one */
    const FeTrain *train; /* its train block, or NULL */
    int64_t batch;        /* --batch, or the train block's, or 1 */
    PassCtx pass;
    Routing routing; /* forced: every program has the inputs of routing_force */
    const CgTuning
        *tuning; /* blocks of products, for programs planned from now on; NULL: the model's */
    const char *tuning_path; /* where it comes from; NULL: no file */
    int variant;             /* programs planned from now on are told apart by it (tune) */
    bool bf16;               /* matrix products in bf16 */
    const CgTarget *target;
    CgModule *module;
    VmEngine *engine;
    Program program[SESSION_MAX_PROGRAMS];
    int nprogram;
    bool warned;       /* warnings were shown once already */
    bool cache_warned; /* so was that there is no cache */
    /* what vm_bug's hook writes: the graph before the pass that runs and the passes still to come
     */
    IrGraph *crash_graph;
    const PassId *crash_list;
    int crash_n;
    bool no_cache;  /* --no-cache */
    bool telemetry; /* training programs measure their routes */
    int workers;    /* threads that prepare batches ahead */
    double started; /* vm_seconds() when the process began; 0: not known */
    double seconds_frontend, seconds_passes, seconds_codegen;
    double seconds_init,
        seconds_to_step; /* initial weights; from `started` to the first step; 0: not yet */
    Budget budget;
} Session;

/* Loads the file and chooses a model: the one named, else the train block's, else the first.
 * need_train: a model without a train block is refused. precision: the option's text; NULL: the
 * train block's. bf16 on a machine without it becomes f32, with a message. Prints diagnostics. On
 * failure the session is closed already. */
VmStatus session_open(Session *s, const char *path, const OptList *set, const char *model,
                      const char *precision, bool need_train);
/* The same, of a phase by its name; NULL: as above. */
VmStatus session_open_phase(Session *s, const char *path, const OptList *set, const char *model,
                            const char *phase, const char *precision, bool need_train);
/* The same for another target than the host: what it plans can be printed and not run. */
VmStatus session_open_for(Session *s, const CgTarget *target, const char *path, const OptList *set,
                          const char *model, const char *precision, bool need_train);
/* A session without a file, for IR text. */
void session_open_bare(Session *s);
void session_close(Session *s);

/* MODEL-stage graph for `batch` images; NULL after printing diagnostics. */
/* Reports when passes cannot take the model's graph g. */
void session_try_lowering(Session *s, const FeExperiment *e, const char *model, const IrGraph *g,
                          Diags *d);
IrGraph *session_elaborate(Session *s, int64_t batch);

/* Runs passes on g in place, each with its crash file at hand. A graph that does not verify
 * afterwards is our bug; a message comes back when a pass refuses the graph it was given
 * (session_try_passes), which is our bug too for graphs of our own making (the others). */
const char *session_try_passes(Session *s, IrGraph *g, const PassId *list, int n, bool training);
void session_run_passes(Session *s, IrGraph *g, const PassId *list, int n, bool training);
/* The same for training with a clone of `base`, whose crash file is base with the whole list:
 * cheaper where it is done again and again. */
void session_run_again(Session *s, IrGraph *base, IrGraph *g, const PassId *list, int n);
void session_lower(Session *s, IrGraph *g, ProgramKind kind);

/* Host and module for code generation; the engine that runs it. */
VmStatus session_module(Session *s);
VmStatus session_engine(Session *s, int threads);

/* After a compilation: says on stderr, once, that kernels are not kept because others could put
 * theirs into the folder. */
void session_warn_cache(Session *s);

/* Plans memory and kernels of a program without making code; NULL with err filled in. */
const Program *session_plan(Session *s, ProgramKind kind, int64_t batch, bool routes, VmError *err);
/* Plans a program that will be wanted, so that it is compiled together with the first one that is
 * asked for: all kernels at once keep all processes busy. False with err filled in. */
bool session_ahead(Session *s, ProgramKind kind, int64_t batch, VmError *err);
/* Compiles it too. */
const Program *session_compile(Session *s, ProgramKind kind, int64_t batch, bool routes,
                               VmError *err);
/* Adds it to the session's engine too; index is then its number there. */
const Program *session_program(Session *s, ProgramKind kind, int64_t batch, bool routes,
                               VmError *err);

/* A VmProgramSource over session_program; user is the Session. */
int session_source(void *user, bool training, int64_t batch, VmError *err);

/* Call where the first step begins. */
void session_first_step(Session *s);

/* ---- tuned blocks of products (tuning.c)
 * ---------------------------------------------------------- */

typedef struct TuningFile {
    const char *cpu, *isa; /* NULL: any */
    CgTuning blocks;
} TuningFile;

/* Parses a tuning file; mistakes go to d. */
TuningFile *tuning_read(Arena *a, const Source *src, Diags *d);
/* "matmul m=3152 n=768 k=192", as in these files. */
const char *tuning_product_text(Arena *a, const CgProduct *p);
/* Where a model's file is looked for: F.tune beside F.vmoe. */
const char *tuning_beside(Arena *a, const char *path);

/* Call after session_open: takes the blocks of the file --tune names, or of F.tune beside F.vmoe
 * when there is one. A file for another CPU is ignored with a warning. On failure a message is out
 * and the session closed. */
VmStatus session_tuning(Session *s, const char *option);

/* ---- memory (memory_use.c, memory_limit.c, budget.c)
 * ------------------------------------------------------------ */

/* What a process holds at its peak, in bytes of resident memory. */
typedef struct MemoryUse {
    int64_t weights, state, work; /* the engine's spaces */
    int64_t other;                /* further spaces of the engine */
    int64_t scratch;              /* of all threads */
    int64_t data;                 /* the data set, and the order its images are taken in */
    int64_t process; /* program, libraries, compiler's data, generated code, threads: measured */
    int64_t total;
} MemoryUse;

/* Resident bytes of this process now, and its peak so far; 0 when the system does not say. */
void memory_resident(int64_t *now, int64_t *peak);

/* Before programs are lowered: what the process will hold beside tensors and data, given that
 * `data` bytes of data are loaded now. */
int64_t memory_process_ahead(int64_t data);
/* What comes on top of it for a program of so many tasks. */
int64_t memory_growth(int tasks);
/* Scratch of so many threads before it is known, which is after lowering. */
int64_t memory_scratch_ahead(int threads);

/* Finds how much of the training program's activations to compute again, and whether to pack
 * weights in every step, so that `use` fits s->budget.limit, and sets s->pass.recompute. `use` is
 * filled in but for work and total; they are set. Without a limit only that. VM_ENV after a message
 * when nothing fits: with the least possible peak and what it is made of. */
VmStatus session_fit(Session *s, bool training, MemoryUse *use);
/* The smaller of --mem-budget (NULL: not given) and the cgroup's limit, if there is any, becomes
 * the budget, and training or evaluation is made to fit (session_fit) before data is loaded. VM_ENV
 * after a message with both numbers when it does not. */
VmStatus session_memory(Session *s, bool training, const char *budget, const char *data_dir,
                        int threads);
/* One line about what was chosen, on f; nothing when there is nothing to say. */
void budget_print(FILE *f, const Session *s);

/* The --time report, on stderr. */
void session_print_times(const Session *s);

/* Words for what the pass telemetry shows of routes, by PassRoutes: crash files and opt have them.
 */
extern const char *const drv_route_views[3];
/* Writes vmoec-crash.vir on our own bugs. */
const char *session_crash_hook(void *session);

/* ---- what routing costs (overhead.c)
 * ------------------------------------------------------------- */

/* "learned" (also NULL), "uniform", "skew=0.9"; VM_USAGE after a message. */
VmStatus routing_parse(const char *text, Routing *out);
/* Gives every top_k of a MODEL-stage graph an input that decides, and fills those inputs of a
 * program; g has them. */
void routing_force(IrGraph *g);
void routing_fill(const Session *s, const IrGraph *g, VmEngine *e, int program);
/* After a step: rows of the fullest expert over the mean, of all routes. g: the program's
 * MODEL-stage graph.
 */
double routing_load(const IrGraph *g, VmEngine *e, int program);

/* A step without optimizer updates, of a model and of its dense twin. */
typedef struct Overhead {
    bool known; /* false: nothing is routed, or there is no twin */
    double seconds, dense_seconds, overhead;
} Overhead;

/* Times `steps` steps of each in turn. p: a program in the session's engine, whose weights have
 * values; g: its MODEL-stage graph. */
VmStatus bench_overhead(Session *s, const IrGraph *g, const Program *p, int steps, Overhead *out);

/* ---- data (data.c) -----------------------------------------------------------------------------
 */

/* Opens the train block's data with that many threads (0: all) and checks it against the model's
 * image and label. train NULL: only the test set is wanted. Warnings go to stderr. */
VmStatus session_data(Session *s, const char *dir, int threads, VmDataset **train,
                      VmDataset **test);
/* What the test set, and for training the training set and the order of an epoch, take in memory,
 * from the files' headers; 0 without a train block. A status and a message in err when they cannot
 * be read. */
VmStatus session_data_bytes(const Session *s, bool training, const char *dir, int64_t *bytes,
                            VmError *err);

/* Images of both splits of a train block's data, from the files' headers; 0 and 0 of an archive
 * that nobody named (dir NULL), which would have to be read through. */
VmStatus data_counts(const FeTrain *t, const char *dir, int64_t images[VM_SPLITS], VmError *err);

/* Fills inputs with random numbers as training would see them: images about normal, labels in
 * range. */
void fill_input(const IrGraph *model_graph, const IrNode *input, uint64_t seed, void *data);
/* All inputs that the program reads, with seed 1. */
void fill_inputs(const IrGraph *model_graph, VmEngine *e, int program);

#endif
