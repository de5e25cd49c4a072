/* Whether programs make sense by themselves and beside each other: an engine runs no others.
 *
 * Does not: look at what kernels do with their buffers. */
#include "runtime/exec/internal.h"

#include <string.h>

static bool offset_ok(const VmProgram *p, int32_t space, int64_t offset, int64_t bytes,
                      int64_t align) {
    if (space < 0 || space >= VM_SPACE_COUNT || offset < 0 || offset % align != 0) return false;
    return bytes >= 0 && bytes <= p->space_bytes[space] && offset <= p->space_bytes[space] - bytes;
}

/* Bytes of a tensor, or -1 when its shape makes no sense. */
static int64_t tensor_bytes(const VmTensor *t) {
    if (t->rank < 0 || t->rank > VM_MAX_RANK) return -1;
    int64_t n = 4;
    for (int i = 0; i < t->rank; i++) {
        if (t->dim[i] < 0 || __builtin_mul_overflow(n, t->dim[i], &n)) return -1;
    }
    return n;
}

static VmStatus task_check(const VmProgram *p, const VmTask *t, VmError *err) {
    if (t->items < 1)
        return vm_fail(err, VM_ENV, "program '%s': '%s' has no items", p->name, t->name);
    for (int j = 0; j < t->narg; j++) {
        if (offset_ok(p, t->arg[j].space, t->arg[j].offset, 0, 4)) continue;
        return vm_fail(err, VM_ENV, "program '%s': argument %d of '%s' lies outside its memory",
                       p->name, j, t->name);
    }
    return VM_OK;
}

static VmStatus gate_check(const VmProgram *p, VmError *err) {
    bool ok = p->gate >= 0 && p->gate < (p->ntask ? p->ntask : 1);
    if (ok && p->gate) ok = p->task[p->gate].barrier;
    for (int i = 0; ok && i < p->gate; i++) ok = p->task[i].kind != VM_TASK_UPDATE;
    return ok ? VM_OK : vm_fail(err, VM_ENV, "program '%s': impossible gate", p->name);
}

VmStatus vm_program_check(const VmProgram *p, VmError *err) {
    if (p->abi != VM_ABI_VERSION) {
        return vm_fail(err, VM_ENV,
                       "program '%s' was built for version %d of the runtime, this is version %d",
                       p->name, (int)p->abi, VM_ABI_VERSION);
    }
    for (int i = 0; i < VM_SPACE_COUNT; i++) {
        if (p->space_bytes[i] < 0)
            return vm_fail(err, VM_ENV, "program '%s': negative memory", p->name);
    }
    for (int i = 0; i < p->ntensor; i++) {
        const VmTensor *t = &p->tensor[i];
        if (!offset_ok(p, t->space, t->offset, tensor_bytes(t), 64)) {
            return vm_fail(err, VM_ENV, "program '%s': tensor '%s' lies outside its memory",
                           p->name, t->name);
        }
    }
    VmStatus s = gate_check(p, err);
    for (int i = 0; i < p->ntask && s == VM_OK; i++) s = task_check(p, &p->task[i], err);
    for (int i = 0; i < p->npack && s == VM_OK; i++) s = task_check(p, &p->pack[i].task, err);
    return s;
}

static bool tensor_same(const VmTensor *a, const VmTensor *b) {
    return strcmp(a->name, b->name) == 0 && a->dtype == b->dtype && a->rank == b->rank &&
           a->space == b->space && a->offset == b->offset &&
           memcmp(a->dim, b->dim, (size_t)a->rank * sizeof a->dim[0]) == 0;
}

int vm_next_of_role(const VmProgram *p, int from, VmRole role) {
    while (from < p->ntensor && p->tensor[from].role != (int32_t)role) from++;
    return from;
}

VmStatus vm_same_layout(const VmProgram *a, const VmProgram *b, VmRole role, VmError *err) {
    int i = 0, j = 0;
    for (;; i++, j++) {
        i = vm_next_of_role(a, i, role);
        j = vm_next_of_role(b, j, role);
        if (i == a->ntensor && j == b->ntensor) return VM_OK;
        if (i == a->ntensor || j == b->ntensor || !tensor_same(&a->tensor[i], &b->tensor[j])) break;
    }
    const char *name = i < a->ntensor ? a->tensor[i].name : b->tensor[j].name;
    return vm_fail(err, VM_ENV, "programs '%s' and '%s' disagree about the layout of '%s'", a->name,
                   b->name, name);
}
