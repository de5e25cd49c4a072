/* Runs the runtime's tests under ThreadSanitizer, each in a process of its own, and prints a line
 * for each: ok, FAIL or skip (tests/hardening/threads.sh).
 *
 *   alone [PATTERN..]     tests whose SUITE/NAME one of the patterns matches; none: all. !PATTERN:
 *                         none of those
 *   alone --race          two threads add to one number without asking each other */
#include "tests/hardening/alone/criterion/criterion.h"

#include <fnmatch.h>
#include <stdarg.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SKIPPED = 77, REPORTED = 66, SLOWER = 20, LONGEST = 200 };

static AloneTest *first, **last = &first;

void alone_add(AloneTest *t) {
    *last = t;
    last = &t->next;
}

static void say(const char *fmt, va_list args) {
    vfprintf(stdout, fmt, args);
    fputc('\n', stdout);
    fflush(stdout);
}

_Noreturn void alone_fail(const char *file, int line, const char *what, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    printf("     %s:%d: not so: %s ", file, line, what);
    say(fmt, args);
    va_end(args);
    _exit(1);
}

_Noreturn void alone_skip(const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    say(fmt, args);
    va_end(args);
    _exit(SKIPPED);
}

static bool wanted(const AloneTest *t, int n, char **pattern) {
    char name[300];
    snprintf(name, sizeof name, "%s/%s", t->suite, t->name);
    bool some = false, named = false;
    for (int i = 0; i < n; i++) {
        if (pattern[i][0] == '!' && !fnmatch(pattern[i] + 1, name, 0)) return false;
        some |= pattern[i][0] != '!';
        named |= pattern[i][0] != '!' && !fnmatch(pattern[i], name, 0);
    }
    return named || !some;
}

/* The exit status, or 128 and the number of the signal that ended it. */
static int run(const AloneTest *t) {
    int status;
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        alarm(t->timeout > 0 ? (unsigned)(t->timeout * SLOWER) : LONGEST);
        if (t->init) t->init();
        t->run();
        exit(0);
    }
    if (pid < 0 || waitpid(pid, &status, 0) < 0) return 1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int race(void) {
    long sum = 0;
#pragma omp parallel num_threads(2)
    for (int i = 0; i < 1000; i++) sum++;
    printf("%ld\n", sum);
    return 0;
}

int main(int argc, char **argv) {
    int failed = 0;
    if (argc == 2 && !strcmp(argv[1], "--race")) return race();
    for (const AloneTest *t = first; t; t = t->next) {
        if (!wanted(t, argc - 1, argv + 1)) continue;
        int status = run(t);
        if (!status || status == SKIPPED) {
            printf("%s %s/%s\n", status ? "skip" : "ok", t->suite, t->name);
            continue;
        }
        printf("FAIL %s/%s %s %d\n", t->suite, t->name,
               status == REPORTED ? "ThreadSanitizer reports, status" : "ends with", status);
        failed = 1;
    }
    return failed;
}
