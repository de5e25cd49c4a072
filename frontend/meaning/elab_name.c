/* Names: weight paths, their uniqueness, and which calls contribute a component.
 *
 * A weight's path is the model's name, one component for every enclosing layer call that can make
 * weights, the index of every enclosing loop, and the name in its `param` or `state` statement.
 * Whether a layer can make weights is decided from its text, not from the branches taken, so that
 * paths do not change with the configuration. */
#include "frontend/meaning/sema.h"

#include <inttypes.h>
#include <string.h>

#include "base/rng.h"

const char *path_join(Arena *a, const char *path, const char *name) {
    return *path ? arena_printf(a, "%s.%s", path, name) : name;
}

bool take_name(Elab *E, const char *name) {
    NameSlot *s = names_at(&E->used, E->a, name);
    if (s->value) return false;
    s->value = s;
    return true;
}

bool count_named(Elab *E, Span s) {
    if (E->stopped || ++E->nnamed <= FE_MAX_NAMED) return !E->stopped;
    sema_error(E, s, D_limit, "this model has more than %d weights, states and results",
               FE_MAX_NAMED);
    E->stopped = true;
    return false;
}

const char *unique_name(Elab *E, const char *base) {
    if (take_name(E, base)) return base;
    for (;;) { /* numbers that were given out are not tried again */
        int i = ++names_at(&E->used, E->a, base)->count + 1;
        const char *name = arena_printf(E->a, "%s_%d", base, i);
        if (take_name(E, name)) return name;
    }
}

FePath *path_child(Elab *E, const FePath *p, const char *component) {
    FePath *c = ARENA_NEW(E->a, FePath);
    c->text = unique_name(E, path_join(E->a, p->text, component));
    const char *own = c->text + strlen(p->text) + 1; /* with its suffix */
    c->init = path_join(E->a, p->init, own);
    c->rel = path_join(E->a, p->rel, own);
    return c;
}

FePath *path_index(Elab *E, const FePath *p, int64_t index, bool same_init) {
    FePath *c = ARENA_NEW(E->a, FePath);
    const char *own = arena_printf(E->a, "%" PRId64, index);
    c->text = path_join(E->a, p->text, own);
    c->init = same_init ? p->init : path_join(E->a, p->init, own);
    c->rel = path_join(E->a, p->rel, own);
    return c;
}

static bool mentions_weights(const FeExperiment *e, const Ast *x);

const Ast *named_call(const FeExperiment *e, const Ast *x) {
    while (x) {
        if (x->kind == AST_PAREN) {
            x = x->a;
            continue;
        }
        if (x->kind != AST_CALL) return NULL;
        if (!fe_find_builtin(x->name)) {
            const FeLayer *l = fe_find_layer(e, x->name);
            /* several layers in one pipe: the name belongs to none of them */
            if (l && l->makes_weights) return x->piped && mentions_weights(e, x->kid[0]) ? NULL : x;
        }
        if (x->nkid == 0 || x->kid[0]->name) return NULL;
        x = x->kid[0]->kind == AST_ARG ? x->kid[0]->a : x->kid[0];
    }
    return NULL;
}

static bool any_mentions(const FeExperiment *e, Ast *const *x, int n) {
    for (int i = 0; i < n; i++)
        if (mentions_weights(e, x[i])) return true;
    return false;
}

static bool mentions_weights(const FeExperiment *e, const Ast *x) {
    if (!x) return false;
    if (x->kind == AST_WEIGHT || x->kind == AST_STATE) return true;
    if (x->kind == AST_CALL && !fe_find_builtin(x->name)) {
        const FeLayer *l = fe_find_layer(e, x->name);
        if (l && l->makes_weights) return true;
    }
    return any_mentions(e, x->kid, x->nkid) || any_mentions(e, x->param, x->nparam) ||
           mentions_weights(e, x->a) || mentions_weights(e, x->b) || mentions_weights(e, x->other);
}

/* Every layer the statement or expression calls gets `caller` noted. */
typedef struct FeCaller {
    FeLayer *layer;
    struct FeCaller *next;
} FeCaller;

static void note_callers(FeExperiment *e, FeLayer *caller, const Ast *x);

static void note_all(FeExperiment *e, FeLayer *caller, Ast *const *x, int n) {
    for (int i = 0; i < n; i++) note_callers(e, caller, x[i]);
}

static void note_callers(FeExperiment *e, FeLayer *caller, const Ast *x) {
    if (!x) return;
    if (x->kind == AST_WEIGHT || x->kind == AST_STATE) caller->makes_weights = true;
    FeLayer *l =
        x->kind == AST_CALL && !fe_find_builtin(x->name) ? fe_find_layer(e, x->name) : NULL;
    if (l) {
        FeCaller *c = ARENA_NEW(e->a, FeCaller);
        *c = (FeCaller){caller, l->callers};
        l->callers = c;
    }
    note_all(e, caller, x->kid, x->nkid);
    note_all(e, caller, x->param, x->nparam);
    note_callers(e, caller, x->a);
    note_callers(e, caller, x->b);
    note_callers(e, caller, x->other);
}

/* Layers may call each other in any order: from those with a `param` of their own back to all that
 * call them, each once. */
void fe_mark_weight_layers(FeExperiment *e) {
    FeLayer **open = ARENA_ARRAY(e->a, FeLayer *, e->layer.n + 1);
    int n = 0;
    for (int i = 0; i < e->layer.n; i++) note_callers(e, e->layer.at[i], e->layer.at[i]->ast);
    for (int i = 0; i < e->layer.n; i++)
        if (e->layer.at[i]->makes_weights) open[n++] = e->layer.at[i];
    while (n > 0)
        for (const FeCaller *c = open[--n]->callers; c; c = c->next) {
            if (c->layer->makes_weights) continue;
            c->layer->makes_weights = true;
            open[n++] = c->layer;
        }
}
