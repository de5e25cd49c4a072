/* From the text of a program to the graphs that are interpreted and compiled. */
#include "tests/fuzz/programs/programs.h"

#include <stdlib.h>
#include <string.h>

static const char *first_error(Arena *a, const Diags *d) {
    int n;
    const Diag *const *list = diags_in_order(d, &n);
    for (int i = 0; i < n; i++) {
        if (list[i]->level != DIAG_ERROR) continue;
        Text t = text_new(a);
        text_addf(&t, "[%s] %s", diag_slug(list[i]->id), list[i]->text);
        return t.data;
    }
    return "it has no model";
}

static bool fail(Verdict *v, Outcome o, const char *text) {
    return verdict_set(v, o, "front", "%s", text);
}

bool front_open(Front *f, Arena *a, const char *text, int64_t batch, Verdict *v) {
    *f = (Front){.arena = a, .broken = f->broken};
    const char *models = getenv("VMOEC_MODELS");
    FeOptions *opt = ARENA_NEW(a, FeOptions);
    *opt = (FeOptions){.text = text, .model_dir = models ? models : "models"};
    Diags *d = diags_create(a);
    VmError err = {.text = ""};
    f->e = fe_load(a, "program.vmoe", opt, d, &err);
    if (!f->e) return fail(v, OUT_OF_invalid, err.text);
    if (d->nerrors || !fe_nmodel(f->e)) return fail(v, OUT_OF_invalid, first_error(a, d));
    const FeTrain *t = fe_ntrain(f->e) ? fe_train(f->e, 0) : NULL;
    PassCtx defaults = pass_ctx(NULL);
    f->optimizer = t ? t->recipe.optimizer : defaults.optimizer;
    f->model = t ? fe_elaborate_phase(f->e, a, t, t->recipe.data.batch, d)
                 : fe_elaborate(f->e, a, fe_model_name(f->e, 0), batch, d);
    if (!f->model || d->nerrors) return fail(v, OUT_OF_invalid, first_error(a, d));
    f->eval = front_lower(f, PIPE_EVAL, PASS_expand, 0, v);
    bool loss = false;
    for (int i = 0; i < f->model->nout; i++) loss |= f->model->out[i].kind == OUT_loss;
    if (!f->eval || !loss) return f->eval != NULL;
    f->grad = front_lower(f, PIPE_GRAD, PASS_simplify, 0, v);
    f->step = f->grad ? front_lower(f, PIPE_TRAIN, PASS_simplify, 0, v) : NULL;
    return f->step != NULL;
}

/* The compiled side alone takes every op of this kind for a hyperbolic tangent. */
static void break_graph(IrGraph *g, OpCode op) {
    IR_FOR (n, g)
        if (n->op == op) n->op = OP_tanh;
}

IrGraph *front_lower(const Front *f, Pipeline pipe, PassId until, int recompute, Verdict *v) {
    IrGraph *g = ir_graph_clone(f->arena, f->model);
    if (until == PASS_COUNT && f->broken != OP_COUNT) break_graph(g, f->broken);
    PassCtx c = pass_ctx(arena_create());
    c.training = pipe != PIPE_EVAL;
    c.optimizer = f->optimizer;
    c.recompute = recompute;
    c.routes = pipe == PIPE_EVAL    ? ROUTES_CHOSEN
               : pipe == PIPE_TRAIN ? ROUTES_MEASURED
                                    : ROUTES_UNSEEN;
    const PassId *list;
    int n = pass_pipeline_part(pipe, false, PASS_COUNT, until, &list);
    const char *error = pass_run(&c, g, list, n);
    arena_destroy(c.scratch);
    if (!error) return g;
    (void)fail(v, OUT_OF_refused, error);
    return NULL;
}
