/* Sources, places, collecting and printing of diagnostics, spelling. */
#include <criterion/criterion.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "frontend/syntax/diag.h"

typedef struct Fixture {
    Arena *arena;
    Source *src;
    Diags *diags;
} Fixture;

static Fixture with(const char *text) {
    Arena *a = arena_create();
    return (Fixture){a, source_from_text(a, "t.vmoe", text), diags_create(a)};
}

static Span at(const Fixture *f, int start, int end) {
    return (Span){f->src, start, end};
}

static char *printed(const Diags *d, bool colour, bool as_json) {
    char *out = NULL;
    size_t n;
    FILE *f = open_memstream(&out, &n);
    cr_assert_not_null(f);
    if (as_json)
        diags_print_json(f, d);
    else
        diags_print(f, d, colour);
    fclose(f);
    return out;
}

static void expect_printed(const Fixture *f, const char *expected) {
    char *out = printed(f->diags, false, false);
    cr_expect(strcmp(out, expected) == 0, "expected:\n%sfound:\n%s", expected, out);
    free(out);
}

Test(diag, one_with_a_note) {
    Fixture f = with("layer a(x) {\n  y = top_k(gate, 4)\n}\n");
    Diag *x = diag_error(f.diags, at(&f, 31, 32), D_bad_number, "asks for %d", 4);
    diag_note(f.diags, x, at(&f, 6, 7), "declared here");
    diag_note(f.diags, x, (Span){0}, "without a place");
    expect_printed(&f, "t.vmoe:2:19: error: asks for 4 [bad-number]\n"
                       "    2 |   y = top_k(gate, 4)\n"
                       "      |                   ^\n"
                       "t.vmoe:1:7: note: declared here\n"
                       "    1 | layer a(x) {\n"
                       "      |       ^\n"
                       "vmoec: note: without a place\n");
}

Test(diag, caret_run_covers_the_span) {
    Fixture f = with("a = bcd + e");
    diag_error(f.diags, at(&f, 4, 7), D_bad_number, "m");
    expect_printed(&f, "t.vmoe:1:5: error: m [bad-number]\n    1 | a = bcd + e\n      |     ^^^\n");
}

Test(diag, span_over_lines_ends_at_the_first) {
    Fixture f = with("ab(\ncd)");
    diag_error(f.diags, at(&f, 0, 7), D_bad_number, "m");
    expect_printed(&f, "t.vmoe:1:1: error: m [bad-number]\n    1 | ab(\n      | ^^^\n");
}

Test(diag, end_of_file) {
    Fixture f = with("ab\n");
    diag_error(f.diags, at(&f, 3, 3), D_bad_number, "m");
    expect_printed(&f, "t.vmoe:2:1: error: m [bad-number]\n    2 | \n      | ^\n");
}

Test(diag, tabs_and_wide_characters_align) {
    Fixture f = with("\t\"\xC3\xA9\" x\r\n");
    diag_error(f.diags, at(&f, 6, 7), D_bad_number, "m");
    expect_printed(
        &f, "t.vmoe:1:7: error: m [bad-number]\n    1 | \t\"\xC3\xA9\" x\n      | \t    ^\n");
}

Test(diag, byte_order_mark_is_no_column) {
    Fixture f = with("\xEF\xBB\xBF"
                     "ab");
    diag_error(f.diags, at(&f, 4, 5), D_bad_number, "m");
    expect_printed(&f, "t.vmoe:1:2: error: m [bad-number]\n    1 | ab\n      |  ^\n");
}

Test(diag, invalid_bytes_are_replaced) {
    Fixture f = with("a\xFF\x1B[31m b");
    diag_error(f.diags, at(&f, 8, 9), D_bad_number, "found '\xC0\x07'");
    expect_printed(&f, "t.vmoe:1:9: error: found '\xEF\xBF\xBD\xEF\xBF\xBD' [bad-number]\n"
                       "    1 | a\xEF\xBF\xBD\xEF\xBF\xBD[31m b\n"
                       "      |         ^\n");
}

Test(diag, long_lines_are_cut_around_the_span) {
    char text[1001];
    memset(text, 'x', 1000);
    text[1000] = '\0';
    Fixture f = with(text);
    diag_error(f.diags, at(&f, 500, 501), D_bad_number, "m");
    char *out = printed(f.diags, false, false);
    cr_expect_lt(strlen(out), 400);
    cr_expect_not_null(strstr(out, "| ...xxx"));
    cr_expect_not_null(strstr(out, "xxx...\n"));
    free(out);
}

Test(diag, colours_only_on_demand) {
    Fixture f = with("ab");
    diag_warning(f.diags, at(&f, 0, 1), D_bad_number, "m");
    char *plain = printed(f.diags, false, false), *colour = printed(f.diags, true, false);
    cr_expect_null(strchr(plain, '\033'));
    cr_expect_not_null(strstr(colour, "\033[1;35mwarning: \033[0m"));
    free(plain);
    free(colour);
}

Test(diag, in_order_of_place) {
    Fixture f = with("a b c");
    diag_error(f.diags, at(&f, 4, 5), D_bad_number, "third");
    diag_error(f.diags, at(&f, 0, 1), D_bad_number, "second");
    diag_error(f.diags, (Span){0}, D_bad_number, "first");
    char *out = printed(f.diags, false, false);
    const char *first = strstr(out, "first"), *second = strstr(out, "second"),
               *third = strstr(out, "third");
    cr_assert(first && second && third);
    cr_expect(first < second && second < third, "%s", out);
    free(out);
}

Test(diag, same_place_is_kept_once) {
    Fixture f = with("a b");
    diag_error(f.diags, at(&f, 0, 1), D_bad_number, "m");
    Diag *again = diag_error(f.diags, at(&f, 0, 1), D_bad_number, "other words");
    diag_note(f.diags, again, at(&f, 2, 3), "goes nowhere");
    diag_warning(f.diags, at(&f, 0, 1), D_bad_number, "a warning is another thing");
    diag_error(f.diags, (Span){0}, D_bad_number, "without a place");
    diag_error(f.diags, (Span){0}, D_bad_number, "another without a place");
    cr_expect_eq(f.diags->nerrors, 3);
    cr_expect_eq(f.diags->nwarnings, 1);
    cr_expect_null(f.diags->first->notes);
}

Test(diag, at_most_a_hundred) {
    char text[301];
    memset(text, 'x', 300);
    text[300] = '\0';
    Fixture f = with(text);
    for (int i = 0; i < 300; i++) diag_error(f.diags, at(&f, i, i + 1), D_bad_number, "m");
    const char *before = arena_alloc(f.arena, 1);
    for (int i = 0; i < 300; i++)
        diag_note(f.diags, diag_error(f.diags, at(&f, i, i), D_bad_number, "m"), at(&f, 0, 1), "n");
    int n = 0;
    for (const Diag *x = f.diags->first; x; x = x->next) n++;
    cr_expect_eq(n, DIAGS_MAX);
    cr_expect_eq(f.diags->nerrors, DIAGS_MAX);
    const char *after = arena_alloc(f.arena, 1), *next = arena_alloc(f.arena, 1);
    cr_expect_eq(after - before, next - after, "messages that are not kept cost nothing");
}

Test(diag, long_messages_are_cut) {
    Fixture f = with("a");
    char name[5000];
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    Diag *x = diag_error(f.diags, at(&f, 0, 1), D_bad_number, "unknown '%s'", name);
    cr_expect_lt(strlen(x->text), 700);
    cr_expect_str_eq(x->text + strlen(x->text) - 3, "...");
}

Test(diag, json_reads_back) {
    Fixture f = with("a = \"x\"\nb");
    Diag *x = diag_error(f.diags, at(&f, 4, 9), D_bad_number,
                         "quote \" slash \\ newline \n bad \xFF \xC3\xA9 \x01");
    diag_note(f.diags, x, at(&f, 8, 9), "n1");
    diag_note(f.diags, x, (Span){0}, "n2");
    diag_warning(f.diags, (Span){0}, D_bad_escape, "w");
    char *out = printed(f.diags, false, true);
    json_error_t error;
    json_t *root = json_loads(out, 0, &error);
    cr_assert_not_null(root, "%s in %s", error.text, out);
    json_t *all = json_object_get(root, "diagnostics");
    cr_assert_eq(json_array_size(all), 2);
    json_t *w = json_array_get(all, 0), *e = json_array_get(all, 1);
    cr_expect(json_is_null(json_object_get(w, "file")));
    cr_expect_str_eq(json_string_value(json_object_get(w, "severity")), "warning");
    cr_expect_str_eq(json_string_value(json_object_get(w, "slug")), "bad-escape");
    cr_expect_str_eq(json_string_value(json_object_get(e, "file")), "t.vmoe");
    cr_expect_eq(json_integer_value(json_object_get(e, "line")), 1);
    cr_expect_eq(json_integer_value(json_object_get(e, "column")), 5);
    cr_expect_eq(json_integer_value(json_object_get(e, "end_line")), 2);
    cr_expect_eq(json_integer_value(json_object_get(e, "end_column")), 2);
    cr_expect_str_eq(json_string_value(json_object_get(e, "message")),
                     "quote \" slash \\ newline \n bad \xEF\xBF\xBD \xC3\xA9 \x01");
    json_t *notes = json_object_get(e, "notes");
    cr_assert_eq(json_array_size(notes), 2);
    cr_expect_str_eq(json_string_value(json_object_get(json_array_get(notes, 0), "message")), "n1");
    cr_expect_eq(out[strlen(out) - 1], '\n');
    json_decref(root);
    free(out);
}

Test(diag, json_without_diagnostics) {
    Fixture f = with("");
    char *out = printed(f.diags, false, true);
    cr_expect_str_eq(out, "{\"diagnostics\":[]}\n");
    free(out);
}

Test(diag, slugs_are_unique_and_spelled_alike) {
    static const char *const docs[] = {
#define DIAG(id, slug, doc) doc,
#include "frontend/syntax/diags.def"
    };
    for (int i = 0; i < D_COUNT; i++) {
        const char *slug = diag_slug((DiagId)i);
        cr_expect_eq(strspn(slug, "abcdefghijklmnopqrstuvwxyz0123456789-"), strlen(slug), "%s",
                     slug);
        cr_expect_gt(strlen(docs[i]), 10, "%s", slug);
        for (int k = 0; k < i; k++) cr_expect_str_neq(slug, diag_slug((DiagId)k));
    }
}

Test(diag, joined_spans) {
    Fixture f = with("abcdef"), g = with("x");
    Span s = span_join(at(&f, 3, 4), at(&f, 1, 2));
    cr_expect_eq(s.start, 1);
    cr_expect_eq(s.end, 4);
    cr_expect_eq(span_join((Span){0}, at(&f, 1, 2)).start, 1);
    cr_expect_eq(span_join(at(&f, 1, 2), (Span){0}).end, 2);
    cr_expect_eq(span_join(at(&f, 1, 2), at(&g, 0, 1)).src, f.src);
}

/* ---- sources */

static Source *load_bytes(Arena *a, const char *bytes, size_t n, VmError *error) {
    char path[] = "/tmp/vmoec-test-XXXXXX";
    int fd = mkstemp(path);
    cr_assert(fd >= 0 && write(fd, bytes, n) == (ssize_t)n);
    close(fd);
    Source *s = source_load(a, path, error);
    unlink(path);
    return s;
}

Test(diag, load_a_file) {
    Arena *a = arena_create();
    VmError error = {.text = ""};
    Source *s = load_bytes(a, "a = 1\n", 6, &error);
    cr_assert_not_null(s);
    cr_expect_str_eq(s->text, "a = 1\n");
    cr_expect_eq(s->len, 6);
    s = load_bytes(a, "", 0, &error);
    cr_assert_not_null(s);
    cr_expect_eq(s->len, 0);
    arena_destroy(a);
}

Test(diag, load_refuses) {
    Arena *a = arena_create();
    VmError error = {.text = ""};
    cr_expect_null(source_load(a, "no/such/file.vmoe", &error));
    cr_expect_str_eq(error.text, "cannot open 'no/such/file.vmoe': No such file or directory");
    cr_expect_null(source_load(a, "frontend", &error));
    cr_expect_str_eq(error.text, "'frontend' is a folder, not a file");
    cr_expect_null(source_load(a, "/dev/zero", &error));
    cr_expect_str_eq(error.text, "'/dev/zero' is a pipe, device or socket, not a file");
    cr_expect_null(load_bytes(a, "a\0b", 3, &error));
    cr_expect_not_null(strstr(error.text, "it contains NUL bytes and is not a text file"));
    arena_destroy(a);
}
