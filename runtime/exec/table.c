/* Constant tables: numbers a model needs that follow from a formula alone. A table's name is its
 * formula. Computed in double from IEEE operations only and rounded once, so that every machine has
 * the same bits.
 *
 * Does not: depend on a seed; keep tables in checkpoints. */
#include "runtime/exec/internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Positions of a grid of rows x cols, row by row, as in masked autoencoders (He et al. 2022): the
 * first half of a line is made from the column, the second from the row; each half is sin(p w_i)
 * for all i, then cos(p w_i), with w_i = 10000^(-i / (dim / 4)). */
static void fill_sincos_2d(int64_t rows, int64_t cols, int64_t dim, float *dst) {
    int64_t quarter = dim / 4;
    double log_base = vm_log(10000);
    for (int64_t i = 0; i < quarter; i++) {
        double w = vm_exp(-log_base * (double)i / (double)quarter);
        for (int64_t r = 0; r < rows * cols; r++) {
            float *line = dst + r * dim + i;
            double x = w * (double)(r % cols), y = w * (double)(r / cols);
            line[0] = (float)vm_sin(x);
            line[quarter] = (float)vm_cos(x);
            line[2 * quarter] = (float)vm_sin(y);
            line[3 * quarter] = (float)vm_cos(y);
        }
    }
}

/* "sincos_2d(12,12,192)": three positive numbers. */
static bool parse_sincos_2d(const char *s, int64_t v[3]) {
    static const char name[] = "sincos_2d";
    if (strncmp(s, name, sizeof name - 1) != 0) return false;
    s += sizeof name - 1;
    for (int i = 0; i < 3; i++) {
        char *end;
        if (*s++ != (i ? ',' : '(')) return false;
        v[i] = strtoll(s, &end, 10);
        if (end == s || v[i] < 1 || v[i] > INT64_C(1) << 20) return false;
        s = end;
    }
    return strcmp(s, ")") == 0;
}

VmStatus vm_fill_table(const VmTensor *t, float *dst, VmError *err) {
    int64_t v[3];
    if (!parse_sincos_2d(t->name, v) || t->dtype != 0 || v[2] % 4 != 0 ||
        vm_tensor_elems(t) != v[0] * v[1] * v[2])
        return vm_fail(err, VM_ENV, "this version of the runtime has no table '%s' of this shape",
                       t->name);
    fill_sincos_2d(v[0], v[1], v[2], dst);
    return VM_OK;
}
