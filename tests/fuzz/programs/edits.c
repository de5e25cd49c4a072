/* The edits of edits.def over the syntax tree. Each walks the tree in order and counts the places
 * where it could be made, until it comes to the one that is wanted. */
#include "tests/fuzz/programs/edits.h"

#include <stdint.h>
#include <string.h>

typedef struct Walk {
    Arena *a;
    Ast *file;
    EditKind kind;
    int left; /* places to go by */
    bool done;
} Walk;

/* Is this the place? */
static bool here(Walk *w) {
    if (w->done || w->left-- > 0) return false;
    return w->done = true;
}

static bool is_expression(const Ast *n) {
    return n->kind >= AST_NUMBER && n->kind <= AST_PAREN && n->kind != AST_ARG;
}

/* ---- lists ----------------------------------------------------------------------------------- */

static void take_out(Ast **list, int *n, int at, int count) {
    memmove(list + at, list + at + count, (size_t)(*n - at - count) * sizeof *list);
    *n -= count;
}

/* Kids that are statements or declarations. */
static bool has_statements(const Ast *n) {
    switch (n->kind) {
    case AST_FILE:
    case AST_LAYER:
    case AST_MODEL:
    case AST_FOR:
    case AST_IF:
    case AST_BLOCK: return true;
    default: return false;
    }
}

static void delete_statements(Walk *w, Ast *n, int count) {
    for (int i = 0; has_statements(n) && i + count <= n->nkid; i++) {
        if (!here(w)) continue;
        take_out(n->kid, &n->nkid, i, count);
        return;
    }
}

/* Puts statements in the place of one. */
static void splice(Walk *w, Ast *n, int at, Ast *const *with, int count) {
    Ast **list = ARENA_ARRAY(w->a, Ast *, n->nkid + count);
    memcpy(list, n->kid, (size_t)at * sizeof *list);
    memcpy(list + at, with, (size_t)count * sizeof *list);
    memcpy(list + at + count, n->kid + at + 1, (size_t)(n->nkid - at - 1) * sizeof *list);
    n->kid = list;
    n->nkid += count - 1;
}

static Ast *number_node(Walk *w, const char *text, double value, bool whole) {
    Ast *n = ARENA_NEW(w->a, Ast);
    *n = (Ast){.kind = AST_NUMBER, .name = text, .num = value, .is_int = whole};
    return n;
}

/* `i = first` in front of a loop's body, which stays once. */
static void unwrap_loop(Walk *w, Ast *n, int at) {
    Ast *loop = n->kid[at], *bind = ARENA_NEW(w->a, Ast), *name = ARENA_NEW(w->a, Ast);
    Ast **all = ARENA_ARRAY(w->a, Ast *, loop->nkid + 1), *value = loop->a;
    if (!loop->b) {
        value = ARENA_NEW(w->a, Ast);
        *value = (Ast){.kind = AST_INDEX, .a = loop->a, .b = number_node(w, "0", 0, true)};
    }
    *name = (Ast){.kind = AST_NAME, .name = loop->name};
    *bind = (Ast){.kind = AST_BIND, .a = value, .nkid = 1};
    bind->kid = ARENA_ARRAY(w->a, Ast *, 1);
    bind->kid[0] = name;
    all[0] = bind;
    memcpy(all + 1, loop->kid, (size_t)loop->nkid * sizeof *all);
    splice(w, n, at, all, loop->nkid + 1);
}

static void unwrap(Walk *w, Ast *n) {
    for (int i = 0; has_statements(n) && i < n->nkid; i++) {
        Ast *k = n->kid[i];
        if (k->kind == AST_FOR && here(w)) {
            unwrap_loop(w, n, i);
        } else if (k->kind == AST_IF && here(w)) {
            splice(w, n, i, k->kid, k->nkid);
        } else if (k->kind == AST_IF && k->other && here(w)) {
            Ast *other = k->other;
            if (other->kind == AST_IF)
                splice(w, n, i, &other, 1);
            else
                splice(w, n, i, other->kid, other->nkid);
        }
        if (w->done) return;
    }
}

/* ---- expressions ----------------------------------------------------------------------------- */

static Ast *value_of(Ast *n) {
    return n && n->kind == AST_ARG ? n->a : n;
}

/* In parentheses where it may need them. */
static Ast *wrapped(Walk *w, Ast *n) {
    if (n->kind == AST_NAME || n->kind == AST_NUMBER || n->kind == AST_PAREN || n->kind == AST_LIST)
        return n;
    Ast *p = ARENA_NEW(w->a, Ast);
    *p = (Ast){.kind = AST_PAREN, .a = n};
    return p;
}

static void to_operand(Walk *w, Ast **at) {
    Ast *n = *at, *list[4] = {n->a, n->b, n->other, NULL};
    if (!is_expression(n)) return;
    for (int i = 0; i < 3; i++) {
        if (!list[i] || !here(w)) continue;
        *at = wrapped(w, value_of(list[i]));
        return;
    }
    for (int i = 0; i < n->nkid; i++) {
        if (!here(w)) continue;
        *at = wrapped(w, value_of(n->kid[i]));
        return;
    }
}

static void to_number(Walk *w, Ast **at) {
    if (!is_expression(*at) || (*at)->kind == AST_NUMBER) return;
    if (here(w))
        *at = number_node(w, "0.5", 0.5, false);
    else if (here(w))
        *at = number_node(w, "1", 1, true);
}

static void to_smaller(Walk *w, Ast *n) {
    if (n->kind != AST_NUMBER || n->text || n->num <= 1) return;
    const double candidates[] = {1, n->num / 2, n->num - 1};
    for (int i = 0; i < 3 && n->is_int; i++) {
        double x = (double)(int64_t)candidates[i];
        if (x < 1 || x >= n->num || (i && x <= 1) || !here(w)) continue;
        n->num = x;
        n->name = arena_printf(w->a, "%lld", (long long)x);
        return;
    }
}

/* ---- parts ----------------------------------------------------------------------------------- */

static void drop_part(Walk *w, Ast *n) {
    bool listed =
        n->kind == AST_CALL || n->kind == AST_LIST || n->kind == AST_CONFIG || n->kind == AST_TRAIN;
    for (int i = n->kind == AST_CALL && n->piped ? 1 : 0; listed && i < n->nkid; i++)
        if (here(w)) {
            take_out(n->kid, &n->nkid, i, 1);
            return;
        }
    for (int i = 0; i < n->nparam; i++)
        if (here(w)) {
            take_out(n->param, &n->nparam, i, 1);
            return;
        }
    if (n->kind == AST_LAYER && n->type && here(w)) n->type = NULL;
    bool result = n->kind == AST_LOSS || n->kind == AST_AUX || n->kind == AST_METRIC;
    if (result && n->b && here(w)) n->b = NULL;
    if (result && n->name && here(w)) n->name = NULL;
    if (n->kind == AST_IF && n->other && here(w)) n->other = NULL;
    if (n->kind == AST_FOR && n->op && here(w)) n->op = NULL;
    if (n->kind == AST_MODEL && n->text && here(w)) n->text = NULL;
    if (n->kind == AST_CALL && n->piped && here(w)) n->piped = false;
}

/* ---- names ----------------------------------------------------------------------------------- */

static int uses(const Ast *n, const char *name) {
    if (!n) return 0;
    int sum = n->kind == AST_NAME && n->name && !strcmp(n->name, name);
    sum += uses(n->type, name) + uses(n->a, name) + uses(n->b, name) + uses(n->other, name);
    for (int i = 0; i < n->nkid; i++) sum += uses(n->kid[i], name);
    for (int i = 0; i < n->nparam; i++) sum += uses(n->param[i], name);
    return sum;
}

static void substitute(Walk *w, Ast **at, const char *name, Ast *with) {
    Ast *n = *at;
    if (!n) return;
    if (n->kind == AST_NAME && n->name && !strcmp(n->name, name)) {
        *at = wrapped(w, with);
        return;
    }
    substitute(w, &n->a, name, with);
    substitute(w, &n->b, name, with);
    substitute(w, &n->other, name, with);
    for (int i = n->kind == AST_BIND ? n->nkid : 0; i < n->nkid; i++)
        substitute(w, &n->kid[i], name, with);
}

/* `t = value` goes, and t is written as the value, which is a name or used once. */
static void inline_alias(Walk *w, Ast *n) {
    for (int i = 0; has_statements(n) && i < n->nkid; i++) {
        Ast *k = n->kid[i];
        if (k->kind != AST_BIND || k->nkid != 1) continue;
        const char *name = k->kid[0]->name;
        bool simple = k->a->kind == AST_NAME || uses(n, name) <= 2;
        if (!simple || uses(k->a, name) || !here(w)) continue;
        Ast *value = k->a;
        take_out(n->kid, &n->nkid, i, 1);
        for (int j = i; j < n->nkid; j++) substitute(w, &n->kid[j], name, value);
        return;
    }
}

/* A name in an expression becomes one of the names bound before it in its block. */
static void to_earlier(Walk *w, Ast *block, Ast *n, int before) {
    if (!n || w->done) return;
    if (n->kind == AST_NAME && n->name) {
        for (int i = 0; i < before; i++) {
            const Ast *k = block->kid[i];
            const char *name = k->kind == AST_BIND && k->nkid ? k->kid[0]->name
                               : k->kind == AST_WEIGHT        ? k->name
                                                              : NULL;
            if (!name || !strcmp(name, n->name) || !here(w)) continue;
            n->name = name;
            return;
        }
        return;
    }
    to_earlier(w, block, n->a, before);
    to_earlier(w, block, n->b, before);
    for (int i = n->kind == AST_BIND ? n->nkid : 0; i < n->nkid; i++)
        to_earlier(w, block, n->kid[i], before);
}

static void rename_earlier(Walk *w, Ast *n) {
    for (int i = 0; has_statements(n) && n->kind != AST_FILE && i < n->nkid && !w->done; i++)
        to_earlier(w, n, n->kid[i], i);
}

/* ---- the walk -------------------------------------------------------------------------------- */

static void at_node(Walk *w, Ast **at) {
    Ast *n = *at;
    switch (w->kind) {
    case EDIT_eight_statements: delete_statements(w, n, 8); break;
    case EDIT_four_statements: delete_statements(w, n, 4); break;
    case EDIT_two_statements: delete_statements(w, n, 2); break;
    case EDIT_statement: delete_statements(w, n, 1); break;
    case EDIT_unwrap: unwrap(w, n); break;
    case EDIT_operand: to_operand(w, at); break;
    case EDIT_alias: inline_alias(w, n); break;
    case EDIT_earlier: rename_earlier(w, n); break;
    case EDIT_part: drop_part(w, n); break;
    case EDIT_number: to_smaller(w, n); break;
    case EDIT_constant: to_number(w, at); break;
    case EDITS: break;
    }
}

static void walk(Walk *w, Ast **at) {
    if (!*at || w->done) return;
    at_node(w, at);
    if (w->done) return;
    Ast *n = *at;
    walk(w, &n->type);
    walk(w, &n->a);
    walk(w, &n->b);
    walk(w, &n->other);
    for (int i = n->kind == AST_BIND ? n->nkid : 0; i < n->nkid; i++) walk(w, &n->kid[i]);
    for (int i = 0; i < n->nparam; i++) walk(w, &n->param[i]);
}

bool edit_apply(Arena *a, Ast *file, EditKind kind, int number) {
    Walk w = {.a = a, .file = file, .kind = kind, .left = number};
    walk(&w, &file);
    return w.done;
}
