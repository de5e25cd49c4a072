/* Updates of weights and state as elementwise work: what a program leaves in its leaves and outputs
 * is what the interpreter says, whose readers all see the values from before the step. */
#include <criterion/criterion.h>
#include <string.h>

#include "codegen/plan/plan.h"
#include "tests/ops/util_jit.h"

#define HEAD                                                                                       \
    "graph @t {\n"                                                                                 \
    "  %0 = param {name = \"w\"} : f32[19,37]\n"                                                   \
    "  %1 = state {name = \"m\"} : f32[19,37]\n"                                                   \
    "  %2 = input {name = \"g\"} : f32[19,37]\n"                                                   \
    "  %3 = input {name = \"s:pos\"} : f32[4]\n"
#define TAIL "}\n"

typedef struct Case {
    const char *name;
    int tasks; /* that change leaves */
    const char *text;
} Case;

static const Case cases[] = {
    {"a momentum: one kernel writes both leaves", 1,
     HEAD "  %4 = slice %3 {axis = 0, start = 1, size = 1} : f32[1]\n"
          "  %5 = broadcast %4 {shape = [19,37]} : f32[19,37]\n"
          "  %6 = mul %1, %5 : f32[19,37]\n"
          "  %7 = add %6, %2 : f32[19,37]\n"
          "  %8 = assign %1, %7 : f32[19,37]\n"
          "  %9 = mul %7, %5 : f32[19,37]\n"
          "  %10 = sub %0, %9 : f32[19,37]\n"
          "  %11 = assign %0, %10 : f32[19,37]\n"
          "  output \"old\" %6\n" TAIL},
    {"one leaf is stored before a member that reads its old value", 1,
     HEAD "  %4 = exp %2 : f32[19,37]\n"
          "  %5 = mul %4, %1 : f32[19,37]\n"
          "  %6 = mul %4, %0 : f32[19,37]\n"
          "  %7 = assign %0, %5 : f32[19,37]\n"
          "  %8 = assign %1, %6 : f32[19,37]\n" TAIL},
    {"two leaves change places", 2,
     HEAD "  %4 = copy %0 : f32[19,37]\n"
          "  %5 = copy %1 : f32[19,37]\n"
          "  %6 = assign %0, %5 : f32[19,37]\n"
          "  %7 = assign %1, %4 : f32[19,37]\n" TAIL},
    {"a leaf turned over itself", 1,
     "graph @t {\n"
     "  %0 = param {name = \"w\"} : f32[37,37]\n"
     "  %1 = transpose %0 {perm = [1,0]} : f32[37,37]\n"
     "  %2 = add %1, %0 : f32[37,37]\n"
     "  %3 = assign %0, %2 : f32[37,37]\n"
     "}\n"},
    {"a leaf whose rows are picked for itself", 1,
     "graph @t {\n"
     "  %0 = param {name = \"w\"} : f32[19,37]\n"
     "  %1 = input {name = \"i:perm\"} : i32[19]\n"
     "  %2 = dispatch %0, %1 {k = 1} : f32[19,37]\n"
     "  %3 = assign %0, %2 : f32[19,37]\n"
     "}\n"},
    {"kernels read what was there before, and the result", 1,
     HEAD "  %4 = softmax %0 : f32[19,37]\n"
          "  %5 = transpose %0 {perm = [1,0]} : f32[37,19]\n"
          "  %6 = matmul %2, %5 : f32[19,19]\n"
          "  %7 = sub %0, %2 : f32[19,37]\n"
          "  %8 = assign %0, %7 : f32[19,37]\n"
          "  %9 = sum %8 {axes = [1]} : f32[19]\n"
          "  output \"y\" %4\n"
          "  output \"z\" %6\n"
          "  output \"sum\" %9\n" TAIL},
    {"an average of weights reads their new value", 1,
     HEAD "  %4 = sub %0, %2 : f32[19,37]\n"
          "  %5 = assign %0, %4 : f32[19,37]\n"
          "  %6 = const {value = 0.5} : f32[19,37]\n"
          "  %7 = add %1, %5 : f32[19,37]\n"
          "  %8 = mul %7, %6 : f32[19,37]\n"
          "  %9 = assign %1, %8 : f32[19,37]\n" TAIL},
    {"numbers of a batch kept as state", 1,
     "graph @t {\n"
     "  %0 = input {name = \"x\"} : f32[19,37]\n"
     "  %1 = state {name = \"mean\"} : f32[37]\n"
     "  %2 = sum %0 {axes = [0]} : f32[37]\n"
     "  %3 = add %1, %2 : f32[37]\n"
     "  %4 = assign %1, %3 : f32[37]\n"
     "  output \"y\" %4\n"
     "}\n"},
    {"one number for all of a leaf, and a leaf of one number", 2,
     HEAD "  %4 = slice %3 {axis = 0, start = 2, size = 1} : f32[1]\n"
          "  %5 = broadcast %4 {shape = [19,37]} : f32[19,37]\n"
          "  %6 = assign %0, %5 : f32[19,37]\n"
          "  %7 = state {name = \"one\"} : f32[1]\n"
          "  %8 = assign %7, %4 : f32[1]\n" TAIL},
};

static int update_tasks(Arena *a, const char *text) {
    const char *error = NULL;
    IrGraph *g = ir_read(a, text, "test.vir", &error);
    cr_assert_not_null(g, "%s", error);
    PassCtx c = pass_ctx(arena_create());
    const PassId fuse[] = {PASS_fuse};
    error = pass_run(&c, g, fuse, 1);
    cr_assert_null(error, "%s", error);
    const CgTarget *target = cg_target_host(a, &error);
    const Plan *p = plan_create(a, g, target, pack_table_create(a));
    int n = 0;
    for (int i = 0; i < p->ncluster; i++) n += p->cluster[i].kind == VM_TASK_UPDATE;
    arena_destroy(c.scratch);
    return n;
}

static void compare(Arena *a, const Case *c, const char *isa) {
    const char *what = arena_printf(a, "%s, %s", c->name, isa), *error = NULL;
    IrGraph *g = ir_read(a, c->text, "test.vir", &error);
    cr_assert_not_null(g, "%s: %s", what, error);
    Interp *want = interp_create(a, g, true);
    case_fill_all(want, g, 7);
    interp_run(want);
    Jit j = jit_compile(a, g, PIPE_EVAL, isa, what);
    JitRun one = jit_run(a, &j, 7, 1, what), three = jit_run(a, &j, 7, 3, what);
    jit_same_bits(&one, &three, what);
    int checked = 0;
    for (int i = 0; i < one.n; i++) {
        const JitResult *x = &one.item[i];
        const RefTensor *w = interp_out(want, x->name);
        const IrNode *leaf = ir_find_leaf(g, OP_param, x->name);
        if (!leaf) leaf = ir_find_leaf(g, OP_state, x->name);
        if (!w && leaf) w = interp_value(want, &leaf->out[0]);
        cr_assert_not_null(w, "%s: nothing to compare %s with", what, x->name);
        int64_t at;
        double e = case_error(w->data, x->data, ir_elems(&w->type), true, 1, &at);
        cr_assert(e <= 1e-5, "%s: %s element %lld is %.9g, expected %.9g", what, x->name,
                  (long long)at, x->data[at], w->data[at]);
        checked++;
    }
    cr_assert(checked > 0);
    jit_free(&j);
}

Test(updates, leave_what_the_interpreter_leaves) {
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Arena *a = arena_create();
        const char *isa;
        cr_expect_eq(update_tasks(a, cases[i].text), cases[i].tasks, "%s: %d tasks", cases[i].name,
                     update_tasks(a, cases[i].text));
        for (int k = 0; (isa = jit_isa(a, k)); k++) compare(a, &cases[i], isa);
        arena_destroy(a);
    }
}
