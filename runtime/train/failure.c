/* A step or a batch with a loss or metric that is not finite: which it was, what is said of it, and
 * how another program is given the same images, weights and random numbers for a closer look.
 *
 * Does not: know why, or what a closer look is: whoever has a compiler asks for the programs
 * (VmRun.failed). */
#include "runtime/train/internal.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

static const char *const kinds[] = {
    [VM_ROLE_LOSS] = "loss", [VM_ROLE_AUX] = "auxiliary loss", [VM_ROLE_METRIC] = "metric"};

bool vm_failure_find(const VmBinding *b, VmFailure *f) {
    for (int i = 0; i < b->nterm; i++) {
        const VmTerm *term = &b->term[i];
        if (isfinite(*term->value)) continue;
        f->images = b->batch;
        f->kind = kinds[term->tensor->role];
        f->name = term->tensor->name;
        f->place = term->tensor->place && term->tensor->place[0] ? term->tensor->place : NULL;
        f->value = (double)*term->value;
        return true;
    }
    return false;
}

const char *vm_failure_value(double v) {
    return isnan(v) ? "not a number" : v > 0 ? "infinite" : "minus infinite";
}

void vm_failure_text(const VmFailure *f, char *to, size_t cap) {
    if (f->training)
        snprintf(to, cap,
                 "training diverged: %s '%s' is %s at step %" PRId64 " with learning rate %g",
                 f->kind, f->name, vm_failure_value(f->value), f->step, f->rate);
    else
        snprintf(to, cap,
                 "%s '%s' is %s on images %" PRId64 " to %" PRId64
                 ": it is no finite number, and no answer",
                 f->kind, f->name, vm_failure_value(f->value), f->first + 1, f->first + f->images);
}

/* ---- again ---- */

static int given(void *program, bool training, int64_t batch, VmError *err) {
    (void)training;
    (void)batch;
    (void)err;
    return *(int *)program;
}

VmStatus vm_failure_again(VmEngine *e, int program, const VmFailure *f, VmError *err) {
    VmBinding b = {.program = -1};
    VmFeedSpec spec = f->feed;
    VmFeed *feed = NULL;
    spec.workers = 0;
    spec.end = 0; /* nothing is made ahead */
    VmStatus s = vm_bind(&b, e, given, &program, f->training, f->images, spec.source, err);
    spec.label = b.input.label != NULL;
    spec.classes = b.input.classes;
    if (!s) s = vm_feed_open(&feed, &spec, err);
    if (!s) s = vm_feed_batch(feed, f->step - 1, &b.input, err);
    if (!s) (void)vm_engine_run(e, program, f->seed, f->training ? (uint64_t)f->step - 1 : 0);
    if (feed) vm_feed_close(feed);
    vm_binding_free(&b);
    return s;
}
