/* Objects of WebAssembly: what loader.h and relink.h do with ELF's. They go to a linker and are
 * never loaded. Internal to this folder. */
#ifndef VMOEC_CODEGEN_LOAD_WASM_H
#define VMOEC_CODEGEN_LOAD_WASM_H

#include "codegen/load/loader.h"

/* Whether the bytes begin as a WebAssembly object does. */
bool code_wasm_is(const void *data, size_t size);
/* As code_check has it. */
const char *code_wasm_check(Arena *a, const LoadObject *o, const char ***undefined);
/* As code_relink has it, for an object that code_wasm_check takes. */
const void *code_wasm_relink(Arena *a, const void *data, size_t size, const char *from,
                             const char *to);

/* Relocations by the numbers of the tool conventions, which no system header has. */
enum {
    R_WASM_FUNCTION_INDEX_LEB = 0,
    R_WASM_MEMORY_ADDR_LEB = 3,
    R_WASM_MEMORY_ADDR_SLEB = 4,
    R_WASM_TYPE_INDEX_LEB = 6,
    R_WASM_GLOBAL_INDEX_LEB = 7
};

#endif
