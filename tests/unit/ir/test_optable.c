/* The op table: every row makes sense, lookups find it, the reference documents it. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "ir/internal.h"
#include "tests/unit/util_doc.h"

Test(optable, every_op_is_found_by_its_name) {
    for (int i = 0; i < OP_COUNT; i++) cr_assert_eq(ir_op_by_name(ir_ops[i].name), (OpCode)i);
    cr_assert_eq(ir_op_by_name("no_such_op"), OP_COUNT);
    cr_assert_eq(ir_op_by_name(""), OP_COUNT);
}

Test(optable, attributes_belong_to_their_op_and_cover_the_table) {
    int at = 0;
    for (int i = 0; i < OP_COUNT; i++) {
        cr_assert_eq((int)ir_ops[i].first_attr, at, "%s", ir_ops[i].name);
        for (int k = 0; k < ir_ops[i].nattr; k++, at++) cr_assert_eq(ir_attrs[at].op, (OpCode)i);
    }
    cr_assert_eq(at, ATTR_COUNT);
}

Test(optable, known_rows) {
    cr_assert_eq(ir_ops[OP_topk].nout, 2);
    cr_assert_eq(ir_ops[OP_topk].nattr, 1);
    cr_assert_eq(ir_ops[OP_matmul].nattr, 3);
    cr_assert_eq(ir_ops[OP_neg].nattr, 0);
    cr_assert_eq(ir_ops[OP_softmax].flags, (unsigned)(OPF_PRO | OPF_EPI | OPF_LEAD | OPF_TAIL));
    cr_assert_str_eq(ir_attrs[ATTR_adamw_beta2].name, "beta2");
    cr_assert_str_eq(ir_attrs[ATTR_adamw_beta2].dflt, "0.999");
    cr_assert_not(ir_attrs[ATTR_adamw_beta2].required);
    cr_assert(ir_attrs[ATTR_route_experts].required);
}

Test(optable, defaults_are_values) {
    Arena *a = arena_create();
    cr_assert_eq(ir_attr_default(a, ATTR_param_decay).i, 1);
    cr_assert_str_eq(ir_attr_default(a, ATTR_param_init).s, "zeros");
    cr_assert_str_eq(ir_attr_default(a, ATTR_param_stream).s, "");
    cr_assert_eq(ir_attr_default(a, ATTR_adamw_eps).f, 1e-8);
    arena_destroy(a);
}

Test(optable, rows_are_consistent) {
    for (int i = 0; i < OP_COUNT; i++) {
        const OpInfo *op = &ir_ops[i];
        cr_assert_leq(op->min_in, op->max_in, "%s", op->name);
        cr_assert_geq(op->nout, 1, "%s", op->name);
        cr_assert_eq(op->stage == STAGE_MODEL, op->route == ROUTE_EXPAND, "%s", op->name);
        if (op->grad == GRAD_VIA) cr_assert_eq(op->stage, STAGE_MODEL, "%s", op->name);
        if (op->flags & OPF_COMMUTE) cr_assert_eq(op->min_in, 2, "%s", op->name);
        cr_assert(op->doc[0] && op->signature[0], "%s", op->name);
    }
}

/* One way to read each operand that code reads, and none for the others. */
static void check_reads(OpCode op) {
    const OpInfo *info = &ir_ops[op];
    bool code =
        info->route == ROUTE_ELTWISE || info->route == ROUTE_GATHER || info->route == ROUTE_KERNEL;
    for (int i = 0; i < info->max_in; i++) {
        unsigned how = ir_reads(op, i) & ~(unsigned)(READ_FACTOR | READ_PACKED);
        cr_expect(code ? how && !(how & (how - 1)) : !ir_reads(op, i), "%s reads operand %d as %u",
                  info->name, i, how);
        if (info->route == ROUTE_ELTWISE && !info->nattr)
            cr_expect_eq(how, READ_VALUE, "%s, operand %d", info->name, i);
    }
    if (info->max_in == 0) cr_expect_eq(ir_reads(op, 0), READ_NONE, "%s", info->name);
    if (info->flags & (OPF_PRO | OPF_TAIL | OPF_FRONT))
        cr_expect_eq(ir_reads(op, 0), READ_VALUE, "%s", info->name);
}

Test(optable, operands_are_read_in_one_way) {
    for (int i = 0; i < OP_COUNT; i++) check_reads((OpCode)i);
    cr_expect_eq(ir_reads(OP_layer_norm_grad, 1), READ_DENSE);
    cr_expect_eq(ir_reads(OP_layer_norm_grad, 2), READ_VALUE);
    cr_expect_eq(ir_reads(OP_sdpa_grad, 5), READ_LINES | READ_FACTOR);
    cr_expect_eq(ir_reads(OP_concat, 63), READ_VALUE);
}

Test(optable, the_reference_names_every_op_and_attribute) {
    char *text = doc_text(ir_print_reference);
    char want[128];
    for (int i = 0; i < OP_COUNT; i++) {
        snprintf(want, sizeof want, "\n### %s\n", ir_ops[i].name);
        cr_assert_not_null(strstr(text, want), "%s", ir_ops[i].name);
    }
    for (int i = 0; i < ATTR_COUNT; i++) {
        snprintf(want, sizeof want, "\n- `%s` (", ir_attrs[i].name);
        cr_assert_not_null(strstr(text, want), "%s", ir_attrs[i].name);
    }
    free(text);
}

Test(optable, the_reference_in_docs_is_up_to_date) {
    doc_is("docs/ops.md", ir_print_reference);
}
