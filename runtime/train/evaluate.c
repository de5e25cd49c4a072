/* Loss and metrics of given weights over a whole data set, in order, last partial batch included.
 * Means are weighted by images, so they do not depend on the size of a batch but for rounding. */
#include "runtime/train/internal.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

const char *const vm_eval_split_names[VM_EVAL_SPLITS] = {
    [VM_EVAL_TEST] = "test", [VM_EVAL_VALIDATION] = "validation", [VM_EVAL_TRAIN] = "train"};

/* What is no finite number is an error, and never a right answer. */
static VmStatus refuse(const VmFailure *f, VmError *err) {
    char text[600];
    vm_failure_text(f, text, sizeof text);
    return vm_fail(err, VM_INPUT, "%s%s%s", f->place ? f->place : "", f->place ? ": " : "", text);
}

static VmStatus evaluate_all(const VmEvaluation *v, VmBinding *b, VmFeed *feed, int64_t steps,
                             VmEvalResult *result, bool *stopped, VmFailure *failure,
                             VmError *err) {
    int64_t first = 0;
    *result = (VmEvalResult){0};
    for (int64_t step = 0; step < steps; step++) {
        *stopped = v->stop && *v->stop;
        if (*stopped) return VM_OK;
        int64_t n = vm_feed_images(feed, step);
        if (b->program < 0 || b->batch != n) {
            VmStatus s = vm_bind(b, v->engine, v->source, v->user, false, n, v->data, err);
            if (s) return s;
        }
        VmStatus fed = vm_feed_batch(feed, step, &b->input, err);
        if (fed) return fed;
        vm_engine_run(v->engine, b->program, 0, 0);
        failure->step = step + 1;
        failure->first = first;
        if (vm_failure_find(b, failure)) return refuse(failure, err);
        if (v->watch) v->watch(v->watcher, b->program, first, n);
        vm_result_add(result, b, n);
        first += n;
    }
    vm_result_mean(result);
    return VM_OK;
}

VmStatus vm_evaluate(const VmEvaluation *v, VmEvalResult *result, bool *stopped, VmError *err) {
    bool broken_off = false;
    VmFailure unasked, *failure = v->failure ? v->failure : &unasked;
    *failure = (VmFailure){.kind = NULL};
    int64_t size = vm_dataset_size(v->data), batch = v->batch < size ? v->batch : size;
    if (v->batch < 1)
        return vm_fail(err, VM_USAGE, "batch must be at least 1, it is %" PRId64, v->batch);
    VmBinding b = {.program = -1};
    VmStatus s = vm_bind(&b, v->engine, v->source, v->user, false, batch, v->data, err);
    if (s) return s;
    VmFeedSpec spec = {.source = v->data,
                       .order = VM_ORDER_STORED,
                       .batch = batch,
                       .label = b.input.label != NULL,
                       .classes = b.input.classes,
                       .end = vm_feed_steps(size, batch, false)};
    VmFeed *feed;
    failure->feed = spec;
    s = vm_feed_open(&feed, &spec, err);
    if (!s) s = evaluate_all(v, &b, feed, spec.end, result, &broken_off, failure, err);
    if (stopped) *stopped = broken_off;
    vm_binding_free(&b);
    if (feed) vm_feed_close(feed);
    return s;
}
