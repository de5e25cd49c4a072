/* Finds in a program what the trainer feeds and reads: the image (f32, rank 4), the label (i32,
 * rank 1), the step scalars, the named losses and metrics. Inputs are recognised by type and rank,
 * so models may name them freely.
 *
 * Does not: run anything. */
#include "runtime/train/internal.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

void vm_binding_free(VmBinding *b) {
    free(b->term);
    *b = (VmBinding){.program = -1};
}

static VmStatus check_image(const VmProgram *p, const VmTensor *t, int64_t batch,
                            const VmDataset *data, VmError *err) {
    int64_t c, h, w;
    vm_dataset_shape(data, &c, &h, &w, NULL);
    if (t->dim[0] == batch && t->dim[1] == c && t->dim[2] == h && t->dim[3] == w) return VM_OK;
    char want[160];
    return vm_fail(
        err, VM_INPUT,
        "the model '%s' takes images '%s' of shape %s, but the data set gives f32[%" PRId64
        ",%" PRId64 ",%" PRId64 ",%" PRId64 "]",
        p->name, t->name, vm_shape_text(t->dtype, t->rank, t->dim, want, sizeof want), batch, c, h,
        w);
}

static VmStatus bind_input(VmBinding *b, VmEngine *e, const VmTensor *t, const VmDataset *data,
                           VmError *err) {
    const VmProgram *p = vm_engine_program(e, b->program);
    if (strcmp(t->name, VM_INPUT_STEP) == 0) {
        if (t->dtype != 0 || vm_tensor_elems(t) < 3) {
            return vm_fail(err, VM_ENV, "program '%s': '%s' is not f32[4]", p->name, t->name);
        }
        b->step = vm_engine_address(e, b->program, t);
        return VM_OK;
    }
    if (!b->input.image && t->dtype == 0 && t->rank == 4) {
        b->input.image = vm_engine_address(e, b->program, t);
        b->input.pixels = t->dim[1] * t->dim[2] * t->dim[3];
        return check_image(p, t, b->batch, data, err);
    }
    if (!b->input.label && t->dtype == 1 && t->rank == 1) {
        b->input.label = vm_engine_address(e, b->program, t);
        if (t->dim[0] == b->batch) return VM_OK;
        return vm_fail(err, VM_INPUT,
                       "the model '%s' takes %" PRId64 " labels '%s' for %" PRId64 " images",
                       p->name, t->dim[0], t->name, b->batch);
    }
    char shape[160];
    return vm_fail(err, VM_INPUT,
                   "the model '%s' takes an input '%s' of shape %s that the data set cannot give: "
                   "it gives one batch "
                   "of images and their labels",
                   p->name, t->name, vm_shape_text(t->dtype, t->rank, t->dim, shape, sizeof shape));
}

static bool is_term(const VmTensor *t) {
    return t->dtype == 0 && vm_tensor_elems(t) == 1 &&
           (t->role == VM_ROLE_LOSS || t->role == VM_ROLE_AUX || t->role == VM_ROLE_METRIC);
}

static VmStatus bind_tensors(VmBinding *b, VmEngine *e, const VmDataset *data, VmError *err) {
    const VmProgram *p = vm_engine_program(e, b->program);
    b->term = vm_calloc((size_t)p->ntensor, sizeof *b->term);
    if (!b->term) return vm_fail(err, VM_ENV, "out of memory");
    for (int i = 0; i < p->ntensor; i++) {
        const VmTensor *t = &p->tensor[i];
        VmStatus s = t->role == VM_ROLE_INPUT ? bind_input(b, e, t, data, err) : VM_OK;
        if (s) return s;
        if (!is_term(t)) continue;
        const float *value = vm_engine_address(e, b->program, t);
        b->term[b->nterm++] = (VmTerm){.tensor = t, .value = value};
        if (t->role == VM_ROLE_METRIC && strcmp(t->name, "accuracy") == 0) b->accuracy = value;
    }
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
