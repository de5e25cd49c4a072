/* Uses rules for names (rename.h): which weight of a model a tensor becomes, under which shape, and
 * with which values. Requires rules that rules.c has read. Neither reads nor writes files. */
#include "driver/session/rename.h"
#include "base/names.h"
#include "ir/ir.h"

#include <inttypes.h>
#include <string.h>

/* ---- names ----------------------------------------------------------------------------------- */

/* What the stars of a pattern stand for. */
typedef struct Stars {
    const char *at[RENAME_STARS];
    int len[RENAME_STARS];
    int n;
} Stars;

/* The usual way back to the last star when something does not fit: a star before it need not take
 * more, for what follows it would fit no better. */
static bool match(const char *pattern, const char *name, Stars *s) {
    const char *star = NULL;
    const char *end = name;
    s->n = 0;
    while (*name) {
        if (*pattern == '*') {
            star = pattern++;
            end = name;
            if (s->n < RENAME_STARS) {
                s->at[s->n] = name;
                s->len[s->n] = 0;
            }
            s->n++;
        } else if (*pattern == '?' || *pattern == *name) {
            pattern++;
            name++;
        } else if (star) {
            pattern = star + 1;
            name = ++end;
            if (s->n <= RENAME_STARS) s->len[s->n - 1]++;
        } else {
            return false;
        }
    }
    for (; *pattern == '*'; pattern++, s->n++) {
        if (s->n >= RENAME_STARS) continue;
        s->at[s->n] = name;
        s->len[s->n] = 0;
    }
    return !*pattern;
}

bool session_name_matches(const char *pattern, const char *name) {
    Stars s;
    return match(pattern, name, &s);
}

/* A whole number of a few digits, or -1. */
static int64_t number_of(const char *at, int len) {
    int64_t x = 0;
    for (int i = 0; i < len; i++) {
        if (at[i] < '0' || at[i] > '9') return -1;
        x = 10 * x + at[i] - '0';
    }
    return len > 0 && len <= 9 ? x : -1;
}

/* {2+1} at p: adds what it stands for; its length, or 0 when that is no number, or below 0. */
static int add_brace(Text *t, const char *p, const Stars *s) {
    const char *from = p++;
    int which = 0, off = 0, sign = 0;
    while (*p >= '0' && *p <= '9') which = 10 * which + *p++ - '0';
    if (*p != '}') {
        sign = *p++ == '-' ? -1 : 1;
        while (*p >= '0' && *p <= '9') off = 10 * off + *p++ - '0';
    }
    if (!sign) {
        text_addn(t, s->at[which - 1], (size_t)s->len[which - 1]);
    } else {
        int64_t x = number_of(s->at[which - 1], s->len[which - 1]);
        if (x < 0 || x + sign * off < 0) return 0;
        text_addf(t, "%" PRId64, x + sign * off);
    }
    return (int)(p + 1 - from);
}

/* The right side with what the stars stand for; NULL: a number is wanted and none is there. */
static const char *substitute(Arena *a, const char *to, const Stars *s) {
    Text t = text_new(a);
    int star = 0;
    while (*to) {
        if (*to == '*') {
            text_addn(&t, s->at[star], (size_t)s->len[star]);
            star++;
            to++;
        } else if (*to == '{') {
            int n = add_brace(&t, to, s);
            if (!n) return NULL;
            to += n;
        } else {
            text_addn(&t, to++, 1);
        }
    }
    return t.data;
}

/* ---- steps ----------------------------------------------------------------------------------- */

/* A tensor on its way. Without data only the shape is of interest. */
typedef struct Way {
    Arena *arena;
    VmTensorView v;
    const VmTensorView *weight; /* it is to become */
} Way;

static int64_t elems(const VmTensorView *v) {
    int64_t n = 1;
    for (int i = 0; i < v->rank; i++) n *= v->dim[i];
    return n;
}

static void *room(Way *w, int64_t n) {
    return arena_array(w->arena, (size_t)n, 4);
}

/* The values of v in the order of a view with these dimensions and strides. */
static void gather(Way *w, int rank, const int64_t *dim, const int64_t *stride) {
    int64_t n = elems(&w->v), at[VM_MAX_RANK] = {0}, from = 0;
    int64_t inner = rank ? dim[rank - 1] : 1, step = rank ? stride[rank - 1] : 0;
    char *to = room(w, n);
    const char *data = w->v.data;
    for (int64_t i = 0; i < n; i += inner) {
        for (int64_t k = 0; k < inner; k++)
            memcpy(to + 4 * (i + k), data + 4 * (from + k * step), 4);
        for (int d = rank - 2; d >= 0; d--) {
            from += stride[d];
            if (++at[d] < dim[d]) break;
            from -= dim[d] * stride[d];
            at[d] = 0;
        }
    }
    w->v.data = to;
}

/* Each returns NULL, or why it cannot be done. */
static const char *step_transpose(Way *w, const RenameStep *s) {
    int64_t dim[VM_MAX_RANK], stride[VM_MAX_RANK], all[VM_MAX_RANK];
    unsigned seen = 0;
    if (s->n != w->v.rank)
        return arena_printf(w->arena, "it has %d numbers for %d dimensions", s->n, w->v.rank);
    int64_t n = 1;
    for (int i = w->v.rank - 1; i >= 0; i--) {
        all[i] = n;
        n *= w->v.dim[i];
    }
    for (int i = 0; i < s->n; i++) {
        int64_t from = s->arg[i];
        if (from < 0 || from >= s->n || seen & 1u << from)
            return arena_printf(w->arena, "it does not have each of 0 to %d once", s->n - 1);
        seen |= 1u << from;
        dim[i] = w->v.dim[from];
        stride[i] = all[from];
    }
    if (w->v.data) gather(w, s->n, dim, stride);
    memcpy(w->v.dim, dim, (size_t)s->n * sizeof dim[0]);
    return NULL;
}

static const char *step_reshape(Way *w, const RenameStep *s) {
    int64_t n = elems(&w->v), known = 1, dim[VM_MAX_RANK];
    int rank = s->n ? s->n : w->weight->rank, open = -1;
    for (int i = 0; i < rank; i++) {
        dim[i] = s->n ? s->arg[i] : w->weight->dim[i];
        if (dim[i] < 0 && open >= 0) return "more than one dimension is -1";
        if (dim[i] < 0)
            open = i;
        else if (__builtin_mul_overflow(known, dim[i], &known))
            return "the shape is too large";
    }
    if (open >= 0) {
        dim[open] = known ? n / known : 0;
        known *= dim[open];
    }
    if (known != n)
        return arena_printf(w->arena, "it has room for %" PRId64 " values, not for %" PRId64, known,
                            n);
    w->v.rank = rank;
    memcpy(w->v.dim, dim, (size_t)rank * sizeof dim[0]);
    return NULL;
}

static const char *step_squeeze(Way *w, const RenameStep *s) {
    (void)s;
    int rank = 0;
    for (int i = 0; i < w->v.rank; i++)
        if (w->v.dim[i] != 1) w->v.dim[rank++] = w->v.dim[i];
    w->v.rank = rank;
    return NULL;
}

static const char *step_split(Way *w, const RenameStep *s) {
    int64_t at = s->arg[0], n = s->arg[1];
    if (at < 0 || at >= w->v.rank)
        return arena_printf(w->arena, "there is no dimension %" PRId64, at);
    if (n < 1 || w->v.dim[at] % n)
        return arena_printf(w->arena, "%" PRId64 " does not divide %" PRId64, n, w->v.dim[at]);
    if (w->v.rank == VM_MAX_RANK) return "there are too many dimensions";
    memmove(w->v.dim + at + 1, w->v.dim + at, (size_t)(w->v.rank - at) * sizeof w->v.dim[0]);
    w->v.dim[at] = n;
    w->v.dim[at + 1] /= n;
    w->v.rank++;
    return NULL;
}

static const char *step_repeat(Way *w, const RenameStep *s) {
    (void)s;
    if (w->weight->rank != w->v.rank + 1)
        return arena_printf(w->arena, "it makes %d dimensions, the weight has %d", w->v.rank + 1,
                            w->weight->rank);
    int64_t copies = w->weight->dim[0], bytes = 4 * elems(&w->v);
    if (w->v.data) {
        char *to = arena_array(w->arena, (size_t)copies, (size_t)bytes);
        for (int64_t i = 0; i < copies; i++) memcpy(to + i * bytes, w->v.data, (size_t)bytes);
        w->v.data = to;
    }
    memmove(w->v.dim + 1, w->v.dim, (size_t)w->v.rank * sizeof w->v.dim[0]);
    w->v.dim[0] = copies;
    w->v.rank++;
    return NULL;
}

static const char *(*const step_of[STEP_COUNT])(Way *, const RenameStep *) = {
#define STEP(name, ...) step_##name,
#include "driver/session/rename.def"
};

/* All steps of a rule; the one that cannot be done and why, or NULL. */
static const RenameStep *take_steps(Way *w, const RenameRule *r, const char **why) {
    for (int i = 0; i < r->step.n; i++) {
        *why = step_of[r->step.at[i].kind](w, &r->step.at[i]);
        if (*why) return &r->step.at[i];
    }
    return NULL;
}

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

static const char *type_text(Arena *a, const VmTensorView *v) {
    IrType t = ir_type(v->dtype ? DT_i32 : DT_f32, v->rank, v->dim);
    return ir_type_text(a, &t);
}

static void wrong(Work *w, int rule, Span at, const char *text) {
    if (w->wrong[rule]++ == 0) w->said[rule] = diag_error(w->diags, at, D_rules_fit, "%s", text);
}

/* Whether the tensor becomes its weight; else the error is said. */
static bool fits(Work *w, int rule, const Renamed *x) {
    const RenameRule *r = &w->task->rules->rule.at[rule];
    const VmTensorView *want = &w->task->weight[x->weight];
    Way way = {.arena = w->arena, .v = *x->tensor, .weight = want};
    way.v.data = NULL;
    const char *why, *type = type_text(w->arena, x->tensor);
    const RenameStep *step = take_steps(&way, r, &why);
    if (step) {
        wrong(w, rule, step->span,
              arena_printf(w->arena, "'%s' %s cannot become '%s' %s by this: %s", x->tensor->name,
                           type, x->name, type_text(w->arena, want), why));
        return false;
    }
    if (way.v.rank == want->rank && way.v.dtype == want->dtype &&
        !memcmp(way.v.dim, want->dim, (size_t)want->rank * sizeof want->dim[0]))
        return true;
    const char *end = type_text(w->arena, &way.v);
    bool changed = strcmp(end, type) != 0;
    wrong(w, rule, r->span,
          arena_printf(w->arena, "'%s' %s%s%s but '%s' is %s", x->tensor->name, type,
                       changed ? " becomes " : "", changed ? end : "", x->name,
                       type_text(w->arena, want)));
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
    const char *to = substitute(w->arena, r->to, stars);
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
        if (match(r->rule.at[i].pattern, name, &stars) && decided(w, i, &stars, &name, x))
            x->rule = &r->rule.at[i];
    }
    if (x->fate == RENAME_LOADED) w->out->maker[x->weight] = x;
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
        bool taken = false;
        for (int k = 0; k < w->out->n && !taken; k++)
            taken = session_name_matches(r->pattern, w->out->of[k].tensor->name);
        diag_warning(w->diags, r->span, D_rules_fit, "'%s' %s", r->pattern,
                     taken ? "matches tensors that rules before it have taken, and no other"
                           : arena_printf(w->arena, "matches no tensor of %s", w->task->path));
    }
}

static void count(Rename *r) {
    for (int i = 0; i < r->n; i++) {
        r->loaded += r->of[i].fate == RENAME_LOADED;
        r->skipped += r->of[i].fate == RENAME_SKIPPED;
        r->unused += r->of[i].fate == RENAME_UNUSED;
    }
    r->missing = r->task->nweight - r->loaded;
}

Rename *session_rename(Arena *a, const RenameTask *t, Diags *d) {
    Rename *out = ARENA_NEW(a, Rename);
    *out = (Rename){.task = t, .n = vm_tensors_count(t->file)};
    out->of = ARENA_ARRAY(a, Renamed, out->n);
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
    for (int i = 0; i < out->n; i++) {
        out->of[i] =
            (Renamed){.tensor = vm_tensors_at(t->file, i), .fate = RENAME_UNUSED, .weight = -1};
        decide(&w, &out->of[i]);
    }
    say_rules(&w);
    count(out);
    return out;
}

int session_rename_values(Arena *a, const Rename *r, VmTensorView **out) {
    VmTensorView *list = ARENA_ARRAY(a, VmTensorView, r->loaded);
    int n = 0;
    for (int i = 0; i < r->n; i++) {
        const Renamed *x = &r->of[i];
        if (x->fate != RENAME_LOADED) continue;
        Way way = {.arena = a, .v = *x->tensor, .weight = &r->task->weight[x->weight]};
        const char *why = NULL;
        VM_CHECK(!take_steps(&way, x->rule, &why), "%s: %s", x->tensor->name, why);
        list[n] = way.v;
        list[n++].name = x->name;
    }
    *out = list;
    return n;
}
