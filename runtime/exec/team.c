/* How many threads to use, and the barrier a team of them meets at.
 *
 * The barrier spins shortly and then sleeps in the kernel. Spinning pays only while every thread
 * has a CPU of its own: with more threads than CPUs a spinning thread keeps the one it waits for
 * from running, so then it sleeps almost at once.
 *
 * Requires Linux (futex, /proc, cgroup files). Does not create the threads that work: OpenMP does,
 * in engine.c. */
#include "runtime/exec/internal.h"

#include <linux/futex.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MAX_THREADS = 256 };

/* ---- CPUs ---- */

/* Without memory from the heap as far as machines go: how many threads there are must not depend on
 * whether there was some. */
static int affinity_cpus(void) {
    cpu_set_t usual;
    if (sched_getaffinity(0, sizeof usual, &usual) == 0) return CPU_COUNT(&usual);
    for (int n = 2 * CPU_SETSIZE; n <= 1 << 20; n *= 2) {
        cpu_set_t *set = CPU_ALLOC((size_t)n);
        if (!set) return 1;
        size_t size = CPU_ALLOC_SIZE((size_t)n);
        int count = sched_getaffinity(0, size, set) == 0 ? CPU_COUNT_S(size, set) : 0;
        CPU_FREE(set);
        if (count > 0) return count;
    }
    return 1;
}

int vm_cpus(void) {
    int cpus = affinity_cpus(), quota = vm_quota_cpus("");
    return quota > 0 && quota < cpus ? quota : cpus;
}

/* The first number of OMP_NUM_THREADS, which lists one for each level of nesting; 0: not set, or no
 * such list. */
static int wanted_threads(void) {
    const char *text = getenv("OMP_NUM_THREADS");
    if (!text) return 0;
    char *end;
    errno = 0;
    long n = strtol(text, &end, 10);
    bool number = end != text && (*end == '\0' || *end == ',') && errno == 0 && n > 0;
    return !number ? 0 : n < MAX_THREADS ? (int)n : MAX_THREADS;
}

int vm_threads(int requested) {
    int n = requested > 0 ? requested : wanted_threads();
    if (n == 0) n = vm_cpus();
    return n < MAX_THREADS ? n : MAX_THREADS;
}

/* ---- can they be made? ---- */

static void *wait_for_release(void *released) {
    vm_word_wait(released, (_Atomic uint32_t *)released + 1, 0, 0);
    return NULL;
}

VmStatus vm_team_ready(int threads, VmError *err) {
    /* OpenMP keeps its threads for the thread that asked for them: once they could be made, asking
     * again would count them twice. */
    static _Thread_local int ready = 1;
    _Atomic uint32_t word[2] = {0, 0}; /* released, sleepers */
    if (threads <= ready) return VM_OK;
    pthread_t *thread = vm_calloc((size_t)threads, sizeof *thread);
    int n = 1, why = thread ? 0 : ENOMEM; /* this thread is one of the team */
    while (n < threads && !why) {
        why = pthread_create(&thread[n], NULL, wait_for_release, word);
        n += !why;
    }
    atomic_store(&word[0], 1);
    vm_word_wake(&word[0], &word[1]);
    for (int i = 1; i < n; i++) pthread_join(thread[i], NULL);
    free(thread);
    if (why)
        return vm_fail(
            err, VM_ENV,
            "cannot make %d threads, only %d: %s (limits are those of ulimit -u and -v and of the "
            "cgroup; --threads asks for fewer)",
            threads, n, strerror(why));
    ready = threads;
    return VM_OK;
}

/* ---- barrier ---- */

static void cpu_relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

static void futex_wait(_Atomic uint32_t *word, uint32_t expected) {
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, NULL, NULL, 0);
}

static void futex_wake_all(_Atomic uint32_t *word) {
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

int vm_barrier_spins(int n, int cpus) {
    /* About 100 us of pauses on current cores: longer than kernels of a balanced step differ,
     * shorter than a scheduler tick. */
    return n <= cpus ? 6000 : 20;
}

void vm_barrier_wait(VmBarrier *b, int n, int spins) {
    if (n <= 1) return;
    uint32_t generation = atomic_load_explicit(&b->generation, memory_order_acquire);
    if (atomic_fetch_add_explicit(&b->arrived, 1, memory_order_acq_rel) + 1 == (uint32_t)n) {
        atomic_store_explicit(&b->arrived, 0, memory_order_relaxed);
        /* Sequentially consistent, like the sleeper's side: either we see the sleeper or it sees
         * the new generation. */
        atomic_store(&b->generation, generation + 1);
        if (atomic_load(&b->sleepers) > 0) futex_wake_all(&b->generation);
        return;
    }
    for (int i = 0; i < spins; i++) {
        if (atomic_load_explicit(&b->generation, memory_order_acquire) != generation) return;
        cpu_relax();
    }
    atomic_fetch_add(&b->sleepers, 1);
    while (atomic_load(&b->generation) == generation) futex_wait(&b->generation, generation);
    atomic_fetch_sub(&b->sleepers, 1);
}

void vm_word_wait(_Atomic uint32_t *word, _Atomic uint32_t *sleepers, uint32_t value, int spins) {
    for (int i = 0; i < spins; i++) {
        if (atomic_load_explicit(word, memory_order_acquire) > value) return;
        cpu_relax();
    }
    atomic_fetch_add(sleepers, 1);
    for (uint32_t now; (now = atomic_load(word)) <= value;) futex_wait(word, now);
    atomic_fetch_sub(sleepers, 1);
}

void vm_word_wake(_Atomic uint32_t *word, _Atomic uint32_t *sleepers) {
    if (atomic_load(sleepers) > 0) futex_wake_all(word);
}
