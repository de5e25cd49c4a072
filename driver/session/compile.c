/* The pipeline every command shares: front end -> passes -> code generation -> engine. Programs are
 * made by kind and batch size when they are first asked for. Diagnostics are printed here; other
 * failures come back.
 */
#include "driver/driver.h"
#include "base/spell.h"

#include <string.h>
#include <unistd.h>

/* ---- opening a file
 * ------------------------------------------------------------------------------- */

static void show(const Diags *d) {
    diags_print(stderr, d, isatty(STDERR_FILENO));
}

static const char *train_names(Arena *a, const FeExperiment *e) {
    Text t = text_new(a);
    for (int i = 0; i < fe_ntrain(e); i++)
        text_addf(&t, "%s%s", i ? ", " : "", fe_train(e, i)->name);
    return t.data;
}

static VmStatus unknown_model(const Session *s, const char *model) {
    int n = fe_nmodel(s->exp);
    const char **names = ARENA_ARRAY(s->arena, const char *, n + 1);
    for (int i = 0; i < n; i++) names[i] = fe_model_name(s->exp, i);
    const char *near = spell_suggest(model, names, n);
    return drv_fail(VM_USAGE, "%s has no model '%s'%s%s%s", s->path, model,
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
    return drv_fail(VM_USAGE, "%s has no phase '%s'%s%s%s", s->path, phase,
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
    return drv_fail(VM_USAGE, "%s trains several %s (%s): choose one with --%s", s->path,
                    phases ? "phases" : "models", train_names(s->arena, e),
                    phases ? "phase" : "model");
}

static VmStatus choose_model(Session *s, const char *model, const char *phase, bool need_train) {
    FeExperiment *e = s->exp;
    if (!fe_nmodel(e)) return drv_fail(VM_INPUT, "%s has no model", s->path);
    VmStatus st = choose_train(s, model, phase, need_train);
    if (st) return st;
    if (phase && model && strcmp(model, s->train->model) != 0)
        return drv_fail(VM_USAGE, "phase '%s' trains the model %s, not %s", phase, s->train->model,
                        model);
    if (!model) model = s->train ? s->train->model : fe_model_name(e, 0);
    for (int i = 0; i < fe_nmodel(e); i++)
        if (!strcmp(model, fe_model_name(e, i))) s->model = fe_model_name(e, i);
    if (!s->model) return unknown_model(s, model);
    if (need_train && !s->train)
        return drv_fail(VM_INPUT, "%s has no train block for %s", s->path, s->model);
    s->batch = s->train ? s->train->recipe.data.batch : 1;
    return VM_OK;
}

static VmStatus load(Session *s, const OptList *set, const char *model, const char *phase,
                     bool need_train) {
    const FeOptions *opt = drv_fe_options(s->arena, set);
    if (!opt) return VM_ENV;
    VmError io = {.text = ""};
    s->diags = diags_create(s->arena);
    s->exp = fe_load(s->arena, s->path, opt, s->diags, &io);
    if (!s->exp) return drv_fail(io.status, "%s", io.text);
    show(s->diags);
    VmStatus st = drv_diags_status(s->diags);
    return st ? st : choose_model(s, model, phase, need_train);
}

void session_open_bare(Session *s) {
    *s = (Session){.arena = arena_create(), .scratch = arena_create(), .crash = arena_create()};
    s->pass = pass_ctx(s->scratch);
    s->pass.recompute = RECOMPUTE_LIGHT;
    vm_bug_set_hook(session_crash_hook, s);
}

static VmStatus host(Session *s) {
    const char *error = NULL;
    if (!s->target) s->target = cg_target_host(s->arena, &error);
    return s->target ? VM_OK : drv_fail(VM_ENV, "%s", error);
}

/* bf16 without the instruction would be slower than f32 and no more exact. */
static VmStatus choose_precision(Session *s, const char *option) {
    if (option && strcmp(option, "f32") && strcmp(option, "bf16"))
        return drv_fail(VM_USAGE, "--precision is f32 or bf16, not '%s'", option);
    s->bf16 = option ? !strcmp(option, "bf16")
                     : s->train && s->train->recipe.precision.kind == VM_precision_bf16;
    VmStatus st = s->bf16 ? host(s) : VM_OK;
    if (st || !s->bf16 || (s->target->has & CG_BF16)) return st;
    fprintf(stderr, "vmoec: precision bf16 needs %s; computing in f32\n",
            cg_target_lack(s->arena, s->target, CG_BF16));
    s->bf16 = false;
    return VM_OK;
}

static VmStatus open_session(Session *s, const CgTarget *target, const char *path,
                             const OptList *set, const char *model, const char *phase,
                             const char *precision, bool need_train) {
    session_open_bare(s);
    s->path = path;
    s->target = target;
    double t0 = vm_seconds();
    VmStatus st = load(s, set, model, phase, need_train);
    s->seconds_frontend += vm_seconds() - t0;
    if (!st) st = choose_precision(s, precision);
    if (!st && s->train) s->pass.optimizer = s->train->recipe.optimizer;
    if (st) session_close(s);
    return st;
}

VmStatus session_open(Session *s, const char *path, const OptList *set, const char *model,
                      const char *precision, bool need_train) {
    return open_session(s, NULL, path, set, model, NULL, precision, need_train);
}

VmStatus session_open_phase(Session *s, const char *path, const OptList *set, const char *model,
                            const char *phase, const char *precision, bool need_train) {
    return open_session(s, NULL, path, set, model, phase, precision, need_train);
}

VmStatus session_open_for(Session *s, const CgTarget *target, const char *path, const OptList *set,
                          const char *model, const char *precision, bool need_train) {
    return open_session(s, target, path, set, model, NULL, precision, need_train);
}

void session_close(Session *s) {
    vm_engine_destroy(s->engine);
    if (s->module) cg_module_destroy(s->module);
    vm_bug_set_hook(NULL, NULL);
    arena_destroy(s->arena);
    arena_destroy(s->scratch);
    arena_destroy(s->crash);
    *s = (Session){0};
}

/* Sizes that the model's own ops take may be too much for what passes make of them. Every command
 * hears of it here, before it begins, and with a place. */
void session_try_lowering(Session *s, const FeExperiment *e, const char *model, const IrGraph *g,
                          Diags *d) {
    bool loss = false;
    for (int i = 0; i < g->nout; i++) loss |= g->out[i].kind == OUT_loss;
    for (int training = 0; training <= loss; training++) {
        Arena *a = arena_create();
        IrGraph *trial = ir_graph_clone(a, g);
        const PassId *list;
        int n = pass_pipeline_part(training ? PIPE_TRAIN : PIPE_EVAL, false, PASS_expand,
                                   PASS_narrow, &list);
        const char *why = session_try_passes(s, trial, list, n, training);
        if (why) {
            bool at_op = s->pass.where.file != NULL;
            diag_error(d, fe_place(e, s->pass.where, model), D_limit, "%s%s", why,
                       at_op ? "" : ", somewhere in this model");
        }
        arena_destroy(a);
        if (why) return;
    }
}

/* Could a pass make something of these tensors that is too large? Only of those that are large
 * already. */
static bool has_large_tensor(const IrGraph *g) {
    enum { LARGE_DIM = 1 << 24, LARGE = 1 << 28 };
    IR_FOR (n, g) {
        for (int i = 0; i < n->nout; i++) {
            const IrType *t = &n->out[i].type;
            if (ir_elems(t) >= LARGE) return true;
            for (int d = 0; d < t->rank; d++)
                if (t->dim[d] >= LARGE_DIM) return true;
        }
    }
    return false;
}

IrGraph *session_elaborate(Session *s, int64_t batch) {
    double t0 = vm_seconds();
    Diags *d = diags_create(s->arena);
    IrGraph *g = s->train ? fe_elaborate_phase(s->exp, s->arena, s->train, batch, d)
                          : fe_elaborate(s->exp, s->arena, s->model, batch, d);
    s->seconds_frontend += vm_seconds() - t0;
    if (g && has_large_tensor(g)) session_try_lowering(s, s->exp, s->model, g, d);
    if (!g || d->nerrors || !s->warned) show(d);
    s->warned = true;
    if (d->nerrors) return NULL;
    if (s->routing.kind == ROUTING_FORCED) routing_force(g);
    return g;
}

/* ---- passes
 * ---------------------------------------------------------------------------------------- */

/* What a crash file would have: the graph before the pass that runs, and the passes to come. */
static void keep_for_crash(void *session, const IrGraph *g, const PassId *rest, int n) {
    Session *s = session;
    arena_reset(s->crash);
    s->crash_graph = ir_graph_clone(s->crash, g);
    s->crash_list = rest;
    s->crash_n = n;
}

const char *session_try_passes(Session *s, IrGraph *g, const PassId *list, int n, bool training) {
    double t0 = vm_seconds();
    s->pass.training = training;
    s->pass.before = keep_for_crash;
    s->pass.who = s;
    const char *error = pass_run(&s->pass, g, list, n);
    if (error && !s->pass.refused) VM_BUG("%s", error);
    s->pass.before = NULL;
    s->crash_graph = NULL;
    s->seconds_passes += vm_seconds() - t0;
    return error;
}

void session_run_passes(Session *s, IrGraph *g, const PassId *list, int n, bool training) {
    const char *error = session_try_passes(s, g, list, n, training);
    if (error) VM_BUG("%s", error);
}

void session_run_again(Session *s, IrGraph *base, IrGraph *g, const PassId *list, int n) {
    double t0 = vm_seconds();
    s->crash_graph = base;
    s->crash_list = list;
    s->crash_n = n;
    s->pass.training = true;
    const char *error = pass_run(&s->pass, g, list, n);
    if (error) VM_BUG("%s", error);
    s->crash_graph = NULL;
    s->seconds_passes += vm_seconds() - t0;
}

void session_lower(Session *s, IrGraph *g, ProgramKind kind) {
    const PassId *list;
    int n = pass_pipeline_part(kind.pipe, s->bf16, PASS_COUNT, PASS_COUNT, &list);
    session_run_passes(s, g, list, n, kind.training);
}

const char *const drv_route_views[] = {"unseen", "chosen", "measured"};

/* The first line of the file is what `vmoec opt` needs to go on from there. Runs while we are
 * crashing, so it allocates from its own arena and never fails loudly. */
const char *session_crash_hook(void *session) {
    Session *s = session;
    const IrGraph *g = s->crash_graph;
    if (!g && s->module) g = cg_module_lowering(s->module);
    if (!g) return NULL;
    s->crash_graph = NULL;
    Text t = text_new(s->crash);
    text_add(&t, "; passes: ");
    for (int i = 0; i < s->crash_n; i++)
        text_addf(&t, "%s%s", i ? "," : "", pass_name(s->crash_list[i]));
    if (!s->crash_n) text_add(&t, "none (code generation)");
    text_add(&t, s->pass.training ? " --training" : "");
    if (s->pass.recompute) text_addf(&t, " --recompute=%d", s->pass.recompute);
    if (s->pass.routes) text_addf(&t, " --telemetry=%s", drv_route_views[s->pass.routes]);
    text_add(&t, "\n");
    ir_print(&t, g, true);
    if (drv_write_file("vmoec-crash.vir", t.data, t.len)) return NULL;
    return "vmoec: the graph is in vmoec-crash.vir; `vmoec opt vmoec-crash.vir` runs the rest";
}

/* ---- programs
 * -------------------------------------------------------------------------------------- */

VmStatus session_module(Session *s) {
    if (s->module) return VM_OK;
    double t0 = vm_seconds();
    VmStatus st = host(s);
    if (st) return st;
    s->module = cg_module_create(s->target);
    CgOptions o = {.workers = vm_cpus(), .cache_dir = s->no_cache ? NULL : drv_cache_dir(s->arena)};
    cg_module_options(s->module, &o);
    s->seconds_codegen += vm_seconds() - t0;
    return VM_OK;
}

VmStatus session_engine(Session *s, int threads) {
    VmStatus st = session_module(s);
    if (st || s->engine) return st;
    VmError err = {.text = ""};
    st = vm_engine_create(threads, &s->engine, &err);
    return st ? drv_fail(st, "%s", err.text) : VM_OK;
}

static bool same_kind(const Program *p, ProgramKind k, int64_t batch, bool routes, int variant) {
    return p->variant == variant && p->kind.pipe == k.pipe && p->kind.training == k.training &&
           p->kind.dense == k.dense && p->batch == batch && p->routes == routes;
}

static Program *plan(Session *s, ProgramKind kind, int64_t batch, bool routes, VmError *err) {
    for (int i = 0; i < s->nprogram; i++)
        if (same_kind(&s->program[i], kind, batch, routes, s->variant)) return &s->program[i];
    VM_CHECK(s->nprogram < SESSION_MAX_PROGRAMS, "more than %d programs in one run",
             SESSION_MAX_PROGRAMS);
    IrGraph *g = session_elaborate(s, batch);
    if (!g) {
        vm_fail(err, VM_INPUT, "%s cannot be built for %lld images", s->model, (long long)batch);
        return NULL;
    }
    if (kind.dense) {
        static const PassId dense[] = {PASS_dense};
        const char *refused = session_try_passes(s, g, dense, 1, kind.training);
        if (refused) {
            vm_fail(err, VM_INPUT, "%s", refused);
            return NULL;
        }
    }
    double macs = count_model(s->arena, g, batch).total.macs * (double)batch;
    s->pass.routes = routes                                    ? ROUTES_CHOSEN
                     : s->telemetry && kind.pipe == PIPE_TRAIN ? ROUTES_MEASURED
                                                               : ROUTES_UNSEEN;
    session_lower(s, g, kind);
    s->pass.routes = ROUTES_UNSEEN;
    const char *name = arena_printf(s->arena, "%s%s.%s", s->model, kind.dense ? ".dense" : "",
                                    kind.pipe == PIPE_TRAIN  ? "train"
                                    : kind.pipe == PIPE_GRAD ? "grad"
                                                             : "eval");
    double t0 = vm_seconds();
    s->crash_graph = g; /* planning and lowering change nothing in it */
    s->crash_n = 0;
    cg_module_tuning(s->module, s->tuning);
    cg_module_pack_in_step(s->module, s->budget.pack_in_step);
    VmProgram *code = cg_add_program(s->module, g, name, batch, macs);
    s->crash_graph = NULL;
    s->seconds_codegen += vm_seconds() - t0;
    s->program[s->nprogram] = (Program){.kind = kind,
                                        .batch = batch,
                                        .routes = routes,
                                        .variant = s->variant,
                                        .index = -1,
                                        .code = code};
    return &s->program[s->nprogram++];
}

bool session_ahead(Session *s, ProgramKind kind, int64_t batch, VmError *err) {
    return plan(s, kind, batch, false, err) != NULL;
}

const Program *session_plan(Session *s, ProgramKind kind, int64_t batch, bool routes,
                            VmError *err) {
    Program *p = plan(s, kind, batch, routes, err);
    const char *error = p ? cg_module_facts(s->module) : NULL;
    if (error) vm_fail(err, VM_ENV, "%s", error);
    return error ? NULL : p;
}

void session_warn_cache(Session *s) {
    const CgStats *c = cg_module_stats(s->module);
    if (c->cache_refused && !s->cache_warned)
        fprintf(stderr,
                "vmoec: warning: kernels are not kept: %s; VMOEC_CACHE_DIR chooses another folder, "
                "VMOEC_CACHE=off none\n",
                c->cache_note);
    s->cache_warned = true;
}

static Program *compile(Session *s, ProgramKind kind, int64_t batch, bool routes, VmError *err) {
    Program *p = plan(s, kind, batch, routes, err);
    if (!p || p->compiled) return p;
    double t0 = vm_seconds();
    const char *error = cg_module_compile(s->module); /* everything planned so far */
    s->seconds_codegen += vm_seconds() - t0;
    session_warn_cache(s);
    if (error) {
        vm_fail(err, VM_ENV, "%s", error);
        return NULL;
    }
    for (int i = 0; i < s->nprogram; i++) s->program[i].compiled = true;
    return p;
}

const Program *session_compile(Session *s, ProgramKind kind, int64_t batch, bool routes,
                               VmError *err) {
    return compile(s, kind, batch, routes, err);
}

const Program *session_program(Session *s, ProgramKind kind, int64_t batch, bool routes,
                               VmError *err) {
    Program *p = compile(s, kind, batch, routes, err);
    if (!p || p->index >= 0) return p;
    p->index = vm_engine_add(s->engine, p->code, err);
    return p->index < 0 ? NULL : p;
}

int session_source(void *user, bool training, int64_t batch, VmError *err) {
    const Program *p = session_program(user, training ? KIND_TRAIN : KIND_EVAL, batch, false, err);
    return p ? p->index : -1;
}

void session_first_step(Session *s) {
    if (s->started > 0 && s->seconds_to_step <= 0) s->seconds_to_step = vm_seconds() - s->started;
}

static void print_codegen(const CgStats *c) {
    fprintf(stderr, "    plan     %8.1f ms\n    cache    %8.1f ms   %d of %d kernels found%s%s\n",
            1e3 * c->seconds_plan, 1e3 * c->seconds_cache, c->cached, c->cached + c->compiled,
            c->cache_note ? "; " : "", c->cache_note ? c->cache_note : "");
    if (c->workers) {
        fprintf(stderr, "    compile  %8.1f ms   %d kernels in %d process%s, which spent:\n",
                1e3 * c->seconds_workers, c->compiled, c->workers, c->workers == 1 ? "" : "es");
        fprintf(stderr, "      start  %8.1f ms\n      LLVM IR%8.1f ms\n      LLVM   %8.1f ms\n",
                1e3 * c->seconds_start, 1e3 * c->seconds_ir, 1e3 * c->seconds_llvm);
    }
    fprintf(stderr, "    load     %8.1f ms   %.1f KiB of code\n", 1e3 * c->seconds_load,
            (double)c->code_bytes / 1024);
    fprintf(stderr, "  %d clusters, %d distinct kernels\n", c->clusters, c->kernels);
}

void session_print_times(const Session *s) {
    double total = s->seconds_frontend + s->seconds_passes + s->seconds_codegen;
    fprintf(stderr, "compilation  %8.1f ms\n", 1e3 * total);
    fprintf(stderr, "  front end  %8.1f ms\n", 1e3 * s->seconds_frontend);
    fprintf(stderr, "  passes     %8.1f ms\n", 1e3 * s->seconds_passes);
    for (int i = 0; i < PASS_COUNT; i++)
        fprintf(stderr, "    %-9s%8.1f ms\n", pass_name((PassId)i), 1e3 * s->pass.seconds[i]);
    fprintf(stderr, "  codegen    %8.1f ms\n", 1e3 * s->seconds_codegen);
    if (s->module) print_codegen(cg_module_stats(s->module));
    if (s->tuning_path)
        fprintf(stderr, "tuning       %s, %d products\n", s->tuning_path, s->tuning->n);
    if (s->seconds_init > 0) fprintf(stderr, "weights      %8.1f ms\n", 1e3 * s->seconds_init);
    if (s->seconds_to_step > 0)
        fprintf(stderr, "first step   %8.1f ms after the start of the process\n",
                1e3 * s->seconds_to_step);
}
