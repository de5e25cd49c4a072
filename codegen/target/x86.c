/* x86-64: which of its instruction sets the host can run, and what tells one CPU from another. In a
 * program for another architecture the host can run none. */
#include "codegen/target/arch.h"

#ifdef __x86_64__

#include <cpuid.h>
#include <string.h>

bool cg_host_avx2(void) {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

bool cg_host_avx512(void) {
    return cg_host_avx2() && __builtin_cpu_supports("avx512f") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq");
}

bool cg_host_avx512_bf16(void) {
    return cg_host_avx512() && __builtin_cpu_supports("avx512bf16");
}

bool cg_host_avx512_halves(void) {
    return cg_host_avx2();
}

static const char *identity(Arena *a) {
    static const unsigned leaf[][2] = {{0x1, 0},  {0x7, 0},        {0x7, 1},
                                       {0xd, 1},  {0x14, 0},       {0x19, 0},
                                       {0x24, 0}, {0x80000001, 0}, {0x80000008, 0}};
    Text t = text_new(a);
    unsigned r[4], low, high;
    __cpuid(0, r[0], r[1], r[2], r[3]);
    text_addf(&t, "%08x%08x%08x", r[1], r[2], r[3]);
    for (size_t i = 0; i < sizeof leaf / sizeof leaf[0]; i++) {
        if (!__get_cpuid_count(leaf[i][0], leaf[i][1], &r[0], &r[1], &r[2], &r[3]))
            r[0] = r[1] = r[2] = r[3] = 0;
        if (leaf[i][0] == 1) r[1] = 0;                        /* says which core this is */
        if (leaf[i][0] == 0x80000008) r[0] = r[2] = r[3] = 0; /* and how many there are */
        text_addf(&t, " %x.%x.%x.%x", r[0], r[1], r[2], r[3]);
    }
    __asm__("xgetbv"
            : "=a"(low), "=d"(high)
            : "c"(0)); /* which registers the system saves; AVX implies it */
    text_addf(&t, " %x.%x", high, low);
    return t.data;
}

/* The processor's brand string, its spaces evened out. */
static const char *brand(Arena *a) {
    unsigned r[12] = {0};
    char text[sizeof r + 1] = "";
    if (__get_cpuid_max(0x80000000, NULL) < 0x80000004) return "";
    for (unsigned i = 0; i < 3; i++)
        __get_cpuid(0x80000002 + i, &r[4 * i], &r[4 * i + 1], &r[4 * i + 2], &r[4 * i + 3]);
    memcpy(text, r, sizeof r);
    Text t = text_new(a);
    for (const char *c = text; *c; c++)
        if (*c > ' ' && *c < 0x7f)
            text_addf(&t, "%c", *c);
        else if (t.len && c[1] > ' ')
            text_add(&t, " ");
    return t.data;
}

const CgArch cg_arch_x86_64 = {.is_host = true, .brand = brand, .identity = identity};

#else

bool cg_host_avx2(void) {
    return false;
}

bool cg_host_avx512(void) {
    return false;
}

bool cg_host_avx512_bf16(void) {
    return false;
}

bool cg_host_avx512_halves(void) {
    return false;
}

static const char *unknown(Arena *a) {
    (void)a;
    return "";
}

const CgArch cg_arch_x86_64 = {.is_host = false, .brand = unknown, .identity = unknown};

#endif
