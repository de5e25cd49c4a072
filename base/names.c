/* Open addressing, so that looking a name up takes the same time however many there are. Keeps the
 * names it is given, not copies. Nothing is ever removed. */
#include "base/names.h"

#include <string.h>

#include "base/rng.h"

/* The place of `name`, or the free one it would take. */
static NameSlot *slot_of(NameSlot *slot, size_t cap, const char *name) {
    size_t i = (size_t)vm_hash_name(name) & (cap - 1);
    while (slot[i].name && strcmp(slot[i].name, name) != 0) i = (i + 1) & (cap - 1);
    return &slot[i];
}

static void grow(Names *m, Arena *a) {
    size_t cap = m->cap ? 2 * m->cap : 16;
    NameSlot *slot = ARENA_ARRAY(a, NameSlot, cap);
    for (size_t i = 0; i < m->cap; i++)
        if (m->slot[i].name) *slot_of(slot, cap, m->slot[i].name) = m->slot[i];
    m->slot = slot;
    m->cap = cap;
}

NameSlot *names_at(Names *m, Arena *a, const char *name) {
    if (2 * (m->n + 1) > m->cap) grow(m, a);
    NameSlot *s = slot_of(m->slot, m->cap, name);
    if (!s->name) {
        s->name = name;
        m->n++;
    }
    return s;
}

void *names_get(const Names *m, const char *name) {
    return m->cap ? slot_of(m->slot, m->cap, name)->value : NULL;
}
