/* Fusion: groups nodes into clusters, one kernel each. It invents no ops.
 *
 * requires CORE ops; ensures: every ELTWISE and KERNEL node has a cluster number, counted in an
 * order in which the clusters can run; LEAF, VIEW and GATHER nodes, and the little elementwise work
 * on gathered rows that fuse_wants_inline names, have none (they are done in their consumers'
 * loads); a cluster has at most one KERNEL node, its anchor, and behind a LEAD a TAIL that takes
 * its rows as they come: a gate is one cluster, the product, its softmax and the top-k. Before a
 * product a FRONT may make its rows, which then exist in nobody's memory: a norm that no backward
 * pass will ask for.
 *
 *   %2 = matmul %x, %w          @0
 *   %3 = add %2, %b             @0   epilogue of the matmul
 *   %4 = gelu %3                @0
 *   %5 = sum %4 {axes = [0]}    @1
 *
 * Every member of a cluster is computed at the positions (row, column) of one flattened space: the
 * operand space of the anchor (PRO), its result space (EPI), or, without an anchor, the members'
 * own. Tails live there, too. A member reads another member at the same position only; everything
 * else it reads from memory. Two clusters merge only if no path runs from one to the other through
 * a third, so that the clusters form a directed acyclic graph.
 *
 * What is stored over a leaf (EFFECT) waits for everybody who reads the leaf. A cluster that stores
 * elementwise results so has no kernel, and reads the leaf only where it writes it. */
#include "passes/fuse.h"
#include "passes/view.h"
#include "base/vec.h"

typedef struct Space {
    bool any; /* false: no member may live there */
    int64_t rows, cols;
} Space;

typedef struct Group {
    IrNode *front, *anchor, *tail[FUSE_MAX_TAILS];
    int ntail;
    Space in, out; /* operand positions, result positions; equal for groups without an anchor */
    const IrType *updates; /* of the leaves that elementwise members are stored over; NULL: none */
    IrNode **node;
    int nnode, cap; /* nnode 0: merged into another */
} Group;

/* A node that reads a leaf which some node is stored over. */
typedef struct Reader {
    const IrNode *node;
    struct Reader *next;
} Reader;

typedef struct Fuser {
    PassCtx *c;
    IrGraph *g;
    Group *group;
    int ngroup;
    int *uses; /* per node id */
    /* groups, each after all that it reads; those merged into others stand about idle */
    int *order;
    int *position; /* per group: where it stands in order */
    int *seen;     /* per group: stamp of the last search that met it */
    int *stack;    /* room for every group */
    int stamp;
    /* per node id: elementwise work that reads its first result again, through `kept` */
    IrNode **again;
    bool *written;   /* per node id: a leaf that a node is stored over, */
    Reader **reader; /* and who reads it */
} Fuser;

enum {
    MAX_MEMBERS = 48,
    /* a product has items enough when these columns are one block's, as they are anyway, */
    PANEL = 64,
    MANY_ROWS = 1024, /* or when there are so many rows */
};

static Space space_of(const IrType *t) {
    return (Space){true, ir_rows(t), ir_cols(t)};
}
static bool space_equal(Space a, Space b) {
    return a.any && b.any && a.rows == b.rows && a.cols == b.cols;
}

static bool needs_code(const IrNode *n) {
    OpRoute r = ir_ops[n->op].route;
    return (r == ROUTE_ELTWISE && !fuse_wants_inline(n)) || r == ROUTE_KERNEL;
}

bool fuse_is_inline(const IrNode *n) {
    return ir_ops[n->op].route == ROUTE_ELTWISE && n->cluster < 0;
}

/* Read in its consumer's load, from wherever its own operands are. */
static bool read_through(const IrNode *n) {
    return ir_ops[n->op].route == ROUTE_GATHER ||
           (ir_ops[n->op].route == ROUTE_ELTWISE && !needs_code(n));
}

/* Does reading v in a load touch group `id`'s results? */
static bool load_touches(IrValue *v, int id) {
    IrNode *root = view_root(v)->node;
    if (!read_through(root)) return root->cluster == id;
    for (int i = 0; i < root->nin; i++)
        if (load_touches(root->in[i], id)) return true;
    return false;
}

static void group_add(Fuser *f, Group *gr, IrNode *n) {
    VEC_ROOM(f->c->scratch, gr->node, gr->nnode, gr->cap);
    gr->node[gr->nnode++] = n;
    n->cluster = (int)(gr - f->group);
}

/* Pushes the group if it comes after `early` and this search has not met it. True if it is `early`
 * itself. */
static bool push_group(Fuser *f, int id, int early, int *n) {
    if (id == early) return true;
    if (id < 0 || f->position[id] < f->position[early] || f->seen[id] == f->stamp) return false;
    f->seen[id] = f->stamp;
    f->stack[(*n)++] = id;
    return false;
}

/* The same for what v is read from. */
static bool push_source(Fuser *f, IrValue *v, int early, int *n) {
    const IrNode *p = view_root(v)->node;
    if (read_through(p)) {
        bool met = false;
        for (int i = 0; i < p->nin; i++) met |= push_source(f, p->in[i], early, n);
        return met;
    }
    return push_group(f, p->cluster, early, n);
}

/* Who has to have read what result r of n is stored over. */
static const Reader *readers(const Fuser *f, const IrNode *n, int r) {
    const IrValue *x = ir_written(n, r);
    return x ? f->reader[x->node->id] : NULL;
}

static bool push_sources(Fuser *f, int id, int early, int *n) {
    const Group *gr = &f->group[id];
    bool met = false;
    for (int i = 0; i < gr->nnode; i++) {
        const IrNode *node = gr->node[i];
        for (int k = 0; k < node->nin; k++) met |= push_source(f, node->in[k], early, n);
        for (int r = 0; r < node->nout; r++)
            for (const Reader *x = readers(f, node, r); x; x = x->next)
                met |= push_group(f, x->node->cluster, early, n);
    }
    return met;
}

/* Marks (seen == stamp) the groups that stand after `early` and that `late` needs; a group runs as
 * a whole. False if one of them needs `early`: then a path leads from early to late through a third
 * group. None leads back, as the order says. */
static bool mark_between(Fuser *f, int early, int late) {
    int n = 0;
    f->stamp++;
    f->seen[late] = f->stamp; /* members read each other */
    push_sources(f, late, early, &n);
    f->seen[late] = 0;
    while (n) {
        int id = f->stack[--n];
        if (push_sources(f, id, early, &n)) return false;
    }
    return true;
}

/* After mark_between: the marked groups go before `early`, so that `late` may run where early does.
 */
static void close_gap(Fuser *f, int early, int late) {
    int first = f->position[early], last = f->position[late], n = 0, at = first;
    for (int i = first; i <= last; i++) {
        int id = f->order[i];
        if (f->seen[id] == f->stamp)
            f->order[at++] = id;
        else
            f->stack[n++] = id;
    }
    for (int i = 0; i < n; i++) f->order[at++] = f->stack[i];
    for (int i = first; i <= last; i++) f->position[f->order[i]] = i;
}

static void swap_places(Fuser *f, int a, int b) {
    int at = f->position[a];
    f->position[a] = f->position[b];
    f->position[b] = at;
    f->order[f->position[a]] = a;
    f->order[f->position[b]] = b;
}

static bool may_front(const Group *gr) {
    return gr->anchor && (ir_ops[gr->anchor->op].flags & OPF_FRONT) && !gr->ntail;
}

static bool is_kernel(const IrNode *n) {
    return ir_ops[n->op].route == ROUTE_KERNEL;
}

/* A member of one group may read a member of another only at the same position once they are
 * merged: does every operand of `self` that comes from `other` come straight? Sets *reads_anchor if
 * the result of a kernel is among them. */
static bool reads_in_place(const Group *self, const Group *other, int other_id,
                           bool *reads_anchor) {
    for (int i = 0; i < self->nnode; i++) {
        const IrNode *n = self->node[i];
        for (int k = 0; k < n->nin; k++) {
            IrNode *root = view_root(n->in[k])->node;
            if (read_through(root)) {
                if (load_touches(n->in[k], other_id)) return false;
                continue;
            }
            if (root->cluster != other_id) continue;
            bool rows =
                n == self->anchor && k == 0 && may_front(other); /* what front_fits then looks at */
            if (is_kernel(n) && !fuse_evaluates(n, k) && !rows)
                return false; /* the kernel reads memory */
            IrValue *v = view_same_position(n->in[k]);
            if (v->node != root || v->index != 0) return false;
            if (!is_kernel(root)) continue;
            if (root != other->anchor && !(ir_ops[root->op].flags & OPF_EPI)) return false;
            *reads_anchor = true;
        }
    }
    return true;
}

/* Does anybody outside groups a and b read a member of a? */
static bool used_outside(const Fuser *f, const Group *a, const Group *b) {
    for (int i = 0; i < a->nnode; i++) {
        int inside = 0;
        for (int side = 0; side < 2; side++) {
            const Group *gr = side ? b : a;
            for (int j = 0; j < gr->nnode; j++)
                for (int k = 0; k < gr->node[j]->nin; k++)
                    if (view_root(gr->node[j]->in[k])->node == a->node[i]) inside++;
        }
        if (inside != f->uses[a->node[i]->id]) return true;
    }
    return false;
}

/* Is a member of `a` added to the result of b's anchor? Sums of products start from such an operand
 * when it lies in memory, which rounds otherwise than adding it in the end: clusters must not
 * differ in that. */
static bool adds_to_anchor(const Group *a, const Group *b) {
    for (int i = 0; i < b->nnode; i++) {
        const IrNode *n = b->node[i];
        for (int k = 0; n->op == OP_add && k < 2; k++)
            if (view_root(n->in[k])->node == b->anchor &&
                view_root(n->in[1 - k])->node->cluster == a->node[0]->cluster)
                return true;
    }
    return false;
}

/* May elementwise work `a`, which b's results are combined with, be done where b's results are? Not
 * for anchors that evaluate operands: what stands before them is theirs to compute first. */
static bool joins_epilogue(const Group *a, const Group *b) {
    if (a->anchor || !b->anchor || (ir_ops[b->anchor->op].flags & (OPF_PRO | OPF_EPI)) != OPF_EPI)
        return false;
    return space_equal(a->in, b->out) && !adds_to_anchor(a, b);
}

/* Does a product keep all cores busy when a block has whole rows of its result? */
static bool leads_rows(const IrNode *n) {
    IrWork w;
    return !ir_work(n, &w) || (w.shared && (w.n <= PANEL || w.m >= MANY_ROWS));
}

/* Is b a TAIL op alone, with room for it in a? */
static bool tail_fits(const Group *a, const Group *b) {
    const IrNode *last = a->ntail ? a->tail[a->ntail - 1] : a->anchor;
    unsigned lead = ir_ops[last->op].flags, tail = ir_ops[b->anchor->op].flags;
    if (!(lead & OPF_LEAD) || !(tail & OPF_TAIL) || b->nnode != 1) return false;
    if ((lead & OPF_PRO) && (tail & OPF_LEAD))
        return false; /* one kernel at most walks rows in passes */
    return space_equal(a->out, b->in) && leads_rows(last);
}

/* Is b a product alone whose rows only it reads, and many of them, so that each is made once? */
static bool front_fits(const Fuser *f, const Group *a, const Group *b) {
    IrWork w;
    if (!may_front(a) || !ir_work(b->anchor, &w) || b->nnode != 1 || used_outside(f, a, b))
        return false;
    if (w.product != IR_PRODUCT_matmul) return false; /* a window reads rows many times */
    return w.shared && w.m >= MANY_ROWS && !ir_rounds_operands(b->anchor);
}

/* Does a member of `a` read, at other positions, a leaf that a member of b is stored over? */
static bool reads_update(const Group *a, const Group *b) {
    for (int i = 0; i < b->nnode; i++) {
        const IrValue *x = ir_written(b->node[i], 0);
        for (int j = 0; x && j < a->nnode; j++)
            for (int k = 0; k < a->node[j]->nin; k++)
                if (fuse_reads_elsewhere(a->node[j]->in[k], x)) return true;
    }
    return false;
}

/* Groups that are stored over leaves: the rules of the file's head. */
static bool updates_fit(const Group *a, const Group *b) {
    if (!a->updates && !b->updates) return true;
    if (a->anchor || b->anchor || reads_update(a, b) || reads_update(b, a)) return false;
    return !a->updates || !b->updates || ir_type_equal(a->updates, b->updates);
}

/* May the later group b join a? The space rules of the file's head. */
static bool spaces_fit(const Fuser *f, const Group *a, const Group *b, bool reads_anchor) {
    if (!updates_fit(a, b)) return false;
    if (a->anchor && b->anchor) return tail_fits(a, b) || front_fits(f, a, b);
    if (a->anchor) {
        if (space_equal(a->out, b->in)) return true;
        return space_equal(a->in, b->in) && !reads_anchor && !used_outside(f, b, a);
    }
    if (joins_epilogue(a, b)) return true;
    if (!space_equal(a->in, b->in)) return false;
    /* Only anchors that walk their operands row by row can also store what their producers compute.
     */
    return !b->anchor || (ir_ops[b->anchor->op].flags & OPF_EPI) || !used_outside(f, a, b);
}

static void sort_members(Group *gr) {
    for (int i = 1; i < gr->nnode; i++)
        for (int j = i; j > 0 && gr->node[j]->id < gr->node[j - 1]->id; j--) {
            IrNode *t = gr->node[j];
            gr->node[j] = gr->node[j - 1];
            gr->node[j - 1] = t;
        }
}

/* Merges group `self` into the earlier group `into` if that is legal. */
static bool try_merge(Fuser *f, int into, int self) {
    Group *a = &f->group[into], *b = &f->group[self];
    bool reads_anchor = false, ignored = false;
    if (a->nnode + b->nnode > MAX_MEMBERS) return false;
    if (!reads_in_place(b, a, into, &reads_anchor) || !reads_in_place(a, b, self, &ignored))
        return false;
    if (!spaces_fit(f, a, b, reads_anchor)) return false;
    bool in_order = f->position[into] < f->position[self];
    int early = in_order ? into : self, late = in_order ? self : into;
    if (!mark_between(f, early, late)) return false;
    close_gap(f, early, late);
    if (late == into) swap_places(f, into, self);
    if (a->anchor && b->anchor && front_fits(f, a, b)) {
        a->front = a->anchor;
        a->anchor = b->anchor;
        a->in = (Space){0};
        a->out = b->out;
    } else if (a->anchor && b->anchor) {
        a->tail[a->ntail++] = b->anchor;
    } else if (b->anchor) {
        a->anchor = b->anchor;
        for (int i = 0; i < b->ntail; i++) a->tail[i] = b->tail[i];
        a->ntail = b->ntail;
        a->in = b->in;
        a->out = b->out;
    }
    if (b->updates) a->updates = b->updates;
    for (int i = 0; i < b->nnode; i++) group_add(f, a, b->node[i]);
    sort_members(a);
    b->nnode = 0;
    return true;
}

static void group_new(Fuser *f, IrNode *n) {
    f->order[f->ngroup] = f->position[f->ngroup] = f->ngroup; /* after all that is there */
    Group *gr = &f->group[f->ngroup++];
    const OpInfo *op = &ir_ops[n->op];
    if (op->route == ROUTE_KERNEL) {
        gr->anchor = n;
        if (op->flags & OPF_PRO) gr->in = space_of(&n->in[0]->type);
        if (op->flags & OPF_EPI) gr->out = space_of(&n->out[0].type);
    } else {
        gr->in = gr->out = space_of(&n->out[0].type);
        if (op->flags & OPF_EFFECT) gr->updates = &n->out[0].type;
    }
    group_add(f, gr, n);
}

/* Elementwise work that is done again in the backward pass joins what reads the same kept value at
 * the same position: one load serves both. */
static void place_beside(Fuser *f, IrNode *n, int k) {
    const IrValue *v = view_same_position(n->in[k]);
    bool again = v->node->op == OP_kept;
    if (again) v = view_same_position(v->node->in[0]);
    if (v->index != 0 || ir_ops[n->op].route != ROUTE_ELTWISE) return;
    const IrNode *beside = f->again[v->node->id];
    if (beside && beside->cluster != n->cluster) try_merge(f, beside->cluster, n->cluster);
    if (again) f->again[v->node->id] = n;
}

/* Gives n its group: with its operands' groups where that is legal. */
static void place(Fuser *f, IrNode *n) {
    group_new(f, n);
    for (int k = 0; k < n->nin; k++) {
        const IrNode *p = view_same_position(n->in[k])->node;
        if (p->cluster >= 0 && p->cluster != n->cluster) try_merge(f, p->cluster, n->cluster);
    }
    for (int k = 0; k < n->nin; k++) place_beside(f, n, k);
}

/* uses[id]: how often members of any cluster and graph outputs read node id, looking through views.
 */
static void count_uses(Fuser *f) {
    IR_FOR (n, f->g) {
        if (ir_ops[n->op].route == ROUTE_VIEW) continue;
        for (int k = 0; k < n->nin; k++) f->uses[view_root(n->in[k])->node->id]++;
    }
    for (int i = 0; i < f->g->nout; i++) f->uses[view_root(f->g->out[i].value)->node->id]++;
}

static void note_reader(Fuser *f, const IrNode *n, IrValue *v) {
    const IrNode *root = view_root(v)->node;
    for (int i = 0; read_through(root) && i < root->nin; i++) note_reader(f, n, root->in[i]);
    if (!f->written[root->id]) return;
    Reader *x = ARENA_NEW(f->c->scratch, Reader);
    *x = (Reader){n, f->reader[root->id]};
    f->reader[root->id] = x;
}

/* Finds the leaves that nodes are stored over, and who else reads these. */
static void find_readers(Fuser *f) {
    f->written = ARENA_ARRAY(f->c->scratch, bool, f->g->nnodes + 1);
    f->reader = ARENA_ARRAY(f->c->scratch, Reader *, f->g->nnodes + 1);
    IR_FOR (n, f->g)
        for (int r = 0; r < n->nout && ir_written(n, r); r++)
            f->written[ir_written(n, r)->node->id] = true;
    IR_FOR (n, f->g)
        for (int k = 0; needs_code(n) && k < n->nin; k++) note_reader(f, n, n->in[k]);
}

/* Numbers the groups in an order they can run in: repeatedly the first (by first member) whose
 * predecessors are done. */
static int order_visit(Fuser *f, int id, int *number, int next);

static int order_operand(Fuser *f, IrValue *v, int id, int *number, int next) {
    IrNode *p = view_root(v)->node;
    if (read_through(p)) {
        for (int i = 0; i < p->nin; i++) next = order_operand(f, p->in[i], id, number, next);
        return next;
    }
    return p->cluster >= 0 && p->cluster != id ? order_visit(f, p->cluster, number, next) : next;
}

static int order_visit(Fuser *f, int id, int *number, int next) {
    if (number[id] >= 0) return next;
    VM_CHECK(number[id] == -1, "fuse: clusters form a cycle");
    number[id] = -2; /* being visited */
    Group *gr = &f->group[id];
    for (int i = 0; i < gr->nnode; i++) {
        const IrNode *n = gr->node[i];
        for (int k = 0; k < n->nin; k++) next = order_operand(f, n->in[k], id, number, next);
        for (int r = 0; r < n->nout; r++)
            for (const Reader *x = readers(f, n, r); x; x = x->next)
                if (x->node->cluster != id) next = order_visit(f, x->node->cluster, number, next);
    }
    number[id] = next;
    return next + 1;
}

bool pass_fuse(PassCtx *c, IrGraph *g) {
    fuse_legalize(c, g);
    ir_renumber(g);
    Fuser f = {.c = c, .g = g};
    f.group = ARENA_ARRAY(c->scratch, Group, g->nnodes + 1);
    f.order = ARENA_ARRAY(c->scratch, int, g->nnodes + 1);
    f.position = ARENA_ARRAY(c->scratch, int, g->nnodes + 1);
    f.seen = ARENA_ARRAY(c->scratch, int, g->nnodes + 1);
    f.stack = ARENA_ARRAY(c->scratch, int, g->nnodes + 1);
    f.uses = ARENA_ARRAY(c->scratch, int, g->nnodes + 1);
    f.again = ARENA_ARRAY(c->scratch, IrNode *, g->nnodes + 1);
    count_uses(&f);
    find_readers(&f);
    IR_FOR (n, g) n->cluster = -1;
    IR_FOR (n, g)
        if (needs_code(n)) place(&f, n);
    int *number = ARENA_ARRAY(c->scratch, int, f.ngroup + 1), next = 0;
    for (int i = 0; i < f.ngroup; i++) number[i] = -1;
    IR_FOR (n, g)
        if (needs_code(n)) next = order_visit(&f, n->cluster, number, next);
    IR_FOR (n, g)
        if (n->cluster >= 0) n->cluster = number[n->cluster];
    return true;
}
