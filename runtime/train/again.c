/* How another program is given the images, weights and random numbers of what failed, for a closer
 * look.
 *
 * Does not: know what a closer look is: whoever has a compiler asks for the programs
 * (VmRun.failed). */
#include "runtime/train/internal.h"

static int given(void *program, bool training, int64_t batch, VmError *err) {
    (void)training;
    (void)batch;
    (void)err;
    return *(int *)program;
}

VmStatus vm_failure_again(VmEngine *e, int program, const VmFailure *f, VmError *err) {
    VmBinding b = {.program = -1};
    VmFeedSpec spec = f->feed;
    VmFeed *feed = NULL;
    spec.workers = 0;
    spec.end = 0; /* nothing is made ahead */
    VmStatus s = vm_bind(&b, e, given, &program, f->training, f->images, spec.source, err);
    spec.label = b.input.label != NULL;
    spec.classes = b.input.classes;
    if (!s) s = vm_feed_open(&feed, &spec, err);
    if (!s) s = vm_feed_batch(feed, f->step - 1, &b.input, err);
    if (!s) (void)vm_engine_run(e, program, f->seed, f->training ? (uint64_t)f->step - 1 : 0);
    if (feed) vm_feed_close(feed);
    vm_binding_free(&b);
    return s;
}
