/* Arrays that double. What they grew out of stays in the arena. */
#include "base/vec.h"

#include <string.h>

void *vec_room(Arena *a, void *at, int n, int *cap, size_t size) {
    if (n < *cap) return at;
    *cap = *cap ? 2 * *cap : 8;
    void *more = arena_array(a, (size_t)*cap, size);
    if (n) memcpy(more, at, (size_t)n * size);
    return more;
}
