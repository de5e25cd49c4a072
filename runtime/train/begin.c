/* A run up to its first step: the recipe against the data, programs of all batch sizes, the folder
 * and its lock, the log, a checkpoint to go on from. */
#include "runtime/train/trainer.h"

#include <inttypes.h>
#include <string.h>

static VmStatus check_recipe(const VmTraining *w, VmError *err) {
    const VmDataSpec *d = &w->recipe->data;
    if (d->batch < 1)
        return vm_fail(err, VM_USAGE, "batch must be at least 1, it is %" PRId64, d->batch);
    if (!(w->recipe->epochs.count >= 0 && w->recipe->epochs.count < 1e15))
        return vm_fail(err, VM_USAGE, "epochs must be a number from 0 up, it is %g",
                       w->recipe->epochs.count);
    if (d->drop_last && d->batch > vm_dataset_size(w->train))
        return vm_fail(err, VM_INPUT, "no batch of %" PRId64 " fits in %" PRId64 " training images",
                       d->batch, vm_dataset_size(w->train));
    return VM_OK;
}

static void plan_run(Trainer *t) {
    const VmRecipe *r = t->recipe;
    int64_t size = vm_dataset_size(t->what->train);
    VmRunState *run = &t->run;
    run->train_images = size;
    run->steps_per_epoch = vm_steps_per_epoch(&r->data, size);
    run->total = vm_total_steps(r, size);
    t->warmup = vm_span_steps(r->schedule.warmup, run->steps_per_epoch);
    const char *weights = t->what->subject->weights;
    snprintf(run->weights, sizeof run->weights, "%s", weights ? weights : "none");
}

VmStatus vm_trainer_plan(Trainer *t, VmError *err) {
    VmStatus s = check_recipe(t->what, err);
    if (s) return s;
    plan_run(t);
    if (t->run.total >= 1) return VM_OK;
    return vm_fail(err, VM_INPUT, "epochs = %g of %" PRId64 " steps each is no step at all",
                   t->recipe->epochs.count, t->run.steps_per_epoch);
}

/* Programs of every batch size, before the first step. */
static VmStatus build_all(const Trainer *t, VmError *err) {
    VmBatchSize size[VM_BATCH_SIZES];
    const VmTraining *w = t->what;
    VmImageCounts images = vm_image_counts(w->train, w->validation, w->test);
    int n = vm_train_batches(t->recipe, &images, size);
    for (int i = 0; i < n; i++) {
        VmError why = {.text = ""};
        if (t->source(t->user, size[i].training, size[i].images, &why) < 0)
            return vm_batch_refused(&size[i], &why, err);
    }
    return VM_OK;
}

VmStatus vm_trainer_bind(Trainer *t, int64_t batch, VmError *err) {
    VmStatus s = vm_bind(&t->bind, t->e, t->source, t->user, true, batch, t->what->train, err);
    return s ? s : vm_routing_find(&t->routing, t->e, t->bind.program, batch, err);
}

static VmStatus resume(Trainer *t, VmError *err) {
    const VmRun *c = t->what->run;
    VmError differences = {.text = ""};
    const VmDir *d = &t->folder.dir;
    if (!c->resume.previous && vm_there(d, VM_CHECKPOINT) == VM_NOTHING)
        vm_log_warn(&t->log, "%s/%s is not there: going on from %s", d->path, VM_CHECKPOINT,
                    VM_CHECKPOINT_PREVIOUS);
    vm_log_warn_of_lost(&t->log, d);
    VmStatus s = vm_checkpoint_load(t->checkpoints, t->e, t->bind.program, &c->resume, &t->run,
                                    &differences, err);
    if (s == VM_OK && t->run.step > t->run.total)
        vm_log_warn(&t->log,
                    "the checkpoint is of step %" PRId64 ", behind the end of this run at %" PRId64,
                    t->run.step, t->run.total);
    if (s == VM_OK && differences.text[0])
        vm_log_warn(&t->log, "the checkpoint in %s belongs to another run:%.1500s",
                    t->folder.dir.path, differences.text);
    return s;
}

static void say_where(Trainer *t) {
    const VmRun *c = t->what->run;
    if (t->folder.passed_over[0])
        vm_log_warn(&t->log, "%s: this run goes to '%s'", t->folder.passed_over,
                    t->folder.dir.path);
    bool other = strcmp(t->folder.dir.path, c->place.out) != 0;
    if (other && !c->place.resume && !t->folder.passed_over[0])
        vm_log_note(&t->log, "this run goes to %s", t->folder.dir.path);
    if (t->folder.aside[0])
        vm_log_note(&t->log, "the run that was there is now in %s", t->folder.aside);
    if (t->folder.lock.fd < 0)
        vm_log_warn(&t->log,
                    "the file system of '%s' has no locks: another process could write to it",
                    t->folder.dir.path);
}

static VmStatus say_resumed(Trainer *t, VmError *err) {
    VmFacts f = {0};
    vm_facts_text(&f, "folder", t->folder.dir.path);
    vm_facts_int(&f, "total", t->run.total);
    return vm_log_tell(&t->log, VM_EVENT_resumed, 0, t->run.step, f, err);
}

static VmStatus open_feed(Trainer *t, VmError *err) {
    const VmDataSpec *data = &t->recipe->data;
    t->fed = (VmFeedSpec){.source = t->what->train,
                          .order = data->shuffle ? VM_ORDER_SHUFFLED : VM_ORDER_STORED,
                          .batch = data->batch,
                          .drop_last = data->drop_last,
                          .seed = (uint64_t)t->recipe->seed,
                          .label = t->bind.input.label != NULL,
                          .classes = t->bind.input.classes,
                          .end = t->run.total,
                          .augment = t->recipe->augment,
                          .naugment = t->recipe->naugment,
                          .rules = vm_augment_rules,
                          .workers = t->what->run->workers};
    return vm_feed_open(&t->feed, &t->fed, err);
}

static VmStatus say_start(Trainer *t, VmError *err) {
    const VmTraining *w = t->what;
    VmOutline o = {.folder = t->folder.dir.path,
                   .parameters = w->subject->parameters,
                   .images = vm_image_counts(w->train, w->validation, w->test),
                   .threads = vm_engine_threads(t->e)};
    return vm_say_start(&t->log, w, &t->run, &o, err);
}

VmStatus vm_trainer_begin(Trainer *t, VmError *err) {
    const VmRun *c = t->what->run;
    const VmSubject *subject = t->what->subject;
    int64_t size = t->run.train_images, batch = t->recipe->data.batch;
    VmLogPlace place = {.progress = c->progress, .warnings = c->warnings, .keep = {-1, -1}};
    VmStatus s = build_all(t, err);
    if (s == VM_OK) s = vm_trainer_bind(t, batch < size ? batch : size, err);
    if (s == VM_OK && !vm_binding_has_loss(&t->bind))
        s = vm_fail(err, VM_INPUT, "the model '%s' has no loss to train on", subject->phase);
    if (s == VM_OK) s = vm_trainer_check_judges(t, err);
    if (s == VM_OK && !c->place.resume)
        s = vm_tensors_finite(t->e, t->bind.program, VM_ROLE_PARAM, "cannot start", err);
    if (s == VM_OK) s = vm_run_open(&t->folder, &c->place, err);
    if (s == VM_OK) s = vm_log_open(&t->log, &place, err);
    if (s) return s;
    say_where(t);
    s = vm_checkpoints_open(&t->checkpoints, &t->folder, t->what, t->run.total, &t->routing, err);
    if (s == VM_OK && c->place.resume) s = resume(t, err);
    if (s == VM_OK) s = vm_checkpoint_room(t->checkpoints, t->e, t->bind.program, err);
    if (s == VM_OK && subject->weights)
        s = vm_checkpoint_save(t->checkpoints, t->e, t->bind.program, &t->run, err);
    place.dir = &t->folder.dir;
    if (c->place.resume) place.keep = (VmLogKept){t->run.step, t->run.judged};
    if (s == VM_OK) s = vm_log_open(&t->log, &place, err);
    if (s == VM_OK) s = vm_run_describe(&t->folder, c, err);
    if (s == VM_OK && c->place.resume) s = say_resumed(t, err);
    if (s) return s;
    t->saved = vm_seconds();
    s = say_start(t, err);
    if (s == VM_OK) s = vm_say_left_out(&t->log, t->what, &t->run, err);
    return s ? s : open_feed(t, err);
}
