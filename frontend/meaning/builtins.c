/* What all builtin functions share: the table, argument checks with messages, groups of experts,
 * and building nodes with shape messages turned into diagnostics. The functions are in
 * builtins_*.c. */
#include "frontend/meaning/sema.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

static const FeBuiltin table[] = {
#define BUILTIN(name, params, fn, op) {#name, params, builtin_##fn, op},
#include "frontend/meaning/builtins.def"
};

int fe_nbuiltin(void) {
    return (int)(sizeof table / sizeof table[0]);
}

const FeBuiltin *fe_builtin_at(int i) {
    return &table[i];
}

const FeBuiltin *fe_find_builtin(const char *name) {
    for (int i = 0; i < fe_nbuiltin(); i++)
        if (!strcmp(table[i].name, name)) return &table[i];
    return NULL;
}

/* ---- calls ---------------------------------------------------------------------------------- */

static int parse_params(Arena *a, const char *text, const char **name, bool *optional) {
    int n = 0;
    for (const char *p = text; *(p += strspn(p, " "));) {
        size_t len = strcspn(p, " ");
        optional[n] = p[len - 1] == '?';
        name[n] = arena_strndup(a, p, len - optional[n]);
        n++;
        p += len;
    }
    return n;
}

const FeValue *call_builtin(Elab *E, const FeBuiltin *b, const Ast *call) {
    FeCall c = {.ast = call, .b = b};
    bool optional[FE_MAX_ARGS];
    const FeActual *slot[FE_MAX_ARGS] = {0};
    c.nparam = parse_params(E->a, b->params, c.param, optional);
    const FeActual *act = eval_args(E, call);
    if (!match_args(E, b->name, (Span){0}, c.param, c.nparam, act, call->nkid, slot))
        return fv_bad();
    for (int i = 0; i < c.nparam; i++) {
        c.span[i] = call->span;
        if (slot[i]) {
            c.arg[i] = slot[i]->value;
            c.span[i] = slot[i]->span;
        } else if (!optional[i]) {
            sema_error(E, call->span, D_missing_argument, "`%s` needs an argument `%s`", b->name,
                       c.param[i]);
            return fv_bad();
        }
    }
    elab_at(E, call->span);
    return b->fn(E, &c);
}

/* ---- arguments ------------------------------------------------------------------------------ */

const FeValue *arg_kind_error(Elab *E, const FeCall *c, int i, const char *expected) {
    Diag *dg =
        sema_error_of(E, c->arg[i], c->span[i], D_wrong_kind, "`%s` of `%s` is %s, this is %s",
                      c->param[i], c->b->name, expected, fv_describe(E->a, c->arg[i]));
    sema_note_beside(E, dg, c->arg[i]->span, "made here");
    return fv_bad();
}

bool arg_tensor(Elab *E, const FeCall *c, int i, const FeValue **out) {
    *out = c->arg[i];
    if (c->arg[i]->kind == FV_TENSOR && c->arg[i]->v->type.dtype == DT_f32) return true;
    arg_kind_error(E, c, i, "a tensor of f32");
    return false;
}

bool arg_route(Elab *E, const FeCall *c, int i, const FeValue **out) {
    *out = c->arg[i];
    if (c->arg[i]->kind == FV_ROUTE) return true;
    arg_kind_error(E, c, i, "a route, such as top_k makes");
    return false;
}

static bool range_error(Elab *E, const FeCall *c, int i, const char *lo, const char *hi) {
    Diag *dg = sema_error_of(E, c->arg[i], c->span[i], D_value_range,
                             "`%s` of `%s` is from %s to %s, this is %s", c->param[i], c->b->name,
                             lo, hi, fv_text(E->a, c->arg[i]));
    sema_note_beside(E, dg, c->arg[i]->span, "made here");
    return false;
}

bool arg_int(Elab *E, const FeCall *c, int i, int64_t lo, int64_t hi, int64_t *out) {
    const FeValue *v = c->arg[i];
    if (!v) return true;
    if (v->kind != FV_INT) {
        arg_kind_error(E, c, i, "an integer");
        return false;
    }
    *out = v->i;
    if (v->i >= lo && v->i <= hi) return true;
    return range_error(E, c, i, arena_printf(E->a, "%" PRId64, lo),
                       arena_printf(E->a, "%" PRId64, hi));
}

bool arg_float(Elab *E, const FeCall *c, int i, double lo, double hi, double *out) {
    const FeValue *v = c->arg[i];
    if (!v) return true;
    if (!fv_is_number(v)) {
        arg_kind_error(E, c, i, "a number");
        return false;
    }
    *out = fv_number(v);
    if (*out >= lo && *out <= hi) return true;
    return range_error(E, c, i, fe_number_text(E->a, lo), fe_number_text(E->a, hi));
}

bool arg_bool(Elab *E, const FeCall *c, int i, bool *out) {
    if (!c->arg[i]) return true;
    if (c->arg[i]->kind != FV_BOOL) {
        arg_kind_error(E, c, i, "true or false");
        return false;
    }
    *out = c->arg[i]->i != 0;
    return true;
}

bool arg_word(Elab *E, const FeCall *c, int i, const char *const *word, int n, int *out) {
    const FeValue *v = c->arg[i];
    Text t = text_new(E->a);
    if (!v) return true;
    for (int w = 0; w < n; w++) {
        if (v->kind == FV_STR && !strcmp(v->s, word[w])) {
            *out = w;
            return true;
        }
        text_addf(&t, "%s\"%s\"", w == 0 ? "one of " : w == n - 1 ? " and " : ", ", word[w]);
    }
    arg_kind_error(E, c, i, t.data);
    return false;
}

bool arg_ints(Elab *E, const FeCall *c, int i, int64_t *out, int cap, int *n) {
    const FeValue *v = c->arg[i];
    bool ok = v->kind == FV_LIST && v->n <= cap;
    for (int j = 0; ok && j < v->n; j++) {
        ok = v->item[j]->kind == FV_INT;
        out[j] = v->item[j]->i;
    }
    if (ok)
        *n = v->n;
    else
        arg_kind_error(E, c, i, arena_printf(E->a, "a list of at most %d integers", cap));
    return ok;
}

static bool axis_value(Elab *E, const FeCall *c, int i, const FeValue *x, int64_t given,
                       int64_t *axis) {
    int rank = x->v->type.rank;
    *axis = given < 0 && given >= -rank ? given + rank : given;
    if (*axis < 0 || *axis >= rank) {
        Diag *dg = sema_error(E, c->span[i], D_axis_range,
                              "`%s` has no dimension %" PRId64 ": its tensor is %s", c->b->name,
                              given, fv_text(E->a, x));
        sema_note(E, dg, x->span, "the tensor is made here");
        return false;
    }
    if (*axis > 0 || !x->group) return true;
    Diag *dg =
        sema_error(E, c->span[i], D_axis_range,
                   "`%s` along dimension 0 of a grouped tensor would mix rows of different experts",
                   c->b->name);
    sema_note(E, dg, x->span, "the tensor is made here");
    return false;
}

bool arg_axis(Elab *E, const FeCall *c, int i, const FeValue *x, int64_t *axis) {
    if (c->arg[i]->kind == FV_INT) return axis_value(E, c, i, x, c->arg[i]->i, axis);
    arg_kind_error(E, c, i, "an integer");
    return false;
}

bool arg_axes(Elab *E, const FeCall *c, int i, const FeValue *x, int64_t *axes, int *n) {
    bool have[IR_MAX_RANK] = {0};
    int64_t given[IR_MAX_RANK], axis;
    int count = 1;
    if (!c->arg[i]) {
        for (count = 0; count < x->v->type.rank; count++) given[count] = count;
    } else if (c->arg[i]->kind == FV_LIST) {
        if (!arg_ints(E, c, i, given, IR_MAX_RANK, &count)) return false;
    } else if (!arg_int(E, c, i, INT64_MIN, INT64_MAX, &given[0])) {
        return false;
    }
    for (int j = 0; j < count; j++) {
        if (!axis_value(E, c, i, x, given[j], &axis)) return false;
        if (have[axis]) {
            sema_error(E, c->span[i], D_axis_range, "dimension %" PRId64 " is given twice", axis);
            return false;
        }
        have[axis] = true;
    }
    *n = 0;
    for (int j = 0; j < IR_MAX_RANK; j++)
        if (have[j]) axes[(*n)++] = j;
    return true;
}

/* ---- nodes ---------------------------------------------------------------------------------- */

/* Shape rules begin their messages with the op's name; users know the function they called. */
static const char *without_op(const char *message, OpCode op) {
    size_t n = strlen(ir_ops[op].name);
    return !strncmp(message, ir_ops[op].name, n) && !strncmp(message + n, ": ", 2) ? message + n + 2
                                                                                   : message;
}

IrValue *build(Elab *E, Span s, const char *what, OpCode op, const FeValue *const *operand,
               int noperand, IrValue *const *in, int nin, const AttrArg *attr, int nattr) {
    elab_at(E, s);
    IrValue *v = ir_try(&E->b, op, in, nin, attr, nattr);
    if (v) return v;
    Diag *dg = sema_error(E, s, D_shape_mismatch, "%s: %s", what, without_op(E->b.error, op));
    for (int i = 0; i < noperand; i++)
        if (operand[i] && operand[i]->kind == FV_TENSOR)
            sema_note(E, dg, operand[i]->span, "%s is made here", fv_describe(E->a, operand[i]));
    return NULL;
}

const FeValue *expand_rows(Elab *E, Span s, const FeValue *v) {
    if (v->kind != FV_TENSOR || !v->per_expert) return v;
    IrValue *x = build(E, s, "per-expert values", OP_expert_expand, &v, 1,
                       VALS(v->v, v->group->expert), NO_ATTRS);
    return x ? fv_tensor(E->a, x, v->group, false, v->span) : fv_bad();
}

bool common_group(Elab *E, Span s, const char *what, const FeValue *const *v, int n,
                  FeGroup **group, bool *rows) {
    const FeValue *first = NULL;
    *rows = false;
    for (int i = 0; i < n; i++) {
        if (v[i]->kind != FV_TENSOR || !v[i]->group) continue;
        if (!first) first = v[i];
        if (first->group != v[i]->group) {
            Diag *dg = sema_error(E, s, D_group_mismatch,
                                  "%s mixes tensors grouped by different routes", what);
            sema_note(E, dg, first->group->span, "one route is made here");
            sema_note(E, dg, v[i]->group->span, "the other route is made here");
            return false;
        }
        *rows = *rows || !v[i]->per_expert;
    }
    *group = first ? first->group : NULL;
    return true;
}
