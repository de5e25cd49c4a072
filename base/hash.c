#include "base/hash.h"

#include <inttypes.h>
#include <stdio.h>
#include <xxhash.h>

VmHash vm_hash(VmHash seed, const void *data, size_t n) {
    XXH128_hash_t h = XXH3_128bits_withSeed(data, n, seed.lo ^ (seed.hi << 1 | seed.hi >> 63));
    return (VmHash){h.low64, h.high64};
}

VmHasher *vm_hasher_create(void) {
    XXH3_state_t *h = XXH3_createState();
    if (h) XXH3_128bits_reset(h);
    return (VmHasher *)h;
}

void vm_hasher_add(VmHasher *h, const void *data, size_t n) {
    XXH3_128bits_update((XXH3_state_t *)h, data, n);
}

VmHash vm_hasher_end(VmHasher *h) {
    if (!h) return (VmHash){0, 0};
    XXH128_hash_t sum = XXH3_128bits_digest((XXH3_state_t *)h);
    XXH3_freeState((XXH3_state_t *)h);
    return (VmHash){sum.low64, sum.high64};
}

VmHashText vm_hash_text(VmHash h) {
    VmHashText t;
    snprintf(t.text, sizeof t.text, "%016" PRIx64 "%016" PRIx64, h.hi, h.lo);
    return t;
}
