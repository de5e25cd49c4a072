/* Planning: from a fused graph to tasks and buffers. requires pass_fuse's numbering. Decides which
 * matrices are packed, the order of the tasks, and how long every buffer lives; offsets and
 * barriers are memory.c's. */
#include <limits.h>
#include <string.h>

#include "codegen/plan/blocks.h"
#include "passes/passes.h"
#include "base/vec.h"

static bool needs_code(const IrNode *n) {
    OpRoute r = ir_ops[n->op].route;
    return (r == ROUTE_ELTWISE && !fuse_is_inline(n)) || r == ROUTE_KERNEL;
}

static void set_place(Plan *p, const IrValue *v, int buffer) {
    p->place[v->node->id][v->index] = (PlanPlace){buffer, 0, ir_cols(&v->type)};
}

static void leaf_buffers(Plan *p) {
    IR_FOR (n, p->g) {
        if (ir_ops[n->op].route != ROUTE_LEAF || n->op == OP_const) continue;
        int space = n->op == OP_param || n->op == OP_table ? VM_WEIGHTS
                    : n->op == OP_state                    ? VM_STATE
                                                           : VM_WORK;
        const IrValue *v = &n->out[0];
        int64_t bytes = ir_elems(&v->type) * ir_dtype_size(v->type.dtype);
        int id = plan_new_buffer(p, space, bytes, v);
        set_place(p, v, id);
        p->buffer[id].first = 0; /* written from outside before the step */
        p->buffer[id].last = INT_MAX;
    }
}

/* Marks what is read from memory: by another cluster, through a gather, or as a graph output. */
static void mark_read(bool **read, IrValue *v, int by_cluster) {
    IrNode *root = view_root(v)->node;
    IrValue *rv = view_root(v);
    if (ir_ops[root->op].route == ROUTE_GATHER || fuse_is_inline(root)) {
        for (int i = 0; i < root->nin; i++) mark_read(read, root->in[i], -1);
        return;
    }
    if (root->cluster >= 0 && root->cluster != by_cluster) read[root->id][rv->index] = true;
}

/* Can the kernel that makes v write rows that are further apart than they are long? */
static bool writes_strided(const IrValue *v) {
    const IrNode *n = v->node;
    if (ir_ops[n->op].route == ROUTE_ELTWISE) return true;
    return ir_ops[n->op].flags & OPF_SPREAD;
}

/* How often every result is read: [node id][result]. */
static int **count_readers(const Plan *p) {
    int **count = ARENA_ARRAY(p->arena, int *, p->g->nnodes);
    IR_FOR (n, p->g) count[n->id] = ARENA_ARRAY(p->arena, int, n->nout);
    IR_FOR (n, p->g)
        for (int i = 0; i < n->nin; i++) count[n->in[i]->node->id][n->in[i]->index]++;
    for (int i = 0; i < p->g->nout; i++)
        count[p->g->out[i].value->node->id][p->g->out[i].value->index]++;
    return count;
}

/* A concat along the last dimension needs no code when each operand is written straight to its
 * columns: its producer can, and nobody else reads it. */
static void elide_concats(Plan *p) {
    int **readers = count_readers(p);
    IR_FOR (n, p->g) {
        if (n->op != OP_concat || ir_int(n, ATTR_concat_axis) != n->out[0].type.rank - 1) continue;
        bool all = true;
        for (int i = 0; i < n->nin && all; i++) {
            const IrValue *v = n->in[i];
            all = writes_strided(v) && v->type.dtype == DT_f32 && !plan_is_stored(p, v) &&
                  readers[v->node->id][v->index] == 1;
        }
        if (!all) continue;
        const IrValue *y = &n->out[0];
        int64_t ld = ir_cols(&y->type), at = 0;
        int buffer = plan_new_buffer(p, VM_WORK, ir_elems(&y->type) * 4, y);
        set_place(p, y, buffer);
        for (int i = 0; i < n->nin; i++) {
            p->place[n->in[i]->node->id][n->in[i]->index] = (PlanPlace){buffer, at, ld};
            at += ir_cols(&n->in[i]->type);
        }
        p->cluster[n->cluster].elided = true;
    }
}

/* Does the code that makes result r of n do without a buffer for it? */
static bool may_be_unstored(const IrNode *n, int r) {
    const OpInfo *op = &ir_ops[n->op];
    return op->route == ROUTE_ELTWISE || (op->flags & OPF_SPARE) ||
           (r == 0 && (op->flags & OPF_EPI));
}

static void value_buffers(Plan *p) {
    bool **read = ARENA_ARRAY(p->arena, bool *, p->g->nnodes);
    IR_FOR (n, p->g) read[n->id] = ARENA_ARRAY(p->arena, bool, n->nout);
    IR_FOR (n, p->g) {
        OpRoute r = ir_ops[n->op].route;
        if (r == ROUTE_VIEW || r == ROUTE_GATHER || fuse_is_inline(n)) continue;
        for (int i = 0; i < n->nin; i++) mark_read(read, n->in[i], n->cluster);
    }
    for (int i = 0; i < p->g->nout; i++) mark_read(read, p->g->out[i].value, -1);
    IR_FOR (n, p->g) {
        if (!needs_code(n)) continue;
        PlanCluster *c = &p->cluster[n->cluster];
        for (int r = 0; r < n->nout; r++) {
            IrValue *v = &n->out[r];
            if (ir_written(n, r)) { /* it lives in the operand's buffer */
                set_place(p, v, plan_buffer(p, ir_written(n, r)));
                if (ir_ops[n->op].route == ROUTE_ELTWISE) c->store[c->nstore++] = v;
                continue;
            }
            if (may_be_unstored(n, r) && !read[n->id][r]) continue;
            int64_t bytes = ir_elems(&v->type) * ir_dtype_size(v->type.dtype);
            if (!plan_is_stored(p, v)) set_place(p, v, plan_new_buffer(p, VM_WORK, bytes, v));
            if (ir_ops[n->op].route == ROUTE_ELTWISE) c->store[c->nstore++] = v;
        }
    }
}

/* In graph order: front, anchor, tails. */
static void add_kernel(PlanCluster *c, IrNode *n) {
    if (c->anchor && !(ir_ops[n->op].flags & OPF_PRO)) {
        c->front = c->anchor;
        c->anchor = n;
    } else {
        *(c->anchor ? &c->tail[c->ntail++] : &c->anchor) = n;
    }
}

static void collect_clusters(Plan *p) {
    int count = 0;
    IR_FOR (n, p->g) {
        VM_CHECK(!needs_code(n) || n->cluster >= 0, "plan: %s has no cluster", ir_ops[n->op].name);
        if (n->cluster >= count) count = n->cluster + 1;
    }
    p->cluster = ARENA_ARRAY(p->arena, PlanCluster, count);
    p->ncluster = count;
    int *size = ARENA_ARRAY(p->arena, int, count + 1);
    IR_FOR (n, p->g)
        if (n->cluster >= 0) size[n->cluster]++;
    for (int i = 0; i < count; i++) {
        p->cluster[i].node = ARENA_ARRAY(p->arena, IrNode *, size[i] + 1);
        p->cluster[i].store = ARENA_ARRAY(p->arena, IrValue *, size[i] + 1);
        p->cluster[i].pack_buffer = -1;
    }
    IR_FOR (n, p->g) {
        if (n->cluster < 0) continue;
        PlanCluster *c = &p->cluster[n->cluster];
        c->node[c->nnode++] = n;
        if (ir_written(n, 0)) c->kind = VM_TASK_UPDATE;
        if (ir_ops[n->op].route == ROUTE_KERNEL) add_kernel(c, n);
    }
}

/* ---- order of updates ----------------------------------------------------------------------- */

/* When values are asked for, by node id; looking through what is done in the load. */
typedef struct Uses {
    int *last;   /* the last cluster that reads the node, or makes it; -1: none */
    int *writer; /* the cluster that is stored over the leaf; -1: none */
} Uses;

static bool in_load(const IrNode *root) {
    return ir_ops[root->op].route == ROUTE_GATHER || fuse_is_inline(root);
}

/* Notes that cluster i, an update or not, reads v. Updates wait for other updates only where these
 * read what they write. */
static void note_reader(const Uses *u, IrValue *v, int i, bool update) {
    const IrNode *root = view_root(v)->node;
    int writer = u->writer[root->id];
    if (writer != i && (!update || writer >= 0)) u->last[root->id] = i;
    for (int k = 0; in_load(root) && k < root->nin; k++) note_reader(u, root->in[k], i, update);
}

static Uses find_uses(const Plan *p) {
    int n = p->g->nnodes;
    Uses u = {ARENA_ARRAY(p->arena, int, n), ARENA_ARRAY(p->arena, int, n)};
    for (int i = 0; i < n; i++) u.last[i] = u.writer[i] = -1;
    IR_FOR (m, p->g)
        for (int r = 0; r < m->nout && ir_written(m, r); r++)
            u.writer[ir_written(m, r)->node->id] = m->cluster;
    for (int i = 0; i < p->ncluster; i++) {
        const PlanCluster *c = &p->cluster[i];
        for (int j = 0; j < c->nnode; j++) {
            u.last[c->node[j]->id] = i; /* a gradient is ready after its own cluster */
            for (int k = 0; k < c->node[j]->nin; k++)
                note_reader(&u, c->node[j]->in[k], i, c->kind == VM_TASK_UPDATE);
        }
    }
    return u;
}

/* The last cluster that a reader of v has to wait for, other than `self`. */
static int wait_for(const Uses *u, IrValue *v, int self) {
    const IrNode *root = view_root(v)->node;
    bool leaf = ir_ops[root->op].route == ROUTE_LEAF;
    int when = leaf || u->last[root->id] == self ? -1 : u->last[root->id];
    for (int k = 0; in_load(root) && k < root->nin; k++) {
        int at = wait_for(u, root->in[k], self);
        if (at > when) when = at;
    }
    return when;
}

/* After which cluster the update i may run: nobody reads any more what it writes, and what it reads
 * is there. i: it writes little, so it stays. */
static int update_time(const Plan *p, const Uses *u, int i) {
    enum { LARGE = 16384 };
    const PlanCluster *c = &p->cluster[i];
    int when = -1;
    int64_t elems = 0;
    for (int j = 0; j < c->nnode; j++) {
        const IrNode *n = c->node[j];
        for (int r = 0; r < n->nout && ir_written(n, r); r++) {
            int at = u->last[ir_written(n, r)->node->id];
            if (at > when) when = at;
            if (ir_elems(&n->out[r].type) > elems) elems = ir_elems(&n->out[r].type);
        }
        for (int k = 0; k < n->nin; k++) {
            int at = wait_for(u, n->in[k], i);
            if (at > when) when = at;
        }
    }
    return elems < LARGE || when < 0 || when > i ? i : when;
}

/* Updates of large weights run as soon as nobody reads the weight any more: their gradients die
 * early. Small ones stay at the end, where they share one barrier. None runs before all losses are
 * known. Other clusters keep their order. */
static void order_updates(Plan *p) {
    int *when = ARENA_ARRAY(p->arena, int, p->ncluster), n = p->ncluster;
    int ready = plan_terms_ready(p);
    Uses uses = find_uses(p);
    for (int i = 0; i < n; i++) {
        bool update = p->cluster[i].kind == VM_TASK_UPDATE;
        when[i] = update ? update_time(p, &uses, i) : i;
        if (update && when[i] < ready) when[i] = ready;
    }
    PlanCluster *sorted = ARENA_ARRAY(p->arena, PlanCluster, n);
    int *start = ARENA_ARRAY(p->arena, int, n + 2);
    for (int i = 0; i < n; i++) start[when[i] + 1 + 1]++;
    for (int i = 0; i <= n; i++) start[i + 1] += start[i];
    for (int pass = 0; pass < 2;
         pass++) /* the cluster itself first, then the updates that wait for it */
        for (int i = 0; i < n; i++)
            if ((when[i] != i) == (pass == 1)) sorted[start[when[i] + 1]++] = p->cluster[i];
    p->cluster = sorted;
}

/* Does the right operand of this product have to be packed, and how? Activations that are read in
 * rows of contiguous columns are used as they stand. */
static bool wants_pack(const Plan *p, IrNode *n, Pack *out) {
    IrWork w;
    if (!ir_work_product(n, &w)) return false;
    IrValue *b = n->in[w.right];
    unsigned reads = ir_reads(n->op, w.right);
    bool bf16 = ir_rounds_operands(n);
    View v;
    if (!(reads & READ_PACKED) || block_is_narrow(p->target, n) || (bf16 && w.ta)) return false;
    view_resolve(b, &v);
    if (block_is_unfolded(n)) { /* dense: kernel elements and channels are one dimension */
        v.type = IR_TYPE(v.type.dtype, ir_elems(&v.type) / (w.k * w.n), w.k, w.n);
        v.stride[0] = w.k * w.n;
        v.stride[1] = w.n;
        v.stride[2] = 1;
    }
    bool contiguous = !w.tb && v.stride[v.type.rank - 1] == 1;
    if ((reads & READ_STRIDED) && contiguous && v.root->node->op != OP_param) return false;
    int64_t k = v.type.dim[v.type.rank - (w.tb ? 1 : 2)], matrices = ir_elems(&v.type) / (k * w.n);
    *out = (Pack){v, w.tb, bf16, tile_choose(p->target, w.n).nr, matrices, k, w.n};
    return true;
}

/* Products of weights read copies that outlive the step. For others, inserts a pack task before the
 * first product that needs it; later ones share it while it is recent: packing again costs less
 * than memory for the whole step does, which is what products that are computed again in the
 * backward pass would take. */
static void insert_packs(Plan *p) {
    enum { RECENT = 32 };
    PlanCluster *out = ARENA_ARRAY(p->arena, PlanCluster, 2 * p->ncluster + 1);
    int *last_use = ARENA_ARRAY(p->arena, int, 2 * p->ncluster + 1); /* by pack task */
    int *recent =
        ARENA_ARRAY(p->arena, int, p->ncluster + 1); /* pack tasks in use, in their order */
    int n = 0, nrecent = 0;
    for (int i = 0; i < p->ncluster; i++) {
        Pack want;
        PlanCluster *c = &p->cluster[i];
        if (c->elided) continue;
        if (c->anchor && wants_pack(p, c->anchor, &want)) {
            int shared = n;
            c->pack_buffer = plan_keep_pack(p, &want);
            int still = 0;
            for (int j = 0; j < nrecent && c->pack_buffer < 0; j++) {
                if (n - last_use[recent[j]] > RECENT) continue;
                recent[still++] = recent[j];
                if (pack_equal(out[recent[j]].pack, &want)) shared = recent[j];
            }
            if (c->pack_buffer < 0) nrecent = still;
            if (shared < n) c->pack_buffer = out[shared].pack_buffer;
            if (c->pack_buffer < 0) {
                Pack *pk = ARENA_NEW(p->arena, Pack);
                *pk = want;
                c->pack_buffer = plan_new_buffer(p, VM_WORK, pack_bytes(pk), NULL);
                recent[nrecent++] = n;
                out[n++] = (PlanCluster){.pack = pk, .pack_buffer = c->pack_buffer};
            }
            last_use[shared] = n;
        }
        out[n++] = *c;
    }
    p->cluster = out;
    p->ncluster = n;
    plan_link_updates(p);
}

static void touch(Plan *p, int task) {
    const PlanCluster *c = &p->cluster[task];
    for (int i = 0; i < c->narg; i++) {
        PlanBuffer *b = &p->buffer[c->arg[i].buffer];
        if (task < b->first) b->first = task;
        if (task > b->last) b->last = task;
    }
}

static void persistent_outputs(Plan *p) {
    for (int i = 0; i < p->g->nout; i++) {
        int id = plan_buffer(p, p->g->out[i].value);
        VM_CHECK(id >= 0, "plan: output '%s' is not stored", p->g->out[i].name);
        p->buffer[id].last = INT_MAX;
    }
}

Plan *plan_create(Arena *a, IrGraph *g, const CgTarget *t, PackTable *packs) {
    return plan_create_tuned(a, g, t, packs, NULL);
}

/* As far as the tasks. */
static Plan *begin(Arena *a, IrGraph *g, const CgTarget *t, PackTable *packs) {
    Plan *p = ARENA_NEW(a, Plan);
    *p = (Plan){.arena = a, .g = g, .target = t, .packs = packs};
    ir_renumber(g);
    p->place = ARENA_ARRAY(a, PlanPlace *, g->nnodes);
    IR_FOR (n, g) {
        p->place[n->id] = ARENA_ARRAY(a, PlanPlace, n->nout);
        for (int i = 0; i < n->nout; i++) p->place[n->id][i].buffer = -1;
    }
    leaf_buffers(p);
    collect_clusters(p);
    elide_concats(p);
    value_buffers(p);
    order_updates(p);
    insert_packs(p);
    return p;
}

static void find_lifetimes(Plan *p) {
    for (int i = 0; i < p->ncluster; i++) touch(p, i);
    persistent_outputs(p);
    plan_in_place(p);
}

Plan *plan_create_unplaced(Arena *a, IrGraph *g, const CgTarget *t, PackTable *packs) {
    Plan *p = begin(a, g, t, packs);
    for (int i = 0; i < p->ncluster; i++) plan_arguments(p, &p->cluster[i]);
    find_lifetimes(p);
    return p;
}

Plan *plan_create_tuned(Arena *a, IrGraph *g, const CgTarget *t, PackTable *packs,
                        const CgTuning *tuning) {
    Plan *p = begin(a, g, t, packs);
    for (int i = 0; i < p->ncluster; i++) {
        block_tune(&p->cluster[i], tuning);
        plan_signature(p, &p->cluster[i]);
    }
    for (int i = 0; i < p->nkept; i++) plan_signature(p, p->kept[i].task);
    find_lifetimes(p);
    plan_place(p);
    plan_barriers(p);
    plan_gate(p);
    return p;
}
