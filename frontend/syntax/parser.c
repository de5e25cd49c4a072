/* Statements and declarations. Requires the machinery of parser_core.c and expressions of
 * parser_expr.c. Checks grammar only: names, types and values are elaboration's. */
#include "frontend/syntax/parser.h"
#include "base/spell.h"

#include <string.h>

typedef Ast *(*StatementFn)(Parser *);

static Ast *parse_statement(Parser *p);

/* ---- blocks ---------------------------------------------------------------------------------- */

static void end_hint(Parser *p, Ast *n) {
    TokKind k = p->tok.kind;
    if (k == TOK_RPAREN || k == TOK_RBRACKET) {
        parser_error(p, parser_span(p), D_stray_brace, "%s closes nothing", parser_found(p));
        p->panic = true;
        return;
    }
    const char *hint = NULL;
    if (k == TOK_ASSIGN)
        hint = n->kind == AST_EXPR ? "only names can be bound" : "`==` compares";
    else if (k == TOK_COLON)
        hint = "a binding has no type";
    else if (k == TOK_RANGE || k == TOK_ELLIPSIS)
        hint = "ranges stand only in `for i in 0..n`";
    else if (k == TOK_COMMA)
        hint = "lists are written [a, b]";
    parser_unexpected(p, "the end of the statement", hint);
}

/* A statement ends at a new line, ";" or before "}". */
static void end_statement(Parser *p, Ast *n) {
    bool ended = parser_line_ended(p) || parser_at(p, TOK_SEMICOLON) || parser_at(p, TOK_RBRACE);
    if (!p->panic && !ended) end_hint(p, n);
    if (p->panic) {
        parser_sync_statement(p);
        n->kind = AST_BAD;
    }
    const char **trailing =
        n->kind == AST_FOR || n->kind == AST_IF ? &n->trailing_end : &n->trailing;
    *trailing = parser_take_trailing(p);
    while (parser_accept(p, TOK_SEMICOLON))
        if (!*trailing) *trailing = parser_take_trailing(p);
}

static bool has_newline(const Parser *p, int start, int end) {
    return end > start && memchr(p->src->text + start, '\n', (size_t)(end - start)) != NULL;
}

static void block_unclosed(Parser *p, Span open) {
    if (p->unclosed) return;
    Diag *x = parser_error(p, open, D_missing_brace, "`{` is never closed; expected `}` before %s",
                           p->tok.kind == TOK_EOF
                               ? "the end of the file"
                               : arena_printf(p->arena, "`%s`", parser_text(p, &p->tok)));
    if (x && p->suspect.src)
        diag_note(p->diags, x, p->suspect,
                  "the `}` of this block stands in another column; one may be missing here");
    p->unclosed = true;
}

/* Statements up to "}" or what shows that it is missing. */
static void block_statements(Parser *p, AstList *l, StatementFn statement, int indent) {
    while (p->tok.kind != TOK_EOF && !parser_at(p, TOK_RBRACE)) {
        if (parser_accept(p, TOK_SEMICOLON)) continue;
        if (parser_declaration_starts(p)) return;
        if (indent >= 0 && p->tok.newline && p->tok.col <= indent) return;
        int before = p->tok.start;
        p->stmt_col = p->tok.col;
        p->stmt_start = before;
        parser_list_add(p, l, statement(p));
        if (p->tok.start == before && p->tok.kind != TOK_EOF) parser_advance(p);
    }
}

/* The "{" of a block. Without it, a following line that is indented is taken for its body, so that
 * one missing brace is one message. Returns whether there is a body; *indent >= 0: it ends by
 * indentation. */
static bool open_block(Parser *p, const char *after, int *indent) {
    *indent = -1;
    if (!p->panic && parser_at(p, TOK_COLON)) {
        parser_error(p, parser_span(p), D_unexpected_token,
                     "expected `{` after %s, found `:`; blocks are written in braces", after);
        parser_advance(p);
        if (!parser_at(p, TOK_LBRACE)) p->panic = true;
    }
    if (!p->panic && parser_accept(p, TOK_LBRACE)) return true;
    const char *hint = parser_at(p, TOK_ASSIGN) ? "`==` compares" : NULL;
    parser_unexpected(p, arena_printf(p->arena, "`{` after %s", after), hint);
    parser_skip_to_brace(p);
    if (p->stop) return false;
    if (parser_accept(p, TOK_LBRACE)) return true;
    if (!p->tok.newline || p->tok.col <= p->stmt_col || parser_at(p, TOK_RBRACE)) return false;
    *indent = p->stmt_col;
    p->panic = false;
    return true;
}

static void close_block(Parser *p, Ast *n, Span open, int indent) {
    bool closed = parser_at(p, TOK_RBRACE);
    if (indent >= 0 && !(closed && p->tok.col == indent)) return;
    if (!closed) {
        block_unclosed(p, open);
        return;
    }
    n->on_one_line = !has_newline(p, open.start, p->tok.start);
    if (p->tok.newline && p->tok.col != p->stmt_col && !p->suspect.src) p->suspect = open;
    parser_take_end(p, n, false);
    p->last_close = parser_span(p);
    parser_advance(p);
}

/* n: gets the statements as kids and the comments of the braces. after: what stands before, for
 * messages. */
static void parse_block(Parser *p, Ast *n, StatementFn statement, const char *after) {
    if (!parser_enter(p)) return;
    int col = p->stmt_col, indent;
    Span open = parser_span(p);
    AstList l = {0};
    if (open_block(p, after, &indent)) {
        if (indent < 0) open = (Span){p->src, p->prev_end - 1, p->prev_end};
        if (parser_line_ended(p)) n->trailing = parser_take_trailing(p);
        block_statements(p, &l, statement, indent);
        p->stmt_col = col;
        close_block(p, n, open, indent);
    }
    n->kid = l.items;
    n->nkid = l.n;
    parser_leave(p);
}

/* ---- statements ------------------------------------------------------------------------------ */

static Ast *begin(Parser *p, AstKind kind) {
    Ast *n = parser_node(p, kind);
    parser_take_lead(p, n, false);
    return n;
}

/* The node is complete: its tokens end here, its comments may follow. */
static Ast *end(Parser *p, Ast *n) {
    n = parser_finish(p, n);
    parser_hoist(p, n);
    end_statement(p, n);
    return n;
}

static Ast *parse_target(Parser *p) {
    Ast *n = parser_node(p, AST_NAME);
    n->name = parser_name(p, "a name", &n->name_span);
    if (!n->name) return parser_bad(p);
    return parser_finish(p, n);
}

/* "=" or what other languages write for it. */
static void expect_assign(Parser *p, const char *name) {
    if (p->panic || parser_accept(p, TOK_ASSIGN)) return;
    const char *hint = NULL;
    switch (p->tok.kind) {
    case TOK_WALRUS:
    case TOK_ARROW:
    case TOK_FAT_ARROW: hint = "a name is bound by `name = value`"; break;
    case TOK_ADD_ASSIGN:
    case TOK_SUB_ASSIGN:
    case TOK_MUL_ASSIGN:
    case TOK_DIV_ASSIGN:
        hint = arena_printf(p->arena, "write `%.40s = %.40s %c ...`", name, name,
                            p->src->text[p->tok.start]);
        break;
    default: parser_unexpected(p, "`=`", NULL); return;
    }
    parser_error(p, parser_span(p), D_wrong_operator, "expected `=` after `%.40s`, found %s; %s",
                 name, parser_found(p), hint);
    parser_advance(p);
}

static Ast *parse_bind(Parser *p) {
    Ast *n = begin(p, AST_BIND);
    AstList l = {0};
    do parser_list_add(p, &l, parse_target(p));
    while (!p->panic && parser_accept(p, TOK_COMMA));
    n->kid = l.items;
    n->nkid = l.n;
    const char *name = l.items[l.n - 1]->name;
    expect_assign(p, name ? name : "");
    n->a = parser_expr(p);
    return end(p, n);
}

/* A weight or a state. */
static Ast *parse_weight(Parser *p, AstKind kind) {
    bool state = kind == AST_STATE;
    Ast *n = begin(p, kind);
    parser_advance(p);
    n->name = parser_name(p, state ? "the name of a state" : "the name of a weight", &n->name_span);
    if (parser_expect(p, TOK_COLON,
                      state ? "states are declared `state name: [dims] = zeros()`"
                            : "weights are declared `param name: [dims] = xavier()`"))
        n->type = parser_type(p);
    if (parser_expect(p, TOK_ASSIGN,
                      state ? "every state has an initialiser, such as zeros() or ones()"
                            : "every weight has an initialiser, such as xavier() or zeros()"))
        n->a = parser_expr(p);
    return end(p, n);
}

static Ast *parse_update(Parser *p) {
    Ast *n = begin(p, AST_UPDATE);
    parser_advance(p);
    n->name = parser_name(p, "the name of a state", &n->name_span);
    expect_assign(p, n->name ? n->name : "");
    n->a = parser_expr(p);
    return end(p, n);
}

static Ast *parse_for(Parser *p) {
    Ast *n = begin(p, AST_FOR);
    parser_advance(p);
    n->name = parser_name(p, "the loop's variable", &n->name_span);
    const char *hint = "loops are written `for i in 0..n { ... }` or `for x in list { ... }`";
    if (!p->panic && parser_word(p, "in")) {
        parser_advance(p);
        n->a = parser_expr(p);
    } else {
        parser_unexpected(p, "`in`", hint);
    }
    if (!p->panic && parser_at(p, TOK_ELLIPSIS)) {
        parser_error(p, parser_span(p), D_wrong_operator,
                     "unknown operator `...`; ranges are written `0..n`");
        p->tok.kind = TOK_RANGE;
    }
    bool list = parser_at(p, TOK_LBRACE) || parser_word(p, "same_init");
    if (!p->panic && !list && parser_expect(p, TOK_RANGE, hint)) n->b = parser_expr(p);
    if (!p->panic && parser_word(p, "same_init")) {
        n->op = "same_init";
        parser_advance(p);
    }
    parse_block(p, n, parse_statement, n->b ? "the range of a loop" : "the list of a loop");
    return end(p, n);
}

/* From `if` to the last brace, without the end of the statement. */
static void parse_if_tail(Parser *p, Ast *n) {
    if (!parser_enter(p)) return;
    parser_advance(p);
    n->a = parser_expr(p);
    parse_block(p, n, parse_statement, "a condition");
    bool elif = parser_word(p, "elif") || parser_word(p, "elsif") || parser_word(p, "elseif");
    if (elif && !p->panic)
        parser_error(p, parser_span(p), D_foreign_keyword, "unknown word %s; write `else if`",
                     parser_found(p));
    if (!p->panic && (elif || parser_word(p, "else"))) {
        n->other = parser_node(p, AST_BLOCK);
        if (!elif) parser_advance(p);
        if (elif || parser_word(p, "if")) {
            Ast *nested = parser_node(p, AST_IF);
            parse_if_tail(p, nested);
            AstList l = {0};
            parser_list_add(p, &l, parser_finish(p, nested));
            n->other->kid = l.items;
            n->other->nkid = l.n;
        } else {
            parse_block(p, n->other, parse_statement, "`else`");
        }
        n->other = parser_finish(p, n->other);
    }
    parser_leave(p);
}

static Ast *parse_if(Parser *p) {
    Ast *n = begin(p, AST_IF);
    parse_if_tail(p, n);
    return end(p, n);
}

static Ast *parse_loss(Parser *p, AstKind kind) {
    Ast *n = begin(p, kind);
    const char *word = parser_text(p, &p->tok);
    parser_advance(p);
    if (parser_at(p, TOK_ASSIGN)) {
        parser_error(p, parser_span(p), D_reserved_name,
                     "expected an expression after the keyword `%s`, found `=`; write `%s expr` or "
                     "`%s name = expr`",
                     word, word, word);
        parser_advance(p);
    } else if (p->tok.kind == TOK_NAME && !parser_line_ended(p) &&
               parser_ahead(p)->kind == TOK_ASSIGN) {
        n->name = parser_name(p, "a name", &n->name_span);
        parser_advance(p);
    }
    n->a = parser_expr(p);
    if (kind != AST_METRIC && !p->panic && parser_accept(p, TOK_COMMA)) {
        if (parser_word(p, "weight"))
            parser_advance(p);
        else
            parser_unexpected(p, "`weight = ...`", NULL);
        if (parser_expect(p, TOK_ASSIGN, NULL)) n->b = parser_expr(p);
    }
    return end(p, n);
}

static Ast *parse_stray_else(Parser *p) {
    Ast *n = begin(p, AST_BAD);
    parser_error(p, parser_span(p), D_misplaced_else, "`else` follows no `if`");
    if (parser_ahead(p)->kind == TOK_NAME && !parser_ahead(p)->newline) {
        parser_advance(p);
        parse_if_tail(p, n);
    } else {
        parser_advance(p);
        parse_block(p, n, parse_statement, "`else`");
    }
    n->kind = AST_BAD;
    return end(p, n);
}

static void skip_line(Parser *p) {
    do parser_advance(p);
    while (!p->tok.newline && p->tok.kind != TOK_EOF);
}

static Ast *parse_expression_statement(Parser *p) {
    Ast *n = begin(p, AST_EXPR);
    static const char *const keywords[] = {"param", "state", "update", "for", "if",
                                           "loss",  "aux",   "metric", "else"};
    bool two_names = p->tok.kind == TOK_NAME && !parser_reserved(p, &p->tok) &&
                     parser_ahead(p)->kind == TOK_NAME && !parser_ahead(p)->newline &&
                     !parser_reserved(p, parser_ahead(p));
    if (two_names) {
        const char *meant = spell_suggest(parser_text(p, &p->tok), keywords,
                                          (int)(sizeof keywords / sizeof *keywords));
        if (meant)
            parser_unexpected(p, "a statement",
                              arena_printf(p->arena, "did you mean `%s`?", meant));
    }
    if (!p->panic) n->a = parser_expr(p);
    return end(p, n);
}

static bool bind_starts(Parser *p) {
    if (p->tok.kind != TOK_NAME) return false;
    switch (parser_ahead(p)->kind) {
    case TOK_ASSIGN:
    case TOK_COMMA:
    case TOK_WALRUS:
    case TOK_ARROW:
    case TOK_FAT_ARROW:
    case TOK_ADD_ASSIGN:
    case TOK_SUB_ASSIGN:
    case TOK_MUL_ASSIGN:
    case TOK_DIV_ASSIGN: return !parser_ahead(p)->newline;
    default: return false;
    }
}

/* A word of another language at the start of a statement. Returns whether the rest can be parsed.
 */
static bool skip_foreign(Parser *p) {
    const char *hint = parser_foreign_hint(p);
    const Token *next = parser_ahead(p);
    if (!hint || next->newline || next->kind == TOK_LPAREN || next->kind == TOK_PIPE) return false;
    parser_error(p, parser_span(p), D_foreign_keyword, "unknown word %s; %s", parser_found(p),
                 hint);
    bool binds = parser_word(p, "let") || parser_word(p, "var") || parser_word(p, "const") ||
                 parser_word(p, "return");
    if (!binds) p->panic = true;
    parser_advance(p);
    p->stmt_start = p->tok.start;
    return true;
}

static Ast *parse_foreign_block(Parser *p) {
    Ast *n = begin(p, AST_BAD);
    parse_block(p, n, parse_statement, "the head of a block");
    n->kind = AST_BAD;
    return end(p, n);
}

static Ast *parse_statement(Parser *p) {
    p->paren = p->brace = 0;
    if (!p->stop) p->panic = false;
    if (parser_at(p, TOK_IDIV)) {
        Ast *n = parser_bad(p);
        parser_error(p, parser_span(p), D_wrong_comment, "comments start with `#`, found `//`");
        skip_line(p);
        return n;
    }
    if (bind_starts(p) && !(parser_reserved(p, &p->tok))) return parse_bind(p);
    if (parser_word(p, "param")) return parse_weight(p, AST_WEIGHT);
    if (parser_state_word(p)) {
        return parser_word(p, "state") ? parse_weight(p, AST_STATE) : parse_update(p);
    }
    if (parser_word(p, "for")) return parse_for(p);
    if (parser_word(p, "if")) return parse_if(p);
    if (parser_word(p, "loss")) return parse_loss(p, AST_LOSS);
    if (parser_word(p, "aux")) return parse_loss(p, AST_AUX);
    if (parser_word(p, "metric")) return parse_loss(p, AST_METRIC);
    if (parser_word(p, "else")) return parse_stray_else(p);
    if (bind_starts(p)) return parse_bind(p);
    if (p->tok.kind == TOK_NAME && skip_foreign(p))
        return p->panic ? parse_foreign_block(p) : parse_statement(p);
    return parse_expression_statement(p);
}

/* ---- declarations ---------------------------------------------------------------------------- */

static Ast *parse_field(Parser *p, bool any_name) {
    p->paren = p->brace = 0;
    if (!p->stop) p->panic = false;
    Ast *n = begin(p, AST_FIELD);
    if (any_name && p->tok.kind == TOK_NAME) {
        n->name = parser_text(p, &p->tok);
        parser_advance(p);
    } else {
        n->name = parser_name(p, "a field `name = value`", &n->name_span);
    }
    if (!p->panic && parser_at(p, TOK_COLON)) {
        parser_error(p, parser_span(p), D_wrong_operator,
                     "expected `=` after `%.40s`, found `:`; fields are written `name = value`",
                     n->name);
        parser_advance(p);
    } else if (!p->panic) {
        expect_assign(p, n->name);
    }
    if (!p->panic) n->a = parser_expr(p);
    if (!p->panic && parser_at(p, TOK_COMMA)) {
        parser_error(
            p, parser_span(p), D_unexpected_token,
            "expected the end of the field, found `,`; fields are separated by `;` or a new line");
        p->tok.kind = TOK_SEMICOLON;
    }
    return end(p, n);
}

static Ast *parse_config_field(Parser *p) {
    return parse_field(p, false);
}
static Ast *parse_train_field(Parser *p) {
    return parse_field(p, true);
}

static Ast *parse_param(Parser *p) {
    Ast *n = parser_node(p, AST_PARAM);
    n->name = parser_name(p, "a parameter", &n->name_span);
    if (!p->panic && parser_accept(p, TOK_COLON)) n->type = parser_type(p);
    if (!p->panic && parser_accept(p, TOK_ASSIGN)) n->a = parser_expr(p);
    return parser_finish(p, n);
}

/* layer NAME(params) [-> type] block, model NAME(params) [scope NAME] block. */
static Ast *parse_body_declaration(Parser *p, AstKind kind) {
    Ast *n = begin(p, kind);
    const char *what = kind == AST_LAYER ? "layer" : "model";
    parser_advance(p);
    n->name = parser_name(p, arena_printf(p->arena, "the name of a %s", what), &n->name_span);
    if (!p->panic && parser_at(p, TOK_LPAREN)) {
        AstList l = {0};
        parser_elements(p, NULL, &l, parse_param, "a parameter");
        n->param = l.items;
        n->nparam = l.n;
    } else {
        parser_unexpected(p, arena_printf(p->arena, "`(` and the parameters of the %s", what),
                          NULL);
    }
    if (!p->panic && parser_at(p, TOK_ARROW)) {
        if (kind == AST_MODEL)
            parser_error(
                p, parser_span(p), D_unexpected_token,
                "expected `{` after the parameters, found `->`; a model has losses, no result");
        parser_advance(p);
        n->type = parser_type(p);
    }
    if (!p->panic && kind == AST_MODEL && parser_word(p, "scope")) {
        Span s;
        parser_advance(p);
        n->text = parser_name(p, "the name that the weights begin with", &s);
    }
    const char *before = n->type ? "the result type" : n->text ? "the scope" : "the parameters";
    parse_block(p, n, parse_statement, before);
    return n;
}

static Ast *parse_use(Parser *p) {
    Ast *n = begin(p, AST_USE);
    parser_advance(p);
    if (parser_at(p, TOK_STRING)) {
        n->text = p->tok.text;
        n->name_span = parser_span(p);
        parser_advance(p);
    } else {
        parser_unexpected(p, "a path in quotes", "write use \"std/vit\"");
    }
    return n;
}

static Ast *parse_config(Parser *p) {
    Ast *n = begin(p, AST_CONFIG);
    parser_advance(p);
    parse_block(p, n, parse_config_field, "`config`");
    return n;
}

static Ast *parse_train(Parser *p) {
    Ast *n = begin(p, AST_TRAIN);
    parser_advance(p);
    n->name = parser_name(p, "the name of a model", &n->name_span);
    if (!p->panic && parser_word(p, "of")) {
        parser_advance(p);
        Ast *model = begin(p, AST_NAME);
        model->name = parser_name(p, "the name of a model", &model->name_span);
        model->span = model->name_span;
        n->a = model;
    }
    if (!p->panic && parser_word(p, "from")) {
        parser_advance(p);
        Span s;
        n->text = parser_name(p, "the name of a model", &s);
    }
    parse_block(p, n, parse_train_field, "the model's name");
    return n;
}

static Ast *not_a_declaration(Parser *p) {
    Ast *n = begin(p, AST_BAD);
    const char *hint = parser_foreign_hint(p);
    static const char *const words[] = {"use", "config", "layer", "model", "train"};
    if (parser_at(p, TOK_RBRACE) || parser_at(p, TOK_RPAREN) || parser_at(p, TOK_RBRACKET)) {
        parser_error(p, parser_span(p), D_stray_brace, "%s closes nothing", parser_found(p));
    } else if (parser_at(p, TOK_IDIV)) {
        parser_error(p, parser_span(p), D_wrong_comment, "comments start with `#`, found `//`");
        skip_line(p);
        return n;
    } else if (hint) {
        parser_error(p, parser_span(p), D_foreign_keyword, "unknown word `%s`; %s",
                     parser_text(p, &p->tok), hint);
    } else {
        const char *meant =
            p->tok.kind != TOK_NAME ? NULL : spell_suggest(parser_text(p, &p->tok), words, 5);
        bool known = p->tok.repaired || p->prev_repaired;
        int len = p->tok.end - p->tok.start;
        Diag *x = known ? NULL
                        : parser_error(p, parser_span(p), D_unexpected_token,
                                       "expected a declaration (use, config, layer, model or "
                                       "train), found `%.*s`%s%s%s",
                                       len > 40 ? 40 : len, p->src->text + p->tok.start,
                                       meant ? "; did you mean `" : "", meant ? meant : "",
                                       meant ? "`?" : "");
        if (x && p->tok.col > 0 && p->last_close.src)
            diag_note(p->diags, x, p->last_close,
                      "the declaration before ends here; is this `}` one too many?");
    }
    p->panic = true;
    return n;
}

static Ast *parse_declaration(Parser *p) {
    if (parser_word(p, "use")) return parse_use(p);
    if (parser_word(p, "config")) return parse_config(p);
    if (parser_word(p, "layer")) return parse_body_declaration(p, AST_LAYER);
    if (parser_word(p, "model")) return parse_body_declaration(p, AST_MODEL);
    if (parser_word(p, "train")) return parse_train(p);
    if (parser_word(p, "def") && parser_ahead(p)->kind == TOK_NAME) {
        parser_error(p, parser_span(p), D_foreign_keyword, "unknown word `def`; %s",
                     parser_foreign_hint(p));
        p->panic = true; /* the head is likely foreign too; the body may well be right */
        return parse_body_declaration(p, AST_LAYER);
    }
    return not_a_declaration(p);
}

/* Declarations stand on lines of their own. */
static void end_declaration(Parser *p, Ast *n) {
    bool block = n->kind != AST_USE;
    if (!p->panic && !parser_at(p, TOK_SEMICOLON) && !p->unclosed && !parser_line_ended(p) &&
        !parser_at(p, TOK_RBRACE))
        parser_unexpected(p, "the end of the line", NULL);
    const char **trailing = block ? &n->trailing_end : &n->trailing;
    *trailing = parser_take_trailing(p);
    while (parser_accept(p, TOK_SEMICOLON))
        if (!*trailing) *trailing = parser_take_trailing(p);
}

Ast *parse_file(Arena *a, const Source *src, Diags *d) {
    Parser *p = ARENA_NEW(a, Parser);
    *p = (Parser){.arena = a, .src = src, .diags = d};
    lex_init(&p->lex, a, src, d);
    p->tok = lex_next(&p->lex);
    Ast *file = parser_node(p, AST_FILE);
    file->span = (Span){src, 0, (int)src->len};
    AstList l = {0};
    while (p->tok.kind != TOK_EOF) {
        if (parser_accept(p, TOK_SEMICOLON)) continue;
        int before = p->tok.start;
        p->stmt_col = p->tok.col;
        p->stmt_start = before;
        p->unclosed = false;
        p->suspect = (Span){0};
        Ast *n = parser_finish(p, parse_declaration(p));
        parser_hoist(p, n);
        end_declaration(p, n);
        bool line = n->kind == AST_USE;
        if (p->panic) n->kind = AST_BAD;
        parser_list_add(p, &l, n);
        if (p->tok.start == before) parser_advance(p);
        if (p->panic && line)
            parser_sync_statement(p);
        else if (p->panic)
            parser_sync_declaration(p);
    }
    file->kid = l.items;
    file->nkid = l.n;
    parser_take_end(p, file, false);
    return file;
}
