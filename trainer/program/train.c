/* Trains the model that is inside. */
#include "trainer/program/program.h"

#include "cli/results.h"

static const Args *args; /* of the run, for its first step */

static void first_step(void *user) {
    const VmModel *m = user;
    cli_listen();
    if (!args->o.time) return;
    double seconds = vm_seconds() - args->started;
    fprintf(stderr, "%s: first step %.1f ms after the start, of which the data took %.1f\n",
            cli_name(), 1e3 * seconds, 1e3 * m->data_seconds);
}

VmStatus program_train(const Args *a) {
    VmModel m;
    VmTrainResult r;
    VmError err = {.text = ""};
    VmModelRun how = {.data = a->o.data,
                      .weights = a->o.weights,
                      .start_inside = !a->o.resume.given,
                      .seed = opt_or(a->o.seed, -1),
                      .epochs = opt_or(a->o.epochs, 0),
                      .steps = opt_or(a->o.steps, 0),
                      .log_every = opt_or(a->o.log_every, 0),
                      .command = a->command,
                      .ncommand = a->ncommand};
    args = a;
    VmStatus s = cli_run(a, cli_name(), &how.run);
    how.run.before_step = first_step;
    if (!s) s = program_open(a, &m);
    if (s) return s;
    s = vm_model_train(&m, &how, &r, &err);
    if (s)
        program_fail(s, &err);
    else
        s = cli_print_train(a, arena_printf(a->arena, "%s train", a->command[0]), &r,
                            how.run.sinks);
    vm_model_close(&m);
    return s;
}
