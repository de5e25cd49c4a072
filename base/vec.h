/* Growing arrays in an arena: `T *at; int n, cap`, empty when zero, as one struct or as members of
 * whoever owns the array. */
#ifndef VMOEC_BASE_VEC_H
#define VMOEC_BASE_VEC_H

#include "base/arena.h"

#define VEC(T)                                                                                     \
    struct {                                                                                       \
        T *at;                                                                                     \
        int n, cap;                                                                                \
    }

/* Makes room in `at` for one more than n elements; new ones are zeroed. */
#define VEC_ROOM(a, at, n, cap) ((at) = vec_room((a), (at), (n), &(cap), sizeof *(at)))
#define VEC_PUSH(a, v, x) (VEC_ROOM(a, (v).at, (v).n, (v).cap), (v).at[(v).n++] = (x))

void *vec_room(Arena *a, void *at, int n, int *cap, size_t size);

#endif
