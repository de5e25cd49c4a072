/* Does one thing that a filter allows or not, and says so: what a jailed trainer would meet
 * (tests/hardening/run.sh).
 *
 *   tries WHAT */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static char page[8192] __attribute__((aligned(4096)));

static void *nothing(void *user) {
    return user;
}

static int try_file(void) {
    FILE *f = fopen("/proc/self/status", "r");
    return f ? fclose(f) : -1;
}

static int try_thread(void) {
    pthread_t t;
    return pthread_create(&t, NULL, nothing, NULL) || pthread_join(t, NULL);
}

static int try_execve(void) {
    char *none[] = {NULL};
    return execve("/bin/true", none, none);
}

static int try_fork(void) {
    pid_t pid = fork();
    if (pid == 0) _exit(0);
    return pid < 0 || waitpid(pid, NULL, 0) < 0;
}

static int try_socket(void) {
    return socket(AF_INET, SOCK_STREAM, 0) < 0;
}

static int try_ptrace(void) {
    return ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0;
}

static int try_code_change(void) {
    return mprotect(page, sizeof page, PROT_READ | PROT_EXEC);
}

static int try_code_map(void) {
    return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
           MAP_FAILED;
}

static int try_both_change(void) {
    return mprotect(page, sizeof page, PROT_READ | PROT_WRITE | PROT_EXEC);
}

static int try_both_map(void) {
    return mmap(NULL, 4096, PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
           MAP_FAILED;
}

static const struct {
    const char *name;
    int (*act)(void);
} list[] = {{"file", try_file},
            {"thread", try_thread},
            {"execve", try_execve},
            {"fork", try_fork},
            {"socket", try_socket},
            {"ptrace", try_ptrace},
            {"code-change", try_code_change},
            {"code-map", try_code_map},
            {"both-change", try_both_change},
            {"both-map", try_both_map}};

int main(int argc, char **argv) {
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++)
        if (argc == 2 && !strcmp(argv[1], list[i].name)) {
            int failed = list[i].act();
            printf("%s %s\n", argv[1], failed ? "refused" : "done");
            return failed ? 1 : 0;
        }
    fprintf(stderr, "tries: nothing of this name\n");
    return 2;
}
