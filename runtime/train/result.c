/* What an evaluation says: sums over batches, then means over images. */
#include "runtime/train/internal.h"

#include <math.h>
#include <string.h>

double vm_metric(const VmEvalResult *r, const char *name) {
    for (int i = 0; i < r->nmetric; i++)
        if (strcmp(r->metric[i].name, name) == 0) return r->metric[i].value;
    return NAN;
}

void vm_result_add(VmEvalResult *sum, const VmBinding *b, int64_t n) {
    int metrics = 0;
    sum->loss += vm_binding_loss(b, false) * (double)n;
    for (int i = 0; i < b->nterm && metrics < VM_MAX_METRICS; i++) {
        if (b->term[i].tensor->role != VM_ROLE_METRIC) continue;
        VmMetric *m = &sum->metric[metrics++];
        m->name = b->term[i].tensor->name;
        m->value += (double)*b->term[i].value * (double)n;
    }
    sum->nmetric = metrics;
    sum->images += n;
}

void vm_result_mean(VmEvalResult *sum) {
    sum->loss /= (double)sum->images;
    for (int i = 0; i < sum->nmetric; i++) sum->metric[i].value /= (double)sum->images;
}
