/* Initialisers of weights: the table of inits.def, and the one reader of their text form. */
#ifndef VMOEC_BASE_INITS_H
#define VMOEC_BASE_INITS_H

#include <stdbool.h>

typedef enum VmInitKind {
#define INIT(name, ...) VM_INIT_##name,
#include "base/inits.def"
    VM_INIT_COUNT
} VmInitKind;

typedef struct VmInitRow {
    const char *name, *form, *given;
    double least;
    bool varies;
    const char *meaning;
} VmInitRow;

extern const VmInitRow vm_inits[VM_INIT_COUNT];
/* What a text may be, for messages: "zeros, ones, const(value), .. or same(one of these)". */
extern const char vm_init_forms[];

enum { VM_INIT_NUMBERS = 2 };

typedef struct VmInit {
    VmInitKind kind;
    double number[VM_INIT_NUMBERS]; /* as in the form */
    bool same;                      /* the parts along dimension 0 are equal */
} VmInit;

/* Reads "normal(0.02)" or "same(normal(0.02))"; false: it is of no known form, or a number is out
 * of its range. */
bool vm_read_init(const char *text, VmInit *out);

#endif
