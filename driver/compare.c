/* How far compiled results are from the interpreter's. */
#include "driver/compare.h"

#include <math.h>

double compare_largest(const double *x, int64_t n) {
    double m = 0;
    for (int64_t i = 0; i < n; i++) m = fmax(m, fabs(x[i]));
    return m;
}

double compare_difference(const VmTensor *t, const void *have, const RefTensor *want, double floor) {
    int64_t n = ir_elems(&want->type);
    double scale = fmax(compare_largest(want->data, n), floor), worst = 0;
    for (int64_t i = 0; i < n; i++) {
        double x = t->dtype ? (double)((const int32_t *)have)[i] : (double)((const float *)have)[i];
        double d = fabs(x - want->data[i]) / scale;
        if (!(d <= worst)) worst = isnan(d) ? INFINITY : d;
    }
    return worst;
}
