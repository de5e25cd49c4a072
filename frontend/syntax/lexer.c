/* Text to tokens, one at a time. Requires a terminated source without NUL bytes. Every mistake is
 * reported once and repaired, so the parser sees a plausible token stream. Time is linear in the
 * text. Does not know keywords. */
#include "frontend/syntax/lexer.h"
#include "base/vec.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Characters. More digits are never meant, and names are joined into those of weights. */
enum { MAX_NUMBER = 64, MAX_NAME = 255 };

static const struct {
    const char *spelling;
    TokKind kind;
} punctuation[] = {
#define TOKEN(kind, spelling) {spelling, TOK_##kind},
    LEXER_PUNCTUATION(TOKEN)
#undef TOKEN
};

const char *lex_spelling(TokKind kind) {
    for (size_t i = 0; i < sizeof punctuation / sizeof *punctuation; i++)
        if (punctuation[i].kind == kind) return punctuation[i].spelling;
    return NULL;
}

void lex_init(Lexer *l, Arena *a, const Source *src, Diags *d) {
    *l = (Lexer){.arena = a, .src = src, .diags = d};
    if (strncmp(src->text, "\xEF\xBB\xBF", 3) == 0) l->pos = l->bol = 3;
}

static Span span(const Lexer *l, int start, int end) {
    return (Span){l->src, start, end};
}

static unsigned char at(const Lexer *l, int i) {
    return i < (int)l->src->len ? (unsigned char)l->src->text[i] : 0;
}

static bool is_digit(int c) {
    return c >= '0' && c <= '9';
}
static bool is_letter(int c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

/* Bytes of the UTF-8 sequence at i; 1 for a malformed one. */
static int utf8_length(const Lexer *l, int i) {
    int c = at(l, i);
    int n = c >= 0xF0 && c < 0xF8 ? 4 : c >= 0xE0 ? 3 : c >= 0xC2 ? 2 : 1;
    if (c >= 0xF8) return 1;
    for (int k = 1; k < n; k++)
        if ((at(l, i + k) & 0xC0) != 0x80) return 1;
    return n;
}

/* ---- white space and comments ---------------------------------------------------------------- */

typedef struct Gap {
    int cap;      /* of tok->lead */
    int line_end; /* line ends since the last token or comment */
} Gap;

static void add_lead(Lexer *l, Token *t, Gap *g, const char *text) {
    VEC_ROOM(l->arena, t->lead, t->nlead, g->cap);
    t->lead[t->nlead++] = text;
}

/* The blank line before a comment or token belongs to the first of them, or separates two of them.
 */
static void note_blank(Lexer *l, Token *t, Gap *g) {
    if (g->line_end < 2) return;
    if (t->nlead)
        add_lead(l, t, g, "");
    else
        t->blank = true;
}

static void add_comment(Lexer *l, Token *t, Gap *g, int start, int end) {
    while (end > start &&
           (at(l, end - 1) == ' ' || at(l, end - 1) == '\t' || at(l, end - 1) == '\r'))
        end--;
    const char *text = arena_strndup(l->arena, l->src->text + start, (size_t)(end - start));
    if (!t->newline && start > l->bol && !t->trailing_prev && t->nlead == 0) {
        t->trailing_prev = text;
        return;
    }
    note_blank(l, t, g);
    add_lead(l, t, g, text);
    g->line_end = 0;
}

static int line_end(const Lexer *l, int i) {
    const char *nl = memchr(l->src->text + i, '\n', l->src->len - (size_t)i);
    return nl ? (int)(nl - l->src->text) : (int)l->src->len;
}

/* C comments: reported, then skipped, so that their words do not turn into further mistakes. */
static void skip_c_comment(Lexer *l) {
    const char *end = l->no_comment_end ? NULL : strstr(l->src->text + l->pos + 2, "*/");
    if (!end) l->no_comment_end = true;
    int stop = end ? (int)(end - l->src->text) + 2 : line_end(l, l->pos);
    diag_error(l->diags, span(l, l->pos, l->pos + 2), D_wrong_comment,
               "comments start with `#`, found `/*`");
    for (; l->pos < stop; l->pos++)
        if (at(l, l->pos) == '\n') l->bol = l->pos + 1;
}

/* With as many mistakes as are kept, the rest of the text is not read. */
static bool full(const Lexer *l) {
    return l->diags->nerrors >= DIAGS_MAX;
}

static void skip_gap(Lexer *l, Token *t, Gap *g) {
    if (full(l)) l->pos = (int)l->src->len;
    if (l->pos == l->bol)
        t->newline = true; /* the start of the file: tokens never end at a line start */
    for (;;) {
        int c = at(l, l->pos);
        if (c == ' ' || c == '\t' || (c == '\r' && at(l, l->pos + 1) == '\n')) {
            l->pos++;
        } else if (c == '\n') {
            l->bol = ++l->pos;
            g->line_end++;
            t->newline = true;
        } else if (c == '#') {
            int end = line_end(l, l->pos);
            add_comment(l, t, g, l->pos, end);
            l->pos = end;
        } else if (c == '/' && at(l, l->pos + 1) == '*' && !full(l)) {
            skip_c_comment(l);
        } else {
            break;
        }
    }
    note_blank(l, t, g);
}

/* Punctuation that editors and web pages put in place of ASCII. */
static const struct {
    const char *bytes, *hint;
} lookalike[] = {
    {"\xE2\x80\x9C", "write strings in straight quotes"},
    {"\xE2\x80\x9D", "write strings in straight quotes"},
    {"\xE2\x80\x98", "write strings in straight quotes"},
    {"\xE2\x80\x99", "write strings in straight quotes"},
    {"\xE2\x88\x92", "write `-`"},
    {"\xE2\x80\x93", "write `-`"},
    {"\xE2\x80\x94", "write `-`"},
    {"\xC3\x97", "write `*`"},
    {"\xC2\xB7", "write `*`"},
    {"\xE2\x86\x92", "write `->`"},
    {"\xE2\x89\xA4", "write `<=`"},
    {"\xE2\x89\xA5", "write `>=`"},
    {"\xE2\x89\xA0", "write `!=`"},
    {"\xC2\xA0", "it is a no-break space; write a plain one"},
    {"\xE2\x80\xA6", "write `..`"},
    {"\xEF\xBB\xBF", "it is a byte order mark in mid file"},
};

static const char *lookalike_hint(const Lexer *l, int i) {
    for (size_t k = 0; k < sizeof lookalike / sizeof *lookalike; k++)
        if (strncmp(l->src->text + i, lookalike[k].bytes, strlen(lookalike[k].bytes)) == 0)
            return lookalike[k].hint;
    return NULL;
}

/* ---- tokens ---------------------------------------------------------------------------------- */

static void lex_name(Lexer *l, Token *t) {
    bool ascii = true;
    for (;;) {
        int c = at(l, l->pos);
        if (c >= 0x80 ? lookalike_hint(l, l->pos) != NULL : !is_letter(c) && !is_digit(c)) break;
        if (c >= 0x80) ascii = false;
        l->pos++;
    }
    t->kind = TOK_NAME;
    if (l->pos - t->start > MAX_NAME)
        diag_error(l->diags, span(l, t->start, l->pos), D_limit,
                   "a name has at most %d characters, this one has %d", MAX_NAME,
                   l->pos - t->start);
    if (!ascii)
        diag_error(l->diags, span(l, t->start, l->pos), D_bad_character,
                   "names are made of ASCII letters, digits and `_`, found `%.*s`",
                   l->pos - t->start > 40 ? 40 : l->pos - t->start, l->src->text + t->start);
}

static void bad_number(Lexer *l, Token *t, const char *why) {
    int n = l->pos - t->start;
    diag_error(l->diags, span(l, t->start, l->pos), D_bad_number, "`%.*s%s` is not a number: %s",
               n > 24 ? 24 : n, l->src->text + t->start, n > 24 ? "..." : "", why);
    t->kind = TOK_BAD;
}

static void skip_digits(Lexer *l) {
    while (is_digit(at(l, l->pos))) l->pos++;
}

/* Anything glued to a number belongs to the mistake: `12abc`, `0x1F`, `1.2.3`, but not `0..n`. */
static bool skip_glued(Lexer *l) {
    int start = l->pos;
    for (;;) {
        int c = at(l, l->pos);
        bool dot = c == '.' && is_digit(at(l, l->pos + 1));
        if (!is_letter(c) && !is_digit(c) && !dot) return l->pos > start;
        l->pos++;
    }
}

static void number_value(Lexer *l, Token *t) {
    char text[MAX_NUMBER + 1];
    int n = l->pos - t->start;
    if (n > MAX_NUMBER) {
        bad_number(l, t, "it has more than 64 characters");
        return;
    }
    memcpy(text, l->src->text + t->start, (size_t)n);
    text[n] = '\0';
    t->num = strtod(text, NULL);
    const char *digits = text + strspn(text, "0");
    bool exact = t->num < 9007199254740992.0 || strcmp(digits, "9007199254740992") == 0;
    if (t->is_int && !exact)
        bad_number(l, t, "integers end at 9007199254740992");
    else if (isinf(t->num))
        bad_number(l, t, "it is larger than any double");
    else if (t->num == 0 && is_digit(text[strcspn(text, "123456789eE")]))
        bad_number(l, t, "it is smaller than any double");
}

static const char *glued_reason(const Lexer *l, const Token *t, int i, int c) {
    const char *s = l->src->text + i;
    if (strncmp(s, "epoch", 5) == 0 || strncmp(s, "step", 4) == 0)
        return "write a space before the unit";
    bool zero = i == t->start + 1 && at(l, t->start) == '0';
    if (zero && (c == 'x' || c == 'X' || c == 'b' || c == 'B')) return "only decimal numbers exist";
    if (c == '_') return "digits cannot be grouped";
    if ((c == 'e' || c == 'E') && l->pos == i + 1) return "the exponent has no digits";
    return c == '.' ? "it has two dots" : "there are letters glued to it";
}

static void lex_number(Lexer *l, Token *t) {
    t->kind = TOK_NUMBER;
    t->is_int = true;
    const char *why = NULL;
    if (at(l, l->pos) == '.') why = "write a digit before the `.`";
    skip_digits(l);
    if (at(l, l->pos) == '.' && at(l, l->pos + 1) != '.') {
        t->is_int = false;
        l->pos++;
        if (!is_digit(at(l, l->pos))) why = "write a digit after the `.`";
        skip_digits(l);
    }
    int c = at(l, l->pos), sign = at(l, l->pos + 1) == '+' || at(l, l->pos + 1) == '-';
    if ((c == 'e' || c == 'E') && is_digit(at(l, l->pos + 1 + sign))) {
        t->is_int = false;
        l->pos += 1 + sign;
        skip_digits(l);
    }
    int glued = l->pos, c0 = at(l, glued);
    if (skip_glued(l) && !why) why = glued_reason(l, t, glued, c0);
    if (why)
        bad_number(l, t, why);
    else
        number_value(l, t);
}

static char escape(Lexer *l, int i) {
    switch (at(l, i)) {
    case 'n': return '\n';
    case 't': return '\t';
    case '"': return '"';
    case '\\': return '\\';
    default: {
        int n = at(l, i) < ' ' ? 0 : utf8_length(l, i);
        diag_error(l->diags, span(l, i - 1, i + n), D_bad_escape,
                   "unknown escape `\\%.*s`; there are \\\\ \\\" \\n and \\t", n, l->src->text + i);
        return '\\';
    }
    }
}

static void lex_string(Lexer *l, Token *t) {
    int quote = at(l, l->pos++), limit = line_end(l, l->pos), end = l->pos;
    while (end < limit && at(l, end) != quote) end += at(l, end) == '\\' && end + 1 < limit ? 2 : 1;
    bool closed = end < limit;
    char *text = arena_alloc(l->arena, (size_t)(end - l->pos) + 1);
    int n = 0;
    for (int i = l->pos; i < end; i++) {
        int c = at(l, i);
        if (c == '\\') {
            text[n] = escape(l, ++i);
            if (text[n] == '\\' && at(l, i) != '\\')
                i--; /* keep the character of an unknown escape */
            n++;
        } else {
            text[n++] = (char)c;
            if ((c < ' ' && c != '\t' && c != '\r') || c == 0x7F)
                diag_error(l->diags, span(l, i, i + 1), D_bad_character,
                           "control character 0x%02x in a string", (unsigned)c);
        }
    }
    t->text = text;
    t->kind = TOK_STRING;
    l->pos = closed ? end + 1 : end;
    if (!closed)
        diag_error(l->diags, span(l, t->start, t->start + 1), D_unterminated_string,
                   "expected a closing `%c` before the end of the line", quote);
    else if (quote == '\'')
        diag_error(l->diags, span(l, t->start, l->pos), D_bad_character,
                   "strings are written in double quotes, found `'`");
}

static const char *ascii_hint(int c) {
    switch (c) {
    case '@': return "; write matmul(a, b)";
    case '&': return "; write `and`";
    case '|': return "; write `or`, or `|>` for a pipe";
    case '^': return "; there is no power operator, write a product or square(x)";
    case '?': return "; write `if c { a } else { b }`";
    case '\r': return "";
    default: return "";
    }
}

static void bad_character(Lexer *l) {
    int start = l->pos, c = at(l, start), n = utf8_length(l, start);
    l->pos += n;
    const char *hint = lookalike_hint(l, start);
    if (hint)
        diag_error(l->diags, span(l, start, l->pos), D_bad_character, "unexpected `%.*s`; %s", n,
                   l->src->text + start, hint);
    else if (c == '\r')
        diag_error(l->diags, span(l, start, l->pos), D_bad_character,
                   "carriage return without a line feed; lines end in LF or CRLF");
    else if (c < ' ' || c >= 0x7F)
        diag_error(l->diags, span(l, start, l->pos), D_bad_character, "unexpected byte 0x%02x",
                   (unsigned)c);
    else
        diag_error(l->diags, span(l, start, l->pos), D_bad_character, "unexpected `%c`%s", c,
                   ascii_hint(c));
}

static bool lex_punctuation(Lexer *l, Token *t) {
    for (size_t i = 0; i < sizeof punctuation / sizeof *punctuation; i++) {
        const char *s = punctuation[i].spelling;
        if (at(l, l->pos) != (unsigned char)s[0]) continue;
        size_t n = strlen(s);
        if (strncmp(l->src->text + l->pos, s, n) != 0) continue;
        t->kind = punctuation[i].kind;
        l->pos += (int)n;
        return true;
    }
    return false;
}

Token lex_next(Lexer *l) {
    Token t = {0};
    Gap gap = {0};
    int errors = l->diags->nerrors;
    for (;;) {
        skip_gap(l, &t, &gap);
        t.start = l->pos;
        t.col = l->pos - l->bol;
        int c = at(l, l->pos);
        if (l->pos >= (int)l->src->len) break;
        bool digit = is_digit(c) || (c == '.' && is_digit(at(l, l->pos + 1)));
        if (digit)
            lex_number(l, &t);
        else if (is_letter(c) ||
                 (c >= 0x80 && !lookalike_hint(l, l->pos) && utf8_length(l, l->pos) > 1))
            lex_name(l, &t);
        else if (c == '"' || c == '\'')
            lex_string(l, &t);
        else if (!lex_punctuation(l, &t)) {
            bad_character(l);
            continue;
        }
        t.end = l->pos;
        t.repaired = l->diags->nerrors > errors;
        return t;
    }
    t.kind = TOK_EOF;
    t.end = t.start;
    t.repaired = l->diags->nerrors > errors;
    return t;
}
