/* The bytes of a file, unpacked as they are read and checked to the last: checksums and lengths of
 * the packing, and that nothing stands behind it. */
#ifndef VMOEC_RUNTIME_DATA_STREAM_H
#define VMOEC_RUNTIME_DATA_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

typedef struct VmStream VmStream;

typedef enum VmPacking { VM_PLAIN, VM_GZIP, VM_BZIP2, VM_XZ, VM_ZSTD } VmPacking;

/* Who unpacks all but gzip: *out is to be closed also after a failure, `path` is for messages. read
 * as vm_stream_read; *ended: there is no more of the file, which has so many bytes. */
typedef struct VmUnpacker {
    VmStatus (*open)(void **out, VmPacking p, int fd, const char *path, VmError *err);
    VmStatus (*read)(void *unpacking, uint8_t *to, size_t n, size_t *got, int64_t bytes,
                     bool *ended, VmError *err);
    void (*close)(void *unpacking);
} VmUnpacker;
extern const VmUnpacker vm_unpacker; /* unpack.c */

/* Opens a regular file; its first bytes say how it is packed: with gzip or, if there is
 * somebody for them, with bzip2, xz or zstd. Anything else is read as it is. */
VmStatus vm_stream_open(VmStream **out, const char *path, const VmUnpacker *others, VmError *err);
/* n bytes. Fewer (*got) only at the end, and the end is only reported when everything was right:
 * VM_INPUT for what is damaged, cut off or followed by something, VM_ENV for the system's failures.
 */
VmStatus vm_stream_read(VmStream *s, void *to, size_t n, size_t *got, VmError *err);
/* Of the file, as it is on disk. */
int64_t vm_stream_file_bytes(const VmStream *s);
/* Packed by a format that has checksums, but without one: damage may not show. */
bool vm_stream_unchecked(const VmStream *s);
void vm_stream_close(VmStream *s);

#endif
