/* The choice of a target: one by its name, or the best that the host can run. */
#include <elf.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "codegen/target/arch.h"

/* A target as it is for any CPU that has it, and what isa.def says beside that. */
typedef struct Row {
    CgTarget target;
    const CgArch *arch;
    const char *host_cpu, *needs;
    bool (*host)(void);
} Row;

enum {
#define ARCH(name, llvm, triple, elf, missing) elf_##name = elf,
#include "codegen/target/isa.def"
};

#define ARCH(name, llvm, triple, elf, missing) static const char triple_##name[] = triple;
#include "codegen/target/isa.def"

#define AS_ROW(rule, arch_, isa_, id_, floats, registers, bits, cpu_, host_cpu_, llvm, needs_)     \
    {.target = {.id = id_,                                                                         \
                .isa = isa_,                                                                       \
                .triple = triple_##arch_,                                                          \
                .elf = elf_##arch_,                                                                \
                .vector_floats = floats,                                                           \
                .vector_registers = registers,                                                     \
                .has = bits,                                                                       \
                .cpu = cpu_,                                                                       \
                .features = llvm,                                                                  \
                .name = "",                                                                        \
                .host = ""},                                                                       \
     .arch = &cg_arch_##arch_,                                                                     \
     .host_cpu = host_cpu_,                                                                        \
     .needs = needs_,                                                                              \
     .host = cg_host_##rule},

/* Those for tests stand behind the others, so that none of them is the host's first. */
static const Row row[] = {
#define ISA AS_ROW
#include "codegen/target/isa.def"
#define ISA_FOR_TESTS AS_ROW
#include "codegen/target/isa.def"
};
enum {
    ALL_ROWS = sizeof row / sizeof row[0],
#define ISA_FOR_TESTS(...) -1
    ROWS = ALL_ROWS
#include "codegen/target/isa.def"
};

const CgTarget *cg_target_at(int i) {
    return i >= 0 && i < ROWS ? &row[i].target : NULL;
}

const CgTarget *cg_target_named(const char *id) {
    for (int i = 0; i < ROWS; i++)
        if (!strcmp(row[i].target.id, id)) return &row[i].target;
    return NULL;
}

/* The first target of an instruction set; ALL_ROWS: there is none. */
static int first_of(const char *isa) {
    int i = 0;
    while (i < ALL_ROWS && strcmp(row[i].target.isa, isa)) i++;
    return i;
}

/* The last one: it needs the least. */
static int plainest_of(const char *isa) {
    int last = ALL_ROWS;
    for (int i = 0; i < ALL_ROWS; i++)
        if (!strcmp(row[i].target.isa, isa)) last = i;
    return last;
}

/* "avx512 or avx2" */
static const char *sets(Arena *a) {
    Text t = text_new(a);
    for (int i = 0; i < ROWS; i++)
        if (first_of(row[i].target.isa) == i)
            text_addf(&t, "%s%s", t.len ? " or " : "", row[i].target.isa);
    return t.data;
}

const char *cg_target_lack(Arena *a, const CgTarget *t, CgFeature feature) {
    int i = 0;
    while (!(row[i].target.has & feature)) i++;
    bool could = t->native && !strcmp(row[i].target.isa, t->isa);
    return could ? arena_printf(a, "%s, which this CPU does not have", row[i].needs)
                 : arena_printf(a, "%s, which code for %s does not have", row[i].needs, t->id);
}

static int64_t cache_bytes(int name) {
    long n = sysconf(name);
    return n > 0 ? n : 0;
}

static const CgTarget *as_host(Arena *a, const Row *r) {
    CgTarget *t = ARENA_NEW(a, CgTarget);
    *t = r->target;
    t->native = true;
    t->cpu = r->host_cpu;
    t->l1d = cache_bytes(_SC_LEVEL1_DCACHE_SIZE);
    t->l2 = cache_bytes(_SC_LEVEL2_CACHE_SIZE);
    t->name = r->arch->brand(a);
    if (!strcmp(t->cpu, "host")) t->host = r->arch->identity(a);
    return t;
}

static const char *nothing_runs(void) {
#define ARCH(name, llvm, triple, elf, missing)                                                     \
    if (cg_arch_##name.is_host) return missing;
#include "codegen/target/isa.def"
    return "there is no code generation for this architecture";
}

const CgTarget *cg_target_host(Arena *a, const char **error) {
    const char *want = getenv("VMOEC_ISA");
    if (want && !*want) want = NULL;
    if (want && first_of(want) == ALL_ROWS) {
        *error = arena_printf(a, "VMOEC_ISA is '%s': expected %s", want, sets(a));
        return NULL;
    }
    bool any = false;
    for (int i = 0; i < ALL_ROWS; i++) {
        if (!row[i].host()) continue;
        if (!want || !strcmp(row[i].target.isa, want)) return as_host(a, &row[i]);
        any = true;
    }
    *error = any ? arena_printf(a, "VMOEC_ISA is %s, but this CPU lacks %s", want,
                                row[plainest_of(want)].needs)
                 : nothing_runs();
    return NULL;
}
