/* Reads image data sets from a folder: names first, then all threads read and decode files.
 * Everything is reached from the open folder, so paths may be as long as the system allows below
 * it.
 *
 * Does not: decode (image_load.c). */
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

/* The folders from a part down to where we are, so that a link back to one of them is met once. */
typedef struct Above {
    const struct Above *up;
    dev_t dev;
    ino_t ino;
} Above;

static VmStatus walk(VmImageLoader *l, const char *path, bool files, const Above *up, VmError *err);

static VmStatus take(VmImageLoader *l, const struct dirent *e, const char *folder, bool files,
                     const Above *up, VmError *err) {
    if (e->d_name[0] == '.') return VM_OK;
    char *path;
    VmEntryKind kind;
    int part;
    if (asprintf(&path, "%s/%s", folder, e->d_name) < 0) return no_memory(l, err);
    VmStatus s = kind_of(l, e, path, &kind, err);
    if (!s) s = vm_names_add(&l->names, path, kind, &part, err);
    if (!s && kind == VM_ENTRY_FOLDER && files) s = walk(l, path, true, up, err);
    free(path);
    return s;
}

/* A link may lead to a folder above it, which would be read for ever. */
static VmStatus enter(const VmImageLoader *l, const char *path, Above *here, VmError *err) {
    struct stat st;
    if (fstatat(l->root, path, &st, 0) != 0) return cannot_open(l, path, err);
    here->dev = st.st_dev;
    here->ino = st.st_ino;
    for (const Above *a = here->up; a; a = a->up) {
        if (a->dev == here->dev && a->ino == here->ino)
            return vm_fail(err, VM_INPUT, "%s/%s: a link leads back to a folder above it",
                           l->src->path, path);
    }
    return VM_OK;
}

/* Adds what is in a folder, and in all folders below it if `files`. */
static VmStatus walk(VmImageLoader *l, const char *path, bool files, const Above *up,
                     VmError *err) {
    struct dirent **list = NULL;
    Above here = {.up = up};
    VmStatus s = enter(l, path, &here, err);
    if (s) return s;
    int n = scandirat(l->root, path, &list, NULL,
                      alphasort); /* any order; the same each time, for messages */
    if (n < 0) s = cannot_open(l, path, err);
    for (int i = 0; i < n; i++) {
        if (!s) s = take(l, list[i], path, files, &here, err);
        free(list[i]);
    }
    free(list);
    return s;
}

static VmStatus meet_if_there(VmImageLoader *l, const VmPartFolder *f, VmError *err) {
    struct stat st;
    if (fstatat(l->root, f->name, &st, 0) != 0)
        return errno == ENOENT ? VM_OK : cannot_open(l, f->name, err);
    if (S_ISDIR(st.st_mode)) vm_names_meet(&l->names, f);
    return VM_OK;
}

/* Of train/, names of classes are needed unless they are known, those of images only if they are
 * wanted. */
static VmStatus list_images(VmImageLoader *l, VmError *err) {
    const VmImageNames *n = &l->names;
    const VmPartFolder *train = &vm_part_folders[VM_PART_TRAIN];
    VmStatus s = n->known ? meet_if_there(l, train, err) : VM_OK;
    if (!s && (!n->known || n->part[VM_PART_TRAIN].folder))
        s = walk(l, train->name, n->want[VM_TRAIN], NULL, err);
    if (s || !(n->want[VM_TEST] || n->want[VM_VALIDATION])) return s;
    for (int i = 0; i < VM_PART_FOLDERS && !s; i++) s = meet_if_there(l, &vm_part_folders[i], err);
    if (!s && n->want[VM_TEST] && vm_names_part(n, VM_TEST) < 0)
        return vm_fail(err, VM_ENV, "%s: neither test/ nor val/ is there", l->src->path);
    for (int part = VM_PART_TEST; part < VM_PARTS && !s; part++)
        if (n->part[part].folder && vm_names_keeps(n, part))
            s = walk(l, n->part[part].folder, true, NULL, err);
    return s;
}

/* Of an open file, which is closed; fd -1: err says why not. */
static VmStatus read_open(int fd, const char *full, const char *shown, char **bytes, size_t *n,
                          VmError *err) {
    struct stat st;
    VmStatus s = fd < 0 ? VM_ENV : VM_OK;
    *bytes = NULL;
    if (!s && fstat(fd, &st) == 0 && st.st_size > VM_MAX_IMAGE_FILE)
        s = vm_fail(err, VM_INPUT, "%s: %" PRId64 " bytes are too many for an image; at most %d",
                    shown, (int64_t)st.st_size, VM_MAX_IMAGE_FILE);
    if (!s) s = vm_read_descriptor(fd, full, bytes, n, err);
    if (fd >= 0) close(fd);
    return s;
}

VmStatus vm_image_file(int root, const char *place, const char *path, char **bytes, size_t *n,
                       VmError *err) {
    *bytes = NULL;
    char *full, shown[VM_SHOWN_NAME];
    if (asprintf(&full, "%s/%s", place, path) < 0)
        return vm_fail(err, VM_ENV, "%s: out of memory", place);
    vm_names_show(path, shown);
    VmStatus s = read_open(vm_open_read_at(root, path, full, err), full, shown, bytes, n, err);
    free(full);
    return s;
}

VmStatus vm_image_bytes(const char *path, char **bytes, size_t *n, VmError *err) {
    char shown[VM_SHOWN_NAME];
    vm_names_show(path, shown);
    return read_open(vm_open_read(path, err), path, shown, bytes, n, err);
}

/* Image i of a part, in its final place; first: its size only. */
static VmStatus load_file(VmImageLoader *l, int part, int64_t i, bool first, bool *damaged,
                          VmError *err) {
    char *path = vm_names_path(&l->names, part, &l->names.part[part].at[i]), shown[VM_SHOWN_NAME],
         *bytes;
    size_t n;
    *damaged = true;
    if (!path) return no_memory(l, err);
    vm_names_show(path, shown);
    VmStatus s = vm_image_file(l->root, l->src->path, path, &bytes, &n, err);
    if (!s && first) s = vm_image_first(l, part, shown, (const uint8_t *)bytes, n, err);
    if (!s && !first) s = vm_image_load(l, part, i, shown, (const uint8_t *)bytes, n, damaged, err);
    free(bytes);
    free(path);
    return s;
}

/* The size of all images, from the first that can be opened; measure: and what decoding takes, from
 * some spread over all. Images that are bad are seen twice if they come before the first that is
 * not; only then they are counted. */
static VmStatus find_size(VmImageLoader *l, int part, bool measure, VmError *err) {
    enum { LOOKED_AT = 32 };
    int64_t n = l->names.part[part].n;
    VmStatus s = VM_INPUT;
    bool damaged;
    int64_t i = 0;
    for (; i < n && s == VM_INPUT; i++) {
        s = load_file(l, part, i, true, &damaged, err);
        if (s == VM_INPUT && measure) vm_image_failed(l, part, i, s, damaged, err);
    }
    int64_t step = n / LOOKED_AT ? n / LOOKED_AT : 1;
    for (; measure && l->src->resize && i < n && s != VM_ENV; i += step) {
        s = load_file(l, part, i, true, &damaged, err);
    }
    return s;
}

static VmStatus load_part(VmImageLoader *l, int part, bool measure, VmError *err) {
    VmImagePart *p = &l->names.part[part];
    VmStatus s = find_size(l, part, measure, err);
    if (s == VM_ENV || measure) return s == VM_ENV ? s : VM_OK; /* the verdict speaks of bad ones */
    for (int64_t i = 0; i < p->n; i++) p->at[i].slot = i;
    bool found = l->store[part].form.height > 0, there = false;
    if (found) s = vm_image_place(l, part, err);
    if (!s && l->ahead[part] && l->src->cache == VM_data_cache_disk)
        s = vm_image_disk_open(l, part, &there, err);
    if (s == VM_ENV || there || (s && found)) return s;
#pragma omp parallel for schedule(dynamic, 16) num_threads(l->src->threads)
    for (int64_t i = 0; i < p->n; i++) {
        VmError why;
        bool damaged;
        if (l->stop) continue;
        VmStatus bad = load_file(l, part, i, !found, &damaged, &why);
        if (!bad && !found)
            bad = vm_fail(&why, VM_ENV, "%s: files change while they are read", l->src->path);
        if (bad) vm_image_failed(l, part, i, bad, damaged, &why);
    }
    for (int i = 0; i < l->src->threads; i++)
        if (l->decoder[i]) l->deep[part] += vm_image_decoder_rounded(l->decoder[i]);
    return VM_OK;
}

/* After all is known: what is left out, and the file of those that are kept on disk. */
static VmStatus finish_part(VmImageLoader *l, int part, VmError *err) {
    VmStatus s = l->disk[part] ? vm_image_disk_finish(l, part, err) : VM_OK;
    if (!s) vm_images_drop(l, part);
    return s;
}

VmStatus vm_images_walk(VmImageLoader *l, bool measure, VmError *err) {
    VmStatus s = list_images(l, err);
    if (!s) s = vm_names_finish(&l->names, err);
    int part[VM_SPLITS], parts = vm_names_parts(&l->names, part);
    for (int i = 0; i < parts && !s && !l->stop; i++) s = load_part(l, part[i], measure, err);
    if (!s) s = vm_images_verdict(l, err);
    for (int i = 0; i < parts && !s && !measure; i++) s = finish_part(l, part[i], err);
    return s;
}
