/* Unpacks files as they are read. gzip goes through zlib itself: libarchive does not compare its
 * checksum and length. bzip2, xz and zstd go through who is given for them (unpack.c).
 *
 * Does not: know what is in the file. */
#include "runtime/data/stream.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "base/file.h"

enum { BLOCK = 1 << 17 };

struct VmStream {
    int fd;
    char *path;
    int64_t bytes;
    VmPacking packing;
    bool unchecked, ended;
    /* gzip */
    z_stream z;
    bool in_member;
    uint8_t *block;
    const VmUnpacker *other; /* bzip2, xz, zstd */
    void *unpacking;
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

/* ---- the stream ---- */

static VmPacking packing_of(const uint8_t *h, size_t n) {
    if (n >= 2 && h[0] == 0x1f && h[1] == 0x8b) return VM_GZIP;
    if (n >= 10 && !memcmp(h, "BZh", 3) && !memcmp(h + 4, "\x31\x41\x59\x26\x53\x59", 6))
        return VM_BZIP2;
    if (n >= 6 && !memcmp(h,
                          "\xfd"
                          "7zXZ\0",
                          6))
        return VM_XZ;
    if (n >= 4 && !memcmp(h, "\x28\xb5\x2f\xfd", 4)) return VM_ZSTD;
    return VM_PLAIN;
}

VmStatus vm_stream_open(VmStream **out, const char *path, const VmUnpacker *others, VmError *err) {
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
        if (!others && s->packing != VM_GZIP) s->packing = VM_PLAIN;
        /* the kind of check of all blocks; whether the (first) frame has one */
        s->unchecked = (s->packing == VM_XZ && n >= 8 && (head[7] & 15) == 0) ||
                       (s->packing == VM_ZSTD && n >= 5 && !(head[4] & 4));
    }
    if (!status && s->packing == VM_GZIP) status = open_gzip(s, err);
    s->other = others;
    if (!status && s->packing > VM_GZIP)
        status = others->open(&s->unpacking, s->packing, fd, path, err);
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
    if (s->packing == VM_PLAIN) return read_plain(s, to, n, got, err);
    if (s->packing == VM_GZIP) return read_gzip(s, to, n, got, err);
    return s->other->read(s->unpacking, to, n, got, s->bytes, &s->ended, err);
}

int64_t vm_stream_file_bytes(const VmStream *s) {
    return s->bytes;
}

bool vm_stream_unchecked(const VmStream *s) {
    return s->unchecked;
}

void vm_stream_close(VmStream *s) {
    if (!s) return;
    if (s->unpacking) s->other->close(s->unpacking);
    if (s->block) inflateEnd(&s->z);
    free(s->block);
    free(s->path);
    close(s->fd);
    free(s);
}
