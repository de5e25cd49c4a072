/* Learning rates: the rules of recipe/schedules.def. Steps count from 0. The first `warmup` steps
 * rise in a straight line, ending at the peak:
 *
 *   peak * (step + 1) / warmup
 *
 * then a schedule sees how much of what remains is done, t = (step - warmup) / (total - warmup),
 * which would be 1 at step `total`. Functions are ours (exact.c), so the bits do not depend on the
 * C library. */
#include <math.h>

#include "runtime/train/internal.h"

typedef double Rule(const VmScheduleSpec *s, double t);

#define SCHEDULE(name, length, doc) Rule vm_schedule_##name;
#include "recipe/schedules.def"

double vm_schedule_constant(const VmScheduleSpec *s, double t) {
    (void)t;
    return s->peak;
}

double vm_schedule_cosine(const VmScheduleSpec *s, double t) {
    return s->minimum + (s->peak - s->minimum) * 0.5 * (1 + vm_cos_pi(t));
}

double vm_schedule_polynomial(const VmScheduleSpec *s, double t) {
    double log = t < 1 ? s->power * vm_log(1 - t) : -INFINITY;
    return s->minimum + (s->peak - s->minimum) * (log > -700 ? vm_exp(log) : 0);
}

double vm_learning_rate(const VmScheduleSpec *s, int64_t step, int64_t warmup, int64_t total) {
    static Rule *const rule[] = {
#define SCHEDULE(name, length, doc) [VM_schedule_##name] = vm_schedule_##name,
#include "recipe/schedules.def"
    };
    if (step < warmup) return s->peak * (double)(step + 1) / (double)warmup;
    double t = step < total ? (double)(step - warmup) / (double)(total - warmup) : 1;
    return rule[s->kind](s, t);
}
