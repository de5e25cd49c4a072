/* Compiled results against the f64 interpreter's: the one measure and the one tolerance of `verify`
 * and `bench --kernel`. */
#ifndef VMOEC_DRIVER_COMMANDS_COMPARE_H
#define VMOEC_DRIVER_COMMANDS_COMPARE_H

#include "interp/interp.h"
#include "runtime/exec/abi.h"

/* Of a tensor's largest value, or of the floor where that is larger. f32 keeps seven digits; sums
 * of some thousand terms lose two. */
#define COMPARE_TOLERANCE 2e-4

double compare_largest(const double *x, int64_t n);
/* Largest difference of an f32 or i32 tensor beyond `slack`, in units of the larger of the
 * reference's largest value and the floor; infinite when anything is not a number. */
double compare_difference(const VmTensor *t, const void *have, const RefTensor *want, double floor,
                          double slack);

/* Root mean square of the differences, in units of the reference's or of the floor. For rounded
 * operands: a number that falls on the other side of zero changes what relu makes of it altogether,
 * but few do. */
double compare_spread(const VmTensor *t, const void *have, const RefTensor *want, double floor);

#endif
