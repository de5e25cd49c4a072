/* Compares what a model takes with what data give, by name. */
#include "recipe/inputs.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { F32 = 0, I32 = 1 }; /* VmTensor.dtype */

VmInputUse vm_input_use(const VmTensor *t) {
    if (strcmp(t->name, "image") == 0) return VM_USE_IMAGE;
    if (strcmp(t->name, "label") != 0) return VM_USE_NONE;
    return t->dtype == F32 ? VM_USE_SHARES : VM_USE_CLASS;
}

/* "f32[8,1,28,28]" */
static const char *shape_text(const VmTensor *t, char text[160]) {
    size_t n = (size_t)snprintf(text, 160, "%s[", t->dtype == F32 ? "f32" : "i32");
    for (int i = 0; i < t->rank; i++)
        n += (size_t)snprintf(text + n, 160 - n, "%s%" PRId64, i ? "," : "", t->dim[i]);
    snprintf(text + n, 160 - n, "]");
    return text;
}

static bool is_images(const VmTensor *t) {
    return vm_input_use(t) == VM_USE_IMAGE && t->dtype == F32 && t->rank == 4;
}

static bool other(int64_t takes, int64_t given) {
    return given && takes != given;
}

static VmStatus check_image(const VmTensor *t, const VmDataShape *d, VmError *err) {
    char takes[160], sides[64] = "H, W";
    shape_text(t, takes);
    if (!is_images(t))
        return vm_fail(err, VM_INPUT,
                       "the image of a model that is trained is f32[B, C, H, W], here it is %s",
                       takes);
    bool fits = !other(t->dim[1], d->channels) && !other(t->dim[2], d->height) &&
                !other(t->dim[3], d->width);
    if (fits) return VM_OK;
    if (d->height && d->width)
        snprintf(sides, sizeof sides, "%" PRId64 ", %" PRId64, d->height, d->width);
    return vm_fail(err, VM_INPUT, "%s gives images [B, %" PRId64 ", %s], the model takes %s",
                   d->name, d->channels, sides, takes);
}

/* The batch dimension of a label is that of the images. */
static bool same_batch(const VmModelInputs *m, const VmTensor *label) {
    for (int i = 0; i < m->n; i++)
        if (is_images(&m->at[i]) && m->at[i].dim[0] != label->dim[0]) return false;
    return true;
}

static VmStatus check_label(const VmModelInputs *m, const VmTensor *t, const VmDataShape *d,
                            VmError *err) {
    bool shares = vm_input_use(t) == VM_USE_SHARES;
    if (t->rank != (shares ? 2 : 1) || (!shares && m->classes < 0)) {
        char takes[160];
        return vm_fail(
            err, VM_INPUT,
            "the label of a model that is trained is class[B, C], or f32[B, C] for shares "
            "of classes, here it is %s",
            shape_text(t, takes));
    }
    if (d->mixed && !shares)
        return vm_fail(err, VM_INPUT,
                       "`augment` mixes labels, so the label of the model is f32[B, C], shares of "
                       "classes");
    if (!same_batch(m, t))
        return vm_fail(err, VM_INPUT, "image and label have different batch dimensions");
    int64_t known = shares ? t->dim[1] : m->classes;
    bool fits = d->exact ? d->classes == known : d->classes <= known;
    if (!d->classes || !known || fits) return VM_OK;
    return vm_fail(err, VM_INPUT, "%s has %" PRId64 " classes%s%s %" PRId64, d->name, d->classes,
                   d->class_names, shares ? ", the label has" : m->limit, known);
}

static VmStatus check_one(const VmModelInputs *m, const VmTensor *t, const VmDataShape *d,
                          VmError *err) {
    switch (vm_input_use(t)) {
    case VM_USE_IMAGE: return check_image(t, d, err);
    case VM_USE_CLASS:
    case VM_USE_SHARES: return check_label(m, t, d, err);
    case VM_USE_NONE: break;
    }
    return vm_fail(err, VM_INPUT,
                   "there are no data for `%s`: a model that is trained has the inputs `image` and "
                   "`label` only",
                   t->name);
}

VmStatus vm_inputs_check(const VmModelInputs *m, const VmDataShape *d, int *at, VmError *err) {
    bool image = false;
    for (; *at < m->n; ++*at) {
        VmStatus s = check_one(m, &m->at[*at], d, err);
        if (s) return s;
    }
    for (int i = 0; i < m->n && !image; i++) image = vm_input_use(&m->at[i]) == VM_USE_IMAGE;
    if (image || *at > m->n) return VM_OK;
    return vm_fail(err, VM_INPUT, "a model that is trained has an input `image`");
}
