/* What a file says and nothing reads: settings, inputs, parameters, names, layers; and names that
 * hide a setting. Judged from the text alone, so that it does not change with the configuration.
 * Weights that nothing depends on are found in the graph (doubts.c). A name that begins with `_` is
 * meant to be unused. */
#include "frontend/meaning/sema.h"

#include <string.h>

typedef void (*Visit)(void *ctx, const Ast *x);

/* Every node of an expression or statement, itself first. */
static void walk(const Ast *x, Visit visit, void *ctx) {
    if (!x) return;
    visit(ctx, x);
    walk(x->type, visit, ctx);
    walk(x->a, visit, ctx);
    walk(x->b, visit, ctx);
    walk(x->other, visit, ctx);
    for (int i = 0; i < x->nparam; i++) walk(x->param[i], visit, ctx);
    for (int i = 0; i < x->nkid && x->kind != AST_BIND; i++) walk(x->kid[i], visit, ctx);
}

typedef struct Unused {
    FeExperiment *e;
    Diags *d;
    const FeFile *file;
    const Ast *decl; /* the layer or model that is looked at */
    Names read;      /* names that it reads */
    Names setting;   /* those that are read where no parameter hides them, in all files */
    Names called;    /* layers that a model comes to */
} Unused;

static void add(Names *n, Arena *a, const char *name) {
    NameSlot *s = names_at(n, a, name);
    s->value = s;
}

static const Ast *param_of(const Ast *decl, const char *name) {
    for (int i = 0; decl && i < decl->nparam; i++)
        if (decl->param[i]->name && !strcmp(decl->param[i]->name, name)) return decl->param[i];
    return NULL;
}

/* ---- what is read ---------------------------------------------------------------------------- */

static void note_read(void *ctx, const Ast *x) {
    Unused *u = ctx;
    bool update = x->kind == AST_UPDATE && x->name;
    if (x->kind != AST_NAME && !update) return;
    add(&u->read, u->e->a, x->name);
    if (!param_of(u->decl, x->name)) add(&u->setting, u->e->a, x->name);
}

static void read_settings(Unused *u) {
    for (int i = 0; i < u->e->file.n; i++) {
        const Ast *file = u->e->file.at[i]->ast;
        for (int k = 0; k < file->nkid; k++) {
            u->decl = file->kid[k];
            walk(file->kid[k], note_read, u);
        }
    }
}

static void note_call(void *ctx, const Ast *x) {
    Unused *u = ctx;
    if (x->kind != AST_CALL || !x->name || names_get(&u->called, x->name)) return;
    const FeLayer *l = fe_find_layer(u->e, x->name);
    if (!l) return;
    add(&u->called, u->e->a, x->name);
    walk(l->ast, note_call, u);
}

Names fe_called_layers(FeExperiment *e) {
    Unused u = {.e = e};
    for (int i = 0; i < e->model.n; i++) walk(e->model.at[i], note_call, &u);
    return u.called;
}

/* ---- settings -------------------------------------------------------------------------------- */

static bool is_user_file(const Unused *u, const Source *src) {
    for (int i = 0; i < u->e->file.n; i++)
        if (u->e->file.at[i]->src == src) return !u->e->file.at[i]->is_std;
    return false;
}

static void warn_settings(Unused *u) {
    for (int i = 0; i < u->e->config.n; i++) {
        const FeConfig *c = &u->e->config.at[i];
        if (c->name[0] == '_' || names_get(&u->setting, c->name) || !is_user_file(u, c->src))
            continue;
        diag_warning(u->d, c->span, D_unused_name,
                     "config `%s` is never used: its value changes nothing; remove it, or use it",
                     c->name);
    }
}

static void warn_hidden(Unused *u, const char *name, Span at) {
    const FeConfig *c = fe_find_config(u->e, name);
    if (!c || c->src != at.src || param_of(u->decl, name)) return;
    Diag *dg = diag_warning(u->d, at, D_hidden_config,
                            "`%s` hides the config `%s` from here on: --set %s=.. does not change "
                            "it; choose another name",
                            name, name, name);
    diag_note(u->d, dg, c->span, "config `%s` is here", name);
}

static void note_hidden(void *ctx, const Ast *x) {
    Unused *u = ctx;
    for (int i = 0; x->kind == AST_BIND && i < x->nkid; i++)
        if (x->kid[i]->name) warn_hidden(u, x->kid[i]->name, x->kid[i]->span);
    if ((x->kind == AST_FOR || x->kind == AST_WEIGHT || x->kind == AST_STATE) && x->name)
        warn_hidden(u, x->name, x->name_span);
}

/* ---- names of a layer or model --------------------------------------------------------------- */

static bool makes_weights(const FeExperiment *e, const Ast *x) {
    if (!x) return false;
    const FeLayer *l = x->kind == AST_CALL && x->name ? fe_find_layer(e, x->name) : NULL;
    if (l && l->makes_weights) return true;
    for (int i = 0; i < x->nkid; i++)
        if (makes_weights(e, x->kid[i])) return true;
    return makes_weights(e, x->a) || makes_weights(e, x->b) || makes_weights(e, x->other);
}

/* `a, b = ..` is one statement: one of its names is enough. What has weights is the graph's. */
static void note_bind(void *ctx, const Ast *x) {
    Unused *u = ctx;
    if (x->kind != AST_BIND || makes_weights(u->e, x->a)) return;
    for (int i = 0; i < x->nkid; i++) {
        const char *name = x->kid[i]->name;
        if (!name || name[0] == '_' || names_get(&u->read, name)) return;
    }
    if (x->nkid == 0) return;
    diag_warning(u->d, x->kid[0]->span, D_unused_name,
                 "`%s` is never used: remove it, or call it `_%s`", x->kid[0]->name,
                 x->kid[0]->name);
}

static void warn_params(Unused *u) {
    bool model = u->decl->kind == AST_MODEL;
    for (int i = 0; i < u->decl->nparam; i++) {
        const Ast *p = u->decl->param[i];
        if (!p->name || p->name[0] == '_' || names_get(&u->read, p->name)) continue;
        diag_warning(u->d, p->span, D_unused_name, "%s `%s` of `%s` is never used: %s",
                     model ? "input" : "parameter", p->name, u->decl->name,
                     model ? "the model does not depend on it" : "remove it, or use it");
    }
}

static void look_at(Unused *u, const Ast *decl) {
    bool layer = decl->kind == AST_LAYER;
    if ((!layer && decl->kind != AST_MODEL) || !decl->name) return;
    u->decl = decl;
    if (layer && u->file == u->e->main && u->e->model.n && !names_get(&u->called, decl->name)) {
        diag_warning(u->d, decl->name_span, D_uncalled_layer,
                     "layer `%s` is never called: no model of this file comes to it; remove it, or "
                     "call it",
                     decl->name);
        return;
    }
    u->read = (Names){0};
    walk(decl, note_read, u);
    warn_params(u);
    for (int i = 0; i < decl->nkid; i++) {
        walk(decl->kid[i], note_bind, u);
        walk(decl->kid[i], note_hidden, u);
    }
}

void fe_warn_unused(FeExperiment *e, Diags *d) {
    Unused u = {.e = e, .d = d, .called = fe_called_layers(e)};
    read_settings(&u);
    warn_settings(&u);
    for (int i = 0; i < e->file.n; i++) {
        u.file = e->file.at[i];
        for (int k = 0; !u.file->is_std && k < u.file->ast->nkid; k++)
            look_at(&u, u.file->ast->kid[k]);
    }
}
