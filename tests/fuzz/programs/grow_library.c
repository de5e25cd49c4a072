/* Layers of the library over tokens, rows and images; those of windows are in grow_product.c, those
 * of routing in grow_gate.c. */
#include "tests/fuzz/programs/gen.h"

#include <inttypes.h>

/* Three dimensions: images of tokens. */
static bool is_tokens(const Expr *x) {
    return x->shape.rank == 3;
}

static bool is_images(const Expr *x) {
    return x->shape.rank == 4;
}

/* A layer that makes weights cannot stand in an update. */
static bool can(const Gen *g) {
    return !g->body->quiet;
}

static const char *maybe(Gen *g, int percent, const char *text) {
    return prog_chance(g, percent) ? text : "";
}

static const char *starts(Gen *g) {
    if (prog_chance(g, 60)) return "";
    const char *init = prog_init(g, true), *bias = prog_init(g, false);
    return prog_chance(g, 50) ? prog_text(g, ", init = %s", init)
                              : prog_text(g, ", init = %s, bias_init = %s", init, bias);
}

static Expr same(Gen *g, const char *name, Expr x, const char *rest) {
    return can(g) ? prog_call(g, name, x, x.shape, rest) : prog_none;
}

/* ---- core ------------------------------------------------------------------------------------ */

Expr library_linear(Gen *g, Expr x) {
    if (!can(g) || x.shape.rank < 2) return prog_none;
    int64_t out = prog_width(g, 1, 22);
    if (prog_elems(&x.shape) / prog_last(&x.shape) * out > GEN_MOST) return prog_none;
    const char *bias = maybe(g, 20, ", bias = false");
    return prog_damp(
        g, prog_call(g, "linear", x, prog_with_last(x.shape, out),
                     prog_text(g, "%s%s%s", prog_int(g, out), bias, *bias ? "" : starts(g))));
}

Expr library_norm(Gen *g, Expr x) {
    if (prog_last(&x.shape) < 4) return prog_none;
    return same(g, "norm", x, GEN_WORD(g, "0.01", "eps = 0.01", "0.01, decay = false"));
}

Expr library_rms_norm(Gen *g, Expr x) {
    if (prog_last(&x.shape) < 3) return prog_none;
    return same(g, "rms_norm", x, GEN_WORD(g, "0.01", "eps = 0.01", "0.01, decay = false"));
}

Expr library_logsumexp(Gen *g, Expr x) {
    if (x.shape.rank < 2 || prog_chance(g, 50))
        return prog_join(g, x, "-",
                         prog_call(g, "logsumexp", x, prog_with_last(x.shape, 1), "keep = true"));
    return prog_call(g, "logsumexp", x, prog_without(x.shape, x.shape.rank - 1), NULL);
}

Expr library_variance(Gen *g, Expr x) {
    if (x.shape.rank < 2 || prog_last(&x.shape) < 2) return prog_none;
    if (g->body->rows || prog_chance(g, 60))
        return prog_damp(g, prog_call(g, "variance", x, prog_without(x.shape, x.shape.rank - 1),
                                      GEN_WORD(g, "-1", "axis = -1")));
    return prog_damp(
        g, prog_call(g, "variance", x, prog_without(prog_without(x.shape, 1), 0), "[0, 1]"));
}

Expr library_position(Gen *g, Expr x) {
    return is_tokens(&x)
               ? same(g, "position", x, GEN_WORD(g, "init = normal(0.3)", "trunc_normal(0.2)"))
               : prog_none;
}

/* ---- vit and encoder ------------------------------------------------------------------------- */

Expr library_patch_embed(Gen *g, Expr x) {
    if (!is_images(&x) || !can(g)) return prog_none;
    int64_t c = x.shape.dim[1], h = x.shape.dim[2], w = x.shape.dim[3], p = prog_divisor(g, h);
    if (w % p) p = 1;
    int64_t out = prog_width(g, 3, 16), n = h / p * (w / p);
    if (p * p * c > 256 || n * out * x.shape.dim[0] > GEN_MOST) return prog_none;
    return prog_call(g, "patch_embed", x, SHAPE(x.shape.dim[0], n, out),
                     prog_text(g, "%s, %s%s", prog_int(g, p), prog_int(g, out), starts(g)));
}

Expr library_sincos_position(Gen *g, Expr x) {
    if (!is_tokens(&x) || prog_last(&x.shape) % 4) return prog_none;
    int64_t rows = prog_divisor(g, x.shape.dim[1]);
    return prog_call(
        g, "sincos_position", x, x.shape,
        prog_text(g, "%s, cols = %s", prog_int(g, rows), prog_int(g, x.shape.dim[1] / rows)));
}

Expr library_class_token(Gen *g, Expr x) {
    if (!is_tokens(&x) || !can(g) || g->body->rows) return prog_none;
    Shape s = x.shape;
    s.dim[1]++;
    return prog_call(g, "class_token", x, s, prog_chance(g, 50) ? "init = normal(0.5)" : NULL);
}

Expr library_attention(Gen *g, Expr x) {
    if (!is_tokens(&x)) return prog_none;
    int64_t heads = prog_divisor(g, prog_last(&x.shape));
    return same(
        g, "attention", x,
        prog_text(g, "%s%s%s", prog_int(g, heads), maybe(g, 40, ", dropout = 0.25"), starts(g)));
}

Expr library_layer_scale(Gen *g, Expr x) {
    return same(g, "layer_scale", x, GEN_WORD(g, "0.75", "start = 0.5", "0.5, decay = false"));
}

Expr library_gelu_tanh(Gen *g, Expr x) {
    return prog_call(g, "gelu_tanh", x, x.shape, NULL);
}

Expr library_mlp(Gen *g, Expr x) {
    if (x.shape.rank < 2) return prog_none;
    return same(g, "mlp", x,
                prog_text(g, "%s%s%s%s", prog_int(g, prog_width(g, 2, 21)),
                          maybe(g, 40, ", dropout = 0.1"), starts(g),
                          prog_chance(g, 30) ? ", activation = \"gelu_tanh\""
                                             : maybe(g, 20, ", activation = \"gelu\"")));
}

Expr library_dense(Gen *g, Expr x) {
    if (x.shape.rank < 2 || !can(g)) return prog_none;
    int64_t out = prog_width(g, 1, 16);
    if (prog_elems(&x.shape) / prog_last(&x.shape) * out > GEN_MOST) return prog_none;
    return prog_call(g, "dense", x, prog_with_last(x.shape, out), prog_int(g, out));
}

Expr library_self_attention(Gen *g, Expr x) {
    if (!is_tokens(&x)) return prog_none;
    int64_t heads = prog_divisor(g, prog_last(&x.shape));
    return same(g, "self_attention", x,
                prog_text(g, "%s, dropout = %s", prog_int(g, heads), GEN_WORD(g, "0", "0.25")));
}

Expr library_encoder_layer(Gen *g, Expr x) {
    if (!is_tokens(&x) || prog_last(&x.shape) < 4) return prog_none;
    int64_t heads = prog_divisor(g, prog_last(&x.shape));
    return same(g, "encoder_layer", x,
                prog_text(g, "%s, hidden = %s%s", prog_int(g, heads),
                          prog_int(g, prog_width(g, 2, 18)), maybe(g, 50, ", dropout = 0.2")));
}

/* ---- images ---------------------------------------------------------------------------------- */

Expr library_channels_last(Gen *g, Expr x) {
    const int64_t *d = x.shape.dim;
    return is_images(&x) ? prog_call(g, "channels_last", x, SHAPE(d[0], d[2], d[3], d[1]), NULL)
                         : prog_none;
}

Expr library_channels_first(Gen *g, Expr x) {
    const int64_t *d = x.shape.dim;
    return is_images(&x) ? prog_call(g, "channels_first", x, SHAPE(d[0], d[3], d[1], d[2]), NULL)
                         : prog_none;
}

Expr library_global_mean(Gen *g, Expr x) {
    return is_images(&x)
               ? prog_call(g, "global_mean", x, SHAPE(x.shape.dim[0], prog_last(&x.shape)), NULL)
               : prog_none;
}

Expr library_drop_path(Gen *g, Expr x) {
    return prog_call(g, "drop_path", x, x.shape, GEN_WORD(g, "0.1", "q = 0.25", "0.5"));
}

/* Times a weight: a loss that depends on states alone is an error. */
static Expr learned(Gen *g, Expr x) {
    if (!x.text) return x;
    Expr w = prog_weight(g, SHAPE(prog_last(&x.shape)));
    return prog_join(g, x, "*", w);
}

Expr library_batch_norm(Gen *g, Expr x) {
    if (prog_elems(&x.shape) / prog_last(&x.shape) < 4 || g->body->rows) return prog_none;
    return learned(g, same(g, "batch_norm", x,
                           GEN_WORD(g, "eps = 0.01", "0.2, eps = 0.01",
                                    "eps = 0.01, affine = false", "momentum = 0.5, eps = 0.02")));
}

/* ---- mixtures -------------------------------------------------------------------------------- */

static bool wide(const Gen *g, const Expr *x) {
    return can(g) && !g->body->rows && x->shape.rank >= 2 && prog_last(&x->shape) >= 2;
}

static Expr beside(Gen *g, Expr x, const char *name, const char *rest) {
    Expr y = prog_call(g, name, x, x.shape, rest);
    return prog_chance(g, 70) ? prog_join(g, x, "+", y) : y;
}

Expr library_moe_mlp(Gen *g, Expr x) {
    if (!wide(g, &x)) return prog_none;
    int64_t experts = 2 + prog_below(g, 4), k = 1 + prog_below(g, experts);
    const char *named = prog_text(g, "experts = %s, top_k = %s, hidden = %s", prog_int(g, experts),
                                  prog_int(g, k), prog_int(g, prog_width(g, 2, 13)));
    return beside(g, x, "moe_mlp",
                  prog_text(g, "%s%s%s", named, maybe(g, 40, ", balance = 0"),
                            maybe(g, 40, ", gate_bias = true")));
}

Expr library_moe_mlp_renormalised(Gen *g, Expr x) {
    if (!wide(g, &x)) return prog_none;
    int64_t experts = 2 + prog_below(g, 4), k = 2 + prog_below(g, experts - 1);
    return beside(g, x, "moe_mlp_renormalised",
                  prog_text(g, "%s, %s, %s", prog_int(g, experts), prog_int(g, k),
                            prog_int(g, prog_width(g, 2, 13))));
}

Expr library_vmoe_mlp(Gen *g, Expr x) {
    if (!wide(g, &x) || !is_tokens(&x)) return prog_none;
    int64_t experts = 2 + prog_below(g, 4), k = 1 + prog_below(g, experts);
    Text t = text_new(g->arena);
    text_addf(&t, "%s, %s, %s", prog_int(g, experts), prog_int(g, k),
              prog_int(g, prog_width(g, 2, 13)));
    if (prog_chance(g, 50)) text_add(&t, ", capacity = 1.5");
    if (prog_chance(g, 40)) text_add(&t, ", eval = 2");
    if (prog_chance(g, 60)) text_addf(&t, ", priority = \"%s\"", GEN_WORD(g, "max", "sum", "none"));
    if (prog_chance(g, 40)) text_addf(&t, ", groups = %s", prog_int(g, x.shape.dim[0]));
    if (prog_chance(g, 30)) text_add(&t, ", dropout = 0.1");
    text_add(&t, starts(g));
    if (prog_chance(g, 30)) text_add(&t, ", activation = \"gelu_tanh\"");
    if (prog_chance(g, 30)) text_add(&t, ", gate_init = normal(0.5)");
    return beside(g, x, "vmoe_mlp", t.data);
}

Expr library_soft_moe(Gen *g, Expr x) {
    if (!wide(g, &x) || !is_tokens(&x)) return prog_none;
    return beside(g, x, "soft_moe",
                  prog_text(g, "%s, slots = %s, hidden = %s", prog_int(g, 2 + prog_below(g, 3)),
                            prog_int(g, 1 + prog_below(g, 3)), prog_int(g, prog_width(g, 2, 10))));
}

Expr library_glu(Gen *g, Expr x) {
    if (x.shape.rank < 2) return prog_none;
    return same(g, "glu", x, prog_text(g, "%s", prog_int(g, prog_width(g, 2, 15))));
}

Expr library_mixed_projection(Gen *g, Expr x) {
    if (!wide(g, &x) || !is_tokens(&x)) return prog_none;
    int64_t experts = 2 + prog_below(g, 4), k = 1 + prog_below(g, experts),
            out = prog_width(g, 1, 12);
    Expr by = prog_like(g, x.shape, 1);
    if (!by.text) return prog_none;
    return prog_call(g, "mixed_projection", x, prog_with_last(x.shape, out),
                     prog_text(g, "%s, %s, experts = %s, k = %s", by.text, prog_int(g, out),
                               prog_int(g, experts), prog_int(g, k)));
}

Expr library_switch_head(Gen *g, Expr x) {
    if (!wide(g, &x) || !is_tokens(&x)) return prog_none;
    int64_t heads = prog_divisor(g, prog_last(&x.shape));
    if (heads > 3) heads = 1;
    return beside(g, x, "switch_head",
                  prog_text(g, "%s, %s, %s%s", prog_int(g, heads),
                            prog_int(g, 2 + prog_below(g, 2)), prog_int(g, 1 + prog_below(g, 2)),
                            prog_chance(g, 40) ? ", width = 3" : ""));
}
