/* Objects of WebAssembly: those that code generation makes pass the check, damaged ones do no harm,
 * and another name changes nothing else. */
#include <criterion/criterion.h>
#include <elf.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "codegen/load/relink.h"
#include "tests/unit/codegen/util_objects.h"
#include "tests/unit/codegen/util_program.h"

static Objects objects(Arena *a) {
    const CgTarget *t = cg_target_named("simd128");
    cr_assert_not_null(t);
    return objects_make_for(a, t);
}

static const char *check(Arena *a, const void *data, size_t size, const char *symbol) {
    char *copy = objects_exact_copy(data, size); /* a sanitizer sees what is read beyond it */
    const char **needs;
    const char *error =
        code_check(a, &(LoadObject){.symbol = symbol, .data = copy, .size = size}, EM_NONE, &needs);
    if (error) error = arena_strdup(a, error);
    free(copy);
    return error;
}

Test(wasm, what_kernels_call_is_known, .timeout = 60) {
    Arena *a = arena_create();
    Objects o = objects(a);
    int callers = 0;
    for (int i = 0; i < o.n; i++) {
        const char **needs;
        cr_assert_null(code_check(a, &o.item[i], EM_NONE, &needs));
        callers += *needs != NULL;
        for (; *needs; needs++) {
            bool made = false;
            for (int k = 0; k < o.n; k++)
                made |= o.item[k].shared && !strcmp(o.item[k].symbol, *needs);
            cr_assert(made, "nobody has %s", *needs);
        }
    }
    cr_assert_gt(callers, 0);
    arena_destroy(a);
}

Test(wasm, truncated_objects_are_refused, .timeout = 60) {
    Arena *a = arena_create();
    Objects o = objects(a);
    const LoadObject *x = &o.item[0];
    for (size_t size = 0; size < x->size; size++) {
        /* an object may end behind its relocations: what comes then only says who made it */
        const char *error = check(a, x->data, size, x->symbol);
        cr_assert(error || size > x->size * 3 / 4, "%zu of %zu bytes", size, x->size);
    }
    arena_destroy(a);
}

Test(wasm, only_the_function_asked_for_will_do, .timeout = 60) {
    Arena *a = arena_create();
    Objects o = objects(a);
    const char *error = check(a, o.item[0].data, o.item[0].size, "something_else");
    cr_assert(error && strstr(error, "something_else"), "%s", error);
    arena_destroy(a);
}

/* Sections that kernels do not have, behind what they have. */
Test(wasm, other_sections_are_refused, .timeout = 60) {
    static const char refused[] = {4, 5, 6, 7, 8, 9, 13, 14, 0x7f};
    Arena *a = arena_create();
    Objects o = objects(a);
    const LoadObject *x = &o.item[0];
    char *more = arena_alloc(a, x->size + 3);
    for (size_t i = 0; i < sizeof refused; i++) {
        memcpy(more, x->data, x->size);
        memcpy(more + x->size, (char[]){refused[i], 1, 0}, 3);
        const char *error = check(a, more, x->size + 3, x->symbol);
        cr_assert(error && strstr(error, "another kind"), "section %d: %s", refused[i], error);
    }
    memcpy(more + x->size, (char[]){11, 1, 0}, 3);
    cr_assert_null(check(a, more, x->size + 3, x->symbol), "no pieces of data");
    char *data = arena_alloc(a, x->size + 8);
    memcpy(data, x->data, x->size);
    memcpy(data + x->size, (char[]){11, 6, 1, 0, 0x41, 0, 0x0b, 0}, 8);
    cr_assert_str_eq(check(a, data, x->size + 8, x->symbol), "data without names");
    arena_destroy(a);
}

/* Random damage anywhere: refused or taken, never a crash. */
Test(wasm, damaged_objects_never_crash_the_check, .timeout = 120) {
    static const uint32_t key[2] = {2026, 32};
    Arena *a = arena_create();
    Objects o = objects(a);
    uint32_t draw = 0;
    int taken = 0, refusals = 0;
    for (int round = 0; round < 20000; round++) {
        LoadObject x = o.item[vm_rng_bits(key, draw++) % (uint32_t)o.n];
        unsigned char *copy = objects_exact_copy(x.data, x.size);
        int damage = 1 + (int)(vm_rng_bits(key, draw++) % 4);
        for (int i = 0; i < damage; i++) {
            uint32_t where = vm_rng_bits(key, draw++), what = vm_rng_bits(key, draw++);
            size_t ends = x.size < 300 ? x.size : 300, at = where % x.size;
            if (where % 4 == 1) at = where / 4 % ends;              /* the types and imports */
            if (where % 4 >= 2) at = x.size - 1 - where / 4 % ends; /* symbols, relocations */
            copy[at] = what % 3 == 0 ? 0xff : (unsigned char)(what >> 8);
        }
        Arena *t = arena_create();
        const char **needs;
        x.data = copy;
        bool wrong = code_check(t, &x, EM_NONE, &needs) != NULL;
        refusals += wrong;
        taken += !wrong;
        arena_destroy(t);
        free(copy);
    }
    cr_assert(taken > 100 && refusals > 100, "%d taken, %d refused", taken, refusals);
    arena_destroy(a);
}

/* A kernel with a list among its constants: where it lies in memory code is told by the linker. */
Test(wasm, constants_are_known, .timeout = 60) {
    Arena *a = arena_create();
    const CgTarget *t = cg_target_named("simd128");
    IrGraph *g = program_read(a,
                              "graph @t {\n"
                              "  %0 = input {name = \"x\"} : i32[33]\n"
                              "  %1 = lookup %0 {values = [3,1,4,1,-5]} : i32[33]\n"
                              "  output \"a\" %1\n"
                              "}\n",
                              PASS_fuse);
    Objects o = objects_of(a, g, t);
    cr_assert_eq(o.n, 1);
    const LoadObject *x = &o.item[0];
    const char *error = check(a, x->data, x->size, x->symbol), *segment = ".rodata";
    cr_assert_null(error, "%s", error);
    char *copy = arena_alloc(a, x->size);
    memcpy(copy, x->data, x->size);
    char *at = memmem(copy, x->size, segment, strlen(segment));
    cr_assert_not_null(at, "no constants");
    memcpy(at, ".data..", strlen(segment)); /* as what may be written to is called */
    error = check(a, copy, x->size, x->symbol);
    cr_assert(error && strstr(error, "no constants"), "%s", error);
    arena_destroy(a);
}

Test(wasm, another_name_changes_nothing_else, .timeout = 60) {
    Arena *a = arena_create();
    Objects o = objects(a);
    for (int i = 0; i < o.n; i++) {
        const LoadObject *x = &o.item[i];
        if (x->shared) continue;
        char other[64];
        snprintf(other, sizeof other, "%s", x->symbol);
        memset(other, 'q', strlen(other));
        const unsigned char *y = code_relink(a, x->data, x->size, x->symbol, other), *z = x->data;
        cr_assert_null(check(a, y, x->size, other));
        cr_assert_not_null(check(a, y, x->size, x->symbol));
        size_t changed = 0;
        for (size_t k = 0; k < x->size; k++) changed += y[k] != z[k];
        cr_assert_leq(changed, strlen(other) + 1, "%zu bytes", changed);
    }
    arena_destroy(a);
}
