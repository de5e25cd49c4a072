/* The end of a run that meets a value which is not finite: what failed is found, whoever can look
 * closer is asked to, the log hears of it, and the message says what is known here. Such a run can
 * be gone over again from its last checkpoint. */
#include "runtime/train/trainer.h"

#include <math.h>
#include <string.h>

void vm_trainer_say_failed(Trainer *t, VmFailure *f) {
    const VmRun *run = t->what->run;
    f->run = t;
    VmFacts found = {0};
    VmError ignored; /* the run ends anyway, and for a better reason */
    if (run->failed) run->failed(t->user, f, &found);
    (void)vm_say_failure(&t->log, &t->run, f, found, &ignored);
}

void vm_trainer_say_weights(Trainer *t, const VmError *why) {
    VmFailure f = {.kind = "weight",
                   .name = "of the run",
                   .value = NAN,
                   .training = true,
                   .step = t->run.step,
                   .images = t->bind.batch,
                   .rate = t->lr,
                   .seed = (uint64_t)t->recipe->seed,
                   .feed = t->fed};
    snprintf(f.weight, sizeof f.weight, "%.500s", why->text);
    vm_trainer_say_failed(t, &f);
}

VmStatus vm_trainer_check_step(Trainer *t, VmError *err) {
    VmFailure f = {.training = true,
                   .step = t->run.step + 1,
                   .rate = t->lr,
                   .seed = (uint64_t)t->recipe->seed};
    if (!vm_failure_find(&t->bind, &f)) return VM_OK;
    char text[600];
    VmError first = {.text = ""};
    f.feed = t->fed;
    if (vm_tensors_finite(t->e, t->bind.program, VM_ROLE_PARAM, "before it", &first) != VM_OK)
        snprintf(f.weight, sizeof f.weight, "%.500s", first.text);
    vm_failure_text(&f, text, sizeof text);
    vm_trainer_say_failed(t, &f);
    const char *place = f.place ? f.place : "", *colon = f.place ? ": " : "";
    if (f.weight[0]) return vm_fail(err, VM_INPUT, "%s%s%s\n  %s", place, colon, text, f.weight);
    return vm_fail(err, VM_INPUT, "%s%s%s; the step changed no weight", place, colon, text);
}

/* ---- once more ---- */

static void set_step(VmFailure *at, const Trainer *t, int64_t step) {
    at->step = step;
    at->images = vm_feed_images(t->feed, step - 1);
    at->rate = vm_learning_rate(&t->recipe->schedule, step - 1, t->warmup, t->run.total);
}

/* What optimizers keep is zero at the start. */
static void clear_state(Trainer *t, int program) {
    const VmProgram *p = vm_engine_program(t->e, program);
    for (int i = 0; i < p->ntensor; i++)
        if (p->tensor[i].role == VM_ROLE_STATE)
            memset(vm_engine_address(t->e, program, &p->tensor[i]), 0,
                   (size_t)vm_tensor_elems(&p->tensor[i]) * sizeof(float));
}

VmStatus vm_replay_begin(const VmFailure *f, VmFailure *at, int64_t *last, VmError *err) {
    Trainer *t = f->run;
    const VmDir *d = &t->folder.dir;
    VmRunState from = t->run;
    VmError differences;
    *at = *f;
    *last = t->run.step;
    at->training = true;
    at->weight[0] = '\0';
    at->seed = (uint64_t)t->recipe->seed;
    at->feed = t->fed;
    VmStatus s = vm_trainer_bind(t, vm_feed_images(t->feed, 0), err);
    if (s) return s;
    if (vm_there(d, VM_CHECKPOINT) != VM_NOTHING) {
        s = vm_checkpoint_load(t->checkpoints, t->e, t->bind.program, &(VmResume){0}, &from,
                               &differences, err);
    } else { /* a run that starts from a file has a checkpoint */
        from.step = 0;
        clear_state(t, t->bind.program);
        s = vm_engine_init(t->e, (uint64_t)t->recipe->seed, err);
    }
    if (!s) set_step(at, t, from.step + 1);
    return s;
}

VmStatus vm_replay_step(VmFailure *at, VmError *err) {
    Trainer *t = at->run;
    VmError why = {.text = ""};
    VmStatus s = vm_trainer_bind(t, at->images, err); /* programs may have been added */
    if (!s) s = vm_feed_batch(t->feed, at->step - 1, &t->bind.input, err);
    if (s) return s;
    vm_step_scalars(&t->recipe->optimizer, at->rate, at->step - 1, t->bind.step);
    (void)vm_engine_run(t->e, t->bind.program, at->seed, (uint64_t)at->step - 1);
    int program = t->bind.program;
    s = vm_tensors_finite(t->e, program, VM_ROLE_PARAM, "after it", &why);
    if (!s) s = vm_tensors_finite(t->e, program, VM_ROLE_STATE, "after it", &why);
    if (s) {
        snprintf(at->weight, sizeof at->weight, "%.500s", why.text);
        return vm_fail(err, s, "%s", why.text);
    }
    set_step(at, t, at->step + 1);
    return VM_OK;
}
