/* Finds in a program what the trainer feeds and reads, by name: images and labels, the step
 * scalars, the named losses and metrics.
 *
 * Does not: run anything; say what inputs may be (recipe/inputs.c). */
#include "runtime/train/internal.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

void vm_binding_free(VmBinding *b) {
    free(b->term);
    *b = (VmBinding){.program = -1};
}

static bool is_fed(const VmTensor *t) {
    return t->role == VM_ROLE_INPUT && strcmp(t->name, VM_INPUT_STEP) != 0;
}

static VmStatus check_inputs(const VmBinding *b, const VmProgram *p, const VmDataset *data,
                             VmError *err) {
    VmTensor *list = vm_calloc((size_t)p->ntensor, sizeof *list);
    if (!list) return vm_fail(err, VM_ENV, "out of memory");
    VmModelInputs in = {.at = list, .limit = ""};
    VmStatus s = VM_OK;
    for (int i = 0; i < p->ntensor; i++) {
        if (!is_fed(&p->tensor[i])) continue;
        list[in.n++] = p->tensor[i];
        if (p->tensor[i].rank > 0 && p->tensor[i].dim[0] != b->batch)
            s = vm_fail(err, VM_INPUT,
                        "the model '%s' takes %" PRId64 " of '%s' at once, not %" PRId64, p->name,
                        p->tensor[i].dim[0], p->tensor[i].name, b->batch);
    }
    VmDataShape shape = vm_dataset_inputs(data);
    VmError why;
    int at = 0;
    if (!s && vm_inputs_check(&in, &shape, &at, &why) != VM_OK)
        s = vm_fail(err, VM_INPUT, "the model '%s': %s", p->name, why.text);
    free(list);
    return s;
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
    if (is_fed(t)) {
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

static VmStatus bind_tensors(VmBinding *b, VmEngine *e, const VmDataset *data, VmError *err) {
    const VmProgram *p = vm_engine_program(e, b->program);
    b->term = vm_calloc((size_t)p->ntensor, sizeof *b->term);
    if (!b->term) return vm_fail(err, VM_ENV, "out of memory");
    VmStatus fits = check_inputs(b, p, data, err);
    if (fits) return fits;
    int metrics = 0;
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

VmStatus vm_bind(VmBinding *b, VmEngine *e, VmProgramSource source, void *user, bool training,
                 int64_t batch, const VmDataset *data, VmError *err) {
    vm_binding_free(b);
    VmError why = {.text = ""};
    int program = source(user, training, batch, &why);
    if (program < 0 || !vm_engine_program(e, program)) {
        if (!why.text[0]) vm_fail(&why, VM_ENV, "no program for %" PRId64 " images", batch);
        if (err) *err = why;
        return why.status ? why.status : VM_ENV;
    }
    b->program = program;
    b->batch = batch;
    VmStatus s = bind_tensors(b, e, data, err);
    if (s) vm_binding_free(b);
    return s;
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
