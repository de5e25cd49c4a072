/* Routers other than top_k, capacity, and what is read by an index: choices, labels, rows. A router
 * gives every pair (token, choice) an expert or none; what the weights are is the model's affair
 * (`weights`, `with_weights`). */
#include "frontend/meaning/sema.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* Argument i: how many groups of tokens are routed by themselves. They have to divide the tokens.
 */
static bool arg_groups(Elab *E, const FeCall *c, int i, int64_t tokens, Span tokens_span,
                       int64_t *out) {
    *out = 1;
    if (!arg_int(E, c, i, 1, INT32_MAX, out)) return false;
    if (tokens % *out == 0) return true;
    Diag *dg = sema_error(E, c->span[i], D_value_range,
                          "`groups` of `%s` divides the number of tokens: %" PRId64
                          " groups of %" PRId64 " tokens are not equally large",
                          c->b->name, *out, tokens);
    sema_note(E, dg, tokens_span, "the tokens are these");
    return false;
}

static bool arg_factor(Elab *E, const FeCall *c, int i, double *out) {
    enum { MOST = 1 << 20 };
    return arg_float(E, c, i, 0, MOST, out);
}

/* A gate as f32[T,E] and the group it fills; NULL after reporting. */
static IrValue *open_gate(Elab *E, const FeCall *c, const FeValue **gate, FeGroup **g) {
    if (!arg_tensor(E, c, 0, gate) || !check_gate(E, c, *gate)) return NULL;
    *g = ARENA_NEW(E->a, FeGroup);
    (*g)->span = c->ast->span;
    return flat_gate(E, *gate, *g);
}

static const FeValue *no_room(Elab *E, const FeCall *c, int factor, const FeGroup *g,
                              int64_t tokens) {
    Diag *dg = sema_error(E, c->span[factor], D_value_range,
                          "the capacity of `%s` is 0: %" PRId64 " tokens, %" PRId64 " experts",
                          c->b->name, tokens, g->experts);
    sema_note(E, dg, g->span, "of this route");
    return fv_bad();
}

/* i32[T,E]: the number of each column. */
static IrValue *every_expert(IrBuilder *b, const FeGroup *g) {
    int64_t shape[] = {g->tokens, g->experts};
    return IR_OP(b, iota, NO_VALS, ATTRS(A_INTS(iota_shape, shape, 2)));
}

/* The dense mixture: every token to every expert, weighted by the gate. */
const FeValue *builtin_all_experts(Elab *E, const FeCall *c) {
    const FeValue *gate;
    FeGroup *g;
    IrValue *p = open_gate(E, c, &gate, &g);
    if (!p) return fv_bad();
    g->k = g->experts;
    g->chosen = g->index = every_expert(&E->b, g);
    g->value = p;
    return make_route(E, c, g, gate, p);
}

/* [T,E] of groups -> every expert's tokens side by side, [G,E,N]; and back for i32. */
static IrValue *by_expert(IrBuilder *b, IrValue *p, const FeGroup *g, int64_t groups) {
    static const int64_t swap[] = {0, 2, 1};
    IrType grouped = IR_TYPE(p->type.dtype, groups, g->tokens / groups, g->experts);
    return IR_OP(b, transpose, VALS(ir_reshape(b, p, &grouped)),
                 ATTRS(A_INTS(transpose_perm, swap, 3)));
}

static IrValue *by_token(IrBuilder *b, IrValue *place, const FeGroup *g) {
    static const int64_t swap[] = {0, 2, 1};
    IrType flat = IR_TYPE(place->type.dtype, g->tokens, g->experts);
    IrValue *turned = IR_OP(b, transpose, VALS(place), ATTRS(A_INTS(transpose_perm, swap, 3)));
    return ir_reshape(b, turned, &flat);
}

/* What routers with room for C = ceil(factor N / E) tokens of each expert and group of N begin
 * with: arguments gate, factor, groups. The gate; NULL after reporting. */
static IrValue *open_limited(Elab *E, const FeCall *c, const FeValue **gate, FeGroup **g,
                             int64_t *groups, int64_t *limit) {
    double factor = 1;
    IrValue *p = open_gate(E, c, gate, g);
    if (!p || !arg_factor(E, c, 1, &factor) ||
        !arg_groups(E, c, 2, (*g)->tokens, (*gate)->span, groups))
        return NULL;
    int64_t n = (*g)->tokens / *groups;
    *limit = (int64_t)ceil(factor * (double)n / (double)(*g)->experts);
    if (*limit > n) *limit = n;
    if (*limit >= 1) return p;
    no_room(E, c, 1, *g, n);
    return NULL;
}

/* Every expert takes its C = ceil(factor N / E) tokens of largest gate in each group of N. */
const FeValue *builtin_expert_choice(Elab *E, const FeCall *c) {
    const FeValue *gate;
    FeGroup *g;
    int64_t groups, limit;
    IrValue *p = open_limited(E, c, &gate, &g, &groups, &limit);
    if (!p) return fv_bad();
    IrBuilder *b = &E->b;
    IrValue *place = by_token(b, IR_OP(b, rank, VALS(by_expert(b, p, g, groups)), NO_ATTRS), g);
    IrValue *taken = ir_binary(b, OP_less, place, ir_const(b, (double)limit, place->type));
    g->k = g->experts;
    g->rows = groups * g->experts * limit;
    g->chosen = g->index =
        IR_OP(b, select, VALS(taken, every_expert(b, g), ir_const(b, -1, place->type)), NO_ATTRS);
    g->value = p;
    return make_route(E, c, g, gate, p);
}

/* Priority routing: pairs in order of the gate; a token whose expert is full takes its next best
 * one. */
const FeValue *builtin_priority_choice(Elab *E, const FeCall *c) {
    const FeValue *gate;
    FeGroup *g;
    int64_t groups, limit;
    IrValue *p = open_limited(E, c, &gate, &g, &groups, &limit);
    if (!p) return fv_bad();
    IrBuilder *b = &E->b;
    IrType pairs = IR_TYPE(DT_f32, groups, g->tokens / groups * g->experts);
    IrValue *place = IR_OP(b, rank, VALS(ir_reshape(b, p, &pairs)), NO_ATTRS);
    g->k = 1;
    g->rows = g->tokens;
    g->chosen = g->index =
        IR_OP(b, fall_through, VALS(place),
              ATTRS(A_INT(fall_through_experts, g->experts), A_INT(fall_through_limit, limit)));
    g->value = IR_OP(b, take_last, VALS(p, g->index), NO_ATTRS);
    return make_route(E, c, g, gate, g->value);
}

/* ---- capacity ------------------------------------------------------------------------------- */

/* The published formulas (names of the programs they come from), n tokens of a group. */
static const char *const formulas[] = {"vmoe", "st_moe", "megablocks", "tutel", "switch"};
enum { F_VMOE, F_ST_MOE, F_MEGABLOCKS, F_TUTEL, F_SWITCH, FORMULAS };

/* 0: no room at all; INT64_MAX: no limit. */
static int64_t capacity_of(int formula, double factor, const FeGroup *g, int64_t n,
                           int64_t multiple) {
    double e = (double)g->experts, k = (double)g->k, t = (double)n, c;
    bool dropless = factor == 0 && (formula == F_MEGABLOCKS || formula == F_TUTEL);
    if (dropless) return INT64_MAX;
    switch (formula) {
    case F_VMOE: c = ceil(k * t * factor / e); break;
    case F_ST_MOE: c = fmax(4, fmin(t, floor(t * factor / e))); break;
    case F_TUTEL: c = k * floor(factor * ceil(t / e)); break;
    default: c = floor(factor * k * t / e); break; /* megablocks, switch */
    }
    int64_t rows = (int64_t)fmin(c, INT32_MAX / 2);
    return (rows + multiple - 1) / multiple * multiple;
}

/* What decides who comes first: nothing, or a number for every token. */
static IrValue *priority_of(Elab *E, const FeGroup *g, int which) {
    IrType flat = IR_TYPE(DT_f32, g->tokens);
    int64_t axis = 1;
    if (which == 1) return ir_unary(&E->b, OP_max, g->value);
    return which == 2 ? ir_reshape(&E->b, ir_sum_axes(&E->b, g->value, &axis, 1), &flat) : NULL;
}

/* capacity(route, factor, eval = factor, formula = "vmoe", priority = "none", groups = 1, multiple
 * = 4 or 1)
 */
const FeValue *builtin_capacity(Elab *E, const FeCall *c) {
    static const char *const priorities[] = {"none", "max", "sum"};
    const FeValue *r;
    int formula = F_VMOE, priority = 0;
    double train = 1, eval;
    int64_t groups, multiple;
    if (!arg_route(E, c, 0, &r) || !arg_factor(E, c, 1, &train)) return fv_bad();
    eval = train;
    if (!arg_factor(E, c, 2, &eval) || !arg_word(E, c, 3, formulas, FORMULAS, &formula) ||
        !arg_word(E, c, 4, priorities, 3, &priority) ||
        !arg_groups(E, c, 5, r->group->tokens, r->group->span, &groups))
        return fv_bad();
    multiple = formula == F_VMOE ? 4 : 1;
    if (!arg_int(E, c, 6, 1, INT32_MAX / 2, &multiple)) return fv_bad();
    const FeGroup *from = r->group;
    int64_t n = from->tokens / groups;
    int64_t limit[2] = {capacity_of(formula, train, from, n, multiple),
                        capacity_of(formula, eval, from, n, multiple)};
    for (int i = 0; i < 2; i++) {
        if (limit[i] < 1) return no_room(E, c, i == 0 || !c->arg[2] ? 1 : 2, from, n);
        if (limit[i] > n) limit[i] = n; /* an expert has a token once */
    }
    FeGroup *g = ARENA_NEW(E->a, FeGroup);
    *g = *from;
    g->span = c->ast->span;
    IrValue *key = priority_of(E, from, priority);
    IrValue *in[2] = {from->index, key};
    g->index = build(
        E, c->ast->span, "`capacity`", OP_expert_capacity, &r, 1, in, key ? 2 : 1,
        ATTRS(A_INT(expert_capacity_experts, g->experts), A_INT(expert_capacity_train, limit[0]),
              A_INT(expert_capacity_eval, limit[1]), A_INT(expert_capacity_groups, groups)));
    if (!g->index) return fv_bad();
    int64_t most = groups * g->experts * (limit[0] > limit[1] ? limit[0] : limit[1]);
    int64_t now = from->rows ? from->rows : g->tokens * g->k;
    g->rows = most < now ? most : now;
    return make_route(E, c, g, r, r->v);
}

/* ---- choices that no gate makes ------------------------------------------------------------- */

/* Experts by place: row r of the n along the last routed dimension, choice j. In turns: (r + j) mod
 * E; in blocks of equal size, one after the other: floor(r E / n). */
static int64_t place_expert(int64_t r, int64_t j, int64_t n, int64_t experts, bool blocks) {
    return blocks ? r * experts / n : (r + j) % experts;
}

/* uniform_route(x, experts, k = 1, order = "turns") */
const FeValue *builtin_uniform_route(Elab *E, const FeCall *c) {
    static const char *const orders[] = {"turns", "blocks"};
    enum { MOST = 1 << 20 };
    const FeValue *x;
    int order = 0;
    FeGroup *g = ARENA_NEW(E->a, FeGroup);
    g->span = c->ast->span;
    g->k = 1;
    if (!arg_tensor(E, c, 0, &x) || !check_routable(E, c, x, "rows to route are [.., D]"))
        return fv_bad();
    set_routed(g, &x->v->type);
    if (!arg_int(E, c, 1, 1, MOST, &g->experts) || !arg_word(E, c, 3, orders, 2, &order))
        return fv_bad();
    if (!arg_int(E, c, 2, 1, order ? 1 : g->experts, &g->k)) return fv_bad();
    int64_t n = g->lead[g->lead_rank - 1];
    if (n * g->k > MOST) {
        sema_error(E, c->span[0], D_limit,
                   "`uniform_route` takes at most %d rows and choices, not %" PRId64, MOST,
                   n * g->k);
        return fv_bad();
    }
    int64_t *expert = ARENA_ARRAY(E->a, int64_t, n * g->k), shape[] = {g->tokens / n, n * g->k};
    for (int64_t i = 0; i < n * g->k; i++)
        expert[i] = place_expert(i / g->k, i % g->k, n, g->experts, order == 1);
    IrBuilder *b = &E->b;
    IrType pairs = IR_TYPE(DT_i32, g->tokens, g->k), weights = IR_TYPE(DT_f32, g->tokens, g->k);
    IrValue *place = IR_OP(b, iota, NO_VALS, ATTRS(A_INTS(iota_shape, shape, 2)));
    IrValue *index =
        IR_OP(b, lookup, VALS(place), ATTRS(A_INTS(lookup_values, expert, (int)(n * g->k))));
    g->chosen = g->index = ir_reshape(b, index, &pairs);
    g->value = ir_const(b, 1.0 / (double)g->k, weights);
    return make_route(E, c, g, x, g->value);
}

/* Both places of a disagreement. */
static const FeValue *with_route_notes(Elab *E, Diag *dg, const FeGroup *route, const FeValue *v,
                                       const char *what) {
    sema_note(E, dg, route->span, "the route is made here");
    sema_note(E, dg, v->span, "the %s is made here", what);
    return fv_bad();
}

/* A label's classes are the experts: in training they are the only choice, with weight 1. */
const FeValue *builtin_follow_label(Elab *E, const FeCall *c) {
    const FeValue *r, *label = c->arg[1];
    if (!arg_route(E, c, 0, &r)) return fv_bad();
    if (label->kind != FV_TENSOR || !label->classes)
        return arg_kind_error(E, c, 1, "a label such as lookup makes");
    const FeGroup *from = r->group;
    int64_t images = label->v->type.dim[0], k = from->k;
    if (label->classes > from->experts || images != from->lead[0]) {
        Diag *dg =
            label->classes > from->experts
                ? sema_error(E, c->span[1], D_class_mismatch,
                             "the label has %" PRId64 " classes and the route %" PRId64 " experts",
                             label->classes, from->experts)
                : sema_error(E, c->span[1], D_route_mismatch,
                             "there are %" PRId64 " labels, and %" PRId64 " images are routed",
                             images, from->lead[0]);
        return with_route_notes(E, dg, from, label, "label");
    }
    IrBuilder *b = &E->b;
    FeGroup *g = ARENA_NEW(E->a, FeGroup);
    *g = *from;
    g->span = c->ast->span;
    IrType column = IR_TYPE(DT_i32, images, 1), each = IR_TYPE(DT_i32, images, g->tokens / images),
           first = IR_TYPE(DT_i32, g->tokens, 1), pairs = IR_TYPE(DT_i32, g->tokens, k),
           weights = IR_TYPE(DT_f32, g->tokens, k);
    IrValue *told = ir_reshape(b, ir_broadcast(b, ir_reshape(b, label->v, &column), &each), &first);
    if (k > 1) {
        IrValue *choice = IR_OP(b, iota, NO_VALS, ATTRS(A_INTS(iota_shape, pairs.dim, 2)));
        IrValue *is_first = ir_binary(b, OP_less, choice, ir_const(b, 1, pairs));
        told =
            IR_OP(b, select, VALS(is_first, ir_broadcast(b, told, &pairs), ir_const(b, -1, pairs)),
                  NO_ATTRS);
        if (!g->rows) g->rows = g->tokens * k;
    }
    if (g->rows && g->rows < g->tokens) g->rows = g->tokens;
    IrValue *one = ir_const(b, 1, weights);
    g->gate = NULL; /* of training, where routes are measured */
    g->chosen = IR_OP(b, by_mode, VALS(told, from->chosen), NO_ATTRS);
    g->index = IR_OP(b, by_mode, VALS(told, from->index), NO_ATTRS);
    g->value = IR_OP(b, by_mode, VALS(one, from->value), NO_ATTRS);
    return make_route(E, c, g, r, IR_OP(b, by_mode, VALS(one, r->v), NO_ATTRS));
}

/* The pairs whose mask is not 0; the others count as not chosen. */
const FeValue *builtin_keep_pairs(Elab *E, const FeCall *c) {
    const FeValue *r, *mask;
    if (!arg_route(E, c, 0, &r) || !arg_tensor(E, c, 1, &mask)) return fv_bad();
    const FeGroup *from = r->group;
    IrType pairs = IR_TYPE(DT_f32, from->tokens, from->k);
    if (mask->group || !ir_type_equal(&mask->v->type, &pairs)) {
        Diag *dg =
            sema_error(E, c->span[1], D_route_mismatch, "the pairs of this route are %s, not %s",
                       ir_type_text(E->a, &pairs), fv_text(E->a, mask));
        return with_route_notes(E, dg, from, mask, "mask");
    }
    IrBuilder *b = &E->b;
    FeGroup *g = ARENA_NEW(E->a, FeGroup);
    *g = *from;
    g->span = c->ast->span;
    if (!g->rows) g->rows = g->tokens * g->k;
    IrValue *none = ir_const(b, -1, from->index->type);
    g->chosen = IR_OP(b, select, VALS(mask->v, from->chosen, none), NO_ATTRS);
    g->index = from->index == from->chosen
                   ? g->chosen
                   : IR_OP(b, select, VALS(mask->v, from->index, none), NO_ATTRS);
    return make_route(E, c, g, r, r->v);
}

/* [.., E]: the weights of a route where they belong, 0 elsewhere. */
const FeValue *builtin_sparse_gate(Elab *E, const FeCall *c) {
    const FeValue *r;
    if (!arg_route(E, c, 0, &r)) return fv_bad();
    const FeGroup *g = r->group;
    IrType t = {.dtype = DT_f32, .rank = g->lead_rank + 1};
    memcpy(t.dim, g->lead, sizeof(int64_t) * (size_t)g->lead_rank);
    t.dim[g->lead_rank] = g->experts;
    IrValue *y = build(E, c->ast->span, "`sparse_gate`", OP_put_last, &r, 1, VALS(r->v, g->index),
                       ATTRS(A_INT(put_last_experts, g->experts)));
    return y ? fv_tensor(E->a, ir_reshape(&E->b, y, &t), NULL, false, c->ast->span) : fv_bad();
}

/* ---- indices: labels and choices, as masks, as counts and as what rows are picked by ----------
 */

/* i32[..] -> f32[.., classes]: 1 where the last coordinate is the index. */
static IrValue *one_hot(IrBuilder *b, IrValue *index, int64_t classes) {
    IrType wide = index->type, column = index->type;
    column.dim[column.rank++] = 1;
    wide.dim[wide.rank++] = classes;
    IrValue *at = IR_OP(b, iota, NO_VALS, ATTRS(A_INTS(iota_shape, wide.dim, wide.rank)));
    return ir_binary(b, OP_equal, at, ir_broadcast(b, ir_reshape(b, index, &column), &wide));
}

static bool arg_index(Elab *E, const FeCall *c, int i, const FeValue **out) {
    const FeValue *v = *out = c->arg[i];
    if (v->kind == FV_TENSOR && v->v->type.dtype == DT_i32) return true;
    arg_kind_error(E, c, i, "a tensor of i32, such as a label or choices(route)");
    return false;
}

static bool room_for_rank(Elab *E, const FeCall *c, int rank) {
    if (rank <= IR_MAX_RANK) return true;
    sema_error(E, c->ast->span, D_shape_mismatch,
               "the result of `%s` would have %d dimensions, at most %d are possible", c->b->name,
               rank, IR_MAX_RANK);
    return false;
}

/* one_hot(index, classes = those of a label): [.., classes], all 0 for an index outside. */
const FeValue *builtin_one_hot(Elab *E, const FeCall *c) {
    const FeValue *index;
    if (!arg_index(E, c, 0, &index)) return fv_bad();
    int64_t classes = index->classes;
    if (!c->arg[1] && !classes) {
        sema_error(E, c->ast->span, D_missing_argument,
                   "`one_hot` needs an argument `classes`: only a label knows how many there are");
        return fv_bad();
    }
    if (!arg_int(E, c, 1, classes ? classes : 1, INT32_MAX, &classes) ||
        !room_for_rank(E, c, index->v->type.rank + 1))
        return fv_bad();
    return fv_tensor(E->a, one_hot(&E->b, index->v, classes), NULL, false, c->ast->span);
}

/* ---- choices of a route --------------------------------------------------------------------- */

/* i32[T,K], the best first; served: -1 for the pairs that no expert serves. */
const FeValue *builtin_choices(Elab *E, const FeCall *c) {
    const FeValue *r;
    bool served = false;
    if (!arg_route(E, c, 0, &r) || !arg_bool(E, c, 1, &served)) return fv_bad();
    const FeGroup *g = r->group;
    return fv_tensor(E->a, served ? g->index : g->chosen, NULL, false, c->ast->span);
}

/* [.., E]: 1 at the first choice of every row. */
const FeValue *builtin_first_choice(Elab *E, const FeCall *c) {
    const FeValue *r;
    if (!arg_route(E, c, 0, &r)) return fv_bad();
    const FeGroup *g = r->group;
    IrType t = {.dtype = DT_i32, .rank = g->lead_rank};
    memcpy(t.dim, g->lead, sizeof(int64_t) * (size_t)g->lead_rank);
    IrValue *first = ir_reshape(&E->b, ir_slice(&E->b, g->chosen, 1, 0, 1), &t);
    return fv_tensor(E->a, one_hot(&E->b, first, g->experts), NULL, false, c->ast->span);
}

/* [E]: how often each expert was chosen, capacity aside; with groups [groups, E]. */
const FeValue *builtin_choice_counts(Elab *E, const FeCall *c) {
    const FeValue *r;
    int64_t groups;
    if (!arg_route(E, c, 0, &r)) return fv_bad();
    const FeGroup *g = r->group;
    IrBuilder *b = &E->b;
    if (!c->arg[1]) {
        IrValue *y = build(E, c->ast->span, "`choice_counts`", OP_histogram, &r, 1, VALS(g->chosen),
                           ATTRS(A_INT(histogram_bins, g->experts)));
        return y ? fv_tensor(E->a, y, NULL, false, c->ast->span) : fv_bad();
    }
    if (!arg_groups(E, c, 1, g->tokens, g->span, &groups)) return fv_bad();
    IrType pairs = IR_TYPE(DT_i32, groups, g->tokens / groups * g->k);
    IrValue *hit = one_hot(b, ir_reshape(b, g->chosen, &pairs), g->experts);
    const int64_t axis = 1;
    return fv_tensor(E->a, ir_sum_axes(b, hit, &axis, 1), NULL, false, c->ast->span);
}

/* ---- rows by an index ----------------------------------------------------------------------- */

/* gather(x, index): x [N, ..], index i32[R..] -> [R.., ..]: row index[r] of x, 0 for an index
 * outside. */
const FeValue *builtin_gather(Elab *E, const FeCall *c) {
    const FeValue *x, *index;
    if (!arg_tensor(E, c, 0, &x) || !arg_index(E, c, 1, &index)) return fv_bad();
    if (x->group) {
        Diag *dg =
            sema_error(E, c->span[0], D_group_mismatch,
                       "`gather` picks rows of a plain tensor, this is %s", fv_describe(E->a, x));
        sema_note(E, dg, x->span, "it is made here");
        return fv_bad();
    }
    const FeValue *v[2] = {x, index};
    IrValue *y =
        build(E, c->ast->span, "`gather`", OP_gather, v, 2, VALS(x->v, index->v), NO_ATTRS);
    return y ? fv_tensor(E->a, y, NULL, false, c->ast->span) : fv_bad();
}
