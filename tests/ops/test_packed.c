/* Packed copies of weights: what the optimizer writes into them is what packing the new weights
 * would give, and programs that share an engine never read a copy that is out of date. Copies are
 * compared through the products that read them, bit by bit. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/exec/internal.h"
#include "tests/ops/util_jit.h"

/* Odd edges, both directions, slices that adamw can and cannot write, several matrices. */
static const char *const train_text =
    "graph @t {\n"
    "  %0 = input {name = \"x\"} : f32[6,40]\n"
    "  %1 = input {name = \"step.scalars\"} : f32[4]\n"
    "  %2 = param {name = \"w\"} : f32[40,299]\n"
    "  %3 = state {name = \"w.m\"} : f32[40,299]\n"
    "  %4 = state {name = \"w.v\"} : f32[40,299]\n"
    "  %5 = input {name = \"g\"} : f32[40,299]\n"
    "  %6 = matmul %0, %2 : f32[6,299]\n"
    "  %7 = matmul %6, %2 {tb = 1} : f32[6,40]\n"
    "  %8 = slice %2 {axis = 1, start = 32, size = 267} : f32[40,267]\n"
    "  %9 = matmul %0, %8 : f32[6,267]\n"
    "  %10 = slice %2 {axis = 1, start = 3, size = 9} : f32[40,9]\n"
    "  %11 = matmul %0, %10 : f32[6,9]\n"
    "  %12 = param {name = \"u\"} : f32[3,37,21]\n"
    "  %13 = state {name = \"u.m\"} : f32[3,37,21]\n"
    "  %14 = state {name = \"u.v\"} : f32[3,37,21]\n"
    "  %15 = input {name = \"y\"} : f32[3,5,37]\n"
    "  %16 = input {name = \"h\"} : f32[3,37,21]\n"
    "  %17 = matmul %15, %12 : f32[3,5,21]\n"
    "  %18 = matmul %17, %12 {tb = 1} : f32[3,5,37]\n"
    "  %19, %20, %21 = adamw %2, %5, %3, %4, %1 : f32[40,299], f32[40,299], f32[40,299]\n"
    "  %22, %23, %24 = adamw %12, %16, %13, %14, %1 : f32[3,37,21], f32[3,37,21], f32[3,37,21]\n"
    "  output \"a\" %7\n"
    "  output \"b\" %9\n"
    "  output \"c\" %11\n"
    "  output \"d\" %18\n"
    "}\n";

/* Pairs of rows, pairs of columns (turned), a last vector that is not full, a slice adamw can write
 * and one it cannot. */
static const char *const bf16_text =
    "graph @t {\n"
    "  %0 = input {name = \"x\"} : f32[6,40]\n"
    "  %1 = input {name = \"step.scalars\"} : f32[4]\n"
    "  %2 = param {name = \"w\"} : f32[40,300]\n"
    "  %3 = state {name = \"w.m\"} : f32[40,300]\n"
    "  %4 = state {name = \"w.v\"} : f32[40,300]\n"
    "  %5 = input {name = \"g\"} : f32[40,300]\n"
    "  %6 = matmul %0, %2 {bf16 = 1} : f32[6,300]\n"
    "  %7 = matmul %6, %2 {tb = 1, bf16 = 1} : f32[6,40]\n"
    "  %8 = slice %2 {axis = 1, start = 32, size = 268} : f32[40,268]\n"
    "  %9 = matmul %0, %8 {bf16 = 1} : f32[6,268]\n"
    "  %10 = slice %2 {axis = 1, start = 3, size = 10} : f32[40,10]\n"
    "  %11 = matmul %0, %10 {bf16 = 1} : f32[6,10]\n"
    "  %12 = matmul %0, %2 : f32[6,300]\n"
    "  %13, %14, %15 = adamw %2, %5, %3, %4, %1 : f32[40,300], f32[40,300], f32[40,300]\n"
    "  output \"a\" %7\n"
    "  output \"b\" %9\n"
    "  output \"c\" %11\n"
    "  output \"d\" %12\n"
    "}\n";

/* The same weights and copies, written by elementwise updates: of a momentum, of two weights at
 * once, with a decay that is read column by column. */
static const char *const assign_text =
    "graph @t {\n"
    "  %0 = input {name = \"x\"} : f32[6,40]\n"
    "  %1 = input {name = \"step\"} : f32[4]\n"
    "  %2 = param {name = \"w\"} : f32[40,299]\n"
    "  %3 = state {name = \"w.m\"} : f32[40,299]\n"
    "  %4 = input {name = \"g\"} : f32[40,299]\n"
    "  %5 = matmul %0, %2 : f32[6,299]\n"
    "  %6 = matmul %5, %2 {tb = 1} : f32[6,40]\n"
    "  %7 = slice %2 {axis = 1, start = 32, size = 267} : f32[40,267]\n"
    "  %8 = matmul %0, %7 : f32[6,267]\n"
    "  %9 = slice %2 {axis = 1, start = 3, size = 9} : f32[40,9]\n"
    "  %10 = matmul %0, %9 : f32[6,9]\n"
    "  %11 = param {name = \"u\"} : f32[3,37,21]\n"
    "  %12 = param {name = \"t\"} : f32[3,37,21]\n"
    "  %13 = input {name = \"y\"} : f32[3,5,37]\n"
    "  %14 = input {name = \"h\"} : f32[3,37,21]\n"
    "  %15 = matmul %13, %11 : f32[3,5,21]\n"
    "  %16 = matmul %15, %12 {tb = 1} : f32[3,5,37]\n"
    "  %17 = slice %1 {axis = 0, start = 0, size = 1} : f32[1]\n"
    "  %18 = broadcast %17 {shape = [40,299]} : f32[40,299]\n"
    "  %19 = mul %3, %18 : f32[40,299]\n"
    "  %20 = add %19, %4 : f32[40,299]\n"
    "  %21 = assign %3, %20 : f32[40,299]\n"
    "  %22 = mul %18, %20 : f32[40,299]\n"
    "  %23 = sub %2, %22 : f32[40,299]\n"
    "  %24 = assign %2, %23 : f32[40,299]\n"
    "  %25 = input {name = \"scale\"} : f32[21]\n"
    "  %26 = broadcast %25 {shape = [3,37,21]} : f32[3,37,21]\n"
    "  %27 = mul %14, %26 : f32[3,37,21]\n"
    "  %28 = sub %11, %27 : f32[3,37,21]\n"
    "  %29 = add %12, %27 : f32[3,37,21]\n"
    "  %30 = assign %11, %28 : f32[3,37,21]\n"
    "  %31 = assign %12, %29 : f32[3,37,21]\n"
    "  output \"a\" %6\n"
    "  output \"b\" %8\n"
    "  output \"c\" %10\n"
    "  output \"d\" %16\n"
    "}\n";

static const char *const assign_bf16_text =
    "graph @t {\n"
    "  %0 = input {name = \"x\"} : f32[6,40]\n"
    "  %1 = param {name = \"w\"} : f32[40,300]\n"
    "  %2 = input {name = \"g\"} : f32[40,300]\n"
    "  %3 = matmul %0, %1 {bf16 = 1} : f32[6,300]\n"
    "  %4 = matmul %3, %1 {tb = 1, bf16 = 1} : f32[6,40]\n"
    "  %5 = slice %1 {axis = 1, start = 3, size = 10} : f32[40,10]\n"
    "  %6 = matmul %0, %5 {bf16 = 1} : f32[6,10]\n"
    "  %7 = matmul %0, %1 : f32[6,300]\n"
    "  %8 = sub %1, %2 : f32[40,300]\n"
    "  %9 = assign %1, %8 : f32[40,300]\n"
    "  output \"a\" %4\n"
    "  output \"b\" %6\n"
    "  output \"c\" %7\n"
    "}\n";

/* Reads one copy the other program keeps, and one it does not have. */
static const char *const eval_text =
    "graph @e {\n"
    "  %0 = input {name = \"x\"} : f32[2,40]\n"
    "  %1 = param {name = \"w\"} : f32[40,299]\n"
    "  %2 = param {name = \"u\"} : f32[3,37,21]\n"
    "  %3 = matmul %0, %1 : f32[2,299]\n"
    "  %4 = slice %1 {axis = 1, start = 48, size = 64} : f32[40,64]\n"
    "  %5 = matmul %0, %4 : f32[2,64]\n"
    "  %6 = slice %2 {axis = 0, start = 1, size = 1} : f32[1,37,21]\n"
    "  output \"a\" %3\n"
    "  output \"b\" %5\n"
    "  output \"c\" %6\n"
    "}\n";

typedef struct World {
    Arena *a;
    CgModule *module;
    VmProgram *train, *eval;
} World;

static VmProgram *add(World *w, const char *text) {
    const char *error = NULL;
    IrGraph *g = ir_read(w->a, text, "test.vir", &error);
    cr_assert_not_null(g, "%s", error);
    PassCtx c = pass_ctx(arena_create());
    const PassId *list;
    int n = pass_pipeline(PIPE_EVAL, &list);
    error = pass_run(&c, g, list, n);
    cr_assert_null(error, "%s", error);
    arena_destroy(c.scratch);
    return cg_add_program(w->module, g, "test", 1, 0);
}

static World world(const char *isa, const char *text) {
    World w = {.a = arena_create()};
    const char *error = NULL;
    setenv("VMOEC_ISA", isa, 1);
    const CgTarget *target = cg_target_host(w.a, &error);
    cr_assert_not_null(target, "%s", error);
    w.module = cg_module_create(target);
    w.train = add(&w, text);
    w.eval = add(&w, eval_text);
    error = cg_module_compile(w.module);
    cr_assert_null(error, "%s", error);
    return w;
}

static void fill(VmEngine *e, int program) {
    const VmProgram *p = vm_engine_program(e, program);
    for (int i = 0; i < p->ntensor; i++) {
        const VmTensor *t = &p->tensor[i];
        if (t->role != VM_ROLE_INPUT && (t->role != VM_ROLE_PARAM || program)) continue;
        float *x = vm_engine_data(e, program, t->name);
        for (int64_t k = 0; k < vm_tensor_elems(t); k++)
            x[k] = (float)((k * 7919 + i * 31) % 1009 - 504) / 512.0f;
        if (!strcmp(t->name, VM_INPUT_STEP))
            memcpy(x, (float[4]){0.1f, 0.1f, 0.001f, 0}, 4 * sizeof *x);
    }
}

static VmEngine *engine(const VmProgram *first, const VmProgram *second, int threads) {
    VmEngine *e;
    VmError err;
    cr_assert_eq(vm_engine_create(threads, &e, &err), VM_OK, "%s", err.text);
    cr_assert_eq(vm_engine_add(e, first, &err), 0, "%s", err.text);
    cr_assert(!second || vm_engine_add(e, second, &err) == 1, "%s", err.text);
    return e;
}

static void expect_same_outputs(VmEngine *x, int px, VmEngine *y, int py, const char *what) {
    const VmProgram *p = vm_engine_program(x, px);
    int checked = 0;
    for (int i = 0; i < p->ntensor; i++) {
        const VmTensor *t = &p->tensor[i];
        if (t->role != VM_ROLE_OUTPUT) continue;
        const float *a = vm_engine_data(x, px, t->name), *b = vm_engine_data(y, py, t->name);
        for (int64_t k = 0; k < vm_tensor_elems(t); k++)
            cr_assert(memcmp(&a[k], &b[k], sizeof *a) == 0,
                      "%s: element %lld of %s is %.9g and %.9g", what, (long long)k, t->name,
                      (double)a[k], (double)b[k]);
        checked++;
    }
    cr_assert(checked > 0);
}

static void check_copies(const char *text, int copies) {
    Arena *a = arena_create();
    const char *error = NULL;
    int checked = 0;
    for (int i = 0; jit_isa(a, i); i++) {
        if (!jit_can(a, ir_read(a, text, "test.vir", &error), jit_isa(a, i))) continue;
        checked++;
        World w = world(jit_isa(a, i), text);
        cr_assert_eq(w.train->npack, copies);
        for (int threads = 1; threads <= 3; threads++) {
            VmEngine *kept = engine(w.train, NULL, threads), *again = engine(w.train, NULL, 1);
            fill(kept, 0);
            fill(again, 0);
            for (int step = 0; step < 3; step++) {
                vm_engine_weights_changed(again);
                vm_engine_run(kept, 0, 0, 0);
                vm_engine_run(again, 0, 0, 0);
                expect_same_outputs(kept, 0, again, 0, "kept and packed again");
            }
            vm_engine_destroy(kept);
            vm_engine_destroy(again);
        }
        cg_module_destroy(w.module);
        arena_destroy(w.a);
    }
    arena_destroy(a);
    if (!checked) cr_skip_test("no instruction set of this host has bf16 products");
}

Test(packed, adamw_writes_what_packing_would) {
    check_copies(train_text, 5);
}

Test(packed, adamw_writes_pairs_that_packing_would) {
    check_copies(bf16_text, 4);
}

Test(packed, assign_writes_what_packing_would) {
    check_copies(assign_text, 5);
}

Test(packed, assign_writes_pairs_that_packing_would) {
    check_copies(assign_bf16_text, 3);
}

/* Of two weights one is not trained. */
static const char *const frozen_text =
    "graph @f {\n"
    "  %0 = input {name = \"x\"} : f32[6,40]\n"
    "  %1 = input {name = \"step.scalars\"} : f32[4]\n"
    "  %2 = param {name = \"w\"} : f32[40,299]\n"
    "  %3 = param {name = \"u\"} : f32[3,37,21]\n"
    "  %4 = state {name = \"u.m\"} : f32[3,37,21]\n"
    "  %5 = state {name = \"u.v\"} : f32[3,37,21]\n"
    "  %6 = input {name = \"h\"} : f32[3,37,21]\n"
    "  %7 = matmul %0, %2 : f32[6,299]\n"
    "  %8, %9, %10 = adamw %3, %6, %4, %5, %1 : f32[3,37,21], f32[3,37,21], f32[3,37,21]\n"
    "  output \"a\" %7\n"
    "}\n";

/* A step does not pack again what it does not train: it does not see what is written behind the
 * engine's back, until the engine is told. */
Test(packed, copies_of_frozen_weights_outlive_the_step) {
    Arena *a = arena_create();
    World w = world(jit_isa(a, 0), frozen_text);
    cr_assert_eq(w.train->npack, 1);
    VmEngine *e = engine(w.train, NULL, 2);
    fill(e, 0);
    vm_engine_run(e, 0, 0, 0);
    const float *out = vm_engine_data(e, 0, "a");
    float before = out[0];
    float *weight = vm_engine_address(e, 0, vm_engine_tensor(e, 0, "w"));
    for (int i = 0; i < 40 * 299; i++) weight[i] += 1;
    vm_engine_run(e, 0, 0, 1);
    cr_assert_eq(out[0], before);
    vm_engine_weights_changed(e);
    vm_engine_run(e, 0, 0, 2);
    cr_assert_neq(out[0], before);
    vm_engine_destroy(e);
    cg_module_destroy(w.module);
    arena_destroy(w.a);
    arena_destroy(a);
}

/* Training between two evaluations: the second sees the new weights, in copies training keeps and
 * in others; and weights written from outside are seen by the next run. */
Test(packed, no_program_reads_an_old_copy) {
    Arena *a = arena_create();
    World w = world(jit_isa(a, 0), train_text);
    VmEngine *e = engine(w.train, w.eval, 2), *fresh = engine(w.eval, NULL, 2);
    fill(e, 0);
    for (int round = 0; round < 3; round++) {
        fill(e, 1);
        vm_engine_run(e, 1, 0, 0);
        fill(fresh, 0);
        static const char *const name[] = {"w", "u"};
        for (int i = 0; i < 2; i++) {
            const VmTensor *t = vm_engine_tensor(e, 0, name[i]);
            memcpy(vm_engine_data(fresh, 0, name[i]), vm_engine_address(e, 0, t), /* tells nobody */
                   (size_t)vm_tensor_elems(t) * sizeof(float));
        }
        vm_engine_run(fresh, 0, 0, 0);
        expect_same_outputs(e, 1, fresh, 0, "after training and alone");
        if (round == 1) ((float *)vm_engine_data(e, 0, "w"))[50] = 3;
        fill(e, 1); /* inputs of all programs share memory */
        memcpy(vm_engine_data(e, 0, VM_INPUT_STEP), (float[4]){0.1f, 0.1f, 0.001f, 0},
               4 * sizeof(float));
        if (round != 1) vm_engine_run(e, 0, 0, 0);
    }
    vm_engine_destroy(e);
    vm_engine_destroy(fresh);
    cg_module_destroy(w.module);
    arena_destroy(w.a);
    arena_destroy(a);
}
