/* Reads image data sets from a folder: names first, then all threads read and decode files.
 *
 * Does not: decode (image_set.c); look deeper than train/CLASS/NAME. */
#include "runtime/image.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static VmStatus list_folder(const VmImageLoader *l, const char *path, struct dirent ***list, int *n,
                            VmError *err) {
    char full[VM_IMAGE_PATH];
    *n = 0;
    if (!vm_path_join(full, sizeof full, l->src->path, path))
        return vm_fail(err, VM_ENV, "%s/%s: the path is too long", l->src->path, path);
    *n = scandir(full, list, NULL, alphasort); /* any order; the same each time, for messages */
    if (*n >= 0) return VM_OK;
    *n = 0;
    return vm_fail(err, VM_ENV, "cannot open folder '%s': %s", full, strerror(errno));
}

static VmEntryKind kind_of(const VmImageLoader *l, const struct dirent *e, const char *path) {
    if (e->d_type == DT_DIR) return VM_ENTRY_FOLDER;
    if (e->d_type == DT_REG) return VM_ENTRY_FILE;
    char full[VM_IMAGE_PATH];
    struct stat st;
    if (!vm_path_join(full, sizeof full, l->src->path, path) || stat(full, &st) != 0) return VM_ENTRY_OTHER;
    return S_ISDIR(st.st_mode) ? VM_ENTRY_FOLDER : S_ISREG(st.st_mode) ? VM_ENTRY_FILE : VM_ENTRY_OTHER;
}

/* Adds what is in a folder, and in its class folders if `files` (one level more). */
static VmStatus walk(VmImageLoader *l, const char *path, bool files, int depth, VmError *err) {
    struct dirent **list = NULL;
    int n;
    VmStatus s = list_folder(l, path, &list, &n, err);
    for (int i = 0; i < n; i++) {
        char sub[VM_IMAGE_PATH];
        int part;
        bool fits = vm_path_join(sub, sizeof sub, path, list[i]->d_name);
        if (!s && !fits) s = vm_fail(err, VM_ENV, "%s/%s: the path is too long", l->src->path, path);
        if (!s && list[i]->d_name[0] != '.') {
            VmEntryKind kind = kind_of(l, list[i], sub);
            s = vm_names_add(&l->names, sub, kind, &part, err);
            if (!s && kind == VM_ENTRY_FOLDER && depth == 0 && files) s = walk(l, sub, true, 1, err);
        }
        free(list[i]);
    }
    free(list);
    return s;
}

static bool folder_there(const VmImageLoader *l, const char *name) {
    char full[VM_IMAGE_PATH];
    struct stat st;
    return vm_path_join(full, sizeof full, l->src->path, name) && stat(full, &st) == 0 && S_ISDIR(st.st_mode);
}

/* Of train/, names of classes are needed always, those of images only if they are wanted. */
static VmStatus list_images(VmImageLoader *l, bool train, bool test, VmError *err) {
    VmStatus s = walk(l, vm_part_names[VM_PART_TRAIN], train, 0, err);
    int part = folder_there(l, vm_part_names[VM_PART_TEST]) ? VM_PART_TEST : VM_PART_VAL;
    if (!s && test && part == VM_PART_VAL && !folder_there(l, vm_part_names[part]))
        s = vm_fail(err, VM_ENV, "%s: neither test/ nor val/ is there", l->src->path);
    if (!s && test) s = walk(l, vm_part_names[part], true, 0, err);
    return s;
}

static VmStatus read_image(const char *path, char **bytes, size_t *n, VmError *err) {
    struct stat st;
    *bytes = NULL;
    if (stat(path, &st) == 0 && st.st_size > VM_MAX_IMAGE_FILE)
        return vm_fail(err, VM_INPUT, "%s: %" PRId64 " bytes are too many for an image; at most %d", path,
                       (int64_t)st.st_size, VM_MAX_IMAGE_FILE);
    return vm_read_file(path, bytes, n, err);
}

/* Image i of a part, in its final place; measure: its size only. */
static VmStatus load_file(VmImageLoader *l, int part, int64_t i, bool first, VmError *err) {
    char path[VM_IMAGE_PATH], full[VM_IMAGE_PATH];
    if (!vm_names_path(&l->names, part, &l->names.part[part].at[i], path, sizeof path) ||
        !vm_path_join(full, sizeof full, l->src->path, path))
        return vm_fail(err, VM_ENV, "%s: the path of an image is too long", l->src->path);
    char *bytes;
    size_t n;
    VmStatus s = read_image(full, &bytes, &n, err);
    if (!s && first) s = vm_image_first(l, part, full, (const uint8_t *)bytes, n, err);
    if (!s && !first) s = vm_image_load(l, part, i, full, (const uint8_t *)bytes, n, err);
    free(bytes);
    return s;
}

static VmStatus load_part(VmImageLoader *l, int part, bool measure, VmError *err) {
    int64_t n = l->names.part[part].n;
    VmStatus s = load_file(l, part, 0, true, err);
    if (s || measure) return s;
    s = vm_image_room(l, part, n, n, err);
    if (s) return s;
#pragma omp parallel for schedule(dynamic, 16) num_threads(l->src->threads)
    for (int64_t i = 0; i < n; i++) {
        VmError why;
        if (i > l->fail_at) continue;
        VmStatus bad = load_file(l, part, i, false, &why);
        if (bad) vm_image_failed(l, i, bad, &why);
    }
    if (l->status && err) *err = l->failure;
    return l->status;
}

VmStatus vm_images_walk(VmImageLoader *l, bool measure, VmError *err) {
    VmStatus s = list_images(l, l->names.part[VM_PART_TRAIN].keep, l->names.part[VM_PART_TEST].keep, err);
    if (!s) s = vm_names_finish(&l->names, err);
    int test = vm_names_test(&l->names);
    if (!s && l->names.part[VM_PART_TRAIN].keep) s = load_part(l, VM_PART_TRAIN, measure, err);
    if (!s && l->names.part[test].keep) s = load_part(l, test, measure, err);
    return s;
}
