/* The tree as indented text, for `vmoec emit --stage ast`: one node a line, its role before the
 * kind where the position does not tell. Without places and comments, so that two trees can be
 * compared. */
#include "frontend/syntax/ast.h"

static const char *const kind_names[] = {
    [AST_FILE] = "file",     [AST_USE] = "use",       [AST_CONFIG] = "config",
    [AST_LAYER] = "layer",   [AST_MODEL] = "model",   [AST_TRAIN] = "train",
    [AST_FIELD] = "field",   [AST_PARAM] = "param",   [AST_TYPE] = "type",
    [AST_BIND] = "bind",     [AST_WEIGHT] = "weight", [AST_STATE] = "state",
    [AST_UPDATE] = "update", [AST_FOR] = "for",       [AST_IF] = "if",
    [AST_BLOCK] = "block",   [AST_LOSS] = "loss",     [AST_AUX] = "aux",
    [AST_METRIC] = "metric", [AST_EXPR] = "expr",     [AST_NUMBER] = "number",
    [AST_STRING] = "string", [AST_BOOL] = "bool",     [AST_NAME] = "name",
    [AST_LIST] = "list",     [AST_CALL] = "call",     [AST_ARG] = "arg",
    [AST_INDEX] = "index",   [AST_UNARY] = "unary",   [AST_BINARY] = "binary",
    [AST_COND] = "cond",     [AST_PAREN] = "paren",   [AST_BAD] = "bad",
};

static void dump_quoted(Text *t, const char *s) {
    text_add(t, " \"");
    for (; *s; s++) {
        if (*s == '"' || *s == '\\') text_add(t, "\\");
        if (*s == '\n')
            text_add(t, "\\n");
        else
            text_addn(t, s, 1);
    }
    text_add(t, "\"");
}

static void dump(Text *t, const Ast *n, int indent, const char *role) {
    for (int i = 0; i < indent; i++) text_add(t, "  ");
    if (role) text_addf(t, "%s: ", role);
    text_add(t, kind_names[n->kind]);
    if (n->op) text_addf(t, " %s", n->op);
    if (n->name) {
        text_add(t, " ");
        text_add(t, n->name);
    }
    if (n->kind == AST_BOOL) text_add(t, n->num != 0 ? " true" : " false");
    if (n->kind == AST_TRAIN && n->text)
        text_addf(t, " from %s", n->text);
    else if (n->kind == AST_MODEL && n->text)
        text_addf(t, " scope %s", n->text);
    else if (n->kind == AST_NUMBER && n->text)
        text_addf(t, " %s", n->text);
    else if (n->text)
        dump_quoted(t, n->text);
    if (n->piped) text_add(t, " piped");
    text_add(t, "\n");
    for (int i = 0; i < n->nparam; i++) dump(t, n->param[i], indent + 1, NULL);
    if (n->type) dump(t, n->type, indent + 1, NULL);
    bool range = n->kind == AST_FOR, targets = n->kind == AST_BIND;
    for (int i = 0; i < n->nkid && targets; i++) dump(t, n->kid[i], indent + 1, NULL);
    if (n->a)
        dump(t, n->a, indent + 1,
             range                                      ? (n->b ? "from" : "over")
             : n->kind == AST_IF || n->kind == AST_COND ? "if"
                                                        : NULL);
    if (n->b)
        dump(t, n->b, indent + 1,
             range                   ? "to"
             : n->kind == AST_COND   ? "then"
             : n->kind == AST_INDEX  ? "at"
             : n->kind == AST_BINARY ? NULL
                                     : "weight");
    for (int i = 0; i < n->nkid && !targets; i++) dump(t, n->kid[i], indent + 1, NULL);
    if (n->other) dump(t, n->other, indent + 1, "else");
}

void ast_dump(Text *t, const Ast *node) {
    dump(t, node, 0, NULL);
}
