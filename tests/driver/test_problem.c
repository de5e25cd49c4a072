/* The text of bench --kernel: what is read, where mistakes are found, and the graph that comes of
 * it. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include "driver/bench/bench.h"
#include "tests/unit/codegen/util_program.h"

static const Diag *parse(const char *text, Problem *p) {
    Diags *d = diags_create(arena_create());
    bool ok = problem_parse(d, text, p);
    for (const Diag *e = d->first; e; e = e->next)
        cr_assert(eq(int, (int)e->id, (int)D_kernel_text));
    cr_assert(eq(int, ok, d->nerrors == 0));
    return d->first;
}

/* The column of the first mistake; 0: there is none. */
static int column(const char *text) {
    Problem p;
    const Diag *e = parse(text, &p);
    int line = 0, col = 0;
    if (e) span_place(e->span, &line, &col);
    return col;
}

Test(problem, keys_and_defaults) {
    Problem p;
    cr_assert(parse("  matmul k=3 m=5\tn=7 ta=1 ", &p) == NULL);
    cr_assert(eq(int, (int)p.kind, (int)PROBLEM_matmul));
    cr_assert(eq(long, (long)problem_int(&p, KEY_matmul_m), 5));
    cr_assert(eq(long, (long)problem_int(&p, KEY_matmul_n), 7));
    cr_assert(eq(long, (long)problem_int(&p, KEY_matmul_k), 3));
    cr_assert(eq(long, (long)problem_int(&p, KEY_matmul_ta), 1));
    cr_assert(eq(long, (long)problem_int(&p, KEY_matmul_tb), 0));
    cr_assert(eq(long, (long)problem_int(&p, KEY_matmul_batch), 1));
    cr_assert(parse("expert_matmul m=8 n=8 k=8 skew=0.25 epilogue=bias_residual", &p) == NULL);
    cr_assert(eq(dbl, problem_float(&p, KEY_expert_matmul_skew), 0.25));
    cr_assert(eq(long, (long)problem_int(&p, KEY_expert_matmul_epilogue), 5));
}

Test(problem, mistakes_are_found_where_they_are) {
    cr_assert(eq(int, column(""), 1));
    cr_assert(eq(int, column(" nothing m=1"), 2));
    cr_assert(eq(int, column("sum m=1 n=0"), 11));
    cr_assert(eq(int, column("sum m=1 n=1.5"), 11));
    cr_assert(eq(int, column("sum m=1 n="), 11));
    cr_assert(eq(int, column("sum m=1 =3"), 9));
    cr_assert(eq(int, column("sum m=99999999999999999999 n=3"), 7));
    cr_assert(eq(int, column("sum m=1 n"), 9));
    cr_assert(eq(int, column("sum m=1"), 1));
    cr_assert(eq(int, column("sum m=1 n=2 k=2"), 13));
    cr_assert(eq(int, column("sum m=1 n=2 m=2"), 13));
    cr_assert(eq(int, column("expert_matmul m=5 n=2 k=2 top_k=2"), 27));
    cr_assert(eq(int, column("expert_matmul m=4 n=2 k=2 experts=1 top_k=2"), 37));
    cr_assert(eq(int, column("expert_matmul m=4 n=2 k=2 skew=nan"), 32));
    cr_assert(eq(int, column("conv batch=1 size=4 c=6 o=4 groups=3"), 29));
    cr_assert(eq(int, column("sum m=1 n=2"), 0));
}

static const IrNode *anchor(const IrGraph *g, OpCode op) {
    IR_FOR (n, g)
        if (n->op == op) return n;
    return NULL;
}

Test(problem, graphs_verify_and_have_the_operands_asked_for) {
    static const char *const text[PROBLEM_COUNT] = {
        [PROBLEM_matmul] = "matmul m=4 n=6 k=8 tb=1 epilogue=bias_gelu",
        [PROBLEM_expert_matmul] =
            "expert_matmul m=8 n=6 k=4 experts=3 top_k=2 gather=1 epilogue=bias",
        [PROBLEM_expert_matmul_dw] = "expert_matmul_dw m=4 n=6 k=8 experts=3 gather=1",
        [PROBLEM_sdpa] = "sdpa batch=2 n=3 dim=8 heads=2",
        [PROBLEM_sdpa_grad] = "sdpa_grad batch=2 n=3 dim=8 heads=2",
        [PROBLEM_conv] = "conv batch=2 size=5 c=3 o=4 planar=1 epilogue=bias",
        [PROBLEM_conv_dx] = "conv_dx batch=2 size=6 c=4 o=6 groups=2 stride=2",
        [PROBLEM_conv_dw] = "conv_dw batch=2 size=6 c=4 o=6 kernel=2 stride=2 planar=1",
        [PROBLEM_depthwise] = "depthwise batch=2 size=5 c=3 kernel=7 epilogue=bias",
        [PROBLEM_depthwise_dx] = "depthwise_dx batch=2 size=5 c=3 stride=2",
        [PROBLEM_depthwise_dw] = "depthwise_dw batch=2 size=5 c=3",
        [PROBLEM_softmax] = "softmax m=3 n=5",
        [PROBLEM_layer_norm] = "layer_norm m=3 n=5",
        [PROBLEM_layer_norm_grad] = "layer_norm_grad m=3 n=5",
        [PROBLEM_sum] = "sum m=3 n=5",
        [PROBLEM_topk] = "topk m=3 n=5 k=2",
        [PROBLEM_adamw] = "adamw n=9",
    };
    for (int i = 0; i < PROBLEM_COUNT; i++) {
        Problem p;
        cr_assert(parse(text[i], &p) == NULL, "%s", text[i]);
        Arena *a = arena_create();
        IrGraph *g = problem_graph(a, &p);
        const char *error = ir_verify(a, g, true);
        cr_assert(error == NULL, "%s: %s", text[i], error);
        OpCode op = ir_op_by_name(problem_kind_name((ProblemKind)i));
        cr_assert(anchor(g, op) != NULL, "%s", text[i]);
    }
}

/* Rows of each expert when tokens choose by the gate's values. */
Test(problem, skew_is_the_share_of_the_first_expert) {
    Problem p;
    cr_assert(parse("expert_matmul m=200 n=4 k=4 experts=4 top_k=2 skew=0.9", &p) == NULL);
    IrGraph *g = problem_graph(arena_create(), &p);
    const IrNode *gate = ir_find_leaf(g, OP_input, "gate");
    cr_assert(eq(long, (long)gate->out[0].type.dim[0], 100));
    float x[400];
    int first[4] = {0};
    problem_fill(&p, g, gate, x);
    for (int t = 0; t < 100; t++) {
        int best = 0;
        for (int e = 1; e < 4; e++)
            if (x[t * 4 + e] > x[t * 4 + best]) best = e;
        first[best]++;
    }
    cr_assert(eq(int, first[0], 90));
    cr_assert(first[1] >= 3 && first[2] >= 3 && first[3] >= 3);
}

Test(problem, products_of_a_graph_read_back) {
    Arena *a = arena_create();
    IrGraph *g = program_read(a,
                              "graph @m {\n"
                              "  %0 = input {name = \"x\"} : f32[2,3,8]\n"
                              "  %1 = param {name = \"w\"} : f32[5,8]\n"
                              "  %2 = matmul %0, %1 {tb = 1} : f32[2,3,5]\n"
                              "  %3 = reshape %0 {shape = [6,8]} : f32[6,8]\n"
                              "  %4 = reshape %2 {shape = [6,5]} : f32[6,5]\n"
                              "  %5 = matmul %3, %4 {ta = 1} : f32[8,5]\n"
                              "  %6 = matmul %2, %2 {tb = 1} : f32[2,3,3]\n"
                              "  %7 = matmul %0, %1 {tb = 1} : f32[2,3,5]\n"
                              "  output \"a\" %5\n  output \"b\" %6\n  output \"c\" %7\n}\n",
                              PASS_COUNT);
    Matmul *list;
    cr_assert(eq(int, count_matmuls(a, g, &list), 3));
    cr_assert(eq(str, (char *)list[0].text, "matmul m=6 n=5 k=8 tb=1"));
    cr_assert(eq(int, list[0].calls, 2));
    cr_assert(eq(str, (char *)list[1].text, "matmul m=8 n=5 k=6 ta=1"));
    cr_assert(eq(str, (char *)list[2].text, "matmul m=3 n=3 k=5 tb=1 batch=2"));
    Problem p;
    for (int i = 0; i < 3; i++) cr_assert(parse(list[i].text, &p) == NULL, "%s", list[i].text);
}
