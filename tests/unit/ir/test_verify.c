/* The verifier: every way a pass can break a graph is found and named. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "ir/internal.h"

typedef struct Fixture {
    Arena *a;
    IrGraph *g;
    IrBuilder b;
    IrValue *x, *y, *z;
} Fixture;

/* %0 = x, %1 = relu x, %2,%3 = topk %1; output "z" */
static Fixture good_graph(void) {
    Fixture f = {.a = arena_create()};
    f.g = ir_graph_create(f.a, "good");
    f.b = ir_builder(f.g);
    f.x = ir_input(&f.b, "x", IR_TYPE(DT_f32, 4, 3));
    f.y = ir_unary(&f.b, OP_relu, f.x);
    f.z = IR_OP(&f.b, topk, VALS(f.y), ATTRS(A_INT(topk_k, 2)));
    ir_add_out(f.g, OUT_output, "z", f.z, 1, (IrLoc){0});
    cr_assert_null(ir_verify(f.a, f.g, false));
    return f;
}

static void expect_error(const Fixture *f, bool allow_model, const char *want) {
    const char *got = ir_verify(f->a, f->g, allow_model);
    cr_assert(got && strcmp(got, want) == 0, "expected %s\n   found %s", want,
              got ? got : "nothing");
}

Test(verify, an_empty_graph_is_legal) {
    Arena *a = arena_create();
    cr_assert_null(ir_verify(a, ir_graph_create(a, "empty"), false));
    arena_destroy(a);
}

Test(verify, a_type_that_does_not_follow_from_the_operands) {
    Fixture f = good_graph();
    f.y->type.dim[0] = 5;
    expect_error(&f, false, "%1 = relu: result 1 is f32[5,3], expected f32[4,3]");
    f.y->type.dim[0] = 4;
    f.z->node->out[1].type.dtype = DT_f32;
    expect_error(&f, false, "%2 = topk: result 2 is f32[4,2], expected i32[4,2]");
}

Test(verify, an_attribute_out_of_range) {
    Fixture f = good_graph();
    ir_set_int(f.z->node, ATTR_topk_k, 4);
    expect_error(&f, false, "%2 = topk: top_k: k is 4, expected 1 to 3, the experts of f32[4,3]");
}

Test(verify, a_required_attribute_that_is_missing) {
    Fixture f = good_graph();
    f.z->node->attr[0].set = false;
    expect_error(&f, false, "%2 = topk: top_k: k is not given");
}

Test(verify, an_operand_made_later) {
    Fixture f = good_graph();
    IrBuilder b = ir_builder(f.g);
    IrValue *late = ir_unary(&b, OP_neg, f.x);
    f.y->node->in[0] = late;
    expect_error(&f, false, "%1 = relu: operand 1: the value is not made before");
}

Test(verify, an_operand_that_was_removed) {
    Fixture f = good_graph();
    ir_remove(f.g, f.y->node);
    expect_error(&f, false, "%1 = topk: operand 1: the value is not made before");
}

Test(verify, an_operand_of_another_graph) {
    Fixture f = good_graph(), other = good_graph();
    f.y->node->in[0] = other.x;
    expect_error(&f, false, "%1 = relu: operand 1: the value is not made before");
}

Test(verify, an_operand_that_is_no_result) {
    Fixture f = good_graph();
    IrValue *fake = ARENA_NEW(f.a, IrValue);
    *fake = *f.x;
    f.y->node->in[0] = fake;
    expect_error(&f, false, "%1 = relu: operand 1: the value is no result of its node");
    fake->index = 7;
    expect_error(&f, false, "%1 = relu: operand 1: the value is no result of its node");
    f.y->node->in[0] = NULL;
    expect_error(&f, false, "%1 = relu: operand 1: the value is missing");
}

Test(verify, results_must_point_back) {
    Fixture f = good_graph();
    f.z->node->out[1].index = 0;
    expect_error(&f, false, "%2 = topk: result 2 does not point back at its node");
}

Test(verify, wrong_numbers_of_operands_and_results) {
    Fixture f = good_graph();
    f.z->node->nin = 0;
    expect_error(&f, false, "%2 = topk: top_k: expected 1 operand, found 0");
    f.z->node->nin = 1;
    f.z->node->nout = 1;
    expect_error(&f, false, "%2 = topk: expected 2 results, found 1");
}

Test(verify, broken_links_and_counts) {
    Fixture f = good_graph();
    f.y->node->prev = NULL;
    expect_error(&f, false, "%1 = relu: the list of nodes is broken");
    f.y->node->prev = f.x->node;
    f.g->last = f.y->node;
    expect_error(&f, false, "the list of nodes does not end in its last node");
    f.g->last = f.z->node;
    f.g->nnodes = 9;
    expect_error(&f, false, "the graph counts 9 nodes, but has 3");
}

Test(verify, model_ops_only_where_they_are_allowed) {
    Fixture f = good_graph();
    ir_unary(&f.b, OP_silu, f.x);
    cr_assert_null(ir_verify(f.a, f.g, true));
    expect_error(&f, false, "%4 = silu: a MODEL op where only CORE ops may stand");
}

Test(verify, named_results) {
    Fixture f = good_graph();
    ir_add_out(f.g, OUT_metric, "m", f.z, 1, (IrLoc){0});
    expect_error(&f, false, "metric \"m\": expected a number f32[], found f32[4,2]");
    f.g->out[1].kind = OUT_grad;
    cr_assert_null(ir_verify(f.a, f.g, false));
    f.g->out[1].value = &f.z->node->out[1];
    expect_error(&f, false, "grad \"m\": expected f32 elements, found i32[4,2]");
    f.g->out[1].value = f.z;
    f.g->out[1].weight = NAN;
    expect_error(&f, false, "grad \"m\": weight is nan, expected a finite number");
    f.g->out[1].weight = 1;
    f.g->out[1].name = "z";
    expect_error(&f, false, "the name \"z\" is used twice among named results");
    IrValue gone = *f.x;
    f.g->out[1].value = &gone;
    expect_error(&f, false, "grad \"z\": the value is no result of its node");
}

Test(verify, leaves_have_names_of_their_own) {
    Fixture f = good_graph();
    ir_param(&f.b, "x", IR_TYPE(DT_f32, 2), "zeros", NULL, true);
    ir_rng_key(&f.b, "x");
    ir_rng_key(&f.b, "x");
    cr_assert_null(ir_verify(f.a, f.g, false));
    ir_input(&f.b, "x", IR_TYPE(DT_f32, 2));
    expect_error(&f, false, "the name \"x\" is used twice among inputs");
}

Test(verify, initialisers) {
    Fixture f = good_graph();
    IrValue *w = ir_param(&f.b, "w", IR_TYPE(DT_f32, 2), "xavier(128,256)", NULL, true);
    const char *good[] = {"zeros",
                          "ones",
                          "const(-0.5)",
                          "normal(0.02)",
                          "trunc_normal(1e-2)",
                          "uniform(0)",
                          "same(xavier(128,256))",
                          "same(zeros)"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        ir_set_str(f.g, w->node, ATTR_param_init, good[i]);
        cr_assert_null(ir_verify(f.a, f.g, false), "%s", good[i]);
    }
    const char *bad[] = {"",
                         "zero",
                         "zeros()",
                         "ones(1)",
                         "normal",
                         "normal()",
                         "normal(x)",
                         "normal(nan)",
                         "normal(-1)",
                         "normal(1,2)",
                         "xavier(1)",
                         "xavier(0,1)",
                         "const(1) ",
                         "const( 1)",
                         "const(inf)",
                         "xavier(1,2",
                         "xavier(1,2,3)",
                         "normal(1e999)",
                         "same",
                         "same()",
                         "same(normal(1)",
                         "same(same(ones))",
                         "same(ones))",
                         "zeros)",
                         "same(normal)"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        ir_set_str(f.g, w->node, ATTR_param_init, bad[i]);
        const char *got = ir_verify(f.a, f.g, false);
        cr_assert(got && strstr(got, "expected zeros, ones, const(value)"), "%s: %s", bad[i], got);
    }
    Fixture scalar = good_graph();
    IrValue *s = ir_param(&scalar.b, "s", ir_type(DT_f32, 0, NULL), "ones", NULL, true);
    ir_set_str(scalar.g, s->node, ATTR_param_init, "same(ones)");
    expect_error(&scalar, false,
                 "%4 = param: param: init is \"same(ones)\", but there is no dimension 0");
}

Test(verify, what_is_written_in_place_must_be_a_buffer_of_its_own) {
    Fixture f = good_graph();
    IrType t = IR_TYPE(DT_f32, 4, 3);
    IrValue *w = ir_param(&f.b, "w", t, "zeros", NULL, true), *m = ir_state(&f.b, "m", t);
    IrValue *v = ir_state(&f.b, "v", t), *step = ir_input(&f.b, "step", IR_TYPE(DT_f32, 4));
    IrValue *u = IR_OP(&f.b, adamw, VALS(w, f.y, m, v, step), NO_ATTRS);
    cr_assert_null(ir_verify(f.a, f.g, false));
    u->node->in[3] = m;
    expect_error(&f, false, "%8 = adamw: two operands that are written are the same");
    u->node->in[3] = v;
    u->node->in[0] = f.y;
    expect_error(&f, false,
                 "%8 = adamw: operand 1 is written in place and must be a weight or state");
}

Test(verify, a_leaf_is_written_once_and_read_before) {
    Fixture f = good_graph();
    IrType t = IR_TYPE(DT_f32, 4, 3);
    IrValue *w = ir_param(&f.b, "w", t, "zeros", NULL, true);
    IrValue *m = ir_state(&f.b, "m", IR_TYPE(DT_f32, 3, 4));
    static const int64_t perm[] = {1, 0};
    IrValue *turned = IR_OP(&f.b, transpose, VALS(w), ATTRS(A_INTS(transpose_perm, perm, 2)));
    IR_OP(&f.b, assign, VALS(w, f.y), NO_ATTRS);
    cr_assert_null(ir_verify(f.a, f.g, false));
    IrValue *again = IR_OP(&f.b, assign, VALS(w, f.y), NO_ATTRS);
    expect_error(&f, false, "%8 = assign: operand 1 is written a second time");
    ir_remove(f.g, again->node);
    IrValue *late = IR_OP(&f.b, assign, VALS(m, turned), NO_ATTRS);
    expect_error(&f, false, "%8 = assign: operand 2 is read after it was written");
    ir_remove(f.g, late->node);
    IR_OP(&f.b, assign, VALS(f.y, f.y), NO_ATTRS);
    expect_error(&f, false,
                 "%8 = assign: operand 1 is written in place and must be a weight or state");
}

Test(verify, does_not_change_the_graph) {
    Fixture f = good_graph();
    const char *before = ir_to_text(f.a, f.g);
    f.y->node->mark = 42;
    ir_verify(f.a, f.g, true);
    cr_assert_eq(f.y->node->mark, 42);
    cr_assert_str_eq(ir_to_text(f.a, f.g), before);
}
