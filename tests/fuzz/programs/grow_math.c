/* Functions of numbers and rows: elementwise, reductions, comparisons, random numbers. */
#include "tests/fuzz/programs/gen.h"

#include <inttypes.h>

/* A function that keeps sizes: straight. */
#define SAFE(name)                                                                                 \
    Expr grow_##name(Gen *g, Expr x) {                                                             \
        return prog_call(g, #name, x, x.shape, NULL);                                              \
    }
/* One that wants a positive argument. */
#define POSITIVE(name)                                                                             \
    Expr grow_##name(Gen *g, Expr x) {                                                             \
        return prog_call(g, #name, prog_positive(g, x), x.shape, NULL);                            \
    }
/* One that enlarges: of a damped argument, and damped again. */
#define LARGE(name)                                                                                \
    Expr grow_##name(Gen *g, Expr x) {                                                             \
        return prog_damp(g, prog_call(g, #name, prog_damp(g, x), x.shape, NULL));                  \
    }
SAFE(tanh)
SAFE(erf)
SAFE(sigmoid)
SAFE(relu)
SAFE(silu)
SAFE(softplus)
SAFE(abs)
POSITIVE(log)
POSITIVE(sqrt)
POSITIVE(rsqrt)
LARGE(exp)
LARGE(square)

Expr grow_log1p(Gen *g, Expr x) {
    Expr y = prog_expr(prog_text(g, "square(%s)", x.text), x.shape);
    return prog_call(g, "log1p", y, x.shape, NULL);
}

Expr grow_gelu(Gen *g, Expr x) {
    const char *form = prog_chance(g, 50) ? "approximate = \"tanh\"" : NULL;
    if (!form && prog_chance(g, 10)) form = "\"none\"";
    return prog_call(g, "gelu", x, x.shape, form);
}

static Expr larger_of(Gen *g, const char *name, Expr x) {
    return prog_call(g, name, x, x.shape, prog_beside(g, x.shape, 1).text);
}

Expr grow_maximum(Gen *g, Expr x) {
    return larger_of(g, "maximum", x);
}

Expr grow_minimum(Gen *g, Expr x) {
    return larger_of(g, "minimum", x);
}

/* ---- rows ------------------------------------------------------------------------------------ */

Expr grow_softmax(Gen *g, Expr x) {
    return prog_call(g, "softmax", prog_damp(g, x), x.shape, NULL);
}

/* The norm of two numbers is a sign, and of one 0. */
Expr grow_layer_norm(Gen *g, Expr x) {
    if (prog_last(&x.shape) < 4) return prog_none;
    return prog_call(g, "layer_norm", x, x.shape, GEN_WORD(g, "0.01", "eps = 1e-3"));
}

Expr grow_rms_scale(Gen *g, Expr x) {
    if (prog_last(&x.shape) < 3) return prog_none;
    return prog_call(g, "rms_scale", x, x.shape, GEN_WORD(g, "0.01", "eps = 1e-3"));
}

/* Over one dimension, some or all; with `keep` beside x again. */
static Expr reduce(Gen *g, const char *name, Expr x) {
    bool sum = name[0] == 's';
    Text axes = text_new(g->arena);
    Shape kept = x.shape, gone = {0};
    int n = 0, first = g->body->rows;
    for (int i = 0; i < x.shape.rank; i++) {
        bool take = i >= first && (prog_chance(g, 40) || (!n && i == x.shape.rank - 1));
        if (!take) {
            gone.dim[gone.rank++] = x.shape.dim[i];
            continue;
        }
        kept.dim[i] = 1;
        text_addf(&axes, "%s%d", n++ ? ", " : "", prog_chance(g, 30) ? i - x.shape.rank : i);
    }
    if (!n) return prog_none;
    const char *list = n == 1 && prog_chance(g, 70) ? prog_text(g, "axis = %s", axes.data)
                                                    : prog_text(g, "axis = [%s]", axes.data);
    bool keep = !gone.rank || prog_chance(g, 60);
    Expr y = prog_call(g, name, x, keep ? kept : gone,
                       keep ? prog_text(g, "%s, keep = %s", list, prog_truth(g, true)) : list);
    if (sum) y = prog_damp(g, y);
    if (keep) return prog_join(g, x, GEN_WORD(g, "+", "-", "*"), y);
    return y;
}

Expr grow_mean(Gen *g, Expr x) {
    return reduce(g, "mean", x);
}

Expr grow_sum(Gen *g, Expr x) {
    return reduce(g, "sum", x);
}

Expr grow_moments(Gen *g, Expr x) {
    int64_t rows = prog_elems(&x.shape) / prog_last(&x.shape);
    if (rows < 4 || g->body->rows || g->body->quiet) return prog_none;
    const char *m = prog_name(g, "m"), *v = prog_name(g, "v");
    prog_line(g, "%s, %s = moments(%s)", m, v, x.text);
    prog_keep(g, prog_atom(m, SHAPE(prog_last(&x.shape))));
    prog_keep(g, prog_atom(v, SHAPE(prog_last(&x.shape))));
    return prog_expr(prog_text(g, "(%s - %s) * rsqrt(%s + 0.1)", prog_operand(g, x), m, v),
                     x.shape);
}

Expr grow_max(Gen *g, Expr x) {
    if (prog_chance(g, 50)) {
        Expr top = prog_call(g, "max", x, prog_with_last(x.shape, 1), "keep = true");
        return prog_join(g, x, "-", top);
    }
    if (x.shape.rank < 2) return prog_none;
    return prog_call(g, "max", x, prog_without(x.shape, x.shape.rank - 1), NULL);
}

Expr grow_top_values(Gen *g, Expr x) {
    int64_t k = 1 + prog_below(g, prog_last(&x.shape));
    return prog_call(g, "top_values", x, prog_with_last(x.shape, k), prog_int(g, k));
}

/* ---- masks ----------------------------------------------------------------------------------- */

Expr grow_less(Gen *g, Expr x) {
    const char *mask = prog_text(g, "less(%s, %s)", x.text, prog_beside(g, x.shape, 1).text);
    return prog_join(g, x, GEN_WORD(g, "*", "-"), prog_atom(mask, x.shape));
}

Expr grow_where(Gen *g, Expr x) {
    Expr mask = prog_mask(g, x.shape, 1), y = prog_beside(g, x.shape, 1);
    if (!mask.text) return prog_none;
    const char *a = prog_chance(g, 50) ? x.text : y.text, *b = a == x.text ? y.text : x.text;
    return prog_atom(prog_text(g, "where(%s, %s, %s)", mask.text, a, b), x.shape);
}

Expr grow_stop_gradient(Gen *g, Expr x) {
    return prog_join(g, prog_call(g, "stop_gradient", x, x.shape, NULL), "+",
                     prog_damp(g, prog_like(g, x.shape, 0)));
}

Expr grow_in_training(Gen *g, Expr x) {
    return prog_call(g, "in_training", x, x.shape, prog_beside(g, x.shape, 1).text);
}

/* ---- random numbers -------------------------------------------------------------------------- */

static Expr noisy(Gen *g, const char *name, Expr x) {
    const char *noise = prog_text(g, "%s * %s(%s)", prog_real(g, 0.125), name, x.text);
    return prog_join(g, x, "+", prog_expr(noise, x.shape));
}

Expr grow_normal_noise(Gen *g, Expr x) {
    return noisy(g, "normal_noise", x);
}

Expr grow_uniform_noise(Gen *g, Expr x) {
    return noisy(g, "uniform_noise", x);
}

Expr grow_gumbel_noise(Gen *g, Expr x) {
    return noisy(g, "gumbel_noise", x);
}

Expr grow_dropout(Gen *g, Expr x) {
    const char *p = GEN_WORD(g, "0", "0.1", "0.25", "0.5");
    int each = 1 + (int)prog_below(g, x.shape.rank);
    return prog_call(g, "dropout", x, x.shape,
                     prog_chance(g, 40) ? prog_text(g, "%s, each = %d", p, each) : p);
}

/* ---- losses ---------------------------------------------------------------------------------- */

static Expr logits(Gen *g, Expr x) {
    if (!g->label || g->shares || g->body->layer || g->body->rows) return prog_none;
    Shape want = SHAPE(g->batch, g->classes);
    if (prog_same(&x.shape, &want)) return x;
    return prog_like(g, want, 1);
}

Expr grow_cross_entropy(Gen *g, Expr x) {
    Expr z = logits(g, x);
    if (!z.text || g->body->quiet) return prog_none;
    prog_line(g, "aux cross_entropy(%s, %s), weight = 0.25", z.text, g->label);
    return x;
}

Expr grow_accuracy(Gen *g, Expr x) {
    Expr z = logits(g, x);
    if (!z.text || g->body->quiet) return prog_none;
    prog_line(g, "metric %saccuracy(%s, %s)", prog_text(g, "%s = ", prog_name(g, "hit")), z.text,
              g->label);
    return x;
}
