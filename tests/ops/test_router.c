/* What routers must have in common: results of small models in the f64 interpreter that have to be
 * equal whatever the weights are. tests/cli checks the compiled code of the same models against the
 * interpreter. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "frontend/frontend.h"
#include "passes/passes.h"
#include "tests/ops/util_case.h"

#define MODEL "tests/routers/routers.vmoe"
enum { IMAGES = 3, EXPERTS = 4 };

typedef struct Run {
    Arena *a;
    IrGraph *g;
    Interp *it;
} Run;

/* set: NULL-terminated "name=value"s. All runs have the same weights and images. */
static Run start(const char *const *set, bool training) {
    Run r = {.a = arena_create()};
    Diags *d = diags_create(r.a);
    int n = 0;
    while (set[n]) n++;
    FeOptions opt = {.set = set, .nset = n, .model_dir = "models"};
    VmError io = {.text = ""};
    FeExperiment *e = fe_load(r.a, MODEL, &opt, d, &io);
    cr_assert_not_null(e, "%s", io.text);
    r.g = d->nerrors ? NULL : fe_elaborate(e, r.a, fe_model_name(e, 0), IMAGES, d);
    if (!r.g) diags_print(stderr, d, false);
    cr_assert_not_null(r.g);
    PassCtx c = pass_ctx(arena_create());
    c.training = training;
    static const PassId expand = PASS_expand;
    const char *error = pass_run(&c, r.g, &expand, 1);
    cr_assert_null(error, "%s", error);
    arena_destroy(c.scratch);
    r.it = interp_create(r.a, r.g, training);
    case_fill_all(r.it, r.g, 5);
    interp_set(r.it, "label", (double[IMAGES]){3, 1, 4});
    return r;
}

static void finish(Run *r) {
    arena_destroy(r->a);
}

static const IrNode *weight(const Run *r, const char *end) {
    IR_FOR (n, r->g) {
        const char *name = n->op == OP_param ? ir_str(n, ATTR_param_name) : "";
        size_t len = strlen(name), tail = strlen(end);
        if (len >= tail && !strcmp(name + len - tail, end)) return n;
    }
    cr_assert(false, "no weight %s", end);
    return NULL;
}

/* Entry e of dimension `axis` of a weight of `experts` entries there becomes entry from[e]. */
static void rearrange(Run *r, const char *end, int axis, const int *from) {
    const IrNode *w = weight(r, end);
    const IrType *t = &w->out[0].type;
    int64_t inner = 1, outer = 1, experts = t->dim[axis];
    for (int i = 0; i < axis; i++) outer *= t->dim[i];
    for (int i = axis + 1; i < t->rank; i++) inner *= t->dim[i];
    double *old = ARENA_ARRAY(r->a, double, ir_elems(t)),
           *now = ARENA_ARRAY(r->a, double, ir_elems(t));
    case_fill(w, 5, old);
    for (int64_t o = 0; o < outer; o++)
        for (int64_t e = 0; e < experts; e++)
            memcpy(now + (o * experts + e) * inner, old + (o * experts + from[e]) * inner,
                   (size_t)inner * sizeof(double));
    interp_set(r->it, ir_str(w, ATTR_param_name), now);
}

static void rearrange_experts(Run *r, const int *from) {
    static const char *const parts[] = {"up.weight", "up.bias", "down.weight", "down.bias"};
    for (int i = 0; i < 4; i++) rearrange(r, parts[i], 0, from);
}

static void same_logits(Run *x, Run *y, double within, const char *what) {
    interp_run(x->it);
    interp_run(y->it);
    const RefTensor *a = interp_out(x->it, "logits"), *b = interp_out(y->it, "logits");
    cr_assert(a && b);
    for (int64_t i = 0; i < ir_elems(&a->type); i++)
        cr_assert(fabs(a->data[i] - b->data[i]) <= within * (1 + fabs(b->data[i])),
                  "%s: logit %d is %.12g and %.12g", what, (int)i, a->data[i], b->data[i]);
    finish(x);
    finish(y);
}

#define SET(...) ((const char *const[]){__VA_ARGS__, NULL})

static void same(const char *const *x, const char *const *y, bool training, const char *what) {
    Run a = start(x, training), b = start(y, training);
    same_logits(&a, &b, 1e-12, what);
}

Test(router, weights_of_the_chosen_sum_to_one_either_way) {
    Run a = start(SET("router=renormalised"), false), b = start(SET("router=top_k", "k=2"), false);
    interp_run(a.it);
    interp_run(b.it);
    IR_FOR (n, a.g) { /* the softmax over the k chosen: each is its share */
        if (n->op != OP_combine) continue;
        const RefTensor *w = interp_value(a.it, n->in[2]);
        IR_FOR (m, b.g) {
            if (m->op != OP_combine) continue;
            const RefTensor *p = interp_value(b.it, m->in[2]);
            for (int64_t t = 0; t < ir_rows(&w->type); t++) {
                double sum = p->data[2 * t] + p->data[2 * t + 1];
                for (int j = 0; j < 2; j++)
                    cr_assert_float_eq(w->data[2 * t + j], p->data[2 * t + j] / sum, 1e-12);
            }
        }
    }
    finish(&a);
    finish(&b);
}

Test(router, all_choices_are_the_dense_mixture) {
    same(SET("router=top_k", "k=4"), SET("router=all_experts"), false, "k = E");
    same(SET("router=expert_choice", "factor=4.0"), SET("router=all_experts"), false,
         "every expert takes all");
    same(SET("router=image_expert_choice", "factor=4.0"), SET("router=all_experts"), false,
         "every expert takes all of each image");
}

Test(router, softmax_before_or_after_choosing) {
    same(SET("router=topk_softmax"), SET("router=softmax_topk_renorm"), true, "k = 2");
    same(SET("router=topk_softmax", "k=3"), SET("router=softmax_topk_renorm", "k=3"), false,
         "k = 3");
    same(SET("router=topk_softmax"), SET("router=renormalised"), false,
         "softmax of the logarithms");
}

Test(router, pairs_that_are_kept) {
    same(SET("router=keep_all"), SET("router=top_k"), true, "all");
    same(SET("router=keep_first"), SET("router=top_k", "k=1"), true, "first choices");
}

Test(router, a_sparse_gate_of_all_experts) {
    same(SET("router=sparse"), SET("router=top_k"), true, "top_k");
    same(SET("router=sparse_capacity", "factor=0.5"), SET("router=capacity", "factor=0.5"), true,
         "capacity");
}

Test(router, groups_of_experts) {
    same(SET("router=one_group"), SET("router=top_k"), true, "one group");
    same(SET("router=two_groups"), SET("router=shares"), true, "all of two groups");
}

Test(router, evaluation_does_not_follow_labels) {
    same(SET("router=follow_label", "k=1"), SET("router=top_k", "k=1"), false, "k = 1");
    same(SET("router=follow_label"), SET("router=top_k"), false, "k = 2");
    same(SET("router=expert_dropout"), SET("router=all_experts"), false,
         "experts are not dropped either");
}

/* Labels 3, 1 and 4 belong to experts 0, 2 and 0; the weight is 1 for the whole image. */
Test(router, training_follows_labels) {
    const char *const *settings[] = {SET("router=follow_label", "k=1"),
                                     SET("router=follow_label", "k=3")};
    for (int s = 0; s < 2; s++) {
        Run r = start(settings[s], true);
        interp_run(r.it);
        int met = 0;
        IR_FOR (n, r.g) {
            if (n->op == OP_combine) {
                const RefTensor *w = interp_value(r.it, n->in[2]);
                for (int64_t i = 0; i < ir_rows(&w->type); i++)
                    cr_assert_eq(w->data[i * ir_cols(&w->type)], 1);
            }
            if (n->op != OP_route) continue;
            const RefTensor *index = interp_value(r.it, n->in[0]);
            int64_t k = ir_cols(&index->type), tokens = ir_rows(&index->type) / IMAGES;
            for (int64_t i = 0; i < ir_elems(&index->type); i++) {
                static const double owner[IMAGES] = {0, 2, 0};
                cr_assert_eq(index->data[i], i % k ? -1 : owner[i / (k * tokens)]);
            }
            met++;
        }
        cr_assert_geq(met, 1);
        finish(&r);
    }
}

/* Shares of the experts that stay add up to 1, and the same experts stay for all tokens. */
Test(router, dropped_experts) {
    Run r = start(SET("router=expert_dropout"), true);
    int dropped = 0;
    for (uint64_t step = 0; step < 8; step++) {
        interp_set_rng(r.it, 3, step);
        interp_run(r.it);
        IR_FOR (n, r.g) {
            if (n->op != OP_combine) continue;
            const RefTensor *w = interp_value(r.it, n->in[2]);
            for (int64_t t = 0; t < ir_rows(&w->type); t++) {
                double sum = 0;
                for (int e = 0; e < EXPERTS; e++) {
                    sum += w->data[t * EXPERTS + e];
                    cr_assert_eq(w->data[t * EXPERTS + e] == 0, w->data[e] == 0);
                    dropped += t == 0 && w->data[e] == 0;
                }
                cr_assert(sum == 0 || fabs(sum - 1) < 1e-9, "shares add up to %g", sum);
            }
        }
    }
    cr_assert(dropped > 4 && dropped < 8 * EXPERTS - 4, "%d of %d dropped", dropped, 8 * EXPERTS);
    finish(&r);
}

Test(router, one_expert_has_weight_one) {
    same(SET("router=top_k", "k=1", "experts=1"), SET("router=all_experts", "experts=1"), false,
         "top_k");
    same(SET("router=priority_choice", "experts=1"), SET("router=all_experts", "experts=1"), false,
         "priority");
}

Test(router, room_for_all_changes_nothing) {
    same(SET("router=capacity", "factor=4.0"), SET("router=top_k"), true, "capacity");
    same(SET("router=batch_priority", "factor=4.0"), SET("router=top_k"), true, "batch priority");
    same(SET("router=priority_choice", "factor=4.0"), SET("router=top_k", "k=1"), false,
         "priority choice");
}

Test(router, evaluation_has_its_own_capacity) {
    Run train = start(SET("router=batch_priority", "factor=0.5"), true);
    Run eval = start(SET("router=batch_priority", "factor=0.5"), false);
    int limits = 0;
    IR_FOR (n, train.g)
        if (n->op == OP_capacity) limits += (int)ir_int(n, ATTR_capacity_limit);
    cr_assert_eq(limits, 4); /* ceil(0.5 * 2 * 16 / 4) */
    IR_FOR (n, eval.g)
        if (n->op == OP_capacity) limits += (int)ir_int(n, ATTR_capacity_limit);
    cr_assert_eq(limits, 4 + 8);
    finish(&train);
    finish(&eval);
}

Test(router, equal_experts_with_shares_do_not_see_the_route) {
    static const int equal[EXPERTS] = {2, 2, 2, 2}, other[EXPERTS] = {3, 0, 1, 2};
    Run a = start(SET("router=renormalised"), false), b = start(SET("router=renormalised"), false);
    rearrange_experts(&a, equal);
    rearrange_experts(&b, equal);
    rearrange(&b, "scores.weight", 1, other);
    same_logits(&a, &b, 1e-12, "equal experts");
}

Test(router, the_order_of_experts_does_not_matter) {
    static const int other[EXPERTS] = {3, 0, 1, 2};
    static const char *const routers[] = {"router=top_k",          "router=all_experts",
                                          "router=expert_choice",  "router=image_expert_choice",
                                          "router=capacity",       "router=batch_priority",
                                          "router=priority_choice"};
    for (size_t i = 0; i < sizeof routers / sizeof routers[0]; i++) {
        Run a = start(SET(routers[i]), false), b = start(SET(routers[i]), false);
        rearrange_experts(&b, other);
        rearrange(&b, "scores.weight", 1, other);
        same_logits(&a, &b, 1e-9, routers[i]);
    }
}

/* The tokens of an image with one gate have one choice. */
Test(router, a_gate_of_the_image_routes_it_as_one) {
    Run r = start(SET("router=top_k", "whole=true"), false);
    interp_run(r.it);
    int met = 0;
    IR_FOR (n, r.g) {
        if (n->op != OP_topk) continue;
        const RefTensor *index = interp_value(r.it, &n->out[1]);
        int64_t tokens = ir_rows(&index->type) / IMAGES;
        for (int64_t i = 0; i < ir_elems(&index->type); i++)
            cr_assert_eq(index->data[i], index->data[i / (2 * tokens) * 2 * tokens + i % 2]);
        met++;
    }
    cr_assert_eq(met, 1);
    finish(&r);
}

/* How many rows every expert has: offsets of the only route. */
static void loads(const char *const *set, double *load) {
    Run r = start(set, false);
    interp_run(r.it);
    IR_FOR (n, r.g) {
        if (n->op != OP_route) continue;
        const RefTensor *offset = interp_value(r.it, &n->out[0]);
        for (int e = 0; e < EXPERTS; e++) load[e] = offset->data[e + 1] - offset->data[e];
    }
    finish(&r);
}

Test(router, equal_loads_are_equal) {
    double load[EXPERTS];
    loads(SET("router=priority_choice"), load);
    for (int e = 0; e < EXPERTS; e++) cr_assert_eq(load[e], IMAGES * 16 / EXPERTS);
    loads(SET("router=expert_choice", "factor=2.0"), load);
    for (int e = 0; e < EXPERTS; e++) cr_assert_eq(load[e], 2 * IMAGES * 16 / EXPERTS);
    loads(SET("router=uniform"), load);
    for (int e = 0; e < EXPERTS; e++) cr_assert_eq(load[e], 2 * IMAGES * 16 / EXPERTS);
    loads(SET("router=blocks"), load);
    for (int e = 0; e < EXPERTS; e++) cr_assert_eq(load[e], IMAGES * 16 / EXPERTS);
    loads(SET("router=capacity", "factor=0.5"), load);
    for (int e = 0; e < EXPERTS; e++) cr_assert_leq(load[e], IMAGES * 16 / EXPERTS);
}
