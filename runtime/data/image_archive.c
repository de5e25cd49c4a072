/* Reads image data sets from an archive: tar, plain or packed with gzip, bzip2, xz or zstd, or zip.
 * One thread unpacks, once for all splits, while the others decode. The archive must be whole: tar
 * with its end mark, zip with its directory of as many entries as were met, and nothing behind it.
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
#include <sys/stat.h>
#include <unistd.h>

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
    bool ended;            /* it was told that there are no more */
    VmStatus broken;       /* of the stream */
    VmError why;
    Batch *batch;             /* being filled; NULL: none */
    char last[VM_SHOWN_NAME]; /* the entry before; empty: none */
    int64_t entries;          /* met so far */
    uint8_t *loose;           /* contents of an entry that does not say how long it is */
    size_t loose_room;
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
        bool damaged;
        if (l->stop) break;
        vm_names_show(f->path, name);
        VmStatus s =
            vm_image_load(l, f->part, f->slot, name, b->bytes + f->at, f->n, &damaged, &why);
        if (s) vm_image_failed(l, f->part, f->slot, s, damaged, &why);
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
    u->ended |= *n == 0;
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

/* After a call of libarchive before which errno was 0: of some failures it says nothing, neither of
 * memory nor of damage. */
static VmStatus archive_failed(const Unpacker *u, VmError *err) {
    bool memory = errno == ENOMEM || archive_errno(u->a) == ENOMEM;
    const char *why = archive_error_string(u->a), *path = u->l->src->path;
    if (u->broken) return vm_fail(err, u->broken, "%s", u->why.text);
    if (memory) return vm_fail(err, VM_ENV, "%s: out of memory", path);
    if (!why && u->ended) why = "it is cut off";
    if (!why && archive_entry_is_metadata_encrypted(u->entry)) why = "it is encrypted";
    if (!why) why = "its contents make no sense";
    return vm_fail(err, VM_INPUT, "%s: no tar or zip archive, or damaged%s%s: %s", path,
                   u->last[0] ? " at or behind the entry " : " at its beginning", u->last, why);
}

/* The file's last n bytes. */
static VmStatus read_tail(const char *path, uint8_t *to, size_t *n, VmError *err) {
    int fd = vm_open_read(path, err);
    struct stat st;
    if (fd < 0) return VM_ENV;
    bool ok = fstat(fd, &st) == 0;
    if (ok && st.st_size < (off_t)*n) *n = (size_t)st.st_size;
    ok = ok && pread(fd, to, *n, st.st_size - (off_t)*n) == (ssize_t)*n;
    int why = errno;
    close(fd);
    return ok ? VM_OK : vm_fail(err, VM_ENV, "cannot read '%s': %s", path, strerror(why));
}

static unsigned two_bytes(const uint8_t *p) {
    return p[0] | (unsigned)p[1] << 8;
}

/* A zip archive ends with a record that says how many entries there are, and how many bytes of a
 * remark follow. Read from its beginning it shows its entries without that record. */
static VmStatus check_zip_end(const Unpacker *u, VmError *err) {
    enum { RECORD = 22, LONGEST = RECORD + 65535, MANY = 65535 };
    const char *path = u->l->src->path;
    size_t n = LONGEST;
    uint8_t *tail = malloc(n);
    if (!tail) return vm_fail(err, VM_ENV, "%s: out of memory", path);
    VmStatus s = read_tail(path, tail, &n, err);
    size_t at = n < RECORD ? 0 : n - RECORD;
    bool found = false;
    for (; !s && n >= RECORD; at--) {
        found = memcmp(tail + at, "PK\5\6", 4) == 0 && two_bytes(tail + at + 20) == n - at - RECORD;
        if (found || at == 0) break;
    }
    if (!s && !found)
        s = vm_fail(err, VM_INPUT,
                    "%s: cut off, or something follows its end: the archive's "
                    "directory is not at the end%s%s",
                    path, u->last[0] ? " behind the entry " : "", u->last);
    unsigned listed = found ? two_bytes(tail + at + 10) : 0;
    bool known = listed < MANY; /* of more the number is elsewhere */
    if (!s && known && listed != u->entries)
        s = vm_fail(err, VM_INPUT,
                    "%s: damaged: the archive's directory has %u entries but %" PRId64
                    " were met, the last of them %s",
                    path, listed, u->entries, u->last);
    free(tail);
    return s;
}

/* libarchive takes any end for the end. `mark`: where tar's end mark should be, behind the last
 * entry. Packed or not, the rest is read: checksums stand at its end. */
static VmStatus check_end(Unpacker *u, int64_t mark, VmError *err) {
    const char *path = u->l->src->path;
    for (size_t n = 1; n > 0;) {
        if (next_block(u, &n)) return archive_failed(u, err);
    }
    if ((archive_format(u->a) & ARCHIVE_FORMAT_BASE_MASK) == ARCHIVE_FORMAT_ZIP)
        return check_zip_end(u, err);
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

static VmStatus read_some(Unpacker *u, void *to, size_t n, size_t *got, VmError *err) {
    errno = 0;
    la_ssize_t k = archive_read_data(u->a, to, n);
    *got = k > 0 ? (size_t)k : 0;
    return k < 0 ? archive_failed(u, err) : VM_OK;
}

/* Of an entry that was packed as a stream nobody knows how long it is before its end. *size is one
 * more than an image may have if it is longer than that. */
static VmStatus read_loose(Unpacker *u, int64_t *size, VmError *err) {
    size_t used = 0, got = 1;
    while (got > 0 && used <= VM_MAX_IMAGE_FILE) {
        if (used == u->loose_room) {
            size_t room = u->loose_room ? 2 * u->loose_room : BATCH_BYTES;
            uint8_t *p = realloc(u->loose, room);
            if (!p) return vm_fail(err, VM_ENV, "%s: out of memory", u->l->src->path);
            u->loose = p;
            u->loose_room = room;
        }
        VmStatus s = read_some(u, u->loose + used, u->loose_room - used, &got, err);
        if (s) return s;
        used += got;
    }
    *size = used > VM_MAX_IMAGE_FILE ? VM_MAX_IMAGE_FILE + 1 : (int64_t)used;
    return VM_OK;
}

/* Contents of the entry into the batch, which gets room for them. loose: they are read already. */
static VmStatus unpack(Unpacker *u, const char *path, size_t size, bool loose, VmError *err) {
    if (u->batch && (u->batch->n == BATCH_FILES || u->batch->room - u->batch->used < size))
        submit(u);
    if (!u->batch) u->batch = batch_create(size);
    char *copy = u->batch ? strdup(path) : NULL;
    if (!copy) return vm_fail(err, VM_ENV, "%s: out of memory", u->l->src->path);
    Batch *b = u->batch;
    BatchFile *f = &b->file[b->n];
    *f = (BatchFile){.path = copy, .at = b->used, .n = size};
    VmStatus s = VM_OK;
    if (loose && size) memcpy(b->bytes + f->at, u->loose, size);
    for (size_t got = 0, k; got < f->n && !s && !loose; got += k) {
        s = read_some(u, b->bytes + f->at + got, f->n - got, &k, err);
        if (!s && k == 0)
            s = vm_fail(err, VM_INPUT, "%s: %s is cut off: %zu of %zu bytes", u->l->src->path, path,
                        got, f->n);
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
    if (t->form.height == 0) {
        char name[VM_SHOWN_NAME];
        vm_names_show(f->path, name);
        VmStatus s = vm_image_first(l, part, name, u->batch->bytes + f->at, f->n, err);
        if (s) return s;
    }
    if (u->measure || f->slot < t->room) return VM_OK;
    /* what is being decoded must be finished before its memory moves; this image is not among it */
#pragma omp taskwait
    int64_t some = FIRST_ROOM / vm_form_bytes(&t->form);
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

/* An image that is too large or cannot be placed is bad; what else fails ends the reading. */
static VmStatus take_image(Unpacker *u, struct archive_entry *e, const char *path, int part,
                           VmError *err) {
    VmImageLoader *l = u->l;
    int64_t size = archive_entry_size(e), number = l->names.part[part].n - 1;
    bool loose = !archive_entry_size_is_set(e);
    VmError why;
    VmStatus s = loose ? read_loose(u, &size, err) : VM_OK;
    if (s) return s;
    if (size < 0 || size > VM_MAX_IMAGE_FILE) {
        vm_fail(&why, VM_INPUT, "%s: %" PRId64 " bytes are too many for an image; at most %d",
                u->last, size, VM_MAX_IMAGE_FILE);
        vm_image_failed(l, part, number, VM_INPUT, true, &why);
        return VM_OK;
    }
    s = unpack(u, path, (size_t)size, loose, err);
    if (s) return s;
    Batch *b = u->batch;
    BatchFile *f = &b->file[b->n];
    s = place(u, f, part, &why);
    if (s) vm_image_failed(l, part, number, s, true, &why);
    if (s || u->measure) { /* which has seen enough of it */
        free(f->path);
        return VM_OK;
    }
    b->used += f->n;
    b->n++;
    return VM_OK;
}

static VmStatus take_entry(Unpacker *u, struct archive_entry *e, VmError *err) {
    VmImageLoader *l = u->l;
    const char *path = archive_entry_pathname(e);
    if (!path) path = archive_entry_pathname_utf8(e); /* of zip, where names say what they are */
    if (!path)
        return vm_fail(err, VM_INPUT, "%s: an entry has a name that cannot be read", l->src->path);
    vm_names_show(path, u->last);
    u->entries++;
    int part;
    VmStatus s = vm_names_add(&l->names, path, entry_kind(e), &part, err);
    if (s || part < 0 || !vm_names_keeps(&l->names, part)) return s;
    if (u->measure && l->store[part].form.height > 0) return VM_OK;
    return take_image(u, e, path, part, err);
}

/* To the archive's end, also past bad images: all are to be known, and whether the archive itself
 * is damaged.
 */
static VmStatus unpack_all(Unpacker *u, VmError *err) {
    VmImageLoader *l = u->l;
    VmStatus s = VM_OK;
    int64_t mark = 0;
    while (!s && !l->stop) {
        errno = 0;
        int r = archive_read_next_header2(u->a, u->entry);
        if (r == ARCHIVE_EOF) {
            s = check_end(u, mark, err);
            break;
        }
        bool read =
            r == ARCHIVE_OK || r == ARCHIVE_WARN; /* ARCHIVE_RETRY is a damaged header here */
        s = read ? take_entry(u, u->entry, err) : archive_failed(u, err);
        errno = 0;
        if (!s && archive_read_data_skip(u->a) < ARCHIVE_WARN) s = archive_failed(u, err);
        mark = archive_filter_bytes(u->a, 0);
    }
    submit(u);
    return s;
}

static VmStatus open_archive(Unpacker *u, VmError *err) {
    VmStatus s = vm_stream_open(&u->stream, u->l->src->path, &vm_unpacker, err);
    if (s) return s;
    u->l->unchecked = vm_stream_unchecked(u->stream);
    struct archive *a = u->a = archive_read_new();
    u->block = malloc(BLOCK);
    u->entry = archive_entry_new();
    bool ok = a && u->block && u->entry && archive_read_support_format_tar(a) >= ARCHIVE_WARN &&
              archive_read_support_format_zip_streamable(a) >= ARCHIVE_WARN;
    if (!ok) return vm_fail(err, VM_ENV, "%s: out of memory", u->l->src->path);
    errno = 0;
    bool open = archive_read_open(a, u, NULL, feed, NULL) >= ARCHIVE_WARN;
    return open ? VM_OK : archive_failed(u, err);
}

static void close_archive(Unpacker *u) {
    if (u->a) archive_read_free(u->a);
    archive_entry_free(u->entry);
    vm_stream_close(u->stream);
    free(u->block);
    free(u->loose);
}

/* Moves images from the order they came in to that of their names, in place. */
static VmStatus sort_images(VmImageLoader *l, int part, VmError *err) {
    VmImagePart *p = &l->names.part[part];
    uint8_t *image = l->store[part].image;
    size_t one = (size_t)vm_form_bytes(&l->store[part].form);
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
    int part[VM_SPLITS], parts = vm_names_parts(&l->names, part);
    for (int i = 0; i < parts && !s && !measure; i++) {
        vm_images_drop(l, part[i]);
        s = sort_images(l, part[i], err);
    }
    return s;
}
