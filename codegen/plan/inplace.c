/* Results that are written over an operand which nobody reads any more.
 *
 * requires  buffers with their lifetimes (plan.c), before they are placed
 * ensures   PlanBuffer.over of a result names the operand's buffer whose memory it takes, and
 * memory.c gives both the same offset. A buffer is taken by one result at most; chains are
 * possible. It changes neither kernels nor signatures: which addresses are equal is the caller's
 * affair, so a kernel computes the same bits either way. It follows that all below must hold for
 * the code as it is.
 *
 * A result `r` of task `t` may take the buffer of `o` if
 * - o is work memory that a task of this step wrote, and t is the last to read it: leaves and graph
 * outputs live to the end of the step, packed matrices have no value;
 * - both are dense, with as many elements of the same size (columns of an elided concat are not
 * dense);
 * - t reads o only element by element where it writes r: directly, as an operand of an elementwise
 * member or as one that the anchor evaluates, through views that leave all elements where they are.
 * Not through a gather, and nothing that a kernel addresses itself: another position may belong to
 * another item, which another thread has written already;
 * - at every position all of that is read before r is written there.
 *
 * The last point rests on how kernels walk. Every position belongs to one item and is written by it
 * alone, vectors do not overlap, and lanes past a row's end are masked out of loads and stores
 * (eval.c, map.c, rowloop.c). At a position a value is evaluated once: kb_eval keeps it, so a
 * member that was evaluated before r is stored reads nothing afterwards, and one that was not is a
 * reason to refuse. Three kinds of kernels store what members compute:
 * - without an anchor (map.c): every position is visited once, results are stored in the order of
 * `store`;
 * - EPI without PRO (gemm_block.c, moe.c): the anchor's result first, then the members, once per
 * position. An operand that sums start from is read by the micro-kernel, which reads a tile before
 * it writes any of it, before the epilogue of that tile; with chunks of the inner dimension by the
 * first one alone. Rows that a partial tile repeats lie in that tile. Columns past a row's end are
 * read, but what comes of them is never stored;
 * - PRO and EPI (rows.c): the first pass over a row evaluates the anchor's operands into scratch
 * and stores what does not need the anchor; the last one evaluates again, stores the anchor's
 * result and then the rest. So what the last pass reads must not be written by the first. Nothing
 * else is proven, so nothing else is done: where a product has a kernel before or behind it that
 * walks rows, two loops read and write; attention reads whole heads, the sums, moves and routing
 * kernels have results of another shape or at other positions, and adamw has its own way of writing
 * in place. */
#include "codegen/plan/plan.h"
#include "passes/fuse.h"

enum Kind { KIND_NONE, KIND_MAP, KIND_EPILOGUE, KIND_ROWS };

typedef struct InPlace {
    const Plan *p;
    const PlanCluster *c;
    int task;
    enum Kind kind;
    /* Per member. */
    bool *after; /* needs the anchor's result */
    bool *reads; /* reads the operand in question */
    bool *done;  /* evaluated until the result in question is stored, in the pass that stores it */
    bool *again; /* evaluated in the last pass over a row */
} InPlace;

/* ---- what a task reads ----------------------------------------------------------------------- */

/* Done in the load: what is read is its operands. */
static bool in_load(const IrNode *n) {
    return ir_ops[n->op].route == ROUTE_GATHER || fuse_is_inline(n);
}

/* Does a load of v, outside of this cluster, touch the buffer? */
static bool touches(const InPlace *x, IrValue *v, int buffer) {
    const IrNode *root = view_root(v)->node;
    if (root->op == OP_const || plan_member(x->c, root) >= 0) return false;
    if (!in_load(root)) return plan_buffer(x->p, view_root(v)) == buffer;
    for (int i = 0; i < root->nin; i++)
        if (touches(x, root->in[i], buffer)) return true;
    return false;
}

/* Is element i of v element i of its buffer, and as large as those of r? */
static bool same_elements(const Plan *p, IrValue *v, const IrValue *r) {
    View w;
    const IrValue *root = view_root(v);
    if (in_load(root->node) || !view_resolve(v, &w) || w.offset != 0 || !view_is_dense(&w))
        return false;
    PlanPlace at = plan_place_of(p, root);
    return at.offset == 0 && at.ld == ir_cols(&root->type) &&
           ir_elems(&root->type) == ir_elems(&r->type) &&
           ir_elems(&v->type) == ir_elems(&r->type) && ir_cols(&v->type) == ir_cols(&r->type) &&
           ir_dtype_size(root->type.dtype) == ir_dtype_size(r->type.dtype);
}

/* Sets x->reads. False if nobody reads the buffer, or somebody in another way than element by
 * element where r is written. */
static bool find_readers(InPlace *x, int buffer, const IrValue *r) {
    bool any = false;
    for (int i = 0; i < x->c->nnode; i++) {
        const IrNode *n = x->c->node[i];
        bool kernel = ir_ops[n->op].route == ROUTE_KERNEL;
        x->reads[i] = false;
        for (int k = 0; k < n->nin; k++) {
            if (!touches(x, n->in[k], buffer)) continue;
            bool evaluated = ir_reads(n->op, k) & READ_VALUE;
            if (kernel)
                evaluated = n == x->c->anchor && x->kind == KIND_ROWS && fuse_evaluates(n, k);
            if (!evaluated || !same_elements(x->p, n->in[k], r)) return false;
            any = x->reads[i] = true;
        }
    }
    return any;
}

/* ---- what is evaluated when ------------------------------------------------------------------ */

static int member_of(const InPlace *x, IrValue *v) {
    return plan_member(x->c, view_root(v)->node);
}

static bool is_after(const InPlace *x, const IrValue *v) {
    return x->after[plan_member(x->c, v->node)];
}

static void find_after(InPlace *x) {
    for (int i = 0; i < x->c->nnode; i++) {
        const IrNode *n = x->c->node[i];
        x->after[i] = n == x->c->anchor;
        for (int k = 0; k < n->nin; k++) {
            int m = member_of(x, n->in[k]);
            if (m >= 0 && x->after[m]) x->after[i] = true;
        }
    }
}

/* Adds the members that evaluating v evaluates; the anchor's result is there already. Members stand
 * in graph order, so one walk from the end finds all. */
static void add_evaluated(const InPlace *x, bool *set, IrValue *v) {
    int from = member_of(x, v);
    if (from < 0) return;
    set[from] = true;
    for (int i = from; i >= 0; i--) {
        const IrNode *n = x->c->node[i];
        for (int k = 0; set[i] && n != x->c->anchor && k < n->nin; k++) {
            int m = member_of(x, n->in[k]);
            if (m >= 0) set[m] = true;
        }
    }
}

static void find_done(InPlace *x, const IrValue *r) {
    const PlanCluster *c = x->c;
    bool rows = x->kind == KIND_ROWS, after = is_after(x, r);
    for (int i = 0; i < c->nnode; i++) x->done[i] = false;
    for (int i = 0; rows && !after && i < c->anchor->nin; i++)
        if (fuse_evaluates(c->anchor, i)) add_evaluated(x, x->done, c->anchor->in[i]);
    if (r->node == c->anchor) return;
    for (int i = 0; i < c->nstore; i++) {
        if (!rows || is_after(x, c->store[i]) == after) add_evaluated(x, x->done, c->store[i]);
        if (c->store[i] == r) return;
    }
}

static void find_again(InPlace *x) {
    const PlanCluster *c = x->c;
    for (int i = 0; i < c->nnode; i++) x->again[i] = false;
    for (int i = 0; i < c->nstore; i++)
        if (is_after(x, c->store[i])) add_evaluated(x, x->again, c->store[i]);
    for (int i = 0; i < c->ntail; i++) add_evaluated(x, x->again, c->tail[i]->in[0]);
}

/* Is what members read of the operand read before r is stored, and not again afterwards? */
static bool reads_come_first(InPlace *x, const IrValue *r) {
    const PlanCluster *c = x->c;
    bool rows = x->kind == KIND_ROWS, last_pass = rows && is_after(x, r);
    find_done(x, r);
    if (rows) find_again(x);
    for (int i = 0; i < c->nnode; i++) {
        if (!x->reads[i] || c->node[i] == c->anchor)
            continue; /* it evaluates its operands in the first pass */
        if (last_pass ? x->again[i] && !x->done[i] : !x->done[i]) return false;
        if (rows && !last_pass && x->again[i]) return false;
    }
    return true;
}

/* Values that are evaluated for v, itself included. */
static int count_values(IrValue *v) {
    const IrNode *root = view_root(v)->node;
    int n = 1;
    for (int i = 0; fuse_is_inline(root) && i < root->nin; i++) n += count_values(root->in[i]);
    return n;
}

/* kb_eval keeps so many values; were there more, it would evaluate some twice. */
static bool all_kept(const PlanCluster *c) {
    int n = c->nnode;
    for (int i = 0; i < c->nnode; i++)
        for (int k = 0; k < c->node[i]->nin; k++) n += count_values(c->node[i]->in[k]);
    return n <= PLAN_KEPT_VALUES;
}

/* ---- the choice ------------------------------------------------------------------------------ */

static enum Kind kind_of(const PlanCluster *c) {
    if (c->pack || c->elided || plan_row_kernel(c) != c->anchor || !all_kept(c)) return KIND_NONE;
    if (!c->anchor) return KIND_MAP;
    int flags = ir_ops[c->anchor->op].flags;
    if (!(flags & OPF_EPI)) return KIND_NONE;
    return flags & OPF_PRO ? KIND_ROWS : KIND_EPILOGUE;
}

/* Is r a dense value that has its buffer to itself? */
static bool has_own_buffer(const Plan *p, const IrValue *r, int task) {
    PlanPlace at = plan_place_of(p, r);
    if (at.buffer < 0 || at.offset != 0 || at.ld != ir_cols(&r->type)) return false;
    const PlanBuffer *b = &p->buffer[at.buffer];
    return b->space == VM_WORK && b->value == r && b->first == task;
}

/* Does nobody need the buffer after this task? */
static bool dies_here(const Plan *p, int buffer, int task) {
    const PlanBuffer *b = &p->buffer[buffer];
    return b->space == VM_WORK && b->value && b->first < task && b->last == task;
}

static bool is_taken(const Plan *p, const PlanCluster *c, int buffer) {
    for (int i = 0; i < c->narg; i++)
        if (p->buffer[c->arg[i].buffer].over == buffer) return true;
    return false;
}

static void choose(InPlace *x, Plan *p, const IrValue *r) {
    const PlanCluster *c = x->c;
    if (!has_own_buffer(p, r, x->task)) return;
    for (int i = 0; i < c->narg; i++) {
        int o = c->arg[i].buffer;
        if (!dies_here(p, o, x->task) || is_taken(p, c, o)) continue;
        if (!find_readers(x, o, r) || !reads_come_first(x, r)) continue;
        p->buffer[plan_buffer(p, r)].over = o;
        return;
    }
}

void plan_in_place(Plan *p) {
    for (int i = 0; i < p->ncluster; i++) {
        const PlanCluster *c = &p->cluster[i];
        InPlace x = {.p = p, .c = c, .task = i, .kind = kind_of(c)};
        if (x.kind == KIND_NONE) continue;
        bool *flags = ARENA_ARRAY(p->arena, bool, 4 * c->nnode);
        x.after = flags;
        x.reads = flags + c->nnode;
        x.done = flags + 2 * c->nnode;
        x.again = flags + 3 * c->nnode;
        find_after(&x);
        if (x.kind == KIND_ROWS) choose(&x, p, &c->anchor->out[0]);
        for (int k = 0; k < c->nstore; k++) choose(&x, p, c->store[k]);
    }
}
