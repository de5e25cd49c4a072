/* Canonical text: what changes, what is kept, that it is stable. The fuzzer in tests/fuzz checks on
 * many more texts that trees and comments survive. */
#include <criterion/criterion.h>

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/syntax/ast.h"
#include "frontend/syntax/lexer.h"

static const char *formatted(Arena *a, const char *text) {
    Diags *d = diags_create(a);
    Ast *file = parse_file(a, source_from_text(a, "t.vmoe", text), d);
    cr_assert_eq(d->nerrors, 0, "%s in\n%s", d->nerrors ? d->first->text : "", text);
    Text t = text_new(a);
    ast_format(&t, file);
    return t.data;
}

static const char *dumped(Arena *a, const char *text) {
    Text t = text_new(a);
    ast_dump(&t, parse_file(a, source_from_text(a, "t.vmoe", text), diags_create(a)));
    return t.data;
}

static void expect_format(const char *text, const char *expected) {
    Arena *a = arena_create();
    const char *once = formatted(a, text), *twice = formatted(a, once);
    cr_expect(strcmp(once, expected) == 0, "expected:\n%s\nfound:\n%s", expected, once);
    cr_expect_str_eq(twice, once, "not stable");
    cr_expect_str_eq(dumped(a, once), dumped(a, text), "another tree");
    arena_destroy(a);
}

static void expect_kept(const char *text) {
    expect_format(text, text);
}

Test(format, nothing) {
    expect_format("", "");
    expect_format("\n\n  \n", "");
    expect_format("\n\n# only\n\n\n# comments", "# only\n\n# comments\n");
}

Test(format, states) {
    expect_format("layer l(x:[..,C]){state  mean:[C]=zeros()# kept\nupdate\tmean=mean*2;x}",
                  "layer l(x: [.., C]) {\n"
                  "  state mean: [C] = zeros()  # kept\n"
                  "  update mean = mean * 2\n"
                  "  x\n"
                  "}\n");
}

Test(format, spaces) {
    expect_format(
        "layer  l(x:[B,N , D],k=2)->[B]{\n\ty=-x+ 2*( 3-k )//4\n if not a==b{y=y [ 0 ]}\ny\n}",
        "layer l(x: [B, N, D], k = 2) -> [B] {\n  y = -x + 2 * (3 - k) // 4\n  if not a == b { y = "
        "y[0] }\n  y\n}\n");
}

Test(format, short_blocks_stay_on_their_line) {
    expect_kept("config { a = 1; b = \"x\" }  # comment\nconfig {}\n");
    expect_kept("layer l(x) { x }\n");
    expect_kept("layer l(x) {\n  for i in 0..3 same_init { x = f(x) }\n  if a { x = 1 } else if b "
                "{ x = 2 } "
                "else { x = 3 }\n  x\n}\n");
    expect_kept(
        "layer l(x) {\n  for y in xs same_init { x = f(x, y) }\n  for y in [1, 2] { z = y }\n"
        "  x\n}\n");
    expect_format("model m(x:f32[B,3])scope  net{ x }", "model m(x: f32[B, 3]) scope net { x }\n");
    expect_format("config {\na = 1\n}\n", "config {\n  a = 1\n}\n");
    expect_format("layer l(x) {\n  if a { x = 1 } else {\n x = 2 }\n}\n",
                  "layer l(x) {\n  if a {\n    x = 1\n  } else {\n    x = 2\n  }\n}\n");
}

Test(format, long_one_line_blocks_are_opened) {
    expect_format("config { aaaaaaaaaaaaaaaaaaaa = 1; bbbbbbbbbbbbbbbbbbbbbbbbbbb = 2; "
                  "cccccccccccccccccccccccc = 3; dddddd = 4 }",
                  "config {\n  aaaaaaaaaaaaaaaaaaaa = 1\n  bbbbbbbbbbbbbbbbbbbbbbbbbbb = 2\n  "
                  "cccccccccccccccccccccccc = 3\n"
                  "  dddddd = 4\n}\n");
}

Test(format, blank_lines) {
    expect_format(
        "\n\nuse \"a\"\nuse \"b\"\n\n\n\nuse \"c\"\nlayer l(x) {\n\n\n  a = 1\n\n\n\n  b = 2\n  c "
        "= 3\n\n}\nlayer m(x) { x }\n\n\n",
        "use \"a\"\nuse \"b\"\n\nuse \"c\"\n\nlayer l(x) {\n  a = 1\n\n  b = 2\n  c = "
        "3\n}\n\nlayer m(x) { x }\n");
}

Test(format, comments_stay) {
    expect_kept(
        "# head\n# more\n\n# about l\nlayer l(\n  x,  # the input\n  # above k\n  k,\n) -> [D] {  "
        "# "
        "opens\n  # first\n  a = 1  # one\n"
        "\n  # second\n\n  # third\n  if a {  # then\n    b = 1\n    # last of then\n  } else {  # "
        "otherwise\n    b = 2\n  }  # closed\n"
        "  b\n\n  # the end\n}  # after\n\n# tail\n");
    expect_kept("layer l(x) {\n  # nothing yet\n}\n");
    expect_format("layer l(x) { # opens\n}#closes", "layer l(x) {  # opens\n}  #closes\n");
}

Test(format, comments_in_expressions) {
    expect_kept("layer l(x) {\n  y = f(\n    # above\n    a,  # one\n    k = 2,\n    # below\n  )  "
                "# done\n  "
                "z = [\n    1,  # one\n    2,\n  ]\n"
                "  x  # rows\n      |> f()  # first\n      # above g\n      |> g()\n}\n");
    expect_format("layer l(x) {\n  y = a + # why\n    b\n}\n",
                  "layer l(x) {\n  # why\n  y = a + b\n}\n");
    expect_format("layer l(x) {\n  y = f( # why\n    b)\n}\n",
                  "layer l(x) {\n  # why\n  y = f(b)\n}\n");
}

Test(format, long_lines_are_broken) {
    expect_format(
        "layer l(x) {\n  y = some_function(argument_number_one(x), argument_number_two(x), name = "
        "argument_number_three(x, 2), last = 3)\n}\n",
        "layer l(x) {\n  y = some_function(\n    argument_number_one(x),\n    "
        "argument_number_two(x),\n"
        "    name = argument_number_three(x, 2),\n    last = 3,\n  )\n}\n");
    expect_format("layer l(x) {\n  y = dispatch(some_tensor, some_route) |> "
                  "expert_network_with_a_long_name(hidden) |> combine(some_route)\n}\n",
                  "layer l(x) {\n  y = dispatch(some_tensor, some_route)\n      |> "
                  "expert_network_with_a_long_name(hidden)\n"
                  "      |> combine(some_route)\n}\n");
    expect_format(
        "layer l(x) {\n  y = first_operand_with_a_long_name + second_operand_with_a_long_name * 2 "
        "- third_operand_with_a_long_name\n}\n",
        "layer l(x) {\n  y = first_operand_with_a_long_name +\n      "
        "second_operand_with_a_long_name * 2 -\n      third_operand_with_a_long_name\n}\n");
    expect_format(
        "layer l(x) {\n  y = if first_condition_with_a_long_name { first_value_with_a_long_name } "
        "else { second_value_with_a_long_name }\n}\n",
        "layer l(x) {\n  y = if first_condition_with_a_long_name {\n    "
        "first_value_with_a_long_name\n  } else {\n"
        "    second_value_with_a_long_name\n  }\n}\n");
}

Test(format, long_tables_of_numbers_are_filled) {
    Text from = text_new(arena_create()), to = text_new(from.arena);
    text_add(&from, "config {\n  table = [");
    text_add(&to, "config {\n  table = [");
    for (int i = 0; i < 60; i++) {
        text_addf(&from, "%s%d", i ? "," : "", 10 + i);
        text_addf(&to, "%s%d,", i % 24 ? " " : "\n    ",
                  10 + i); /* 24 times 4 columns fill the 100 */
    }
    text_add(&from, "]\n}\n");
    text_add(&to, "\n  ]\n}\n");
    expect_format(from.data, to.data);
    expect_kept(to.data);
    arena_destroy(from.arena);
}

static int longest_line(const char *text) {
    int longest = 0;
    for (const char *s = text; *s;) {
        int n = (int)strcspn(s, "\n");
        if (n > longest) longest = n;
        s += n + (s[n] == '\n');
    }
    return longest;
}

/* One column at a time through the limit: what fits stays, what does not is broken, nothing sticks
 * out. */
Test(format, the_limit_is_exact) {
    for (int n = 80; n < 110; n++) {
        Arena *a = arena_create();
        char name[128];
        memset(name, 'n', sizeof name);
        name[n - 20] = '\0';
        const char *text = arena_printf(a, "layer l(x) {\n  y = f(%s, 1, 2)\n}\n", name);
        const char *once = formatted(a, text);
        cr_expect_leq(longest_line(once), 100, "%s", once);
        bool fits = longest_line(text) <= 100;
        cr_expect_eq(strcmp(once, text) == 0, fits, "%s", once);
        cr_expect_str_eq(formatted(a, once), once);
        arena_destroy(a);
    }
}

Test(format, numbers_and_strings_are_kept_as_written) {
    expect_kept("config {\n  a = 1e-3\n  b = 0.50\n  c = 007\n  d = \"\\\"q\\\" \\\\ \\n \\t "
                "\xC3\xA9\"\n  e "
                "= -1\n}\n");
    expect_format("train m {\n warmup = 1 epochs\n epochs = 5 epoch\n steps = 1 steps\n}\n",
                  "train m {\n  warmup = 1 epoch\n  epochs = 5 epochs\n  steps = 1 step\n}\n");
}

Test(format, line_ends_and_byte_order_mark_are_normalised) {
    expect_format("\xEF\xBB\xBF# c \r\nconfig { a = 1 }\r\n", "# c\nconfig { a = 1 }\n");
}

Test(format, depth_is_bounded_by_the_parser, .timeout = 20) {
    Arena *a = arena_create();
    Text t = text_new(a);
    text_add(&t, "layer l(x) {\n  y = a");
    for (int i = 0; i < 450; i++) text_add(&t, i % 2 ? " + a" : " - f(a)");
    text_add(&t, "\n  z = ");
    for (int i = 0; i < 90; i++) text_add(&t, "f((");
    text_add(&t, "x");
    for (int i = 0; i < 90; i++) text_add(&t, "))");
    text_add(&t, "\n}\n");
    const char *once = formatted(a, t.data);
    cr_expect_str_eq(formatted(a, once), once);
    arena_destroy(a);
}

static void expect_stable(const char *folder) {
    DIR *dir = opendir(folder);
    cr_assert_not_null(dir, "%s", folder);
    int n = 0;
    for (struct dirent *e = readdir(dir); e; e = readdir(dir)) {
        size_t len = strlen(e->d_name);
        if (len < 5 || strcmp(e->d_name + len - 5, ".vmoe") != 0) continue;
        Arena *a = arena_create();
        VmError error = {.text = ""};
        Source *src = source_load(a, arena_printf(a, "%s/%s", folder, e->d_name), &error);
        cr_assert_not_null(src, "%s", error.text);
        const char *once = formatted(a, src->text);
        cr_expect_str_eq(formatted(a, once), once, "%s is not stable", src->path);
        cr_expect_str_eq(dumped(a, once), dumped(a, src->text), "%s changes", src->path);
        n++;
        arena_destroy(a);
    }
    closedir(dir);
    cr_expect_gt(n, 0);
}

Test(format, models_are_stable) {
    expect_stable("models");
    expect_stable("models/std");
}

Test(format, comments_behind_semicolons) {
    expect_format(
        "config { a = 1 }\n;# one\nconfig { b = 2 }; # two\n; # three\nlayer f(x) { x; # four\n ; "
        "# five\n"
        " }\n;# six\n",
        "config { a = 1 }  # one\nconfig { b = 2 }  # two\n\n# three\nlayer f(x) {\n  x  # four\n"
        "  # five\n}  # six\n");
    expect_format("layer f(x) { # one\n ; # two\n ; # three\n x }\n; # four\n; # five",
                  "layer f(x) {  # one\n  # two\n  # three\n  x\n}  # four\n# five\n");
}

/* The texts of all comments, sorted, since some are moved above their statement. */
static int by_text(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static const char *comments_of(Arena *a, const char *text) {
    Lexer l;
    const char *list[4096];
    int n = 0;
    lex_init(&l, a, source_from_text(a, "t.vmoe", text), diags_create(a));
    for (Token t = {0}; t.kind != TOK_EOF && n < 4000;) {
        t = lex_next(&l);
        if (t.trailing_prev) list[n++] = t.trailing_prev;
        for (int i = 0; i < t.nlead && n < 4000; i++)
            if (*t.lead[i]) list[n++] = t.lead[i];
    }
    qsort(list, (size_t)n, sizeof *list, by_text);
    Text all = text_new(a);
    for (int i = 0; i < n; i++) text_addf(&all, "%s\n", list[i]);
    return all.data;
}

/* The text with a few comments, some behind a `;`, where tokens end. */
static const char *with_comments(Arena *a, const char *text, unsigned *seed) {
    int end[8192], n = 0;
    Lexer l;
    lex_init(&l, a, source_from_text(a, "t.vmoe", text), diags_create(a));
    for (Token t = lex_next(&l); t.kind != TOK_EOF && n < 8192; t = lex_next(&l)) end[n++] = t.end;
    Text out = text_new(a);
    int often = 10 + rand_r(seed) % 200, from = 0;
    for (int i = 0; i < n; i++) {
        if (rand_r(seed) % often) continue;
        text_addn(&out, text + from, (size_t)(end[i] - from));
        text_addf(&out, "%s%s# new %d\n", rand_r(seed) % 3 ? "" : ";", rand_r(seed) % 2 ? " " : "",
                  i);
        from = end[i];
    }
    text_add(&out, text + from);
    return out.data;
}

static void expect_comments_kept(const char *path) {
    int tried = 0;
    for (unsigned round = 0; round < 60; round++) {
        Arena *a = arena_create();
        VmError error = {.text = ""};
        unsigned seed = round;
        const Source *src = source_load(a, path, &error);
        cr_assert_not_null(src, "%s", error.text);
        const char *text = with_comments(a, src->text, &seed);
        Diags *d = diags_create(a);
        parse_file(a, source_from_text(a, path, text), d);
        if (!d->nerrors) { /* a line end or `;` in the wrong place is a mistake */
            const char *once = formatted(a, text);
            cr_expect_str_eq(comments_of(a, once), comments_of(a, text), "%s, seed %u", path,
                             round);
            cr_expect_str_eq(formatted(a, once), once, "%s, seed %u: not stable", path, round);
            tried++;
        }
        arena_destroy(a);
    }
    cr_expect(tried > 0, "%s: no text parses", path);
}

Test(format, comments_anywhere_are_kept) {
    static const char *const paths[] = {"models/vmoe_fmnist.vmoe", "models/std/moe.vmoe",
                                        "models/std/vit.vmoe", "models/mnist_manual.vmoe",
                                        "models/std/core.vmoe"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) expect_comments_kept(paths[i]);
}
