/* What is said of the first op that leaves finite numbers: its place, what it was given, which
 * weights had a hand in it, and what may help (hints.def). */
#include "driver/session/finite.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* ---- words ---- */

static const char *gives(Range r) {
    return r.nan ? "NaN" : r.most > 0 && isinf(r.most) ? "inf" : "-inf";
}

/* "-0.31 .. 4.2" */
static const char *range_text(Arena *a, Range r) {
    if (r.most < r.least) return "nothing";
    double least = (double)r.least + 0.0, most = (double)r.most + 0.0; /* -0 is shown as 0 */
    if (r.least == r.most) return arena_printf(a, "%.6g", most);
    return arena_printf(a, "%.6g .. %.6g", least, most);
}

/* "weight 'm.w'", "input 'image'"; NULL: an op makes it. */
static const char *leaf_text(Arena *a, const IrNode *n) {
    if (n->op == OP_param)
        return arena_printf(a, "%s '%s'", ir_is_state(n) ? "state" : "weight",
                            ir_str(n, ATTR_param_name));
    if (n->op == OP_input) return arena_printf(a, "input '%s'", ir_str(n, ATTR_input_name));
    return n->op == OP_table ? "a table" : NULL;
}

/* "loss 'l' is infinite at step 3" */
static const char *failed_text(Arena *a, const VmFailure *f) {
    if (!strcmp(f->kind, "weight"))
        return arena_printf(a, "a weight or state is not finite after step %" PRId64, f->step);
    const char *what =
        arena_printf(a, "%s '%s' is %s", f->kind, f->name, vm_failure_value(f->value));
    if (f->training) return arena_printf(a, "%s at step %" PRId64, what, f->step);
    return arena_printf(a, "%s on images %" PRId64 " to %" PRId64, what, f->first + 1,
                        f->first + f->images);
}

static Span place_of(const Session *s, IrLoc loc) {
    return fe_place(s->exp, loc, s->model);
}

/* Who makes a value, behind views and what is done in the load. */
static const IrNode *maker(const IrValue *v) {
    const IrNode *n = v->node;
    while (n->nin && (ir_ops[n->op].route == ROUTE_VIEW || ir_ops[n->op].route == ROUTE_GATHER ||
                      n->op == OP_copy || n->op == OP_narrow))
        n = n->in[0]->node;
    return n;
}

/* ---- hints ---- */

typedef enum Met { MET_BELOW, MET_AT, MET_ABOVE, MET_BEYOND } Met;

static bool is_met(Met met, float number, Range r) {
    switch (met) {
    case MET_BELOW: return r.least < number;
    case MET_AT: return r.least <= number && r.most >= number;
    case MET_ABOVE: return r.most > number;
    case MET_BEYOND: return r.most > number || r.least < -number;
    }
    VM_BUG("no condition %d", (int)met);
}

static const struct {
    OpCode op;
    int operand;
    Met met;
    float number;
    const char *text;
} hints[] = {
#define HINT(op, operand, met, number, text) {OP_##op, operand, MET_##met, (float)(number), text},
#include "driver/session/hints.def"
};

static const char *hint_of(const Look *l, const IrNode *n) {
    for (size_t i = 0; i < sizeof hints / sizeof *hints; i++)
        if (hints[i].op == n->op && hints[i].operand < n->nin &&
            is_met(hints[i].met, hints[i].number, session_look_range(l, n->in[hints[i].operand])))
            return hints[i].text;
    return NULL;
}

/* The weight with the largest number, and that. */
static const IrNode *largest_weight(const Look *l, float *size) {
    const IrNode *largest = NULL;
    *size = 0;
    IR_FOR (n, l->program->graph) {
        if (n->op != OP_param) continue;
        Range r = l->range[n->id][0];
        float x = fmaxf(fabsf(r.least), fabsf(r.most));
        if (x > *size) largest = n;
        if (x > *size) *size = x;
    }
    return largest;
}

/* Products and sums overflow because something was too large long before. */
static void note_sizes(const Look *l, const IrNode *n, Diag *dg) {
    enum { LARGE = 1000 };
    Diags *d = l->s->finding;
    Arena *a = l->s->arena;
    float size;
    const IrNode *w = largest_weight(l, &size);
    const char *hint = hint_of(l, n);
    if (hint) diag_note(d, dg, (Span){0}, "%s", hint);
    if (w && size > LARGE)
        diag_note(d, dg, (Span){0}, "weights have grown large: '%s' is %s%s",
                  ir_str(w, ATTR_param_name), range_text(a, l->range[w->id][0]),
                  l->failure->training ? "; a smaller rate or a longer warmup may help" : "");
    else if (!hint)
        diag_note(d, dg, (Span){0}, "the result lies beyond 3.4e38, the largest number");
}

/* ---- the finding ---- */

static void note_operands(const Look *l, const IrNode *n, Diag *dg) {
    enum { SHOWN = 4 };
    Arena *a = l->s->arena;
    for (int i = 0, shown = 0; i < n->nin && shown < SHOWN; i++) {
        const IrValue *v = n->in[i];
        if (v->type.dtype == DT_i32) continue;
        const IrNode *m = maker(v);
        const char *leaf = leaf_text(a, m);
        bool elsewhere = m->loc.file && (!n->loc.file || m->loc.line != n->loc.line ||
                                         strcmp(m->loc.file, n->loc.file) != 0);
        diag_note(l->s->finding, dg, elsewhere ? place_of(l->s, m->loc) : (Span){0},
                  "operand %d, %s%s%s, is %s", i + 1, leaf ? leaf : "", leaf ? " " : "",
                  ir_type_text(a, &v->type), range_text(a, session_look_range(l, v)));
        shown++;
    }
}

/* Facts of the log: what is known, for programs. */
static void put_facts(const Look *l, const IrNode *n, VmFacts *to) {
    Arena *a = l->s->arena;
    VmFacts inputs = {0};
    vm_facts_text(to, "op", ir_ops[n->op].name);
    if (n->loc.file)
        vm_facts_text(to, "place",
                      arena_printf(a, "%s:%d:%d", n->loc.file, n->loc.line, n->loc.col));
    vm_facts_text(to, "result", gives(l->range[n->id][0]));
    for (int i = 0; i < n->nin; i++) {
        if (n->in[i]->type.dtype == DT_i32) continue;
        Range r = session_look_range(l, n->in[i]);
        VmFacts one = {0};
        const IrNode *m = maker(n->in[i]);
        if (m->op == OP_param) vm_facts_text(&one, "weight", ir_str(m, ATTR_param_name));
        vm_facts_text(&one, "shape", ir_type_text(a, &n->in[i]->type));
        vm_facts_number(&one, "least", (double)r.least);
        vm_facts_number(&one, "most", (double)r.most);
        vm_facts_group(&inputs, NULL, one);
    }
    vm_facts_list(to, "inputs", inputs);
}

/* Data or weights that are not finite themselves. */
static Diag *say_leaf(const Look *l, const IrNode *n, const char *failed) {
    Range r = l->range[n->id][0];
    const char *what = leaf_text(l->s->arena, n);
    Diag *dg = diag_error(l->s->finding, place_of(l->s, n->loc), D_run_not_finite,
                          "%s: %s has values that are %s", failed, what ? what : "a leaf",
                          r.nan ? "not numbers" : "infinite");
    if (n->op == OP_input)
        diag_note(l->s->finding, dg, (Span){0},
                  "x = (pixel / 255 - mean) / std: mean and std of the train block's data");
    return dg;
}

static Diag *say_op(const Look *l, const IrNode *n, const char *failed) {
    Range r = l->range[n->id][0];
    Diag *dg = diag_error(l->s->finding, place_of(l->s, n->loc), D_run_not_finite,
                          "%s: `%s` is the first to leave finite numbers, it gives %s", failed,
                          ir_ops[n->op].name, gives(r));
    note_operands(l, n, dg);
    note_sizes(l, n, dg);
    return dg;
}

/* What the failure left. */
static void note_state(const Look *l, Diag *dg) {
    const VmFailure *f = l->failure;
    if (!f->training) return;
    if (f->weight[0])
        diag_note(l->s->finding, dg, (Span){0}, "%s", f->weight);
    else
        diag_note(l->s->finding, dg, (Span){0},
                  "the step changed no weight; its learning rate was %g", f->rate);
}

void session_look_say(Look *l, const IrNode *origin, VmFacts *found) {
    const char *failed = failed_text(l->s->arena, l->failure);
    l->s->finding = diags_create(l->s->arena);
    Diag *dg = origin->nin ? say_op(l, origin, failed) : say_leaf(l, origin, failed);
    note_state(l, dg);
    put_facts(l, origin, found);
}

void session_look_say_gradient(Look *l, const char *weight, const IrNode *origin,
                               const VmFailure *at, VmFacts *found) {
    Session *s = l->s;
    const char *failed = failed_text(s->arena, l->failure);
    s->finding = diags_create(s->arena);
    if (origin) {
        Range r = l->range[origin->id][0];
        Diag *dg = diag_error(s->finding, place_of(s, origin->loc), D_run_not_finite,
                              "%s: the gradient of '%s' was not in step %" PRId64
                              "; `%s`, made for the backward pass here, gives %s",
                              failed, weight, at->step, ir_ops[origin->op].name, gives(r));
        note_operands(l, origin, dg);
        note_sizes(l, origin, dg);
        put_facts(l, origin, found);
        vm_facts_text(found, "gradient", weight);
    } else {
        Diag *dg =
            diag_error(s->finding, (Span){0}, D_run_not_finite,
                       "%s: all gradients were finite in step %" PRId64 ", its update was not",
                       failed, at->step);
        diag_note(s->finding, dg, (Span){0}, "%s", at->weight);
    }
    vm_facts_int(found, "step", at->step);
}

void session_look_say_nothing(Session *s, const VmFailure *f, const char *why) {
    session_note(s, "%s: where that began is not known: %s", failed_text(s->arena, f), why);
}
