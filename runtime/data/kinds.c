/* Finds the files of a data source: the only places looked at are those a user named, VMOE_DATA and
 * the source's usual one.
 *
 * Does not: open anything. */
#include "runtime/data/image.h"
#include "runtime/data/kinds.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MAX_PLACES = 4 };

static VmStatus no_memory(VmError *err) {
    return vm_fail(err, VM_ENV, "out of memory looking for the data set");
}

/* "DIR/NAME" with an ending, or DIR alone; NULL: out of memory. */
static char *join(const char *dir, const char *name, const char *end) {
    size_t n = strlen(dir);
    const char *slash = n > 0 && dir[n - 1] == '/' ? "" : "/";
    char *path;
    if (!name) return strdup(dir);
    return asprintf(&path, "%s%s%s%s", dir, slash, name, end) < 0 ? NULL : path;
}

/* What is at a path; 0: nothing. A link to nothing and a folder that may not be searched are
 * failures: whoever has them does not mean another place. */
static VmStatus look(const char *path, mode_t *mode, VmError *err) {
    struct stat st;
    *mode = 0;
    if (!path) return no_memory(err);
    if (stat(path, &st) == 0) {
        *mode = st.st_mode;
        return VM_OK;
    }
    int why = errno;
    if (why == ENOENT && lstat(path, &st) == 0)
        return vm_fail(err, VM_ENV, "'%s' is a link to nothing", path);
    if (why == ENOENT || why == ENOTDIR) return VM_OK;
    return vm_fail(err, VM_ENV, "cannot open '%s': %s", path, strerror(why));
}

/* ---- places ---- */

typedef struct Places {
    char *path[MAX_PLACES];
    const char *what[MAX_PLACES]; /* it is relative to, or where it comes from */
    int count;
} Places;

static void free_places(Places *p) {
    for (int i = 0; i < p->count; i++) free(p->path[i]);
    p->count = 0;
}

static VmStatus add_place(Places *p, const char *dir, const char *sub, const char *what,
                          VmError *err) {
    char *path = join(dir, sub, "");
    if (!path) return no_memory(err);
    p->what[p->count] = what;
    p->path[p->count++] = path;
    return VM_OK;
}

/* A folder and, in it, the one with the source's name. */
static VmStatus add_both(Places *p, const char *dir, const VmSource *k, const char *what,
                         VmError *err) {
    VmStatus s = add_place(p, dir, NULL, what, err);
    return s ? s : add_place(p, dir, k->name, what, err);
}

/* A relative folder means the one beside the file that says so, wherever the user stands; then the
 * one in the current folder. */
static VmStatus given_places(const VmDataQuery *spec, const VmSource *k, Places *p, VmError *err) {
    if (spec->dir[0] == '/') return add_both(p, spec->dir, k, NULL, err);
    VmStatus s = VM_OK;
    if (spec->beside) {
        char *path = join(spec->beside, spec->dir, "");
        s = path ? add_both(p, path, k, "beside the file", err) : no_memory(err);
        free(path);
    }
    return s ? s : add_both(p, spec->dir, k, "in the current folder", err);
}

static VmStatus list_places(const VmDataQuery *spec, const VmSource *k, Places *p, VmError *err) {
    *p = (Places){.count = 0};
    VmStatus s = VM_OK;
    const char *root = getenv("VMOE_DATA");
    if (spec->dir) return given_places(spec, k, p, err);
    if (!k->classes) return VM_OK; /* could be anything: never guessed */
    if (root && *root) s = add_place(p, root, k->name, "in VMOE_DATA", err);
    if (!s && root && *root) s = add_place(p, root, NULL, "VMOE_DATA", err);
    return !s && k->place ? add_place(p, k->place, NULL, "the usual place", err) : s;
}

/* name: what was looked for in each place. */
static VmStatus not_found(const VmSource *k, const Places *p, const char *name, VmError *err) {
    char tried[1400] = "";
    for (int i = 0; i < p->count; i++) {
        size_t at = strlen(tried);
        const char *what = p->what[i];
        mode_t mode = 0;
        bool there = look(p->path[i], &mode, NULL) == VM_OK && mode != 0;
        snprintf(tried + at, sizeof tried - at, "\n  tried %s/%s%s%s%s%s", p->path[i], name,
                 what ? " (" : "", what ? what : "", what ? ")" : "",
                 there ? ": the folder is there, without it" : "");
    }
    return vm_fail(err, VM_ENV, "data set '%s' not found%s\n  %s", k->name, tried, k->advice);
}

/* ---- IDX files ---- */

/* DIR/NAME or DIR/NAME.gz; *found NULL: neither is there. */
static VmStatus file_in(const char *dir, const char *name, char **found, VmError *err) {
    mode_t mode = 0;
    VmStatus s = VM_OK;
    *found = NULL;
    for (int packed = 0; packed < 2 && !s && !mode; packed++) {
        free(*found);
        *found = join(dir, name, packed ? ".gz" : "");
        s = look(*found, &mode, err);
    }
    if (!s && mode) return VM_OK;
    free(*found);
    *found = NULL;
    return s;
}

/* Images and labels; NULL: there is no such split. */
static const char *const idx_files[VM_SPLITS][2] = {
    [VM_TRAIN] = {"train-images-idx3-ubyte", "train-labels-idx1-ubyte"},
    [VM_TEST] = {"t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"}};

bool vm_idx_has(VmSplit split) {
    return idx_files[split][0] != NULL;
}

VmStatus vm_find_idx(const VmDataQuery *spec, const VmSource *k, VmSplit split, char **images,
                     char **labels, VmError *err) {
    const char *image_name = idx_files[split][0], *label_name = idx_files[split][1];
    Places p;
    *images = *labels = NULL;
    VmStatus s = list_places(spec, k, &p, err);
    for (int i = 0; i < p.count && !s && !*images; i++) {
        s = file_in(p.path[i], image_name, images, err);
        if (s || !*images) continue;
        s = file_in(p.path[i], label_name, labels, err);
        if (!s && !*labels)
            s = vm_fail(err, VM_ENV, "%s is there but %s/%s[.gz] is not", *images, p.path[i],
                        label_name);
    }
    char looked_for[64];
    snprintf(looked_for, sizeof looked_for, "%s[.gz]", image_name);
    if (!s && !*images) s = not_found(k, &p, looked_for, err);
    free_places(&p);
    return s;
}

/* ---- folders and archives ---- */

/* *there: one of the folders that make `place` such data is in it. */
static VmStatus has_parts(const VmDataQuery *spec, const char *place, bool *there, VmError *err) {
    int n = spec->class_name ? VM_PART_FOLDERS : 1; /* train/ alone says which classes there are */
    VmStatus s = VM_OK;
    *there = false;
    for (int i = 0; i < n && !s && !*there; i++) {
        mode_t mode = 0;
        char *path = join(place, vm_part_folders[i].name, "");
        s = path ? look(path, &mode, err) : no_memory(err);
        free(path);
        *there = S_ISDIR(mode);
    }
    return s;
}

/* *found NULL: the place has no such data. */
static VmStatus images_in(const VmDataQuery *spec, const char *place, const VmSource *k,
                          char **found, VmError *err) {
    mode_t mode;
    *found = NULL;
    VmStatus s = look(place, &mode, err);
    if (s || !mode) return s;
    if (!S_ISDIR(mode)) {
        *found = strdup(place);
        return *found ? VM_OK : no_memory(err);
    }
    bool there;
    s = has_parts(spec, place, &there, err);
    if (s) return s;
    if (there) {
        *found = strdup(place);
        return *found ? VM_OK : no_memory(err);
    }
    if (!k->archive) return VM_OK;
    *found = join(place, k->archive, "");
    s = look(*found, &mode, err);
    if (!s && mode) return VM_OK;
    free(*found);
    *found = NULL;
    return s;
}

VmStatus vm_find_images(const VmDataQuery *spec, const VmSource *k, char **found, VmError *err) {
    Places p;
    *found = NULL;
    VmStatus s = list_places(spec, k, &p, err);
    for (int i = 0; i < p.count && !s && !*found; i++)
        s = images_in(spec, p.path[i], k, found, err);
    char looked_for[64];
    snprintf(looked_for, sizeof looked_for, "train/%s%s", k->archive ? " and " : "",
             k->archive ? k->archive : "");
    if (!s && !*found) s = not_found(k, &p, looked_for, err);
    free_places(&p);
    return s;
}
