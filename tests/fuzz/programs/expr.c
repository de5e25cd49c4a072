/* Expressions over the tensors of a body: picked, combined, made of a wanted shape, and kept of
 * order one, so that rounding in f32 stays comparable with f64 over a chain of a dozen steps. */
#include "tests/fuzz/programs/gen.h"

#include <inttypes.h>
#include <string.h>

Expr prog_expr(const char *text, Shape s) {
    return (Expr){text, s, false};
}

Expr prog_atom(const char *text, Shape s) {
    return (Expr){text, s, true};
}

const char *prog_operand(Gen *g, Expr e) {
    return e.atom ? e.text : prog_text(g, "(%s)", e.text);
}

Expr prog_call(Gen *g, const char *name, Expr x, Shape s, const char *rest) {
    if (prog_chance(g, 25))
        return prog_expr(prog_text(g, "%s |> %s(%s)", x.text, name, rest ? rest : ""), s);
    return prog_atom(prog_text(g, "%s(%s%s%s)", name, x.text, rest ? ", " : "", rest ? rest : ""),
                     s);
}

void prog_keep(Gen *g, Expr e) {
    GenBody *b = g->body;
    if (e.shape.rank < 1) return;
    if (b->npool == GEN_POOL) memmove(b->pool, b->pool + 1, --b->npool * sizeof *b->pool);
    b->pool[b->npool++] = e;
}

Expr prog_bind(Gen *g, Expr e) {
    if (g->body->quiet) return prog_atom(prog_text(g, "(%s)", e.text), e.shape);
    const char *name = prog_name(g, "t");
    prog_line(g, "%s = %s", name, e.text);
    Expr bound = prog_atom(name, e.shape);
    prog_keep(g, bound);
    return bound;
}

/* Later ones more often: deep programs, not wide ones. */
Expr prog_pick(Gen *g, int least) {
    const GenBody *b = g->body;
    for (int tries = 0; tries < 12; tries++) {
        int recent = b->npool < 4 ? b->npool : 4;
        int at = prog_chance(g, 70) ? b->npool - 1 - (int)prog_below(g, recent)
                                    : (int)prog_below(g, b->npool);
        if (b->pool[at].shape.rank >= least) return b->pool[at];
    }
    return prog_none;
}

/* ---- sizes of numbers ------------------------------------------------------------------------ */

Expr prog_unary(Gen *g, Expr x) {
    const char *f =
        GEN_WORD(g, "tanh", "sigmoid", "gelu", "silu", "erf", "relu", "softplus", "abs");
    return prog_call(g, f, x, x.shape, NULL);
}

Expr prog_damp(Gen *g, Expr e) {
    int64_t last = e.shape.rank ? prog_last(&e.shape) : 0;
    if (last >= 4 && prog_chance(g, 30)) return prog_call(g, "layer_norm", e, e.shape, "0.01");
    if (last >= 4 && prog_chance(g, 20)) return prog_call(g, "rms_scale", e, e.shape, "eps = 0.01");
    if (prog_chance(g, 60)) return prog_call(g, "tanh", e, e.shape, NULL);
    return prog_expr(prog_text(g, "%s * 0.5", prog_operand(g, e)), e.shape);
}

Expr prog_positive(Gen *g, Expr e) {
    const char *t = prog_chance(g, 60) ? prog_text(g, "abs(%s) + 0.5", e.text)
                                       : prog_text(g, "square(%s) + 0.5", e.text);
    return prog_expr(t, e.shape);
}

Expr prog_join(Gen *g, Expr a, const char *op, Expr b) {
    const char *x = prog_operand(g, a), *y = prog_operand(g, b);
    return prog_expr(prog_text(g, "%s %s %s", x, op, y), a.shape);
}

/* ---- of a wanted shape ----------------------------------------------------------------------- */

const char *prog_init(Gen *g, bool matrix) {
    const char *decay = prog_chance(g, 20) ? "decay = false" : "";
    const char *f = GEN_WORD(g, "normal(0.5", "trunc_normal(0.6", "uniform(0.8", "constant(0.3",
                             "ones(", "xavier(", "he(", "zeros(");
    if (!matrix && (f[0] == 'x' || f[0] == 'h')) f = "normal(0.4";
    bool alone = f[strlen(f) - 1] == '(';
    bool same = prog_chance(g, 8) && !*decay;
    const char *more = same ? "same = true" : decay;
    return prog_text(g, "%s%s%s)", f, *more && !alone ? ", " : "", more);
}

Expr prog_weight(Gen *g, Shape s) {
    if (g->body->quiet) return prog_none;
    const char *name = prog_name(g, "w");
    bool matrix = s.rank >= 2;
    prog_line(g, "param %s: %s = %s", name, prog_dims(g, &s), prog_init(g, matrix));
    return prog_atom(name, s);
}

/* One of the pool. */
static Expr known(Gen *g, Shape s) {
    const GenBody *b = g->body;
    Expr found = prog_none;
    int seen = 0;
    for (int i = 0; i < b->npool; i++)
        if (prog_same(&b->pool[i].shape, &s) && prog_below(g, ++seen) == 0) found = b->pool[i];
    return found;
}

/* From a tensor that differs in the last dimension alone. */
static Expr projected(Gen *g, Shape s) {
    if (s.rank < 2 || g->body->quiet) return prog_none;
    for (int tries = 0; tries < 4; tries++) {
        Expr x = prog_pick(g, s.rank);
        if (!x.text || x.shape.rank != s.rank) continue;
        Shape t = prog_with_last(x.shape, prog_last(&s));
        if (!prog_same(&t, &s)) continue;
        return prog_call(g, "linear", x, s, prog_int(g, prog_last(&s)));
    }
    return prog_none;
}

/* The same for rows of a grouped tensor, where nothing is known of dimension 0. */
static Expr fresh(Gen *g, Shape s) {
    bool leading = g->body->rows && s.rank > 1;
    Shape t = leading ? prog_without(s, 0) : s;
    if (prog_elems(&t) <= 512 && prog_chance(g, 70)) {
        Expr w = prog_weight(g, t);
        if (w.text && !leading) return w;
        if (w.text) { /* per expert: becomes rows beside rows */
            Expr x = known(g, s);
            if (x.text) return prog_join(g, x, GEN_WORD(g, "+", "*", "-"), w);
        }
    }
    if (leading) return prog_none;
    const char *dims = prog_dims(g, &s);
    return prog_atom(prog_text(g, "broadcast(%s, %s)", prog_real(g, 0.75), dims), s);
}

static Expr reshaped(Gen *g, Shape s) {
    if (g->body->rows || !s.rank) return prog_none;
    for (int tries = 0; tries < 4; tries++) {
        Expr x = prog_pick(g, 1);
        if (prog_elems(&x.shape) != prog_elems(&s) || prog_same(&x.shape, &s)) continue;
        return prog_call(g, "reshape", x, s, prog_dims(g, &s));
    }
    return prog_none;
}

static Expr combined(Gen *g, Shape s, int depth) {
    Expr a = prog_like(g, s, depth - 1);
    if (!a.text) return a;
    switch (prog_below(g, 5)) {
    case 0: return prog_unary(g, a);
    case 1: return prog_join(g, a, GEN_WORD(g, "+", "-"), prog_beside(g, s, depth - 1));
    case 2: return prog_join(g, prog_damp(g, a), "*", prog_beside(g, s, depth - 1));
    case 3: return prog_expr(prog_text(g, "-%s", prog_operand(g, a)), s);
    default: return prog_join(g, a, "+", prog_atom(prog_real(g, -0.25), s));
    }
}

Expr prog_like(Gen *g, Shape s, int depth) {
    for (int tries = 0; tries < 8; tries++) {
        Expr e = prog_none;
        switch (prog_below(g, depth > 0 ? 9 : 6)) {
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
    if (!x.text || s.rank < 2) return prog_none;
    int axis = 1 + (int)prog_below(g, s.rank - 1);
    Shape t = s;
    t.dim[axis] = 1;
    return prog_atom(prog_text(g, "mean(%s, axis = %d, keep = true)", x.text, axis), t);
}

Expr prog_beside(Gen *g, Shape s, int depth) {
    Expr e = prog_none;
    switch (prog_below(g, 4)) {
    case 0: e = prog_atom(prog_real(g, GEN_WORD(g, "a", "b")[0] == 'a' ? 0.5 : 1.25), s); break;
    case 1: {
        Shape t = s;
        int drop = s.rank ? (int)prog_below(g, s.rank) : 0;
        if (g->body->rows && !drop) drop = 1;
        while (drop-- > 0 && t.rank) t = prog_without(t, 0);
        for (int i = 0; i < t.rank; i++)
            if (prog_chance(g, 30)) t.dim[i] = 1;
        if (prog_elems(&t) <= 256 && t.rank) e = prog_weight(g, t);
        break;
    }
    case 2: e = some_mean(g, s); break;
    default: break;
    }
    if (!e.text) e = prog_like(g, s, depth);
    return e.text ? e : prog_atom("0.5", s);
}

/* ---- masks ----------------------------------------------------------------------------------- */

static Expr compare(Gen *g, Shape s, int depth) {
    Expr a = prog_like(g, s, depth), b = prog_beside(g, s, depth);
    if (!a.text) return a;
    if (prog_chance(g, 25)) return prog_atom(prog_text(g, "less(%s, %s)", a.text, b.text), s);
    const char *op =
        prog_chance(g, 85) ? GEN_WORD(g, "<", "<=", ">", ">=") : GEN_WORD(g, "==", "!=");
    return prog_join(g, a, op, b);
}

Expr prog_mask(Gen *g, Shape s, int depth) {
    Expr a = compare(g, s, depth);
    if (!a.text || depth <= 0 || !prog_chance(g, 30)) return a;
    switch (prog_below(g, 3)) {
    case 0: return prog_expr(prog_text(g, "1 - %s", prog_operand(g, a)), s);
    case 1: return prog_join(g, a, "*", compare(g, s, 0));
    default: return prog_atom(prog_text(g, "maximum(%s, %s)", a.text, compare(g, s, 0).text), s);
    }
}
