/* Machine code: LLVM modules to objects to function pointers. Internal to this folder. All LLVM lifetime
 * is here and in module.c. */
#ifndef VMOEC_CODEGEN_JIT_H
#define VMOEC_CODEGEN_JIT_H

#include <llvm-c/TargetMachine.h>

#include "codegen/emit.h"

typedef struct Jit Jit;

Jit *jit_create(Arena *a, const CgTarget *t, const char **error);
void jit_destroy(Jit *j); /* code dies with it */

/* A new empty module for the target in the given context. */
LLVMModuleRef jit_new_module(Jit *j, LLVMContextRef ctx, const char *name);

/* Runs the short pass list and makes an object; NULL and *error on failure. The caller disposes the buffer.
 */
LLVMMemoryBufferRef jit_object(Jit *j, LLVMModuleRef mod, const char **error);
/* The optimised module as assembly, in arena a. */
const char *jit_assembly(Jit *j, Arena *a, LLVMModuleRef mod, const char **error);

/* Links an object in (takes the buffer) and finds its functions. NULL: done. */
const char *jit_add(Jit *j, LLVMMemoryBufferRef object);
void *jit_lookup(Jit *j, const char *name, const char **error);

#endif
