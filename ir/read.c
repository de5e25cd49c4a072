/* The text form of a graph, read. The text may be anything: every mistake is a message with its
 * place, nothing recurses, and no number in the text decides how much memory is taken. Types are
 * inferred again and must equal the written ones; what comes out has passed the verifier. */
#include "ir/internal.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_OPERANDS = 64, MAX_LIST = 64, MAX_RESULTS = 8 };

typedef struct Reader {
    Arena *arena;
    const char *name; /* of the text, for messages */
    const char *at;
    const char *line_start;
    int line;
    IrGraph *graph;
    Map values; /* number -> IrValue */
    const char *error;
} Reader;

/* ---- characters and words -------------------------------------------------------------------- */

__attribute__((format(printf, 2, 3))) static bool fail(Reader *r, const char *fmt, ...) {
    if (r->error) return false; /* the first mistake is the one to report */
    va_list ap;
    va_start(ap, fmt);
    const char *message = arena_vprintf(r->arena, fmt, ap);
    va_end(ap);
    r->error = arena_printf(r->arena, "%s:%d:%lld: %s", r->name, r->line,
                            (long long)(r->at - r->line_start + 1), message);
    return false;
}

/* Blanks, newlines and comments. */
static void skip(Reader *r) {
    for (;; r->at++) {
        if (*r->at == ';') r->at += strcspn(r->at, "\n");
        if (*r->at == '\n') {
            r->line++;
            r->line_start = r->at + 1;
        } else if (*r->at != ' ' && *r->at != '\t' && *r->at != '\r') {
            return;
        }
    }
}

static bool accept(Reader *r, char c) {
    skip(r);
    if (*r->at != c) return false;
    r->at++;
    return true;
}

/* What stands here, for a message. */
static const char *found(Reader *r) {
    unsigned char c = (unsigned char)*r->at;
    if (!c) return "the end of the text";
    if (c < 0x20 || c >= 0x7f) return arena_printf(r->arena, "byte 0x%02x", c);
    return arena_printf(r->arena, "'%c'", c);
}

static bool expect(Reader *r, char c) {
    if (accept(r, c)) return true;
    return fail(r, "expected '%c', found %s", c, found(r));
}

/* [A-Za-z_][A-Za-z0-9_]*, and more in the middle of a graph's name; NULL when none stands here. */
static const char *word(Reader *r, const char *more) {
    skip(r);
    const char *start = r->at;
    if (!isalpha((unsigned char)*start) && *start != '_') return NULL;
    const char *end = start;
    while (isalnum((unsigned char)*end) || *end == '_' || (*end && strchr(more, *end))) end++;
    r->at = end;
    return arena_strndup(r->arena, start, (size_t)(end - start));
}

static bool integer(Reader *r, int64_t lo, int64_t hi, int64_t *value) {
    skip(r);
    bool minus = *r->at == '-';
    const char *p = r->at + minus;
    if (!isdigit((unsigned char)*p)) return fail(r, "expected an integer, found %s", found(r));
    int64_t v = 0;
    bool fits = true;
    for (; isdigit((unsigned char)*p); p++) {
        int digit = *p - '0';
        fits = fits && !__builtin_mul_overflow(v, 10, &v) && !__builtin_sub_overflow(v, digit, &v);
    }
    fits = fits && (minus || v != INT64_MIN); /* v counts down: INT64_MIN reads too */
    if (fits && !minus) v = -v;
    if (!fits || v < lo || v > hi)
        return fail(r, "expected an integer from %lld to %lld, found %.*s", (long long)lo,
                    (long long)hi, (int)(p - r->at > 40 ? 40 : p - r->at), r->at);
    r->at = p;
    *value = v;
    return true;
}

static bool number(Reader *r, double *value) {
    skip(r);
    char buf[64];
    size_t len = strspn(r->at, "+-.0123456789eEinfa"); /* letters of inf and nan */
    char *end = buf;
    if (len && len < sizeof buf) {
        memcpy(buf, r->at, len);
        buf[len] = 0;
        *value = strtod(buf, &end);
    }
    if (end == buf || *end) return fail(r, "expected a number, found %s", found(r));
    r->at += len;
    return true;
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return -1;
}

/* One character after a backslash; -1 when it is none. */
static int unescape(Reader *r) {
    switch (*r->at) {
    case '"':
    case '\\': return *r->at++;
    case 'n': r->at++; return '\n';
    case 't': r->at++; return '\t';
    case 'r': r->at++; return '\r';
    case 'x': {
        int high = hex_digit(r->at[1]), low = high < 0 ? -1 : hex_digit(r->at[2]);
        if (low < 0 || high + low == 0) return -1;
        r->at += 3;
        return high * 16 + low;
    }
    default: return -1;
    }
}

static bool string(Reader *r, const char **value) {
    skip(r);
    if (*r->at != '"') return fail(r, "expected a string, found %s", found(r));
    r->at++;
    Text t = text_new(r->arena);
    while (*r->at != '"') {
        size_t plain = strcspn(r->at, "\"\\\n");
        text_addn(&t, r->at, plain);
        r->at += plain;
        if (*r->at == 0 || *r->at == '\n') return fail(r, "the string does not end on its line");
        if (*r->at != '\\') continue;
        r->at++;
        int c = unescape(r);
        if (c < 0)
            return fail(r, "expected \\\" \\\\ \\n \\t \\r or \\xHH in a string, found \\ and %s",
                        found(r));
        text_addn(&t, &(char){(char)c}, 1);
    }
    r->at++;
    *value = t.data;
    return true;
}

/* ---- pieces of a node ------------------------------------------------------------------------ */

static bool value_number(Reader *r, uint64_t *number_out) {
    int64_t v;
    if (!expect(r, '%')) return false;
    if (!integer(r, 0, INT32_MAX, &v)) return false;
    *number_out = (uint64_t)v;
    return true;
}

static bool value_use(Reader *r, IrValue **value) {
    uint64_t n;
    const char *start;
    skip(r);
    start = r->at;
    if (!value_number(r, &n)) return false;
    *value = map_get(&r->values, n);
    if (*value) return true;
    r->at = start;
    return fail(r, "%%%llu is used before it is made", (unsigned long long)n);
}

static bool type(Reader *r, IrType *t) {
    skip(r);
    const char *start = r->at;
    const char *name = word(r, "");
    if (!name) return fail(r, "expected a type, found %s", found(r));
    *t = (IrType){.dtype = ir_dtype_by_name(name)};
    if (t->dtype == DT_COUNT) {
        r->at = start;
        return fail(r, "expected f32 or i32, found %s", name);
    }
    if (!expect(r, '[')) return false;
    if (accept(r, ']')) return true;
    do {
        if (t->rank == IR_MAX_RANK) return fail(r, "expected at most %d dimensions", IR_MAX_RANK);
        if (!integer(r, 1, IR_MAX_ELEMS, &t->dim[t->rank])) return false;
        t->rank++;
    } while (accept(r, ','));
    return expect(r, ']');
}

static bool integer_list(Reader *r, IrNode *n, AttrId id) {
    int64_t list[MAX_LIST];
    int count = 0;
    if (!expect(r, '[')) return false;
    if (!accept(r, ']')) {
        do {
            if (count == MAX_LIST)
                return fail(r, "expected at most %d integers in a list", MAX_LIST);
            if (!integer(r, INT64_MIN, INT64_MAX, &list[count++])) return false;
        } while (accept(r, ','));
        if (!expect(r, ']')) return false;
    }
    ir_set_ints(r->graph, n, id, list, count);
    return true;
}

static bool attr_value(Reader *r, IrNode *n, AttrId id) {
    int64_t i;
    double f;
    const char *s;
    switch (ir_attrs[id].kind) {
    case ATTR_KIND_INT:
        if (!integer(r, INT64_MIN, INT64_MAX, &i)) return false;
        ir_set_int(n, id, i);
        return true;
    case ATTR_KIND_FLOAT:
        if (!number(r, &f)) return false;
        ir_set_float(n, id, f);
        return true;
    case ATTR_KIND_STR:
        if (!string(r, &s)) return false;
        ir_set_str(r->graph, n, id, s);
        return true;
    case ATTR_KIND_INTS: return integer_list(r, n, id);
    }
    return false;
}

static bool attr(Reader *r, IrNode *n) {
    skip(r);
    const char *start = r->at;
    const char *name = word(r, "");
    if (!name) return fail(r, "expected an attribute, found %s", found(r));
    const OpInfo *info = &ir_ops[n->op];
    for (int i = 0; i < info->nattr; i++) {
        AttrId id = (AttrId)((int)info->first_attr + i);
        if (strcmp(ir_attrs[id].name, name) != 0) continue;
        if (!n->attr[i].set) return expect(r, '=') && attr_value(r, n, id);
        r->at = start;
        return fail(r, "%s is given twice", name);
    }
    r->at = start;
    return fail(r, "%s has no attribute %s", info->name, name);
}

static bool attrs(Reader *r, IrNode *n) {
    if (!accept(r, '{')) return true;
    do {
        if (!attr(r, n)) return false;
    } while (accept(r, ','));
    return expect(r, '}');
}

/* ---- statements ------------------------------------------------------------------------------ */

/* Operands are collected first: a node is made with their number. */
static bool operands(Reader *r, OpCode op, IrNode **node) {
    IrValue *in[MAX_OPERANDS];
    int nin = 0;
    skip(r);
    if (*r->at == '%') {
        do {
            if (nin == MAX_OPERANDS) return fail(r, "expected at most %d operands", MAX_OPERANDS);
            if (!value_use(r, &in[nin++])) return false;
        } while (accept(r, ','));
    }
    *node = ir_node_new(r->graph, op, nin);
    for (int i = 0; i < nin; i++) (*node)->in[i] = in[i];
    return true;
}

static bool result_types(Reader *r, IrNode *n) {
    IrType written[MAX_RESULTS];
    for (int i = 0; i < n->nout; i++) {
        if (!expect(r, i ? ',' : ':') || !type(r, &written[i])) return false;
        n->out[i].type = written[i];
    }
    const char *message = ir_infer(r->arena, n);
    if (message) return fail(r, "%s", message);
    for (int i = 0; i < n->nout; i++)
        if (!ir_type_equal(&written[i], &n->out[i].type))
            return fail(r, "result %d of %s is written as %s, but is %s", i + 1, ir_ops[n->op].name,
                        ir_type_text(r->arena, &written[i]),
                        ir_type_text(r->arena, &n->out[i].type));
    return true;
}

static bool define(Reader *r, uint64_t n, IrValue *v) {
    void **place = map_at(&r->values, n);
    if (*place) return fail(r, "%%%llu is made twice", (unsigned long long)n);
    *place = v;
    return true;
}

static bool op_word(Reader *r, int nresults, OpCode *op) {
    skip(r);
    const char *start = r->at;
    const char *name = word(r, "");
    if (!name) return fail(r, "expected an op, found %s", found(r));
    *op = ir_op_by_name(name);
    if (*op == OP_COUNT) {
        r->at = start;
        return fail(r, "there is no op %s", name);
    }
    int nout = ir_ops[*op].nout;
    if (nout != nresults)
        return fail(r, "%s has %d result%s, found %d", name, nout, nout == 1 ? "" : "s", nresults);
    return true;
}

static bool node(Reader *r) {
    IrLoc loc = {r->name, r->line, (int)(r->at - r->line_start + 1)};
    uint64_t results[MAX_RESULTS];
    int nresults = 0;
    do {
        if (nresults == MAX_RESULTS) return fail(r, "expected at most %d results", MAX_RESULTS);
        if (!value_number(r, &results[nresults++])) return false;
    } while (accept(r, ','));
    OpCode op = OP_COUNT;
    IrNode *n = NULL;
    if (!expect(r, '=') || !op_word(r, nresults, &op) || !operands(r, op, &n)) return false;
    if (!attrs(r, n) || !result_types(r, n)) return false;
    if (accept(r, '@')) {
        int64_t cluster;
        if (!integer(r, 0, INT32_MAX, &cluster)) return false;
        n->cluster = (int)cluster;
    }
    n->loc = loc;
    ir_node_insert(r->graph, n, NULL);
    for (int i = 0; i < nresults; i++)
        if (!define(r, results[i], &n->out[i])) return false;
    return true;
}

static bool out(Reader *r) {
    IrLoc loc = {r->name, r->line, (int)(r->at - r->line_start + 1)};
    const char *start = r->at, *kind_name = word(r, ""), *name;
    int kind = 0;
    while (kind_name && kind < OUT_KIND_COUNT &&
           strcmp(ir_out_kind_name((IrOutKind)kind), kind_name))
        kind++;
    if (!kind_name || kind == OUT_KIND_COUNT) {
        r->at = start;
        return fail(r, "expected %%, output, loss, aux, metric, grad or '}', found %s",
                    kind_name ? kind_name : found(r));
    }
    IrValue *v;
    double weight = 1;
    if (!string(r, &name) || !value_use(r, &v)) return false;
    if (accept(r, '{')) {
        const char *key = word(r, "");
        if (!key || strcmp(key, "weight"))
            return fail(r, "expected weight, found %s", key ? key : found(r));
        if (!expect(r, '=') || !number(r, &weight) || !expect(r, '}')) return false;
    }
    for (int i = 0; i < r->graph->nout; i++)
        if ((int)r->graph->out[i].kind == kind && strcmp(r->graph->out[i].name, name) == 0)
            return fail(r, "%s \"%s\" is given twice", kind_name, name);
    ir_add_out(r->graph, (IrOutKind)kind, name, v, weight, loc);
    return true;
}

static bool graph(Reader *r) {
    const char *keyword = word(r, ""), *name;
    if (!keyword || strcmp(keyword, "graph"))
        return fail(r, "expected graph, found %s", keyword ? keyword : found(r));
    if (!expect(r, '@')) return false;
    if (*r->at == '"') {
        if (!string(r, &name)) return false;
    } else {
        name = word(r, ".-");
        if (!name) return fail(r, "expected the graph's name, found %s", found(r));
    }
    r->graph = ir_graph_create(r->arena, name);
    if (!expect(r, '{')) return false;
    while (!accept(r, '}')) {
        if (*r->at == 0)
            return fail(r, "expected '}' at the end of the graph, found the end of the text");
        if (!(*r->at == '%' ? node(r) : out(r))) return false;
    }
    return true;
}

IrGraph *ir_read(Arena *a, const char *text, const char *name, const char **error) {
    Reader r = {.arena = a,
                .name = arena_strdup(a, name),
                .at = text,
                .line_start = text,
                .line = 1,
                .values = map_new(a)};
    *error = NULL;
    if (!graph(&r)) {
        *error = r.error;
        return NULL;
    }
    IrLoc where = {0};
    const char *message = ir_verify_at(a, r.graph, true, &where);
    if (!message) return r.graph;
    *error = arena_printf(a, "%s:%d:%d: %s", r.name, where.line, where.col, message);
    return NULL;
}
