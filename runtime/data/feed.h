/* Batches of a data set, step by step. What a batch holds is a function of the seed and the step
 * alone: neither the number of workers nor timing changes it. */
#ifndef VMOEC_RUNTIME_DATA_FEED_H
#define VMOEC_RUNTIME_DATA_FEED_H

#include "runtime/data/augment.h"
#include "runtime/data/data.h"

typedef enum VmOrder {
    VM_ORDER_STORED,  /* as the data set has them, in every epoch */
    VM_ORDER_SHUFFLED /* vm_dataset_shuffle's, a new one in every epoch */
} VmOrder;

enum { VM_MAX_WORKERS = 64 };

typedef struct VmFeedSpec {
    const VmDataset *source; /* borrowed */
    VmOrder order;
    int64_t batch;                /* images of a step; the last step of an epoch may have fewer */
    bool drop_last;               /* such a step is left out */
    uint64_t seed;                /* of the order and of augmentations */
    bool label;                   /* whether numbers of classes are asked for */
    int64_t classes;              /* columns of labels that are shares; 0: none are asked for */
    int64_t end;                  /* steps from here on are not made ahead */
    const VmAugmentSpec *augment; /* borrowed */
    int naugment;
    const VmAugmentRule *rules; /* by kind of augmentation: vm_augment_rules, but in tests */
    /* threads that make batches ahead; 0: the caller makes them when it asks, unless images are to
     * be decoded: then there is one */
    int workers;
} VmFeedSpec;

typedef struct VmFeed VmFeed;

/* VM_ENV: no memory, or no thread can be made. Workers begin with the first batch. */
VmStatus vm_feed_open(VmFeed **out, const VmFeedSpec *spec, VmError *err);
void vm_feed_close(VmFeed *f);

/* Steps in an epoch of that many images. (query.c) */
int64_t vm_feed_steps(int64_t images, int64_t batch, bool drop_last);
/* How many images step 0, 1, .. of a run has. */
int64_t vm_feed_images(const VmFeed *f, int64_t step);
/* Fills the batch of a step: `to` says where, for at least vm_feed_images. Steps one after the
 * other are made ahead; any other order works, and waits. Fails only where images are decoded, when
 * a file cannot be read or has changed. Allocates nothing for images that are held. */
VmStatus vm_feed_batch(VmFeed *f, int64_t step, VmBatch *to, VmError *err);
/* Threads that a feed over such data has, asked for so many. */
int vm_feed_workers(bool held, int asked);
/* Seconds that vm_feed_batch took since this was asked last: a step waits for its data so long. */
double vm_feed_waited(VmFeed *f);

#endif
