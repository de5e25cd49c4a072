/* Uses rules for names backwards (rename.h): which tensor of another program becomes a weight,
 * under which shape, and with which values.
 *
 * A name is sought through the rules from the one that names the weight up to the first, undoing
 * => on the way. Whether it is right, session_rename says: what is found here is what comes back by
 * the same rules. Of several names that do, the one counts that the earliest rule changes, for a
 * special rule stands before a general one. */
#include "base/bug.h"
#include "driver/session/steps.h"

#include <string.h>

enum { MAX_TRIES = 256 }; /* names for one weight */

/* The search for one weight's tensor. */
typedef struct Seek {
    Arena *arena;
    const RenameTask *task;
    RenameProbe *probe;
    RenamedBack *x;
    const char *below; /* the weight's name below the model's */
    const RenameRule *rule;
    int tries;
    const char *best; /* name so far; NULL: none */
    int first;        /* the first rule that changes it */
    /* what a rule that fits the weight lacks: the first of them */
    const char *why;
    Span where;
} Seek;

static void lacks(Seek *s, Span where, const char *why) {
    if (s->why || !why) return;
    s->why = why;
    s->where = where;
}

/* Whether the tensor of that name becomes the weight by the very rule. */
static bool comes_back(Seek *s, const char *name) {
    s->tries++;
    s->x->tensor.name = name;
    Renamed y = session_rename_try(s->probe, &s->x->tensor);
    return y.fate == RENAME_LOADED && y.rule == s->rule &&
           &s->task->weight[y.weight] == s->x->weight;
}

/* Looks for tensors that rule i and those below it see under this name, whatever the rules above
 * have made of theirs. first: the rule that was undone last. */
static void seek_name(Seek *s, int i, const char *name, int first) {
    for (i--; i >= 0; i--) {
        const RenameRule *r = &s->task->rules->rule.at[i];
        const char *why;
        Stars stars;
        if (!r->again || s->tries >= MAX_TRIES) continue;
        const char *before = session_pattern_back(s->arena, r->pattern, r->to, name, &why);
        if (before) seek_name(s, i, before, i);
        lacks(s, r->span, why);
        if (session_pattern_match(r->pattern, name, &stars)) return; /* it would be renamed */
    }
    if ((s->best && first >= s->first) || !comes_back(s, name)) return;
    s->best = name;
    s->first = first;
}

/* Whether rule i makes the weight of a tensor, which is found then. */
static bool seek_by(Seek *s, int i) {
    const RenameRule *r = s->rule = &s->task->rules->rule.at[i];
    const char *why;
    const char *name = session_pattern_back(s->arena, r->pattern, r->to, s->below, &why);
    lacks(s, r->span, why);
    if (!name) return false;
    Way way = {.arena = s->arena,
               .v = *s->x->weight,
               .weight = s->x->weight,
               .channels = s->task->channels};
    way.v.data = NULL;
    const RenameStep *step = session_steps_back(&way, r, &why);
    if (step) lacks(s, step->span, why);
    if (step) return false;
    s->x->tensor = way.v;
    seek_name(s, i, name, s->task->rules->rule.n);
    s->x->tensor.name = s->best;
    if (s->best) return true;
    lacks(s, r->span, "no name leads to it through the rules above");
    return false;
}

static bool seek(Seek *s) {
    const RenameRules *rules = s->task->rules;
    for (int i = 0; i < rules->rule.n; i++) {
        const RenameRule *r = &rules->rule.at[i];
        if (!r->to || r->again || !seek_by(s, i)) continue;
        s->x->rule = r;
        s->x->name = s->x->tensor.name;
        return true;
    }
    return false;
}

/* ---- all weights ----------------------------------------------------------------------------- */

static bool is_left_out(const char *below, const char *const *skip, int nskip) {
    Stars stars;
    for (int i = 0; i < nskip; i++)
        if (session_pattern_match(skip[i], below, &stars)) return true;
    return false;
}

/* What is wrong at one place of the rules, or with no rule at all: the first weight is named, the
 * others counted. */
typedef struct Lack {
    Span where;
    Diag *said;
    int more;
} Lack;

typedef struct Lacks {
    Arena *arena;
    Diags *diags;
    VEC(Lack) at;
} Lacks;

static void say_lack(Lacks *all, const Seek *s) {
    for (int i = 0; i < all->at.n; i++) {
        Lack *l = &all->at.at[i];
        if (l->where.src != s->where.src || l->where.start != s->where.start) continue;
        l->more++;
        return;
    }
    const char *name = s->x->weight->name, *type = session_view_text(s->arena, s->x->weight);
    Lack l = {.where = s->where};
    if (s->why)
        l.said = diag_error(all->diags, s->where, D_rules_fit,
                            "'%s' %s cannot be read backwards from this: %s", name, type, s->why);
    else
        l.said = diag_error(all->diags, (Span){0}, D_rules_fit, "no rule makes '%s' %s of a tensor",
                            name, type);
    VEC_PUSH(all->arena, all->at, l);
}

static void say_more(const Lacks *all) {
    for (int i = 0; i < all->at.n; i++) {
        const Lack *l = &all->at.at[i];
        if (l->more)
            diag_note(all->diags, l->said, (Span){0}, "%d more weight%s like this", l->more,
                      l->more > 1 ? "s are" : " is");
    }
}

/* Rules whose weights the model does not have. */
static int count_idle(Arena *a, const RenameBack *r) {
    const RenameRules *rules = r->task->rules;
    bool *used = ARENA_ARRAY(a, bool, rules->rule.n);
    int n = 0;
    for (int i = 0; i < r->task->nweight; i++)
        if (r->of[i].rule) used[r->of[i].rule - rules->rule.at] = true;
    for (int i = 0; i < rules->rule.n; i++)
        n += rules->rule.at[i].to && !rules->rule.at[i].again && !used[i];
    return n;
}

RenameBack *session_rename_back(Arena *a, const RenameTask *t, const char *const *skip, int nskip,
                                Diags *d) {
    RenameBack *out = ARENA_NEW(a, RenameBack);
    *out = (RenameBack){.task = t, .of = ARENA_ARRAY(a, RenamedBack, t->nweight)};
    RenameProbe *probe = session_rename_probe(a, t);
    Lacks lacking = {.arena = a, .diags = d};
    size_t prefix = strlen(t->model) + 1;
    for (int i = 0; i < t->nweight; i++) {
        RenamedBack *x = &out->of[i];
        x->weight = &t->weight[i];
        Seek s = {.arena = a, .task = t, .probe = probe, .x = x, .below = x->weight->name + prefix};
        x->left_out = is_left_out(s.below, skip, nskip);
        out->left_out += x->left_out;
        if (x->left_out) continue;
        if (seek(&s))
            out->named++;
        else
            say_lack(&lacking, &s);
    }
    say_more(&lacking);
    out->idle = count_idle(a, out);
    return out;
}

VmTensorView session_rename_back_value(Arena *a, const RenameBack *r, int i) {
    const RenamedBack *x = &r->of[i];
    Way way = {.arena = a, .v = *x->weight, .weight = x->weight, .channels = r->task->channels};
    const char *why = NULL;
    VM_CHECK(x->rule && !session_steps_back(&way, x->rule, &why), "%s: %s", x->weight->name, why);
    way.v.name = x->name;
    return way.v;
}
