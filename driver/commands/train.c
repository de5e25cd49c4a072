/* vmoec train: compiles a model for training and hands it to the runtime's trainer. */
#include "driver/commands/commands.h"
#include "runtime/log/events.h"

#include <math.h>
#include <string.h>

/* runs/<file without folder and ending>; what is left of a name must be one ("...vmoe" leaves
 * dots). */
static const char *default_out(Arena *a, const char *path) {
    const char *slash = strrchr(path, '/');
    const char *base = slash ? slash + 1 : path;
    const char *dot = strrchr(base, '.');
    size_t n = dot && dot > base ? (size_t)(dot - base) : strlen(base);
    if (strspn(base, ".") >= n) n = strlen(base);
    return arena_printf(a, "runs/%.*s", (int)n, base);
}

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
static VmStatus place_of(Arena *arena, const Args *a, VmRunPlace *out) {
    const char *dir = a->o.out;
    *out = (VmRunPlace){.out = dir ? dir : default_out(arena, a->operand[0]),
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

static void print_times(void *session) {
    session_first_step(session);
    drv_print_times(session);
}

static void print_result(Session *s, VmTrainResult *r) {
    if (!isnan(r->test_accuracy)) printf("test accuracy %.4f, ", r->test_accuracy);
    printf("test loss %.5f after %lld steps in %.1f s\n", r->test_loss, (long long)r->steps,
           r->seconds);
    int64_t now, peak;
    session_memory_now(&now, &peak);
    vm_make_printable(r->weights); /* a folder's name may hold anything */
    vm_make_printable(r->metrics);
    printf("weights %s\nmetrics %s\nmemory %s at the peak\n", r->weights, r->metrics,
           session_bytes_text(s->arena, peak));
}

static VmStatus train(Session *s, const Args *a, SessionTrain *how) {
    const char *budget = a->o.mem_budget;
    VmStatus st = budget ? drv_parse_size(budget, "mem-budget", &how->memory) : VM_OK;
    how->data = a->o.data;
    how->weights = a->o.weights;
    how->seed = opt_or(a->o.seed, -1);
    how->epochs = opt_or(a->o.epochs, 0);
    how->steps = opt_or(a->o.steps, 0);
    how->log_every = opt_or(a->o.log_every, 0);
    how->threads = (int)opt_or(a->o.threads, 0);
    how->workers = (int)opt_or(a->o.workers, 0);
    how->progress = a->o.quiet ? NULL : stderr;
    how->warnings = stderr;
    if (a->o.time) how->before_step = print_times;
    VmTrainResult r;
    if (!st) st = session_train(s, how, &r);
    if (!st) print_result(s, &r);
    return st;
}

VmStatus cmd_train(const Args *a) {
    if (a->o.weights && a->o.resume.given)
        return drv_fail(VM_USAGE,
                        "--weights and --resume exclude each other: a run that is resumed has its "
                        "weights in its checkpoint, also one that was started with --weights");
    Session s;
    SessionTrain how = {0};
    VmStatus st = resume_of(a, &how.resume);
    if (!st) st = sinks_of(a, &how.sinks);
    if (!st) st = place_of(a->arena, a, &how.place);
    if (!st) st = drv_open(a, true, &s);
    if (st) return st;
    st = train(&s, a, &how);
    session_close(&s);
    return st;
}
