/* Result types of the mixture-of-experts ops. Conventions as in shape.c; T tokens, E experts, K
 * choices per token, R = T*K routed rows. */
#include "ir/internal.h"

/* The type of x with its leading dimension replaced. */
static IrType with_lead(const IrType *x, int64_t lead) {
    IrType t = *x;
    t.dim[0] = lead;
    return t;
}

/* Operand i: i32[T,K]. */
static const char *want_choices(Arena *a, const IrNode *n, int i) {
    TRY(ir_want_dtype(a, n, i, DT_i32));
    return ir_want_rank(a, n, i, 2, 2);
}

/* Operand i: i32[R]. */
static const char *want_indices(Arena *a, const IrNode *n, int i) {
    TRY(ir_want_dtype(a, n, i, DT_i32));
    return ir_want_rank(a, n, i, 1, 1);
}

/* Rows are numbered with 31 bits. */
static const char *want_row_count(Arena *a, const IrNode *n, int64_t rows) {
    if (rows <= INT32_MAX) return NULL;
    return ir_shape_fail(a, n, "expected fewer than 2^31 routed rows, found %lld", (long long)rows);
}

/* Operand i is f32[R,..] with R <= T*K of the i32[T,K] operand j. */
static const char *want_rows_of(Arena *a, const IrNode *n, int i, int j) {
    TRY(ir_want_dtype(a, n, i, DT_f32));
    TRY(ir_want_rank(a, n, i, 1, IR_MAX_RANK));
    TRY(want_choices(a, n, j));
    int64_t rows = ir_elems(&n->in[j]->type);
    TRY(want_row_count(a, n, rows));
    if (n->in[i]->type.dim[0] <= rows) return NULL;
    return ir_shape_fail(a, n, "expected at most %lld rows (tokens times choices of %s), found %s",
                         (long long)rows, ir_shape_in(a, n, j), ir_shape_in(a, n, i));
}

const char *shape_topk(Arena *a, IrNode *n) {
    TRY(ir_want_f32(a, n));
    TRY(ir_want_rank(a, n, 0, 2, 2));
    const IrType *x = &n->in[0]->type;
    int64_t k = ir_int(n, ATTR_topk_k);
    if (k < 1 || k > x->dim[1])
        return ir_shape_fail(a, n, "k is %lld, expected 1 to %lld, the experts of %s", (long long)k,
                             (long long)x->dim[1], ir_shape_in(a, n, 0));
    TRY(ir_set_result(a, n, 0, IR_TYPE(DT_f32, x->dim[0], k)));
    return ir_set_result(a, n, 1, IR_TYPE(DT_i32, x->dim[0], k));
}

const char *shape_take_last(Arena *a, IrNode *n) {
    TRY(ir_want_dtype(a, n, 0, DT_f32));
    TRY(ir_want_rank(a, n, 0, 2, 2));
    TRY(want_choices(a, n, 1));
    const IrType *x = &n->in[0]->type, *idx = &n->in[1]->type;
    if (idx->dim[0] != x->dim[0] || idx->dim[1] > x->dim[1])
        return ir_shape_fail(
            a, n, "expected indices i32[%lld,K] with K at most %lld for %s, found %s",
            (long long)x->dim[0], (long long)x->dim[1], ir_shape_in(a, n, 0), ir_shape_in(a, n, 1));
    return ir_set_result(a, n, 0, IR_TYPE(DT_f32, idx->dim[0], idx->dim[1]));
}

const char *shape_put_last(Arena *a, IrNode *n) {
    TRY(ir_want_dtype(a, n, 0, DT_f32));
    TRY(want_choices(a, n, 1));
    if (!ir_shape_equal(&n->in[0]->type, &n->in[1]->type))
        return ir_shape_fail(a, n, "expected values and indices of one shape, found %s and %s",
                             ir_shape_in(a, n, 0), ir_shape_in(a, n, 1));
    TRY(ir_want_int(a, n, ATTR_put_last_experts, n->in[0]->type.dim[1], INT32_MAX));
    return ir_set_result(a, n, 0,
                         IR_TYPE(DT_f32, n->in[0]->type.dim[0], ir_int(n, ATTR_put_last_experts)));
}

const char *shape_histogram(Arena *a, IrNode *n) {
    TRY(ir_want_dtype(a, n, 0, DT_i32));
    TRY(ir_want_int(a, n, ATTR_histogram_bins, 1, INT32_MAX));
    return ir_set_result(a, n, 0, IR_TYPE(DT_f32, ir_int(n, ATTR_histogram_bins)));
}

const char *shape_route_counts(Arena *a, IrNode *n) {
    TRY(ir_want_dtype(a, n, 0, DT_i32));
    TRY(want_row_count(a, n, ir_elems(&n->in[0]->type)));
    TRY(ir_want_int(a, n, ATTR_route_counts_experts, 1, INT32_MAX - 1));
    TRY(ir_want_int(a, n, ATTR_route_counts_segments, 1, INT32_MAX));
    return ir_set_result(a, n, 0,
                         IR_TYPE(DT_i32, ir_int(n, ATTR_route_counts_segments),
                                 ir_int(n, ATTR_route_counts_experts)));
}

/* Operand 1: i32[S,experts]. */
static const char *want_counts(Arena *a, const IrNode *n, int64_t experts) {
    TRY(ir_want_dtype(a, n, 1, DT_i32));
    TRY(ir_want_rank(a, n, 1, 2, 2));
    if (n->in[1]->type.dim[1] == experts) return NULL;
    return ir_shape_fail(a, n, "expected counts of %lld experts, found %s", (long long)experts,
                         ir_shape_in(a, n, 1));
}

const char *shape_route(Arena *a, IrNode *n) {
    TRY(want_choices(a, n, 0));
    TRY(ir_want_int(a, n, ATTR_route_experts, 1, INT32_MAX - 1));
    if (n->nin > 1) TRY(want_counts(a, n, ir_int(n, ATTR_route_experts)));
    const IrType *idx = &n->in[0]->type;
    int64_t rows = ir_int(n, ATTR_route_rows);
    TRY(want_row_count(a, n, ir_elems(idx)));
    TRY(ir_want_int(a, n, ATTR_route_rows, 0, ir_elems(idx)));
    if (!rows) rows = ir_elems(idx);
    TRY(ir_set_result(a, n, 0, IR_TYPE(DT_i32, ir_int(n, ATTR_route_experts) + 1)));
    TRY(ir_set_result(a, n, 1, IR_TYPE(DT_i32, rows)));
    TRY(ir_set_result(a, n, 2, *idx));
    return ir_set_result(a, n, 3, IR_TYPE(DT_i32, rows));
}

const char *shape_rank(Arena *a, IrNode *n) {
    TRY(ir_want_f32(a, n));
    TRY(ir_want_rank(a, n, 0, 1, IR_MAX_RANK));
    TRY(want_row_count(a, n, ir_cols(&n->in[0]->type)));
    IrType t = n->in[0]->type;
    t.dtype = DT_i32;
    return ir_set_result(a, n, 0, t);
}

/* Of the tokens of operand 0. */
static const char *want_groups(Arena *a, const IrNode *n, int64_t groups) {
    int64_t tokens = n->in[0]->type.dim[0];
    if (groups >= 1 && tokens % groups == 0) return NULL;
    return ir_shape_fail(a, n, "expected groups that divide %lld tokens, found %lld",
                         (long long)tokens, (long long)groups);
}

/* Attributes of an op that gives choices room. */
typedef struct Room {
    AttrId experts, train, eval, groups; /* train and eval: how much room in which mode */
} Room;

/* The choices that find room. Operand 1 tells each token's place in the order, or its priority. */
static const char *choices_with_room(Arena *a, IrNode *n, Room r, DType order) {
    TRY(want_choices(a, n, 0));
    const IrType *idx = &n->in[0]->type;
    TRY(want_row_count(a, n, ir_elems(idx)));
    TRY(ir_want_int(a, n, r.experts, 1, INT32_MAX - 1));
    TRY(ir_want_int(a, n, r.train, 1, INT32_MAX));
    TRY(ir_want_int(a, n, r.eval, 1, INT32_MAX));
    TRY(want_groups(a, n, ir_int(n, r.groups)));
    IrType of_tokens = IR_TYPE(order, idx->dim[0]);
    if (n->nin > 1) TRY(ir_want_like(a, n, 1, &of_tokens));
    return ir_set_result(a, n, 0, *idx);
}

const char *shape_capacity(Arena *a, IrNode *n) {
    static const Room room = {ATTR_capacity_experts, ATTR_capacity_limit, ATTR_capacity_limit,
                              ATTR_capacity_groups};
    return choices_with_room(a, n, room, DT_i32);
}

const char *shape_expert_capacity(Arena *a, IrNode *n) {
    static const Room room = {ATTR_expert_capacity_experts, ATTR_expert_capacity_train,
                              ATTR_expert_capacity_eval, ATTR_expert_capacity_groups};
    return choices_with_room(a, n, room, DT_f32);
}

const char *shape_routed(Arena *a, IrNode *n) {
    TRY(want_choices(a, n, 0));
    if (n->nin > 1) {
        TRY(ir_want_dtype(a, n, 1, DT_f32));
        TRY(ir_want_rank(a, n, 1, 2, IR_MAX_RANK));
        if (ir_rows(&n->in[1]->type) != n->in[0]->type.dim[0])
            return ir_shape_fail(a, n, "expected a gate of %lld rows, found %s",
                                 (long long)n->in[0]->type.dim[0], ir_shape_in(a, n, 1));
    }
    return ir_set_result(a, n, 0, n->in[0]->type);
}

const char *shape_fall_through(Arena *a, IrNode *n) {
    TRY(want_choices(a, n, 0));
    const IrType *place = &n->in[0]->type;
    int64_t experts = ir_int(n, ATTR_fall_through_experts);
    TRY(want_row_count(a, n, ir_elems(place)));
    TRY(ir_want_int(a, n, ATTR_fall_through_experts, 1, INT32_MAX - 1));
    TRY(ir_want_int(a, n, ATTR_fall_through_limit, 1, INT32_MAX));
    if (place->dim[1] % experts)
        return ir_shape_fail(a, n, "expected a multiple of %lld experts in %s", (long long)experts,
                             ir_shape_in(a, n, 0));
    return ir_set_result(a, n, 0, IR_TYPE(DT_i32, place->dim[0] * (place->dim[1] / experts), 1));
}

const char *shape_dispatch(Arena *a, IrNode *n) {
    if (n->in[0]->type.dtype != DT_bf16) TRY(ir_want_dtype(a, n, 0, DT_f32));
    TRY(ir_want_rank(a, n, 0, 1, IR_MAX_RANK));
    TRY(want_indices(a, n, 1));
    int64_t tokens = n->in[0]->type.dim[0], rows = n->in[1]->type.dim[0],
            k = ir_int(n, ATTR_dispatch_k);
    TRY(ir_want_int(a, n, ATTR_dispatch_k, 1, INT64_MAX));
    TRY(want_row_count(a, n, rows));
    if (rows / k + (rows % k != 0) > tokens)
        return ir_shape_fail(a, n, "expected at most %lld pairs for every row of %s, found %s",
                             (long long)k, ir_shape_in(a, n, 0), ir_shape_in(a, n, 1));
    return ir_set_result(a, n, 0, with_lead(&n->in[0]->type, rows));
}

const char *shape_gather(Arena *a, IrNode *n) {
    TRY(ir_want_dtype(a, n, 0, DT_f32));
    TRY(ir_want_rank(a, n, 0, 1, IR_MAX_RANK));
    TRY(ir_want_dtype(a, n, 1, DT_i32));
    const IrType *x = &n->in[0]->type, *index = &n->in[1]->type;
    IrType t = {.dtype = DT_f32, .rank = index->rank + x->rank - 1};
    if (t.rank > IR_MAX_RANK)
        return ir_shape_fail(a, n, "the result would have %d dimensions, at most %d are possible",
                             t.rank, IR_MAX_RANK);
    for (int i = 0; i < index->rank; i++) t.dim[i] = index->dim[i];
    for (int i = 1; i < x->rank; i++) t.dim[index->rank + i - 1] = x->dim[i];
    return ir_set_result(a, n, 0, t);
}

/* Operand 0: f32[..] with a leading dimension; operand 1: i32[R], the expert of each row. */
static const char *want_expert_of_row(Arena *a, const IrNode *n) {
    TRY(ir_want_dtype(a, n, 0, DT_f32));
    TRY(ir_want_rank(a, n, 0, 1, IR_MAX_RANK));
    TRY(want_indices(a, n, 1));
    return want_row_count(a, n, n->in[1]->type.dim[0]);
}

const char *shape_expert_expand(Arena *a, IrNode *n) {
    TRY(want_expert_of_row(a, n));
    return ir_set_result(a, n, 0, with_lead(&n->in[0]->type, n->in[1]->type.dim[0]));
}

const char *shape_expert_sum(Arena *a, IrNode *n) {
    TRY(want_expert_of_row(a, n));
    TRY(ir_want_int(a, n, ATTR_expert_sum_experts, 1, INT32_MAX));
    if (n->in[0]->type.dim[0] != n->in[1]->type.dim[0])
        return ir_shape_fail(a, n, "expected one expert per row of %s, found %s",
                             ir_shape_in(a, n, 0), ir_shape_in(a, n, 1));
    return ir_set_result(a, n, 0, with_lead(&n->in[0]->type, ir_int(n, ATTR_expert_sum_experts)));
}

const char *shape_combine(Arena *a, IrNode *n) {
    TRY(want_rows_of(a, n, 0, 1));
    const IrType *choices = &n->in[1]->type;
    IrType weights = IR_TYPE(DT_f32, choices->dim[0], choices->dim[1]);
    TRY(ir_want_like(a, n, 2, &weights));
    return ir_set_result(a, n, 0, with_lead(&n->in[0]->type, choices->dim[0]));
}

const char *shape_combine_rows(Arena *a, IrNode *n) {
    TRY(want_rows_of(a, n, 0, 1));
    return ir_set_result(a, n, 0, with_lead(&n->in[0]->type, n->in[1]->type.dim[0]));
}

const char *shape_combine_dw(Arena *a, IrNode *n) {
    TRY(want_rows_of(a, n, 0, 1));
    const IrType *choices = &n->in[1]->type;
    IrType dy = with_lead(&n->in[0]->type, choices->dim[0]);
    TRY(ir_want_like(a, n, 2, &dy));
    return ir_set_result(a, n, 0, IR_TYPE(DT_f32, choices->dim[0], choices->dim[1]));
}

/* Operand i: i32[E+1]. */
static const char *want_offsets(Arena *a, const IrNode *n, int i, int64_t experts) {
    IrType offsets = IR_TYPE(DT_i32, experts + 1);
    if (ir_type_equal(&n->in[i]->type, &offsets)) return NULL;
    return ir_shape_fail(a, n, "expected offsets %s for %lld experts, found %s",
                         ir_type_text(a, &offsets), (long long)experts, ir_shape_in(a, n, i));
}

/* Rows f32[R,..,I] and weights f32[E,I,O] (tb: [E,O,I]), offsets in operand 2; the result's type.
 */
static const char *expert_product(Arena *a, IrNode *n, bool tb, bool bf16) {
    TRY(ir_want_factor(a, n, 0, bf16));
    TRY(ir_want_factor(a, n, 1, bf16));
    TRY(ir_want_rank(a, n, 0, 2, IR_MAX_RANK));
    TRY(ir_want_rank(a, n, 1, 3, 3));
    IrType t = n->in[0]->type;
    const IrType *w = &n->in[1]->type;
    TRY(want_row_count(a, n, t.dim[0]));
    if (ir_cols(&t) != w->dim[tb ? 2 : 1])
        return ir_shape_fail(a, n,
                             "expected expert weights with %lld inputs for %s, found %lld in %s",
                             (long long)ir_cols(&t), ir_shape_in(a, n, 0),
                             (long long)w->dim[tb ? 2 : 1], ir_shape_in(a, n, 1));
    TRY(want_offsets(a, n, 2, w->dim[0]));
    t.dtype = DT_f32;
    t.dim[t.rank - 1] = w->dim[tb ? 1 : 2];
    return ir_set_result(a, n, 0, t);
}

const char *shape_expert_matmul(Arena *a, IrNode *n) {
    TRY(ir_want_int(a, n, ATTR_expert_matmul_tb, 0, 1));
    TRY(ir_want_int(a, n, ATTR_expert_matmul_bf16, 0, 1));
    return expert_product(a, n, ir_int(n, ATTR_expert_matmul_tb) != 0,
                          ir_int(n, ATTR_expert_matmul_bf16) != 0);
}

const char *shape_expert_linear(Arena *a, IrNode *n) {
    TRY(expert_product(a, n, false, false));
    IrType expert = IR_TYPE(DT_i32, n->in[0]->type.dim[0]);
    TRY(ir_want_like(a, n, 3, &expert));
    const IrType *w = &n->in[1]->type;
    IrType bias = IR_TYPE(DT_f32, w->dim[0], w->dim[2]);
    return n->nin == 5 ? ir_want_like(a, n, 4, &bias) : NULL;
}

const char *shape_expert_matmul_dw(Arena *a, IrNode *n) {
    TRY(ir_want_int(a, n, ATTR_expert_matmul_dw_bf16, 0, 1));
    TRY(ir_want_int(a, n, ATTR_expert_matmul_dw_parts, 1, 1024));
    for (int i = 0; i < 2; i++) {
        TRY(ir_want_factor(a, n, i, ir_int(n, ATTR_expert_matmul_dw_bf16) != 0));
        TRY(ir_want_rank(a, n, i, 2, IR_MAX_RANK));
    }
    TRY(want_indices(a, n, 2));
    const IrType *x = &n->in[0]->type, *dy = &n->in[1]->type;
    IrType expected = *x;
    expected.dtype = dy->dtype;
    expected.dim[x->rank - 1] = ir_cols(dy);
    TRY(ir_want_like(a, n, 1, &expected));
    TRY(want_row_count(a, n, x->dim[0]));
    int64_t experts = n->in[2]->type.dim[0] - 1;
    if (experts < 1)
        return ir_shape_fail(a, n, "expected offsets of at least one expert, found %s",
                             ir_shape_in(a, n, 2));
    int64_t parts = ir_int(n, ATTR_expert_matmul_dw_parts);
    if (parts > 1)
        return ir_set_result(a, n, 0, IR_TYPE(DT_f32, parts, experts, ir_cols(x), ir_cols(dy)));
    return ir_set_result(a, n, 0, IR_TYPE(DT_f32, experts, ir_cols(x), ir_cols(dy)));
}

const char *shape_load_balance(Arena *a, IrNode *n) {
    TRY(ir_want_dtype(a, n, 0, DT_f32));
    TRY(ir_want_rank(a, n, 0, 2, IR_MAX_RANK));
    TRY(want_choices(a, n, 1));
    const IrType *gate = &n->in[0]->type, *idx = &n->in[1]->type;
    if (idx->dim[0] != ir_rows(gate) || idx->dim[1] > ir_cols(gate))
        return ir_shape_fail(
            a, n, "expected the choices i32[%lld,K] with K at most %lld for the gate %s, found %s",
            (long long)ir_rows(gate), (long long)ir_cols(gate), ir_shape_in(a, n, 0),
            ir_shape_in(a, n, 1));
    return ir_set_result(a, n, 0, ir_scalar(DT_f32));
}
