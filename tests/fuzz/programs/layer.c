/* Layers of the program: a signature for the tensor they are first called with, a body grown like
 * the model's, and calls. */
#include "tests/fuzz/programs/gen.h"

#include <inttypes.h>
#include <string.h>

/* The names of dimensions by rank. With `rows` the first is nobody's. */
static const char *const letters[] = {"B", "N", "H", "C", "D", "E"};

/* "[B, N, D]", "[.., D]" or "": what it binds is known in the body. */
static const char *pattern(Gen *g, GenBody *b, const Shape *s, bool rows) {
    int kind = (int)prog_below(g, rows ? 2 : 4);
    if (kind == 0 && !rows && prog_chance(g, 50)) return "";
    Text t = text_new(g->arena);
    int first = kind == 1 || rows ? s->rank - 1 : 0;
    text_addf(&t, ": %s[%s", prog_chance(g, 20) ? "f32" : "", first ? "" : "");
    if (first || rows) text_add(&t, "..");
    for (int i = first; i < s->rank; i++) {
        bool last = i == s->rank - 1;
        const char *name = last ? "D" : letters[i];
        bool number = !rows && prog_chance(g, 12) && i > 0;
        text_add(&t, i > first || first || rows ? ", " : "");
        if (number) {
            text_addf(&t, "%" PRId64, s->dim[i]);
            continue;
        }
        text_add(&t, name);
        b->name[b->nname++] = (Named){name, s->dim[i]};
    }
    text_add(&t, "]");
    return t.data;
}

/* " -> [.., D]" if the width is D's; often nothing. */
static const char *result(Gen *g, const GenBody *b, const Shape *in, const Shape *out) {
    bool knows = false;
    for (int i = 0; i < b->nname; i++) knows |= !strcmp(b->name[i].name, "D");
    if (!out->rank || prog_chance(g, 40)) return "";
    if (knows && prog_last(in) == prog_last(out)) return " -> [.., D]";
    if (knows && prog_last(in) * 2 == prog_last(out)) return " -> [.., 2 * D]";
    return prog_text(g, " -> [.., %s]",
                     prog_chance(g, 50) ? "Out" : prog_text(g, "%" PRId64, prog_last(out)));
}

static Expr grow_row_wise(Gen *g, Expr x) {
    for (int tries = 0; tries < 10; tries++) {
        Expr y = prog_row_wise[prog_below(g, prog_nrow_wise)].grow(g, x);
        if (y.text && y.shape.rank >= 2) return y;
    }
    return prog_unary(g, x);
}

static Expr last_value(Gen *g, Expr x, bool rows) {
    if (!rows) prog_statements(g, 1 + (int)prog_below(g, 3));
    for (int i = 0, n = rows ? 1 + (int)prog_below(g, 3) : 0; i < n; i++) {
        x = prog_bind(g, grow_row_wise(g, x));
    }
    Expr y = rows ? x : prog_pick(g, 2);
    if (!y.text) y = g->body->pool[0];
    return prog_chance(g, 60) ? prog_unary(g, y) : y;
}

/* The end of a body: an expression, or a condition whose branches end so. */
static void finish(Gen *g, Expr y) {
    if (prog_chance(g, 80)) {
        prog_line(g, "%s", y.text);
        return;
    }
    prog_open(g, "if %s", prog_truth(g, true));
    prog_line(g, "%s", y.text);
    g->body->indent--;
    prog_open(g, "} else");
    prog_line(g, "%s", prog_operand(g, y));
    prog_close(g);
}

/* A parameter that is a number or an initialiser, with a default or not. */
static const char *parameter(Gen *g, GenBody *b, const char **option) {
    *option = "";
    if (prog_chance(g, 40)) return "";
    int64_t n = 2 + prog_below(g, 9);
    const char *name = prog_name(g, "k");
    bool given = prog_chance(g, 50);
    b->name[b->nname++] = (Named){name, n};
    if (given) *option = prog_text(g, ", %s%s%" PRId64, prog_chance(g, 60) ? name : "", "", n);
    if (given && strstr(*option, name)) *option = prog_text(g, ", %s = %" PRId64, name, n);
    return given && prog_chance(g, 50) ? prog_text(g, ", %s", name)
                                       : prog_text(g, ", %s = %" PRId64, name, n);
}

static const GenLayer *write_layer(Gen *g, const Shape *s, bool rows) {
    GenBody *outer = g->body,
            body = {.text = text_new(g->arena), .indent = 1, .rows = rows, .layer = true};
    int nesting = g->nesting;
    GenLayer l = {.name = prog_name(g, "layer"), .in = *s, .rows = rows};
    g->body = &body;
    g->nesting = 0;
    const char *in = pattern(g, &body, s, rows), *more = parameter(g, &body, &l.option);
    Expr x = prog_atom("x", *s);
    prog_keep(g, x);
    Expr y = last_value(g, x, rows);
    finish(g, y);
    l.out = y.shape;
    const char *out = result(g, &body, s, &l.out);
    text_addf(&g->layers, "layer %s(x%s%s)%s {\n%s}\n\n", l.name, in, more, out, body.text.data);
    g->body = outer;
    g->nesting = nesting;
    if (g->nlayer == GEN_LAYERS) return NULL;
    g->layer[g->nlayer] = l;
    return &g->layer[g->nlayer++];
}

static const GenLayer *find_layer(Gen *g, const Shape *s, bool rows) {
    const GenLayer *found = NULL;
    int seen = 0;
    for (int i = 0; i < g->nlayer; i++) {
        const GenLayer *l = &g->layer[i];
        Shape a = l->in, b = *s;
        if (rows && !l->rows) continue;
        if (l->rows && a.rank == b.rank) a.dim[0] = b.dim[0];
        if (prog_same(&a, &b) && prog_below(g, ++seen) == 0) found = l;
    }
    return found;
}

Expr prog_own_layer(Gen *g, Expr x, bool rows) {
    if (g->body->quiet || x.shape.rank < (rows ? 2 : 1) || !strcmp(x.text, "image"))
        return prog_none;
    const GenLayer *l = find_layer(g, &x.shape, rows);
    if (!l && (g->nlayer == GEN_LAYERS || (g->body->layer && g->nlayer > GEN_LAYERS / 2)))
        return prog_none;
    bool mine = g->body->layer; /* a layer may call one that stands before it */
    if (!l && !mine) l = write_layer(g, &x.shape, rows);
    if (!l) return prog_none;
    Shape out = l->out;
    if (l->rows) out.dim[0] = x.shape.dim[0];
    Expr y = prog_call(g, l->name, x, out, *l->option ? l->option + 2 : NULL);
    return y;
}
