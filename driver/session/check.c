/* What `check` and editors ask: every mistake of a file, in all its models and train blocks,
 * without compiling it and without looking at data. */
#include "driver/session/session.h"

#include <string.h>

#include "base/names.h"

static bool is_trained(const FeExperiment *e, const char *model) {
    for (int i = 0; i < fe_ntrain(e); i++)
        if (!strcmp(fe_train(e, i)->model, model)) return true;
    return false;
}

static const IrGraph *check_model(Session *s, FeExperiment *e, const char *model, int64_t batch,
                                  Diags *d) {
    bool trains = is_trained(e, model);
    const IrGraph *g = fe_elaborate(e, s->arena, model, trains ? 0 : batch, d);
    if (g && trains) (void)session_try_training(s, e, model, g, d);
    if (g) session_try_lowering(s, e, model, g, d);
    return g;
}

/* Models of one scope have weights in common: of one name, of one shape. */
static void check_shared(Arena *a, const FeExperiment *e, const IrGraph *g, int i,
                         const IrGraph *other, int j, Diags *d) {
    Names weights = {0};
    IR_FOR (n, other)
        if (n->op == OP_param) names_at(&weights, a, ir_str(n, ATTR_param_name))->value = n;
    IR_FOR (n, g) {
        const IrNode *o =
            n->op == OP_param ? names_get(&weights, ir_str(n, ATTR_param_name)) : NULL;
        if (!o || ir_type_equal(&n->out[0].type, &o->out[0].type)) continue;
        Diag *dg =
            diag_error(d, fe_place(e, (IrLoc){0}, fe_model_name(e, i)), D_scope_shape,
                       "the weight %s is %s in `%s` and %s in `%s`: models of one scope "
                       "share it; give one of the two another name",
                       ir_str(n, ATTR_param_name), ir_type_text(a, &n->out[0].type),
                       fe_model_name(e, i), ir_type_text(a, &o->out[0].type), fe_model_name(e, j));
        diag_note(d, dg, fe_place(e, (IrLoc){0}, fe_model_name(e, j)), "the other model is this");
    }
}

static void check_scopes(Arena *a, const FeExperiment *e, const IrGraph *const *g, Diags *d) {
    for (int i = 0; i < fe_nmodel(e); i++)
        for (int j = 0; j < i && g[i] && !d->nerrors; j++)
            if (g[j] && !strcmp(fe_model_scope(e, i), fe_model_scope(e, j)))
                check_shared(a, e, g[i], i, g[j], j, d);
}

void session_check(Session *s, FeExperiment *e, int64_t batch, Diags *d) {
    const IrGraph **graphs = ARENA_ARRAY(s->arena, const IrGraph *, fe_nmodel(e) + 1);
    for (int i = 0; i < fe_nmodel(e) && !d->nerrors; i++)
        graphs[i] = check_model(s, e, fe_model_name(e, i), batch, d);
    check_scopes(s->arena, e, graphs, d);
    for (int i = 0; i < fe_ntrain(e) && !d->nerrors; i++) /* models' later train blocks */
        if (fe_train(e, i) != fe_train_of(e, fe_train(e, i)->model))
            (void)fe_elaborate_phase(e, s->arena, fe_train(e, i), 0, d);
    if (!d->nerrors) fe_advise(e, d);
}
