/* A 128-bit fingerprint of bytes (XXH3): tells damage and difference, not malice. Nothing may rest
 * on nobody finding a collision: who looks things up by it compares the text too. */
#ifndef VMOEC_BASE_HASH_H
#define VMOEC_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

typedef struct VmHash {
    uint64_t lo, hi;
} VmHash;

/* Of n bytes, going on from `seed` ({0}: from nothing); the order of parts counts. */
VmHash vm_hash(VmHash seed, const void *data, size_t n);

/* The same of bytes that come in pieces; how they are cut does not count. */
typedef struct VmHasher VmHasher;
VmHasher *vm_hasher_create(void); /* NULL: out of memory */
void vm_hasher_add(VmHasher *h, const void *data, size_t n);
VmHash vm_hasher_end(VmHasher *h); /* and frees it; NULL gives zeros */

/* 32 hexadecimal digits. */
typedef struct VmHashText {
    char text[33];
} VmHashText;
VmHashText vm_hash_text(VmHash h);

#endif
