/* The dense twin of a model: where there is one expert and its gate is 1, the mixture itself is a
 * plain layer, so both must have the same results and, for the weights they share, the same
 * gradients. */
#include <criterion/criterion.h>

#include <string.h>

#include "frontend/syntax/diag.h"
#include "frontend/frontend.h"
#include "interp/interp.h"
#include "passes/passes.h"

static IrGraph *elaborate(Arena *a) {
    Diags *d = diags_create(a);
    FeOptions opt = {.model_dir = "models"};
    VmError error = {.text = ""};
    FeExperiment *e = fe_load(a, "tests/unit/dense.vmoe", &opt, d, &error);
    cr_assert(e && d->nerrors == 0);
    IrGraph *g = fe_elaborate(e, a, "m", 4, d);
    cr_assert(g && d->nerrors == 0);
    return g;
}

static void differentiate(IrGraph *g, bool dense) {
    static const PassId list[] = {PASS_dense, PASS_expand, PASS_autodiff};
    PassCtx c = pass_ctx(arena_create());
    const char *error = pass_run(&c, g, list + !dense, 3 - !dense);
    cr_assert_null(error, "%s", error);
    arena_destroy(c.scratch);
}

/* Values that are a function of the weight's name without the copy's number. */
static void fill(Interp *it, const IrGraph *g) {
    Arena *a = arena_create();
    IR_FOR (n, g) {
        if (n->op != OP_param && n->op != OP_input) continue;
        char name[200];
        snprintf(name, sizeof name, "%s", n->attr[0].s);
        size_t len = strlen(name);
        if (len > 2 && !strcmp(name + len - 2, ".0")) name[len - 2] = '\0';
        uint64_t h = 1469598103934665603u;
        for (const char *s = name; *s; s++) h = (h ^ (uint64_t)*s) * 1099511628211u;
        int64_t count = ir_elems(&n->out[0].type);
        double *x = ARENA_ARRAY(a, double, count);
        for (int64_t i = 0; i < count; i++) {
            h = h * 6364136223846793005u + 1442695040888963407u;
            x[i] = n->out[0].type.dtype == DT_i32 ? (double)(i % 3)
                                                  : (double)(h >> 40) / (1 << 23) - 1;
        }
        interp_set(it, n->attr[0].s, x);
    }
    arena_destroy(a);
}

Test(dense, one_expert_is_a_plain_layer) {
    Arena *a = arena_create();
    IrGraph *g = elaborate(a), *twin = ir_graph_clone(a, g);
    differentiate(g, false);
    differentiate(twin, true);
    IR_FOR (n, twin) {
        cr_assert(n->op != OP_route && n->op != OP_topk && n->op != OP_dispatch, "%s is left",
                  ir_ops[n->op].name);
        cr_assert(n->op != OP_param || !strstr(n->attr[0].s, "gate"), "%s is left", n->attr[0].s);
    }
    cr_assert(!ir_find_out(twin, "moe.load_balance"));
    Interp *x = interp_create(a, g, true), *y = interp_create(a, twin, true);
    fill(x, g);
    fill(y, twin);
    interp_run(x);
    interp_run(y);
    int compared = 0;
    for (int i = 0; i < twin->nout; i++) {
        char name[200];
        snprintf(name, sizeof name, "%s", twin->out[i].name);
        size_t len = strlen(name);
        if (len > 2 && !strcmp(name + len - 2, ".0")) name[len - 2] = '\0';
        const RefTensor *have = interp_out(y, twin->out[i].name), *want = interp_out(x, name);
        cr_assert(want != NULL, "%s has no counterpart", twin->out[i].name);
        for (int64_t e = 0; e < ir_elems(&want->type); e++)
            cr_assert_float_eq(have->data[e], want->data[e], 1e-12, "%s, element %d", name, (int)e);
        compared++;
    }
    cr_assert(compared >= 12, "%d results", compared);
    arena_destroy(a);
}
