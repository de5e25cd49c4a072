/* Routing, and the losses and metrics over classes. A route is a value: which tokens go to which
 * experts, and with what weight they come back. */
#include "frontend/meaning/sema.h"

#include <inttypes.h>
#include <string.h>

/* ---- routes --------------------------------------------------------------------------------- */

bool check_routable(Elab *E, const FeCall *c, const FeValue *x, const char *form) {
    if (x->group) {
        Diag *dg =
            sema_error(E, c->span[0], D_nested_route, "a grouped tensor cannot be routed again");
        sema_note(E, dg, x->group->span, "it was routed here");
        return false;
    }
    if (x->v->type.rank >= 2) return true;
    Diag *dg =
        sema_error(E, c->span[0], D_shape_mismatch, "%s, this is %s", form, fv_text(E->a, x));
    sema_note(E, dg, x->span, "it is made here");
    return false;
}

bool check_gate(Elab *E, const FeCall *c, const FeValue *gate) {
    return check_routable(E, c, gate, "a gate is [.., E], one value per token and expert");
}

void set_routed(FeGroup *g, const IrType *t) {
    g->lead_rank = t->rank - 1;
    g->tokens = ir_rows(t);
    memcpy(g->lead, t->dim, sizeof(int64_t) * (size_t)g->lead_rank);
}

IrValue *flat_gate(Elab *E, const FeValue *gate, FeGroup *g) {
    set_routed(g, &gate->v->type);
    g->gate = gate->v;
    g->experts = ir_cols(&gate->v->type);
    IrType flat = IR_TYPE(DT_f32, g->tokens, g->experts);
    return ir_reshape(&E->b, gate->v, &flat);
}

/* Routing decisions are results of the model, so that they can be compared with other programs. */
static void note_route(Elab *E, FeGroup *g, IrNode *routed) {
    FeOutName *o = ARENA_NEW(E->a, FeOutName);
    *o = (FeOutName){.name = path_join(E->a, E->path->rel, "route"),
                     .value = g->index,
                     .span = g->span,
                     .routed = routed};
    *E->routes_tail = o;
    E->routes_tail = &o->next;
}

const FeValue *make_route(Elab *E, const FeCall *c, FeGroup *g, const FeValue *from, IrValue *w) {
    IrValue *const in[2] = {g->index, g->gate};
    IrValue *routed = ir_op(&E->b, OP_routed, in, g->gate ? 2 : 1, NO_ATTRS);
    IrValue *off =
        build(E, c->ast->span, arena_printf(E->a, "`%s`", c->b->name), OP_route, &from, 1,
              VALS(routed), ATTRS(A_INT(route_experts, g->experts), A_INT(route_rows, g->rows)));
    if (!off) return fv_bad();
    g->offsets = off;
    g->pair = off->node->out + 1;
    g->row = off->node->out + 2;
    g->expert = off->node->out + 3;
    if (!count_named(E, c->ast->span)) return fv_bad();
    note_route(E, g, routed->node);
    FeValue *r = fv_new(E->a, FV_ROUTE, c->ast->span);
    r->group = g;
    r->v = w;
    return r;
}

/* The values that a route weighs by where others chose: of the gate's shape, as f32[T,E]. */
static IrValue *flat_weights(Elab *E, const FeCall *c, const FeValue *gate, IrValue *flat) {
    const FeValue *w;
    if (!arg_tensor(E, c, 2, &w)) return NULL;
    if (!w->group && ir_type_equal(&w->v->type, &gate->v->type))
        return ir_reshape(&E->b, w->v, &flat->type);
    Diag *dg = sema_error(E, c->span[2], D_route_mismatch,
                          "`weights` of `top_k` has a value for each of the gate's: %s, not %s",
                          fv_text(E->a, gate), fv_describe(E->a, w));
    sema_note(E, dg, gate->span, "the gate is made here");
    sema_note(E, dg, w->span, "the weights are made here");
    return NULL;
}

/* top_k(gate, k, weights = gate): chooses by one value and weighs by another. */
const FeValue *builtin_top_k(Elab *E, const FeCall *c) {
    const FeValue *gate;
    if (!arg_tensor(E, c, 0, &gate) || !check_gate(E, c, gate)) return fv_bad();
    if (c->arg[1]->kind != FV_INT) return arg_kind_error(E, c, 1, "an integer");
    FeGroup *g = ARENA_NEW(E->a, FeGroup);
    g->span = c->ast->span;
    IrValue *flat = flat_gate(E, gate, g);
    g->k = c->arg[1]->i;
    if (g->k < 1 || g->k > g->experts) {
        Diag *dg = sema_error(E, c->span[1], D_topk_range,
                              "top_k asks for %" PRId64 " expert%s but the gate has %" PRId64, g->k,
                              g->k == 1 ? "" : "s", g->experts);
        sema_note(E, dg, gate->span, "the gate is made here");
        if (c->arg[1]->span.start != c->span[1].start)
            sema_note(E, dg, c->arg[1]->span, "%" PRId64 " comes from %s", g->k,
                      c->arg[1]->overridden ? "--set, instead of this" : "here");
        return fv_bad();
    }
    IrValue *w = build(E, c->ast->span, "`top_k`", OP_topk, &gate, 1, VALS(flat),
                       ATTRS(A_INT(topk_k, g->k)));
    if (!w) return fv_bad();
    g->chosen = g->index = w->node->out + 1;
    g->value = w;
    if (!c->arg[2]) return make_route(E, c, g, gate, w);
    IrValue *by = flat_weights(E, c, gate, flat);
    if (!by) return fv_bad();
    return make_route(E, c, g, gate, IR_OP(&E->b, take_last, VALS(by, g->index), NO_ATTRS));
}

const FeValue *builtin_weights(Elab *E, const FeCall *c) {
    const FeValue *r;
    if (!arg_route(E, c, 0, &r)) return fv_bad();
    return fv_tensor(E->a, r->v, NULL, false, c->ast->span);
}

const FeValue *builtin_with_weights(Elab *E, const FeCall *c) {
    const FeValue *r, *w;
    if (!arg_route(E, c, 0, &r) || !arg_tensor(E, c, 1, &w)) return fv_bad();
    if (w->group || !ir_shape_equal(&w->v->type, &r->v->type)) {
        Diag *dg =
            sema_error(E, c->span[1], D_route_mismatch, "the weights of this route are %s, not %s",
                       ir_type_text(E->a, &r->v->type), fv_text(E->a, w));
        sema_note(E, dg, r->group->span, "the route is made here");
        sema_note(E, dg, w->span, "the weights are made here");
        return fv_bad();
    }
    FeValue *own = ARENA_NEW(E->a, FeValue);
    *own = *r;
    own->v = w->v;
    return own;
}

static const FeValue *route_mismatch(Elab *E, const FeCall *c, const FeValue *x, const FeValue *r) {
    IrType lead = ir_type(DT_f32, r->group->lead_rank, r->group->lead);
    Diag *dg = sema_error(E, c->span[0], D_route_mismatch,
                          "this route is for tensors whose first dimensions are %s, not %s",
                          ir_type_text(E->a, &lead) + strlen("f32"), fv_describe(E->a, x));
    sema_note(E, dg, r->group->span, "the route is made here");
    sema_note(E, dg, x->span, "the tensor is made here");
    return fv_bad();
}

const FeValue *builtin_dispatch(Elab *E, const FeCall *c) {
    const FeValue *x, *r;
    if (!arg_tensor(E, c, 0, &x) || !arg_route(E, c, 1, &r)) return fv_bad();
    const FeGroup *g = r->group;
    if (x->group) {
        Diag *dg = sema_error(E, c->span[0], D_nested_route,
                              "a grouped tensor cannot be dispatched again");
        sema_note(E, dg, x->group->span, "it was routed here");
        return fv_bad();
    }
    const IrType *t = &x->v->type;
    bool fits = t->rank >= g->lead_rank;
    for (int i = 0; fits && i < g->lead_rank; i++) fits = t->dim[i] == g->lead[i];
    if (!fits) return route_mismatch(E, c, x, r);
    IrType flat = {.dtype = DT_f32, .rank = t->rank - g->lead_rank + 1, .dim = {g->tokens}};
    for (int i = g->lead_rank; i < t->rank; i++) flat.dim[i - g->lead_rank + 1] = t->dim[i];
    IrValue *rows = ir_reshape(&E->b, x->v, &flat);
    IrValue *y = build(E, c->ast->span, "`dispatch`", OP_dispatch, &x, 1, VALS(rows, g->pair),
                       ATTRS(A_INT(dispatch_k, g->k)));
    return y ? fv_tensor(E->a, y, r->group, false, c->ast->span) : fv_bad();
}

static const FeValue *combine_mismatch(Elab *E, const FeCall *c, const FeValue *y,
                                       const FeValue *r) {
    Diag *dg;
    if (!y->group || y->per_expert) {
        dg = sema_error(E, c->span[0], D_route_mismatch,
                        "`combine` needs a tensor that was dispatched, this is %s",
                        fv_describe(E->a, y));
        sema_note(E, dg, y->span, "the tensor is made here");
    } else {
        dg = sema_error(E, c->span[1], D_route_mismatch,
                        "the tensor was dispatched with another route");
        sema_note(E, dg, y->group->span, "its route is made here");
        sema_note(E, dg, r->group->span, "this route is made here");
    }
    return fv_bad();
}

const FeValue *builtin_combine(Elab *E, const FeCall *c) {
    const FeValue *y, *r;
    if (!arg_tensor(E, c, 0, &y) || !arg_route(E, c, 1, &r)) return fv_bad();
    const FeGroup *g = r->group;
    if (y->group != g || y->per_expert) return combine_mismatch(E, c, y, r);
    IrValue *v =
        build(E, c->ast->span, "`combine`", OP_combine, &y, 1, VALS(y->v, g->row, r->v), NO_ATTRS);
    if (!v) return fv_bad();
    IrType to = {.dtype = DT_f32, .rank = g->lead_rank + v->type.rank - 1};
    if (to.rank > IR_MAX_RANK) {
        sema_error(E, c->ast->span, D_shape_mismatch,
                   "the combined tensor would have %d dimensions, at most %d are possible", to.rank,
                   IR_MAX_RANK);
        return fv_bad();
    }
    for (int i = 0; i < g->lead_rank; i++) to.dim[i] = g->lead[i];
    for (int i = 1; i < v->type.rank; i++) to.dim[g->lead_rank + i - 1] = v->type.dim[i];
    return fv_tensor(E->a, ir_reshape(&E->b, v, &to), NULL, false, c->ast->span);
}

const FeValue *builtin_load_balance(Elab *E, const FeCall *c) {
    const FeValue *gate, *r;
    if (!arg_tensor(E, c, 0, &gate) || !arg_route(E, c, 1, &r)) return fv_bad();
    const FeGroup *g = r->group;
    const IrType *t = &gate->v->type;
    bool fits = !gate->group && t->rank == g->lead_rank + 1 && t->dim[t->rank - 1] == g->experts;
    for (int i = 0; fits && i < g->lead_rank; i++) fits = t->dim[i] == g->lead[i];
    if (!fits) {
        Diag *dg = sema_error(E, c->span[0], D_route_mismatch,
                              "the gate %s does not belong to this route to %" PRId64 " experts",
                              fv_text(E->a, gate), g->experts);
        sema_note(E, dg, g->span, "the route is made here");
        sema_note(E, dg, gate->span, "the gate is made here");
        return fv_bad();
    }
    IrValue *v = build(E, c->ast->span, "`load_balance`", OP_load_balance, &gate, 1,
                       VALS(gate->v, g->chosen), NO_ATTRS);
    return v ? fv_tensor(E->a, v, NULL, false, c->ast->span) : fv_bad();
}

/* ---- classes -------------------------------------------------------------------------------- */

static const FeValue *class_mismatch(Elab *E, const FeCall *c, const FeValue *logits,
                                     const FeValue *label) {
    Diag *dg = sema_error(E, c->ast->span, D_class_mismatch,
                          "`%s`: the logits are %s, the label is class[%" PRId64 ", %" PRId64 "]",
                          c->b->name, fv_text(E->a, logits), label->v->type.dim[0], label->classes);
    sema_note(E, dg, logits->span, "the logits are made here");
    sema_note(E, dg, label->span, "the label is declared here");
    return fv_bad();
}

const FeValue *builtin_classes(Elab *E, const FeCall *c) {
    const FeValue *logits, *label = c->arg[1];
    if (!arg_tensor(E, c, 0, &logits)) return fv_bad();
    if (label->kind != FV_TENSOR || !label->classes)
        return arg_kind_error(E, c, 1, "a label such as class[B, 10]");
    const IrType *t = &logits->v->type;
    if (logits->group || t->rank != 2 || t->dim[0] != label->v->type.dim[0] ||
        t->dim[1] != label->classes)
        return class_mismatch(E, c, logits, label);
    if (c->b->op == OP_cross_entropy) sema_softmax_twice(E, c);
    const FeValue *v[2] = {logits, label};
    IrValue *y = build(E, c->ast->span, arena_printf(E->a, "`%s`", c->b->name), c->b->op, v, 2,
                       VALS(logits->v, label->v), NO_ATTRS);
    return y ? fv_tensor(E->a, y, NULL, false, c->ast->span) : fv_bad();
}
