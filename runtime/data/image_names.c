/* What the paths of an image data set say: train/CLASS/NAME.ext, test/CLASS/NAME.ext and
 * val/CLASS/NAME.ext make classes and images, in an order that is the same for a folder, an
 * archive, and any order of its entries. Images may stand anywhere below their class folder, and
 * all of an archive in one folder more.
 *
 * Does not: touch files. */
#include "runtime/data/image.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* That of train/ stands at its own number. */
const VmPartFolder vm_part_folders[VM_PART_FOLDERS] = {{"train", VM_PART_TRAIN},
                                                       {"test", VM_PART_TEST},
                                                       {"val", VM_PART_VAL},
                                                       {"valid", VM_PART_VAL},
                                                       {"validation", VM_PART_VAL}};

/* ---- what parts are used as ---- */

void vm_names_meet(VmImageNames *n, const VmPartFolder *folder) {
    VmImagePart *p = &n->part[folder->part];
    if (!p->folder)
        p->folder = folder->name;
    else if (p->folder != folder->name)
        p->other = folder->name;
}

int vm_names_part(const VmImageNames *n, VmSplit split) {
    bool test = n->part[VM_PART_TEST].folder, val = n->part[VM_PART_VAL].folder;
    switch (split) {
    case VM_TRAIN: return VM_PART_TRAIN;
    case VM_TEST: return test ? VM_PART_TEST : val ? VM_PART_VAL : -1;
    case VM_VALIDATION: return test && val ? VM_PART_VAL : -1;
    case VM_SPLITS: break;
    }
    return -1;
}

int vm_names_parts(const VmImageNames *n, int part[VM_SPLITS]) {
    int found = 0;
    for (int i = 0; i < VM_SPLITS; i++) {
        int p = n->want[i] ? vm_names_part(n, (VmSplit)i) : -1;
        if (p >= 0) part[found++] = p;
    }
    return found;
}

bool vm_names_keeps(const VmImageNames *n, int part) {
    switch (part) {
    case VM_PART_TRAIN: return n->want[VM_TRAIN];
    case VM_PART_TEST: return n->want[VM_TEST];
    default: return n->want[VM_VALIDATION] || (n->want[VM_TEST] && !n->part[VM_PART_TEST].folder);
    }
}

/* ---- growing ---- */

/* Room for one more than n elements, where they are then; NULL: out of memory, `at` stays. */
static void *grown(void *at, int64_t n, int64_t *room, size_t size) {
    if (n < *room) return at;
    int64_t more = *room ? *room * 2 : 64;
    void *p = realloc(at, (size_t)more * size);
    if (p) *room = more;
    return p;
}

static bool keep_text(VmImageNames *n, const char *text, size_t *at) {
    size_t len = strlen(text) + 1;
    if (n->text_used + len > n->text_room) {
        size_t more = n->text_room * 2 + len + 4096;
        char *p = realloc(n->text, more);
        if (!p) return false;
        n->text = p;
        n->text_room = more;
    }
    *at = n->text_used;
    memcpy(n->text + n->text_used, text, len);
    n->text_used += len;
    return true;
}

static VmStatus no_memory(const VmImageNames *n, VmError *err) {
    return vm_fail(err, VM_ENV, "%s: out of memory for the names of images", n->root);
}

/* ---- paths ---- */

void vm_names_show(const char *path, char to[VM_SHOWN_NAME]) {
    int half = (VM_SHOWN_NAME - 4) / 2;
    size_t n = strlen(path);
    if (n < VM_SHOWN_NAME)
        memcpy(to, path, n + 1);
    else
        snprintf(to, VM_SHOWN_NAME, "%.*s...%s", half, path, path + n - (size_t)half);
}

char *vm_names_path(const VmImageNames *n, int part, const VmImageName *name) {
    char *path;
    int len =
        asprintf(&path, "%s/%s/%s", n->part[part].folder, name->class->name, n->text + name->text);
    return len < 0 ? NULL : path;
}

static bool is_image_name(const char *name) {
    static const char *const ends[] = {".jpg", ".jpeg", ".png"};
    size_t n = strlen(name);
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        size_t e = strlen(ends[i]);
        if (n > e && strcasecmp(name + n - e, ends[i]) == 0) return true;
    }
    return false;
}

/* "./train/cat/1.jpg" without its beginning. */
static const char *without_dots(const char *path) {
    for (;;) {
        if (path[0] == '/')
            path++;
        else if (path[0] == '.' && path[1] == '/')
            path += 2;
        else
            return path;
    }
}

/* NULL: it is the folder of no part. */
static const VmPartFolder *part_folder(const char *path, size_t len) {
    for (int i = 0; i < VM_PART_FOLDERS; i++) {
        const VmPartFolder *f = &vm_part_folders[i];
        if (strlen(f->name) == len && memcmp(path, f->name, len) == 0) return f;
    }
    return NULL;
}

/* Names with control characters are nobody's images and nothing to print. */
static bool is_control(char c) {
    return (unsigned char)c < ' ' || c == 127;
}

static bool has_control(const char *path) {
    while (*path && !is_control(*path)) path++;
    return *path != '\0';
}

static bool has_hidden(const char *path) {
    for (const char *p = path; p; p = strchr(p, '/')) {
        p += *p == '/';
        if (*p == '.') return true;
    }
    return false;
}

/* ---- adding ---- */

/* Where a class of this name is, or would be. */
static int64_t class_place(const VmImageNames *n, const char *name, bool *found) {
    int64_t lo = 0, hi = n->nclass;
    *found = false;
    while (lo < hi) {
        int64_t mid = lo + (hi - lo) / 2;
        int order = strcmp(n->class[mid]->name, name);
        if (order == 0) *found = true;
        if (order < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static VmStatus find_class(VmImageNames *n, const char *name, VmImageClass **out, VmError *err) {
    bool found;
    int64_t at = class_place(n, name, &found);
    *out = NULL;
    if (found) {
        *out = n->class[at];
        return VM_OK;
    }
    if (n->nclass == VM_MAX_CLASSES)
        return vm_fail(err, VM_INPUT, "%s: more than %d class folders", n->root, VM_MAX_CLASSES);
    VmImageClass **class = grown(n->class, n->nclass, &n->class_room, sizeof(VmImageClass *));
    if (!class) return no_memory(n, err);
    n->class = class;
    VmImageClass *c = vm_calloc(1, sizeof *c);
    char *copy = c ? strdup(name) : NULL;
    if (!copy) {
        free(c);
        return no_memory(n, err);
    }
    c->name = copy;
    c->label = -1;
    memmove(n->class + at + 1, n->class + at, (size_t)(n->nclass - at) * sizeof(VmImageClass *));
    n->class[at] = *out = c;
    n->nclass++;
    return VM_OK;
}

static void skip(VmImageNames *n, const char *path) {
    if (n->skipped++ > 0) return;
    snprintf(n->first_skipped, sizeof n->first_skipped, "%s", path);
    for (char *p = n->first_skipped; *p; p++) {
        if (is_control(*p)) *p = '?';
    }
}

static VmStatus add_image(VmImageNames *n, int part, VmImageClass *c, const char *file,
                          VmError *err) {
    VmImagePart *p = &n->part[part];
    if (vm_names_keeps(n, part)) {
        VmImageName name = {.class = c, .slot = p->n};
        VmImageName *at = grown(p->at, p->n, &p->room, sizeof name);
        if (!at) return no_memory(n, err);
        p->at = at;
        if (!keep_text(n, file, &name.text)) return no_memory(n, err);
        at[p->n] = name;
    }
    p->n++;
    c->count[part]++;
    return VM_OK;
}

/* "/1.png" or "/1.png/" of a folder somewhere in a class folder; NULL: the class folder itself. */
static bool is_image_folder(const char *file) {
    char name[512];
    size_t n = file ? strlen(file) : 0;
    while (n > 1 && file[n - 1] == '/') n--;
    size_t at = n;
    while (at > 0 && file[at - 1] != '/') at--;
    if (n < 2 || n - at >= sizeof name) return false;
    memcpy(name, file + at, n - at);
    name[n - at] = '\0';
    return is_image_name(name);
}

/* Of "photos/train/cat/1.jpg" the length of "photos/"; 0: a part comes first; -1: there is none. */
static int64_t top_length(const char *path, bool folder) {
    const char *slash = strchr(path, '/');
    if (part_folder(path, slash ? (size_t)(slash - path) : strlen(path))) return 0;
    if (!slash) return -1;
    const char *second = slash + 1, *end = strchr(second, '/');
    if (!end && !folder) return -1;
    return part_folder(second, end ? (size_t)(end - second) : strlen(second)) ? second - path : -1;
}

/* *path without the folder that all stands in; NULL: it is of no part. */
static VmStatus take_top(VmImageNames *n, const char **path, bool folder, VmError *err) {
    int64_t length = top_length(*path, folder);
    if (length < 0 || (length > 0 && strncmp(*path, "__MACOSX/", 9) == 0)) {
        *path = NULL;
        return VM_OK;
    }
    if (!n->top && !(n->top = strndup(*path, (size_t)length))) return no_memory(n, err);
    char shown[VM_SHOWN_NAME];
    if (strlen(n->top) == (size_t)length && strncmp(*path, n->top, (size_t)length) == 0) {
        *path += length;
        return VM_OK;
    }
    vm_names_show(*path, shown);
    return vm_fail(err, VM_INPUT,
                   "%s: there are images in '%.200s' and in another place, %s; expected one data "
                   "set: train/ and test/, or one folder with them",
                   n->root, *n->top ? n->top : ".", shown);
}

VmStatus vm_names_add(VmImageNames *n, const char *path, VmEntryKind kind, int *part,
                      VmError *err) {
    *part = -1;
    char name[512];
    path = without_dots(path);
    bool folder = kind == VM_ENTRY_FOLDER;
    if (has_hidden(path)) return VM_OK;
    VmStatus s = n->may_have_top ? take_top(n, &path, folder, err) : VM_OK;
    if (s || !path) return s;
    const char *class = strchr(path, '/');
    const VmPartFolder *f = part_folder(path, class ? (size_t)(class - path) : strlen(path));
    if (!f) return VM_OK;
    int in = f->part;
    if (folder || class) vm_names_meet(n, f);
    if (!class || !class[1]) return VM_OK; /* the part itself */
    const char *file = strchr(++class, '/');
    if ((!file && !folder) || has_control(path)) {
        skip(n, path);
        return VM_OK;
    }
    size_t len = file ? (size_t)(file - class) : strlen(class);
    if (len == 0 || len >= sizeof name)
        return vm_fail(err, VM_INPUT, "%s: a class folder's name of %zu bytes is not within 1..%zu",
                       n->root, len, sizeof name - 1);
    memcpy(name, class, len);
    name[len] = '\0';
    VmImageClass *c;
    s = find_class(n, name, &c, err);
    if (s) return s;
    c->folder[in] = true;
    if (folder && is_image_folder(file)) {
        char shown[VM_SHOWN_NAME];
        vm_names_show(path, shown);
        return vm_fail(err, VM_INPUT, "%s: %s is a folder; expected an image of that name", n->root,
                       shown);
    }
    if (folder || !file[1]) return VM_OK;
    if (!is_image_name(file)) {
        skip(n, path);
        return VM_OK;
    }
    if (kind == VM_ENTRY_LINK || kind == VM_ENTRY_OTHER) {
        char shown[VM_SHOWN_NAME];
        vm_names_show(path, shown);
        return vm_fail(err, VM_INPUT, "%s: %s is %s; expected the image itself", n->root, shown,
                       kind == VM_ENTRY_LINK ? "a link" : "a pipe, a device or a link to nothing");
    }
    s = add_image(n, in, c, file + 1, err);
    if (s == VM_OK) *part = in;
    return s;
}

/* ---- finishing ---- */

static int in_order(const void *a, const void *b, void *user) {
    const VmImageName *x = a, *y = b;
    const VmImageNames *n = user;
    if (x->class != y->class) return strcmp(x->class->name, y->class->name);
    return strcmp(n->text + x->text, n->text + y->text);
}

static VmStatus order_part(VmImageNames *n, int part, VmError *err) {
    VmImagePart *p = &n->part[part];
    if (p->n == 0) return VM_OK;
    qsort_r(p->at, (size_t)p->n, sizeof *p->at, in_order, n);
    for (int64_t i = 1; i < p->n; i++) {
        if (in_order(&p->at[i - 1], &p->at[i], n) != 0) continue;
        char *path = vm_names_path(n, part, &p->at[i]), shown[VM_SHOWN_NAME];
        if (!path) return no_memory(n, err);
        vm_names_show(path, shown);
        free(path);
        return vm_fail(err, VM_INPUT, "%s: %s is there twice", n->root, shown);
    }
    return VM_OK;
}

static VmStatus label_classes(VmImageNames *n, VmError *err) {
    int64_t label = 0;
    for (int64_t i = 0; i < n->nclass; i++) {
        VmImageClass *c = n->class[i];
        if (!c->folder[VM_PART_TRAIN]) continue;
        c->label = label++;
        if (n->want[VM_TRAIN] && c->count[VM_PART_TRAIN] == 0)
            return vm_fail(err, VM_INPUT,
                           "%s: class '%s' of train/ has no images (.jpg, .jpeg, .png)", n->root,
                           c->name);
    }
    if (label > 0) return VM_OK;
    return vm_fail(err, VM_INPUT,
                   "%s: no class folders in train/; expected train/CLASS/NAME.jpg (or .jpeg, .png)",
                   n->root);
}

/* Labels as somebody else has them. */
static void label_known(VmImageNames *n) {
    for (int64_t i = 0; i < n->nclass; i++)
        for (int64_t k = 0; k < n->nknown && n->class[i]->label < 0; k++)
            if (!strcmp(n->known[k], n->class[i]->name)) n->class[i]->label = k;
}

/* " (cat, dog, ..)" */
static void list_known(const VmImageNames *n, char to[600]) {
    size_t at = 0;
    for (int64_t i = 0; i < n->nknown && at < 400; i++)
        at += (size_t)snprintf(to + at, 600 - at, "%s%.150s", i ? ", " : "", n->known[i]);
    if (at >= 400) snprintf(to + (at < 590 ? at : 590), 10, ", ..");
}

static VmStatus unknown_class(const VmImageNames *n, const VmImageClass *c, const char *folder,
                              VmError *err) {
    int64_t classes = 0;
    for (int64_t i = 0; i < n->nclass; i++) classes += n->class[i]->label >= 0;
    if (!n->known)
        return vm_fail(err, VM_INPUT,
                       "%s: class '%s' of %s/ is not one of the %" PRId64 " of train/", n->root,
                       c->name, folder, classes);
    char list[600] = "";
    list_known(n, list);
    return vm_fail(err, VM_INPUT,
                   "%s: class '%s' of %s/ is none of the %" PRId64 " that the weights know: %s",
                   n->root, c->name, folder, n->nknown, list);
}

/* Classes of a part are those of train/, or those that are known. */
static VmStatus check_part(const VmImageNames *n, int part, VmError *err) {
    const VmImagePart *p = &n->part[part];
    if (p->other)
        return vm_fail(err, VM_INPUT, "%s: %s/ and %s/ are both there; expected one of them",
                       n->root, p->folder, p->other);
    for (int64_t i = 0; i < n->nclass; i++) {
        const VmImageClass *c = n->class[i];
        if (c->folder[part] && c->label < 0) return unknown_class(n, c, p->folder, err);
    }
    return VM_OK;
}

static VmStatus check_splits(const VmImageNames *n, VmError *err) {
    int part[VM_SPLITS], parts = vm_names_parts(n, part), test = vm_names_part(n, VM_TEST);
    for (int i = 0; i < parts; i++) {
        VmStatus s = check_part(n, part[i], err);
        if (s) return s;
    }
    if (n->want[VM_TEST] && (test < 0 || n->part[test].n == 0))
        return vm_fail(err, VM_INPUT,
                       "%s: no images in test/; expected test/CLASS/NAME.jpg (or val/)", n->root);
    for (int i = 0; i < parts; i++) {
        const VmImagePart *p = &n->part[part[i]];
        const char *folder = p->folder ? p->folder : "train";
        if (p->n == 0)
            return vm_fail(err, VM_INPUT, "%s: no images in %s/; expected %s/CLASS/NAME.jpg",
                           n->root, folder, folder);
    }
    return VM_OK;
}

VmStatus vm_names_finish(VmImageNames *n, VmError *err) {
    VmStatus s = VM_OK;
    if (n->known)
        label_known(n);
    else
        s = label_classes(n, err);
    if (!s) s = check_splits(n, err);
    int part[VM_SPLITS], parts = vm_names_parts(n, part);
    for (int i = 0; i < parts && !s; i++) s = order_part(n, part[i], err);
    return s;
}

void vm_names_free(VmImageNames *n) {
    for (int64_t i = 0; i < n->nclass; i++) {
        free(n->class[i]->name);
        free(n->class[i]);
    }
    free(n->class);
    free(n->top);
    for (int i = 0; i < VM_PARTS; i++) free(n->part[i].at);
    free(n->text);
    *n = (VmImageNames){0};
}
