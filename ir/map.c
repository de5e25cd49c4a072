/* A hash map from 64-bit keys (numbers or pointers) to pointers: open addressing, grows by doubling,
 * lives in an arena, forgets nothing. */
#include "ir/internal.h"

typedef struct IrMapSlot {
    uint64_t key;
    void *value;
    bool used;
} IrMapSlot;

static size_t find_slot(const IrMapSlot *slot, size_t cap, uint64_t key) {
    uint64_t h = key * UINT64_C(0x9e3779b97f4a7c15);
    size_t i = (size_t)(h >> 20) & (cap - 1);
    while (slot[i].used && slot[i].key != key) i = (i + 1) & (cap - 1);
    return i;
}

IrMap ir_map_new(Arena *a) {
    IrMap m = {.arena = a, .cap = 64};
    m.slot = ARENA_ARRAY(a, IrMapSlot, m.cap);
    return m;
}

static void grow(IrMap *m) {
    size_t cap = m->cap * 2;
    IrMapSlot *slot = ARENA_ARRAY(m->arena, IrMapSlot, cap);
    for (size_t i = 0; i < m->cap; i++)
        if (m->slot[i].used) slot[find_slot(slot, cap, m->slot[i].key)] = m->slot[i];
    m->slot = slot;
    m->cap = cap;
}

void **ir_map_at(IrMap *m, uint64_t key) {
    size_t i = find_slot(m->slot, m->cap, key);
    if (!m->slot[i].used) {
        if (m->n * 2 >= m->cap) {
            grow(m);
            i = find_slot(m->slot, m->cap, key);
        }
        m->slot[i] = (IrMapSlot){.key = key, .used = true};
        m->n++;
    }
    return &m->slot[i].value;
}

void *ir_map_get(const IrMap *m, uint64_t key) {
    size_t i = find_slot(m->slot, m->cap, key);
    return m->slot[i].used ? m->slot[i].value : NULL;
}
