/* What a plan's tables hold, for whoever reads or fills them: buffers and places of values, members
 * and row kernels of clusters, packed matrices. Decides nothing. */
#include <limits.h>
#include <string.h>

#include "base/vec.h"
#include "codegen/plan/plan.h"

int plan_new_buffer(Plan *p, int space, int64_t bytes, const IrValue *v) {
    VEC_ROOM(p->arena, p->buffer, p->nbuffer, p->cap_buffer);
    p->buffer[p->nbuffer] = (PlanBuffer){space, 0, (bytes + 63) / 64 * 64, INT_MAX, -1, v, -1};
    return p->nbuffer++;
}

PlanPlace plan_place_of(const Plan *p, const IrValue *v) {
    return p->place[v->node->id][v->index];
}

IrNode *plan_row_kernel(const PlanCluster *c) {
    if (c->front) return c->front;
    return c->ntail && !(ir_ops[c->anchor->op].flags & OPF_PRO) ? c->tail[0] : c->anchor;
}

IrNode *plan_row_tail(const PlanCluster *c) {
    return c->ntail && c->tail[c->ntail - 1] != plan_row_kernel(c) ? c->tail[c->ntail - 1] : NULL;
}

int plan_buffer(const Plan *p, const IrValue *v) {
    return plan_place_of(p, v).buffer;
}

bool plan_is_stored(const Plan *p, const IrValue *v) {
    return plan_buffer(p, v) >= 0;
}

int plan_member(const PlanCluster *c, const IrNode *n) {
    for (int i = 0; i < c->nnode; i++)
        if (c->node[i] == n) return i;
    return -1;
}

static const PlanCluster *cluster_of(const Plan *p, const IrNode *n) {
    for (int i = 0; i < p->ncluster; i++)
        if (plan_member(&p->cluster[i], n) >= 0) return &p->cluster[i];
    return NULL;
}

static bool is_product_cluster(const PlanCluster *c) {
    IrWork w;
    return c && c->anchor && ir_work_product(c->anchor, &w);
}

/* Is n, of cluster c, made of kept values alone? Sets *product if a product's cluster made one. */
static bool made_of_kept(const Plan *p, const PlanCluster *c, const IrNode *n, bool *product) {
    for (int i = 0; i < n->nin; i++) {
        const IrNode *from = view_same_position(n->in[i])->node;
        if (from->op == OP_kept)
            *product |= is_product_cluster(cluster_of(p, view_root(from->in[0])->node));
        else if (ir_ops[view_root(n->in[i])->node->op].route == ROUTE_LEAF)
            continue;
        else if (plan_member(c, from) < 0 || !made_of_kept(p, c, from, product))
            return false;
    }
    return true;
}

bool plan_made_apart(const Plan *p, IrValue *v) {
    const IrNode *n = view_root(v)->node;
    if (ir_ops[n->op].route != ROUTE_ELTWISE) return false;
    const PlanCluster *c = cluster_of(p, n);
    bool product = false;
    if (!c || is_product_cluster(c)) return false;
    /* made again, it rounds as where it was made first: behind a product */
    return !(made_of_kept(p, c, n, &product) && product);
}

int plan_counted_from(const PlanBuffer *b) {
    return b->over < 0 ? b->first : b->first + 1;
}

bool pack_equal(const Pack *a, const Pack *b) {
    if (a->src.root != b->src.root || a->src.offset != b->src.offset ||
        a->transposed != b->transposed)
        return false;
    if (a->bf16 != b->bf16 || a->nr != b->nr || a->k != b->k || a->n != b->n ||
        a->matrices != b->matrices)
        return false;
    if (a->src.type.rank != b->src.type.rank) return false;
    return !memcmp(a->src.stride, b->src.stride,
                   sizeof a->src.stride[0] * (size_t)a->src.type.rank);
}

int64_t pack_bytes(const Pack *k) {
    int64_t panels = (k->n + k->nr - 1) / k->nr;
    return k->matrices * panels * k->k * k->nr * (k->bf16 ? 2 : 4);
}
