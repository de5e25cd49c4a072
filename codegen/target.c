/* What the host can do, and the choice of instruction set. */
#include <stdlib.h>
#include <string.h>

#include <llvm-c/Core.h>
#include <llvm-c/TargetMachine.h>

#include "codegen/codegen.h"

static bool host_has_avx512(void) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
}

static bool host_has_avx2(void) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

const CgTarget *cg_target_host(Arena *a, const char **error) {
    const char *want = getenv("VMOEC_ISA");
    __builtin_cpu_init();
    if (want && *want && strcmp(want, "avx512") && strcmp(want, "avx2")) {
        *error = arena_printf(a, "VMOEC_ISA is '%s': expected avx512 or avx2", want);
        return NULL;
    }
    if (!host_has_avx2()) {
        *error = "this CPU has neither AVX-512 nor AVX2 with FMA";
        return NULL;
    }
    bool wide = host_has_avx512() && !(want && !strcmp(want, "avx2"));
    if (want && !strcmp(want, "avx512") && !wide) {
        *error = "VMOEC_ISA is avx512, but this CPU lacks AVX-512 (F, VL, BW, DQ)";
        return NULL;
    }
    CgTarget *t = ARENA_NEW(a, CgTarget);
    char *cpu = LLVMGetHostCPUName(), *features = LLVMGetHostCPUFeatures();
    t->isa = wide ? "avx512" : "avx2";
    t->vector_floats = wide ? 16 : 8;
    t->vector_registers = wide ? 32 : 16;
    t->cpu = wide ? arena_strdup(a, cpu) : "haswell";
    t->features = wide ? arena_printf(a, "%s,-prefer-256-bit", features) : "+avx2,+fma,+bmi,+bmi2";
    LLVMDisposeMessage(cpu);
    LLVMDisposeMessage(features);
    return t;
}
