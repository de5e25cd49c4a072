/* Threads: cgroup quotas read from made-up file systems, and the barrier with as many and with more
 * threads than CPUs. */
#include "runtime/exec/internal.h"
#include "tests/unit/runtime/runtime_test.h"

#include <pthread.h>
#include <sys/resource.h>

/* Writes root/file with text, making its folders. */
static void put(const char *root, const char *file, const char *text) {
    char path[1024], dir[1024];
    snprintf(path, sizeof path, "%s/%s", root, file);
    snprintf(dir, sizeof dir, "%s", path);
    *strrchr(dir, '/') = '\0';
    cr_assert(rt_make_dirs(dir));
    rt_write(path, text, strlen(text));
}

static const char v2_mounts[] =
    "25 1 0:1 / / rw - ext4 /dev/vda rw\n"
    "31 25 0:28 / /sys/fs/cgroup rw,relatime shared:4 - cgroup2 cgroup2 rw\n";

Test(runtime_team, quota_v2_is_the_smallest_of_all_parents) {
    char *root = rt_folder();
    put(root, "proc/self/mountinfo", v2_mounts);
    put(root, "proc/self/cgroup", "0::/user/job/step\n");
    put(root, "sys/fs/cgroup/user/job/step/cpu.max", "max 100000\n");
    put(root, "sys/fs/cgroup/user/job/cpu.max", "250000 100000\n");
    put(root, "sys/fs/cgroup/user/cpu.max", "800000 100000\n");
    cr_assert_eq(vm_quota_cpus(root), 3); /* 2.5, rounded up */
    put(root, "sys/fs/cgroup/user/cpu.max", "50000 100000\n");
    cr_assert_eq(vm_quota_cpus(root), 1);
    put(root, "sys/fs/cgroup/user/cpu.max", "max 100000\n");
    put(root, "sys/fs/cgroup/user/job/cpu.max", "max 100000\n");
    cr_assert_eq(vm_quota_cpus(root), 0);
    rt_remove(root);
}

Test(runtime_team, quota_v2_inside_a_container) {
    char *root = rt_folder();
    put(root, "proc/self/mountinfo",
        "31 25 0:28 /machine/abc /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw,nsdelegate\n");
    put(root, "proc/self/cgroup", "0::/machine/abc/inner\n");
    put(root, "sys/fs/cgroup/cpu.max", "400000 100000\n");
    cr_assert_eq(vm_quota_cpus(root), 4);
    put(root, "sys/fs/cgroup/inner/cpu.max", "200000 100000\n");
    cr_assert_eq(vm_quota_cpus(root), 2);
    /* a group whose name only starts like the one shown is not below it */
    put(root, "proc/self/cgroup", "0::/machine/abcdef/inner\n");
    cr_assert_eq(vm_quota_cpus(root), 4);
    rt_remove(root);
}

Test(runtime_team, quota_v1) {
    char *root = rt_folder();
    put(root, "proc/self/mountinfo",
        "31 25 0:28 / /cg/cpuset rw - cgroup cgroup rw,cpuset\n"
        "32 25 0:29 / /cg/cpu rw - cgroup cgroup rw,cpuacct,cpu\n");
    put(root, "proc/self/cgroup", "5:cpuset:/wrong\n4:cpuacct,cpu:/a/b\n0::/\n");
    put(root, "cg/cpu/a/b/cpu.cfs_quota_us", "-1\n");
    put(root, "cg/cpu/a/b/cpu.cfs_period_us", "100000\n");
    cr_assert_eq(vm_quota_cpus(root), 0);
    put(root, "cg/cpu/a/cpu.cfs_quota_us", "150000\n");
    put(root, "cg/cpu/a/cpu.cfs_period_us", "50000\n");
    cr_assert_eq(vm_quota_cpus(root), 3);
    rt_remove(root);
}

Test(runtime_team, memory_limit_is_the_smallest_of_all_parents) {
    char *root = rt_folder();
    put(root, "proc/self/mountinfo", v2_mounts);
    put(root, "proc/self/cgroup", "0::/user/job\n");
    put(root, "sys/fs/cgroup/user/job/memory.max", "max\n");
    cr_assert_eq(vm_quota_memory(root), 0);
    put(root, "sys/fs/cgroup/user/memory.max", "67108864\n");
    cr_assert_eq(vm_quota_memory(root), 67108864);
    put(root, "proc/self/mountinfo", "31 25 0:28 / /cg/memory rw - cgroup cgroup rw,memory\n");
    put(root, "proc/self/cgroup", "5:memory:/a/b\n0::/\n");
    put(root, "cg/memory/a/b/memory.limit_in_bytes", "9223372036854771712\n");
    cr_assert_eq(vm_quota_memory(root), 0, "what version 1 says where there is none");
    put(root, "cg/memory/a/memory.limit_in_bytes", "268435456\n");
    cr_assert_eq(vm_quota_memory(root), 268435456);
    rt_remove(root);
}

Test(runtime_team, no_cgroup_files_means_no_limit) {
    char *root = rt_folder();
    cr_assert_eq(vm_quota_cpus(root), 0);
    put(root, "proc/self/mountinfo", v2_mounts);
    put(root, "proc/self/cgroup", "garbage\n0::\n");
    put(root, "sys/fs/cgroup/cpu.max", "what is this\n");
    cr_assert_eq(vm_quota_cpus(root), 0);
    rt_remove(root);
}

Test(runtime_team, thread_counts) {
    cr_assert(vm_cpus() >= 1);
    cr_assert_eq(vm_threads(5), 5);
    cr_assert_eq(vm_threads(100000), 256);
    unsetenv("OMP_NUM_THREADS");
    cr_assert_eq(vm_threads(0), vm_cpus() < 256 ? vm_cpus() : 256);
}

Test(runtime_team, omp_num_threads_counts_where_nobody_asks) {
    int usual = vm_cpus() < 256 ? vm_cpus() : 256;
    const struct {
        const char *text;
        int threads; /* 0: as if it were not set */
    } cases[] = {{"1", 1}, {"7", 7},  {"3,2", 3}, {"1000000", 256}, {"", 0},
                 {"0", 0}, {"-2", 0}, {"4x", 0},  {"many", 0},      {"99999999999999999999", 0}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        setenv("OMP_NUM_THREADS", cases[i].text, 1);
        cr_assert_eq(vm_threads(0), cases[i].threads ? cases[i].threads : usual, "'%s'",
                     cases[i].text);
        cr_assert_eq(vm_threads(5), 5, "asking goes first");
    }
}

/* Room for the stacks of 20 threads more than there are now. */
static void limit_stacks(void) {
    long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    cr_assert(f && fscanf(f, "%ld", &pages) == 1);
    fclose(f);
    struct rlimit stack, all;
    cr_assert(getrlimit(RLIMIT_STACK, &stack) == 0);
    rlim_t one = stack.rlim_cur == RLIM_INFINITY ? 2 << 20 : stack.rlim_cur;
    all.rlim_cur = all.rlim_max = (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE) + 20 * one;
    cr_assert(setrlimit(RLIMIT_AS, &all) == 0);
}

Test(runtime_team, threads_that_cannot_be_made_are_an_error) {
#ifdef __SANITIZE_ADDRESS__
    cr_skip("the address sanitizer needs all of the address space");
#endif
    VmError err;
    VmEngine *e;
    limit_stacks();
    cr_assert_eq(vm_team_ready(200, &err), VM_ENV);
    cr_assert(strstr(err.text, "cannot make 200 threads, only "), "%s", err.text);
    cr_assert_eq(vm_engine_create(200, &e, &err), VM_ENV);
    cr_assert_null(e);
    cr_assert_eq(vm_team_ready(8, &err), VM_OK, "%s", err.text);
    cr_assert_eq(vm_team_ready(1, &err), VM_OK);
}

enum { ROUNDS = 300, TEAM = 7 };

typedef struct Shared {
    VmBarrier barrier;
    int spins;
    int value[TEAM];
    _Atomic int wrong;
} Shared;

typedef struct Member {
    Shared *shared;
    int me;
} Member;

/* Everybody writes its round, meets, and must then see everybody's. */
static void *member_run(void *arg) {
    Member *m = arg;
    Shared *s = m->shared;
    for (int r = 1; r <= ROUNDS; r++) {
        s->value[m->me] = r;
        vm_barrier_wait(&s->barrier, TEAM, s->spins);
        for (int i = 0; i < TEAM; i++) {
            if (s->value[i] != r) atomic_fetch_add(&s->wrong, 1);
        }
        vm_barrier_wait(&s->barrier, TEAM, s->spins);
    }
    return NULL;
}

static void meet(int spins) {
    static Shared shared;
    shared = (Shared){.spins = spins};
    pthread_t thread[TEAM];
    Member member[TEAM];
    for (int i = 0; i < TEAM; i++) {
        member[i] = (Member){.shared = &shared, .me = i};
        cr_assert(pthread_create(&thread[i], NULL, member_run, &member[i]) == 0);
    }
    for (int i = 0; i < TEAM; i++) pthread_join(thread[i], NULL);
    cr_assert_eq(atomic_load(&shared.wrong), 0);
    cr_assert_eq(atomic_load(&shared.barrier.sleepers), 0u);
}

Test(runtime_team, barrier_sleeping_at_once, .timeout = 60) {
    meet(0);
}

Test(runtime_team, barrier_spinning_first, .timeout = 60) {
    meet(200);
}

Test(runtime_team, spins_only_with_a_cpu_each) {
    cr_assert(vm_barrier_spins(2, 2) > 1000);
    cr_assert(vm_barrier_spins(8, 2) < 100);
}
