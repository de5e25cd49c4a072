/* What other languages put behind a value: members, methods, modules and slices. There are none
 * here, so that each is one mistake, answered with the line to write. The rest of the statement is
 * dropped: nothing in it is worth a second message. */
#include "frontend/syntax/habits.h"
#include "frontend/syntax/parser.h"

#include <string.h>

enum { MAX_QUOTED = 60 /* bytes of the user's text in an answer */ };

/* The text of a place on one line. */
static const char *quoted(Parser *p, int start, int end) {
    Text t = text_new(p->arena);
    const char *s = p->src->text;
    for (int i = start; i < end; i++) {
        bool blank = strchr(" \t\r\n", s[i]) != NULL;
        if (t.len == MAX_QUOTED && i < end) return "..";
        if (!blank || (t.len && t.data[t.len - 1] != ' ')) text_addn(&t, blank ? " " : s + i, 1);
    }
    return t.len ? t.data : "";
}

/* ---- members and calls ----------------------------------------------------------------------- */

/* x.mean(1), nn.Linear(3, 4)(x), self.head(x), x.shape[0] */
typedef struct Chain {
    const char *base;  /* what stands before the last dot that counts */
    const char *name;  /* behind it */
    bool module, self; /* what the base is */
    bool called;
    const char **arg; /* of the call; an index counts as one */
    int narg;
    const char *applied; /* what the result was called with, or NULL */
    Ast **item;          /* as they were parsed */
} Chain;

static Ast *parse_given(Parser *p) {
    if (p->tok.kind == TOK_NAME && parser_ahead(p)->kind == TOK_ASSIGN) {
        parser_advance(p);
        parser_advance(p);
    }
    return parser_expr(p);
}

/* The texts of what stands in the brackets that begin here. */
static const char **texts(Parser *p, int *n) {
    AstList l = {0};
    parser_elements(p, NULL, &l, parse_given, "an argument");
    const char **text = ARENA_ARRAY(p->arena, const char *, l.n + 1);
    for (int i = 0; i < l.n; i++) text[i] = quoted(p, l.items[i]->span.start, l.items[i]->span.end);
    *n = l.n;
    return text;
}

static bool follows(Parser *p, TokKind kind) {
    return !p->panic && parser_at(p, kind) && !parser_line_ended(p);
}

static void read_chain(Parser *p, const Ast *base, Chain *c) {
    bool name = base->kind == AST_NAME;
    c->base = quoted(p, base->span.start, p->prev_end);
    c->self = name && !strcmp(base->name, "self");
    c->module = c->self || (name && habit_is_module(base->name));
    do {
        parser_advance(p); /* the dot */
        if (!parser_at(p, TOK_NAME)) return;
        c->name = parser_text(p, &p->tok);
        parser_advance(p);
    } while (c->module && follows(p, TOK_DOT)); /* torch.nn.functional.relu */
    c->called = follows(p, TOK_LPAREN);
    if (!c->called && !follows(p, TOK_LBRACKET)) return;
    c->arg = texts(p, &c->narg);
    int n = 0;
    if (c->called && follows(p, TOK_LPAREN)) {
        const char **x = texts(p, &n);
        c->applied = n ? x[0] : NULL;
    }
}

/* A row for the name, as a class if Python would make it one first. */
static const char *row_answer(Parser *p, const Chain *c) {
    int n = c->narg + !c->module;
    const char **arg = ARENA_ARRAY(p->arena, const char *, n + 1);
    if (!c->module) arg[0] = c->base;
    if (c->narg) memcpy(arg + !c->module, c->arg, (size_t)c->narg * sizeof *arg);
    const Habit *made = c->module ? habit_find(HABIT_CLASS, c->name, n) : NULL;
    if (made) return habit_answer(p->arena, made, c->applied ? c->applied : "x", arg, n);
    const Habit *call = habit_find(HABIT_CALL, c->name, n);
    return call ? habit_answer(p->arena, call, n ? arg[0] : "x", arg, n) : NULL;
}

/* Without a row: the same name, called with the value. */
static const char *plain_answer(Parser *p, const Chain *c) {
    Text t = text_new(p->arena);
    text_addf(&t, "write `%s(%s", c->name, c->module ? "" : c->base);
    for (int i = 0; i < c->narg; i++) text_addf(&t, "%s%s", i || !c->module ? ", " : "", c->arg[i]);
    text_add(&t, ")`");
    return t.data;
}

static const char *answer(Parser *p, const Chain *c) {
    if (!c->name) return "a layer or function is called with the tensor, as in `mean(x)`";
    const char *row = row_answer(p, c);
    if (row) return row;
    if (c->self && !c->called) return arena_printf(p->arena, "write `%s`", c->name);
    if (c->called && !c->applied) return plain_answer(p, c);
    return "a layer or function is called with the tensor, as in `linear(x, 5)`";
}

/* The current token is the dot behind `base`. */
Ast *parser_member(Parser *p, Ast *base) {
    Chain c = {0};
    Span at = {p->src, base->span.start, p->tok.end};
    Diags *diags = p->diags;
    bool known = p->panic || p->stop;
    p->diags = diags_create(p->arena); /* what is wrong inside is not worth a second message */
    read_chain(p, base, &c);
    p->diags = diags;
    at.end = p->prev_end > at.end ? p->prev_end : at.end;
    const char *what = c.self     ? "layers have no `self`"
                       : c.module ? "there are no modules"
                                  : "values have no members";
    if (!known) diag_error(diags, at, D_foreign_habit, "%s: %s", what, answer(p, &c));
    p->panic = true;
    return parser_bad(p);
}

/* ---- indices --------------------------------------------------------------------------------- */

/* One part of x[:, 0, a:b]: AST_LIST of from and to, which may be missing, or a plain index. */
Ast *parser_index_part(Parser *p) {
    Ast *n = parser_node(p, AST_LIST);
    if (parser_at(p, TOK_ELLIPSIS)) {
        n->name = "..";
        parser_advance(p);
        return parser_finish(p, n);
    }
    if (!parser_at(p, TOK_COLON)) n->a = parser_expr(p);
    if (!parser_at(p, TOK_COLON)) return n->a;
    n->name = ":";
    while (parser_accept(p, TOK_COLON))
        if (!parser_at(p, TOK_COMMA) && !parser_at(p, TOK_RBRACKET) && !parser_at(p, TOK_COLON))
            n->b = parser_expr(p);
    return parser_finish(p, n);
}

static bool is_part(const Ast *x, const char *name) {
    return x->kind == AST_LIST && x->name && !strcmp(x->name, name);
}

static bool takes_all(const Ast *x) {
    return is_part(x, ":") && !x->a && !x->b;
}

static const char *text_of(Parser *p, const Ast *x) {
    return quoted(p, x->span.start, x->span.end);
}

/* slice(x, axis = 1, start = a, size = b - a) */
static const char *slice_of(Parser *p, const char *x, int axis, const Ast *part) {
    bool range = is_part(part, ":");
    const char *from = !range ? text_of(p, part) : part->a ? text_of(p, part->a) : "0";
    const char *size = "1";
    if (range) {
        const char *to =
            part->b ? text_of(p, part->b) : arena_printf(p->arena, "dim(%s, %d)", x, axis);
        size = part->a ? arena_printf(p->arena, "%s - %s", to, from) : to;
    }
    return arena_printf(p->arena, "slice(%s, axis = %d, start = %s, size = %s)", x, axis, from,
                        size);
}

static bool is_none(const Ast *x) {
    return x->kind == AST_NAME && (!strcmp(x->name, "None") || !strcmp(x->name, "newaxis"));
}

bool parser_is_slice(Ast *const *part, int n) {
    for (int i = 0; i < n; i++)
        if (is_part(part[i], ":") || is_part(part[i], "..") || is_none(part[i])) return true;
    return n > 1;
}

void parser_slice_error(Parser *p, const Ast *x, Ast *const *part, int n) {
    const char *value = text_of(p, x);
    int spread = -1;
    bool adds = false;
    for (int i = 0; i < n; i++) {
        if (is_part(part[i], "..")) spread = i;
        adds |= is_none(part[i]);
    }
    const char *line = value;
    for (int i = 0; i < n && !adds; i++) /* behind "..", dimensions count from the end */
        if (!takes_all(part[i]) && i != spread)
            line = slice_of(p, line, spread >= 0 && i > spread ? i - n : i, part[i]);
    if (adds) line = arena_printf(p->arena, "reshape(%s, [..])", value);
    Span at = {p->src, x->span.start, p->prev_end};
    if (!p->panic && !p->stop)
        diag_error(p->diags, at, D_foreign_habit, "a tensor is not indexed: write `%s`%s", line,
                   adds ? " with a 1 where the new dimension is"
                        : "; it keeps the dimension, which `reshape` removes");
    p->panic = true;
}
