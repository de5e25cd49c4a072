/* Weights by name, and files of them: read and written whole, or not at all. */
#include "trainer/library/library.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A pair of a file with state: how far the training has come. */
#define TRAINING "training"
enum { WEIGHTS = 1u << VM_ROLE_PARAM, WITH_STATE = WEIGHTS | 1u << VM_ROLE_STATE };

/* ---- one by one ------------------------------------------------------------------------------ */

static int64_t count_of(const VmTensorView *v) {
    int64_t n = 1;
    for (int i = 0; i < v->rank; i++) n *= v->dim[i];
    return n;
}

static void show(const VmTensorView *v, vmlib_tensor *out) {
    *out = (vmlib_tensor){.name = v->name, .rank = v->rank, .count = count_of(v), .data = v->data};
    for (int i = 0; i < v->rank; i++) out->dim[i] = v->dim[i];
}

/* -1 and the reason: there is none of that name. */
static int find(vmlib *h, const char *name) {
    for (int i = 0; i < h->nweight && name; i++)
        if (!strcmp(h->view[i].name, name)) return i;
    (void)vm_fail(&h->err, VM_USAGE,
                  "there is no weight '%.300s': expected one of %d names such as '%s'",
                  name ? name : "", h->nweight, h->nweight ? h->view[0].name : "");
    return -1;
}

int vmlib_weights(const vmlib *h) {
    return h && h->life == VMLIB_ALIVE ? h->nweight : 0;
}

static VmStatus weight(vmlib *h, int i, vmlib_tensor *out) {
    if (i < 0 || i >= h->nweight || !out)
        return vm_fail(&h->err, VM_USAGE, "expected a weight from 0 to %d and room, found %d",
                       h->nweight - 1, i);
    show(&h->view[i], out);
    return VM_OK;
}

vmlib_status vmlib_weight(vmlib *h, int i, vmlib_tensor *out) {
    VmStatus s = vmlib_begin(h, true);
    return s ? (vmlib_status)s : vmlib_end(h, weight(h, i, out));
}

vmlib_status vmlib_weight_named(vmlib *h, const char *name, vmlib_tensor *out) {
    VmStatus s = vmlib_begin(h, true);
    if (s) return (vmlib_status)s;
    int i = find(h, name);
    return vmlib_end(h, i < 0 ? VM_USAGE : weight(h, i, out));
}

static VmStatus set(vmlib *h, const char *name, const float *data, int64_t count) {
    int i = find(h, name);
    if (i < 0) return VM_USAGE;
    int64_t n = count_of(&h->view[i]), at;
    if (!data || count != n)
        return vm_fail(&h->err, VM_USAGE,
                       "expected %" PRId64 " numbers for weight '%s', found %" PRId64, n, name,
                       data ? count : 0);
    if ((at = vm_first_not_finite(data, n)) >= 0)
        return vm_fail(&h->err, VM_INPUT,
                       "value %" PRId64 " for weight '%s' is %s, expected a finite number", at,
                       name, vm_failure_value((double)data[at]));
    memcpy(vm_engine_data(h->engine, h->any, name), data, (size_t)n * sizeof *data);
    return VM_OK;
}

vmlib_status vmlib_set_weight(vmlib *h, const char *name, const float *data, int64_t count) {
    VmStatus s = vmlib_begin(h, true);
    return s ? (vmlib_status)s : vmlib_end(h, set(h, name, data, count));
}

/* ---- writing --------------------------------------------------------------------------------- */

/* What a file says of itself: as the build knows it, but for the run's seed. */
typedef struct About {
    const char *at[2 * 10];
    char run[64], training[128];
    VmPairs pairs;
} About;

static void tell_about(const vmlib *h, bool with_state, About *a) {
    const VmBuilt *b = h->built;
    int n = 0;
    snprintf(a->run, sizeof a->run, "{\"seed\":%" PRId64 "}", h->seed);
    snprintf(a->training, sizeof a->training,
             "{\"step\":%" PRId64 ",\"seed\":%" PRId64 ",\"images\":%" PRId64 "}", h->step, h->seed,
             h->images);
    for (; n < b->nabout && n < 9; n++) {
        a->at[2 * n] = b->about[2 * n];
        a->at[2 * n + 1] = strcmp(b->about[2 * n], "run") ? b->about[2 * n + 1] : a->run;
    }
    if (with_state) {
        a->at[2 * n] = TRAINING;
        a->at[2 * n++ + 1] = a->training;
    }
    a->pairs = (VmPairs){a->at, n};
}

static VmStatus may_save(vmlib *h, bool with_state) {
    static const char what[] = "cannot save";
    if (with_state && h->stateful < 0 && !vmlib_has(h, VM_BUILT_TRAIN))
        return vm_fail(&h->err, VM_USAGE,
                       "expected a handle that trains for a file with state; this one does not");
    VmStatus s = vm_tensors_finite(h->engine, h->any, VM_ROLE_PARAM, what, &h->err);
    if (!s && with_state && h->stateful >= 0)
        s = vm_tensors_finite(h->engine, h->stateful, VM_ROLE_STATE, what, &h->err);
    return s;
}

static VmStatus save(vmlib *h, const char *path, bool with_state) {
    About a;
    if (!path) return vm_fail(&h->err, VM_USAGE, "expected a path, found none");
    VmStatus s = may_save(h, with_state);
    tell_about(h, with_state, &a);
    return s ? s
             : vm_tensors_write(path, h->view, h->nweight + (with_state ? h->nstate : 0),
                                a.pairs.at, a.pairs.n, &h->err);
}

vmlib_status vmlib_save(vmlib *h, const char *path, int with_state) {
    VmStatus s = vmlib_begin(h, true);
    return s ? (vmlib_status)s : vmlib_end(h, save(h, path, with_state != 0));
}

static VmStatus save_memory(vmlib *h, void *to, size_t room, bool with_state, size_t *needed) {
    About a;
    size_t bytes;
    VmStatus s = may_save(h, with_state);
    int n = h->nweight + (with_state ? h->nstate : 0);
    tell_about(h, with_state, &a);
    if (!s) s = vm_tensors_write_memory(h->view, n, a.pairs, NULL, 0, &bytes, &h->err);
    if (s) return s;
    if (needed) *needed = bytes;
    if (!to) return VM_OK;
    if (room < bytes)
        return vm_fail(&h->err, VM_USAGE, "expected room for %zu bytes, found %zu", bytes, room);
    return vm_tensors_write_memory(h->view, n, a.pairs, to, room, &bytes, &h->err);
}

vmlib_status vmlib_save_memory(vmlib *h, void *to, size_t room, int with_state, size_t *needed) {
    VmStatus s = vmlib_begin(h, true);
    return s ? (vmlib_status)s : vmlib_end(h, save_memory(h, to, room, with_state != 0, needed));
}

/* ---- reading --------------------------------------------------------------------------------- */

typedef struct Place {
    bool there;
    int64_t step, seed, images;
} Place;

static bool sensible(const Place *p) {
    const int64_t most = INT64_C(1) << 50;
    return p->step >= 0 && p->step < most && p->seed >= 0 && p->images >= 0 && p->images < most;
}

static VmStatus read_place(vmlib *h, const VmTensorFile *f, const char *shown, Place *to) {
    const char *name, *value;
    *to = (Place){.there = false};
    for (int i = 0; vm_tensors_meta(f, i, &name, &value); i++) {
        if (strcmp(name, TRAINING) != 0) continue;
        char end;
        to->there = true;
        int n = sscanf(value, "{\"step\":%" SCNd64 ",\"seed\":%" SCNd64 ",\"images\":%" SCNd64 "%c",
                       &to->step, &to->seed, &to->images, &end);
        if (n == 4 && end == '}' && sensible(to)) return VM_OK;
        return vm_fail(&h->err, VM_INPUT,
                       "%s: its place in training is '%.100s', expected {\"step\":N,\"seed\":N,"
                       "\"images\":N}",
                       shown, value);
    }
    return VM_OK;
}

/* All is compared before anything is changed. */
static VmStatus take(vmlib *h, const VmTensorFile *f, const char *shown) {
    Place place;
    VmStatus s = read_place(h, f, shown, &place);
    if (!s && place.there && !vmlib_has(h, VM_BUILT_TRAIN))
        s = vm_fail(&h->err, VM_USAGE,
                    "%s has the state of a training: expected a handle that trains, or a file of "
                    "weights alone",
                    shown);
    int of = place.there && h->stateful >= 0 ? h->stateful : h->any;
    if (!s)
        s = vm_tensors_check_roles(h->engine, of, place.there ? WITH_STATE : WEIGHTS, f, shown,
                                   place.there ? NULL : h->built->scope, &h->err);
    if (!s) s = vm_tensors_file_finite(f, shown, &h->err);
    if (!s) s = vm_tensors_apply(h->engine, of, VM_ROLE_PARAM, f, shown, &h->err);
    if (s) return s;
    vmlib_clear_state(h);
    vmlib_plan(h, place.there ? place.images : h->images);
    h->ready = true;
    if (!place.there) return VM_OK;
    h->step = place.step;
    h->seed = place.seed;
    return vm_tensors_apply(h->engine, of, VM_ROLE_STATE, f, shown, &h->err);
}

static VmStatus load(vmlib *h, const char *path) {
    VmTensorFile *f;
    if (!path) return vm_fail(&h->err, VM_USAGE, "expected a path, found none");
    VmStatus s = vm_tensors_open(path, &f, &h->err);
    if (!s) s = take(h, f, path);
    vm_tensors_close(f);
    return s;
}

static VmStatus load_memory(vmlib *h, const void *bytes, size_t size, const char *shown) {
    VmTensorFile *f;
    if (!bytes) return vm_fail(&h->err, VM_USAGE, "expected a file in memory, found none");
    VmStatus s = vm_tensors_open_memory(bytes, size, shown, &f, &h->err);
    if (!s) s = take(h, f, shown);
    vm_tensors_close(f);
    return s;
}

vmlib_status vmlib_load(vmlib *h, const char *path) {
    VmStatus s = vmlib_begin(h, false);
    return s ? (vmlib_status)s : vmlib_end(h, load(h, path));
}

vmlib_status vmlib_load_memory(vmlib *h, const void *bytes, size_t size) {
    VmStatus s = vmlib_begin(h, false);
    return s ? (vmlib_status)s : vmlib_end(h, load_memory(h, bytes, size, "the file in memory"));
}

vmlib_status vmlib_load_inside(vmlib *h) {
    VmStatus s = vmlib_begin(h, false);
    if (s) return (vmlib_status)s;
    const VmBuilt *b = h->built;
    s = b->nweights
            ? load_memory(h, b->weights, b->nweights, "the weights inside")
            : vm_fail(&h->err, VM_USAGE,
                      "there are no weights inside this library: expected vmoec build --weights");
    return vmlib_end(h, s);
}
