/* What judges a run: the validation set after every epoch (without one, the test set), which epoch
 * was best, when nobody waits for a better one, and the test at the end.
 *
 * The best weights are OUT/best.safetensors, written before the checkpoint that remembers whose
 * they are: a run that is killed between the two judges the epoch again, with the same bits. */
#include "runtime/train/trainer.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* ---- better ---- */

static const char *metric_asked(const VmRecipe *r, VmBestId which) {
    return which == VM_BEST_KEPT ? r->keep.metric : r->stop.metric;
}

static bool is_asked(const VmRecipe *r, VmBestId which) {
    return which == VM_BEST_KEPT ? r->keep.kind == VM_keep_best : r->stop.kind == VM_stop_patience;
}

static bool has_metric(const VmBinding *b, const char *name) {
    for (int i = 0; i < b->nterm; i++)
        if (b->term[i].tensor->role == VM_ROLE_METRIC && !strcmp(b->term[i].tensor->name, name))
            return true;
    return false;
}

/* By what epochs are compared: what the recipe says, else accuracy if the model has it, else the
 * loss.
 */
static const char *chosen_by(const VmRecipe *r, VmBestId which, bool has_accuracy) {
    const char *asked = metric_asked(r, which);
    return asked ? asked : has_accuracy ? "accuracy" : "loss";
}

static const char *judged_by(const Trainer *t, VmBestId which) {
    return chosen_by(t->recipe, which, has_metric(&t->bind, "accuracy"));
}

static bool is_better(const char *metric, double value, const VmBest *best) {
    if (!best->epoch) return true;
    return strcmp(metric, "loss") == 0 ? value < best->value : value > best->value;
}

/* "accuracy, top5 or loss" */
static void list_metrics(const VmBinding *b, char *to, size_t cap) {
    size_t n = 0;
    for (int i = 0; i < b->nterm && n < cap; i++)
        if (b->term[i].tensor->role == VM_ROLE_METRIC)
            n += (size_t)snprintf(to + n, cap - n, "%s%s", n ? ", " : "", b->term[i].tensor->name);
    if (n < cap) snprintf(to + n, cap - n, "%sloss", n ? " or " : "");
}

VmStatus vm_trainer_check_judges(const Trainer *t, VmError *err) {
    static const char *const word[VM_BESTS] = {"keep = best", "stop = patience"};
    for (int i = 0; i < VM_BESTS; i++) {
        if (!is_asked(t->recipe, (VmBestId)i)) continue;
        if (!t->what->validation)
            return vm_fail(
                err, VM_INPUT,
                "%s needs validation: chosen by the test set, an epoch's accuracy there "
                "says nothing of other images; add `validation = 0.1` to the train block, or a "
                "folder val/ to the data beside train/ and test/ (val/ alone is the test set)",
                word[i]);
        const char *metric = judged_by(t, (VmBestId)i);
        char known[600] = "";
        list_metrics(&t->bind, known, sizeof known);
        if (strcmp(metric, "loss") != 0 && !has_metric(&t->bind, metric))
            return vm_fail(err, VM_INPUT,
                           "%s(metric = \"%s\"): the model has no such metric; it has %s", word[i],
                           metric, known);
    }
    return VM_OK;
}

/* ---- an epoch ---- */

static VmStatus keep_if_best(Trainer *t, const VmEpochRecord *r, int program, VmError *err) {
    for (int i = 0; i < VM_BESTS; i++) {
        if (!is_asked(t->recipe, (VmBestId)i)) continue;
        const char *metric = judged_by(t, (VmBestId)i);
        double value =
            strcmp(metric, "loss") == 0 ? r->validation.loss : vm_metric(&r->validation, metric);
        VmBest now = {.epoch = r->epoch, .value = value};
        if (!is_better(metric, value, &t->run.best[i])) continue;
        if (i == VM_BEST_KEPT) {
            VmStatus s = vm_tensors_save_in(t->e, program, VM_ROLE_PARAM, t->what->subject->about,
                                            &t->folder.dir, VM_BEST_FILE, &now.file, err);
            if (s) return s;
        }
        t->run.best[i] = now;
    }
    return VM_OK;
}

static VmEvaluation evaluation_of(const Trainer *t, const VmDataset *data, VmFailure *failure) {
    return (VmEvaluation){.engine = t->e,
                          .source = t->source,
                          .user = t->user,
                          .data = data,
                          .batch = t->recipe->data.batch,
                          .failure = failure};
}

VmStatus vm_trainer_judge(Trainer *t, VmEpochRecord *r, VmError *err) {
    const VmTraining *w = t->what;
    const VmDataset *data = w->validation ? w->validation : w->test;
    if (!data) return VM_OK;
    VmEvalResult *result = w->validation ? &r->validation : &r->test;
    double start = vm_seconds();
    int program = t->bind.program;
    VmFailure failure;
    VmEvaluation v = evaluation_of(t, data, &failure);
    v.stop = w->run->stop;
    VmStatus s = vm_evaluate(&v, result, &t->stopped, err);
    if (s == VM_INPUT && program >= 0 && /* weights that are no numbers explain it better */
        vm_checkpoint_values(t->e, program, &t->run, err) != VM_OK)
        snprintf(failure.weight, sizeof failure.weight, "%.500s", err->text);
    if (failure.kind) vm_trainer_say_failed(t, &failure);
    if (s || t->stopped) return s;
    r->judge_seconds = vm_seconds() - start;
    return w->validation && r->epoch ? keep_if_best(t, r, program, err) : VM_OK;
}

bool vm_trainer_is_over(const Trainer *t) {
    if (t->run.step >= t->run.total) return true;
    const VmBest *best = &t->run.best[VM_BEST_STOP];
    int64_t epochs = t->run.step / t->run.steps_per_epoch;
    return t->recipe->stop.kind == VM_stop_patience && best->epoch &&
           epochs - best->epoch >= t->recipe->stop.epochs;
}

/* ---- the end ---- */

/* The best weights take the place of the last ones. False after a warning: they are not there, or
 * are others than the checkpoint remembers (somebody wrote over them, or the run went on from an
 * older checkpoint and never became as good again). */
static bool load_best(Trainer *t) {
    const VmBest *best = &t->run.best[VM_BEST_KEPT];
    VmTensorFile *f = NULL;
    VmError err = {.text = ""};
    char shown[4200];
    snprintf(shown, sizeof shown, "%s/%s", t->folder.dir.path, VM_BEST_FILE);
    VmStatus s = vm_tensors_open_in(&t->folder.dir, VM_BEST_FILE, shown, &f, &err);
    if (s == VM_OK) {
        VmFileSum sum = vm_tensors_sum(f);
        if (sum.bytes != best->file.bytes || sum.hash.lo != best->file.hash.lo ||
            sum.hash.hi != best->file.hash.hi)
            s = vm_fail(&err, VM_INPUT, "%s: not the weights of epoch %" PRId64, shown,
                        best->epoch);
    }
    if (s == VM_OK) s = vm_tensors_check(t->e, 0, VM_ROLE_PARAM, f, shown, &err);
    if (s == VM_OK) s = vm_tensors_apply(t->e, 0, VM_ROLE_PARAM, f, shown, &err);
    vm_tensors_close(f);
    if (s) vm_log_warn(&t->log, "%.1500s; the run ends with its last weights", err.text);
    return s == VM_OK;
}

/* The only time that the test set is met, where there is validation. */
static VmStatus final_test(Trainer *t, VmTrainResult *result, VmError *err) {
    const VmTraining *w = t->what;
    if (!w->validation || !w->test) return VM_OK;
    VmFailure failure;
    VmEvaluation v = evaluation_of(t, w->test, &failure);
    VmStatus s = vm_evaluate(&v, &result->test, NULL, err);
    if (failure.kind) vm_trainer_say_failed(t, &failure);
    return s ? s : vm_say_end(&t->log, &t->run, result, err);
}

/* best NULL: no epoch's weights are kept. */
static void tell_best(const Trainer *t, const VmBest *best, VmTrainResult *result) {
    int64_t end = best ? best->epoch * t->run.steps_per_epoch : 0;
    result->best_epoch = best ? best->epoch : 0;
    /* the binding is gone, but an epoch was judged last */
    bool has_accuracy = !isnan(vm_metric(&result->validation, "accuracy"));
    result->best_metric = best ? chosen_by(t->recipe, VM_BEST_KEPT, has_accuracy) : NULL;
    result->best_value = best ? best->value : NAN;
    result->best_step = end < t->run.total ? end : t->run.total; /* the last epoch may be cut */
}

VmStatus vm_trainer_finish(Trainer *t, VmTrainResult *result, VmError *err) {
    const VmDir *d = &t->folder.dir;
    const VmBest *best = &t->run.best[VM_BEST_KEPT];
    char now[4200];
    if (vm_run_moved(&t->folder, d->path, now))
        vm_log_warn(&t->log, "'%s' was moved while the run went on: it is %.3000s now", d->path,
                    now);
    snprintf(result->folder, sizeof result->folder, "%s", d->path);
    snprintf(result->metrics, sizeof result->metrics, "%s/%s", d->path, vm_log_file(&t->log));
    result->steps = t->run.step;
    result->total = t->run.total;
    result->stopped = t->stopped;
    if (t->stopped) return VM_OK;
    VmStatus s = vm_tensors_save_in(t->e, 0, VM_ROLE_PARAM, t->what->subject->about, d,
                                    VM_WEIGHTS_FILE, NULL, err);
    if (s) return s;
    bool kept = t->recipe->keep.kind == VM_keep_best && best->epoch && load_best(t);
    tell_best(t, kept ? best : NULL, result);
    snprintf(result->weights, sizeof result->weights, "%s/%s", d->path,
             kept ? VM_BEST_FILE : VM_WEIGHTS_FILE);
    return final_test(t, result, err);
}
