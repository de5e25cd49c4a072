/* From an opened file to a run of training. */
#include "driver/session/about.h"

#include <string.h>

#include "base/recover.h"
#include "base/rng.h"
#include "base/version.h"
#include "codegen/plan/backend.h"
#include "runtime/data/feed.h"

/* ---- what a run is --------------------------------------------------------------------------- */

/* The train block, with what the caller overrides. */
static VmRecipe recipe_of(const Session *s, const SessionTrain *how) {
    VmRecipe r = s->train->recipe;
    r.data.batch = s->batch;
    if (how->seed >= 0) r.seed = how->seed;
    if (how->log_every) r.log_every = how->log_every;
    r.precision.kind = s->bf16 ? VM_precision_bf16 : VM_precision_f32; /* as far as the CPU can */
    if (how->epochs) r.epochs = (VmSpan){(double)how->epochs, false};
    if (how->steps) r.epochs = (VmSpan){(double)how->steps, true};
    return r;
}

static VmSubject subject_of(Session *s, const IrGraph *g) {
    VmSubject v = {.phase = s->train->name,
                   .graph = arena_printf(s->arena, "%016llx",
                                         (unsigned long long)vm_hash_name(ir_to_text(s->arena, g))),
                   .instructions = s->target->isa,
                   .version = vm_version,
                   .parameters = session_count(s->arena, g, s->batch).total.params,
                   .compiler = cg_compiler_id};
    v.nconfig = fe_config(s->exp, &v.config_name, &v.config_value);
    return v;
}

static VmRun run_of(const Session *s, const SessionTrain *how) {
    return (VmRun){.place = how->place,
                   .resume = how->resume,
                   .sinks = how->sinks,
                   .workers = how->workers,
                   .tuning = s->tuning.path,
                   .progress = how->progress,
                   .warnings = how->warnings,
                   .before_step = how->before_step,
                   .failed = session_failed,
                   .save_steps = how->save_steps,
                   .save_seconds = how->save_seconds,
                   .stop = how->stop};
}

/* ---- weights and programs -------------------------------------------------------------------- */

/* A session may train again: what optimizers keep starts from zero then, too. */
static void clear_state(Session *s, const Program *p) {
    for (int i = 0; i < p->code->ntensor; i++) {
        const VmTensor *t = &p->code->tensor[i];
        if (t->role != VM_ROLE_STATE) continue;
        size_t bytes = sizeof(float);
        for (int d = 0; d < t->rank; d++) bytes *= (size_t)t->dim[d];
        memset(vm_engine_data(s->engine, p->index, t->name), 0, bytes);
    }
}

/* Values that the weights start with. A weight that the file has none for starts as in a run
 * without it, so the weights `vmoec init` wrote and the seed alone give the same run. */
static VmStatus start_weights(Session *s, const Program *p, const VmRecipe *r, VmSubject *subject,
                              VmError *err) {
    double t0 = vm_seconds();
    clear_state(s, p);
    VmStatus st = vm_engine_init(s->engine, (uint64_t)r->seed, err);
    if (!st && s->from.file) {
        char *fingerprint = arena_alloc(s->arena, 17);
        session_start_set(s, p->index);
        vm_tensors_fingerprint(s->from.file, fingerprint);
        subject->weights = fingerprint;
    }
    s->times.init = vm_seconds() - t0;
    return st;
}

/* Programs of all batch sizes, compiled as one. */
static VmStatus plan_all(Session *s, const VmRecipe *r) {
    VmBatchSize size[VM_BATCH_SIZES];
    VmImageCounts images = vm_image_counts(s->train_set, s->validation, s->data[VM_TEST]);
    int n = vm_train_batches(r, &images, size);
    for (int i = 0; i < n; i++) {
        VmError why = {.text = ""}, err = {.text = ""};
        if (session_ahead(s, size[i].training ? KIND_TRAIN : KIND_EVAL, size[i].images, &why))
            continue;
        return session_fail(s, vm_batch_refused(&size[i], &why, &err), "%s", err.text);
    }
    return VM_OK;
}

/* ---- warnings of the runtime ----------------------------------------------------------------- */

/* It writes them to a stream, a line each; in a library they become messages. */
typedef struct Warnings {
    Session *s;
    char line[4096];
    size_t n;
} Warnings;

static void say_line(void *warnings) {
    static const char prefix[] = "vmoec: warning: ";
    Warnings *w = warnings;
    const char *text = w->line;
    if (!strncmp(text, prefix, sizeof prefix - 1)) text += sizeof prefix - 1;
    session_warn(w->s, "%s", text);
}

/* Called in the middle of the runtime, which must not be left when memory is not there. */
static ssize_t take_warnings(void *warnings, const char *text, size_t n) {
    Warnings *w = warnings;
    for (size_t i = 0; i < n; i++) {
        if (text[i] != '\n') {
            if (w->n < sizeof w->line - 1) w->line[w->n++] = text[i];
            continue;
        }
        w->line[w->n] = '\0';
        w->n = 0;
        VmRecover point;
        if (!vm_recover(&point, say_line, w)) {
            vm_recover_keep(&point);
            w->s->lost = true;
        }
    }
    return (ssize_t)n;
}

static FILE *warnings_to(Warnings *w) {
    FILE *f = fopencookie(w, "w", (cookie_io_functions_t){.write = take_warnings});
    if (f) setvbuf(f, NULL, _IOLBF, 0);
    return f;
}

/* A warm-up that is longer than this run, which only its data tell. */
static void advise_lengths(Session *s, const VmRecipe *r, int64_t images) {
    Diags *d = diags_create(s->arena);
    int64_t steps = vm_feed_steps(images, r->data.batch, r->data.drop_last);
    if (vm_span_steps(r->epochs, steps) > 0) fe_advise_lengths(s->train, r->epochs, steps, d);
    session_say_diags(s, d);
}

/* ---- the whole ------------------------------------------------------------------------------- */

VmStatus session_hold_out(Session *s, const VmRecipe *r) {
    s->train_set = s->data[VM_TRAIN];
    s->validation = s->data[VM_VALIDATION];
    if (!(r->validation > 0)) return VM_OK;
    VmError err = {.text = ""};
    VmStatus st = vm_dataset_hold_out(s->data[VM_TRAIN], r->validation, (uint64_t)r->seed, &s->rest,
                                      &s->held, &err);
    s->train_set = s->rest;
    s->validation = s->held;
    return st ? session_fail(s, st, "%s%s", session_data_place(s), err.text) : VM_OK;
}

static VmStatus run_training(Session *s, const SessionTrain *how, VmTrainResult *out) {
    const IrGraph *g = session_graph(s, s->batch);
    if (!g) return VM_INPUT;
    VmRecipe recipe = recipe_of(s, how);
    VmStatus st = session_hold_out(s, &recipe);
    if (st) return st;
    VmSubject subject = subject_of(s, g);
    st = session_about(s, s->data[VM_TRAIN], recipe.seed, &subject.about);
    if (st) return st;
    if (s->from.file && !s->from.rename->missing)
        session_about_classes(s, &s->from.about, s->data[VM_TRAIN]);
    VmRun run = run_of(s, how);
    st = session_describe(s, how, &recipe, &run.file, &run.nfile);
    if (st) return st;
    st = plan_all(s, &recipe);
    if (st) return st;
    VmError err = {.text = ""};
    int64_t images = vm_dataset_size(s->train_set);
    advise_lengths(s, &recipe, images);
    int64_t batch = s->batch < images ? s->batch : images;
    const Program *p = session_program(s, KIND_TRAIN, batch, false, &err);
    if (!p) return session_fail(s, err.status, "%s", err.text);
    st = start_weights(s, p, &recipe, &subject, &err);
    session_import_close(&s->from);
    Warnings own = {.s = s};
    if (!st && !run.warnings && !(run.warnings = warnings_to(&own)))
        st = vm_fail(&err, VM_ENV, "out of memory");
    const VmTraining what = {&recipe,      &subject,      &run,
                             s->train_set, s->validation, s->data[VM_TEST]};
    if (!st) st = vm_train(s->engine, session_source, s, &what, out, &err);
    if (run.warnings && run.warnings != how->warnings) fclose(run.warnings);
    return st ? session_fail_finding(s, &err) : VM_OK;
}

static VmStatus start_training(Session *s, const SessionTrain *how, VmTrainResult *out) {
    VmStatus st = session_engine(s, vm_threads(how->threads));
    if (st) return st;
    st = session_start_open(s, how);
    if (!st) st = run_training(s, how, out);
    session_import_close(&s->from);
    return st;
}

VmStatus session_train(Session *s, const SessionTrain *how, VmTrainResult *out) {
    Budget b = {.limit = how->memory};
    const DataWant *want = &session_data_training;
    *out = (VmTrainResult){0};
    s->telemetry = true;
    s->workers = how->workers;
    session_data_close(s);
    /* programs that are there already have their memory planned */
    VmStatus st = s->nprogram ? VM_OK : session_memory(s, &b, want, how->data, how->threads);
    const char *chosen = st ? NULL : session_budget_text(s->arena, &b);
    if (chosen) session_inform(s, "%s", chosen);
    if (!st) st = session_data(s, how->data, how->threads, want);
    return st ? st : start_training(s, how, out);
}
