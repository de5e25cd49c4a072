/* Uses rules for names (rename.h): which weight of a model a tensor becomes, under which shape, and
 * with which values. Requires rules that rules.c has read. Neither reads nor writes files. */
#include "driver/session/steps.h"
#include "base/names.h"
#include "ir/ir.h"

#include <string.h>

/* ---- a task ---------------------------------------------------------------------------------- */

typedef struct Work {
    Arena *arena;
    Diags *diags;
    const RenameTask *task;
    Rename *out;
    Names weight; /* name to number + 1 */
    int *hits;    /* of each rule */
    int *wrong;   /* tensors of each rule that do not fit; the first is said, the rest counted */
    Diag **said;
} Work;

const char *session_view_text(Arena *a, const VmTensorView *v) {
    IrType t = ir_type(v->dtype ? DT_i32 : DT_f32, v->rank, v->dim);
    return ir_type_text(a, &t);
}

static void wrong(Work *w, int rule, Span at, const char *text) {
    if (w->wrong[rule]++ == 0) w->said[rule] = diag_error(w->diags, at, D_rules_fit, "%s", text);
}

static bool same_shape(const VmTensorView *x, const VmTensorView *y) {
    return x->rank == y->rank && x->dtype == y->dtype &&
           !memcmp(x->dim, y->dim, (size_t)x->rank * sizeof x->dim[0]);
}

/* What is wrong with a tensor that ends as `end`, which is not its weight's shape. */
static const char *misfit(Work *w, const Renamed *x, const VmTensorView *end) {
    Arena *a = w->arena;
    const char *have = session_view_text(a, x->tensor), *become = session_view_text(a, end);
    const char *want = session_view_text(a, &w->task->weight[x->weight]);
    if (!strcmp(x->tensor->name, x->name))
        return arena_printf(a, "'%s' is %s in %s but %s in the model", x->name, have, w->task->path,
                            want);
    bool changed = strcmp(have, become) != 0;
    return arena_printf(a, "'%s' %s%s%s but '%s' is %s", x->tensor->name, have,
                        changed ? " becomes " : "", changed ? become : "", x->name, want);
}

/* Whether the tensor becomes its weight; else the error is said, unless such tensors are skipped.
 */
static bool fits(Work *w, int rule, Renamed *x) {
    const RenameRule *r = &w->task->rules->rule.at[rule];
    const VmTensorView *want = &w->task->weight[x->weight];
    Way way = {.arena = w->arena, .v = *x->tensor, .weight = want, .channels = w->task->channels};
    way.v.data = NULL;
    const char *why;
    const RenameStep *step = session_steps_take(&way, r, &why);
    if (!step && same_shape(&way.v, want)) return true;
    if (w->task->skip_mismatch)
        x->fate = RENAME_SKIPPED;
    else if (step)
        wrong(w, rule, step->span,
              arena_printf(w->arena, "'%s' %s cannot become '%s' %s by this: %s", x->tensor->name,
                           session_view_text(w->arena, x->tensor), x->name,
                           session_view_text(w->arena, want), why));
    else
        wrong(w, rule, r->span, misfit(w, x, &way.v));
    return false;
}

/* One weight is made by one tensor. */
static bool is_free(Work *w, int rule, const Renamed *x) {
    const RenameRule *r = &w->task->rules->rule.at[rule];
    const Renamed *first = w->out->maker[x->weight];
    if (!first) return true;
    bool told = w->wrong[rule] > 0;
    wrong(w, rule, r->span,
          arena_printf(w->arena, "'%s' becomes '%s', which '%s' has become already",
                       x->tensor->name, x->name, first->tensor->name));
    if (!told)
        diag_note(w->diags, w->said[rule], first->rule->span, "by this rule%s",
                  first->rule == r ? ", whose right side does not tell them apart" : "");
    return false;
}

/* A weight's name below the model's. Whether the rule counts: the model has that weight. */
static bool becomes(Work *w, int rule, const char *below, Renamed *x) {
    const char *name = arena_printf(w->arena, "%s.%s", w->task->model, below);
    int weight = (int)(intptr_t)names_get(&w->weight, name) - 1;
    if (weight < 0) {
        if (!x->name) x->name = name;
        return false;
    }
    x->name = name;
    x->weight = weight;
    if (fits(w, rule, x) && is_free(w, rule, x)) x->fate = RENAME_LOADED;
    return true;
}

/* Whether the rule, which matches, is the last for the tensor; *name is what it goes by. */
static bool decided(Work *w, int rule, const Stars *stars, const char **name, Renamed *x) {
    const RenameRule *r = &w->task->rules->rule.at[rule];
    w->hits[rule]++;
    if (!r->to) {
        x->fate = RENAME_SKIPPED;
        return true;
    }
    const char *to = session_pattern_fill(w->arena, r->to, stars);
    if (!to) {
        wrong(w, rule, r->span,
              arena_printf(w->arena, "the name of '%s' has no number where '%s' counts",
                           x->tensor->name, r->to));
        return true;
    }
    if (!r->again) return becomes(w, rule, to, x);
    *name = to;
    return false;
}

static void decide(Work *w, Renamed *x) {
    const RenameRules *r = w->task->rules;
    const char *name = x->tensor->name;
    for (int i = 0; i < r->rule.n && !x->rule; i++) {
        Stars stars;
        if (session_pattern_match(r->rule.at[i].pattern, name, &stars) &&
            decided(w, i, &stars, &name, x))
            x->rule = &r->rule.at[i];
    }
}

/* Whether a tensor of the file is what the rule is for, though rules before it have taken it. */
static bool is_late(const Work *w, const RenameRule *r) {
    Stars stars;
    for (int i = 0; i < w->out->n; i++)
        if (session_pattern_match(r->pattern, w->out->of[i].tensor->name, &stars)) return true;
    return false;
}

/* What can only be said at the end: rules that were no use, and how often one was wrong. */
static void say_rules(Work *w) {
    const RenameRules *rules = w->task->rules;
    for (int i = 0; i < rules->rule.n; i++) {
        const RenameRule *r = &rules->rule.at[i];
        if (w->wrong[i] > 1)
            diag_note(w->diags, w->said[i], (Span){0}, "%d more tensor%s of this rule %s not fit",
                      w->wrong[i] - 1, w->wrong[i] > 2 ? "s" : "", w->wrong[i] > 2 ? "do" : "does");
        if (w->hits[i] || (!r->to && r->span.src)) continue;
        w->out->idle++;
        if (r->quiet) continue;
        diag_warning(w->diags, r->span, D_rules_fit, "'%s' %s", r->pattern,
                     is_late(w, r)
                         ? "matches tensors that rules before it have taken, and no other"
                         : arena_printf(w->arena, "matches no tensor of %s", w->task->path));
    }
}

static void count(Rename *r) {
    for (int i = 0; i < r->n; i++) {
        const Renamed *x = &r->of[i];
        r->loaded += x->fate == RENAME_LOADED;
        r->skipped += x->fate == RENAME_SKIPPED;
        r->unused += x->fate == RENAME_UNUSED;
        r->unfit += x->fate == RENAME_SKIPPED && x->weight >= 0;
    }
    r->missing = r->task->nweight - r->loaded;
}

static Work begin(Arena *a, const RenameTask *t, Diags *d) {
    Rename *out = ARENA_NEW(a, Rename);
    *out = (Rename){.task = t};
    out->maker = ARENA_ARRAY(a, const Renamed *, t->nweight);
    Work w = {.arena = a,
              .diags = d,
              .task = t,
              .out = out,
              .hits = ARENA_ARRAY(a, int, t->rules->rule.n),
              .wrong = ARENA_ARRAY(a, int, t->rules->rule.n),
              .said = ARENA_ARRAY(a, Diag *, t->rules->rule.n)};
    for (int i = 0; i < t->nweight; i++)
        names_at(&w.weight, a, t->weight[i].name)->value = (void *)(intptr_t)(i + 1);
    return w;
}

Rename *session_rename(Arena *a, const RenameTask *t, Diags *d) {
    Work w = begin(a, t, d);
    Rename *out = w.out;
    out->of = ARENA_ARRAY(a, Renamed, t->ntensor);
    out->n = t->ntensor;
    for (int i = 0; i < out->n; i++) {
        Renamed *x = &out->of[i];
        *x = (Renamed){.tensor = &t->tensor[i], .fate = RENAME_UNUSED, .weight = -1};
        decide(&w, x);
        if (x->fate == RENAME_LOADED) out->maker[x->weight] = x;
    }
    say_rules(&w);
    count(out);
    return out;
}

VmTensorView session_rename_value(Arena *a, const Rename *r, int i) {
    const Renamed *x = &r->of[i];
    Way way = {.arena = a,
               .v = *x->tensor,
               .weight = &r->task->weight[x->weight],
               .channels = r->task->channels};
    const char *why = NULL;
    VM_CHECK(x->fate == RENAME_LOADED && !session_steps_take(&way, x->rule, &why), "%s: %s",
             x->tensor->name, why);
    way.v.name = x->name;
    return way.v;
}

/* ---- single tensors -------------------------------------------------------------------------- */

struct RenameProbe {
    Work w;
};

RenameProbe *session_rename_probe(Arena *a, const RenameTask *t) {
    RenameProbe *p = ARENA_NEW(a, RenameProbe);
    p->w = begin(a, t, diags_create(a));
    return p;
}

Renamed session_rename_try(RenameProbe *p, const VmTensorView *tensor) {
    Renamed x = {.tensor = tensor, .fate = RENAME_UNUSED, .weight = -1};
    decide(&p->w, &x);
    return x;
}

/* ---- for a person ---------------------------------------------------------------------------- */

static void add_fate(Text *t, const Rename *r, RenameFate fate) {
    for (int i = 0; i < r->n; i++) {
        const Renamed *x = &r->of[i];
        if (x->fate != fate) continue;
        text_addf(t, "  %s %s", x->tensor->name, session_view_text(t->arena, x->tensor));
        if (x->weight >= 0)
            text_addf(t, " %s %s %s", fate == RENAME_SKIPPED ? "does not fit" : "->", x->name,
                      session_view_text(t->arena, &r->task->weight[x->weight]));
        else if (x->name)
            text_addf(t, ": the model has no %s", x->name);
        text_add(t, "\n");
    }
}

static void add_head(Text *t, const char *what, int n, const char *meaning) {
    if (n) text_addf(t, "%-7s %5d %s\n", what, n, meaning);
}

const char *session_rename_text(Arena *a, const Rename *r) {
    const RenameTask *task = r->task;
    Text t = text_new(a);
    text_addf(&t, "%-7s %5d of %d weights\n", "loaded", r->loaded, task->nweight);
    add_fate(&t, r, RENAME_LOADED);
    add_head(&t, "missing", r->missing, "weights of the model that no tensor becomes");
    for (int i = 0; i < task->nweight; i++)
        if (!r->maker[i])
            text_addf(&t, "  %s %s\n", task->weight[i].name,
                      session_view_text(a, &task->weight[i]));
    add_head(&t, "unused", r->unused, "tensors of the file that become no weight");
    add_fate(&t, r, RENAME_UNUSED);
    add_head(&t, "skipped", r->skipped, "tensors that are left out");
    add_fate(&t, r, RENAME_SKIPPED);
    return t.data;
}
