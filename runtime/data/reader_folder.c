/* The reader of class folders of images, and of archives of them.
 *
 * Does not: know names, formats or archives (image_*.c). */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/data/dataset.h"
#include "runtime/data/kinds.h"

static VmImageSource image_source(const VmDataQuery *spec, const VmSource *k, const char *path) {
    return (VmImageSource){.path = path,
                           .channels = vm_channels_of(spec, k),
                           .resize = spec->resize,
                           .cache = spec->cache,
                           .cache_dir = spec->cache_dir,
                           .room = spec->room,
                           .skip = spec->bad == VM_data_bad_skip,
                           .held_out = spec->held_out,
                           .paths = spec->files,
                           .known = spec->class_name,
                           .nknown = spec->nclass_name,
                           .threads = vm_threads(spec->threads)};
}

/* names: as in VmImagesInfo. */
static VmStatus take_classes(VmDataset *d, const VmImagesInfo *info, VmError *err) {
    d->names = malloc(info->names_bytes + 1);
    d->class = vm_calloc((size_t)info->classes, sizeof *d->class);
    if (!d->names || !d->class)
        return vm_fail(err, VM_ENV, "out of memory for the names of classes");
    memcpy(d->names, info->names, info->names_bytes);
    d->names_bytes = info->names_bytes;
    d->classes = info->classes;
    const char *at = d->names;
    for (int64_t i = 0; i < d->classes; i++, at += strlen(at) + 1) d->class[i] = at;
    return VM_OK;
}

static VmStatus check_folders(const VmDataQuery *spec, const VmSource *k, const char *path,
                              int64_t classes, VmError *err) {
    int64_t most = spec->classes > 0 ? spec->classes : k->classes;
    if (most == 0 || (k->classes ? classes == most : classes <= most)) return VM_OK;
    return vm_fail(err, VM_INPUT, "%s: train/ has %" PRId64 " class folders; %s %" PRId64, path,
                   classes, k->classes ? "expected are" : "at most expected are", most);
}

/* Splits whose place in d is NULL are not wanted. */
static VmStatus load_folder(VmDataset *d[VM_SPLITS], const VmDataQuery *spec, const VmSource *k,
                            VmError *err) {
    char *path;
    VmStatus s = vm_find_images(spec, k, &path, err);
    VmImageSource src = image_source(spec, k, path);
    VmImages split[VM_SPLITS];
    VmImagesInfo info = {0};
    VmImages *wanted[VM_SPLITS];
    for (int i = 0; i < VM_SPLITS; i++) wanted[i] = d[i] ? &split[i] : NULL;
    if (!s) s = vm_images_read(&src, wanted, &info, err);
    bool read = s == VM_OK;
    for (int i = 0; i < VM_SPLITS && read; i++) {
        if (!d[i] || !split[i].size) continue;
        d[i]->image = split[i].image;
        d[i]->files = split[i].files;
        d[i]->left_out = split[i].left_out;
        d[i]->paths = split[i].paths;
        d[i]->label = split[i].label;
        d[i]->size = split[i].size;
        d[i]->channels = src.channels;
        d[i]->height = split[i].height;
        d[i]->width = split[i].width;
        memcpy(d[i]->warning, info.note, sizeof info.note);
        if (!s) s = take_classes(d[i], &info, err);
    }
    if (!s) s = check_folders(spec, k, path, info.classes, err);
    free(info.names);
    free(path);
    return s;
}

static VmStatus measure(const VmDataQuery *spec, const VmSource *k, VmImages out[VM_SPLITS],
                        VmDataset *classes, VmError *err) {
    char *path;
    VmStatus s = vm_find_images(spec, k, &path, err);
    VmImageSource src = image_source(spec, k, path);
    VmImagesInfo info = {0};
    if (!s) s = vm_images_measure(&src, out, &info, err);
    if (!s) s = check_folders(spec, k, path, info.classes, err);
    if (!s && classes) {
        memcpy(classes->warning, info.note, sizeof info.note);
        s = take_classes(classes, &info, err);
    }
    free(info.names);
    free(path);
    return s;
}

static VmStatus find(const VmDataQuery *spec, const VmSource *k, VmSplit split, VmError *err) {
    (void)split; /* one place has all of them */
    char *path;
    VmStatus s = vm_find_images(spec, k, &path, err);
    free(path);
    return s;
}

const VmReader vm_reader_folder = {
    .archives = true, .find = find, .measure = measure, .open = load_folder};
