/* What elaboration makes of the main file's expressions, remembered for editors (inspect.h). */
#include "frontend/inspect.h"
#include "frontend/meaning/sema.h"

void fe_watch(FeExperiment *e, bool watch) {
    if (watch && !e->seen_of.arena) e->seen_of = map_new(e->a);
    e->watched = watch;
}

/* Loops and calls come to the same node again: the first value stands for all of them. */
static FeSeen *seen_at(FeExperiment *e, const Ast *x) {
    void **at = map_at(&e->seen_of, MAP_KEY(x));
    if (!*at) *at = ARENA_NEW(e->a, FeSeen);
    return *at;
}

static bool is_watched(const Elab *E, const Ast *x) {
    return E->e->watched && E->g && x->span.src == E->e->main->src;
}

void sema_saw(Elab *E, const Ast *x, const FeValue *v) {
    if (!is_watched(E, x) || v->kind == FV_BAD) return;
    FeSeen *seen = seen_at(E->e, x);
    if (!seen->value) seen->value = v;
    seen->calls++;
}

void sema_made(Elab *E, const Ast *x, int64_t weights) {
    if (is_watched(E, x)) seen_at(E->e, x)->parameters += weights;
}

const FeSeen *sema_seen(const FeExperiment *e, const Ast *x) {
    return e->seen_of.arena ? map_get(&e->seen_of, MAP_KEY(x)) : NULL;
}
