/* std/conv: layers against loops over their definition, in f64; what a mixture does with images and
 * with their pixels; how weights start. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "tests/std/util_std.h"

enum { B = 2, H = 6, W = 5, C = 4, MOST = 1024 };

static const RefTensor *tensor(const Interp *it, const IrGraph *g, OpCode op, const char *name) {
    IrNode *n = ir_find_leaf(g, op, name);
    cr_assert_not_null(n, "there is no %s", name);
    return interp_value(it, &n->out[0]);
}

/* ---- convolutions and poolings -------------------------------------------------------------- */

/* How a layer reads windows; groups 0: every channel by itself. */
typedef struct Window {
    int kh, kw, stride, top, left, bottom, right, groups, out;
} Window;

static int results(int size, int pad, int kernel, int stride) {
    return (size + pad - kernel) / stride + 1;
}

/* x [.., h, w, c], 0 outside of it. */
static double pixel(const double *x, int h, int w, int c) {
    return h < 0 || w < 0 || h >= H || w >= W ? 0 : x[(h * W + w) * C + c];
}

/* Result channel o at (y, x) of one image; weights [G][KH][KW][C / G][O / G], or [KH][KW][C]. */
static double one_result(const Window *k, const double *image, const double *weight, int y, int x,
                         int o) {
    double sum = 0;
    int groups = k->groups ? k->groups : C, in = C / groups, out = k->out / groups, g = o / out;
    for (int i = 0; i < k->kh; i++)
        for (int j = 0; j < k->kw; j++)
            for (int c = 0; c < in; c++) {
                int tap = k->groups ? ((g * k->kh + i) * k->kw + j) * in * out + c * out + o % out
                                    : (i * k->kw + j) * C + o;
                sum += weight[tap] * pixel(image, y * k->stride + i - k->top,
                                           x * k->stride + j - k->left, g * in + c);
            }
    return sum;
}

static int convolved(const Window *k, const double *image, const double *weight, const double *bias,
                     double *y) {
    int oh = results(H, k->top + k->bottom, k->kh, k->stride),
        ow = results(W, k->left + k->right, k->kw, k->stride), n = 0;
    for (int r = 0; r < oh; r++)
        for (int s = 0; s < ow; s++)
            for (int o = 0; o < k->out; o++)
                y[n++] = one_result(k, image, weight, r, s, o) + bias[o];
    return n;
}

/* A model that is y = layer of x. */
static Interp *run_layer(Arena *a, const char *layer, IrGraph **g) {
    const char *text = arena_printf(
        a, "use \"std/conv\"\nmodel m(x: f32[B, 6, 5, 4]) {\n  y = %s\n  metric size = sum(y)\n}\n",
        layer);
    *g = std_model(a, text, B);
    return std_run(a, *g, NULL, true);
}

static void check_conv(const char *layer, const Window *k) {
    Arena *a = arena_create();
    IrGraph *g;
    Interp *it = run_layer(a, layer, &g);
    const double *x = tensor(it, g, OP_input, "x")->data;
    double want[MOST];
    int n = 0;
    for (int b = 0; b < B; b++)
        n += convolved(k, x + b * H * W * C, tensor(it, g, OP_param, "m.y.weight")->data,
                       tensor(it, g, OP_param, "m.y.bias")->data, want + n);
    std_expect(it, "y", want, n);
    arena_destroy(a);
}

Test(conv, layers_follow_their_definition) {
    check_conv("conv2d(x, 8, 3)", &(Window){3, 3, 1, 1, 1, 1, 1, 1, 8});
    check_conv("conv2d(x, 3, [2, 4])", &(Window){2, 4, 1, 0, 1, 1, 2, 1, 3});
    check_conv("conv2d(x, 6, 1)", &(Window){1, 1, 1, 0, 0, 0, 0, 1, 6});
    check_conv("conv2d(x, 6, 1, stride = 2)", &(Window){1, 1, 2, 0, 0, 0, 0, 1, 6});
    check_conv("conv2d(x, 6, 1, pad = 1)", &(Window){1, 1, 1, 1, 1, 1, 1, 1, 6});
    check_conv("conv2d(x, 6, 3, stride = 2, groups = 2)", &(Window){3, 3, 2, 1, 1, 1, 1, 2, 6});
    check_conv("conv2d(x, 4, 3, pad = \"valid\", groups = 4)",
               &(Window){3, 3, 1, 0, 0, 0, 0, 4, 4});
    check_conv("conv2d(x, 5, [2, 1], stride = [2, 2], pad = [2, 1])",
               &(Window){2, 1, 2, 2, 1, 2, 1, 1, 5});
    check_conv("depthwise(x, 5)", &(Window){5, 5, 1, 2, 2, 2, 2, 0, C});
    check_conv("depthwise(x, [3, 2], stride = 2, pad = [0, 1, 2, 3])",
               &(Window){3, 2, 2, 0, 1, 2, 3, 0, C});
}

/* The largest or the mean of the window at (y, x); what lies outside counts for the mean as 0. */
static double pooled(const Window *k, bool mean, const double *image, int y, int x, int c) {
    double sum = 0, top = -INFINITY;
    for (int i = 0; i < k->kh; i++)
        for (int j = 0; j < k->kw; j++) {
            int h = y * k->stride + i - k->top, w = x * k->stride + j - k->left;
            sum += pixel(image, h, w, c);
            if (h >= 0 && w >= 0 && h < H && w < W) top = fmax(top, pixel(image, h, w, c));
        }
    return mean ? sum / (k->kh * k->kw) : top;
}

static void check_pool(const char *layer, bool mean, const Window *k) {
    Arena *a = arena_create();
    IrGraph *g;
    Interp *it = run_layer(a, layer, &g);
    const double *x = tensor(it, g, OP_input, "x")->data;
    double want[MOST];
    int n = 0;
    for (int b = 0; b < B; b++)
        for (int r = 0; r < results(H, k->top + k->bottom, k->kh, k->stride); r++)
            for (int s = 0; s < results(W, k->left + k->right, k->kw, k->stride); s++)
                for (int c = 0; c < C; c++) want[n++] = pooled(k, mean, x + b * H * W * C, r, s, c);
    std_expect(it, "y", want, n);
    arena_destroy(a);
}

Test(conv, poolings_follow_their_definition) {
    check_pool("max_pool(x, 2)", false, &(Window){2, 2, 2, 0, 0, 0, 0, 0, 0});
    check_pool("max_pool(x, 3, stride = 2, pad = 1)", false, &(Window){3, 3, 2, 1, 1, 1, 1, 0, 0});
    check_pool("max_pool(x, [2, 3], stride = 1, pad = \"same\")", false,
               &(Window){2, 3, 1, 0, 1, 1, 1, 0, 0});
    check_pool("avg_pool(x, 3, stride = 1, pad = 1)", true, &(Window){3, 3, 1, 1, 1, 1, 1, 0, 0});
    check_pool("avg_pool(x, [2, 1], stride = 1)", true, &(Window){2, 1, 1, 0, 0, 0, 0, 0, 0});
    check_pool("avg_pool(slice(x, 2, 0, 5), 1)", true, &(Window){1, 1, 1, 0, 0, 0, 0, 0, 0});
    check_pool("avg_pool(x, 2)", true, &(Window){2, 2, 2, 0, 0, 0, 0, 0, 0});
}

/* Windows that tile the image need no convolution. */
Test(conv, tiled_means_and_the_rest) {
    Arena *a = arena_create();
    IrGraph *g = std_model(a,
                           "use \"std/conv\"\nmodel m(image: f32[B, 2, 4, 6]) {\n"
                           "  x = channels_last(image)\n  tiles = avg_pool(x, 2)\n"
                           "  all = global_mean(x)\n  back = channels_first(x) - image\n"
                           "  metric a = sum(tiles)\n  metric b = sum(all)\n"
                           "  metric c = sum(back)\n}\n",
                           B);
    IR_FOR (n, g) cr_assert_neq(n->op, OP_depthwise);
    Interp *it = std_run(a, g, NULL, true);
    const double *x = tensor(it, g, OP_input, "image")->data;
    double tiles[B * 2 * 3 * 2] = {0}, all[B * 2] = {0}, back[B * 48] = {0};
    for (int b = 0; b < B; b++)
        for (int c = 0; c < 2; c++)
            for (int h = 0; h < 4; h++)
                for (int w = 0; w < 6; w++) {
                    double v = x[((b * 2 + c) * 4 + h) * 6 + w];
                    tiles[((b * 2 + h / 2) * 3 + w / 2) * 2 + c] += v / 4;
                    all[b * 2 + c] += v / 24;
                }
    std_expect(it, "tiles", tiles, B * 12);
    std_expect(it, "all", all, B * 2);
    std_expect(it, "back", back, B * 48);
    arena_destroy(a);
}

/* ---- samples -------------------------------------------------------------------------------- */

Test(conv, drop_path_takes_whole_samples) {
    enum { N = 64, D = 6 };
    Arena *a = arena_create();
    IrGraph *g = std_model(a,
                           "use \"std/conv\"\nmodel m(x: f32[B, 3, 1, 2]) {\n"
                           "  y = drop_path(x, 0.25)\n  metric size = sum(y)\n}\n",
                           N);
    Interp *it = std_run(a, g, NULL, true), *eval = std_run(a, g, NULL, false);
    const double *x = tensor(it, g, OP_input, "x")->data, *y = interp_out(it, "y")->data;
    int dropped = 0;
    for (int b = 0; b < N; b++) {
        bool gone = y[b * D] == 0;
        dropped += gone;
        for (int i = 0; i < D; i++)
            cr_assert_float_eq(y[b * D + i], gone ? 0 : x[b * D + i] / 0.75, 1e-12);
    }
    cr_assert(dropped > 4 && dropped < 32, "%d of %d", dropped, N);
    std_expect(eval, "y", x, N * D);
    arena_destroy(a);
}

/* ---- mixtures ------------------------------------------------------------------------------- */

/* Images choose among convolutions: what an image gets is what each of its experts makes of it. */
Test(conv, images_are_routed_to_convolutions) {
    enum { E = 3, O = 4, K = 2, N = 5, MADE = H * W * O };
    Arena *a = arena_create();
    IrGraph *g = std_model(
        a,
        "use \"std/conv\"\nlayer expert(x: [B, H, W, C]) -> [B, H, W, C] {\n"
        "  conv2d(x, C, 3) |> depthwise(3, bias = false)\n}\n"
        "model m(x: f32[B, 6, 5, 4]) {\n  gate = softmax(linear(global_mean(x), 3))\n"
        "  route = top_k(gate, 2)\n  y = dispatch(x, route) |> expert() |> combine(route)\n"
        "  metric size = sum(y)\n  metric chances = sum(gate)\n}\n",
        N);
    Interp *it = std_run(a, g, NULL, true);
    const double *x = tensor(it, g, OP_input, "x")->data, *gate = interp_out(it, "gate")->data;
    const double *route = interp_out(it, "route")->data;
    const double *w = tensor(it, g, OP_param, "m.y.conv2d.weight")->data,
                 *bias = tensor(it, g, OP_param, "m.y.conv2d.bias")->data,
                 *deep = tensor(it, g, OP_param, "m.y.depthwise.weight")->data;
    Window full = {3, 3, 1, 1, 1, 1, 1, 1, O}, apart = {3, 3, 1, 1, 1, 1, 1, 0, O};
    double want[N * MADE] = {0}, first[MADE], second[MADE], none[O] = {0};
    for (int b = 0; b < N; b++)
        for (int k = 0; k < K; k++) {
            int e = (int)route[b * K + k];
            convolved(&full, x + b * H * W * C, w + e * 9 * C * O, bias + e * O, first);
            convolved(&apart, first, deep + e * 9 * O, none, second);
            for (int i = 0; i < MADE; i++) want[b * MADE + i] += gate[b * E + e] * second[i];
        }
    std_expect(it, "y", want, N * MADE);
    arena_destroy(a);
}

/* Pixels are routed as tokens are: the same mixture of an image and of its pixels in a row. */
Test(conv, pixels_are_routed_behind_a_gate_of_one_pixel) {
    static const char *const mixture =
        "layer mixture(x: [.., C]) -> [.., C] {\n"
        "  h = linear_gate(x, 4)\n  noisy = vmoe_noise(h)\n"
        "  route = softmax_topk(noisy, 1) |> capacity(1, eval = 1, priority = \"max\")\n"
        "  aux importance(softmax(h)), weight = 0.005\n"
        "  aux load(h, noisy, 1, 1 / 4), weight = 0.005\n"
        "  dispatch(x, route) |> mlp(8) |> combine(route)\n}\n";
    Arena *a = arena_create();
    IrGraph *g[2];
    Interp *it[2];
    for (int i = 0; i < 2; i++) {
        const char *text =
            arena_printf(a,
                         "use \"std/conv\"\nuse \"std/moe\"\n%s"
                         "model m(x: f32[B, 6, 5, 4]) {\n  seen = %s\n  y = mixture(seen)\n"
                         "  loss mean(square(y) * seen)\n  metric size = sum(y)\n}\n",
                         mixture, i ? "reshape(x, [B, 30, 4])" : "x");
        g[i] = std_model(a, text, B);
        it[i] = std_run(a, g[i], NULL, true);
    }
    const RefTensor *y = interp_out(it[0], "y"), *rows = interp_out(it[1], "y");
    cr_assert_eq(y->type.rank, 4);
    int n = (int)ir_elems(&y->type);
    double least = INFINITY;
    for (int i = 0; i < n; i++) least = fmin(least, fabs(y->data[i]));
    cr_assert_eq(least, 0, "every expert had room for all");
    std_expect(it[1], "y", y->data, n);
    cr_assert_eq(rows->type.rank, 3);
    std_check(a, g[0], NULL);
    arena_destroy(a);
}

/* Gradients against differences, and everything compiled against the interpreter. */
Test(conv, layers_learn) {
    static const char *const layers[] = {
        "conv2d(x, 6, 3, stride = 2) |> conv2d(3, 1)",
        "conv2d(x, 6, [2, 3], groups = 2) |> max_pool(2, stride = 1)",
        "depthwise(x, 3) |> avg_pool(3, stride = 2, pad = 1) |> drop_path(0.3)",
        "dispatch(x, route) |> conv2d(4, 3, groups = 2) |> depthwise(3) |> max_pool(3, stride = 1, "
        "pad "
        "= 1) |> combine(route)",
        "dispatch(x, route) |> downsample(3) |> avg_pool(2, stride = 1) |> drop_path(0.3) |> "
        "combine(route)",
        "dispatch(x, route) |> conv2d(5, 1) |> norm() |> avg_pool([2, 1], stride = 1) |> "
        "combine(route)",
    };
    for (size_t i = 0; i < sizeof layers / sizeof layers[0]; i++) {
        Arena *a = arena_create();
        const char *text =
            arena_printf(a,
                         "use \"std/conv\"\nmodel m(x: f32[B, 4, 6, 4]) {\n"
                         "  gate = softmax(linear(global_mean(x), 3))\n  route = top_k(gate, 2)\n"
                         "  y = %s\n  loss mean(square(y))\n  metric chances = sum(gate)\n}\n",
                         layers[i]);
        std_check(a, std_model(a, text, 3), NULL);
        arena_destroy(a);
    }
}

/* ---- how weights start ---------------------------------------------------------------------- */

Test(conv, weights_start_by_what_they_see) {
    static const struct {
        const char *layer, *init;
    } row[] = {
        {"conv2d(x, 8, 3)", "uniform(0.16666666666666666)"},
        {"conv2d(x, 8, [3, 1], groups = 2)", "uniform(0.4082482904638631)"},
        {"conv2d(x, 8, 1)", "uniform(0.5)"},
        {"depthwise(x, [1, 4])", "uniform(0.5)"},
        {"downsample(x, 8)", "uniform(0.25)"},
        {"conv2d(x, 8, 3, init = he())", "he(36)"},
        {"conv2d(x, 8, 3, groups = 2, init = xavier())", "xavier(18,36)"},
        {"conv2d(x, 8, 1, init = he())", "he(4)"},
    };
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        Arena *a = arena_create();
        const char *text = arena_printf(
            a, "use \"std/conv\"\nmodel m(x: f32[B, 6, 6, 4]) {\n  y = %s\n  sum(y)\n}\n",
            row[i].layer);
        IrGraph *g = std_model(a, text, B);
        bool found = false;
        IR_FOR (n, g)
            found |= n->op == OP_param && !strcmp(ir_str(n, ATTR_param_init), row[i].init);
        cr_assert(found, "%s starts otherwise than %s", row[i].layer, row[i].init);
        arena_destroy(a);
    }
}
