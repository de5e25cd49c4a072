/* expand: replace every MODEL op by CORE ops, one rule per op with route EXPAND.
 *
 * requires  a graph that verifies; MODEL ops allowed
 * ensures   only CORE ops; outputs keep their names, types and order; dead nodes are gone
 * States: with c->training false no state is updated, otherwise those that are not frozen: other
 * update outputs are gone.
 * Randomness: an op with a stream reads the key `rng_key {stream}`. With c->training false, dropout
 * is the identity, noise is 0, and no key decides anything.
 *
 * before  %3 = linear %0, %1, %2 : f32[8,4]
 * after   %3 = matmul %0, %1 : f32[8,4]
 *         %4 = broadcast %2 {shape = [8,4]} : f32[8,4]
 *         %5 = add %3, %4 : f32[8,4]
 *
 * It does not optimise: identities such as a mean over one element are left to simplify. */
#include "passes/passes.h"

#include <math.h>
#include <string.h>

/* Builds the replacement of n (which has one result) and returns its value. A rule that cannot take
 * a legal node returns NULL and says why in b->error. */
typedef IrValue *ExpandFn(IrBuilder *b, const IrNode *n, bool training);

#define EXPAND_RULE_LEAF(name)
#define EXPAND_RULE_VIEW(name)
#define EXPAND_RULE_ELTWISE(name)
#define EXPAND_RULE_GATHER(name)
#define EXPAND_RULE_KERNEL(name)
#define EXPAND_RULE_EXPAND(name) static ExpandFn expand_##name;
#define OP(name, lo, hi, nout, stage, route, grad, ...) EXPAND_RULE_##route(name)
#include "ir/ops.def"

#undef EXPAND_RULE_EXPAND
#define EXPAND_RULE_EXPAND(name) [OP_##name] = expand_##name,
static ExpandFn *const rules[OP_COUNT] = {
#define OP(name, lo, hi, nout, stage, route, grad, ...) EXPAND_RULE_##route(name)
#include "ir/ops.def"
};

/* Does a training step update the state that the output is for? */
static bool is_updated(const IrGraph *g, const IrOut *o) {
    const char *name = strncmp(o->name, "state.", 6) ? "" : o->name + 6;
    const IrNode *state = ir_find_leaf(g, OP_param, name);
    return !state || !ir_int(state, ATTR_param_frozen);
}

static bool drop_updates(const PassCtx *c, IrGraph *g) {
    int kept = 0, before = g->nout;
    for (int i = 0; i < before; i++) {
        const IrOut o = g->out[i];
        if (o.kind != OUT_update || (c->training && is_updated(g, &o))) g->out[kept++] = o;
    }
    g->nout = kept;
    return kept != before;
}

/* One sweep with all rules or, when `modes`, with that of by_mode alone. */
static bool replace(PassCtx *c, IrGraph *g, bool modes) {
    bool changed = false;
    IR_FOR (n, g) n->aux = NULL;
    IR_FOR (n, g) {
        for (int i = 0; i < n->nin; i++) {
            IrValue *now = n->in[i]->node->aux;
            if (now) n->in[i] = now;
        }
        if (!rules[n->op] || (modes && n->op != OP_by_mode)) continue;
        IrBuilder b = ir_builder(g);
        b.at = n;
        b.loc = n->loc;
        n->aux = rules[n->op](&b, n, c->training);
        changed = true;
        if (!n->aux) {
            c->error = b.error;
            c->where = n->loc;
            return true;
        }
    }
    for (int i = 0; i < g->nout; i++) {
        IrValue *now = g->out[i].value->node->aux;
        if (now) g->out[i].value = now;
    }
    return changed;
}

/* First what only the other mode needs goes: a rule may refuse it in this one. */
bool pass_expand(PassCtx *c, IrGraph *g) {
    bool changed = drop_updates(c, g);
    changed = replace(c, g, true) || changed;
    if (changed) ir_dce(g, false);
    if (!replace(c, g, false)) return changed;
    if (!c->error) ir_dce(g, false);
    return true;
}

static IrValue *expand_linear(IrBuilder *b, const IrNode *n, bool training) {
    (void)training;
    IrValue *y = IR_OP(b, matmul, VALS(n->in[0], n->in[1]), NO_ATTRS);
    return n->nin > 2 ? ir_binary(b, OP_add, y, ir_broadcast(b, n->in[2], &y->type)) : y;
}

/* The bias of each routed row is broadcast over the dimensions between the row and its last one. */
static IrValue *expand_expert_linear(IrBuilder *b, const IrNode *n, bool training) {
    (void)training;
    IrValue *y = IR_OP(b, expert_matmul, VALS(n->in[0], n->in[1], n->in[2]), NO_ATTRS);
    if (n->nin < 5) return y;
    IrValue *bias = IR_OP(b, expert_expand, VALS(n->in[4], n->in[3]), NO_ATTRS); /* [R,O] */
    IrType aligned = y->type;
    for (int i = 1; i + 1 < aligned.rank; i++) aligned.dim[i] = 1;
    return ir_binary(b, OP_add, y, ir_broadcast(b, ir_reshape(b, bias, &aligned), &y->type));
}

static IrValue *mean_axes(IrBuilder *b, IrValue *x, const int64_t *axes, int n) {
    int64_t count = 1;
    for (int i = 0; i < n; i++) count *= x->type.dim[axes[i]];
    return ir_scale(b, ir_sum_axes(b, x, axes, n), 1.0 / (double)count);
}

static IrValue *expand_mean(IrBuilder *b, const IrNode *n, bool training) {
    (void)training;
    const int64_t *axes;
    int count = ir_ints(n, ATTR_mean_axes, &axes);
    return mean_axes(b, n->in[0], axes, count);
}

/* The mean of squared distances to the mean: no digits are lost where the mean is large. Distances
 * to the mean add up to 0, so the gradient through the mean is 0 and is not computed. */
static IrValue *expand_variance(IrBuilder *b, const IrNode *n, bool training) {
    static const int64_t axes[IR_MAX_RANK] = {0, 1, 2, 3, 4, 5};
    IrValue *x = n->in[0];
    int lead = x->type.rank - 1;
    if (ir_rows(&x->type) == 1 && training) {
        b->error = arena_printf(b->g->arena, "one row, %s, has no variance to train with",
                                ir_type_text(b->g->arena, &x->type));
        return NULL;
    }
    if (ir_rows(&x->type) == 1) return ir_const(b, 0.0, n->out[0].type);
    IrValue *mean = IR_OP(b, stop_gradient, VALS(mean_axes(b, x, axes, lead)), NO_ATTRS);
    IrValue *d = ir_binary(b, OP_sub, x, ir_broadcast(b, mean, &x->type));
    return mean_axes(b, ir_binary(b, OP_mul, d, d), axes, lead);
}

static IrValue *expand_silu(IrBuilder *b, const IrNode *n, bool training) {
    (void)training;
    return ir_binary(b, OP_mul, n->in[0], ir_unary(b, OP_sigmoid, n->in[0]));
}

/* -|x| is written min(-x, x) because of its gradient: at x = 0 the ties give 1 - 1/2, which is
 * right, where |x| would give 1. Noisy gates start exactly there. */
static IrValue *expand_softplus(IrBuilder *b, const IrNode *n, bool training) {
    (void)training;
    IrValue *x = n->in[0];
    IrValue *minus_abs = ir_binary(b, OP_minimum, ir_unary(b, OP_neg, x), x);
    IrValue *positive = ir_binary(b, OP_maximum, x, ir_const(b, 0.0, x->type));
    return ir_binary(b, OP_add, positive, ir_unary(b, OP_log1p, ir_unary(b, OP_exp, minus_abs)));
}

static IrValue *expand_square(IrBuilder *b, const IrNode *n, bool training) {
    (void)training;
    return ir_binary(b, OP_mul, n->in[0], n->in[0]);
}

/* The key of a stream. The language always names it; IR text may not. */
static IrValue *random_key(IrBuilder *b, const IrNode *n, const char *stream) {
    if (!stream[0]) {
        b->error =
            arena_printf(b->g->arena, "%s needs the name of its random stream", ir_ops[n->op].name);
        return NULL;
    }
    return ir_rng_key(b, stream);
}

/* Random numbers in [0,1), multiples of 2^-24, of x's shape; NULL without the name of a stream. */
static IrValue *uniform_like(IrBuilder *b, const IrNode *n, const char *stream, const IrValue *x) {
    IrValue *key = random_key(b, n, stream);
    if (!key) return NULL;
    return IR_OP(b, uniform, VALS(key), ATTRS(A_INTS(uniform_shape, x->type.dim, x->type.rank)));
}

/* Dropped where u < p. Uniform numbers are multiples of 2^-24, so rounding p up to the next one
 * decides the same elements and makes the threshold exact in f32. */
static IrValue *expand_dropout(IrBuilder *b, const IrNode *n, bool training) {
    double p = ir_float(n, ATTR_dropout_p);
    IrValue *x = n->in[0];
    if (!training || p == 0.0) return x;
    IrValue *u = uniform_like(b, n, ir_str(n, ATTR_dropout_stream), x);
    if (!u) return NULL;
    IrValue *threshold = ir_const(b, ceil(p * 0x1p24) * 0x1p-24, x->type);
    IrValue *factor = IR_OP(b, select,
                            VALS(ir_binary(b, OP_less, u, threshold), ir_const(b, 0.0, x->type),
                                 ir_const(b, 1.0 / (1.0 - p), x->type)),
                            NO_ATTRS);
    return ir_binary(b, OP_mul, x, factor);
}

/* 2u - 1 is exact in f32, and so is its sum with 2^-24: the normal numbers are symmetric and
 * finite. */
static IrValue *expand_noise(IrBuilder *b, const IrNode *n, bool training) {
    const char *kind = ir_str(n, ATTR_noise_kind);
    const IrType *t = &n->out[0].type;
    if (!training) return ir_const(b, 0.0, *t);
    IrValue *u = uniform_like(b, n, ir_str(n, ATTR_noise_stream), n->in[0]);
    if (!u) return NULL;
    if (!strcmp(kind, "gumbel")) {
        IrValue *least = ir_const(b, 0x1p-25, *t), *inside = ir_binary(b, OP_maximum, u, least);
        IrValue *exponential = ir_unary(b, OP_neg, ir_unary(b, OP_log, inside));
        return ir_unary(b, OP_neg, ir_unary(b, OP_log, exponential));
    }
    IrValue *twice = ir_scale(b, u, 2.0), *one = ir_const(b, 1.0, *t);
    IrValue *centred = ir_binary(b, OP_sub, twice, one);
    if (!strcmp(kind, "uniform")) return centred;
    IrValue *odd = ir_binary(b, OP_add, centred, ir_const(b, 0x1p-24, *t));
    return ir_scale(b, ir_unary(b, OP_erfinv, odd), sqrt(2.0));
}

/* sdpa always has a key operand; without dropout it is the shared stream "unused", which is never
 * read. */
static IrValue *expand_attention(IrBuilder *b, const IrNode *n, bool training) {
    int64_t heads = ir_int(n, ATTR_attention_heads);
    double dropout = training ? ir_float(n, ATTR_attention_dropout) : 0.0;
    IrValue *key = random_key(b, n, dropout > 0.0 ? ir_str(n, ATTR_attention_stream) : "unused");
    if (!key) return NULL;
    double scale = 1.0 / sqrt((double)(ir_cols(&n->in[0]->type) / heads));
    return IR_OP(b, sdpa, VALS(n->in[0], n->in[1], n->in[2], key),
                 ATTRS(A_INT(sdpa_heads, heads), A_FLOAT(sdpa_scale, scale),
                       A_FLOAT(sdpa_dropout, dropout)));
}

/* [B,C,H,W] -> [B,C,H/p,p,W/p,p] -> [B,H/p,W/p,p,p,C] -> [B,(H/p)(W/p),p*p*C] */
static IrValue *expand_patchify(IrBuilder *b, const IrNode *n, bool training) {
    (void)training;
    IrValue *x = n->in[0];
    const int64_t *d = x->type.dim, p = ir_int(n, ATTR_patchify_patch);
    IrType split = IR_TYPE(x->type.dtype, d[0], d[1], d[2] / p, p, d[3] / p, p);
    const int64_t perm[] = {0, 2, 4, 3, 5, 1};
    IrValue *y =
        IR_OP(b, transpose, VALS(ir_reshape(b, x, &split)), ATTRS(A_INTS(transpose_perm, perm, 6)));
    return ir_reshape(b, y, &n->out[0].type);
}

static const int64_t first_axis[] = {0};

static IrValue *expand_cross_entropy(IrBuilder *b, const IrNode *n, bool training) {
    (void)training;
    IrValue *rows = IR_OP(b, xent, VALS(n->in[0], n->in[1]), NO_ATTRS);
    return mean_axes(b, rows, first_axis, 1);
}

static IrValue *expand_accuracy(IrBuilder *b, const IrNode *n, bool training) {
    (void)training;
    IrValue *best = ir_unary(b, OP_argmax, n->in[0]);
    return mean_axes(b, ir_binary(b, OP_equal, best, n->in[1]), first_axis, 1);
}

/* i32[R]: -1 for what is not 0 .. n-1. */
static IrValue *inside(IrBuilder *b, IrValue *index, int64_t n) {
    IrValue *none = ir_const(b, -1, index->type);
    IrValue *ok = ir_binary(b, OP_mul, ir_binary(b, OP_less, none, index),
                            ir_binary(b, OP_less, index, ir_const(b, (double)n, index->type)));
    return IR_OP(b, select, VALS(ok, index, none), NO_ATTRS);
}

/* Rows sorted by where they lie, and brought back: a row is an expert whose weights every reader of
 * it gets, so that its gradient is the sum over them in a fixed order. */
static IrValue *expand_gather(IrBuilder *b, const IrNode *n, bool training) {
    (void)training;
    IrValue *x = n->in[0], *index = n->in[1];
    int64_t rows = ir_elems(&index->type), count = x->type.dim[0];
    IrType flat = IR_TYPE(DT_i32, rows), column = IR_TYPE(DT_i32, rows, 1);
    IrValue *at = ir_reshape(b, inside(b, ir_reshape(b, index, &flat), count), &column);
    IrNode *route =
        IR_OP(b, route, VALS(at), ATTRS(A_INT(route_experts, count), A_INT(route_rows, rows)))
            ->node;
    IrValue *each = IR_OP(b, expert_expand, VALS(x, &route->out[3]), NO_ATTRS);
    IrValue *y = IR_OP(b, combine_rows, VALS(each, &route->out[2]), NO_ATTRS);
    return ir_reshape(b, y, &n->out[0].type);
}

static IrValue *expand_routed(IrBuilder *b, const IrNode *n, bool training) {
    (void)b;
    (void)training;
    return n->in[0];
}

static IrValue *expand_by_mode(IrBuilder *b, const IrNode *n, bool training) {
    (void)b;
    return n->in[training ? 0 : 1];
}

/* Tokens in groups are ranked within them; a limit that no expert can reach is none. */
static IrValue *expand_expert_capacity(IrBuilder *b, const IrNode *n, bool training) {
    int64_t limit = ir_int(n, training ? ATTR_expert_capacity_train : ATTR_expert_capacity_eval);
    int64_t groups = ir_int(n, ATTR_expert_capacity_groups), tokens = n->in[0]->type.dim[0];
    if (limit >= tokens / groups) return n->in[0];
    AttrArg attr[] = {A_INT(capacity_experts, ir_int(n, ATTR_expert_capacity_experts)),
                      A_INT(capacity_limit, limit), A_INT(capacity_groups, groups)};
    if (n->nin == 1) return ir_op(b, OP_capacity, n->in, 1, attr, 3);
    IrType grouped = IR_TYPE(DT_f32, groups, tokens / groups), flat = IR_TYPE(DT_i32, tokens);
    IrValue *place = IR_OP(b, rank, VALS(ir_reshape(b, n->in[1], &grouped)), NO_ATTRS);
    return ir_op(b, OP_capacity, VALS(n->in[0], ir_reshape(b, place, &flat)), attr, 3);
}

/* E * sum_e (count_e / T) * (sum_t p_te / T), the two means taken out of the sum. Counts are
 * constants: the gradient flows through the probabilities only. */
static IrValue *expand_load_balance(IrBuilder *b, const IrNode *n, bool training) {
    (void)training;
    int64_t tokens = n->in[1]->type.dim[0], experts = ir_cols(&n->in[0]->type);
    IrType flat = IR_TYPE(DT_f32, tokens, experts);
    IrValue *first = ir_slice(b, n->in[1], 1, 0, 1); /* i32[T,1] */
    IrValue *count = IR_OP(b, histogram, VALS(first), ATTRS(A_INT(histogram_bins, experts)));
    IrValue *mass = ir_sum_axes(b, ir_reshape(b, n->in[0], &flat), first_axis, 1);
    IrValue *dot = ir_sum_axes(b, ir_binary(b, OP_mul, count, mass), first_axis, 1);
    return ir_scale(b, dot, (double)experts / ((double)tokens * (double)tokens));
}
