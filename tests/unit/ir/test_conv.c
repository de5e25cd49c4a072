/* Sizes of convolutions and poolings, as every rule asks for them: ir_conv_of against numbers
 * written by hand, for each op of the family and each form of its operands; the text of such a node
 * is read and printed without loss. */
#include <criterion/criterion.h>
#include <string.h>

#include "base/text.h"
#include "ir/ir.h"

typedef struct Case {
    const char *line; /* of the node, %0 and on being inputs of these types: */
    const char *operand[3];
    IrConv want;
} Case;

/* batch h w c, oh ow o, kh kw stride; pad 2,1,0,3 and stride 2 unless said otherwise. */
#define SIZES(...) __VA_ARGS__, .top = 2, .left = 1, .bottom = 0, .right = 3
#define IMAGE .batch = 4, .h = 9, .w = 7, .c = 6
#define RESULT .oh = 5, .ow = 5, .kh = 3, .kw = 2, .stride = 2
#define PAD "pad = [2,1,0,3]"

static const Case cases[] = {
    {"conv %0, %1 {" PAD ", stride = 2} : f32[4,5,5,8]",
     {"f32[4,9,7,6]", "f32[3,2,6,8]"},
     {SIZES(IMAGE, RESULT, .o = 8, .groups = 1, .parts = 1, .offsets = -1)}},
    {"conv %0, %1, %2 {" PAD ", stride = 2, groups = 2} : f32[4,5,5,8]",
     {"f32[4,9,7,6]", "f32[5,2,3,2,3,4]", "i32[6]"},
     {SIZES(IMAGE, RESULT, .o = 8, .groups = 2, .experts = 5, .parts = 1, .offsets = 2)}},
    {"conv_dx %0, %1 {height = 9, width = 7, " PAD ", stride = 2} : f32[4,9,7,6]",
     {"f32[4,5,5,8]", "f32[3,2,6,8]"},
     {SIZES(IMAGE, RESULT, .o = 8, .groups = 1, .parts = 1, .offsets = -1)}},
    {"conv_dw %0, %1, %2 {kernel = [3,2], " PAD ", stride = 2, parts = 3} : f32[3,5,3,2,6,8]",
     {"f32[4,9,7,6]", "f32[4,5,5,8]", "i32[6]"},
     {SIZES(IMAGE, RESULT, .o = 8, .groups = 1, .experts = 5, .parts = 3, .offsets = 2)}},
    {"depthwise %0, %1 {" PAD ", stride = 2} : f32[4,5,5,6]",
     {"f32[4,9,7,6]", "f32[3,2,6]"},
     {SIZES(IMAGE, RESULT, .o = 6, .groups = 1, .parts = 1, .offsets = -1)}},
    {"depthwise_dx %0, %1, %2 {height = 9, width = 7, " PAD ", stride = 2} : f32[4,9,7,6]",
     {"f32[4,5,5,6]", "f32[5,3,2,6]", "i32[6]"},
     {SIZES(IMAGE, RESULT, .o = 6, .groups = 1, .experts = 5, .parts = 1, .offsets = 2)}},
    {"depthwise_dw %0, %1 {kernel = [3,2], " PAD ", stride = 2, parts = 3} : f32[3,3,2,6]",
     {"f32[4,9,7,6]", "f32[4,5,5,6]"},
     {SIZES(IMAGE, RESULT, .o = 6, .groups = 1, .parts = 3, .offsets = -1)}},
    {"max_pool_grad %0, %1 {kernel = [3,4], height = 9, width = 7, " PAD
     ", stride = 3} : f32[4,9,7,6]",
     {"i32[4,3,3,6]", "f32[4,3,3,6]"},
     {SIZES(IMAGE, .oh = 3, .ow = 3, .o = 6, .kh = 3, .kw = 4, .stride = 3, .groups = 1, .parts = 1,
            .offsets = -1)}},
};
enum { CASES = sizeof cases / sizeof cases[0] };

static IrGraph *graph_of(Arena *a, const Case *c) {
    const char *error;
    Text t = text_new(a);
    int n = 0;
    text_add(&t, "graph @t {\n");
    for (; n < 3 && c->operand[n]; n++)
        text_addf(&t, "  %%%d = input {name = \"x%d\"} : %s\n", n, n, c->operand[n]);
    text_addf(&t, "  %%%d = %s\n}\n", n, c->line);
    IrGraph *g = ir_read(a, t.data, "conv", &error);
    cr_assert_not_null(g, "%s\n%s", error, t.data);
    Text back = text_new(a);
    ir_print(&back, g, false);
    cr_expect_str_eq(back.data, t.data);
    return g;
}

static void expect(const IrConv *got, const IrConv *want, const char *what){
#define SAME(field)                                                                                \
    cr_expect_eq(got->field, want->field, "%s: " #field " is %lld", what, (long long)got->field);
    SAME(batch) SAME(h) SAME(w) SAME(c) SAME(oh) SAME(ow) SAME(o) SAME(kh) SAME(kw) SAME(stride)
        SAME(top) SAME(left) SAME(bottom) SAME(right) SAME(groups) SAME(experts) SAME(parts)
            SAME(offsets)
#undef SAME
}

Test(conv, sizes_of_every_op_of_the_family) {
    Arena *a = arena_create();
    for (int i = 0; i < CASES; i++) {
        IrConv got = ir_conv_of(graph_of(a, &cases[i])->last);
        expect(&got, &cases[i].want, cases[i].line);
    }
    arena_destroy(a);
}

Test(conv, sizes_of_max_pool) {
    const char *error;
    Arena *a = arena_create();
    IrGraph *g = ir_read(a,
                         "graph @t {\n  %0 = input {name = \"x\"} : f32[4,9,7,6]\n"
                         "  %1, %2 = max_pool %0 {kernel = [3,4], " PAD
                         ", stride = 3} : f32[4,3,3,6], i32[4,3,3,6]\n}\n",
                         "pool", &error);
    cr_assert_not_null(g, "%s", error);
    IrConv got = ir_conv_of(g->last);
    expect(&got, &cases[CASES - 1].want, "max_pool");
    arena_destroy(a);
}

Test(conv, results_along_one_side) {
    cr_expect_eq(ir_conv_results(224, 6, 7, 2), 112);
    cr_expect_eq(ir_conv_results(5, 0, 5, 1), 1);
    cr_expect_eq(ir_conv_results(5, 0, 5, 9), 1);
    cr_expect_eq(ir_conv_results(5, 0, 6, 1), 0);
    cr_expect_eq(ir_conv_results(5, 1, 6, 1), 1);
    cr_expect_eq(ir_conv_results(6, 0, 3, 2), 2, "a rest that fills no window is left out");
}
