/* Weights and states: the leaves that `param` and `state` statements make, and what `update` says
 * that a state becomes. A state is read as it is at the start of a step; what it becomes is the
 * graph's named result "state.<name>". In a layer that was called with a grouped tensor both have
 * one set of values per expert. */
#include "frontend/meaning/sema.h"
#include "base/spell.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

/* ---- weights -------------------------------------------------------------------------------- */

static bool is_word(const char *s, size_t n, const char *word) {
    return strlen(word) == n && !memcmp(s, word, n);
}

/* What a convolution's weight [.., KH, KW, I, O] counts of each input and output: its places. */
static int64_t places(int rank, const int64_t *dim) {
    return rank < 4 ? 1 : dim[rank - 4] * dim[rank - 3];
}

/* The initialiser's form with numbers in the place of their names; NULL after a message. */
static const char *init_text(Elab *E, const Ast *stmt, const FeValue *init, int rank,
                             const int64_t *dim) {
    const VmInitRow *row = &vm_inits[init->init];
    if (strstr(row->form, "fan_") && rank < 2) {
        Diag *dg =
            sema_error(E, stmt->a->span, D_weight_init, "%s() needs two dimensions, `%s` has %d",
                       row->name, stmt->name, rank);
        sema_note(E, dg, init->span, "the initialiser is made here");
        return NULL;
    }
    Text t = text_new(E->a);
    for (const char *p = row->form, *end; *p; p = end) {
        size_t n = strcspn(p, "(,)");
        end = p + n + (p[n] != 0);
        if (is_word(p, n, "fan_in"))
            text_addf(&t, "%" PRId64, places(rank, dim) * dim[rank - 2]);
        else if (is_word(p, n, "fan_out"))
            text_addf(&t, "%" PRId64, places(rank, dim) * dim[rank - 1]);
        else if (*row->given && is_word(p, n, row->given))
            text_add(&t, fe_number_text(E->a, init->f));
        else
            text_addn(&t, p, n);
        text_addn(&t, p + n, (size_t)(end - p) - n);
    }
    return t.data;
}

static const char *noun(const Ast *stmt) {
    return stmt->kind == AST_STATE ? "state" : "weight";
}

static bool weight_shape(Elab *E, const Ast *stmt, int64_t *dim, int *rank) {
    const Ast *type = stmt->type;
    int lead = E->frame->group ? 1 : 0;
    if (type->name && strcmp(type->name, "f32") != 0) {
        sema_error(E, type->span, D_weight_shape, "a %s is f32, not %s", noun(stmt), type->name);
        return false;
    }
    if (type->nkid + lead > IR_MAX_RANK) {
        sema_error(E, type->span, D_weight_shape, "a %s has at most %d dimensions", noun(stmt),
                   IR_MAX_RANK - lead);
        return false;
    }
    double elems = 1;
    if (lead) elems = (double)(dim[0] = E->frame->group->experts);
    for (int i = 0; i < type->nkid; i++) {
        if (type->kid[i]->kind == AST_NAME && !strcmp(type->kid[i]->name, "..")) {
            sema_error(E, type->kid[i]->span, D_weight_shape, "a %s needs all its dimensions",
                       noun(stmt));
            return false;
        }
        int64_t *n = &dim[lead + i];
        if (!eval_int(E, type->kid[i], "a dimension", n)) return false;
        elems *= (double)*n;
        if (*n >= 1 && elems < (double)FE_MAX_ELEMS) continue;
        sema_error(E, type->kid[i]->span, D_weight_shape, "%s: dimension %d of `%s` is %" PRId64,
                   *n < 1 ? "a dimension is at least 1"
                          : arena_printf(E->a, "this %s is too large", noun(stmt)),
                   i, stmt->name, *n);
        return false;
    }
    *rank = lead + type->nkid;
    return true;
}

/* The value of an update is no way to a loss, so nothing made there is ever trained; and a state
 * made there would belong to no step that is clear. */
static bool made_in_update(Elab *E, const Ast *stmt) {
    if (!E->updating) return false;
    Diag *dg = sema_error(E, stmt->name_span, D_update_makes,
                          "the %s `%s` would be made inside the update of `%s`", noun(stmt),
                          stmt->name, E->updating->name);
    sema_note(E, dg, E->updating->span, "which is here: call the layer before it");
    return true;
}

static const FeValue *make_weight(Elab *E, const Ast *stmt) {
    int64_t dim[IR_MAX_RANK];
    int rank;
    if (!stmt->type || !weight_shape(E, stmt, dim, &rank)) return fv_bad();
    int lead = E->frame->group ? 1 : 0;
    const FeValue *init = eval_expr(E, stmt->a);
    if (init->kind == FV_BAD) return init;
    if (init->kind != FV_INIT) {
        Diag *dg = sema_error(E, stmt->a->span, D_weight_init,
                              "a %s starts from an initialiser such as zeros(), not %s", noun(stmt),
                              fv_describe(E->a, init));
        sema_note(E, dg, init->span, "made here");
        return fv_bad();
    }
    const char *rule = init_text(E, stmt, init, rank - lead, dim + lead);
    if (!rule) return fv_bad();
    if (init->same && vm_inits[init->init].varies && lead)
        rule = arena_printf(E->a, "same(%s)", rule);
    if (!count_named(E, stmt->span)) return fv_bad();
    const char *name = path_join(E->a, E->path->text, stmt->name);
    if (!take_name(E, name)) {
        sema_error(E, stmt->name_span, D_duplicate_weight, "the name %s is taken already", name);
        return fv_bad();
    }
    const char *own = path_join(E->a, E->path->init, stmt->name);
    bool state = stmt->kind == AST_STATE;
    bool decay = init->decay && !state && !(E->matrices_decay && rank - lead < 2);
    elab_at(E, stmt->span);
    IrValue *w = ir_param(&E->b, name, ir_type(DT_f32, rank, dim), rule,
                          strcmp(own, name) ? own : "", decay);
    if (state) ir_set_int(w->node, ATTR_param_state, 1);
    if (!state) E->weights += ir_elems(&w->type);
    sema_note_weight(E, stmt, w->node);
    return fv_tensor(E->a, w, E->frame->group, lead > 0, stmt->span);
}

void elab_weight(Elab *E, const Ast *stmt) {
    int64_t before = E->weights;
    const FeValue *v = made_in_update(E, stmt) ? fv_bad() : make_weight(E, stmt);
    scope_bind(E, E->frame->scope, stmt->name, v, stmt->name_span, NULL);
    sema_saw(E, stmt, v);
    sema_made(E, stmt, E->weights - before);
}

/* ---- states --------------------------------------------------------------------------------- */

void elab_state(Elab *E, const Ast *stmt) {
    const FeValue *v = made_in_update(E, stmt) ? fv_bad() : make_weight(E, stmt);
    FeBinding *b = scope_bind(E, E->frame->scope, stmt->name, v, stmt->name_span, "a state");
    sema_saw(E, stmt, v);
    b->state = ARENA_NEW(E->a, FeState);
    *b->state = (FeState){.value = v, .name = stmt->name, .span = stmt->span, .next = E->states};
    E->states = b->state;
}

/* The state of this layer, as far as it has got, that may have been meant. */
static const FeBinding *near_state(const Elab *E, const char *name) {
    VEC(const char *) all = {0};
    for (const FeScope *s = E->frame->scope; s; s = s->up)
        for (const FeBinding *b = s->first; b; b = b->next)
            if (b->state) VEC_PUSH(E->a, all, b->name);
    const char *near = spell_suggest(name, all.at, all.n);
    return near ? scope_find(E->frame, near) : NULL;
}

/* Who called this layer may have a state of that name. */
static const FeBinding *callers_state(const Elab *E, const char *name) {
    for (const FeFrame *f = E->frame->up; f; f = f->up) {
        const FeBinding *b = scope_find(f, name);
        if (b && b->state) return b;
    }
    return NULL;
}

static void no_state(Elab *E, const Ast *stmt, const FeBinding *b) {
    const char *where = E->frame->layer ? "layer" : "model";
    if (b) {
        Diag *dg = sema_error(E, stmt->name_span, D_update_target,
                              "`%s` is %s and no state of this %s, which alone can be updated",
                              stmt->name, fv_describe(E->a, b->value), where);
        sema_note(E, dg, b->span, "`%s` is bound here", stmt->name);
        return;
    }
    const FeBinding *near = near_state(E, stmt->name), *above = callers_state(E, stmt->name);
    const FeBinding *meant = near ? near : above;
    const char *hint =
        near    ? arena_printf(E->a, ": did you mean `%s`?", near->name)
        : above ? ": a state is updated where it is declared"
                : arena_printf(E->a, "; declare it by `state %s: [dims] = zeros()`", stmt->name);
    Diag *dg = sema_error(E, stmt->name_span, D_update_target, "this %s has no state `%s`%s", where,
                          stmt->name, hint);
    if (meant) sema_note(E, dg, meant->span, "`%s` is declared here", meant->name);
}

/* Values of one expert, the same for all of them. */
static IrValue *for_all_experts(Elab *E, const IrType *t, IrValue *v) {
    IrType one = *t;
    memmove(one.dim, one.dim + 1, (size_t)--one.rank * sizeof one.dim[0]);
    return ir_type_equal(&v->type, &one) ? ir_broadcast(&E->b, v, t) : v;
}

/* What the state becomes, of its type; NULL after a message. */
static IrValue *update_value(Elab *E, const Ast *stmt, const FeState *s, const FeValue *v) {
    const FeValue *own = s->value;
    const IrType *t = &own->v->type;
    elab_at(E, stmt->span);
    if (fv_is_number(v) && fabs(fv_number(v)) <= FLT_MAX) return ir_const(&E->b, fv_number(v), *t);
    IrValue *x = v->kind == FV_TENSOR ? v->v : NULL;
    if (x && !v->group && own->group) x = for_all_experts(E, t, x);
    bool fits = x && (!v->group || (v->group == own->group && v->per_expert));
    if (fits && ir_type_equal(&x->type, t)) return x;
    Diag *dg =
        sema_error(E, stmt->a->span, D_update_value, "the state `%s` is %s, its update is %s",
                   stmt->name, fv_describe(E->a, own), fv_describe(E->a, v));
    sema_note(E, dg, s->span, "`%s` is declared here", stmt->name);
    if (v->span.start != stmt->a->span.start) sema_note(E, dg, v->span, "its update is made here");
    return NULL;
}

static const FeValue *eval_update(Elab *E, const Ast *stmt) {
    const Ast *saved_call = E->named_call, *saved = E->updating;
    E->named_call = NULL;
    E->updating = stmt;
    const FeValue *v = eval_expr(E, stmt->a);
    E->updating = saved;
    E->named_call = saved_call;
    return v;
}

static bool updated_before(Elab *E, const Ast *stmt, const FeState *s) {
    if (!s->updated.src) return false;
    Diag *dg =
        sema_error(E, stmt->span, D_update_twice,
                   "`%s` is updated a second time: a state has one update in a step", stmt->name);
    sema_note(E, dg, s->updated, "the first one is here");
    sema_note(E, dg, s->span, "`%s` is declared here", stmt->name);
    return true;
}

void elab_update(Elab *E, const Ast *stmt) {
    const FeBinding *b = scope_find(E->frame, stmt->name);
    if (E->updating) {
        Diag *dg = sema_error(E, stmt->span, D_update_makes,
                              "`%s` would be updated inside the update of `%s`", stmt->name,
                              E->updating->name);
        sema_note(E, dg, E->updating->span, "which is here: call the layer before it");
        return;
    }
    if (!b || !b->state) {
        if (!b || b->value->kind != FV_BAD) no_state(E, stmt, b);
        return;
    }
    FeState *s = b->state;
    if (updated_before(E, stmt, s)) return;
    s->updated = stmt->span;
    const FeValue *v = eval_update(E, stmt);
    if (v->kind == FV_BAD || s->value->kind == FV_BAD) return;
    IrValue *x = update_value(E, stmt, s, v);
    if (!x || !count_named(E, stmt->span)) return;
    const char *name = ir_str(s->value->v->node, ATTR_param_name);
    ir_add_out(E->g, OUT_update, path_join(E->a, "state", name), x, 1, span_loc(stmt->span));
}

/* ---- what states a model has ---------------------------------------------------------------- */

static void warn_unchanged(Elab *E) {
    for (const FeState *s = E->states; s; s = s->next) {
        if (s->updated.src || s->value->kind == FV_BAD) continue;
        sema_warning(E, s->span, D_state_unchanged,
                     "the state `%s` (%s) has no update: it stays as it starts", s->name,
                     ir_str(s->value->v->node, ATTR_param_name));
    }
}

enum { WEIGHT = 1, STATE = 2 }; /* what a gradient would arrive at; what is read */

/* n->mark: the two bits of all that a node is computed from. */
static void mark_origins(const IrGraph *g) {
    IR_FOR (n, g) {
        n->mark = 0;
        if (n->op == OP_param) n->mark = ir_int(n, ATTR_param_state) ? STATE : WEIGHT;
        for (int i = 0; i < n->nin; i++) n->mark |= n->in[i]->node->mark;
        if (n->op != OP_param && ir_ops[n->op].grad == GRAD_STOP) n->mark &= ~WEIGHT;
    }
}

static const FeState *state_behind(const Elab *E, const IrNode *n) {
    while (n->op != OP_param) {
        int i = 0;
        while (!(n->in[i]->node->mark & STATE)) i++;
        n = n->in[i]->node;
    }
    for (const FeState *s = E->states; s; s = s->next)
        if (s->value->kind == FV_TENSOR && s->value->v->node == n) return s;
    VM_BUG("the state %s was declared nowhere", ir_str(n, ATTR_param_name));
}

/* A loss that only states decide has no gradient anywhere. */
static void check_gradients(Elab *E) {
    mark_origins(E->g);
    for (int i = 0; i < E->g->nout; i++) {
        const IrOut *o = &E->g->out[i];
        if (o->kind != OUT_loss && o->kind != OUT_aux) continue;
        if (o->value->node->mark != STATE) continue;
        const FeState *s = state_behind(E, o->value->node);
        Diag *dg =
            sema_error(E, fe_place(E->e, o->loc, E->model), D_state_gradient,
                       "the %s %s depends on the state `%s` and on no weight: a state has no "
                       "gradient, so nothing learns from it; make it a metric",
                       ir_out_kind_name(o->kind), o->name, s->name);
        sema_note(E, dg, s->span, "`%s` is declared here", s->name);
    }
}

void check_states(Elab *E) {
    if (!E->states) return;
    warn_unchanged(E);
    check_gradients(E);
}
