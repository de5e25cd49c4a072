/* A 128-bit hash for file names and checksums: SipHash-2-4 with a fixed key. Nothing rests on nobody finding
 * a collision: who compares hashes compares the text too. */
#ifndef VMOEC_CODEGEN_HASH_H
#define VMOEC_CODEGEN_HASH_H

#include <stddef.h>
#include <stdint.h>

typedef struct Hash {
    uint64_t lo, hi;
} Hash;

Hash hash_bytes(const void *data, size_t n);

#endif
