/* Trees of right programs, spans, and bounds. Mistakes are pinned in tests/errors/syntax. */
#include <criterion/criterion.h>

#include <string.h>
#include <time.h>

#include "frontend/syntax/ast.h"

typedef struct Fixture {
    Arena *arena;
    Diags *diags;
    Ast *file;
} Fixture;

static Fixture parsing(const char *text) {
    Fixture f = {.arena = arena_create()};
    f.diags = diags_create(f.arena);
    f.file = parse_file(f.arena, source_from_text(f.arena, "t.vmoe", text), f.diags);
    return f;
}

static void expect_clean(const Fixture *f) {
    cr_expect_eq(f->diags->nerrors, 0, "%s", f->diags->nerrors ? f->diags->first->text : "");
}

static void expect_tree(const char *text, const char *expected) {
    Fixture f = parsing(text);
    expect_clean(&f);
    Text t = text_new(f.arena);
    ast_dump(&t, f.file);
    cr_expect(strcmp(t.data, expected) == 0, "of %s\nexpected:\n%sfound:\n%s", text, expected,
              t.data);
    arena_destroy(f.arena);
}

/* The dump of the only statement of a layer, one level up. */
static void expect_statement(const char *statement, const char *expected) {
    Fixture f = {.arena = arena_create()};
    const char *text = arena_printf(f.arena, "layer l() {\n%s\n}", statement);
    f.diags = diags_create(f.arena);
    f.file = parse_file(f.arena, source_from_text(f.arena, "t.vmoe", text), f.diags);
    expect_clean(&f);
    cr_assert(f.file->nkid == 1 && f.file->kid[0]->nkid == 1, "%s", statement);
    Text t = text_new(f.arena);
    ast_dump(&t, f.file->kid[0]->kid[0]);
    cr_expect(strcmp(t.data, expected) == 0, "of %s\nexpected:\n%sfound:\n%s", statement, expected,
              t.data);
    arena_destroy(f.arena);
}

Test(parser, empty) {
    expect_tree("", "file\n");
    expect_tree("# only a comment", "file\n");
    expect_tree(";;\n;", "file\n");
}

/* Elsewhere than before a name at the start of a statement, the two words are names. */
Test(parser, states) {
    expect_statement("state mean: [C] = zeros()", "state mean\n"
                                                  "  type\n"
                                                  "    name C\n"
                                                  "  call zeros\n");
    expect_statement("update mean = mean + 1", "update mean\n"
                                               "  binary +\n"
                                               "    name mean\n"
                                               "    number 1\n");
    expect_statement("state = update", "bind\n  name state\n  name update\n");
    expect_statement("update, state = split(update, 2)",
                     "bind\n  name update\n  name state\n  call split\n    arg\n      name "
                     "update\n    arg\n      number 2\n");
    expect_statement("state\n", "expr\n  name state\n");
}

Test(parser, declarations) {
    expect_tree("use \"std/vit\"\nconfig { a = 1; b = true }",
                "file\n  use \"std/vit\"\n  config\n    field a\n      number 1\n    field b\n     "
                " bool true\n");
    expect_tree("layer l(x: [.., D], k = 2) -> [D] {\n x\n}",
                "file\n  layer l\n    param x\n      type\n        name ..\n        name D\n    "
                "param k\n    "
                "  number 2\n"
                "    type\n      name D\n    expr\n      name x\n");
    expect_tree("model m(x: f32[B, 2]) { loss f(x) }",
                "file\n  model m\n    param x\n      type f32\n        name B\n        number 2\n"
                "    loss\n      call f\n        arg\n          name x\n");
    expect_tree(
        "train m from n { epochs = 1 epoch; steps = 3 steps }",
        "file\n  train m from n\n    field epochs\n      number 1 epochs\n    field steps\n      "
        "number 3 steps\n");
}

Test(parser, statements) {
    expect_statement("a, b = f(x)", "bind\n  name a\n  name b\n  call f\n    arg\n      name x\n");
    expect_statement("param w: [D] = zeros()", "weight w\n  type\n    name D\n  call zeros\n");
    expect_statement("for i in 0..n same_init { x }",
                     "for same_init i\n  from: number 0\n  to: name n\n  expr\n    name x\n");
    expect_statement("for x in [a, 2] { x }",
                     "for x\n  over: list\n    name a\n    number 2\n  expr\n    name x\n");
    expect_statement("for x in xs same_init { x }",
                     "for same_init x\n  over: name xs\n  expr\n    name x\n");
    expect_statement("aux f(), weight = 2", "aux\n  call f\n  weight: number 2\n");
    expect_statement("metric m = f()", "metric m\n  call f\n");
    expect_statement(
        "if a { b } else if c { d } else { e }",
        "if\n  if: name a\n  expr\n    name b\n  else: block\n    if\n      if: name c\n      "
        "expr\n        name d\n"
        "      else: block\n        expr\n          name e\n");
}

Test(parser, precedence) {
    expect_statement("a + b * c",
                     "expr\n  binary +\n    name a\n    binary *\n      name b\n      name c\n");
    expect_statement("a - b - c",
                     "expr\n  binary -\n    binary -\n      name a\n      name b\n    name c\n");
    expect_statement("-a[0] * b", "expr\n  binary *\n    unary -\n      index\n        name a\n    "
                                  "    at: number 0\n    name b\n");
    expect_statement("not a == b and c or d",
                     "expr\n  binary or\n    binary and\n      unary not\n        "
                     "binary ==\n          name a\n          name b\n"
                     "      name c\n    name d\n");
    expect_statement("a or b |> f(c)",
                     "expr\n  call f piped\n    arg\n      binary or\n        name a\n     "
                     "   name b\n    arg\n      name c\n");
    expect_statement("(a + b) // c", "expr\n  binary //\n    paren\n      binary +\n        name "
                                     "a\n        name b\n    name c\n");
    expect_statement(
        "x = if a { 1 } else { 2 }",
        "bind\n  name x\n  cond\n    if: name a\n    then: number 1\n    else: number 2\n");
    expect_statement("f(a, k = [1, 2,],)", "expr\n  call f\n    arg\n      name a\n    arg k\n     "
                                           " list\n        number 1\n        number 2\n");
}

Test(parser, newlines_that_do_not_end_a_statement) {
    const char *sum = "bind\n  name x\n  binary +\n    name a\n    name b\n";
    expect_statement("x = a + b", sum);
    expect_statement("x =\n\n a +\n b", sum);
    expect_statement("x = a + # why\n b", sum);
    expect_statement("x = (a\n+\nb)",
                     "bind\n  name x\n  paren\n    binary +\n      name a\n      name b\n");
    expect_statement(
        "x\n |> f(\n\n)\n\n |> g()",
        "expr\n  call g piped\n    arg\n      call f piped\n        arg\n          name x\n");
    Fixture f = parsing("layer l() {\n a\n -b\n c\n [d]\n f\n (g)\n}");
    expect_clean(&f);
    cr_expect_eq(f.file->kid[0]->nkid, 6);
    arena_destroy(f.arena);
}

static void expect_span(const Fixture *f, const Ast *n, const char *text) {
    int len = n->span.end - n->span.start;
    cr_expect(len == (int)strlen(text) &&
                  strncmp(n->span.src->text + n->span.start, text, (size_t)len) == 0,
              "expected '%s', found '%.*s'", text, len, n->span.src->text + n->span.start);
    (void)f;
}

Test(parser, spans) {
    Fixture f = parsing("layer l(x: [D] = 3) {  # c\n  y = a |> f(k = 1 + 2) |> g()  # d\n}");
    expect_clean(&f);
    const Ast *layer = f.file->kid[0], *bind = layer->kid[0], *g = bind->a, *call = g->kid[0]->a;
    expect_span(&f, layer->param[0], "x: [D] = 3");
    expect_span(&f, layer->param[0]->type, "[D]");
    expect_span(&f, bind, "y = a |> f(k = 1 + 2) |> g()");
    expect_span(&f, bind->kid[0], "y");
    expect_span(&f, g, "a |> f(k = 1 + 2) |> g()");
    expect_span(&f, call, "a |> f(k = 1 + 2)");
    expect_span(&f, call->kid[0], "a");
    expect_span(&f, call->kid[1], "k = 1 + 2");
    expect_span(&f, call->kid[1]->a, "1 + 2");
    cr_expect_eq(call->name_span.end - call->name_span.start, 1);
    cr_expect_eq(layer->name_span.start, 6);
    arena_destroy(f.arena);
}

Test(parser, several_mistakes_in_one_file) {
    Fixture f = parsing("layer a(x) {\n y = = 1\n z = (2\n}\n\nlayer b(x) {\n w = 3 3\n x\n}\n");
    cr_expect_eq(f.diags->nerrors, 3);
    cr_assert_eq(f.file->nkid, 2);
    cr_expect_eq(f.file->kid[0]->kid[0]->kind, AST_BAD);
    cr_expect_eq(f.file->kid[1]->kid[1]->kind, AST_EXPR);
    arena_destroy(f.arena);
}

static char *repeated(Arena *a, const char *before, const char *piece, int n, const char *after) {
    Text t = text_new(a);
    text_add(&t, before);
    for (int i = 0; i < n; i++) text_add(&t, piece);
    text_add(&t, after);
    return t.data;
}

static int errors_of(const char *before, const char *piece, int n, const char *after,
                     DiagId *first) {
    Arena *a = arena_create();
    const char *text = repeated(a, before, piece, n, after);
    Fixture f = parsing(text);
    int errors = f.diags->nerrors;
    if (errors) *first = f.diags->first->id;
    arena_destroy(f.arena);
    arena_destroy(a);
    return errors;
}

Test(parser, nesting_is_bounded, .timeout = 20) {
    static const char *const open[] = {"(",  "[",       "f(",     "-(",
                                       "x[", "if a { ", "f(k = ", "(if a { 1 } else { "};
    for (size_t i = 0; i < sizeof open / sizeof *open; i++) {
        DiagId id = D_COUNT;
        cr_expect_eq(errors_of("layer l() {\n x = ", open[i], 100000, "", &id), 1, "%s", open[i]);
        cr_expect_eq(id, D_nesting_too_deep, "%s", open[i]);
    }
    DiagId id = D_COUNT;
    cr_expect_eq(errors_of("layer l() {\n", "if a {\n", 100000, "", &id), 1);
    cr_expect_eq(id, D_nesting_too_deep);
    cr_expect_eq(errors_of("layer l() {\n", "if a { } else ", 100000, "", &id), 1);
    cr_expect_eq(id, D_nesting_too_deep);
}

Test(parser, chains_are_bounded, .timeout = 20) {
    static const char *const piece[] = {" + a", " |> f()", "[0]", " and a", " ** 1"};
    for (size_t i = 0; i < sizeof piece / sizeof *piece; i++) {
        DiagId id = D_COUNT;
        int n = errors_of("layer l() {\n x = a", piece[i], 100000, "\n}\n", &id);
        cr_expect(n >= 1 && n <= DIAGS_MAX, "%s", piece[i]);
        if (i < 4) cr_expect_eq(id, D_nesting_too_deep, "%s", piece[i]);
    }
    DiagId id;
    cr_expect_eq(errors_of("layer l() {\n x = a", " + a", 400, "\n}\n", &id), 0,
                 "long sums are fine");
}

Test(parser, node_limit, .timeout = 20) {
    DiagId id = D_COUNT;
    cr_expect_eq(errors_of("config { a = [", "1, ", 1000001, "] }", &id), 1);
    cr_expect_eq(id, D_too_large);
}

/* 1 MiB of each; a quadratic parser would need minutes or more. */
Test(parser, time_is_linear, .timeout = 60) {
    static const struct {
        const char *before, *piece;
    } hostile[] = {
        {"", "("},
        {"", "}"},
        {"", "x"},
        {"", "\n"},
        {"", "#\n"},
        {"", "/*\n"},
        {"", "@"},
        {"", "\""},
        {"", "def "},
        {"layer l() {\n", "x = = 1;"},
        {"layer l() {\n", "x = f(\n"},
        {"layer l() {\n y = \"", "\\q"},
        {"config {", "a = 1,"},
        {"", "layer l(\n"},
        {"", "layer l() {\n"},
        {"layer l(", "x: [D], "},
        {"layer l() {\n x = f(", "\n#c"},
        {"", "\xC3\xA9"},
    };
    for (size_t i = 0; i < sizeof hostile / sizeof *hostile; i++) {
        int n = (1 << 20) / (int)strlen(hostile[i].piece);
        DiagId id;
        clock_t start = clock();
        errors_of(hostile[i].before, hostile[i].piece, n, "", &id);
        double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
        cr_expect_lt(seconds, 10.0, "%s%s took %.1f s", hostile[i].before, hostile[i].piece,
                     seconds);
    }
}
