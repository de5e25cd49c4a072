/* Which commit a file belongs to, as git says. */
#include "driver/commands/commands.h"

#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LONGEST = 80 }; /* of a commit in hexadecimal with a mark */

/* The first line that the program prints; "" when it fails. */
static void first_line(char *const argv[], char line[LONGEST]) {
    extern char **environ;
    int to[2];
    size_t n = 0;
    pid_t pid;
    line[0] = '\0';
    if (pipe2(to, O_CLOEXEC)) return;
    posix_spawn_file_actions_t files;
    bool good = posix_spawn_file_actions_init(&files) == 0;
    if (good) {
        good = !posix_spawn_file_actions_adddup2(&files, to[1], STDOUT_FILENO) &&
               !posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0) &&
               !posix_spawn_file_actions_addopen(&files, STDERR_FILENO, "/dev/null", O_WRONLY, 0) &&
               !posix_spawnp(&pid, argv[0], &files, NULL, argv, environ);
        posix_spawn_file_actions_destroy(&files);
    }
    close(to[1]);
    for (ssize_t got = 1; good && got > 0 && n < LONGEST - 1; n += got > 0 ? (size_t)got : 0)
        got = read(to[0], line + n, LONGEST - 1 - n);
    close(to[0]);
    int status = 0;
    if (good) good = waitpid(pid, &status, 0) == pid && status == 0;
    line[good ? n : 0] = '\0';
    line[strcspn(line, "\n")] = '\0';
}

/* git changes nothing here: its index is looked at and not refreshed. It refuses repositories of
 * other users. */
const char *drv_source_commit(Arena *a, const char *path) {
    char line[LONGEST], *real = realpath(path, NULL);
    char *slash = real ? strrchr(real, '/') : NULL;
    if (!slash) {
        free(real);
        return NULL;
    }
    slash[slash == real] = '\0';
    char *const argv[] = {"git",         "--no-optional-locks",  "-C",       real,
                          "-c",          "core.fsmonitor=false", "describe", "--always",
                          "--abbrev=40", "--exclude=*",          "--dirty",  NULL};
    first_line(argv, line);
    free(real);
    return line[0] ? arena_strdup(a, line) : NULL;
}
