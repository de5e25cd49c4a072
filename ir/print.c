/* The text form of a graph, written. Values are numbered in order of appearance; numbers and
 * strings are written so that read.c gives back the same bits. Any graph can be printed, legal or
 * not: an operand that belongs to no node of the graph is written as %?. */
#include "ir/internal.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

void ir_print_number(Text *t, double x) {
    if (isnan(x)) {
        text_add(t, "nan");
        return;
    }
    if (isinf(x)) {
        text_add(t, x < 0 ? "-inf" : "inf");
        return;
    }
    char buf[40];
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(buf, sizeof buf, "%.*g", digits, x);
        if (strtod(buf, NULL) == x) break;
    }
    text_add(t, buf);
}

void ir_print_string(Text *t, const char *s) {
    text_add(t, "\"");
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        if (c == '"' || c == '\\')
            text_addf(t, "\\%c", c);
        else if (c == '\n')
            text_add(t, "\\n");
        else if (c == '\t')
            text_add(t, "\\t");
        else if (c == '\r')
            text_add(t, "\\r");
        else if (c < 0x20 || c == 0x7f)
            text_addf(t, "\\x%02x", c);
        else
            text_addn(t, s, 1);
    }
    text_add(t, "\"");
}

bool ir_is_name(const char *s) {
    if (!isalpha((unsigned char)*s) && *s != '_') return false;
    for (; *s; s++)
        if (!isalnum((unsigned char)*s) && !strchr("_.-", *s)) return false;
    return true;
}

/* Numbers of first results, by node; stored plus one because a map's missing entries are NULL. */
static void set_number(Map *numbers, const IrNode *n, int number) {
    *map_at(numbers, MAP_KEY(n)) = (void *)((uintptr_t)number + 1);
}

static void print_value(Text *t, const Map *numbers, const IrValue *v) {
    uintptr_t first = v ? (uintptr_t)map_get(numbers, MAP_KEY(v->node)) : 0;
    if (first)
        text_addf(t, "%%%llu", (unsigned long long)(first - 1) + (unsigned long long)v->index);
    else
        text_add(t, "%?");
}

static bool at_default(Arena *scratch, AttrId id, const IrAttr *v) {
    const AttrInfo *info = &ir_attrs[id];
    if (info->required) return false;
    IrAttr d = ir_attr_default(scratch, id);
    switch (info->kind) {
    case ATTR_KIND_INT: return v->i == d.i;
    case ATTR_KIND_FLOAT: return memcmp(&v->f, &d.f, sizeof d.f) == 0;
    case ATTR_KIND_STR: return strcmp(v->s, d.s) == 0;
    case ATTR_KIND_INTS: return v->n == d.n;
    }
    return false;
}

static void print_attr(Text *t, AttrId id, const IrAttr *v) {
    text_addf(t, "%s = ", ir_attrs[id].name);
    switch (ir_attrs[id].kind) {
    case ATTR_KIND_INT: text_addf(t, "%lld", (long long)v->i); break;
    case ATTR_KIND_FLOAT: ir_print_number(t, v->f); break;
    case ATTR_KIND_STR: ir_print_string(t, v->s); break;
    case ATTR_KIND_INTS:
        text_add(t, "[");
        for (int i = 0; i < v->n; i++) text_addf(t, "%s%lld", i ? "," : "", (long long)v->v[i]);
        text_add(t, "]");
        break;
    }
}

static void print_attrs(Text *t, Arena *scratch, const IrNode *n) {
    const char *before = " {";
    for (int i = 0; i < ir_ops[n->op].nattr; i++) {
        AttrId id = (AttrId)((int)ir_ops[n->op].first_attr + i);
        if (at_default(scratch, id, &n->attr[i])) continue;
        text_add(t, before);
        print_attr(t, id, &n->attr[i]);
        before = ", ";
    }
    if (before[0] == ',') text_add(t, "}");
}

static void print_loc(Text *t, IrLoc loc) {
    if (!loc.file) return;
    text_add(t, "  ; ");
    for (const char *s = loc.file; *s;
         s++) { /* a file's name may hold a newline, a comment may not */
        char c = (unsigned char)*s < 0x20 ? '?' : *s;
        text_addn(t, &c, 1);
    }
    text_addf(t, ":%d:%d", loc.line, loc.col);
}

static void print_node(Text *t, Arena *scratch, const Map *numbers, const IrNode *n) {
    text_add(t, "  ");
    for (int i = 0; i < n->nout; i++) {
        if (i) text_add(t, ", ");
        print_value(t, numbers, &n->out[i]);
    }
    text_addf(t, " = %s", ir_ops[n->op].name);
    for (int i = 0; i < n->nin; i++) {
        text_add(t, i ? ", " : " ");
        print_value(t, numbers, n->in[i]);
    }
    print_attrs(t, scratch, n);
    for (int i = 0; i < n->nout; i++)
        text_addf(t, "%s%s", i ? ", " : " : ", ir_type_text(scratch, &n->out[i].type));
    if (n->cluster >= 0) text_addf(t, " @%d", n->cluster);
}

static void print_out(Text *t, const Map *numbers, const IrOut *o) {
    text_addf(t, "  %s ", ir_out_kind_name(o->kind));
    ir_print_string(t, o->name);
    text_add(t, " ");
    print_value(t, numbers, o->value);
    if (o->kind == OUT_loss || o->kind == OUT_aux || o->weight != 1) {
        text_add(t, " {weight = ");
        ir_print_number(t, o->weight);
        text_add(t, "}");
    }
}

void ir_print(Text *t, const IrGraph *g, bool with_locs) {
    Arena *scratch = arena_create();
    Map numbers = map_new(scratch);
    int number = 0;
    IR_FOR (n, g) {
        set_number(&numbers, n, number);
        number += n->nout;
    }
    text_add(t, "graph @");
    if (ir_is_name(g->name))
        text_add(t, g->name);
    else
        ir_print_string(t, g->name);
    text_add(t, " {\n");
    IR_FOR (n, g) {
        print_node(t, scratch, &numbers, n);
        if (with_locs) print_loc(t, n->loc);
        text_add(t, "\n");
    }
    for (int i = 0; i < g->nout; i++) {
        print_out(t, &numbers, &g->out[i]);
        if (with_locs) print_loc(t, g->out[i].loc);
        text_add(t, "\n");
    }
    text_add(t, "}\n");
    arena_destroy(scratch);
}

const char *ir_to_text(Arena *a, const IrGraph *g) {
    Text t = text_new(a);
    ir_print(&t, g, false);
    return t.data;
}
