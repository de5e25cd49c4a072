/* What the runtime asks of a system, where there is none: one thread, which waits for nobody, no
 * pages and no clock. Takes the place of runtime/exec/team.c, pages.c and base/clock.c. */
#include "runtime/exec/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

int vm_cpus(void) {
    return 1;
}

int vm_threads(int requested) {
    (void)requested;
    return 1;
}

VmStatus vm_team_ready(int threads, VmError *err) {
    return threads == 1 ? VM_OK : vm_fail(err, VM_ENV, "there is one thread, not %d", threads);
}

int omp_get_thread_num(void) {
    return 0;
}

int omp_get_num_threads(void) {
    return 1;
}

int vm_barrier_spins(int n, int cpus) {
    (void)n, (void)cpus;
    return 0;
}

/* Whoever is alone has done all that it could wait for. */
void vm_word_wait(_Atomic uint32_t *word, _Atomic uint32_t *sleepers, uint32_t value, int spins) {
    (void)word, (void)sleepers, (void)value, (void)spins;
}

void vm_word_wake(_Atomic uint32_t *word, _Atomic uint32_t *sleepers) {
    (void)word, (void)sleepers;
}

bool vm_block_alloc(VmBlock *b, size_t bytes) {
    size_t rounded = (bytes + VM_REGION_ALIGN) & ~(size_t)(VM_REGION_ALIGN - 1);
    *b = (VmBlock){.data = aligned_alloc(VM_REGION_ALIGN, rounded), .bytes = bytes};
    if (b->data) memset(b->data, 0, rounded);
    return b->data != NULL;
}

void vm_block_free(VmBlock *b) {
    free(b->data);
    *b = (VmBlock){0};
}

double vm_seconds(void) {
    return 0;
}

/* The ends of C's streams, by the names of musl, whose vsnprintf brings them along: nobody prints
 * here, and with these the module asks nothing of the page. */
size_t __stdio_write(FILE *f, const unsigned char *text, size_t n);
off_t __stdio_seek(FILE *f, off_t to, int from);
int __stdio_close(FILE *f);

size_t __stdio_write(FILE *f, const unsigned char *text, size_t n) {
    (void)f, (void)text, (void)n;
    return 0;
}

off_t __stdio_seek(FILE *f, off_t to, int from) {
    (void)f, (void)to, (void)from;
    return -1;
}

int __stdio_close(FILE *f) {
    (void)f;
    return 0;
}
