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
static int add(VmBatchSize *out, int n, VmSplit split, int64_t images, int64_t batch, bool rest) {
    if (!images) return n;
    bool training = split == VM_TRAIN;
    const char *name = vm_split_names[split];
    out[n++] = (VmBatchSize){name, training, batch < images ? batch : images, 0};
    if (rest && images > batch && images % batch)
        out[n++] = (VmBatchSize){name, training, images % batch, images};
    return n;
}

int vm_train_batches(const VmRecipe *r, const VmImageCounts *c, VmBatchSize out[VM_BATCH_SIZES]) {
    int64_t batch = r->data.batch;
    bool whole_epoch = vm_total_steps(r, c->train) >= vm_steps_per_epoch(&r->data, c->train);
    int n = add(out, 0, VM_TRAIN, c->train, batch, !r->data.drop_last && whole_epoch);
    n = add(out, n, VM_VALIDATION, c->validation, batch, true);
    return add(out, n, VM_TEST, c->test, batch, true);
}

VmImageCounts vm_image_counts(const VmDataset *train, const VmDataset *validation,
                              const VmDataset *test) {
    return (VmImageCounts){.train = vm_dataset_size(train),
                           .validation = validation ? vm_dataset_size(validation) : 0,
                           .test = test ? vm_dataset_size(test) : 0};
}

VmStatus vm_batch_refused(const VmBatchSize *b, const VmError *why, VmError *err) {
    VmStatus s = why->status ? why->status : VM_ENV;
    if (!b->of) return vm_fail(err, s, "%.1900s", why->text);
    return vm_fail(err, s,
                   "%.1500s\n  the last batch of the %" PRId64 " %s images has %" PRId64
                   "; another batch%s avoids it",
                   why->text, b->of, b->split, b->images,
                   b->training ? ", or drop_last = true," : "");
}
