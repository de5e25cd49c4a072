/* Tokens, comments and newlines. Messages are pinned in tests/errors/syntax. */
#include <criterion/criterion.h>

#include <string.h>

#include "frontend/syntax/lexer.h"

typedef struct Fixture {
    Arena *arena;
    Diags *diags;
    Lexer lex;
} Fixture;

static Fixture lexing(const char *text) {
    Fixture f = {.arena = arena_create()};
    f.diags = diags_create(f.arena);
    lex_init(&f.lex, f.arena, source_from_text(f.arena, "t.vmoe", text), f.diags);
    return f;
}

static Token expect_next(Fixture *f, TokKind kind) {
    Token t = lex_next(&f->lex);
    cr_expect_eq(t.kind, kind, "kind %d at byte %d", (int)t.kind, t.start);
    return t;
}

#define EXPECT_TOKENS(text, ...)                                                                   \
    do {                                                                                           \
        Fixture f_ = lexing(text);                                                                 \
        const TokKind kinds_[] = {__VA_ARGS__};                                                    \
        for (size_t i_ = 0; i_ < sizeof kinds_ / sizeof *kinds_; i_++)                             \
            expect_next(&f_, kinds_[i_]);                                                          \
        expect_next(&f_, TOK_EOF);                                                                 \
        cr_expect_eq(f_.diags->nerrors, 0);                                                        \
        arena_destroy(f_.arena);                                                                   \
    } while (0)

Test(lexer, punctuation_is_the_longest) {
    EXPECT_TOKENS("|>->=", TOK_PIPE, TOK_ARROW, TOK_ASSIGN);
    EXPECT_TOKENS("<=<==", TOK_LE, TOK_LE, TOK_ASSIGN);
    EXPECT_TOKENS("///", TOK_IDIV, TOK_SLASH);
    EXPECT_TOKENS("a//b", TOK_NAME, TOK_IDIV, TOK_NAME);
    EXPECT_TOKENS("!===", TOK_NE, TOK_EQ);
    EXPECT_TOKENS(":=+=**&&||...", TOK_WALRUS, TOK_ADD_ASSIGN, TOK_POWER, TOK_AND_AND, TOK_OR_OR,
                  TOK_ELLIPSIS);
}

Test(lexer, every_spelling_is_its_own_token) {
    for (int k = TOK_ELLIPSIS; k <= TOK_BANG; k++) {
        Fixture f = lexing(lex_spelling((TokKind)k));
        expect_next(&f, (TokKind)k);
        expect_next(&f, TOK_EOF);
        arena_destroy(f.arena);
    }
    cr_expect_null(lex_spelling(TOK_NAME));
}

Test(lexer, ranges_are_no_fractions) {
    EXPECT_TOKENS("0..n", TOK_NUMBER, TOK_RANGE, TOK_NAME);
    EXPECT_TOKENS("0..9", TOK_NUMBER, TOK_RANGE, TOK_NUMBER);
    EXPECT_TOKENS("1.5..2.5", TOK_NUMBER, TOK_RANGE, TOK_NUMBER);
    EXPECT_TOKENS("[.., D]", TOK_LBRACKET, TOK_RANGE, TOK_COMMA, TOK_NAME, TOK_RBRACKET);
}

static void expect_number(const char *text, double value, bool is_int) {
    Fixture f = lexing(text);
    Token t = expect_next(&f, TOK_NUMBER);
    cr_expect_eq(t.num, value, "%s", text);
    cr_expect_eq(t.is_int, is_int, "%s", text);
    cr_expect_eq(t.end, (int)strlen(text));
    cr_expect_eq(f.diags->nerrors, 0);
    arena_destroy(f.arena);
}

Test(lexer, numbers) {
    expect_number("0", 0, true);
    expect_number("128", 128, true);
    expect_number("007", 7, true);
    expect_number("9007199254740992", 9007199254740992.0, true);
    expect_number("1.5", 1.5, false);
    expect_number("1e-3", 1e-3, false);
    expect_number("2E+10", 2e10, false);
    expect_number("0e5", 0, false);
    expect_number("0.0", 0, false);
    expect_number("1.25e2", 125, false);
}

Test(lexer, bad_numbers_are_one_token_and_one_message) {
    static const char *const bad[] = {"12abc", "0x1F",  "1.2.3",  ".5",  "5.",
                                      "1e",    "1e999", "1e-999", "1_0", "9007199254740993"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        Fixture f = lexing(bad[i]);
        Token t = expect_next(&f, TOK_BAD);
        cr_expect_eq(t.end, (int)strlen(bad[i]), "%s", bad[i]);
        cr_expect(t.repaired);
        expect_next(&f, TOK_EOF);
        cr_expect_eq(f.diags->nerrors, 1, "%s", bad[i]);
        cr_expect_eq(f.diags->first->id, D_bad_number);
        arena_destroy(f.arena);
    }
}

Test(lexer, strings) {
    Fixture f = lexing("\"a \\\"b\\\" \\\\ \\n\\t # \xC3\xA9\" \"\"");
    cr_expect_str_eq(expect_next(&f, TOK_STRING).text, "a \"b\" \\ \n\t # \xC3\xA9");
    cr_expect_str_eq(expect_next(&f, TOK_STRING).text, "");
    cr_expect_eq(f.diags->nerrors, 0);
    arena_destroy(f.arena);
}

Test(lexer, unterminated_string_ends_with_its_line) {
    Fixture f = lexing("\"abc\\\"\nx");
    cr_expect_str_eq(expect_next(&f, TOK_STRING).text, "abc\"");
    cr_expect(expect_next(&f, TOK_NAME).newline);
    cr_expect_eq(f.diags->nerrors, 1);
    arena_destroy(f.arena);
}

Test(lexer, newlines_and_columns) {
    Fixture f = lexing("a b\n  c\r\n\td ; # x\n\n\ne");
    Token a = expect_next(&f, TOK_NAME), b = expect_next(&f, TOK_NAME),
          c = expect_next(&f, TOK_NAME);
    cr_expect(a.newline && !b.newline && c.newline);
    cr_expect(a.col == 0 && b.col == 2 && c.col == 2);
    Token d = expect_next(&f, TOK_NAME);
    cr_expect(d.newline && d.col == 1 && !d.blank);
    expect_next(&f, TOK_SEMICOLON);
    Token e = expect_next(&f, TOK_NAME);
    cr_expect(e.blank && e.col == 0);
    cr_expect_str_eq(e.trailing_prev, "# x");
    cr_expect(expect_next(&f, TOK_EOF).kind == TOK_EOF);
    cr_expect(expect_next(&f, TOK_EOF).kind == TOK_EOF);
    arena_destroy(f.arena);
}

Test(lexer, comments_ride_on_the_next_token) {
    Fixture f = lexing("# one\n\n\n#two  \r\na # three\n# four\n\nb\n\n# end");
    Token a = expect_next(&f, TOK_NAME);
    cr_assert_eq(a.nlead, 3);
    cr_expect_str_eq(a.lead[0], "# one");
    cr_expect_str_eq(a.lead[1], "");
    cr_expect_str_eq(a.lead[2], "#two");
    cr_expect(!a.blank && a.trailing_prev == NULL);
    Token b = expect_next(&f, TOK_NAME);
    cr_expect_str_eq(b.trailing_prev, "# three");
    cr_assert_eq(b.nlead, 2);
    cr_expect_str_eq(b.lead[0], "# four");
    cr_expect_str_eq(b.lead[1], "");
    cr_expect(!b.blank);
    Token end = expect_next(&f, TOK_EOF);
    cr_expect(end.blank);
    cr_assert_eq(end.nlead, 1);
    cr_expect_str_eq(end.lead[0], "# end");
    arena_destroy(f.arena);
}

Test(lexer, byte_order_mark_is_skipped) {
    Fixture f = lexing("\xEF\xBB\xBFuse");
    Token t = expect_next(&f, TOK_NAME);
    cr_expect(t.col == 0 && t.start == 3 && t.newline);
    cr_expect_eq(f.diags->nerrors, 0);
    arena_destroy(f.arena);
}

Test(lexer, after_a_hundred_mistakes_the_text_ends) {
    char text[1001];
    for (int i = 0; i < 1000; i++) text[i] = i % 2 ? ' ' : '@';
    text[1000] = '\0';
    Fixture f = lexing(text);
    expect_next(&f, TOK_EOF);
    cr_expect_eq(f.diags->nerrors, DIAGS_MAX);
    arena_destroy(f.arena);
}
