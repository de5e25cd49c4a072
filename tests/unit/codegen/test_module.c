/* Modules with workers and a cache: the same code and the same results whoever made them and
 * whenever. */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/codegen/util_module.h"
#include "tests/unit/codegen/util_objects.h"
#include "tests/unit/codegen/util_program.h"
#include "tests/unit/util_shell.h"

static Made make(Arena *a, int workers, const char *dir) {
    return module_make(a, module_host(a), &(CgOptions){.workers = workers, .cache_dir = dir}, NULL,
                       3);
}

static void new_dir(char *dir) {
    strcpy(dir, "/tmp/vmoec-module-XXXXXX");
    cr_assert_not_null(mkdtemp(dir));
}

static void remove_dir(const char *dir) {
    cr_assert_eq(shell("rm -r %s", dir), 0);
}

#ifdef __SANITIZE_ADDRESS__
enum { SEVERAL = 1 }; /* one at a time, in this process: see workers.c */
#else
enum { SEVERAL = 3 };
#endif

Test(module, cold_and_warm_give_the_same_bits) {
    Arena *a = arena_create();
    char dir[64];
    new_dir(dir);
    Made none = make(a, 1, NULL), cold = make(a, 3, dir), warm = make(a, 3, dir);
    cr_assert(none.stats.cached == 0 && none.stats.compiled == none.stats.kernels);
    cr_assert(cold.stats.cached == 0 && cold.stats.compiled == cold.stats.kernels);
    cr_assert(warm.stats.cached == warm.stats.kernels && warm.stats.compiled == 0);
    cr_assert(none.stats.workers == 1 && cold.stats.workers == SEVERAL && warm.stats.workers == 0);
    cr_assert_eq(none.stats.code_bytes, cold.stats.code_bytes);
    cr_assert_eq(none.stats.code_bytes, warm.stats.code_bytes);
    uint64_t sum = module_train(&none, 2);
    cr_assert_eq(module_train(&cold, 2), sum);
    cr_assert_eq(module_train(&warm, 2), sum);
    cg_module_destroy(none.m);
    cg_module_destroy(cold.m);
    cg_module_destroy(warm.m);
    remove_dir(dir);
    arena_destroy(a);
}

/* Half of the files cut short: those kernels are made again, and then all are there. */
Test(module, a_damaged_cache_is_repaired) {
    Arena *a = arena_create();
    char dir[64];
    new_dir(dir);
    Made cold = make(a, 2, dir);
    uint64_t sum = module_train(&cold, 2);
    cr_assert_eq(shell("find %s -type f | awk 'NR %% 2' | xargs truncate -s -7", dir), 0);
    Made mixed = make(a, 2, dir), warm = make(a, 2, dir);
    cr_assert(mixed.stats.compiled > 0 && mixed.stats.compiled < cold.stats.compiled, "%d of %d",
              mixed.stats.compiled, cold.stats.compiled);
    cr_assert_eq(warm.stats.compiled, 0);
    cr_assert_eq(module_train(&mixed, 2), sum);
    cr_assert_eq(module_train(&warm, 2), sum);
    remove_dir(dir);
    arena_destroy(a);
}

Test(module, facts_come_without_code) {
    Arena *a = arena_create();
    const char *error = NULL;
    const CgTarget *t = cg_target_host(a, &error);
    CgModule *m = cg_module_create(t);
    IrGraph *g = program_elaborate(a, "models/vmoe_fmnist.vmoe", "depth=2", 3);
    program_run(g, PIPE_TRAIN);
    VmProgram *p = cg_add_program(m, g, "test", 3, 0);
    error = cg_module_facts(m);
    cr_assert_null(error, "%s", error);
    Made made = make(a, 1, NULL);
    cr_assert_eq(p->scratch_bytes, made.p->scratch_bytes);
    cr_assert_eq(p->ntask, made.p->ntask);
    for (int i = 0; i < p->ntask; i++) {
        cr_assert_eq(p->task[i].items, made.p->task[i].items);
        cr_assert(p->task[i].items > 0 && !p->task[i].fn);
    }
    error = cg_module_compile(m);
    cr_assert_null(error, "%s", error);
    cr_assert_eq(module_train(&(Made){m, p, {0}}, 2), module_train(&made, 2));
    arena_destroy(a);
}

Test(module, tasks_that_change_leaves_are_updates) {
    Arena *a = arena_create();
    const char *error = NULL;
    CgModule *m = cg_module_create(cg_target_host(a, &error));
    IrGraph *g = program_read(a,
                              "graph @t {\n"
                              "  %0 = param {name = \"w\"} : f32[8,8]\n"
                              "  %1 = softmax %0 : f32[8,8]\n"
                              "  %2 = sub %0, %1 : f32[8,8]\n"
                              "  %3 = assign %0, %2 : f32[8,8]\n"
                              "  output \"y\" %1\n"
                              "}\n",
                              PASS_fuse);
    VmProgram *p = cg_add_program(m, g, "test", 3, 0);
    cr_assert(p->ntask == 2 && p->updates);
    cr_assert(p->task[0].kind == VM_TASK_WORK && p->task[1].kind == VM_TASK_UPDATE);
    Text t = text_new(a);
    cg_print_plan(&t, m);
    cr_assert(strstr(t.data, "task 0 softmax_8x8_sub"), "%s", t.data);
    cr_assert(strstr(t.data, "task 1 barrier update assign_8x8 ("), "%s", t.data);
    cg_module_destroy(m);
    arena_destroy(a);
}

/* The signature decides the code: clusters of equal text, lowered each for itself, are the same
 * objects. This is what sharing kernels and keeping them rests on. */
typedef struct Bytes {
    Arena *a;
    char *data;
    size_t size;
} Bytes;

static void take_kernel(void *user, const char *symbol, const void *object, size_t size) {
    Bytes *b = user;
    if (strcmp(symbol, CG_KERNEL_SYMBOL) != 0) return;
    b->data = memcpy(arena_alloc(b->a, size), object, size);
    b->size = size;
}

static int compare_clusters(Arena *a, CgUnit *u, const CgBackend *b, Plan *p) {
    Bytes *made = ARENA_ARRAY(a, Bytes, p->ncluster);
    int pairs = 0;
    for (int i = 0; i < p->ncluster; i++) {
        CgFacts facts;
        double seconds[2];
        made[i].a = a;
        cr_assert_null(
            b->compile(u, (CgJob){p, &p->cluster[i]}, &facts, take_kernel, &made[i], seconds));
        for (int j = 0; j < i; j++) {
            const char *text = plan_signature(p, &p->cluster[i]);
            if (strcmp(text, plan_signature(p, &p->cluster[j])) != 0) continue;
            cr_assert(made[i].size == made[j].size &&
                          !memcmp(made[i].data, made[j].data, made[i].size),
                      "%s", text);
            pairs++;
            break;
        }
    }
    return pairs;
}

/* Pairs of clusters with the same ops on the same types that differ in one thing each: an
 * attribute, a stride, a constant, an operand that is read twice. */
static const char *const near_equal = "graph @t {\n"
                                      "  %0 = input {name = \"x\"} : f32[8,8]\n"
                                      "  %1 = input {name = \"y\"} : f32[8,8]\n"
                                      "  %2 = sum %0 {axes = [0]} : f32[8]\n"
                                      "  %3 = sum %0 {axes = [1]} : f32[8]\n"
                                      "  %4, %5 = layer_norm %0 {eps = 1e-6} : f32[8,8], f32[8,1]\n"
                                      "  %6, %7 = layer_norm %1 {eps = 0.5} : f32[8,8], f32[8,1]\n"
                                      "  %8 = transpose %0 {perm = [1,0]} : f32[8,8]\n"
                                      "  %9 = softmax %8 : f32[8,8]\n"
                                      "  %10 = softmax %0 : f32[8,8]\n"
                                      "  %11 = const {value = 2} : f32[8,8]\n"
                                      "  %12 = const {value = 3} : f32[8,8]\n"
                                      "  %13 = mul %4, %11 : f32[8,8]\n"
                                      "  %14 = mul %6, %12 : f32[8,8]\n"
                                      "  %15 = matmul %0, %1 : f32[8,8]\n"
                                      "  %16 = matmul %0, %1 {ta = 1} : f32[8,8]\n"
                                      "  %17 = matmul %0, %0 : f32[8,8]\n"
                                      "  output \"a\" %2\n"
                                      "  output \"b\" %3\n"
                                      "  output \"c\" %9\n"
                                      "  output \"d\" %10\n"
                                      "  output \"e\" %13\n"
                                      "  output \"f\" %14\n"
                                      "  output \"g\" %15\n"
                                      "  output \"h\" %16\n"
                                      "  output \"i\" %17\n"
                                      "}\n";

Test(module, other_code_has_another_signature) {
    Arena *a = arena_create();
    IrGraph *g = program_read(a, near_equal, PASS_COUNT);
    program_run(g, PIPE_EVAL);
    Plan *p = plan_create(a, g, module_host(a), pack_table_create(a));
    cr_assert_eq(p->ncluster, 9);
    for (int i = 0; i < p->ncluster; i++)
        for (int j = 0; j < i; j++)
            cr_assert_str_neq(plan_signature(p, &p->cluster[i]), plan_signature(p, &p->cluster[j]));
    arena_destroy(a);
}

Test(module, equal_signatures_mean_equal_code) {
    static const struct {
        const char *file, *set;
    } models[] = {{"models/vmoe_fmnist.vmoe", "depth=3"}, {"models/mnist_moe.vmoe", NULL}};
    Arena *a = arena_create();
    const char *error = NULL;
    const CgTarget *t = cg_target_host(a, &error);
    const CgBackend *b = backend_load(a, NULL, &error);
    CgUnit *u = b->create(a, t, &error);
    int pairs = 0;
    for (int i = 0; i < 2; i++) {
        IrGraph *g = program_elaborate(a, models[i].file, models[i].set, 4);
        program_run(g, PIPE_TRAIN);
        pairs += compare_clusters(a, u, b, plan_create(a, g, t, pack_table_create(a)));
    }
    cr_assert_gt(pairs, 60);
    b->destroy(u);
    arena_destroy(a);
}

/* A kernel that reads what is none of its arguments: our own bug, reported by the worker and by the
 * parent.
 */
Test(module, a_worker_that_crashes_is_our_bug, .signal = SIGABRT) {
    Arena *a = arena_create();
    const char *error = NULL;
    CgModule *m = cg_module_create(cg_target_host(a, &error));
    IrGraph *g = program_read(a,
                              "graph @t {\n"
                              "  %0 = input {name = \"x\"} : f32[64]\n"
                              "  %1 = input {name = \"y\"} : f32[65]\n"
                              "  %2 = exp %0 : f32[64]\n"
                              "  %3 = sqrt %1 : f32[65]\n"
                              "  output \"a\" %2\n"
                              "  output \"b\" %3\n"
                              "}\n",
                              PASS_fuse);
    cg_add_program(m, g, "test", 1, 0);
    IrNode *y = ir_find_leaf(g, OP_input, "y");
    IR_FOR (n, g)
        if (n->op == OP_exp) n->in[0] = &y->out[0];
    cg_module_compile(m);
}
