/* Shared by the parser's files only: the parser's state, its tokens, messages and recovery
 * (parser_core.c), expressions (parser_expr.c), what
 * others write in their place (parser_foreign.c), statements and declarations (parser.c).
 *
 * Recovery: the first mistake in a statement sets `panic`; every function then returns at once with
 * AST_BAD, no further message is made, and the statement loop skips to the next statement. Mistakes
 * whose repair is obvious (`:=`, a missing comma) are reported without panic. */
#ifndef VMOEC_FRONTEND_SYNTAX_PARSER_H
#define VMOEC_FRONTEND_SYNTAX_PARSER_H

#include "frontend/syntax/ast.h"
#include "frontend/syntax/lexer.h"

typedef struct Parser {
    Arena *arena;
    const Source *src;
    Diags *diags;
    Lexer lex;
    Token tok, ahead;
    bool has_ahead;
    bool prev_repaired; /* the previous token came with a mistake: what follows may look odd */
    int prev_end;
    int paren;      /* open ( and [ in this statement: inside them newlines mean nothing */
    int brace;      /* open { of expressions in this statement */
    int depth;      /* nesting of blocks and expressions */
    int stmt_col;   /* column of the statement's first token */
    int stmt_start; /* its offset */
    int nodes;
    bool panic, stop, unclosed;
    Span suspect;    /* a block whose closing brace stands in an odd column */
    Span last_close; /* the last closing brace of a block */
    const char **pending;
    int npending; /* comments not yet given to a node */
} Parser;

typedef struct AstList {
    Ast **items;
    int n, cap;
} AstList;

/* ---- parser_core.c: tokens */
void parser_advance(Parser *p);
const Token *parser_ahead(Parser *p);
bool parser_word(const Parser *p, const char *word);
bool parser_at(const Parser *p, TokKind kind);
bool parser_accept(Parser *p, TokKind kind);
Span parser_span(const Parser *p); /* of the current token */
char *parser_text(const Parser *p, const Token *t);
bool parser_line_ended(const Parser *p); /* before the current token, where that ends a statement */

/* nodes */
Ast *parser_node(Parser *p, AstKind kind); /* starts at the current token */
Ast *parser_finish(Parser *p, Ast *n);     /* ends at the previous token; AST_BAD when too high */
Ast *parser_bad(Parser *p);
void parser_list_add(Parser *p, AstList *l, Ast *n);
bool parser_enter(Parser *p); /* false: too deep, reported; otherwise pair with parser_leave */
void parser_leave(Parser *p);

/* messages; both return NULL when nothing was added. unexpected and expect set panic */
Diag *parser_error(Parser *p, Span s, DiagId id, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
Diag *parser_unexpected(Parser *p, const char *expected, const char *hint);
bool parser_expect(Parser *p, TokKind kind, const char *hint);
const char *
parser_found(const Parser *p); /* the current token as prose: "'x'", "the end of the line" */
bool parser_reserved(const Parser *p, const Token *t);
const char *parser_foreign_hint(const Parser *p);
/* A name that is no keyword; *span is its place. NULL after reporting. */
const char *parser_name(Parser *p, const char *what, Span *span);

/* recovery */
bool parser_declaration_starts(Parser *p);
bool parser_statement_starts(Parser *p); /* a line that can only be a new statement, or the end */
/* `state` or `update` before a name: elsewhere they are names themselves */
bool parser_state_word(Parser *p);
bool parser_line_aligned(const Parser *p); /* a line no further right than the statement */
void parser_sync_statement(Parser *p);
void parser_sync_declaration(Parser *p);
void parser_skip_to_brace(Parser *p);

/* comments */
void parser_take_lead(Parser *p, Ast *n, bool elements);
const char *parser_take_trailing(Parser *p);
void parser_take_end(Parser *p, Ast *n, bool elements);
void parser_hoist(Parser *p, Ast *n);

/* ---- parser_expr.c */
Ast *parser_expr(Parser *p);
Ast *parser_type(Parser *p);
/* Elements up to and with the closing bracket; the current token is the opening one. */
void parser_elements(Parser *p, Ast *owner, AstList *out, Ast *(*element)(Parser *),
                     const char *what);

/* ---- parser_foreign.c */
/* What stands behind the dot that the current token is: reported; panic. */
Ast *parser_member(Parser *p, Ast *base);
/* A part of an index as Python has it; whether several are a slice of a tensor, which is reported
 * with what to write: panic. */
Ast *parser_index_part(Parser *p);
bool parser_is_slice(Ast *const *part, int n);
void parser_slice_error(Parser *p, const Ast *x, Ast *const *part, int n);

#endif
