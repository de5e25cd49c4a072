/* Reads image data sets from a tar archive, plain or packed with gzip, bzip2, xz or zstd: one thread unpacks,
 * once for all splits, while the others decode.
 *
 * Does not: write anything to disk; follow links. */
#include "runtime/image.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    BATCH_FILES = 64,        /* decoded as one task */
    BATCH_BYTES = 1 << 18,   /* of files, unless one is larger */
    PENDING_BYTES = 1 << 24, /* unpacked and not yet decoded; beyond, the unpacking thread decodes too */
    FIRST_ROOM = 1 << 25,    /* bytes of decoded images */
};

typedef struct BatchFile {
    char *path;
    size_t at, n; /* in the batch's bytes */
    int part;
    int64_t slot, number;
} BatchFile;

typedef struct Batch {
    int n;
    size_t used, room;
    BatchFile file[BATCH_FILES];
    uint8_t *bytes;
} Batch;

typedef struct Unpacker {
    VmImageLoader *l;
    struct archive *a;
    Batch *batch; /* being filled; NULL: none */
    int64_t number;
    bool measure;
} Unpacker;

static void batch_free(Batch *b) {
    if (!b) return;
    for (int i = 0; i < b->n; i++) free(b->file[i].path);
    free(b->bytes);
    free(b);
}

static Batch *batch_create(size_t bytes) {
    Batch *b = vm_calloc(1, sizeof *b);
    size_t room = bytes > BATCH_BYTES ? bytes : BATCH_BYTES;
    if (b) b->bytes = malloc(room);
    if (b && b->bytes) {
        b->room = room;
        return b;
    }
    free(b);
    return NULL;
}

static void decode_batch(VmImageLoader *l, Batch *b) {
    for (int i = 0; i < b->n; i++) {
        const BatchFile *f = &b->file[i];
        char name[VM_IMAGE_PATH];
        VmError why;
        if (f->number > l->fail_at) break;
        vm_names_show(l->src->path, true, f->path, name, sizeof name);
        VmStatus s = vm_image_load(l, f->part, f->slot, name, b->bytes + f->at, f->n, &why);
        if (s) vm_image_failed(l, f->number, s, &why);
    }
    l->pending -= (int64_t)b->used;
    batch_free(b);
}

/* Hands the batch to whoever is free. */
static void submit(Unpacker *u) {
    VmImageLoader *l = u->l;
    Batch *b = u->batch;
    u->batch = NULL;
    if (!b) return;
    l->pending += (int64_t)b->used;
#pragma omp task firstprivate(l, b) if (l -> pending < PENDING_BYTES)
    decode_batch(l, b);
}

static VmStatus archive_failed(const Unpacker *u, VmError *err) {
    int code = archive_errno(u->a);
    const char *why = archive_error_string(u->a);
    bool outside = code == EIO || code == ENOMEM || code == EACCES || code == ENOENT || code == EISDIR;
    return vm_fail(err, outside ? VM_ENV : VM_INPUT, "%s: %s: %s", u->l->src->path,
                   outside ? "cannot read" : "no tar archive, or damaged", why ? why : "no reason given");
}

/* Contents of the entry into the batch, which gets room for them. */
static VmStatus unpack(Unpacker *u, struct archive_entry *e, const char *path, VmError *err) {
    int64_t size = archive_entry_size(e);
    if (size < 0 || size > VM_MAX_IMAGE_FILE)
        return vm_fail(err, VM_INPUT, "%s: %s: %" PRId64 " bytes are too many for an image; at most %d",
                       u->l->src->path, path, size, VM_MAX_IMAGE_FILE);
    if (u->batch && (u->batch->n == BATCH_FILES || u->batch->room - u->batch->used < (size_t)size)) submit(u);
    if (!u->batch) u->batch = batch_create((size_t)size);
    char *copy = u->batch ? strdup(path) : NULL;
    if (!copy) return vm_fail(err, VM_ENV, "%s: out of memory", u->l->src->path);
    Batch *b = u->batch;
    BatchFile *f = &b->file[b->n];
    *f = (BatchFile){.path = copy, .at = b->used, .n = (size_t)size};
    VmStatus s = VM_OK;
    for (size_t got = 0; got < f->n && !s;) {
        la_ssize_t k = archive_read_data(u->a, b->bytes + f->at + got, f->n - got);
        if (k < 0) s = archive_failed(u, err);
        if (k == 0)
            s = vm_fail(err, VM_INPUT, "%s: %s is cut off: %zu of %zu bytes", u->l->src->path, path, got,
                        f->n);
        got += k > 0 ? (size_t)k : 0;
    }
    if (s) free(copy);
    return s;
}

/* A place in the store for the image just unpacked. */
static VmStatus place(Unpacker *u, BatchFile *f, int part, VmError *err) {
    VmImageLoader *l = u->l;
    VmImageStore *t = &l->store[part];
    f->part = part;
    f->slot = l->names.part[part].n - 1;
    f->number = u->number++;
    if (t->height == 0) {
        char name[VM_IMAGE_PATH];
        vm_names_show(l->src->path, true, f->path, name, sizeof name);
        VmStatus s = vm_image_first(l, part, name, u->batch->bytes + f->at, f->n, err);
        if (s) return s;
    }
    if (u->measure || f->slot < t->room) return VM_OK;
    /* what is being decoded must be finished before its memory moves; this image is not among it */
#pragma omp taskwait
    int64_t some = FIRST_ROOM / vm_image_bytes(l, part);
    return vm_image_room(l, part, f->slot + 1, t->room > some ? t->room * 2 : some, err);
}

static VmEntryKind entry_kind(struct archive_entry *e) {
    if (archive_entry_hardlink(e)) return VM_ENTRY_LINK;
    switch (archive_entry_filetype(e)) {
    case AE_IFREG: return VM_ENTRY_FILE;
    case AE_IFDIR: return VM_ENTRY_FOLDER;
    case AE_IFLNK: return VM_ENTRY_LINK;
    default: return VM_ENTRY_OTHER;
    }
}

static VmStatus take_entry(Unpacker *u, struct archive_entry *e, VmError *err) {
    VmImageLoader *l = u->l;
    const char *path = archive_entry_pathname(e);
    if (!path) return vm_fail(err, VM_INPUT, "%s: an entry has a name that cannot be read", l->src->path);
    int part;
    VmStatus s = vm_names_add(&l->names, path, entry_kind(e), &part, err);
    if (s || part < 0 || !l->names.part[part].keep) return s;
    if (part == VM_PART_VAL && l->names.part[VM_PART_TEST].seen) return VM_OK; /* test/ goes first */
    if (u->measure && l->store[part].height > 0) return VM_OK;
    s = unpack(u, e, path, err);
    if (s) return s;
    Batch *b = u->batch;
    BatchFile *f = &b->file[b->n];
    s = place(u, f, part, err);
    if (s) {
        free(f->path);
        return s;
    }
    b->used += f->n;
    b->n++;
    return VM_OK;
}

/* What was met before the failure of an entry is decoded: should it fail too, it is the first. */
static VmStatus unpack_all(Unpacker *u, VmError *err) {
    VmImageLoader *l = u->l;
    VmStatus s = VM_OK;
    while (!s && l->fail_at == INT64_MAX) {
        struct archive_entry *e;
        int r = archive_read_next_header(u->a, &e);
        if (r == ARCHIVE_EOF) break;
        s = r < ARCHIVE_WARN ? archive_failed(u, err) : take_entry(u, e, err);
    }
    if (!u->measure) submit(u);
    batch_free(u->batch);
    u->batch = NULL;
    return s;
}

static VmStatus open_archive(Unpacker *u, VmError *err) {
    struct archive *a = u->a = archive_read_new();
    if (!a) return vm_fail(err, VM_ENV, "%s: out of memory", u->l->src->path);
    archive_read_support_format_tar(a);
    archive_read_support_filter_gzip(a);
    archive_read_support_filter_bzip2(a);
    archive_read_support_filter_xz(a);
    archive_read_support_filter_zstd(a);
    archive_read_set_options(a, "hdrcharset=BINARY"); /* names are bytes here, whatever the locale */
    return archive_read_open_filename(a, u->l->src->path, 1 << 17) < ARCHIVE_WARN ? archive_failed(u, err)
                                                                                  : VM_OK;
}

/* Moves images from the order they came in to that of their names, in place. */
static VmStatus sort_images(VmImageLoader *l, int part, VmError *err) {
    VmImagePart *p = &l->names.part[part];
    uint8_t *image = l->store[part].image;
    size_t one = (size_t)vm_image_bytes(l, part);
    uint8_t *kept = malloc(one ? one : 1);
    if (!kept) return vm_fail(err, VM_ENV, "%s: out of memory", l->src->path);
    for (int64_t i = 0; i < p->n; i++) {
        if (p->at[i].slot == i) continue;
        memcpy(kept, image + (size_t)i * one, one);
        int64_t to = i;
        for (int64_t from; (from = p->at[to].slot) != i; to = from) {
            memcpy(image + (size_t)to * one, image + (size_t)from * one, one);
            p->at[to].slot = to;
        }
        memcpy(image + (size_t)to * one, kept, one);
        p->at[to].slot = to;
    }
    free(kept);
    return VM_OK;
}

VmStatus vm_images_unpack(VmImageLoader *l, bool measure, VmError *err) {
    Unpacker u = {.l = l, .measure = measure};
    VmStatus s = open_archive(&u, err);
    if (!s) {
#pragma omp parallel num_threads(l->src->threads)
#pragma omp single
        s = unpack_all(&u, err);
    }
    if (u.a) archive_read_free(u.a);
    if (l->status) { /* met before what stopped the unpacking */
        if (err) *err = l->failure;
        return l->status;
    }
    if (!s) s = vm_names_finish(&l->names, err);
    int test = vm_names_test(&l->names);
    if (!s && !measure && l->names.part[VM_PART_TRAIN].keep) s = sort_images(l, VM_PART_TRAIN, err);
    if (!s && !measure && l->names.part[test].keep) s = sort_images(l, test, err);
    return s;
}
