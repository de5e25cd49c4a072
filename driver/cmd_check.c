/* vmoec check: every mistake of a file, without compiling it. */
#include "driver/driver.h"

#include <unistd.h>

static VmStatus check(Session *s, const Args *args) {
    Arena *a = s->arena;
    const FeOptions *opt = drv_fe_options(a, &args->value[OPT_check_set]);
    if (!opt) return VM_ENV;
    Diags *d = diags_create(a);
    VmError io = {.text = ""};
    FeExperiment *e = fe_load(a, args->operand[0], opt, d, &io);
    if (!e) return drv_fail(io.status, "%s", io.text);
    for (int i = 0; i < fe_nmodel(e) && !d->nerrors; i++) {
        const IrGraph *g = fe_elaborate(e, a, fe_model_name(e, i), 0, d);
        if (g) session_try_lowering(s, e, fe_model_name(e, i), g, d);
    }
    if (args_flag(args, OPT_check_json))
        diags_print_json(stdout, d);
    else
        diags_print(stderr, d, isatty(STDERR_FILENO));
    return drv_diags_status(d);
}

VmStatus cmd_check(const Args *args) {
    Session s;
    session_open_bare(&s);
    VmStatus st = check(&s, args);
    session_close(&s);
    return st;
}
