/* The loader of generated code: what it maps, and that no damaged object gets past it or crashes
 * it. */
#include <criterion/criterion.h>
#include <elf.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "tests/unit/codegen/util_objects.h"

/* The access rights of the mapping an address lies in, as /proc says. */
static void rights_of(const void *at, char out[5]) {
    FILE *f = fopen("/proc/self/maps", "r");
    cr_assert_not_null(f);
    char line[512];
    strcpy(out, "");
    while (fgets(line, sizeof line, f)) {
        unsigned long begin, end;
        char rights[5];
        if (sscanf(line, "%lx-%lx %4s", &begin, &end, rights) != 3) continue;
        if ((uintptr_t)at >= begin && (uintptr_t)at < end) strcpy(out, rights);
    }
    fclose(f);
}

Test(loader, code_is_executable_and_nothing_is_writable_then) {
    Arena *a = arena_create();
    Objects o = objects_make(a);
    Code *c = code_create(a);
    const char *error = code_load(c, a, o.item, o.n);
    cr_assert_null(error, "%s", error);
    for (int i = 0; i < o.n; i++) {
        char rights[5];
        cr_assert_not_null(o.item[i].entry);
        rights_of(o.item[i].entry, rights);
        cr_assert_str_eq(rights, "r-xp");
    }
    char rights[5];
    rights_of((char *)o.item[0].entry + code_bytes(c) - 1 - ((uintptr_t)o.item[0].entry & 4095),
              rights);
    cr_assert_str_eq(rights, "r--p", "constants are on pages of their own");
    code_destroy(c);
    arena_destroy(a);
}

Test(loader, shared_functions_loaded_earlier_are_found) {
    Arena *a = arena_create();
    Objects o = objects_make(a);
    Code *c = code_create(a);
    int callers = 0;
    for (int i = 0; i < o.n; i++)
        if (o.item[i].shared) cr_assert_null(code_load(c, a, &o.item[i], 1));
    for (int i = 0; i < o.n; i++) {
        const char **needs;
        if (o.item[i].shared) continue;
        cr_assert_null(code_check(a, &o.item[i], EM_X86_64, &needs));
        callers += *needs != NULL;
        for (; *needs; needs++) cr_assert(code_has(c, *needs), "%s", *needs);
        const char *error = code_load(c, a, &o.item[i], 1);
        cr_assert_null(error, "%s", error);
    }
    cr_assert_gt(callers, 0, "no kernel calls a shared function");
    code_destroy(c);
    arena_destroy(a);
}

Test(loader, a_missing_function_is_named) {
    Arena *a = arena_create();
    Objects o = objects_make(a);
    Code *c = code_create(a);
    int found = 0;
    for (int i = 0; i < o.n; i++) {
        const char **needs;
        cr_assert_null(code_check(a, &o.item[i], EM_X86_64, &needs));
        if (!*needs) continue;
        const char *error = code_load(c, a, &o.item[i], 1);
        cr_assert_not_null(error);
        cr_assert_not_null(strstr(error, *needs), "%s", error);
        cr_assert_null(o.item[i].entry);
        cr_assert_eq(code_bytes(c), 0);
        found++;
    }
    cr_assert_gt(found, 0);
    arena_destroy(a);
}

Test(loader, only_the_function_asked_for_will_do) {
    Arena *a = arena_create();
    Objects o = objects_make(a);
    LoadObject x = o.item[0];
    x.symbol = "something_else";
    const char *error = code_check(a, &x, EM_X86_64, NULL);
    cr_assert(error && strstr(error, "something_else"), "%s", error);
    arena_destroy(a);
}

static void refused(Arena *a, const LoadObject *o, size_t at, const void *value, size_t n,
                    const char *what) {
    char *copy = objects_exact_copy(o->data, o->size);
    memcpy(copy + at, value, n);
    LoadObject x = {.symbol = o->symbol, .data = copy, .size = o->size};
    cr_assert_not_null(code_check(a, &x, EM_X86_64, NULL), "%s", what);
    free(copy);
}

Test(loader, other_files_are_refused) {
    Arena *a = arena_create();
    Objects o = objects_make(a);
    const LoadObject *x = &o.item[0];
    uint16_t arm = EM_AARCH64, executable = ET_EXEC, many = 0xfff0;
    uint64_t far = UINT64_MAX - 8;
    refused(a, x, 0, "MZ", 2, "no ELF");
    refused(a, x, EI_CLASS, &(char){ELFCLASS32}, 1, "32 bits");
    refused(a, x, offsetof(Elf64_Ehdr, e_machine), &arm, 2, "another machine");
    refused(a, x, offsetof(Elf64_Ehdr, e_type), &executable, 2, "an executable");
    refused(a, x, offsetof(Elf64_Ehdr, e_shnum), &many, 2, "too many sections");
    refused(a, x, offsetof(Elf64_Ehdr, e_shoff), &far, 8, "sections outside");
    refused(a, x, offsetof(Elf64_Ehdr, e_shstrndx), &many, 2, "names nowhere");
    arena_destroy(a);
}

/* Whatever the target, its objects pass the check for its own architecture and for no other. */
Test(loader, objects_of_all_targets_are_known, .timeout = 120) {
    const CgTarget *t;
    for (int k = 0; (t = cg_target_at(k)); k++) {
        Arena *a = arena_create();
        Objects o = objects_make_for(a, t);
        for (int i = 0; i < o.n; i++) {
            const char *error = code_check(a, &o.item[i], t->elf, NULL);
            cr_assert_null(error, "%s: %s", t->id, error);
            int other = t->elf == EM_X86_64 ? EM_AARCH64 : EM_X86_64;
            cr_assert_not_null(code_check(a, &o.item[i], other, NULL), "%s", t->id);
        }
        arena_destroy(a);
    }
}

/* Sections that are writable, of odd types or with wild sizes, one field at a time. */
Test(loader, wild_section_headers_do_no_harm) {
    static const uint64_t wild[] = {
        0, 1, 0x7fffffff, 0xffffffff, UINT64_MAX, UINT64_MAX - 63, UINT64_C(1) << 63};
    Arena *a = arena_create();
    Objects o = objects_make(a);
    for (int i = 0; i < 6; i++) {
        Elf64_Ehdr h;
        memcpy(&h, o.item[i].data, sizeof h);
        for (size_t at = h.e_shoff; at + 4 <= o.item[i].size; at += 4)
            for (size_t k = 0; k < sizeof wild / sizeof wild[0]; k++) {
                char *copy = objects_exact_copy(o.item[i].data, o.item[i].size);
                memcpy(copy + at, &wild[k], at + 8 <= o.item[i].size ? 8 : 4);
                LoadObject x = {.symbol = o.item[i].symbol, .data = copy, .size = o.item[i].size};
                Arena *t = arena_create();
                const char **needs;
                code_check(t, &x, EM_X86_64, &needs);
                arena_destroy(t);
                free(copy);
            }
    }
    arena_destroy(a);
}

Test(loader, truncated_objects_are_refused) {
    Arena *a = arena_create();
    Objects o = objects_make(a);
    for (size_t size = 0; size < o.item[0].size; size += 1 + size / 64) {
        char *copy = objects_exact_copy(o.item[0].data, size);
        LoadObject x = {.symbol = o.item[0].symbol, .data = copy, .size = size};
        cr_assert_not_null(code_check(a, &x, EM_X86_64, NULL), "%zu of %zu bytes", size,
                           o.item[0].size);
        free(copy);
    }
    arena_destroy(a);
}

/* Random damage anywhere: refused or loaded, never a crash. What is loaded is not called. */
Test(loader, damaged_objects_never_crash_it) {
    static const uint32_t key[2] = {2026, 11};
    Arena *a = arena_create();
    Objects o = objects_make(a);
    uint32_t draw = 0;
    int taken = 0, refusals = 0;
    for (int round = 0; round < 6000; round++) {
        LoadObject x = o.item[vm_rng_bits(key, draw++) % (uint32_t)o.n];
        unsigned char *copy = objects_exact_copy(x.data, x.size);
        int damage = 1 + (int)(vm_rng_bits(key, draw++) % 4);
        Elf64_Ehdr h;
        memcpy(&h, copy, sizeof h);
        for (int i = 0; i < damage; i++) {
            uint32_t where = vm_rng_bits(key, draw++), what = vm_rng_bits(key, draw++);
            bool tables = where % 2; /* half of the damage in the headers */
            size_t at = tables && h.e_shoff < x.size ? h.e_shoff + where % (x.size - h.e_shoff)
                                                     : where % x.size;
            copy[at] = what % 3 == 0 ? 0xff : (unsigned char)(what >> 8);
        }
        Arena *t = arena_create();
        Code *c = code_create(t);
        for (int i = 0; i < o.n; i++)
            if (o.item[i].shared) cr_assert_null(code_load(c, t, &o.item[i], 1));
        x.data = copy;
        if (code_load(c, t, &x, 1))
            refusals++;
        else
            taken++;
        code_destroy(c);
        arena_destroy(t);
        free(copy);
    }
    cr_assert(taken > 100 && refusals > 100,
              "%d taken, %d refused: the damage is too mild or too hard", taken, refusals);
    arena_destroy(a);
}
