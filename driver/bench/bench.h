/* vmoec bench and vmoec tune, internal to this folder: timing one compiled program task by task,
 * next to the peaks of this machine, and saying the result as a table, JSON or a picture. */
#ifndef VMOEC_DRIVER_BENCH_BENCH_H
#define VMOEC_DRIVER_BENCH_BENCH_H

#include "driver/commands/commands.h"

/* ---- what routing costs (overhead.c) --------------------------------------------------------- */

/* Who decides which experts a token meets: the gates, or a benchmark. */
typedef struct Routing {
    enum { ROUTING_LEARNED, ROUTING_FORCED } kind;
    double share; /* forced: of the tokens whose first choice is expert 0; 0: equal loads */
    const char *text;
} Routing;

/* "learned" (also NULL), "uniform", "skew=0.9"; VM_USAGE after a message. */
VmStatus routing_parse(const char *text, Routing *out);
/* A Session.edit: gives every top_k of a MODEL-stage graph an input that decides. */
void routing_force(IrGraph *g);
/* Fills those inputs of a program; g has them. Nothing when routing is learned. */
void routing_fill(const Routing *r, const IrGraph *g, VmEngine *e, int program);
/* After a step: rows of the fullest expert over the mean, of all routes. g: the program's
 * MODEL-stage graph. */
double routing_load(const IrGraph *g, VmEngine *e, int program);

/* A step without optimizer updates, of a model and of its dense twin. */
typedef struct Overhead {
    bool known; /* false: nothing is routed, or there is no twin */
    double seconds, dense_seconds, overhead;
} Overhead;

/* ---- one program ----------------------------------------------------------------------------- */

/* Tasks of one name are one row. Seconds, flops and bytes are those of all calls of one step. */
typedef struct KernelTime {
    const char *name;
    int calls;
    double seconds, flops, bytes;
    bool bf16; /* its arithmetic is bf16 dot products */
} KernelTime;

typedef struct Bench {
    Session *s;
    Routing routing;
    const VmProgram *code;
    int index; /* of the program in the session's engine */
    bool training;
    int threads, steps;
    int64_t step;                        /* steps run so far */
    double step_seconds, macs_per_image; /* step: the median */
    double p90, p99;                     /* seconds that 90 and 99 % of the steps did not exceed */
    double peak_gflops, peak_gbs;
    double bf16_gflops; /* peak of bf16 dot products; 0: not in use */
    double load;        /* rows of the fullest expert over the mean */
    Overhead moe;
    int64_t peak_rss; /* bytes this process held at most until now; 0: not known */
    KernelTime *kernel;
    int nkernel;
} Bench;

/* Times `steps` steps of each in turn. p: a program in the session's engine, whose weights have
 * values; g: its MODEL-stage graph. */
VmStatus bench_overhead(Bench *b, const IrGraph *g, const Program *p, int steps);

/* ---- time.c --------------------------------------------------------------------------------- */

/* Values of the optimizer's step scalars for the step that comes next; a learning rate so small
 * that random labels do no harm over any number of steps. Nothing when the program has none. */
void bench_set_step(Bench *b);
/* Median time of a step. steps 0: about `seconds` worth of them, at least 9. */
void bench_time_steps(Bench *b, int steps, double seconds);
/* Rows of b->kernel, the longest first: each task's median of `runs` runs. */
void bench_time_kernels(Bench *b, int runs);

/* ---- report.c ------------------------------------------------------------------------------- */

/* Billions of `amount` per second; 0 in no time. */
double bench_rate(double amount, double seconds);
/* "compute" or "memory": which of the two peaks gives the longer least time. */
const char *bench_bound(const Bench *b, const KernelTime *k);
/* That least time as a share of the measured one: 1 is the roof. Above 1 when data comes from
 * caches. */
double bench_roof(const Bench *b, const KernelTime *k);
double bench_total(const Bench *b); /* seconds of all rows */

void bench_print_kernels(const Bench *b);
void bench_print_table(const Bench *b);
VmJson bench_kernels_json(const Bench *b);
void bench_print_json(const Bench *b);

/* ---- roofline.c ----------------------------------------------------------------------------- */

/* The rows as a roofline diagram, SVG. */
VmStatus bench_write_roofline(const Bench *b, const char *path);

/* ---- problem.c: the text of --kernel -------------------------------------------------------- */

typedef enum ProblemKind {
#define KIND(name, ...) PROBLEM_##name,
#include "driver/bench/problems.def"
    PROBLEM_COUNT
} ProblemKind;

typedef enum ProblemKey {
#define KEY(kind, name, ...) KEY_##kind##_##name,
#include "driver/bench/problems.def"
    KEY_COUNT
} ProblemKey;

typedef struct Problem {
    const char *text;
    ProblemKind kind;
    double value[KEY_COUNT]; /* of its kind's keys; a choice is its number */
} Problem;

const char *problem_kind_name(ProblemKind k);
int64_t problem_int(const Problem *p, ProblemKey k);
double problem_float(const Problem *p, ProblemKey k);

/* Reads "matmul m=64 n=384 k=96". Mistakes become diagnostics with their column in the text; false
 * then. */
bool problem_parse(Diags *d, const char *text, Problem *out);
/* Every kind with its keys. */
void problem_help(FILE *f);

/* ---- graph.c -------------------------------------------------------------------------------- */

/* The problem as an IR graph of CORE and MODEL ops, results as outputs. */
IrGraph *problem_graph(Arena *a, const Problem *p);
/* Fills an input of that graph: normal numbers, and gates that send rows to experts as the problem
 * says. */
void problem_fill(const Problem *p, const IrGraph *g, const IrNode *input, float *data);

/* ---- kernel.c ------------------------------------------------------------------------------- */

/* vmoec bench --kernel. */
VmStatus bench_kernel(const Args *a);

#endif
