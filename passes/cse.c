/* cse: merge nodes that compute the same values.
 *
 * requires  a graph that verifies
 * ensures   no two nodes have the same op, attributes, operands and result types, except ops that
 * write in place (EFFECT), which are never merged. The first of equal nodes stays, with its
 * location. Operands of commutative ops are compared in either order. Leaves have a name among
 * their attributes, so an input, weight or stream is merged with itself only. Random numbers are a
 * pure function of key and shape and merge like anything else.
 *
 * before  %2 = add %0, %1 : f32[4]
 *         %3 = add %1, %0 : f32[4]
 *         %4 = mul %2, %3 : f32[4]
 * after   %2 = add %0, %1 : f32[4]
 *         %3 = mul %2, %2 : f32[4] */
#include "passes/passes.h"

#include <string.h>

static uint64_t mix(uint64_t h, uint64_t x) {
    h = (h ^ x) * UINT64_C(0x9e3779b97f4a7c15);
    return h ^ (h >> 29);
}

static uint64_t bits_of(double x) {
    uint64_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

static AttrKind attr_kind(const IrNode *n, int i) {
    return ir_attrs[(int)ir_ops[n->op].first_attr + i].kind;
}

static uint64_t hash_attr(uint64_t h, AttrKind kind, const IrAttr *a) {
    switch (kind) {
    case ATTR_KIND_INT: return mix(h, (uint64_t)a->i);
    case ATTR_KIND_FLOAT: return mix(h, bits_of(a->f));
    case ATTR_KIND_STR:
        for (const char *s = a->s; *s; s++) h = mix(h, (unsigned char)*s);
        return h;
    case ATTR_KIND_INTS:
        for (int i = 0; i < a->n; i++) h = mix(h, (uint64_t)a->v[i]);
        return mix(h, (uint64_t)a->n);
    }
    VM_BUG("attribute kind %d", (int)kind);
}

static bool attr_equal(AttrKind kind, const IrAttr *a, const IrAttr *b) {
    switch (kind) {
    case ATTR_KIND_INT: return a->i == b->i;
    case ATTR_KIND_FLOAT:
        return bits_of(a->f) == bits_of(b->f); /* 0 and -0 differ, NaN equals itself */
    case ATTR_KIND_STR: return strcmp(a->s, b->s) == 0;
    case ATTR_KIND_INTS:
        return a->n == b->n && (a->n == 0 || memcmp(a->v, b->v, (size_t)a->n * sizeof *a->v) == 0);
    }
    VM_BUG("attribute kind %d", (int)kind);
}

static uint64_t operand_key(const IrValue *v) {
    return mix((uint64_t)v->node->id, (uint64_t)v->index);
}

/* Does not depend on the order of two operands: commutative nodes meet in one bucket. */
static uint64_t hash_node(const IrNode *n) {
    uint64_t h = mix(0, (uint64_t)n->op), operands = 0;
    for (int i = 0; i < n->nin; i++) operands += operand_key(n->in[i]);
    h = mix(h, operands);
    for (int i = 0; i < ir_ops[n->op].nattr; i++) h = hash_attr(h, attr_kind(n, i), &n->attr[i]);
    return h;
}

static bool same_operands(const IrNode *a, const IrNode *b) {
    bool straight = true;
    for (int i = 0; i < a->nin; i++) straight = straight && a->in[i] == b->in[i];
    if (straight) return true;
    return (ir_ops[a->op].flags & OPF_COMMUTE) && a->in[0] == b->in[1] && a->in[1] == b->in[0];
}

static bool same_node(const IrNode *a, const IrNode *b) {
    if (a->op != b->op || a->nin != b->nin || !same_operands(a, b)) return false;
    for (int i = 0; i < ir_ops[a->op].nattr; i++) {
        if (!attr_equal(attr_kind(a, i), &a->attr[i], &b->attr[i])) return false;
    }
    for (int i = 0; i < a->nout; i++) {
        if (!ir_type_equal(&a->out[i].type, &b->out[i].type)) return false;
    }
    return true;
}

/* Buckets of nodes by hash; a node that was merged has the one that stays in its aux. */
typedef struct Table {
    IrNode **slot;
    size_t mask;
} Table;

static Table table_new(Arena *a, int nodes) {
    size_t cap = 16;
    while (cap < (size_t)nodes * 2) cap *= 2;
    return (Table){.slot = ARENA_ARRAY(a, IrNode *, cap), .mask = cap - 1};
}

/* The node equal to n that came first: n itself if it is the first. */
static IrNode *table_first(Table *t, IrNode *n) {
    for (size_t i = hash_node(n) & t->mask;; i = (i + 1) & t->mask) {
        if (!t->slot[i]) return t->slot[i] = n;
        if (same_node(t->slot[i], n)) return t->slot[i];
    }
}

static IrValue *kept(IrValue *v) {
    const IrNode *first = v->node->aux;
    return first ? &first->out[v->index] : v;
}

bool pass_cse(PassCtx *c, IrGraph *g) {
    ir_renumber(g);
    Table t = table_new(c->scratch, g->nnodes);
    bool changed = false;
    IR_FOR (n, g) n->aux = NULL;
    for (IrNode *n = g->first, *next; n; n = next) {
        next = n->next;
        for (int i = 0; i < n->nin; i++) n->in[i] = kept(n->in[i]);
        if (ir_ops[n->op].flags & OPF_EFFECT) continue;
        IrNode *first = table_first(&t, n);
        if (first == n) continue;
        n->aux = first;
        ir_remove(g, n);
        changed = true;
    }
    for (int i = 0; i < g->nout; i++) g->out[i].value = kept(g->out[i].value);
    ir_renumber(g);
    return changed;
}
