/* Statements: bindings, weights, loops, conditionals, losses. Loops are unrolled, each iteration
 * with its own scope and path; a conditional's chosen branch is treated as if it stood alone. */
#include "frontend/meaning/sema.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* ---- bindings ------------------------------------------------------------------------------- */

static void assign(Elab *E, const Ast *target, const FeValue *v) {
    FeBinding *b = scope_find(E->frame, target->name);
    sema_saw(E, target, v);
    if (b && b->fixed) {
        const char *hint =
            b->state ? arena_printf(E->a, ": write `update %s = ...`", target->name) : "";
        Diag *dg = sema_error(E, target->span, D_fixed_name, "`%s` is %s and cannot be assigned%s",
                              target->name, b->fixed, hint);
        sema_note(E, dg, b->span, "`%s` is bound here", target->name);
        return;
    }
    if (b) {
        b->value = v;
        b->span = target->span;
    } else {
        scope_bind(E, E->frame->scope, target->name, v, target->span, NULL);
    }
}

static void bind_many(Elab *E, const Ast *s, const FeValue *v) {
    bool fits = v->kind == FV_LIST && v->n == s->nkid;
    if (!fits && v->kind != FV_BAD) {
        const char *got =
            v->kind == FV_LIST ? arena_printf(E->a, "a list of %d", v->n) : fv_describe(E->a, v);
        Diag *dg =
            sema_error(E, s->span, D_bind_count, "%d names need a list of %d values, this is %s",
                       s->nkid, s->nkid, got);
        sema_note(E, dg, v->span, "made here");
    }
    for (int i = 0; i < s->nkid; i++) assign(E, s->kid[i], fits ? v->item[i] : fv_bad());
}

static void elab_bind(Elab *E, const Ast *s) {
    const Ast *saved_call = E->named_call;
    const char *saved_as = E->named_as;
    E->named_call = NULL;
    if (s->nkid == 1 && !scope_find(E->frame, s->kid[0]->name)) {
        E->named_call = named_call(E->e, s->a);
        E->named_as = s->kid[0]->name;
    }
    const FeValue *v = eval_expr(E, s->a);
    E->named_call = saved_call;
    E->named_as = saved_as;
    if (s->nkid == 1)
        assign(E, s->kid[0], v);
    else
        bind_many(E, s, v);
}

/* ---- loops and conditionals ----------------------------------------------------------------- */

static bool count_iterations(Elab *E, const Ast *s, int64_t from, int64_t to) {
    if (to <= from) return false;
    /* Unsigned: the difference of two int64 may not fit. */
    uint64_t n = (uint64_t)to - (uint64_t)from;
    if (n <= (uint64_t)(FE_MAX_STEPS - E->steps)) return true;
    sema_error(E, s->span, D_limit, "this loop makes more than %d iterations", FE_MAX_STEPS);
    E->stopped = true;
    return false;
}

/* What a loop runs over: numbers from .. to - 1, or the elements of a list, which are numbered. */
typedef struct Range {
    int64_t from, to;
    const FeValue *list; /* NULL: the numbers themselves */
} Range;

static bool range_of(Elab *E, const Ast *s, Range *r) {
    *r = (Range){0};
    if (s->b) {
        bool ok = eval_int(E, s->a, "the start of a loop", &r->from);
        return eval_int(E, s->b, "the end of a loop", &r->to) && ok;
    }
    const FeValue *v = eval_expr(E, s->a);
    if (v->kind == FV_BAD) return false;
    r->list = v;
    r->to = v->n;
    if (v->kind == FV_LIST) return true;
    const char *hint = v->kind == FV_INT ? arena_printf(E->a, ": write 0..%" PRId64, v->i)
                       : v->kind == FV_TENSOR
                           ? ": split() makes a list of parts, 0..dim(x, 0) numbers them"
                           : "";
    Diag *dg =
        sema_error(E, s->a->span, D_wrong_kind, "a loop runs over a range or a list, this is %s%s",
                   fv_describe(E->a, v), hint);
    sema_note(E, dg, v->span, "made here");
    return false;
}

static void elab_for(Elab *E, const Ast *s) {
    Range r;
    if (!range_of(E, s, &r) || !count_iterations(E, s, r.from, r.to)) return;
    const FePath *path = E->path;
    FeScope *scope = E->frame->scope;
    for (int64_t i = r.from; i < r.to && !E->stopped && !E->left; i++) {
        E->steps++;
        if (path) E->path = path_index(E, path, i, s->op != NULL);
        E->frame->scope = ARENA_NEW(E->a, FeScope);
        E->frame->scope->up = scope;
        const FeValue *v = r.list ? r.list->item[i] : fv_int(E->a, i, s->name_span);
        scope_bind(E, E->frame->scope, s->name, v, s->name_span, "a loop variable");
        eval_block(E, s->kid, s->nkid, false);
    }
    E->frame->scope = scope;
    E->path = path;
}

static const FeValue *elab_if(Elab *E, const Ast *s, bool tail) {
    bool c;
    if (!eval_condition(E, s->a, &c)) return fv_bad();
    if (c) return eval_block(E, s->kid, s->nkid, tail);
    if (!s->other) return NULL;
    if (s->other->kind == AST_IF) return elab_if(E, s->other, tail);
    return eval_block(E, s->other->kid, s->other->nkid, tail);
}

/* ---- losses and metrics --------------------------------------------------------------------- */

static const Ast *outer_call(const Ast *x) {
    while (x && x->kind == AST_PAREN) x = x->a;
    return x && x->kind == AST_CALL ? x : NULL;
}

static void note_output(Elab *E, const Ast *name) {
    const FeBinding *b = scope_find(E->frame, name->name);
    if (!b || b->value->kind != FV_TENSOR || b->value->is_input || b->value->group) return;
    if (b->value->v->type.dtype != DT_f32) return;
    for (const FeOutName *o = E->outs; o; o = o->next)
        if (o->value == b->value->v) return;
    FeOutName *o = ARENA_NEW(E->a, FeOutName);
    *o = (FeOutName){.name = name->name, .value = b->value->v, .span = b->span};
    *E->outs_tail = o;
    E->outs_tail = &o->next;
}

/* Tensors of the model that a loss or metric reads under their own name become results, however
 * deep the names stand in its expression. Those in the branches of a conditional may not have been
 * read. */
static void note_outputs(Elab *E, const Ast *x) {
    if (!x || E->frame->layer || x->kind == AST_IF || x->kind == AST_COND) return;
    if (x->kind == AST_NAME) note_output(E, x);
    for (int i = 0; i < x->nkid; i++) note_outputs(E, x->kid[i]);
    note_outputs(E, x->a);
    note_outputs(E, x->b);
    note_outputs(E, x->other);
}

static bool scalar_result(Elab *E, const Ast *s, const FeValue *v, const char *kind) {
    if (v->kind == FV_BAD) return false;
    bool plain = v->kind == FV_TENSOR && !v->group;
    if (plain && v->v->type.dtype == DT_f32 && v->v->type.rank == 0) return true;
    bool many = v->kind == FV_TENSOR && v->v->type.rank > 0;
    Diag *dg = sema_error(E, s->a->span, D_loss_scalar, "a %s is one number, this is %s%s", kind,
                          fv_describe(E->a, v), many ? ": take its mean()" : "");
    if (v->span.start != s->a->span.start) sema_note(E, dg, v->span, "made here");
    return false;
}

static bool loss_weight(Elab *E, const Ast *s, double *w) {
    *w = 1;
    if (!s->b) return true;
    const FeValue *v = eval_expr(E, s->b);
    if (v->kind == FV_BAD) return false;
    if (!fv_is_number(v)) {
        sema_error(E, s->b->span, D_wrong_kind, "the weight of a loss is a number, this is %s",
                   fv_describe(E->a, v));
        return false;
    }
    *w = fv_number(v);
    return true;
}

static void elab_loss(Elab *E, const Ast *s) {
    static const char *const kinds[] = {"loss", "aux loss", "metric"};
    int which = s->kind == AST_LOSS ? 0 : s->kind == AST_AUX ? 1 : 2;
    static const IrOutKind outs[] = {OUT_loss, OUT_aux, OUT_metric};
    if (!E->g) return;
    const Ast *call = outer_call(s->a);
    const FeValue *v = eval_expr(E, s->a);
    double weight;
    if (!loss_weight(E, s, &weight) || !scalar_result(E, s, v, kinds[which])) return;
    if (!s->name && !call) {
        sema_error(E, s->span, D_loss_name, "this %s needs a name: `%s name = ...`", kinds[which],
                   which == 1 ? "aux" : kinds[which]);
        return;
    }
    if (!count_named(E, s->span)) return;
    const char *base = path_join(E->a, E->path->rel, s->name ? s->name : call->name);
    const char *key = arena_printf(E->a, "result %s", base);
    if (s->name && !take_name(E, key)) {
        sema_error(E, s->name_span, D_duplicate_result, "there is already a result named %s", base);
        return;
    }
    const char *name = s->name ? base : unique_name(E, key) + strlen("result ");
    ir_add_out(E->g, outs[which], name, v->v, weight, span_loc(s->span));
    E->nloss += which == 0;
    E->naux += which == 1;
    note_outputs(E, s->a);
}

/* ---- blocks --------------------------------------------------------------------------------- */

static const FeValue *elab_value(Elab *E, const Ast *s, bool tail) {
    const FeValue *v = eval_expr(E, s->a);
    if (tail || v->kind == FV_BAD) return v;
    sema_error(E, s->span, D_unused_value,
               "the value of this expression is not used; only the last statement of a layer is "
               "its result");
    return NULL;
}

const FeValue *eval_block(Elab *E, Ast *const *stmt, int n, bool tail) {
    const FeValue *result = NULL;
    if (E->depth >= FE_MAX_DEPTH) return eval_expr(E, n ? stmt[0] : NULL); /* reports */
    E->depth++;
    for (int i = 0; i < n && !E->stopped && !E->left; i++) {
        const Ast *s = stmt[i];
        bool last = tail && i == n - 1;
        result = NULL;
        switch (s->kind) {
        case AST_BIND: elab_bind(E, s); break;
        case AST_WEIGHT: elab_weight(E, s); break;
        case AST_STATE: elab_state(E, s); break;
        case AST_UPDATE: elab_update(E, s); break;
        case AST_FOR: elab_for(E, s); break;
        case AST_IF: result = elab_if(E, s, last); break;
        case AST_LOSS:
        case AST_AUX:
        case AST_METRIC: elab_loss(E, s); break;
        case AST_EXPR: result = elab_value(E, s, last); break;
        default: result = fv_bad(); break; /* AST_BAD */
        }
    }
    E->depth--;
    return result;
}
