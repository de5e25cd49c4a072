/* Objects on their way to a linker instead of to the loader. */
#ifndef VMOEC_CODEGEN_LOAD_RELINK_H
#define VMOEC_CODEGEN_LOAD_RELINK_H

#include <stddef.h>

#include "base/arena.h"

/* A copy of an object that the loader would take (code_check), whose function `from` is called `to`
 * instead, which is as long, and is seen by nobody outside of what it is linked into. */
const void *code_relink(Arena *a, const void *data, size_t size, const char *from, const char *to);

#endif
