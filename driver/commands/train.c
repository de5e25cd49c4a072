/* vmoec train: compiles a model for training and hands it to the runtime's trainer. */
#include "driver/driver.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

#include "codegen/plan/backend.h"
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
    const char *text = args_str(a, OPT_train_resume);
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

/* Where the run goes, and whether it can go there: before anything long is done. */
static VmStatus place_of(Arena *arena, const Args *a, VmRunPlace *out) {
    const char *dir = args_str(a, OPT_train_out);
    *out = (VmRunPlace){.out = dir ? dir : default_out(arena, a->operand[0]),
                        .numbered = !dir,
                        .resume = args_flag(a, OPT_train_resume),
                        .overwrite = args_flag(a, OPT_train_overwrite)};
    if (out->resume && out->overwrite)
        return drv_fail(VM_USAGE, "--resume and --overwrite exclude each other");
    if (out->overwrite) out->numbered = false;
    VmError err = {.text = ""};
    VmStatus st = vm_run_check(out, &err);
    return st ? drv_fail(st, "%s", err.text) : VM_OK;
}

static int64_t span_steps(FeSpan span, int64_t steps_per_epoch) {
    return llround(span.in_steps ? span.count : span.count * (double)steps_per_epoch);
}

static const char *per_channel(Arena *a, const FePerChannel *p) {
    if (p->n == 1) return arena_printf(a, "%.17g", p->at[0]);
    return arena_printf(a, "[%.17g, %.17g, %.17g]", p->at[0], p->at[1], p->at[2]);
}

/* What else decides the weights, beside the settings the runtime knows: recorded in the logs and
 * compared when a run is resumed. train.graph is a fingerprint of the model, so that an edited
 * model does not go on from the old one's checkpoint unnoticed. */
static void add_recipe(Session *s, IrGraph *g, VmTrainConfig *c) {
    enum { MORE = 8 };
    const FeTrain *t = s->train;
    const char **name = ARENA_ARRAY(s->arena, const char *, c->nconfig + MORE);
    const char **value = ARENA_ARRAY(s->arena, const char *, c->nconfig + MORE);
    int n = c->nconfig;
    for (int i = 0; i < n; i++) name[i] = c->config_name[i], value[i] = c->config_value[i];
    const struct {
        const char *name, *value;
    } more[MORE] = {
        {"train.data", t->data.kind},
        {"train.resize", arena_printf(s->arena, "%lld", (long long)t->data.resize)},
        {"train.mean", per_channel(s->arena, &t->data.mean)},
        {"train.std", per_channel(s->arena, &t->data.std)},
        {"train.weight_decay", arena_printf(s->arena, "%.17g", t->optimizer.weight_decay)},
        {"train.eps", arena_printf(s->arena, "%.17g", t->optimizer.eps)},
        {"train.precision", s->bf16 ? "bf16" : "f32"},
        {"train.graph", arena_printf(s->arena, "%016llx",
                                     (unsigned long long)vm_hash_name(ir_to_text(s->arena, g)))},
    };
    for (int i = 0; i < MORE; i++, n++) name[n] = more[i].name, value[n] = more[i].value;
    c->config_name = name;
    c->config_value = value;
    c->nconfig = n;
}

/* What the command line says of the run's folder. */
typedef struct Start {
    VmRunPlace place;
    VmResume resume;
} Start;

/* The train block, with what the command line overrides. */
static VmTrainConfig config_of(const Session *s, const Args *a, const Start *start,
                               int64_t images) {
    const FeTrain *t = s->train;
    int64_t per_epoch = t->data.drop_last ? images / s->batch : (images + s->batch - 1) / s->batch;
    VmTrainConfig c = {.batch = s->batch,
                       .seed = (uint64_t)args_int(a, OPT_train_seed, (int64_t)t->seed),
                       .shuffle = t->data.shuffle,
                       .drop_last = t->data.drop_last,
                       .schedule = t->schedule.kind == SCHED_cosine,
                       .lr_peak = t->schedule.peak,
                       .lr_min = t->schedule.minimum,
                       .warmup_steps = span_steps(t->schedule.warmup, per_epoch),
                       .beta1 = t->optimizer.beta1,
                       .beta2 = t->optimizer.beta2,
                       .log_every = args_int(a, OPT_train_log_every, t->log_every),
                       .place = start->place,
                       .resume = start->resume,
                       .phase = s->model,
                       .compiler = cg_compiler_id,
                       .instructions = s->target->isa,
                       .tuning = s->tuning_path,
                       .progress = args_flag(a, OPT_train_quiet) ? NULL : stderr,
                       .warnings = stderr};
    c.epochs = t->epochs.in_steps ? 0 : t->epochs.count;
    c.steps = t->epochs.in_steps ? (int64_t)t->epochs.count : 0;
    if (a->value[OPT_train_epochs].n) {
        c.epochs = (double)args_int(a, OPT_train_epochs, 0);
        c.steps = 0;
    }
    if (a->value[OPT_train_steps].n) c.steps = args_int(a, OPT_train_steps, 0);
    c.nconfig = fe_config(s->exp, &c.config_name, &c.config_value);
    return c;
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
static VmStatus start_weights(Session *s, const Args *a, int program, VmTrainConfig *cfg,
                              VmWeightsFound *found, VmError *err) {
    double t0 = vm_seconds();
    VmStatus st = vm_engine_init(s->engine, cfg->seed, err);
    const char *path = args_str(a, OPT_train_weights);
    if (!st && path) {
        st = vm_weights_load_some(s->engine, program, path, found, err);
        cfg->weights = found->fingerprint;
    }
    s->seconds_init = vm_seconds() - t0;
    if (!st && path && cfg->progress) print_found(s->arena, path, found);
    return st;
}

/* Programs of all batch sizes, compiled as one. */
static VmStatus plan_all(Session *s, const VmTrainConfig *c, const VmDataset *data,
                         const VmDataset *test) {
    VmBatchSize size[VM_BATCH_SIZES];
    int n = vm_train_batches(c, vm_dataset_size(data), vm_dataset_size(test), size);
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
    VmStatus st = session_engine(s, vm_threads((int)args_int(a, OPT_train_threads, 0)));
    if (st) return st;
    int64_t images = vm_dataset_size(data);
    VmTrainConfig cfg = config_of(s, a, start, images);
    IrGraph *g = session_elaborate(s, s->batch);
    if (!g) return VM_INPUT;
    add_recipe(s, g, &cfg);
    st = plan_all(s, &cfg, data, test);
    if (st) return st;
    VmError err = {.text = ""};
    int program = session_source(s, true, s->batch < images ? s->batch : images, &err);
    if (program < 0) return drv_fail(err.status, "%s", err.text);
    VmTrainResult r = {0};
    VmWeightsFound found;
    st = start_weights(s, a, program, &cfg, &found, &err);
    if (args_flag(a, OPT_train_time)) cfg.before_step = print_times;
    if (!st) st = vm_train(s->engine, session_source, s, &cfg, data, test, &r, &err);
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
    if (args_str(a, OPT_train_weights) && args_flag(a, OPT_train_resume))
        return drv_fail(VM_USAGE,
                        "--weights and --resume exclude each other: a run that is resumed has its "
                        "weights in its checkpoint, also one that was started with --weights");
    Session s;
    Start start = {0};
    VmStatus st = resume_of(a, &start.resume);
    if (!st) st = place_of(a->arena, a, &start.place);
    if (st) return st;
    st = session_open(&s, a->operand[0], &a->value[OPT_train_set], args_str(a, OPT_train_model),
                      args_str(a, OPT_train_precision), true);
    if (st) return st;
    st = session_tuning(&s, args_str(a, OPT_train_tune));
    if (st) return st;
    s.no_cache = args_flag(a, OPT_train_no_cache);
    s.telemetry = true;
    s.started = a->started;
    s.batch = args_int(a, OPT_train_batch, s.batch);
    VmDataset *data = NULL, *test = NULL;
    st = session_memory(&s, true, args_str(a, OPT_train_mem_budget), args_str(a, OPT_train_data),
                        (int)args_int(a, OPT_train_threads, 0));
    if (!st && !args_flag(a, OPT_train_quiet)) budget_print(stderr, &s);
    if (!st)
        st = session_data(&s, args_str(a, OPT_train_data), (int)args_int(a, OPT_train_threads, 0),
                          &data, &test);
    if (!st) st = train(&s, a, &start, data, test);
    vm_dataset_close(data);
    vm_dataset_close(test);
    session_close(&s);
    return st;
}
