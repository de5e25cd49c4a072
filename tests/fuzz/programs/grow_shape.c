/* Views and pieces of tensors, indices and labels, and what is known when the program is compiled.
 */
#include "tests/fuzz/programs/gen.h"

#include <inttypes.h>

/* ---- views ----------------------------------------------------------------------------------- */

/* Joins two neighbouring dimensions or cuts one in two. */
Expr grow_reshape(Gen *g, Expr x) {
    Shape t = x.shape;
    int first = g->body->rows,
        at = first + (int)prog_below(g, t.rank - first > 0 ? t.rank - first : 1);
    if (at >= t.rank) return prog_none;
    if (at + 1 < t.rank && prog_chance(g, 50)) {
        int64_t joined = t.dim[at] * t.dim[at + 1];
        t = prog_without(t, at);
        t.dim[at] = joined;
    } else {
        int64_t d = prog_divisor(g, t.dim[at]);
        if (t.rank >= 4) return prog_none;
        for (int i = t.rank++; i > at + 1; i--) t.dim[i] = t.dim[i - 1];
        t.dim[at + 1] = t.dim[at] / d;
        t.dim[at] = d;
    }
    Text list = text_new(g->arena);
    int open = prog_chance(g, 30) ? (int)prog_below(g, t.rank) : -1;
    if (first) open = 0; /* nobody says how many rows there are */
    for (int i = 0; i < t.rank; i++)
        text_addf(&list, "%s%s", i ? ", " : "[", i == open ? "-1" : prog_int(g, t.dim[i]));
    return prog_call(g, "reshape", x, t, prog_text(g, "%s]", list.data));
}

Expr grow_broadcast(Gen *g, Expr x) {
    if (x.shape.rank >= 4 || prog_elems(&x.shape) > GEN_MOST / 4) return prog_none;
    Shape t = {.rank = x.shape.rank + 1, .dim = {1 + prog_below(g, 3)}};
    for (int i = 0; i < x.shape.rank; i++) t.dim[i + 1] = x.shape.dim[i];
    return prog_call(g, "broadcast", x, t, prog_dims(g, &t));
}

Expr grow_transpose(Gen *g, Expr x) {
    Shape t = x.shape;
    int perm[IR_MAX_RANK] = {0};
    for (int i = 0; i < t.rank; i++) perm[i] = i;
    for (int i = t.rank - 1; i > 0; i--) {
        int j = (int)prog_below(g, i + 1), swap = perm[i];
        perm[i] = perm[j];
        perm[j] = swap;
    }
    Text list = text_new(g->arena);
    for (int i = 0; i < t.rank; i++) {
        t.dim[i] = x.shape.dim[perm[i]];
        text_addf(&list, "%s%d", i ? ", " : "[", perm[i]);
    }
    return prog_call(g, "transpose", x, t, prog_text(g, "%s]", list.data));
}

static int some_axis(Gen *g, const Shape *s) {
    int first = g->body->rows;
    return s->rank > first ? first + (int)prog_below(g, s->rank - first) : -1;
}

Expr grow_slice(Gen *g, Expr x) {
    int axis = some_axis(g, &x.shape);
    if (axis < 0) return prog_none;
    Shape t = x.shape;
    int64_t size = 1 + prog_below(g, t.dim[axis]), start = prog_below(g, t.dim[axis] - size + 1);
    t.dim[axis] = size;
    int written = prog_chance(g, 40) ? axis - t.rank : axis;
    const char *rest =
        prog_text(g, "%d, %s, %s", written, start ? prog_int(g, start) : "0", prog_int(g, size));
    return prog_call(g, "slice", x, t, rest);
}

Expr grow_concat(Gen *g, Expr x) {
    int axis = some_axis(g, &x.shape), n = 1 + (int)prog_below(g, 3);
    if (axis < 0) return prog_none;
    Shape t = x.shape;
    if (t.dim[axis] * (n + 1) * prog_elems(&t) / t.dim[axis] > GEN_MOST) return prog_none;
    Text parts = text_new(g->arena);
    text_addf(&parts, "[%s", x.text);
    for (int i = 0; i < n; i++) {
        Expr y = prog_like(g, x.shape, 1);
        if (!y.text) return prog_none;
        text_addf(&parts, ", %s", y.text);
    }
    t.dim[axis] *= n + 1;
    int written = prog_chance(g, 40) ? axis - t.rank : axis;
    return prog_atom(
        prog_text(g, "concat(%s], %s%d)", parts.data, prog_chance(g, 50) ? "axis = " : "", written),
        t);
}

Expr grow_split(Gen *g, Expr x) {
    int64_t n = prog_divisor(g, prog_last(&x.shape)), at = prog_below(g, n);
    Shape t = prog_with_last(x.shape, prog_last(&x.shape) / n);
    return prog_atom(prog_text(g, "split(%s, %s)[%" PRId64 "]", x.text, prog_int(g, n),
                               prog_chance(g, 30) ? at - n : at),
                     t);
}

Expr grow_sincos_2d(Gen *g, Expr x) {
    int64_t last = prog_last(&x.shape),
            tokens = x.shape.rank >= 2 ? x.shape.dim[x.shape.rank - 2] : 0;
    if (last % 4 || !tokens || (g->body->rows && x.shape.rank < 3)) return prog_none;
    int64_t rows = prog_divisor(g, tokens);
    const char *table = prog_text(g, "sincos_2d(%s, %s, %s)", prog_int(g, rows),
                                  prog_int(g, tokens / rows), prog_int(g, last));
    return prog_join(g, x, "+", prog_atom(table, x.shape));
}

/* ---- indices and labels ---------------------------------------------------------------------- */

/* Classes of images as numbers of i32, which only the model sees. */
static const char *classes(Gen *g) {
    return g->label && !g->shares && !g->body->layer && !g->body->rows ? g->label : NULL;
}

Expr grow_one_hot(Gen *g, Expr x) {
    (void)x;
    if (g->body->layer || g->body->rows) return prog_none;
    if (g->index && prog_chance(g, 50)) {
        int64_t n = 1 + prog_below(g, g->index_below + 2);
        return prog_atom(prog_text(g, "one_hot(%s, %s)", g->index, prog_int(g, n)),
                         SHAPE(g->batch, g->nindex, n));
    }
    if (!classes(g)) return prog_none;
    Shape s = SHAPE(g->batch, g->classes);
    if (prog_chance(g, 60)) return prog_atom(prog_text(g, "one_hot(%s)", g->label), s);
    s.dim[1] += prog_below(g, 3);
    return prog_atom(prog_text(g, "one_hot(%s, classes = %s)", g->label, prog_int(g, s.dim[1])), s);
}

/* Rows of a table, or of x, by label or index. */
Expr grow_gather(Gen *g, Expr x) {
    if (g->body->layer || g->body->rows || (!classes(g) && !g->index)) return prog_none;
    bool index = g->index && (!classes(g) || prog_chance(g, 60));
    bool table = !g->body->quiet && (index ? prog_chance(g, 60) : prog_chance(g, 80));
    Expr from =
        table ? prog_weight(g, SHAPE(index ? g->index_below : g->classes, 2 + prog_below(g, 9)))
              : x;
    Shape s = {.rank = 1, .dim = {g->batch}};
    if (index) s.dim[s.rank++] = g->nindex;
    if (s.rank + from.shape.rank - 1 > 4) return prog_none;
    for (int i = 1; i < from.shape.rank; i++) s.dim[s.rank++] = from.shape.dim[i];
    if (prog_elems(&s) > GEN_MOST) return prog_none;
    return prog_call(g, "gather", from, s, index ? g->index : g->label);
}

Expr grow_lookup(Gen *g, Expr x) {
    (void)x;
    if (!classes(g)) return prog_none;
    int64_t most = 1 + prog_below(g, 4);
    Text list = text_new(g->arena);
    for (int64_t i = 0; i < g->classes; i++)
        text_addf(&list, "%s%" PRId64, i ? ", " : "[", i ? prog_below(g, most + 1) : most);
    int64_t n = most + 1 + prog_below(g, 2);
    const char *label =
        n > most + 1 || prog_chance(g, 30)
            ? prog_text(g, "lookup(%s, %s], classes = %" PRId64 ")", g->label, list.data, n)
            : prog_text(g, "lookup(%s, %s])", g->label, list.data);
    return prog_atom(prog_text(g, "one_hot(%s)", label), SHAPE(g->batch, n));
}

/* ---- known when compiled --------------------------------------------------------------------- */

static Expr scaled(Gen *g, Expr x, const char *number) {
    return prog_expr(prog_text(g, "%s / %s", prog_operand(g, x), number), x.shape);
}

Expr grow_dim(Gen *g, Expr x) {
    int axis = x.shape.rank - 1;
    return scaled(g, x, prog_text(g, "sqrt(dim(%s, %d))", x.text, prog_chance(g, 50) ? axis : -1));
}

Expr grow_shape(Gen *g, Expr x) {
    if (g->body->rows) return prog_none;
    return prog_join(g, x, "+",
                     prog_atom(prog_text(g, "broadcast(0.125, shape(%s))", x.text), x.shape));
}

Expr grow_size(Gen *g, Expr x) {
    if (g->body->rows) return prog_none;
    return scaled(
        g, x, prog_text(g, "maximum(1, size(%s) // %" PRId64 ")", x.text, prog_elems(&x.shape)));
}

Expr grow_len(Gen *g, Expr x) {
    return scaled(g, x, prog_text(g, "len([%s, 3])", prog_int(g, 2)));
}

Expr grow_contains(Gen *g, Expr x) {
    const char *when =
        prog_text(g, "contains([%s, 7, 9], %s)", prog_int(g, 4), prog_chance(g, 50) ? "4" : "5");
    return prog_expr(prog_text(g, "if %s { %s } else { -%s }", when, x.text, prog_operand(g, x)),
                     x.shape);
}

Expr grow_int(Gen *g, Expr x) {
    return scaled(g, x, prog_text(g, "int(%s * 1.5)", prog_int(g, 2)));
}

Expr grow_share(Gen *g, Expr x) {
    int64_t n = prog_divisor(g, prog_last(&x.shape));
    return prog_call(
        g, "slice", x, prog_with_last(x.shape, prog_last(&x.shape) / n),
        prog_text(g, "-1, 0, share(%s, %s)", prog_int(g, prog_last(&x.shape)), prog_int(g, n)));
}

/* One that is not reached. */
Expr grow_error(Gen *g, Expr x) {
    if (g->body->quiet) return prog_none;
    prog_open(g, "if %s", prog_truth(g, false));
    prog_line(g, "error(\"this \\\"cannot\\\" be\\n\")");
    prog_close(g);
    return x;
}
