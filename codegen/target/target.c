/* What the host can do, and the choice of instruction set. */
#include <cpuid.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "codegen/codegen.h"

static bool host_has_avx512(void) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
}

static bool host_has_avx2(void) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

/* Everything that LLVM concludes the CPU's model and features from: what code for "the host"
 * depends on. */
static const char *host_text(Arena *a) {
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

static int64_t cache_bytes(int name) {
    long n = sysconf(name);
    return n > 0 ? n : 0;
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
    t->isa = wide ? "avx512" : "avx2";
    t->vector_floats = wide ? 16 : 8;
    t->vector_registers = wide ? 32 : 16;
    t->bf16 = wide && __builtin_cpu_supports("avx512bf16");
    t->cpu = wide ? "host" : "haswell";
    t->features = wide ? "-prefer-256-bit" : "+avx2,+fma,+bmi,+bmi2";
    t->l1d = cache_bytes(_SC_LEVEL1_DCACHE_SIZE);
    t->l2 = cache_bytes(_SC_LEVEL2_CACHE_SIZE);
    t->name = brand(a);
    t->host = wide ? host_text(a) : "";
    return t;
}
