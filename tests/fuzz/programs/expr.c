/* Expressions over the tensors of a body: picked, combined, made of a wanted shape, and kept of
 * order one, so that rounding in f32 stays comparable with f64 over a chain of a dozen steps. */
#include "tests/fuzz/programs/gen.h"

#include <inttypes.h>
#include <string.h>

Expr gen_expr(const char *text, Shape s) {
    return (Expr){text, s, false};
}

Expr gen_atom(const char *text, Shape s) {
    return (Expr){text, s, true};
}

const char *gen_operand(Gen *g, Expr e) {
    return e.atom ? e.text : gen_text(g, "(%s)", e.text);
}

Expr gen_call(Gen *g, const char *name, Expr x, Shape s, const char *rest) {
    if (gen_chance(g, 25))
        return gen_expr(gen_text(g, "%s |> %s(%s)", x.text, name, rest ? rest : ""), s);
    return gen_atom(gen_text(g, "%s(%s%s%s)", name, x.text, rest ? ", " : "", rest ? rest : ""), s);
}

void gen_keep(Gen *g, Expr e) {
    GenBody *b = g->body;
    if (e.shape.rank < 1) return;
    if (b->npool == GEN_POOL) memmove(b->pool, b->pool + 1, --b->npool * sizeof *b->pool);
    b->pool[b->npool++] = e;
}

Expr gen_bind(Gen *g, Expr e) {
    if (g->body->quiet) return gen_atom(gen_text(g, "(%s)", e.text), e.shape);
    const char *name = gen_name(g, "t");
    gen_line(g, "%s = %s", name, e.text);
    Expr bound = gen_atom(name, e.shape);
    gen_keep(g, bound);
    return bound;
}

/* Later ones more often: deep programs, not wide ones. */
Expr gen_pick(Gen *g, int least) {
    const GenBody *b = g->body;
    for (int tries = 0; tries < 12; tries++) {
        int recent = b->npool < 4 ? b->npool : 4;
        int at = gen_chance(g, 70) ? b->npool - 1 - (int)gen_below(g, recent)
                                   : (int)gen_below(g, b->npool);
        if (b->pool[at].shape.rank >= least) return b->pool[at];
    }
    return gen_none;
}

/* ---- sizes of numbers ------------------------------------------------------------------------ */

Expr gen_unary(Gen *g, Expr x) {
    const char *f =
        GEN_WORD(g, "tanh", "sigmoid", "gelu", "silu", "erf", "relu", "softplus", "abs");
    return gen_call(g, f, x, x.shape, NULL);
}

Expr gen_damp(Gen *g, Expr e) {
    int64_t last = e.shape.rank ? gen_last(&e.shape) : 0;
    if (last >= 4 && gen_chance(g, 30)) return gen_call(g, "layer_norm", e, e.shape, "0.01");
    if (last >= 4 && gen_chance(g, 20)) return gen_call(g, "rms_scale", e, e.shape, "eps = 0.01");
    if (gen_chance(g, 60)) return gen_call(g, "tanh", e, e.shape, NULL);
    return gen_expr(gen_text(g, "%s * 0.5", gen_operand(g, e)), e.shape);
}

Expr gen_positive(Gen *g, Expr e) {
    const char *t = gen_chance(g, 60) ? gen_text(g, "abs(%s) + 0.5", e.text)
                                      : gen_text(g, "square(%s) + 0.5", e.text);
    return gen_expr(t, e.shape);
}

Expr gen_join(Gen *g, Expr a, const char *op, Expr b) {
    const char *x = gen_operand(g, a), *y = gen_operand(g, b);
    return gen_expr(gen_text(g, "%s %s %s", x, op, y), a.shape);
}

/* ---- of a wanted shape ----------------------------------------------------------------------- */

const char *gen_init(Gen *g, bool matrix) {
    const char *decay = gen_chance(g, 20) ? "decay = false" : "";
    const char *f = GEN_WORD(g, "normal(0.5", "trunc_normal(0.6", "uniform(0.8", "constant(0.3",
                             "ones(", "xavier(", "he(", "zeros(");
    if (!matrix && (f[0] == 'x' || f[0] == 'h')) f = "normal(0.4";
    bool alone = f[strlen(f) - 1] == '(';
    bool same = gen_chance(g, 8) && !*decay;
    const char *more = same ? "same = true" : decay;
    return gen_text(g, "%s%s%s)", f, *more && !alone ? ", " : "", more);
}

Expr gen_weight(Gen *g, Shape s) {
    if (g->body->quiet) return gen_none;
    const char *name = gen_name(g, "w");
    bool matrix = s.rank >= 2;
    gen_line(g, "param %s: %s = %s", name, gen_dims(g, &s), gen_init(g, matrix));
    return gen_atom(name, s);
}

/* One of the pool. */
static Expr known(Gen *g, Shape s) {
    const GenBody *b = g->body;
    Expr found = gen_none;
    int seen = 0;
    for (int i = 0; i < b->npool; i++)
        if (gen_same(&b->pool[i].shape, &s) && gen_below(g, ++seen) == 0) found = b->pool[i];
    return found;
}

/* From a tensor that differs in the last dimension alone. */
static Expr projected(Gen *g, Shape s) {
    if (s.rank < 2 || g->body->quiet) return gen_none;
    for (int tries = 0; tries < 4; tries++) {
        Expr x = gen_pick(g, s.rank);
        if (!x.text || x.shape.rank != s.rank) continue;
        Shape t = gen_with_last(x.shape, gen_last(&s));
        if (!gen_same(&t, &s)) continue;
        return gen_call(g, "linear", x, s, gen_int(g, gen_last(&s)));
    }
    return gen_none;
}

/* The same for rows of a grouped tensor, where nothing is known of dimension 0. */
static Expr fresh(Gen *g, Shape s) {
    bool leading = g->body->rows && s.rank > 1;
    Shape t = leading ? gen_without(s, 0) : s;
    if (gen_elems(&t) <= 512 && gen_chance(g, 70)) {
        Expr w = gen_weight(g, t);
        if (w.text && !leading) return w;
        if (w.text) { /* per expert: becomes rows beside rows */
            Expr x = known(g, s);
            if (x.text) return gen_join(g, x, GEN_WORD(g, "+", "*", "-"), w);
        }
    }
    if (leading) return gen_none;
    const char *dims = gen_dims(g, &s);
    return gen_atom(gen_text(g, "broadcast(%s, %s)", gen_real(g, 0.75), dims), s);
}

static Expr reshaped(Gen *g, Shape s) {
    if (g->body->rows || !s.rank) return gen_none;
    for (int tries = 0; tries < 4; tries++) {
        Expr x = gen_pick(g, 1);
        if (gen_elems(&x.shape) != gen_elems(&s) || gen_same(&x.shape, &s)) continue;
        return gen_call(g, "reshape", x, s, gen_dims(g, &s));
    }
    return gen_none;
}

static Expr combined(Gen *g, Shape s, int depth) {
    Expr a = gen_like(g, s, depth - 1);
    if (!a.text) return a;
    switch (gen_below(g, 5)) {
    case 0: return gen_unary(g, a);
    case 1: return gen_join(g, a, GEN_WORD(g, "+", "-"), gen_beside(g, s, depth - 1));
    case 2: return gen_join(g, gen_damp(g, a), "*", gen_beside(g, s, depth - 1));
    case 3: return gen_expr(gen_text(g, "-%s", gen_operand(g, a)), s);
    default: return gen_join(g, a, "+", gen_atom(gen_real(g, -0.25), s));
    }
}

Expr gen_like(Gen *g, Shape s, int depth) {
    for (int tries = 0; tries < 8; tries++) {
        Expr e = gen_none;
        switch (gen_below(g, depth > 0 ? 9 : 6)) {
        case 0:
        case 1:
        case 2: e = known(g, s); break;
        case 3: e = projected(g, s); break;
        case 4: e = reshaped(g, s); break;
        case 5: e = fresh(g, s); break;
        default: e = combined(g, s, depth); break;
        }
        if (e.text) return e;
    }
    Expr e = known(g, s);
    return e.text ? e : fresh(g, s);
}

static Expr some_mean(Gen *g, Shape s) {
    Expr x = known(g, s);
    if (!x.text || s.rank < 2) return gen_none;
    int axis = 1 + (int)gen_below(g, s.rank - 1);
    Shape t = s;
    t.dim[axis] = 1;
    return gen_atom(gen_text(g, "mean(%s, axis = %d, keep = true)", x.text, axis), t);
}

Expr gen_beside(Gen *g, Shape s, int depth) {
    Expr e = gen_none;
    switch (gen_below(g, 4)) {
    case 0: e = gen_atom(gen_real(g, GEN_WORD(g, "a", "b")[0] == 'a' ? 0.5 : 1.25), s); break;
    case 1: {
        Shape t = s;
        int drop = s.rank ? (int)gen_below(g, s.rank) : 0;
        if (g->body->rows && !drop) drop = 1;
        while (drop-- > 0 && t.rank) t = gen_without(t, 0);
        for (int i = 0; i < t.rank; i++)
            if (gen_chance(g, 30)) t.dim[i] = 1;
        if (gen_elems(&t) <= 256 && t.rank) e = gen_weight(g, t);
        break;
    }
    case 2: e = some_mean(g, s); break;
    default: break;
    }
    if (!e.text) e = gen_like(g, s, depth);
    return e.text ? e : gen_atom("0.5", s);
}

/* ---- masks ----------------------------------------------------------------------------------- */

static Expr compare(Gen *g, Shape s, int depth) {
    Expr a = gen_like(g, s, depth), b = gen_beside(g, s, depth);
    if (!a.text) return a;
    if (gen_chance(g, 25)) return gen_atom(gen_text(g, "less(%s, %s)", a.text, b.text), s);
    const char *op =
        gen_chance(g, 85) ? GEN_WORD(g, "<", "<=", ">", ">=") : GEN_WORD(g, "==", "!=");
    return gen_join(g, a, op, b);
}

Expr gen_mask(Gen *g, Shape s, int depth) {
    Expr a = compare(g, s, depth);
    if (!a.text || depth <= 0 || !gen_chance(g, 30)) return a;
    switch (gen_below(g, 3)) {
    case 0: return gen_expr(gen_text(g, "1 - %s", gen_operand(g, a)), s);
    case 1: return gen_join(g, a, "*", compare(g, s, 0));
    default: return gen_atom(gen_text(g, "maximum(%s, %s)", a.text, compare(g, s, 0).text), s);
    }
}
