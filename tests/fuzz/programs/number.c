/* Numbers and conditions that are known when the program is compiled: literals, names, arithmetic
 * and the functions that fold. */
#include "tests/fuzz/programs/gen.h"

#include <inttypes.h>
#include <stdlib.h>

int64_t prog_divisor(Gen *g, int64_t n) {
    int64_t d = 1 + prog_below(g, n);
    while (n % d) d--;
    return d;
}

int64_t prog_width(Gen *g, int64_t least, int64_t most) {
    static const int64_t widths[] = {1, 2, 3, 5, 6, 8, 9, 12, 16, 17, 20};
    for (int tries = 0; tries < 50; tries++) {
        int64_t n = widths[prog_below(g, 11)];
        if (n >= least && n <= most) return n;
    }
    return least;
}

/* A name that is n; NULL: there is none. */
static const char *name_of(Gen *g, int64_t n) {
    const char *found = NULL;
    int seen = 0;
    for (int i = 0; i < g->body->nname; i++)
        if (g->body->name[i].value == n && prog_below(g, ++seen) == 0)
            found = g->body->name[i].name;
    for (int i = 0; i < g->nsetting; i++)
        if (g->setting[i].value == n && prog_below(g, ++seen) == 0) found = g->setting[i].name;
    return found;
}

/* A dimension of a tensor of the pool that is n. Of a grouped one not the first. */
static const char *dim_of(Gen *g, int64_t n) {
    for (int tries = 0; tries < 4 && g->body->npool; tries++) {
        Expr x = prog_pick(g, 1);
        int first = g->body->rows;
        for (int i = first; i < x.shape.rank; i++) {
            if (x.shape.dim[i] != n) continue;
            bool back = prog_chance(g, 30);
            int axis = back ? i - x.shape.rank : i;
            return prog_chance(g, 70) ? prog_text(g, "dim(%s, %d)", x.text, axis)
                                      : prog_text(g, "shape(%s)[%d]", x.text, axis);
        }
    }
    return NULL;
}

static const char *size_of(Gen *g, int64_t n) {
    Expr x = g->body->npool && !g->body->rows ? prog_pick(g, 1) : prog_none;
    int64_t elems = x.text ? prog_elems(&x.shape) : 0;
    if (!x.text || elems % n) return NULL;
    return prog_text(g, "size(%s) // %" PRId64, x.text, elems / n);
}

static const char *length(Gen *g, int64_t n) {
    if (n > 4) return NULL;
    static const char *const lists[] = {"[0]", "[2, 2]", "[1.5, 2, 3]", "[[1, 2], [3], [], [4]]"};
    return prog_text(g, "len(%s)", lists[n - 1]);
}

static const char *sum(Gen *g, int64_t n) {
    int64_t a = prog_below(g, n + 1);
    if (prog_chance(g, 40)) return prog_text(g, "(%" PRId64 " - %" PRId64 ")", n + a, a);
    return prog_text(g, "(%" PRId64 " + %s)", n - a, a ? prog_int(g, a) : "0");
}

static const char *written(Gen *g, int64_t n) {
    switch (prog_below(g, 9)) {
    case 0: return sum(g, n);
    case 1: return prog_text(g, "int(%" PRId64 ".%d)", n, (int)prog_below(g, 10));
    case 2: {
        int64_t parts = 1 + prog_below(g, 3);
        return prog_text(g, "share(%" PRId64 ", %" PRId64 "%s)", n * parts, parts,
                         prog_chance(g, 50) ? ", \"numbers\"" : "");
    }
    case 3: return length(g, n);
    case 4: return size_of(g, n);
    case 5: return prog_text(g, "(%" PRId64 " %% %" PRId64 ")", n + 2 * (n + 3), n + 3);
    case 6:
        return prog_text(g, "[%" PRId64 ", %" PRId64 "][%s]", n + 1, n,
                         prog_chance(g, 50) ? "1" : "-1");
    case 7:
        return prog_text(g, "(if %s { %" PRId64 " } else { %" PRId64 " })", prog_truth(g, true), n,
                         n + 1);
    default: return prog_text(g, "(%" PRId64 " // 2)", 2 * n + prog_below(g, 2));
    }
}

const char *prog_int(Gen *g, int64_t n) {
    const char *text = NULL;
    if (n > 0 && prog_chance(g, 40)) text = name_of(g, n);
    if (!text && n > 0 && prog_chance(g, 25)) text = dim_of(g, n);
    if (!text && n > 0 && prog_chance(g, 8)) text = written(g, n);
    return text ? text : prog_text(g, "%" PRId64, n);
}

const char *prog_real(Gen *g, double x) {
    switch (prog_below(g, 12)) {
    case 0: return prog_text(g, "(%g / 4)", 4 * x);
    case 1: return prog_text(g, "(%g * 2)", x / 2);
    case 2: return x > 0 ? prog_text(g, "square(sqrt(%g))", x) : prog_text(g, "-%g", -x);
    case 3: return prog_text(g, "maximum(%g, %g)", x, x - 1);
    case 4: return prog_text(g, "minimum(%g, %g)", x, x + 1);
    default: return prog_text(g, "%g", x);
    }
}

static const char *comparison(Gen *g, bool value) {
    int64_t a = 1 + prog_below(g, 9), b = a + 1 + prog_below(g, 3);
    const char *x = prog_int(g, a), *y = prog_text(g, "%" PRId64, b);
    const char *op = value ? GEN_WORD(g, "<", "<=", "!=") : GEN_WORD(g, ">", ">=", "==");
    return prog_text(g, "%s %s %s", x, op, y);
}

const char *prog_truth(Gen *g, bool value) {
    switch (prog_below(g, 9)) {
    case 0: return value ? "true" : "false";
    case 1: return prog_text(g, "contains([1, 3, 5], %d)", value ? 3 : 4);
    case 2: return prog_text(g, "not (%s)", comparison(g, !value));
    case 3: return prog_text(g, "%s and %s", comparison(g, true), comparison(g, value));
    case 4: return prog_text(g, "%s or %s", comparison(g, false), comparison(g, value));
    case 5: return prog_text(g, "\"one\" %s \"two\"", value ? "!=" : "==");
    case 6: return prog_text(g, "[1, 2] %s [1, 2]", value ? "==" : "!=");
    default: return comparison(g, value);
    }
}
