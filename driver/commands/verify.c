/* vmoec verify: the user's own model, computed in several ways that must agree. Compiled code
 * against the f64 interpreter, which shares nothing with the code generator; gradients against
 * finite differences of the interpreted objective; one thread against several, bit for bit.
 *
 * Weights are the initial ones moved a little, so that zeros and ones hide nothing. Inputs are
 * random, chosen so that no routing decision is within rounding of a tie. The optimizer is checked
 * for equal bits only. */
#include "driver/commands/commands.h"
#include "driver/commands/compare.h"
#include "driver/commands/verify.h"

#include <math.h>
#include <string.h>

#include "interp/interp.h"
#include "base/rng.h"

#define FD_TOLERANCE 1e-4
/* In bf16 the reference rounds the same operands, but where f32 and f64 differ in the last digit a
 * number may round the other way: tensors are compared as wholes (compare_spread). And what
 * rounding operands to eight bits makes of a gradient. */
#define BF16_TOLERANCE 5e-2
#define BF16_GRADIENT 0.1
#define TIE_MARGIN 1e-5 /* gates closer than this may sort differently in f32 */
#define FUNCTION_TOLERANCE 1e-4
#define ROUNDED_PART 0x1p-22 /* four times what one operation of f32 rounds off */
#define ROUNDED_SAFETY 4
#define ROUNDED_MOST 0.05 /* of a tensor's scale: what rounding may excuse */
enum { SEED_TRIES = 20, TRAIN_STEPS = 3 };

typedef struct Verify {
    Session *s;
    const IrGraph *model; /* MODEL stage */
    /* what is interpreted: the model; in bf16 expanded, with its products marked */
    const IrGraph *eval_graph;
    const IrGraph *training_graph; /* the same for training */
    IrGraph *grad;                 /* expanded and differentiated, before any rewriting */
    IrGraph *exact;                /* bf16: grad in full precision */
    double tolerance;
    int64_t batch;
    uint64_t seed;
    int samples, threads;
    const Program *eval, *jit_grad, *train;
    VmEngine *one, *many;
    bool failed;
} Verify;

/* One line of the report. */
typedef struct Row {
    const char *what;
    int count; /* tensors or elements compared */
    double worst;
    const char *where;
} Row;

static void report(Verify *v, Row r, double tolerance) {
    bool ok = r.worst <= tolerance;
    if (!ok) v->failed = true;
    printf("  %-44s %6d  %9.2e  %-5s %s\n", r.what, r.count, r.worst, ok ? "ok" : "WRONG",
           r.where ? r.where : "");
}

static void worse(Row *r, double error, const char *where) {
    r->count++;
    if (r->count > 1 && error <= r->worst) return;
    if (isnan(r->worst)) return; /* nothing is worse */
    r->worst = error;
    r->where = where;
}

/* ---- giving values --------------------------------------------------------------------------- */

/* Initial weights, each moved by up to 0.05; states, which may be variances, by 0 to 0.1. */
static VmStatus set_weights(Verify *v, VmEngine *e) {
    VmError err = {.text = ""};
    VmStatus st = vm_engine_init(e, v->seed, &err);
    if (st) return drv_fail(st, "%s", err.text);
    IR_FOR (n, v->model) {
        if (n->op != OP_param) continue;
        const char *name = ir_str(n, ATTR_param_name);
        float *w = vm_engine_data(e, 0, name);
        float least = ir_is_state(n) ? 0 : 0.5f;
        uint32_t key[2];
        vm_rng_key(v->seed, vm_hash_name(name), 1, key);
        for (int64_t i = 0, c = ir_elems(&n->out[0].type); i < c; i++)
            w[i] += 0.1f * (vm_rng_uniform(key, (uint32_t)i) - least);
    }
    return VM_OK;
}

static void *random_input(const Verify *v, const IrNode *n) {
    void *data = ARENA_ARRAY(v->s->arena, float, ir_elems(&n->out[0].type));
    session_fill_input(v->model, n, v->seed, data);
    return data;
}

static void set_inputs(const Verify *v, VmEngine *e, int program) {
    IR_FOR (n, v->model) {
        if (n->op != OP_input) continue;
        void *to = vm_engine_data(e, program, ir_str(n, ATTR_input_name));
        if (to) memcpy(to, random_input(v, n), (size_t)ir_elems(&n->out[0].type) * 4);
    }
}

/* Graph g with the weights and inputs of this run. */
static Interp *prepare(const Verify *v, const IrGraph *g, bool training) {
    Interp *it = interp_create(v->s->arena, g, training);
    interp_set_rng(it, v->seed, 0);
    IR_FOR (n, v->model) {
        if (n->op == OP_param) {
            const char *name = ir_str(n, ATTR_param_name);
            interp_set_f32(it, name, vm_engine_data(v->one, 0, name));
        } else if (n->op == OP_input && n->out[0].type.dtype == DT_i32) {
            interp_set_i32(it, ir_str(n, ATTR_input_name), random_input(v, n));
        } else if (n->op == OP_input) {
            interp_set_f32(it, ir_str(n, ATTR_input_name), random_input(v, n));
        }
    }
    return it;
}

static Interp *interpret(const Verify *v, const IrGraph *g, bool training) {
    Interp *it = prepare(v, g, training);
    interp_run(it);
    return it;
}

/* ---- ties ------------------------------------------------------------------------------------ */

/* Smallest distance between neighbours among the k+1 largest of any row that is routed. */
static double row_margin(const double *row, int64_t n, int64_t k) {
    double last = 0, margin = INFINITY;
    for (int64_t i = 0; i <= k && i < n; i++) { /* the i-th largest, by counting */
        double best = -INFINITY;
        for (int64_t j = 0; j < n; j++) {
            int64_t larger = 0;
            for (int64_t l = 0; l < n; l++)
                larger += row[l] > row[j] || (row[l] == row[j] && l < j);
            if (larger == i) best = row[j];
        }
        if (i && last - best < margin) margin = last - best;
        last = best;
    }
    return margin;
}

static double routing_margin(const IrGraph *g, const Interp *it) {
    double margin = INFINITY;
    IR_FOR (n, g) {
        if (n->op != OP_topk) continue;
        const RefTensor *gate = interp_value(it, n->in[0]);
        int64_t e = ir_cols(&gate->type), rows = ir_rows(&gate->type);
        for (int64_t t = 0; t < rows; t++)
            margin = fmin(margin, row_margin(gate->data + t * e, e, ir_int(n, ATTR_topk_k)));
    }
    return margin;
}

/* ---- comparisons ----------------------------------------------------------------------------- */

static bool is_grad(const VmTensor *t) {
    return t->role == VM_ROLE_GRAD;
}

/* How far rounding alone may move the outputs of a graph: the f64 interpreter run again with every
 * number moved in its last places. A gradient that cancels to 0 in theory is what rounding leaves
 * of it in f32. */
enum { VERIFY_MOVED = 3 };
typedef struct Rounding {
    const Interp *exact, *moved[VERIFY_MOVED];
} Rounding;

/* Graph g as `exact` has run it, with everything rounded more coarsely than f32 does. */
static Rounding rounding_of(const Verify *v, const IrGraph *g, const Interp *exact, bool training) {
    Rounding r = {.exact = exact};
    if (v->s->bf16) return r; /* compared as wholes, with a tolerance beyond all this */
    for (int i = 0; i < VERIFY_MOVED; i++) {
        Interp *it = prepare(v, g, training);
        interp_disturb(it, ROUNDED_PART, v->seed + (uint64_t)i);
        interp_run(it);
        r.moved[i] = it;
    }
    return r;
}

/* Largest difference that output `name` may show for that reason alone. */
static double rounding_in(const Rounding *r, const char *name) {
    const RefTensor *exact = interp_out(r->exact, name);
    double most = 0;
    for (int i = 0; i < VERIFY_MOVED && r->moved[i]; i++) {
        const RefTensor *moved = interp_out(r->moved[i], name);
        for (int64_t k = 0, n = ir_elems(&exact->type); k < n; k++)
            most = fmax(most, fabs(moved->data[k] - exact->data[k]));
    }
    return most;
}

/* Results of a compiled program against the interpreter's of the same names. */
static Row compare(const Verify *v, const char *what, const Program *p, int index,
                   const Rounding *rounding, bool grads, double floor) {
    const Interp *it = rounding->exact;
    Row r = {.what = what};
    for (int i = 0; i < p->code->ntensor; i++) {
        const VmTensor *t = &p->code->tensor[i];
        if (t->role < VM_ROLE_OUTPUT || is_grad(t) != grads) continue;
        const RefTensor *want = interp_out(it, t->name);
        VM_CHECK(want, "the interpreter has no output %s", t->name);
        const void *have = vm_engine_address(v->one, index, t);
        double error = v->s->bf16 ? compare_spread(t, have, want, floor)
                                  : compare_difference(t, have, want, floor, 0);
        if (!v->s->bf16 && error > v->tolerance) { /* what is more than rounding explains? */
            double scale = fmax(compare_largest(want->data, ir_elems(&want->type)), floor);
            double slack =
                fmin(ROUNDED_SAFETY * rounding_in(rounding, t->name), ROUNDED_MOST * scale);
            error = compare_difference(t, have, want, floor, slack);
        }
        worse(&r, error, t->name);
    }
    return r;
}

/* Where a weight's gradient is largest, and random places. */
static int64_t sample_element(const Verify *v, const RefTensor *grad, const char *name, int i) {
    int64_t n = ir_elems(&grad->type), at = 0;
    if (i > 0) {
        uint32_t key[2];
        vm_rng_key(v->seed, vm_hash_name(name), 2, key);
        return (int64_t)(vm_rng_bits(key, (uint32_t)i) % (uint64_t)n);
    }
    for (int64_t j = 1; j < n; j++)
        if (fabs(grad->data[j]) > fabs(grad->data[at])) at = j;
    return at;
}

typedef struct Slope {
    Interp *it;
    const char *name;
    double *w;
    int64_t at;
} Slope;

static double objective_at(const Slope *s, double x) {
    double keep = s->w[s->at];
    s->w[s->at] = x;
    interp_set(s->it, s->name, s->w);
    s->w[s->at] = keep;
    interp_run(s->it);
    return interp_objective(s->it);
}

static double slope(const Slope *s, double h) {
    double x = s->w[s->at];
    return (objective_at(s, x + h) - objective_at(s, x - h)) / (2 * h);
}

/* Central differences; smaller steps when the first one disagrees, for it may have crossed a kink
 * of relu or a change of routing. */
static double slope_error(const Slope *s, double want, double scale) {
    static const double step[] = {1e-4, 1e-5, 1e-6, 1e-7, 1e-8};
    double best = INFINITY;
    for (int i = 0; i < 5 && !(best <= FD_TOLERANCE); i++)
        best = fmin(best, fabs(slope(s, step[i]) - want) / scale);
    return best;
}

static Row finite_differences(const Verify *v, const Interp *gradients, Interp *it, double floor) {
    Row r = {.what = "gradients: interpreter, finite differences"};
    interp_hold(it, true);
    IR_FOR (n, v->model) {
        if (!ir_learns(n)) continue;
        const char *name = ir_str(n, ATTR_param_name);
        const RefTensor *grad = interp_out(gradients, arena_printf(v->s->arena, "grad.%s", name));
        VM_CHECK(grad, "weight %s has no gradient", name);
        int64_t elems = ir_elems(&grad->type);
        Slope s = {.it = it, .name = name, .w = ARENA_ARRAY(v->s->arena, double, elems)};
        memcpy(s.w, interp_value(it, &n->out[0])->data, (size_t)elems * sizeof *s.w);
        for (int i = 0; i < v->samples && i < elems; i++) {
            s.at = sample_element(v, grad, name, i);
            worse(
                &r,
                slope_error(&s, grad->data[s.at], fmax(compare_largest(grad->data, elems), floor)),
                name);
        }
        interp_set(it, name, s.w);
    }
    interp_hold(it, false);
    return r;
}

/* Gradients with rounded operands beside those without: of the whole model, so that a wrong product
 * shows. */
static Row against_exact(const Verify *v, const Interp *gradients, double floor) {
    Row r = {.what = "gradients: interpreter in bf16, interpreter"};
    const Interp *exact = interpret(v, v->exact, true);
    IR_FOR (n, v->model) {
        if (!ir_learns(n)) continue;
        const char *name = arena_printf(v->s->arena, "grad.%s", ir_str(n, ATTR_param_name));
        const RefTensor *x = interp_out(gradients, name), *y = interp_out(exact, name);
        int64_t elems = ir_elems(&y->type);
        double scale = fmax(compare_largest(y->data, elems), floor), sum = 0;
        for (int64_t i = 0; i < elems; i++)
            sum += (x->data[i] - y->data[i]) * (x->data[i] - y->data[i]);
        worse(&r, sqrt(sum / (double)elems) / scale, name);
    }
    return r;
}

/* ---- threads --------------------------------------------------------------------------------- */

static void train_steps(const Verify *v, VmEngine *e, int program) {
    for (int i = 0; i < TRAIN_STEPS; i++) {
        vm_step_scalars(&v->s->pass.optimizer, 1e-3, i, vm_engine_data(e, program, VM_INPUT_STEP));
        vm_engine_run(e, program, v->seed, (uint64_t)i);
    }
}

/* Counts tensors whose bits differ between the two engines. */
static void same_bits(const Verify *v, Row *r, const Program *p, int index) {
    int wrong = (int)r->worst;
    for (int i = 0; i < p->code->ntensor; i++) {
        const VmTensor *t = &p->code->tensor[i];
        if (t->role == VM_ROLE_INPUT || t->role == VM_ROLE_RNG_KEY) continue;
        int64_t n = 4;
        for (int j = 0; j < t->rank; j++) n *= t->dim[j];
        bool same = !memcmp(vm_engine_address(v->one, index, t),
                            vm_engine_address(v->many, index, t), (size_t)n);
        r->count++;
        if (same) continue;
        if (!wrong++) r->where = t->name;
    }
    r->worst = wrong;
}

static void compare_threads(Verify *v) {
    Row r = {.what = arena_printf(v->s->arena, "bits: 1 thread, %d threads", v->threads)};
    const Program *program[] = {v->eval, v->jit_grad, v->train};
    for (int i = 0; i < 3; i++) {
        if (!program[i]) continue;
        VmEngine *engine[] = {v->one, v->many};
        for (int j = 0; j < 2; j++) {
            set_inputs(v, engine[j], i);
            if (program[i] == v->train)
                train_steps(v, engine[j], i);
            else
                vm_engine_run(engine[j], i, v->seed, 0);
        }
        same_bits(v, &r, program[i], i);
    }
    report(v, r, 0);
}

/* ---- the command ----------------------------------------------------------------------------- */

static VmStatus make_engine(Verify *v, int threads, VmEngine **out) {
    VmError err = {.text = ""};
    VmStatus st = vm_engine_create(threads, out, &err);
    const Program *program[] = {v->eval, v->jit_grad, v->train};
    for (int i = 0; i < 3 && !st; i++)
        if (program[i] && vm_engine_add(*out, program[i]->code, &err) != i) st = VM_ENV;
    if (st) return drv_fail(st, "%s", err.text);
    return set_weights(v, *out);
}

/* A clone of the model before anything rewrites it: expanded, and differentiated in PIPE_GRAD. */
static IrGraph *front_of(const Verify *v, Pipeline pipe, bool bf16, bool training) {
    IrGraph *g = ir_graph_clone(v->s->arena, v->model);
    const PassId *list;
    int n = pass_pipeline_part(pipe, bf16, PASS_expand, PASS_simplify, &list);
    session_run_passes(v->s, g, list, n, training);
    return g;
}

static void reference_graphs(Verify *v, bool loss) {
    v->tolerance = v->s->bf16 ? BF16_TOLERANCE : COMPARE_TOLERANCE;
    v->eval_graph = v->training_graph = v->model;
    if (loss) v->grad = front_of(v, PIPE_GRAD, false, true);
    if (!v->s->bf16) return;
    v->eval_graph = front_of(v, PIPE_EVAL, true, false);
    v->training_graph = front_of(v, PIPE_EVAL, true, true);
    v->exact = v->grad;
    if (loss) v->grad = front_of(v, PIPE_GRAD, true, true);
}

static VmStatus compile_all(Verify *v) {
    Session *s = v->s;
    VmStatus st = session_module(s);
    if (st) return st;
    VmError err = {.text = ""};
    bool loss = session_has_loss(v->model);
    v->eval = session_compile(s, KIND_EVAL, v->batch, false, &err);
    if (v->eval && loss) v->jit_grad = session_compile(s, KIND_GRAD, v->batch, false, &err);
    if (v->jit_grad) v->train = session_compile(s, KIND_TRAIN, v->batch, false, &err);
    if (!v->eval || (loss && !v->train)) return drv_fail(err.status, "%s", err.text);
    reference_graphs(v, loss);
    st = make_engine(v, 1, &v->one);
    return st ? st : make_engine(v, v->threads, &v->many);
}

/* Takes the first seed from v->seed on whose inputs are far from ties. */
static VmStatus choose_inputs(Verify *v, Interp **eval, Interp **training) {
    double margin = 0;
    for (int i = 0; i < SEED_TRIES && !(margin > TIE_MARGIN); i++) {
        if (i) v->seed++;
        VmStatus st = set_weights(v, v->one);
        if (!st) st = set_weights(v, v->many);
        if (st) return st;
        *eval = interpret(v, v->eval_graph, false);
        *training = v->grad ? interpret(v, v->training_graph, true) : NULL;
        margin = routing_margin(v->eval_graph, *eval);
        if (*training) margin = fmin(margin, routing_margin(v->training_graph, *training));
    }
    if (!(margin > TIE_MARGIN))
        fprintf(stderr,
                "vmoec: warning: gates are closer than %g to a tie; routing may differ between f32 "
                "and f64\n",
                TIE_MARGIN);
    return VM_OK;
}

static VmStatus verify(Verify *v) {
    VmStatus st = compile_all(v);
    Interp *eval = NULL, *training = NULL;
    if (!st) st = choose_inputs(v, &eval, &training);
    if (st) return st;
    printf("verify %s of %s: %lld images, seed %llu\n", v->s->model, v->s->path,
           (long long)v->batch, (unsigned long long)v->seed);
    printf("  %-44s %6s  %9s\n", "compared", "count", "worst");
    set_inputs(v, v->one, 0);
    vm_engine_run(v->one, 0, v->seed, 0);
    Rounding rounding = rounding_of(v, v->eval_graph, eval, false);
    report(
        v,
        compare(v, "evaluation results: compiled, interpreter", v->eval, 0, &rounding, false, 1e-3),
        v->tolerance);
    if (v->grad) {
        Interp *gradients = interpret(v, v->grad, true);
        double floor = 0;
        IR_FOR (n, v->model) {
            if (n->op != OP_param) continue;
            const RefTensor *g = interp_out(
                gradients, arena_printf(v->s->arena, "grad.%s", ir_str(n, ATTR_param_name)));
            if (g) floor = fmax(floor, 1e-3 * compare_largest(g->data, ir_elems(&g->type)));
        }
        if (floor == 0) return drv_fail(VM_INPUT, "every gradient of %s is zero", v->s->model);
        set_inputs(v, v->one, 1);
        vm_engine_run(v->one, 1, v->seed, 0);
        rounding = rounding_of(v, v->training_graph, training, true);
        report(v,
               compare(v, "training results: compiled, interpreter", v->jit_grad, 1, &rounding,
                       false, 1e-3),
               v->tolerance);
        rounding = rounding_of(v, v->grad, gradients, true);
        report(
            v,
            compare(v, "gradients: compiled, interpreter", v->jit_grad, 1, &rounding, true, floor),
            v->tolerance);
        if (v->exact) /* rounding has steps and no slopes */
            report(v, against_exact(v, gradients, floor), BF16_GRADIENT);
        else
            report(v, finite_differences(v, gradients, training, floor), FD_TOLERANCE);
    }
    FunctionErrors f;
    st = verify_functions(v->s, v->model, eval, &f);
    if (st) return st;
    if (f.count)
        report(v, (Row){"functions, element by element", f.count, f.worst, f.where},
               FUNCTION_TOLERANCE);
    compare_threads(v);
    return v->failed ? drv_fail(VM_INPUT, "results disagree") : VM_OK;
}

VmStatus cmd_verify(const Args *a) {
    Session s;
    VmStatus st = drv_open(a, false, &s);
    if (st) return st;
    int cpus = vm_threads(0);
    Verify v = {.s = &s,
                .batch = opt_or(a->o.batch, 2),
                .seed = (uint64_t)opt_or(a->o.seed, 0),
                .samples = (int)opt_or(a->o.samples, 2),
                .threads = (int)opt_or(a->o.threads, cpus > 2 ? cpus : 2)};
    v.model = session_graph(&s, v.batch);
    st = v.model ? verify(&v) : VM_INPUT;
    vm_engine_destroy(v.one);
    vm_engine_destroy(v.many);
    session_close(&s);
    return st;
}
