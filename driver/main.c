/* The program's entry: finds the command and hands over. */
#include "driver/driver.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define VMOEC_VERSION "0.1.0"

static VmStatus (*const commands[CMD_COUNT])(const Args *) = {
#define CMD(name, ...) cmd_##name,
#include "driver/options.def"
};

static VmStatus unknown_command(const char *name) {
    if (!strcmp(name, "build") || !strcmp(name, "predict")) {
        drv_fail(VM_USAGE, "there is no %s command in this version", name);
    } else {
        const char *near = cmd_suggest(name);
        drv_fail(VM_USAGE, "unknown command '%s'%s%s%s", name, near ? "; did you mean " : "",
                 near ? near : "", near ? "?" : "");
    }
    fprintf(stderr, "       vmoec help lists the commands\n");
    return VM_USAGE;
}

static VmStatus help(int argc, char **argv) {
    if (argc < 1) {
        cmd_help(stdout, CMD_COUNT);
        return drv_flush(VM_OK);
    }
    CmdId cmd = cmd_by_name(argv[0]);
    if (cmd == CMD_COUNT) return unknown_command(argv[0]);
    cmd_help(stdout, cmd);
    return drv_flush(VM_OK);
}

static bool asks_for_help(int argc, char **argv) {
    for (int i = 0; i < argc && strcmp(argv[i], "--"); i++)
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) return true;
    return false;
}

static bool finished; /* main has returned */

/* Libraries may end the process on their own, as OpenMP's does with exit(1) when it gets no memory or no
 * thread. That is the environment's failure and must not look like a wrong input. We say 3 ourselves when
 * memory is out, with a message of our own. */
static void at_exit(int status, void *main_process) {
    if (finished || status == VM_ENV || getpid() != *(pid_t *)main_process) return;
    fflush(stdout);
    fputs("vmoec: error: a library ended the process: out of memory or threads?\n", stderr);
    _exit(VM_ENV);
}

static VmStatus run(int argc, char **argv) {
    double started = drv_process_start();
    signal(SIGXFSZ, SIG_IGN); /* a file over the size limit is a failed write, reported like a full disk */
    if (argc < 2) {
        cmd_help(stderr, CMD_COUNT);
        return VM_USAGE;
    }
    const char *name = argv[1];
    if (!strcmp(name, "--version") || !strcmp(name, "version")) {
        printf("vmoec %s\n", VMOEC_VERSION);
        return drv_flush(VM_OK);
    }
    if (!strcmp(name, "help") || !strcmp(name, "--help") || !strcmp(name, "-h"))
        return help(argc - 2, argv + 2);
    CmdId cmd = cmd_by_name(name);
    if (cmd == CMD_COUNT) return unknown_command(name);
    if (asks_for_help(argc - 2, argv + 2)) {
        cmd_help(stdout, cmd);
        return drv_flush(VM_OK);
    }
    Arena *arena = arena_create();
    Args args;
    VmStatus st = args_parse(arena, cmd, argc - 2, argv + 2, &args);
    args.started = started;
    if (!st) st = commands[cmd](&args);
    arena_destroy(arena);
    return drv_flush(st);
}

int main(int argc, char **argv) {
    static pid_t self;
    self = getpid();
    if (on_exit(at_exit, &self) != 0) return drv_fail(VM_ENV, "out of memory");
    VmStatus st = run(argc, argv);
    finished = true;
    return st;
}
