/* The program's entry: finds the command and hands over. */
#include "driver/commands/commands.h"

#include <string.h>

#include "base/version.h"

static VmStatus (*const commands[CMD_COUNT])(const Args *) = {
#define CMD(name, ...) cmd_##name,
#include "cli/options.def"
};

static VmStatus unknown_command(const char *name) {
    const char *near = cmd_suggest(name);
    drv_fail(VM_USAGE, "unknown command '%s'%s%s%s", name, near ? "; did you mean " : "",
             near ? near : "", near ? "?" : "");
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

static int run(int argc, char **argv) {
    double started = drv_begin();
    if (argc < 2) {
        cmd_help(stderr, CMD_COUNT);
        return VM_USAGE;
    }
    const char *name = argv[1];
    if (!strcmp(name, "--version") || !strcmp(name, "version")) {
        printf("vmoec %s\ncommit %s\nLLVM %s\n", vm_version, vm_commit, vm_llvm_version);
        return drv_flush(VM_OK);
    }
    if (!strcmp(name, "help") || !strcmp(name, "--help") || !strcmp(name, "-h"))
        return help(argc - 2, argv + 2);
    CmdId cmd = cmd_by_name(name);
    if (cmd == CMD_COUNT) return unknown_command(name);
    if (args_ask_for_help(argc - 2, argv + 2)) {
        cmd_help(stdout, cmd);
        return drv_flush(VM_OK);
    }
    Arena *arena = arena_create();
    Args args;
    VmStatus st = args_parse(arena, cmd, argc - 2, argv + 2, &args);
    args.started = started;
    args.command = (const char *const *)argv;
    args.ncommand = argc;
    if (!st) st = commands[cmd](&args);
    arena_destroy(arena);
    return drv_flush(st);
}

int main(int argc, char **argv) {
    return drv_end(run(argc, argv));
}
