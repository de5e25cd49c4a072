/* What all of the generator stands on: chance, text, shapes. */
#include "tests/fuzz/programs/gen.h"

#include <string.h>

#include "base/rng.h"

const Expr prog_none;

/* ---- chance ---------------------------------------------------------------------------------- */

int64_t prog_below(Gen *g, int64_t n) {
    g->state += UINT64_C(0x9e3779b97f4a7c15);
    return (int64_t)(vm_mix64(g->state) % (uint64_t)n);
}

bool prog_chance(Gen *g, int percent) {
    return prog_below(g, 100) < percent;
}

const char *prog_word(Gen *g, const char *const *list, int n) {
    return list[prog_below(g, n)];
}

/* ---- text ------------------------------------------------------------------------------------ */

const char *prog_text(Gen *g, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    const char *s = arena_vprintf(g->arena, fmt, ap);
    va_end(ap);
    return s;
}

static void indent(Gen *g) {
    for (int i = 0; i < g->body->indent; i++) text_add(&g->body->text, "  ");
}

void prog_line(Gen *g, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    indent(g);
    text_add(&g->body->text, arena_vprintf(g->arena, fmt, ap));
    text_add(&g->body->text, "\n");
    va_end(ap);
}

void prog_open(Gen *g, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    indent(g);
    text_add(&g->body->text, arena_vprintf(g->arena, fmt, ap));
    text_add(&g->body->text, " {\n");
    va_end(ap);
    g->body->indent++;
}

void prog_close(Gen *g) {
    g->body->indent--;
    prog_line(g, "}");
}

const char *prog_name(Gen *g, const char *stem) {
    return prog_text(g, "%s%d", stem, ++g->names);
}

void prog_metric(Gen *g, const char *value) {
    if (g->body->layer || prog_chance(g, 30))
        prog_line(g, "metric %s", value);
    else
        prog_line(g, "metric %s = %s", prog_name(g, "fact"), value);
}

/* ---- shapes ---------------------------------------------------------------------------------- */

Shape prog_shape(int rank, const int64_t *dim) {
    Shape s = {.rank = rank};
    memcpy(s.dim, dim, (size_t)rank * sizeof *dim);
    return s;
}

int64_t prog_elems(const Shape *s) {
    int64_t n = 1;
    for (int i = 0; i < s->rank; i++) n *= s->dim[i];
    return n;
}

int64_t prog_last(const Shape *s) {
    return s->dim[s->rank - 1];
}

bool prog_same(const Shape *a, const Shape *b) {
    return a->rank == b->rank && !memcmp(a->dim, b->dim, (size_t)a->rank * sizeof a->dim[0]);
}

Shape prog_with_last(Shape s, int64_t last) {
    s.dim[s.rank - 1] = last;
    return s;
}

Shape prog_without(Shape s, int axis) {
    for (int i = axis; i + 1 < s.rank; i++) s.dim[i] = s.dim[i + 1];
    s.dim[--s.rank] = 0;
    return s;
}

const char *prog_dims(Gen *g, const Shape *s) {
    Text t = text_new(g->arena);
    text_add(&t, "[");
    for (int i = 0; i < s->rank; i++) text_addf(&t, "%s%s", i ? ", " : "", prog_int(g, s->dim[i]));
    text_add(&t, "]");
    return t.data;
}
