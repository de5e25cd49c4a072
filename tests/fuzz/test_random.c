/* Random programs through the passes: expansion, differentiation and every optimisation must keep
 * what the interpreter computes, gradients must be slopes, and the text form must read back. Seeds
 * stand in every message; VMOEC_FUZZ_N sets how many programs are tried, VMOEC_FUZZ_SEED the first.
 */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "passes/passes.h"
#include "tests/ops/util_gen_graph.h"

/* One random program with data it is stable on. */
typedef struct Program {
    Arena *arena;
    uint64_t seed, data;
    IrGraph *g;
    Interp *it; /* of g in training mode, run */
} Program;

/* False (arena destroyed) when eight data sets all leave some choice too close to call. */
static bool program_make(Program *p, uint64_t seed, int steps) {
    *p = (Program){.arena = arena_create(), .seed = seed};
    p->g = gen_graph(p->arena, seed, steps);
    const char *error = ir_verify(p->arena, p->g, true);
    cr_assert_null(error, "seed %llu: %s", (unsigned long long)seed, error);
    p->it = interp_create(p->arena, p->g, true);
    for (p->data = seed; p->data < seed + 8; p->data++) {
        case_fill_all(p->it, p->g, p->data);
        interp_run(p->it);
        if (!gen_unstable(p->it, p->g)) return true;
    }
    arena_destroy(p->arena);
    return false;
}

static Interp *evaluate(const Program *p, const IrGraph *g, bool training) {
    Interp *it = interp_create(p->arena, g, training);
    case_fill_all(it, g, p->data);
    interp_run(it);
    return it;
}

/* Every named result of `from` exists in the other graph with the same values. */
static void same_results(const Program *p, const char *what, const IrGraph *from,
                         const Interp *want, const Interp *got) {
    for (int i = 0; i < from->nout; i++) {
        const char *name = from->out[i].name;
        const RefTensor *w = interp_out(want, name), *x = interp_out(got, name);
        cr_assert_not_null(x, "seed %llu, %s: result %s is gone", (unsigned long long)p->seed, what,
                           name);
        cr_assert(ir_type_equal(&w->type, &x->type), "seed %llu, %s: result %s has another type",
                  (unsigned long long)p->seed, what, name);
        int64_t at;
        double err = case_error(w->data, x->data, ir_elems(&w->type), false, INFINITY, &at);
        cr_assert(err < 1e-7, "seed %llu, %s: result %s element %lld was %.12g, now %.12g",
                  (unsigned long long)p->seed, what, name, (long long)at, w->data[at], x->data[at]);
    }
}

static void run_pass(const Program *p, PassCtx *c, IrGraph *g, PassId pass) {
    const char *error = pass_run(c, g, &pass, 1);
    cr_assert_null(error, "seed %llu: %s", (unsigned long long)p->seed, error);
}

/* Objective of g with every param moved by h along a fixed random direction; *along: gradient *
 * direction. */
static double objective_moved(const Program *p, const Interp *grad, double h, double *along,
                              double *size) {
    Arena *a = arena_create();
    *along = *size = 0;
    IR_FOR (n, p->g) {
        if (n->op != OP_param) continue;
        const char *name = ir_str(n, ATTR_param_name);
        int64_t count = ir_elems(&n->out[0].type);
        double *x = ARENA_ARRAY(a, double, count);
        case_fill(n, p->data, x);
        const RefTensor *g = interp_out(grad, arena_printf(a, "grad.%s", name));
        cr_assert_not_null(g, "seed %llu: no gradient of %s", (unsigned long long)p->seed, name);
        CaseRng r = {p->seed + (uint64_t)n->id};
        for (int64_t i = 0; i < count; i++) {
            double direction = 2 * case_unit(&r) - 1;
            x[i] += h * direction;
            *along += g->data[i] * direction;
            *size += fabs(g->data[i] * direction);
        }
        interp_set(p->it, name, x);
    }
    interp_run(p->it);
    arena_destroy(a);
    return interp_objective(p->it);
}

static void check_slope(const Program *p, const Interp *grad) {
    double along = 0, size = 0, slope = 0, step = 1e-6;
    /* A kink closer than the first step is left behind by the second. */
    for (int i = 0; i < 2; i++, step /= 10) {
        double up = objective_moved(p, grad, step, &along, &size);
        double down = objective_moved(p, grad, -step, &along, &size);
        slope = (up - down) / (2 * step);
        if (fabs(slope - along) <= 2e-5 * (size + 0.1)) break;
    }
    objective_moved(p, grad, 0, &along, &size);
    cr_assert(fabs(slope - along) <= 2e-5 * (size + 0.1),
              "seed %llu: the gradient along a random direction is %.9g, differences say %.9g",
              (unsigned long long)p->seed, along, slope);
}

static bool any_gradient(const IrGraph *g, const Interp *it) {
    for (int i = 0; i < g->nout; i++) {
        if (g->out[i].kind != OUT_grad) continue;
        const RefTensor *t = interp_out(it, g->out[i].name);
        for (int64_t e = 0; e < ir_elems(&t->type); e++)
            if (t->data[e] != 0) return true;
    }
    return false;
}

static void check_text(const Program *p, const IrGraph *g) {
    const char *text = ir_to_text(p->arena, g), *error = NULL;
    IrGraph *back = ir_read(p->arena, text, "random.vir", &error);
    cr_assert_not_null(back, "seed %llu: %s", (unsigned long long)p->seed, error);
    cr_assert_str_eq(ir_to_text(p->arena, back), text, "seed %llu: text does not read back",
                     (unsigned long long)p->seed);
}

static const PassId optimisations[] = {PASS_simplify, PASS_cse, PASS_simplify, PASS_fuse};

static void check_training(const Program *p, bool *learns) {
    PassCtx c = pass_ctx(arena_create());
    c.training = true;
    IrGraph *g = ir_graph_clone(p->arena, p->g);
    run_pass(p, &c, g, PASS_expand);
    same_results(p, "after expand", p->g, p->it, evaluate(p, g, true));
    run_pass(p, &c, g, PASS_autodiff);
    IrGraph *whole = ir_graph_clone(p->arena, g);
    Interp *grad = evaluate(p, whole, true);
    same_results(p, "after autodiff", p->g, p->it, grad);
    *learns = any_gradient(whole, grad);
    check_slope(p, grad);
    check_text(p, g);
    for (size_t i = 0; i < sizeof optimisations / sizeof optimisations[0]; i++) {
        run_pass(p, &c, g, optimisations[i]);
        same_results(p, pass_name(optimisations[i]), whole, grad, evaluate(p, g, true));
    }
    check_text(p, g);
    arena_destroy(c.scratch);
}

static void check_evaluation(const Program *p) {
    Interp *want = evaluate(p, p->g, false);
    if (gen_unstable(want, p->g)) return; /* without dropout another choice may be close */
    PassCtx c = pass_ctx(arena_create());
    IrGraph *g = ir_graph_clone(p->arena, p->g);
    const PassId *list;
    int n = pass_pipeline(PIPE_EVAL, &list);
    const char *error = pass_run(&c, g, list, n);
    cr_assert_null(error, "seed %llu: %s", (unsigned long long)p->seed, error);
    same_results(p, "evaluation pipeline", p->g, want, evaluate(p, g, false));
    arena_destroy(c.scratch);
}

Test(random, passes_keep_results_and_gradients_are_slopes) {
    int64_t n = gen_count(400), stable = 0, learning = 0;
    uint64_t first = gen_first(1000);
    for (uint64_t seed = first; seed < first + (uint64_t)n; seed++) {
        Program p;
        if (!program_make(&p, seed, 4 + (int)(seed % 17))) continue;
        bool learns = false;
        check_text(&p, p.g);
        check_training(&p, &learns);
        check_evaluation(&p);
        stable++;
        learning += learns;
        arena_destroy(p.arena);
    }
    cr_assert(2 * stable >= n, "only %lld of %lld random programs could be compared",
              (long long)stable, (long long)n);
    cr_assert(10 * learning >= 9 * stable, "only %lld of %lld random programs have a gradient",
              (long long)learning, (long long)stable);
}

/* The generator must reach the whole language: every op a program may use turns up sooner or later.
 */
Test(random, generator_uses_every_differentiable_op) {
    bool seen[OP_COUNT] = {false};
    for (uint64_t seed = 1; seed <= 400; seed++) {
        Arena *a = arena_create();
        IrGraph *g = gen_graph(a, seed, 20);
        PassCtx c = pass_ctx(arena_create());
        c.training = true;
        IR_FOR (n, g) seen[n->op] = true;
        const PassId expand = PASS_expand;
        cr_assert_null(pass_run(&c, g, &expand, 1));
        IR_FOR (n, g) seen[n->op] = true;
        arena_destroy(c.scratch);
        arena_destroy(a);
    }
    for (int op = 0; op < OP_COUNT; op++) {
        bool needed = ir_ops[op].grad == GRAD_YES || ir_ops[op].grad == GRAD_VIA;
        /* Only gradient rules make expert_sum. */
        if (op == OP_expert_sum) continue;
        cr_assert(seen[op] || !needed, "no random program uses %s", ir_ops[op].name);
    }
}
