/* A step or a batch with a loss or metric that is not finite: which it was, and what is said of it.
 *
 * Does not: know why; again.c is for a closer look. */
#include "runtime/train/internal.h"

#include <inttypes.h>
#include <math.h>

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
