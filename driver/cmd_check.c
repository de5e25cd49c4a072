/* vmoec check: every mistake of a file, without compiling it. */
#include "driver/driver.h"

#include <unistd.h>

static VmStatus check(Arena *a, const Args *args) {
    const FeOptions *opt = drv_fe_options(a, &args->value[OPT_check_set]);
    if (!opt) return VM_ENV;
    Diags *d = diags_create(a);
    const char *io = NULL;
    FeExperiment *e = fe_load(a, args->operand[0], opt, d, &io);
    if (!e) return drv_unreadable(args->operand[0], io);
    for (int i = 0; i < fe_nmodel(e) && !d->nerrors; i++) fe_elaborate(e, a, fe_model_name(e, i), 0, d);
    if (args_flag(args, OPT_check_json))
        diags_print_json(stdout, d);
    else
        diags_print(stderr, d, isatty(STDERR_FILENO));
    return drv_diags_status(d);
}

VmStatus cmd_check(const Args *args) {
    Arena *a = arena_create();
    VmStatus st = check(a, args);
    arena_destroy(a);
    return st;
}
