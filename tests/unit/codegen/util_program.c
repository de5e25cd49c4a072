/* Graphs on their way to code generation. */
#include "tests/unit/codegen/util_program.h"

#include <criterion/criterion.h>

#include "frontend/frontend.h"

const char *const program_models[] = {"models/mnist_dense.vmoe", "models/mnist_moe.vmoe",
                                      "models/vmoe_fmnist.vmoe", NULL};

const CgTarget *program_target(int i) {
    static const char *const id[] = {"avx512", "avx2"};
    return cg_target_named(id[i]);
}

IrGraph *program_elaborate(Arena *a, const char *path, const char *set, int64_t batch) {
    Diags *d = diags_create(a);
    FeOptions opt = {.set = &set, .nset = set ? 1 : 0, .model_dir = "models"};
    VmError io = {.text = ""};
    FeExperiment *e = fe_load(a, path, &opt, d, &io);
    cr_assert_not_null(e, "%s: %s", path, io.text);
    IrGraph *g = d->nerrors ? NULL : fe_elaborate(e, a, fe_model_name(e, 0), batch, d);
    if (!g) diags_print(stderr, d, false);
    cr_assert_not_null(g, "%s", path);
    return g;
}

void program_run(IrGraph *g, Pipeline pipe) {
    PassCtx c = pass_ctx(arena_create());
    c.training = pipe != PIPE_EVAL;
    const PassId *list;
    int n = pass_pipeline(pipe, &list);
    const char *error = pass_run(&c, g, list, n);
    cr_assert_null(error, "%s: %s", g->name, error);
    arena_destroy(c.scratch);
}

IrGraph *program_read(Arena *a, const char *text, PassId pass) {
    const char *error = NULL;
    IrGraph *g = ir_read(a, text, "test.vir", &error);
    cr_assert_not_null(g, "%s", error);
    if (pass == PASS_COUNT) return g;
    PassCtx c = pass_ctx(arena_create());
    error = pass_run(&c, g, &pass, 1);
    cr_assert_null(error, "%s", error);
    arena_destroy(c.scratch);
    return g;
}
