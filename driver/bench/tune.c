/* vmoec tune: finds block sizes of matrix products that make a model's training step faster on this
 * machine, and keeps them in a small file (tuning.c).
 *
 * Every product tries its own i-th candidate in the i-th variant of the whole program, so that all
 * products are timed at once and in the place where they run, with the caches as the step leaves
 * them. A variant and the untuned program run one after the other, in turns first, and only such
 * pairs are compared: a change of the machine's speed meets both. At the end the winners together
 * must beat the untuned program in whole steps. */
#include "driver/bench/bench.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_VARIANTS = 8, MIN_PAIRS = 7, MAX_PAIRS = 25, MIN_FINAL = 9, MAX_FINAL = 41 };
static const double min_gain = 1.02, min_wins = 0.8, min_final_wins = 0.75;
static const double least_timed = 3e-3;  /* seconds */
static const double least_share = 0.005; /* of a step: products below it are left alone */

typedef struct Trial {
    CgBlocks blocks;
    double gain[MAX_PAIRS]; /* untuned time over its own, per pair */
    int n, wins;
} Trial;

typedef struct Item { /* a distinct product */
    CgChosen base;
    int calls;
    double seconds; /* of t->repeat steps */
    Trial trial[MAX_VARIANTS];
    int ntrial, best; /* best: -1: none was better */
    double gain;      /* the best one's median */
} Item;

typedef struct Tune {
    Session *s;
    const IrGraph *g;
    double begin, deadline;
    double per_kernel; /* seconds of compiling one, all processes together: the worst seen */
    const Program *untuned, *variant[MAX_VARIANTS];
    int nvariant, pairs;
    Item *item;
    int nitem;
    int *item_of; /* per task: its product, -1: none */
    double *task, *before, *after;
    int64_t step;
    int repeat; /* steps that are timed as one, so that short ones are not lost in the clock's noise
                 */
    double step_seconds, total; /* of `repeat` steps; total: of all their tasks */
} Tune;

static double left(const Tune *t) {
    return t->deadline - vm_seconds();
}

/* ---- programs and steps ---------------------------------------------------------------------- */

/* The program with other blocks; NULL after a message. */
static const Program *add(Tune *t, const CgTuning *tuning) {
    Session *s = t->s;
    VmError err = {.text = ""};
    s->tuning.blocks = tuning;
    int before = s->module ? cg_module_stats(s->module)->compiled : 0;
    double t0 = vm_seconds();
    const Program *p = session_program(s, KIND_TRAIN, s->batch, false, &err);
    if (!p) {
        drv_fail(VM_ENV, "%s", err.text);
        return NULL;
    }
    int made = cg_module_stats(s->module)->compiled - before;
    if (made) t->per_kernel = fmax(t->per_kernel, (vm_seconds() - t0) / made);
    session_fill_inputs(t->g, s->engine, p->index);
    return p;
}

static void set_step(const Tune *t, const Program *p) {
    bench_set_step(&(Bench){.s = t->s, .code = p->code, .index = p->index, .step = t->step});
}

static double whole_steps(Tune *t, const Program *p) {
    set_step(t, p);
    double t0 = vm_seconds();
    for (int i = 0; i < t->repeat; i++)
        vm_engine_run(t->s->engine, p->index, 0, (uint64_t)t->step++);
    return vm_seconds() - t0;
}

/* Seconds of each product; returns those of all tasks. */
static double profile(Tune *t, const Program *p, double *seconds) {
    int ntask = p->code->ntask;
    double all = 0;
    memset(t->task, 0, (size_t)ntask * sizeof *t->task);
    memset(seconds, 0, (size_t)(ntask + 1) * sizeof *seconds);
    set_step(t, p);
    for (int i = 0; i < t->repeat; i++)
        vm_engine_profile(t->s->engine, p->index, 0, (uint64_t)t->step++, t->task);
    for (int i = 0; i < ntask; i++) {
        all += t->task[i];
        if (t->item_of[i] >= 0) seconds[t->item_of[i]] += t->task[i];
    }
    return all;
}

/* ---- what to try ----------------------------------------------------------------------------- */

static int by_time(const void *x, const void *y) {
    const Item *a = x, *b = y;
    return (a->seconds < b->seconds) - (a->seconds > b->seconds);
}

static int item_for(Tune *t, const CgChosen *c) {
    for (int i = 0; i < t->nitem; i++)
        if (cg_product_equal(&t->item[i].base.blocks.product, &c->blocks.product)) return i;
    t->item[t->nitem] = (Item){.base = *c, .best = -1};
    return t->nitem++;
}

static void number_tasks(Tune *t) {
    CgChosen c;
    for (int i = 0; i < t->untuned->code->ntask; i++) {
        t->item_of[i] =
            cg_task_product(t->s->module, t->untuned->code, i, &c) ? item_for(t, &c) : -1;
        if (t->item_of[i] >= 0) t->item[t->item_of[i]].calls++;
    }
}

/* The distinct products, those that take longest first, and how long a step takes. */
static void find_products(Tune *t) {
    enum { WARM = 2, RUNS = 3 };
    int ntask = t->untuned->code->ntask;
    Arena *a = t->s->arena;
    t->item = ARENA_ARRAY(a, Item, ntask + 1);
    t->item_of = ARENA_ARRAY(a, int, ntask + 1);
    t->task = ARENA_ARRAY(a, double, ntask + 1);
    t->before = ARENA_ARRAY(a, double, ntask + 1);
    t->after = ARENA_ARRAY(a, double, ntask + 1);
    number_tasks(t);
    t->repeat = 1;
    for (int i = 0; i < WARM; i++) t->step_seconds = whole_steps(t, t->untuned);
    t->repeat = (int)fmin(fmax(ceil(least_timed / fmax(t->step_seconds, 1e-9)), 1), 1000);
    t->step_seconds *= t->repeat;
    for (int i = 0; i < RUNS; i++) {
        t->total += profile(t, t->untuned, t->before) / RUNS;
        for (int k = 0; k < t->nitem; k++) t->item[k].seconds += t->before[k] / RUNS;
    }
    t->step_seconds = fmax(t->step_seconds, t->total);
    qsort(t->item, (size_t)t->nitem, sizeof *t->item, by_time);
    int n = t->nitem; /* the sort changed their numbers */
    for (int i = 0; i < n; i++) t->item[i].calls = 0;
    number_tasks(t);
}

/* Half and twice the rows and columns that the model chose, as far as they differ. */
static void find_candidates(Item *x) {
    static const double scale[MAX_VARIANTS][2] = {{2, 1},   {1, 2},   {0.5, 1},   {1, 0.5},
                                                  {2, 0.5}, {0.5, 2}, {0.5, 0.5}, {2, 2}};
    for (int i = 0; i < MAX_VARIANTS; i++) {
        CgBlocks b = cg_blocks_near(&x->base, (int64_t)(scale[i][0] * (double)x->base.blocks.rows),
                                    (int64_t)(scale[i][1] * (double)x->base.blocks.cols));
        bool known = b.rows == x->base.blocks.rows && b.cols == x->base.blocks.cols;
        for (int k = 0; k < x->ntrial; k++)
            known |= b.rows == x->trial[k].blocks.rows && b.cols == x->trial[k].blocks.cols;
        if (!known) x->trial[x->ntrial++].blocks = b;
    }
}

/* Seconds that comparing whole steps at the end takes. */
static double final_seconds(const Tune *t) {
    return 1.3 * (2 * MIN_FINAL + 2) * t->step_seconds;
}

/* Candidates for as many products as can be compiled in a fifth of what is left, the largest first.
 */
static void choose_candidates(Tune *t) {
    double seconds = 0.2 * (left(t) - final_seconds(t));
    for (int i = 0; i < t->nitem; i++) {
        Item *x = &t->item[i];
        seconds -=
            t->per_kernel * fmin(x->calls, 3); /* products of one size differ in what is fused */
        if (x->seconds < least_share * t->total || seconds < 0) break;
        find_candidates(x);
    }
}

/* ---- trying ---------------------------------------------------------------------------------- */

/* Every product's candidate `which`. */
static CgTuning *variant_of(const Tune *t, int which, int *n) {
    CgTuning *v = ARENA_NEW(t->s->arena, CgTuning);
    CgBlocks *list = ARENA_ARRAY(t->s->arena, CgBlocks, t->nitem + 1);
    *n = 0; /* kernels to compile */
    for (int i = 0; i < t->nitem; i++) {
        if (which >= t->item[i].ntrial) continue;
        list[v->n++] = t->item[i].trial[which].blocks;
        *n += t->item[i].calls < 3 ? t->item[i].calls : 3;
    }
    v->list = list;
    return v;
}

/* As many variants as there is time to time. */
static VmStatus add_variants(Tune *t) {
    while (t->nvariant < MAX_VARIANTS) {
        int kernels;
        CgTuning *v = variant_of(t, t->nvariant, &kernels);
        double timing = 1.2 * (t->nvariant + 1) * 2 * (MIN_PAIRS + 1) * t->step_seconds;
        if (!v->n || left(t) < timing + final_seconds(t) + kernels * t->per_kernel) return VM_OK;
        t->variant[t->nvariant] = add(t, v);
        if (!t->variant[t->nvariant]) return VM_ENV;
        t->nvariant++;
    }
    return VM_OK;
}

static void one_pair(Tune *t, int which, bool swapped) {
    const Program *p = t->variant[which];
    if (swapped) profile(t, p, t->after);
    profile(t, t->untuned, t->before);
    if (!swapped) profile(t, p, t->after);
    for (int i = 0; i < t->nitem; i++) {
        Item *x = &t->item[i];
        if (which >= x->ntrial) continue;
        Trial *r = &x->trial[which];
        r->gain[r->n++] = t->before[i] / fmax(t->after[i], 1e-9);
        r->wins += t->after[i] < t->before[i];
    }
}

static void time_variants(Tune *t) {
    for (int v = 0; v < t->nvariant; v++) profile(t, t->variant[v], t->after);
    double round = 2.4 * t->nvariant * t->step_seconds;
    for (t->pairs = 0; t->pairs < MAX_PAIRS && left(t) > round + final_seconds(t); t->pairs++) {
        double t0 = vm_seconds();
        for (int v = 0; v < t->nvariant; v++) one_pair(t, v, (t->pairs + v) % 2);
        round = 1.2 * (vm_seconds() - t0);
    }
}

/* What beats the model's choice by more than the noise. Returns how many do. */
static int choose_best(Tune *t) {
    int n = 0;
    for (int i = 0; i < t->nitem; i++) {
        Item *x = &t->item[i];
        x->gain = min_gain;
        for (int k = 0; k < x->ntrial && k < t->nvariant; k++) {
            Trial *r = &x->trial[k];
            if (r->n < MIN_PAIRS || r->wins < min_wins * r->n) continue;
            double gain = drv_median(r->gain, r->n);
            if (gain <= x->gain) continue;
            x->gain = gain;
            x->best = k;
        }
        n += x->best >= 0;
    }
    return n;
}

/* ---- the result ------------------------------------------------------------------------------ */

typedef struct Verdict {
    double untuned, tuned, gain; /* medians */
    int pairs, wins;
} Verdict;

/* Whole steps, tuned and untuned in turn. */
static VmStatus judge(Tune *t, Verdict *out) {
    CgTuning *best = ARENA_NEW(t->s->arena, CgTuning);
    CgBlocks *list = ARENA_ARRAY(t->s->arena, CgBlocks, t->nitem + 1);
    for (int i = 0; i < t->nitem; i++)
        if (t->item[i].best >= 0) list[best->n++] = t->item[i].trial[t->item[i].best].blocks;
    best->list = list;
    const Program *p = add(t, best);
    if (!p) return VM_ENV;
    double time[2][MAX_FINAL], gain[MAX_FINAL];
    whole_steps(t, p);
    for (int n = 0; n < MAX_FINAL && (n < MIN_FINAL || left(t) > 3 * t->step_seconds); n++) {
        for (int k = 0; k < 2; k++) {
            int side = (n + k) % 2;
            time[side][n] = whole_steps(t, side ? p : t->untuned);
        }
        gain[n] = time[0][n] / time[1][n];
        out->wins += gain[n] > 1;
        out->pairs++;
    }
    out->untuned = drv_median(time[0], out->pairs) / t->repeat;
    out->tuned = drv_median(time[1], out->pairs) / t->repeat;
    out->gain = drv_median(gain, out->pairs);
    return VM_OK;
}

static void print_table(const Tune *t) {
    printf("%-48s %5s %9s %6s %10s %10s %6s\n", "product", "calls", "ms", "%", "untuned", "tuned",
           "gain");
    for (int i = 0; i < t->nitem; i++) {
        const Item *x = &t->item[i];
        if (!x->ntrial) continue;
        const CgBlocks *b = &x->base.blocks, *to = x->best >= 0 ? &x->trial[x->best].blocks : NULL;
        printf("%-48s %5d %9.3f %6.1f %10s", session_tuning_text(t->s->arena, &b->product),
               x->calls, 1e3 * x->seconds / t->repeat, 100 * x->seconds / t->total,
               arena_printf(t->s->arena, "%" PRId64 "x%" PRId64, b->rows, b->cols));
        if (to)
            printf(" %10s %6.2f\n",
                   arena_printf(t->s->arena, "%" PRId64 "x%" PRId64, to->rows, to->cols), x->gain);
        else
            printf(" %10s %6s\n", "-", "-");
    }
}

static VmStatus write_result(const Tune *t, const Verdict *v, const char *path) {
    const Session *s = t->s;
    Text f = text_new(s->arena);
    text_addf(&f,
              "# block sizes of %s's products, batch %" PRId64
              ", made by vmoec tune; results do not depend"
              " on them\n",
              s->model, s->batch);
    text_addf(&f, "# step %.3f ms untuned, %.3f ms tuned: %.3fx, faster in %d of %d pairs\n",
              1e3 * v->untuned, 1e3 * v->tuned, v->gain, v->wins, v->pairs);
    if (*s->target->name) text_addf(&f, "cpu %s\n", s->target->name);
    text_addf(&f, "isa %s\nthreads %d\ncompiler %s\n", s->target->isa, vm_engine_threads(s->engine),
              cg_compiler());
    for (int i = 0; i < t->nitem; i++) {
        const Item *x = &t->item[i];
        if (x->best < 0) continue;
        const CgBlocks *b = &x->trial[x->best].blocks;
        text_addf(&f, "%s -> rows=%" PRId64 " cols=%" PRId64 "  # %.2fx\n",
                  session_tuning_text(s->arena, &b->product), b->rows, b->cols, x->gain);
    }
    return drv_write_file(path, f.data, f.len);
}

static VmStatus nothing(const Tune *t, const char *why) {
    printf("%s: nothing is written (%.1f s)\n", why, vm_seconds() - t->begin);
    return VM_OK;
}

static VmStatus finish(Tune *t, const char *path) {
    Verdict v = {0};
    int winners = choose_best(t);
    print_table(t);
    printf("%d variants in %d pairs with the untuned program\n", t->nvariant, t->pairs);
    if (!winners) return nothing(t, "no blocks are faster than those chosen without tuning");
    VmStatus st = judge(t, &v);
    if (st) return st;
    printf("step      %10.3f ms untuned, %.3f ms tuned: %.3fx, faster in %d of %d pairs\n",
           1e3 * v.untuned, 1e3 * v.tuned, v.gain, v.wins, v.pairs);
    if (v.gain <= 1 || v.wins < min_final_wins * v.pairs)
        return nothing(t, "whole steps are not faster");
    st = write_result(t, &v, path);
    if (!st) printf("wrote %s, %d products (%.1f s)\n", path, winners, vm_seconds() - t->begin);
    return st;
}

static VmStatus tune(Tune *t, const Args *a) {
    Session *s = t->s;
    t->g = session_graph(s, s->batch);
    if (!t->g) return VM_INPUT;
    if (!session_has_loss(t->g)) return drv_fail(VM_INPUT, "%s has no loss to train on", s->model);
    VmStatus st = session_engine(s, vm_threads((int)opt_or(a->o.threads, 0)));
    if (st) return st;
    VmError err = {.text = ""};
    t->untuned = add(t, NULL);
    if (!t->untuned) return VM_ENV;
    st = vm_engine_init(s->engine, s->train ? (uint64_t)s->train->recipe.seed : 0, &err);
    if (st) return drv_fail(st, "%s", err.text);
    find_products(t);
    choose_candidates(t);
    st = add_variants(t);
    if (st) return st;
    if (!t->nvariant) return nothing(t, "there is no time to try anything: give more --seconds");
    time_variants(t);
    const char *out = a->o.o;
    return finish(t, out ? out : session_tuning_beside(s->arena, s->path));
}

VmStatus cmd_tune(const Args *a) {
    Session s;
    VmStatus st = drv_open(a, false, &s);
    if (st) return st;
    enum { KERNEL_MS = 150 }; /* of one process, until something was measured */
    Tune t = {.s = &s,
              .begin = a->started,
              .deadline = a->started + (double)opt_or(a->o.seconds, 60),
              .per_kernel = 1e-3 * KERNEL_MS / vm_cpus()};
    st = tune(&t, a);
    session_close(&s);
    return st;
}
