/* Compile-time values: making them, comparing them, and telling users what they are. No evaluation.
 */
#include "frontend/meaning/sema.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

FeValue *fv_new(Arena *a, FeKind k, Span s) {
    FeValue *v = ARENA_NEW(a, FeValue);
    v->kind = k;
    v->span = s;
    return v;
}

const FeValue *fv_bad(void) {
    static const FeValue bad = {.kind = FV_BAD};
    return &bad;
}

FeValue *fv_int(Arena *a, int64_t i, Span s) {
    FeValue *v = fv_new(a, FV_INT, s);
    v->i = i;
    return v;
}

FeValue *fv_float(Arena *a, double f, Span s) {
    FeValue *v = fv_new(a, FV_FLOAT, s);
    v->f = f;
    return v;
}

FeValue *fv_bool(Arena *a, bool b, Span s) {
    FeValue *v = fv_new(a, FV_BOOL, s);
    v->i = b;
    return v;
}

FeValue *fv_str(Arena *a, const char *text, Span s) {
    FeValue *v = fv_new(a, FV_STR, s);
    v->s = text;
    return v;
}

FeValue *fv_tensor(Arena *a, IrValue *x, FeGroup *group, bool per_expert, Span s) {
    FeValue *v = fv_new(a, FV_TENSOR, s);
    v->v = x;
    v->group = group;
    v->per_expert = group && per_expert;
    return v;
}

bool fv_is_number(const FeValue *v) {
    return v->kind == FV_INT || v->kind == FV_FLOAT;
}

double fv_number(const FeValue *v) {
    return v->kind == FV_INT ? (double)v->i : v->f;
}

static bool lists_equal(const FeValue *a, const FeValue *b) {
    if (a->n != b->n) return false;
    for (int i = 0; i < a->n; i++)
        if (!fv_equal(a->item[i], b->item[i])) return false;
    return true;
}

bool fv_equal(const FeValue *a, const FeValue *b) {
    if (a->kind == FV_INT && b->kind == FV_INT) return a->i == b->i;
    if (fv_is_number(a) && fv_is_number(b)) return fv_number(a) == fv_number(b);
    if (a->kind != b->kind) return false;
    switch (a->kind) {
    case FV_BOOL: return a->i == b->i;
    case FV_STR: return strcmp(a->s, b->s) == 0;
    case FV_LIST: return lists_equal(a, b);
    case FV_TIME: return a->f == b->f && a->in_steps == b->in_steps;
    default: return a == b;
    }
}

const char *fv_kind_name(FeKind k) {
    switch (k) {
    case FV_INT: return "an integer";
    case FV_FLOAT: return "a number";
    case FV_BOOL: return "true or false";
    case FV_STR: return "a string";
    case FV_LIST: return "a list";
    case FV_TIME: return "a duration";
    case FV_INIT: return "an initialiser";
    case FV_TENSOR: return "a tensor";
    case FV_ROUTE: return "a route";
    case FV_BAD: break;
    }
    return "nothing";
}

const char *fe_number_text(Arena *a, double x) {
    char buf[40];
    if (x == floor(x) && fabs(x) < 1e15) return arena_printf(a, "%.0f", x);
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(buf, sizeof buf, "%.*g", digits, x);
        if (strtod(buf, NULL) == x) break;
    }
    return arena_strdup(a, buf);
}

static void add_text(Text *t, const FeValue *v) {
    switch (v->kind) {
    case FV_INT: text_addf(t, "%" PRId64, v->i); return;
    case FV_FLOAT: text_add(t, fe_number_text(t->arena, v->f)); return;
    case FV_BOOL: text_add(t, v->i ? "true" : "false"); return;
    case FV_STR: text_add(t, v->s); return;
    case FV_TIME:
        text_addf(t, "%s %s", fe_number_text(t->arena, v->f), v->in_steps ? "steps" : "epochs");
        return;
    case FV_INIT: text_addf(t, "%s()", vm_inits[v->init].name); return;
    case FV_TENSOR: text_add(t, ir_type_text(t->arena, &v->v->type)); return;
    case FV_ROUTE: text_addf(t, "route to %" PRId64 " experts", v->group->experts); return;
    case FV_LIST:
        text_add(t, "[");
        for (int i = 0; i < v->n; i++) {
            if (i) text_add(t, ", ");
            add_text(t, v->item[i]);
        }
        text_add(t, "]");
        return;
    case FV_BAD: return;
    }
}

const char *fv_text(Arena *a, const FeValue *v) {
    Text t = text_new(a);
    add_text(&t, v);
    return t.data;
}

const char *fv_describe(Arena *a, const FeValue *v) {
    const char *text = fv_text(a, v);
    switch (v->kind) {
    case FV_INT: return arena_printf(a, "the integer %s", text);
    case FV_FLOAT: return arena_printf(a, "the number %s", text);
    case FV_BOOL: return text;
    case FV_STR: return arena_printf(a, "the string \"%s\"", text);
    case FV_LIST: return arena_printf(a, "the list %s", v->n > 8 ? "of several items" : text);
    case FV_TIME: return arena_printf(a, "the duration %s", text);
    case FV_INIT: return arena_printf(a, "the initialiser %s", text);
    case FV_ROUTE: return arena_printf(a, "a %s", text);
    case FV_TENSOR:
        if (v->classes) return arena_printf(a, "a label of %" PRId64 " classes", v->classes);
        if (!v->group) return arena_printf(a, "a tensor %s", text);
        if (v->per_expert) return arena_printf(a, "a per-expert tensor %s", text);
        return arena_printf(a, "a tensor %s grouped by %" PRId64 " experts", text,
                            v->group->experts);
    case FV_BAD: break;
    }
    return "nothing";
}
