/* Tokens of a .vmoe file. Internal to the front end: the parser and its tests use it.
 *
 * Newlines are no tokens: each token says whether a line ended before it, and the parser decides
 * from the brackets around it whether that ends a statement. Words are all TOK_NAME; the parser
 * knows which are keywords where. Comments ride on the token after them, for the formatter. */
#ifndef VMOEC_FRONTEND_SYNTAX_LEXER_H
#define VMOEC_FRONTEND_SYNTAX_LEXER_H

#include "frontend/syntax/diag.h"

/* TOKEN(kind, spelling): the fixed spellings; longest match wins, so longer ones come first. */
#define LEXER_PUNCTUATION(TOKEN)                                                                   \
    TOKEN(ELLIPSIS, "...")                                                                         \
    TOKEN(PIPE, "|>")                                                                              \
    TOKEN(ARROW, "->")                                                                             \
    TOKEN(RANGE, "..")                                                                             \
    TOKEN(EQ, "==")                                                                                \
    TOKEN(NE, "!=")                                                                                \
    TOKEN(LE, "<=")                                                                                \
    TOKEN(GE, ">=")                                                                                \
    TOKEN(FAT_ARROW, "=>")                                                                         \
    TOKEN(WALRUS, ":=")                                                                            \
    TOKEN(ADD_ASSIGN, "+=")                                                                        \
    TOKEN(SUB_ASSIGN, "-=")                                                                        \
    TOKEN(MUL_ASSIGN, "*=")                                                                        \
    TOKEN(DIV_ASSIGN, "/=")                                                                        \
    TOKEN(POWER, "**")                                                                             \
    TOKEN(AND_AND, "&&")                                                                           \
    TOKEN(OR_OR, "||")                                                                             \
    TOKEN(IDIV, "//")                                                                              \
    TOKEN(LPAREN, "(")                                                                             \
    TOKEN(RPAREN, ")")                                                                             \
    TOKEN(LBRACKET, "[")                                                                           \
    TOKEN(RBRACKET, "]")                                                                           \
    TOKEN(LBRACE, "{")                                                                             \
    TOKEN(RBRACE, "}")                                                                             \
    TOKEN(COMMA, ",")                                                                              \
    TOKEN(SEMICOLON, ";")                                                                          \
    TOKEN(COLON, ":")                                                                              \
    TOKEN(DOT, ".")                                                                                \
    TOKEN(ASSIGN, "=")                                                                             \
    TOKEN(LT, "<")                                                                                 \
    TOKEN(GT, ">")                                                                                 \
    TOKEN(PLUS, "+")                                                                               \
    TOKEN(MINUS, "-")                                                                              \
    TOKEN(STAR, "*")                                                                               \
    TOKEN(SLASH, "/")                                                                              \
    TOKEN(PERCENT, "%")                                                                            \
    TOKEN(BANG, "!")

typedef enum TokKind {
    TOK_EOF,
    TOK_NAME,
    TOK_NUMBER,
    TOK_STRING,
    TOK_BAD, /* a mistake in something that should be a number or string: already reported */
#define TOKEN(kind, spelling) TOK_##kind,
    LEXER_PUNCTUATION(TOKEN)
#undef TOKEN
} TokKind;

typedef struct Token {
    TokKind kind;
    int start, end;    /* bytes [start, end) of the source */
    int col;           /* bytes from the start of its line, from 0 */
    bool newline;      /* a line ended between the previous token and this one */
    bool blank;        /* a blank line stood before the token and its comments */
    bool repaired;     /* a mistake in it or right before it was reported */
    bool is_int;       /* TOK_NUMBER: digits only */
    double num;        /* TOK_NUMBER */
    const char *text;  /* TOK_STRING: contents, escapes resolved */
    const char **lead; /* comments on lines of their own before the token; "" is a blank line */
    int nlead;
    const char *trailing_prev; /* comment that ends the line of the previous token */
} Token;

typedef struct Lexer {
    Arena *arena;
    const Source *src;
    Diags *diags;
    int pos, bol;
    bool no_comment_end; /* there is no "*" "/" in the rest of the text */
} Lexer;

void lex_init(Lexer *l, Arena *a, const Source *src, Diags *d);

/* The next token; TOK_EOF for ever at the end. Mistakes are reported and skipped or repaired. */
Token lex_next(Lexer *l);

/* Spelling of a punctuation token, or NULL. */
const char *lex_spelling(TokKind kind);

#endif
