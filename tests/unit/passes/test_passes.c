/* The pass manager, and what text tests cannot say: settings, clusters, repetition, long graphs.
 * The rewrites themselves are pinned in tests/ir, their results by tests/ops and tests/fuzz. */
#include <criterion/criterion.h>
#include <string.h>

#include "passes/passes.h"

/* A mixture layer with dropout, attention, a loss and a balance loss: every kind of node. */
static const char moe_text[] =
    "graph @moe {\n"
    "  %0 = input {name = \"x\"} : f32[2,4,8]\n"
    "  %1 = input {name = \"label\"} : i32[2]\n"
    "  %2 = param {name = \"qkv\"} : f32[8,24]\n"
    "  %3 = param {name = \"gate\"} : f32[8,4]\n"
    "  %4 = param {name = \"w\"} : f32[4,8,8]\n"
    "  %5 = param {name = \"b\", decay = 0} : f32[4,8]\n"
    "  %6 = linear %0, %2 : f32[2,4,24]\n"
    "  %7 = slice %6 {axis = 2, start = 0, size = 8} : f32[2,4,8]\n"
    "  %8 = slice %6 {axis = 2, start = 8, size = 8} : f32[2,4,8]\n"
    "  %9 = slice %6 {axis = 2, start = 16, size = 8} : f32[2,4,8]\n"
    "  %10 = attention %7, %8, %9 {heads = 2, dropout = 0.1, stream = \"a\"} : f32[2,4,8]\n"
    "  %11 = dropout %10 {p = 0.25, stream = \"d\"} : f32[2,4,8]\n"
    "  %12, %13 = layer_norm %11 {eps = 1e-06} : f32[2,4,8], f32[2,4,1]\n"
    "  %14 = linear %12, %3 : f32[2,4,4]\n"
    "  %15 = softmax %14 : f32[2,4,4]\n"
    "  %16 = reshape %15 {shape = [8,4]} : f32[8,4]\n"
    "  %17, %18 = topk %16 {k = 2} : f32[8,2], i32[8,2]\n"
    "  %19, %20, %21, %22 = route %18 {experts = 4} : i32[5], i32[16], i32[8,2], i32[16]\n"
    "  %23 = reshape %12 {shape = [8,8]} : f32[8,8]\n"
    "  %24 = dispatch %23, %20 {k = 2} : f32[16,8]\n"
    "  %25 = expert_linear %24, %4, %19, %22, %5 : f32[16,8]\n"
    "  %26 = combine %25, %21, %17 : f32[8,8]\n"
    "  %27 = reshape %26 {shape = [2,4,8]} : f32[2,4,8]\n"
    "  %28 = add %11, %27 : f32[2,4,8]\n"
    "  %29 = mean %28 {axes = [1]} : f32[2,8]\n"
    "  %30 = cross_entropy %29, %1 : f32[]\n"
    "  %31 = load_balance %15, %18 : f32[]\n"
    "  loss \"loss\" %30 {weight = 1}\n"
    "  aux \"balance\" %31 {weight = 0.01}\n"
    "  output \"logits\" %29\n"
    "}\n";

typedef struct Fixture {
    Arena *a, *scratch;
    PassCtx c;
} Fixture;

static Fixture fixture(void) {
    Fixture f = {.a = arena_create(), .scratch = arena_create()};
    f.c = pass_ctx(f.scratch);
    f.c.training = true;
    return f;
}

static void close_fixture(Fixture *f) {
    arena_destroy(f->a);
    arena_destroy(f->scratch);
}

static IrGraph *read_graph(Fixture *f, const char *text) {
    const char *error = NULL;
    IrGraph *g = ir_read(f->a, text, "test.vir", &error);
    cr_assert_not_null(g, "%s", error);
    return g;
}

static void run(Fixture *f, IrGraph *g, PassId pass) {
    const char *error = pass_run(&f->c, g, &pass, 1);
    cr_assert_null(error, "%s", error);
}

static const IrNode *find(const IrGraph *g, OpCode op) {
    IR_FOR (n, g) {
        if (n->op == op) return n;
    }
    return NULL;
}

static int count(const IrGraph *g, OpCode op) {
    int found = 0;
    IR_FOR (n, g) found += n->op == op;
    return found;
}

Test(passes, names_come_from_the_table) {
    cr_assert_str_eq(pass_name(PASS_expand), "expand");
    cr_assert_str_eq(pass_name(PASS_fuse), "fuse");
}

Test(passes, lists_are_parsed) {
    Fixture f = fixture();
    PassId list[3];
    const char *error = "stale";
    cr_assert_eq(pass_parse_list(f.a, "expand, simplify ,cse", list, 3, &error), 3);
    cr_assert_null(error);
    cr_assert_eq(list[0], PASS_expand);
    cr_assert_eq(list[1], PASS_simplify);
    cr_assert_eq(list[2], PASS_cse);
    cr_assert_eq(pass_parse_list(f.a, "", list, 3, &error), 0);
    cr_assert_eq(pass_parse_list(f.a, "  ", list, 3, &error), 0);
    close_fixture(&f);
}

Test(passes, wrong_lists_are_refused) {
    Fixture f = fixture();
    PassId list[2];
    const char *error = NULL;
    cr_assert_eq(pass_parse_list(f.a, "expand,fold", list, 2, &error), -1);
    cr_assert_not_null(strstr(error, "unknown pass 'fold'"), "%s", error);
    cr_assert_not_null(strstr(error, "simplify"), "%s", error);
    cr_assert_eq(pass_parse_list(f.a, "expand,,cse", list, 2, &error), -1);
    cr_assert_not_null(strstr(error, "unknown pass ''"), "%s", error);
    cr_assert_eq(pass_parse_list(f.a, "cs", list, 2, &error), -1);
    cr_assert_eq(pass_parse_list(f.a, "cse,cse,cse", list, 2, &error), -1);
    cr_assert_not_null(strstr(error, "more than 2"), "%s", error);
    close_fixture(&f);
}

Test(passes, pipelines_end_in_fuse) {
    const PassId *list;
    cr_assert_eq(pass_pipeline(PIPE_EVAL, &list), 10);
    cr_assert_eq(list[9], PASS_fuse);
    cr_assert_eq(pass_pipeline(PIPE_GRAD, &list), 10);
    cr_assert_eq(list[2], PASS_autodiff);
    cr_assert_eq(list[4], PASS_splitk); /* what is compared with others is what is trained with */
    cr_assert_eq(pass_pipeline(PIPE_TRAIN, &list), 12);
    cr_assert_eq(list[0], PASS_telemetry); /* it looks at MODEL ops */
    cr_assert_eq(list[3], PASS_optimizer);
    cr_assert_eq(list[5], PASS_splitk);
    cr_assert_eq(list[6], PASS_columns); /* before cse: their sums become equal */
    cr_assert_eq(list[7], PASS_routing); /* before cse: a sort and a histogram share their counts */
    cr_assert_eq(list[8], PASS_cse);
    cr_assert_eq(list[9], PASS_narrow); /* recompute sees what products really read */
    cr_assert_eq(list[10], PASS_recompute);
    for (int p = PIPE_EVAL; p <= PIPE_TRAIN; p++) {
        int n = pass_pipeline_bf16((Pipeline)p, &list);
        cr_assert_eq(list[p == PIPE_EVAL ? 3 : 2], PASS_precision); /* before autodiff */
        cr_assert_eq(list[n - (p == PIPE_TRAIN ? 3 : 2)], PASS_narrow);
        cr_assert_eq(list[n - 1], PASS_fuse);
    }
}

Test(passes, parts_of_pipelines) {
    const PassId *list;
    cr_assert_eq(pass_pipeline_part(PIPE_GRAD, true, PASS_expand, PASS_simplify, &list), 3);
    cr_assert(list[0] == PASS_expand && list[1] == PASS_precision && list[2] == PASS_autodiff);
    cr_assert_eq(pass_pipeline_part(PIPE_EVAL, false, PASS_expand, PASS_simplify, &list), 1);
    cr_assert_eq(pass_pipeline_part(PIPE_TRAIN, false, PASS_recompute, PASS_COUNT, &list), 2);
    cr_assert(list[0] == PASS_recompute && list[1] == PASS_fuse);
    cr_assert_eq(pass_pipeline_part(PIPE_TRAIN, false, PASS_COUNT, PASS_COUNT, &list), 12);
}

static void count_call(void *who, const IrGraph *g, const PassId *rest, int n) {
    int *calls = who;
    cr_assert(g && rest[0] == (*calls ? PASS_cse : PASS_simplify) && n == 2 - *calls);
    ++*calls;
}

Test(passes, the_graph_is_shown_before_every_pass) {
    Fixture f = fixture();
    IrGraph *g = read_graph(&f, "graph @t {\n"
                                "  %0 = input {name = \"x\"} : f32[3]\n"
                                "  output \"y\" %0\n"
                                "}\n");
    const PassId list[] = {PASS_simplify, PASS_cse};
    int calls = 0;
    f.c.before = count_call;
    f.c.who = &calls;
    cr_assert_null(pass_run(&f.c, g, list, 2));
    cr_assert_eq(calls, 2);
    close_fixture(&f);
}

Test(passes, a_broken_graph_is_not_touched) {
    Fixture f = fixture();
    IrGraph *g = read_graph(&f, "graph @t {\n"
                                "  %0 = input {name = \"x\"} : f32[3]\n"
                                "  %1 = exp %0 : f32[3]\n"
                                "  output \"y\" %1\n"
                                "}\n");
    g->last->out[0].type = IR_TYPE(DT_f32, 4);
    const PassId simplify = PASS_simplify;
    const char *error = pass_run(&f.c, g, &simplify, 1);
    cr_assert_not_null(error);
    cr_assert(f.c.refused);
    cr_assert_eq(strncmp(error, "before the first pass", 21), 0, "%s", error);
    close_fixture(&f);
}

Test(passes, a_refusal_names_pass_and_op) {
    Fixture f = fixture();
    IrGraph *g = read_graph(&f, moe_text);
    const PassId list[] = {PASS_simplify, PASS_autodiff};
    const char *error = pass_run(&f.c, g, list, 2);
    cr_assert_not_null(error);
    cr_assert(f.c.refused);
    cr_assert_not_null(strstr(error, "autodiff"), "%s", error);
    cr_assert_not_null(strstr(error, "linear"), "%s", error);
    run(&f, g, PASS_expand);
    cr_assert_not(f.c.refused);
    close_fixture(&f);
}

Test(passes, training_decides_about_dropout) {
    Fixture f = fixture();
    IrGraph *training = read_graph(&f, moe_text), *evaluation = read_graph(&f, moe_text);
    run(&f, training, PASS_expand);
    cr_assert_eq(count(training, OP_uniform), 1);
    cr_assert_float_eq(ir_float(find(training, OP_sdpa), ATTR_sdpa_dropout), 0.1, 0);
    f.c.training = false;
    run(&f, evaluation, PASS_expand);
    cr_assert_eq(count(evaluation, OP_uniform), 0);
    cr_assert_float_eq(ir_float(find(evaluation, OP_sdpa), ATTR_sdpa_dropout), 0, 0);
    close_fixture(&f);
}

Test(passes, optimizer_uses_its_settings) {
    Fixture f = fixture();
    f.c.optimizer = (VmOptimizerSpec){
        .kind = VM_optimizer_adamw, .beta1 = 0.8, .beta2 = 0.95, .eps = 1e-6, .weight_decay = 0.05};
    IrGraph *g = read_graph(&f, moe_text);
    const PassId list[] = {PASS_expand, PASS_autodiff, PASS_optimizer};
    const char *error = pass_run(&f.c, g, list, 3);
    cr_assert_null(error, "%s", error);
    cr_assert_eq(count(g, OP_adamw), 4);
    IR_FOR (n, g) {
        if (n->op != OP_adamw) continue;
        const char *param = ir_str(n->in[0]->node, ATTR_param_name);
        cr_assert_float_eq(ir_float(n, ATTR_adamw_beta1), 0.8, 0);
        cr_assert_float_eq(ir_float(n, ATTR_adamw_beta2), 0.95, 0);
        cr_assert_float_eq(ir_float(n, ATTR_adamw_eps), 1e-6, 0);
        cr_assert_float_eq(ir_float(n, ATTR_adamw_decay), strcmp(param, "b") == 0 ? 0 : 0.05, 0,
                           "%s", param);
        cr_assert_str_eq(ir_str(n->in[2]->node, ATTR_state_name),
                         arena_printf(f.a, "adam.m.%s", param));
        cr_assert_str_eq(ir_str(n->in[3]->node, ATTR_state_name),
                         arena_printf(f.a, "adam.v.%s", param));
    }
    for (int i = 0; i < g->nout; i++) cr_assert_neq(g->out[i].kind, OUT_grad);
    close_fixture(&f);
}

Test(passes, a_changed_graph_has_no_clusters) {
    Fixture f = fixture();
    IrGraph *g = read_graph(&f, "graph @t {\n"
                                "  %0 = input {name = \"x\"} : f32[3]\n"
                                "  %1 = exp %0 : f32[3] @1\n"
                                "  %2 = exp %0 : f32[3] @2\n"
                                "  output \"y\" %1\n"
                                "  output \"z\" %2\n"
                                "}\n");
    run(&f, g, PASS_simplify);
    cr_assert_eq(g->last->cluster, 2, "simplify changes nothing here");
    run(&f, g, PASS_cse);
    cr_assert_eq(g->nnodes, 2);
    cr_assert_eq(g->last->cluster, -1);
    close_fixture(&f);
}

/* After every pass of the training pipeline the text reads back, and the two clean-up passes have
 * nothing more to do once they have run. */
Test(passes, every_stage_reads_back_and_comes_to_rest) {
    Fixture f = fixture();
    IrGraph *g = read_graph(&f, moe_text);
    const PassId list[] = {PASS_expand,   PASS_autodiff, PASS_optimizer,
                           PASS_simplify, PASS_cse,      PASS_simplify};
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) {
        run(&f, g, list[i]);
        const char *text = ir_to_text(f.a, g);
        cr_assert_str_eq(ir_to_text(f.a, read_graph(&f, text)), text, "after %s",
                         pass_name(list[i]));
        if (list[i] != PASS_simplify && list[i] != PASS_cse) continue;
        run(&f, g, list[i]);
        cr_assert_str_eq(ir_to_text(f.a, g), text, "%s twice", pass_name(list[i]));
    }
    close_fixture(&f);
}

Test(passes, the_same_graph_gives_the_same_text) {
    Fixture f = fixture();
    const PassId *list;
    int n = pass_pipeline(PIPE_TRAIN, &list);
    const char *text[2];
    for (int i = 0; i < 2; i++) {
        IrGraph *g = read_graph(&f, moe_text);
        const char *error = pass_run(&f.c, g, list, n);
        cr_assert_null(error, "%s", error);
        text[i] = ir_to_text(f.a, g);
        arena_alloc(f.scratch, 4096); /* other addresses the second time */
    }
    cr_assert_str_eq(text[0], text[1]);
    close_fixture(&f);
}

/* Sums as long as a generated file can make them: no rule may recurse over them. */
Test(passes, long_sums_are_no_problem, .timeout = 20) {
    Fixture f = fixture();
    IrGraph *g = ir_graph_create(f.a, "long");
    IrBuilder b = ir_builder(g);
    IrValue *x = ir_input(&b, "x", IR_TYPE(DT_f32, 1)), *first = NULL, *sum;
    for (int i = 0; i < 20000; i++) {
        IrValue *part = IR_OP(
            &b, unslice, VALS(x),
            ATTRS(A_INT(unslice_axis, 0), A_INT(unslice_start, i % 3), A_INT(unslice_size, 7)));
        first = first ? ir_binary(&b, OP_add, i % 2 ? part : first, i % 2 ? first : part) : part;
    }
    sum = ir_sum_axes(&b, first, (const int64_t[]){0}, 1);
    ir_add_out(g, OUT_output, "y", sum, 1, (IrLoc){0});
    int nodes = g->nnodes;
    run(&f, g, PASS_simplify);
    cr_assert_eq(g->nnodes, nodes, "nothing tiles: position 3 to 6 stay empty");
    run(&f, g, PASS_cse);
    cr_assert_lt(g->nnodes, nodes);
    close_fixture(&f);
}
