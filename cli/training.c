/* Options of a run of training, the signals that end it, and what is printed of its result. */
#include "cli/results.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/usage.h"
#include "runtime/log/events.h"

/* --resume[=previous,anyway] */
static VmStatus resume_of(const Args *a, VmResume *out) {
    const char *text = a->o.resume.text;
    for (const char *p = text; p && *p;) {
        size_t n = strcspn(p, ",");
        if (n == strlen("previous") && !strncmp(p, "previous", n))
            out->previous = true;
        else if (n == strlen("anyway") && !strncmp(p, "anyway", n))
            out->anyway = true;
        else
            return drv_fail(
                VM_USAGE, "--resume takes previous, anyway or both with a comma between, not '%s'",
                text);
        p += n + (p[n] == ',');
    }
    return VM_OK;
}

static VmStatus sinks_of(const Args *a, unsigned *out) {
    const char *names = a->o.log;
    VmError err = {.text = ""};
    VmStatus st = names ? vm_sinks_parse(names, out, &err) : VM_OK;
    return st ? drv_fail(st, "%s", err.text) : VM_OK;
}

/* Where the run goes, and whether it can go there: before anything long is done. */
static VmStatus place_of(const Args *a, const char *name, VmRunPlace *out) {
    const char *dir = a->o.out;
    *out = (VmRunPlace){.out = dir ? dir : arena_printf(a->arena, "runs/%s", name),
                        .numbered = !dir,
                        .resume = a->o.resume.given,
                        .overwrite = a->o.overwrite};
    if (out->resume && out->overwrite)
        return drv_fail(VM_USAGE, "--resume and --overwrite exclude each other");
    if (out->overwrite) out->numbered = false;
    VmError err = {.text = ""};
    VmStatus st = vm_run_check(out, &err);
    return st ? drv_fail(st, "%s", err.text) : VM_OK;
}

/* --save-every 500, "500 steps" or "10 minutes" */
static VmStatus save_every_of(const Args *a, VmRun *how) {
    const char *text = a->o.save_every;
    if (!text) return VM_OK;
    char *unit;
    errno = 0;
    double n = strtod(text, &unit);
    bool good = unit != text && n > 0 && n < 1e9 && !errno;
    while (*unit == ' ') unit++;
    if (good && (!*unit || !strcmp(unit, "steps") || !strcmp(unit, "step")) && n >= 1 &&
        n == (double)(int64_t)n) {
        how->save_steps = (int64_t)n;
        return VM_OK;
    }
    if (good && (!strcmp(unit, "minutes") || !strcmp(unit, "minute") || !strcmp(unit, "min"))) {
        how->save_seconds = 60 * n;
        return VM_OK;
    }
    return drv_fail(VM_USAGE, "--save-every takes a number of steps or \"N minutes\", not '%s'",
                    text);
}

/* Where the weights come from is said once. */
static VmStatus weights_of(const Args *a) {
    static const OptId with[] = {OPT_rename, OPT_skip, OPT_skip_mismatch, OPT_verbose};
    if (a->o.weights && a->o.resume.given)
        return drv_fail(VM_USAGE,
                        "--weights and --resume exclude each other: a run that is resumed has its "
                        "weights in its checkpoint, also one that was started with --weights");
    for (size_t i = 0; i < sizeof with / sizeof with[0]; i++)
        if (a->given[with[i]] && !a->o.weights)
            return drv_fail(VM_USAGE, "%s is about the file of --weights, which is not given",
                            opt_typed(a->arena, with[i]));
    return VM_OK;
}

VmStatus cli_run(const Args *a, const char *name, VmRun *out) {
    VmStatus st = weights_of(a);
    *out = (VmRun){.workers = (int)opt_or(a->o.workers, 0),
                   .progress = a->o.quiet ? NULL : stderr,
                   .warnings = stderr,
                   .stop = &cli_stop};
    if (!st) st = resume_of(a, &out->resume);
    if (!st) st = sinks_of(a, &out->sinks);
    if (!st) st = save_every_of(a, out);
    return st ? st : place_of(a, name, &out->place);
}

/* ---- signals: the first one asks the run to save and end, a second one ends the process ---- */

volatile sig_atomic_t cli_stop;

static void ask_to_stop(int number) {
    cli_stop = number;
    signal(number, SIG_DFL);
}

/* From the first step on there is something to save. Whoever ignores a signal goes on ignoring it.
 */
void cli_listen(void) {
    static const int numbers[] = {SIGINT, SIGTERM};
    struct sigaction to = {.sa_handler = ask_to_stop, .sa_flags = SA_RESTART}, was;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (sigaction(numbers[i], NULL, &was) == 0 && was.sa_handler == SIG_DFL)
            (void)sigaction(numbers[i], &to, NULL);
}

/* ---- the result ---- */

/* Options that decide how a run begins, or are said anew: all others go with a run that goes on. */
static bool has_other_options(const Args *a) {
    static const OptId of_start[] = {OPT_out,    OPT_resume, OPT_overwrite,     OPT_weights,
                                     OPT_rename, OPT_skip,   OPT_skip_mismatch, OPT_verbose,
                                     OPT_quiet,  OPT_time};
    int given = 0;
    for (int i = 0; i < OPT_COUNT; i++) given += a->given[i];
    for (size_t i = 0; i < sizeof of_start / sizeof of_start[0]; i++)
        given -= a->given[of_start[i]];
    return given > 0;
}

static void print_stopped(const Args *a, const char *again, VmTrainResult *r) {
    vm_make_printable(r->folder);
    printf("stopped after step %lld of %lld; everything is saved\n"
           "to go on: %s --out %s --resume%s\n",
           (long long)r->steps, (long long)r->total, again, r->folder,
           has_other_options(a) ? ", with the other options of this run" : "");
}

/* The logs of a run, which its folder has. */
static void print_logs(const VmTrainResult *r, unsigned sinks) {
    for (int i = 0; i < VM_SINK_COUNT; i++) {
        const char *file = vm_sink_file((VmSinkId)i);
        if (file && vm_sink_is_chosen(sinks, (VmSinkId)i))
            printf("metrics %s/%s\n", r->folder, file);
    }
}

static void print_result(VmTrainResult *r, unsigned sinks) {
    for (int i = 0; i < r->test.nmetric; i++)
        printf("test %s %.4f, ", r->test.metric[i].name, r->test.metric[i].value);
    printf("test loss %.5f after %lld steps in %.1f s\n", r->test.loss, (long long)r->steps,
           r->seconds);
    int64_t now, peak;
    char bytes[32];
    vm_memory_now(&now, &peak);
    vm_make_printable(r->weights); /* a folder's name may hold anything */
    vm_make_printable(r->folder);
    printf("weights %s", r->weights);
    if (r->best_epoch)
        printf(" (of epoch %lld, the best; the last ones: weights.safetensors beside it)",
               (long long)r->best_epoch);
    printf("\n");
    print_logs(r, sinks);
    printf("memory %s at the peak\n", vm_bytes_text(peak, bytes));
}

VmStatus cli_print_train(const Args *a, const char *again, VmTrainResult *r, unsigned sinks) {
    if (r->stopped)
        print_stopped(a, again, r);
    else
        print_result(r, sinks);
    return r->stopped ? (VmStatus)(VM_STOPPED + cli_stop) : VM_OK;
}
