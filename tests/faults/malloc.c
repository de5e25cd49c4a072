/* Lets one allocation fail: a library for LD_PRELOAD, used by alloc.sh. Built by the Makefile, no
 * part of the unit tests.
 *
 *   VMOE_FAIL_AT=n      the n-th allocation fails, counted from 1; 0 or unset: none
 *   VMOE_FAIL_FROM=n    the n-th and all after it
 *   VMOE_FAIL_IN=who    parent (the process started) or worker (each process it forks, counted by
 * itself) VMOE_FAIL_MMAP=1    anonymous mappings of 1 MiB and more are allocations too
 *   VMOE_FAIL_COUNT=F   F holds the allocations made so far, two 64-bit numbers: the parent's, and
 * the most of one worker. It is a mapping, right however the process ends VMOE_FAIL_TRACE=1   says
 * on stderr where the failing allocation is
 *
 * The environment is read when the program starts, by its first allocation. */
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);
void *memalign(size_t align, size_t size);

typedef struct Counts {
    _Atomic uint64_t parent, worker;
} Counts;

static struct {
    bool ready, worker, in_worker, mappings, trace;
    uint64_t at, from;
    Counts *counts;
    _Atomic uint64_t n;
} state;

static uint64_t number(const char *name) {
    const char *text = getenv(name);
    return text ? strtoull(text, NULL, 10) : 0;
}

static void in_child(void) {
    state.worker = true;
    atomic_store(&state.n, 0);
}

static void start(void) {
    state.ready = true;
    state.at = number("VMOE_FAIL_AT");
    state.from = number("VMOE_FAIL_FROM");
    state.mappings = number("VMOE_FAIL_MMAP");
    state.trace = number("VMOE_FAIL_TRACE");
    const char *in = getenv("VMOE_FAIL_IN"), *count = getenv("VMOE_FAIL_COUNT");
    state.in_worker = in && !strcmp(in, "worker");
    int fd = count ? open(count, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;
    if (fd >= 0 && ftruncate(fd, sizeof(Counts)) == 0) {
        void *at = mmap(NULL, sizeof(Counts), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (at != MAP_FAILED) state.counts = at;
    }
    if (fd >= 0) close(fd);
    pthread_atfork(NULL, NULL, in_child);
}

static void note(uint64_t n) {
    if (!state.counts) return;
    if (!state.worker) atomic_store(&state.counts->parent, n);
    uint64_t most = atomic_load(&state.counts->worker);
    while (state.worker && n > most &&
           !atomic_compare_exchange_weak(&state.counts->worker, &most, n))
        continue;
}

static void trace(void) {
    void *frame[40];
    state.trace = false; /* backtrace allocates */
    state.at = state.from = 0;
    int n = backtrace(frame, 40);
    backtrace_symbols_fd(frame, n, STDERR_FILENO);
}

/* Counts an allocation; true: it fails. */
static bool fails(void) {
    if (!state.ready) start();
    uint64_t n = atomic_fetch_add(&state.n, 1) + 1;
    note(n);
    if (state.worker != state.in_worker) return false;
    if (n != state.at && !(state.from && n >= state.from)) return false;
    if (state.trace) trace();
    errno = ENOMEM;
    return true;
}

void *malloc(size_t size) {
    return fails() ? NULL : __libc_malloc(size);
}

void *calloc(size_t n, size_t size) {
    return fails() ? NULL : __libc_calloc(n, size);
}

void *realloc(void *p, size_t size) {
    return fails() ? NULL : __libc_realloc(p, size);
}

void *memalign(size_t align, size_t size) {
    return fails() ? NULL : __libc_memalign(align, size);
}

void *aligned_alloc(size_t align, size_t size) {
    return memalign(align, size);
}

int posix_memalign(void **p, size_t align, size_t size) {
    int kept = errno;
    void *got = memalign(align, size);
    if (got) *p = got;
    errno = kept;
    return got ? 0 : ENOMEM;
}

void *mmap(void *at, size_t size, int rights, int flags, int fd, off_t offset) {
    if (!state.ready) start();
    bool counts = state.mappings && (flags & MAP_ANONYMOUS) && size >= (size_t)1 << 20;
    if (counts && fails()) return MAP_FAILED;
    return (void *)syscall(SYS_mmap, at, size, rights, flags, fd, offset);
}
