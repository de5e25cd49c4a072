/* The syntax tree of a .vmoe file, shared by the parser, the formatter and elaboration. Internal to
 * the front end. Grammar: docs/language.md.
 *
 *   file   := { use | config | layer | model | train }
 *   use    := "use" STRING
 *   config := "config" "{" { NAME "=" expr } "}"
 *   layer  := "layer" NAME "(" params ")" [ "->" type ] block
 *   model  := "model" NAME "(" params ")" [ "scope" NAME ] block
 *   train  := "train" NAME [ "from" NAME ] "{" { NAME "=" expr } "}"
 *   param  := NAME [ ":" type ] [ "=" expr ]
 *   type   := [ "f32" | "i32" | "class" ] "[" [ ".." "," ] [ expr { "," expr } ] "]"
 *   block  := "{" { stmt } "}"
 *   stmt   := NAME { "," NAME } "=" expr
 *           | "param" NAME ":" type "=" expr            a learned weight and its initialiser
 *           | "state" NAME ":" type "=" expr            a state and its initialiser
 *           | "update" NAME "=" expr                    what the state becomes
 *           | "for" NAME "in" expr [ ".." expr ] [ "same_init" ] block
 *           | "if" expr block [ "else" ( block | if ) ]
 *           | ( "loss" | "aux" | "metric" ) [ NAME "=" ] expr [ "," "weight" "=" expr ]
 *           | expr                                      last statement: the layer's result
 *   expr   := "if" expr "{" expr "}" "else" ( "{" expr "}" | if-expr ) | pipe
 *   pipe   := or { "|>" NAME "(" args ")" }             the value becomes the first argument
 *   or     := and { "or" and } ; and := not { "and" not } ; not := [ "not" ] cmp
 *   cmp    := sum [ ("=="|"!="|"<"|"<="|">"|">=") sum ]
 *   sum    := term { ("+"|"-") term } ; term := unary { ("*"|"/"|"//"|"%") unary }
 *   unary  := [ "-" ] post ; post := atom { "[" expr "]" }
 *   atom   := NUMBER [ "epoch" | "epochs" | "step" | "steps" ] | STRING | "true" | "false" | NAME
 *           | NAME "(" args ")" | "[" [ expr { "," expr } ] "]" | "(" expr ")"
 *   args   := [ arg { "," arg } ] ; arg := [ NAME "=" ] expr
 *
 * ".." in a type stands for any leading dimensions. "state" and "update" are words of the language
 * only where a statement begins with them and a name follows, "scope" only where it stands above.
 *
 * Statements end at a newline, ";" or the closing brace. Newlines inside ( ) and [ ], after a
 * binary operator, "," or "=", and before "|>" or "else" do not end a statement. A "," may stand
 * before the closing bracket of params, args, lists and types. */
#ifndef VMOEC_FRONTEND_SYNTAX_AST_H
#define VMOEC_FRONTEND_SYNTAX_AST_H

#include "frontend/syntax/diag.h"

typedef enum AstKind {
    /* top level */
    AST_FILE,   /* kid: declarations */
    AST_USE,    /* text: path */
    AST_CONFIG, /* kid: AST_FIELD */
    AST_LAYER,  /* name; param; type or NULL; kid: statements */
    AST_MODEL,  /* name; param; text: scope or NULL; kid: statements */
    AST_TRAIN,  /* name: phase; a: "of" model or NULL; text: "from" model or NULL; kid: AST_FIELD */
    AST_FIELD,  /* name; a: value */
    AST_PARAM,  /* formal parameter: name; type or NULL; a: default or NULL */
    AST_TYPE,   /* name: "f32" "i32" "class" or NULL; kid: dimensions; a leading ".." is an AST_NAME
                   ".." */
    /* statements */
    AST_BIND,   /* kid: AST_NAME targets; a: value */
    AST_WEIGHT, /* name; type; a: initialiser */
    AST_STATE,  /* the same of a state */
    AST_UPDATE, /* name; a: what the state becomes */
    AST_FOR,   /* name; a: from, or a list; b: to (exclusive), NULL: over a list; op: "same_init" or
                  NULL; kid: body */
    AST_IF,    /* a: condition; kid: then; other: else statements (AST_BLOCK) or NULL */
    AST_BLOCK, /* kid: statements */
    AST_LOSS,  /* name or NULL; a: value; b: weight or NULL */
    AST_AUX,   /* same */
    AST_METRIC, /* name or NULL; a: value */
    AST_EXPR,   /* a: expression as a statement */
    /* expressions */
    AST_NUMBER, /* num; is_int; text: unit ("epochs", "steps") or NULL; name: as written */
    AST_STRING, /* text: contents without quotes */
    AST_BOOL,   /* num 0 or 1 */
    AST_NAME,   /* name */
    AST_LIST,   /* kid */
    AST_CALL,   /* name; kid: AST_ARG; piped: written as `x |> name(...)`, x is the first kid */
    AST_ARG,    /* name or NULL; a */
    AST_INDEX,  /* a; b: index */
    AST_UNARY,  /* op: "-" or "not"; a */
    AST_BINARY, /* op: "+" "-" "*" "/" "//" "%" "==" "!=" "<" "<=" ">" ">=" "and" "or"; a; b */
    AST_COND,   /* a: condition; b: then; other: else */
    AST_PAREN,  /* a: kept for the formatter */
    AST_BAD     /* a mistake was reported here: stay silent about it */
} AstKind;

/* Walkers may recurse: no tree of a parsed file is higher than this. */
enum { AST_MAX_HEIGHT = 1000 };

typedef struct Ast Ast;
struct Ast {
    AstKind kind;
    Span span;      /* the whole construct */
    Span name_span; /* the name alone, where there is one */
    const char *name, *text, *op;
    double num;
    bool is_int, piped;
    Ast *type, *a, *b, *other;
    Ast **kid;
    int nkid;
    Ast **param; /* AST_LAYER, AST_MODEL: AST_PARAM */
    int nparam;
    /* for the formatter: comment lines standing before the node, the comment ending its line, and
     * whether a blank line stood before. Texts include the '#'; an empty text is a blank line.
     * comment_end: before the closing brace. A piped call's comments are those of its first
     * AST_ARG. */
    const char **comment;
    int ncomment;
    const char *trailing;
    bool blank_before;
    const char **comment_end;
    int ncomment_end;
    const char *trailing_end; /* comment after the closing brace of a block */
    bool on_one_line;         /* a braced block written on one line */
    int height;               /* 1 + the largest height below; at most AST_MAX_HEIGHT */
};

/* Always returns an AST_FILE; mistakes are in d. Nesting deeper than 200 and more than a million
 * nodes are diagnostics. */
Ast *parse_file(Arena *a, const Source *src, Diags *d);

/* Canonical text of a file that parsed without errors. format(parse(format(x))) == format(x). */
void ast_format(Text *t, const Ast *file);

/* Indented dump for `vmoec emit --stage ast`. */
void ast_dump(Text *t, const Ast *node);

#endif
