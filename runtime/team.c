/* How many threads to use, and the barrier a team of them meets at.
 *
 * The barrier spins shortly and then sleeps in the kernel. Spinning pays only while every thread has a CPU
 * of its own: with more threads than CPUs a spinning thread keeps the one it waits for from running, so
 * then it sleeps almost at once.
 *
 * Requires Linux (futex, /proc, cgroup files). Does not create the threads that work: OpenMP does, in
 * engine.c. */
#include "runtime/internal.h"

#include <linux/futex.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MAX_THREADS = 256, PATH_CAP = 1024 };

/* ---- CPUs ---- */

static int affinity_cpus(void) {
    for (int n = 1024; n <= 1 << 20; n *= 2) {
        cpu_set_t *set = CPU_ALLOC((size_t)n);
        if (!set) return 1;
        size_t size = CPU_ALLOC_SIZE((size_t)n);
        int count = sched_getaffinity(0, size, set) == 0 ? CPU_COUNT_S(size, set) : 0;
        CPU_FREE(set);
        if (count > 0) return count;
    }
    return 1;
}

static bool first_line(const char *path, char *line, int cap) {
    FILE *f = fopen(path, "r");
    if (!f) return false;
    bool ok = fgets(line, cap, f) != NULL;
    fclose(f);
    return ok;
}

static int quota_to_cpus(double quota, double period) {
    if (!(quota > 0) || !(period > 0)) return 0;
    double cpus = quota / period;
    if (cpus >= MAX_THREADS) return 0;
    int whole = (int)cpus;
    return whole < cpus ? whole + 1 : (whole ? whole : 1);
}

/* Limit written in one group's folder; 0: none. */
static int group_cpus(const char *dir, bool v2) {
    char path[3 * PATH_CAP + 32], line[64], period[64];
    if (v2) {
        snprintf(path, sizeof path, "%s/cpu.max", dir);
        double q, p;
        if (!first_line(path, line, sizeof line)) return 0;
        return sscanf(line, "%lf %lf", &q, &p) == 2 ? quota_to_cpus(q, p) : 0; /* "max ..." does not scan */
    }
    snprintf(path, sizeof path, "%s/cpu.cfs_quota_us", dir);
    if (!first_line(path, line, sizeof line)) return 0;
    snprintf(path, sizeof path, "%s/cpu.cfs_period_us", dir);
    if (!first_line(path, period, sizeof period)) return 0;
    return quota_to_cpus(strtod(line, NULL), strtod(period, NULL));
}

/* A hierarchy that may hold a CPU quota: where it is mounted and which of its groups is shown there. */
typedef struct Mount {
    char at[PATH_CAP], shown[PATH_CAP];
} Mount;

/* True when the comma-separated list has the word. */
static bool list_has(const char *list, const char *word) {
    size_t n = strlen(word);
    for (const char *p = list; p; p = strchr(p, ',')) {
        if (*p == ',') p++;
        if (strncmp(p, word, n) == 0 && (p[n] == ',' || p[n] == '\0' || p[n] == '\n')) return true;
    }
    return false;
}

static bool find_mount(const char *root, bool v2, Mount *m) {
    char path[PATH_CAP], line[4096];
    snprintf(path, sizeof path, "%s/proc/self/mountinfo", root);
    FILE *f = fopen(path, "r");
    if (!f) return false;
    bool found = false;
    while (!found && fgets(line, sizeof line, f)) {
        char type[32], options[512];
        const char *tail = strstr(line, " - ");
        if (!tail || sscanf(line, "%*s %*s %*s %1023s %1023s", m->shown, m->at) != 2) continue;
        if (sscanf(tail, " - %31s %*s %511s", type, options) != 2) continue;
        found = v2 ? strcmp(type, "cgroup2") == 0 : strcmp(type, "cgroup") == 0 && list_has(options, "cpu");
    }
    fclose(f);
    return found;
}

/* This process's group in the hierarchy, from lines "id:controllers:path". */
static bool find_group(const char *root, bool v2, char *group, size_t cap) {
    char path[PATH_CAP], line[4096];
    snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
    FILE *f = fopen(path, "r");
    if (!f) return false;
    bool found = false;
    while (!found && fgets(line, sizeof line, f)) {
        char *controllers = strchr(line, ':');
        char *where = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!where) continue;
        *where++ = '\0';
        controllers++;
        found = v2 ? *controllers == '\0' : list_has(controllers, "cpu");
        if (found) snprintf(group, cap, "%.*s", (int)strcspn(where, "\n"), where);
    }
    fclose(f);
    return found;
}

static int hierarchy_cpus(const char *root, bool v2) {
    Mount m;
    char group[PATH_CAP], dir[3 * PATH_CAP];
    if (!find_mount(root, v2, &m) || !find_group(root, v2, group, sizeof group)) return 0;
    /* In a container the mount shows a group of the host as its root: only what is below it has a path. */
    size_t n = strcmp(m.shown, "/") == 0 ? 0 : strlen(m.shown);
    bool inside = strncmp(group, m.shown, n) == 0 && (group[n] == '/' || group[n] == '\0');
    const char *below = inside ? group + n : "";
    int base = snprintf(dir, sizeof dir, "%s%s", root, m.at);
    if (base < 0 || base >= (int)sizeof dir) return 0;
    snprintf(dir + base, sizeof dir - (size_t)base, "%s", below);
    if (strlen(dir) >= PATH_CAP) return 0;
    int least = 0;
    for (;;) {
        int cpus = group_cpus(dir, v2);
        if (cpus > 0 && (least == 0 || cpus < least)) least = cpus;
        char *slash = strrchr(dir + base, '/');
        if (!slash) return least;
        *slash = '\0';
    }
}

int vm_quota_cpus(const char *root) {
    int v1 = hierarchy_cpus(root, false), v2 = hierarchy_cpus(root, true);
    if (v1 == 0 || v2 == 0) return v1 + v2;
    return v1 < v2 ? v1 : v2;
}

int vm_cpus(void) {
    int cpus = affinity_cpus(), quota = vm_quota_cpus("");
    return quota > 0 && quota < cpus ? quota : cpus;
}

/* The first number of OMP_NUM_THREADS, which lists one for each level of nesting; 0: not set, or no such
 * list. */
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
    /* OpenMP keeps its threads: once they could be made, asking again would count them twice. */
    static _Atomic int ready = 1;
    _Atomic uint32_t word[2] = {0, 0}; /* released, sleepers */
    if (threads <= atomic_load(&ready)) return VM_OK;
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
        return vm_fail(err, VM_ENV,
                       "cannot make %d threads, only %d: %s (limits are those of ulimit -u and -v and of the "
                       "cgroup; --threads asks for fewer)",
                       threads, n, strerror(why));
    atomic_store(&ready, threads);
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
    /* About 100 us of pauses on current cores: longer than kernels of a balanced step differ, shorter than a
     * scheduler tick. */
    return n <= cpus ? 6000 : 20;
}

void vm_barrier_wait(VmBarrier *b, int n, int spins) {
    if (n <= 1) return;
    uint32_t generation = atomic_load_explicit(&b->generation, memory_order_acquire);
    if (atomic_fetch_add_explicit(&b->arrived, 1, memory_order_acq_rel) + 1 == (uint32_t)n) {
        atomic_store_explicit(&b->arrived, 0, memory_order_relaxed);
        /* Sequentially consistent, like the sleeper's side: either we see the sleeper or it sees the new
         * generation. */
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
