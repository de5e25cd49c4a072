/* The reference's side: data for a program, the f64 interpreter over its graphs, and what rounding
 * may do to them. */
#include "tests/fuzz/programs/programs.h"

#include <math.h>
#include <string.h>

#include "base/rng.h"

/* Sixteen times what one operation of f32 rounds off: sums of some hundred numbers, too. */
#define MOVED_PART 0x1p-20

/* ---- data ------------------------------------------------------------------------------------ */

static const char *leaf_name(const IrNode *n) {
    if (n->op == OP_input) return ir_str(n, ATTR_input_name);
    return n->op == OP_param ? ir_str(n, ATTR_param_name) : NULL;
}

/* Initial values, each moved by up to 0.05; states, which may be variances, by 0 to 0.1. */
static void make_weight(const IrNode *n, VmEngine *e, const uint32_t key[2], float *to,
                        int64_t count) {
    const float *from = NULL;
    for (int p = 0; p < KINDS && !from; p++) from = vm_engine_data(e, p, leaf_name(n));
    float least = ir_is_state(n) ? 0 : 0.5f;
    for (int64_t i = 0; i < count; i++)
        to[i] = (from ? from[i] : 0.5f) + 0.1f * (vm_rng_uniform(key, (uint32_t)i) - least);
}

static void make_input(const IrNode *n, const uint32_t key[2], float *to, int64_t count) {
    const IrType *t = &n->out[0].type;
    bool shares = !strcmp(leaf_name(n), "label");
    for (int64_t i = 0; i < count; i++) {
        float u = vm_rng_uniform(key, (uint32_t)i);
        to[i] = shares ? u + 0.01f : 3 * u - 1.5f;
    }
    int64_t cols = t->rank ? ir_cols(t) : 1;
    for (int64_t r = 0; shares && r < count / cols; r++) {
        float sum = 0;
        for (int64_t i = 0; i < cols; i++) sum += to[r * cols + i];
        for (int64_t i = 0; i < cols; i++) to[r * cols + i] /= sum;
    }
}

/* Numbers of classes a label may be: what it is compared with, at most. */
static int64_t classes_of(const IrGraph *g, const IrValue *label) {
    int64_t least = INT64_MAX;
    IR_FOR (n, g) {
        for (int i = 0; i < n->nin; i++) {
            if (n->in[i] != label) continue;
            int64_t c = INT64_MAX;
            if (n->op == OP_cross_entropy || n->op == OP_accuracy) c = ir_cols(&n->in[0]->type);
            if (n->op == OP_lookup)
                c = n->attr[ATTR_lookup_values - ir_ops[OP_lookup].first_attr].n;
            if (c < least) least = c;
        }
    }
    return least;
}

static void make_index(const IrGraph *g, const IrNode *n, const uint32_t key[2], int32_t *to,
                       int64_t count) {
    int64_t classes = classes_of(g, &n->out[0]);
    bool label = classes < INT64_MAX;
    for (int64_t i = 0; i < count; i++) {
        uint32_t bits = vm_rng_bits(key, (uint32_t)i);
        to[i] = label ? (int32_t)(bits % (uint32_t)classes) : (int32_t)(bits % 8) - 1;
    }
}

Data data_make(Arena *a, const IrGraph *model, VmEngine *e, uint64_t seed) {
    Data d = {.item = ARENA_ARRAY(a, Given, model->nnodes + 1), .seed = seed};
    IR_FOR (n, model) {
        const char *name = leaf_name(n);
        if (!name) continue;
        Given *x = &d.item[d.n++];
        *x = (Given){.name = name, .type = n->out[0].type};
        int64_t count = ir_elems(&x->type);
        uint32_t key[2];
        vm_rng_key(seed, vm_hash_name(name), 77, key);
        if (x->type.dtype == DT_i32) {
            x->i32 = ARENA_ARRAY(a, int32_t, count);
            make_index(model, n, key, x->i32, count);
            continue;
        }
        x->f32 = ARENA_ARRAY(a, float, count);
        if (n->op == OP_param)
            make_weight(n, e, key, x->f32, count);
        else
            make_input(n, key, x->f32, count);
    }
    return d;
}

void data_give(const Data *d, VmEngine *e, int program) {
    for (int i = 0; i < d->n; i++) {
        const Given *x = &d->item[i];
        void *to = vm_engine_data(e, program, x->name);
        if (to) memcpy(to, x->f32 ? (const void *)x->f32 : x->i32, (size_t)ir_elems(&x->type) * 4);
    }
    vm_engine_weights_changed(e);
}

void data_refer(const Data *d, Interp *it) {
    interp_set_rng(it, d->seed, 0);
    for (int i = 0; i < d->n; i++) {
        const Given *x = &d->item[i];
        if (x->f32)
            (void)interp_set_f32(it, x->name, x->f32);
        else
            (void)interp_set_i32(it, x->name, x->i32);
    }
}

/* ---- runs ------------------------------------------------------------------------------------ */

Reference refer(Arena *a, const IrGraph *g, bool training, const Data *d) {
    Reference r = {.g = g};
    for (int i = -1; i < REFER_MOVED; i++) {
        Interp *it = interp_create(a, g, training);
        data_refer(d, it);
        if (i >= 0) interp_disturb(it, MOVED_PART, d->seed + (uint64_t)i);
        interp_run(it);
        *(i < 0 ? &r.exact : &r.moved[i]) = it;
    }
    return r;
}

static bool decides(const IrNode *n, int result) {
    return n->out[result].type.dtype == DT_i32 || n->op == OP_less || n->op == OP_equal ||
           n->op == OP_accuracy;
}

const char *refer_unstable(const Reference *r) {
    IR_FOR (n, r->g) {
        for (int k = 0; k < n->nout; k++) {
            const RefTensor *x = interp_value(r->exact, &n->out[k]);
            int64_t count = ir_elems(&x->type);
            for (int64_t i = 0; i < count; i++)
                if (!(fabs(x->data[i]) < 3.402e38)) return ir_ops[n->op].name;
            for (int m = 0; m < REFER_MOVED && decides(n, k); m++) {
                const RefTensor *y = interp_value(r->moved[m], &n->out[k]);
                if (memcmp(x->data, y->data, (size_t)count * sizeof(double)))
                    return ir_ops[n->op].name;
            }
        }
    }
    return NULL;
}

double refer_slack(const Reference *r, const RefTensor *want, const char *name) {
    double most = 0;
    for (int m = 0; m < REFER_MOVED; m++) {
        const RefTensor *x = interp_out(r->moved[m], name);
        for (int64_t i = 0, n = ir_elems(&want->type); x && i < n; i++)
            most = fmax(most, fabs(x->data[i] - want->data[i]));
    }
    return 2 * most;
}

/* ---- the reference against itself ------------------------------------------------------------ */

typedef struct Way {
    Interp *it;
    const Data *d;
    double **along; /* per item of d; NULL: not moved */
    Arena *a;
} Way;

static double objective_at(const Way *w, double h) {
    for (int i = 0; i < w->d->n; i++) {
        if (!w->along[i]) continue;
        const Given *x = &w->d->item[i];
        int64_t n = ir_elems(&x->type);
        double *at = ARENA_ARRAY(w->a, double, n);
        for (int64_t k = 0; k < n; k++) at[k] = (double)x->f32[k] + h * w->along[i][k];
        (void)interp_set(w->it, x->name, at);
    }
    interp_run(w->it);
    return interp_objective(w->it);
}

/* A random direction in the space of weights, and the gradient's share of it. */
static double choose_way(Way *w, const Reference *r, const IrGraph *model, int number,
                         double *scale) {
    double slope = 0;
    *scale = 0;
    w->along = ARENA_ARRAY(w->a, double *, w->d->n + 1);
    for (int i = 0; i < w->d->n; i++) {
        const Given *x = &w->d->item[i];
        IrNode *leaf = ir_find_leaf(model, OP_param, x->name);
        const RefTensor *g = interp_out(r->exact, arena_printf(w->a, "grad.%s", x->name));
        if (!leaf || !ir_learns(leaf) || !g) continue;
        int64_t n = ir_elems(&x->type);
        w->along[i] = ARENA_ARRAY(w->a, double, n);
        uint32_t key[2];
        vm_rng_key(w->d->seed, vm_hash_name(x->name), 100 + (uint64_t)number, key);
        for (int64_t k = 0; k < n; k++) {
            w->along[i][k] = 2 * (double)vm_rng_uniform(key, (uint32_t)k) - 1;
            slope += g->data[k] * w->along[i][k];
            *scale += fabs(g->data[k] * w->along[i][k]);
        }
    }
    return slope;
}

/* Smaller steps when the first disagrees, for it may have crossed a kink or a change of routing. */
bool refer_slopes(Arena *a, const IrGraph *model, const Reference *r, const Data *d, Verdict *v) {
    static const double step[] = {1e-5, 1e-6, 1e-4, 1e-7, 1e-8};
    Interp *it = interp_create(a, model, true);
    data_refer(d, it);
    interp_run(it);
    interp_hold(it, true);
    for (int number = 0; number < 2; number++) {
        Way w = {.it = it, .d = d, .a = a};
        double scale, want = choose_way(&w, r, model, number, &scale), best = INFINITY, seen = 0;
        for (int i = 0; i < 5 && best > 1e-4 * scale + 1e-8; i++) {
            double h = step[i], have = (objective_at(&w, h) - objective_at(&w, -h)) / (2 * h);
            if (fabs(have - want) < best) seen = have;
            best = fmin(best, fabs(have - want));
        }
        if (best <= 1e-4 * scale + 1e-8) continue;
        return verdict_set(v, OUT_OF_slope, "slope",
                           "along direction %d: gradient %.9g, difference %.9g (of %.3g)", number,
                           want, seen, scale);
    }
    return true;
}

bool refer_agrees(const Reference *a, const Reference *b, Verdict *v) {
    for (int i = 0; i < a->g->nout; i++) {
        const char *name = a->g->out[i].name;
        const RefTensor *x = interp_out(a->exact, name), *y = interp_out(b->exact, name);
        if (!x || !y || !ir_type_equal(&x->type, &y->type)) continue;
        double slack = 1e-3 * refer_slack(a, x, name);
        for (int64_t k = 0, n = ir_elems(&x->type); k < n; k++) {
            if (fabs(x->data[k] - y->data[k]) <= 1e-9 * (1 + fabs(x->data[k])) + slack) continue;
            return verdict_set(v, OUT_OF_expand, "expand",
                               "%s[%lld] is %.12g of ops, %.12g of what they are made of", name,
                               (long long)k, x->data[k], y->data[k]);
        }
    }
    return true;
}
