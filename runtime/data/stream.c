/* Unpacks files as they are read. gzip goes through zlib itself: libarchive does not compare its
 * checksum and length. bzip2, xz and zstd go through libarchive's filters, which check what the
 * format has; that nothing follows them is checked here.
 *
 * Does not: know what is in the file. */
#include "runtime/data/stream.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "base/file.h"

enum { BLOCK = 1 << 17 };

typedef enum Packing { PLAIN, GZIP, BZIP2, XZ, ZSTD } Packing;

struct VmStream {
    int fd;
    char *path;
    int64_t bytes;
    Packing packing;
    bool unchecked, ended;
    /* gzip */
    z_stream z;
    bool in_member;
    uint8_t *block;
    /* bzip2, xz, zstd */
    struct archive *a;
    /* libarchive's own is not looked at when there was no memory for it */
    struct archive_entry *entry;
};

static VmStatus no_memory(const VmStream *s, VmError *err) {
    return vm_fail(err, VM_ENV, "%s: out of memory", s->path);
}

static VmStatus read_some(VmStream *s, void *to, size_t n, size_t *got, VmError *err) {
    ssize_t k;
    do k = read(s->fd, to, n);
    while (k < 0 && errno == EINTR);
    *got = k > 0 ? (size_t)k : 0;
    return k < 0 ? vm_fail(err, VM_ENV, "%s: cannot read: %s", s->path, strerror(errno)) : VM_OK;
}

static VmStatus read_plain(VmStream *s, uint8_t *to, size_t n, size_t *got, VmError *err) {
    while (*got < n) {
        size_t k;
        VmStatus st = read_some(s, to + *got, n - *got, &k, err);
        if (st || k == 0) return st;
        *got += k;
    }
    return VM_OK;
}

/* ---- gzip ---- */

static VmStatus open_gzip(VmStream *s, VmError *err) {
    s->block = malloc(BLOCK);
    if (!s->block || inflateInit2(&s->z, 15 + 16) != Z_OK) { /* with gzip's header and trailer */
        free(s->block);
        s->block = NULL;
        return no_memory(s, err);
    }
    s->in_member = true;
    return VM_OK;
}

/* More input, or the end: only between members. */
static VmStatus refill(VmStream *s, VmError *err) {
    size_t k;
    VmStatus st = read_some(s, s->block, BLOCK, &k, err);
    if (st) return st;
    s->z.next_in = s->block;
    s->z.avail_in = (unsigned)k;
    if (k == 0 && s->in_member)
        return vm_fail(err, VM_INPUT, "%s: cut off: the compressed data is incomplete", s->path);
    s->ended = k == 0;
    return VM_OK;
}

static VmStatus next_member(VmStream *s, VmError *err) {
    if (s->z.next_in[0] != 0x1f)
        return vm_fail(err, VM_INPUT, "%s: damaged: something follows the compressed data",
                       s->path);
    s->in_member = inflateReset(&s->z) == Z_OK;
    return s->in_member ? VM_OK : no_memory(s, err);
}

static VmStatus read_gzip(VmStream *s, uint8_t *to, size_t n, size_t *got, VmError *err) {
    while (*got < n) {
        VmStatus st = s->z.avail_in ? VM_OK : refill(s, err);
        if (!st && !s->ended && !s->in_member) st = next_member(s, err);
        if (st || s->ended) return st;
        size_t room = n - *got < 1u << 30 ? n - *got : 1u << 30;
        s->z.next_out = to + *got;
        s->z.avail_out = (unsigned)room;
        int r = inflate(&s->z, Z_NO_FLUSH);
        *got += room - s->z.avail_out;
        if (r == Z_STREAM_END) s->in_member = false;
        if (r == Z_MEM_ERROR) return no_memory(s, err);
        if (r != Z_OK && r != Z_STREAM_END && r != Z_BUF_ERROR)
            return vm_fail(err, VM_INPUT, "%s: damaged: %s", s->path,
                           s->z.msg ? s->z.msg : "the compressed data makes no sense");
    }
    return VM_OK;
}

/* ---- bzip2, xz, zstd ---- */

static VmStatus unpacking_failed(VmStream *s, VmError *err) {
    int code = archive_errno(s->a);
    const char *why = archive_error_string(s->a);
    if (code == ENOMEM || !why || strstr(why, "not enough memory")) return no_memory(s, err);
    bool outside = code == EIO || code == EACCES || code == EISDIR;
    return vm_fail(err, outside ? VM_ENV : VM_INPUT, "%s: %s: %s", s->path,
                   outside ? "cannot read" : "damaged or cut off", why);
}

static int support(struct archive *a, Packing p) {
    return p == BZIP2 ? archive_read_support_filter_bzip2(a)
           : p == XZ  ? archive_read_support_filter_xz(a)
                      : archive_read_support_filter_zstd(a);
}

static VmStatus open_filter(VmStream *s, VmError *err) {
    struct archive *a = s->a = archive_read_new();
    s->entry = archive_entry_new();
    bool ok = a && s->entry && support(a, s->packing) >= ARCHIVE_WARN;
    if (!ok || archive_read_support_format_raw(a) < ARCHIVE_WARN) return no_memory(s, err);
    ok = archive_read_open_fd(a, s->fd, BLOCK) == ARCHIVE_OK;
    int r = ok ? archive_read_next_header2(a, s->entry) : ARCHIVE_FATAL;
    if (r == ARCHIVE_EOF)
        return vm_fail(err, VM_INPUT, "%s: damaged: nothing is packed in it", s->path);
    return r == ARCHIVE_OK ? VM_OK : unpacking_failed(s, err);
}

static VmStatus read_filter(VmStream *s, uint8_t *to, size_t n, size_t *got, VmError *err) {
    while (*got < n) {
        la_ssize_t k = archive_read_data(s->a, to + *got, n - *got);
        if (k < 0) return unpacking_failed(s, err);
        *got += (size_t)k;
        if (k > 0) continue;
        s->ended = true;
        if (archive_filter_bytes(s->a, -1) == s->bytes) return VM_OK;
        return vm_fail(err, VM_INPUT, "%s: damaged: something follows the compressed data",
                       s->path);
    }
    return VM_OK;
}

/* ---- the stream ---- */

static Packing packing_of(const uint8_t *h, size_t n) {
    if (n >= 2 && h[0] == 0x1f && h[1] == 0x8b) return GZIP;
    if (n >= 10 && !memcmp(h, "BZh", 3) && !memcmp(h + 4, "\x31\x41\x59\x26\x53\x59", 6))
        return BZIP2;
    if (n >= 6 && !memcmp(h,
                          "\xfd"
                          "7zXZ\0",
                          6))
        return XZ;
    if (n >= 4 && !memcmp(h, "\x28\xb5\x2f\xfd", 4)) return ZSTD;
    return PLAIN;
}

VmStatus vm_stream_open(VmStream **out, const char *path, bool all_packings, VmError *err) {
    *out = NULL;
    int fd = vm_open_read(path, err);
    if (fd < 0) return VM_ENV;
    VmStream *s = calloc(1, sizeof *s);
    if (s) s->path = strdup(path);
    if (!s || !s->path) {
        free(s);
        close(fd);
        return vm_fail(err, VM_ENV, "%s: out of memory", path);
    }
    s->fd = fd;
    uint8_t head[10];
    ssize_t n = pread(fd, head, sizeof head, 0);
    struct stat st;
    VmStatus status = VM_OK;
    if (n < 0 || fstat(fd, &st) != 0)
        status = vm_fail(err, VM_ENV, "%s: cannot read: %s", path, strerror(errno));
    if (!status) {
        s->bytes = st.st_size;
        s->packing = packing_of(head, (size_t)n);
        if (!all_packings && s->packing != GZIP) s->packing = PLAIN;
        /* the kind of check of all blocks; whether the (first) frame has one */
        s->unchecked = (s->packing == XZ && n >= 8 && (head[7] & 15) == 0) ||
                       (s->packing == ZSTD && n >= 5 && !(head[4] & 4));
    }
    if (!status && s->packing == GZIP) status = open_gzip(s, err);
    if (!status && s->packing > GZIP) status = open_filter(s, err);
    if (status) {
        vm_stream_close(s);
        return status;
    }
    *out = s;
    return VM_OK;
}

VmStatus vm_stream_read(VmStream *s, void *to, size_t n, size_t *got, VmError *err) {
    *got = 0;
    if (s->ended) return VM_OK;
    if (s->packing == PLAIN) return read_plain(s, to, n, got, err);
    return s->packing == GZIP ? read_gzip(s, to, n, got, err) : read_filter(s, to, n, got, err);
}

int64_t vm_stream_file_bytes(const VmStream *s) {
    return s->bytes;
}

bool vm_stream_unchecked(const VmStream *s) {
    return s->unchecked;
}

void vm_stream_close(VmStream *s) {
    if (!s) return;
    if (s->a) archive_read_free(s->a);
    archive_entry_free(s->entry);
    if (s->block) inflateEnd(&s->z);
    free(s->block);
    free(s->path);
    close(s->fd);
    free(s);
}
