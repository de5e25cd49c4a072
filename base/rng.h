/* Random numbers as a pure function of (seed, stream, step, element). Shared by the runtime, the
 * reference interpreter and, as the definition it must reproduce bit for bit, the code generator.
 *
 * A stream's key for a step is 64 bits mixed from seed, step and a hash of the stream's name; an
 * element's 32 random bits come from two rounds of an integer finaliser (xor-shift-multiply) keyed
 * by the two halves of the key. Uniform f32 numbers in [0,1) are the top 24 bits times 2^-24,
 * exactly. */
#ifndef VMOEC_BASE_RNG_H
#define VMOEC_BASE_RNG_H

#include <stdint.h>

static inline uint64_t vm_mix64(uint64_t x) {
    x ^= x >> 32;
    x *= UINT64_C(0xd6e8feb86659fd93);
    x ^= x >> 32;
    x *= UINT64_C(0xd6e8feb86659fd93);
    x ^= x >> 32;
    return x;
}

/* FNV-1a over the name: stable under unrelated edits of the program. */
static inline uint64_t vm_hash_name(const char *s) {
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    for (; *s; s++) h = (h ^ (unsigned char)*s) * UINT64_C(0x100000001b3);
    return h;
}

/* key[0], key[1] of a stream at a step. */
static inline void vm_rng_key(uint64_t seed, uint64_t stream_hash, uint64_t step, uint32_t key[2]) {
    uint64_t k = vm_mix64(seed + UINT64_C(0x9e3779b97f4a7c15));
    k = vm_mix64(k ^ stream_hash);
    k = vm_mix64(k + step);
    key[0] = (uint32_t)k;
    key[1] = (uint32_t)(k >> 32);
}

/* 32-bit finaliser: a bijection with good avalanche. */
static inline uint32_t vm_mix32(uint32_t x) {
    x ^= x >> 16;
    x *= UINT32_C(0x7feb352d);
    x ^= x >> 15;
    x *= UINT32_C(0x846ca68b);
    x ^= x >> 16;
    return x;
}

static inline uint32_t vm_rng_bits(const uint32_t key[2], uint32_t element) {
    return vm_mix32(vm_mix32(element ^ key[0]) + key[1]);
}

static inline float vm_rng_uniform(const uint32_t key[2], uint32_t element) {
    return (float)(vm_rng_bits(key, element) >> 8) * 0x1p-24f;
}

#endif
