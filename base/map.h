/* A map from 64-bit keys (numbers or pointers) to pointers. */
#ifndef VMOEC_BASE_MAP_H
#define VMOEC_BASE_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"

typedef struct Map {
    Arena *arena;
    struct MapSlot *slot;
    size_t cap, n;
} Map;

Map map_new(Arena *a);
/* The place of key's value, made (NULL at first) when it is missing; valid until the next call. */
void **map_at(Map *m, uint64_t key);
/* NULL when absent. */
void *map_get(const Map *m, uint64_t key);
#define MAP_KEY(p) ((uint64_t)(uintptr_t)(p))

#endif
