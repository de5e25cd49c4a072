/* Is a graph legal? Run after every pass. A message names the node by the number of its first
 * result in the printed text. Looks at structure, types, attributes and names; what a cluster may
 * hold is the business of codegen. Never changes the graph. */
#include "ir/internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct Verifier {
    Arena *arena;
    const IrGraph *graph;
    bool allow_model;
    Map seen;    /* nodes already passed, and thus allowed as operands */
    Map written; /* leaves that a node already passed has written */
    int number;  /* of the current node's first result */
} Verifier;

static const char *bad_node(const Verifier *v, const IrNode *n, const char *message) {
    return arena_printf(v->arena, "%%%d = %s: %s", v->number, ir_ops[n->op].name, message);
}

/* Is this value really a result of a node that came before? */
static const char *check_value(const Verifier *v, const IrValue *value) {
    if (!value || !value->node) return "the value is missing";
    if (!map_get(&v->seen, MAP_KEY(value->node))) return "the value is not made before";
    if (value->index < 0 || value->index >= value->node->nout ||
        &value->node->out[value->index] != value)
        return "the value is no result of its node";
    return NULL;
}

static const char *check_structure(const Verifier *v, const IrNode *n) {
    const OpInfo *info = &ir_ops[n->op];
    if (info->stage == STAGE_MODEL && !v->allow_model)
        return "a MODEL op where only CORE ops may stand";
    if (n->nout != info->nout)
        return arena_printf(v->arena, "expected %d results, found %d", info->nout, n->nout);
    for (int i = 0; i < n->nout; i++)
        if (n->out[i].node != n || n->out[i].index != i)
            return arena_printf(v->arena, "result %d does not point back at its node", i + 1);
    for (int i = 0; i < n->nin; i++) {
        const char *message = check_value(v, n->in[i]);
        if (message) return arena_printf(v->arena, "operand %d: %s", i + 1, message);
    }
    return NULL;
}

/* Runs the shape rule on a copy, so that the graph stays as it is. */
static const char *check_types(const Verifier *v, const IrNode *n) {
    IrNode copy = *n;
    IrValue out[8] = {0};
    VM_CHECK(n->nout <= 8, "an op with %d results", n->nout);
    copy.out = out;
    if (ir_ops[n->op].route == ROUTE_LEAF) out[0] = n->out[0];
    const char *message = ir_infer(v->arena, &copy);
    if (message) return message;
    for (int i = 0; i < n->nout; i++)
        if (!ir_type_equal(&out[i].type, &n->out[i].type))
            return arena_printf(v->arena, "result %d is %s, expected %s", i + 1,
                                ir_type_text(v->arena, &n->out[i].type),
                                ir_type_text(v->arena, &out[i].type));
    return NULL;
}

static int operand_number(const IrNode *n, const IrValue *x) {
    int i = 0;
    while (n->in[i] != x) i++;
    return i + 1;
}

/* Does reading x read a leaf that was written before? Views and gathers are read where they are
 * used. */
static bool reads_written(const Verifier *v, const IrValue *x) {
    OpRoute route = ir_ops[x->node->op].route;
    if (route != ROUTE_VIEW && route != ROUTE_GATHER) return map_get(&v->written, MAP_KEY(x->node));
    for (int i = 0; i < x->node->nin; i++)
        if (reads_written(v, x->node->in[i])) return true;
    return false;
}

/* What is written needs a buffer of its own, is written once, and read by nobody afterwards: then
 * it is clear which value every reader sees. */
static const char *check_effect(Verifier *v, const IrNode *n) {
    for (int r = 0; r < n->nout && ir_written(n, r); r++) {
        const IrValue *x = ir_written(n, r);
        int number = operand_number(n, x);
        if (ir_ops[x->node->op].route != ROUTE_LEAF || x->node->op == OP_const ||
            x->node->op == OP_table)
            return arena_printf(
                v->arena, "operand %d is written in place and must be a weight or state", number);
        for (int j = 0; j < r; j++)
            if (x == ir_written(n, j)) return "two operands that are written are the same";
        if (map_get(&v->written, MAP_KEY(x->node)))
            return arena_printf(v->arena, "operand %d is written a second time", number);
    }
    for (int i = 0; i < n->nin; i++)
        if (reads_written(v, n->in[i]))
            return arena_printf(v->arena, "operand %d is read after it was written", i + 1);
    for (int r = 0; r < n->nout && ir_written(n, r); r++)
        *map_at(&v->written, MAP_KEY(ir_written(n, r)->node)) = ir_written(n, r)->node;
    return NULL;
}

static const char *check_node(Verifier *v, const IrNode *n) {
    if ((unsigned)n->op >= OP_COUNT) return arena_printf(v->arena, "unknown op %d", (int)n->op);
    const char *message = check_structure(v, n);
    if (!message) message = check_types(v, n);
    if (!message) message = check_effect(v, n);
    return message ? bad_node(v, n, message) : NULL;
}

static const char *check_nodes(Verifier *v, IrLoc *where) {
    const IrNode *prev = NULL;
    int count = 0;
    IR_FOR (n, v->graph) {
        *where = n->loc;
        const char *message = check_node(v, n);
        if (message) return message;
        if (n->prev != prev) return bad_node(v, n, "the list of nodes is broken");
        *map_at(&v->seen, MAP_KEY(n)) = n;
        v->number += n->nout;
        prev = n;
        count++;
    }
    *where = (IrLoc){0};
    if (prev != v->graph->last) return "the list of nodes does not end in its last node";
    if (count != v->graph->nnodes)
        return arena_printf(v->arena, "the graph counts %d nodes, but has %d", v->graph->nnodes,
                            count);
    return NULL;
}

static const char *check_out(const Verifier *v, const IrOut *o) {
    if ((unsigned)o->kind >= OUT_KIND_COUNT) return "a named result of unknown kind";
    const char *kind = ir_out_kind_name(o->kind);
    const char *message = check_value(v, o->value);
    if (message) return arena_printf(v->arena, "%s \"%s\": %s", kind, o->name, message);
    const IrType *t = &o->value->type;
    bool scalar = o->kind == OUT_loss || o->kind == OUT_aux || o->kind == OUT_metric;
    if (scalar && (t->dtype != DT_f32 || t->rank != 0))
        return arena_printf(v->arena, "%s \"%s\": expected a number f32[], found %s", kind, o->name,
                            ir_type_text(v->arena, t));
    bool integers = o->kind == OUT_offsets || o->kind == OUT_choices;
    if (integers && (t->dtype != DT_i32 || t->rank != (o->kind == OUT_offsets ? 1 : 2)))
        return arena_printf(v->arena, "%s \"%s\": expected i32%s, found %s", kind, o->name,
                            o->kind == OUT_offsets ? "[E+1]" : "[T,K]", ir_type_text(v->arena, t));
    if (o->kind == OUT_logits && (t->dtype != DT_f32 || t->rank < 2))
        return arena_printf(v->arena, "%s \"%s\": expected f32[..,E], found %s", kind, o->name,
                            ir_type_text(v->arena, t));
    if ((o->kind == OUT_grad || o->kind == OUT_update) && t->dtype != DT_f32)
        return arena_printf(v->arena, "%s \"%s\": expected f32 elements, found %s", kind, o->name,
                            ir_type_text(v->arena, t));
    if (!isfinite(o->weight))
        return arena_printf(v->arena, "%s \"%s\": weight is %g, expected a finite number", kind,
                            o->name, o->weight);
    return NULL;
}

/* ---- names ----------------------------------------------------------------------------------- */

typedef struct Named {
    int space; /* names are unique within one */
    const char *name;
    IrLoc loc;
} Named;

static int by_name(const void *a, const void *b) {
    const Named *x = a, *y = b;
    if (x->space != y->space) return x->space < y->space ? -1 : 1;
    return strcmp(x->name, y->name);
}

static int result_space(IrOutKind kind) {
    return kind < OUT_offsets ? -1 : -1 - (int)kind;
}

/* Inputs, weights and state each have their own names; named results share one set, because they
 * end up in one file, but for those that measure routes: each kind has the routes' names. A random
 * stream may have several keys: they are equal. */
static const char *check_names(const Verifier *v, IrLoc *where) {
    Named *list = ARENA_ARRAY(v->arena, Named, v->graph->nnodes + v->graph->nout);
    size_t count = 0;
    IR_FOR (n, v->graph)
        if (n->op == OP_input || n->op == OP_param || n->op == OP_state || n->op == OP_table)
            list[count++] = (Named){(int)n->op, n->attr[0].s, n->loc};
    for (int i = 0; i < v->graph->nout; i++)
        list[count++] = (Named){result_space(v->graph->out[i].kind), v->graph->out[i].name,
                                v->graph->out[i].loc};
    qsort(list, count, sizeof *list, by_name);
    for (size_t i = 1; i < count; i++) {
        if (by_name(&list[i - 1], &list[i]) != 0) continue;
        *where = list[i].loc;
        const char *what = list[i].space < 0 ? "named results" : ir_ops[list[i].space].name;
        return arena_printf(v->arena, "the name \"%s\" is used twice among %s%s", list[i].name,
                            what, list[i].space < 0 ? "" : "s");
    }
    return NULL;
}

const char *ir_verify_at(Arena *a, const IrGraph *g, bool allow_model, IrLoc *where) {
    Verifier v = {.arena = a,
                  .graph = g,
                  .allow_model = allow_model,
                  .seen = map_new(a),
                  .written = map_new(a)};
    *where = (IrLoc){0};
    const char *message = check_nodes(&v, where);
    if (message) return message;
    for (int i = 0; i < g->nout; i++) {
        *where = g->out[i].loc;
        message = check_out(&v, &g->out[i]);
        if (message) return message;
    }
    *where = (IrLoc){0};
    return check_names(&v, where);
}

const char *ir_verify(Arena *a, const IrGraph *g, bool allow_model) {
    IrLoc where;
    return ir_verify_at(a, g, allow_model, &where);
}
