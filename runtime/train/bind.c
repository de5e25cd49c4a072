/* Binds a program to data: asks for it, compares its inputs with what the data give, and finds what
 * is fed and read (binding.c).
 *
 * Does not: run anything; say what inputs may be (recipe/inputs.c). */
#include "runtime/train/internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

void vm_binding_free(VmBinding *b) {
    free(b->term);
    *b = (VmBinding){.program = -1};
}

static VmStatus check_inputs(const VmBinding *b, const VmProgram *p, const VmDataset *data,
                             VmError *err) {
    VmTensor *list = vm_calloc((size_t)p->ntensor, sizeof *list);
    if (!list) return vm_fail(err, VM_ENV, "out of memory");
    VmModelInputs in = {.at = list, .limit = ""};
    VmStatus s = VM_OK;
    for (int i = 0; i < p->ntensor; i++) {
        if (!vm_binding_feeds(&p->tensor[i])) continue;
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
    const VmProgram *p = vm_engine_program(e, program);
    b->term = vm_calloc((size_t)p->ntensor, sizeof *b->term);
    VmStatus s = b->term ? check_inputs(b, p, data, err) : vm_fail(err, VM_ENV, "out of memory");
    if (!s) s = vm_binding_find(b, e, err);
    if (s) vm_binding_free(b);
    return s;
}
