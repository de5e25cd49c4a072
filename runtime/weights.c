/* A program's tensors of one role (weights, optimizer state) to and from tensor files. Loading is all or
 * nothing: first everything is compared, then everything is copied. vm_weights_load_some alone takes a file
 * that lacks tensors, or has others.
 *
 * Does not: rename, reshape or convert. */
#include "runtime/internal.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum { NAMES_SHOWN = 5 };

/* Lists up to five names of one kind of trouble. */
typedef struct Trouble {
    const char *title;
    char text[600];
    int count;
} Trouble;

static void trouble_add(Trouble *t, const char *name, const char *detail) {
    if (t->count++ >= NAMES_SHOWN) return;
    size_t at = strlen(t->text);
    snprintf(t->text + at, sizeof t->text - at, "%s'%s'%s%s%s", at ? ", " : "", name, *detail ? " (" : "",
             detail, *detail ? ")" : "");
}

static void trouble_print(const Trouble *t, char *out, size_t cap) {
    if (t->count == 0) return;
    size_t at = strlen(out);
    snprintf(out + at, cap - at, "\n  %d %s: %s%s", t->count, t->title, t->text,
             t->count > NAMES_SHOWN ? ", ..." : "");
}

static bool same_shape(const VmTensor *t, const VmTensorView *v) {
    return t->dtype == v->dtype && t->rank == v->rank &&
           memcmp(t->dim, v->dim, (size_t)t->rank * sizeof t->dim[0]) == 0;
}

static bool program_has(const VmProgram *p, VmRole role, const char *name) {
    for (int i = 0; i < p->ntensor; i++) {
        if (p->tensor[i].role == (int32_t)role && strcmp(p->tensor[i].name, name) == 0) return true;
    }
    return false;
}

static void compare(const VmTensor *t, const VmTensorView *v, Trouble *shape) {
    char want[160], got[160], both[352];
    if (same_shape(t, v)) return;
    vm_shape_text(t->dtype, t->rank, t->dim, want, sizeof want);
    vm_shape_text(v->dtype, v->rank, v->dim, got, sizeof got);
    snprintf(both, sizeof both, "model %s, file %s", want, got);
    trouble_add(shape, t->name, both);
}

static VmStatus does_not_fit(const char *path, const char *list, VmError *err) {
    return vm_fail(err, VM_INPUT, "%s does not fit this model:%s", path, list);
}

VmStatus vm_tensors_check(VmEngine *e, int program, VmRole role, const VmTensorFile *f, const char *path,
                          VmError *err) {
    const VmProgram *p = vm_engine_program(e, program);
    Trouble missing = {.title = "missing"}, extra = {.title = "not in the model"},
            shape = {.title = "of another shape"};
    for (int i = 0; i < p->ntensor; i++) {
        const VmTensor *t = &p->tensor[i];
        if (t->role != (int32_t)role) continue;
        const VmTensorView *v = vm_tensors_find(f, t->name);
        if (v) {
            compare(t, v, &shape);
        } else {
            trouble_add(&missing, t->name, "");
        }
    }
    for (int i = 0; i < vm_tensors_count(f); i++) {
        const char *name = vm_tensors_at(f, i)->name;
        if (!program_has(p, role, name)) trouble_add(&extra, name, "");
    }
    if (missing.count + extra.count + shape.count == 0) return VM_OK;
    char list[1900] = "";
    trouble_print(&missing, list, sizeof list);
    trouble_print(&extra, list, sizeof list);
    trouble_print(&shape, list, sizeof list);
    return does_not_fit(path, list, err);
}

void vm_tensors_apply(VmEngine *e, int program, VmRole role, const VmTensorFile *f) {
    const VmProgram *p = vm_engine_program(e, program);
    if (role == VM_ROLE_PARAM) vm_engine_weights_changed(e);
    for (int i = 0; i < p->ntensor; i++) {
        const VmTensor *t = &p->tensor[i];
        const VmTensorView *v = t->role == (int32_t)role ? vm_tensors_find(f, t->name) : NULL;
        if (v) memcpy(vm_engine_address(e, program, t), v->data, (size_t)vm_tensor_elems(t) * 4);
    }
}

VmStatus vm_tensors_save_role(VmEngine *e, int program, VmRole role, const char *path, VmError *err) {
    const VmProgram *p = vm_engine_program(e, program);
    VmTensorView *view = vm_calloc((size_t)p->ntensor, sizeof *view);
    if (!view) return vm_fail(err, VM_ENV, "out of memory");
    int n = 0;
    for (int i = 0; i < p->ntensor; i++) {
        const VmTensor *t = &p->tensor[i];
        if (t->role != (int32_t)role) continue;
        VmTensorView *v = &view[n++];
        *v = (VmTensorView){
            .name = t->name, .dtype = t->dtype, .rank = t->rank, .data = vm_engine_address(e, program, t)};
        memcpy(v->dim, t->dim, sizeof v->dim);
    }
    const char *const meta[] = {"format", "vmoec"};
    VmStatus s = vm_tensors_write(path, view, n, meta, 1, err);
    free(view);
    return s;
}

uint32_t vm_tensors_checksum(VmEngine *e, int program, VmRole role, const VmTensorFile *f) {
    const VmProgram *p = vm_engine_program(e, program);
    uLong crc = crc32(0, NULL, 0);
    for (int i = 0; i < p->ntensor; i++) {
        const VmTensor *t = &p->tensor[i];
        if (t->role != (int32_t)role) continue;
        const void *data = f ? vm_tensors_find(f, t->name)->data : vm_engine_address(e, program, t);
        crc = crc32_z(crc, data, (size_t)vm_tensor_elems(t) * 4);
    }
    return (uint32_t)crc;
}

VmStatus vm_weights_load(VmEngine *e, int program, const char *path, VmError *err) {
    VmTensorFile *f;
    VmStatus s = vm_tensors_open(path, &f, err);
    if (s) return s;
    s = vm_tensors_check(e, program, VM_ROLE_PARAM, f, path, err);
    if (s == VM_OK) vm_tensors_apply(e, program, VM_ROLE_PARAM, f);
    vm_tensors_close(f);
    return s;
}

/* Compares what both have and counts the rest. */
static VmStatus find_some(const VmProgram *p, const VmTensorFile *f, const char *path, VmWeightsFound *found,
                          VmError *err) {
    enum { OTHERS = sizeof found->other / sizeof found->other[0] };
    Trouble shape = {.title = "of another shape"};
    *found = (VmWeightsFound){0};
    int others = 0;
    for (int i = 0; i < p->ntensor; i++) {
        const VmTensor *t = &p->tensor[i];
        if (t->role != VM_ROLE_PARAM) continue;
        const VmTensorView *v = vm_tensors_find(f, t->name);
        if (v) compare(t, v, &shape);
        if (!v && others < OTHERS) found->other[others++] = t->name;
        found->total++;
        found->taken += v != NULL;
    }
    found->unknown = vm_tensors_count(f) - found->taken;
    snprintf(found->fingerprint, sizeof found->fingerprint, "%08x", (unsigned)vm_tensors_file_checksum(f));
    char list[1900] = "";
    trouble_print(&shape, list, sizeof list);
    if (shape.count) return does_not_fit(path, list, err);
    if (found->taken) return VM_OK;
    if (found->unknown == 0) return vm_fail(err, VM_INPUT, "%s has no tensors", path);
    return vm_fail(err, VM_INPUT, "%s has no weight of this model: it has '%s', the model has '%s'", path,
                   vm_tensors_at(f, 0)->name, others ? found->other[0] : "no weights");
}

VmStatus vm_weights_load_some(VmEngine *e, int program, const char *path, VmWeightsFound *found,
                              VmError *err) {
    VmTensorFile *f;
    VmStatus s = vm_tensors_open(path, &f, err);
    if (s) return s;
    s = find_some(vm_engine_program(e, program), f, path, found, err);
    if (s == VM_OK) vm_tensors_apply(e, program, VM_ROLE_PARAM, f);
    vm_tensors_close(f);
    return s;
}

VmStatus vm_weights_save(VmEngine *e, int program, const char *path, VmError *err) {
    return vm_tensors_save_role(e, program, VM_ROLE_PARAM, path, err);
}
