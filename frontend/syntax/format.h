/* Shared by the formatter's two files: text that knows its column, and expressions. */
#ifndef VMOEC_FRONTEND_SYNTAX_FORMAT_H
#define VMOEC_FRONTEND_SYNTAX_FORMAT_H

#include "frontend/syntax/ast.h"

enum { FMT_COLUMNS = 100, FMT_INDENT = 2 };

typedef struct Formatter {
    Text *text;
    int column;  /* characters since the start of the line */
    int indent;  /* of the current block */
    int limit;   /* columns; flat text beyond it sets overflow */
    int reserve; /* columns to keep free behind the expression, for what follows it on the line */
    bool flat;   /* never break lines */
    bool overflow;
} Formatter;

void fmt_add(Formatter *f, const char *s);
void fmt_string(Formatter *f, const char *contents);
void fmt_expr(Formatter *f, const Ast *n, int reserve); /* types too */
void fmt_params(Formatter *f, const Ast *n); /* "(a, b: [N]) -> [N]" of a layer or model */

#endif
