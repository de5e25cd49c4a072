/* Lists the matrix products of a model's step in the words of `bench --kernel`, so that what a
 * model needs can be timed one by one, here and in other libraries. Reads a graph of CORE ops only.
 */
#include "driver/driver.h"

#include <string.h>

static bool is_param(const IrValue *v) {
    while (v->node->op != OP_param) {
        if (ir_ops[v->node->op].route != ROUTE_VIEW) return false;
        v = v->node->in[0];
    }
    return true;
}

static const char *matmul_text(Arena *a, const IrNode *n) {
    const IrType *x = &n->in[0]->type, *w = &n->in[1]->type, *y = &n->out[0].type;
    bool ta = ir_int(n, ATTR_matmul_ta), tb = ir_int(n, ATTR_matmul_tb);
    int64_t k = x->dim[x->rank - (ta ? 2 : 1)], cols = ir_cols(y);
    int64_t m = w->rank == 2 ? ir_rows(y) : y->dim[y->rank - 2], batch = ir_rows(y) / m;
    Text t = text_new(a);
    text_addf(&t, "matmul m=%lld n=%lld k=%lld", (long long)m, (long long)cols, (long long)k);
    if (ta) text_add(&t, " ta=1");
    if (tb) text_add(&t, " tb=1");
    if (batch > 1) text_addf(&t, " batch=%lld", (long long)batch);
    bool learned = is_param(n->in[1]), usual = !ta && batch == 1;
    if (learned != usual) text_addf(&t, " weight=%d", learned);
    return t.data;
}

/* Rows per token of the dispatch that v is; 0: rows are read as they lie. */
static int64_t gathered(const IrValue *v) {
    return v->node->op == OP_dispatch ? ir_int(v->node, ATTR_dispatch_k) : 0;
}

static void add_routing(Text *t, int64_t experts, int64_t k) {
    text_addf(t, " experts=%lld", (long long)experts);
    if (k) text_addf(t, " top_k=%lld gather=1", (long long)k);
}

static const char *expert_text(Arena *a, const IrNode *n) {
    const IrType *x = &n->in[0]->type, *y = &n->out[0].type;
    Text t = text_new(a);
    text_addf(&t, "expert_matmul m=%lld n=%lld k=%lld", (long long)ir_rows(x),
              (long long)ir_cols(y), (long long)ir_cols(x));
    if (ir_int(n, ATTR_expert_matmul_tb)) text_add(&t, " tb=1");
    add_routing(&t, n->in[1]->type.dim[0], gathered(n->in[0]));
    return t.data;
}

static const char *expert_dw_text(Arena *a, const IrNode *n) {
    const IrType *x = &n->in[0]->type, *dy = &n->in[1]->type;
    Text t = text_new(a);
    text_addf(&t, "expert_matmul_dw m=%lld n=%lld k=%lld", (long long)ir_cols(x),
              (long long)ir_cols(dy), (long long)ir_rows(x));
    add_routing(&t, n->in[2]->type.dim[0] - 1, gathered(n->in[0]));
    return t.data;
}

static const char *text_of(Arena *a, const IrNode *n) {
    switch (n->op) {
    case OP_matmul: return matmul_text(a, n);
    case OP_expert_matmul: return expert_text(a, n);
    case OP_expert_matmul_dw: return expert_dw_text(a, n);
    default: return NULL;
    }
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
