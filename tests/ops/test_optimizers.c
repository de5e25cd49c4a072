/* Optimizers over 60 steps against their formula in double precision, which shares nothing with the
 * passes or the code: a weight that two products read (straight and turned, so packed twice), one
 * without decay, and one that is frozen. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "runtime/train/train.h"
#include "tests/ops/util_jit.h"

enum { B = 6, M = 40, N = 24, STEPS = 60 };

/* h = x w + b, y = h w^T + x u, loss = 0.002 |y - x|^2 */
static const char *const text = "graph @t {\n"
                                "  %0 = input {name = \"x\"} : f32[6,40]\n"
                                "  %1 = param {name = \"w\"} : f32[40,24]\n"
                                "  %2 = param {name = \"b\", decay = 0} : f32[24]\n"
                                "  %3 = param {name = \"u\", frozen = 1} : f32[40,40]\n"
                                "  %4 = matmul %0, %1 : f32[6,24]\n"
                                "  %5 = broadcast %2 {shape = [6,24]} : f32[6,24]\n"
                                "  %6 = add %4, %5 : f32[6,24]\n"
                                "  %7 = matmul %6, %1 {tb = 1} : f32[6,40]\n"
                                "  %8 = matmul %0, %3 : f32[6,40]\n"
                                "  %9 = add %7, %8 : f32[6,40]\n"
                                "  %10 = sub %9, %0 : f32[6,40]\n"
                                "  %11 = mul %10, %10 : f32[6,40]\n"
                                "  %12 = sum %11 {axes = [0,1]} : f32[]\n"
                                "  loss \"l\" %12 {weight = 0.002}\n"
                                "}\n";

static double value(int64_t i, int64_t salt) {
    return (double)(float)((double)((i * 37 + salt) % 101 - 50) / 100);
}

static double rate(int step) {
    return 0.1 * (1 - step / 120.0);
}

/* ---- in double precision -------------------------------------------------------------------- */

typedef struct Exact {
    double x[B * M], w[M * N], b[N], u[M * M], sum_w[M * N], sum_b[N];
} Exact;

static void gradients(const Exact *t, double *dw, double *db) {
    double h[B][N], e[B][M], eh[B][N] = {{0}};
    for (int i = 0; i < B; i++)
        for (int n = 0; n < N; n++) {
            h[i][n] = t->b[n];
            for (int m = 0; m < M; m++) h[i][n] += t->x[i * M + m] * t->w[m * N + n];
        }
    for (int i = 0; i < B; i++)
        for (int m = 0; m < M; m++) {
            double y = 0;
            for (int n = 0; n < N; n++) y += h[i][n] * t->w[m * N + n];
            for (int k = 0; k < M; k++) y += t->x[i * M + k] * t->u[k * M + m];
            e[i][m] = 0.004 * (y - t->x[i * M + m]);
        }
    for (int i = 0; i < B; i++)
        for (int n = 0; n < N; n++)
            for (int m = 0; m < M; m++) eh[i][n] += e[i][m] * t->w[m * N + n];
    for (int n = 0; n < N; n++) {
        db[n] = 0;
        for (int i = 0; i < B; i++) db[n] += eh[i][n];
        for (int m = 0; m < M; m++) {
            dw[m * N + n] = 0;
            for (int i = 0; i < B; i++)
                dw[m * N + n] += t->x[i * M + m] * eh[i][n] + e[i][m] * h[i][n];
        }
    }
}

/* torch.optim.SGD */
static void sgd(const VmOptimizerSpec *o, double decay, double lr, double *p, double g,
                double *sum) {
    double d = g + decay * *p;
    *sum = o->momentum * *sum + d;
    *p -= lr * (o->nesterov ? d + o->momentum * *sum : *sum);
}

static void step_exactly(Exact *t, const VmOptimizerSpec *o, int step) {
    static double dw[M * N], db[N];
    gradients(t, dw, db);
    for (int n = 0; n < N; n++) {
        sgd(o, 0, rate(step), &t->b[n], db[n], &t->sum_b[n]);
        for (int m = 0; m < M; m++)
            sgd(o, o->weight_decay, rate(step), &t->w[m * N + n], dw[m * N + n],
                &t->sum_w[m * N + n]);
    }
}

/* ---- compiled ------------------------------------------------------------------------------- */

static VmProgram *compile(Arena *a, CgModule *m, const VmOptimizerSpec *o) {
    const char *error = NULL;
    IrGraph *g = ir_read(a, text, "test.vir", &error);
    cr_assert_not_null(g, "%s", error);
    PassCtx c = pass_ctx(arena_create());
    c.training = true;
    c.optimizer = *o;
    const PassId *list;
    int n = pass_pipeline(PIPE_TRAIN, &list);
    error = pass_run(&c, g, list, n);
    cr_assert_null(error, "%s", error);
    arena_destroy(c.scratch);
    VmProgram *p = cg_add_program(m, g, "test", B, 0);
    error = cg_module_compile(m);
    cr_assert_null(error, "%s", error);
    return p;
}

static void set(VmEngine *e, const char *name, const double *from, int n) {
    float *to = vm_engine_data(e, 0, name);
    for (int i = 0; i < n; i++) to[i] = (float)from[i];
}

static void expect(VmEngine *e, const char *name, const double *want, int n, const char *what) {
    const float *got = vm_engine_data(e, 0, name);
    cr_assert_not_null(got, "%s: no %s", what, name);
    for (int i = 0; i < n; i++)
        cr_assert(fabs((double)got[i] - want[i]) <= 1e-5 * (1 + fabs(want[i])),
                  "%s: %s[%d] is %.9g, expected %.9g", what, name, i, (double)got[i], want[i]);
}

static int updates(const VmProgram *p) {
    int n = 0;
    for (int i = 0; i < p->ntask; i++) n += p->task[i].kind == VM_TASK_UPDATE;
    return n;
}

static void check(const VmOptimizerSpec *o, const char *what) {
    Arena *a = arena_create();
    VmError err = {.text = ""};
    const char *error = NULL;
    CgModule *m = cg_module_create(cg_target_host(a, &error));
    VmProgram *p = compile(a, m, o);
    cr_assert_eq(updates(p), 2, "%s: %d updates, expected one per trained weight", what,
                 updates(p));
    cr_assert_eq(p->npack, 3, "%s: %d packed copies", what, p->npack);
    VmEngine *e;
    cr_assert_eq(vm_engine_create(2, &e, &err), VM_OK);
    cr_assert_eq(vm_engine_add(e, p, &err), 0, "%s", err.text);
    Exact *t = ARENA_NEW(a, Exact);
    for (int i = 0; i < B * M; i++) t->x[i] = value(i, 3);
    for (int i = 0; i < M * N; i++) t->w[i] = value(i, 50);
    for (int i = 0; i < N; i++) t->b[i] = value(i, 7);
    for (int i = 0; i < M * M; i++) t->u[i] = value(i, 11);
    set(e, "x", t->x, B * M);
    set(e, "w", t->w, M * N);
    set(e, "b", t->b, N);
    set(e, "u", t->u, M * M);
    for (int step = 0; step < STEPS; step++) {
        vm_step_scalars(o, rate(step), step, vm_engine_data(e, 0, VM_INPUT_STEP));
        vm_engine_run(e, 0, 0, (uint64_t)step);
        step_exactly(t, o, step);
    }
    expect(e, "w", t->w, M * N, what);
    expect(e, "b", t->b, N, what);
    const float *frozen = vm_engine_data(e, 0, "u");
    for (int i = 0; i < M * M; i++) cr_assert_eq(frozen[i], (float)t->u[i]);
    cr_assert_null(vm_engine_data(e, 0, "sgd.momentum.u"));
    if (o->momentum > 0) {
        expect(e, "sgd.momentum.w", t->sum_w, M * N, what);
        expect(e, "sgd.momentum.b", t->sum_b, N, what);
    } else {
        cr_assert_eq(p->space_bytes[VM_STATE], 0, "%s: state without momentum", what);
    }
    vm_engine_destroy(e);
    cg_module_destroy(m);
    arena_destroy(a);
}

Test(optimizers, sgd_is_its_formula) {
    VmOptimizerSpec o;
    vm_spec_default(VM_FIELD_optimizer, VM_optimizer_sgd, &o);
    cr_assert(o.momentum == 0.9 && o.weight_decay == 0 && !o.nesterov);
    check(&o, "sgd()");
    o.nesterov = true;
    o.weight_decay = 0.05;
    check(&o, "sgd(weight_decay = 0.05, nesterov = true)");
    o.nesterov = false;
    o.momentum = 0;
    check(&o, "sgd(weight_decay = 0.05, momentum = 0)");
}
