/* --mem-budget: how much of the forward pass to compute again in the backward pass so that training
 * fits, and whether packed copies of weights outlive the step or share memory within it. The plan
 * of memory is the judge: steps of the pass recompute are tried until the predicted peak is within
 * the budget, with either kind of packing; the way with less arithmetic wins. Peaks fall with the
 * steps until segments get too long, then rise again; the search first looks where the least peak
 * is, then for the fewest steps that fit before it. */
#include "driver/session/session.h"

/* What was found out about a number of steps, with one kind of packing. */
typedef struct Tried {
    bool known;    /* the rest is right; otherwise only `least` is */
    int64_t least; /* no plan takes less work and packed space; 0: not tried */
    int64_t work, packed;
    double flops, cost;
} Tried;

typedef struct Fit {
    Session *s;
    Budget *b;
    IrGraph *base;       /* what recompute takes */
    RecomputeList *list; /* the steps there are for it */
    IrGraph *eval;       /* the evaluation program, which shares the block of work space */
    const PassId *back;  /* recompute and what comes after it */
    int nback;
    bool pack_in_step;
    int64_t eval_work, eval_packed;
    CgFootprint print; /* of the last try */
    Arena *arena;      /* of the last try: its graph and plan */
    Tried *tried[2];   /* by kind of packing, by number of steps */
} Fit;

/* A way to go: where packed weights live and how much is computed again. */
typedef struct Way {
    bool pack_in_step, fits;
    int steps;            /* of the pass recompute; the light ones it makes anyway */
    int at;               /* where the least peak is */
    int64_t least;        /* that peak's work and packed space */
    int64_t work, packed; /* with `steps` */
    double flops, cost;
} Way;

static int64_t larger(int64_t a, int64_t b) {
    return a > b ? a : b;
}

static void plan_evaluation(Fit *f, bool pack_in_step) {
    f->pack_in_step = pack_in_step;
    arena_reset(f->arena);
    cg_footprint(f->arena, f->s->target, f->eval, pack_in_step, &f->print);
    f->eval_work = f->print.space[VM_WORK];
    f->eval_packed = f->print.space[VM_PACKED];
}

static int64_t work_of(const Fit *f) {
    return larger(f->print.space[VM_WORK], f->eval_work);
}

static int64_t packed_of(const Fit *f) {
    return larger(f->print.space[VM_PACKED], f->eval_packed);
}

/* Packing takes as long as this much arithmetic, per byte that is written. */
static const double pack_cost = 40;

/* Makes f->print for so many steps: all of it, or, when that many bytes of work and packed space
 * are not enough, a bound. False: a bound. */
static bool plan_steps(Fit *f, int steps, int64_t enough) {
    Session *s = f->s;
    arena_reset(f->arena);
    IrGraph *g = ir_graph_clone(f->arena, f->base);
    s->pass.recompute = steps;
    s->pass.recompute_list = f->list;
    session_run_again(s, f->base, g, f->back, f->nback);
    s->pass.recompute_list = NULL;
    f->b->tries++;
    return cg_footprint_within(f->arena, s->target, g, f->pack_in_step, enough, &f->print);
}

/* Bytes of work and packed space with so many steps; no more is known about the number than that it
 * is above `enough` when it is. */
static int64_t try_steps(Fit *f, int steps, int64_t enough) {
    Tried *t = &f->tried[f->pack_in_step][steps];
    if (t->known || t->least > enough) return t->least;
    t->known = plan_steps(f, steps, enough);
    t->work = work_of(f);
    t->packed = packed_of(f);
    t->least = t->work + t->packed;
    t->flops = f->print.flops;
    t->cost = t->flops + pack_cost * (double)f->print.packed;
    return t->least;
}

/* The least of some tries spread over the list. */
static void find_least(Fit *f, Way *w) {
    enum { TRIES = 24 };
    int light = f->list->light, all = f->list->n;
    w->least = INT64_MAX;
    for (int i = 1, last = 0; i <= TRIES; i++) {
        int steps = light + (int)((int64_t)(all - light) * i / TRIES);
        if (steps == last) continue;
        last = steps;
        int64_t bytes = try_steps(f, steps, w->least - 1);
        if (bytes >= w->least) continue;
        w->least = bytes;
        w->at = steps;
    }
}

/* The fewest steps that fit, given some that do and that fewer take more memory. */
static int fewest(Fit *f, int low, int enough, int64_t room) {
    while (enough - low > 1) {
        int middle = low + (enough - low) / 2;
        if (try_steps(f, middle, room) <= room)
            enough = middle;
        else
            low = middle;
    }
    return enough;
}

static Way find_way(Fit *f, bool pack_in_step, int64_t room) {
    Way w = {.pack_in_step = pack_in_step, .fits = true};
    plan_evaluation(f, pack_in_step);
    int light = f->list->light;
    w.steps = w.at = light;
    w.least = try_steps(f, light, room);
    if (w.least > room) {
        find_least(f, &w);
        w.fits = w.least <= room;
        w.steps = w.fits ? fewest(f, light, w.at, room) : w.at;
        (void)try_steps(f, w.steps, INT64_MAX);
    }
    const Tried *t = &f->tried[pack_in_step][w.steps];
    w.work = t->work;
    w.packed = t->packed;
    w.flops = t->flops;
    w.cost = t->cost;
    return w;
}

/* "%12 gelu of models/a.vmoe:7:3 8.0 MiB" */
static void add_holder(Text *t, const Fit *f, int i) {
    const IrValue *v = f->print.holder[i].value;
    const char *size = session_bytes_text(t->arena, f->print.holder[i].bytes);
    if (!v) {
        text_addf(t, "\n    %10s  a packed matrix", size);
        return;
    }
    text_addf(t, "\n    %10s  %s %s", size, ir_ops[v->node->op].name,
              ir_type_text(t->arena, &v->type));
    if (v->node->loc.file) text_addf(t, " of %s:%d", v->node->loc.file, v->node->loc.line);
}

static VmStatus refuse(Fit *f, const MemoryUse *use, const Way *w) {
    Arena *a = f->s->arena;
    plan_evaluation(f, w->pack_in_step);
    (void)plan_steps(f, w->steps, INT64_MAX);
    Text t = text_new(a);
    text_addf(&t, "%s %s is not enough: the least is %s, with %d of %d recomputations%s",
              f->b->of_group ? "the cgroup's memory limit of" : "--mem-budget",
              session_bytes_text(a, f->b->limit),
              session_bytes_text(a, use->total - use->work - use->other + w->work + w->packed),
              w->at, f->list->n, w->pack_in_step ? " and weights packed in every step" : "");
    const struct {
        const char *name;
        int64_t bytes;
    } part[] = {{"weights", use->weights},
                {"optimizer state", use->state},
                {"packed weights", w->packed},
                {"scratch of threads", use->scratch},
                {"data set", use->data},
                {"program, libraries, code", use->process},
                {"activations and gradients, of which at the widest point", w->work}};
    for (size_t i = 0; i < sizeof part / sizeof part[0]; i++)
        if (part[i].bytes)
            text_addf(&t, "\n  %10s  %s", session_bytes_text(a, part[i].bytes), part[i].name);
    for (int i = 0; i < f->print.nholder; i++) add_holder(&t, f, i);
    return session_fail(f->s, VM_ENV, "%s", t.data);
}

static void sum_up(MemoryUse *use) {
    use->total = use->weights + use->state + use->work + use->other + use->scratch + use->data +
                 use->process;
}

bool session_decode_ahead(Session *s, MemoryUse *use) {
    if (!use->data_ahead || use->data_ahead >= use->data) return false;
    s->decode_ahead = true;
    use->data = use->data_ahead;
    use->data_ahead = 0;
    sum_up(use);
    return true;
}

static VmStatus choose(Fit *f, MemoryUse *use) {
    Budget *b = f->b;
    int64_t room = b->limit - (use->total - use->work - use->other);
    b->before = b->after = use->total;
    if (!b->limit || use->work + use->other <= room) return VM_OK;
    f->list = recompute_list(f->s->arena, f->base);
    for (int i = 0; i < 2; i++) f->tried[i] = ARENA_ARRAY(f->s->arena, Tried, f->list->n + 1);
    int64_t floor = f->eval_work + f->eval_packed; /* evaluation's, when packed weights are kept */
    bool hopeless = floor > room;
    Way kept = {0}, in_step = {0};
    if (!hopeless) kept = find_way(f, false, room);
    in_step = find_way(f, true, room);
    if (hopeless && !in_step.fits) { /* whose peak is less? */
        kept.least = floor;
        if (floor <= in_step.least) kept = find_way(f, false, room);
    }
    bool second = in_step.fits ? !kept.fits || in_step.cost < kept.cost
                               : !kept.fits && in_step.least < kept.least;
    Way *w = second ? &in_step : &kept;
    if (!w->fits && session_decode_ahead(f->s, use)) return choose(f, use);
    if (!w->fits) return refuse(f, use, w);
    b->all = f->list->n;
    b->steps = w->steps;
    b->pack_in_step = w->pack_in_step;
    b->flops_after = w->flops;
    use->work = w->work;
    use->other = w->packed;
    sum_up(use);
    b->after = use->total;
    return VM_OK;
}

static VmStatus evaluation(Fit *f, MemoryUse *use) {
    Session *s = f->s;
    f->eval = session_graph_copy(s, s->batch);
    if (!f->eval) return VM_INPUT;
    session_lower(s, f->eval, KIND_EVAL);
    plan_evaluation(f, false);
    use->weights = f->print.space[VM_WEIGHTS];
    use->work = f->eval_work;
    use->other = f->eval_packed;
    return VM_OK;
}

static VmStatus training(Fit *f, MemoryUse *use) {
    Session *s = f->s;
    f->base = session_graph_copy(s, s->batch);
    if (!f->base || !session_trains(s, f->base)) return VM_INPUT;
    const PassId *list;
    f->nback = pass_pipeline_part(PIPE_TRAIN, s->bf16, PASS_recompute, PASS_COUNT, &f->back);
    int front = pass_pipeline_part(PIPE_TRAIN, s->bf16, PASS_COUNT, PASS_recompute, &list);
    session_run_passes(s, f->base, list, front, true);
    (void)plan_steps(f, RECOMPUTE_LIGHT, INT64_MAX);
    use->work = work_of(f);
    use->other = packed_of(f);
    use->state = f->print.space[VM_STATE];
    use->process += session_memory_growth(f->print.tasks);
    f->b->flops_before = f->b->flops_after = f->print.flops;
    sum_up(use);
    return choose(f, use);
}

VmStatus session_fit(Session *s, Budget *b, bool train, MemoryUse *use) {
    Fit f = {.s = s, .b = b, .arena = arena_create()};
    VmStatus st = evaluation(&f, use);
    sum_up(use);
    if (!st && train) st = training(&f, use);
    s->pass.recompute = b->steps ? b->steps : RECOMPUTE_LIGHT;
    s->pack_in_step = b->pack_in_step;
    arena_destroy(f.arena);
    return st;
}

const char *session_budget_text(Arena *a, const Budget *b) {
    if (!b->limit || (!b->steps && !b->pack_in_step)) return NULL;
    return arena_printf(a,
                        "memory budget %s: %d of %d recomputations, %spredicted peak %s instead of "
                        "%s, %.1f %% more "
                        "arithmetic",
                        session_bytes_text(a, b->limit), b->steps, b->all,
                        b->pack_in_step ? "weights packed in every step, " : "",
                        session_bytes_text(a, b->after), session_bytes_text(a, b->before),
                        100 * (b->flops_after / b->flops_before - 1));
}
