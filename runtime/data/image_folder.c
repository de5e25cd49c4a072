/* Reads image data sets from a folder: names first, then all threads read and decode files.
 * Everything is reached from the open folder, so paths may be as long as the system allows below
 * it.
 *
 * Does not: decode (image_set.c); look deeper than train/CLASS/NAME. */
#include "runtime/data/image.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static VmStatus no_memory(const VmImageLoader *l, VmError *err) {
    return vm_fail(err, VM_ENV, "%s: out of memory for the names of images", l->src->path);
}

static VmStatus cannot_open(const VmImageLoader *l, const char *path, VmError *err) {
    return vm_fail(err, VM_ENV, "cannot open '%s/%s': %s", l->src->path, path, strerror(errno));
}

/* What a link leads to is what counts. */
static VmStatus kind_of(const VmImageLoader *l, const struct dirent *e, const char *path,
                        VmEntryKind *kind, VmError *err) {
    struct stat st;
    *kind = e->d_type == DT_DIR   ? VM_ENTRY_FOLDER
            : e->d_type == DT_REG ? VM_ENTRY_FILE
                                  : VM_ENTRY_OTHER;
    if (e->d_type != DT_LNK && e->d_type != DT_UNKNOWN) return VM_OK;
    if (fstatat(l->root, path, &st, 0) != 0)
        return errno == ENOENT ? VM_OK : cannot_open(l, path, err);
    *kind = S_ISDIR(st.st_mode)   ? VM_ENTRY_FOLDER
            : S_ISREG(st.st_mode) ? VM_ENTRY_FILE
                                  : VM_ENTRY_OTHER;
    return VM_OK;
}

static VmStatus walk(VmImageLoader *l, const char *path, bool files, int depth, VmError *err);

static VmStatus take(VmImageLoader *l, const struct dirent *e, const char *folder, bool files,
                     int depth, VmError *err) {
    if (e->d_name[0] == '.') return VM_OK;
    char *path;
    VmEntryKind kind;
    int part;
    if (asprintf(&path, "%s/%s", folder, e->d_name) < 0) return no_memory(l, err);
    VmStatus s = kind_of(l, e, path, &kind, err);
    if (!s) s = vm_names_add(&l->names, path, kind, &part, err);
    if (!s && kind == VM_ENTRY_FOLDER && depth == 0 && files) s = walk(l, path, true, 1, err);
    free(path);
    return s;
}

/* Adds what is in a folder, and in its class folders if `files` (one level more). */
static VmStatus walk(VmImageLoader *l, const char *path, bool files, int depth, VmError *err) {
    struct dirent **list = NULL;
    int n = scandirat(l->root, path, &list, NULL,
                      alphasort); /* any order; the same each time, for messages */
    VmStatus s = n < 0 ? cannot_open(l, path, err) : VM_OK;
    for (int i = 0; i < n; i++) {
        if (!s) s = take(l, list[i], path, files, depth, err);
        free(list[i]);
    }
    free(list);
    return s;
}

static VmStatus folder_there(const VmImageLoader *l, int part, bool *there, VmError *err) {
    struct stat st;
    *there = fstatat(l->root, vm_part_names[part], &st, 0) == 0;
    if (!*there) return errno == ENOENT ? VM_OK : cannot_open(l, vm_part_names[part], err);
    *there = S_ISDIR(st.st_mode);
    return VM_OK;
}

/* Of train/, names of classes are needed always, those of images only if they are wanted. */
static VmStatus list_images(VmImageLoader *l, bool train, bool test, VmError *err) {
    bool has_test, has_val;
    VmStatus s = walk(l, vm_part_names[VM_PART_TRAIN], train, 0, err);
    if (s || !test) return s;
    s = folder_there(l, VM_PART_TEST, &has_test, err);
    if (!s) s = folder_there(l, VM_PART_VAL, &has_val, err);
    if (s) return s;
    if (!has_test && !has_val)
        return vm_fail(err, VM_ENV, "%s: neither test/ nor val/ is there", l->src->path);
    return walk(l, vm_part_names[has_test ? VM_PART_TEST : VM_PART_VAL], true, 0, err);
}

static VmStatus read_image(const VmImageLoader *l, const char *path, const char *shown,
                           char **bytes, size_t *n, VmError *err) {
    *bytes = NULL;
    char *full;
    if (asprintf(&full, "%s/%s", l->src->path, path) < 0) return no_memory(l, err);
    int fd = vm_open_read_at(l->root, path, full, err);
    struct stat st;
    VmStatus s = fd < 0 ? VM_ENV : VM_OK;
    if (!s && fstat(fd, &st) == 0 && st.st_size > VM_MAX_IMAGE_FILE)
        s = vm_fail(err, VM_INPUT, "%s: %" PRId64 " bytes are too many for an image; at most %d",
                    shown, (int64_t)st.st_size, VM_MAX_IMAGE_FILE);
    if (!s) s = vm_read_descriptor(fd, full, bytes, n, err);
    if (fd >= 0) close(fd);
    free(full);
    return s;
}

/* Image i of a part, in its final place; first: its size only. */
static VmStatus load_file(VmImageLoader *l, int part, int64_t i, bool first, VmError *err) {
    char *path = vm_names_path(&l->names, part, &l->names.part[part].at[i]), shown[VM_SHOWN_NAME],
         *bytes;
    size_t n;
    if (!path) return no_memory(l, err);
    vm_names_show(path, shown);
    VmStatus s = read_image(l, path, shown, &bytes, &n, err);
    if (!s && first) s = vm_image_first(l, part, shown, (const uint8_t *)bytes, n, err);
    if (!s && !first) s = vm_image_load(l, part, i, shown, (const uint8_t *)bytes, n, err);
    free(bytes);
    free(path);
    return s;
}

/* Images that are bad are seen twice if they come before the first that is not; only then they are
 * counted.
 */
static VmStatus load_part(VmImageLoader *l, int part, bool measure, VmError *err) {
    int64_t n = l->names.part[part].n;
    VmStatus s = VM_INPUT;
    for (int64_t i = 0; i < n && s == VM_INPUT; i++) {
        s = load_file(l, part, i, true, err);
        if (s == VM_INPUT && measure) vm_image_failed(l, part, i, s, err);
    }
    if (s == VM_ENV || measure) return s == VM_ENV ? s : VM_OK; /* the verdict speaks of bad ones */
    if (!s) s = vm_image_room(l, part, n, n, err);
    if (s == VM_ENV) return s;
#pragma omp parallel for schedule(dynamic, 16) num_threads(l->src->threads)
    for (int64_t i = 0; i < n; i++) {
        VmError why;
        if (l->stop) continue;
        VmStatus bad = load_file(l, part, i, false, &why);
        if (bad) vm_image_failed(l, part, i, bad, &why);
    }
    return VM_OK;
}

VmStatus vm_images_walk(VmImageLoader *l, bool measure, VmError *err) {
    VmStatus s =
        list_images(l, l->names.part[VM_PART_TRAIN].keep, l->names.part[VM_PART_TEST].keep, err);
    if (!s) s = vm_names_finish(&l->names, err);
    int part[2] = {VM_PART_TRAIN, vm_names_test(&l->names)};
    for (int i = 0; i < 2 && !s; i++) {
        if (l->names.part[part[i]].keep && !l->stop) s = load_part(l, part[i], measure, err);
    }
    return s ? s : vm_images_verdict(l, err);
}
