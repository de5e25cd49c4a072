/* Scopes, and layer calls, which are expanded in place. Arguments are evaluated in the
 * caller's scope but under the path of the call, so that weights made inside them are nested under
 * it; what is piped into a call keeps the caller's path. */
#include "frontend/meaning/sema.h"

#include <inttypes.h>
#include <string.h>

/* ---- scopes --------------------------------------------------------------------------------- */

enum { INDEXED_FROM = 16 }; /* bindings of a scope: fewer are found as fast one by one */

static FeBinding *find_in(const FeScope *s, const char *name) {
    if (s->n > INDEXED_FROM) return names_get(&s->of, name);
    for (FeBinding *b = s->first; b; b = b->next)
        if (!strcmp(b->name, name)) return b;
    return NULL;
}

FeBinding *scope_find(const FeFrame *f, const char *name) {
    for (const FeScope *s = f->scope; s; s = s->up) {
        FeBinding *b = find_in(s, name);
        if (b) return b;
    }
    return NULL;
}

/* The newest binding of a name is in front of older ones. */
static void index_bindings(Elab *E, FeScope *s) {
    for (FeBinding *b = s->first; b; b = b->next) {
        NameSlot *slot = names_at(&s->of, E->a, b->name);
        if (!slot->value) slot->value = b;
    }
}

FeBinding *scope_bind(Elab *E, FeScope *s, const char *name, const FeValue *v, Span span,
                      const char *fixed) {
    FeBinding *b = ARENA_NEW(E->a, FeBinding);
    *b = (FeBinding){.name = name, .value = v, .span = span, .fixed = fixed, .next = s->first};
    s->first = b;
    s->n++;
    if (s->n > INDEXED_FROM + 1)
        names_at(&s->of, E->a, name)->value = b;
    else if (s->n > INDEXED_FROM)
        index_bindings(E, s);
    return b;
}

/* ---- arguments ------------------------------------------------------------------------------ */

static FeActual eval_arg(Elab *E, const Ast *k) {
    FeActual act = {.name = k->kind == AST_ARG ? k->name : NULL};
    if (act.name) act.name_span = k->name_span;
    act.span = k->kind == AST_ARG && k->a ? k->a->span : k->span;
    act.value = eval_expr(E, k->kind == AST_ARG ? k->a : k);
    return act;
}

FeActual *eval_args(Elab *E, const Ast *call) {
    FeActual *act = ARENA_ARRAY(E->a, FeActual, call->nkid + 1);
    for (int i = 0; i < call->nkid; i++) act[i] = eval_arg(E, call->kid[i]);
    return act;
}

/* The arguments of a layer call, whose own path this enters: arguments nest under it, what is piped
 * into it stands beside it. */
static FeActual *enter_and_eval_args(Elab *E, const FeLayer *l, const Ast *call) {
    FeActual *act = ARENA_ARRAY(E->a, FeActual, call->nkid + 1);
    int first = call->piped && call->nkid ? 1 : 0;
    if (first) act[0] = eval_arg(E, call->kid[0]);
    if (l->makes_weights) {
        bool named = E->named_call == call;
        E->path = path_child(E, E->path, named ? E->named_as : call->name);
        if (named) E->named_call = NULL;
    }
    for (int i = first; i < call->nkid; i++) act[i] = eval_arg(E, call->kid[i]);
    return act;
}

static int find_param(const char *const *param, int n, const char *name) {
    for (int i = 0; i < n; i++)
        if (!strcmp(param[i], name)) return i;
    return -1;
}

static void unknown_arg(Elab *E, const char *callee, Span decl, const char *const *param,
                        int nparam, const FeActual *act) {
    Diag *dg = sema_error(E, act->name_span, D_unknown_argument, "`%s` has no parameter `%s`%s",
                          callee, act->name, sema_argument_hint(E, act->name, param, nparam));
    sema_note(E, dg, decl, "`%s` is declared here", callee);
}

static bool take_slot(Elab *E, const char *callee, const char *name, const FeActual *act,
                      const FeActual **slot) {
    if (!*slot) {
        *slot = act;
        return act->value->kind != FV_BAD;
    }
    Diag *dg =
        sema_error(E, act->span, D_duplicate_argument, "`%s` is given twice to `%s`", name, callee);
    sema_note(E, dg, (*slot)->span, "the first one is here");
    return false;
}

static bool too_many(Elab *E, const char *callee, Span decl, int nparam, const FeActual *act) {
    Diag *dg =
        sema_error(E, act->span, D_too_many_arguments, "`%s` takes %d argument%s, this is one more",
                   callee, nparam, nparam == 1 ? "" : "s");
    sema_note(E, dg, decl, "`%s` is declared here", callee);
    return false;
}

/* f(x, patch = 7, dim): arguments before the first named one go by position; those after it take
 * the parameters that are still free, in order. */
bool match_args(Elab *E, const char *callee, Span decl, const char *const *param, int nparam,
                const FeActual *act, int nact, const FeActual **slot) {
    bool ok = true;
    int lead = 0;
    for (; lead < nact && !act[lead].name; lead++) {
        if (lead >= nparam) return too_many(E, callee, decl, nparam, &act[lead]);
        ok = take_slot(E, callee, param[lead], &act[lead], &slot[lead]) && ok;
    }
    for (int i = lead; i < nact; i++) {
        if (!act[i].name) continue;
        int at = find_param(param, nparam, act[i].name);
        if (at < 0) unknown_arg(E, callee, decl, param, nparam, &act[i]);
        ok = at >= 0 && take_slot(E, callee, param[at], &act[i], &slot[at]) && ok;
    }
    for (int i = lead, at = 0; i < nact; i++) {
        if (act[i].name) continue;
        while (at < nparam && slot[at]) at++;
        if (at == nparam) return too_many(E, callee, decl, nparam, &act[i]);
        ok = take_slot(E, callee, param[at], &act[i], &slot[at]) && ok;
    }
    return ok;
}

/* ---- layer calls ---------------------------------------------------------------------------- */

static bool grouped_args(Elab *E, const Ast *call, const FeActual *act, int n, FeGroup **group) {
    const FeValue **v = ARENA_ARRAY(E->a, const FeValue *, n + 1);
    int nv = 0;
    for (int i = 0; i < n; i++)
        if (act[i].value->kind == FV_TENSOR) v[nv++] = act[i].value;
    bool rows;
    return common_group(E, call->span, arena_printf(E->a, "layer `%s`", call->name), v, nv, group,
                        &rows);
}

static bool bind_params(Elab *E, const FeLayer *l, const Ast *call, FeFrame *callee,
                        const FeActual **slot) {
    for (int i = 0; i < l->ast->nparam; i++) {
        const Ast *p = l->ast->param[i];
        const FeValue *v = slot[i] ? slot[i]->value : NULL;
        Span at = slot[i] ? slot[i]->span : p->span;
        if (!v && !p->a) {
            Diag *dg = sema_error(E, call->span, D_missing_argument, "`%s` needs an argument `%s`",
                                  call->name, p->name);
            sema_note(E, dg, p->span, "declared here");
            return false;
        }
        if (!v) {
            FeFrame *saved = E->frame;
            E->frame = callee;
            v = eval_expr(E, p->a);
            E->frame = saved;
        }
        if (v->kind == FV_BAD) return false;
        const char *what = arena_printf(E->a, "argument `%s` of `%s`", p->name, call->name);
        if (p->type && !match_type(E, p->type, v, callee, at, what)) return false;
        /* A dimension of an earlier parameter may have this one's name: the parameter wins. */
        scope_bind(E, callee->scope, p->name, v, p->span, NULL);
        sema_saw(E, p, v);
    }
    return true;
}

static bool enter_call(Elab *E, const FeLayer *l, const Ast *call) {
    if (++E->steps > FE_MAX_STEPS) {
        sema_error(E, call->span, D_limit, "more than %d layer calls and loop iterations",
                   FE_MAX_STEPS);
        E->stopped = true;
        return false;
    }
    if (E->call_depth < FE_MAX_CALLS) return true;
    Text cycle = text_new(E->a);
    const FeFrame *f = E->frame;
    for (; f && f->layer && f->layer != l; f = f->up) text_addf(&cycle, " -> `%s`", f->name);
    bool found = f && f->layer == l;
    if (found)
        sema_error(E, call->span, D_recursion, "layer `%s` calls itself without end%s%s",
                   call->name, E->frame->layer == l ? "" : ", through",
                   E->frame->layer == l ? "" : cycle.data + 3);
    else
        sema_error(E, call->span, D_recursion, "layer calls are nested more than %d deep",
                   FE_MAX_CALLS);
    E->stopped = true;
    return false;
}

static const FeValue *run_body(Elab *E, const FeLayer *l, const Ast *call, FeFrame *callee) {
    FeFrame *saved = E->frame;
    E->frame = callee;
    E->call_depth++;
    const FeValue *v = eval_block(E, l->ast->kid, l->ast->nkid, true);
    E->call_depth--;
    E->frame = saved;
    bool left = E->left;
    E->left = false;
    if (E->stopped || left || (v && v->kind == FV_BAD)) return fv_bad();
    if (!v) {
        Diag *dg =
            sema_error(E, call->span, D_no_result,
                       "layer `%s` has no result: its last statement is no expression", call->name);
        sema_note(E, dg, l->ast->name_span, "`%s` is declared here", call->name);
        return fv_bad();
    }
    const char *what = arena_printf(E->a, "the result of `%s`", call->name);
    if (l->ast->type && !match_type(E, l->ast->type, v, callee, call->span, what)) return fv_bad();
    if (v->kind != FV_TENSOR) return v;
    FeValue *own =
        ARENA_NEW(E->a, FeValue); /* later messages point at the call, not into the layer */
    *own = *v;
    own->span = call->span;
    own->maker = l->ast->name;
    return own;
}

const FeValue *call_layer(Elab *E, const FeLayer *l, const Ast *call) {
    if (!enter_call(E, l, call)) return fv_bad();
    const FePath *saved = E->path;
    const FeActual *act = enter_and_eval_args(E, l, call);
    int np = l->ast->nparam;
    const char **param = ARENA_ARRAY(E->a, const char *, np + 1);
    for (int i = 0; i < np; i++) param[i] = l->ast->param[i]->name;
    const FeActual **slot = ARENA_ARRAY(E->a, const FeActual *, np + 1);
    FeFrame callee = {.scope = ARENA_NEW(E->a, FeScope),
                      .layer = l,
                      .name = call->name,
                      .call = call->span,
                      .given = slot,
                      .up = E->frame};
    const FeValue *v = fv_bad();
    int64_t weights = E->weights;
    if (match_args(E, call->name, l->ast->name_span, param, np, act, call->nkid, slot) &&
        grouped_args(E, call, act, call->nkid, &callee.group) &&
        bind_params(E, l, call, &callee, slot))
        v = run_body(E, l, call, &callee);
    sema_saw(E, l->ast, v);
    sema_made(E, l->ast, E->weights - weights);
    sema_made(E, call, E->weights - weights);
    E->path = saved;
    return v;
}
