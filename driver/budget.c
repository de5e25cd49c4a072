/* --mem-budget: how much of the forward pass to compute again in the backward pass so that training fits. The
 * plan of memory is the judge: steps of the pass recompute are tried until the predicted peak is within the
 * budget. Peaks fall with the steps until segments get too long, then rise again; the search first looks
 * where the least peak is, then for the fewest steps that fit before it. */
#include "driver/driver.h"

typedef struct Fit {
    Session *s;
    IrGraph *base;     /* after cse, before recompute */
    int64_t other;     /* work space of the evaluation program, which shares the block */
    CgFootprint print; /* of the last try */
    Arena *arena;      /* of the last try: its graph and plan */
} Fit;

static const PassId front_list[] = {PASS_expand,   PASS_autodiff, PASS_optimizer,
                                    PASS_simplify, PASS_splitk,   PASS_cse};
static const PassId back_list[] = {PASS_recompute, PASS_fuse};

/* Bytes of work space with so many steps. */
static int64_t try_steps(Fit *f, int steps) {
    Session *s = f->s;
    arena_reset(f->arena);
    IrGraph *g = ir_graph_clone(f->arena, f->base);
    s->pass.recompute = steps;
    session_run_passes(s, g, back_list, 2, true);
    cg_footprint(f->arena, s->target, g, &f->print);
    return f->print.space[VM_WORK] > f->other ? f->print.space[VM_WORK] : f->other;
}

/* The least of some tries spread over the list; sets *at to its steps. */
static int64_t find_least(Fit *f, int all, int *at) {
    enum { TRIES = 24 };
    int64_t least = INT64_MAX;
    *at = 0;
    for (int i = 1, last = 0; i <= TRIES; i++) {
        int steps = (int)((int64_t)all * i / TRIES);
        if (steps == last) continue;
        last = steps;
        int64_t work = try_steps(f, steps);
        if (work >= least) continue;
        least = work;
        *at = steps;
    }
    return least;
}

/* The fewest steps that fit, given some that do and that fewer take more memory. */
static int fewest(Fit *f, int enough, int64_t room) {
    int low = 0; /* does not fit */
    while (enough - low > 1) {
        int middle = low + (enough - low) / 2;
        if (try_steps(f, middle) <= room)
            enough = middle;
        else
            low = middle;
    }
    return enough;
}

/* "%12 gelu of models/a.vmoe:7:3 8.0 MiB" */
static void add_holder(Text *t, const Fit *f, int i) {
    const IrValue *v = f->print.holder[i].value;
    const char *size = drv_bytes_text(t->arena, f->print.holder[i].bytes);
    if (!v) {
        text_addf(t, "\n    %10s  a packed matrix", size);
        return;
    }
    text_addf(t, "\n    %10s  %s %s", size, ir_ops[v->node->op].name, ir_type_text(t->arena, &v->type));
    if (v->node->loc.file) text_addf(t, " of %s:%d", v->node->loc.file, v->node->loc.line);
}

static VmStatus refuse(Fit *f, const MemoryUse *use, int steps, int64_t least) {
    Arena *a = f->s->arena;
    (void)try_steps(f, steps);
    Text t = text_new(a);
    text_addf(&t, "--mem-budget %s is not enough: the least is %s, with %d of %d recomputations",
              drv_bytes_text(a, f->s->budget.limit), drv_bytes_text(a, use->total - use->work + least), steps,
              f->s->budget.all);
    const struct {
        const char *name;
        int64_t bytes;
    } part[] = {{"weights", use->weights},
                {"optimizer state", use->state},
                {"packed weights", use->other},
                {"scratch of threads", use->scratch},
                {"data set", use->data},
                {"program, libraries, code", use->process},
                {"activations and gradients, of which at the widest point", least}};
    for (size_t i = 0; i < sizeof part / sizeof part[0]; i++)
        if (part[i].bytes) text_addf(&t, "\n  %10s  %s", drv_bytes_text(a, part[i].bytes), part[i].name);
    for (int i = 0; i < f->print.nholder; i++) add_holder(&t, f, i);
    return drv_fail(VM_ENV, "%s", t.data);
}

static VmStatus choose(Fit *f, MemoryUse *use) {
    Budget *b = &f->s->budget;
    int64_t rest = use->total - use->work, room = b->limit - rest;
    b->before = b->after = use->total;
    if (!b->limit || use->work <= room) return VM_OK;
    try_steps(f, 1);
    b->all = f->s->pass.recompute_steps;
    int at;
    int64_t least = find_least(f, b->all, &at);
    if (least > room || at == 0) return refuse(f, use, at, least);
    b->steps = fewest(f, at, room);
    use->work = try_steps(f, b->steps);
    use->total = b->after = rest + use->work;
    b->flops_after = f->print.flops;
    return VM_OK;
}

static void sum_up(MemoryUse *use) {
    use->total = use->weights + use->state + use->work + use->other + use->scratch + use->data + use->process;
}

/* Spaces beyond those that have names here; the engine makes each as large as its largest program needs. */
static void add_others(const CgFootprint *f, MemoryUse *use) {
    int64_t bytes = 0;
    for (int i = VM_WORK + 1; i < VM_SPACE_COUNT; i++) bytes += f->space[i];
    if (bytes > use->other) use->other = bytes;
}

static VmStatus evaluation_work(Fit *f, MemoryUse *use) {
    Session *s = f->s;
    IrGraph *g = session_elaborate(s, s->batch);
    if (!g) return VM_INPUT;
    session_lower(s, g, KIND_EVAL);
    cg_footprint(f->arena, s->target, g, &f->print);
    f->other = f->print.space[VM_WORK];
    use->weights = f->print.space[VM_WEIGHTS];
    add_others(&f->print, use);
    return VM_OK;
}

static VmStatus training_work(Fit *f, MemoryUse *use) {
    Session *s = f->s;
    f->base = session_elaborate(s, s->batch);
    if (!f->base) return VM_INPUT;
    session_run_passes(s, f->base, front_list, sizeof front_list / sizeof front_list[0], true);
    use->work = try_steps(f, 0);
    use->state = f->print.space[VM_STATE];
    add_others(&f->print, use);
    use->process += memory_growth(f->print.tasks);
    s->budget.flops_before = s->budget.flops_after = f->print.flops;
    sum_up(use);
    return choose(f, use);
}

VmStatus session_fit(Session *s, bool training, MemoryUse *use) {
    Fit f = {.s = s, .arena = arena_create()};
    VmStatus st = evaluation_work(&f, use);
    use->work = f.other;
    sum_up(use);
    if (!st && training) st = training_work(&f, use);
    int steps = s->budget.steps;
    s->pass.recompute = steps;
    arena_destroy(f.arena);
    return st;
}

void budget_print(FILE *f, const Session *s) {
    const Budget *b = &s->budget;
    if (!b->limit || !b->steps) return;
    fprintf(f,
            "memory budget %s: %d of %d recomputations, predicted peak %s instead of %s, %.1f %% more "
            "arithmetic\n",
            drv_bytes_text(s->arena, b->limit), b->steps, b->all, drv_bytes_text(s->arena, b->after),
            drv_bytes_text(s->arena, b->before), 100 * (b->flops_after / b->flops_before - 1));
}
