/* Forms of statements and expressions: arithmetic, masks, loops, conditions, states. */
#include "tests/fuzz/programs/gen.h"

#include <inttypes.h>
#include <string.h>

Expr grow_form_arithmetic(Gen *g, Expr x) {
    Expr y = gen_beside(g, x.shape, 1);
    switch (gen_below(g, 6)) {
    case 0: return gen_expr(gen_text(g, "-%s", gen_operand(g, x)), x.shape);
    case 1: return gen_join(g, x, "/", gen_positive(g, gen_like(g, x.shape, 0)));
    case 2: return gen_damp(g, gen_join(g, x, "*", y));
    case 3:
        return gen_expr(
            gen_text(g, "%s - %s * %s", gen_operand(g, x), gen_real(g, 0.5), gen_operand(g, y)),
            x.shape);
    case 4: return gen_expr(gen_text(g, "%s / (1 + square(%s))", gen_real(g, 2), x.text), x.shape);
    default: return gen_join(g, x, "+", y);
    }
}

Expr grow_form_comparison(Gen *g, Expr x) {
    Expr m = gen_mask(g, x.shape, 1);
    return m.text ? gen_join(g, x, GEN_WORD(g, "*", "+", "-"), m) : gen_none;
}

/* Some name of the pool that the body itself has bound, of any shape. */
Expr grow_form_rebind(Gen *g, Expr x) {
    if (g->body->quiet || g->body->rows || !x.atom) return gen_none;
    gen_line(g, "%s = %s", x.text, gen_join(g, x, "+", gen_damp(g, gen_like(g, x.shape, 1))).text);
    return x;
}

/* ---- loops ----------------------------------------------------------------------------------- */

/* The body of a loop: x stays what it is called, and what is bound is forgotten. */
static void loop_body(Gen *g, const char *x, Shape s) {
    int known = g->body->npool;
    Expr e = gen_atom(x, s), y = gen_none;
    for (int tries = 0; tries < 6 && !y.text; tries++) {
        const GenRow *row = &gen_row_wise[gen_below(g, gen_nrow_wise)];
        y = row->grow(g, e);
        if (y.text && !gen_same(&y.shape, &s)) y = gen_none;
    }
    if (!y.text) y = gen_unary(g, e);
    gen_line(g, "%s = %s", x,
             gen_chance(g, 60) ? gen_join(g, e, "+", gen_damp(g, y)).text : y.text);
    if (g->body->npool > known) g->body->npool = known;
}

static const char *begin_loop(Gen *g, Expr x) {
    const char *name = gen_name(g, "x");
    gen_line(g, "%s = %s", name, strcmp(x.text, "image") ? x.text : "image / 2");
    return name;
}

static Expr end_loop(Gen *g, const char *name, Shape s) {
    gen_close(g);
    g->nesting--;
    return gen_atom(name, s);
}

static bool may_nest(const Gen *g) {
    return !g->body->quiet && !g->body->rows && g->nesting < 2;
}

Expr grow_form_range_loop(Gen *g, Expr x) {
    if (!may_nest(g)) return gen_none;
    const char *name = begin_loop(g, x), *i = gen_name(g, "i");
    int64_t from = gen_below(g, 3), n = 1 + gen_below(g, 3);
    const char *first = gen_text(g, "%" PRId64, from);
    gen_open(g, "for %s in %s..%s%s", i, first, gen_int(g, from + n),
             gen_chance(g, 40) ? " same_init" : "");
    g->nesting++;
    loop_body(g, name, x.shape);
    if (gen_chance(g, 40)) gen_line(g, "%s = %s * (1 / (1 + %s))", name, name, i);
    if (gen_chance(g, 40)) {
        gen_open(g, "if %s %% 2 == %d", i, (int)gen_below(g, 2));
        loop_body(g, name, x.shape);
        gen_close(g);
    }
    return end_loop(g, name, x.shape);
}

Expr grow_form_list_loop(Gen *g, Expr x) {
    if (!may_nest(g)) return gen_none;
    const char *name = begin_loop(g, x), *i = gen_name(g, "v");
    int64_t last = gen_last(&x.shape), parts = gen_divisor(g, last);
    int kind = (int)gen_below(g, 3);
    if (kind == 0)
        gen_open(g, "for %s in [%s, %s]", i, gen_int(g, 2 + gen_below(g, 8)),
                 gen_int(g, 1 + gen_below(g, 8)));
    else if (kind == 1)
        gen_open(g, "for %s in split(%s, %s)", i, x.text, gen_int(g, parts));
    else
        gen_open(g, "for %s in [[%s, 0.5], [%s, 0.25]]", i, gen_int(g, 2), gen_int(g, 3));
    g->nesting++;
    if (kind == 0 && x.shape.rank >= 2)
        gen_line(g, "%s = %s + (linear(tanh(%s), %s) |> linear(%s))", name, name, name, i,
                 gen_int(g, last));
    else if (kind == 1)
        gen_line(g, "%s = %s * 0.5 + mean(tanh(%s), axis = -1, keep = true)", name, name, i);
    else if (kind == 2)
        gen_line(g, "%s = tanh(%s) * %s[1] + %s[0] / 8", name, name, i, i);
    loop_body(g, name, x.shape);
    return end_loop(g, name, x.shape);
}

/* ---- conditions ------------------------------------------------------------------------------ */

static void branch(Gen *g, const char *name, Expr x) {
    gen_line(g, "%s = %s", name, gen_unary(g, gen_chance(g, 50) ? gen_damp(g, x) : x).text);
}

Expr grow_form_if_else(Gen *g, Expr x) {
    if (!may_nest(g)) return gen_none;
    const char *name = gen_name(g, "x");
    gen_open(g, "if %s", gen_truth(g, gen_chance(g, 50)));
    g->nesting++;
    branch(g, name, x);
    g->body->indent--;
    if (gen_chance(g, 50)) {
        gen_open(g, "} else if %s", gen_truth(g, gen_chance(g, 50)));
        branch(g, name, x);
        g->body->indent--;
    }
    gen_open(g, "} else");
    branch(g, name, x);
    gen_close(g);
    g->nesting--;
    return gen_atom(name, x.shape);
}

Expr grow_form_conditional(Gen *g, Expr x) {
    Expr a = gen_unary(g, x), b = gen_damp(g, x);
    const char *middle =
        gen_chance(g, 30)
            ? gen_text(g, "else if %s { -%s } ", gen_truth(g, gen_chance(g, 50)), gen_operand(g, x))
            : "";
    return gen_expr(gen_text(g, "if %s { %s } %selse { %s }", gen_truth(g, gen_chance(g, 60)),
                             a.text, middle, b.text),
                    x.shape);
}

Expr grow_form_pair(Gen *g, Expr x) {
    int64_t last = gen_last(&x.shape);
    if (g->body->quiet || g->body->rows || last % 2) return gen_none;
    const char *a = gen_name(g, "p"), *b = gen_name(g, "p");
    Shape s = gen_with_last(x.shape, last / 2);
    gen_line(g, "%s, %s = split(%s, %s)", a, b, x.text, gen_int(g, 2));
    gen_keep(g, gen_atom(a, s));
    gen_keep(g, gen_atom(b, s));
    return gen_damp(g, gen_expr(gen_text(g, "%s * %s", a, b), s));
}

/* ---- states ---------------------------------------------------------------------------------- */

/* The value of an update over the mean of x: no weights are made inside. */
static const char *update_of(Gen *g, const char *state, const char *mean) {
    switch (gen_below(g, 3)) {
    case 0: return gen_text(g, "%s + %s * (%s - %s)", state, gen_real(g, 0.25), mean, state);
    case 1: return gen_text(g, "where(%s > %s, %s, 0.5 * %s)", mean, state, mean, state);
    default: return gen_text(g, "maximum(%s * 0.5, %s)", state, mean);
    }
}

static Expr average(Gen *g, Expr x) {
    const char *s = gen_name(g, "s");
    Shape last = SHAPE(gen_last(&x.shape));
    Text axes = text_new(g->arena);
    for (int i = 0; i + 1 < x.shape.rank; i++) text_addf(&axes, "%s%d", i ? ", " : "", i);
    const char *mean =
        x.shape.rank > 1 ? gen_text(g, "mean(%s, axis = [%s])", x.text, axes.data) : x.text;
    gen_line(g, "state %s: %s = %s", s, gen_dims(g, &last),
             GEN_WORD(g, "zeros()", "ones()", "constant(0.25)", "normal(0.1)"));
    gen_line(g, "update %s = %s", s, update_of(g, s, mean));
    Expr y =
        gen_atom(gen_text(g, "in_training(%s, %s - %s)", x.text, gen_operand(g, x), s), x.shape);
    if (gen_chance(g, 50)) y = gen_join(g, x, "-", gen_atom(s, x.shape));
    return gen_join(g, y, "*", gen_weight(g, last));
}

static Expr counter(Gen *g, Expr x) {
    const char *s = gen_name(g, "s");
    gen_line(g, "state %s: [] = %s", s, GEN_WORD(g, "zeros()", "ones()"));
    gen_line(g, "update %s = %s + 1", s, s);
    Expr y = gen_join(g, x, "*", gen_weight(g, SHAPE(1)));
    return gen_expr(gen_text(g, "%s * (1.5 - exp(-%s))", y.text, s), x.shape);
}

static Expr exchanged(Gen *g, Expr x) {
    const char *a = gen_name(g, "s"), *b = gen_name(g, "s");
    gen_line(g, "state %s: [2, %s] = normal(0.5)", a, gen_int(g, 3));
    gen_line(g, "state %s: [2, 3] = ones()", b);
    gen_line(g, "update %s = %s", a, b);
    gen_line(g, "update %s = %s", b, a);
    Expr y = gen_join(g, x, "*", gen_weight(g, SHAPE(1)));
    return gen_expr(gen_text(g, "%s + 0.5 * mean(%s * %s)", y.text, a, b), x.shape);
}

/* An average of a weight from before the step. */
static Expr of_weight(Gen *g, Expr x) {
    Expr w = gen_weight(g, SHAPE(gen_last(&x.shape)));
    const char *s = gen_name(g, "s");
    gen_line(g, "state %s: %s = zeros()", s, gen_dims(g, &w.shape));
    gen_line(g, "update %s = %s", s,
             gen_chance(g, 50) ? w.text : gen_text(g, "0.75 * %s + 0.25 * %s", s, w.text));
    return gen_expr(gen_text(g, "%s + %s - 0.5 * %s", gen_operand(g, x), w.text, s), x.shape);
}

Expr grow_form_state(Gen *g, Expr x) {
    if (g->body->quiet || g->body->rows || g->nesting) return gen_none;
    switch (gen_below(g, 5)) {
    case 0: return counter(g, x);
    case 1: return exchanged(g, x);
    case 2: return of_weight(g, x);
    default: return average(g, x);
    }
}

/* ---- results --------------------------------------------------------------------------------- */

Expr grow_form_measure(Gen *g, Expr x) {
    if (g->body->quiet || g->body->rows) return gen_none;
    const char *name = g->body->layer ? "" : gen_text(g, "%s = ", gen_name(g, "size"));
    switch (gen_below(g, 3)) {
    case 0: gen_metric(g, gen_text(g, "mean(square(%s))", x.text)); break;
    case 1: gen_metric(g, gen_text(g, "mean(%s > 0.25)", gen_operand(g, x))); break;
    default: gen_line(g, "aux %smean(square(%s)), weight = %s", name, x.text, gen_real(g, 0.125));
    }
    return x;
}

/* Masks of labels and indices, which compare as integers. */
Expr grow_form_label(Gen *g, Expr x) {
    if (g->body->layer || g->body->rows || !g->label || g->shares) return gen_none;
    if (g->index && gen_chance(g, 50))
        return gen_atom(gen_text(g, "(%s %s %d)", g->index, GEN_WORD(g, "==", "<", ">=", "!="),
                                 (int)gen_below(g, 3)),
                        SHAPE(g->batch, g->nindex));
    const char *mask = gen_text(g, "(%s %s %d)", g->label, GEN_WORD(g, "==", "!=", "<"),
                                (int)gen_below(g, g->classes));
    if (x.shape.dim[0] != g->batch) return gen_atom(mask, SHAPE(g->batch));
    Shape s = {.rank = x.shape.rank, .dim = {g->batch}};
    for (int i = 1; i < s.rank; i++) s.dim[i] = 1;
    return gen_join(
        g, x, "*",
        gen_atom(gen_text(g, "(0.5 + reshape(%s, %s))", mask, gen_dims(g, &s)), x.shape));
}

Expr grow_form_own_layer(Gen *g, Expr x) {
    return gen_own_layer(g, x, g->body->rows);
}
