/* Packed copies of weights that outlive a step: where they live, and which of them an
 * update writes as it changes the weight. A copy's place depends on what is copied and how, so
 * programs of a module share it. Which copies are right at a given moment is the runtime's business
 * (engine.c).
 */
#include <inttypes.h>
#include <limits.h>
#include <string.h>

#include "codegen/plan/plan.h"
#include "base/rng.h"

typedef struct Entry {
    const char *key;
    int64_t offset;
    struct Entry *next; /* another key with the same hash */
} Entry;

enum { BUCKETS = 1024 };

struct PackTable {
    Arena *arena;
    Entry *entry[BUCKETS]; /* by hash of the key */
    int64_t bytes;
};

PackTable *pack_table_create(Arena *a) {
    PackTable *t = ARENA_NEW(a, PackTable);
    t->arena = a;
    return t;
}

/* What is copied and how, as text. */
static const char *key_of(Arena *a, const Pack *k) {
    Text t = text_new(a);
    text_addf(&t, "%s+%" PRId64 " %d/%d%s %" PRId64 ":%" PRId64 "x%" PRId64,
              ir_str(k->src.root->node, ATTR_param_name), k->src.offset, k->nr, k->transposed,
              k->bf16 ? " bf16" : "", k->matrices, k->k, k->n);
    for (int d = 0; d < k->src.type.rank; d++)
        text_addf(&t, ",%" PRId64 "*%" PRId64, k->src.type.dim[d], k->src.stride[d]);
    return t.data;
}

static int64_t place_of(PackTable *t, const Pack *k, int64_t bytes) {
    const char *key = key_of(t->arena, k);
    Entry **at = &t->entry[vm_hash_name(key) % BUCKETS];
    for (const Entry *e = *at; e; e = e->next)
        if (!strcmp(e->key, key)) return e->offset;
    Entry *e = ARENA_NEW(t->arena, Entry);
    *e = (Entry){key, t->bytes, *at};
    *at = e;
    t->bytes += bytes;
    return e->offset;
}

/* Are the view's leading dimensions all matrices of the weight, one after the other? */
static bool all_matrices(const View *w, int64_t matrices, int64_t matrix_elems) {
    int64_t expect = matrix_elems;
    for (int d = w->type.rank - 3; d >= 0; d--) {
        if (w->type.dim[d] > 1 && w->stride[d] != expect) return false;
        expect *= w->type.dim[d];
    }
    return matrices * matrix_elems == ir_elems(&w->root->type);
}

static bool edge_fits(int64_t from, int64_t size, int64_t whole, int unit) {
    return from % unit == 0 && from + size <= whole && (size % unit == 0 || from + size == whole);
}

/* Can an update write this copy: is it the same rectangle of every matrix of the weight, with edges
 * where vectors begin and end? Fills in where. */
static bool is_rectangle(const Pack *k, int vl, PlanKept *out) {
    const IrType *t = &k->src.root->type;
    if (t->rank < 2) return false;
    int r = k->src.type.rank;
    int64_t rows = t->dim[t->rank - 2], cols = t->dim[t->rank - 1];
    int64_t sk = k->src.stride[k->transposed ? r - 1 : r - 2],
            sn = k->src.stride[k->transposed ? r - 2 : r - 1];
    out->turned = sn != 1;
    if (out->turned ? sk != 1 || sn != cols : sk != cols) return false;
    if (!all_matrices(&k->src, k->matrices, rows * cols)) return false;
    out->row0 = k->src.offset / cols;
    out->col0 = k->src.offset % cols;
    out->rows = out->turned ? k->n : k->k;
    out->cols = out->turned ? k->k : k->n;
    return edge_fits(out->col0, out->cols, cols, vl) && edge_fits(out->row0, out->rows, rows,
                                                                  out->turned ? vl
                                                                  : k->bf16   ? 2
                                                                              : 1);
}

/* By weight, the leaf's node id. */
typedef struct PlanWeight {
    bool updated;    /* by this program */
    int first, last; /* of its copies in Plan.kept; -1: none */
} PlanWeight;

static PlanWeight *find_weights(const Plan *p) {
    PlanWeight *w = ARENA_ARRAY(p->arena, PlanWeight, p->g->nnodes);
    for (int i = 0; i < p->g->nnodes; i++) w[i].first = w[i].last = -1;
    IR_FOR (n, p->g)
        for (int r = 0; r < n->nout && ir_written(n, r); r++)
            w[ir_written(n, r)->node->id].updated = true;
    return w;
}

int plan_keep_pack(Plan *p, const Pack *want) {
    if (!p->packs || want->src.root->node->op != OP_param) return -1;
    if (!p->weight) p->weight = find_weights(p);
    PlanWeight *w = &p->weight[want->src.root->node->id];
    for (int i = w->first; i >= 0; i = p->kept[i].next)
        if (pack_equal(p->kept[i].pack, want)) return p->kept[i].buffer;
    PlanKept kept = {.updated = w->updated, .next = -1};
    if (kept.updated && !is_rectangle(want, p->target->vector_floats, &kept)) return -1;
    if (!p->kept)
        p->kept = ARENA_ARRAY(p->arena, PlanKept, p->ncluster); /* one product wants one at most */
    Pack *pack = ARENA_NEW(p->arena, Pack);
    *pack = *want;
    kept.pack = pack;
    kept.buffer = plan_new_buffer(p, VM_PACKED, pack_bytes(pack), NULL);
    PlanBuffer *b = &p->buffer[kept.buffer];
    b->offset = place_of(p->packs, pack, b->bytes);
    b->first = 0;
    b->last = INT_MAX;
    kept.task = ARENA_NEW(p->arena, PlanCluster);
    *kept.task = (PlanCluster){.pack = pack, .pack_buffer = kept.buffer};
    *(w->last < 0 ? &w->first : &p->kept[w->last].next) = p->nkept;
    w->last = p->nkept;
    p->kept[p->nkept++] = kept;
    return kept.buffer;
}

/* Adds the copies of the weight that result 0 of n is stored over; other results are state. */
static void link_copies(const Plan *p, PlanCluster *c, const IrNode *n) {
    const IrValue *weight = ir_written(n, 0);
    if (!weight) return;
    for (int k = p->weight[weight->node->id].first; k >= 0; k = p->kept[k].next)
        c->keep[c->nkeep++] = &p->kept[k];
}

void plan_link_updates(Plan *p) {
    if (!p->nkept) return;
    for (int i = 0; i < p->ncluster; i++) {
        PlanCluster *c = &p->cluster[i];
        if (c->kind != VM_TASK_UPDATE) continue;
        c->keep = ARENA_ARRAY(p->arena, const PlanKept *, p->nkept);
        for (int j = 0; j < c->nnode; j++) link_copies(p, c, c->node[j]);
    }
}
