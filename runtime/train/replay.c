/* Goes over a failed run again from its last checkpoint, or from its beginning, step by step with
 * the same bits, so that somebody can look at every step before it is made (diverged.c). */
#include "runtime/train/trainer.h"

#include <string.h>

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
