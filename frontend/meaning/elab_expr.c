/* Expressions: names, literals, lists, operators, conditionals and the choice between builtins and
 * layers. Conditions and indices are decided here, at compile time; only the chosen branch is
 * evaluated. */
#include "frontend/meaning/sema.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const FeValue *eval_number(Elab *E, const Ast *x) {
    if (x->text) { /* has a unit */
        FeValue *v = fv_new(E->a, FV_TIME, x->span);
        v->f = x->num;
        v->in_steps = !strncmp(x->text, "step", 4);
        return isfinite(x->num) ? v : check_finite(E, x->span, x->num);
    }
    if (!x->is_int) return check_finite(E, x->span, x->num);
    bool digits = x->name && *x->name && x->name[strspn(x->name, "0123456789")] == '\0';
    errno = 0;
    int64_t i = digits ? strtoll(x->name, NULL, 10) : 0;
    if (!digits && fabs(x->num) <= 0x1p53) i = (int64_t)x->num;
    if (errno == ERANGE || (!digits && fabs(x->num) > 0x1p53)) {
        sema_error(E, x->span, D_int_overflow, "this integer does not fit in 64 bits");
        return fv_bad();
    }
    return fv_int(E->a, i, x->span);
}

static const FeValue *eval_name(Elab *E, const Ast *x) {
    const FeBinding *b = E->frame ? scope_find(E->frame, x->name) : NULL;
    if (b) return b->value;
    const FeConfig *c = fe_find_config(E->e, x->name);
    if (c) return c->value;
    return sema_unknown_name(E, x);
}

static const FeValue *eval_list(Elab *E, const Ast *x) {
    FeValue *v = fv_new(E->a, FV_LIST, x->span);
    const FeValue **item = ARENA_ARRAY(E->a, const FeValue *, x->nkid);
    bool bad = false;
    v->size = x->nkid;
    for (int i = 0; i < x->nkid; i++) {
        item[i] = eval_expr(E, x->kid[i]);
        bad = bad || item[i]->kind == FV_BAD;
        v->size += item[i]->size;
        if (v->size <= FE_MAX_ITEMS) continue;
        sema_error(E, x->span, D_limit,
                   "a list has at most %d elements with those of inner lists, this one "
                   "has %" PRId64 " or more",
                   FE_MAX_ITEMS, v->size);
        return fv_bad();
    }
    E->work += v->size;
    v->n = x->nkid;
    v->item = item;
    return bad ? fv_bad() : v;
}

static const FeValue *eval_index(Elab *E, const Ast *x) {
    const FeValue *list = eval_expr(E, x->a), *at = eval_expr(E, x->b);
    if (list->kind == FV_BAD || at->kind == FV_BAD) return fv_bad();
    if (list->kind != FV_LIST) {
        const char *hint = "";
        if (list->kind == FV_TENSOR)
            hint = arena_printf(E->a, ": write `slice(%s, axis = 0, start = %s, size = 1)`",
                                fe_source_text(E->a, x->a->span), fe_source_text(E->a, x->b->span));
        Diag *dg =
            sema_error(E, x->a->span, D_wrong_kind, "only a list can be indexed, this is %s%s",
                       fv_describe(E->a, list), hint);
        sema_note(E, dg, list->span, "made here");
        return fv_bad();
    }
    if (at->kind != FV_INT) {
        sema_error(E, x->b->span, D_wrong_kind, "an index is an integer, this is %s",
                   fv_describe(E->a, at));
        return fv_bad();
    }
    int64_t i = at->i < 0 ? at->i + list->n : at->i;
    if (i < 0 || i >= list->n) {
        Diag *dg = sema_error(E, x->b->span, D_index_range,
                              "index %" PRId64 " is outside a list of %d", at->i, list->n);
        sema_note(E, dg, list->span, "the list is made here");
        return fv_bad();
    }
    return list->item[i];
}

static OpCode arith_op(const char *op) {
    if (op[1]) return OP_COUNT;
    switch (op[0]) {
    case '+': return OP_add;
    case '-': return OP_sub;
    case '*': return OP_mul;
    case '/': return OP_div;
    default: return OP_COUNT;
    }
}

static const FeValue *eval_logic(Elab *E, const Ast *x) {
    bool a, b;
    if (!eval_condition(E, x->a, &a)) return fv_bad();
    if (a == (x->op[0] == 'o')) return fv_bool(E->a, a, x->span);
    if (!eval_condition(E, x->b, &b)) return fv_bad();
    return fv_bool(E->a, b, x->span);
}

static const FeValue *eval_binary(Elab *E, const Ast *x) {
    if (!strcmp(x->op, "and") || !strcmp(x->op, "or")) return eval_logic(E, x);
    const FeValue *a = eval_expr(E, x->a), *b = eval_expr(E, x->b);
    if (a->kind == FV_BAD || b->kind == FV_BAD) return fv_bad();
    bool at = a->kind == FV_TENSOR, bt = b->kind == FV_TENSOR;
    OpCode op = arith_op(x->op);
    bool ok = (at || fv_is_number(a)) && (bt || fv_is_number(b));
    if ((at || bt) && ok && op != OP_COUNT) {
        if (op == OP_div && !bt && fv_number(b) == 0)
            return const_binary(E, x, fv_int(E->a, 1, a->span), b);
        return tensor_binary(E, x->span, arena_printf(E->a, "`%s`", x->op), op, a, b);
    }
    if ((at || bt) && ok && strchr("<>=!", x->op[0])) return tensor_compare(E, x, a, b);
    return const_binary(E, x, a, b);
}

static const FeValue *eval_unary(Elab *E, const Ast *x) {
    const FeValue *a = eval_expr(E, x->a);
    if (a->kind == FV_BAD) return a;
    if (a->kind == FV_TENSOR && !strcmp(x->op, "-"))
        return tensor_unary(E, x->span, "`-`", OP_neg, a);
    return const_unary(E, x, a);
}

static const FeValue *eval_call(Elab *E, const Ast *x) {
    const FeBuiltin *b = fe_find_builtin(x->name);
    if (b) return call_builtin(E, b, x);
    const FeLayer *l = fe_find_layer(E->e, x->name);
    if (!l) return sema_unknown_call(E, x);
    if (!E->g) {
        sema_error(E, x->span, D_not_constant,
                   "layer `%s` cannot be called here: only models are made of layers", x->name);
        return fv_bad();
    }
    return call_layer(E, l, x);
}

static const FeValue *eval_cond(Elab *E, const Ast *x) {
    bool c;
    if (!eval_condition(E, x->a, &c)) return fv_bad();
    return eval_expr(E, c ? x->b : x->other);
}

static const FeValue *eval_kind(Elab *E, const Ast *x) {
    switch (x->kind) {
    case AST_NUMBER: return eval_number(E, x);
    case AST_STRING: return fv_str(E->a, x->text, x->span);
    case AST_BOOL: return fv_bool(E->a, x->num != 0, x->span);
    case AST_NAME: return eval_name(E, x);
    case AST_LIST: return eval_list(E, x);
    case AST_CALL: return eval_call(E, x);
    case AST_INDEX: return eval_index(E, x);
    case AST_UNARY: return eval_unary(E, x);
    case AST_BINARY: return eval_binary(E, x);
    case AST_COND: return eval_cond(E, x);
    case AST_PAREN:
    case AST_ARG: return eval_expr(E, x->a);
    default: return fv_bad(); /* AST_BAD: reported by the parser */
    }
}

const FeValue *eval_expr(Elab *E, const Ast *x) {
    if (!x || E->stopped) return fv_bad();
    if (E->depth >= FE_MAX_DEPTH) {
        sema_error(E, x->span, D_limit, "evaluation is nested too deeply");
        E->stopped = true;
        return fv_bad();
    }
    if (++E->work > FE_MAX_WORK) {
        sema_error(E, x->span, D_limit, "more than %d expressions and list elements are evaluated",
                   FE_MAX_WORK);
        E->stopped = true;
        return fv_bad();
    }
    E->depth++;
    const FeValue *v = eval_kind(E, x);
    E->depth--;
    sema_saw(E, x, v);
    if (!E->g || E->g->nnodes <= FE_MAX_NODES || E->stopped) return v;
    sema_error(E, x->span, D_limit, "this model has more than %d operations", FE_MAX_NODES);
    E->stopped = true;
    return fv_bad();
}

bool eval_int(Elab *E, const Ast *x, const char *what, int64_t *out) {
    const FeValue *v = eval_expr(E, x);
    if (v->kind == FV_BAD) return false;
    if (v->kind != FV_INT) {
        Diag *dg =
            sema_error(E, x->span, D_wrong_kind, "%s is an integer, this is %s%s", what,
                       fv_describe(E->a, v), v->kind == FV_FLOAT ? ": `//` divides integers" : "");
        sema_note(E, dg, v->span, "made here");
        return false;
    }
    *out = v->i;
    return true;
}

bool eval_condition(Elab *E, const Ast *x, bool *out) {
    const FeValue *v = eval_expr(E, x);
    if (v->kind == FV_BAD) return false;
    if (v->kind != FV_BOOL) {
        const char *hint = v->kind == FV_TENSOR ? ": conditions are decided at compile time" : "";
        Diag *dg =
            sema_error(E, x->span, D_wrong_kind, "a condition is true or false, this is %s%s",
                       fv_describe(E->a, v), hint);
        sema_note(E, dg, v->span, "made here");
        return false;
    }
    *out = v->i != 0;
    return true;
}
