/* One program: interpreted, compiled, run in all ways, compared. */
#include "tests/fuzz/programs/programs.h"

#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "runtime/train/train.h"

enum { DATA_TRIES = 6, STEPS = 3 };

const char *const outcome_names[OUTCOMES] = {
#define OUTCOME(name, bad, doc) #name,
#include "tests/fuzz/programs/outcomes.def"
};
const bool outcome_bad[OUTCOMES] = {
#define OUTCOME(name, bad, doc) bad,
#include "tests/fuzz/programs/outcomes.def"
};

bool verdict_set(Verdict *v, Outcome o, const char *stage, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    v->outcome = o;
    memccpy(v->stage, stage, 0, sizeof v->stage - 1);
    vsnprintf(v->text, sizeof v->text, fmt, ap);
    va_end(ap);
    return false;
}

typedef struct Check {
    const CheckOptions *o;
    Arena *arena;
    Front front;
    Compiled code[2];
    int ncode;
    Data data;
    Reference eval, grad, step, model;
    bool stable;
    Verdict v;
    Tally *t;
} Check;

static bool fail(Check *c, Outcome o, const char *stage, const char *isa, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
static bool fail(Check *c, Outcome o, const char *stage, const char *isa, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    char where[32];
    snprintf(where, sizeof where, "%.12s %.16s", stage, isa);
    const char *text = arena_vprintf(c->arena, fmt, ap);
    va_end(ap);
    return verdict_set(&c->v, o, where, "%s", text);
}

/* ---- numbers --------------------------------------------------------------------------------- */

static double element(const IrType *t, const void *from, int64_t i) {
    return t->dtype == DT_i32 ? ((const int32_t *)from)[i] : (double)((const float *)from)[i];
}

/* One tensor beside the reference's; `floor` is a size that is nothing beside others of its kind.
 */
static bool compare(Check *c, const char *stage, const char *isa, const char *name,
                    const RefTensor *want, const void *have, double slack, double floor) {
    double top = floor, worst = 0, allowed;
    int64_t n = ir_elems(&want->type), at = 0;
    for (int64_t i = 0; i < n; i++) top = fmax(top, fabs(want->data[i]));
    for (int64_t i = 0; i < n; i++) {
        double error = fabs(element(&want->type, have, i) - want->data[i]);
        if (error <= worst) continue;
        worst = isnan(error) ? INFINITY : error;
        at = i;
    }
    double strict = want->type.dtype == DT_i32 ? 0 : 2e-5 * top + 1e-6;
    c->t->compared++;
    if (worst <= strict) return true;
    allowed = strict + slack;
    if (worst <= allowed && want->type.dtype != DT_i32) {
        c->t->loosened++;
        c->t->blind += slack > 0.05 * top;
        return true;
    }
    return fail(c, OUT_OF_mismatch, stage, isa, "%s[%lld] is %.9g, expected %.9g (allowed %.2g)",
                name, (long long)at, element(&want->type, have, at), want->data[at], allowed);
}

/* The nth result of that name: an input may have it too, and all that routes are measured by. */
static const VmTensor *result_named(const VmProgram *p, const char *name, int nth) {
    for (int i = 0; i < p->ntensor; i++)
        if (p->tensor[i].role >= VM_ROLE_OUTPUT && !strcmp(p->tensor[i].name, name) && !nth--)
            return &p->tensor[i];
    return NULL;
}

/* The size of gradients, so that those which are 0 but for rounding are seen as that. */
static double largest_gradient(const Reference *r) {
    double top = 0;
    for (int i = 0; i < r->g->nout; i++) {
        if (r->g->out[i].kind != OUT_grad) continue;
        const RefTensor *x = interp_out(r->exact, r->g->out[i].name);
        for (int64_t k = 0, n = ir_elems(&x->type); k < n; k++) top = fmax(top, fabs(x->data[k]));
    }
    return top;
}

static bool is_measured(IrOutKind k) {
    return k == OUT_offsets || k == OUT_choices || k == OUT_logits;
}

/* All results of the program that runs in engine 0. */
static bool compare_results(Check *c, const Compiled *x, CompiledKind k, const char *stage,
                            const Reference *r) {
    double floor = k == C_GRAD ? 1e-3 * largest_gradient(r) : 0;
    for (int i = 0; i < r->g->nout; i++) {
        const IrOut *o = &r->g->out[i];
        if (is_measured(o->kind) || (k == C_EVAL && o->kind == OUT_update)) continue;
        const RefTensor *want = interp_out(r->exact, o->name);
        const VmTensor *t = result_named(x->program[0][k], o->name, 0);
        const void *have = t ? vm_engine_address(x->engine[0], x->index[0][k], t) : NULL;
        if (!want || !have)
            return fail(c, OUT_OF_mismatch, stage, x->isa, "there is no %s", o->name);
        if (!compare(c, stage, x->isa, o->name, want, have, refer_slack(r, want, o->name),
                     o->kind == OUT_grad ? floor : 0))
            return false;
    }
    return true;
}

/* Weights, states and the optimizer's state after a step. */
static bool compare_leaves(Check *c, const Compiled *x, const Reference *r) {
    IR_FOR (n, r->g) {
        if (n->op != OP_param && n->op != OP_state) continue;
        const char *name = ir_str(n, n->op == OP_param ? ATTR_param_name : ATTR_state_name);
        const void *have = vm_engine_data(x->engine[0], x->index[0][C_TRAIN], name);
        const RefTensor *want = interp_value(r->exact, &n->out[0]);
        double slack = 0;
        for (int m = 0; m < REFER_MOVED; m++) {
            const RefTensor *y = interp_value(r->moved[m], &n->out[0]);
            for (int64_t i = 0, count = ir_elems(&want->type); i < count; i++)
                slack = fmax(slack, 2 * fabs(y->data[i] - want->data[i]));
        }
        if (!have) continue; /* nothing reads it */
        if (!compare(c, "step", x->isa, name, want, have, slack, 0)) return false;
    }
    return true;
}

/* ---- bits ------------------------------------------------------------------------------------ */

/* What stands for tensor i of program p in another program. */
static const VmTensor *counterpart(const VmProgram *p, int i, const VmProgram *other,
                                   const Compiled *x, int engine, CompiledKind k) {
    const VmTensor *t = &p->tensor[i];
    int nth = 0;
    if (t->role < VM_ROLE_OUTPUT)
        return vm_engine_tensor(x->engine[engine], x->index[engine][k], t->name);
    for (int j = 0; j < i; j++)
        nth += p->tensor[j].role >= VM_ROLE_OUTPUT && !strcmp(p->tensor[j].name, t->name);
    return result_named(other, t->name, nth);
}

static bool same_tensor(Check *c, const Compiled *x, CompiledKind k, int other, const char *stage,
                        int i) {
    const VmProgram *p = x->program[0][k];
    const VmTensor *t = &p->tensor[i],
                   *u = counterpart(p, i, x->program[other / 2][k], x, other, k);
    if (!u)
        return fail(c, OUT_OF_bits, stage, x->isa, "%s is missing with %s", t->name,
                    engine_names[other]);
    const uint32_t *a = vm_engine_address(x->engine[0], x->index[0][k], t),
                   *b = vm_engine_address(x->engine[other], x->index[other][k], u);
    int64_t n = 1;
    for (int j = 0; j < t->rank; j++) n *= t->dim[j];
    c->t->bits++;
    for (int64_t j = 0; j < n; j++) {
        float y[2];
        if (a[j] == b[j]) continue;
        memcpy(&y[0], &a[j], 4);
        memcpy(&y[1], &b[j], 4);
        return fail(c, OUT_OF_bits, stage, x->isa, "%s[%lld] is %.9g with %s, %.9g with %s",
                    t->name, (long long)j, (double)y[0], engine_names[0], (double)y[1],
                    engine_names[other]);
    }
    return true;
}

static bool same_bits(Check *c, const Compiled *x, CompiledKind k, int other, const char *stage) {
    const VmProgram *p = x->program[0][k];
    for (int i = 0; i < p->ntensor; i++) {
        VmRole role = (VmRole)p->tensor[i].role;
        if (role == VM_ROLE_INPUT || role == VM_ROLE_RNG_KEY) continue;
        if (!same_tensor(c, x, k, other, stage, i)) return false;
    }
    return true;
}

/* Step number `step` in all engines; false: bits differ. */
static bool run_all(Check *c, const Compiled *x, CompiledKind k, int64_t step, const char *stage) {
    bool finite = true;
    for (int i = 0; i < ENGINES; i++) {
        int p = x->index[i][k];
        if (p < 0) continue;
        if (!step) data_give(&c->data, x->engine[i], p);
        vm_step_scalars(&c->front.optimizer, 1e-2, step,
                        vm_engine_data(x->engine[i], p, VM_INPUT_STEP));
        bool ended = vm_engine_run(x->engine[i], p, c->data.seed, (uint64_t)step);
        if (!i) finite = ended;
        if (ended != finite)
            return fail(c, OUT_OF_bits, stage, x->isa, "is finite with some threads only");
        if (i && !same_bits(c, x, k, i, stage)) return false;
    }
    if (!finite && c->stable && !step)
        return fail(c, OUT_OF_mismatch, stage, x->isa, "a loss is not finite");
    return true;
}

/* ---- one program ----------------------------------------------------------------------------- */

/* The step's scalars are an input that only graphs with updates have. */
static void give_scalars(const Check *c, Reference *r) {
    float scalars[VM_STEP_SCALARS];
    vm_step_scalars(&c->front.optimizer, 1e-2, 0, scalars);
    for (int i = -1; i < REFER_MOVED; i++)
        (void)interp_set_f32(i < 0 ? r->exact : r->moved[i], VM_INPUT_STEP, scalars);
}

/* Data by whose rounding nothing is decided, if there is some. */
static void choose_data(Check *c) {
    for (int i = 0; i < DATA_TRIES && !c->stable; i++) {
        c->t->tried++;
        c->data =
            data_make(c->arena, c->front.model, c->code[0].engine[0], c->o->seed + (uint64_t)i);
        c->eval = refer(c->arena, c->front.eval, false, &c->data);
        const char *why = refer_unstable(&c->eval);
        if (!why && c->front.grad) {
            c->grad = refer(c->arena, c->front.grad, true, &c->data);
            why = refer_unstable(&c->grad);
        }
        c->stable = !why;
        if (why) (void)verdict_set(&c->v, OUT_OF_unstable, "data", "%s", why);
    }
}

static bool check_reference(Check *c) {
    if (!c->stable || !c->front.grad) return true;
    c->model = refer(c->arena, c->front.model, true, &c->data);
    if (!refer_agrees(&c->model, &c->grad, &c->v)) return false;
    if (!refer_slopes(c->arena, c->front.model, &c->grad, &c->data, &c->v)) return false;
    c->step = (Reference){.g = c->front.step};
    for (int i = -1; i < REFER_MOVED; i++) {
        Interp *it = interp_create(c->arena, c->front.step, true);
        data_refer(&c->data, it);
        *(i < 0 ? &c->step.exact : &c->step.moved[i]) = it;
        if (i >= 0) interp_disturb(it, 0x1p-20, c->data.seed + (uint64_t)i);
    }
    give_scalars(c, &c->step);
    interp_run(c->step.exact);
    for (int i = 0; i < REFER_MOVED; i++) interp_run(c->step.moved[i]);
    return true;
}

static bool check_code(Check *c, const Compiled *x) {
    if (!run_all(c, x, C_EVAL, 0, "eval")) return false;
    if (c->stable && !compare_results(c, x, C_EVAL, "eval", &c->eval)) return false;
    if (!c->front.grad) return true;
    if (!run_all(c, x, C_GRAD, 0, "gradients")) return false;
    if (c->stable && !compare_results(c, x, C_GRAD, "gradients", &c->grad)) return false;
    for (int64_t step = 0; step < STEPS; step++) {
        if (!run_all(c, x, C_TRAIN, step, "train")) return false;
        if (step || !c->stable) continue;
        if (!compare_results(c, x, C_TRAIN, "train", &c->step) || !compare_leaves(c, x, &c->step))
            return false;
    }
    return true;
}

static void check_all(Check *c, const char *text) {
    while (c->o->slow) continue;
    double t0 = vm_seconds();
    c->front.broken = c->o->broken;
    if (!front_open(&c->front, c->arena, text, c->o->batch, &c->v)) return;
    c->t->seconds[0] += vm_seconds() - t0;
    for (int i = 0; i < c->o->nisa; i++) {
        c->ncode = i + 1;
        if (!compiled_make(&c->code[i], &c->front, c->o->isa[i], c->o->cache, &c->v, c->t)) return;
    }
    double t1 = vm_seconds();
    choose_data(c);
    bool good = check_reference(c);
    double t2 = vm_seconds();
    c->t->seconds[1] += t2 - t1;
    for (int i = 0; i < c->ncode && good; i++) good = check_code(c, &c->code[i]);
    c->t->seconds[3] += vm_seconds() - t2;
    if (good) c->v.outcome = c->stable ? OUT_OF_agrees : OUT_OF_unstable;
}

Verdict check_program(const char *text, const CheckOptions *o, Tally *t) {
    Check c = {.o = o, .arena = arena_create(), .t = t, .v = {.outcome = OUT_OF_agrees}};
    check_all(&c, text);
    for (int i = 0; i < c.ncode; i++) compiled_free(&c.code[i]);
    arena_destroy(c.arena);
    t->outcome[c.v.outcome]++;
    return c.v;
}
