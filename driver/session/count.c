/* Counts what a model costs: parameters, the share of them one token or one image meets, and
 * multiply-accumulates of one forward image, in total and per module. Requires a MODEL-stage graph;
 * reads it only. Elementwise work, normalisation and softmax are not counted. */
#include "driver/session/session.h"
#include "base/vec.h"

#include <ctype.h>
#include <string.h>

typedef struct Counter {
    Arena *arena;
    Counts c;
    int cap;
} Counter;

/* "classifier.3.moe.mlp.up.weight" -> "classifier.3.moe": the model, loop indices and the layer. A
 * name with less than that keeps everything but its last component. */
static const char *module_of(Arena *a, const char *name) {
    const char *end = strrchr(name, '.');
    if (!end) return arena_strdup(a, name);
    const char *p = strchr(name, '.');
    while (p < end && isdigit((unsigned char)p[1])) {
        const char *q = strchr(p + 1, '.');
        if (!q || q >= end) break;
        p = q;
    }
    const char *stop = p < end ? strchr(p + 1, '.') : p;
    return arena_strndup(a, name, (size_t)(stop - name));
}

static Count *module(Counter *k, const char *name) {
    for (int i = 0; i < k->c.nmodule; i++)
        if (!strcmp(k->c.module[i].name, name)) return &k->c.module[i];
    VEC_ROOM(k->arena, k->c.module, k->c.nmodule, k->cap);
    Count *m = &k->c.module[k->c.nmodule++];
    m->name = name;
    return m;
}

/* The parameter that v is, seen through views and elementwise work (a scaled or reshaped weight is
 * still that weight); NULL: none. */
static const IrNode *param_behind(const IrValue *v) {
    for (;;) {
        const IrNode *n = v->node;
        if (n->op == OP_param) return n;
        OpRoute r = ir_ops[n->op].route;
        if ((r != ROUTE_VIEW && r != ROUTE_ELTWISE) || !n->nin) return NULL;
        v = n->in[0];
    }
}

/* The last weight that went into v, following first operands backwards. */
static const IrNode *nearest_param(const IrValue *v) {
    for (;;) {
        const IrNode *n = v->node;
        if (n->op == OP_param) return n;
        for (int i = 1; i < n->nin; i++) {
            const IrNode *p = param_behind(n->in[i]);
            if (p) return p;
        }
        if (!n->nin) return NULL;
        v = n->in[0];
    }
}

/* A weight that is learned; states are memory, not parameters. */
static bool is_learned(const IrNode *n) {
    return n->op == OP_param && !ir_is_state(n);
}

/* ---- activated parameters -------------------------------------------------------------------- */

/* Notes on the weight behind v how many of its E experts a token meets (on average, rounded, where
 * experts have limited room), or with images > 0 how many an image of so many may meet at most: all
 * that its tokens have choices for. mark holds the number, 0: every expert. */
static void mark_expert_weight(const IrValue *v, const IrNode *route, int64_t images) {
    if (!route || route->op != OP_route) return;
    int64_t experts = ir_int(route, ATTR_route_experts);
    IrNode *p = (IrNode *)param_behind(v);
    if (!p || p->out[0].type.rank < 1 || p->out[0].type.dim[0] != experts) return;
    int64_t met = ir_cols(&route->in[0]->type), tokens = route->in[0]->type.dim[0];
    int64_t rows = ir_int(route, ATTR_route_rows), each = (rows + tokens / 2) / tokens;
    if (images)
        met *= (tokens + images - 1) / images;
    else if (rows && each < met)
        met = each > 1 ? each : 1;
    if (met > experts) met = experts;
    if (met > p->mark) p->mark = (int)met;
}

static void mark_expert_weights(const IrGraph *g, int64_t images) {
    IR_FOR (n, g) n->mark = 0;
    IR_FOR (n, g) {
        IrWork w;
        if (ir_work(n, &w) && w.experts) {
            const IrNode *route = n->in[w.offsets]->node;
            mark_expert_weight(n->in[w.right], route, images);
            if (w.bias >= 0) mark_expert_weight(n->in[w.bias], route, images);
        } else if (n->op == OP_expert_expand) {
            mark_expert_weight(n->in[0], n->in[1]->node, images);
        }
    }
}

/* Of a weight, those that n->mark leaves. */
static int64_t marked_elems(const IrNode *n) {
    const IrType *t = &n->out[0].type;
    return n->mark ? ir_elems(t) / t->dim[0] * n->mark : ir_elems(t);
}

static void count_param(Counter *k, const IrNode *n) {
    int64_t elems = ir_elems(&n->out[0].type), active = marked_elems(n);
    Count *m = module(k, module_of(k->arena, ir_str(n, ATTR_param_name)));
    m->params += elems;
    m->active += active;
    k->c.total.params += elems;
    k->c.total.active += active;
}

/* ---- multiply-accumulates -------------------------------------------------------------------- */

/* A product belongs to the module of its weight, or of the last one before it; an op that draws
 * random numbers to that of its stream. */
static const char *where_of(Counter *k, const IrNode *n, const IrWork *w) {
    AttrId stream = ir_attr_by_name(n->op, "stream");
    if (stream != ATTR_COUNT && *ir_str(n, stream)) return module_of(k->arena, ir_str(n, stream));
    const IrNode *p = param_behind(n->in[w->right]);
    if (!p) p = nearest_param(n->in[w->left]);
    return p ? module_of(k->arena, ir_str(p, ATTR_param_name)) : "(no weights)";
}

static void count_node(Counter *k, const IrNode *n) {
    IrWork w;
    if (!ir_work(n, &w)) return;
    const char *where = where_of(k, n, &w);
    double macs = w.macs / (double)k->c.batch, attention = w.attention ? macs : 0;
    Count *m = module(k, where);
    m->macs += macs;
    m->attention += attention;
    k->c.total.macs += macs;
    k->c.total.attention += attention;
}

Counts session_count(Arena *a, const IrGraph *g, int64_t batch) {
    Counter k = {.arena = a, .c = {.batch = batch, .total = {.name = "total"}}};
    mark_expert_weights(g, 0);
    IR_FOR (n, g) {
        if (is_learned(n))
            count_param(&k, n);
        else
            count_node(&k, n);
    }
    mark_expert_weights(g, batch);
    IR_FOR (n, g)
        if (is_learned(n)) k.c.image += marked_elems(n);
    return k.c;
}

bool session_has_loss(const IrGraph *g) {
    for (int i = 0; i < g->nout; i++)
        if (g->out[i].kind == OUT_loss) return true;
    return false;
}

const char *session_scope(const Session *s) {
    const char *own = NULL;
    int models = 0;
    for (int i = 0; i < fe_nmodel(s->exp); i++)
        if (!strcmp(fe_model_name(s->exp, i), s->model)) own = fe_model_scope(s->exp, i);
    for (int i = 0; own && i < fe_nmodel(s->exp); i++)
        models += !strcmp(fe_model_scope(s->exp, i), own);
    return models > 1 ? own : NULL;
}

int64_t session_classes(const IrGraph *g, const char *input) {
    int64_t classes = 0;
    IR_FOR (n, g) {
        if (n->op != OP_cross_entropy && n->op != OP_accuracy && n->op != OP_xent) continue;
        const IrValue *v = n->in[1];
        while (ir_ops[v->node->op].route == ROUTE_VIEW) v = v->node->in[0];
        if (v->node->op != OP_input || strcmp(ir_str(v->node, ATTR_input_name), input)) continue;
        int64_t c = ir_cols(&n->in[0]->type);
        if (!classes || c < classes) classes = c;
    }
    return classes;
}
