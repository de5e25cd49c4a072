/* The graph: a doubly linked list of nodes plus named results, and the operations every pass needs.
 * Nothing here looks at what an op means; that is in the shape rules and the passes. */
#include "ir/internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "base/vec.h"

IrGraph *ir_graph_create(Arena *a, const char *name) {
    IrGraph *g = ARENA_NEW(a, IrGraph);
    g->arena = a;
    g->name = arena_strdup(a, name);
    g->leaf = ARENA_NEW(a, Map);
    *g->leaf = map_new(a);
    return g;
}

/* ---- the index of leaves: op and name to the node that had them first ------------------------ */

static bool is_named(OpCode op) {
    return ir_ops[op].route == ROUTE_LEAF && op != OP_const;
}

static bool is_linked(const IrGraph *g, const IrNode *n) {
    return n->prev || g->first == n;
}

static uint64_t leaf_key(OpCode op, const char *name) {
    return vm_hash_name(name) + (uint64_t)op;
}

static bool is_leaf(const IrGraph *g, const IrNode *n, OpCode op, const char *name) {
    return n && n->op == op && is_linked(g, n) && !strcmp(n->attr[0].s, name);
}

static void index_leaf(IrGraph *g, IrNode *n) {
    if (!is_named(n->op)) return;
    void **at = map_at(g->leaf, leaf_key(n->op, n->attr[0].s));
    if (!is_leaf(g, *at, n->op, n->attr[0].s)) *at = n;
}

/* ---- nodes ---------------------------------------------------------------------------------- */

IrAttr ir_attr_default(Arena *a, AttrId id) {
    const AttrInfo *info = &ir_attrs[id];
    IrAttr v = {.s = ""};
    if (info->required) return v;
    if (info->kind == ATTR_KIND_INT) v.i = strtoll(info->dflt, NULL, 10);
    if (info->kind == ATTR_KIND_FLOAT) v.f = strtod(info->dflt, NULL);
    /* the table's text has quotes around a string, and defaults need no escapes */
    if (info->kind == ATTR_KIND_STR) v.s = arena_strndup(a, info->dflt + 1, strlen(info->dflt) - 2);
    return v;
}

IrNode *ir_node_new(IrGraph *g, OpCode op, int nin) {
    VM_CHECK((unsigned)op < OP_COUNT, "op %d", (int)op);
    const OpInfo *info = &ir_ops[op];
    IrNode *n = ARENA_NEW(g->arena, IrNode);
    n->op = op;
    n->cluster = -1;
    n->nin = nin;
    n->nout = info->nout;
    n->in = ARENA_ARRAY(g->arena, IrValue *, nin);
    n->out = ARENA_ARRAY(g->arena, IrValue, info->nout);
    n->attr = ARENA_ARRAY(g->arena, IrAttr, info->nattr);
    for (int i = 0; i < n->nout; i++) n->out[i] = (IrValue){.node = n, .index = i};
    for (int i = 0; i < info->nattr; i++)
        n->attr[i] = ir_attr_default(g->arena, (AttrId)((int)info->first_attr + i));
    return n;
}

void ir_node_insert(IrGraph *g, IrNode *n, IrNode *at) {
    n->next = at;
    n->prev = at ? at->prev : g->last;
    if (n->prev)
        n->prev->next = n;
    else
        g->first = n;
    if (at)
        at->prev = n;
    else
        g->last = n;
    n->id = g->nnodes++;
    index_leaf(g, n);
}

void ir_remove(IrGraph *g, IrNode *n) {
    if (n->prev)
        n->prev->next = n->next;
    else
        g->first = n->next;
    if (n->next)
        n->next->prev = n->prev;
    else
        g->last = n->prev;
    n->prev = n->next = NULL;
    g->nnodes--;
}

IrAttr *ir_attr(const IrNode *n, AttrId id, AttrKind kind) {
    VM_CHECK((unsigned)id < ATTR_COUNT && ir_attrs[id].op == n->op, "attribute %d asked of %s",
             (int)id, ir_ops[n->op].name);
    VM_CHECK(ir_attrs[id].kind == kind, "attribute %s of %s has another kind", ir_attrs[id].name,
             ir_ops[n->op].name);
    return &n->attr[(int)id - (int)ir_ops[n->op].first_attr];
}

int64_t ir_int(const IrNode *n, AttrId id) {
    return ir_attr(n, id, ATTR_KIND_INT)->i;
}

double ir_float(const IrNode *n, AttrId id) {
    return ir_attr(n, id, ATTR_KIND_FLOAT)->f;
}

const char *ir_str(const IrNode *n, AttrId id) {
    return ir_attr(n, id, ATTR_KIND_STR)->s;
}

int ir_ints(const IrNode *n, AttrId id, const int64_t **v) {
    const IrAttr *at = ir_attr(n, id, ATTR_KIND_INTS);
    *v = at->v;
    return at->n;
}

void ir_set_int(IrNode *n, AttrId id, int64_t v) {
    *ir_attr(n, id, ATTR_KIND_INT) = (IrAttr){.set = true, .i = v, .s = ""};
}

void ir_set_float(IrNode *n, AttrId id, double v) {
    *ir_attr(n, id, ATTR_KIND_FLOAT) = (IrAttr){.set = true, .f = v, .s = ""};
}

void ir_set_str(IrGraph *g, IrNode *n, AttrId id, const char *s) {
    *ir_attr(n, id, ATTR_KIND_STR) = (IrAttr){.set = true, .s = arena_strdup(g->arena, s)};
    if (is_linked(g, n)) index_leaf(g, n); /* maybe under a new name */
}

void ir_set_ints(IrGraph *g, IrNode *n, AttrId id, const int64_t *v, int count) {
    VM_CHECK(count >= 0, "attribute %s with %d integers", ir_attrs[id].name, count);
    int64_t *copy = ARENA_ARRAY(g->arena, int64_t, count);
    for (int i = 0; i < count; i++) copy[i] = v[i];
    *ir_attr(n, id, ATTR_KIND_INTS) = (IrAttr){.set = true, .s = "", .v = copy, .n = count};
}

/* ---- clone ---------------------------------------------------------------------------------- */

/* File names repeat from node to node: copy each run of them once. */
typedef struct LocCopy {
    Arena *arena;
    const char *from, *to;
} LocCopy;

static IrLoc copy_loc(LocCopy *c, IrLoc loc) {
    if (!loc.file) return loc;
    if (loc.file != c->from) {
        c->from = loc.file;
        c->to = arena_strdup(c->arena, loc.file);
    }
    loc.file = c->to;
    return loc;
}

static void copy_attrs(IrGraph *g, IrNode *to, const IrNode *from) {
    for (int i = 0; i < ir_ops[from->op].nattr; i++) {
        AttrId id = (AttrId)((int)ir_ops[from->op].first_attr + i);
        const IrAttr *v = &from->attr[i];
        if (!v->set) continue;
        switch (ir_attrs[id].kind) {
        case ATTR_KIND_INT: ir_set_int(to, id, v->i); break;
        case ATTR_KIND_FLOAT: ir_set_float(to, id, v->f); break;
        case ATTR_KIND_STR: ir_set_str(g, to, id, v->s); break;
        case ATTR_KIND_INTS: ir_set_ints(g, to, id, v->v, v->n); break;
        }
    }
}

static IrValue *mapped(const Map *map, const IrValue *v) {
    IrNode *n = map_get(map, MAP_KEY(v->node));
    VM_CHECK(n, "an operand made outside its graph");
    return &n->out[v->index];
}

IrGraph *ir_graph_clone(Arena *a, const IrGraph *g) {
    IrGraph *copy = ir_graph_create(a, g->name);
    Arena *scratch = arena_create();
    Map map = map_new(scratch);
    LocCopy loc = {.arena = a};
    IR_FOR (n, g) {
        IrNode *c = ir_node_new(copy, n->op, n->nin);
        copy_attrs(copy, c, n);
        for (int i = 0; i < n->nout; i++) c->out[i].type = n->out[i].type;
        c->loc = copy_loc(&loc, n->loc);
        c->cluster = n->cluster;
        ir_node_insert(copy, c, NULL);
        *map_at(&map, MAP_KEY(n)) = c;
    }
    /* operands in a second sweep: the list need not be sorted */
    const IrNode *from = g->first;
    for (IrNode *c = copy->first; c; c = c->next, from = from->next)
        for (int i = 0; i < c->nin; i++) c->in[i] = mapped(&map, from->in[i]);
    for (int i = 0; i < g->nout; i++) {
        const IrOut *o = &g->out[i];
        ir_add_out(copy, o->kind, o->name, mapped(&map, o->value), o->weight,
                   copy_loc(&loc, o->loc));
    }
    arena_destroy(scratch);
    ir_renumber(copy);
    return copy;
}

IrNode *ir_clone_node(IrGraph *g, const IrNode *n, IrNode *at) {
    VM_CHECK(ir_ops[n->op].route != ROUTE_LEAF, "%s is the only one of its name",
             ir_ops[n->op].name);
    IrNode *c = ir_node_new(g, n->op, n->nin);
    copy_attrs(g, c, n);
    for (int i = 0; i < n->nin; i++) c->in[i] = n->in[i];
    for (int i = 0; i < n->nout; i++) c->out[i].type = n->out[i].type;
    c->loc = n->loc;
    ir_node_insert(g, c, at);
    return c;
}

/* ---- named things ---------------------------------------------------------------------------- */

bool ir_is_state(const IrNode *n) {
    return n->op == OP_param && ir_int(n, ATTR_param_state);
}

bool ir_learns(const IrNode *n) {
    return n->op == OP_param && !ir_int(n, ATTR_param_frozen) && !ir_int(n, ATTR_param_state);
}

IrNode *ir_find_leaf(const IrGraph *g, OpCode op, const char *name) {
    VM_CHECK(is_named(op), "%s has no name", ir_ops[op].name);
    IrNode *found = map_get(g->leaf, leaf_key(op, name));
    if (!found || is_leaf(g, found, op, name)) return found;
    IR_FOR (n, g) /* the one in the index was removed or renamed, or two names have one hash */
        if (is_leaf(g, n, op, name)) return n;
    return NULL;
}

IrOut *ir_find_out(const IrGraph *g, const char *name) {
    for (int i = 0; i < g->nout; i++)
        if (g->out[i].kind < OUT_offsets && strcmp(g->out[i].name, name) == 0) return &g->out[i];
    return NULL;
}

void ir_add_out(IrGraph *g, IrOutKind kind, const char *name, IrValue *v, double weight,
                IrLoc loc) {
    for (int i = 0; i < g->nout; i++) {
        IrOut *o = &g->out[i];
        if (o->kind != kind || strcmp(o->name, name) != 0) continue;
        o->value = v;
        o->weight = weight;
        o->loc = loc;
        return;
    }
    VEC_ROOM(g->arena, g->out, g->nout, g->cap_out);
    g->out[g->nout++] = (IrOut){.kind = kind,
                                .name = arena_strdup(g->arena, name),
                                .value = v,
                                .weight = weight,
                                .loc = loc};
}

const char *ir_out_kind_name(IrOutKind k) {
    static const char *const names[OUT_KIND_COUNT] = {
        [OUT_output] = "output",   [OUT_loss] = "loss",       [OUT_aux] = "aux",
        [OUT_metric] = "metric",   [OUT_grad] = "grad",       [OUT_update] = "update",
        [OUT_offsets] = "offsets", [OUT_choices] = "choices", [OUT_logits] = "logits"};
    VM_CHECK((unsigned)k < OUT_KIND_COUNT, "output kind %d", (int)k);
    return names[k];
}

/* ---- order and uses -------------------------------------------------------------------------- */

void ir_renumber(IrGraph *g) {
    int id = 0;
    IR_FOR (n, g) n->id = id++;
    g->nnodes = id;
}

void ir_replace_uses(IrGraph *g, IrValue *from, IrValue *to) {
    IR_FOR (n, g)
        for (int i = 0; i < n->nin; i++)
            if (n->in[i] == from) n->in[i] = to;
    for (int i = 0; i < g->nout; i++)
        if (g->out[i].value == from) g->out[i].value = to;
}

/* Marks a node as needed and puts it on the work list once. */
static void need(IrNode *n, IrNode **work, int *count) {
    if (n->mark) return;
    n->mark = 1;
    work[(*count)++] = n;
}

bool ir_dce(IrGraph *g, bool drop_leaves) {
    Arena *scratch = arena_create();
    ir_renumber(g);
    IR_FOR (n, g) n->mark = 0;
    IrNode **work = ARENA_ARRAY(scratch, IrNode *, g->nnodes);
    int count = 0;
    for (int i = 0; i < g->nout; i++) need(g->out[i].value->node, work, &count);
    IR_FOR (n, g) {
        bool leaf = n->op == OP_input || n->op == OP_param || n->op == OP_table;
        if ((ir_ops[n->op].flags & OPF_EFFECT) || (leaf && !drop_leaves)) need(n, work, &count);
    }
    while (count > 0) {
        IrNode *n = work[--count];
        for (int i = 0; i < n->nin; i++) need(n->in[i]->node, work, &count);
    }
    bool changed = false;
    for (IrNode *n = g->first, *next; n; n = next) {
        next = n->next;
        if (n->mark) continue;
        ir_remove(g, n);
        changed = true;
    }
    arena_destroy(scratch);
    ir_renumber(g);
    return changed;
}
