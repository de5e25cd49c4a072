/* Counting parameters and multiply-accumulates, against numbers worked out by hand. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include "driver/session/session.h"

static IrGraph *graph(const char *text) {
    Arena *a = arena_create();
    const char *error = NULL;
    IrGraph *g = ir_read(a, text, "test", &error);
    cr_assert(g != NULL, "%s", error);
    return g;
}

static Counts count(const char *text, int64_t batch) {
    IrGraph *g = graph(text);
    return session_count(g->arena, g, batch);
}

Test(count, linear_layers_by_module) {
    Counts c = count("graph @m {\n"
                     "  %0 = input {name = \"image\"} : f32[4,3,8]\n"
                     "  %1 = param {name = \"m.0.mlp.up.weight\", init = \"zeros\"} : f32[8,5]\n"
                     "  %2 = param {name = \"m.0.mlp.up.bias\", init = \"zeros\"} : f32[5]\n"
                     "  %3 = linear %0, %1, %2 : f32[4,3,5]\n"
                     "  %4 = param {name = \"m.0.mlp.down.weight\", init = \"zeros\"} : f32[5,8]\n"
                     "  %5 = linear %3, %4 : f32[4,3,8]\n"
                     "  %6 = param {name = \"m.head.weight\", init = \"zeros\"} : f32[8,2]\n"
                     "  %7 = matmul %5, %6 : f32[4,3,2]\n"
                     "  output \"y\" %7\n}\n",
                     4);
    cr_assert(eq(long, (long)c.total.params, 40 + 5 + 40 + 16));
    cr_assert(eq(long, (long)c.total.active, 40 + 5 + 40 + 16));
    cr_assert(eq(dbl, c.total.macs, 3 * (40 + 40 + 16)));
    cr_assert(eq(int, c.nmodule, 2));
    cr_assert(eq(str, (char *)c.module[0].name, "m.0.mlp"));
    cr_assert(eq(dbl, c.module[0].macs, 3 * 80));
    cr_assert(eq(str, (char *)c.module[1].name, "m.head"));
    cr_assert(eq(long, (long)c.module[1].params, 16));
}

Test(count, a_token_meets_k_of_the_experts) {
    Counts c =
        count("graph @m {\n"
              "  %0 = input {name = \"x\"} : f32[6,8]\n"
              "  %1 = param {name = \"m.gate.weight\", init = \"zeros\"} : f32[8,4]\n"
              "  %2 = linear %0, %1 : f32[6,4]\n"
              "  %3, %4 = topk %2 {k = 2} : f32[6,2], i32[6,2]\n"
              "  %5, %6, %7, %8 = route %4 {experts = 4} : i32[5], i32[12], i32[6,2], i32[12]\n"
              "  %9 = dispatch %0, %6 {k = 2} : f32[12,8]\n"
              "  %10 = param {name = \"m.up.weight\", init = \"zeros\"} : f32[4,8,3]\n"
              "  %11 = param {name = \"m.up.bias\", init = \"zeros\"} : f32[4,3]\n"
              "  %12 = expert_linear %9, %10, %5, %8, %11 : f32[12,3]\n"
              "  %13 = param {name = \"m.scale\", init = \"ones\"} : f32[4,3]\n"
              "  %14 = expert_expand %13, %8 : f32[12,3]\n"
              "  %15 = mul %12, %14 : f32[12,3]\n"
              "  %16 = combine %15, %7, %3 : f32[6,3]\n"
              "  output \"y\" %16\n}\n",
              2);
    cr_assert(eq(long, (long)c.total.params, 32 + 96 + 12 + 12));
    cr_assert(eq(long, (long)c.total.active, 32 + (96 + 12 + 12) / 2));
    cr_assert(eq(dbl, c.total.macs, (6 * 32 + 12 * 24) / 2));
    cr_assert(eq(long, (long)c.image, 32 + 96 + 12 + 12)); /* three tokens with two choices each */
}

Test(count, attention_counts_its_two_products) {
    Counts c =
        count("graph @m {\n"
              "  %0 = input {name = \"x\"} : f32[2,5,8]\n"
              "  %1 = param {name = \"m.attention.qkv.weight\", init = \"zeros\"} : f32[8,24]\n"
              "  %2 = linear %0, %1 : f32[2,5,24]\n"
              "  %3 = slice %2 {axis = 2, start = 0, size = 8} : f32[2,5,8]\n"
              "  %4 = slice %2 {axis = 2, start = 8, size = 8} : f32[2,5,8]\n"
              "  %5 = slice %2 {axis = 2, start = 16, size = 8} : f32[2,5,8]\n"
              "  %6 = attention %3, %4, %5 {heads = 2} : f32[2,5,8]\n"
              "  output \"y\" %6\n}\n",
              2);
    cr_assert(eq(dbl, c.total.macs, 5 * 8 * 24 + 2 * 5 * 5 * 8));
    cr_assert(eq(dbl, c.total.attention, 2 * 5 * 5 * 8));
    cr_assert(eq(int, c.nmodule, 1));
    cr_assert(eq(str, (char *)c.module[0].name, "m.attention"));
}

Test(count, classes_of_a_label) {
    IrGraph *g = graph("graph @m {\n"
                       "  %0 = input {name = \"x\"} : f32[2,7]\n"
                       "  %1 = input {name = \"label\"} : i32[2]\n"
                       "  %2 = cross_entropy %0, %1 : f32[]\n"
                       "  loss \"cross_entropy\" %2 {weight = 1}\n}\n");
    cr_assert(eq(long, (long)session_classes(g, "label"), 7));
    cr_assert(eq(long, (long)session_classes(g, "x"), 0));
    cr_assert(session_has_loss(g));
}
