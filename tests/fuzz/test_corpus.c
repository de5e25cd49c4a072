/* The corpora of tests/fuzz/corpus/ through their targets, without the engine that found them: no
 * input crashes, takes longer than SECONDS, or breaks a promise that a target states. Under
 * sanitizers no input leaks, either. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/fuzz/target.h"

enum {
    MOST = 256,
    MOST_BYTES = 1 << 16,
    SECONDS = 60 /* loaded machines and sanitizers included */
};

typedef int Target(const uint8_t *data, size_t size);

/* The sanitizers' own; without them there is none. */
int __lsan_do_recoverable_leak_check(void) __attribute__((weak));

/* Where the process that runs inputs is, seen by the one that waits for it. */
typedef struct Progress {
    int at; /* the input's number */
    bool leaks;
} Progress;

static int is_input(const struct dirent *e) {
    return e->d_name[0] != '.';
}

/* In memory that ends where the input does. */
static void feed(Target *target, const char *path) {
    static uint8_t room[MOST_BYTES];
    FILE *f = fopen(path, "rb");
    if (!f) _exit(4);
    size_t n = fread(room, 1, sizeof room, f);
    fclose(f);
    uint8_t *exact = malloc(n ? n : 1);
    if (!exact) _exit(4);
    if (n) memcpy(exact, room, n);
    (void)target(exact, n);
    free(exact);
}

static _Noreturn void feed_all(Target *target, const char *folder, struct dirent **list, int n,
                               Progress *p) {
    signal(SIGABRT, SIG_DFL); /* the test framework has its own handlers */
    signal(SIGSEGV, SIG_DFL);
    signal(SIGFPE, SIG_DFL);
    for (p->at = 0; p->at < n; p->at++) {
        char path[600];
        snprintf(path, sizeof path, "%s/%s", folder, list[p->at]->d_name);
        alarm(SECONDS);
        feed(target, path);
        p->leaks = __lsan_do_recoverable_leak_check && __lsan_do_recoverable_leak_check();
        if (p->leaks) break;
    }
    fuzz_leave();
    _exit(0);
}

static void replay(const char *name, Target *target) {
    char folder[256];
    struct dirent **list;
    snprintf(folder, sizeof folder, "tests/fuzz/corpus/%s", name);
    int n = scandir(folder, &list, is_input, alphasort), status = 0;
    cr_assert(n > 0 && n <= MOST, "%s has %d inputs", folder, n);
    Progress *p = mmap(NULL, sizeof *p, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq(p, MAP_FAILED);
    fflush(NULL);
    pid_t child = fork();
    cr_assert(child >= 0);
    if (child == 0) feed_all(target, folder, list, n, p);
    cr_assert_eq(waitpid(child, &status, 0), child);
    const char *input = p->at < n ? list[p->at]->d_name : "the end";
    cr_assert(!WIFSIGNALED(status), "%s/%s: signal %d", folder, input, WTERMSIG(status));
    cr_assert_eq(WEXITSTATUS(status), 0, "%s/%s: exit status %d", folder, input,
                 WEXITSTATUS(status));
    cr_assert(!p->leaks, "%s/%s: leaks", folder, input);
}

#define TARGET(name, ...)                                                                          \
    int fuzz_##name(const uint8_t *data, size_t size);                                             \
    Test(corpus, name) {                                                                           \
        replay(#name, fuzz_##name);                                                                \
    }
#include "tests/fuzz/targets.def"
