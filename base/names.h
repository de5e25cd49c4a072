/* Names to pointers: layers, configuration, bindings, weights. See names.c. */
#ifndef VMOEC_BASE_NAMES_H
#define VMOEC_BASE_NAMES_H

#include <stddef.h>

#include "base/arena.h"

typedef struct FeNameSlot {
    const char *name;
    void *value;
    int count; /* for the caller; 0 at first */
} FeNameSlot;

/* Empty when zero. */
typedef struct FeNames {
    FeNameSlot *slot;
    size_t cap, n;
} FeNames;

/* The slot of `name`, made with a NULL value when it is missing; valid until the next call. */
FeNameSlot *fe_name_at(FeNames *m, Arena *a, const char *name);
/* The value of `name`; NULL when it is missing. */
void *fe_name_get(const FeNames *m, const char *name);

#endif
