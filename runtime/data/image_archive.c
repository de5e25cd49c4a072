/* Reads image data sets from a tar archive, plain or packed with gzip, bzip2, xz or zstd: one
 * thread unpacks, once for all splits, while the others decode. The archive must be whole: with its
 * end mark, and nothing behind it.
 *
 * Does not: write anything to disk; follow links; know packings (stream.c). */
#include "runtime/data/image.h"
#include "runtime/data/stream.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    BATCH_FILES = 64,      /* decoded as one task */
    BATCH_BYTES = 1 << 18, /* of files, unless one is larger */
    /* unpacked and not yet decoded; beyond, the unpacking thread decodes too */
    PENDING_BYTES = 1 << 24,
    FIRST_ROOM = 1 << 25, /* bytes of decoded images */
    BLOCK = 1 << 17,      /* of the unpacked archive */
    END_MARK = 1024,      /* bytes of zeros that end a tar archive */
};

typedef struct BatchFile {
    char *path;
    size_t at, n; /* in the batch's bytes */
    int part;
    int64_t slot;
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
    /* libarchive's own is not looked at when there was no memory for it */
    struct archive_entry *entry;
    VmStream *stream;
    uint8_t *block;
    int64_t fed, data_end; /* bytes given to libarchive; the end of the last one that is not zero */
    VmStatus broken;       /* of the stream */
    VmError why;
    Batch *batch;             /* being filled; NULL: none */
    char last[VM_SHOWN_NAME]; /* the entry before; empty: none */
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
        char name[VM_SHOWN_NAME];
        VmError why;
        if (l->stop) break;
        vm_names_show(f->path, name);
        VmStatus s = vm_image_load(l, f->part, f->slot, name, b->bytes + f->at, f->n, &why);
        if (s) vm_image_failed(l, f->part, f->slot, s, &why);
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

/* ---- the archive's bytes ---- */

static size_t without_zeros(const uint8_t *p, size_t n) {
    while (n > 0 && p[n - 1] == 0) n--;
    return n;
}

static VmStatus next_block(Unpacker *u, size_t *n) {
    *n = 0;
    if (!u->broken) u->broken = vm_stream_read(u->stream, u->block, BLOCK, n, &u->why);
    if (u->broken) return u->broken;
    size_t end = without_zeros(u->block, *n);
    if (end) u->data_end = u->fed + (int64_t)end;
    u->fed += (int64_t)*n;
    return VM_OK;
}

static la_ssize_t feed(struct archive *a, void *user, const void **block) {
    Unpacker *u = user;
    size_t n;
    *block = u->block;
    if (next_block(u, &n) == VM_OK) return (la_ssize_t)n;
    archive_set_error(a, EIO, "%s", u->why.text);
    return -1;
}

static VmStatus archive_failed(const Unpacker *u, VmError *err) {
    if (u->broken) return vm_fail(err, u->broken, "%s", u->why.text);
    const char *why = archive_error_string(u->a), *path = u->l->src->path;
    if (archive_errno(u->a) == ENOMEM || !why)
        return vm_fail(err, VM_ENV, "%s: out of memory", path);
    return vm_fail(err, VM_INPUT, "%s: no tar archive, or damaged%s%s: %s", path,
                   u->last[0] ? " at or behind the entry " : " at its beginning", u->last, why);
}

/* libarchive takes any end for the end. `mark`: where the end mark should be, behind the last
 * entry. Packed or not, the rest is read: checksums stand at its end. */
static VmStatus check_end(Unpacker *u, int64_t mark, VmError *err) {
    const char *path = u->l->src->path;
    for (size_t n = 1; n > 0;) {
        if (next_block(u, &n)) return archive_failed(u, err);
    }
    if (u->data_end > mark)
        return vm_fail(err, VM_INPUT,
                       "%s: something follows the end of the archive; of two archives joined to "
                       "one file only the "
                       "first would be read: pack their files as one",
                       path);
    if (u->fed - mark >= END_MARK) return VM_OK;
    return vm_fail(err, VM_INPUT, "%s: cut off: the archive's end mark is missing%s%s", path,
                   u->last[0] ? " behind the entry " : "", u->last);
}

/* ---- entries ---- */

/* Contents of the entry into the batch, which gets room for them. */
static VmStatus unpack(Unpacker *u, const char *path, size_t size, VmError *err) {
    if (u->batch && (u->batch->n == BATCH_FILES || u->batch->room - u->batch->used < size))
        submit(u);
    if (!u->batch) u->batch = batch_create(size);
    char *copy = u->batch ? strdup(path) : NULL;
    if (!copy) return vm_fail(err, VM_ENV, "%s: out of memory", u->l->src->path);
    Batch *b = u->batch;
    BatchFile *f = &b->file[b->n];
    *f = (BatchFile){.path = copy, .at = b->used, .n = size};
    VmStatus s = VM_OK;
    for (size_t got = 0; got < f->n && !s;) {
        la_ssize_t k = archive_read_data(u->a, b->bytes + f->at + got, f->n - got);
        if (k < 0) s = archive_failed(u, err);
        if (k == 0)
            s = vm_fail(err, VM_INPUT, "%s: %s is cut off: %zu of %zu bytes", u->l->src->path, path,
                        got, f->n);
        got += k > 0 ? (size_t)k : 0;
    }
    if (s) free(copy);
    return s;
}

/* A place in the store for the image just unpacked. VM_INPUT: it is bad, and none came before that
 * is not. */
static VmStatus place(Unpacker *u, BatchFile *f, int part, VmError *err) {
    VmImageLoader *l = u->l;
    VmImageStore *t = &l->store[part];
    f->part = part;
    f->slot = l->names.part[part].n - 1;
    if (t->height == 0) {
        char name[VM_SHOWN_NAME];
        vm_names_show(f->path, name);
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
    if (!path)
        return vm_fail(err, VM_INPUT, "%s: an entry has a name that cannot be read", l->src->path);
    vm_names_show(path, u->last);
    int part;
    VmStatus s = vm_names_add(&l->names, path, entry_kind(e), &part, err);
    if (s || part < 0 || !l->names.part[part].keep) return s;
    if (part == VM_PART_VAL && l->names.part[VM_PART_TEST].seen)
        return VM_OK; /* test/ goes first */
    if (u->measure && l->store[part].height > 0) return VM_OK;
    int64_t size = archive_entry_size(e), number = l->names.part[part].n - 1;
    VmError why;
    if (size < 0 || size > VM_MAX_IMAGE_FILE) {
        vm_fail(&why, VM_INPUT, "%s: %" PRId64 " bytes are too many for an image; at most %d",
                u->last, size, VM_MAX_IMAGE_FILE);
        vm_image_failed(l, part, number, VM_INPUT, &why);
        return VM_OK;
    }
    s = unpack(u, path, (size_t)size, err);
    if (s) return s;
    Batch *b = u->batch;
    BatchFile *f = &b->file[b->n];
    s = place(u, f, part, &why);
    if (s) {
        free(f->path);
        vm_image_failed(l, part, number, s, &why);
        return VM_OK;
    }
    b->used += f->n;
    b->n++;
    return VM_OK;
}

/* To the archive's end, also past bad images: all are to be known, and whether the archive itself
 * is damaged.
 */
static VmStatus unpack_all(Unpacker *u, VmError *err) {
    VmImageLoader *l = u->l;
    VmStatus s = VM_OK;
    int64_t mark = 0;
    while (!s && !l->stop) {
        int r = archive_read_next_header2(u->a, u->entry);
        if (r == ARCHIVE_EOF) {
            s = check_end(u, mark, err);
            break;
        }
        bool read =
            r == ARCHIVE_OK || r == ARCHIVE_WARN; /* ARCHIVE_RETRY is a damaged header here */
        s = read ? take_entry(u, u->entry, err) : archive_failed(u, err);
        if (!s && archive_read_data_skip(u->a) < ARCHIVE_WARN) s = archive_failed(u, err);
        mark = archive_filter_bytes(u->a, 0);
    }
    if (!u->measure) submit(u);
    batch_free(u->batch);
    u->batch = NULL;
    return s;
}

static VmStatus open_archive(Unpacker *u, VmError *err) {
    VmStatus s = vm_stream_open(&u->stream, u->l->src->path, true, err);
    if (s) return s;
    u->l->unchecked = vm_stream_unchecked(u->stream);
    struct archive *a = u->a = archive_read_new();
    u->block = malloc(BLOCK);
    u->entry = archive_entry_new();
    bool ok = a && u->block && u->entry && archive_read_support_format_tar(a) >= ARCHIVE_WARN;
    if (!ok) return vm_fail(err, VM_ENV, "%s: out of memory", u->l->src->path);
    return archive_read_open(a, u, NULL, feed, NULL) < ARCHIVE_WARN ? archive_failed(u, err)
                                                                    : VM_OK;
}

static void close_archive(Unpacker *u) {
    if (u->a) archive_read_free(u->a);
    archive_entry_free(u->entry);
    vm_stream_close(u->stream);
    free(u->block);
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
    close_archive(&u);
    if (l->status && s != VM_ENV) return vm_images_verdict(l, err);
    if (!s) s = vm_names_finish(&l->names, err);
    if (!s) s = vm_images_verdict(l, err);
    int test = vm_names_test(&l->names);
    if (!s && !measure && l->names.part[VM_PART_TRAIN].keep) s = sort_images(l, VM_PART_TRAIN, err);
    if (!s && !measure && l->names.part[test].keep) s = sort_images(l, test, err);
    return s;
}
