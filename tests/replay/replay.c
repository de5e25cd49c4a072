/* The corpora of tests/fuzz/corpus/ through their targets, without the engine that found them: no
 * input crashes, takes longer than SECONDS, or breaks a promise that a target states. Under
 * sanitizers no input leaks, either. A plain program:
 *
 *     replay                     all corpora; a line "ok NAME" or "FAIL NAME why" for each
 *     replay NAME FILE..         these inputs
 *
 * Each target has a process of its own, so that the others are replayed whatever becomes of it. */
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/fuzz/target.h"

enum { MOST_BYTES = 1 << 16, SECONDS = 60 /* loaded machines and sanitizers included */ };

#define TARGET(name, ...) int fuzz_##name(const uint8_t *data, size_t size);
#include "tests/fuzz/targets.def"

static const struct {
    const char *name;
    int (*enter)(const uint8_t *data, size_t size);
} targets[] = {
#define TARGET(name, ...) {#name, fuzz_##name},
#include "tests/fuzz/targets.def"
};
enum { TARGETS = sizeof targets / sizeof targets[0] };

/* The sanitizers' own; without them there is none. */
int __lsan_do_recoverable_leak_check(void) __attribute__((weak));

/* Where the process that runs inputs is, seen by the one that waits for it. */
typedef struct Progress {
    int at; /* the input's number */
    bool leaks;
} Progress;

/* In memory that ends where the input does. */
static void feed(int target, const char *path) {
    static uint8_t room[MOST_BYTES];
    FILE *f = fopen(path, "rb");
    FUZZ_CHECK(f != NULL, "cannot open %s", path);
    size_t n = fread(room, 1, sizeof room, f);
    fclose(f);
    uint8_t *exact = malloc(n ? n : 1);
    FUZZ_CHECK(exact != NULL, "out of memory");
    if (n) memcpy(exact, room, n);
    (void)targets[target].enter(exact, n);
    free(exact);
}

static _Noreturn void feed_all(int target, char *const *path, int n, Progress *p) {
    for (p->at = 0; p->at < n; p->at++) {
        alarm(SECONDS);
        feed(target, path[p->at]);
        p->leaks = __lsan_do_recoverable_leak_check && __lsan_do_recoverable_leak_check();
        if (p->leaks) break;
    }
    fuzz_leave();
    _exit(0);
}

static bool replay(int target, char *const *path, int n) {
    int status = 0;
    Progress *p = mmap(NULL, sizeof *p, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    FUZZ_CHECK(p != MAP_FAILED, "out of memory");
    fflush(NULL);
    pid_t child = fork();
    FUZZ_CHECK(child >= 0, "cannot fork");
    if (child == 0) feed_all(target, path, n, p);
    FUZZ_CHECK(waitpid(child, &status, 0) == child, "the process is gone");
    const char *name = targets[target].name, *input = p->at < n ? path[p->at] : "";
    bool good = status == 0 && !p->leaks;
    if (good)
        printf("ok %s (%d inputs)\n", name, n);
    else if (p->leaks)
        printf("FAIL %s %s leaks\n", name, input);
    else if (WIFSIGNALED(status))
        printf("FAIL %s %s: signal %d\n", name, input, WTERMSIG(status));
    else
        printf("FAIL %s %s: exit status %d\n", name, input, WEXITSTATUS(status));
    munmap(p, sizeof *p);
    return good;
}

static int is_input(const struct dirent *e) {
    return e->d_name[0] != '.';
}

static bool replay_corpus(int target) {
    char folder[256];
    struct dirent **list;
    snprintf(folder, sizeof folder, "tests/fuzz/corpus/%s", targets[target].name);
    int n = scandir(folder, &list, is_input, alphasort);
    if (n < 1) {
        printf("FAIL %s there is no input in %s\n", targets[target].name, folder);
        return false;
    }
    char **path = calloc((size_t)n, sizeof *path);
    FUZZ_CHECK(path != NULL, "out of memory");
    for (int i = 0; i < n; i++) {
        FUZZ_CHECK(asprintf(&path[i], "%s/%s", folder, list[i]->d_name) > 0, "out of memory");
        free(list[i]);
    }
    bool good = replay(target, path, n);
    for (int i = 0; i < n; i++) free(path[i]);
    free(path);
    free(list);
    return good;
}

int main(int argc, char **argv) {
    bool good = true;
    for (int i = 0; i < TARGETS; i++) {
        if (argc < 2) good &= replay_corpus(i);
        if (argc > 2 && !strcmp(argv[1], targets[i].name)) return !replay(i, argv + 2, argc - 2);
    }
    if (argc < 2) return !good;
    fputs("usage: replay [NAME FILE..]\n", stderr);
    return 2;
}
