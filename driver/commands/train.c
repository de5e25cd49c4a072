/* vmoec train: compiles a model for training and hands it to the runtime's trainer. */
#include "driver/driver.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

#include "codegen/plan/backend.h"
#include "runtime/log/events.h"
#include "base/rng.h"

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

/* What the command line says of the run's folder and what is in it. */
typedef struct Start {
    VmRunPlace place;
    VmResume resume;
    unsigned sinks; /* of --log; 0: those by default */
} Start;

/* The train block, with what the command line overrides. */
static VmRecipe recipe_of(const Session *s, const Args *a) {
    VmRecipe r = s->train->recipe;
    r.data.batch = s->batch;
    r.seed = opt_or(a->o.seed, r.seed);
    r.log_every = opt_or(a->o.log_every, r.log_every);
    r.precision.kind = s->bf16 ? VM_precision_bf16 : VM_precision_f32; /* as far as the CPU can */
    if (a->given[OPT_epochs]) r.epochs = (VmSpan){(double)a->o.epochs, false};
    if (a->given[OPT_steps]) r.epochs = (VmSpan){(double)a->o.steps, true};
    return r;
}

static VmSubject subject_of(Session *s, const IrGraph *g) {
    VmSubject v = {.phase = s->train->name,
                   .graph = arena_printf(s->arena, "%016llx",
                                         (unsigned long long)vm_hash_name(ir_to_text(s->arena, g))),
                   .instructions = s->target->isa,
                   .compiler = cg_compiler_id};
    v.nconfig = fe_config(s->exp, &v.config_name, &v.config_value);
    return v;
}

static VmRun run_of(const Session *s, const Args *a, const Start *start) {
    return (VmRun){.place = start->place,
                   .resume = start->resume,
                   .sinks = start->sinks,
                   .workers = (int)opt_or(a->o.workers, 0),
                   .tuning = s->tuning_path,
                   .progress = a->o.quiet ? NULL : stderr,
                   .warnings = stderr};
}

static void print_times(void *session) {
    session_first_step(session);
    session_print_times(session);
}

/* One line about what --weights gave. */
static void print_found(Arena *a, const char *path, const VmWeightsFound *f) {
    const char *text = arena_printf(a, "%d of %d weights from %s", f->taken, f->total, path);
    int other = f->total - f->taken;
    for (int i = 0; i < 3 && f->other[i]; i++)
        text =
            arena_printf(a, "%s%s%s", text, i ? ", " : "; fresh initial values for ", f->other[i]);
    if (other > 3) text = arena_printf(a, "%s and %d more", text, other - 3);
    if (f->unknown)
        text = arena_printf(a, "%s; %d in the file are not in the model", text, f->unknown);
    fprintf(stderr, "%s\n", text);
}

/* Values that the weights start with. A weight that --weights has none for starts as in a run
 * without it, so the weights `vmoec init` wrote and the seed alone give the same run. */
static VmStatus start_weights(Session *s, const Args *a, int program, const VmRecipe *r,
                              VmSubject *subject, VmWeightsFound *found, VmError *err) {
    double t0 = vm_seconds();
    VmStatus st = vm_engine_init(s->engine, (uint64_t)r->seed, err);
    const char *path = a->o.weights;
    if (!st && path) {
        st = vm_weights_load_some(s->engine, program, path, found, err);
        subject->weights = found->fingerprint;
    }
    s->seconds_init = vm_seconds() - t0;
    if (!st && path && !a->o.quiet) print_found(s->arena, path, found);
    return st;
}

/* Programs of all batch sizes, compiled as one. */
static VmStatus plan_all(Session *s, const VmRecipe *r, const VmDataset *data,
                         const VmDataset *test) {
    VmBatchSize size[VM_BATCH_SIZES];
    int n = vm_train_batches(r, vm_dataset_size(data), vm_dataset_size(test), size);
    for (int i = 0; i < n; i++) {
        VmError why = {.text = ""}, err = {.text = ""};
        if (session_ahead(s, size[i].training ? KIND_TRAIN : KIND_EVAL, size[i].images, &why))
            continue;
        return drv_fail(vm_batch_refused(&size[i], &why, &err), "%s", err.text);
    }
    return VM_OK;
}

static VmStatus train(Session *s, const Args *a, const Start *start, const VmDataset *data,
                      const VmDataset *test) {
    VmStatus st = session_engine(s, vm_threads((int)opt_or(a->o.threads, 0)));
    if (st) return st;
    IrGraph *g = session_elaborate(s, s->batch);
    if (!g) return VM_INPUT;
    VmRecipe recipe = recipe_of(s, a);
    VmSubject subject = subject_of(s, g);
    VmRun run = run_of(s, a, start);
    st = plan_all(s, &recipe, data, test);
    if (st) return st;
    VmError err = {.text = ""};
    int64_t images = vm_dataset_size(data);
    int program = session_source(s, true, s->batch < images ? s->batch : images, &err);
    if (program < 0) return drv_fail(err.status, "%s", err.text);
    VmTrainResult r = {0};
    VmWeightsFound found;
    st = start_weights(s, a, program, &recipe, &subject, &found, &err);
    if (a->o.time) run.before_step = print_times;
    const VmTraining what = {&recipe, &subject, &run, data, test};
    if (!st) st = vm_train(s->engine, session_source, s, &what, &r, &err);
    if (st) return drv_fail(st, "%s", err.text);
    if (!isnan(r.test_accuracy)) printf("test accuracy %.4f, ", r.test_accuracy);
    printf("test loss %.5f after %lld steps in %.1f s\n", r.test_loss, (long long)r.steps,
           r.seconds);
    int64_t now, peak;
    memory_resident(&now, &peak);
    vm_make_printable(r.weights); /* a folder's name may hold anything */
    vm_make_printable(r.metrics);
    printf("weights %s\nmetrics %s\nmemory %s at the peak\n", r.weights, r.metrics,
           drv_bytes_text(s->arena, peak));
    return VM_OK;
}

VmStatus cmd_train(const Args *a) {
    if (a->o.weights && a->o.resume.given)
        return drv_fail(VM_USAGE,
                        "--weights and --resume exclude each other: a run that is resumed has its "
                        "weights in its checkpoint, also one that was started with --weights");
    Session s;
    Start start = {0};
    VmStatus st = resume_of(a, &start.resume);
    if (!st) st = sinks_of(a, &start.sinks);
    if (!st) st = place_of(a->arena, a, &start.place);
    if (st) return st;
    st = session_open_phase(&s, a->operand[0], &a->o.set, a->o.model, a->o.phase, a->o.precision,
                            true);
    if (st) return st;
    st = session_tuning(&s, a->o.tune);
    if (st) return st;
    s.no_cache = a->o.no_cache;
    s.telemetry = true;
    s.started = a->started;
    s.batch = opt_or(a->o.batch, s.batch);
    s.workers = (int)opt_or(a->o.workers, 0);
    VmDataset *data = NULL, *test = NULL;
    st = session_memory(&s, true, a->o.mem_budget, a->o.data, (int)opt_or(a->o.threads, 0));
    if (!st && !a->o.quiet) budget_print(stderr, &s);
    if (!st) st = session_data(&s, a->o.data, (int)opt_or(a->o.threads, 0), &data, &test);
    if (!st) st = train(&s, a, &start, data, test);
    vm_dataset_close(data);
    vm_dataset_close(test);
    session_close(&s);
    return st;
}
