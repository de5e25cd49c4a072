/* Checks the objects that code generation makes, ELF relocatables with code and constants and
 * nothing else, and loads those for x86-64. Objects may come from a disk, so every field is
 * checked; one that is not as expected is refused. */
#ifndef VMOEC_CODEGEN_LOAD_LOADER_H
#define VMOEC_CODEGEN_LOAD_LOADER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"

typedef struct LoadObject {
    const char *symbol; /* the function that is wanted of it */
    const void *data;
    size_t size;
    bool shared; /* other objects may call it by its name, those loaded later too */
    void *entry; /* result: its address */
} LoadObject;

/* Code in memory, and the names of shared functions in it. */
typedef struct Code Code;

Code *code_create(Arena *a);
void code_destroy(Code *c); /* the functions are gone then */
bool code_has(const Code *c, const char *shared);
size_t code_bytes(const Code *c); /* mapped so far */

/* A function of C's library that code may call without being told to; NULL: it is none. (library.c)
 */
void *code_library_at(const char *name);

/* NULL when the object is one for `machine`, ELF's number of an architecture, that code_load would
 * take (if that is x86-64), apart from undefined names; else what is wrong with it. EM_NONE:
 * objects of WebAssembly (wasm.c). With undefined
 * not NULL, *undefined becomes a list in arena a, ended by NULL, of the names it needs from other
 * objects. */
const char *code_check(Arena *a, const LoadObject *o, int machine, const char ***undefined);

/* Maps all n objects in one piece, code executable and not writable, and sets their entries; all or
 * none. NULL or a message in arena a. */
const char *code_load(Code *c, Arena *a, LoadObject *o, int n);

#endif
