/* Sums of losses and metrics over an epoch of training, which a checkpoint in its middle keeps. */
#include "runtime/train/internal.h"

#include <math.h>

/* The next term from *i on that is a metric; NULL: there is none left. */
static const VmTerm *next_metric(const VmBinding *b, int *i) {
    while (*i < b->nterm && b->term[*i].tensor->role != VM_ROLE_METRIC) ++*i;
    return *i < b->nterm ? &b->term[(*i)++] : NULL;
}

void vm_sums_add(VmSums *s, const VmBinding *b, int64_t images) {
    const VmTerm *t;
    s->loss += vm_binding_loss(b, false);
    s->objective += vm_binding_loss(b, true);
    s->nmetric = 0;
    for (int i = 0; (t = next_metric(b, &i));)
        s->metric[s->nmetric++] += (double)*t->value * (double)images;
    s->batches++;
    s->images += images;
}

VmEvalResult vm_sums_means(const VmSums *s, const VmBinding *b) {
    const VmTerm *t;
    VmEvalResult r = {.images = s->images, .loss = s->batches ? s->loss / (double)s->batches : NAN};
    for (int i = 0; s->images && (t = next_metric(b, &i));) {
        double mean = s->metric[r.nmetric] / (double)s->images;
        r.metric[r.nmetric++] = (VmMetric){t->tensor->name, mean};
    }
    return r;
}

bool vm_sums_finite(const VmSums *s) {
    bool finite = isfinite(s->loss) && isfinite(s->objective);
    for (int i = 0; i < s->nmetric; i++) finite = finite && isfinite(s->metric[i]);
    return finite;
}
