/* What `check` and editors ask: every mistake of a file, in all its models and train blocks,
 * without compiling it and without looking at data. */
#include "driver/session/session.h"

#include <string.h>

static bool is_trained(const FeExperiment *e, const char *model) {
    for (int i = 0; i < fe_ntrain(e); i++)
        if (!strcmp(fe_train(e, i)->model, model)) return true;
    return false;
}

static void check_model(Session *s, FeExperiment *e, const char *model, int64_t batch, Diags *d) {
    bool trains = is_trained(e, model);
    const IrGraph *g = fe_elaborate(e, s->arena, model, trains ? 0 : batch, d);
    if (g && trains) (void)session_try_training(s, e, model, g, d);
    if (g) session_try_lowering(s, e, model, g, d);
}

void session_check(Session *s, FeExperiment *e, int64_t batch, Diags *d) {
    for (int i = 0; i < fe_nmodel(e) && !d->nerrors; i++)
        check_model(s, e, fe_model_name(e, i), batch, d);
    for (int i = 0; i < fe_ntrain(e) && !d->nerrors; i++) /* models' later train blocks */
        if (fe_train(e, i) != fe_train_of(e, fe_train(e, i)->model))
            (void)fe_elaborate_phase(e, s->arena, fe_train(e, i), 0, d);
}
