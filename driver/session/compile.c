/* The pipeline every command shares: graphs of a model -> passes -> code generation -> engine.
 * Programs are made by kind and batch size when they are first asked for. */
#include "driver/session/session.h"

#include <string.h>

#include "base/recover.h"

/* ---- graphs ---------------------------------------------------------------------------------- */

/* Such a graph may be one for evaluation alone (session_trains). */
static bool has_one_row(const IrGraph *g) {
    IR_FOR (n, g)
        if (n->op == OP_variance && ir_rows(&n->in[0]->type) == 1) return true;
    return false;
}

/* Sizes that the model's own ops take may be too much for what passes make of them. Every command
 * hears of it here, before it begins, and with a place. */
void session_try_lowering(Session *s, const FeExperiment *e, const char *model, const IrGraph *g,
                          Diags *d) {
    bool loss = false;
    for (int i = 0; i < g->nout; i++) loss |= g->out[i].kind == OUT_loss;
    loss = loss && !has_one_row(g);
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

static IrGraph *elaborate(Session *s, int64_t batch) {
    double t0 = vm_seconds();
    Diags *d = diags_create(s->arena);
    IrGraph *g = s->train ? fe_elaborate_phase(s->exp, s->arena, s->train, batch, d)
                          : fe_elaborate(s->exp, s->arena, s->model, batch, d);
    s->times.frontend += vm_seconds() - t0;
    if (g && has_large_tensor(g)) session_try_lowering(s, s->exp, s->model, g, d);
    if (!g || d->nerrors || !s->warned) session_say_diags(s, d);
    s->warned = true;
    if (d->nerrors) return NULL;
    if (g && s->edit) s->edit(g);
    return g;
}

static IrGraph *graph_of(Session *s, int64_t batch) {
    for (const SessionGraph *x = s->graphs; x; x = x->next)
        if (x->batch == batch) return x->g;
    IrGraph *g = elaborate(s, batch);
    if (!g) return NULL;
    SessionGraph *x = ARENA_NEW(s->arena, SessionGraph);
    *x = (SessionGraph){.batch = batch, .g = g, .next = s->graphs};
    s->graphs = x;
    return g;
}

const IrGraph *session_graph(Session *s, int64_t batch) {
    return graph_of(s, batch);
}

IrGraph *session_graph_copy(Session *s, int64_t batch) {
    const IrGraph *g = graph_of(s, batch);
    return g ? ir_graph_clone(s->arena, g) : NULL;
}

/* ---- passes ---------------------------------------------------------------------------------- */

/* What a crash file would have: the graph before the pass that runs, and the passes to come. */
static void keep_for_crash(void *session, const IrGraph *g, const PassId *rest, int n) {
    Session *s = session;
    arena_reset(s->crash.arena);
    s->crash.graph = ir_graph_clone(s->crash.arena, g);
    s->crash.list = rest;
    s->crash.n = n;
}

const char *session_try_passes(Session *s, IrGraph *g, const PassId *list, int n, bool training) {
    double t0 = vm_seconds();
    s->pass.training = training;
    s->pass.before = keep_for_crash;
    s->pass.who = s;
    const char *error = pass_run(&s->pass, g, list, n);
    if (error && !s->pass.refused) VM_BUG("%s", error);
    s->pass.before = NULL;
    s->crash.graph = NULL;
    s->times.passes += vm_seconds() - t0;
    return error;
}

void session_run_passes(Session *s, IrGraph *g, const PassId *list, int n, bool training) {
    const char *error = session_try_passes(s, g, list, n, training);
    if (error) VM_BUG("%s", error);
}

void session_run_again(Session *s, IrGraph *base, IrGraph *g, const PassId *list, int n) {
    double t0 = vm_seconds();
    s->crash.graph = base;
    s->crash.list = list;
    s->crash.n = n;
    s->pass.training = true;
    const char *error = pass_run(&s->pass, g, list, n);
    if (error) VM_BUG("%s", error);
    s->crash.graph = NULL;
    s->times.passes += vm_seconds() - t0;
}

/* Only the pass itself can tell whether training reads what has one row. */
bool session_try_training(Session *s, const FeExperiment *e, const char *model, const IrGraph *g,
                          Diags *d) {
    static const PassId expand[] = {PASS_expand};
    if (!has_one_row(g)) return true;
    Arena *a = arena_create();
    const char *why = session_try_passes(s, ir_graph_clone(a, g), expand, 1, true);
    const char *text = why ? strstr(why, ": ") : NULL; /* behind the pass's name */
    if (why)
        diag_error(d, fe_place(e, s->pass.where, model), D_one_row, "%s", text ? text + 2 : why);
    arena_destroy(a);
    return !why;
}

bool session_trains(Session *s, const IrGraph *g) {
    Diags *d = diags_create(s->arena);
    if (session_try_training(s, s->exp, s->model, g, d)) return true;
    session_say_diags(s, d);
    return false;
}

void session_lower(Session *s, IrGraph *g, ProgramKind kind) {
    const PassId *list;
    int n = pass_pipeline_part(kind.pipe, s->bf16, PASS_COUNT, PASS_COUNT, &list);
    session_run_passes(s, g, list, n, kind.training);
}

/* ---- programs -------------------------------------------------------------------------------- */

VmStatus session_host(Session *s) {
    const char *error = NULL;
    if (!s->target) s->target = cg_target_host(s->arena, &error);
    return s->target ? VM_OK : session_fail(s, VM_ENV, "%s", error);
}

VmStatus session_module(Session *s) {
    if (s->module) return VM_OK;
    double t0 = vm_seconds();
    VmStatus st = session_host(s);
    if (st) return st;
    s->module = cg_module_create(s->target);
    CgOptions o = {.workers = vm_cpus(), .cache_dir = s->cache_dir, .backend = s->backend};
    cg_module_options(s->module, &o);
    s->times.codegen += vm_seconds() - t0;
    return VM_OK;
}

VmStatus session_engine(Session *s, int threads) {
    VmStatus st = session_module(s);
    if (st || s->engine) return st;
    VmError err = {.text = ""};
    st = vm_engine_create(threads, &s->engine, &err);
    return st ? session_fail(s, st, "%s", err.text) : VM_OK;
}

static bool same_kind(const Program *p, ProgramKind k, int64_t batch, bool routes,
                      const CgTuning *blocks) {
    return p->blocks == blocks && p->kind.pipe == k.pipe && p->kind.training == k.training &&
           p->kind.dense == k.dense && p->kind.input_grads == k.input_grads &&
           p->kind.scores == k.scores && p->batch == batch && p->routes == routes;
}

/* It stays where it is as long as the session lives. */
static Program *keep(Session *s, Program p) {
    if (s->nprogram == s->program_room) {
        s->program_room = s->program_room ? 2 * s->program_room : 16;
        Program **more = ARENA_ARRAY(s->arena, Program *, s->program_room);
        if (s->nprogram) memcpy(more, s->program, (size_t)s->nprogram * sizeof(Program *));
        s->program = more;
    }
    Program *kept = ARENA_NEW(s->arena, Program);
    *kept = p;
    return s->program[s->nprogram++] = kept;
}

static Program *plan(Session *s, ProgramKind kind, int64_t batch, bool routes, VmError *err) {
    for (int i = 0; i < s->nprogram; i++)
        if (same_kind(s->program[i], kind, batch, routes, s->tuning.blocks)) return s->program[i];
    IrGraph *g = session_graph_copy(s, batch);
    if (!g) {
        vm_fail(err, VM_INPUT, "%s cannot be built for %lld images", s->model, (long long)batch);
        return NULL;
    }
    if (s->nmissing) (void)session_keep_given(g, s->missing, s->nmissing);
    if (kind.training && !session_trains(s, g)) {
        vm_fail(err, VM_INPUT, "%s cannot be trained with %lld image%s in a step", s->model,
                (long long)batch, batch == 1 ? "" : "s");
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
    double macs = session_count(s->arena, g, batch).total.macs * (double)batch;
    s->pass.routes = routes                                    ? ROUTES_CHOSEN
                     : s->telemetry && kind.pipe == PIPE_TRAIN ? ROUTES_MEASURED
                                                               : ROUTES_UNSEEN;
    s->pass.input_grads = kind.input_grads;
    s->pass.scores = kind.scores;
    s->pass.ranges = NULL;
    session_lower(s, g, kind);
    s->pass.routes = ROUTES_UNSEEN;
    s->pass.input_grads = false;
    s->pass.scores = SCORES_UNSEEN;
    static const char *const what[] = {[PIPE_EVAL] = "eval",
                                       [PIPE_GRAD] = "grad",
                                       [PIPE_TRAIN] = "train",
                                       [PIPE_CHECK_EVAL] = "check",
                                       [PIPE_CHECK_GRAD] = "check_grad"};
    const char *name =
        arena_printf(s->arena, "%s%s.%s", s->model, kind.dense ? ".dense" : "", what[kind.pipe]);
    double t0 = vm_seconds();
    s->crash.graph = g; /* planning and lowering change nothing in it */
    s->crash.n = 0;
    cg_module_tuning(s->module, s->tuning.blocks);
    cg_module_pack_in_step(s->module, s->pack_in_step);
    VmProgram *code = cg_add_program(s->module, g, name, batch, macs);
    s->crash.graph = NULL;
    s->times.codegen += vm_seconds() - t0;
    return keep(s, (Program){.kind = kind,
                             .batch = batch,
                             .routes = routes,
                             .blocks = s->tuning.blocks,
                             .index = -1,
                             .graph = g,
                             .ranges = s->pass.ranges,
                             .code = code});
}

const Program *session_ahead(Session *s, ProgramKind kind, int64_t batch, VmError *err) {
    return plan(s, kind, batch, false, err);
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
        session_warn(s,
                     "kernels are not kept: %s; VMOEC_CACHE_DIR chooses another folder, "
                     "VMOEC_CACHE=off none",
                     c->cache_note);
    s->cache_warned = true;
}

static Program *compile(Session *s, ProgramKind kind, int64_t batch, bool routes, VmError *err) {
    Program *p = plan(s, kind, batch, routes, err);
    if (!p || p->compiled) return p;
    double t0 = vm_seconds();
    const char *error = cg_module_compile(s->module); /* everything planned so far */
    s->times.codegen += vm_seconds() - t0;
    session_warn_cache(s);
    if (error) {
        vm_fail(err, VM_ENV, "%s", error);
        return NULL;
    }
    for (int i = 0; i < s->nprogram; i++) s->program[i]->compiled = true;
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

ProgramKind session_eval_kind(const Session *s) {
    ProgramKind kind = KIND_EVAL;
    kind.scores = s->scores;
    return kind;
}

typedef struct Asked {
    Session *s;
    bool training;
    int64_t batch;
    VmError *err;
    int index;
} Asked;

static void answer(void *asked) {
    Asked *a = asked;
    ProgramKind kind = a->training ? KIND_TRAIN : session_eval_kind(a->s);
    const Program *p = session_program(a->s, kind, a->batch, false, a->err);
    a->index = p ? p->index : -1;
}

int session_source(void *user, bool training, int64_t batch, VmError *err) {
    Asked a = {.s = user, .training = training, .batch = batch, .err = err, .index = -1};
    VmRecover point;
    if (!vm_recover_here()) {
        answer(&a);
    } else if (!vm_recover(&point, answer, &a)) {
        vm_recover_keep(&point);
        a.s->lost = true;
        vm_fail(err, VM_ENV, "out of memory");
    }
    return a.index;
}

void session_first_step(Session *s) {
    if (s->times.started > 0 && s->times.to_step <= 0)
        s->times.to_step = vm_seconds() - s->times.started;
}
