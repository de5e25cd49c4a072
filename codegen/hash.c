/* SipHash-2-4 with 128 bits of result (Aumasson and Bernstein 2012) on a machine that stores the low byte
 * first. */
#include "codegen/hash.h"

#include <string.h>

typedef struct State {
    uint64_t v0, v1, v2, v3;
} State;

static uint64_t rotate(uint64_t x, int n) {
    return x << n | x >> (64 - n);
}

static void rounds(State *s, int n) {
    while (n--) {
        s->v0 += s->v1, s->v2 += s->v3;
        s->v1 = rotate(s->v1, 13) ^ s->v0, s->v3 = rotate(s->v3, 16) ^ s->v2;
        s->v0 = rotate(s->v0, 32);
        s->v2 += s->v1, s->v0 += s->v3;
        s->v1 = rotate(s->v1, 17) ^ s->v2, s->v3 = rotate(s->v3, 21) ^ s->v0;
        s->v2 = rotate(s->v2, 32);
    }
}

static void absorb(State *s, uint64_t word) {
    s->v3 ^= word;
    rounds(s, 2);
    s->v0 ^= word;
}

Hash hash_bytes(const void *data, size_t n) {
    static const uint64_t key[2] = {UINT64_C(0x0706050403020100), UINT64_C(0x0f0e0d0c0b0a0908)};
    const unsigned char *p = data;
    State s = {key[0] ^ UINT64_C(0x736f6d6570736575), key[1] ^ UINT64_C(0x646f72616e646f6d) ^ 0xee,
               key[0] ^ UINT64_C(0x6c7967656e657261), key[1] ^ UINT64_C(0x7465646279746573)};
    size_t at = 0;
    for (uint64_t word; n - at >= 8; at += 8) {
        memcpy(&word, p + at, 8);
        absorb(&s, word);
    }
    uint64_t last = (uint64_t)n << 56;
    if (n > at) memcpy(&last, p + at, n - at);
    absorb(&s, last);
    Hash h;
    s.v2 ^= 0xee;
    rounds(&s, 4);
    h.lo = s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
    s.v1 ^= 0xdd;
    rounds(&s, 4);
    h.hi = s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
    return h;
}
