/* Canonical text: statements, blocks and comments. Requires a file that parsed without errors.
 * Expressions and their line breaks are format_expr.c's. Two spaces of indentation, one blank line
 * where there was any, one around layers, models and train blocks; nothing is aligned or reordered.
 */
#include "frontend/syntax/format.h"

#include <string.h>

static void statement(Formatter *f, const Ast *n);

static void spaces(Formatter *f, int n) {
    for (int i = 0; i < n; i++) fmt_add(f, " ");
}

static void start_line(Formatter *f) {
    if (f->column > 0) fmt_add(f, "\n");
    spaces(f, f->indent);
}

static void blank_line(Formatter *f) {
    if (f->column > 0) fmt_add(f, "\n");
    size_t n = f->text->len;
    if (n < 2 || f->text->data[n - 2] != '\n') fmt_add(f, "\n");
}

/* Comment lines; an empty text is a blank line. */
static void comments(Formatter *f, const char **text, int n) {
    for (int i = 0; i < n; i++) {
        if (*text[i] == '\0') {
            if (f->column > 0 || i > 0) blank_line(f);
            continue;
        }
        start_line(f);
        fmt_add(f, text[i]);
    }
}

/* Of a block or a file, before its end; where nothing else is in it they begin without a blank
 * line. */
static void end_comments(Formatter *f, const Ast *n) {
    if (!n->ncomment_end) return;
    bool leading_blank = n->nkid == 0 && *n->comment_end[0] == '\0';
    comments(f, n->comment_end + leading_blank, n->ncomment_end - leading_blank);
}

static void trailing(Formatter *f, const char *text) {
    if (!text) return;
    fmt_add(f, "  ");
    fmt_add(f, text);
}

/* ---- blocks ---------------------------------------------------------------------------------- */

/* Whether "{ a; b }" says everything: no comments, no blocks inside, and it was written so. */
static bool flat_block(const Ast *n) {
    if (!n->on_one_line || n->trailing || n->ncomment_end) return false;
    for (int i = 0; i < n->nkid; i++) {
        const Ast *k = n->kid[i];
        if (k->ncomment || k->trailing || k->trailing_end || k->kind == AST_FOR ||
            k->kind == AST_IF)
            return false;
    }
    return true;
}

static bool try_flat_block(Formatter *f, const Ast *n) {
    if (!flat_block(n)) return false;
    Text scratch = text_new(f->text->arena);
    Formatter s = {.text = &scratch, .column = f->column, .limit = FMT_COLUMNS, .flat = true};
    fmt_add(&s, "{");
    for (int i = 0; i < n->nkid && !s.overflow; i++) {
        fmt_add(&s, i ? "; " : " ");
        statement(&s, n->kid[i]);
    }
    fmt_add(&s, n->nkid ? " }" : "}");
    if (s.overflow) return false;
    fmt_add(f, scratch.data);
    return true;
}

static void broken_block(Formatter *f, const Ast *n) {
    fmt_add(f, "{");
    trailing(f, n->trailing);
    f->indent += FMT_INDENT;
    for (int i = 0; i < n->nkid; i++) {
        const Ast *k = n->kid[i];
        if (i > 0 && k->blank_before) blank_line(f);
        comments(f, k->comment, k->ncomment);
        start_line(f);
        statement(f, k);
    }
    end_comments(f, n);
    f->indent -= FMT_INDENT;
    start_line(f);
    fmt_add(f, "}");
}

static void block(Formatter *f, const Ast *n) {
    if (!try_flat_block(f, n)) broken_block(f, n);
}

/* ---- statements ------------------------------------------------------------------------------ */

static bool is_else_if(const Ast *other) {
    return other->nkid == 1 && other->kid[0]->kind == AST_IF && !other->kid[0]->ncomment &&
           !other->ncomment_end && !other->trailing && !other->kid[0]->trailing_end;
}

/* An if whose branches are all short stays on one line; if one branch is broken, all are. */
static bool try_flat_if(Formatter *f, const Ast *n) {
    Text scratch = text_new(f->text->arena);
    Formatter s = {.text = &scratch, .column = f->column, .limit = FMT_COLUMNS, .flat = true};
    for (;;) {
        fmt_add(&s, "if ");
        fmt_expr(&s, n->a, 0);
        fmt_add(&s, " ");
        if (s.overflow || !try_flat_block(&s, n)) return false;
        if (!n->other) break;
        fmt_add(&s, " else ");
        if (is_else_if(n->other)) {
            n = n->other->kid[0];
            continue;
        }
        if (!try_flat_block(&s, n->other)) return false;
        break;
    }
    if (s.overflow) return false;
    fmt_add(f, scratch.data);
    return true;
}

static void if_statement(Formatter *f, const Ast *n) {
    if (try_flat_if(f, n)) return;
    for (;;) {
        fmt_add(f, "if ");
        fmt_expr(f, n->a, 2);
        fmt_add(f, " ");
        broken_block(f, n);
        if (!n->other) return;
        fmt_add(f, " else ");
        if (!is_else_if(n->other)) break;
        n = n->other->kid[0];
    }
    broken_block(f, n->other);
}

static void bind(Formatter *f, const Ast *n) {
    for (int i = 0; i < n->nkid; i++) {
        if (i) fmt_add(f, ", ");
        fmt_add(f, n->kid[i]->name);
    }
    fmt_add(f, " = ");
    fmt_expr(f, n->a, 0);
}

static void loss(Formatter *f, const Ast *n, const char *word) {
    fmt_add(f, word);
    fmt_add(f, " ");
    if (n->name) {
        fmt_add(f, n->name);
        fmt_add(f, " = ");
    }
    fmt_expr(f, n->a, 0);
    if (!n->b) return;
    fmt_add(f, ", weight = ");
    fmt_expr(f, n->b, 0);
}

static void for_statement(Formatter *f, const Ast *n) {
    fmt_add(f, "for ");
    fmt_add(f, n->name);
    fmt_add(f, " in ");
    fmt_expr(f, n->a, 0);
    if (n->b) {
        fmt_add(f, "..");
        fmt_expr(f, n->b, 2);
    }
    if (n->op) fmt_add(f, " same_init");
    fmt_add(f, " ");
    block(f, n);
}

static void statement(Formatter *f, const Ast *n) {
    switch (n->kind) {
    case AST_BIND: bind(f, n); break;
    case AST_FOR: for_statement(f, n); break;
    case AST_IF: if_statement(f, n); break;
    case AST_LOSS: loss(f, n, "loss"); break;
    case AST_AUX: loss(f, n, "aux"); break;
    case AST_METRIC: loss(f, n, "metric"); break;
    case AST_WEIGHT:
    case AST_STATE:
        fmt_add(f, n->kind == AST_STATE ? "state " : "param ");
        fmt_add(f, n->name);
        fmt_add(f, ": ");
        fmt_expr(f, n->type, 0);
        fmt_add(f, " = ");
        fmt_expr(f, n->a, 0);
        break;
    case AST_UPDATE:
    case AST_FIELD:
        if (n->kind == AST_UPDATE) fmt_add(f, "update ");
        fmt_add(f, n->name);
        fmt_add(f, " = ");
        fmt_expr(f, n->a, 0);
        break;
    default: fmt_expr(f, n->a, 0); break;
    }
    bool block_like = n->kind == AST_FOR || n->kind == AST_IF;
    trailing(f, block_like ? n->trailing_end : n->trailing);
}

/* ---- declarations ---------------------------------------------------------------------------- */

static void declaration(Formatter *f, const Ast *n) {
    switch (n->kind) {
    case AST_USE:
        fmt_add(f, "use ");
        fmt_string(f, n->text);
        trailing(f, n->trailing);
        return;
    case AST_CONFIG: fmt_add(f, "config "); break;
    case AST_TRAIN:
        fmt_add(f, "train ");
        fmt_add(f, n->name);
        if (n->a) {
            fmt_add(f, " of ");
            fmt_add(f, n->a->name);
        }
        if (n->text) {
            fmt_add(f, " from ");
            fmt_add(f, n->text);
        }
        fmt_add(f, " ");
        break;
    default:
        fmt_add(f, n->kind == AST_LAYER ? "layer " : "model ");
        fmt_add(f, n->name);
        fmt_params(f, n);
        fmt_add(f, " ");
        break;
    }
    block(f, n);
    trailing(f, n->trailing_end);
}

static bool is_spaced(const Ast *n) {
    return n->kind == AST_LAYER || n->kind == AST_MODEL || n->kind == AST_TRAIN;
}

void ast_format(Text *t, const Ast *file) {
    Formatter f = {.text = t, .limit = FMT_COLUMNS};
    for (int i = 0; i < file->nkid; i++) {
        const Ast *n = file->kid[i];
        bool spaced = i > 0 && (n->blank_before || is_spaced(n) || is_spaced(file->kid[i - 1]));
        if (spaced) blank_line(&f);
        comments(&f, n->comment, n->ncomment);
        start_line(&f);
        declaration(&f, n);
    }
    end_comments(&f, file);
    if (f.column > 0) fmt_add(&f, "\n");
}
