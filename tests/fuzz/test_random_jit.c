/* Random programs through generated code: forward results and gradients must agree with the
 * interpreter as far as the program's own sensitivity allows, with the same bits for any number of
 * threads. Seeds stand in every message; VMOEC_FUZZ_N sets how many programs are tried,
 * VMOEC_FUZZ_SEED the first. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

#include "tests/ops/util_gen_graph.h"
#include "tests/ops/util_jit.h"

/* Fills leaves with data, every float moved by up to one part in a million. */
static void fill_moved(Arena *a, Interp *it, const IrGraph *g, uint64_t data) {
    CaseRng r = {data};
    case_fill_all(it, g, data);
    IR_FOR (n, g) {
        if ((n->op != OP_param && n->op != OP_input) || n->out[0].type.dtype != DT_f32) continue;
        int64_t count = ir_elems(&n->out[0].type);
        double *x = ARENA_ARRAY(a, double, count);
        case_fill(n, data, x);
        for (int64_t i = 0; i < count; i++) x[i] *= 1 + 1e-6 * (2 * case_unit(&r) - 1);
        interp_set(it, ir_str(n, n->op == OP_param ? ATTR_param_name : ATTR_input_name), x);
    }
}

/* The graph of g that the interpreter can differentiate. */
static IrGraph *differentiated(Arena *a, const IrGraph *g) {
    IrGraph *copy = ir_graph_clone(a, g);
    PassCtx c = pass_ctx(arena_create());
    c.training = true;
    const PassId list[] = {PASS_expand, PASS_autodiff};
    cr_assert_null(pass_run(&c, copy, list, 2));
    arena_destroy(c.scratch);
    return copy;
}

/* Worst difference from `want` that rounding explains: 100 times what a millionth on every input
 * moves. */
static double allowed(const RefTensor *want, const RefTensor *moved) {
    double top = 0, shift = 0;
    for (int64_t i = 0, n = ir_elems(&want->type); i < n; i++) {
        top = fmax(top, fabs(want->data[i]));
        shift = fmax(shift, fabs(want->data[i] - moved->data[i]));
    }
    return 100 * shift + 2e-5 * top + 5e-6;
}

static void compare(const JitRun *run, const IrGraph *g, const Interp *want, const Interp *moved,
                    uint64_t id, const char *isa) {
    for (int i = 0; i < g->nout; i++) {
        const char *name = g->out[i].name;
        const RefTensor *w = interp_out(want, name);
        const JitResult *x = jit_find(run, name);
        cr_assert(x && ir_type_equal(&w->type, &x->type), "seed %llu, %s: result %s is missing",
                  (unsigned long long)id, isa, name);
        double limit = allowed(w, interp_out(moved, name));
        for (int64_t e = 0, n = ir_elems(&w->type); e < n; e++)
            cr_assert(
                fabs(w->data[e] - x->data[e]) <= limit,
                "seed %llu, %s: %s element %lld is %.9g, expected %.9g (allowed difference %.2g)",
                (unsigned long long)id, isa, name, (long long)e, x->data[e], w->data[e], limit);
    }
}

/* False when no data set is stable for this program. */
static bool check_program(uint64_t id, int steps) {
    Arena *a = arena_create();
    IrGraph *g = gen_graph(a, id, steps);
    Interp *it = interp_create(a, g, true);
    uint64_t data = id;
    for (; data < id + 8; data++) {
        case_fill_all(it, g, data);
        interp_run(it);
        if (!gen_unstable(it, g)) break;
    }
    if (data == id + 8) {
        arena_destroy(a);
        return false;
    }
    IrGraph *grad = differentiated(a, g);
    Interp *want = interp_create(a, grad, true), *moved = interp_create(a, grad, true);
    case_fill_all(want, grad, data);
    fill_moved(a, moved, grad, data);
    interp_run(want);
    interp_run(moved);
    int isas = 0;
    for (const char *isa; (isa = jit_isa(a, isas)); isas++) {
        const char *what = arena_printf(a, "seed %llu, %s", (unsigned long long)id, isa);
        Jit j = jit_compile(a, g, PIPE_GRAD, isa, what);
        JitRun one = jit_run(a, &j, data, 1, what), three = jit_run(a, &j, data, 3, what);
        compare(&one, grad, want, moved, id, isa);
        jit_same_bits(&one, &three, what);
        jit_free(&j);
    }
    cr_assert(isas > 0, "this machine has neither AVX-512 nor AVX2");
    arena_destroy(a);
    return true;
}

Test(random_jit, agrees_with_the_interpreter) {
    int64_t n = gen_count(12), compared = 0;
    uint64_t first = gen_first(5000);
    for (uint64_t id = first; id < first + (uint64_t)n; id++)
        compared += check_program(id, 3 + (int)(id % 13));
    cr_assert(2 * compared >= n, "only %lld of %lld random programs could be compared",
              (long long)compared, (long long)n);
}
