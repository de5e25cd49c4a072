/* The library's gates, routers and losses of routing, and the functions they are made of. A router
 * becomes a whole mixture; a loss stands beside x. */
#include "tests/fuzz/programs/gen.h"

#include <inttypes.h>

static bool can(const Gen *g) {
    return !g->body->quiet && !g->body->rows;
}

/* ---- gates ----------------------------------------------------------------------------------- */

static Expr gate(Gen *g, const char *name, Expr x, const char *more) {
    if (!can(g) || x.shape.rank < 2) return prog_none;
    int64_t experts = 2 + prog_below(g, 5);
    return prog_damp(g, prog_call(g, name, x, prog_with_last(x.shape, experts),
                                  prog_text(g, "%s%s", prog_int(g, experts), more)));
}

Expr library_linear_gate(Gen *g, Expr x) {
    return gate(g, "linear_gate", x, GEN_WORD(g, "", ", bias = true", ", init = normal(0.5)"));
}

Expr library_cosine_gate(Gen *g, Expr x) {
    return gate(g, "cosine_gate", x,
                prog_text(g, ", width = %s", prog_int(g, prog_width(g, 2, 10))));
}

Expr library_l2_gate(Gen *g, Expr x) {
    return gate(g, "l2_gate", x, prog_text(g, ", %s", prog_int(g, prog_width(g, 2, 10))));
}

Expr library_shazeer_gate(Gen *g, Expr x) {
    if (!can(g) || x.shape.rank < 2) return prog_none;
    int64_t experts = 2 + prog_below(g, 4);
    const char *h = prog_name(g, "h"), *noisy = prog_name(g, "h"), *sigma = prog_name(g, "h");
    prog_line(g, "%s, %s, %s = shazeer_gate(%s, %s%s)", h, noisy, sigma, x.text,
              prog_int(g, experts), prog_chance(g, 40) ? ", eps = 0.1" : "");
    return prog_atom(prog_text(g, "(%s + tanh(%s) * %s)", h, noisy, sigma),
                     prog_with_last(x.shape, experts));
}

Expr library_temperature(Gen *g, Expr x) {
    if (!can(g)) return prog_none;
    return prog_damp(g, prog_join(g, x, "*", prog_atom("temperature()", x.shape)));
}

Expr library_squared_distances(Gen *g, Expr x) {
    if (!can(g) || x.shape.rank < 2) return prog_none;
    int64_t n = prog_width(g, 1, 6);
    Expr w = prog_weight(g, SHAPE(prog_last(&x.shape), n));
    return prog_damp(g, prog_call(g, "squared_distances", x, prog_with_last(x.shape, n), w.text));
}

Expr library_vmoe_noise(Gen *g, Expr x) {
    return prog_call(g, "vmoe_noise", x, x.shape, prog_chance(g, 50) ? "scale = 0.5" : NULL);
}

Expr library_jitter(Gen *g, Expr x) {
    return prog_call(g, "jitter", x, x.shape, prog_chance(g, 50) ? "eps = 0.1" : NULL);
}

Expr library_gumbel(Gen *g, Expr x) {
    return prog_call(g, "gumbel", x, x.shape, GEN_WORD(g, "0.25", "c = 0.125"));
}

Expr library_expert_dropout(Gen *g, Expr x) {
    if (g->body->rows) return prog_none;
    Expr h = prog_call(g, "expert_dropout", x, x.shape, GEN_WORD(g, "0.25", "rate = 0.5"));
    return prog_call(g, "softmax", h, x.shape, NULL);
}

/* ---- mixtures -------------------------------------------------------------------------------- */

Expr grow_form_mixture(Gen *g, Expr x) {
    if (!can(g) || x.shape.rank < 2) return prog_none;
    bool images = x.shape.rank >= 3 && prog_chance(g, 40);
    GenRoute r = prog_route(g, x, images);
    return r.text ? prog_mixture(g, x, &r) : prog_none;
}

/* A mixture over the route that this text makes of a gate's values. */
static Expr mixture(Gen *g, Expr x, int64_t experts, int64_t k, const char *before,
                    const char *after) {
    if (!can(g) || x.shape.rank < 2) return prog_none;
    if (!x.atom) x = prog_bind(g, x);
    Expr h = prog_bind(g, prog_atom(prog_text(g, "linear(%s, %s, init = normal(0.6))", x.text,
                                              prog_int(g, experts)),
                                    prog_with_last(x.shape, experts)));
    GenRoute r = {.text = prog_name(g, "route"),
                  .gate = h.text,
                  .experts = experts,
                  .k = k,
                  .lead = x.shape.dim[0]};
    r.rows = prog_elems(&x.shape) / prog_last(&x.shape);
    prog_line(g, "%s = %s%s%s", r.text, before, h.text, after);
    return prog_mixture(g, x, &r);
}

#define CHOOSES(name, before, between, after)                                                      \
    Expr name(Gen *g, Expr x) {                                                                    \
        int64_t experts = 2 + prog_below(g, 4), k = 1 + prog_below(g, 2);                          \
        return mixture(g, x, experts, k, before,                                                   \
                       prog_text(g, "%s%s%s", between, prog_int(g, k), after));                    \
    }
CHOOSES(grow_top_k, "top_k(softmax(", "), ", ")")
CHOOSES(library_topk_softmax, "topk_softmax(", ", ", ")")
CHOOSES(library_softmax_topk, "softmax_topk(", ", k = ", ")")
CHOOSES(library_softmax_topk_renorm, "softmax_topk_renorm(", ", ", ", eps = 1e-3)")
CHOOSES(library_sigmoid_topk, "sigmoid_topk(", ", ", ")")
CHOOSES(library_sigmoid_topk_renorm, "sigmoid_topk_renorm(", ", ", ", eps = 1e-3)")

Expr library_hierarchical_topk(Gen *g, Expr x) {
    if (!can(g) || x.shape.rank < 2) return prog_none;
    if (!x.atom) x = prog_bind(g, x);
    int64_t parts = 2, each = 1 + prog_below(g, 3), few = 1 + prog_below(g, 2),
            k = 1 + prog_below(g, each);
    Expr outer = prog_bind(g, prog_atom(prog_text(g, "linear(%s, %s)", x.text, prog_int(g, parts)),
                                        prog_with_last(x.shape, parts)));
    return mixture(g, x, parts * each, few * k, prog_text(g, "hierarchical_topk(%s, ", outer.text),
                   prog_text(g, ", %s, %s)", prog_int(g, few), prog_int(g, k)));
}

static Expr mixture_of_all(Gen *g, Expr x, const char *before, const char *after) {
    int64_t experts = 2 + prog_below(g, 3);
    return mixture(g, x, experts, experts, before, after);
}

Expr grow_all_experts(Gen *g, Expr x) {
    return mixture_of_all(g, x, "all_experts(sigmoid(", "))");
}

Expr library_softmax_all(Gen *g, Expr x) {
    return mixture_of_all(g, x, "softmax_all(", ")");
}

Expr grow_expert_choice(Gen *g, Expr x) {
    const char *groups = x.shape.rank >= 3 && prog_chance(g, 50)
                             ? prog_text(g, ", groups = %s", prog_int(g, x.shape.dim[0]))
                             : "";
    return mixture(g, x, 2 + prog_below(g, 4), 0, "expert_choice(softmax(",
                   prog_text(g, ")%s%s)", prog_chance(g, 50) ? ", factor = 1.5" : "", groups));
}

Expr grow_priority_choice(Gen *g, Expr x) {
    const char *groups = x.shape.rank >= 3 && prog_chance(g, 50)
                             ? prog_text(g, ", groups = %s", prog_int(g, x.shape.dim[0]))
                             : "";
    return mixture(g, x, 2 + prog_below(g, 4), 1, "priority_choice(softmax(",
                   prog_text(g, ")%s%s)", prog_chance(g, 50) ? ", 1.25" : "", groups));
}

static const char *made_route(Gen *g, int64_t k) {
    return prog_text(g, "), %s)", prog_int(g, k));
}

Expr grow_capacity(Gen *g, Expr x) {
    int64_t experts = 2 + prog_below(g, 4), k = 1 + prog_below(g, 2);
    Text t = text_new(g->arena);
    text_addf(&t, "%s |> capacity(%s", made_route(g, k), GEN_WORD(g, "1", "1.25", "factor = 1.5"));
    if (prog_chance(g, 40)) text_add(&t, ", eval = 2");
    if (prog_chance(g, 50)) text_addf(&t, ", formula = \"%s\"", GEN_WORD(g, "vmoe", "st_moe"));
    if (prog_chance(g, 60)) text_addf(&t, ", priority = \"%s\"", GEN_WORD(g, "none", "max", "sum"));
    if (x.shape.rank >= 3 && prog_chance(g, 50))
        text_addf(&t, ", groups = %s", prog_int(g, x.shape.dim[0]));
    if (prog_chance(g, 30)) text_addf(&t, ", multiple = %s", prog_int(g, 1 + prog_below(g, 3)));
    text_add(&t, ")");
    return mixture(g, x, experts, k, "top_k(softmax(", t.data);
}

Expr grow_uniform_route(Gen *g, Expr x) {
    if (!can(g) || x.shape.rank < 2) return prog_none;
    if (!x.atom) x = prog_bind(g, x);
    GenRoute r = {
        .text = prog_name(g, "route"), .experts = 1 + prog_below(g, 4), .lead = x.shape.dim[0]};
    r.rows = prog_elems(&x.shape) / prog_last(&x.shape);
    r.k = 1 + prog_below(g, r.experts < 2 ? 1 : 2);
    bool blocks = x.shape.dim[x.shape.rank - 2] % r.experts == 0 && prog_chance(g, 50);
    if (blocks) r.k = 1;
    prog_line(g, "%s = uniform_route(%s, %s, k = %s, order = \"%s\")", r.text, x.text,
              prog_int(g, r.experts), prog_int(g, r.k), blocks ? "blocks" : "turns");
    return prog_mixture(g, x, &r);
}

Expr grow_follow_label(Gen *g, Expr x) {
    if (!can(g) || !g->label || g->shares || g->body->layer || x.shape.rank < 2 ||
        x.shape.dim[0] != g->batch)
        return prog_none;
    int64_t experts = g->classes + prog_below(g, 2);
    return mixture(g, x, experts, 1, "top_k(softmax(",
                   prog_text(g, "), 1) |> follow_label(%s)", g->label));
}

Expr grow_keep_pairs(Gen *g, Expr x) {
    if (!can(g) || x.shape.rank < 2) return prog_none;
    int64_t rows = prog_elems(&x.shape) / prog_last(&x.shape), k = 1 + prog_below(g, 2);
    const char *mask = prog_text(g, "dropout(broadcast(1, [%s, %s]), 0.25) > 0.5",
                                 prog_int(g, rows), prog_int(g, k));
    return mixture(g, x, 3, k, "top_k(sigmoid(",
                   prog_text(g, "), %s) |> keep_pairs(%s)", prog_int(g, k), mask));
}

Expr grow_with_weights(Gen *g, Expr x) {
    if (!can(g) || x.shape.rank < 2) return prog_none;
    if (!x.atom) x = prog_bind(g, x);
    int64_t experts = 2 + prog_below(g, 4), k = 1 + prog_below(g, 2);
    const char *chosen = prog_name(g, "r");
    prog_line(g, "%s = top_k(linear(%s, %s), %s)", chosen, x.text, prog_int(g, experts),
              prog_int(g, k));
    GenRoute r = {
        .text = prog_name(g, "route"), .experts = experts, .k = k, .lead = x.shape.dim[0]};
    r.rows = prog_elems(&x.shape) / prog_last(&x.shape);
    prog_line(g, "%s = with_weights(%s, %s(weights(%s)) + 0.25)", r.text, chosen,
              GEN_WORD(g, "sigmoid", "tanh"), chosen);
    return prog_mixture(g, x, &r);
}

/* A route, from which something is read. */
static Expr about_route(Gen *g, Expr x, const char *before, const char *after) {
    if (!can(g) || x.shape.rank < 2) return prog_none;
    if (!x.atom) x = prog_bind(g, x);
    int64_t experts = 2 + prog_below(g, 4), k = 1 + prog_below(g, 2);
    const char *route = prog_name(g, "route");
    prog_line(g, "%s = softmax_topk(linear(%s, %s), %s)", route, x.text, prog_int(g, experts),
              prog_int(g, k));
    Expr y = prog_call(g, "dispatch", x, x.shape, route);
    y = prog_call(g, "linear", y, x.shape, prog_int(g, prog_last(&x.shape)));
    Expr sum = prog_join(g, x, "+", prog_call(g, "combine", y, x.shape, route));
    if (*before) prog_metric(g, prog_text(g, "%s%s%s", before, route, after));
    return sum;
}

Expr grow_weights(Gen *g, Expr x) {
    return about_route(g, x, "mean(square(weights(", ")))");
}

Expr grow_dispatch(Gen *g, Expr x) {
    return about_route(g, x, "", "");
}

Expr grow_combine(Gen *g, Expr x) {
    return about_route(g, x, "", "");
}

Expr grow_sparse_gate(Gen *g, Expr x) {
    return about_route(g, x, "mean(square(sparse_gate(", ")))");
}

Expr grow_choices(Gen *g, Expr x) {
    return about_route(g, x, "mean(one_hot(choices(",
                       prog_chance(g, 50) ? "), 2))" : ", served = true), 3))");
}

Expr grow_first_choice(Gen *g, Expr x) {
    return about_route(g, x, "mean(square(sum(first_choice(", "), axis = 0)))");
}

Expr grow_choice_counts(Gen *g, Expr x) {
    return about_route(g, x, "mean(square(choice_counts(", ")))");
}

/* ---- losses of routing ----------------------------------------------------------------------- */

/* "softmax(x)" as p, of at least two experts; NULL: x is none. */
static const char *shares_of(Gen *g, const Expr *x) {
    if (!can(g) || x->shape.rank < 2 || prog_last(&x->shape) < 2 || prog_last(&x->shape) > 32)
        return NULL;
    return prog_text(g, "softmax(%s)", x->text);
}

static Expr aux(Gen *g, Expr x, const char *value) {
    switch (prog_below(g, g->body->layer ? 2 : 3)) {
    case 0: prog_line(g, "aux %s", value); break;
    case 1: prog_line(g, "aux %s, weight = %s", value, prog_real(g, 0.125)); break;
    default: prog_line(g, "aux %s = %s, weight = 0.25", prog_name(g, "a"), value);
    }
    return x;
}

#define AUX_OF_SHARES(name, fmt)                                                                   \
    Expr library_##name(Gen *g, Expr x) {                                                          \
        const char *p = shares_of(g, &x);                                                          \
        return p ? aux(g, x, prog_text(g, fmt, p)) : prog_none;                                    \
    }
AUX_OF_SHARES(cv_squared, "cv_squared(%s, sample = true, eps = 0.01)")
AUX_OF_SHARES(sharpness, "sharpness(%s, eps = 0.1, sample = true)")

/* ", groups = n" for the rows of x, or nothing. */
static const char *in_groups(Gen *g, const Expr *x) {
    int64_t rows = prog_elems(&x->shape) / prog_last(&x->shape);
    return prog_chance(g, 50) ? prog_text(g, ", groups = %s", prog_int(g, prog_divisor(g, rows)))
                              : "";
}

Expr library_importance(Gen *g, Expr x) {
    const char *p = shares_of(g, &x);
    return p ? aux(g, x, prog_text(g, "importance(%s%s)", p, in_groups(g, &x))) : prog_none;
}

Expr library_batch_variation(Gen *g, Expr x) {
    const char *p = shares_of(g, &x);
    if (!p || x.shape.rank != 3) return prog_none;
    return aux(g, x, prog_text(g, "batch_variation(%s, eps = 0.1)", p));
}

Expr library_batchwise_variation(Gen *g, Expr x) {
    const char *p = shares_of(g, &x);
    if (!p || x.shape.rank != 3) return prog_none;
    prog_metric(
        g, prog_text(g, "batchwise_variation(%s%s)", p, prog_chance(g, 50) ? ", eps = 1e-3" : ""));
    return x;
}

Expr library_in_groups(Gen *g, Expr x) {
    if (g->body->rows || x.shape.rank < 2) return prog_none;
    int64_t rows = prog_elems(&x.shape) / prog_last(&x.shape), n = prog_divisor(g, rows);
    return prog_call(g, "in_groups", x, SHAPE(n, rows / n, prog_last(&x.shape)), prog_int(g, n));
}

Expr library_normal_cdf(Gen *g, Expr x) {
    return prog_call(g, "normal_cdf", x, x.shape, NULL);
}

Expr library_keep_top(Gen *g, Expr x) {
    if (g->body->rows) return prog_none;
    return prog_call(g, "keep_top", x, x.shape,
                     prog_int(g, 1 + prog_below(g, prog_last(&x.shape))));
}

Expr library_load(Gen *g, Expr x) {
    int64_t e = prog_last(&x.shape);
    if (!shares_of(g, &x)) return prog_none;
    if (!x.atom) x = prog_bind(g, x);
    const char *noisy = prog_chance(g, 50) ? x.text : prog_text(g, "vmoe_noise(%s)", x.text);
    return aux(g, x,
               prog_text(g, "load(%s, %s, %s, 0.5%s)", x.text, noisy,
                         prog_int(g, 1 + prog_below(g, e)), in_groups(g, &x)));
}

Expr library_shazeer_load(Gen *g, Expr x) {
    int64_t e = prog_last(&x.shape);
    if (!shares_of(g, &x)) return prog_none;
    if (!x.atom) x = prog_bind(g, x);
    return aux(g, x,
               prog_text(g, "shazeer_load(%s, %s, %s, %s%s)", x.text, x.text,
                         prog_int(g, 1 + prog_below(g, e - 1)), prog_real(g, 0.5),
                         in_groups(g, &x)));
}

Expr library_shazeer_importance(Gen *g, Expr x) {
    if (!shares_of(g, &x)) return prog_none;
    return aux(g, x,
               prog_text(g, "shazeer_importance(topk_softmax(%s, 2)%s)", x.text, in_groups(g, &x)));
}

static Expr balance(Gen *g, const char *name, Expr x) {
    const char *p = shares_of(g, &x);
    if (!p) return prog_none;
    int64_t k = 1 + prog_below(g, 2);
    return aux(g, x, prog_text(g, "%s(%s, top_k(%s, %s))", name, p, x.text, prog_int(g, k)));
}
Expr grow_load_balance(Gen *g, Expr x) {
    return balance(g, "load_balance", x);
}

Expr library_switch_balance(Gen *g, Expr x) {
    return balance(g, "switch_balance", x);
}

Expr library_gshard_balance(Gen *g, Expr x) {
    return balance(g, "gshard_balance", x);
}

Expr library_megablocks_balance(Gen *g, Expr x) {
    return balance(g, "megablocks_balance", x);
}

Expr library_z_loss(Gen *g, Expr x) {
    return can(g) && x.shape.rank >= 2 ? aux(g, x, prog_text(g, "z_loss(%s)", x.text)) : prog_none;
}

Expr library_log_softmax(Gen *g, Expr x) {
    return prog_damp(g, prog_call(g, "log_softmax", x, x.shape, NULL));
}

static Expr distilled(Gen *g, const char *name, Expr x) {
    Expr teacher = can(g) && x.shape.rank >= 2 ? prog_like(g, x.shape, 1) : prog_none;
    return teacher.text ? aux(g, x, prog_text(g, "%s(%s, %s)", name, x.text, teacher.text))
                        : prog_none;
}

Expr library_kl_distillation(Gen *g, Expr x) {
    return distilled(g, "kl_distillation", x);
}

Expr library_mse_distillation(Gen *g, Expr x) {
    return distilled(g, "mse_distillation", x);
}

/* Losses over classes need the model's label. */
static Expr logits(Gen *g, Expr x, int64_t width) {
    if (!can(g) || !g->label || g->shares || g->body->layer) return prog_none;
    Shape s = SHAPE(g->batch, width);
    return prog_same(&s, &x.shape) ? x : prog_like(g, s, 1);
}

Expr library_sigmoid_cross_entropy(Gen *g, Expr x) {
    Expr z = logits(g, x, g->classes);
    return z.text ? aux(g, x, prog_text(g, "sigmoid_cross_entropy(%s, %s)", z.text, g->label))
                  : prog_none;
}

Expr library_super_class(Gen *g, Expr x) {
    int64_t experts = 2 + prog_below(g, 3);
    Expr z = logits(g, x, experts);
    if (!z.text) return prog_none;
    Text list = text_new(g->arena);
    for (int64_t i = 0; i < g->classes; i++)
        text_addf(&list, "%s%" PRId64, i ? ", " : "", prog_below(g, experts));
    return aux(g, x, prog_text(g, "super_class(%s, %s, [%s])", z.text, g->label, list.data));
}

static Expr alike(Gen *g, const char *name, Expr x) {
    if (!can(g) || x.shape.rank != 2) return prog_none;
    const char *counts = prog_text(g, "square(%s) + 0.5", x.text);
    return prog_atom(prog_text(g, "%s(%s)", name, counts),
                     SHAPE(prog_last(&x.shape), prog_last(&x.shape)));
}

Expr library_expert_similarity(Gen *g, Expr x) {
    return alike(g, "expert_similarity", x);
}

Expr library_weighted_jaccard(Gen *g, Expr x) {
    return alike(g, "weighted_jaccard", x);
}
