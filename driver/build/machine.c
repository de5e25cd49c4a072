/* Which machine and CPU a program is built for, and what it asks of it when it starts. */
#include "driver/build/build.h"

#include <string.h>

#include "base/cpu.h"

enum MachineId {
#define MACHINE(rule, name, makes, cc) MACHINE_##rule,
#include "driver/build/machines.def"
    MACHINES
};

enum Makes { PROGRAM, MODULE };

static const char *const machines[MACHINES] = {
#define MACHINE(rule, name, makes, cc) [MACHINE_##rule] = name,
#include "driver/build/machines.def"
};

static const enum Makes makes[MACHINES] = {
#define MACHINE(rule, name, makes, cc) [MACHINE_##rule] = makes,
#include "driver/build/machines.def"
};

static const char *const compilers[MACHINES] = {
#define MACHINE(rule, name, makes, cc) [MACHINE_##rule] = cc,
#include "driver/build/machines.def"
};

enum { MOST_NEEDS = 24 };

static const struct Cpu {
    enum MachineId machine;
    const char *name, *target;
    const char *needs[MOST_NEEDS]; /* names of base/cpu.h, ended by NULL */
} cpus[] = {
#define CPU(machine, name, target, ...) {MACHINE_##machine, name, target, {__VA_ARGS__, NULL}},
#include "driver/build/machines.def"
};
enum { CPUS = sizeof cpus / sizeof cpus[0] };

static const char native[] = "native";

/* What LLVM finds on this machine it may use, so all of that is needed. */
static void need_all(Build *b) {
    int n = 0, have = 0;
    while (vm_cpu_feature(n)) n++;
    const char **list = ARENA_ARRAY(b->a->arena, const char *, n + 1);
    for (int i = 0; i < n; i++)
        if (vm_cpu_has(vm_cpu_feature(i))) list[have++] = vm_cpu_feature(i);
    b->needs = list;
    b->nneeds = have;
}

static void need(Build *b, const char *const *list) {
    b->needs = list;
    while (list[b->nneeds]) b->nneeds++;
}

/* The machine whose code ELF knows by that number; MACHINES: none. */
static enum MachineId machine_of(int elf) {
    for (int i = 0; i < CPUS; i++)
        if (cg_target_named(cpus[i].target)->elf == elf) return cpus[i].machine;
    return MACHINES;
}

static const char *machine_names(Arena *a) {
    Text t = text_new(a);
    for (int i = 0; i < MACHINES; i++) text_addf(&t, "%s%s", i ? ", " : "", machines[i]);
    return t.data;
}

static const char *cpu_names(Arena *a, enum MachineId m, bool host) {
    Text t = text_new(a);
    if (host) text_add(&t, native);
    for (int i = 0; i < CPUS; i++)
        if (cpus[i].machine == m) text_addf(&t, "%s%s", t.len ? ", " : "", cpus[i].name);
    return t.data;
}

/* A CPU of the machine by its name; name NULL: the plainest. */
static const struct Cpu *cpu_of(enum MachineId m, const char *name) {
    for (int i = 0; i < CPUS; i++)
        if (cpus[i].machine == m && (!name || !strcmp(name, cpus[i].name))) return &cpus[i];
    return NULL;
}

/* This machine's own CPU. */
static void choose_native(Build *b, const CgTarget *host) {
    b->target = host;
    if (!strcmp(host->cpu, "host")) {
        need_all(b);
        return;
    }
    int i = 0; /* the plainest of the CPUs that have the target: its code is made for any */
    while (strcmp(cpus[i].target, host->id)) i++;
    need(b, cpus[i].needs);
}

VmStatus build_choose(Build *b) {
    Arena *a = b->a->arena;
    const char *want = b->a->o.target, *name = b->a->o.cpu, *error = NULL;
    const CgTarget *host = cg_target_host(a, &error);
    enum MachineId here = host ? machine_of(host->elf) : MACHINES, m = here;
    for (int i = 0; i < MACHINES && want; i++)
        if (!strcmp(want, machines[i])) m = (enum MachineId)i, want = NULL;
    if (want)
        return drv_fail(VM_USAGE, "build --target is one of %s, not '%s'", machine_names(a), want);
    if (m == MACHINES) return drv_fail(VM_ENV, "%s", error);
    if (m == here && (!name || !strcmp(name, native))) {
        choose_native(b, host);
        return VM_OK;
    }
    const struct Cpu *c = cpu_of(m, name);
    if (!c)
        return drv_fail(VM_USAGE, "--cpu is one of %s%s%s, not '%s'", cpu_names(a, m, m == here),
                        m == here ? "" : " for ", m == here ? "" : machines[m], name);
    if (m != here) {
        b->machine = machines[m];
        b->compiler = compilers[m];
    }
    b->module = makes[m] == MODULE;
    b->target = cg_target_named(c->target);
    need(b, c->needs);
    return VM_OK;
}
