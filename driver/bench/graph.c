/* The problems of `vmoec bench --kernel` as IR graphs, built as the graph of a model has them:
 * weights are learned parameters, routed rows come from a gate through topk and route, attention
 * reads one packed qkv tensor. */
#include <math.h>
#include <string.h>

#include "driver/bench/bench.h"

#define WEIGHT_INIT "uniform(0.1)"

#define INT(key) problem_int(p, KEY_##key)

/* Bits of an epilogue: the choices of problems.def in order. */
enum { EPI_BIAS = 1, EPI_GELU = 2, EPI_RESIDUAL = 4 };
static const int epilogue_of[] = {
    0, EPI_BIAS, EPI_GELU, EPI_BIAS | EPI_GELU, EPI_RESIDUAL, EPI_BIAS | EPI_RESIDUAL};

static IrValue *input(IrBuilder *b, const char *name, IrType t) {
    return ir_input(b, name, t);
}

static IrValue *weight(IrBuilder *b, const char *name, IrType t) {
    return ir_param(b, name, t, WEIGHT_INIT, "", true);
}

static void output(IrBuilder *b, const char *name, IrValue *v) {
    ir_add_out(b->g, OUT_output, name, v, 1, b->loc);
}

/* bias: already of y's shape; NULL: made here, one number per column. */
static IrValue *epilogue(IrBuilder *b, IrValue *y, IrValue *bias, int what) {
    if (what & EPI_BIAS) {
        if (!bias)
            bias = ir_broadcast(b, weight(b, "bias", IR_TYPE(DT_f32, ir_cols(&y->type))), &y->type);
        y = ir_binary(b, OP_add, y, bias);
    }
    if (what & EPI_GELU) y = ir_unary(b, OP_gelu, y);
    if (what & EPI_RESIDUAL) y = ir_binary(b, OP_add, y, input(b, "residual", y->type));
    return y;
}

static IrType matrix(int64_t batch, int64_t rows, int64_t cols) {
    return batch > 1 ? IR_TYPE(DT_f32, batch, rows, cols) : IR_TYPE(DT_f32, rows, cols);
}

static void build_matmul(IrBuilder *b, const Problem *p) {
    int64_t m = INT(matmul_m), n = INT(matmul_n), k = INT(matmul_k), batch = INT(matmul_batch);
    bool ta = INT(matmul_ta), tb = INT(matmul_tb);
    int64_t w = INT(matmul_weight);
    IrType bt = tb ? matrix(batch, n, k) : matrix(batch, k, n);
    bool learned = w < 0 ? !ta && batch == 1 : w != 0;
    IrValue *x = input(b, "a", ta ? matrix(batch, k, m) : matrix(batch, m, k));
    IrValue *y = IR_OP(b, matmul, VALS(x, learned ? weight(b, "b", bt) : input(b, "b", bt)),
                       ATTRS(A_INT(matmul_ta, ta), A_INT(matmul_tb, tb)));
    output(b, "y", epilogue(b, y, NULL, epilogue_of[INT(matmul_epilogue)]));
}

/* Routed rows: rows / top_k tokens that choose among the experts. */
typedef struct Routed {
    IrNode *route;
    int64_t rows, tokens, top_k;
} Routed;

static Routed routed(IrBuilder *b, int64_t rows, int64_t experts, int64_t top_k) {
    int64_t tokens = rows / top_k;
    IrValue *gate = input(b, "gate", IR_TYPE(DT_f32, tokens, experts));
    IrValue *chosen = IR_OP(b, topk, VALS(gate), ATTRS(A_INT(topk_k, top_k)));
    IrValue *route =
        IR_OP(b, route, VALS(&chosen->node->out[1]), ATTRS(A_INT(route_experts, experts)));
    return (Routed){route->node, rows, tokens, top_k};
}

/* [rows, cols], or [tokens, cols] read through dispatch. */
static IrValue *rows_of(IrBuilder *b, const Routed *r, const char *name, int64_t cols,
                        bool gather) {
    if (!gather) return input(b, name, IR_TYPE(DT_f32, r->rows, cols));
    IrValue *x = input(b, name, IR_TYPE(DT_f32, r->tokens, cols));
    return IR_OP(b, dispatch, VALS(x, &r->route->out[1]), ATTRS(A_INT(dispatch_k, r->top_k)));
}

static void build_expert_matmul(IrBuilder *b, const Problem *p) {
    int64_t n = INT(expert_matmul_n), k = INT(expert_matmul_k),
            experts = INT(expert_matmul_experts);
    bool tb = INT(expert_matmul_tb);
    int what = epilogue_of[INT(expert_matmul_epilogue)];
    Routed r = routed(b, INT(expert_matmul_m), experts, INT(expert_matmul_top_k));
    IrValue *x = rows_of(b, &r, "a", k, INT(expert_matmul_gather));
    IrValue *w =
        weight(b, "b", tb ? IR_TYPE(DT_f32, experts, n, k) : IR_TYPE(DT_f32, experts, k, n));
    IrValue *y =
        IR_OP(b, expert_matmul, VALS(x, w, &r.route->out[0]), ATTRS(A_INT(expert_matmul_tb, tb)));
    IrValue *bias = NULL;
    if (what & EPI_BIAS) {
        bias = weight(b, "bias", IR_TYPE(DT_f32, experts, n));
        bias = IR_OP(b, expert_expand, VALS(bias, &r.route->out[3]), NO_ATTRS);
    }
    output(b, "y", epilogue(b, y, bias, what));
}

static void build_expert_matmul_dw(IrBuilder *b, const Problem *p) {
    Routed r = routed(b, INT(expert_matmul_dw_k), INT(expert_matmul_dw_experts),
                      INT(expert_matmul_dw_top_k));
    IrValue *x = rows_of(b, &r, "a", INT(expert_matmul_dw_m), INT(expert_matmul_dw_gather));
    IrValue *dy = rows_of(b, &r, "b", INT(expert_matmul_dw_n), false);
    output(b, "y", IR_OP(b, expert_matmul_dw, VALS(x, dy, &r.route->out[0]), NO_ATTRS));
}

/* The sdpa node over a packed [batch, n, 3 dim] input; qkvk gets its operands. */
static IrNode *attention(IrBuilder *b, int64_t batch, int64_t n, int64_t dim, int64_t heads,
                         IrValue *qkvk[4]) {
    IrValue *qkv = input(b, "qkv", IR_TYPE(DT_f32, batch, n, 3 * dim));
    for (int i = 0; i < 3; i++) qkvk[i] = ir_slice(b, qkv, 2, i * dim, dim);
    qkvk[3] = ir_rng_key(b, "dropout");
    double scale = 1 / sqrt((double)dim / (double)heads);
    return ir_op(b, OP_sdpa, qkvk, 4, ATTRS(A_INT(sdpa_heads, heads), A_FLOAT(sdpa_scale, scale)))
        ->node;
}

static void build_sdpa(IrBuilder *b, const Problem *p) {
    IrValue *in[4];
    IrNode *n = attention(b, INT(sdpa_batch), INT(sdpa_n), INT(sdpa_dim), INT(sdpa_heads), in);
    output(b, "o", &n->out[0]);
    output(b, "lse", &n->out[1]);
}

static void build_sdpa_grad(IrBuilder *b, const Problem *p) {
    int64_t dim = INT(sdpa_grad_dim), heads = INT(sdpa_grad_heads);
    IrValue *in[6];
    IrNode *n = attention(b, INT(sdpa_grad_batch), INT(sdpa_grad_n), dim, heads, in);
    in[4] = &n->out[1];
    in[5] = input(b, "do", n->out[0].type);
    double scale = 1 / sqrt((double)dim / (double)heads);
    IrNode *g = ir_op(b, OP_sdpa_grad, in, 6,
                      ATTRS(A_INT(sdpa_grad_heads, heads), A_FLOAT(sdpa_grad_scale, scale)))
                    ->node;
    output(b, "dq", &g->out[0]);
    output(b, "dk", &g->out[1]);
    output(b, "dv", &g->out[2]);
}

/* ---- convolutions ---- */

/* A convolution's sizes, and its images: x, and one of results. */
typedef struct Images {
    int64_t kernel[2], pad[4], stride, groups;
    IrType x, y, w;
} Images;

/* o 0: every channel by itself. */
static Images images(int64_t batch, int64_t size, int64_t c, int64_t o, int64_t groups,
                     int64_t kernel, int64_t stride) {
    int64_t pad = (kernel - 1) / 2, side = ir_conv_results(size, 2 * pad, kernel, stride);
    Images im = {.kernel = {kernel, kernel},
                 .pad = {pad, pad, pad, pad},
                 .stride = stride,
                 .groups = groups};
    im.x = IR_TYPE(DT_f32, batch, size, size, c);
    im.y = IR_TYPE(DT_f32, batch, side, side, o ? o : c);
    im.w = !o           ? IR_TYPE(DT_f32, kernel, kernel, c)
           : groups > 1 ? IR_TYPE(DT_f32, groups, kernel, kernel, c / groups, o / groups)
                        : IR_TYPE(DT_f32, kernel, kernel, c, o);
    return im;
}

#define IMAGES(kind, o, groups)                                                                    \
    images(INT(kind##_batch), INT(kind##_size), INT(kind##_c), o, groups, INT(kind##_kernel),      \
           INT(kind##_stride))
#define CONV_IMAGES(kind) IMAGES(kind, INT(kind##_o), INT(kind##_groups))
#define CONV_ATTRS(kind, im)                                                                       \
    A_INTS(kind##_pad, (im).pad, 4), A_INT(kind##_stride, (im).stride),                            \
        A_INT(kind##_groups, (im).groups)
#define DEPTHWISE_ATTRS(kind, im) A_INTS(kind##_pad, (im).pad, 4), A_INT(kind##_stride, (im).stride)

/* planar: stored as images arrive, channel by channel. */
static IrValue *image(IrBuilder *b, const Images *im, bool planar) {
    if (!planar) return input(b, "x", im->x);
    const int64_t *d = im->x.dim, last[] = {0, 2, 3, 1};
    IrValue *x = input(b, "x", IR_TYPE(DT_f32, d[0], d[3], d[1], d[2]));
    return IR_OP(b, transpose, VALS(x), ATTRS(A_INTS(transpose_perm, last, 4)));
}

static void build_conv(IrBuilder *b, const Problem *p) {
    Images im = CONV_IMAGES(conv);
    IrValue *x = image(b, &im, INT(conv_planar)), *w = weight(b, "w", im.w);
    IrValue *y = IR_OP(b, conv, VALS(x, w), ATTRS(CONV_ATTRS(conv, im)));
    output(b, "y", epilogue(b, y, NULL, epilogue_of[INT(conv_epilogue)]));
}

static void build_conv_dx(IrBuilder *b, const Problem *p) {
    Images im = CONV_IMAGES(conv_dx);
    output(b, "dx",
           IR_OP(b, conv_dx, VALS(input(b, "dy", im.y), weight(b, "w", im.w)),
                 ATTRS(A_INT(conv_dx_height, im.x.dim[1]), A_INT(conv_dx_width, im.x.dim[2]),
                       CONV_ATTRS(conv_dx, im))));
}

static void build_conv_dw(IrBuilder *b, const Problem *p) {
    Images im = CONV_IMAGES(conv_dw);
    IrValue *x = image(b, &im, INT(conv_dw_planar));
    output(b, "dw",
           IR_OP(b, conv_dw, VALS(x, input(b, "dy", im.y)),
                 ATTRS(A_INTS(conv_dw_kernel, im.kernel, 2), CONV_ATTRS(conv_dw, im))));
}

static void build_depthwise(IrBuilder *b, const Problem *p) {
    Images im = IMAGES(depthwise, 0, 1);
    IrValue *y = IR_OP(b, depthwise, VALS(input(b, "x", im.x), weight(b, "w", im.w)),
                       ATTRS(DEPTHWISE_ATTRS(depthwise, im)));
    output(b, "y", epilogue(b, y, NULL, epilogue_of[INT(depthwise_epilogue)]));
}

static void build_depthwise_dx(IrBuilder *b, const Problem *p) {
    Images im = IMAGES(depthwise_dx, 0, 1);
    output(b, "dx",
           IR_OP(b, depthwise_dx, VALS(input(b, "dy", im.y), weight(b, "w", im.w)),
                 ATTRS(A_INT(depthwise_dx_height, im.x.dim[1]),
                       A_INT(depthwise_dx_width, im.x.dim[2]), DEPTHWISE_ATTRS(depthwise_dx, im))));
}

static void build_depthwise_dw(IrBuilder *b, const Problem *p) {
    Images im = IMAGES(depthwise_dw, 0, 1);
    output(
        b, "dw",
        IR_OP(b, depthwise_dw, VALS(input(b, "x", im.x), input(b, "dy", im.y)),
              ATTRS(A_INTS(depthwise_dw_kernel, im.kernel, 2), DEPTHWISE_ATTRS(depthwise_dw, im))));
}

/* ---- rows ---- */

static void build_softmax(IrBuilder *b, const Problem *p) {
    IrValue *x = input(b, "x", IR_TYPE(DT_f32, INT(softmax_m), INT(softmax_n)));
    output(b, "y", ir_unary(b, OP_softmax, x));
}

static void build_layer_norm(IrBuilder *b, const Problem *p) {
    int64_t n = INT(layer_norm_n);
    IrType t = IR_TYPE(DT_f32, INT(layer_norm_m), n), row = IR_TYPE(DT_f32, n);
    IrValue *y = IR_OP(b, layer_norm, VALS(input(b, "x", t)), ATTRS(A_FLOAT(layer_norm_eps, 1e-6)));
    y = ir_binary(b, OP_mul, y, ir_broadcast(b, weight(b, "scale", row), &t));
    output(b, "y", ir_binary(b, OP_add, y, ir_broadcast(b, weight(b, "shift", row), &t)));
}

static void build_layer_norm_grad(IrBuilder *b, const Problem *p) {
    IrType t = IR_TYPE(DT_f32, INT(layer_norm_grad_m), INT(layer_norm_grad_n));
    IrValue *y = IR_OP(b, layer_norm, VALS(input(b, "x", t)), ATTRS(A_FLOAT(layer_norm_eps, 1e-6)));
    IrValue *dx = IR_OP(b, layer_norm_grad, VALS(y, &y->node->out[1], input(b, "dy", t)), NO_ATTRS);
    output(b, "dx", dx);
}

static void build_sum(IrBuilder *b, const Problem *p) {
    IrValue *x = input(b, "x", IR_TYPE(DT_f32, INT(sum_m), INT(sum_n)));
    output(b, "y", ir_sum_axes(b, x, (const int64_t[]){0}, 1));
}

static void build_topk(IrBuilder *b, const Problem *p) {
    IrValue *x = input(b, "x", IR_TYPE(DT_f32, INT(topk_m), INT(topk_n)));
    IrValue *y = IR_OP(b, topk, VALS(x), ATTRS(A_INT(topk_k, INT(topk_k))));
    output(b, "values", y);
    output(b, "indices", &y->node->out[1]);
}

static void build_adamw(IrBuilder *b, const Problem *p) {
    IrType t = IR_TYPE(DT_f32, INT(adamw_n));
    IrValue *w = weight(b, "w", t), *g = input(b, "g", t);
    IrValue *m = ir_state(b, "adam.m.w", t), *v = ir_state(b, "adam.v.w", t);
    IR_OP(b, adamw, VALS(w, g, m, v, input(b, VM_INPUT_STEP, IR_TYPE(DT_f32, VM_STEP_SCALARS))),
          ATTRS(A_FLOAT(adamw_decay, 0.05)));
}

typedef void BuildFn(IrBuilder *b, const Problem *p);

static BuildFn *const build[PROBLEM_COUNT] = {
#define KIND(name, ...) build_##name,
#include "driver/bench/problems.def"
};

IrGraph *problem_graph(Arena *a, const Problem *p) {
    IrGraph *g = ir_graph_create(a, problem_kind_name(p->kind));
    IrBuilder b = ir_builder(g);
    build[p->kind](&b, p);
    return g;
}

/* ---- values ---------------------------------------------------------------------------------- */

/* The first choice of the tokens: `skew` of them expert 0, spread evenly over the batch, and the
 * others in turn among the rest; all in turn when balanced. The next choices are the experts that
 * follow. */
static void fill_gate(const IrType *t, double skew, int64_t top_k, float *gate) {
    int64_t tokens = t->dim[0], experts = t->dim[1], next = 0;
    memset(gate, 0, (size_t)(tokens * experts) * sizeof *gate);
    for (int64_t i = 0; i < tokens; i++) {
        bool heavy = floor((double)(i + 1) * skew) > floor((double)i * skew);
        int64_t first = 0;
        if (!heavy) first = skew > 0 && experts > 1 ? 1 + next++ % (experts - 1) : next++ % experts;
        for (int64_t j = 0; j < top_k; j++)
            gate[i * experts + (first + j) % experts] = (float)(top_k - j);
    }
}

void problem_fill(const Problem *p, const IrGraph *g, const IrNode *n, float *data) {
    if (strcmp(ir_str(n, ATTR_input_name), "gate") != 0)
        session_fill_input(g, n, 1, data);
    else if (p->kind == PROBLEM_expert_matmul)
        fill_gate(&n->out[0].type, problem_float(p, KEY_expert_matmul_skew),
                  INT(expert_matmul_top_k), data);
    else
        fill_gate(&n->out[0].type, problem_float(p, KEY_expert_matmul_dw_skew),
                  INT(expert_matmul_dw_top_k), data);
}
