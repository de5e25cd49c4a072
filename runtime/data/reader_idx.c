/* The reader of IDX files: MNIST, Fashion-MNIST and what looks like them.
 *
 * Does not: know the format of a file (idx.c). */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/data/dataset.h"
#include "runtime/data/kinds.h"

/* Keeps the labels if they are below `wanted`; 0: any. */
static VmStatus take_labels(VmDataset *d, const VmIdx *label, const char *path, int64_t wanted,
                            VmError *err) {
    int64_t most = 0;
    d->label = vm_calloc((size_t)label->dim[0], sizeof *d->label);
    if (!d->label) return vm_fail(err, VM_ENV, "%s: out of memory", path);
    for (int64_t i = 0; i < label->dim[0]; i++) {
        if (wanted > 0 && label->data[i] >= wanted) {
            return vm_fail(err, VM_INPUT,
                           "%s: label %d of image %" PRId64
                           " is not below the number of classes, %" PRId64,
                           path, label->data[i], i, wanted);
        }
        if (label->data[i] > most) most = label->data[i];
        d->label[i] = label->data[i];
    }
    d->classes = most + 1;
    return VM_OK;
}

/* In place, so that both sizes are never held at once: larger results grow into room made before
 * the originals, smaller ones stay behind what is still to be read. */
static VmStatus resize_all(VmDataset *d, int64_t side, VmError *err) {
    enum { CHUNK = 256 };
    if (side == 0 || (side == d->height && side == d->width)) return VM_OK;
    size_t n = (size_t)d->size, from = (size_t)(d->height * d->width), to = (size_t)(side * side);
    uint8_t *chunk = vm_calloc(CHUNK, from);
    uint8_t *all = chunk && to > from ? realloc(d->image, n * to) : d->image;
    bool ok = chunk && all;
    if (all) d->image = all;
    size_t gap = to > from ? n * (to - from) : 0;
    if (ok && gap) memmove(all + gap, all, n * from);
    for (size_t i = 0; i < n && ok; i += CHUNK) {
        size_t count = n - i < CHUNK ? n - i : CHUNK;
        memcpy(chunk, all + gap + i * from, count * from);
        ok = vm_resize_u8(chunk, (int64_t)count, d->height, d->width, all + i * to, side, side);
    }
    free(chunk);
    if (!ok) {
        return vm_fail(err, VM_ENV,
                       "out of memory resizing %" PRId64 " images to %" PRId64 " x %" PRId64,
                       d->size, side, side);
    }
    all = realloc(d->image, n * to); /* gives back what smaller images leave */
    if (all) d->image = all;
    d->height = d->width = side;
    return VM_OK;
}

static VmStatus load_idx(VmDataset *d, const VmDataQuery *spec, const VmSource *k, VmSplit split,
                         VmError *err) {
    char *image_path, *label_path;
    VmIdx image = {0}, label = {0};
    VmStatus s = vm_find_idx(spec, k, split, &image_path, &label_path, err);
    if (!s) s = vm_idx_read(image_path, 3, &image, err);
    d->image = image.data;
    if (!s) s = vm_idx_read(label_path, 1, &label, err);
    if (!s && image.dim[0] != label.dim[0])
        s = vm_fail(err, VM_INPUT, "%s has %" PRId64 " images but %s has %" PRId64 " labels",
                    image_path, image.dim[0], label_path, label.dim[0]);
    if (!s)
        s = take_labels(d, &label, label_path, spec->classes > 0 ? spec->classes : k->classes, err);
    if (!s && k->classes) d->classes = k->classes;
    free(label.data);
    free(image_path);
    free(label_path);
    if (s) return s;
    d->size = image.dim[0];
    d->channels = 1;
    d->height = image.dim[1];
    d->width = image.dim[2];
    return resize_all(d, spec->resize, err);
}

/* The largest label + 1, of a split's file of labels. */
static VmStatus count_classes(const char *path, VmDataset *classes, VmError *err) {
    VmIdx label = {0};
    VmStatus s = vm_idx_read(path, 1, &label, err);
    for (int64_t i = 0; i < label.dim[0] && !s; i++)
        if (label.data[i] >= classes->classes) classes->classes = label.data[i] + 1;
    free(label.data);
    return s;
}

static VmStatus measure(const VmDataQuery *spec, const VmSource *k, VmImages out[VM_SPLITS],
                        VmDataset *classes, VmError *err) {
    VmStatus s = VM_OK;
    for (int i = 0; i < VM_SPLITS && !s; i++) {
        char *image_path, *label_path;
        VmIdx image;
        out[i] = (VmImages){0};
        if (!vm_idx_has((VmSplit)i)) continue;
        s = vm_find_idx(spec, k, (VmSplit)i, &image_path, &label_path, err);
        if (!s) s = vm_idx_header(image_path, 3, &image, err);
        if (!s && classes) s = count_classes(label_path, classes, err);
        free(image_path);
        free(label_path);
        if (s) return s;
        out[i] = (VmImages){.size = image.dim[0], .height = image.dim[1], .width = image.dim[2]};
        out[i].shortest = out[i].height < out[i].width ? out[i].height : out[i].width;
        if (spec->resize) out[i].height = out[i].width = spec->resize;
    }
    return s;
}

static VmStatus open_all(VmDataset *out[VM_SPLITS], const VmDataQuery *spec, const VmSource *k,
                         VmError *err) {
    VmStatus s = VM_OK;
    for (int i = 0; i < VM_SPLITS && !s; i++)
        if (out[i] && vm_idx_has((VmSplit)i)) s = load_idx(out[i], spec, k, (VmSplit)i, err);
    return s;
}

static VmStatus find(const VmDataQuery *spec, const VmSource *k, VmSplit split, VmError *err) {
    char *images, *labels;
    VmStatus s = vm_find_idx(spec, k, split, &images, &labels, err);
    free(images);
    free(labels);
    return s;
}

const VmReader vm_reader_idx = {.find = find, .measure = measure, .open = open_all};
