/* What elaborates and is hardly meant: weights that nothing depends on, a softmax before a
 * cross-entropy, a loss that counts twice. Found in the graph of a model that has no mistakes. */
#include "frontend/meaning/sema.h"

#include <inttypes.h>
#include <string.h>

/* ---- weights that nothing depends on --------------------------------------------------------- */

void sema_note_weight(Elab *E, const Ast *stmt, IrNode *w) {
    const FeFrame *f;
    FeMade *m = ARENA_NEW(E->a, FeMade);
    *m = (FeMade){.weight = w, .place = elab_user_place(E, stmt->span, &f)};
    m->in_call = m->place.src != stmt->span.src;
    const FeFrame *inner = E->frame;
    while (m->in_call && inner->up != f) inner = inner->up;
    m->what = m->in_call ? inner->name : stmt->name;
    m->next = E->made;
    E->made = m;
}

/* n->mark: whether a result of the model is computed from it. */
static void mark_live(const IrGraph *g) {
    IrNode *last = NULL;
    IR_FOR (n, g) {
        n->mark = 0;
        last = n;
    }
    for (int i = 0; i < g->nout; i++) g->out[i].value->node->mark = 1;
    for (IrNode *n = last; n; n = n->prev)
        for (int i = 0; n->mark && i < n->nin; i++) n->in[i]->node->mark = 1;
}

static bool same_place(Span a, Span b) {
    return a.src == b.src && a.start == b.start && a.end == b.end;
}

/* Numbers of those made at the same place: all of them, and those that are used. */
static void count_at(const FeMade *all, Span at, int64_t *total, int64_t *used) {
    *total = *used = 0;
    for (const FeMade *m = all; m; m = m->next) {
        if (!same_place(m->place, at)) continue;
        int64_t n = ir_elems(&m->weight->out[0].type);
        *total += n;
        *used += m->weight->mark ? n : 0;
    }
}

static void warn_unused_weights(Elab *E) {
    mark_live(E->g);
    for (const FeMade *m = E->made; m && E->d->nwarnings < DIAGS_MAX; m = m->next) {
        if (m->weight->mark || ir_int(m->weight, ATTR_param_state)) continue;
        int64_t total, used;
        count_at(E->made, m->place, &total, &used);
        const char *name = ir_str(m->weight, ATTR_param_name);
        if (!m->in_call)
            diag_warning(E->d, m->place, D_unused_weights,
                         "the weight `%s` (%s, %" PRId64 " parameters) is never used: no loss, "
                         "metric or result depends on it",
                         m->what, name, total);
        else
            diag_warning(E->d, m->place, D_unused_weights,
                         "the result of `%s` is not used: no loss, metric or result depends on "
                         "%" PRId64 " of its %" PRId64 " parameters, such as %s",
                         m->what, total - used, total, name);
    }
}

/* ---- a loss that counts twice ---------------------------------------------------------------- */

static bool same_attr(const IrNode *a, const IrNode *b, int i) {
    const IrAttr *x = &a->attr[i], *y = &b->attr[i];
    bool text = (!x->s && !y->s) || (x->s && y->s && !strcmp(x->s, y->s));
    bool list = x->n == y->n && (!x->n || !memcmp(x->v, y->v, (size_t)x->n * sizeof *x->v));
    return x->i == y->i && x->f == y->f && text && list;
}

/* Whether two values are the same computation from the same leaves; false when it takes long. */
static bool same_value(const IrValue *a, const IrValue *b, int *budget) {
    const IrNode *x = a->node, *y = b->node;
    if (a == b) return true;
    bool leaf = x->nin == 0 && x->op != OP_const && x->op != OP_table;
    if (--*budget < 0 || leaf || x->op != y->op || x->nin != y->nin || a->index != b->index)
        return false;
    if (!ir_type_equal(&a->type, &b->type)) return false;
    for (int i = 0; i < ir_ops[x->op].nattr; i++)
        if (!same_attr(x, y, i)) return false;
    for (int i = 0; i < x->nin; i++)
        if (!same_value(x->in[i], y->in[i], budget)) return false;
    return true;
}

static void warn_double_losses(Elab *E) {
    enum { BUDGET = 2000, MANY = 16, ALL = 200000 };
    const IrGraph *g = E->g;
    int left = ALL; /* for all of them: a file may have thousands */
    for (int i = 0; i < g->nout; i++) {
        const IrOut *x = &g->out[i];
        if (x->kind != OUT_loss && x->kind != OUT_aux) continue;
        for (int k = i > MANY ? i - MANY : 0; k < i && left > 0; k++) {
            int budget = BUDGET;
            const IrOut *y = &g->out[k];
            bool same = y->kind == x->kind && same_value(x->value, y->value, &budget);
            left -= BUDGET - budget + 1;
            if (!same) continue;
            Diag *dg = diag_warning(E->d, fe_place(E->e, x->loc, E->model), D_double_loss,
                                    "this %s is the same as %s: it counts twice; remove one, or "
                                    "give one a `weight`",
                                    ir_out_kind_name(x->kind), y->name);
            diag_note(E->d, dg, fe_place(E->e, y->loc, E->model), "the first one is here");
            break;
        }
    }
}

/* ---- probabilities where logits are expected --------------------------------------------------
 */

/* What a value is, seen through what only gives it another shape. */
static const IrNode *behind_views(const IrValue *v) {
    const IrNode *n = v->node;
    while (ir_ops[n->op].route == ROUTE_VIEW && n->nin > 0) n = n->in[0]->node;
    return n;
}

void sema_softmax_twice(Elab *E, const FeCall *c) {
    const FeValue *logits = c->arg[0];
    const IrNode *n = behind_views(logits->v);
    bool log_of = n->op == OP_log && behind_views(n->in[0])->op == OP_softmax;
    bool log_softmax = log_of || (logits->maker && !strcmp(logits->maker, "log_softmax"));
    if (n->op != OP_softmax && !log_softmax) return;
    Diag *dg = sema_warning(E, c->span[0], D_double_softmax,
                            "`%s` takes logits and makes the softmax itself, these are %s of a "
                            "softmax already: leave the %s out",
                            c->b->name, log_softmax ? "logarithms" : "the probabilities",
                            log_softmax ? "log_softmax" : "softmax");
    sema_note_beside(E, dg, logits->span, "they are made here");
}

void check_doubts(Elab *E) {
    warn_unused_weights(E);
    warn_double_losses(E);
}
