/* The steps of the pass recompute: what to stop keeping, in which order. Every step drops values
 * from `kept` and may add one:
 *
 *   drop    v                    is made again from what is kept: a norm, an activation, a product
 *   derive  u for v, w, ..       elementwise results of u are made again from it: gelu and
 * gelu_grad block   u for a segment      the segment after the cut u is made again from it
 * (checkpointing) merge   -                    every other cut that is kept: longer segments from
 * fewer cuts
 *
 * Greedy: always the step that saves most bytes per unit of added work, given the steps before it,
 * the earliest of equals; light steps, which derive elementwise results from one value, before all
 * others; merges last, because only a plan of memory can tell whether longer segments pay. Work is
 * counted, not measured: arithmetic of products and attention, and a price per element for the
 * rest. */
#include <stddef.h>
#include <string.h>

#include "passes/recompute.h"
#include "base/vec.h"

enum { MAX_DROP = 256 };

typedef struct Step {
    IrValue *add; /* NULL: none */
    double saved, work;
    bool light; /* a derive step that adds elementwise work alone */
    int ndrop;
    IrValue *drop[MAX_DROP]; /* large: see step_new and step_copy */
} Step;

/* What a step is worth, and the segments that this was found from: as long as no step changes
 * anything in one of them, it is the same. */
typedef struct Weighed {
    bool any, light;
    double saved, work;
    int first, last; /* segments; none: not known */
} Weighed;

typedef struct Chooser {
    Recompute *r;
    bool *again; /* by node id: is made again by the steps so far */
    int *seen;   /* by node id: stamp of the last search */
    int stamp;
    int kernels; /* met by the last search */
    /* By node id, asked for again and again. */
    double *cost;
    bool *leaf, *through;
    Weighed *weighed; /* by value id: dropping it alone */
    Weighed *block;   /* by cut */
    int first, last;  /* segments that the last search looked at */
    bool *before;     /* room for `again` */
    RecomputeList *list;
    Arena *arena; /* of the list */
    int cap_step, cap_drop;
    /* Values of pure nodes by segment, ascending: those of segment s are of[begin[s]] to of[begin[s
     * + 1]]. */
    int *of, *begin, nsegment;
} Chooser;

static Step step_new(IrValue *add) {
    Step s;
    s.add = add;
    s.ndrop = 0;
    s.saved = s.work = 0;
    s.light = false;
    return s;
}

static void step_copy(Step *to, const Step *from) {
    memcpy(to, from, offsetof(Step, drop) + (size_t)from->ndrop * sizeof from->drop[0]);
}

static void sort_by_segment(Chooser *c) {
    const Recompute *r = c->r;
    for (int i = 0; i < r->g->nnodes; i++)
        if (r->segment[i] >= c->nsegment) c->nsegment = r->segment[i] + 1;
    c->of = ARENA_ARRAY(r->arena, int, r->nvalue + 1);
    c->begin = ARENA_ARRAY(r->arena, int, c->nsegment + 3);
    for (int i = 0; i < r->nvalue; i++)
        if (r->pure[r->value[i]->node->id]) c->begin[r->segment[r->value[i]->node->id] + 2]++;
    for (int s = 1; s < c->nsegment + 3; s++) c->begin[s] += c->begin[s - 1];
    for (int i = 0; i < r->nvalue; i++)
        if (r->pure[r->value[i]->node->id])
            c->of[c->begin[r->segment[r->value[i]->node->id] + 1]++] = i;
}

/* The values of the segments from and from + 1, ascending. */
typedef struct Walk {
    const Chooser *c;
    int at[2], end[2];
} Walk;

static Walk walk(const Chooser *c, int from) {
    Walk w = {.c = c};
    for (int k = 0; k < 2; k++)
        if (from + k < c->nsegment) {
            w.at[k] = c->begin[from + k];
            w.end[k] = c->begin[from + k + 1];
        }
    return w;
}

/* -1: there are no more. */
static int walk_next(Walk *w) {
    bool first = w->at[0] < w->end[0], second = w->at[1] < w->end[1];
    if (!first && !second) return -1;
    if (first && second) first = w->c->of[w->at[0]] < w->c->of[w->at[1]];
    return w->c->of[w->at[first ? 0 : 1]++];
}

/* ---- work ------------------------------------------------------------------------------------ */

static double node_work(const IrNode *n) {
    IrWork w;
    double out = 0, in = 0;
    if (ir_work(n, &w)) return 2 * w.macs;
    for (int i = 0; i < n->nout; i++) out += (double)ir_elems(&n->out[i].type);
    for (int i = 0; i < n->nin; i++) in += (double)ir_elems(&n->in[i]->type);
    enum { ELEMENT = 8, PASSES = 16 };
    return ir_ops[n->op].route == ROUTE_ELTWISE ? ELEMENT * out : PASSES * (in + out);
}

static bool stops(const Chooser *c, const IrValue *v) {
    int id = recompute_id(c->r, v);
    return c->r->kept[id] || c->r->small[id];
}

/* Nothing depends on the state of what is seen through. */
static void note_segment(Chooser *c, int id) {
    int s = c->r->segment[id];
    if (s < c->first) c->first = s;
    if (s > c->last) c->last = s;
}

/* Work of making v from what is kept, without what is made again anyway or was counted in this
 * search. */
static double closure(Chooser *c, const IrValue *v) {
    const IrNode *n = v->node;
    c->list->met++;
    if (c->leaf[n->id]) return 0;
    bool through = c->through[n->id];
    if (!through) note_segment(c, n->id);
    if (!through && (stops(c, v) || c->again[n->id])) return 0;
    if (c->seen[n->id] == c->stamp) return 0;
    c->seen[n->id] = c->stamp;
    double work = c->cost[n->id];
    c->kernels += !through && ir_ops[n->op].route == ROUTE_KERNEL;
    for (int i = 0; i < n->nin; i++) work += closure(c, n->in[i]);
    return work;
}

static void keep_all(Chooser *c, const Step *s, bool undo) {
    if (s->add) c->r->kept[recompute_id(c->r, s->add)] = !undo;
    for (int i = 0; i < s->ndrop; i++) c->r->kept[recompute_id(c->r, s->drop[i])] = undo;
}

/* Fills in what a step saves and costs. False: it saves nothing. */
static bool weigh(Chooser *c, Step *s) {
    s->saved =
        s->add && !c->r->kept[recompute_id(c->r, s->add)] ? -(double)recompute_bytes(s->add) : 0;
    for (int i = 0; i < s->ndrop; i++) s->saved += (double)recompute_bytes(s->drop[i]);
    if (!s->ndrop || s->saved <= 0) return false;
    Weighed *w = !s->add && s->ndrop == 1 ? &c->weighed[recompute_id(c->r, s->drop[0])] : NULL;
    if (w && w->first <= w->last) {
        s->work = w->work;
        s->light = false;
        return true;
    }
    bool had = s->add && c->r->kept[recompute_id(c->r, s->add)];
    keep_all(c, s, false);
    c->stamp++;
    c->kernels = 0;
    c->first = c->nsegment;
    c->last = -1;
    s->work = 1;
    for (int i = 0; i < s->ndrop; i++) s->work += closure(c, s->drop[i]);
    s->light = s->add && !c->kernels;
    keep_all(c, s, true);
    if (had) c->r->kept[recompute_id(c->r, s->add)] = true;
    if (w) *w = (Weighed){true, s->light, s->saved, s->work, c->first, c->last};
    return true;
}

static void mark_again(Chooser *c, const IrValue *v) {
    const IrNode *n = v->node;
    if (c->leaf[n->id] || c->again[n->id]) return;
    if (!c->through[n->id] && stops(c, v)) return;
    c->again[n->id] = true;
    for (int i = 0; i < n->nin; i++) mark_again(c, n->in[i]);
}

static void list_step(Chooser *c, const Step *s) {
    RecomputeList *l = c->list;
    VEC_ROOM(c->arena, l->step, l->n, c->cap_step);
    l->step[l->n++] =
        (struct RecomputeStep){s->add ? recompute_id(c->r, s->add) : -1, l->ndrop, s->ndrop};
    for (int i = 0; i < s->ndrop; i++) {
        VEC_ROOM(c->arena, l->drop, l->ndrop, c->cap_drop);
        l->drop[l->ndrop++] = recompute_id(c->r, s->drop[i]);
    }
}

/* Forgets what was found from the nodes that a step changes. */
static void forget_weighed(Chooser *c, const Step *s) {
    const Recompute *r = c->r;
    c->first = c->nsegment;
    c->last = -1;
    if (s->add) note_segment(c, s->add->node->id);
    for (int i = 0; i < s->ndrop; i++) note_segment(c, s->drop[i]->node->id);
    for (int i = 0; i < r->g->nnodes; i++)
        if (c->again[i] != c->before[i] && !c->through[i]) note_segment(c, i);
    for (int i = 0; i < r->nvalue + r->ncut; i++) {
        Weighed *w = i < r->nvalue ? &c->weighed[i] : &c->block[i - r->nvalue];
        if (w->first <= c->last && c->first <= w->last) w->last = w->first - 1;
    }
}

/* Lists the step. Later ones are chosen as if it was made. */
static void commit(Chooser *c, const Step *s) {
    Recompute *r = c->r;
    list_step(c, s);
    keep_all(c, s, false);
    for (int i = 0; i < r->g->nnodes; i++) {
        c->before[i] = c->again[i];
        c->again[i] = false;
    }
    for (int i = 0; i < r->nvalue; i++)
        if (r->wanted[i] && !r->kept[i]) mark_again(c, r->value[i]);
    forget_weighed(c, s);
}

/* ---- candidates ------------------------------------------------------------------------------ */

static bool large_kept(const Recompute *r, int id) {
    return r->kept[id] && !r->small[id];
}

static bool beats(const Step *s, const Step *best) {
    if (!best->ndrop) return true;
    if (best->light != s->light) return s->light;
    return s->saved * best->work > best->saved * s->work;
}

static void consider(Chooser *c, Step *s, Step *best) {
    if (weigh(c, s) && beats(s, best)) step_copy(best, s);
}

static void consider_drop(Chooser *c, IrValue *v, Step *best) {
    Step s = step_new(NULL);
    s.drop[s.ndrop++] = v;
    consider(c, &s, best);
}

/* Is v elementwise work on u and on what is kept? Sets *meets if u is among it. */
static bool derives(const Chooser *c, const IrValue *v, const IrValue *u, bool *meets, int depth) {
    const IrNode *n = v->node;
    if (v == u) return *meets = true;
    if (ir_ops[n->op].route == ROUTE_LEAF) return true;
    bool through = recompute_see_through(n);
    if (depth > 0 && !through && stops(c, v)) return true;
    if ((!through && ir_ops[n->op].route != ROUTE_ELTWISE) || depth > 8) return false;
    for (int i = 0; i < n->nin; i++)
        if (!derives(c, n->in[i], u, meets, depth + 1)) return false;
    return true;
}

/* Keeps u in place of all that derives from it. Only the readers' segment and the one before are
 * searched. */
static void consider_derive(Chooser *c, IrValue *u, Step *best) {
    Recompute *r = c->r;
    Step s = step_new(u);
    Walk w = walk(c, r->segment[u->node->id]);
    for (int i = walk_next(&w); i >= 0 && s.ndrop < MAX_DROP; i = walk_next(&w)) {
        IrValue *v = r->value[i];
        if (!large_kept(r, i) || v == u) continue;
        bool meets = false;
        if (ir_ops[v->node->op].route == ROUTE_ELTWISE && derives(c, v, u, &meets, 0) && meets)
            s.drop[s.ndrop++] = v;
    }
    consider(c, &s, best);
}

/* A product whose sums may start from what is added to it (codegen/kernels/gemm_block.c) must not
 * be kept itself: they could not, and would round otherwise. */
static bool starts_from_addend(const IrValue *u, const IrNode *reader) {
    IrWork w;
    return reader->op == OP_add && (ir_ops[u->node->op].flags & OPF_EPI) &&
           ir_work_product(u->node, &w);
}

/* The operands of an elementwise v that could be kept in its place. */
static void consider_operands(Chooser *c, const IrValue *v, Step *best) {
    for (int i = 0; i < v->node->nin; i++) {
        IrValue *u = v->node->in[i];
        while (ir_ops[u->node->op].route == ROUTE_VIEW) u = u->node->in[0];
        OpRoute route = ir_ops[u->node->op].route;
        if (route == ROUTE_LEAF || recompute_see_through(u->node) || stops(c, u)) continue;
        if (starts_from_addend(u, v->node)) continue;
        consider_derive(c, u, best);
    }
}

static void consider_block(Chooser *c, int cut, Step *best) {
    Recompute *r = c->r;
    Step s = step_new(r->cuts[cut]);
    if (cut + 1 >= c->nsegment) return;
    Weighed *w = &c->block[cut];
    if (w->first <= w->last) {
        s.saved = w->saved;
        s.work = w->work;
        s.light = w->light;
        if (!w->any || !beats(&s, best)) return;
    }
    for (int k = c->begin[cut + 1]; k < c->begin[cut + 2] && s.ndrop < MAX_DROP; k++) {
        int i = c->of[k];
        if (large_kept(r, i) && !r->cut[i]) s.drop[s.ndrop++] = r->value[i];
    }
    c->first = c->nsegment;
    c->last = -1;
    bool any = weigh(c, &s);
    note_segment(c, r->cuts[cut]->node->id);
    if (c->first > cut + 1) c->first = cut + 1;
    if (c->last < cut + 1) c->last = cut + 1;
    *w = (Weighed){any, s.light, s.saved, s.work, c->first, c->last};
    if (any && beats(&s, best)) step_copy(best, &s);
}

/* What could be done about value i. */
static void consider_value(Chooser *c, int i, Step *best) {
    Recompute *r = c->r;
    if (!large_kept(r, i)) return;
    if (!r->cut[i]) consider_drop(c, r->value[i], best);
    if (ir_ops[r->value[i]->node->op].route == ROUTE_ELTWISE)
        consider_operands(c, r->value[i], best);
}

/* Light steps are all made, so their order does not matter: each value's best, in one walk. This is
 * done for every program that is compiled; the search over all steps only for a budget. True while
 * there were any. */
static bool light_round(Chooser *c) {
    int before = c->list->n;
    for (int i = 0; i < c->r->nvalue; i++) {
        Step best = step_new(NULL);
        const IrNode *n = c->r->value[i]->node;
        if (ir_ops[n->op].route != ROUTE_ELTWISE || !large_kept(c->r, i)) continue;
        consider_value(c, i, &best);
        if (best.ndrop && best.light) commit(c, &best);
    }
    return c->list->n > before;
}

static bool best_step(Chooser *c, Step *best) {
    Recompute *r = c->r;
    best->ndrop = 0;
    for (int i = 0; i < r->nvalue; i++) consider_value(c, i, best);
    for (int i = 0; i < r->ncut; i++) consider_block(c, i, best);
    return best->ndrop > 0;
}

/* Every other one of the kept cuts, one at a time; true while there were any. */
static bool merge_round(Chooser *c) {
    Recompute *r = c->r;
    int met = 0, dropped = 0;
    for (int i = 0; i < r->ncut; i++) {
        if (!large_kept(r, recompute_id(r, r->cuts[i])) || ++met % 2) continue;
        Step s = step_new(NULL);
        s.drop[s.ndrop++] = r->cuts[i];
        commit(c, &s);
        dropped++;
    }
    return dropped > 0;
}

/* What the light steps have left in memory stays there for sums that start from it. */
static void hold_addends(Chooser *c) {
    for (int i = 0; i < c->r->nvalue; i++)
        if (c->r->addend[i] && c->r->kept[i]) c->r->small[i] = true;
    for (int i = 0; i < c->r->nvalue; i++) c->weighed[i].last = -1;
    for (int i = 0; i < c->r->ncut; i++) c->block[i].last = -1;
}

RecomputeList *recompute_choose(Recompute *r, Arena *a, bool all) {
    Chooser c = {.r = r, .arena = a, .list = ARENA_NEW(a, RecomputeList)};
    c.again = ARENA_ARRAY(r->arena, bool, r->g->nnodes);
    c.seen = ARENA_ARRAY(r->arena, int, r->g->nnodes);
    c.cost = ARENA_ARRAY(r->arena, double, r->g->nnodes);
    c.leaf = ARENA_ARRAY(r->arena, bool, r->g->nnodes);
    c.through = ARENA_ARRAY(r->arena, bool, r->g->nnodes);
    c.before = ARENA_ARRAY(r->arena, bool, r->g->nnodes);
    c.weighed = ARENA_ARRAY(r->arena, Weighed, r->nvalue);
    for (int i = 0; i < r->nvalue; i++) c.weighed[i].last = -1;
    c.block = ARENA_ARRAY(r->arena, Weighed, r->ncut + 1);
    for (int i = 0; i < r->ncut; i++) c.block[i].last = -1;
    IR_FOR (n, r->g) {
        c.leaf[n->id] = ir_ops[n->op].route == ROUTE_LEAF;
        c.through[n->id] = recompute_see_through(n);
        c.cost[n->id] = c.leaf[n->id] || c.through[n->id] ? 0 : node_work(n);
    }
    sort_by_segment(&c);
    while (light_round(&c)) continue;
    c.list->light = c.list->n;
    hold_addends(&c);
    Step best = step_new(NULL);
    while (all && best_step(&c, &best)) commit(&c, &best);
    while (all && merge_round(&c)) continue;
    return c.list;
}

void recompute_apply(Recompute *r, const RecomputeList *list, int steps) {
    for (int i = 0; i < steps && i < list->n; i++) {
        const struct RecomputeStep *s = &list->step[i];
        if (s->add >= 0) r->kept[s->add] = true;
        for (int k = 0; k < s->ndrop; k++) r->kept[list->drop[s->first + k]] = false;
    }
}
