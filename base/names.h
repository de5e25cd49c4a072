/* Names to pointers: layers, configuration, bindings, weights. See names.c. */
#ifndef VMOEC_BASE_NAMES_H
#define VMOEC_BASE_NAMES_H

#include <stddef.h>

#include "base/arena.h"

typedef struct NameSlot {
    const char *name;
    void *value;
    int count; /* for the caller; 0 at first */
} NameSlot;

/* Empty when zero. */
typedef struct Names {
    NameSlot *slot;
    size_t cap, n;
} Names;

/* The slot of `name`, made with a NULL value when it is missing; valid until the next call. */
NameSlot *names_at(Names *m, Arena *a, const char *name);
/* The value of `name`; NULL when it is missing. */
void *names_get(const Names *m, const char *name);

#endif
