/* WebAssembly, 32-bit addresses, SIMD of 128 bits: code for browsers. No host is one, because the
 * compiler does not run there. */
#include "codegen/target/arch.h"

bool cg_host_simd128(void) {
    return false;
}

static const char *unknown(Arena *a) {
    (void)a;
    return "";
}

const CgArch cg_arch_wasm32 = {.is_host = false, .brand = unknown, .identity = unknown};
