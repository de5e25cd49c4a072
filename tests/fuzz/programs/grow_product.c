/* Products, attention and images, initialisers among them. */
#include "tests/fuzz/programs/gen.h"

#include <inttypes.h>
#include <string.h>

/* ---- initialisers ---------------------------------------------------------------------------- */

/* x, and a weight that starts so beside it. */
static Expr started(Gen *g, Expr x, const char *init) {
    if (g->body->quiet || (g->body->rows && x.shape.rank < 2)) return prog_none;
    const char *name = prog_name(g, "w");
    int64_t last = prog_last(&x.shape), out = prog_width(g, 1, 9);
    const char *more =
        prog_chance(g, 30) ? GEN_WORD(g, "decay = false", "same = true", "decay = true") : "";
    bool alone = init[strlen(init) - 1] == '(';
    const char *all = prog_text(g, "%s%s%s)", init, *more && !alone ? ", " : "", more);
    if (x.shape.rank >= 2) {
        prog_line(g, "param %s: [%s, %s] = %s", name, prog_int(g, last), prog_int(g, out), all);
        return prog_damp(g, prog_call(g, "project", x, prog_with_last(x.shape, out), name));
    }
    Shape s = SHAPE(1, last);
    prog_line(g, "param %s: %s = %s", name, prog_dims(g, &s), all);
    return prog_join(g, x, "+", prog_atom(prog_text(g, "reshape(%s, [-1])", name), x.shape));
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
    if (x.shape.rank < 2) return prog_none;
    int64_t last = prog_last(&x.shape), out = prog_width(g, 1, 20);
    if (prog_elems(&x.shape) / last * out > GEN_MOST) return prog_none;
    Expr w = prog_none;
    if (x.shape.rank >= 3 && !g->body->rows && prog_chance(g, 50)) {
        int r = x.shape.rank;
        Shape t = x.shape;
        t.dim[r - 2] = last;
        t.dim[r - 1] = x.shape.dim[r - 2];
        Text perm = text_new(g->arena);
        for (int i = 0; i < r; i++)
            text_addf(&perm, "%s%d", i ? ", " : "[", i == r - 2 ? r - 1 : i == r - 1 ? r - 2 : i);
        Expr y = prog_like(g, x.shape, 1);
        if (y.text) w = prog_atom(prog_text(g, "transpose(%s, %s])", y.text, perm.data), t);
        out = x.shape.dim[r - 2];
        if (prog_elems(&x.shape) / last * out > GEN_MOST) return prog_none;
    }
    if (!w.text) w = prog_weight(g, SHAPE(last, out));
    if (!w.text) return prog_none;
    return prog_damp(g, prog_call(g, "matmul", x, prog_with_last(x.shape, out), w.text));
}

Expr grow_project(Gen *g, Expr x) {
    if (x.shape.rank < 2) return prog_none;
    int64_t last = prog_last(&x.shape), out = prog_width(g, 1, 20);
    if (prog_elems(&x.shape) / last * out > GEN_MOST) return prog_none;
    Expr w = prog_weight(g, SHAPE(last, out));
    if (!w.text) return prog_none;
    const char *rest = w.text;
    if (prog_chance(g, 50)) rest = prog_text(g, "%s, %s", w.text, prog_weight(g, SHAPE(out)).text);
    return prog_damp(g, prog_call(g, "project", x, prog_with_last(x.shape, out), rest));
}

Expr grow_attention_core(Gen *g, Expr x) {
    if (x.shape.rank != 3) return prog_none;
    int64_t heads = prog_divisor(g, prog_last(&x.shape)), other = x.shape.dim[1];
    Shape t = x.shape;
    if (!g->body->rows && prog_chance(g, 30)) t.dim[1] = other = 1 + prog_below(g, 7);
    Expr k = prog_like(g, t, 1), v = prog_like(g, t, 1);
    if (!k.text || !v.text) return prog_none;
    const char *drop = prog_chance(g, 40) ? ", dropout = 0.25" : "";
    return prog_call(g, "attention_core", x, x.shape,
                     prog_text(g, "%s, %s, %s%s", k.text, v.text, prog_int(g, heads), drop));
}

Expr grow_patchify(Gen *g, Expr x) {
    if (x.shape.rank != 4) return prog_none;
    int64_t c = x.shape.dim[1], h = x.shape.dim[2], w = x.shape.dim[3], p = prog_divisor(g, h);
    if (w % p) p = 1;
    return prog_call(g, "patchify", x, SHAPE(x.shape.dim[0], h / p * (w / p), p * p * c),
                     prog_int(g, p));
}

/* ---- windows --------------------------------------------------------------------------------- */

typedef struct Window {
    int64_t kernel[2], stride, pad[4], out[2];
    const char *of_kernel, *of_pad;
} Window;

static bool choose_pad(Gen *g, Window *w, bool small) {
    int64_t a = prog_below(g, 2), b = prog_below(g, 2);
    for (int i = 0; i < 4; i++) w->pad[i] = 0;
    switch (prog_below(g, 6)) {
    case 0: w->of_pad = NULL; break;
    case 1: w->of_pad = "\"valid\""; break;
    case 2:
        w->of_pad = "\"same\"";
        for (int i = 0; i < 4; i++) w->pad[i] = (w->kernel[i % 2] - (i < 2)) / 2;
        break;
    case 3:
        for (int i = 0; i < 4; i++) w->pad[i] = a;
        w->of_pad = prog_int(g, a);
        break;
    case 4:
        for (int i = 0; i < 4; i++) w->pad[i] = i % 2 ? b : a;
        w->of_pad = prog_text(g, "[%" PRId64 ", %" PRId64 "]", a, b);
        break;
    default:
        for (int i = 0; i < 4; i++) w->pad[i] = prog_below(g, 3);
        w->of_pad = prog_text(g, "[%" PRId64 ", %" PRId64 ", %" PRId64 ", %" PRId64 "]", w->pad[0],
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
            w->kernel[i] = 1 + prog_below(g, s->dim[i + 1] < 4 ? s->dim[i + 1] : 4);
        if (prog_chance(g, 50)) w->kernel[1] = w->kernel[0];
        w->of_kernel =
            w->kernel[0] == w->kernel[1] && prog_chance(g, 70)
                ? prog_int(g, w->kernel[0])
                : prog_text(g, "[%s, %s]", prog_int(g, w->kernel[0]), prog_int(g, w->kernel[1]));
        w->stride = 1 + prog_below(g, 3);
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
    const char *stride = w->stride > 1 || prog_chance(g, 30) || w->of_pad
                             ? prog_text(g, ", %s", prog_int(g, w->stride))
                             : "";
    return prog_text(g, "%s%s%s", stride, w->of_pad ? ", pad = " : "", w->of_pad ? w->of_pad : "");
}

Expr grow_convolve(Gen *g, Expr x) {
    Window w;
    if (!is_images(g, &x) || !choose_window(g, &x.shape, false, &w)) return prog_none;
    int64_t c = prog_last(&x.shape), groups = prog_chance(g, 40) ? prog_divisor(g, c) : 1;
    int64_t out = groups * (1 + prog_below(g, 5));
    Shape k = groups > 1 ? SHAPE(groups, w.kernel[0], w.kernel[1], c / groups, out / groups)
                         : SHAPE(w.kernel[0], w.kernel[1], c, out);
    Expr weight = prog_weight(g, k);
    Shape s = SHAPE(x.shape.dim[0], w.out[0], w.out[1], out);
    if (!weight.text || prog_elems(&s) > GEN_MOST) return prog_none;
    const char *rest =
        prog_text(g, "%s%s%s", weight.text, window_rest(g, &w),
                  groups > 1 ? prog_text(g, ", groups = %s", prog_int(g, groups)) : "");
    return prog_damp(g, prog_call(g, "convolve", x, s, rest));
}

Expr grow_convolve_depthwise(Gen *g, Expr x) {
    Window w;
    if (!is_images(g, &x) || !choose_window(g, &x.shape, false, &w)) return prog_none;
    Expr weight = prog_weight(g, SHAPE(w.kernel[0], w.kernel[1], prog_last(&x.shape)));
    Shape s = SHAPE(x.shape.dim[0], w.out[0], w.out[1], prog_last(&x.shape));
    if (!weight.text || prog_elems(&s) > GEN_MOST) return prog_none;
    return prog_damp(g, prog_call(g, "convolve_depthwise", x, s,
                                  prog_text(g, "%s%s", weight.text, window_rest(g, &w))));
}

static Expr pooled(Gen *g, const char *name, Expr x, bool small) {
    Window w;
    if (!is_images(g, &x) || !choose_window(g, &x.shape, small, &w)) return prog_none;
    Shape s = SHAPE(x.shape.dim[0], w.out[0], w.out[1], prog_last(&x.shape));
    if (prog_elems(&s) > GEN_MOST) return prog_none;
    const char *pad = w.of_pad ? prog_text(g, ", pad = %s", w.of_pad) : ", pad = \"valid\"";
    return prog_call(g, name, x, s,
                     prog_text(g, "%s, stride = %s%s", w.of_kernel, prog_int(g, w.stride), pad));
}

Expr grow_window_max(Gen *g, Expr x) {
    return pooled(g, "window_max", x, true);
}

/* What it gives is used as numbers. */
Expr grow_window(Gen *g, Expr x) {
    Window w;
    if (!is_images(g, &x) || g->body->quiet || !choose_window(g, &x.shape, false, &w))
        return prog_none;
    const char *kh = prog_name(g, "n"), *kw = prog_name(g, "n"), *step = prog_name(g, "n"),
               *edge = prog_name(g, "n");
    prog_line(g, "%s, %s, %s, %s = window(%s, %s%s)", kh, kw, step, edge, x.text, w.of_kernel,
              window_rest(g, &w));
    const char *weight = prog_name(g, "w");
    prog_line(g, "param %s: [%s, %s, %s] = normal(0.4)", weight, kh, kw,
              prog_int(g, prog_last(&x.shape)));
    Shape s = SHAPE(x.shape.dim[0], w.out[0], w.out[1], prog_last(&x.shape));
    if (prog_elems(&s) > GEN_MOST) return x;
    return prog_damp(g, prog_call(g, "convolve_depthwise", x, s,
                                  prog_text(g, "%s, %s, %s", weight, step, edge)));
}

/* ---- the library's --------------------------------------------------------------------------- */

Expr library_conv2d(Gen *g, Expr x) {
    Window w;
    if (!is_images(g, &x) || g->body->quiet || !choose_window(g, &x.shape, false, &w))
        return prog_none;
    int64_t c = prog_last(&x.shape), groups = prog_chance(g, 30) ? prog_divisor(g, c) : 1;
    int64_t out = groups * (1 + prog_below(g, 6));
    Shape s = SHAPE(x.shape.dim[0], w.out[0], w.out[1], out);
    if (prog_elems(&s) > GEN_MOST) return prog_none;
    Text rest = text_new(g->arena);
    text_addf(&rest, "%s, %s, stride = %s, pad = %s", prog_int(g, out), w.of_kernel,
              prog_int(g, w.stride), w.of_pad ? w.of_pad : "\"valid\"");
    if (groups > 1) text_addf(&rest, ", groups = %s", prog_int(g, groups));
    if (prog_chance(g, 30))
        text_add(&rest, ", bias = false");
    else if (prog_chance(g, 30))
        text_addf(&rest, ", bias_init = %s", prog_init(g, false));
    if (prog_chance(g, 30)) text_addf(&rest, ", init = %s", prog_init(g, true));
    return prog_damp(g, prog_call(g, "conv2d", x, s, rest.data));
}

Expr library_depthwise(Gen *g, Expr x) {
    Window w;
    if (!is_images(g, &x) || g->body->quiet || !choose_window(g, &x.shape, false, &w))
        return prog_none;
    Shape s = SHAPE(x.shape.dim[0], w.out[0], w.out[1], prog_last(&x.shape));
    if (prog_elems(&s) > GEN_MOST) return prog_none;
    const char *bias = prog_chance(g, 30)   ? ", bias = false"
                       : prog_chance(g, 30) ? ", bias_init = ones()"
                                            : "";
    const char *init = prog_chance(g, 30) ? prog_text(g, ", init = %s", prog_init(g, true)) : "";
    return prog_damp(
        g, prog_call(g, "depthwise", x, s,
                     prog_text(g, "%s, %s, pad = %s%s%s", w.of_kernel, prog_int(g, w.stride),
                               w.of_pad ? w.of_pad : "\"valid\"", init, bias)));
}

Expr library_max_pool(Gen *g, Expr x) {
    return pooled(g, "max_pool", x, true);
}

Expr library_avg_pool(Gen *g, Expr x) {
    if (is_images(g, &x) && x.shape.dim[1] % 2 == 0 && x.shape.dim[2] % 2 == 0 &&
        prog_chance(g, 40))
        return prog_call(
            g, "avg_pool", x,
            SHAPE(x.shape.dim[0], x.shape.dim[1] / 2, x.shape.dim[2] / 2, prog_last(&x.shape)),
            "2");
    return pooled(g, "avg_pool", x, false);
}

Expr library_conv_start(Gen *g, Expr x) {
    if (!is_images(g, &x) || g->body->quiet) return prog_none;
    Shape k = SHAPE(1, 1, prog_last(&x.shape), prog_width(g, 1, 6));
    const char *w = prog_name(g, "w");
    prog_line(g, "param %s: %s = conv_start(%s, 1, %s)", w, prog_dims(g, &k), x.text,
              prog_int(g, k.dim[2]));
    return prog_call(g, "convolve", x, prog_with_last(x.shape, k.dim[3]), w);
}

Expr library_downsample(Gen *g, Expr x) {
    if (!is_images(g, &x) || g->body->quiet || x.shape.dim[1] < 2 || x.shape.dim[2] < 2 ||
        prog_last(&x.shape) < 4)
        return prog_none;
    int64_t out = prog_width(g, 2, 8);
    Shape s = SHAPE(x.shape.dim[0], x.shape.dim[1] / 2, x.shape.dim[2] / 2, out);
    const char *init = prog_chance(g, 30) ? ", init = he(), bias_init = zeros()" : "";
    return prog_call(g, "downsample", x, s, prog_text(g, "%s%s", prog_int(g, out), init));
}
