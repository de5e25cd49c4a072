/* Learning rates. Steps count from 0. The first warmup_steps rise in a straight line, ending at the
 * peak:
 *
 *   peak * (step + 1) / warmup
 *
 * then, constant: peak; cosine: half a period from the peak to lr_min, which would be reached at
 * step `total`:
 *
 *   min + (peak - min) * (1 + cos(pi * (step - warmup) / (total - warmup))) / 2
 *
 * The cosine is ours (exact.c), so the bits do not depend on the C library. */
#include "runtime/train/internal.h"

double vm_learning_rate(const VmTrainConfig *c, int64_t step, int64_t total) {
    if (step < c->warmup_steps) return c->lr_peak * (double)(step + 1) / (double)c->warmup_steps;
    if (c->schedule == 0) return c->lr_peak;
    if (step >= total) return c->lr_min;
    double done = (double)(step - c->warmup_steps) / (double)(total - c->warmup_steps);
    return c->lr_min + (c->lr_peak - c->lr_min) * 0.5 * (1 + vm_cos_pi(done));
}
