/* Products, attention and images, initialisers among them. */
#include "tests/fuzz/programs/gen.h"

#include <inttypes.h>
#include <string.h>

/* ---- initialisers ---------------------------------------------------------------------------- */

/* x, and a weight that starts so beside it. */
static Expr started(Gen *g, Expr x, const char *init) {
    if (g->body->quiet || (g->body->rows && x.shape.rank < 2)) return gen_none;
    const char *name = gen_name(g, "w");
    int64_t last = gen_last(&x.shape), out = gen_width(g, 1, 9);
    const char *more =
        gen_chance(g, 30) ? GEN_WORD(g, "decay = false", "same = true", "decay = true") : "";
    bool alone = init[strlen(init) - 1] == '(';
    const char *all = gen_text(g, "%s%s%s)", init, *more && !alone ? ", " : "", more);
    if (x.shape.rank >= 2) {
        gen_line(g, "param %s: [%s, %s] = %s", name, gen_int(g, last), gen_int(g, out), all);
        return gen_damp(g, gen_call(g, "project", x, gen_with_last(x.shape, out), name));
    }
    Shape s = SHAPE(1, last);
    gen_line(g, "param %s: %s = %s", name, gen_dims(g, &s), all);
    return gen_join(g, x, "+", gen_atom(gen_text(g, "reshape(%s, [-1])", name), x.shape));
}

#define START(name, text)                                                                          \
    Expr grow_##name(Gen *g, Expr x) {                                                             \
        return started(g, x, text);                                                                \
    }
START(zeros, "zeros(")
START(ones, "ones(")
START(constant, "constant(0.25")
START(normal, "normal(0.4")
START(trunc_normal, "trunc_normal(0.5")
START(uniform, "uniform(0.6")
START(xavier, "xavier(")
START(he, "he(")

/* ---- products -------------------------------------------------------------------------------- */

/* With a weight, or with another tensor of equal leading dimensions. */
Expr grow_matmul(Gen *g, Expr x) {
    if (x.shape.rank < 2) return gen_none;
    int64_t last = gen_last(&x.shape), out = gen_width(g, 1, 20);
    if (gen_elems(&x.shape) / last * out > GEN_MOST) return gen_none;
    Expr w = gen_none;
    if (x.shape.rank >= 3 && !g->body->rows && gen_chance(g, 50)) {
        int r = x.shape.rank;
        Shape t = x.shape;
        t.dim[r - 2] = last;
        t.dim[r - 1] = x.shape.dim[r - 2];
        Text perm = text_new(g->arena);
        for (int i = 0; i < r; i++)
            text_addf(&perm, "%s%d", i ? ", " : "[", i == r - 2 ? r - 1 : i == r - 1 ? r - 2 : i);
        Expr y = gen_like(g, x.shape, 1);
        if (y.text) w = gen_atom(gen_text(g, "transpose(%s, %s])", y.text, perm.data), t);
        out = x.shape.dim[r - 2];
        if (gen_elems(&x.shape) / last * out > GEN_MOST) return gen_none;
    }
    if (!w.text) w = gen_weight(g, SHAPE(last, out));
    if (!w.text) return gen_none;
    return gen_damp(g, gen_call(g, "matmul", x, gen_with_last(x.shape, out), w.text));
}

Expr grow_project(Gen *g, Expr x) {
    if (x.shape.rank < 2) return gen_none;
    int64_t last = gen_last(&x.shape), out = gen_width(g, 1, 20);
    if (gen_elems(&x.shape) / last * out > GEN_MOST) return gen_none;
    Expr w = gen_weight(g, SHAPE(last, out));
    if (!w.text) return gen_none;
    const char *rest = w.text;
    if (gen_chance(g, 50)) rest = gen_text(g, "%s, %s", w.text, gen_weight(g, SHAPE(out)).text);
    return gen_damp(g, gen_call(g, "project", x, gen_with_last(x.shape, out), rest));
}

Expr grow_attention_core(Gen *g, Expr x) {
    if (x.shape.rank != 3) return gen_none;
    int64_t heads = gen_divisor(g, gen_last(&x.shape)), other = x.shape.dim[1];
    Shape t = x.shape;
    if (!g->body->rows && gen_chance(g, 30)) t.dim[1] = other = 1 + gen_below(g, 7);
    Expr k = gen_like(g, t, 1), v = gen_like(g, t, 1);
    if (!k.text || !v.text) return gen_none;
    const char *drop = gen_chance(g, 40) ? ", dropout = 0.25" : "";
    return gen_call(g, "attention_core", x, x.shape,
                    gen_text(g, "%s, %s, %s%s", k.text, v.text, gen_int(g, heads), drop));
}

Expr grow_patchify(Gen *g, Expr x) {
    if (x.shape.rank != 4) return gen_none;
    int64_t c = x.shape.dim[1], h = x.shape.dim[2], w = x.shape.dim[3], p = gen_divisor(g, h);
    if (w % p) p = 1;
    return gen_call(g, "patchify", x, SHAPE(x.shape.dim[0], h / p * (w / p), p * p * c),
                    gen_int(g, p));
}

/* ---- windows --------------------------------------------------------------------------------- */

typedef struct Window {
    int64_t kernel[2], stride, pad[4], out[2];
    const char *of_kernel, *of_pad;
} Window;

static bool choose_pad(Gen *g, Window *w, bool small) {
    int64_t a = gen_below(g, 2), b = gen_below(g, 2);
    for (int i = 0; i < 4; i++) w->pad[i] = 0;
    switch (gen_below(g, 6)) {
    case 0: w->of_pad = NULL; break;
    case 1: w->of_pad = "\"valid\""; break;
    case 2:
        w->of_pad = "\"same\"";
        for (int i = 0; i < 4; i++) w->pad[i] = (w->kernel[i % 2] - (i < 2)) / 2;
        break;
    case 3:
        for (int i = 0; i < 4; i++) w->pad[i] = a;
        w->of_pad = gen_int(g, a);
        break;
    case 4:
        for (int i = 0; i < 4; i++) w->pad[i] = i % 2 ? b : a;
        w->of_pad = gen_text(g, "[%" PRId64 ", %" PRId64 "]", a, b);
        break;
    default:
        for (int i = 0; i < 4; i++) w->pad[i] = gen_below(g, 3);
        w->of_pad = gen_text(g, "[%" PRId64 ", %" PRId64 ", %" PRId64 ", %" PRId64 "]", w->pad[0],
                             w->pad[1], w->pad[2], w->pad[3]);
    }
    for (int i = 0; i < 4 && small; i++)
        if (w->pad[i] >= w->kernel[i % 2]) return false;
    return true;
}

/* Over images [B, H, W, C]; small: padding stays below the kernel. */
static bool choose_window(Gen *g, const Shape *s, bool small, Window *w) {
    for (int tries = 0; tries < 8; tries++) {
        for (int i = 0; i < 2; i++)
            w->kernel[i] = 1 + gen_below(g, s->dim[i + 1] < 4 ? s->dim[i + 1] : 4);
        if (gen_chance(g, 50)) w->kernel[1] = w->kernel[0];
        w->of_kernel =
            w->kernel[0] == w->kernel[1] && gen_chance(g, 70)
                ? gen_int(g, w->kernel[0])
                : gen_text(g, "[%s, %s]", gen_int(g, w->kernel[0]), gen_int(g, w->kernel[1]));
        w->stride = 1 + gen_below(g, 3);
        if (!choose_pad(g, w, small)) continue;
        bool fits = true;
        for (int i = 0; i < 2; i++) {
            int64_t room = s->dim[i + 1] + w->pad[i] + w->pad[i + 2] - w->kernel[i];
            fits = fits && room >= 0;
            w->out[i] = room / w->stride + 1;
        }
        if (fits) return true;
    }
    return false;
}

/* The input has its channels first, which convolutions notice. */
static bool is_images(const Gen *g, const Expr *x) {
    const int64_t *d = x->shape.dim;
    bool turned = d[1] == g->channels && d[2] == g->height && d[3] == g->width && d[1] <= 4;
    return x->shape.rank == 4 && d[1] * d[2] > 1 && !turned;
}

static const char *window_rest(Gen *g, const Window *w) {
    const char *stride = w->stride > 1 || gen_chance(g, 30) || w->of_pad
                             ? gen_text(g, ", %s", gen_int(g, w->stride))
                             : "";
    return gen_text(g, "%s%s%s", stride, w->of_pad ? ", pad = " : "", w->of_pad ? w->of_pad : "");
}

Expr grow_convolve(Gen *g, Expr x) {
    Window w;
    if (!is_images(g, &x) || !choose_window(g, &x.shape, false, &w)) return gen_none;
    int64_t c = gen_last(&x.shape), groups = gen_chance(g, 40) ? gen_divisor(g, c) : 1;
    int64_t out = groups * (1 + gen_below(g, 5));
    Shape k = groups > 1 ? SHAPE(groups, w.kernel[0], w.kernel[1], c / groups, out / groups)
                         : SHAPE(w.kernel[0], w.kernel[1], c, out);
    Expr weight = gen_weight(g, k);
    Shape s = SHAPE(x.shape.dim[0], w.out[0], w.out[1], out);
    if (!weight.text || gen_elems(&s) > GEN_MOST) return gen_none;
    const char *rest = gen_text(g, "%s%s%s", weight.text, window_rest(g, &w),
                                groups > 1 ? gen_text(g, ", groups = %s", gen_int(g, groups)) : "");
    return gen_damp(g, gen_call(g, "convolve", x, s, rest));
}

Expr grow_convolve_depthwise(Gen *g, Expr x) {
    Window w;
    if (!is_images(g, &x) || !choose_window(g, &x.shape, false, &w)) return gen_none;
    Expr weight = gen_weight(g, SHAPE(w.kernel[0], w.kernel[1], gen_last(&x.shape)));
    Shape s = SHAPE(x.shape.dim[0], w.out[0], w.out[1], gen_last(&x.shape));
    if (!weight.text || gen_elems(&s) > GEN_MOST) return gen_none;
    return gen_damp(g, gen_call(g, "convolve_depthwise", x, s,
                                gen_text(g, "%s%s", weight.text, window_rest(g, &w))));
}

static Expr pooled(Gen *g, const char *name, Expr x, bool small) {
    Window w;
    if (!is_images(g, &x) || !choose_window(g, &x.shape, small, &w)) return gen_none;
    Shape s = SHAPE(x.shape.dim[0], w.out[0], w.out[1], gen_last(&x.shape));
    if (gen_elems(&s) > GEN_MOST) return gen_none;
    const char *pad = w.of_pad ? gen_text(g, ", pad = %s", w.of_pad) : ", pad = \"valid\"";
    return gen_call(g, name, x, s,
                    gen_text(g, "%s, stride = %s%s", w.of_kernel, gen_int(g, w.stride), pad));
}

Expr grow_window_max(Gen *g, Expr x) {
    return pooled(g, "window_max", x, true);
}

/* What it gives is used as numbers. */
Expr grow_window(Gen *g, Expr x) {
    Window w;
    if (!is_images(g, &x) || g->body->quiet || !choose_window(g, &x.shape, false, &w))
        return gen_none;
    const char *kh = gen_name(g, "n"), *kw = gen_name(g, "n"), *step = gen_name(g, "n"),
               *edge = gen_name(g, "n");
    gen_line(g, "%s, %s, %s, %s = window(%s, %s%s)", kh, kw, step, edge, x.text, w.of_kernel,
             window_rest(g, &w));
    const char *weight = gen_name(g, "w");
    gen_line(g, "param %s: [%s, %s, %s] = normal(0.4)", weight, kh, kw,
             gen_int(g, gen_last(&x.shape)));
    Shape s = SHAPE(x.shape.dim[0], w.out[0], w.out[1], gen_last(&x.shape));
    if (gen_elems(&s) > GEN_MOST) return x;
    return gen_damp(
        g, gen_call(g, "convolve_depthwise", x, s, gen_text(g, "%s, %s, %s", weight, step, edge)));
}

/* ---- the library's --------------------------------------------------------------------------- */

Expr library_conv2d(Gen *g, Expr x) {
    Window w;
    if (!is_images(g, &x) || g->body->quiet || !choose_window(g, &x.shape, false, &w))
        return gen_none;
    int64_t c = gen_last(&x.shape), groups = gen_chance(g, 30) ? gen_divisor(g, c) : 1;
    int64_t out = groups * (1 + gen_below(g, 6));
    Shape s = SHAPE(x.shape.dim[0], w.out[0], w.out[1], out);
    if (gen_elems(&s) > GEN_MOST) return gen_none;
    Text rest = text_new(g->arena);
    text_addf(&rest, "%s, %s, stride = %s, pad = %s", gen_int(g, out), w.of_kernel,
              gen_int(g, w.stride), w.of_pad ? w.of_pad : "\"valid\"");
    if (groups > 1) text_addf(&rest, ", groups = %s", gen_int(g, groups));
    if (gen_chance(g, 30))
        text_add(&rest, ", bias = false");
    else if (gen_chance(g, 30))
        text_addf(&rest, ", bias_init = %s", gen_init(g, false));
    if (gen_chance(g, 30)) text_addf(&rest, ", init = %s", gen_init(g, true));
    return gen_damp(g, gen_call(g, "conv2d", x, s, rest.data));
}

Expr library_depthwise(Gen *g, Expr x) {
    Window w;
    if (!is_images(g, &x) || g->body->quiet || !choose_window(g, &x.shape, false, &w))
        return gen_none;
    Shape s = SHAPE(x.shape.dim[0], w.out[0], w.out[1], gen_last(&x.shape));
    if (gen_elems(&s) > GEN_MOST) return gen_none;
    const char *bias = gen_chance(g, 30)   ? ", bias = false"
                       : gen_chance(g, 30) ? ", bias_init = ones()"
                                           : "";
    const char *init = gen_chance(g, 30) ? gen_text(g, ", init = %s", gen_init(g, true)) : "";
    return gen_damp(g,
                    gen_call(g, "depthwise", x, s,
                             gen_text(g, "%s, %s, pad = %s%s%s", w.of_kernel, gen_int(g, w.stride),
                                      w.of_pad ? w.of_pad : "\"valid\"", init, bias)));
}

Expr library_max_pool(Gen *g, Expr x) {
    return pooled(g, "max_pool", x, true);
}

Expr library_avg_pool(Gen *g, Expr x) {
    if (is_images(g, &x) && x.shape.dim[1] % 2 == 0 && x.shape.dim[2] % 2 == 0 && gen_chance(g, 40))
        return gen_call(
            g, "avg_pool", x,
            SHAPE(x.shape.dim[0], x.shape.dim[1] / 2, x.shape.dim[2] / 2, gen_last(&x.shape)), "2");
    return pooled(g, "avg_pool", x, false);
}

Expr library_conv_start(Gen *g, Expr x) {
    if (!is_images(g, &x) || g->body->quiet) return gen_none;
    Shape k = SHAPE(1, 1, gen_last(&x.shape), gen_width(g, 1, 6));
    const char *w = gen_name(g, "w");
    gen_line(g, "param %s: %s = conv_start(%s, 1, %s)", w, gen_dims(g, &k), x.text,
             gen_int(g, k.dim[2]));
    return gen_call(g, "convolve", x, gen_with_last(x.shape, k.dim[3]), w);
}

Expr library_downsample(Gen *g, Expr x) {
    if (!is_images(g, &x) || g->body->quiet || x.shape.dim[1] < 2 || x.shape.dim[2] < 2 ||
        gen_last(&x.shape) < 4)
        return gen_none;
    int64_t out = gen_width(g, 2, 8);
    Shape s = SHAPE(x.shape.dim[0], x.shape.dim[1] / 2, x.shape.dim[2] / 2, out);
    const char *init = gen_chance(g, 30) ? ", init = he(), bias_init = zeros()" : "";
    return gen_call(g, "downsample", x, s, gen_text(g, "%s%s", gen_int(g, out), init));
}
