/* Bump allocation by lifetime. One arena per compilation holds source, syntax trees, IR and
 * messages; passes use a second one that the pass manager resets. Nothing is freed singly.
 * Running out of memory is vm_out_of_memory (base/bug.h): nobody looks at what an arena returns. */
#ifndef VMOEC_BASE_ARENA_H
#define VMOEC_BASE_ARENA_H

#include <stdarg.h>
#include <stddef.h>

typedef struct Arena Arena;

Arena *arena_create(void);
void arena_destroy(Arena *a); /* NULL is fine */

/* For base/recover.c: arenas made while a thread has a point to go on from are in its list until
 * they are destroyed. Moves all of one list to another; NULL: they are in none from now on. */
void arena_list_move(Arena **from, Arena **to);

/* Forget every allocation but keep the blocks for reuse. */
void arena_reset(Arena *a);

/* Zeroed memory, aligned to 16 bytes; never NULL. A size of 0 gives a valid, unique pointer. */
void *arena_alloc(Arena *a, size_t size);

/* Zeroed array of n elements; an overflowing n * size counts as out of memory. */
void *arena_array(Arena *a, size_t n, size_t size);

#define ARENA_NEW(a, T) ((T *)arena_alloc((a), sizeof(T)))
#define ARENA_ARRAY(a, T, n) ((T *)arena_array((a), (size_t)(n), sizeof(T)))

char *arena_strdup(Arena *a, const char *s);
char *arena_strndup(Arena *a, const char *s, size_t n); /* always terminated */
char *arena_printf(Arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
char *arena_vprintf(Arena *a, const char *fmt, va_list ap);

#endif
