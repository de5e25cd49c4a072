/* Reads IDX files of unsigned bytes (the format of MNIST and Fashion-MNIST), plain or gzip.
 *
 * Layout: two zero bytes, type 8 (unsigned byte), number of dimensions, each dimension as 4 bytes
 * big-endian, the values. The file must end exactly there.
 *
 * Does not: know splits or labels (dataset.c). */
#include "runtime/data/internal.h"
#include "runtime/data/stream.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_SIDE = 4096 };

/* zlib cannot expand a byte to more than this; a header that claims more is cut off or lying. */
enum { MAX_EXPANSION = 1032 };

typedef struct Reader {
    VmStream *stream;
    const char *path;
    VmError *err;
} Reader;

/* promised: what says that the n bytes are there. */
static VmStatus read_bytes(const Reader *r, uint8_t *to, size_t n, size_t before,
                           const char *promised) {
    size_t got;
    VmStatus s = vm_stream_read(r->stream, to, n, &got, r->err);
    if (s || got == n) return s;
    return vm_fail(r->err, VM_INPUT, "%s: cut off: %s, the file has %zu", r->path, promised,
                   before + got);
}

static VmStatus read_header(const Reader *r, int rank, VmIdx *out, int64_t *total) {
    uint8_t h[16];
    char expected[64];
    snprintf(expected, sizeof expected, "the header takes %d bytes", 4 + 4 * rank);
    VmStatus s = read_bytes(r, h, 4, 0, expected);
    if (s) return s;
    if (h[0] != 0 || h[1] != 0 || h[2] != 8 || h[3] != rank) {
        return vm_fail(
            r->err, VM_INPUT,
            "%s: not an IDX file of %s: it starts with %02x %02x %02x %02x, expected 00 00 08 %02x",
            r->path, rank == 1 ? "labels" : "images", h[0], h[1], h[2], h[3], rank);
    }
    s = read_bytes(r, h + 4, 4 * (size_t)rank, 4, expected);
    if (s) return s;
    *total = 1;
    out->rank = rank;
    for (int i = 0; i < rank; i++) {
        const uint8_t *d = h + 4 + 4 * i;
        out->dim[i] =
            (int64_t)d[0] << 24 | (int64_t)d[1] << 16 | (int64_t)d[2] << 8 | (int64_t)d[3];
        if (i > 0 && (out->dim[i] < 1 || out->dim[i] > MAX_SIDE)) {
            return vm_fail(r->err, VM_INPUT, "%s: image side %" PRId64 " is not within 1..%d",
                           r->path, out->dim[i], MAX_SIDE);
        }
        *total *= out->dim[i]; /* at most 2^32 * 2^24 */
    }
    if (out->dim[0] == 0) {
        return vm_fail(r->err, VM_INPUT, "%s: holds no %s", r->path,
                       rank == 1 ? "labels" : "images");
    }
    return VM_OK;
}

static VmStatus read_body(const Reader *r, VmIdx *out, int64_t total) {
    char expected[128];
    snprintf(expected, sizeof expected, "the header promises %" PRId64 " bytes of %s", total,
             out->rank == 1 ? "labels" : "images");
    int64_t bytes = vm_stream_file_bytes(r->stream);
    if (total / MAX_EXPANSION > bytes)
        return vm_fail(r->err, VM_INPUT, "%s: cut off: %s, the file has %" PRId64, r->path,
                       expected, bytes);
    out->data = malloc((size_t)total);
    if (!out->data)
        return vm_fail(r->err, VM_ENV, "%s: out of memory for %" PRId64 " bytes", r->path, total);
    VmStatus s = read_bytes(r, out->data, (size_t)total, 0, expected);
    if (s) return s;
    uint8_t more;
    size_t got; /* checksums stand at the end, so it has to be seen */
    s = vm_stream_read(r->stream, &more, 1, &got, r->err);
    if (s || got == 0) return s;
    return vm_fail(r->err, VM_INPUT, "%s: too long: %s and more follow", r->path, expected);
}

static VmStatus idx_open(Reader *r, const char *path, int rank, VmIdx *out, int64_t *total,
                         VmError *err) {
    *out = (VmIdx){0};
    *r = (Reader){.path = path, .err = err};
    VmStatus s = vm_stream_open(&r->stream, path, NULL, err);
    return s ? s : read_header(r, rank, out, total);
}

VmStatus vm_idx_header(const char *path, int rank, VmIdx *out, VmError *err) {
    Reader r;
    int64_t total;
    VmStatus s = idx_open(&r, path, rank, out, &total, err);
    vm_stream_close(r.stream); /* the rest is not looked at */
    return s;
}

VmStatus vm_idx_read(const char *path, int rank, VmIdx *out, VmError *err) {
    Reader r;
    int64_t total = 0;
    VmStatus s = idx_open(&r, path, rank, out, &total, err);
    if (!s) s = read_body(&r, out, total);
    vm_stream_close(r.stream);
    if (s) {
        free(out->data);
        out->data = NULL;
    }
    return s;
}
