/* recompute: compute forward values again in the backward pass instead of keeping them.
 *
 * requires  a graph that verifies, CORE ops only, after optimizer, simplify, cse and narrow;
 * c->recompute is how many steps to make (recompute_steps.c lists them, the cheapest first), or
 * RECOMPUTE_LIGHT ensures   c->recompute_steps is the number of steps there are, c->recompute_light
 * how many are light. A graph without updates, or with c->recompute 0, is left as it is. Otherwise
 * the backward pass reads copies of the nodes whose results are not kept, right before their first
 * reader; copies read what is kept through `kept`, so that neither cse nor fusion joins them with
 * the originals. A copy has the op, attributes and operand values of its original, so its results
 * are the same bits: random numbers are a function of their key, and kernels cut their work by
 * shape alone.
 *
 * before  %3 = matmul %1, %2                       ; forward
 *         %4 = gelu %3
 *         ...
 *         %9 = matmul %4, %8 {ta = 1}              ; the gradient of a weight
 * after   %3 = matmul %1, %2
 *         %4 = gelu %3
 *         ...
 *         %9 = kept %3
 *         %10 = gelu %9
 *         %11 = matmul %10, %8 {ta = 1}
 *
 * It does not decide how much is enough: the caller plans memory and asks for more. */
#include "passes/recompute.h"

#include "passes/fuse.h"
#include "passes/view.h"

int recompute_id(const Recompute *r, const IrValue *v) {
    return r->first[v->node->id] + v->index;
}

int64_t recompute_bytes(const IrValue *v) {
    return ir_elems(&v->type) * ir_dtype_size(v->type.dtype);
}

bool recompute_see_through(const IrNode *n) {
    OpRoute route = ir_ops[n->op].route;
    return route == ROUTE_VIEW || route == ROUTE_GATHER || fuse_wants_inline(n);
}

static bool is_leaf(const IrNode *n) {
    return ir_ops[n->op].route == ROUTE_LEAF;
}

/* ---- forward and backward -------------------------------------------------------------------- */

/* What a state is updated from belongs to the forward pass. */
static void updates_forward(Recompute *r) {
    IR_FOR (n, r->g) {
        const IrValue *x = ir_written(n, 0);
        if (x && ir_is_state(x->node)) r->forward[view_root(n->in[1])->node->id] = true;
    }
}

/* Operands stand before their users: one sweep from the end. */
static void find_forward(Recompute *r) {
    const IrGraph *g = r->g;
    updates_forward(r);
    for (int i = 0; i < g->nout; i++)
        if (g->out[i].kind != OUT_grad) r->forward[g->out[i].value->node->id] = true;
    for (const IrNode *n = g->last; n; n = n->prev)
        for (int i = 0; i < n->nin && r->forward[n->id]; i++) r->forward[n->in[i]->node->id] = true;
}

/* Elementwise work on forward values alone could be done at either time: the derivative of an
 * activation. */
static void find_pure(Recompute *r) {
    IR_FOR (n, r->g) {
        bool cheap = recompute_see_through(n) || ir_ops[n->op].route == ROUTE_ELTWISE;
        bool pure = cheap && n->nin > 0;
        for (int i = 0; i < n->nin; i++)
            pure = pure && (is_leaf(n->in[i]->node) || r->pure[n->in[i]->node->id]);
        r->pure[n->id] = r->forward[n->id] || pure;
    }
}

/* The backward pass reads v, or what v shows. */
static void want(Recompute *r, IrValue *v) {
    IrNode *n = v->node;
    if (is_leaf(n) || !r->pure[n->id]) return;
    if (!recompute_see_through(n)) {
        r->wanted[recompute_id(r, v)] = true;
        return;
    }
    for (int i = 0; i < n->nin; i++) want(r, n->in[i]);
}

/* What is small beside the largest value is kept whenever something asks for it. */
static void find_small(Recompute *r) {
    int64_t largest = 0;
    for (int i = 0; i < r->nvalue; i++) {
        int64_t bytes = recompute_bytes(r->value[i]);
        if (r->wanted[i] && bytes > largest) largest = bytes;
    }
    for (int i = 0; i < r->nvalue; i++) r->small[i] = 64 * recompute_bytes(r->value[i]) <= largest;
}

/* Puts v into a set by value id if it is of the forward pass, or what it is a view of. */
static void mark(const Recompute *r, const IrValue *v, bool *set) {
    const IrNode *n = v->node;
    if (is_leaf(n) || !r->pure[n->id]) return;
    if (!recompute_see_through(n)) {
        set[recompute_id(r, v)] = true;
        return;
    }
    for (int i = 0; i < n->nin; i++) mark(r, n->in[i], set);
}

/* What updates read is never computed again: a copy would stand behind other updates, and could
 * read a weight that was written by then. */
static void find_update_reads(Recompute *r) {
    bool updates = false;
    IR_FOR (n, r->g) {
        updates |= (ir_ops[n->op].flags & OPF_EFFECT) != 0;
        for (int i = 0; i < n->nin && updates && !r->pure[n->id]; i++) mark(r, n->in[i], r->small);
    }
}

/* Elementwise work that is added to a product: its sums may start from it where it lies in memory,
 * and round otherwise than where it is made beside them (codegen/kernels/gemm_block.c). */
static void mark_addend(Recompute *r, const IrValue *v) {
    const IrNode *n = view_same_position((IrValue *)v)->node;
    if (is_leaf(n)) return;
    if (r->pure[n->id]) {
        mark(r, v, r->addend);
        return;
    }
    if (ir_ops[n->op].route != ROUTE_ELTWISE || r->adds[n->id]) return;
    r->adds[n->id] = true;
    for (int i = 0; i < n->nin; i++) {
        const IrNode *from = view_same_position(n->in[i])->node;
        if (!is_leaf(from) && !r->pure[from->id]) mark_addend(r, n->in[i]);
    }
}

static void find_addends(Recompute *r) {
    IR_FOR (n, r->g) {
        if (n->op != OP_add || r->pure[n->id]) continue;
        for (int i = 0; i < 2; i++) {
            IrWork w;
            if (!ir_work_product(view_same_position(n->in[i])->node, &w)) continue;
            mark_addend(r, n->in[1 - i]);
            r->adds[n->id] = true;
        }
    }
}

/* ---- cuts ------------------------------------------------------------------------------------ */

static void note_use(const Recompute *r, int *last, const IrValue *v, int at) {
    const IrNode *n = v->node;
    if (is_leaf(n)) return;
    if (!recompute_see_through(n)) {
        last[recompute_id(r, v)] = at;
        return;
    }
    for (int i = 0; i < n->nin; i++) note_use(r, last, n->in[i], at);
}

/* Walks the forward pass with the large values that are still to be read: where it is one alone,
 * that one is a cut. */
static void find_cuts(Recompute *r) {
    int *last = ARENA_ARRAY(r->arena, int, r->nvalue), live = 0, sum = 0;
    int *dies = ARENA_ARRAY(r->arena, int, r->g->nnodes),
        *next = ARENA_ARRAY(r->arena, int, r->nvalue);
    for (int i = 0; i < r->g->nnodes; i++) dies[i] = -1;
    for (int i = 0; i < r->nvalue; i++) last[i] = -1;
    IR_FOR (n, r->g)
        for (int i = 0; i < n->nin && r->forward[n->id] && !recompute_see_through(n); i++)
            note_use(r, last, n->in[i], n->id);
    r->cuts = ARENA_ARRAY(r->arena, IrValue *, r->nvalue);
    IR_FOR (n, r->g) {
        r->segment[n->id] = r->ncut;
        if (!r->forward[n->id] || is_leaf(n) || recompute_see_through(n)) continue;
        for (int k = 0; k < n->nout; k++) {
            int v = r->first[n->id] + k;
            if (r->small[v] || last[v] < 0) continue;
            live++;
            sum += v;
            next[v] = dies[last[v]]; /* a list of what dies at the node last[v] */
            dies[last[v]] = v;
        }
        for (int v = dies[n->id]; v >= 0; v = next[v]) {
            live--;
            sum -= v;
        }
        if (live != 1 || r->cut[sum]) continue;
        r->cut[sum] = true;
        r->cut_number[sum] = r->ncut;
        r->cuts[r->ncut++] = r->value[sum];
    }
}

/* Elementwise work of the backward pass on forward values belongs to the latest segment it reads.
 */
static int operand_segment(const Recompute *r, const IrValue *v) {
    const IrNode *n = v->node;
    if (is_leaf(n)) return 0;
    if (!recompute_see_through(n)) {
        int id = recompute_id(r, v);
        return r->cut[id] ? r->cut_number[id] + 1 : r->segment[n->id];
    }
    int latest = 0;
    for (int i = 0; i < n->nin; i++) {
        int s = operand_segment(r, n->in[i]);
        if (s > latest) latest = s;
    }
    return latest;
}

static void place_derived(Recompute *r) {
    IR_FOR (n, r->g) {
        if (!r->pure[n->id] || r->forward[n->id] || recompute_see_through(n)) continue;
        r->segment[n->id] = 0;
        for (int i = 0; i < n->nin; i++) {
            int s = operand_segment(r, n->in[i]);
            if (s > r->segment[n->id]) r->segment[n->id] = s;
        }
    }
}

static Recompute analyse(Arena *a, IrGraph *g) {
    ir_renumber(g);
    Recompute r = {.arena = a, .g = g};
    r.first = ARENA_ARRAY(a, int, g->nnodes);
    IR_FOR (n, g) {
        r.first[n->id] = r.nvalue;
        r.nvalue += n->nout;
    }
    r.value = ARENA_ARRAY(a, IrValue *, r.nvalue);
    IR_FOR (n, g)
        for (int k = 0; k < n->nout; k++) r.value[r.first[n->id] + k] = &n->out[k];
    r.forward = ARENA_ARRAY(a, bool, g->nnodes);
    r.pure = ARENA_ARRAY(a, bool, g->nnodes);
    r.segment = ARENA_ARRAY(a, int, g->nnodes);
    r.small = ARENA_ARRAY(a, bool, r.nvalue);
    r.wanted = ARENA_ARRAY(a, bool, r.nvalue);
    r.kept = ARENA_ARRAY(a, bool, r.nvalue);
    r.addend = ARENA_ARRAY(a, bool, r.nvalue);
    r.adds = ARENA_ARRAY(a, bool, g->nnodes);
    r.cut = ARENA_ARRAY(a, bool, r.nvalue);
    r.cut_number = ARENA_ARRAY(a, int, r.nvalue);
    find_forward(&r);
    find_pure(&r);
    IR_FOR (n, g)
        for (int i = 0; i < n->nin && !r.pure[n->id]; i++) want(&r, n->in[i]);
    find_small(&r);
    find_update_reads(&r);
    find_addends(&r);
    for (int i = 0; i < r.nvalue; i++) r.kept[i] = r.wanted[i];
    find_cuts(&r);
    place_derived(&r);
    return r;
}

/* ---- rewriting ------------------------------------------------------------------------------- */

typedef struct Rewrite {
    const Recompute *r;
    bool hold;       /* more is computed again than in every program */
    IrNode *at;      /* the node of the backward pass whose operands are being made */
    IrNode **copy;   /* by node id */
    IrValue **again; /* by value id: keep of it */
    IrValue **apart; /* by value id: keep of it or of its copy */
} Rewrite;

static bool is_kept(const Recompute *r, const IrValue *v) {
    int id = recompute_id(r, v);
    return r->kept[id] || r->small[id];
}

/* Is all that v shows in memory? */
static bool all_kept(const Recompute *r, const IrValue *v) {
    const IrNode *n = v->node;
    if (is_leaf(n) || !r->pure[n->id]) return true;
    if (!recompute_see_through(n)) return is_kept(r, v);
    for (int i = 0; i < n->nin; i++)
        if (!all_kept(r, n->in[i])) return false;
    return true;
}

static IrValue *make_kept(Rewrite *w, IrValue *v) {
    IrBuilder b = ir_builder(w->r->g);
    b.at = w->at;
    b.loc = v->node->loc;
    return IR_OP(&b, kept, VALS(v), NO_ATTRS);
}

static IrValue *keep_of(Rewrite *w, IrValue *v) {
    IrValue **memo = &w->again[recompute_id(w->r, v)];
    if (!*memo && v->type.dtype != DT_i32) *memo = make_kept(w, v);
    return *memo ? *memo : v; /* indices are never fused over */
}

/* What stands for v in the backward pass; inside: in the operands of a copy. */
static IrValue *again(Rewrite *w, IrValue *v, bool inside) {
    const Recompute *r = w->r;
    IrNode *n = v->node;
    if (is_leaf(n) || !r->pure[n->id]) return v;
    bool through = recompute_see_through(n);
    if (!through && is_kept(r, v)) return inside ? keep_of(w, v) : v;
    if (through && !inside && all_kept(r, v)) return v;
    if (!w->copy[n->id]) {
        int id = n->id;
        IrValue **in = ARENA_ARRAY(r->arena, IrValue *, n->nin);
        for (int i = 0; i < n->nin; i++) in[i] = again(w, n->in[i], inside || !through);
        IrNode *c = ir_clone_node(r->g, n, w->at);
        for (int i = 0; i < n->nin; i++) c->in[i] = in[i];
        w->copy[id] = c;
    }
    return &w->copy[n->id]->out[v->index];
}

/* The same for a reader that is an addend's: it must not join what makes v, as it does not where v
 * is not computed again, because then all of the forward pass stands between the two. */
static IrValue *again_apart(Rewrite *w, IrValue *v) {
    bool own = is_leaf(v->node) || !w->r->pure[v->node->id];
    if (own || v->type.dtype != DT_f32 || recompute_see_through(v->node)) return again(w, v, false);
    IrValue **memo = &w->apart[recompute_id(w->r, v)];
    if (!*memo) *memo = make_kept(w, again(w, v, false));
    return *memo;
}

static void rewrite(Recompute *r, bool hold) {
    int before = r->g->nnodes;
    Rewrite w = {.r = r,
                 .hold = hold,
                 .copy = ARENA_ARRAY(r->arena, IrNode *, before),
                 .again = ARENA_ARRAY(r->arena, IrValue *, r->nvalue),
                 .apart = ARENA_ARRAY(r->arena, IrValue *, r->nvalue)};
    IrNode **list = ARENA_ARRAY(r->arena, IrNode *, before);
    int n = 0;
    IR_FOR (node, r->g)
        if (!r->pure[node->id]) list[n++] = node;
    for (int i = 0; i < n; i++) {
        w.at = list[i];
        bool apart = hold && r->adds[list[i]->id];
        for (int k = 0; k < list[i]->nin; k++) {
            IrValue *v = list[i]->in[k];
            list[i]->in[k] = apart ? again_apart(&w, v) : again(&w, v, false);
        }
    }
    ir_dce(r->g, false);
}

static bool has_updates(const IrGraph *g) {
    IR_FOR (n, g)
        if (ir_ops[n->op].flags & OPF_EFFECT) return true;
    return false;
}

RecomputeList *recompute_list(Arena *a, IrGraph *g) {
    Arena *scratch = arena_create();
    Recompute r = analyse(scratch, g);
    RecomputeList *list = recompute_choose(&r, a, true);
    arena_destroy(scratch);
    return list;
}

bool pass_recompute(PassCtx *c, IrGraph *g) {
    c->recompute_steps = c->recompute_light = 0;
    if (!c->recompute || !has_updates(g)) return false;
    bool light_only = c->recompute < 0;
    Recompute r = analyse(c->scratch, g);
    const RecomputeList *list = c->recompute_list;
    if (!list) list = recompute_choose(&r, c->scratch, !light_only);
    for (int i = 0; i < r.nvalue; i++) r.kept[i] = r.wanted[i];
    recompute_apply(&r, list, light_only ? list->light : c->recompute);
    c->recompute_steps = light_only ? list->light : list->n;
    c->recompute_light = list->light;
    if (light_only && !list->light) return false;
    rewrite(&r, c->recompute > list->light);
    return true;
}
