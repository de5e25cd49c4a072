/* A hash map from 64-bit keys (numbers or pointers) to pointers: open addressing, grows by
 * doubling, lives in an arena, forgets nothing. */
#include "base/map.h"

typedef struct MapSlot {
    uint64_t key;
    void *value;
    bool used;
} MapSlot;

static size_t find_slot(const MapSlot *slot, size_t cap, uint64_t key) {
    uint64_t h = key * UINT64_C(0x9e3779b97f4a7c15);
    size_t i = (size_t)(h >> 20) & (cap - 1);
    while (slot[i].used && slot[i].key != key) i = (i + 1) & (cap - 1);
    return i;
}

Map map_new(Arena *a) {
    Map m = {.arena = a, .cap = 64};
    m.slot = ARENA_ARRAY(a, MapSlot, m.cap);
    return m;
}

static void grow(Map *m) {
    size_t cap = m->cap * 2;
    MapSlot *slot = ARENA_ARRAY(m->arena, MapSlot, cap);
    for (size_t i = 0; i < m->cap; i++)
        if (m->slot[i].used) slot[find_slot(slot, cap, m->slot[i].key)] = m->slot[i];
    m->slot = slot;
    m->cap = cap;
}

void **map_at(Map *m, uint64_t key) {
    size_t i = find_slot(m->slot, m->cap, key);
    if (!m->slot[i].used) {
        if (m->n * 2 >= m->cap) {
            grow(m);
            i = find_slot(m->slot, m->cap, key);
        }
        m->slot[i] = (MapSlot){.key = key, .used = true};
        m->n++;
    }
    return &m->slot[i].value;
}

void *map_get(const Map *m, uint64_t key) {
    size_t i = find_slot(m->slot, m->cap, key);
    return m->slot[i].used ? m->slot[i].value : NULL;
}
