/* Blocks of tensors, from the system: zeroed, aligned and, when large, laid on huge pages, because
 * a step walks through all of them and TLB misses would show.
 *
 * Does not: grow or move anything; the engine decides when a block is replaced. */
#include "runtime/exec/internal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { BLOCK_ALIGN = 64, HUGE_PAGE = 2 << 20 };

static bool block_map(VmBlock *b, size_t bytes) {
    size_t span = bytes + HUGE_PAGE;
    void *map = mmap(NULL, span, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED) return false;
    uintptr_t at = ((uintptr_t)map + HUGE_PAGE - 1) & ~(uintptr_t)(HUGE_PAGE - 1);
    *b = (VmBlock){.data = (unsigned char *)at, .bytes = bytes, .map = map, .map_bytes = span};
    /* Only advice: a system without huge pages works as well, just slower. */
    (void)madvise(b->data, bytes, MADV_HUGEPAGE);
    /* A process that is forked to compile needs no tensors: nothing to copy, nothing to count
     * twice. */
    (void)madvise(map, span, MADV_DONTFORK);
    return true;
}

bool vm_block_alloc(VmBlock *b, size_t bytes) {
    *b = (VmBlock){0};
    if (bytes > SIZE_MAX / 2) return false;
    if (bytes >= HUGE_PAGE) return block_map(b, bytes);
    size_t rounded = (bytes + BLOCK_ALIGN) & ~(size_t)(BLOCK_ALIGN - 1);
    unsigned char *data = aligned_alloc(BLOCK_ALIGN, rounded);
    if (!data) return false;
    memset(data, 0, rounded);
    *b = (VmBlock){.data = data, .bytes = bytes};
    return true;
}

void vm_block_free(VmBlock *b) {
    if (b->map) {
        munmap(b->map, b->map_bytes);
    } else {
        free(b->data);
    }
    *b = (VmBlock){0};
}
