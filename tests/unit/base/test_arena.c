/* Arenas and the string builder. */
#include <criterion/criterion.h>
#include <stdint.h>
#include <string.h>

#include "base/text.h"
#include "base/vec.h"

Test(arena, memory_is_zeroed_aligned_and_distinct) {
    Arena *a = arena_create();
    char *last = NULL;
    for (size_t size = 0; size < 300; size++) {
        char *p = arena_alloc(a, size);
        cr_assert_not_null(p);
        cr_assert_neq(p, last);
        cr_assert_eq((uintptr_t)p % 16, 0);
        for (size_t i = 0; i < size; i++) cr_assert_eq(p[i], 0);
        memset(p, 0xee, size);
        last = p;
    }
    arena_destroy(a);
}

Test(arena, allocations_do_not_overlap) {
    Arena *a = arena_create();
    unsigned char *p[200];
    for (int i = 0; i < 200; i++) {
        p[i] = arena_alloc(a, 3000);
        memset(p[i], i, 3000);
    }
    for (int i = 0; i < 200; i++)
        for (int k = 0; k < 3000; k += 7) cr_assert_eq(p[i][k], i);
    arena_destroy(a);
}

Test(arena, a_reset_reuses_the_blocks_and_zeroes_again) {
    Arena *a = arena_create();
    char *first = arena_alloc(a, 1000);
    memset(first, 1, 1000);
    arena_alloc(a, 10 << 20);
    arena_reset(a);
    char *again = arena_alloc(a, 1000);
    cr_assert_eq(again, first);
    for (int i = 0; i < 1000; i++) cr_assert_eq(again[i], 0);
    char *big = arena_alloc(a, 10 << 20);
    cr_assert_eq(big[(10 << 20) - 1], 0);
    arena_destroy(a);
}

Test(arena, destroying_nothing_is_fine) {
    arena_destroy(NULL);
}

Test(arena, an_overflowing_array_is_out_of_memory, .exit_code = 3) {
    arena_array(arena_create(), SIZE_MAX / 2, 4);
}

Test(arena, a_size_beyond_all_memory_is_out_of_memory, .exit_code = 3) {
    arena_alloc(arena_create(), SIZE_MAX - 8);
}

Test(arena, strings_are_copied_and_terminated) {
    Arena *a = arena_create();
    char word[] = "expert";
    char *copy = arena_strdup(a, word), *part = arena_strndup(a, word, 3);
    word[0] = 'E';
    cr_assert_str_eq(copy, "expert");
    cr_assert_str_eq(part, "exp");
    cr_assert_str_eq(arena_strndup(a, word, 0), "");
    cr_assert_str_eq(arena_printf(a, "%d of %s", 2, "8"), "2 of 8");
    arena_destroy(a);
}

Test(arena, text_grows_over_many_additions) {
    Arena *a = arena_create();
    Text t = text_new(a);
    cr_assert_str_eq(t.data, "");
    for (int i = 0; i < 1000; i++) text_addf(&t, "%d,", i % 10);
    cr_assert_eq(t.len, 2000);
    cr_assert_eq(strlen(t.data), 2000);
    cr_assert_str_eq(t.data + 1996, "8,9,");
    arena_destroy(a);
}

Test(arena, text_takes_pieces_of_any_length) {
    Arena *a = arena_create();
    char *long_word = arena_alloc(a, 5001);
    memset(long_word, 'x', 5000);
    Text t = text_new(a);
    text_addn(&t, "abcdef", 2);
    text_addf(&t, "<%s>", long_word);
    text_add(&t, "");
    text_add(&t, "end");
    cr_assert_eq(t.len, 2 + 5002 + 3);
    cr_assert_eq(strncmp(t.data, "ab<xx", 5), 0);
    cr_assert_str_eq(t.data + t.len - 5, "x>end");
    arena_destroy(a);
}

/* ---- growing arrays -------------------------------------------------------------------------- */

Test(vec, keeps_what_it_has_and_makes_zeroes) {
    Arena *a = arena_create();
    VEC(int) v = {0};
    for (int i = 0; i < 1000; i++) VEC_PUSH(a, v, i);
    cr_assert(v.n == 1000 && v.cap >= 1000 && v.cap < 2048);
    for (int i = 0; i < v.n; i++) cr_assert_eq(v.at[i], i);
    VEC_ROOM(a, v.at, v.n, v.cap);
    cr_assert_eq(v.at[v.n], 0, "room is zeroed");
    arena_destroy(a);
}
