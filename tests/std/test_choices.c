/* What the language chooses by: masks, indices, routes that weigh by another value than they choose
 * by; and the functions that are PyTorch's under another name. Numbers are those of PyTorch 2.13 in
 * f64, gradients those of its autograd; everything is also differentiated by differences and
 * compiled. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "runtime/exec/exec.h"
#include "tests/ops/util_jit.h"
#include "tests/std/util_std.h"

/* ---- functions ------------------------------------------------------------------------------ */

Test(choices, gelu_by_tanh_is_that_of_torch) {
    Arena *a = arena_create();
    IrGraph *g = std_model(a,
                           "model m(x: f32[B]) {\n  param w: [9] = zeros()\n"
                           "  y = gelu(w, approximate = \"tanh\")\n  loss sum(y)\n"
                           "  metric n = mean(gelu(1, \"tanh\") * y / y)\n"
                           "  metric e = mean(gelu(w, \"none\") - gelu(w))\n}\n",
                           1);
    static const StdData points[] = {{"m.w", 9, {-6, -2.5, -1, -1e-3, 1e-9, 0.3, 1, 2.2, 7}}, {0}};
    Interp *it = std_run(a, std_differentiated(a, g), points, true);
    STD_EXPECT(it, "y", -8.43964898e-11, -0.0150842661, -0.158808009, -0.000499601058, 5e-10,
               0.185370924, 0.841191991, 2.16967853, 7);
    STD_EXPECT(it, "grad.m.w", -7.70997601e-10, -0.0379515762, -0.0829640838, 0.499202116, 0.5,
               0.732295452, 1.08296408, 1.06491895, 1);
    STD_EXPECT(it, "n", 0.841191991);
    STD_EXPECT(it, "e", 0);
    std_check(a, g, points);
    arena_destroy(a);
}

static const char *const rms_text = "model m(dy: f32[B, 4]) {\n  param x: [%d, 4] = zeros()\n"
                                    "  y = rms_norm(x)\n  loss sum(y * dy)\n  y\n}\n";

Test(choices, rms_norm_is_that_of_torch) {
    Arena *a = arena_create();
    static const StdData rows[] = {{"m.x", 8, {0.5, -1.25, 2, 0.75, 3, 1, -0.5, -2}},
                                   {"dy", 8, {1, -2, 0.5, 3, 0.25, 1, -1, 2}},
                                   {"m.y.weight", 4, {1.5, -0.5, 0.25, 2}},
                                   {0}};
    IrGraph *g = std_model(a, arena_printf(a, rms_text, 2), 2);
    Interp *it = std_run(a, std_differentiated(a, g), rows, true);
    STD_EXPECT(it, "y", 0.594088504, 0.495073753, 0.396059002, 1.18817701, 2.3841582, -0.264906467,
               -0.0662266167, -2.11925174);
    STD_EXPECT(it, "grad.m.x", 0.924137692, 1.45221629, -0.95714251, 4.35664906, 1.00734167,
               0.00464747286, -0.267230203, 1.58014386);
    STD_EXPECT(it, "grad.m.y.weight", 0.793418703, 2.51010795, 1.05702447, -0.336986225);
    std_check(a, g, rows);
    arena_destroy(a);
}

/* Where eps decides: numbers of its root's size. */
Test(choices, rms_norm_has_the_eps_of_torch) {
    Arena *a = arena_create();
    static const StdData row[] = {{"m.x", 4, {1e-4, 2e-4, -1e-4, 0}},
                                  {"dy", 4, {1, 2, 3, 4}},
                                  {"m.y.weight", 4, {1.5, -0.5, 0.25, 2}},
                                  {0}};
    IrGraph *g = std_model(a, arena_printf(a, rms_text, 1), 1);
    Interp *it = std_run(a, std_differentiated(a, g), row, true);
    STD_EXPECT(it, "y", 0.409449147, -0.272966098, -0.0682415244, 0);
    STD_EXPECT(it, "grad.m.x", 4158.05034, -2602.54324, 1983.68687, 21837.2878);
    STD_EXPECT(it, "grad.m.y.weight", 0.272966098, 1.09186439, -0.818898293, 0);
    arena_destroy(a);
}

/* ---- masks ---------------------------------------------------------------------------------- */

Test(choices, comparisons_are_masks) {
    Arena *a = arena_create();
    IrGraph *g = std_model(a,
                           "model m(x: f32[B], y: f32[B], n: i32[B]) {\n"
                           "  lt = x < y\n  le = x <= y\n  gt = x > y\n  ge = x >= y\n"
                           "  eq = x == y\n  ne = x != y\n  three = n >= 3\n  other = 2 != n\n"
                           "  same = n == n\n  half = 0.5 < reshape(x, [B, 1])\n"
                           "  metric a = sum(lt + le + gt + ge + eq + ne)\n"
                           "  metric b = sum(three + other + same) + sum(half)\n}\n",
                           5);
    static const StdData in[] = {{"x", 5, {1, 2, 3, NAN, -INFINITY}},
                                 {"y", 5, {2, 2, 2, 1, -INFINITY}},
                                 {"n", 5, {1, 2, 3, 4, 2}},
                                 {0}};
    Interp *it = std_run(a, g, in, false);
    STD_EXPECT(it, "lt", 1, 0, 0, 0, 0);
    STD_EXPECT(it, "le", 1, 1, 0, 0, 1);
    STD_EXPECT(it, "gt", 0, 0, 1, 0, 0);
    STD_EXPECT(it, "ge", 0, 1, 1, 0, 1);
    STD_EXPECT(it, "eq", 0, 1, 0, 0, 1);
    STD_EXPECT(it, "ne", 1, 0, 1, 1, 0);
    STD_EXPECT(it, "three", 0, 0, 1, 1, 0);
    STD_EXPECT(it, "other", 1, 0, 1, 1, 0);
    STD_EXPECT(it, "same", 1, 1, 1, 1, 1);
    STD_EXPECT(it, "half", 1, 1, 1, 0, 0);
    arena_destroy(a);
}

static const char *const where_text = "model m(mask: f32[B]) {\n"
                                      "  param a: [5] = zeros()\n  param b: [5] = zeros()\n"
                                      "  y = where(mask, a, b)\n  loss sum(y * y)\n  y\n}\n";

/* The three broadcast together, numbers among them. */
Test(choices, where_broadcasts) {
    Arena *a = arena_create();
    IrGraph *g = std_model(a,
                           "model m(x: f32[B, 3]) {\n  param c: [4, 1, 1] = zeros()\n"
                           "  y = where(x < 0.5, c * x, -1)\n  z = where(x < c, 2, x)\n"
                           "  loss a = mean(square(y))\n  loss b = mean(z * c)\n}\n",
                           2);
    cr_assert_eq(ir_elems(&ir_find_out(g, "y")->value->type), 4 * 2 * 3);
    cr_assert_eq(ir_find_out(g, "z")->value->type.rank, 3);
    static const StdData in[] = {
        {"x", 6, {0.1, 0.9, -2, 0.6, 0.3, 1.5}}, {"m.c", 4, {-0.75, 0.2, 1, 1.25}}, {0}};
    Interp *it = std_run(a, g, in, false);
    const double *y = interp_out(it, "y")->data, *z = interp_out(it, "z")->data;
    for (int i = 0; i < 24; i++) {
        double c = in[1].v[i / 6], x = in[0].v[i % 6];
        cr_assert_float_eq(y[i], x < 0.5 ? c * x : -1, 1e-12);
        cr_assert_float_eq(z[i], x < c ? 2 : x, 1e-12);
    }
    std_check(a, g, in);
    arena_destroy(a);
}

/* NaN and infinities in the branch that is not taken are in no value and in no gradient, compiled
 * or not. */
Test(choices, where_does_not_look_at_the_other_branch) {
    static const StdData in[] = {{"mask", 5, {1, 0, 1, 0, 1}},
                                 {"m.a", 5, {1, NAN, 3, INFINITY, 5}},
                                 {"m.b", 5, {NAN, 2, INFINITY, 7, -INFINITY}},
                                 {0}};
    static const double y[] = {1, 2, 3, 7, 5}, da[] = {2, 0, 6, 0, 10}, db[] = {0, 4, 0, 14, 0};
    static const char *const names[] = {"y", "grad.m.a", "grad.m.b"};
    static const double *const want[] = {y, da, db};
    Arena *a = arena_create();
    IrGraph *g = std_model(a, where_text, 5);
    Interp *it = std_run(a, std_differentiated(a, g), in, true);
    const char *isa;
    for (int r = 0; r < 3; r++)
        for (int i = 0; i < 5; i++) cr_assert_eq(interp_out(it, names[r])->data[i], want[r][i]);
    for (int n = 0; (isa = jit_isa(a, n)); n++) {
        Jit j = jit_compile(a, g, PIPE_GRAD, isa, "where");
        VmEngine *e;
        VmError err;
        cr_assert_eq(vm_engine_create(1, &e, &err), VM_OK, "%s", err.text);
        cr_assert_eq(vm_engine_add(e, j.program, &err), 0, "%s", err.text);
        for (const StdData *s = in; s->name; s++)
            for (int i = 0; i < 5; i++)
                ((float *)vm_engine_data(e, 0, s->name))[i] = (float)s->v[i];
        vm_engine_run(e, 0, 0, 0);
        for (int r = 0; r < 3; r++)
            for (int i = 0; i < 5; i++) {
                float got = ((float *)vm_engine_data(e, 0, names[r]))[i];
                cr_assert((double)got == want[r][i], "%s, %s[%d] is %g, not %g", isa, names[r], i,
                          (double)got, want[r][i]);
            }
        vm_engine_destroy(e);
        jit_free(&j);
    }
    arena_destroy(a);
}

/* ---- indices -------------------------------------------------------------------------------- */

Test(choices, one_hot_of_labels_and_indices) {
    Arena *a = arena_create();
    IrGraph *g =
        std_model(a,
                  "model m(i: i32[B, 3], label: class[B, 3]) {\n"
                  "  hot = one_hot(i, 4)\n  l = one_hot(label)\n  wide = one_hot(label, 5)\n"
                  "  metric a = sum(hot) + sum(l) + sum(wide)\n}\n",
                  2);
    static const StdData in[] = {{"i", 6, {2, 0, 2, 3, -1, 4}}, {"label", 2, {2, 0}}, {0}};
    Interp *it = std_run(a, g, in, false);
    STD_EXPECT(it, "hot", 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0);
    STD_EXPECT(it, "l", 0, 0, 1, 1, 0, 0);
    STD_EXPECT(it, "wide", 0, 0, 1, 0, 0, 1, 0, 0, 0, 0);
    arena_destroy(a);
}

/* Rows that are picked twice get both gradients; PyTorch's t[i] and its gradient. */
Test(choices, gather_is_that_of_torch) {
    Arena *a = arena_create();
    IrGraph *g = std_model(a,
                           "model m(i: i32[B, 3], w: f32[B, 3, 3]) {\n"
                           "  param t: [4, 3] = zeros()\n  y = gather(t, i)\n"
                           "  loss sum(y * y * w)\n}\n",
                           2);
    StdData in[] = {{"m.t", 12, {0}}, {"i", 6, {2, 0, 2, 3, 2, 0}}, {"w", 18, {0}}, {0}};
    for (int k = 0; k < 12; k++) in[0].v[k] = k * 0.5 - 1;
    for (int k = 0; k < 18; k++) in[2].v[k] = k * 0.25 - 2;
    Interp *it = std_run(a, std_differentiated(a, g), in, true);
    STD_EXPECT(it, "y", 2, 2.5, 3, -1, -0.5, 0, 2, 2.5, 3, 3.5, 4, 4.5, 2, 2.5, 3, -1, -0.5, 0);
    STD_EXPECT(it, "grad.m.t", -1, -1, 0, 0, 0, 0, -6, -3.75, 0, 1.75, 4, 6.75);
    std_check(a, g, in);
    arena_destroy(a);
}

/* An index outside picks nothing, and nothing learns from it. Labels pick rows of a table. */
Test(choices, gather_of_indices_outside_and_of_labels) {
    Arena *a = arena_create();
    IrGraph *g = std_model(a,
                           "model m(i: i32[B], label: class[B, 3]) {\n"
                           "  param t: [3, 2] = zeros()\n  y = gather(t, i)\n"
                           "  z = gather(t, label)\n  loss a = sum(y)\n  loss b = sum(z * z)\n}\n",
                           4);
    static const StdData in[] = {
        {"m.t", 6, {1, 2, 3, 4, 5, 6}}, {"i", 4, {2, -1, 3, 0}}, {"label", 4, {1, 1, 0, 1}}, {0}};
    Interp *it = std_run(a, std_differentiated(a, g), in, true);
    STD_EXPECT(it, "y", 5, 6, 0, 0, 0, 0, 1, 2);
    STD_EXPECT(it, "z", 3, 4, 3, 4, 1, 2, 3, 4);
    STD_EXPECT(it, "grad.m.t", 1 + 2, 1 + 4, 18, 24, 1, 1);
    std_check(a, g, in);
    arena_destroy(a);
}

/* ---- routes --------------------------------------------------------------------------------- */

/* The gradient goes to the values that weigh and none to those that choose. */
Test(choices, top_k_by_one_value_weighs_by_another) {
    Arena *a = arena_create();
    IrGraph *g =
        std_model(a,
                  "model m(by: f32[B, 4], c: f32[B, 2]) {\n"
                  "  param p: [3, 4] = zeros()\n  param s: [3, 4] = zeros()\n"
                  "  route = top_k(by + p, 2, weights = s)\n  w = weights(route)\n"
                  "  first = first_choice(route)\n  order = one_hot(choices(route), 4)\n"
                  "  count = choice_counts(route)\n  each = choice_counts(route, groups = 3)\n"
                  "  loss sum(w * c)\n"
                  "  metric a = sum(first) + sum(order) + sum(count) + sum(each)\n}\n",
                  3);
    static const StdData in[] = {
        {"by", 12, {0.1, 0.7, 0.2, 0.4, 0.9, 0.3, 0.8, 0.05, 0.3, 0.2, 0.6, 0.5}},
        {"m.p", 12, {0}},
        {"m.s", 12, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}},
        {"c", 6, {1, 2, 3, 4, 5, 6}},
        {0}};
    Interp *it = std_run(a, std_differentiated(a, g), in, true);
    STD_EXPECT(it, "w", 2, 4, 5, 7, 11, 12);
    STD_EXPECT(it, "grad.m.s", 0, 1, 0, 2, 3, 0, 4, 0, 0, 0, 5, 6);
    STD_EXPECT(it, "grad.m.p", 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
    STD_EXPECT(it, "first", 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0);
    STD_EXPECT(it, "order", 0, 1, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 1);
    STD_EXPECT(it, "count", 1, 1, 2, 2);
    STD_EXPECT(it, "each", 0, 1, 0, 1, 1, 0, 1, 0, 0, 0, 1, 1);
    std_check(a, g, in);
    arena_destroy(a);
}

/* Of a route with little room, choices are as they were made unless those that are served are asked
 * for; experts of such a route learn through the other values alone. */
Test(choices, of_a_route_with_a_capacity) {
    Arena *a = arena_create();
    IrGraph *g = std_model(
        a,
        "model m(x: f32[B, 2, 3]) {\n"
        "  param by: [2, 2] = zeros()\n  param s: [2, 2] = zeros()\n"
        "  gate = reshape(broadcast(by, [B, 2, 2]), [B, 2, 2])\n"
        "  weigh = sigmoid(reshape(broadcast(s, [B, 2, 2]), [B, 2, 2]))\n"
        "  route = top_k(gate, 1, weights = weigh) |> capacity(0.5, formula = \"switch\")\n"
        "  made = one_hot(choices(route), 2)\n"
        "  kept = one_hot(choices(route, served = true), 2)\n"
        "  each = choice_counts(route, groups = B)\n"
        "  y = dispatch(x, route) |> linear(3) |> combine(route)\n"
        "  loss mean(square(y))\n  metric a = sum(made) + sum(kept) + sum(each)\n}\n",
        2);
    static const StdData in[] = {{"m.by", 4, {0.9, 0.1, 0.8, 0.2}}, {0}};
    Interp *it = std_run(a, g, in, false);
    STD_EXPECT(it, "made", 1, 0, 1, 0, 1, 0, 1, 0);
    STD_EXPECT(it, "kept", 1, 0, 0, 0, 0, 0, 0, 0);
    STD_EXPECT(it, "each", 2, 0, 2, 0);
    std_check(a, g, in);
    arena_destroy(a);
}
