/* Reads IDX files of unsigned bytes (the format of MNIST and Fashion-MNIST), plain or gzip.
 *
 * Layout: two zero bytes, type 8 (unsigned byte), number of dimensions, each dimension as 4 bytes big-endian,
 * the values. The file must end exactly there.
 *
 * Does not: know splits or labels (dataset.c). */
#include "runtime/internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <zlib.h>

enum { MAX_SIDE = 4096, READ_CHUNK = 1 << 24 };

/* zlib cannot expand a byte to more than this; a header that claims more is cut off or lying. */
enum { MAX_EXPANSION = 1032 };

typedef struct Reader {
    gzFile gz;
    const char *path;
    VmError *err;
    int64_t header; /* bytes before those that are counted in messages */
} Reader;

static VmStatus stream_error(const Reader *r, const char *expected) {
    int code;
    const char *why = gzerror(r->gz, &code);
    if (code == Z_ERRNO) return vm_fail(r->err, VM_ENV, "%s: cannot read: %s", r->path, strerror(errno));
    if (code == Z_BUF_ERROR)
        return vm_fail(r->err, VM_INPUT, "%s: cut off: the compressed data is incomplete", r->path);
    if (code == Z_OK)
        return vm_fail(r->err, VM_INPUT, "%s: cut off: %s, the file has %" PRId64, r->path, expected,
                       (int64_t)gztell(r->gz) - r->header);
    size_t n = strlen(r->path); /* zlib puts the path first, as we do */
    if (strncmp(why, r->path, n) == 0 && strncmp(why + n, ": ", 2) == 0) why += n + 2;
    return vm_fail(r->err, VM_INPUT, "%s: damaged: %s", r->path, why);
}

static VmStatus read_bytes(const Reader *r, uint8_t *to, int64_t n, const char *expected) {
    while (n > 0) {
        int got = gzread(r->gz, to, (unsigned)(n < READ_CHUNK ? n : READ_CHUNK));
        if (got <= 0) return stream_error(r, expected);
        to += got;
        n -= got;
    }
    return VM_OK;
}

static VmStatus read_header(const Reader *r, int rank, VmIdx *out, int64_t *total) {
    uint8_t h[16];
    char expected[64];
    snprintf(expected, sizeof expected, "the header takes %d bytes", 4 + 4 * rank);
    VmStatus s = read_bytes(r, h, 4, expected);
    if (s) return s;
    if (h[0] != 0 || h[1] != 0 || h[2] != 8 || h[3] != rank) {
        return vm_fail(
            r->err, VM_INPUT,
            "%s: not an IDX file of %s: it starts with %02x %02x %02x %02x, expected 00 00 08 %02x", r->path,
            rank == 1 ? "labels" : "images", h[0], h[1], h[2], h[3], rank);
    }
    s = read_bytes(r, h + 4, 4 * rank, expected);
    if (s) return s;
    *total = 1;
    out->rank = rank;
    for (int i = 0; i < rank; i++) {
        const uint8_t *d = h + 4 + 4 * i;
        out->dim[i] = (int64_t)d[0] << 24 | (int64_t)d[1] << 16 | (int64_t)d[2] << 8 | (int64_t)d[3];
        if (i > 0 && (out->dim[i] < 1 || out->dim[i] > MAX_SIDE)) {
            return vm_fail(r->err, VM_INPUT, "%s: image side %" PRId64 " is not within 1..%d", r->path,
                           out->dim[i], MAX_SIDE);
        }
        *total *= out->dim[i]; /* at most 2^32 * 2^24 */
    }
    if (out->dim[0] == 0) {
        return vm_fail(r->err, VM_INPUT, "%s: holds no %s", r->path, rank == 1 ? "labels" : "images");
    }
    return VM_OK;
}

static VmStatus read_body(const Reader *r, VmIdx *out, int64_t total) {
    char expected[128];
    snprintf(expected, sizeof expected, "the header promises %" PRId64 " bytes of %s", total,
             out->rank == 1 ? "labels" : "images");
    struct stat st;
    if (stat(r->path, &st) != 0) return vm_fail(r->err, VM_ENV, "%s: %s", r->path, strerror(errno));
    if (total / MAX_EXPANSION > st.st_size) {
        return vm_fail(r->err, VM_INPUT, "%s: cut off: %s, the file has %" PRId64, r->path, expected,
                       (int64_t)st.st_size);
    }
    out->data = malloc((size_t)total);
    if (!out->data) return vm_fail(r->err, VM_ENV, "%s: out of memory for %" PRId64 " bytes", r->path, total);
    VmStatus s = read_bytes(r, out->data, total, expected);
    if (s) return s;
    uint8_t more;
    int got = gzread(r->gz, &more, 1);
    if (got > 0) return vm_fail(r->err, VM_INPUT, "%s: too long: %s and more follow", r->path, expected);
    return got < 0 ? stream_error(r, "the compressed data is incomplete") : VM_OK;
}

static VmStatus idx_open(Reader *r, const char *path, int rank, VmIdx *out, int64_t *total, VmError *err) {
    *out = (VmIdx){0};
    struct stat st;
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode)) return vm_fail(err, VM_ENV, "%s: not a file", path);
    *r = (Reader){.gz = gzopen(path, "rbe"), .path = path, .err = err};
    if (!r->gz) return vm_fail(err, VM_ENV, "cannot open '%s': %s", path, strerror(errno));
    gzbuffer(r->gz, 1 << 17);
    VmStatus s = read_header(r, rank, out, total);
    r->header = 4 + 4 * rank;
    if (s) (void)gzclose(r->gz);
    return s;
}

VmStatus vm_idx_header(const char *path, int rank, VmIdx *out, VmError *err) {
    Reader r;
    int64_t total;
    VmStatus s = idx_open(&r, path, rank, out, &total, err);
    if (s == VM_OK) (void)gzclose(r.gz); /* the rest is not looked at */
    return s;
}

VmStatus vm_idx_read(const char *path, int rank, VmIdx *out, VmError *err) {
    Reader r;
    int64_t total = 0;
    VmStatus s = idx_open(&r, path, rank, out, &total, err);
    if (s) return s;
    s = read_body(&r, out, total);
    int closed = gzclose(r.gz);
    if (s == VM_OK && closed != Z_OK)
        s = vm_fail(err, VM_INPUT, "%s: cut off: the compressed data is incomplete", path);
    if (s) {
        free(out->data);
        out->data = NULL;
    }
    return s;
}
