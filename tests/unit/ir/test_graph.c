/* Graphs and the builder: nodes, attributes, uses, order, dead code, clones. */
#include <criterion/criterion.h>
#include <string.h>

#include "ir/internal.h"

typedef struct Fixture {
    Arena *a;
    IrGraph *g;
    IrBuilder b;
    IrValue *x, *w, *y;
} Fixture;

/* x [4,3] times w [3,5] gives y [4,5]. */
static Fixture small_graph(void) {
    Fixture f = {.a = arena_create()};
    f.g = ir_graph_create(f.a, "small");
    f.b = ir_builder(f.g);
    f.x = ir_input(&f.b, "x", IR_TYPE(DT_f32, 4, 3));
    f.w = ir_param(&f.b, "w", IR_TYPE(DT_f32, 3, 5), "normal(0.02)", "", true);
    f.y = IR_OP(&f.b, matmul, VALS(f.x, f.w), NO_ATTRS);
    return f;
}

Test(graph, nodes_stand_in_order_with_types_and_places) {
    Fixture f = small_graph();
    f.b.loc = (IrLoc){"m.vmoe", 7, 3};
    IrValue *z = ir_unary(&f.b, OP_relu, f.y);
    cr_assert_eq(f.g->nnodes, 4);
    cr_assert_eq(f.g->first, f.x->node);
    cr_assert_eq(f.g->last, z->node);
    cr_assert_eq(z->node->loc.line, 7);
    cr_assert_eq(z->node->cluster, -1);
    IrType t = IR_TYPE(DT_f32, 4, 5);
    cr_assert(ir_type_equal(&z->type, &t));
}

Test(graph, building_before_a_node) {
    Fixture f = small_graph();
    IrBuilder b = ir_builder(f.g);
    b.at = f.y->node;
    IrValue *n = ir_unary(&b, OP_neg, f.x);
    cr_assert_eq(f.y->node->prev, n->node);
    cr_assert_eq(f.w->node->next, n->node);
    cr_assert_null(ir_verify(f.a, f.g, false));
}

Test(graph, attributes_by_kind) {
    Fixture f = small_graph();
    IrValue *t = IR_OP(&f.b, topk, VALS(f.y), ATTRS(A_INT(topk_k, 2)));
    cr_assert_eq(ir_int(t->node, ATTR_topk_k), 2);
    ir_set_int(t->node, ATTR_topk_k, 3);
    cr_assert_eq(ir_int(t->node, ATTR_topk_k), 3);
    cr_assert_str_eq(ir_str(f.w->node, ATTR_param_init), "normal(0.02)");
    char name[] = "changes";
    ir_set_str(f.g, f.w->node, ATTR_param_stream, name);
    name[0] = 'X';
    cr_assert_str_eq(ir_str(f.w->node, ATTR_param_stream), "changes");
    IrValue *s = ir_sum_axes(&f.b, f.y, (int64_t[]){0, 1}, 2);
    const int64_t *axes;
    cr_assert_eq(ir_ints(s->node, ATTR_sum_axes, &axes), 2);
    cr_assert_eq(axes[1], 1);
    cr_assert_eq(ir_float(ir_scale(&f.b, f.y, 0.5)->node->in[1]->node, ATTR_const_value), 0.5);
}

Test(graph, an_attribute_of_another_op_is_our_bug, .signal = 6) {
    Fixture f = small_graph();
    ir_int(f.y->node, ATTR_topk_k);
}

Test(graph, an_attribute_of_another_kind_is_our_bug, .signal = 6) {
    Fixture f = small_graph();
    ir_float(f.y->node, ATTR_matmul_ta);
}

Test(graph, an_ill_formed_node_is_our_bug, .signal = 6) {
    Fixture f = small_graph();
    IR_OP(&f.b, matmul, VALS(f.w, f.w), NO_ATTRS);
}

Test(graph, trying_an_ill_formed_node_gives_a_message_and_adds_nothing) {
    Fixture f = small_graph();
    cr_assert_null(ir_try(&f.b, OP_topk, VALS(f.y), ATTRS(A_INT(topk_k, 9))));
    cr_assert_str_eq(f.b.error, "top_k: k is 9, expected 1 to 5, the experts of f32[4,5]");
    cr_assert_eq(f.g->nnodes, 3);
    cr_assert_not_null(ir_try(&f.b, OP_topk, VALS(f.y), ATTRS(A_INT(topk_k, 5))));
    cr_assert_null(f.b.error);
}

Test(graph, a_weight_of_a_known_name_is_the_same_weight) {
    Fixture f = small_graph();
    cr_assert_eq(ir_param(&f.b, "w", IR_TYPE(DT_f32, 3, 5), "zeros", "", true), f.w);
    cr_assert_eq(ir_find_leaf(f.g, OP_param, "w"), f.w->node);
    cr_assert_null(ir_find_leaf(f.g, OP_param, "x"));
    cr_assert_eq(ir_find_leaf(f.g, OP_input, "x"), f.x->node);
}

Test(graph, a_weight_with_two_types_is_our_bug, .signal = 6) {
    Fixture f = small_graph();
    ir_param(&f.b, "w", IR_TYPE(DT_f32, 3, 6), "zeros", "", true);
}

Test(graph, named_results_are_replaced_by_kind_and_name) {
    Fixture f = small_graph();
    ir_add_out(f.g, OUT_output, "y", f.x, 1, (IrLoc){0});
    ir_add_out(f.g, OUT_output, "y", f.y, 1, (IrLoc){0});
    cr_assert_eq(f.g->nout, 1);
    cr_assert_eq(ir_find_out(f.g, "y")->value, f.y);
    for (int i = 0; i < 20; i++)
        ir_add_out(f.g, OUT_grad, arena_printf(f.a, "g%d", i), f.y, 1, (IrLoc){0});
    cr_assert_eq(f.g->nout, 21);
    cr_assert_eq(ir_find_out(f.g, "g19")->kind, OUT_grad);
    cr_assert_null(ir_find_out(f.g, "g20"));
}

Test(graph, replacing_uses_reaches_operands_and_results) {
    Fixture f = small_graph();
    IrValue *r = ir_unary(&f.b, OP_relu, f.y), *twice = ir_binary(&f.b, OP_add, r, f.y);
    ir_add_out(f.g, OUT_output, "y", f.y, 1, (IrLoc){0});
    IrBuilder b = ir_builder(f.g);
    b.at = r->node;
    IrValue *n = ir_unary(&b, OP_neg, f.x), *z = IR_OP(&b, matmul, VALS(n, f.w), NO_ATTRS);
    ir_replace_uses(f.g, f.y, z);
    cr_assert_eq(r->node->in[0], z);
    cr_assert_eq(twice->node->in[0], r);
    cr_assert_eq(twice->node->in[1], z);
    cr_assert_eq(f.g->out[0].value, z);
    ir_remove(f.g, f.y->node);
    cr_assert_null(ir_verify(f.a, f.g, false));
}

Test(graph, dead_code_goes_and_leaves_stay_if_asked) {
    Fixture f = small_graph();
    ir_input(&f.b, "unused", IR_TYPE(DT_f32, 2));
    ir_unary(&f.b, OP_relu, f.y);
    ir_const(&f.b, 1, ir_scalar(DT_f32));
    ir_add_out(f.g, OUT_output, "y", f.y, 1, (IrLoc){0});
    cr_assert(ir_dce(f.g, false));
    cr_assert_eq(f.g->nnodes, 4);
    cr_assert_not_null(ir_find_leaf(f.g, OP_input, "unused"));
    cr_assert_not(ir_dce(f.g, false));
    cr_assert(ir_dce(f.g, true));
    cr_assert_eq(f.g->nnodes, 3);
    cr_assert_null(ir_verify(f.a, f.g, false));
}

Test(graph, dead_code_keeps_effects_and_what_they_need) {
    Fixture f = small_graph();
    IrType t = f.w->type;
    IrValue *m = ir_state(&f.b, "m", t), *v = ir_state(&f.b, "v", t),
            *step = ir_input(&f.b, "s", IR_TYPE(DT_f32, 4));
    IrValue *g = ir_scale(&f.b, f.w, 2);
    IR_OP(&f.b, adamw, VALS(f.w, g, m, v, step), NO_ATTRS);
    int before = f.g->nnodes;
    cr_assert(ir_dce(f.g, true)); /* the product and its input go */
    cr_assert_eq(f.g->nnodes, before - 2);
    cr_assert_null(ir_verify(f.a, f.g, false));
}

Test(graph, a_clone_stands_alone) {
    Fixture f = small_graph();
    IrValue *t = IR_OP(&f.b, topk, VALS(f.y), ATTRS(A_INT(topk_k, 2)));
    t->node->cluster = 4;
    t->node->loc = (IrLoc){"m.vmoe", 3, 9};
    ir_add_out(f.g, OUT_aux, "a", ir_sum_axes(&f.b, t, (int64_t[]){0, 1}, 2), 0.01,
               (IrLoc){"m.vmoe", 4, 1});
    Arena *other = arena_create();
    Text before = text_new(other), after = text_new(other);
    ir_print(&before, f.g, true);
    IrGraph *copy = ir_graph_clone(other, f.g);
    arena_destroy(f.a);
    ir_print(&after, copy, true);
    cr_assert_str_eq(after.data, before.data);
    cr_assert_null(ir_verify(other, copy, false));
    arena_destroy(other);
}

Test(graph, shorthands_return_their_operand_when_nothing_is_to_do) {
    Fixture f = small_graph();
    IrType flat = IR_TYPE(DT_f32, 20), row = IR_TYPE(DT_f32, 1, 5), wide = IR_TYPE(DT_f32, 2, 4, 5);
    cr_assert_eq(ir_reshape(&f.b, f.y, &f.y->type), f.y);
    cr_assert_eq(ir_broadcast(&f.b, f.y, &f.y->type), f.y);
    cr_assert_eq(ir_sum_axes(&f.b, f.y, NULL, 0), f.y);
    cr_assert_eq(ir_unbroadcast(&f.b, f.y, &f.y->type), f.y);
    IrValue *r = ir_reshape(&f.b, f.y, &flat), *u = ir_unbroadcast(&f.b, f.y, &row);
    cr_assert(ir_type_equal(&r->type, &flat));
    cr_assert(ir_type_equal(&u->type, &row));
    IrValue *up = ir_broadcast(&f.b, u, &wide);
    cr_assert(ir_type_equal(&up->type, &wide));
    IrValue *down = ir_unbroadcast(&f.b, up, &row);
    cr_assert(ir_type_equal(&down->type, &row));
    cr_assert_null(ir_verify(f.a, f.g, false));
}

static const char *note(void *user) {
    (void)user;
    _Exit(17);
}

Test(graph, a_bug_runs_the_hook, .exit_code = 17) {
    (void)vm_bug_set_report((VmBugReport){note, NULL});
    VM_BUG("wrong by intention");
}
