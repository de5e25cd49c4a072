/* Routes and mixtures: which rows go to which experts, what experts are, and what brings rows
 * back. */
#include "tests/fuzz/programs/gen.h"

#include <inttypes.h>

/* ---- gates ----------------------------------------------------------------------------------- */

/* What a gate looks at: x, or the mean of an image. */
static Expr seen(Gen *g, Expr x, bool images) {
    if (!images || x.shape.rank < 3) return x;
    Text axes = text_new(g->arena);
    Shape s = SHAPE(x.shape.dim[0], prog_last(&x.shape));
    for (int i = 1; i + 1 < x.shape.rank; i++) text_addf(&axes, "%s%d", i > 1 ? ", " : "", i);
    return prog_atom(prog_text(g, "mean(%s, axis = [%s])", x.text, axes.data), s);
}

/* The values h of a new gate over `from`, bound to a name. */
static Expr gate_values(Gen *g, Expr from, int64_t experts) {
    const char *e = prog_int(g, experts), *call = NULL;
    Shape s = prog_with_last(from.shape, experts);
    switch (prog_below(g, 8)) {
    case 0:
        call = prog_text(g, "linear_gate(%s, %s%s)", from.text, e,
                         prog_chance(g, 40) ? ", bias = true" : "");
        break;
    case 1:
        call = prog_text(g, "cosine_gate(%s, %s, width = %s)", from.text, e,
                         prog_int(g, prog_width(g, 2, 9)));
        break;
    case 2:
        call = prog_text(g, "l2_gate(%s, %s, %s)", from.text, e, prog_int(g, prog_width(g, 2, 9)));
        break;
    case 3:
        call = prog_text(g, "shazeer_gate(%s, %s)[%d]", from.text, e, (int)prog_below(g, 2));
        break;
    case 4:
        call = prog_text(g, "linear_gate(jitter(%s), %s, init = normal(0.5))", from.text, e);
        break;
    default:
        call = prog_text(g, "linear(%s, %s, init = normal(0.6)%s)", from.text, e,
                         prog_chance(g, 40) ? ", bias = false" : "");
        break;
    }
    Expr h = prog_bind(g, prog_atom(call, s));
    if (prog_chance(g, 15))
        h = prog_bind(g, prog_atom(prog_text(g, "vmoe_noise(%s%s)", h.text,
                                             prog_chance(g, 40) ? ", scale = 0.5" : ""),
                                   s));
    if (prog_chance(g, 10))
        h = prog_bind(
            g, prog_atom(
                   prog_text(g, "gumbel(%s%s)", h.text, prog_chance(g, 40) ? ", c = 0.5" : ""), s));
    if (experts > 1 && prog_chance(g, 8))
        h = prog_bind(g, prog_atom(prog_text(g, "expert_dropout(%s, 0.25)", h.text), s));
    return h;
}

/* ---- routes ---------------------------------------------------------------------------------- */

/* Groups of rows that capacity and the like may be counted in: 1, the batch, or a divisor. */
static const char *groups_of(Gen *g, const GenRoute *r, int64_t batch) {
    if (prog_chance(g, 50)) return "";
    int64_t n = prog_chance(g, 60) && r->rows % batch == 0 ? batch : prog_divisor(g, r->rows);
    return prog_text(g, ", groups = %s", prog_int(g, n));
}

static const char *by_top(Gen *g, GenRoute *r, Expr h) {
    const char *k = prog_int(g, r->k);
    switch (prog_below(g, 9)) {
    case 0: return prog_text(g, "topk_softmax(%s, %s)", h.text, k);
    case 1: return prog_text(g, "softmax_topk(%s, %s)", h.text, k);
    case 2:
        return prog_text(g, "softmax_topk_renorm(%s, %s%s)", h.text, k,
                         prog_chance(g, 30) ? ", eps = 1e-3" : "");
    case 3: return prog_text(g, "sigmoid_topk(%s, %s)", h.text, k);
    case 4:
        return prog_text(g, "sigmoid_topk_renorm(%s, %s%s)", h.text, k,
                         prog_chance(g, 30) ? ", 1e-3" : "");
    case 5: return prog_text(g, "top_k(%s, %s, weights = softmax(%s))", h.text, k, h.text);
    case 6: {
        const char *chosen = prog_name(g, "r");
        prog_line(g, "%s = top_k(%s, %s)", chosen, h.text, k);
        return prog_text(g, "with_weights(%s, %s(weights(%s)))", chosen,
                         r->k > 1 ? GEN_WORD(g, "softmax", "sigmoid", "tanh") : "sigmoid", chosen);
    }
    default: return prog_text(g, "top_k(%s(%s), %s)", GEN_WORD(g, "softmax", "sigmoid"), h.text, k);
    }
}

static const char *hierarchical(Gen *g, GenRoute *r, Expr from, Expr h) {
    int64_t parts = prog_divisor(g, r->experts), each = r->experts / parts;
    if (parts < 2) return NULL;
    int64_t few = 1 + prog_below(g, parts), k = 1 + prog_below(g, each);
    Expr outer = gate_values(g, from, parts);
    r->k = few * k;
    return prog_text(g, "hierarchical_topk(%s, %s, %s, %s)", outer.text, h.text, prog_int(g, few),
                     prog_int(g, k));
}

static const char *with_capacity(Gen *g, const GenRoute *r, const char *route, int64_t batch) {
    Text t = text_new(g->arena);
    text_addf(&t, "capacity(%s, %s", route, GEN_WORD(g, "1", "1.05", "1.5", "factor = 2"));
    if (prog_chance(g, 30)) text_add(&t, ", eval = 2.5");
    if (prog_chance(g, 50))
        text_addf(&t, ", formula = \"%s\"",
                  r->rows >= 2 * r->experts * batch
                      ? GEN_WORD(g, "vmoe", "st_moe", "megablocks", "tutel", "switch")
                      : GEN_WORD(g, "vmoe", "st_moe"));
    if (prog_chance(g, 50)) text_addf(&t, ", priority = \"%s\"", GEN_WORD(g, "none", "max", "sum"));
    text_add(&t, groups_of(g, r, batch));
    if (prog_chance(g, 30)) text_addf(&t, ", multiple = %s", prog_int(g, 1 + prog_below(g, 4)));
    text_add(&t, ")");
    return t.data;
}

/* Which pairs of row and choice stay. */
static const char *some_pairs(Gen *g, const GenRoute *r, const char *route) {
    if (prog_chance(g, 50)) return prog_text(g, "keep_pairs(%s, weights(%s) > 0.2)", route, route);
    const char *seat = prog_text(g, "broadcast(%s, [%s, %s])", GEN_WORD(g, "0", "1"),
                                 prog_int(g, r->rows), prog_int(g, r->k));
    return prog_text(g, "keep_pairs(%s, dropout(%s + 1, 0.25) > 0.5)", route, seat);
}

static const char *modified(Gen *g, GenRoute *r, const char *route, const char *own_route,
                            int64_t batch) {
    switch (prog_below(g, 8)) {
    case 0:
    case 1: return with_capacity(g, r, route, batch);
    case 2: return some_pairs(g, r, route);
    case 3:
        if (g->label && !g->shares && !g->body->layer && r->experts >= g->classes && r->k == 1 &&
            r->lead == batch)
            return prog_text(g, "follow_label(%s, %s)", route, g->label);
        if (g->label && !g->shares && !g->body->layer && r->lead == batch) {
            Text list = text_new(g->arena);
            for (int64_t i = 0; i < g->classes; i++)
                text_addf(&list, "%s%" PRId64, i ? ", " : "",
                          i ? prog_below(g, r->experts) : r->experts - 1);
            return prog_text(g, "follow_label(%s, lookup(%s, [%s]))", route, g->label, list.data);
        }
        return own_route;
    default: return own_route;
    }
}

static const char *ungated(Gen *g, GenRoute *r, Expr from) {
    bool blocks = r->rows % r->experts == 0 && prog_last(&from.shape) > 0 && from.shape.rank >= 2 &&
                  from.shape.dim[from.shape.rank - 2] % r->experts == 0 && prog_chance(g, 40);
    if (blocks) r->k = 1;
    return prog_text(g, "uniform_route(%s, %s%s%s)", from.text, prog_int(g, r->experts),
                     r->k > 1 ? prog_text(g, ", k = %s", prog_int(g, r->k)) : "",
                     blocks               ? ", order = \"blocks\""
                     : prog_chance(g, 30) ? ", order = \"turns\""
                                          : "");
}

/* Routes that are chosen at once and not changed afterwards. */
static const char *whole_route(Gen *g, GenRoute *r, Expr h) {
    int64_t batch = g->batch;
    const char *p = prog_text(g, "%s(%s)", GEN_WORD(g, "softmax", "sigmoid"), h.text);
    switch (prog_below(g, 4)) {
    case 0: r->k = r->experts; return prog_text(g, "softmax_all(%s)", h.text);
    case 1: r->k = r->experts; return prog_text(g, "all_experts(%s)", p);
    case 2:
        r->k = 0;
        return prog_text(g, "expert_choice(%s%s%s)", p, prog_chance(g, 50) ? ", factor = 1.5" : "",
                         groups_of(g, r, batch));
    default:
        r->k = 1;
        return prog_text(g, "priority_choice(%s%s%s)", p, prog_chance(g, 50) ? ", 1.25" : "",
                         groups_of(g, r, batch));
    }
}

GenRoute prog_route(Gen *g, Expr x, bool images) {
    if (g->body->rows || g->body->quiet || x.shape.rank < 2) return (GenRoute){0};
    Expr from = seen(g, x, images);
    if (!from.atom) from = prog_bind(g, from);
    GenRoute r = {.experts = 1 + prog_below(g, 5), .images = images, .lead = from.shape.dim[0]};
    r.rows = prog_elems(&from.shape) / prog_last(&from.shape);
    r.k = 1 + prog_below(g, r.experts < 3 ? r.experts : 3);
    const char *name = prog_name(g, "route");
    if (prog_chance(g, 12)) {
        prog_line(g, "%s = %s", name, ungated(g, &r, from));
        r.text = name;
        return r;
    }
    Expr h = gate_values(g, from, r.experts);
    r.gate = h.text;
    const char *made = prog_chance(g, 25) ? whole_route(g, &r, h) : NULL;
    bool whole = made;
    if (!made && prog_chance(g, 12)) made = hierarchical(g, &r, from, h);
    if (!made) made = by_top(g, &r, h);
    prog_line(g, "%s = %s", name, made);
    if (!whole) {
        const char *other = modified(g, &r, name, name, g->batch);
        if (other != name) prog_line(g, "%s = %s", name, other);
    }
    r.text = name;
    return r;
}

/* ---- experts --------------------------------------------------------------------------------- */

const GenRow prog_row_wise[] = {
    {"tanh", grow_tanh},
    {"gelu", grow_gelu},
    {"silu", grow_silu},
    {"softmax", grow_softmax},
    {"layer_norm", grow_layer_norm},
    {"sum", grow_sum},
    {"top_values", grow_top_values},
    {"where", grow_where},
    {"maximum", grow_maximum},
    {"slice", grow_slice},
    {"concat", grow_concat},
    {"split", grow_split},
    {"reshape", grow_reshape},
    {"project", grow_project},
    {"matmul", grow_matmul},
    {"attention_core", grow_attention_core},
    {"dropout", grow_dropout},
    {"normal_noise", grow_normal_noise},
    {"convolve", grow_convolve},
    {"convolve_depthwise", grow_convolve_depthwise},
    {"window_max", grow_window_max},
    {"xavier", grow_xavier},
    {"norm", library_norm},
    {"linear", library_linear},
    {"mlp", library_mlp},
    {"glu", library_glu},
    {"attention", library_attention},
    {"conv2d", library_conv2d},
    {"depthwise", library_depthwise},
    {"max_pool", library_max_pool},
    {"layer_scale", library_layer_scale},
    {"logsumexp", library_logsumexp},
    {"arithmetic", grow_form_arithmetic},
    {"comparison", grow_form_comparison},
    {"own_layer", grow_form_own_layer},
};
const int prog_nrow_wise = (int)(sizeof prog_row_wise / sizeof prog_row_wise[0]);

/* Layers that are experts as they are. */
static Expr library_expert(Gen *g, Expr x) {
    static GenFn *const any[] = {library_mlp,   library_glu,  library_linear,
                                 library_dense, library_norm, library_rms_norm};
    static GenFn *const tokens[] = {library_attention, library_encoder_layer,
                                    library_self_attention, library_position};
    static GenFn *const images[] = {library_conv2d, library_depthwise, library_max_pool,
                                    library_avg_pool};
    if (x.shape.rank == 3 && prog_chance(g, 50)) return tokens[prog_below(g, 4)](g, x);
    if (x.shape.rank == 4 && prog_chance(g, 60)) return images[prog_below(g, 4)](g, x);
    return any[prog_below(g, 6)](g, x);
}

/* What stands in the pool is plain while x is grouped: the layers called see nothing of it. */
Expr prog_expert(Gen *g, Expr x) {
    GenBody outer = *g->body;
    g->body->npool = 0;
    g->body->rows = true;
    int n = 1 + (int)prog_below(g, 2);
    for (int i = 0; i < n; i++) {
        Expr y = prog_none;
        prog_keep(g, prog_atom(x.text, x.shape));
        for (int tries = 0; (!y.text || y.shape.rank < 2) && tries < 8; tries++)
            y = prog_chance(g, 50) ? library_expert(g, x) : prog_own_layer(g, x, true);
        if (!y.text || y.shape.rank < 2) continue;
        const char *name = prog_name(g, "e");
        prog_line(g, "%s = %s", name, y.text);
        x = prog_atom(name, y.shape);
    }
    outer.text = g->body->text;
    *g->body = outer;
    return x;
}

/* ---- mixtures -------------------------------------------------------------------------------- */

static void add_losses(Gen *g, const GenRoute *r);

Expr prog_mixture(Gen *g, Expr x, const GenRoute *r) {
    int lead = r->images ? 1 : x.shape.rank - 1;
    Shape inside = {.rank = x.shape.rank - lead + 1, .dim = {r->rows * (r->k ? r->k : 1)}};
    for (int i = lead; i < x.shape.rank; i++) inside.dim[i - lead + 1] = x.shape.dim[i];
    if (prog_elems(&inside) > GEN_MOST) return prog_none;
    if (!x.atom) x = prog_bind(g, x);
    const char *rows = prog_name(g, "e");
    prog_line(g, "%s = %s", rows, prog_call(g, "dispatch", x, inside, r->text).text);
    Expr y = prog_expert(g, prog_atom(rows, inside));
    Shape back = {.rank = lead + y.shape.rank - 1};
    for (int i = 0; i < lead; i++) back.dim[i] = x.shape.dim[i];
    for (int i = 1; i < y.shape.rank; i++) back.dim[lead + i - 1] = y.shape.dim[i];
    add_losses(g, r);
    if (back.rank > 4) return prog_none;
    Expr sum = prog_call(g, "combine", y, back, r->text);
    if (prog_same(&back, &x.shape) && prog_chance(g, 60)) return prog_join(g, x, "+", sum);
    return sum;
}

/* What a route tells of itself. */
static void add_facts(Gen *g, const GenRoute *r) {
    const char *e = prog_int(g, r->experts), *fact = NULL;
    switch (prog_below(g, 6)) {
    case 0: fact = prog_text(g, "mean(square(sum(sparse_gate(%s), axis = -1)))", r->text); break;
    case 1:
        fact = prog_text(g, "mean(one_hot(choices(%s%s), %s) * 0.5)", r->text,
                         prog_chance(g, 50) ? ", served = true" : "", e);
        break;
    case 2: fact = prog_text(g, "mean(max(mean(first_choice(%s), axis = 0)))", r->text); break;
    case 3:
        if (r->rows % g->batch == 0)
            fact = prog_text(g, "mean(square(choice_counts(%s, groups = %s)))", r->text,
                             prog_int(g, g->batch));
        break;
    case 4: fact = prog_text(g, "mean(square(choice_counts(%s)))", r->text); break;
    default: break;
    }
    prog_metric(g, fact && r->k ? fact : prog_text(g, "mean(weights(%s))", r->text));
}

static void add_losses(Gen *g, const GenRoute *r) {
    if (prog_chance(g, 40)) add_facts(g, r);
    if (!r->gate || !r->k || prog_chance(g, 40)) return;
    const char *p = prog_text(g, "softmax(%s)", r->gate);
    switch (prog_below(g, 3)) {
    case 0:
        prog_line(g, "aux load_balance(%s, %s), weight = %s", p, r->text, prog_real(g, 0.25));
        break;
    case 1:
        prog_line(g, "aux %s(%s, %s), weight = 0.5",
                  GEN_WORD(g, "switch_balance", "gshard_balance", "megablocks_balance"), p,
                  r->text);
        break;
    default: prog_line(g, "aux z_loss(%s), weight = 0.125", r->gate);
    }
}
