/* Expressions and types. Requires the machinery of parser_core.c. Recursion is bounded by
 * parser_enter; chains of operators are loops, bounded by the height of their tree. */
#include "frontend/syntax/parser.h"

#include <string.h>

/* ---- elements: args, params, lists, dimensions ----------------------------------------------- */

static bool element_starts(const Parser *p) {
    TokKind k = p->tok.kind;
    if (k != TOK_NAME)
        return k == TOK_NUMBER || k == TOK_STRING || k == TOK_LPAREN || k == TOK_LBRACKET;
    return !parser_reserved(p, &p->tok) || parser_word(p, "if") || parser_word(p, "not") ||
           parser_word(p, "true") || parser_word(p, "false");
}

static void never_closed(Parser *p, int open, TokKind close) {
    parser_error(p, (Span){p->src, open, open + 1}, D_missing_brace,
                 "`%c` is never closed; expected `%s` before %s", p->src->text[open],
                 lex_spelling(close), parser_found(p));
    p->panic = true;
}

static void wrong_closer(Parser *p, int open, TokKind close) {
    char opening = p->src->text[open];
    Diag *x =
        parser_error(p, parser_span(p), D_missing_brace, "expected `%s` to close `%c`, found %s",
                     lex_spelling(close), opening, parser_found(p));
    if (x) diag_note(p->diags, x, (Span){p->src, open, open + 1}, "`%c` is opened here", opening);
}

/* Neither "," nor the closing bracket follows an element. Returns whether the list goes on. */
static bool bad_separator(Parser *p, int open, TokKind close) {
    TokKind k = p->tok.kind;
    if (p->panic) return false;
    if (parser_statement_starts(p) || parser_line_aligned(p) || k == TOK_LBRACE ||
        k == TOK_RBRACE) {
        never_closed(p, open, close);
        return false;
    }
    if (element_starts(p)) {
        parser_error(p, parser_span(p), D_missing_comma, "expected `,` or `%s`, found %s",
                     lex_spelling(close), parser_found(p));
        return true;
    }
    if (k != TOK_RPAREN && k != TOK_RBRACKET)
        parser_unexpected(p, arena_printf(p->arena, "`,` or `%s`", lex_spelling(close)), NULL);
    return false;
}

static void take_element_trailing(Parser *p, Ast *e) {
    if (!e->trailing) e->trailing = parser_take_trailing(p);
}

/* One element with its comments and the comma behind it. Returns whether another may follow. */
static bool parse_element(Parser *p, AstList *out, Ast *(*element)(Parser *), int open,
                          TokKind close) {
    Ast lead = {0};
    parser_take_lead(p, &lead, true);
    Ast *e = element(p);
    e->comment = lead.comment;
    e->ncomment = lead.ncomment;
    parser_list_add(p, out, e);
    take_element_trailing(p, e);
    if (parser_at(p, close)) return false;
    if (parser_accept(p, TOK_COMMA)) {
        take_element_trailing(p, e);
        return true;
    }
    return bad_separator(p, open, close);
}

void parser_elements(Parser *p, Ast *owner, AstList *out, Ast *(*element)(Parser *),
                     const char *what) {
    int open = p->tok.start;
    TokKind close = p->tok.kind == TOK_LPAREN ? TOK_RPAREN : TOK_RBRACKET;
    p->paren++;
    parser_advance(p);
    bool more = true;
    while (more && !p->panic && !parser_at(p, close)) {
        TokKind k = p->tok.kind;
        if (k == TOK_RPAREN || k == TOK_RBRACKET) break;
        if (k == TOK_EOF || k == TOK_RBRACE || parser_declaration_starts(p))
            never_closed(p, open, close);
        else if (k == TOK_COMMA)
            parser_unexpected(p, what, NULL);
        else
            more = parse_element(p, out, element, open, close);
    }
    if (p->panic) return;
    if (!parser_at(p, close))
        wrong_closer(p, open, close);
    else if (owner)
        parser_take_end(p, owner, true);
    p->paren--;
    parser_advance(p);
}

/* ---- types ----------------------------------------------------------------------------------- */

static Ast *parse_dimension(Parser *p) {
    if (!parser_at(p, TOK_RANGE)) return parser_expr(p);
    Ast *n = parser_node(p, AST_NAME);
    n->name = "..";
    parser_advance(p);
    return parser_finish(p, n);
}

Ast *parser_type(Parser *p) {
    Ast *n = parser_node(p, AST_TYPE);
    if (parser_word(p, "f32") || parser_word(p, "i32") || parser_word(p, "class")) {
        n->name = parser_text(p, &p->tok);
        parser_advance(p);
    }
    if (!parser_at(p, TOK_LBRACKET)) {
        const char *hint = p->tok.kind == TOK_NAME ? "element types are f32, i32 and class" : NULL;
        parser_unexpected(p, n->name ? "`[` and the dimensions" : "a type such as [B, N, D]", hint);
        return parser_bad(p);
    }
    AstList l = {0};
    parser_elements(p, NULL, &l, parse_dimension, "a dimension");
    n->kid = l.items;
    n->nkid = l.n;
    for (int i = 1; i < l.n; i++)
        if (l.items[i]->kind == AST_NAME && strcmp(l.items[i]->name, "..") == 0)
            parser_error(p, l.items[i]->span, D_unexpected_token,
                         "expected a dimension, found `..`; it stands for leading dimensions and "
                         "comes first");
    return parser_finish(p, n);
}

/* ---- atoms ----------------------------------------------------------------------------------- */

static Ast *parse_argument(Parser *p) {
    Ast *n = parser_node(p, AST_ARG);
    TokKind next = p->tok.kind == TOK_NAME ? parser_ahead(p)->kind : TOK_EOF;
    if (next == TOK_ASSIGN || next == TOK_COLON || next == TOK_WALRUS) {
        n->name = parser_text(p, &p->tok);
        n->name_span = parser_span(p);
        parser_advance(p);
        if (next != TOK_ASSIGN)
            parser_error(p, parser_span(p), D_wrong_operator,
                         "expected `=` after the argument's name, found %s", parser_found(p));
        parser_advance(p);
    }
    n->a = parser_expr(p);
    return parser_finish(p, n);
}

static Ast *parse_number(Parser *p) {
    Ast *n = parser_node(p, AST_NUMBER);
    n->name = parser_text(p, &p->tok);
    n->num = p->tok.num;
    n->is_int = p->tok.is_int;
    parser_advance(p);
    if (!parser_line_ended(p)) {
        bool epochs = parser_word(p, "epoch") || parser_word(p, "epochs");
        bool steps = parser_word(p, "step") || parser_word(p, "steps");
        if (epochs || steps) {
            n->text = epochs ? "epochs" : "steps";
            parser_advance(p);
        }
    }
    return parser_finish(p, n);
}

static Ast *parse_bool(Parser *p, bool value) {
    Ast *n = parser_node(p, AST_BOOL);
    n->num = value;
    parser_advance(p);
    return parser_finish(p, n);
}

static Ast *parse_paren(Parser *p) {
    Ast *n = parser_node(p, AST_PAREN);
    int open = p->tok.start;
    p->paren++;
    parser_advance(p);
    n->a = parser_expr(p);
    if (p->panic) return n;
    TokKind k = p->tok.kind;
    if (k == TOK_RBRACKET) {
        wrong_closer(p, open, TOK_RPAREN);
    } else if (k != TOK_RPAREN) {
        bool unclosed = parser_statement_starts(p) || parser_line_aligned(p) || k == TOK_LBRACE ||
                        k == TOK_RBRACE;
        if (unclosed)
            never_closed(p, open, TOK_RPAREN);
        else
            parser_unexpected(p, "`)`", k == TOK_COMMA ? "lists are written [a, b]" : NULL);
        return n;
    }
    p->paren--;
    parser_advance(p);
    return parser_finish(p, n);
}

static Ast *parse_list(Parser *p) {
    Ast *n = parser_node(p, AST_LIST);
    AstList l = {0};
    parser_elements(p, n, &l, parser_expr, "a list element");
    n->kid = l.items;
    n->nkid = l.n;
    return parser_finish(p, n);
}

static void parse_args(Parser *p, Ast *call, AstList *l) {
    parser_elements(p, call, l, parse_argument, "an argument");
    call->kid = l->items;
    call->nkid = l->n;
}

static bool word_of_value(Parser *p, Ast **value) {
    bool yes = parser_word(p, "true") || parser_word(p, "True");
    if (!yes && !parser_word(p, "false") && !parser_word(p, "False")) return false;
    if (parser_word(p, "True") || parser_word(p, "False"))
        parser_error(p, parser_span(p), D_foreign_keyword, "unknown word %s; write `%s`",
                     parser_found(p), yes ? "true" : "false");
    *value = parse_bool(p, yes);
    return true;
}

static Ast *parse_name(Parser *p) {
    Ast *n = NULL;
    if (word_of_value(p, &n)) return n;
    if (parser_reserved(p, &p->tok)) {
        parser_unexpected(p, "an expression", "it is a keyword");
        return parser_bad(p);
    }
    n = parser_node(p, AST_NAME);
    n->name = parser_text(p, &p->tok);
    parser_advance(p);
    if (parser_at(p, TOK_LPAREN) && !parser_line_ended(p)) {
        n->kind = AST_CALL;
        AstList l = {0};
        parse_args(p, n, &l);
    }
    return parser_finish(p, n);
}

static Ast *parse_cond(Parser *p);

static const char *expression_hint(const Parser *p) {
    switch (p->tok.kind) {
    case TOK_POWER: return "there is no power operator";
    case TOK_PLUS: return "there is no unary `+`";
    case TOK_RANGE: return "ranges stand only in `for i in 0..n`";
    case TOK_LBRACE: return "braces hold blocks, lists are written [a, b]";
    default: return NULL;
    }
}

static Ast *parse_atom(Parser *p) {
    if (p->panic || parser_statement_starts(p)) {
        parser_unexpected(p, "an expression", NULL);
        return parser_bad(p);
    }
    switch (p->tok.kind) {
    case TOK_NUMBER: return parse_number(p);
    case TOK_LPAREN: return parse_paren(p);
    case TOK_LBRACKET: return parse_list(p);
    case TOK_STRING: {
        Ast *n = parser_node(p, AST_STRING);
        n->text = p->tok.text;
        parser_advance(p);
        return parser_finish(p, n);
    }
    case TOK_BAD: {
        Ast *n = parser_bad(p);
        parser_advance(p);
        return n;
    }
    case TOK_NAME:
        if (!parser_word(p, "if")) return parse_name(p);
        parser_error(p, parser_span(p), D_unexpected_token,
                     "expected an operand, found `if`; put the if-expression in parentheses");
        return parse_cond(p);
    default: break;
    }
    parser_unexpected(p, "an expression", expression_hint(p));
    return parser_bad(p);
}

/* ---- operators ------------------------------------------------------------------------------- */

static Ast *parse_index(Parser *p, Ast *n) {
    Ast *x = parser_node(p, AST_INDEX);
    x->span.start = n->span.start;
    x->a = n;
    AstList l = {0};
    Span open = parser_span(p);
    parser_elements(p, NULL, &l, parser_index_part, "an index");
    if (parser_is_slice(l.items, l.n))
        parser_slice_error(p, n, l.items, l.n);
    else if (!p->panic && l.n != 1)
        parser_error(p, span_join(open, (Span){p->src, p->prev_end - 1, p->prev_end}),
                     D_unexpected_token, "expected one index, found %d", l.n);
    x->b = l.n ? l.items[0] : parser_bad(p);
    return parser_finish(p, x);
}

static Ast *parse_postfix(Parser *p) {
    Ast *n = parse_atom(p);
    while (!p->panic && !parser_line_ended(p)) {
        if (parser_at(p, TOK_LBRACKET))
            n = parse_index(p, n);
        else if (parser_at(p, TOK_DOT))
            return parser_member(p, n);
        else
            break;
    }
    return n;
}

static Ast *prefix(Parser *p, const char *op, Ast *(*operand)(Parser *)) {
    Ast *n = parser_node(p, AST_UNARY);
    n->op = op;
    parser_advance(p);
    n->a = operand(p);
    return parser_finish(p, n);
}

static Ast *parse_unary(Parser *p) {
    return parser_at(p, TOK_MINUS) ? prefix(p, "-", parse_postfix) : parse_postfix(p);
}

enum { LEVEL_or, LEVEL_and, LEVEL_cmp, LEVEL_sum, LEVEL_term, LEVEL_unary };

static const struct {
    TokKind tok; /* TOK_NAME: the word `op` */
    int level;
    const char *op;
    const char *wrong; /* what to write instead, for operators of other languages */
} operators[] = {
    {TOK_NAME, LEVEL_or, "or", NULL},
    {TOK_OR_OR, LEVEL_or, "or", "write `or`"},
    {TOK_NAME, LEVEL_and, "and", NULL},
    {TOK_AND_AND, LEVEL_and, "and", "write `and`"},
    {TOK_EQ, LEVEL_cmp, "==", NULL},
    {TOK_NE, LEVEL_cmp, "!=", NULL},
    {TOK_LT, LEVEL_cmp, "<", NULL},
    {TOK_LE, LEVEL_cmp, "<=", NULL},
    {TOK_GT, LEVEL_cmp, ">", NULL},
    {TOK_GE, LEVEL_cmp, ">=", NULL},
    {TOK_PLUS, LEVEL_sum, "+", NULL},
    {TOK_MINUS, LEVEL_sum, "-", NULL},
    {TOK_STAR, LEVEL_term, "*", NULL},
    {TOK_SLASH, LEVEL_term, "/", NULL},
    {TOK_IDIV, LEVEL_term, "//", NULL},
    {TOK_PERCENT, LEVEL_term, "%", NULL},
    {TOK_POWER, LEVEL_term, "*", "there is no power operator, write a product or square(x)"},
};

static int find_operator(const Parser *p, int level) {
    if (p->panic || parser_line_ended(p)) return -1;
    for (int i = 0; i < (int)(sizeof operators / sizeof *operators); i++) {
        if (operators[i].level != level || operators[i].tok != p->tok.kind) continue;
        if (p->tok.kind != TOK_NAME || parser_word(p, operators[i].op)) return i;
    }
    return -1;
}

static Ast *parse_binary(Parser *p, int level);

static Ast *parse_comparison(Parser *p) {
    return parse_binary(p, LEVEL_cmp);
}

/* `not` binds looser than comparisons and tighter than `and`. */
static Ast *parse_not(Parser *p) {
    if (parser_word(p, "not")) return prefix(p, "not", parse_comparison);
    if (!parser_at(p, TOK_BANG)) return parse_comparison(p);
    parser_error(p, parser_span(p), D_wrong_operator, "unknown operator `!`; write `not`");
    return prefix(p, "not", parse_comparison);
}

static Ast *parse_operand(Parser *p, int level) {
    if (level == LEVEL_and) return parse_not(p);
    return level + 1 == LEVEL_unary ? parse_unary(p) : parse_binary(p, level + 1);
}

static Ast *parse_binary(Parser *p, int level) {
    Ast *n = parse_operand(p, level);
    int i, count = 0;
    while ((i = find_operator(p, level)) >= 0) {
        Ast *x = parser_node(p, AST_BINARY);
        if (operators[i].wrong)
            parser_error(p, parser_span(p), D_wrong_operator, "unknown operator %s; %s",
                         parser_found(p), operators[i].wrong);
        if (level == LEVEL_cmp && count++ == 1)
            parser_error(
                p, parser_span(p), D_chained_comparison,
                "comparisons cannot be chained, found %s after another; join two with `and`",
                parser_found(p));
        x->op = operators[i].op;
        x->a = n;
        x->span.start = n->span.start;
        parser_advance(p);
        x->b = parse_operand(p, level);
        n = parser_finish(p, x);
    }
    return n;
}

/* The call behind `|>`; x becomes its first argument and takes the comments around the operator. */
static Ast *parse_stage(Parser *p, Ast *x) {
    Ast *call = parser_node(p, AST_CALL), *arg = parser_node(p, AST_ARG);
    call->piped = true;
    call->span.start = arg->span.start = x->span.start;
    arg->a = x;
    arg->span.end = x->span.end;
    arg->height = x->height + 1;
    arg->trailing = parser_take_trailing(p);
    parser_take_lead(p, arg, true);
    parser_advance(p);
    call->name = parser_name(p, "a layer after `|>`", &call->name_span);
    if (!call->name) return parser_bad(p);
    if (!parser_at(p, TOK_LPAREN) || parser_line_ended(p)) {
        parser_unexpected(
            p, "`(`",
            arena_printf(p->arena, "a pipe leads into a call, such as %.40s()", call->name));
        return parser_bad(p);
    }
    AstList l = {0};
    parser_list_add(p, &l, arg);
    parse_args(p, call, &l);
    return parser_finish(p, call);
}

static Ast *parse_pipe(Parser *p) {
    Ast *n = parse_binary(p, LEVEL_or);
    while (!p->panic && parser_at(p, TOK_PIPE)) n = parse_stage(p, n);
    return n;
}

/* ---- if as a value --------------------------------------------------------------------------- */

/* "{" expr "}". Newlines around the expression mean nothing, inside it they end it. */
static Ast *parse_branch(Parser *p) {
    int open = p->tok.start, paren = p->paren;
    if (!parser_expect(p, TOK_LBRACE, NULL)) return parser_bad(p);
    p->brace++;
    p->paren = 0;
    Ast *n = parser_expr(p);
    if (p->panic) return n;
    if (!parser_at(p, TOK_RBRACE)) {
        bool unclosed = p->tok.kind == TOK_EOF || parser_declaration_starts(p);
        if (unclosed)
            never_closed(p, open, TOK_RBRACE);
        else
            parser_unexpected(p, "`}`",
                              "the branches of an if-expression hold one expression each");
        p->panic = true;
        p->paren += paren;
        return n;
    }
    p->brace--;
    p->paren = paren;
    parser_advance(p);
    return n;
}

static Ast *parse_cond(Parser *p) {
    Ast *n = parser_node(p, AST_COND);
    if (!parser_enter(p)) return n;
    parser_advance(p);
    n->a = parser_expr(p);
    n->b = parse_branch(p);
    if (p->panic) {
        parser_leave(p);
        return n;
    }
    if (!parser_word(p, "else")) {
        parser_error(p, n->span, D_missing_else,
                     "an `if` used as a value needs an `else`, found %s", parser_found(p));
        n->other = parser_bad(p);
    } else {
        parser_advance(p);
        n->other = parser_word(p, "if") ? parse_cond(p) : parse_branch(p);
    }
    parser_leave(p);
    return parser_finish(p, n);
}

Ast *parser_expr(Parser *p) {
    if (!parser_enter(p)) return parser_bad(p);
    Ast *n = parser_word(p, "if") ? parse_cond(p) : parse_pipe(p);
    parser_leave(p);
    return n;
}
