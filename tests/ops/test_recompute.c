/* Recomputation changes memory, never bits: the same weights, state and outputs after a step,
 * whatever is kept and whatever is computed again; and the plan's peak falls as far as it is meant
 * to. */
#include <criterion/criterion.h>

#include "tests/ops/util_gen_graph.h"
#include "tests/ops/util_jit.h"
#include "tests/unit/codegen/util_program.h"

static const uint64_t seed = 5;

/* How many steps of the pass there are for the training graph of g; its plan's memory with `steps`
 * of them.
 */
static int plan_with(Arena *a, const IrGraph *g, int steps, CgFootprint *out) {
    IrGraph *copy = ir_graph_clone(a, g);
    PassCtx c = pass_ctx(arena_create());
    c.training = true;
    c.recompute = steps;
    const PassId *list;
    int n = pass_pipeline(PIPE_TRAIN, &list);
    const char *error = pass_run(&c, copy, list, n);
    cr_assert_null(error, "%s", error);
    arena_destroy(c.scratch);
    cg_footprint(a, program_target(0), copy, false, out);
    return c.recompute_steps;
}

static void same_as_without(Arena *a, const IrGraph *g, int steps, bool pack_in_step,
                            const JitRun *want, const char *isa) {
    const char *what = arena_printf(a, "%s with %d recomputations%s, %s", g->name, steps,
                                    pack_in_step ? " and packing in the step" : "", isa);
    Jit j = jit_compile_saving(a, g, PIPE_TRAIN, isa, steps, pack_in_step, what);
    JitRun got = jit_run(a, &j, seed, 2, what);
    jit_same_bits(want, &got, what);
    jit_free(&j);
}

static void check_bits(Arena *a, const IrGraph *g, int tries) {
    CgFootprint ignored;
    int all = plan_with(a, g, 1, &ignored);
    const char *isa;
    for (int i = 0; (isa = jit_isa(a, i)); i++) {
        Jit j = jit_compile(a, g, PIPE_TRAIN, isa, g->name);
        JitRun want = jit_run(a, &j, seed, 2, g->name);
        jit_free(&j);
        same_as_without(a, g, RECOMPUTE_LIGHT, true, &want, isa);
        for (int k = 1; k <= tries && all > 0; k++)
            same_as_without(a, g, (all * k + tries - 1) / tries, false, &want, isa);
    }
}

/* Dropout, attention, experts with routed rows. */
Test(recompute, same_bits_with_dropout_and_experts) {
    Arena *a = arena_create();
    check_bits(a, program_elaborate(a, "models/mnist_moe.vmoe", NULL, 3), 3);
    arena_destroy(a);
}

Test(recompute, same_bits_of_a_transformer_with_experts) {
    Arena *a = arena_create();
    check_bits(a, program_elaborate(a, "models/vmoe_fmnist.vmoe", NULL, 2), 3);
    arena_destroy(a);
}

/* Sums of products start from what is added to them where that lies in memory, and round otherwise
 * than where it is made beside them. */
Test(recompute, same_bits_where_something_is_added_to_a_product) {
    static const char *const models[] = {
        "tests/ops/addend_kept.vmoe", "tests/ops/addend_joined.vmoe", "tests/ops/addend_made.vmoe",
        "tests/ops/addend_remade.vmoe"};
    for (int i = 0; i < 4; i++) {
        Arena *a = arena_create();
        check_bits(a, program_elaborate(a, models[i], NULL, 3), 6);
        arena_destroy(a);
    }
}

Test(recompute, same_bits_of_random_programs) {
    uint64_t first = gen_first(900), n = (uint64_t)gen_count(12);
    for (uint64_t id = first; id < first + n; id++) {
        Arena *a = arena_create();
        IrGraph *g = gen_graph(a, id, 24);
        g->name = arena_printf(a, "random%llu", (unsigned long long)id);
        check_bits(a, g, 2);
        arena_destroy(a);
    }
}

static int64_t least_work(Arena *a, const IrGraph *g, int all, double *flops) {
    int64_t least = INT64_MAX;
    for (int i = 1; i <= all; i++) {
        CgFootprint f;
        plan_with(a, g, i, &f);
        if (f.space[VM_WORK] >= least) continue;
        least = f.space[VM_WORK];
        *flops = f.flops;
    }
    return least;
}

/* Checkpoints at every block hold one value for each, and one block: for less than another forward
 * pass, which is a third of a step. */
Test(recompute, memory_falls_by_more_than_half) {
    Arena *a = arena_create();
    IrGraph *g = program_elaborate(a, "models/vmoe_fmnist.vmoe", NULL, 128);
    CgFootprint before, after;
    double flops = 0;
    int all = plan_with(a, g, 1, &after);
    cr_assert_eq(plan_with(a, g, 0, &before), 0);
    int64_t least = least_work(a, g, all, &flops);
    cr_assert(2 * least < before.space[VM_WORK], "%lld of %lld bytes", (long long)least,
              (long long)before.space[VM_WORK]);
    cr_assert(flops < 1.34 * before.flops, "%.2f times the arithmetic", flops / before.flops);
    cr_assert(flops > before.flops);
    arena_destroy(a);
}

/* The first steps cost no product. */
Test(recompute, the_cheap_comes_first) {
    Arena *a = arena_create();
    IrGraph *g = program_elaborate(a, "models/vmoe_fmnist.vmoe", NULL, 128);
    CgFootprint before, after;
    plan_with(a, g, 0, &before);
    plan_with(a, g, 8, &after);
    cr_assert(after.flops == before.flops, "%.3g and %.3g", after.flops, before.flops);
    cr_assert(after.space[VM_WORK] < 0.9 * (double)before.space[VM_WORK]);
    arena_destroy(a);
}

/* A list that was made once stands for the one that the pass would make, and sizes alone are those
 * of a plan.
 */
Test(recompute, a_list_serves_every_number_of_steps) {
    Arena *a = arena_create();
    IrGraph *g = program_elaborate(a, "models/vmoe_fmnist.vmoe", NULL, 16);
    PassCtx c = pass_ctx(arena_create());
    c.training = true;
    const PassId *list;
    int n = pass_pipeline(PIPE_TRAIN, &list);
    cr_assert_null(pass_run(&c, g, list, n - 2));
    c.recompute_list = recompute_list(a, g);
    for (int steps = 0; steps <= c.recompute_list->n; steps += 5) {
        IrGraph *with = ir_graph_clone(a, g);
        CgFootprint want, got, bound;
        PassCtx own = c;
        c.recompute = own.recompute = steps;
        own.recompute_list = NULL;
        IrGraph *without = ir_graph_clone(a, g);
        cr_assert_null(pass_run(&c, with, list + n - 2, 2));
        cr_assert_null(pass_run(&own, without, list + n - 2, 2));
        cr_assert_str_eq(ir_to_text(a, with), ir_to_text(a, without), "%d steps", steps);
        cg_footprint(a, program_target(0), without, false, &want);
        int64_t bytes = want.space[VM_WORK] + want.space[VM_PACKED];
        cr_assert(cg_footprint_within(a, program_target(0), with, false, bytes, &got));
        cr_assert_arr_eq(got.space, want.space, sizeof want.space);
        cr_assert(got.flops == want.flops && got.packed == want.packed && got.tasks == want.tasks);
        cr_assert(!cg_footprint_within(a, program_target(0), with, false, bytes / 2, &bound));
        cr_assert(bound.space[VM_WORK] + bound.space[VM_PACKED] <= bytes);
        cr_assert(bound.space[VM_WORK] + bound.space[VM_PACKED] > bytes / 2);
    }
    arena_destroy(c.scratch);
    arena_destroy(a);
}

static RecomputeList *list_at_depth(Arena *a, const char *set) {
    IrGraph *g = program_elaborate(a, "models/vit_s8.vmoe", set, 1);
    PassCtx c = pass_ctx(arena_create());
    const PassId *list;
    int n = pass_pipeline(PIPE_TRAIN, &list);
    cr_assert_null(pass_run(&c, g, list, n - 2));
    arena_destroy(c.scratch);
    return recompute_list(a, g);
}

/* Steps are weighed again only where something changed. */
Test(recompute, the_list_of_a_deep_model_is_soon_made) {
    Arena *a = arena_create();
    const RecomputeList *l = list_at_depth(a, "depth=32");
    cr_assert(l->n > 200, "%d steps", l->n);
    cr_assert(l->met < 9000 * (int64_t)l->n, "%lld nodes looked at for %d steps", (long long)l->met,
              l->n);
    arena_destroy(a);
}

/* What training does unasked: less memory, no product more, and the first of the steps. */
Test(recompute, light_steps_cost_no_product) {
    Arena *a = arena_create();
    IrGraph *g = program_elaborate(a, "models/vmoe_fmnist.vmoe", NULL, 128);
    CgFootprint before, light, same, more;
    plan_with(a, g, 0, &before);
    int n = plan_with(a, g, RECOMPUTE_LIGHT, &light), all = plan_with(a, g, n, &same);
    cr_assert(n > 0 && n < all, "%d of %d steps", n, all);
    cr_assert(light.flops == before.flops, "%.3g and %.3g", light.flops, before.flops);
    cr_assert(light.space[VM_WORK] < 0.9 * (double)before.space[VM_WORK]);
    cr_assert_eq(light.space[VM_WORK], same.space[VM_WORK]);
    plan_with(a, g, n + 1, &more);
    cr_assert(more.space[VM_WORK] < light.space[VM_WORK], "step %d saves nothing", n + 1);
    arena_destroy(a);
}

/* Copies of weights that share memory with the rest of the step: no space of their own, and less in
 * all. */
Test(recompute, packing_in_the_step_takes_less_memory) {
    Arena *a = arena_create();
    IrGraph *g = program_elaborate(a, "models/mnist_moe.vmoe", NULL, 8);
    program_run(g, PIPE_TRAIN);
    CgFootprint kept, in_step;
    cg_footprint(a, program_target(0), g, false, &kept);
    cg_footprint(a, program_target(0), g, true, &in_step);
    cr_assert_eq(in_step.space[VM_PACKED], 0);
    cr_assert(kept.packed == 0 && in_step.packed > 0);
    cr_assert(in_step.space[VM_WORK] < kept.space[VM_WORK] + kept.space[VM_PACKED] / 2);
    arena_destroy(a);
}

/* Nothing to do without updates, and without being asked. */
Test(recompute, leaves_other_graphs_alone) {
    Arena *a = arena_create();
    IrGraph *g = program_elaborate(a, "models/mnist_moe.vmoe", NULL, 2);
    PassCtx c = pass_ctx(arena_create());
    c.recompute = 5;
    PassId list[] = {PASS_expand, PASS_recompute};
    cr_assert_null(pass_run(&c, g, list, 2));
    cr_assert_eq(c.recompute_steps, 0);
    IR_FOR (n, g) cr_assert_neq(n->op, OP_kept);
    arena_destroy(c.scratch);
    arena_destroy(a);
}
