/* Finds where values that are not finite come from, in a program that has run and says the range of
 * all results.
 *
 * From a value that is not finite one goes back to those operands that are not, through to nodes
 * all of whose operands are finite. NaN comes from NaN where an operand has one, and from
 * infinities elsewhere; so an infinity that is meant, like that of a mask, is passed by unless it
 * did the harm. Among several origins the first in graph order is the answer. */
#include "driver/session/finite.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- ranges ---- */

static Range of_numbers(const float *x, int64_t n) {
    Range r = {.least = INFINITY, .most = -INFINITY};
    for (int64_t i = 0; i < n; i++) {
        if (isnan(x[i]))
            r.nan = true;
        else if (isinf(x[i]))
            r.infinite = true;
        if (x[i] < r.least) r.least = x[i];
        if (x[i] > r.most) r.most = x[i];
    }
    return r;
}

static Range of_outputs(float least, float most) {
    return (Range){.least = least,
                   .most = most,
                   .nan = isnan(least) || isnan(most),
                   .infinite = isinf(least) || isinf(most)};
}

static Range together(Range a, Range b) {
    return (Range){.least = fminf(a.least, b.least),
                   .most = fmaxf(a.most, b.most),
                   .nan = a.nan || b.nan,
                   .infinite = a.infinite || b.infinite};
}

static const Range nothing = {.least = INFINITY, .most = -INFINITY};

static bool is_float(const IrValue *v) {
    return v->type.dtype != DT_i32;
}

/* A leaf's numbers are looked at where they are. */
static Range of_leaf(const Look *l, const IrNode *n) {
    const char *name = n->op == OP_param   ? ir_str(n, ATTR_param_name)
                       : n->op == OP_input ? ir_str(n, ATTR_input_name)
                       : n->op == OP_table ? ir_str(n, ATTR_table_values)
                                           : NULL;
    if (n->op == OP_const) {
        float x = (float)ir_float(n, ATTR_const_value);
        return (Range){.least = x, .most = x};
    }
    const float *x = name ? vm_engine_data(l->s->engine, l->program->index, name) : NULL;
    return x && is_float(&n->out[0]) ? of_numbers(x, ir_elems(&n->out[0].type)) : nothing;
}

/* Of a value that is a way to look at others, or is made in the load of who reads it. */
static Range of_operands(const Look *l, const IrNode *n) {
    Range r = nothing;
    for (int i = 0; i < n->nin; i++)
        if (is_float(n->in[i])) r = together(r, session_look_range(l, n->in[i]));
    return r;
}

Range session_look_range(const Look *l, const IrValue *v) {
    return l->range[v->node->id][v->index];
}

void session_look_read(Look *l) {
    const Program *p = l->program;
    const IrGraph *g = p->graph;
    Arena *a = l->s->arena;
    bool **known = ARENA_ARRAY(a, bool *, g->nnodes);
    l->range = ARENA_ARRAY(a, Range *, g->nnodes);
    IR_FOR (n, g) {
        l->range[n->id] = ARENA_ARRAY(a, Range, n->nout);
        known[n->id] = ARENA_ARRAY(a, bool, n->nout);
    }
    for (int i = 0; i < p->ranges->nvalue; i++) {
        const PassRange *x = &p->ranges->value[i];
        const float *least = vm_engine_data(l->s->engine, p->index, x->least);
        const float *most = vm_engine_data(l->s->engine, p->index, x->most);
        int id = x->value->node->id, r = x->value->index;
        l->range[id][r] = of_outputs(*least, *most);
        known[id][r] = true;
    }
    IR_FOR (n, g)
        for (int r = 0; r < n->nout; r++)
            if (!known[n->id][r]) l->range[n->id][r] = n->nin ? of_operands(l, n) : of_leaf(l, n);
}

/* ---- the origin ---- */

static bool is_finite(Range r) {
    return !r.nan && !r.infinite;
}

static bool has_nan_operand(const Look *l, const IrNode *n) {
    for (int i = 0; i < n->nin; i++)
        if (is_float(n->in[i]) && session_look_range(l, n->in[i]).nan) return true;
    return false;
}

/* Marks the operands that n's marked results owe it to; false: there are none. */
static bool pass_on(const Look *l, const IrNode *n, bool nan, char **mark) {
    bool any = false, by_nan = nan && has_nan_operand(l, n);
    for (int i = 0; i < n->nin; i++) {
        const IrValue *v = n->in[i];
        if (!is_float(v)) continue;
        Range r = session_look_range(l, v);
        if (by_nan ? !r.nan : is_finite(r)) continue;
        mark[v->node->id][v->index] = true;
        any = true;
    }
    return any;
}

const IrNode *session_look_origin(const Look *l, const IrValue *v) {
    const IrGraph *g = l->program->graph;
    if (is_finite(session_look_range(l, v))) return NULL;
    char **mark = ARENA_ARRAY(l->s->arena, char *, g->nnodes);
    IR_FOR (n, g) mark[n->id] = ARENA_ARRAY(l->s->arena, char, n->nout);
    mark[v->node->id][v->index] = true;
    const IrNode *first = NULL;
    for (const IrNode *n = g->last; n; n = n->prev) { /* operands stand before their readers */
        bool marked = false, nan = false;
        for (int r = 0; r < n->nout; r++) {
            marked |= mark[n->id][r];
            nan |= mark[n->id][r] && l->range[n->id][r].nan;
        }
        if (marked && !pass_on(l, n, nan, mark)) first = n;
    }
    return first;
}

const IrValue *session_look_result(const Look *l, const char *name) {
    const IrGraph *g = l->program->graph;
    for (int i = 0; i < g->nout; i++)
        if (g->out[i].kind != OUT_output && !strcmp(g->out[i].name, name)) return g->out[i].value;
    return NULL;
}
