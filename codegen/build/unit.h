/* LLVM's state while kernels are compiled: context, target machine, shared functions. Internal to
 * this folder. All LLVM lifetime is in unit.c. */
#ifndef VMOEC_CODEGEN_BUILD_UNIT_H
#define VMOEC_CODEGEN_BUILD_UNIT_H

#include "codegen/plan/backend.h"
#include "codegen/build/emit.h"

/* The module in which a shared function is to be made; NULL: it was made before. */
LLVMModuleRef unit_helper(CgUnit *u, const char *name);

#endif
