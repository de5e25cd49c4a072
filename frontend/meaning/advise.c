/* Warnings of what compiles and is hardly meant: of a whole file, of the lengths in a train block,
 * of a model's classes beside those of its data. */
#include "frontend/meaning/sema.h"

#include <inttypes.h>
#include <math.h>

/* ---- lengths --------------------------------------------------------------------------------- */

static const char *length_text(Arena *a, VmSpan s) {
    const char *unit = s.in_steps ? "step" : "epoch";
    return arena_printf(a, "%s %s%s", fe_number_text(a, s.count), unit, s.count == 1 ? "" : "s");
}

/* " (37 steps)" where the length is in epochs. */
static const char *in_steps(Arena *a, VmSpan s, int64_t steps_per_epoch) {
    if (s.in_steps || !steps_per_epoch) return "";
    return arena_printf(a, " (%" PRId64 " steps)", vm_span_steps(s, steps_per_epoch));
}

static void warn_no_steps(const FeTrain *t, VmSpan epochs, int64_t per_epoch, Diags *d) {
    const char *why = per_epoch ? arena_printf(d->arena, ": an epoch has %" PRId64 " step%s here",
                                               per_epoch, per_epoch == 1 ? "" : "s")
                                : "";
    Span at = t->place[VM_FIELD_epochs].src ? t->place[VM_FIELD_epochs] : t->span;
    diag_warning(d, at, D_no_steps,
                 "%s round to no step%s; nothing is trained: write a longer `epochs`, or `epochs = "
                 "1 step`",
                 length_text(d->arena, epochs), why);
}

static void warn_warmup(const FeTrain *t, VmSpan epochs, int64_t per_epoch, Diags *d) {
    VmSpan warmup = t->recipe.schedule.warmup;
    Diag *dg = diag_warning(d, t->place[VM_FIELD_schedule], D_long_warmup,
                            "the warm-up of %s%s is longer than the run of %s%s: the rate never "
                            "reaches its peak; shorten `warmup`, or train longer",
                            length_text(d->arena, warmup), in_steps(d->arena, warmup, per_epoch),
                            length_text(d->arena, epochs), in_steps(d->arena, epochs, per_epoch));
    if (t->place[VM_FIELD_epochs].src)
        diag_note(d, dg, t->place[VM_FIELD_epochs], "the length of the run is here");
}

void fe_advise_lengths(const FeTrain *t, VmSpan epochs, int64_t steps_per_epoch, Diags *d) {
    VmSpan warmup = t->recipe.schedule.warmup;
    bool same_unit = warmup.in_steps == epochs.in_steps;
    int64_t total = vm_span_steps(epochs, steps_per_epoch);
    VmSpan own = t->recipe.epochs;
    bool of_file = epochs.count == own.count && epochs.in_steps == own.in_steps;
    if (steps_per_epoch && same_unit && of_file && total >= 1) return; /* fe_advise looked at it */
    if (!steps_per_epoch && !epochs.in_steps) total = 1;               /* as far as is known */
    if (total < 1) {
        warn_no_steps(t, epochs, steps_per_epoch, d);
        return;
    }
    bool longer = warmup.count > 0 && same_unit && warmup.count > epochs.count;
    if (warmup.count > 0 && !same_unit && steps_per_epoch)
        longer = vm_span_steps(warmup, steps_per_epoch) > total;
    if (longer) warn_warmup(t, epochs, steps_per_epoch, d);
}

/* ---- classes --------------------------------------------------------------------------------- */

bool fe_check_classes(const FeExperiment *e, const FeTrain *t, const IrGraph *g, int64_t known,
                      int64_t classes, const char *list, Diags *d) {
    const IrNode *label = ir_find_leaf(g, OP_input, "label");
    if (!label || !known || !classes || known == classes) return true;
    Span at = fe_place(e, label->loc, t->model);
    Diag *dg;
    if (classes > known)
        dg = diag_error(d, at, D_data_shape,
                        "the data has %" PRId64 " classes%s but the logits of %s have %" PRId64
                        ": the label is class[B, %" PRId64 "]",
                        classes, list, t->model, known, classes);
    else
        dg = diag_warning(d, at, D_spare_logits,
                          "the data has %" PRId64 " class%s%s but the logits of %s have %" PRId64
                          ": no image is ever of the others",
                          classes, classes == 1 ? "" : "es", list, t->model, known);
    diag_note(d, dg, t->place[VM_FIELD_data], "the data is chosen here");
    return classes < known;
}

/* ---- the file -------------------------------------------------------------------------------- */

void fe_advise(FeExperiment *e, Diags *d) {
    if (e->failed) return;
    fe_warn_unused(e, d);
    for (int i = 0; i < e->ntrain; i++)
        fe_advise_lengths(&e->train[i], e->train[i].recipe.epochs, 0, d);
}
