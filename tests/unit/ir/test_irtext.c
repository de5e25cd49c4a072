/* The text form: what is printed reads back to the same text, and every kind of mistake has its
 * message and its place. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ir/internal.h"

static const char every_feature[] =
    "graph @classifier {\n"
    "  %0 = input {name = \"image\"} : f32[4,1,8,8]\n"
    "  %1 = input {name = \"label\"} : i32[4]\n"
    "  %2 = param {name = \"classifier.gate.weight\", init = \"normal(0.02)\", decay = 0} : "
    "f32[64,8]\n"
    "  %3 = reshape %0 {shape = [4,64]} : f32[4,64] @0\n"
    "  %4 = matmul %3, %2 : f32[4,8] @0\n"
    "  %5, %6 = topk %4 {k = 2} : f32[4,2], i32[4,2] @12\n"
    "  %7, %8, %9, %10 = route %6 {experts = 8} : i32[9], i32[8], i32[4,2], i32[8]\n"
    "  %11 = dispatch %4, %8 {k = 2} : f32[8,8]\n"
    "  %12, %13 = layer_norm %11 {eps = 1e-06} : f32[8,8], f32[8,1]\n"
    "  %14 = combine %12, %9, %5 : f32[4,8]\n"
    "  %15 = const {value = 0.1} : f32[4,8]\n"
    "  %16 = iota {shape = [4,8]} : i32[4,8]\n"
    "  %17 = mul %14, %15 : f32[4,8]\n"
    "  %18 = cross_entropy %17, %1 : f32[]\n"
    "  %19 = load_balance %4, %6 : f32[]\n"
    "  loss \"cross_entropy\" %18 {weight = 1}\n"
    "  aux \"balance\" %19 {weight = 0.01}\n"
    "  output \"logits\" %17\n"
    "}\n";

static IrGraph *read_ok(Arena *a, const char *text) {
    const char *error = NULL;
    IrGraph *g = ir_read(a, text, "t.vir", &error);
    cr_assert_not_null(g, "%s", error);
    cr_assert_null(error);
    return g;
}

Test(irtext, printed_text_reads_back_to_itself) {
    Arena *a = arena_create();
    IrGraph *g = read_ok(a, every_feature);
    cr_assert_str_eq(ir_to_text(a, g), every_feature);
    cr_assert_eq(g->nout, 3);
    cr_assert_eq(g->out[1].kind, OUT_aux);
    cr_assert_eq(g->out[1].weight, 0.01);
    IrNode *w = ir_find_leaf(g, OP_param, "classifier.gate.weight");
    cr_assert_eq(ir_int(w, ATTR_param_decay), 0);
    cr_assert_str_eq(ir_str(w, ATTR_param_stream), "");
    arena_destroy(a);
}

Test(irtext, layout_and_comments_are_free_and_numbers_may_have_gaps) {
    Arena *a = arena_create();
    IrGraph *g =
        read_ok(a, "; remaining pipeline: cse\n\n graph@m{%7=input{name=\"x\"}:f32[ 2 , 3 ] ; c\r\n"
                   "\toutput \"y\"%7 }");
    cr_assert_str_eq(ir_to_text(a, g),
                     "graph @m {\n  %0 = input {name = \"x\"} : f32[2,3]\n  output \"y\" %0\n}\n");
    arena_destroy(a);
}

Test(irtext, places_are_remembered_and_printed_as_comments) {
    Arena *a = arena_create();
    IrGraph *g =
        read_ok(a, "graph @m {\n  %0 = input {name = \"x\"} : f32[2]\n  output \"x\" %0\n}\n");
    cr_assert_eq(g->first->loc.line, 2);
    cr_assert_eq(g->first->loc.col, 3);
    g->first->loc = (IrLoc){"dir/a\nb.vmoe", 13, 9};
    Text t = text_new(a);
    ir_print(&t, g, true);
    cr_assert_str_eq(t.data,
                     "graph @m {\n  %0 = input {name = \"x\"} : f32[2]  ; dir/a?b.vmoe:13:9\n"
                     "  output \"x\" %0  ; t.vir:3:3\n}\n");
    cr_assert_not_null(read_ok(a, t.data));
    arena_destroy(a);
}

Test(irtext, numbers_read_back_to_the_same_bits) {
    Arena *a = arena_create();
    const double numbers[] = {0,
                              -0.0,
                              1,
                              -1,
                              0.1,
                              1.0 / 3,
                              1e-8,
                              1e300,
                              5e-324,
                              0x1p-1022,
                              1e22,
                              123456789012345678.0,
                              2.5,
                              INFINITY,
                              -INFINITY,
                              0.30000000000000004,
                              3.4028234663852886e38};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        IrGraph *g = ir_graph_create(a, "m");
        IrBuilder b = ir_builder(g);
        ir_const(&b, numbers[i], ir_scalar(DT_f32));
        double back = ir_float(read_ok(a, ir_to_text(a, g))->first, ATTR_const_value);
        cr_assert_eq(memcmp(&back, &numbers[i], sizeof back), 0, "%a", numbers[i]);
    }
    Text t = text_new(a);
    ir_print_number(&t, 0.1);
    text_add(&t, " ");
    ir_print_number(&t, 1e-06);
    text_add(&t, " ");
    ir_print_number(&t, 1);
    text_add(&t, " ");
    ir_print_number(&t, NAN);
    cr_assert_str_eq(t.data, "0.1 1e-06 1 nan");
    arena_destroy(a);
}

Test(irtext, random_numbers_read_back_to_the_same_bits) {
    Arena *a = arena_create();
    uint64_t random = 7;
    for (int i = 0; i < 20000; i++) {
        random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
        uint64_t bits = random ^ random >> 29;
        double x;
        memcpy(&x, &bits, sizeof x);
        if (!isfinite(x)) continue;
        Text t = text_new(a);
        ir_print_number(&t, x);
        cr_assert_eq(strtod(t.data, NULL), x);
        arena_reset(a);
    }
    arena_destroy(a);
}

Test(irtext, names_of_any_bytes_survive) {
    Arena *a = arena_create();
    IrGraph *g = ir_graph_create(a, "odd \"name\" {");
    IrBuilder b = ir_builder(g);
    const char *name = "a\"b\\c\nd\te\rf\x01g\x7fh\xc3\xa9;%0 @}";
    IrValue *x = ir_input(&b, name, IR_TYPE(DT_f32, 2));
    ir_add_out(g, OUT_output, name, x, 1, (IrLoc){0});
    const char *text = ir_to_text(a, g);
    cr_assert_not_null(strstr(text, "\"a\\\"b\\\\c\\nd\\te\\rf\\x01g\\x7fh\xc3\xa9;%0 @}\""));
    IrGraph *back = read_ok(a, text);
    cr_assert_str_eq(back->name, "odd \"name\" {");
    cr_assert_not_null(ir_find_leaf(back, OP_input, name));
    cr_assert_str_eq(ir_to_text(a, back), text);
    arena_destroy(a);
}

Test(irtext, extreme_integers_read) {
    Arena *a = arena_create();
    const char *error = NULL;
    cr_assert_null(ir_read(a, "graph @m { %0 = iota {shape = [-9223372036854775808]} : i32[1] }",
                           "t", &error));
    cr_assert_not_null(strstr(error, "found i32[-9223372036854775808]"), "%s", error);
    arena_destroy(a);
}

/* ---- mistakes -------------------------------------------------------------------------------- */

#define X "%0 = input {name = \"x\"} : f32[4,3]\n"

static const struct {
    const char *text, *error;
} mistakes[] = {
    {"", "1:1: expected graph, found the end of the text"},
    {"grph @m {}", "1:5: expected graph, found grph"},
    {"graph m {}", "1:7: expected '@', found 'm'"},
    {"graph @ {}", "1:9: expected the graph's name, found '{'"},
    {"graph @m", "1:9: expected '{', found the end of the text"},
    {"graph @m {\n" X, "3:1: expected '}' at the end of the graph, found the end of the text"},
    {"graph @m {\n 7 }", "2:2: expected %, output, loss, aux, metric, grad or '}', found '7'"},
    {"graph @m {\n result \"x\" %0 }",
     "2:2: expected %, output, loss, aux, metric, grad or '}', found result"},
    {"graph @m {\n\x01}",
     "2:1: expected %, output, loss, aux, metric, grad or '}', found byte 0x01"},
    /* values */
    {"graph @m { %x = neg }", "1:13: expected an integer, found 'x'"},
    {"graph @m { %4294967296 = neg }",
     "1:13: expected an integer from 0 to 2147483647, found 4294967296"},
    {"graph @m { %99999999999999999999999999 = neg }",
     "1:13: expected an integer from 0 to 2147483647, found 99999999999999999999999999"},
    {"graph @m { %-1 = neg }", "1:13: expected an integer from 0 to 2147483647, found -1"},
    {"graph @m {\n" X "%1 = neg %2 : f32[4,3] }", "3:10: %2 is used before it is made"},
    {"graph @m {\n" X "%1 = neg %1 : f32[4,3] }", "3:10: %1 is used before it is made"},
    {"graph @m {\n" X "%0 = neg %0 : f32[4,3] }", "3:24: %0 is made twice"},
    {"graph @m {\n%0,%1,%2,%3,%4,%5,%6,%7,%8 = neg }", "2:25: expected at most 8 results"},
    {"graph @m { %0 neg }", "1:15: expected '=', found 'n'"},
    /* ops */
    {"graph @m { %0 = }", "1:17: expected an op, found '}'"},
    {"graph @m { %0 = frobnicate }", "1:17: there is no op frobnicate"},
    {"graph @m {\n" X "%1, %2 = neg %0 : f32[4,3] }", "3:13: neg has 1 result, found 2"},
    {"graph @m {\n" X "%1 = topk %0 {k = 1} : f32[4,1] }", "3:10: topk has 2 results, found 1"},
    {"graph @m {\n" X "%1 = neg : f32[4,3] }", "3:20: neg: expected 1 operand, found 0"},
    {"graph @m {\n" X "%1 = neg %0, : f32[4,3] }", "3:14: expected '%', found ':'"},
    /* attributes */
    {"graph @m {\n" X "%1, %2 = topk %0 {n = 1} : f32[4,1], i32[4,1] }",
     "3:19: topk has no attribute n"},
    {"graph @m {\n" X "%1, %2 = topk %0 {k = 1, k = 1} : f32[4,1], i32[4,1] }",
     "3:26: k is given twice"},
    {"graph @m {\n" X "%1, %2 = topk %0 {} : f32[4,1], i32[4,1] }",
     "3:19: expected an attribute, found '}'"},
    {"graph @m {\n" X "%1, %2 = topk %0 {k 1} : f32[4,1], i32[4,1] }",
     "3:21: expected '=', found '1'"},
    {"graph @m {\n" X "%1, %2 = topk %0 {k = \"1\"} : f32[4,1], i32[4,1] }",
     "3:23: expected an integer, found '\"'"},
    {"graph @m {\n" X "%1, %2 = topk %0 {k = 1 : f32[4,1], i32[4,1] }",
     "3:25: expected '}', found ':'"},
    {"graph @m {\n" X "%1, %2 = topk %0 : f32[4,1], i32[4,1] }", "3:38: top_k: k is not given"},
    {"graph @m { %0 = const {value = x} : f32[] }", "1:32: expected a number, found 'x'"},
    {"graph @m { %0 = const {value = 1e} : f32[] }", "1:32: expected a number, found '1'"},
    {"graph @m { %0 = const {value = --1} : f32[] }", "1:32: expected a number, found '-'"},
    {"graph @m { %0 = const {value = 0x10} : f32[] }", "1:33: expected '}', found 'x'"},
    {"graph @m { %0 = const {value = 0.5} : i32[] }",
     "1:44: const: value is 0.5, expected an i32 integer"},
    {"graph @m { %0 = input {name = x} : f32[] }", "1:31: expected a string, found 'x'"},
    {"graph @m { %0 = input {name = \"\"} : f32[] }", "1:42: input: name is empty"},
    {"graph @m { %0 = input {name = \"x} : f32[] }", "1:44: the string does not end on its line"},
    {"graph @m { %0 = input {name = \"x\n\"} : f32[] }",
     "1:33: the string does not end on its line"},
    {"graph @m { %0 = input {name = \"\\q\"} : f32[] }",
     "1:33: expected \\\" \\\\ \\n \\t \\r or \\xHH in a string, found \\ and 'q'"},
    {"graph @m { %0 = input {name = \"\\x00\"} : f32[] }",
     "1:33: expected \\\" \\\\ \\n \\t \\r or \\xHH in a string, found \\ and 'x'"},
    {"graph @m { %0 = input {name = \"\\",
     "1:33: expected \\\" \\\\ \\n \\t \\r or \\xHH in a string, found \\ and the end of the text"},
    {"graph @m { %0 = iota {shape = 3} : i32[3] }", "1:31: expected '[', found '3'"},
    {"graph @m { %0 = iota {shape = [3} : i32[3] }", "1:33: expected ']', found '}'"},
    {"graph @m { %0 = iota {shape = [3,]} : i32[3] }", "1:34: expected an integer, found ']'"},
    /* types */
    {"graph @m { %0 = input {name = \"x\"} f32[] }", "1:36: expected ':', found 'f'"},
    {"graph @m { %0 = input {name = \"x\"} : }", "1:38: expected a type, found '}'"},
    {"graph @m { %0 = input {name = \"x\"} : f64[] }", "1:38: expected f32 or i32, found f64"},
    {"graph @m { %0 = input {name = \"x\"} : f32 }", "1:42: expected '[', found '}'"},
    {"graph @m { %0 = input {name = \"x\"} : f32[0] }",
     "1:42: expected an integer from 1 to 1099511627776, found 0"},
    {"graph @m { %0 = input {name = \"x\"} : f32[1,1,1,1,1,1,1] }",
     "1:54: expected at most 6 dimensions"},
    {"graph @m { %0 = input {name = \"x\"} : f32[1048576,1048576] }",
     "1:58: input: expected fewer than 2^40 elements, found f32[1048576,1048576]"},
    {"graph @m {\n" X "%1 = neg %0 : f32[3,4] }",
     "3:23: result 1 of neg is written as f32[3,4], but is f32[4,3]"},
    {"graph @m {\n" X "%1, %2 = topk %0 {k = 1} : f32[4,1] }", "3:37: expected ',', found '}'"},
    {"graph @m { %0 = rng_key {stream = \"s\"} : i32[3] }",
     "1:48: rng_key: expected the type i32[2], found i32[3]"},
    {"graph @m { %0 = state {name = \"s\"} : i32[3] }",
     "1:44: state: expected f32 elements, found i32[3]"},
    {"graph @m {\n" X "%1 = neg %0 : f32[4,3] @-1 }",
     "3:25: expected an integer from 0 to 2147483647, found -1"},
    /* results */
    {"graph @m {\n" X "output x %0 }", "3:8: expected a string, found 'x'"},
    {"graph @m {\n" X "output \"x\" }", "3:12: expected '%', found '}'"},
    {"graph @m {\n" X "output \"x\" %1 }", "3:12: %1 is used before it is made"},
    {"graph @m {\n" X "output \"x\" %0 output \"x\" %0 }", "3:29: output \"x\" is given twice"},
    {"graph @m {\n" X "output \"x\" %0 {height = 1} }", "3:22: expected weight, found height"},
    {"graph @m {\n" X "grad \"x\" %0\noutput \"x\" %0 }",
     "4:1: the name \"x\" is used twice among named results"},
    {"graph @m {\n" X "loss \"x\" %0 }",
     "3:1: loss \"x\": expected a number f32[], found f32[4,3]"},
    {"graph @m {\n" X "%1 = input {name = \"x\"} : f32[] }",
     "3:1: the name \"x\" is used twice among inputs"},
};

Test(irtext, every_mistake_has_its_message_and_place) {
    for (size_t i = 0; i < sizeof mistakes / sizeof mistakes[0]; i++) {
        Arena *a = arena_create();
        const char *error = NULL;
        IrGraph *g = ir_read(a, mistakes[i].text, "t", &error);
        cr_expect(!g && error, "accepted: %s", mistakes[i].text);
        const char *want = arena_printf(a, "t:%s", mistakes[i].error);
        cr_expect(error && strcmp(error, want) == 0, "in %s\nexpected %s\n   found %s",
                  mistakes[i].text, want, error);
        arena_destroy(a);
    }
}

Test(irtext, long_lists_end_in_messages) {
    Arena *a = arena_create();
    Text t = text_new(a);
    const char *error = NULL;
    text_add(&t, "graph @m {\n" X "%1 = concat %0");
    for (int i = 0; i < 100000; i++) text_add(&t, ", %0");
    cr_assert_null(ir_read(a, t.data, "t", &error));
    cr_assert_not_null(strstr(error, "expected at most 64 operands"));
    t = text_new(a);
    text_add(&t, "graph @m { %0 = iota {shape = [1");
    for (int i = 0; i < 100000; i++) text_add(&t, ",1");
    cr_assert_null(ir_read(a, t.data, "t", &error));
    cr_assert_not_null(strstr(error, "expected at most 64 integers in a list"));
    arena_destroy(a);
}

Test(irtext, every_prefix_and_every_damaged_byte_is_survived) {
    size_t len = strlen(every_feature);
    Arena *a = arena_create();
    const char *error = NULL;
    for (size_t n = 0; n + 2 < len; n++) {
        cr_assert_null(ir_read(a, arena_strndup(a, every_feature, n), "t", &error));
        cr_assert_not_null(error);
        arena_reset(a);
    }
    const char bytes[] = "\x80\xff%@{}[]\"\\,:=;0-z\n ";
    for (size_t n = 0; n < len; n++)
        for (const char *b = bytes; *b; b++) {
            char *text = arena_strdup(a, every_feature);
            text[n] = *b;
            IrGraph *g = ir_read(a, text, "t", &error);
            if (g) { /* still a graph: then it prints and reads back */
                const char *printed = ir_to_text(a, g);
                IrGraph *again = ir_read(a, printed, "t", &error);
                cr_assert_not_null(again, "%s", error);
                cr_assert_str_eq(ir_to_text(a, again), printed);
            }
            arena_reset(a);
        }
    arena_destroy(a);
}
