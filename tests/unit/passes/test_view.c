/* view_resolve against brute force: random chains of views over a small tensor, every element
 * looked up. */
#include <criterion/criterion.h>

#include "passes/view.h"
#include "tests/ops/util_case.h"

enum { MAX_ELEMS = 600 };

/* A view and, for each of its elements in row-major order, which element of the root it is. */
typedef struct Chain {
    IrBuilder b;
    IrValue *root, *v;
    int64_t at[MAX_ELEMS];
} Chain;

static void split_index(const IrType *t, int64_t flat, int64_t *index) {
    for (int d = t->rank - 1; d >= 0; d--) {
        index[d] = flat % t->dim[d];
        flat /= t->dim[d];
    }
}

static int64_t join_index(const IrType *t, const int64_t *index) {
    int64_t flat = 0;
    for (int d = 0; d < t->rank; d++) flat = flat * t->dim[d] + index[d];
    return flat;
}

/* Which element of a view node's operand is the element `index` of its result. */
static int64_t operand_element(const IrNode *n, const int64_t *index) {
    const IrType *from = &n->in[0]->type, *to = &n->out[0].type;
    int64_t i[IR_MAX_RANK];
    const int64_t *perm;
    switch (n->op) {
    case OP_reshape: return join_index(to, index);
    case OP_slice:
        for (int d = 0; d < to->rank; d++) i[d] = index[d];
        i[ir_int(n, ATTR_slice_axis)] += ir_int(n, ATTR_slice_start);
        return join_index(from, i);
    case OP_transpose:
        ir_ints(n, ATTR_transpose_perm, &perm);
        for (int d = 0; d < to->rank; d++) i[perm[d]] = index[d];
        return join_index(from, i);
    default: /* broadcast */
        for (int d = 0; d < from->rank; d++)
            i[d] = from->dim[d] == 1 ? 0 : index[d + to->rank - from->rank];
        return join_index(from, i);
    }
}

static IrValue *random_reshape(Chain *c, CaseRng *r) {
    int64_t dim[IR_MAX_RANK], rest = ir_elems(&c->v->type);
    int rank = 0;
    while (rank < IR_MAX_RANK - 1 && (rest > 1 || case_below(r, 3) == 0)) {
        int64_t d = 1 + case_below(r, rest < 12 ? rest : 12);
        while (rest % d) d--;
        dim[rank++] = d;
        rest /= d;
    }
    dim[rank++] = rest;
    return IR_OP(&c->b, reshape, VALS(c->v), ATTRS(A_INTS(reshape_shape, dim, rank)));
}

static IrValue *random_transpose(Chain *c, CaseRng *r) {
    int64_t perm[IR_MAX_RANK];
    int rank = c->v->type.rank;
    for (int d = 0; d < rank; d++) perm[d] = d;
    for (int d = rank - 1; d > 0; d--) {
        int64_t j = case_below(r, d + 1), t = perm[d];
        perm[d] = perm[j];
        perm[j] = t;
    }
    return IR_OP(&c->b, transpose, VALS(c->v), ATTRS(A_INTS(transpose_perm, perm, rank)));
}

static IrValue *random_slice(Chain *c, CaseRng *r) {
    int axis = (int)case_below(r, c->v->type.rank);
    int64_t size = 1 + case_below(r, c->v->type.dim[axis]);
    return ir_slice(&c->b, c->v, axis, case_below(r, c->v->type.dim[axis] - size + 1), size);
}

/* Repeats some dimensions of one, sometimes a new one in front. */
static IrValue *random_broadcast(Chain *c, CaseRng *r) {
    const IrType *t = &c->v->type;
    int64_t dim[IR_MAX_RANK], room = MAX_ELEMS / ir_elems(t);
    int rank = 0;
    if (t->rank < IR_MAX_RANK - 1 && case_below(r, 2))
        dim[rank++] = 1 + case_below(r, room < 3 ? room : 3);
    if (rank) room /= dim[0];
    for (int d = 0; d < t->rank; d++, rank++) {
        dim[rank] = t->dim[d];
        if (t->dim[d] != 1 || room < 2) continue;
        dim[rank] = 1 + case_below(r, room < 4 ? room : 4);
        room /= dim[rank];
    }
    return IR_OP(&c->b, broadcast, VALS(c->v), ATTRS(A_INTS(broadcast_shape, dim, rank)));
}

static void extend(Chain *c, CaseRng *r) {
    IrValue *(*const grow[])(Chain *, CaseRng *) = {random_reshape, random_transpose, random_slice,
                                                    random_broadcast, random_reshape};
    IrValue *v = NULL;
    while (!v || ir_elems(&v->type) > MAX_ELEMS) v = grow[case_below(r, 5)](c, r);
    int64_t now[MAX_ELEMS], index[IR_MAX_RANK];
    for (int64_t e = 0; e < ir_elems(&v->type); e++) {
        split_index(&v->type, e, index);
        now[e] = c->at[operand_element(v->node, index)];
    }
    for (int64_t e = 0; e < ir_elems(&v->type); e++) c->at[e] = now[e];
    c->v = v;
}

/* Do any offset and strides describe the chain? Fills them in. */
static bool has_strides(const Chain *c, int64_t *stride) {
    const IrType *t = &c->v->type;
    int64_t index[IR_MAX_RANK];
    for (int d = 0; d < t->rank; d++) {
        int64_t unit[IR_MAX_RANK] = {0};
        unit[d] = 1;
        stride[d] = t->dim[d] > 1 ? c->at[join_index(t, unit)] - c->at[0] : 0;
    }
    for (int64_t e = 0; e < ir_elems(t); e++) {
        split_index(t, e, index);
        int64_t at = c->at[0];
        for (int d = 0; d < t->rank; d++) at += index[d] * stride[d];
        if (at != c->at[e]) return false;
    }
    return true;
}

static bool is_dense(const Chain *c) {
    for (int64_t e = 0; e < ir_elems(&c->v->type); e++)
        if (c->at[e] != c->at[0] + e) return false;
    return true;
}

/* False when the chain has no strides: nothing can be built on it. */
static bool check(const Chain *c, uint64_t seed) {
    View w;
    int64_t stride[IR_MAX_RANK];
    bool resolved = view_resolve(c->v, &w);
    cr_assert_eq(resolved, has_strides(c, stride), "seed %llu: %s", (unsigned long long)seed,
                 resolved ? "resolved what has no strides" : "gave up on a view with strides");
    if (!resolved) return false;
    cr_assert_eq(w.root, c->root);
    cr_assert(ir_type_equal(&w.type, &c->v->type));
    cr_assert_eq(w.offset, c->at[0], "seed %llu: wrong offset", (unsigned long long)seed);
    for (int d = 0; d < w.type.rank; d++)
        cr_assert(w.type.dim[d] == 1 || w.stride[d] == stride[d],
                  "seed %llu: wrong stride of dimension %d", (unsigned long long)seed, d);
    cr_assert_eq(view_is_dense(&w), is_dense(c), "seed %llu: dense or not?",
                 (unsigned long long)seed);
    cr_assert_eq(view_root(c->v), c->root);
    return true;
}

Test(view, chains_agree_with_brute_force) {
    int resolved = 0, refused = 0;
    for (uint64_t seed = 1; seed <= 3000; seed++) {
        Arena *a = arena_create();
        CaseRng r = {seed};
        IrGraph *g = ir_graph_create(a, "views");
        Chain c = {.b = ir_builder(g)};
        int64_t dim[4];
        int rank = 1 + (int)case_below(&r, 4);
        for (int d = 0; d < rank; d++) dim[d] = 1 + case_below(&r, 4);
        c.root = c.v = ir_input(&c.b, "x", ir_type(DT_f32, rank, dim));
        for (int64_t e = 0; e < ir_elems(&c.root->type); e++) c.at[e] = e;
        bool alive = true;
        for (int step = 0; step < 6 && alive; step++) {
            extend(&c, &r);
            alive = check(&c, seed);
            *(alive ? &resolved : &refused) += 1;
        }
        arena_destroy(a);
    }
    cr_assert(resolved > 5000 && refused > 500, "%d resolved, %d refused: the test tests little",
              resolved, refused);
}

static IrValue *as(IrBuilder *b, IrValue *v, IrType t) {
    return ir_reshape(b, v, &t);
}

Test(view, what_is_built_on_no_strides_has_none) {
    Arena *a = arena_create();
    IrGraph *g = ir_graph_create(a, "views");
    IrBuilder b = ir_builder(g);
    IrValue *x = ir_input(&b, "x", IR_TYPE(DT_f32, 2, 3));
    IrValue *t =
        IR_OP(&b, transpose, VALS(x), ATTRS(A_INTS(transpose_perm, ((int64_t[]){1, 0}), 2)));
    IrValue *flat = as(&b, t, IR_TYPE(DT_f32, 6));
    View w;
    cr_assert(view_resolve(t, &w));
    cr_assert_not(view_resolve(flat, &w));
    cr_assert_not(view_resolve(ir_slice(&b, flat, 0, 1, 1), &w));
    arena_destroy(a);
}

Test(view, same_position_stops_where_columns_change) {
    Arena *a = arena_create();
    IrGraph *g = ir_graph_create(a, "views");
    IrBuilder b = ir_builder(g);
    IrValue *x = ir_input(&b, "x", IR_TYPE(DT_f32, 2, 3, 4));
    IrValue *rows = as(&b, x, IR_TYPE(DT_f32, 6, 4));
    IrValue *back = as(&b, rows, IR_TYPE(DT_f32, 3, 2, 4));
    IrValue *other = as(&b, back, IR_TYPE(DT_f32, 4, 6));
    IrValue *on = as(&b, other, IR_TYPE(DT_f32, 2, 2, 6));
    IrValue *part = ir_slice(&b, back, 0, 0, 2);
    cr_assert_eq(view_same_position(back), x);
    cr_assert_eq(view_same_position(other), other);
    cr_assert_eq(view_same_position(on), other);
    cr_assert_eq(view_same_position(part), part);
    arena_destroy(a);
}
