/* The end of a run that meets a value which is not finite: what failed is found, whoever can look
 * closer is asked to, the log hears of it, and the message says what is known here. */
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
