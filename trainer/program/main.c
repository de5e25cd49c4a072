/* The entry of a program that vmoec built. */
#include "trainer/program/program.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/version.h"

const bool cli_built = true;

bool cli_has_weights(void) {
    return vm_built.nweights > 0;
}

const char *cli_name(void) {
    return program_invocation_short_name;
}

const char *cli_about(void) {
    static char text[600];
    snprintf(text, sizeof text, "Trains, evaluates and asks %.200s of %.200s; made by vmoec %s.",
             vm_built.model, vm_built.file, vm_version);
    return text;
}

static VmStatus unknown_command(const char *name) {
    const char *near = cmd_suggest(name);
    drv_fail(VM_USAGE, "unknown command '%s'%s%s%s", name, near ? "; did you mean " : "",
             near ? near : "", near ? "?" : "");
    fprintf(stderr, "       %s help lists the commands\n", cli_name());
    return VM_USAGE;
}

static VmStatus help(const char *name) {
    CmdId cmd = name ? cmd_by_name(name) : CMD_COUNT;
    if (name && cmd == CMD_COUNT) return unknown_command(name);
    cmd_help(stdout, cmd);
    return VM_OK;
}

static VmStatus no_images(void) {
    return drv_fail(VM_USAGE, "this program reads no PNG and no JPEG files, as its data has none: "
                              "vmoec build --images makes one that does");
}

static VmStatus run_command(const Args *a) {
    switch (a->cmd) {
    case CMD_train: return program_train(a);
    case CMD_eval: return program_eval(a);
    case CMD_predict: return vm_built_predict ? vm_built_predict(a) : no_images();
    case CMD_info: return program_info(a);
    default: return program_bench(a);
    }
}

static VmStatus run(int argc, char **argv) {
    double started = drv_begin();
    const char *name = argc < 2 ? "help" : argv[1];
    if (!strcmp(name, "--version") || !strcmp(name, "version")) {
        printf("%s, made by vmoec %s\ncommit %s\n", cli_name(), vm_version, vm_commit);
        return VM_OK;
    }
    if (!strcmp(name, "help") || !strcmp(name, "--help") || !strcmp(name, "-h"))
        return help(argc > 2 ? argv[2] : NULL);
    CmdId cmd = cmd_by_name(name);
    if (cmd == CMD_COUNT) return unknown_command(name);
    if (args_ask_for_help(argc - 2, argv + 2)) return help(name);
    Arena *arena = arena_create();
    Args args;
    VmStatus s = args_parse(arena, cmd, argc - 2, argv + 2, &args);
    args.started = started;
    args.command = (const char *const *)argv;
    args.ncommand = argc;
    if (!s) s = run_command(&args);
    arena_destroy(arena);
    return s;
}

int main(int argc, char **argv) {
    return drv_end(drv_flush(run(argc, argv)));
}
