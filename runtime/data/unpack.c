/* bzip2, xz and zstd by libarchive's filters, which check what the format has; that nothing follows
 * them is checked here. */
#include "runtime/data/stream.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 1 << 17 };

typedef struct Unpacking {
    struct archive *a;
    /* libarchive's own is not looked at when there was no memory for it */
    struct archive_entry *entry;
    const char *path; /* the stream's */
} Unpacking;

static VmStatus no_memory(const Unpacking *s, VmError *err) {
    return vm_fail(err, VM_ENV, "%s: out of memory", s->path);
}

static VmStatus unpacking_failed(Unpacking *s, VmError *err) {
    int code = archive_errno(s->a);
    const char *why = archive_error_string(s->a);
    if (code == ENOMEM || !why || strstr(why, "not enough memory")) return no_memory(s, err);
    bool outside = code == EIO || code == EACCES || code == EISDIR;
    return vm_fail(err, outside ? VM_ENV : VM_INPUT, "%s: %s: %s", s->path,
                   outside ? "cannot read" : "damaged or cut off", why);
}

static int support(struct archive *a, VmPacking p) {
    return p == VM_BZIP2 ? archive_read_support_filter_bzip2(a)
           : p == VM_XZ  ? archive_read_support_filter_xz(a)
                         : archive_read_support_filter_zstd(a);
}

static VmStatus open_filter(Unpacking *s, VmPacking packing, int fd, VmError *err) {
    struct archive *a = s->a = archive_read_new();
    s->entry = archive_entry_new();
    bool ok = a && s->entry && support(a, packing) >= ARCHIVE_WARN;
    if (!ok || archive_read_support_format_raw(a) < ARCHIVE_WARN) return no_memory(s, err);
    ok = archive_read_open_fd(a, fd, BLOCK) == ARCHIVE_OK;
    int r = ok ? archive_read_next_header2(a, s->entry) : ARCHIVE_FATAL;
    if (r == ARCHIVE_EOF)
        return vm_fail(err, VM_INPUT, "%s: damaged: nothing is packed in it", s->path);
    return r == ARCHIVE_OK ? VM_OK : unpacking_failed(s, err);
}

static VmStatus open_unpacking(void **out, VmPacking p, int fd, const char *path, VmError *err) {
    Unpacking *s = *out = calloc(1, sizeof *s);
    if (!s) return vm_fail(err, VM_ENV, "%s: out of memory", path);
    s->path = path;
    return open_filter(s, p, fd, err);
}

static VmStatus read_unpacked(void *unpacking, uint8_t *to, size_t n, size_t *got, int64_t bytes,
                              bool *ended, VmError *err) {
    Unpacking *s = unpacking;
    while (*got < n) {
        la_ssize_t k = archive_read_data(s->a, to + *got, n - *got);
        if (k < 0) return unpacking_failed(s, err);
        *got += (size_t)k;
        if (k > 0) continue;
        *ended = true;
        if (archive_filter_bytes(s->a, -1) == bytes) return VM_OK;
        return vm_fail(err, VM_INPUT, "%s: damaged: something follows the compressed data",
                       s->path);
    }
    return VM_OK;
}

static void close_unpacking(void *unpacking) {
    Unpacking *s = unpacking;
    if (s->a) archive_read_free(s->a);
    archive_entry_free(s->entry);
    free(s);
}

const VmUnpacker vm_unpacker = {open_unpacking, read_unpacked, close_unpacking};
