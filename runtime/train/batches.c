/* The batch sizes that a run comes to. */
#include <inttypes.h>

#include "runtime/train/internal.h"

int64_t vm_steps_per_epoch(const VmDataSpec *d, int64_t images) {
    return vm_feed_steps(images, d->batch, d->drop_last);
}

int64_t vm_total_steps(const VmRecipe *r, int64_t images) {
    return vm_span_steps(r->epochs, vm_steps_per_epoch(&r->data, images));
}

/* A whole batch, or all images where these are fewer, and what is left at the end. */
static int add(VmBatchSize *out, int n, bool training, int64_t images, int64_t batch, bool rest) {
    out[n++] = (VmBatchSize){training, batch < images ? batch : images, 0};
    if (rest && images > batch && images % batch)
        out[n++] = (VmBatchSize){training, images % batch, images};
    return n;
}

int vm_train_batches(const VmRecipe *r, int64_t train_images, int64_t test_images,
                     VmBatchSize out[VM_BATCH_SIZES]) {
    bool whole_epoch =
        vm_total_steps(r, train_images) >= vm_steps_per_epoch(&r->data, train_images);
    int n = add(out, 0, true, train_images, r->data.batch, !r->data.drop_last && whole_epoch);
    return test_images ? add(out, n, false, test_images, r->data.batch, true) : n;
}

VmStatus vm_batch_refused(const VmBatchSize *b, const VmError *why, VmError *err) {
    VmStatus s = why->status ? why->status : VM_ENV;
    if (!b->of) return vm_fail(err, s, "%.1900s", why->text);
    return vm_fail(err, s,
                   "%.1500s\n  the last batch of the %" PRId64 " %s images has %" PRId64
                   "; another batch%s avoids it",
                   why->text, b->of, b->training ? "training" : "test", b->images,
                   b->training ? ", or drop_last = true," : "");
}
