/* What ops multiply: ir_work against sizes written by hand, and that no op with factors lacks a
 * rule. */
#include <criterion/criterion.h>
#include <string.h>

#include "ir/internal.h"

typedef struct Case {
    const char *op, *operands, *attrs, *results;
    IrWork want;
} Case;

static const Case cases[] = {
    {"matmul",
     "f32[2,4,3] f32[3,5]",
     "",
     "f32[2,4,5]",
     {.product = IR_PRODUCT_matmul, .macs = 120, .count = 1, .m = 8, .n = 5, .k = 3, .shared = 1}},
    {"matmul",
     "f32[4,3] f32[5,3]",
     "tb = 1",
     "f32[4,5]",
     {.product = IR_PRODUCT_matmul,
      .macs = 60,
      .count = 1,
      .m = 4,
      .n = 5,
      .k = 3,
      .shared = 1,
      .tb = 1}},
    {"matmul",
     "f32[7,2,4,3] f32[7,2,3,5]",
     "",
     "f32[7,2,4,5]",
     {.product = IR_PRODUCT_matmul, .macs = 840, .count = 14, .m = 4, .n = 5, .k = 3}},
    {"matmul",
     "f32[3,4] f32[3,5]",
     "ta = 1",
     "f32[4,5]",
     {.product = IR_PRODUCT_matmul_ta, .macs = 60, .count = 1, .m = 4, .n = 5, .k = 3, .ta = 1}},
    {"matmul",
     "f32[2,3,4] f32[2,5,3]",
     "ta = 1, tb = 1",
     "f32[2,4,5]",
     {.product = IR_PRODUCT_matmul_ta,
      .macs = 120,
      .count = 2,
      .m = 4,
      .n = 5,
      .k = 3,
      .ta = 1,
      .tb = 1}},
    {"linear",
     "f32[2,4,3] f32[3,5]",
     "",
     "f32[2,4,5]",
     {.product = IR_PRODUCT_matmul, .macs = 120, .count = 1, .m = 8, .n = 5, .k = 3, .shared = 1}},
    {"linear",
     "f32[4,3] f32[3,5] f32[5]",
     "",
     "f32[4,5]",
     {.product = IR_PRODUCT_matmul,
      .macs = 60,
      .count = 1,
      .m = 4,
      .n = 5,
      .k = 3,
      .shared = 1,
      .bias = 2}},
    {"expert_matmul",
     "f32[6,3] f32[2,3,5] i32[3]",
     "",
     "f32[6,5]",
     {.product = IR_PRODUCT_expert_matmul,
      .macs = 90,
      .count = 2,
      .m = 6,
      .n = 5,
      .k = 3,
      .experts = 2,
      .offsets = 2}},
    {"expert_matmul",
     "f32[6,7,3] f32[2,5,3] i32[3]",
     "tb = 1",
     "f32[6,7,5]",
     {.product = IR_PRODUCT_expert_matmul,
      .macs = 630,
      .count = 2,
      .m = 42,
      .n = 5,
      .k = 3,
      .tb = 1,
      .experts = 2,
      .offsets = 2}},
    {"expert_linear",
     "f32[6,3] f32[2,3,5] i32[3] i32[6] f32[2,5]",
     "",
     "f32[6,5]",
     {.product = IR_PRODUCT_expert_matmul,
      .macs = 90,
      .count = 2,
      .m = 6,
      .n = 5,
      .k = 3,
      .experts = 2,
      .offsets = 2,
      .bias = 4}},
    {"expert_matmul_dw",
     "f32[6,3] f32[6,5] i32[3]",
     "",
     "f32[2,3,5]",
     {.product = IR_PRODUCT_expert_matmul_dw,
      .macs = 90,
      .count = 2,
      .m = 3,
      .n = 5,
      .k = 6,
      .ta = 1,
      .experts = 2,
      .offsets = 2}},
    {"expert_matmul_dw",
     "f32[6,7,3] f32[6,7,5] i32[3]",
     "parts = 4",
     "f32[4,2,3,5]",
     {.product = IR_PRODUCT_expert_matmul_dw,
      .macs = 630,
      .count = 8,
      .m = 3,
      .n = 5,
      .k = 42,
      .ta = 1,
      .experts = 2,
      .offsets = 2}},
    /* 2 images of 5 queries and 7 keys, 3 heads of 4 */
    {"attention",
     "f32[2,5,12] f32[2,7,12] f32[2,7,12]",
     "heads = 3",
     "f32[2,5,12]",
     {.attention = 1, .macs = 1680, .count = 6, .m = 5, .n = 7, .k = 4}},
    {"sdpa",
     "f32[2,5,12] f32[2,7,12] f32[2,7,12] key",
     "heads = 3, scale = 0.5",
     "f32[2,5,12], f32[2,3,5]",
     {.attention = 1, .macs = 1680, .count = 6, .m = 5, .n = 7, .k = 4}},
    {"sdpa_grad",
     "f32[2,5,12] f32[2,7,12] f32[2,7,12] key f32[2,3,5] f32[2,5,12]",
     "heads = 3, scale = 0.5",
     "f32[2,5,12], f32[2,7,12], f32[2,7,12]",
     {.attention = 1, .macs = 3360, .count = 6, .m = 5, .n = 7, .k = 4}},
    /* 2 images of 5 x 7 pixels */
    {"conv",
     "f32[2,5,7,6] f32[3,3,6,4]",
     "pad = [1,1,1,1]",
     "f32[2,5,7,4]",
     {.product = IR_PRODUCT_conv,
      .macs = 15120,
      .count = 1,
      .m = 70,
      .n = 4,
      .k = 54,
      .shared = 1}},
    {"conv",
     "f32[2,5,7,6] f32[3,3,3,2,4]",
     "pad = [1,1,1,1], stride = 2, groups = 3",
     "f32[2,3,4,12]",
     {.product = IR_PRODUCT_conv, .macs = 5184, .count = 3, .m = 24, .n = 4, .k = 18}},
    {"conv",
     "f32[2,5,7,6] f32[3,2,3,3,3,2] i32[4]",
     "pad = [1,1,1,1], groups = 2",
     "f32[2,5,7,4]",
     {.product = IR_PRODUCT_conv,
      .macs = 7560,
      .count = 6,
      .m = 70,
      .n = 2,
      .k = 27,
      .experts = 3,
      .offsets = 2}},
    {"conv_dx",
     "f32[2,3,4,4] f32[3,3,6,4]",
     "height = 5, width = 7, pad = [1,1,1,1], stride = 2",
     "f32[2,5,7,6]",
     {.product = IR_PRODUCT_conv_dx,
      .macs = 5184,
      .count = 1,
      .m = 70,
      .n = 6,
      .k = 36,
      .shared = 1,
      .tb = 1}},
    {"conv_dw",
     "f32[2,5,7,6] f32[2,3,4,12]",
     "kernel = [3,3], pad = [1,1,1,1], stride = 2, groups = 3, parts = 2",
     "f32[2,3,3,3,2,4]",
     {.product = IR_PRODUCT_conv_dw, .macs = 5184, .count = 6, .m = 18, .n = 4, .k = 24, .ta = 1}},
    {"conv_dw",
     "f32[2,5,7,6] f32[2,5,7,4] i32[4]",
     "kernel = [3,3], pad = [1,1,1,1]",
     "f32[3,3,3,6,4]",
     {.product = IR_PRODUCT_conv_dw,
      .macs = 15120,
      .count = 3,
      .m = 54,
      .n = 4,
      .k = 70,
      .ta = 1,
      .experts = 3,
      .offsets = 2}},
    {"depthwise",
     "f32[2,5,7,6] f32[3,3,6]",
     "pad = [1,1,1,1]",
     "f32[2,5,7,6]",
     {.depthwise = 1, .macs = 3780}},
    {"depthwise_dx",
     "f32[2,3,4,6] f32[4,3,3,6] i32[5]",
     "height = 5, width = 7, pad = [1,1,1,1], stride = 2",
     "f32[2,5,7,6]",
     {.depthwise = 1, .macs = 1296}},
    {"depthwise_dw",
     "f32[2,5,7,6] f32[2,5,7,6]",
     "kernel = [3,3], pad = [1,1,1,1], parts = 2",
     "f32[2,3,3,6]",
     {.depthwise = 1, .macs = 3780}},
};
enum { CASES = sizeof cases / sizeof cases[0] };

/* The graph of one case; its last node is the op. */
static IrNode *node_of(Arena *a, const Case *c) {
    Text head = text_new(a), in = text_new(a), out = text_new(a);
    int n = 0;
    for (const char *s = c->operands; *s; n++) {
        int len = (int)strcspn(s, " ");
        if (!strncmp(s, "key", 3))
            text_addf(&head, "  %%%d = rng_key {stream = \"s\"} : i32[2]\n", n);
        else
            text_addf(&head, "  %%%d = input {name = \"x%d\"} : %.*s\n", n, n, len, s);
        text_addf(&in, "%s%%%d", n ? ", " : "", n);
        s += len;
        s += strspn(s, " ");
    }
    for (const char *s = c->results; s; s = strchr(s + 1, ' '))
        text_addf(&out, "%s%%%d", s == c->results ? "" : ", ", n++);
    const char *error,
        *text = arena_printf(a, "graph @t {\n%s  %s = %s %s%s%s%s : %s\n}\n", head.data, out.data,
                             c->op, in.data, *c->attrs ? " {" : "", c->attrs, *c->attrs ? "}" : "",
                             c->results);
    IrGraph *g = ir_read(a, text, "t.vir", &error);
    cr_assert_not_null(g, "%s\n%s", error, text);
    return g->last;
}

static void expect_equal(const Case *c, const IrWork *got) {
    const IrWork *want = &c->want;
    cr_expect_eq(got->attention, want->attention, "%s (%s)", c->op, c->attrs);
    cr_expect_eq(got->macs, want->macs, "%s (%s): %g multiplications", c->op, c->attrs, got->macs);
    cr_expect(got->count == want->count && got->m == want->m && got->n == want->n &&
                  got->k == want->k,
              "%s (%s): %lld products of %lld x %lld by %lld x %lld", c->op, c->attrs,
              (long long)got->count, (long long)got->m, (long long)got->k, (long long)got->k,
              (long long)got->n);
    cr_expect(got->left == 0 && got->right == 1, "%s", c->op);
    cr_expect_eq(got->depthwise, want->depthwise, "%s (%s)", c->op, c->attrs);
    if (want->attention || want->depthwise) return;
    cr_expect_eq(got->product, want->product, "%s: %s", c->op, ir_product_name[got->product]);
    cr_expect(got->ta == want->ta && got->tb == want->tb, "%s (%s)", c->op, c->attrs);
    cr_expect_eq(got->shared, want->shared, "%s (%s)", c->op, c->attrs);
    cr_expect_eq(got->bias, want->bias ? want->bias : -1, "%s: bias %d", c->op, got->bias);
    cr_expect_eq(got->experts, want->experts, "%s: %lld experts", c->op, (long long)got->experts);
    cr_expect_eq(got->offsets, want->offsets ? want->offsets : -1, "%s", c->op);
}

Test(work, of_every_op_that_multiplies) {
    Arena *a = arena_create();
    bool met[OP_COUNT] = {false};
    for (int i = 0; i < CASES; i++) {
        IrWork w;
        IrNode *n = node_of(a, &cases[i]);
        cr_assert(ir_work(n, &w), "%s", cases[i].op);
        expect_equal(&cases[i], &w);
        bool product = !cases[i].want.attention && !cases[i].want.depthwise;
        cr_expect_eq(ir_work_product(n, &w), product, "%s", cases[i].op);
        met[n->op] = true;
    }
    for (int i = 0; i < OP_COUNT; i++)
        cr_expect_eq(met[i], ir_ops[i].work, "%s has %s", ir_ops[i].name,
                     met[i] ? "a case and no rule" : "a rule and no case");
    arena_destroy(a);
}

/* Products of one node that have rows of their own: its groups. Those of experts and of parts share
 * the rows that they count. */
static int64_t side_by_side(const IrNode *n, const IrWork *w) {
    AttrId groups = ir_attr_by_name(n->op, "groups");
    if (groups != ATTR_COUNT) return ir_int(n, groups);
    return w->experts ? 1 : w->count;
}

/* The multiplications of a product are its results times its inner positions, but for a gradient
 * whose images meet some kernel elements alone. */
Test(work, sizes_and_multiplications_agree) {
    Arena *a = arena_create();
    for (int i = 0; i < CASES; i++) {
        IrWork w;
        const IrNode *n = node_of(a, &cases[i]);
        if (!ir_work_product(n, &w)) continue;
        double all = (double)(side_by_side(n, &w) * w.m * w.n * w.k);
        if (w.product == IR_PRODUCT_conv_dx)
            cr_expect_leq(w.macs, all, "%s", cases[i].op);
        else
            cr_expect_eq(w.macs, all, "%s", cases[i].op);
        cr_expect_eq(ir_elems(&n->out[0].type) % (w.m * w.n), 0, "%s", cases[i].op);
    }
    arena_destroy(a);
}

static bool has_factors(OpCode op) {
    for (int i = 0; i < ir_ops[op].max_in; i++)
        if (ir_reads(op, i) & READ_FACTOR) return true;
    return false;
}

Test(work, every_kernel_with_factors_has_a_rule) {
    for (int i = 0; i < OP_COUNT; i++) {
        if (ir_ops[i].stage != STAGE_CORE) continue;
        bool factors = has_factors((OpCode)i);
        cr_expect(!factors || ir_ops[i].work, "%s", ir_ops[i].name);
        cr_expect_eq(ir_bf16_attr((OpCode)i) != ATTR_COUNT, factors, "%s", ir_ops[i].name);
        if (ir_ops[i].work) cr_expect_eq(ir_ops[i].route, ROUTE_KERNEL, "%s", ir_ops[i].name);
    }
}

Test(work, factors_are_the_operands_that_are_multiplied) {
    Arena *a = arena_create();
    for (int i = 0; i < CASES; i++) {
        IrWork w;
        const IrNode *n = node_of(a, &cases[i]);
        if (ir_ops[n->op].stage != STAGE_CORE || !ir_work(n, &w) || w.attention) continue;
        cr_expect_eq(has_factors(n->op), !w.depthwise, "%s", cases[i].op);
        for (int k = 0; k < n->nin; k++) {
            unsigned reads = ir_reads(n->op, k);
            bool multiplied = !w.depthwise && (k == w.left || k == w.right);
            cr_expect_eq((reads & READ_FACTOR) != 0, multiplied, "%s %d", cases[i].op, k);
            cr_expect(!(reads & READ_PACKED) || k == w.right, "%s %d", cases[i].op, k);
        }
    }
    arena_destroy(a);
}

Test(work, the_rest_multiplies_nothing) {
    Arena *a = arena_create();
    const Case c = {"add", "f32[4,3] f32[4,3]", "", "f32[4,3]", {0}};
    IrWork w = {.macs = 1, .experts = 3};
    cr_expect_not(ir_work(node_of(a, &c), &w));
    cr_expect_eq(w.macs, 0);
    cr_expect_eq(w.experts, 0);
    arena_destroy(a);
}
