/* Forms of statements and expressions: arithmetic, masks, loops, conditions, states. */
#include "tests/fuzz/programs/gen.h"

#include <inttypes.h>
#include <string.h>

Expr grow_form_arithmetic(Gen *g, Expr x) {
    Expr y = prog_beside(g, x.shape, 1);
    switch (prog_below(g, 6)) {
    case 0: return prog_expr(prog_text(g, "-%s", prog_operand(g, x)), x.shape);
    case 1: return prog_join(g, x, "/", prog_positive(g, prog_like(g, x.shape, 0)));
    case 2: return prog_damp(g, prog_join(g, x, "*", y));
    case 3:
        return prog_expr(
            prog_text(g, "%s - %s * %s", prog_operand(g, x), prog_real(g, 0.5), prog_operand(g, y)),
            x.shape);
    case 4:
        return prog_expr(prog_text(g, "%s / (1 + square(%s))", prog_real(g, 2), x.text), x.shape);
    default: return prog_join(g, x, "+", y);
    }
}

Expr grow_form_comparison(Gen *g, Expr x) {
    Expr m = prog_mask(g, x.shape, 1);
    return m.text ? prog_join(g, x, GEN_WORD(g, "*", "+", "-"), m) : prog_none;
}

/* Some name of the pool that the body itself has bound, of any shape. */
Expr grow_form_rebind(Gen *g, Expr x) {
    if (g->body->quiet || g->body->rows || !x.atom) return prog_none;
    prog_line(g, "%s = %s", x.text,
              prog_join(g, x, "+", prog_damp(g, prog_like(g, x.shape, 1))).text);
    return x;
}

/* ---- loops ----------------------------------------------------------------------------------- */

/* The body of a loop: x stays what it is called, and what is bound is forgotten. */
static void loop_body(Gen *g, const char *x, Shape s) {
    int known = g->body->npool;
    Expr e = prog_atom(x, s), y = prog_none;
    for (int tries = 0; tries < 6 && !y.text; tries++) {
        const GenRow *row = &prog_row_wise[prog_below(g, prog_nrow_wise)];
        y = row->grow(g, e);
        if (y.text && !prog_same(&y.shape, &s)) y = prog_none;
    }
    if (!y.text) y = prog_unary(g, e);
    prog_line(g, "%s = %s", x,
              prog_chance(g, 60) ? prog_join(g, e, "+", prog_damp(g, y)).text : y.text);
    if (g->body->npool > known) g->body->npool = known;
}

static const char *begin_loop(Gen *g, Expr x) {
    const char *name = prog_name(g, "x");
    prog_line(g, "%s = %s", name, strcmp(x.text, "image") ? x.text : "image / 2");
    return name;
}

static Expr end_loop(Gen *g, const char *name, Shape s) {
    prog_close(g);
    g->nesting--;
    return prog_atom(name, s);
}

static bool may_nest(const Gen *g) {
    return !g->body->quiet && !g->body->rows && g->nesting < 2;
}

Expr grow_form_range_loop(Gen *g, Expr x) {
    if (!may_nest(g)) return prog_none;
    const char *name = begin_loop(g, x), *i = prog_name(g, "i");
    int64_t from = prog_below(g, 3), n = 1 + prog_below(g, 3);
    const char *first = prog_text(g, "%" PRId64, from);
    prog_open(g, "for %s in %s..%s%s", i, first, prog_int(g, from + n),
              prog_chance(g, 40) ? " same_init" : "");
    g->nesting++;
    loop_body(g, name, x.shape);
    if (prog_chance(g, 40)) prog_line(g, "%s = %s * (1 / (1 + %s))", name, name, i);
    if (prog_chance(g, 40)) {
        prog_open(g, "if %s %% 2 == %d", i, (int)prog_below(g, 2));
        loop_body(g, name, x.shape);
        prog_close(g);
    }
    return end_loop(g, name, x.shape);
}

Expr grow_form_list_loop(Gen *g, Expr x) {
    if (!may_nest(g)) return prog_none;
    const char *name = begin_loop(g, x), *i = prog_name(g, "v");
    int64_t last = prog_last(&x.shape), parts = prog_divisor(g, last);
    int kind = (int)prog_below(g, 3);
    if (kind == 0)
        prog_open(g, "for %s in [%s, %s]", i, prog_int(g, 2 + prog_below(g, 8)),
                  prog_int(g, 1 + prog_below(g, 8)));
    else if (kind == 1)
        prog_open(g, "for %s in split(%s, %s)", i, x.text, prog_int(g, parts));
    else
        prog_open(g, "for %s in [[%s, 0.5], [%s, 0.25]]", i, prog_int(g, 2), prog_int(g, 3));
    g->nesting++;
    if (kind == 0 && x.shape.rank >= 2)
        prog_line(g, "%s = %s + (linear(tanh(%s), %s) |> linear(%s))", name, name, name, i,
                  prog_int(g, last));
    else if (kind == 1)
        prog_line(g, "%s = %s * 0.5 + mean(tanh(%s), axis = -1, keep = true)", name, name, i);
    else if (kind == 2)
        prog_line(g, "%s = tanh(%s) * %s[1] + %s[0] / 8", name, name, i, i);
    loop_body(g, name, x.shape);
    return end_loop(g, name, x.shape);
}

/* ---- conditions ------------------------------------------------------------------------------ */

static void branch(Gen *g, const char *name, Expr x) {
    prog_line(g, "%s = %s", name, prog_unary(g, prog_chance(g, 50) ? prog_damp(g, x) : x).text);
}

Expr grow_form_if_else(Gen *g, Expr x) {
    if (!may_nest(g)) return prog_none;
    const char *name = prog_name(g, "x");
    prog_open(g, "if %s", prog_truth(g, prog_chance(g, 50)));
    g->nesting++;
    branch(g, name, x);
    g->body->indent--;
    if (prog_chance(g, 50)) {
        prog_open(g, "} else if %s", prog_truth(g, prog_chance(g, 50)));
        branch(g, name, x);
        g->body->indent--;
    }
    prog_open(g, "} else");
    branch(g, name, x);
    prog_close(g);
    g->nesting--;
    return prog_atom(name, x.shape);
}

Expr grow_form_conditional(Gen *g, Expr x) {
    Expr a = prog_unary(g, x), b = prog_damp(g, x);
    const char *middle = prog_chance(g, 30)
                             ? prog_text(g, "else if %s { -%s } ",
                                         prog_truth(g, prog_chance(g, 50)), prog_operand(g, x))
                             : "";
    return prog_expr(prog_text(g, "if %s { %s } %selse { %s }", prog_truth(g, prog_chance(g, 60)),
                               a.text, middle, b.text),
                     x.shape);
}

Expr grow_form_pair(Gen *g, Expr x) {
    int64_t last = prog_last(&x.shape);
    if (g->body->quiet || g->body->rows || last % 2) return prog_none;
    const char *a = prog_name(g, "p"), *b = prog_name(g, "p");
    Shape s = prog_with_last(x.shape, last / 2);
    prog_line(g, "%s, %s = split(%s, %s)", a, b, x.text, prog_int(g, 2));
    prog_keep(g, prog_atom(a, s));
    prog_keep(g, prog_atom(b, s));
    return prog_damp(g, prog_expr(prog_text(g, "%s * %s", a, b), s));
}

/* ---- states ---------------------------------------------------------------------------------- */

/* The value of an update over the mean of x: no weights are made inside. */
static const char *update_of(Gen *g, const char *state, const char *mean) {
    switch (prog_below(g, 3)) {
    case 0: return prog_text(g, "%s + %s * (%s - %s)", state, prog_real(g, 0.25), mean, state);
    case 1: return prog_text(g, "where(%s > %s, %s, 0.5 * %s)", mean, state, mean, state);
    default: return prog_text(g, "maximum(%s * 0.5, %s)", state, mean);
    }
}

static Expr average(Gen *g, Expr x) {
    const char *s = prog_name(g, "s");
    Shape last = SHAPE(prog_last(&x.shape));
    Text axes = text_new(g->arena);
    for (int i = 0; i + 1 < x.shape.rank; i++) text_addf(&axes, "%s%d", i ? ", " : "", i);
    const char *mean =
        x.shape.rank > 1 ? prog_text(g, "mean(%s, axis = [%s])", x.text, axes.data) : x.text;
    prog_line(g, "state %s: %s = %s", s, prog_dims(g, &last),
              GEN_WORD(g, "zeros()", "ones()", "constant(0.25)", "normal(0.1)"));
    prog_line(g, "update %s = %s", s, update_of(g, s, mean));
    Expr y =
        prog_atom(prog_text(g, "in_training(%s, %s - %s)", x.text, prog_operand(g, x), s), x.shape);
    if (prog_chance(g, 50)) y = prog_join(g, x, "-", prog_atom(s, x.shape));
    return prog_join(g, y, "*", prog_weight(g, last));
}

static Expr counter(Gen *g, Expr x) {
    const char *s = prog_name(g, "s");
    prog_line(g, "state %s: [] = %s", s, GEN_WORD(g, "zeros()", "ones()"));
    prog_line(g, "update %s = %s + 1", s, s);
    Expr y = prog_join(g, x, "*", prog_weight(g, SHAPE(1)));
    return prog_expr(prog_text(g, "%s * (1.5 - exp(-%s))", y.text, s), x.shape);
}

static Expr exchanged(Gen *g, Expr x) {
    const char *a = prog_name(g, "s"), *b = prog_name(g, "s");
    prog_line(g, "state %s: [2, %s] = normal(0.5)", a, prog_int(g, 3));
    prog_line(g, "state %s: [2, 3] = ones()", b);
    prog_line(g, "update %s = %s", a, b);
    prog_line(g, "update %s = %s", b, a);
    Expr y = prog_join(g, x, "*", prog_weight(g, SHAPE(1)));
    return prog_expr(prog_text(g, "%s + 0.5 * mean(%s * %s)", y.text, a, b), x.shape);
}

/* An average of a weight from before the step. */
static Expr of_weight(Gen *g, Expr x) {
    Expr w = prog_weight(g, SHAPE(prog_last(&x.shape)));
    const char *s = prog_name(g, "s");
    prog_line(g, "state %s: %s = zeros()", s, prog_dims(g, &w.shape));
    prog_line(g, "update %s = %s", s,
              prog_chance(g, 50) ? w.text : prog_text(g, "0.75 * %s + 0.25 * %s", s, w.text));
    return prog_expr(prog_text(g, "%s + %s - 0.5 * %s", prog_operand(g, x), w.text, s), x.shape);
}

Expr grow_form_state(Gen *g, Expr x) {
    if (g->body->quiet || g->body->rows || g->nesting) return prog_none;
    switch (prog_below(g, 5)) {
    case 0: return counter(g, x);
    case 1: return exchanged(g, x);
    case 2: return of_weight(g, x);
    default: return average(g, x);
    }
}

/* ---- results --------------------------------------------------------------------------------- */

Expr grow_form_measure(Gen *g, Expr x) {
    if (g->body->quiet || g->body->rows) return prog_none;
    const char *name = g->body->layer ? "" : prog_text(g, "%s = ", prog_name(g, "size"));
    switch (prog_below(g, 3)) {
    case 0: prog_metric(g, prog_text(g, "mean(square(%s))", x.text)); break;
    case 1: prog_metric(g, prog_text(g, "mean(%s > 0.25)", prog_operand(g, x))); break;
    default: prog_line(g, "aux %smean(square(%s)), weight = %s", name, x.text, prog_real(g, 0.125));
    }
    return x;
}

/* Masks of labels and indices, which compare as integers. */
Expr grow_form_label(Gen *g, Expr x) {
    if (g->body->layer || g->body->rows || !g->label || g->shares) return prog_none;
    if (g->index && prog_chance(g, 50))
        return prog_atom(prog_text(g, "(%s %s %d)", g->index, GEN_WORD(g, "==", "<", ">=", "!="),
                                   (int)prog_below(g, 3)),
                         SHAPE(g->batch, g->nindex));
    const char *mask = prog_text(g, "(%s %s %d)", g->label, GEN_WORD(g, "==", "!=", "<"),
                                 (int)prog_below(g, g->classes));
    if (x.shape.dim[0] != g->batch) return prog_atom(mask, SHAPE(g->batch));
    Shape s = {.rank = x.shape.rank, .dim = {g->batch}};
    for (int i = 1; i < s.rank; i++) s.dim[i] = 1;
    return prog_join(
        g, x, "*",
        prog_atom(prog_text(g, "(0.5 + reshape(%s, %s))", mask, prog_dims(g, &s)), x.shape));
}

Expr grow_form_own_layer(Gen *g, Expr x) {
    return prog_own_layer(g, x, g->body->rows);
}
