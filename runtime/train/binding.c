/* Finds in a program what is fed to it and read from it, by name: images and labels, the step
 * scalars, the named losses and metrics.
 *
 * Does not: run anything; know data. */
#include "runtime/train/internal.h"

#include <math.h>
#include <string.h>

bool vm_binding_feeds(const VmTensor *t) {
    return t->role == VM_ROLE_INPUT && strcmp(t->name, VM_INPUT_STEP) != 0;
}

static void bind_fed(VmBinding *b, const VmTensor *t, void *at) {
    switch (vm_input_use(t)) {
    case VM_USE_IMAGE:
        b->input.image = at;
        b->input.channels = t->dim[1];
        b->input.height = t->dim[2];
        b->input.width = t->dim[3];
        return;
    case VM_USE_CLASS: b->input.label = at; return;
    case VM_USE_SHARES:
        b->input.shares = at;
        b->input.classes = t->dim[1];
        return;
    case VM_USE_NONE: return; /* refused */
    }
}

static VmStatus bind_input(VmBinding *b, VmEngine *e, const VmTensor *t, VmError *err) {
    const VmProgram *p = vm_engine_program(e, b->program);
    void *at = vm_engine_address(e, b->program, t);
    if (vm_binding_feeds(t)) {
        bind_fed(b, t, at);
        return VM_OK;
    }
    b->step = at;
    if (t->dtype == 0 && vm_tensor_elems(t) >= 3) return VM_OK;
    return vm_fail(err, VM_ENV, "program '%s': '%s' is not f32[4]", p->name, t->name);
}

static bool is_term(const VmTensor *t) {
    return t->dtype == 0 && vm_tensor_elems(t) == 1 &&
           (t->role == VM_ROLE_LOSS || t->role == VM_ROLE_AUX || t->role == VM_ROLE_METRIC);
}

VmStatus vm_binding_find(VmBinding *b, VmEngine *e, VmError *err) {
    const VmProgram *p = vm_engine_program(e, b->program);
    int metrics = 0;
    b->nterm = 0;
    for (int i = 0; i < p->ntensor; i++) {
        const VmTensor *t = &p->tensor[i];
        VmStatus s = t->role == VM_ROLE_INPUT ? bind_input(b, e, t, err) : VM_OK;
        if (s) return s;
        if (!is_term(t)) continue;
        const float *value = vm_engine_address(e, b->program, t);
        b->term[b->nterm++] = (VmTerm){.tensor = t, .value = value};
        metrics += t->role == VM_ROLE_METRIC;
    }
    if (metrics > VM_MAX_METRICS)
        return vm_fail(err, VM_INPUT, "the model '%s' has %d metrics; %d is the most", p->name,
                       metrics, VM_MAX_METRICS);
    return b->input.image ? VM_OK
                          : vm_fail(err, VM_INPUT, "the model '%s' takes no images", p->name);
}

bool vm_binding_has_loss(const VmBinding *b) {
    for (int i = 0; i < b->nterm; i++)
        if (b->term[i].tensor->role == VM_ROLE_LOSS) return true;
    return false;
}

double vm_binding_loss(const VmBinding *b, bool aux) {
    double sum = 0;
    bool any = false;
    for (int i = 0; i < b->nterm; i++) {
        const VmTensor *t = b->term[i].tensor;
        if (t->role != VM_ROLE_LOSS && !(aux && t->role == VM_ROLE_AUX)) continue;
        sum += t->weight * (double)*b->term[i].value;
        any = true;
    }
    return any ? sum : NAN;
}
