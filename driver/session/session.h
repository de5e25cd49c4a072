/* What the library is made of, for the commands too, which need more than its public header says:
 * internal header of this folder, in the order things run. Nothing in here prints or ends the
 * process: what is to be said becomes a VmoecMessage, kept in order and told at once to whoever
 * asked (VmoecOptions.on_message). Functions that fail have said why, except those with a VmError.
 */
#ifndef VMOEC_DRIVER_SESSION_SESSION_H
#define VMOEC_DRIVER_SESSION_SESSION_H

#include "base/clock.h"
#include "base/usage.h"
#include "codegen/codegen.h"
#include "driver/session/rename.h"
#include "driver/session/vmoec.h"
#include "frontend/frontend.h"
#include "passes/passes.h"
#include "runtime/train/about.h"
#include "runtime/train/classify.h"
#include "runtime/train/describe.h"
#include "runtime/train/train.h"

/* ---- messages (message.c) -------------------------------------------------------------------- */

typedef struct SessionMessage {
    VmoecMessage m;
    struct SessionMessage *next;
} SessionMessage;

typedef struct SessionMessages {
    Arena *arena;
    SessionMessage *first, *last;
    int n;
    const char *error; /* text of the last error; NULL: none yet */
    void (*told)(void *user, const VmoecMessage *m);
    void *user;
    bool colour;
    int columns;
} SessionMessages;

/* ---- tuned blocks of products (tuning.c) ----------------------------------------------------- */

/* What is in use in a session. */
typedef struct Tuning {
    const CgTuning *blocks; /* for programs planned from now on; NULL: the model's own choice */
    const char *path;       /* of the file they come from; NULL: none */
} Tuning;

typedef struct TuningFile {
    const char *cpu, *isa; /* NULL: any */
    CgTuning blocks;
} TuningFile;

/* Parses a tuning file; mistakes go to d. */
TuningFile *session_tuning_read(Arena *a, const Source *src, Diags *d);
/* "matmul m=3152 n=768 k=192", as in these files. */
const char *session_tuning_text(Arena *a, const CgProduct *p);
/* Where a model's file is looked for: F.tune beside F.vmoe. */
const char *session_tuning_beside(Arena *a, const char *path);
/* Takes the blocks of a file. One for another machine counts for nothing, which is said. */
struct Session;
VmStatus session_tune(struct Session *s, const char *path);

/* ---- a file of weights and rules for it (import.c) ------------------------------------------- */

typedef struct Imported {
    const char *rules; /* path of the file that was used; NULL: none */
    const Rename *rename;
    VmTensorFile *file; /* NULL: nothing is open */
    VmAbout about;
} Imported;

/* ---- the graph of a crash (crash.c) ---------------------------------------------------------- */

/* What a mistake of ours writes down: the graph before the pass that runs, and the passes still to
 * come. */
typedef struct Crash {
    Arena *arena;
    const char *file;     /* NULL: nowhere */
    const IrGraph *graph; /* NULL: nothing is being compiled */
    const PassId *list;
    int n;
} Crash;

/* ---- a session (session.c) ------------------------------------------------------------------- */

/* What a program computes: which passes run and whether dropout is on. */
typedef struct ProgramKind {
    Pipeline pipe;
    bool training;
    bool dense; /* the model's dense twin (passes/dense.c): other weights, so it needs an engine of
                   its own */
    bool input_grads;       /* PIPE_GRAD: gradients of inputs, too */
    enum PassScores scores; /* PIPE_EVAL: whether scores of classes are an output */
} ProgramKind;
#define KIND_EVAL ((ProgramKind){.pipe = PIPE_EVAL})
#define KIND_TRAIN ((ProgramKind){.pipe = PIPE_TRAIN, .training = true})
#define KIND_GRAD ((ProgramKind){.pipe = PIPE_GRAD, .training = true})

typedef struct Program {
    ProgramKind kind;
    int64_t batch;
    bool routes;
    const CgTuning *blocks; /* it was planned with */
    bool compiled;
    int index;                /* in the session's engine; -1: not added */
    const IrGraph *graph;     /* what it computes, after all passes */
    const PassRanges *ranges; /* PIPE_CHECK_..: whose ranges are outputs */
    VmProgram *code;
} Program;

/* A model's graph for a batch size. */
typedef struct SessionGraph {
    int64_t batch;
    IrGraph *g;
    struct SessionGraph *next;
} SessionGraph;

/* Where time went. */
typedef struct SessionTimes {
    double started; /* vm_seconds() when the process began; 0: not known */
    double frontend, passes, codegen;
    double init, to_step; /* initial weights; from `started` to the first step; 0: not yet */
} SessionTimes;

/* One file being compiled: everything from its text to running programs. */
typedef struct Session {
    Arena *arena, *scratch;
    Crash crash;
    VmBugReport report_before; /* the thread's, until this session was opened */
    SessionMessages messages;
    const char *path;
    FeOptions fe;
    FeExperiment *exp;
    const char *model;        /* the chosen one */
    const FeTrain *train;     /* its train block, or NULL */
    int64_t batch;            /* the option's, or the train block's, or 1 */
    SessionGraph *graphs;     /* elaborated so far */
    void (*edit)(IrGraph *g); /* what a benchmark changes in every graph; NULL: nothing */
    PassCtx pass;
    Tuning tuning;
    const char *const *missing; /* [nmissing]: inputs that are not given; programs do without */
    int nmissing;
    bool bf16;                     /* matrix products in bf16 */
    bool pack_in_step;             /* no packed copy of a weight outlives a step */
    bool telemetry;                /* training programs measure their routes */
    int workers;                   /* threads that prepare batches ahead */
    bool decode_ahead;             /* images do not fit in memory: batches decode them */
    enum PassScores scores;        /* of programs that evaluate */
    const char *const *class_name; /* [nclass_name], as in VmDataQuery: those of weights in use */
    int64_t nclass_name;
    const CgTarget *target;
    const char *cache_dir, *backend; /* as in CgOptions */
    CgModule *module;
    VmEngine *engine;
    VmDataset *data[VM_SPLITS]; /* NULL: not there, or not opened */
    VmDataset *rest, *held;     /* parts of the training set, if a share of it is held out */
    /* What is trained on (`rest`, or all of it), and what judges epochs (`held`, or the data's own
     * validation set; NULL: nothing does). Of the above. */
    VmDataset *train_set, *validation;
    Imported from;     /* weights that a run is about to start from */
    Program **program; /* [nprogram], room for more */
    int nprogram, program_room;
    bool warned;       /* warnings of the model were said once already */
    bool cache_warned; /* so was that there is no cache */
    Diags *finding;    /* why a value was not finite, as far as it was found; NULL: none was */
    bool lost;         /* memory ran out in the middle of something: to be closed */
    SessionTimes times;
} Session;

/* A session without a file, for IR text and single kernels: of the options only those about
 * messages, code and the crash file count. From here to session_close this thread's mistakes of
 * ours are reported by this session. */
void session_init(Session *s, const VmoecOptions *o);
/* Loads the file, chooses the model and its train block and takes the other options over: bf16 on a
 * machine without it becomes f32, a tuning file for another machine counts for nothing. need_train:
 * a model without a train block is refused. On failure the session is to be closed, too. */
VmStatus session_open(Session *s, const VmoecOptions *o, bool need_train);
/* The same for another target than the host: what it plans can be printed and not run. */
VmStatus session_open_for(Session *s, const VmoecOptions *o, const CgTarget *target,
                          bool need_train);
/* For `check`: loads the file and chooses nothing; mistakes go to d. */
FeExperiment *session_load(Session *s, const VmoecOptions *o, Diags *d, VmError *err);
/* All mistakes of a loaded file that its models (batch: of those that are not trained, 0: 1 image),
 * their training, what passes make of them, and later train blocks show; in d. */
void session_check(Session *s, FeExperiment *e, int64_t batch, Diags *d);
void session_close(Session *s);

/* VM_OK without errors; VM_ENV when a library could not be read; VM_USAGE when all of them are in
 * options (--set); else VM_INPUT. */
VmStatus session_diags_status(const Diags *d);

/* An error, which makes the call fail: returns the status it was given. */
VmStatus session_fail(Session *s, VmStatus st, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void session_warn(Session *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void session_note(Session *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void session_inform(Session *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* All of d, in order of file and place. */
void session_say_diags(Session *s, const Diags *d);

/* Words for what the pass telemetry shows of routes, by PassRoutes: crash files and opt have them.
 */
extern const char *const session_route_views[3];
/* The same by PassScores. */
extern const char *const session_score_views[3];
/* A VmBugReport.write over a session: writes its crash file. */
const char *session_crash(void *session);

/* ---- graphs, passes, programs (compile.c) ---------------------------------------------------- */

/* Reports when passes cannot take the model's graph g. */
void session_try_lowering(Session *s, const FeExperiment *e, const char *model, const IrGraph *g,
                          Diags *d);
/* MODEL-stage graph for `batch` images, the same one every time it is asked for; NULL after saying
 * why not. */
const IrGraph *session_graph(Session *s, int64_t batch);
/* Leaves the results of g that depend on none of these inputs; returns how many there are
 * (given.c). */
int session_keep_given(IrGraph *g, const char *const *missing, int nmissing);
/* A clone of it, for passes. */
IrGraph *session_graph_copy(Session *s, int64_t batch);

/* Runs passes on g in place, each with its crash file at hand. A graph that does not verify
 * afterwards is our bug; a message comes back when a pass refuses the graph it was given
 * (session_try_passes), which is our bug too for graphs of our own making (the others). */
const char *session_try_passes(Session *s, IrGraph *g, const PassId *list, int n, bool training);
void session_run_passes(Session *s, IrGraph *g, const PassId *list, int n, bool training);
/* The same for training with a clone of `base`, whose crash file is base with the whole list:
 * cheaper where it is done again and again. */
void session_run_again(Session *s, IrGraph *base, IrGraph *g, const PassId *list, int n);
/* Can training take this graph, which comes from the language? False after adding to d, or saying,
 * why not. */
bool session_try_training(Session *s, const FeExperiment *e, const char *model, const IrGraph *g,
                          Diags *d);
bool session_trains(Session *s, const IrGraph *g);
void session_lower(Session *s, IrGraph *g, ProgramKind kind);

/* The machine code is made for; the module; the engine that runs it. */
VmStatus session_host(Session *s);
VmStatus session_module(Session *s);
VmStatus session_engine(Session *s, int threads);

/* After a compilation: says, once, that kernels are not kept because others could put theirs into
 * the folder. */
void session_warn_cache(Session *s);

/* Plans memory and kernels of a program without making code; NULL with err filled in. */
const Program *session_plan(Session *s, ProgramKind kind, int64_t batch, bool routes, VmError *err);
/* Plans a program that will be wanted, so that it is compiled together with the first one that is
 * asked for: all kernels at once keep all processes busy. NULL with err filled in. */
const Program *session_ahead(Session *s, ProgramKind kind, int64_t batch, VmError *err);
/* Compiles it too. */
const Program *session_compile(Session *s, ProgramKind kind, int64_t batch, bool routes,
                               VmError *err);
/* Adds it to the session's engine too; index is then its number there. */
const Program *session_program(Session *s, ProgramKind kind, int64_t batch, bool routes,
                               VmError *err);

/* A VmProgramSource over session_program; user is the Session. Memory that is not there is an error
 * in a thread that can go on from it, so that whoever asked can close what it holds. */
/* The kind of programs that evaluate in this session. */
ProgramKind session_eval_kind(const Session *s);
int session_source(void *user, bool training, int64_t batch, VmError *err);

/* Call where the first step begins. */
void session_first_step(Session *s);

/* ---- counting (count.c) ---------------------------------------------------------------------- */

/* What a part of a model costs. */
typedef struct Count {
    const char *name; /* path prefix */
    int64_t params;
    int64_t active; /* parameters one token meets: k of E experts */
    double macs;    /* forward, one image */
    /* those of them that multiply queries with keys and probabilities with values */
    double attention;
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
Counts session_count(Arena *a, const IrGraph *g, int64_t batch);

/* Whether there is anything to differentiate. */
bool session_has_loss(const IrGraph *g);
/* What the names of the model's weights begin with, if another model of the file shares that; NULL:
 * they are its own. */
const char *session_scope(const Session *s);

/* The classes of data beside those that the model of g knows: fe_check_classes. */
bool session_check_classes(Session *s, const FeExperiment *e, const FeTrain *t, const IrGraph *g,
                           const VmDataset *train, Diags *d);

/* How many classes the model knows; 0: it does not say. */
int64_t session_known_classes(const IrGraph *g);
/* Number of classes an i32 input is compared against (columns of the logits), 0 when it is not a
 * label. */
int64_t session_classes(const IrGraph *g, const char *input);

/* ---- memory (memory_use.c, memory_limit.c, budget.c) ----------------------------------------- */

/* What a command opens of the data. */
typedef struct DataWant {
    bool split[VM_SPLITS];
    bool training; /* epochs of the training set are shuffled and fed */
    bool files;    /* as in VmDataQuery */
} DataWant;

/* What a process holds at its peak, in bytes of resident memory. */
typedef struct MemoryUse {
    int64_t weights, state, work; /* the engine's spaces */
    int64_t other;                /* further spaces of the engine */
    int64_t scratch;              /* of all threads */
    int64_t data;                 /* the data set, and the order its images are taken in */
    int64_t data_ahead;           /* the same if images are not held; 0: they are in any case */
    int64_t process; /* program, libraries, compiler's data, generated code, threads: measured */
    int64_t total;
} MemoryUse;

/* A limit for memory and what it led to. */
typedef struct Budget {
    int64_t limit;                    /* 0: there is none */
    bool of_group;                    /* it is the cgroup's, not the option's */
    int steps, all;                   /* of the pass recompute: made, and how many there are */
    double flops_before, flops_after; /* of products and attention in one step of training */
    int64_t before, after;            /* predicted peaks */
    bool pack_in_step;                /* no packed copy of a weight outlives a step */
    int tries;                        /* plans that the choice took */
} Budget;

/* Before programs are lowered: what the process will hold beside tensors and data, given that
 * `data` bytes of data are loaded now. */
int64_t session_process_ahead(int64_t data);
/* What comes on top of it for a program of so many tasks. */
int64_t session_memory_growth(int tasks);
/* Scratch of so many threads before it is known, which is after lowering. */
int64_t session_scratch_ahead(int threads);
/* "195.3 KiB", "1.2 MiB" */
const char *session_bytes_text(Arena *a, int64_t bytes);

/* Finds how much of the training program's activations to compute again, and whether to pack
 * weights in every step, so that `use` fits b->limit, and has the session do so. `use` is filled in
 * but for work and total; they are set. Without a limit only that. VM_ENV when nothing fits, after
 * saying the least possible peak and what it is made of. */
VmStatus session_fit(Session *s, Budget *b, bool training, MemoryUse *use);
/* The smaller of b->limit (0: no option) and the cgroup's limit, if there is any, becomes the
 * limit, and training or evaluation is made to fit (session_fit) before data is loaded. VM_ENV
 * after a message with both numbers when it does not. */
VmStatus session_memory(Session *s, Budget *b, const DataWant *want, const char *data_dir,
                        int threads);
/* Has images decoded for every batch instead of held, if that takes less; false: it does not, or
 * they have to be. */
bool session_decode_ahead(Session *s, MemoryUse *use);
/* One line about what was chosen; NULL when there is nothing to say. */
const char *session_budget_text(Arena *a, const Budget *b);

/* ---- data (data.c) --------------------------------------------------------------------------- */

/* What training opens: all there is. */
extern const DataWant session_data_training;
/* Opens splits of the train block's data with that many threads (0: all) and checks them against
 * the model's image and label: s->data, which the session closes. */
VmStatus session_data(Session *s, const char *dir, int threads, const DataWant *want);
/* Sets use->data, what the splits, and for training the order of an epoch and batches ahead take in
 * memory, from the files' headers; 0 without a train block. use->data_ahead: the same when images
 * that would be held are decoded for every batch instead; 0: they would not, or have to be held. A
 * status and a message in err when they cannot be read. */
VmStatus session_data_use(const Session *s, const DataWant *want, const char *dir, int threads,
                          MemoryUse *use, VmError *err);

/* What the files' names and headers say of a train block's data. */
typedef struct DataSeen {
    bool there; /* its training set was found */
    VmDataSize size[VM_SPLITS];
    VmDataset *classes; /* as vm_dataset_measure has it; to be closed */
} DataSeen;

/* A split that is not there has no images, nor has a validation set where a share of the training
 * set is, nor an archive that nobody named (dir NULL), which would have to be read through. A
 * status and a message in err when it is not there, or no run would take it. */
VmStatus session_data_see(const FeTrain *t, const char *dir, DataSeen *out, VmError *err);
/* A mistake of the file that lies in what is seen of its data: images of other sides than those
 * that the model of g takes. */
void session_check_sides(Session *s, const FeExperiment *e, const FeTrain *t, const IrGraph *g,
                         const DataSeen *seen, Diags *d);
/* A text of lines becomes a message at a place, its first line, and notes. */
void session_put_lines(Diags *d, Span at, DiagId id, const char *text);

/* A train block's data. A relative folder in it is looked up beside the file it stands in; `folder`
 * has room for that file's. */
VmDataQuery session_data_query(const FeTrain *t, const char *dir, char folder[4096]);
/* Closes what session_data opened, and the parts of it. */
void session_data_close(Session *s);
/* "models/tiny.vmoe:31:15: " of the train block's data, or the file's name. */
const char *session_data_place(const Session *s);

/* Fills inputs with random numbers as training would see them: images about normal, labels in
 * range. */
void session_fill_input(const IrGraph *model_graph, const IrNode *input, uint64_t seed, void *data);
/* All inputs that the program reads, with seed 1. */
void session_fill_inputs(const IrGraph *model_graph, VmEngine *e, int program);

/* ---- training and evaluation (train.c) ------------------------------------------------------- */

/* What a run is beside the file: overrides of its train block, and what decides no bits. */
typedef struct SessionTrain {
    const char *data, *weights, *rename; /* as in VmoecTrainOptions */
    const char *const *skip;             /* patterns of tensors that are left out */
    int nskip;
    bool skip_mismatch, verbose; /* verbose: all that became of the file's tensors is said */
    const char *const *command;  /* [ncommand]: the words that asked for the run; NULL: none did */
    int ncommand;
    const char *commit; /* of the source's repository; NULL: none is known */
    VmRunPlace place;
    VmResume resume;
    unsigned sinks;                         /* as in VmRun */
    int64_t seed, epochs, steps, log_every; /* as in VmoecTrainOptions */
    int threads, workers;
    int64_t memory;
    FILE *progress;                     /* as in VmRun */
    FILE *warnings;                     /* NULL: they become messages */
    void (*before_step)(void *session); /* NULL: not */
    int64_t save_steps;                 /* these three as in VmRun */
    double save_seconds;
    const volatile sig_atomic_t *stop;
} SessionTrain;

/* The file's text, and those of the user's own files that it uses, which layer libraries are not
 * (describe.c). */
const char *session_sources(Session *s, VmUsedFile **used, int *n);
/* The files by which a run says what it is (describe.c): its source, and how, where and with what
 * it was made. The data are open. They live as long as the session. */
VmStatus session_describe(Session *s, const SessionTrain *how, const VmRecipe *r,
                          const VmRunFile **file, int *n);

/* Fits the memory, opens the data, compiles, trains. */
VmStatus session_train(Session *s, const SessionTrain *how, VmTrainResult *out);

/* Sets s->train_set to the images of the open training set that r trains on, and s->validation to
 * those that judge epochs: held out of it, or the data's own; NULL: neither. */
VmStatus session_hold_out(Session *s, const VmRecipe *r);

/* ---- evaluation (evaluate.c) ----------------------------------------------------------------- */

typedef struct SessionEval {
    const char *weights, *data; /* data NULL: as in VmoecTrainOptions */
    int threads;
    VmEvalSplit split;
    bool anyway; /* weights that were made in another way are used, which is said */
    bool files;  /* whoever watches wants the names of images: vm_dataset_file */
    /* Told of every batch of a model that scores classes, in order; NULL: nobody looks. */
    void (*watch)(void *watcher, const VmScores *b);
    void *watcher;
} SessionEval;

/* Loss and metrics of a file's weights on a whole split. */
VmStatus session_eval(Session *s, const SessionEval *how, VmEvalResult *out);

/* ---- classes of single images (predict.c) ---------------------------------------------------- */

typedef struct SessionPredict {
    const char *weights;
    int threads;
    bool anyway;   /* as in SessionEval */
    int64_t batch; /* images that are computed at once; 0: s->batch */
    /* Code for `batch` images is made, and the weights are loaded, when it is opened. Else both
     * wait for the first images, which may be fewer. */
    bool ready;
} SessionPredict;

/* Weights in the session's engine and what images become for them, until something else is computed
 * there. To be closed before the session, also after a failure and after memory was not there. */
typedef struct SessionPredictor SessionPredictor;
VmStatus session_predictor_open(Session *s, const SessionPredict *how, SessionPredictor **out);
/* Classifies images, prepared as evaluation prepares them. VM_OK also when some could not be read.
 */
VmStatus session_predictor_run(SessionPredictor *p, const VmImageStream *from);
void session_predictor_close(SessionPredictor *p); /* NULL is fine */
int64_t session_predictor_classes(const SessionPredictor *p);
const char *session_predictor_class(const SessionPredictor *p, int64_t i); /* NULL: no name */

/* ---- what is not finite (finite.c) ----------------------------------------------------------- */

/* A VmRun.failed over a session, for evaluations too: runs what failed again with a program that
 * shows the range of every result. Which op was the first to leave finite numbers, its place and
 * what it was given becomes s->finding and the facts of the log; found NULL: there is no log. */
void session_failed(void *session, const VmFailure *f, VmFacts *found);
/* As session_fail, with s->finding in place of the text where there is one. */
VmStatus session_fail_finding(Session *s, const VmError *err);

/* ---- rules for names (shipped.c) ------------------------------------------------------------- */

/* Names of a folder's files that end so, without the ending, in order; 0: there are none, or no
 * such folder. */
int session_shipped(Arena *a, const char *folder, const char *ending, const char ***out);

typedef struct SessionRulesFile {
    const char *path;
    bool shipped; /* it comes with vmoec */
} SessionRulesFile;

/* The files that a word may mean: a file's path, if it has a slash or ends in ".rules"; else the
 * file of models/rules/ of that name, or all whose names it begins. Returns how many; 0 after
 * saying that there is none. */
int session_rules_files(Session *s, const char *word, SessionRulesFile **out);
/* Adds a file's rules to r; mistakes in it go to d. */
VmStatus session_rules_load(Session *s, const SessionRulesFile *f, RenameRules *r, Diags *d);
/* The file's name without folder and ending. */
const char *session_rules_name(Arena *a, const char *path);

/* ---- files to begin with (template.c) -------------------------------------------------------- */

/* A file of models/templates/: a .vmoe file as it stands, whose config says what data decides. */
typedef struct SessionTemplate {
    const char *name, *path;
    const char *about; /* the first line of its comment */
} SessionTemplate;

/* models: the folder of models. */
int session_templates(Arena *a, const char *models, SessionTemplate **out);

/* What a template was filled in with. */
typedef struct SessionFilled {
    int64_t images[VM_SPLITS], classes; /* of the data; 0: none was looked at */
} SessionFilled;

/* The text of the file NAME.vmoe, from the template of that name: its comment speaks of NAME, and
 * with `dir` (NULL: no) its config is what the data there wants. VM_USAGE, VM_INPUT or VM_ENV after
 * saying why not. */
VmStatus session_template_fill(Session *s, const VmoecOptions *o, const char *template,
                               const char *name, const char *dir, Text *out, SessionFilled *what);

/* ---- weights of other programs (import.c) ---------------------------------------------------- */

typedef struct SessionImport {
    const char *path;   /* a safetensors file */
    VmTensorFile *file; /* the same, open, which becomes the import's; NULL: it is opened */
    /* The rules: a word of session_rules_files, and of several files the one that loads most
     * weights counts. NULL: none. */
    const char *from;
    bool same;               /* what the rules leave and has a weight's name becomes that weight */
    const char *const *skip; /* patterns of tensors that are left out */
    int nskip;
    bool skip_mismatch; /* so are tensors that do not fit their weight */
} SessionImport;

/* A file of tensors in memory; what is wrong with it is said. */
VmStatus session_tensors_open(Session *s, const char *path, VmTensorFile **out);
/* A file of weights of which only the header is read: vm_weights_take reads the values into their
 * place. */
VmStatus session_weights_open(Session *s, const char *path, VmTensorFile **out);
/* A model's name, weights and channels, for rules about them. */
RenameTask session_rename_task(Session *s, const IrGraph *g);
/* A file's __metadata__ with another "format", and room for more pairs; *npairs are there. */
const char **session_meta(Arena *a, const VmTensorFile *f, const char *format, int more,
                          int *npairs);

/* Reads the file and decides what becomes of every tensor; VM_INPUT after saying what does not fit,
 * or when no weight is loaded at all. out is to be closed in any case. */
VmStatus session_import(Session *s, const SessionImport *how, Imported *out);
/* Writes the weights that are loaded, and where they come from. */
VmStatus session_import_write(Session *s, const Imported *x, const char *path);
void session_import_close(Imported *x);

/* ---- and back (export.c) --------------------------------------------------------------------- */

typedef struct SessionExport {
    const char *path; /* the model's weights */
    const char *to;   /* as `from`; of several files the one that names most weights counts */
    const char *const *skip; /* patterns of weights, below the model's name, that are left out */
    int nskip;
} SessionExport;

typedef struct Exported {
    const char *rules;
    const RenameBack *back;
    VmTensorFile *file;
} Exported;

/* As session_import: VM_INPUT when a weight cannot have a name there. */
VmStatus session_export(Session *s, const SessionExport *how, Exported *out);
VmStatus session_export_write(Session *s, const Exported *x, const char *path);
void session_export_close(Exported *x);

/* ---- two files of weights (differ.c) --------------------------------------------------------- */

/* Tensors of one name. */
typedef struct WeightPair {
    const VmTensorView *a, *b; /* NULL: only the other file has it */
    bool same_shape;           /* and type; else nothing was compared */
    int64_t differ, at;        /* values that do, in any bit; where the largest difference is */
    double largest;            /* NAN: one side is no number */
} WeightPair;

typedef struct WeightPairs {
    WeightPair *of; /* the first file's tensors in its order, then those that it lacks */
    int n;
    int only_a, only_b, other_shape, differ, equal;
} WeightPairs;

WeightPairs session_weights_compare(Arena *a, const VmTensorFile *f, const VmTensorFile *g);
int64_t session_view_elems(const VmTensorView *v);

/* ---- the weights of a run (start.c) ---------------------------------------------------------- */

/* Decides which weights come from how->weights (NULL: none), s->from, and says so. */
VmStatus session_start_open(Session *s, const SessionTrain *how);
/* Sets those in the session's engine; the others stay as they are. */
void session_start_set(Session *s, int program);

#endif
