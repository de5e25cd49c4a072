/* Layers of the main file that no model comes to: elaboration never sees them, so their names are
 * checked here, from the text. What a name holds is not known, only whether there is one. */
#include "frontend/meaning/sema.h"

#include <string.h>

static void bind(Elab *E, const char *name, Span at) {
    if (name && !scope_find(E->frame, name))
        scope_bind(E, E->frame->scope, name, fv_bad(), at, NULL);
}

/* All names that the layer binds, wherever it does. */
static void bind_all(Elab *E, const Ast *x) {
    if (!x) return;
    bool binds =
        x->kind == AST_FOR || x->kind == AST_WEIGHT || x->kind == AST_STATE || x->kind == AST_PARAM;
    if (binds) bind(E, x->name, x->name_span);
    for (int i = 0; x->kind == AST_BIND && i < x->nkid; i++)
        bind(E, x->kid[i]->name, x->kid[i]->span);
    for (int i = 0; x->kind == AST_PARAM && x->type && i < x->type->nkid; i++)
        if (x->type->kid[i]->kind == AST_NAME) bind(E, x->type->kid[i]->name, x->span);
    for (int i = 0; i < x->nparam; i++) bind_all(E, x->param[i]);
    for (int i = 0; i < x->nkid; i++) bind_all(E, x->kid[i]);
    bind_all(E, x->other);
}

/* Names of arguments, and how many there are. */
static void check_arguments(Elab *E, const Ast *call) {
    const FeLayer *l = fe_find_layer(E->e, call->name);
    const char *param[FE_MAX_PARAMS];
    const FeActual *slot[FE_MAX_PARAMS] = {0};
    int n = 0;
    if (!l || fe_find_builtin(call->name) || l->ast->nparam > FE_MAX_PARAMS) return;
    for (; n < l->ast->nparam; n++) param[n] = l->ast->param[n]->name ? l->ast->param[n]->name : "";
    FeActual *act = ARENA_ARRAY(E->a, FeActual, call->nkid + 1);
    for (int i = 0; i < call->nkid; i++) {
        const Ast *k = call->kid[i];
        bool named = k->kind == AST_ARG && k->name;
        act[i] = (FeActual){.name = named ? k->name : NULL,
                            .value = fv_bad(),
                            .span = k->span,
                            .name_span = k->name_span};
    }
    (void)match_args(E, call->name, l->ast->name_span, param, n, act, call->nkid, slot);
}

static void check(Elab *E, const Ast *x);

static void check_all(Elab *E, Ast *const *x, int n) {
    for (int i = 0; i < n; i++) check(E, x[i]);
}

/* A dimension of a result that is a name is known, or stands for any size. */
static void check_result(Elab *E, const Ast *type) {
    for (int i = 0; type && i < type->nkid; i++)
        if (type->kid[i]->kind != AST_NAME) check(E, type->kid[i]);
}

static void check(Elab *E, const Ast *x) {
    if (!x) return;
    bool dots = x->kind == AST_NAME && x->name && !strcmp(x->name, "..");
    if (x->kind == AST_NAME && x->name && !dots && !scope_find(E->frame, x->name) &&
        !fe_find_config(E->e, x->name))
        (void)sema_unknown_name(E, x);
    if (x->kind == AST_CALL && x->name) {
        if (fe_find_builtin(x->name) || fe_find_layer(E->e, x->name))
            check_arguments(E, x);
        else
            (void)sema_unknown_call(E, x);
    }
    if (x->kind == AST_LAYER)
        check_result(E, x->type);
    else
        check(E, x->type);
    check(E, x->a);
    check(E, x->b);
    check(E, x->other);
    check_all(E, x->param, x->nparam);
    if (x->kind != AST_BIND) check_all(E, x->kid, x->nkid);
}

void fe_check_uncalled(FeExperiment *e, Diags *d) {
    Elab E = elab_new(e, e->a, d);
    Names called = fe_called_layers(e);
    for (int i = 0; i < e->layer.n; i++) {
        const FeLayer *l = e->layer.at[i];
        if (l->file != e->main || names_get(&called, l->ast->name)) continue;
        FeFrame frame = {.scope = ARENA_NEW(e->a, FeScope), .layer = l, .name = l->ast->name};
        E.frame = &frame;
        bind_all(&E, l->ast);
        check(&E, l->ast);
    }
}
