/* Opening a file: from its text and the options to a chosen model. */
#include "driver/session/session.h"
#include "base/spell.h"

#include <string.h>

void session_init(Session *s, const VmoecOptions *o) {
    *s = (Session){.arena = arena_create()};
    s->scratch = arena_create();
    s->crash.arena = arena_create();
    s->messages = (SessionMessages){.arena = s->arena,
                                    .told = o->on_message,
                                    .user = o->user,
                                    .colour = o->colour,
                                    .columns = o->columns};
    s->crash.file = o->crash_file ? arena_strdup(s->arena, o->crash_file) : NULL;
    s->cache_dir = o->cache ? arena_strdup(s->arena, o->cache) : NULL;
    s->backend = o->backend ? arena_strdup(s->arena, o->backend) : NULL;
    s->pass = pass_ctx(s->scratch);
    s->pass.recompute = RECOMPUTE_LIGHT;
    s->report_before = vm_bug_set_report((VmBugReport){session_crash, s});
}

void session_close(Session *s) {
    if (!s->arena) return;
    session_data_close(s);
    session_import_close(&s->from);
    vm_engine_destroy(s->engine);
    cg_module_destroy(s->module);
    (void)vm_bug_set_report(s->report_before);
    arena_destroy(s->crash.arena);
    arena_destroy(s->scratch);
    arena_destroy(s->arena);
    *s = (Session){0};
}

/* ---- the model ------------------------------------------------------------------------------- */

static const char *train_names(Arena *a, const FeExperiment *e) {
    Text t = text_new(a);
    for (int i = 0; i < fe_ntrain(e); i++)
        text_addf(&t, "%s%s", i ? ", " : "", fe_train(e, i)->name);
    return t.data;
}

static VmStatus unknown_model(Session *s, const char *model) {
    int n = fe_nmodel(s->exp);
    const char **names = ARENA_ARRAY(s->arena, const char *, n + 1);
    for (int i = 0; i < n; i++) names[i] = fe_model_name(s->exp, i);
    const char *near = spell_suggest(model, names, n);
    return session_fail(s, VM_USAGE, "%s has no model '%s'%s%s%s", s->path, model,
                        near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
}

static VmStatus choose_phase(Session *s, const char *phase) {
    FeExperiment *e = s->exp;
    const char **names = ARENA_ARRAY(s->arena, const char *, fe_ntrain(e) + 1);
    for (int i = 0; i < fe_ntrain(e); i++) {
        names[i] = fe_train(e, i)->name;
        if (!strcmp(names[i], phase)) s->train = fe_train(e, i);
    }
    if (s->train) return VM_OK;
    const char *near = spell_suggest(phase, names, fe_ntrain(e));
    return session_fail(s, VM_USAGE, "%s has no phase '%s'%s%s%s", s->path, phase,
                        near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
}

/* The train block that was asked for, or the first one of the model. */
static VmStatus choose_train(Session *s, const char *model, const char *phase, bool need_train) {
    FeExperiment *e = s->exp;
    if (phase) return choose_phase(s, phase);
    int found = 0;
    for (int i = 0; i < fe_ntrain(e); i++) {
        if (model && strcmp(model, fe_train(e, i)->model) != 0) continue;
        if (!found++) s->train = fe_train(e, i);
    }
    if (!need_train || found < 2) return VM_OK;
    bool phases = false; /* or one block for each of several models */
    for (int i = 0; i < fe_ntrain(e); i++)
        phases |= strcmp(fe_train(e, i)->name, fe_train(e, i)->model) != 0;
    return session_fail(s, VM_USAGE, "%s trains several %s (%s): choose one with --%s", s->path,
                        phases ? "phases" : "models", train_names(s->arena, e),
                        phases ? "phase" : "model");
}

static VmStatus choose_model(Session *s, const char *model, const char *phase, bool need_train) {
    FeExperiment *e = s->exp;
    if (!fe_nmodel(e)) return session_fail(s, VM_INPUT, "%s has no model", s->path);
    VmStatus st = choose_train(s, model, phase, need_train);
    if (st) return st;
    if (phase && model && strcmp(model, s->train->model) != 0)
        return session_fail(s, VM_USAGE, "phase '%s' trains the model %s, not %s", phase,
                            s->train->model, model);
    if (!model) model = s->train ? s->train->model : fe_model_name(e, 0);
    for (int i = 0; i < fe_nmodel(e); i++)
        if (!strcmp(model, fe_model_name(e, i))) s->model = fe_model_name(e, i);
    if (!s->model) return unknown_model(s, model);
    if (need_train && !s->train)
        return session_fail(s, VM_INPUT, "%s has no train block for %s", s->path, s->model);
    s->batch = s->train ? s->train->recipe.data.batch : 1;
    return VM_OK;
}

/* ---- the file -------------------------------------------------------------------------------- */

/* The front end keeps the options; what the caller gave may go away. */
static void copy_options(Session *s, const VmoecOptions *o) {
    Arena *a = s->arena;
    const char **set = ARENA_ARRAY(a, const char *, o->nset + 1);
    for (int i = 0; i < o->nset; i++) set[i] = arena_strdup(a, o->set[i]);
    s->fe = (FeOptions){.text = o->text ? arena_strdup(a, o->text) : NULL,
                        .set = set,
                        .nset = o->nset,
                        .model_dir = o->models ? arena_strdup(a, o->models) : NULL};
    s->path = arena_strdup(a, o->path ? o->path : "<text>");
}

FeExperiment *session_load(Session *s, const VmoecOptions *o, Diags *d, VmError *err) {
    copy_options(s, o);
    return fe_load(s->arena, s->path, &s->fe, d, err);
}

static VmStatus load(Session *s, const VmoecOptions *o, bool need_train) {
    VmError io = {.text = ""};
    if (!o->path && !o->text) return session_fail(s, VM_USAGE, "there is no file to open");
    Diags *d = diags_create(s->arena);
    s->exp = session_load(s, o, d, &io);
    if (!s->exp) return session_fail(s, io.status, "%s", io.text);
    fe_advise(s->exp, d);
    session_say_diags(s, d);
    VmStatus st = session_diags_status(d);
    return st ? st : choose_model(s, o->model, o->phase, need_train);
}

/* bf16 without the instruction would be slower than f32 and no more exact. */
static VmStatus choose_precision(Session *s, const char *option) {
    if (option && strcmp(option, "f32") && strcmp(option, "bf16"))
        return session_fail(s, VM_USAGE, "--precision is f32 or bf16, not '%s'", option);
    s->bf16 = option ? !strcmp(option, "bf16")
                     : s->train && s->train->recipe.precision.kind == VM_precision_bf16;
    VmStatus st = s->bf16 ? session_host(s) : VM_OK;
    if (st || !s->bf16 || (s->target->has & CG_BF16)) return st;
    session_note(s, "precision bf16 needs %s; computing in f32",
                 cg_target_lack(s->arena, s->target, CG_BF16));
    s->bf16 = false;
    return VM_OK;
}

VmStatus session_open(Session *s, const VmoecOptions *o, bool need_train) {
    return session_open_for(s, o, NULL, need_train);
}

VmStatus session_open_for(Session *s, const VmoecOptions *o, const CgTarget *target,
                          bool need_train) {
    session_init(s, o);
    s->target = target;
    double t0 = vm_seconds();
    VmStatus st = load(s, o, need_train);
    s->times.frontend += vm_seconds() - t0;
    if (!st) st = choose_precision(s, o->precision);
    if (!st && s->train) s->pass.optimizer = s->train->recipe.optimizer;
    if (!st && o->batch) s->batch = o->batch;
    return st || !o->tuning ? st : session_tune(s, o->tuning);
}
