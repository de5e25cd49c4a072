/* The training loop: epochs of shuffled batches, learning rates, logging, and a checkpoint after
 * every epoch and wherever else one is asked for. A run's results are a pure function of (programs,
 * data, configuration): stopping after any checkpoint, in the middle of an epoch too, and resuming
 * gives the same bits.
 *
 * The train loss of an epoch is the mean over its batches of the weighted main losses (a smaller
 * last batch counts as much as the others); train_objective adds the auxiliary losses. Metrics, and
 * what validation and test say, are weighted by images. `seconds` and `images_per_second` are of
 * the training part, without evaluation.
 *
 * Does not: compile, choose data, or install signal handlers: somebody else sets VmRun.stop. */
#include "runtime/train/trainer.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* ---- one step ---- */

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

static VmStatus train_step(Trainer *t, int64_t epoch, VmError *err) {
    int64_t n = vm_feed_images(t->feed, t->run.step);
    if (t->bind.program < 0 || t->bind.batch != n) {
        VmStatus s = vm_trainer_bind(t, n, err);
        if (s) return s;
    }
    double lr = t->lr =
        vm_learning_rate(&t->recipe->schedule, t->run.step, t->warmup, t->run.total);
    VmStatus s = vm_feed_batch(t->feed, t->run.step, &t->bind.input, err);
    if (s) return s;
    vm_step_scalars(&t->recipe->optimizer, lr, t->run.step, t->bind.step);
    if (t->what->run->before_step && !t->began) t->what->run->before_step(t->user);
    t->began = true;
    vm_engine_run(t->e, t->bind.program, (uint64_t)t->recipe->seed, (uint64_t)t->run.step);
    s = vm_trainer_check_step(t, err);
    if (s) return s;
    t->run.step++;
    vm_routing_step(&t->routing);
    vm_sums_add(&t->run.sums, &t->bind, n);
    t->log_images += n;
    return log_step(t, epoch, lr, err);
}

/* ---- checkpoints ---- */

static VmStatus save(Trainer *t, int program, VmError *err) {
    int64_t epoch = (t->run.step - 1) / t->run.steps_per_epoch + 1;
    VmStatus s = vm_log_tell(&t->log, VM_EVENT_saving, epoch, t->run.step, (VmFacts){0}, err);
    VmError why = {.text = ""};
    if (s == VM_OK && (s = vm_checkpoint_save(t->checkpoints, t->e, program, &t->run, &why))) {
        if (s == VM_INPUT) vm_trainer_say_weights(t, &why);
        if (err) *err = why;
    }
    t->saved = vm_seconds();
    return s;
}

/* In the middle of an epoch, where its end does not save anyway. */
static bool save_is_due(const Trainer *t) {
    const VmRun *r = t->what->run;
    if (r->save_steps && t->run.step % r->save_steps == 0) return true;
    return r->save_seconds > 0 && vm_seconds() - t->saved >= r->save_seconds;
}

/* ---- one epoch ---- */

static bool at_end_of_epoch(const Trainer *t) {
    return t->run.step >= t->run.total || t->run.step % t->run.steps_per_epoch == 0;
}

/* The epoch's steps were run and it was not judged yet: a stop came between. */
static bool is_unjudged(const Trainer *t) {
    return t->run.step > 0 && at_end_of_epoch(t) && t->run.judged != t->run.step;
}

/* Runs the rest of the epoch that run.step stands in; fewer steps when it is stopped. */
static VmStatus train_epoch(Trainer *t, int64_t epoch, VmEpochRecord *r, VmError *err) {
    const volatile sig_atomic_t *stop = t->what->run->stop;
    double start = vm_seconds();
    int64_t images = 0;
    (void)vm_feed_waited(t->feed);
    t->log_time = start;
    t->log_images = 0;
    do {
        VmStatus s = train_step(t, epoch, err);
        if (s) return s;
        images += t->bind.batch;
        double rate = (double)images / (vm_seconds() - start);
        s = vm_say_tick(&t->log, &t->run, &t->bind, &t->routing, epoch + 1, t->lr, rate, err);
        t->stopped = stop && *stop;
        bool inside = !at_end_of_epoch(t);
        if (!s && inside && (t->stopped || save_is_due(t))) s = save(t, t->bind.program, err);
        if (s || t->stopped) return s;
    } while (!at_end_of_epoch(t));
    r->seconds = vm_seconds() - start;
    r->images_per_second = (double)images / r->seconds;
    r->data_wait = vm_feed_waited(t->feed);
    return VM_OK;
}

static void reset_epoch_sums(Trainer *t) {
    if (t->run.step % t->run.steps_per_epoch != 0)
        return; /* the run ends, or goes on later, inside an epoch */
    t->run.sums = (VmSums){0};
    vm_routing_begin_epoch(&t->routing);
}

/* Trains an epoch to its end, judges it and saves; or as far as it comes before it is stopped. */
static VmStatus one_epoch(Trainer *t, VmEpochRecord *r, VmError *err) {
    int64_t epoch = (t->run.step - is_unjudged(t)) / t->run.steps_per_epoch;
    *r = (VmEpochRecord){.epoch = epoch + 1, .test = {.loss = NAN}, .validation = {.loss = NAN}};
    VmStatus s = is_unjudged(t) ? VM_OK : train_epoch(t, epoch, r, err);
    if (s || (t->stopped && !at_end_of_epoch(t))) return s;
    r->step = t->run.step;
    r->train = vm_sums_means(&t->run.sums, &t->bind);
    r->train_objective = t->run.sums.objective / (double)t->run.sums.batches;
    int program = t->bind.program;
    if (!t->stopped) s = vm_trainer_judge(t, r, err);
    if (s == VM_OK && t->stopped) return save(t, program, err);
    t->run.judged = t->run.step;
    if (s == VM_OK) s = vm_say_epoch(&t->log, r, &t->routing, err);
    vm_binding_free(&t->bind); /* evaluation may have added programs, which moves memory */
    if (s) return s;
    vm_routing_warn(&t->routing, &t->log, r->epoch);
    reset_epoch_sums(t);
    return save(t, program, err);
}

/* ---- the run ---- */

static VmStatus run_all(Trainer *t, VmTrainResult *result, VmError *err) {
    VmEpochRecord last = {
        .train = {.loss = NAN}, .validation = {.loss = NAN}, .test = {.loss = NAN}};
    VmStatus s = vm_trainer_begin(t, err);
    if (s) return s;
    double start = vm_seconds();
    if (vm_trainer_is_over(t) && !is_unjudged(t)) s = vm_trainer_judge(t, &last, err);
    while (s == VM_OK && !t->stopped && (is_unjudged(t) || !vm_trainer_is_over(t)))
        s = one_epoch(t, &last, err);
    if (s) return s;
    *result = (VmTrainResult){.train = last.train,
                              .validation = last.validation,
                              .test = last.test,
                              .seconds = vm_seconds() - start};
    return vm_trainer_finish(t, result, err);
}

VmStatus vm_train(VmEngine *e, VmProgramSource source, void *user, const VmTraining *what,
                  VmTrainResult *result, VmError *err) {
    Trainer t = {.e = e,
                 .source = source,
                 .user = user,
                 .what = what,
                 .recipe = what->recipe,
                 .bind = {.program = -1},
                 .log = {.phase = what->subject->phase, .sinks = what->run->sinks}};
    t.folder = (VmRunFolder){.dir = VM_DIR_CLOSED, .lock = VM_UNLOCKED};
    VmStatus s = vm_trainer_plan(&t, err);
    if (s) return s;
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
