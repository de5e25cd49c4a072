/* Lists the matrix products of a model's step in the words of `bench --kernel`, so that what a
 * model needs can be timed one by one, here and in other libraries. Reads a graph of CORE ops only.
 */
#include "driver/commands/commands.h"

#include <string.h>

static bool is_param(const IrValue *v) {
    while (v->node->op != OP_param) {
        if (ir_ops[v->node->op].route != ROUTE_VIEW) return false;
        v = v->node->in[0];
    }
    return true;
}

static void add_batch(Text *t, const IrNode *n, const IrWork *w) {
    if (w->ta) text_add(t, " ta=1");
    if (w->tb) text_add(t, " tb=1");
    if (w->count > 1) text_addf(t, " batch=%lld", (long long)w->count);
    bool learned = is_param(n->in[w->right]), usual = !w->ta && w->count == 1;
    if (learned != usual) text_addf(t, " weight=%d", learned);
}

/* Rows per token of the dispatch that v is; 0: rows are read as they lie. */
static int64_t gathered(const IrValue *v) {
    return v->node->op == OP_dispatch ? ir_int(v->node, ATTR_dispatch_k) : 0;
}

static void add_routing(Text *t, const IrNode *n, const IrWork *w) {
    int64_t k = gathered(n->in[w->left]);
    if (w->tb) text_add(t, " tb=1");
    text_addf(t, " experts=%lld", (long long)w->experts);
    if (k) text_addf(t, " top_k=%lld gather=1", (long long)k);
}

/* NULL: no product. */
static const char *text_of(Arena *a, const IrNode *n) {
    IrWork w;
    if (!ir_work_product(n, &w)) return NULL;
    Text t = text_new(a);
    text_addf(&t, "%s m=%lld n=%lld k=%lld", ir_ops[n->op].name, (long long)w.m, (long long)w.n,
              (long long)w.k);
    if (w.experts)
        add_routing(&t, n, &w);
    else
        add_batch(&t, n, &w);
    return t.data;
}

int count_matmuls(Arena *a, const IrGraph *g, Matmul **out) {
    Matmul *list = ARENA_ARRAY(a, Matmul, g->nnodes + 1);
    int n = 0;
    IR_FOR (node, g) {
        const char *text = text_of(a, node);
        if (!text) continue;
        int i = 0;
        while (i < n && strcmp(list[i].text, text) != 0) i++;
        if (i == n) list[n++] = (Matmul){text, 0};
        list[i].calls++;
    }
    *out = list;
    return n;
}
