/* Functions of numbers and rows: elementwise, reductions, comparisons, random numbers. */
#include "tests/fuzz/programs/gen.h"

#include <inttypes.h>

/* A function that keeps sizes: straight. */
#define SAFE(name)                                                                                 \
    Expr grow_##name(Gen *g, Expr x) {                                                             \
        return gen_call(g, #name, x, x.shape, NULL);                                               \
    }
/* One that wants a positive argument. */
#define POSITIVE(name)                                                                             \
    Expr grow_##name(Gen *g, Expr x) {                                                             \
        return gen_call(g, #name, gen_positive(g, x), x.shape, NULL);                              \
    }
/* One that enlarges: of a damped argument, and damped again. */
#define LARGE(name)                                                                                \
    Expr grow_##name(Gen *g, Expr x) {                                                             \
        return gen_damp(g, gen_call(g, #name, gen_damp(g, x), x.shape, NULL));                     \
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
    Expr y = gen_expr(gen_text(g, "square(%s)", x.text), x.shape);
    return gen_call(g, "log1p", y, x.shape, NULL);
}

Expr grow_gelu(Gen *g, Expr x) {
    const char *form = gen_chance(g, 50) ? "approximate = \"tanh\"" : NULL;
    if (!form && gen_chance(g, 10)) form = "\"none\"";
    return gen_call(g, "gelu", x, x.shape, form);
}

static Expr larger_of(Gen *g, const char *name, Expr x) {
    return gen_call(g, name, x, x.shape, gen_beside(g, x.shape, 1).text);
}

Expr grow_maximum(Gen *g, Expr x) {
    return larger_of(g, "maximum", x);
}

Expr grow_minimum(Gen *g, Expr x) {
    return larger_of(g, "minimum", x);
}

/* ---- rows ------------------------------------------------------------------------------------ */

Expr grow_softmax(Gen *g, Expr x) {
    return gen_call(g, "softmax", gen_damp(g, x), x.shape, NULL);
}

/* The norm of two numbers is a sign, and of one 0. */
Expr grow_layer_norm(Gen *g, Expr x) {
    if (gen_last(&x.shape) < 4) return gen_none;
    return gen_call(g, "layer_norm", x, x.shape, GEN_WORD(g, "0.01", "eps = 1e-3"));
}

Expr grow_rms_scale(Gen *g, Expr x) {
    if (gen_last(&x.shape) < 3) return gen_none;
    return gen_call(g, "rms_scale", x, x.shape, GEN_WORD(g, "0.01", "eps = 1e-3"));
}

/* Over one dimension, some or all; with `keep` beside x again. */
static Expr reduce(Gen *g, const char *name, Expr x) {
    bool sum = name[0] == 's';
    Text axes = text_new(g->arena);
    Shape kept = x.shape, gone = {0};
    int n = 0, first = g->body->rows;
    for (int i = 0; i < x.shape.rank; i++) {
        bool take = i >= first && (gen_chance(g, 40) || (!n && i == x.shape.rank - 1));
        if (!take) {
            gone.dim[gone.rank++] = x.shape.dim[i];
            continue;
        }
        kept.dim[i] = 1;
        text_addf(&axes, "%s%d", n++ ? ", " : "", gen_chance(g, 30) ? i - x.shape.rank : i);
    }
    if (!n) return gen_none;
    const char *list = n == 1 && gen_chance(g, 70) ? gen_text(g, "axis = %s", axes.data)
                                                   : gen_text(g, "axis = [%s]", axes.data);
    bool keep = !gone.rank || gen_chance(g, 60);
    Expr y = gen_call(g, name, x, keep ? kept : gone,
                      keep ? gen_text(g, "%s, keep = %s", list, gen_truth(g, true)) : list);
    if (sum) y = gen_damp(g, y);
    if (keep) return gen_join(g, x, GEN_WORD(g, "+", "-", "*"), y);
    return y;
}

Expr grow_mean(Gen *g, Expr x) {
    return reduce(g, "mean", x);
}

Expr grow_sum(Gen *g, Expr x) {
    return reduce(g, "sum", x);
}

Expr grow_moments(Gen *g, Expr x) {
    int64_t rows = gen_elems(&x.shape) / gen_last(&x.shape);
    if (rows < 4 || g->body->rows || g->body->quiet) return gen_none;
    const char *m = gen_name(g, "m"), *v = gen_name(g, "v");
    gen_line(g, "%s, %s = moments(%s)", m, v, x.text);
    gen_keep(g, gen_atom(m, SHAPE(gen_last(&x.shape))));
    gen_keep(g, gen_atom(v, SHAPE(gen_last(&x.shape))));
    return gen_expr(gen_text(g, "(%s - %s) * rsqrt(%s + 0.1)", gen_operand(g, x), m, v), x.shape);
}

Expr grow_max(Gen *g, Expr x) {
    if (gen_chance(g, 50)) {
        Expr top = gen_call(g, "max", x, gen_with_last(x.shape, 1), "keep = true");
        return gen_join(g, x, "-", top);
    }
    if (x.shape.rank < 2) return gen_none;
    return gen_call(g, "max", x, gen_without(x.shape, x.shape.rank - 1), NULL);
}

Expr grow_top_values(Gen *g, Expr x) {
    int64_t k = 1 + gen_below(g, gen_last(&x.shape));
    return gen_call(g, "top_values", x, gen_with_last(x.shape, k), gen_int(g, k));
}

/* ---- masks ----------------------------------------------------------------------------------- */

Expr grow_less(Gen *g, Expr x) {
    const char *mask = gen_text(g, "less(%s, %s)", x.text, gen_beside(g, x.shape, 1).text);
    return gen_join(g, x, GEN_WORD(g, "*", "-"), gen_atom(mask, x.shape));
}

Expr grow_where(Gen *g, Expr x) {
    Expr mask = gen_mask(g, x.shape, 1), y = gen_beside(g, x.shape, 1);
    if (!mask.text) return gen_none;
    const char *a = gen_chance(g, 50) ? x.text : y.text, *b = a == x.text ? y.text : x.text;
    return gen_atom(gen_text(g, "where(%s, %s, %s)", mask.text, a, b), x.shape);
}

Expr grow_stop_gradient(Gen *g, Expr x) {
    return gen_join(g, gen_call(g, "stop_gradient", x, x.shape, NULL), "+",
                    gen_damp(g, gen_like(g, x.shape, 0)));
}

Expr grow_in_training(Gen *g, Expr x) {
    return gen_call(g, "in_training", x, x.shape, gen_beside(g, x.shape, 1).text);
}

/* ---- random numbers -------------------------------------------------------------------------- */

static Expr noisy(Gen *g, const char *name, Expr x) {
    const char *noise = gen_text(g, "%s * %s(%s)", gen_real(g, 0.125), name, x.text);
    return gen_join(g, x, "+", gen_expr(noise, x.shape));
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
    int each = 1 + (int)gen_below(g, x.shape.rank);
    return gen_call(g, "dropout", x, x.shape,
                    gen_chance(g, 40) ? gen_text(g, "%s, each = %d", p, each) : p);
}

/* ---- losses ---------------------------------------------------------------------------------- */

static Expr logits(Gen *g, Expr x) {
    if (!g->label || g->shares || g->body->layer || g->body->rows) return gen_none;
    Shape want = SHAPE(g->batch, g->classes);
    if (gen_same(&x.shape, &want)) return x;
    return gen_like(g, want, 1);
}

Expr grow_cross_entropy(Gen *g, Expr x) {
    Expr z = logits(g, x);
    if (!z.text || g->body->quiet) return gen_none;
    gen_line(g, "aux cross_entropy(%s, %s), weight = 0.25", z.text, g->label);
    return x;
}

Expr grow_accuracy(Gen *g, Expr x) {
    Expr z = logits(g, x);
    if (!z.text || g->body->quiet) return gen_none;
    gen_line(g, "metric %saccuracy(%s, %s)", gen_text(g, "%s = ", gen_name(g, "hit")), z.text,
             g->label);
    return x;
}
