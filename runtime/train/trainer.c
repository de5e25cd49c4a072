/* The training loop: epochs of shuffled batches, learning rates, logging, evaluation and a
 * checkpoint after every epoch. A run's results are a pure function of (programs, data,
 * configuration): stopping after any checkpoint and resuming gives the same bits.
 *
 * train_loss of an epoch is the mean over its batches of the weighted main losses (a smaller last
 * batch counts as much as the others); train_objective adds the auxiliary losses. Accuracies and
 * test losses are weighted by images. `seconds` and `images_per_second` are of the training part,
 * without evaluation.
 *
 * Does not: compile, choose data, or install signal handlers: an interrupt ends the process, and
 * the last checkpoint is complete. */
#include "runtime/train/internal.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct Trainer {
    VmEngine *e;
    VmProgramSource source;
    void *user;
    const VmTraining *what;
    const VmRecipe *recipe;
    const VmDataset *train, *test;
    int64_t warmup; /* steps */
    VmRunFolder folder;
    VmCheckpoints *checkpoints;
    VmRunState run;
    VmBinding bind;
    VmRouting routing;
    VmLog log;
    VmFeed *feed;       /* of training images */
    bool began;         /* a step was run */
    double log_time;    /* of the last logged step */
    int64_t log_images; /* since then */
} Trainer;

/* ---- evaluation ---- */

static VmStatus evaluate_all(VmBinding *b, VmEngine *e, VmProgramSource source, void *user,
                             const VmDataset *data, VmFeed *feed, int64_t steps,
                             VmEvalResult *result, VmError *err) {
    int64_t size = vm_dataset_size(data);
    double loss = 0, correct = 0;
    bool accuracy = true;
    for (int64_t step = 0; step < steps; step++) {
        int64_t n = vm_feed_images(feed, step);
        if (b->program < 0 || b->batch != n) {
            VmStatus s = vm_bind(b, e, source, user, false, n, data, err);
            if (s) return s;
        }
        VmStatus fed = vm_feed_batch(feed, step, &b->input, err);
        if (fed) return fed;
        vm_engine_run(e, b->program, 0, 0);
        loss += vm_binding_loss(b, false) * (double)n;
        accuracy = accuracy && b->accuracy;
        if (accuracy) correct += (double)*b->accuracy * (double)n;
    }
    *result = (VmEvalResult){.images = size,
                             .loss = loss / (double)size,
                             .accuracy = accuracy ? correct / (double)size : NAN};
    bool good = isfinite(loss) || !vm_binding_has_loss(b);
    if (good && (!accuracy || isfinite(correct))) return VM_OK;
    return vm_fail(err, VM_INPUT,
                   "the %s on these %" PRId64
                   " images is no finite number: weights or what they are given are "
                   "too large, or not numbers",
                   good ? "accuracy" : "loss", size);
}

VmStatus vm_evaluate(VmEngine *e, VmProgramSource source, void *user, const VmDataset *data,
                     int64_t batch, VmEvalResult *result, VmError *err) {
    if (batch < 1) return vm_fail(err, VM_USAGE, "batch must be at least 1, it is %" PRId64, batch);
    int64_t size = vm_dataset_size(data);
    if (batch > size) batch = size;
    int64_t steps = vm_feed_steps(size, batch, false);
    VmBinding b = {.program = -1};
    VmStatus s = vm_bind(&b, e, source, user, false, batch, data, err);
    if (s) return s;
    VmFeedSpec spec = {.source = data,
                       .order = VM_ORDER_STORED,
                       .batch = batch,
                       .label = b.input.label != NULL,
                       .classes = b.input.classes,
                       .end = steps};
    VmFeed *feed;
    s = vm_feed_open(&feed, &spec, err);
    if (!s) s = evaluate_all(&b, e, source, user, data, feed, steps, result, err);
    vm_binding_free(&b);
    if (feed) vm_feed_close(feed);
    return s;
}

/* ---- one step ---- */

static VmStatus check_finite(const Trainer *t, double lr, VmError *err) {
    for (int i = 0; i < t->bind.nterm; i++) {
        const VmTerm *term = &t->bind.term[i];
        if (term->tensor->role == VM_ROLE_METRIC || isfinite(*term->value)) continue;
        const char *place = term->tensor->place;
        VmError first = {.text = ""}; /* the step has updated weights with what it found */
        bool weights =
            vm_tensors_finite(t->e, t->bind.program, VM_ROLE_PARAM, "after it", &first) != VM_OK;
        return vm_fail(err, VM_INPUT,
                       "%s%straining diverged: loss '%s' is %s at step %" PRId64
                       " with learning rate %g; a smaller rate or a longer warmup may help%s%.900s",
                       place ? place : "", place ? ": " : "", term->tensor->name,
                       isnan(*term->value) ? "not a number" : "infinite", t->run.step + 1, lr,
                       weights ? "\n  " : "", first.text);
    }
    return VM_OK;
}

static VmStatus log_step(Trainer *t, int64_t epoch, double lr, VmError *err) {
    int64_t every = t->recipe->log_every;
    bool logged = every > 0 && t->run.step % every == 0;
    if (logged || t->run.step % t->run.steps_per_epoch == 0 || t->run.step == t->run.total)
        vm_routing_measure(&t->routing);
    if (!logged) return VM_OK;
    double now = vm_seconds(), rate = (double)t->log_images / (now - t->log_time);
    t->log_time = now;
    t->log_images = 0;
    return vm_say_step(&t->log, epoch + 1, t->run.step, lr, rate, &t->bind, &t->routing, err);
}

static VmStatus bind_training(Trainer *t, int64_t batch, VmError *err) {
    VmStatus s = vm_bind(&t->bind, t->e, t->source, t->user, true, batch, t->train, err);
    return s ? s : vm_routing_find(&t->routing, t->e, t->bind.program, batch, err);
}

static VmStatus train_step(Trainer *t, int64_t epoch, VmError *err) {
    int64_t n = vm_feed_images(t->feed, t->run.step);
    if (t->bind.program < 0 || t->bind.batch != n) {
        VmStatus s = bind_training(t, n, err);
        if (s) return s;
    }
    double lr = vm_learning_rate(&t->recipe->schedule, t->run.step, t->warmup, t->run.total);
    VmStatus s = vm_feed_batch(t->feed, t->run.step, &t->bind.input, err);
    if (s) return s;
    vm_step_scalars(&t->recipe->optimizer, lr, t->run.step, t->bind.step);
    if (t->what->run->before_step && !t->began) t->what->run->before_step(t->user);
    t->began = true;
    vm_engine_run(t->e, t->bind.program, (uint64_t)t->recipe->seed, (uint64_t)t->run.step);
    s = check_finite(t, lr, err);
    if (s) return s;
    t->run.step++;
    vm_routing_step(&t->routing);
    t->run.loss_sum += vm_binding_loss(&t->bind, false);
    t->run.objective_sum += vm_binding_loss(&t->bind, true);
    if (t->bind.accuracy) t->run.correct_sum += (double)*t->bind.accuracy * (double)n;
    t->run.batches++;
    t->run.images += n;
    t->log_images += n;
    return log_step(t, epoch, lr, err);
}

/* ---- one epoch ---- */

/* Runs the rest of the epoch that run.step stands in; the record's training part. */
static VmStatus train_epoch(Trainer *t, VmEpochRecord *r, VmError *err) {
    int64_t epoch = t->run.step / t->run.steps_per_epoch, images = 0;
    double start = vm_seconds();
    (void)vm_feed_waited(t->feed);
    t->log_time = start;
    t->log_images = 0;
    do {
        VmStatus s = train_step(t, epoch, err);
        if (s) return s;
        images += t->bind.batch;
        s = vm_say_tick(&t->log, &t->run, epoch + 1, (double)images / (vm_seconds() - start),
                        t->bind.accuracy != NULL, err);
        if (s) return s;
    } while (t->run.step < t->run.total && t->run.step % t->run.steps_per_epoch != 0);
    const VmRunState *run = &t->run;
    *r = (VmEpochRecord){.epoch = epoch + 1,
                         .step = run->step,
                         .train_loss = run->loss_sum / (double)run->batches,
                         .train_objective = run->objective_sum / (double)run->batches,
                         .train_accuracy =
                             t->bind.accuracy ? run->correct_sum / (double)run->images : NAN,
                         .test_loss = NAN,
                         .test_accuracy = NAN,
                         .seconds = vm_seconds() - start};
    r->images_per_second = (double)images / r->seconds;
    r->data_wait = vm_feed_waited(t->feed);
    return VM_OK;
}

static VmStatus test_epoch(Trainer *t, VmEpochRecord *r, VmError *err) {
    if (!t->test) return VM_OK;
    VmEvalResult result;
    double start = vm_seconds();
    int program = t->bind.program;
    VmStatus s =
        vm_evaluate(t->e, t->source, t->user, t->test, t->recipe->data.batch, &result, err);
    if (s == VM_INPUT && program >= 0) /* weights that are no numbers explain it better */
        (void)vm_checkpoint_values(t->e, program, &t->run, err);
    if (s) return s;
    r->test_loss = result.loss;
    r->test_accuracy = result.accuracy;
    r->test_seconds = vm_seconds() - start;
    return VM_OK;
}

static void reset_epoch_sums(VmRunState *run) {
    if (run->step % run->steps_per_epoch != 0)
        return; /* the run ends, or goes on later, inside an epoch */
    run->loss_sum = run->objective_sum = run->correct_sum = 0;
    run->batches = run->images = 0;
}

static VmStatus one_epoch(Trainer *t, VmEpochRecord *r, VmError *err) {
    VmStatus s = train_epoch(t, r, err);
    if (s) return s;
    int program = t->bind.program;
    s = test_epoch(t, r, err);
    vm_binding_free(&t->bind); /* evaluation may have added programs, which moves memory */
    if (s == VM_OK) s = vm_say_epoch(&t->log, r, &t->routing, err);
    if (s) return s;
    vm_routing_warn(&t->routing, &t->log, r->epoch);
    vm_routing_begin_epoch(&t->routing);
    reset_epoch_sums(&t->run);
    s = vm_log_tell(&t->log, VM_EVENT_saving, r->epoch, r->step, (VmFacts){0}, err);
    return s ? s : vm_checkpoint_save(t->checkpoints, t->e, program, &t->run, err);
}

/* ---- the run ---- */

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
    int64_t size = vm_dataset_size(t->train);
    VmRunState *run = &t->run;
    run->train_images = size;
    run->steps_per_epoch = vm_steps_per_epoch(&r->data, size);
    run->total = vm_total_steps(r, size);
    t->warmup = vm_span_steps(r->schedule.warmup, run->steps_per_epoch);
    const char *weights = t->what->subject->weights;
    snprintf(run->weights, sizeof run->weights, "%s", weights ? weights : "none");
}

/* Programs of every batch size, before the first step. */
static VmStatus build_all(const Trainer *t, VmError *err) {
    VmBatchSize size[VM_BATCH_SIZES];
    int n = vm_train_batches(t->recipe, t->run.train_images, t->test ? vm_dataset_size(t->test) : 0,
                             size);
    for (int i = 0; i < n; i++) {
        VmError why = {.text = ""};
        if (t->source(t->user, size[i].training, size[i].images, &why) < 0)
            return vm_batch_refused(&size[i], &why, err);
    }
    return VM_OK;
}

/* ---- beginning and end ---- */

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
    if (vm_schedule_is_whole(&t->recipe->schedule) && t->warmup >= t->run.total)
        vm_log_warn(&t->log,
                    "the warm-up of %" PRId64 " steps is not shorter than the run of %" PRId64
                    ": the learning rate does not reach its peak",
                    t->warmup, t->run.total);
}

static VmStatus say_resumed(Trainer *t, VmError *err) {
    VmFacts f = {0};
    vm_facts_text(&f, "folder", t->folder.dir.path);
    vm_facts_int(&f, "total", t->run.total);
    return vm_log_tell(&t->log, VM_EVENT_resumed, 0, t->run.step, f, err);
}

static VmStatus open_feed(Trainer *t, VmError *err) {
    const VmDataSpec *data = &t->recipe->data;
    VmFeedSpec spec = {.source = t->train,
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
    return vm_feed_open(&t->feed, &spec, err);
}

static VmStatus start_run(Trainer *t, VmError *err) {
    const VmRun *c = t->what->run;
    const VmSubject *subject = t->what->subject;
    int64_t size = t->run.train_images, batch = t->recipe->data.batch;
    VmLogPlace place = {.progress = c->progress, .warnings = c->warnings, .keep_step = -1};
    VmStatus s = build_all(t, err);
    if (s == VM_OK) s = bind_training(t, batch < size ? batch : size, err);
    if (s == VM_OK && !vm_binding_has_loss(&t->bind))
        s = vm_fail(err, VM_INPUT, "the model '%s' has no loss to train on", subject->phase);
    if (s == VM_OK && !c->place.resume)
        s = vm_tensors_finite(t->e, t->bind.program, VM_ROLE_PARAM, "cannot start", err);
    if (s == VM_OK) s = vm_run_open(&t->folder, &c->place, err);
    if (s == VM_OK) s = vm_log_open(&t->log, &place, err);
    if (s) return s;
    say_where(t);
    s = vm_checkpoints_open(&t->checkpoints, &t->folder, t->what, t->run.total, err);
    if (s == VM_OK && c->place.resume) s = resume(t, err);
    if (s == VM_OK) s = vm_checkpoint_room(t->checkpoints, t->e, t->bind.program, err);
    if (s == VM_OK && subject->weights)
        s = vm_checkpoint_save(t->checkpoints, t->e, t->bind.program, &t->run, err);
    place.dir = &t->folder.dir;
    if (c->place.resume) place.keep_step = t->run.step;
    if (s == VM_OK) s = vm_log_open(&t->log, &place, err);
    if (s == VM_OK && c->place.resume) s = say_resumed(t, err);
    if (s) return s;
    s = vm_say_start(&t->log, t->what, &t->run, vm_engine_threads(t->e),
                     t->test ? vm_dataset_size(t->test) : 0, err);
    return s ? s : open_feed(t, err);
}

static VmStatus finish_run(Trainer *t, VmTrainResult *result, VmError *err) {
    const VmDir *d = &t->folder.dir;
    char now[4200];
    if (vm_run_moved(&t->folder, d->path, now))
        vm_log_warn(&t->log, "'%s' was moved while the run went on: it is %.3000s now", d->path,
                    now);
    snprintf(result->weights, sizeof result->weights, "%s/%s", d->path, VM_WEIGHTS_FILE);
    snprintf(result->metrics, sizeof result->metrics, "%s/%s", d->path, vm_log_file(&t->log));
    result->steps = t->run.step;
    return vm_tensors_save_in(t->e, 0, VM_ROLE_PARAM, d, VM_WEIGHTS_FILE, NULL, err);
}

static VmStatus run_all(Trainer *t, VmTrainResult *result, VmError *err) {
    VmEpochRecord last = {
        .train_loss = NAN, .train_accuracy = NAN, .test_loss = NAN, .test_accuracy = NAN};
    VmStatus s = start_run(t, err);
    if (s) return s;
    double start = vm_seconds();
    if (t->run.step >= t->run.total) {
        s = test_epoch(t, &last, err); /* nothing left to train */
        if (s) return s;
    }
    while (t->run.step < t->run.total) {
        s = one_epoch(t, &last, err);
        if (s) return s;
    }
    *result = (VmTrainResult){.train_loss = last.train_loss,
                              .test_loss = last.test_loss,
                              .train_accuracy = last.train_accuracy,
                              .test_accuracy = last.test_accuracy,
                              .seconds = vm_seconds() - start};
    return finish_run(t, result, err);
}

VmStatus vm_train(VmEngine *e, VmProgramSource source, void *user, const VmTraining *what,
                  VmTrainResult *result, VmError *err) {
    Trainer t = {.e = e,
                 .source = source,
                 .user = user,
                 .what = what,
                 .recipe = what->recipe,
                 .train = what->train,
                 .test = what->test,
                 .bind = {.program = -1},
                 .log = {.phase = what->subject->phase, .sinks = what->run->sinks}};
    t.folder = (VmRunFolder){.dir = VM_DIR_CLOSED, .lock = VM_UNLOCKED};
    VmStatus s = check_recipe(what, err);
    if (s) return s;
    plan_run(&t);
    if (t.run.total < 1)
        return vm_fail(err, VM_INPUT, "epochs = %g of %" PRId64 " steps each is no step at all",
                       what->recipe->epochs.count, t.run.steps_per_epoch);
    s = run_all(&t, result, err);
    VmStatus closed = vm_log_close(&t.log, s ? NULL : err);
    if (s && err && t.folder.aside[0]) {
        size_t at = strlen(err->text);
        snprintf(err->text + at, sizeof err->text - at,
                 "\n  the run that was there is now in %.900s", t.folder.aside);
    }
    vm_feed_close(t.feed);
    vm_binding_free(&t.bind);
    vm_routing_free(&t.routing);
    vm_checkpoints_close(t.checkpoints);
    vm_run_close(&t.folder);
    return s ? s : closed;
}
