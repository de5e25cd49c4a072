/* What the tests of the library share: see util_std.h. */
#include "tests/std/util_std.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "frontend/frontend.h"
#include "runtime/train/train.h"
#include "tests/ops/util_jit.h"

static const uint64_t seed = 11;
static const double step = 1e-5, slope_tolerance = 1e-6, jit_tolerance = 1e-5;

IrGraph *std_model(Arena *a, const char *text, int64_t batch) {
    char path[] = "/tmp/vmoec-std-XXXXXX";
    int fd = mkstemp(path);
    cr_assert(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
    Diags *d = diags_create(a);
    FeOptions opt = {.model_dir = "models"};
    VmError io = {.text = ""};
    FeExperiment *e = fe_load(a, path, &opt, d, &io);
    unlink(path);
    cr_assert_not_null(e, "%s", io.text);
    IrGraph *g = fe_nmodel(e) ? fe_elaborate(e, a, fe_model_name(e, 0), batch, d) : NULL;
    if (d->nerrors) diags_print(stderr, d, false);
    cr_assert_not_null(g);
    return g;
}

Interp *std_run(Arena *a, const IrGraph *g, const StdData *data, bool training) {
    Interp *it = interp_create(a, g, training);
    case_fill_all(it, g, seed);
    for (const StdData *s = data; s && s->name; s++)
        cr_assert(interp_set(it, s->name, s->v), "there is no %s", s->name);
    interp_run(it);
    return it;
}

void std_expect(const Interp *it, const char *name, const double *want, int n) {
    const RefTensor *got = interp_out(it, name);
    cr_assert_not_null(got, "there is no result %s", name);
    cr_assert_eq(ir_elems(&got->type), n, "%s has %lld elements, expected %d", name,
                 (long long)ir_elems(&got->type), n);
    double top = 0;
    for (int i = 0; i < n; i++) top = fmax(top, fabs(want[i]));
    for (int i = 0; i < n; i++)
        cr_assert(fabs(got->data[i] - want[i]) <= 1e-5 * top,
                  "%s element %d is %.9g, expected %.9g", name, i, got->data[i], want[i]);
}

/* ---- gradients and differences -------------------------------------------------------------- */

static bool is_loss(const IrOut *o) {
    return o->kind == OUT_loss || o->kind == OUT_aux;
}

IrGraph *std_differentiated(Arena *a, const IrGraph *g) {
    IrGraph *d = ir_graph_clone(a, g);
    PassCtx c = pass_ctx(arena_create());
    c.training = true;
    const PassId list[] = {PASS_expand, PASS_autodiff};
    const char *error = pass_run(&c, d, list, 2);
    cr_assert_null(error, "%s", error);
    arena_destroy(c.scratch);
    return d;
}

static double moved(Interp *it, const char *name, double *w, int64_t at, double by) {
    double keep = w[at];
    w[at] += by;
    interp_set(it, name, w);
    w[at] = keep;
    interp_run(it);
    return interp_objective(it);
}

static void check_weight(Arena *a, Interp *it, const IrNode *param, const RefTensor *grad,
                         const char *loss) {
    const char *name = ir_str(param, ATTR_param_name);
    int64_t n = ir_elems(&param->out[0].type);
    double *w = ARENA_ARRAY(a, double, n), top = 0;
    memcpy(w, interp_value(it, &param->out[0])->data, (size_t)n * sizeof *w);
    for (int64_t i = 0; i < n; i++) top = fmax(top, fabs(grad->data[i]));
    for (int64_t i = 0; i < n; i++) {
        double slope = (moved(it, name, w, i, step) - moved(it, name, w, i, -step)) / (2 * step);
        cr_assert(fabs(slope - grad->data[i]) <= slope_tolerance * (top + 1),
                  "d %s / d %s[%lld]: autodiff says %.9g, differences say %.9g", loss, name,
                  (long long)i, grad->data[i], slope);
    }
    interp_set(it, name, w);
}

static void check_slopes(Arena *a, const IrGraph *model, const StdData *data) {
    for (int i = 0; i < model->nout; i++) {
        if (!is_loss(&model->out[i])) continue;
        IrGraph *g = ir_graph_clone(a, model);
        for (int j = 0; j < g->nout; j++) g->out[j].weight = j == i;
        const char *loss = g->out[i].name;
        Interp *gradient = std_run(a, std_differentiated(a, g), data, true),
               *it = std_run(a, g, data, true);
        interp_hold(it, true);
        bool live = false;
        IR_FOR (n, g) {
            if (n->op != OP_param || ir_int(n, ATTR_param_state)) continue;
            const RefTensor *grad =
                interp_out(gradient, arena_printf(a, "grad.%s", ir_str(n, ATTR_param_name)));
            cr_assert_not_null(grad);
            for (int64_t k = 0; k < ir_elems(&grad->type); k++) live |= grad->data[k] != 0;
            check_weight(a, it, n, grad, loss);
        }
        cr_assert(live, "%s has no gradient", loss);
    }
}

/* ---- compiled ------------------------------------------------------------------------------- */

static void set_leaves(VmEngine *e, const Jit *j, const Interp *it, const IrGraph *reference) {
    for (int i = 0; i < j->program->ntensor; i++) {
        const VmTensor *t = &j->program->tensor[i];
        if (t->role != VM_ROLE_INPUT && t->role != VM_ROLE_PARAM) continue;
        const IrNode *leaf =
            ir_find_leaf(reference, t->role == VM_ROLE_PARAM ? OP_param : OP_input, t->name);
        const double *from = interp_value(it, &leaf->out[0])->data;
        void *to = vm_engine_data(e, 0, t->name);
        for (int64_t k = 0; k < ir_elems(&leaf->out[0].type); k++) {
            if (leaf->out[0].type.dtype == DT_f32)
                ((float *)to)[k] = (float)from[k];
            else
                ((int32_t *)to)[k] = (int32_t)from[k];
        }
    }
}

static void compare(const IrOut *o, const void *data, const Interp *it, const char *isa) {
    const RefTensor *want = interp_out(it, o->name);
    double top = 0;
    int64_t n = ir_elems(&want->type);
    bool f32 = want->type.dtype == DT_f32;
    for (int64_t i = 0; i < n; i++) top = fmax(top, fabs(want->data[i]));
    for (int64_t i = 0; i < n; i++) {
        double got = f32 ? (double)((const float *)data)[i] : (double)((const int32_t *)data)[i];
        cr_assert(fabs(got - want->data[i]) <= jit_tolerance * (top + 1e-3),
                  "%s: %s element %lld is %.9g compiled, %.9g interpreted", isa, o->name,
                  (long long)i, got, want->data[i]);
    }
}

static void check_compiled(Arena *a, const IrGraph *model, const StdData *data) {
    IrGraph *reference = std_differentiated(a, model);
    Interp *it = std_run(a, reference, data, true);
    const char *isa;
    for (int k = 0; (isa = jit_isa(a, k)); k++) {
        Jit j = jit_compile(a, model, PIPE_GRAD, isa, isa);
        VmEngine *e;
        VmError err;
        cr_assert_eq(vm_engine_create(2, &e, &err), VM_OK, "%s", err.text);
        cr_assert_eq(vm_engine_add(e, j.program, &err), 0, "%s", err.text);
        set_leaves(e, &j, it, reference);
        vm_engine_run(e, 0, seed, 3);
        for (int i = 0; i < reference->nout; i++)
            compare(&reference->out[i], vm_engine_data(e, 0, reference->out[i].name), it, isa);
        vm_engine_destroy(e);
        jit_free(&j);
    }
}

void std_check(Arena *a, const IrGraph *g, const StdData *data) {
    check_slopes(a, g, data);
    check_compiled(a, g, data);
}
