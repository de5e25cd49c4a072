#include "base/hash.h"

#include <inttypes.h>
#include <stdio.h>
#include <xxhash.h>

VmHash vm_hash(VmHash seed, const void *data, size_t n) {
    XXH128_hash_t h = XXH3_128bits_withSeed(data, n, seed.lo ^ (seed.hi << 1 | seed.hi >> 63));
    return (VmHash){h.low64, h.high64};
}

VmHashText vm_hash_text(VmHash h) {
    VmHashText t;
    snprintf(t.text, sizeof t.text, "%016" PRIx64 "%016" PRIx64, h.hi, h.lo);
    return t;
}
