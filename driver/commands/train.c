/* vmoec train: compiles a model for training and hands it to the runtime's trainer. */
#include "cli/results.h"
#include "driver/commands/commands.h"

#include <string.h>

/* The file's name without folder and ending; what is left of it must be a name ("...vmoe" leaves
 * dots). */
static const char *name_of(Arena *a, const char *path) {
    const char *slash = strrchr(path, '/');
    const char *base = slash ? slash + 1 : path;
    const char *dot = strrchr(base, '.');
    size_t n = dot && dot > base ? (size_t)(dot - base) : strlen(base);
    if (strspn(base, ".") >= n) n = strlen(base);
    return arena_strndup(a, base, n);
}

static void first_step(void *session) {
    cli_listen();
    session_first_step(session);
}

static void first_step_with_times(void *session) {
    first_step(session);
    drv_print_times(session);
}

static VmStatus train(Session *s, const Args *a, const VmRun *run) {
    const char *budget = a->o.mem_budget, *file = a->operand[0];
    SessionTrain how = {.data = a->o.data,
                        .weights = a->o.weights,
                        .rename = a->o.rename,
                        .skip = a->o.skip.list,
                        .nskip = a->o.skip.n,
                        .skip_mismatch = a->o.skip_mismatch,
                        .verbose = a->o.verbose,
                        .command = a->command,
                        .ncommand = a->ncommand,
                        .commit = drv_source_commit(a->arena, file),
                        .place = run->place,
                        .resume = run->resume,
                        .sinks = run->sinks,
                        .seed = opt_or(a->o.seed, -1),
                        .epochs = opt_or(a->o.epochs, 0),
                        .steps = opt_or(a->o.steps, 0),
                        .log_every = opt_or(a->o.log_every, 0),
                        .threads = (int)opt_or(a->o.threads, 0),
                        .workers = run->workers,
                        .progress = run->progress,
                        .warnings = run->warnings,
                        .before_step = a->o.time ? first_step_with_times : first_step,
                        .save_steps = run->save_steps,
                        .save_seconds = run->save_seconds,
                        .stop = run->stop};
    VmTrainResult r;
    VmStatus st = budget ? drv_parse_size(budget, "mem-budget", &how.memory) : VM_OK;
    if (!st) st = session_train(s, &how, &r);
    return st ? st
              : cli_print_train(a, arena_printf(a->arena, "vmoec train %s", file), &r, run->sinks);
}

VmStatus cmd_train(const Args *a) {
    Session s;
    VmRun run;
    VmStatus st = cli_run(a, name_of(a->arena, a->operand[0]), &run);
    if (!st) st = drv_open(a, true, &s);
    if (st) return st;
    st = train(&s, a, &run);
    session_close(&s);
    return st;
}
