/* Indices: labels, choices of experts and other tensors of i32, as masks, as counts and as what
 * rows are picked by. All of it is made of ops that routing has; a gradient goes to what is picked
 * and none to an index. */
#include "frontend/meaning/sema.h"

#include <inttypes.h>
#include <string.h>

/* ---- masks ---------------------------------------------------------------------------------- */

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
