/* AArch64: whether the host has Advanced SIMD (NEON), and what tells one CPU from another. In a
 * program for another architecture the host can run none of its targets. */
#include "codegen/target/arch.h"

#ifdef __aarch64__

#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>

bool cg_host_neon(void) {
    return getauxval(AT_HWCAP) & HWCAP_ASIMD;
}

/* "0x41.0xd0c": who made the CPU and which part it is, as the kernel tells. */
static const char *identity(Arena *a) {
    Text t = text_new(a);
    char line[256], value[32];
    FILE *f = fopen("/proc/cpuinfo", "re");
    bool maker = false, part = false;
    while (f && fgets(line, sizeof line, f)) {
        if (!maker && sscanf(line, "CPU implementer : %31s", value) == 1) {
            text_addf(&t, "%s", value);
            maker = true;
        }
        if (!part && sscanf(line, "CPU part : %31s", value) == 1) {
            text_addf(&t, ".%s", value);
            part = true;
        }
    }
    if (f) fclose(f);
    return t.data;
}

/* The architecture has no instruction that tells a name. */
static const char *brand(Arena *a) {
    const char *id = identity(a);
    return *id ? arena_printf(a, "AArch64 %s", id) : "";
}

const CgArch cg_arch_aarch64 = {.is_host = true, .brand = brand, .identity = identity};

#else

bool cg_host_neon(void) {
    return false;
}

static const char *unknown(Arena *a) {
    (void)a;
    return "";
}

const CgArch cg_arch_aarch64 = {.is_host = false, .brand = unknown, .identity = unknown};

#endif
