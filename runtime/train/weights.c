/* A program's tensors of one role (weights, optimizer state) to and from tensor files. Loading is
 * all or nothing: first everything is compared, then everything is copied. What starts from some of
 * a file's tensors sets them one by one (vm_weights_set).
 *
 * Does not: rename, reshape or convert. */
#include "base/bug.h"
#include "runtime/train/internal.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

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
    snprintf(t->text + at, sizeof t->text - at, "%s'%s'%s%s%s", at ? ", " : "", name,
             *detail ? " (" : "", detail, *detail ? ")" : "");
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

static bool has_role(const VmTensor *t, unsigned roles) {
    return roles >> t->role & 1;
}

static bool program_has(const VmProgram *p, unsigned roles, const char *name) {
    for (int i = 0; i < p->ntensor; i++) {
        if (has_role(&p->tensor[i], roles) && strcmp(p->tensor[i].name, name) == 0) return true;
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

/* "scope.name", which another program of the scope may have. */
static bool is_of_scope(const char *name, const char *scope) {
    size_t n = scope ? strlen(scope) : 0;
    return scope && strncmp(name, scope, n) == 0 && name[n] == '.';
}

static VmStatus check(VmEngine *e, int program, unsigned roles, const VmTensorFile *f,
                      const char *path, const char *scope, VmError *err) {
    const VmProgram *p = vm_engine_program(e, program);
    Trouble missing = {.title = "missing"}, extra = {.title = "not in the model"},
            shape = {.title = "of another shape"};
    for (int i = 0; i < p->ntensor; i++) {
        const VmTensor *t = &p->tensor[i];
        if (!has_role(t, roles)) continue;
        const VmTensorView *v = vm_tensors_find(f, t->name);
        if (v) {
            compare(t, v, &shape);
        } else {
            trouble_add(&missing, t->name, "");
        }
    }
    for (int i = 0; i < vm_tensors_count(f); i++) {
        const char *name = vm_tensors_at(f, i)->name;
        if (!program_has(p, roles, name) && !is_of_scope(name, scope))
            trouble_add(&extra, name, "");
    }
    if (missing.count + extra.count + shape.count == 0) return VM_OK;
    char list[1900] = "";
    trouble_print(&missing, list, sizeof list);
    trouble_print(&extra, list, sizeof list);
    trouble_print(&shape, list, sizeof list);
    return does_not_fit(path, list, err);
}

VmStatus vm_tensors_check(VmEngine *e, int program, VmRole role, const VmTensorFile *f,
                          const char *path, VmError *err) {
    return check(e, program, 1u << role, f, path, NULL, err);
}

VmStatus vm_tensors_check_roles(VmEngine *e, int program, unsigned roles, const VmTensorFile *f,
                                const char *path, const char *scope, VmError *err) {
    return check(e, program, roles, f, path, scope, err);
}

/* Reads a tensor if it is in f; whether that failed. */
static bool read_failed(VmEngine *e, int program, VmRole role, const VmTensorFile *f,
                        const char *path, const VmTensor *t) {
    const VmTensorView *v = t->role == (int32_t)role ? vm_tensors_find(f, t->name) : NULL;
    VmError own;
    return v && vm_tensors_read(f, v, vm_engine_address(e, program, t), path, &own);
}

/* Reads the tensors that are in f, by all threads: the pages that values go to are touched for the
 * first time, which takes longer than to read them. The first that failed; -1: none. */
static int read_all(VmEngine *e, int program, VmRole role, const VmTensorFile *f,
                    const char *path) {
    const VmProgram *p = vm_engine_program(e, program);
    int failed = p->ntensor, threads = vm_engine_threads(e);
    if (threads == 1) { /* without OpenMP, which needs memory for a team of one, too */
        for (int i = 0; i < p->ntensor; i++)
            if (read_failed(e, program, role, f, path, &p->tensor[i])) return i;
        return -1;
    }
#pragma omp parallel for num_threads(threads) schedule(dynamic) reduction(min : failed)
    for (int i = 0; i < p->ntensor; i++)
        if (i < failed && read_failed(e, program, role, f, path, &p->tensor[i])) failed = i;
    return failed < p->ntensor ? failed : -1;
}

VmStatus vm_tensors_apply(VmEngine *e, int program, VmRole role, const VmTensorFile *f,
                          const char *path, VmError *err) {
    if (role == VM_ROLE_PARAM) vm_engine_weights_changed(e);
    int failed = read_all(e, program, role, f, path);
    if (failed < 0) return VM_OK;
    const VmTensor *t = &vm_engine_program(e, program)->tensor[failed]; /* again, for its message */
    return vm_tensors_read(f, vm_tensors_find(f, t->name), vm_engine_address(e, program, t), path,
                           err);
}

int vm_tensors_views(VmEngine *e, int program, VmRole role, VmTensorView *to) {
    const VmProgram *p = vm_engine_program(e, program);
    int n = 0;
    for (int i = 0; i < p->ntensor; i++) {
        const VmTensor *t = &p->tensor[i];
        if (t->role != (int32_t)role) continue;
        VmTensorView *v = to ? &to[n] : NULL;
        n++;
        if (!v) continue;
        *v = (VmTensorView){.name = t->name,
                            .dtype = t->dtype,
                            .rank = t->rank,
                            .data = vm_engine_address(e, program, t)};
        memcpy(v->dim, t->dim, sizeof v->dim);
    }
    return n;
}

/* How each tensor of the role is written; NULL: out of memory. Freed by the caller. */
static VmTensorView *role_views(VmEngine *e, int program, VmRole role, int *n) {
    VmTensorView *view = vm_calloc((size_t)vm_tensors_views(e, program, role, NULL), sizeof *view);
    *n = view ? vm_tensors_views(e, program, role, view) : 0;
    return view;
}

static VmPairs or_plain(VmPairs about) {
    static const char *const plain[] = {"format", "vmoec"};
    return about.n ? about : (VmPairs){plain, 1};
}

VmStatus vm_tensors_save_in(VmEngine *e, int program, VmRole role, VmPairs about, const VmDir *d,
                            const char *name, VmFileSum *sum, VmError *err) {
    int n;
    VmPairs meta = or_plain(about);
    VmTensorView *view = role_views(e, program, role, &n);
    if (!view) return vm_fail(err, VM_ENV, "out of memory");
    VmStatus s = vm_tensors_write_in(d, name, view, n, meta.at, meta.n, sum, err);
    free(view);
    return s;
}

int64_t vm_tensors_bytes(VmEngine *e, int program, VmRole role) {
    const VmProgram *p = vm_engine_program(e, program);
    int64_t bytes = 0;
    for (int i = 0; i < p->ntensor; i++) {
        const VmTensor *t = &p->tensor[i];
        /* the header takes the name and about 70 bytes more */
        if (t->role == (int32_t)role)
            bytes += vm_tensor_elems(t) * 4 + (int64_t)strlen(t->name) + 100;
    }
    return bytes;
}

/* ---- values that are no numbers ---- */

/* The first element of x[n] that is infinite or not a number; -1: all are finite. Looks at blocks
 * of bits, so that a good tensor is read at the speed of memory. */
int64_t vm_first_not_finite(const float *x, int64_t n) {
    enum { BLOCK = 4096 };
    for (int64_t at = 0; at < n; at += BLOCK) {
        int64_t count = n - at < BLOCK ? n - at : BLOCK;
        const float *block = x + at;
        uint32_t bad = 0;
#pragma omp simd reduction(| : bad)
        for (int64_t i = 0; i < count; i++) {
            uint32_t bits;
            memcpy(&bits, &block[i], 4);
            bad |= (uint32_t)((bits & 0x7f800000u) == 0x7f800000u);
        }
        for (int64_t i = 0; i < count && bad; i++)
            if (!isfinite(block[i])) return at + i;
    }
    return -1;
}

static const char *const role_text[] = {
    [VM_ROLE_PARAM] = "weight", [VM_ROLE_STATE] = "optimizer state"};

VmStatus vm_tensors_finite(VmEngine *e, int program, VmRole role, const char *what, VmError *err) {
    const VmProgram *p = vm_engine_program(e, program);
    for (int i = 0; i < p->ntensor; i++) {
        const VmTensor *t = &p->tensor[i];
        if (t->role != (int32_t)role || t->dtype != 0) continue;
        const float *x = vm_engine_address(e, program, t);
        int64_t n = vm_tensor_elems(t), at = vm_first_not_finite(x, n), bad = 0;
        if (at < 0) continue;
        for (int64_t k = at; k < n; k++) bad += !isfinite(x[k]);
        bool place = t->place && t->place[0];
        return vm_fail(err, VM_INPUT,
                       "%s: %s '%s'%s%s is not finite: %" PRId64 " of %" PRId64
                       " values, the first is %s",
                       what, role_text[role], t->name, place ? " of " : "", place ? t->place : "",
                       bad, n, isnan(x[at]) ? "not a number" : "infinite");
    }
    return VM_OK;
}

VmStatus vm_tensors_file_finite(const VmTensorFile *f, const char *path, VmError *err) {
    for (int i = 0; i < vm_tensors_count(f); i++) {
        const VmTensorView *v = vm_tensors_at(f, i);
        int64_t n = 1, at;
        for (int k = 0; k < v->rank; k++) n *= v->dim[k];
        if (v->dtype != 0 || (at = vm_first_not_finite(v->data, n)) < 0) continue;
        return vm_fail(err, VM_INPUT, "%s: value %" PRId64 " of '%s' is %s, expected a finite one",
                       path, at, v->name,
                       isnan(((const float *)v->data)[at]) ? "not a number" : "infinite");
    }
    return VM_OK;
}

/* ---- weights of the user's ---- */

VmStatus vm_weights_take(VmEngine *e, int program, const VmTensorFile *f, const char *path,
                         const char *scope, VmError *err) {
    VmStatus s = check(e, program, 1u << VM_ROLE_PARAM, f, path, scope, err);
    return s ? s : vm_tensors_apply(e, program, VM_ROLE_PARAM, f, path, err);
}

VmStatus vm_weights_load(VmEngine *e, int program, const char *path, const char *scope,
                         VmError *err) {
    VmTensorFile *f;
    VmStatus s = vm_tensors_open_header(path, &f, err);
    if (s) return s;
    s = vm_weights_take(e, program, f, path, scope, err);
    vm_tensors_close(f);
    return s;
}

void vm_weights_set(VmEngine *e, int program, const VmTensorView *v) {
    const VmProgram *p = vm_engine_program(e, program);
    vm_engine_weights_changed(e);
    for (int i = 0; i < p->ntensor; i++) {
        const VmTensor *t = &p->tensor[i];
        if (t->role != VM_ROLE_PARAM || strcmp(t->name, v->name) != 0) continue;
        VM_CHECK(same_shape(t, v), "%s: another shape", v->name);
        memcpy(vm_engine_address(e, program, t), v->data, (size_t)vm_tensor_elems(t) * 4);
    }
}

VmStatus vm_weights_save(VmEngine *e, int program, VmPairs about, const char *path, VmError *err) {
    int n;
    VmPairs meta = or_plain(about);
    VmTensorView *view = role_views(e, program, VM_ROLE_PARAM, &n);
    if (!view) return vm_fail(err, VM_ENV, "out of memory");
    VmStatus s = vm_tensors_write(path, view, n, meta.at, meta.n, err);
    free(view);
    return s;
}

VmStatus vm_weights_finite(VmEngine *e, int program, const char *path, VmError *err) {
    return vm_tensors_finite(e, program, VM_ROLE_PARAM, path, err);
}
