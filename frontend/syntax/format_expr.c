/* Expressions as canonical text. What fits on the line stays on it; otherwise the outermost
 * construct is broken: pipes one stage a line, arguments and elements one a line, sums behind their
 * operators. Comments between elements force that too. Each attempt to stay flat stops at the end
 * of the line, so time is linear in the text. */
#include "frontend/syntax/format.h"

#include <string.h>

enum { CONTINUATION = 4 };

void fmt_add(Formatter *f, const char *s) {
    if (f->overflow) return;
    text_add(f->text, s);
    for (; *s; s++) {
        if (*s == '\n')
            f->column = 0;
        else if (((unsigned char)*s & 0xC0) != 0x80)
            f->column++;
    }
    if (f->flat && f->column > f->limit) f->overflow = true;
}

void fmt_string(Formatter *f, const char *contents) {
    fmt_add(f, "\"");
    char piece[3] = {0};
    for (const char *s = contents; *s; s++) {
        bool escaped = *s == '"' || *s == '\\' || *s == '\n' || *s == '\t';
        piece[0] = escaped ? '\\' : *s;
        piece[1] = !escaped ? '\0' : *s == '\n' ? 'n' : *s == '\t' ? 't' : *s;
        fmt_add(f, piece);
    }
    fmt_add(f, "\"");
}

static void new_line(Formatter *f, int indent) {
    fmt_add(f, "\n");
    for (int i = 0; i < indent; i++) fmt_add(f, " ");
}

/* ---- flat ------------------------------------------------------------------------------------ */

static void flat(Formatter *f, const Ast *n);

/* Comments need line ends: flat text cannot hold them. */
static void refuse_comments(Formatter *f, const Ast *n) {
    if (n->ncomment || n->trailing || n->ncomment_end) f->overflow = true;
}

static void flat_list(Formatter *f, Ast **items, int n) {
    for (int i = 0; i < n && !f->overflow; i++) {
        if (i) fmt_add(f, ", ");
        refuse_comments(f, items[i]);
        flat(f, items[i]);
    }
}

static void flat_call(Formatter *f, const Ast *n) {
    refuse_comments(f, n);
    int first = 0;
    if (n->piped) {
        refuse_comments(f, n->kid[0]);
        flat(f, n->kid[0]->a);
        fmt_add(f, " |> ");
        first = 1;
    }
    fmt_add(f, n->name);
    fmt_add(f, "(");
    flat_list(f, first ? n->kid + first : n->kid, n->nkid - first);
    fmt_add(f, ")");
}

static void number(Formatter *f, const Ast *n) {
    fmt_add(f, n->name);
    if (!n->text) return;
    bool epochs = strcmp(n->text, "epochs") == 0;
    fmt_add(f, epochs ? (n->num == 1 ? " epoch" : " epochs") : (n->num == 1 ? " step" : " steps"));
}

/* "name: type = value" of params, "name = value" of args. */
static void named(Formatter *f, const Ast *n) {
    if (n->name) fmt_add(f, n->name);
    if (n->type) fmt_add(f, ": ");
    if (n->type) fmt_expr(f, n->type, 1);
    if (n->name && n->a) fmt_add(f, " = ");
    if (n->a) fmt_expr(f, n->a, 1);
}

static void flat_cond(Formatter *f, const Ast *n) {
    fmt_add(f, "if ");
    flat(f, n->a);
    fmt_add(f, " { ");
    flat(f, n->b);
    fmt_add(f, " } else ");
    if (n->other->kind == AST_COND) {
        flat(f, n->other);
        return;
    }
    fmt_add(f, "{ ");
    flat(f, n->other);
    fmt_add(f, " }");
}

static void flat(Formatter *f, const Ast *n) {
    if (f->overflow) return;
    switch (n->kind) {
    case AST_NUMBER: number(f, n); break;
    case AST_STRING: fmt_string(f, n->text); break;
    case AST_BOOL: fmt_add(f, n->num != 0 ? "true" : "false"); break;
    case AST_NAME: fmt_add(f, n->name); break;
    case AST_CALL: flat_call(f, n); break;
    case AST_COND: flat_cond(f, n); break;
    case AST_ARG:
    case AST_PARAM: named(f, n); break;
    case AST_TYPE:
        if (n->name) fmt_add(f, n->name);
        fmt_add(f, "[");
        flat_list(f, n->kid, n->nkid);
        fmt_add(f, "]");
        break;
    case AST_LIST:
        refuse_comments(f, n);
        fmt_add(f, "[");
        flat_list(f, n->kid, n->nkid);
        fmt_add(f, "]");
        break;
    case AST_INDEX:
        flat(f, n->a);
        fmt_add(f, "[");
        flat(f, n->b);
        fmt_add(f, "]");
        break;
    case AST_UNARY:
        fmt_add(f, n->op);
        if (strcmp(n->op, "not") == 0) fmt_add(f, " ");
        flat(f, n->a);
        break;
    case AST_BINARY:
        flat(f, n->a);
        fmt_add(f, " ");
        fmt_add(f, n->op);
        fmt_add(f, " ");
        flat(f, n->b);
        break;
    case AST_PAREN:
        fmt_add(f, "(");
        flat(f, n->a);
        fmt_add(f, ")");
        break;
    default: break;
    }
}

/* Adds n without line ends if that fits. */
static bool try_flat(Formatter *f, const Ast *n) {
    Text scratch = text_new(f->text->arena);
    Formatter s = {
        .text = &scratch, .column = f->column, .limit = FMT_COLUMNS - f->reserve, .flat = true};
    flat(&s, n);
    if (s.overflow) return false;
    fmt_add(f, scratch.data);
    return true;
}

/* ---- broken ---------------------------------------------------------------------------------- */

static void broken(Formatter *f, const Ast *n);

static void comment_lines(Formatter *f, const char **text, int n, int indent) {
    for (int i = 0; i < n; i++) {
        new_line(f, indent);
        fmt_add(f, text[i]);
    }
}

/* Elements one a line between `open` and `close`, each with its comments. */
static void broken_list(Formatter *f, Ast **items, int n, const char *open, const char *close,
                        const Ast *owner) {
    int outer = f->indent;
    fmt_add(f, open);
    f->indent = outer + FMT_INDENT;
    for (int i = 0; i < n; i++) {
        comment_lines(f, items[i]->comment, items[i]->ncomment, f->indent);
        new_line(f, f->indent);
        if (items[i]->kind == AST_ARG || items[i]->kind == AST_PARAM)
            named(f, items[i]);
        else
            fmt_expr(f, items[i], 1);
        fmt_add(f, ",");
        if (!items[i]->trailing) continue;
        fmt_add(f, "  ");
        fmt_add(f, items[i]->trailing);
    }
    if (owner) comment_lines(f, owner->comment_end, owner->ncomment_end, f->indent);
    f->indent = outer;
    if (n > 0 || (owner && owner->ncomment_end)) new_line(f, outer);
    fmt_add(f, close);
}

static bool all_numbers(Ast **items, int n) {
    for (int i = 0; i < n; i++)
        if (items[i]->kind != AST_NUMBER || items[i]->ncomment || items[i]->trailing) return false;
    return n > 0;
}

/* Numbers, as many to a line as fit: tables would be long columns otherwise. */
static void filled_list(Formatter *f, const Ast *list) {
    int outer = f->indent;
    fmt_add(f, "[");
    f->indent = outer + FMT_INDENT;
    for (int i = 0; i < list->nkid; i++) {
        Text item = text_new(f->text->arena);
        Formatter s = {.text = &item, .column = f->indent, .limit = FMT_COLUMNS, .flat = true};
        flat(&s, list->kid[i]);
        bool fits = i > 0 && f->column + 1 + (int)strlen(item.data) + 1 <= FMT_COLUMNS;
        if (fits)
            fmt_add(f, " ");
        else
            new_line(f, f->indent);
        fmt_add(f, item.data);
        fmt_add(f, ",");
    }
    comment_lines(f, list->comment_end, list->ncomment_end, f->indent);
    f->indent = outer;
    new_line(f, outer);
    fmt_add(f, "]");
}

static void broken_args(Formatter *f, const Ast *call, int first) {
    fmt_add(f, call->name);
    broken_list(f, first ? call->kid + first : call->kid, call->nkid - first, "(", ")", call);
}

/* The call of a stage alone, without what is piped into it. */
static void stage(Formatter *f, const Ast *call) {
    Ast alone = *call;
    alone.kid = call->kid + 1;
    alone.nkid = call->nkid - 1;
    alone.piped = false;
    if (!try_flat(f, &alone)) broken_args(f, call, 1);
}

static void broken_pipe(Formatter *f, const Ast *n) {
    int outer = f->indent;
    const Ast *lhs = n->kid[0]->a;
    if (lhs->kind == AST_CALL && lhs->piped) {
        broken_pipe(f, lhs);
    } else {
        fmt_expr(f, lhs, 0);
    }
    if (n->kid[0]->trailing) {
        fmt_add(f, "  ");
        fmt_add(f, n->kid[0]->trailing);
    }
    f->indent = outer + CONTINUATION;
    comment_lines(f, n->kid[0]->comment, n->kid[0]->ncomment, f->indent);
    new_line(f, f->indent);
    fmt_add(f, "|> ");
    stage(f, n);
    f->indent = outer;
}

static bool same_level(const char *a, const char *b) {
    static const char *const levels[] = {" or ", " and ", " == != < <= > >= ", " + - ",
                                         " * / // % "};
    char x[8] = " ", y[8] = " ";
    strcat(strncat(x, a, 4), " ");
    strcat(strncat(y, b, 4), " ");
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++)
        if (strstr(levels[i], x)) return strstr(levels[i], y) != NULL;
    return false;
}

/* a + b + c: operands one a line, the operators at the line ends. */
static void broken_chain(Formatter *f, const Ast *n) {
    int outer = f->indent;
    if (n->a->kind == AST_BINARY && same_level(n->a->op, n->op))
        broken_chain(f, n->a);
    else
        fmt_expr(f, n->a, 1 + (int)strlen(n->op));
    fmt_add(f, " ");
    fmt_add(f, n->op);
    f->indent = outer + CONTINUATION;
    new_line(f, f->indent);
    fmt_expr(f, n->b, f->reserve);
    f->indent = outer;
}

static void broken_branch(Formatter *f, const Ast *n) {
    fmt_add(f, "{");
    f->indent += FMT_INDENT;
    new_line(f, f->indent);
    fmt_expr(f, n, 0);
    f->indent -= FMT_INDENT;
    new_line(f, f->indent);
    fmt_add(f, "}");
}

static void broken_cond(Formatter *f, const Ast *n) {
    for (;;) {
        fmt_add(f, "if ");
        fmt_expr(f, n->a, 2);
        fmt_add(f, " ");
        broken_branch(f, n->b);
        fmt_add(f, " else ");
        if (n->other->kind != AST_COND) break;
        n = n->other;
    }
    broken_branch(f, n->other);
}

static void broken(Formatter *f, const Ast *n) {
    switch (n->kind) {
    case AST_CALL:
        if (n->piped)
            broken_pipe(f, n);
        else
            broken_args(f, n, 0);
        break;
    case AST_LIST:
        if (all_numbers(n->kid, n->nkid))
            filled_list(f, n);
        else
            broken_list(f, n->kid, n->nkid, "[", "]", n);
        break;
    case AST_TYPE:
        if (n->name) fmt_add(f, n->name);
        broken_list(f, n->kid, n->nkid, "[", "]", NULL);
        break;
    case AST_BINARY: broken_chain(f, n); break;
    case AST_COND: broken_cond(f, n); break;
    case AST_PAREN:
        fmt_add(f, "(");
        fmt_expr(f, n->a, f->reserve + 1);
        fmt_add(f, ")");
        break;
    case AST_UNARY:
        fmt_add(f, n->op);
        if (strcmp(n->op, "not") == 0) fmt_add(f, " ");
        fmt_expr(f, n->a, f->reserve);
        break;
    case AST_INDEX:
        fmt_expr(f, n->a, f->reserve + 1);
        fmt_add(f, "[");
        fmt_expr(f, n->b, f->reserve + 1);
        fmt_add(f, "]");
        break;
    default: flat(f, n); break; /* names, numbers, strings: longer than a line, and so be it */
    }
}

void fmt_expr(Formatter *f, const Ast *n, int reserve) {
    int outer = f->reserve;
    f->reserve = reserve;
    if (f->flat)
        flat(f, n);
    else if (!try_flat(f, n))
        broken(f, n);
    f->reserve = outer;
}

void fmt_params(Formatter *f, const Ast *n) {
    Text scratch = text_new(f->text->arena);
    Formatter s = {.text = &scratch, .column = f->column, .limit = FMT_COLUMNS - 2, .flat = true};
    fmt_add(&s, "(");
    flat_list(&s, n->param, n->nparam);
    fmt_add(&s, ")");
    if (n->type) {
        fmt_add(&s, " -> ");
        flat(&s, n->type);
    }
    const char *scope = n->kind == AST_MODEL ? n->text : NULL;
    if (scope) {
        fmt_add(&s, " scope ");
        fmt_add(&s, scope);
    }
    if (!s.overflow) {
        fmt_add(f, scratch.data);
        return;
    }
    broken_list(f, n->param, n->nparam, "(", ")", NULL);
    if (scope) {
        fmt_add(f, " scope ");
        fmt_add(f, scope);
    }
    if (!n->type) return;
    fmt_add(f, " -> ");
    fmt_expr(f, n->type, 2);
}
