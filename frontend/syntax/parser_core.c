/* The parser's machinery: token stream, nodes, messages, recovery and comments. Knows the
 * language's keywords but not its grammar. */
#include "frontend/syntax/parser.h"
#include "base/vec.h"

#include <stdarg.h>
#include <string.h>

enum { MAX_DEPTH = 200, MAX_NODES = 1000000 };

/* ---- tokens ---------------------------------------------------------------------------------- */

static void add_pending(Parser *p, const char *text) {
    if (*text == '\0') return;
    if ((p->npending & (p->npending - 1)) == 0) {
        const char **grown = ARENA_ARRAY(p->arena, const char *, p->npending ? p->npending * 2 : 1);
        if (p->npending) memcpy(grown, p->pending, (size_t)p->npending * sizeof *grown);
        p->pending = grown;
    }
    p->pending[p->npending++] = text;
}

static void give_up(Parser *p) {
    p->stop = p->panic = true;
    int end = (int)p->src->len;
    p->tok = (Token){.kind = TOK_EOF, .start = end, .end = end, .newline = true};
    p->has_ahead = false;
}

/* Comments nobody took wait for the next node, or for the end of the statement. */
void parser_advance(Parser *p) {
    if (p->stop || p->tok.kind == TOK_EOF) return;
    if (p->tok.trailing_prev) add_pending(p, p->tok.trailing_prev);
    for (int i = 0; i < p->tok.nlead; i++) add_pending(p, p->tok.lead[i]);
    p->prev_end = p->tok.end;
    p->prev_repaired = p->tok.repaired;
    p->tok = p->has_ahead ? p->ahead : lex_next(&p->lex);
    p->has_ahead = false;
    if (p->diags->nerrors >= DIAGS_MAX) give_up(p);
}

const Token *parser_ahead(Parser *p) {
    if (p->stop) return &p->tok;
    if (!p->has_ahead) p->ahead = lex_next(&p->lex);
    p->has_ahead = true;
    return &p->ahead;
}

static bool token_is(const Parser *p, const Token *t, const char *word) {
    size_t n = strlen(word);
    return t->kind == TOK_NAME && (size_t)(t->end - t->start) == n &&
           memcmp(p->src->text + t->start, word, n) == 0;
}

bool parser_word(const Parser *p, const char *word) {
    return token_is(p, &p->tok, word);
}
bool parser_at(const Parser *p, TokKind kind) {
    return p->tok.kind == kind;
}

bool parser_accept(Parser *p, TokKind kind) {
    if (p->tok.kind != kind) return false;
    parser_advance(p);
    return true;
}

Span parser_span(const Parser *p) {
    return (Span){p->src, p->tok.start, p->tok.end};
}

char *parser_text(const Parser *p, const Token *t) {
    return arena_strndup(p->arena, p->src->text + t->start, (size_t)(t->end - t->start));
}

bool parser_line_ended(const Parser *p) {
    return p->tok.kind == TOK_EOF || (p->tok.newline && p->paren == 0);
}

/* ---- nodes ----------------------------------------------------------------------------------- */

Ast *parser_node(Parser *p, AstKind kind) {
    if (++p->nodes == MAX_NODES && !p->stop) {
        diag_error(p->diags, parser_span(p), D_too_large,
                   "the file has more than a million constructs");
        give_up(p);
    }
    Ast *n = ARENA_NEW(p->arena, Ast);
    n->kind = kind;
    n->span = n->name_span = parser_span(p);
    n->height = 1;
    return n;
}

Ast *parser_bad(Parser *p) {
    Ast *n = parser_node(p, AST_BAD);
    n->span.end = n->span.start;
    return n;
}

static void raise_height(Ast *n, const Ast *below) {
    if (below && below->height >= n->height) n->height = below->height + 1;
}

Ast *parser_finish(Parser *p, Ast *n) {
    if (p->prev_end > n->span.start) n->span.end = p->prev_end;
    raise_height(n, n->type);
    raise_height(n, n->a);
    raise_height(n, n->b);
    raise_height(n, n->other);
    for (int i = 0; i < n->nkid; i++) raise_height(n, n->kid[i]);
    for (int i = 0; i < n->nparam; i++) raise_height(n, n->param[i]);
    if (n->height < AST_MAX_HEIGHT) return n;
    parser_error(p, n->span, D_nesting_too_deep,
                 "more than %d operators or calls in one chain; split it into several statements",
                 AST_MAX_HEIGHT / 2);
    give_up(p);
    return parser_bad(p);
}

void parser_list_add(Parser *p, AstList *l, Ast *n) {
    VEC_ROOM(p->arena, l->items, l->n, l->cap);
    l->items[l->n++] = n;
}

bool parser_enter(Parser *p) {
    if (++p->depth <= MAX_DEPTH) return true;
    parser_error(p, parser_span(p), D_nesting_too_deep, "nested more than %d levels deep",
                 MAX_DEPTH);
    give_up(p);
    p->depth--;
    return false;
}

void parser_leave(Parser *p) {
    p->depth--;
}

/* ---- messages -------------------------------------------------------------------------------- */

static const struct {
    const char *word;
    enum { DECLARATION, STATEMENT, PART, VALUE, OPERATOR, LOOSE, TYPE } kind;
} keywords[] = {
#define KEYWORD(word, kind, ...) {#word, kind},
#include "frontend/syntax/keywords.def"
};
enum { KEYWORDS = sizeof keywords / sizeof keywords[0] };

static const struct {
    const char *word, *hint;
} foreign[] = {
    {"def", "a layer is declared by `layer name(x) { ... }`"},
    {"fn", "a layer is declared by `layer name(x) { ... }`"},
    {"func", "a layer is declared by `layer name(x) { ... }`"},
    {"function", "a layer is declared by `layer name(x) { ... }`"},
    {"class", "a network is declared by `model name(x: f32[B, C, H, W]) { ... }`"},
    {"struct", "a network is declared by `model name(x: f32[B, C, H, W]) { ... }`"},
    {"import", "other files are loaded by `use \"std/vit\"`"},
    {"include", "other files are loaded by `use \"std/vit\"`"},
    {"let", "a name is bound by `name = value`"},
    {"var", "a name is bound by `name = value`"},
    {"const", "a name is bound by `name = value`"},
    {"return", "the last expression of a layer is its result"},
    {"while", "loops are written `for i in 0..n { ... }`"},
    {"elif", "write `else if`"},
    {"elsif", "write `else if`"},
    {"elseif", "write `else if`"},
};

const char *parser_foreign_hint(const Parser *p) {
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++)
        if (parser_word(p, foreign[i].word)) return foreign[i].hint;
    return NULL;
}

bool parser_reserved(const Parser *p, const Token *t) {
    for (size_t i = 0; i < KEYWORDS; i++)
        if (token_is(p, t, keywords[i].word))
            return keywords[i].kind != LOOSE && keywords[i].kind != TYPE;
    return false;
}

Diag *parser_error(Parser *p, Span s, DiagId id, const char *fmt, ...) {
    if (p->panic || p->stop) return NULL;
    va_list ap;
    va_start(ap, fmt);
    const char *text = arena_vprintf(p->arena, fmt, ap);
    va_end(ap);
    return diag_error(p->diags, s, id, "%s", text);
}

/* What is missing ends its line; a statement's first token is found as itself. */
static bool found_line_end(const Parser *p) {
    return parser_line_ended(p) && (p->tok.kind == TOK_EOF || p->tok.start != p->stmt_start);
}

const char *parser_found(const Parser *p) {
    const Token *t = &p->tok;
    if (t->kind == TOK_EOF) return "the end of the file";
    if (found_line_end(p)) return "the end of the line";
    int n = t->end - t->start;
    const char *s = p->src->text + t->start;
    if (t->kind == TOK_STRING)
        return n > 30 ? "a string" : arena_printf(p->arena, "the string %.*s", n, s);
    return arena_printf(p->arena, "`%.*s%s`", n > 40 ? 40 : n, s, n > 40 ? "..." : "");
}

/* At the end of a line the caret stands behind its last token, not on the next line. */
static Span found_span(const Parser *p) {
    if (found_line_end(p) && p->prev_end > 0) return (Span){p->src, p->prev_end, p->prev_end};
    return parser_span(p);
}

Diag *parser_unexpected(Parser *p, const char *expected, const char *hint) {
    bool known = p->tok.repaired || p->prev_repaired;
    Diag *x = known
                  ? NULL
                  : parser_error(p, found_span(p), D_unexpected_token, "expected %s, found %s%s%s",
                                 expected, parser_found(p), hint ? "; " : "", hint ? hint : "");
    p->panic = true;
    return x;
}

bool parser_expect(Parser *p, TokKind kind, const char *hint) {
    if (p->panic) return false;
    if (parser_accept(p, kind)) return true;
    parser_unexpected(p, arena_printf(p->arena, "`%s`", lex_spelling(kind)), hint);
    return false;
}

const char *parser_name(Parser *p, const char *what, Span *span) {
    if (p->panic) return NULL;
    *span = parser_span(p);
    if (p->tok.kind != TOK_NAME) {
        parser_unexpected(p, what, NULL);
        return NULL;
    }
    if (parser_reserved(p, &p->tok)) {
        parser_error(p, *span, D_reserved_name, "expected %s, found the keyword %s", what,
                     parser_found(p));
    }
    const char *name = parser_text(p, &p->tok);
    parser_advance(p);
    return name;
}

/* ---- recovery -------------------------------------------------------------------------------- */

bool parser_declaration_starts(Parser *p) {
    if (!p->tok.newline || p->tok.kind != TOK_NAME) return false;
    for (size_t i = 0; i < KEYWORDS; i++)
        if (keywords[i].kind == DECLARATION && parser_word(p, keywords[i].word))
            return parser_ahead(p)->kind != TOK_ASSIGN;
    return false;
}

static bool is_closer(TokKind k) {
    return k == TOK_RPAREN || k == TOK_RBRACKET || k == TOK_RBRACE;
}

bool parser_state_word(Parser *p) {
    if (!parser_word(p, "state") && !parser_word(p, "update")) return false;
    return parser_ahead(p)->kind == TOK_NAME && !parser_ahead(p)->newline;
}

bool parser_statement_starts(Parser *p) {
    if (p->tok.kind == TOK_EOF) return true;
    if (!p->tok.newline) return false;
    static const char *const words[] = {"param", "for", "loss", "aux", "metric"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (parser_word(p, words[i])) return true;
    if (parser_state_word(p)) return true;
    bool bind = p->paren == 0 && p->tok.kind == TOK_NAME && parser_ahead(p)->kind == TOK_ASSIGN;
    return bind || parser_declaration_starts(p);
}

bool parser_line_aligned(const Parser *p) {
    return p->tok.newline && p->tok.col <= p->stmt_col && !is_closer(p->tok.kind);
}

/* Skips what is left of a broken statement: up to a new line outside its brackets, or one that
 * stands no further right than the statement, up to ";" or to the brace that closes the block
 * around it. */
void parser_sync_statement(Parser *p) {
    int paren = p->paren, brace = p->brace;
    while (p->tok.kind != TOK_EOF) {
        TokKind k = p->tok.kind;
        bool outside = paren <= 0 && brace <= 0;
        bool first = p->tok.start == p->stmt_start;
        if (p->tok.newline && !first && !is_closer(k) && (outside || p->tok.col <= p->stmt_col))
            break;
        if (k == TOK_SEMICOLON && outside) break;
        if (k == TOK_RBRACE && brace <= 0) break;
        paren += (k == TOK_LPAREN || k == TOK_LBRACKET) - (k == TOK_RPAREN || k == TOK_RBRACKET);
        if (paren < 0) paren = 0;
        brace += (k == TOK_LBRACE) - (k == TOK_RBRACE);
        parser_advance(p);
    }
    p->paren = p->brace = 0;
    if (!p->stop) p->panic = false;
}

void parser_sync_declaration(Parser *p) {
    while (p->tok.kind != TOK_EOF && !parser_declaration_starts(p)) {
        if (p->tok.newline && p->tok.col == 0 && parser_foreign_hint(p)) break;
        parser_advance(p);
    }
    p->paren = p->brace = 0;
    if (!p->stop) p->panic = false;
}

/* After a mistake in the head of a block: its body can still be read. */
void parser_skip_to_brace(Parser *p) {
    int paren = p->paren;
    while (p->tok.kind != TOK_EOF && p->tok.kind != TOK_LBRACE && p->tok.kind != TOK_RBRACE) {
        TokKind k = p->tok.kind;
        if (p->tok.newline && (paren <= 0 || (p->tok.col <= p->stmt_col && !is_closer(k)))) break;
        paren += (k == TOK_LPAREN || k == TOK_LBRACKET) - (k == TOK_RPAREN || k == TOK_RBRACKET);
        parser_advance(p);
    }
    p->paren = p->brace = 0;
    if (p->tok.kind == TOK_LBRACE && !p->stop) p->panic = false;
}

/* ---- comments -------------------------------------------------------------------------------- */

const char *parser_take_trailing(Parser *p) {
    const char *text = p->tok.trailing_prev;
    p->tok.trailing_prev = NULL;
    return text;
}

/* What waits, then the current token's own comments. In elements only the latter: what waits
 * belongs to the statement. */
void parser_take_lead(Parser *p, Ast *n, bool elements) {
    Token *t = &p->tok;
    int waiting = elements ? 0 : p->npending;
    if (!elements && waiting == 0 && !t->trailing_prev) n->blank_before = t->blank;
    const char *behind =
        elements ? NULL : parser_take_trailing(p); /* of what stands before, and not taken */
    if (waiting + t->nlead == 0 && !behind) return;
    const char **all = ARENA_ARRAY(p->arena, const char *, waiting + t->nlead + 2);
    int k = 0;
    for (int i = 0; i < waiting; i++) all[k++] = p->pending[i];
    if (behind) all[k++] = behind;
    if (k && t->blank) all[k++] = "";
    for (int i = 0; i < t->nlead; i++)
        if (!elements || *t->lead[i]) all[k++] = t->lead[i];
    n->comment = all;
    n->ncomment = k;
    t->nlead = 0;
    if (!elements) p->npending = 0;
}

/* What stands before a closing bracket. */
void parser_take_end(Parser *p, Ast *n, bool elements) {
    Token *t = &p->tok;
    int waiting = elements ? 0 : p->npending, k = 0;
    const char *behind = elements ? NULL : parser_take_trailing(p);
    if (waiting + t->nlead == 0 && !behind) return;
    const char **all = ARENA_ARRAY(p->arena, const char *, waiting + t->nlead + 2);
    for (int i = 0; i < waiting; i++) all[k++] = p->pending[i];
    if (behind) all[k++] = behind;
    if (t->blank && !elements) all[k++] = "";
    for (int i = 0; i < t->nlead; i++)
        if (!elements || *t->lead[i]) all[k++] = t->lead[i];
    while (k > 0 && *all[k - 1] == '\0') k--;
    n->comment_end = all;
    n->ncomment_end = k;
    t->nlead = 0;
    if (!elements) p->npending = 0;
}

/* Comments inside a statement that no element took are moved above it. */
void parser_hoist(Parser *p, Ast *n) {
    if (p->npending == 0) return;
    const char **all = ARENA_ARRAY(p->arena, const char *, n->ncomment + p->npending);
    if (n->ncomment) memcpy(all, n->comment, (size_t)n->ncomment * sizeof *all);
    memcpy(all + n->ncomment, p->pending, (size_t)p->npending * sizeof *all);
    n->comment = all;
    n->ncomment += p->npending;
    p->npending = 0;
}
