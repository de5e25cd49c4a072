/* Memory of the runtime: zeroed arrays, and pieces of a region that somebody hands in. Blocks of
 * tensors are in pages.c.
 *
 * Does not: grow or move anything. */
#include "runtime/exec/internal.h"

#include <stdlib.h>
#include <string.h>

void *vm_calloc(size_t n, size_t size) {
    return calloc(n ? n : 1, size ? size : 1);
}

size_t vm_region_piece(size_t bytes) {
    return (bytes + VM_REGION_ALIGN - 1) & ~(size_t)(VM_REGION_ALIGN - 1);
}

void *vm_region_take(VmRegion *r, size_t n, size_t size) {
    size_t bytes;
    if (__builtin_mul_overflow(n, size, &bytes) || bytes > r->left) return NULL;
    size_t piece = vm_region_piece(bytes);
    if (piece > r->left) return NULL;
    unsigned char *at = r->at;
    r->at += piece;
    r->left -= piece;
    memset(at, 0, piece);
    return at;
}
