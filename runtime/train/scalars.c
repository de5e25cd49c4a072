/* What a step is given beside data: the numbers of the input VM_INPUT_STEP, for whoever runs steps.
 * The power is ours (exact.c), so the bits do not depend on the C library. */
#include "runtime/train/internal.h"

void vm_step_scalars(const VmOptimizerSpec *o, double rate, int64_t step, float *to) {
    if (!to) return;
    uint64_t t = (uint64_t)step + 1;
    to[VM_STEP_RATE] = (float)rate;
    to[VM_STEP_CORRECTION1] = (float)(1 - vm_power(o->beta1, t));
    to[VM_STEP_CORRECTION2] = (float)(1 - vm_power(o->beta2, t));
    to[VM_STEP_FREE] = 0;
}
