/* How two files of weights differ. */
#include "driver/session/session.h"

#include <math.h>
#include <string.h>

static double value_at(const VmTensorView *v, int64_t i) {
    return v->dtype ? (double)((const int32_t *)v->data)[i] : (double)((const float *)v->data)[i];
}

/* Of tensors of one shape. A value that is no number on one side only is a difference that is no
 * number, and larger than all others. */
static void compare_values(WeightPair *p, int64_t n) {
    const char *a = p->a->data, *b = p->b->data;
    for (int64_t i = 0; i < n; i++) {
        if (!memcmp(a + 4 * i, b + 4 * i, 4)) continue;
        double x = value_at(p->a, i), y = value_at(p->b, i), d = fabs(x - y);
        p->differ++;
        if (isnan(p->largest) || (p->differ > 1 && d <= p->largest)) continue;
        p->largest = d;
        p->at = i;
    }
}

static WeightPair pair_of(const VmTensorView *a, const VmTensorView *b) {
    WeightPair p = {.a = a, .b = b};
    if (!a || !b) return p;
    p.same_shape = a->dtype == b->dtype && a->rank == b->rank &&
                   !memcmp(a->dim, b->dim, (size_t)a->rank * sizeof a->dim[0]);
    if (p.same_shape) compare_values(&p, session_view_elems(a));
    return p;
}

int64_t session_view_elems(const VmTensorView *v) {
    int64_t n = 1;
    for (int i = 0; i < v->rank; i++) n *= v->dim[i];
    return n;
}

WeightPairs session_weights_compare(Arena *a, const VmTensorFile *f, const VmTensorFile *g) {
    int nf = vm_tensors_count(f), ng = vm_tensors_count(g);
    WeightPairs out = {.of = ARENA_ARRAY(a, WeightPair, nf + ng)};
    for (int i = 0; i < nf; i++) {
        const VmTensorView *v = vm_tensors_at(f, i);
        out.of[out.n++] = pair_of(v, vm_tensors_find(g, v->name));
    }
    for (int i = 0; i < ng; i++) {
        const VmTensorView *v = vm_tensors_at(g, i);
        if (!vm_tensors_find(f, v->name)) out.of[out.n++] = pair_of(NULL, v);
    }
    for (int i = 0; i < out.n; i++) {
        const WeightPair *p = &out.of[i];
        out.only_a += !p->b;
        out.only_b += !p->a;
        out.other_shape += p->a && p->b && !p->same_shape;
        out.differ += p->same_shape && p->differ > 0;
        out.equal += p->same_shape && !p->differ;
    }
    return out;
}
