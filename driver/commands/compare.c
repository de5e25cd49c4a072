/* How far compiled results are from the interpreter's. */
#include "driver/commands/compare.h"

#include <math.h>

double compare_largest(const double *x, int64_t n) {
    double m = 0;
    for (int64_t i = 0; i < n; i++) m = fmax(m, fabs(x[i]));
    return m;
}

static double element(const VmTensor *t, const void *have, int64_t i) {
    return t->dtype ? (double)((const int32_t *)have)[i] : (double)((const float *)have)[i];
}

double compare_spread(const VmTensor *t, const void *have, const RefTensor *want, double floor) {
    int64_t n = ir_elems(&want->type);
    double square = 0, sum = 0;
    for (int64_t i = 0; i < n; i++) {
        double d = element(t, have, i) - want->data[i];
        sum += d * d;
        square += want->data[i] * want->data[i];
    }
    double count = n ? (double)n : 1,
           spread = sqrt(sum / count) / fmax(sqrt(square / count), floor);
    return isnan(spread) ? INFINITY : spread;
}

double compare_difference(const VmTensor *t, const void *have, const RefTensor *want, double floor,
                          double slack) {
    int64_t n = ir_elems(&want->type);
    double scale = fmax(compare_largest(want->data, n), floor), worst = 0;
    for (int64_t i = 0; i < n; i++) {
        double d = (fabs(element(t, have, i) - want->data[i]) - slack) / scale;
        if (!(d <= worst)) worst = isnan(d) ? INFINITY : d;
    }
    return worst;
}
