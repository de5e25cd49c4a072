/* Bump allocation in a chain of blocks.
 *
 * Blocks double in size up to 4 MiB; an allocation larger than that gets a block of its own. A
 * reset keeps the chain and starts again at its head. Under AddressSanitizer the unused part of
 * every block is poisoned and allocations stand 16 bytes apart, so that overruns are found although
 * the arena hands out pieces of one block. Not thread safe: an arena belongs to one thread. */
#include "base/arena.h"
#include "base/bug.h"
#include "base/recover.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
#define ARENA_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ARENA_ASAN 1
#endif
#endif
#ifdef ARENA_ASAN
#include <sanitizer/asan_interface.h>
#define POISON(p, n) ASAN_POISON_MEMORY_REGION((p), (n))
#define UNPOISON(p, n) ASAN_UNPOISON_MEMORY_REGION((p), (n))
enum { RED_ZONE = 16 };
#else
#define POISON(p, n) ((void)(p), (void)(n))
#define UNPOISON(p, n) ((void)(p), (void)(n))
enum { RED_ZONE = 0 };
#endif

enum { ALIGN = 16, FIRST_BLOCK = 64 << 10, MAX_STEP = 4 << 20 };

typedef struct Block {
    struct Block *next;
    size_t size; /* of data */
    char *data;  /* aligned */
} Block;

struct Arena {
    Block *first, *current;
    size_t at; /* offset in current->data */
    size_t next_size;
    Arena *next, **link; /* in the list of a point to go on from; link: what points to this one */
};

static Block *new_block(size_t size) {
    size_t header = (sizeof(Block) + ALIGN - 1) / ALIGN * ALIGN;
    if (size > SIZE_MAX - header - ALIGN) vm_out_of_memory(size);
    /* malloc aligns to 16 on every platform we build for (max_align_t). */
    Block *b = malloc(header + size);
    if (!b) vm_out_of_memory(size);
    b->next = NULL;
    b->size = size;
    b->data = (char *)b + header;
    POISON(b->data, size);
    return b;
}

static void list_add(Arena **list, Arena *a) {
    a->next = *list;
    a->link = list;
    if (a->next) a->next->link = &a->next;
    *list = a;
}

static void list_remove(Arena *a) {
    if (!a->link) return;
    *a->link = a->next;
    if (a->next) a->next->link = a->link;
    a->next = NULL;
    a->link = NULL;
}

void arena_list_move(Arena **from, Arena **to) {
    for (Arena *a; (a = *from) != NULL;) {
        list_remove(a);
        if (to) list_add(to, a);
    }
}

Arena *arena_create(void) {
    Arena *a = calloc(1, sizeof *a);
    if (!a) vm_out_of_memory(sizeof *a);
    a->next_size = FIRST_BLOCK;
    VmRecover *point = vm_recover_here();
    if (point) list_add(&point->arenas, a);
    return a;
}

void arena_destroy(Arena *a) {
    if (!a) return;
    list_remove(a);
    for (Block *b = a->first; b;) {
        Block *next = b->next;
        UNPOISON(b->data, b->size);
        free(b);
        b = next;
    }
    free(a);
}

void arena_reset(Arena *a) {
    for (Block *b = a->first; b; b = b->next) POISON(b->data, b->size);
    a->current = a->first;
    a->at = 0;
}

/* Makes `current` a block with `need` free bytes: the next kept one that is large enough, or a new
 * one linked in after the current. Kept blocks that are too small are passed over until the next
 * reset. */
static void next_block(Arena *a, size_t need) {
    while (a->current && a->current->next) {
        a->current = a->current->next;
        a->at = 0;
        if (a->current->size >= need) return;
    }
    size_t size = a->next_size > need ? a->next_size : need;
    if (a->next_size < MAX_STEP) a->next_size *= 2;
    Block *b = new_block(size);
    if (a->current)
        a->current->next = b;
    else
        a->first = b;
    a->current = b;
    a->at = 0;
}

void *arena_alloc(Arena *a, size_t size) {
    if (size > SIZE_MAX - 4 * ALIGN) vm_out_of_memory(size);
    size_t need = (size ? size + ALIGN - 1 : ALIGN) / ALIGN * ALIGN + RED_ZONE;
    if (!a->current || a->current->size - a->at < need) next_block(a, need);
    void *p = a->current->data + a->at;
    a->at += need;
    UNPOISON(p, size);
    memset(p, 0, size);
    return p;
}

void *arena_array(Arena *a, size_t n, size_t size) {
    size_t total;
    if (__builtin_mul_overflow(n, size, &total)) vm_out_of_memory(SIZE_MAX);
    return arena_alloc(a, total);
}

char *arena_strndup(Arena *a, const char *s, size_t n) {
    char *copy = arena_alloc(a, n + 1);
    if (n) memcpy(copy, s, n);
    return copy;
}

char *arena_strdup(Arena *a, const char *s) {
    return arena_strndup(a, s, strlen(s));
}

char *arena_vprintf(Arena *a, const char *fmt, va_list ap) {
    va_list again;
    va_copy(again, ap);
    int len = vsnprintf(NULL, 0, fmt, ap);
    if (len < 0) vm_out_of_memory(0); /* nothing else can go wrong with our formats */
    char *s = arena_alloc(a, (size_t)len + 1);
    vsnprintf(s, (size_t)len + 1, fmt, again);
    va_end(again);
    return s;
}

char *arena_printf(Arena *a, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    char *s = arena_vprintf(a, fmt, ap);
    va_end(ap);
    return s;
}
