/* Batches: what a step holds, whoever makes it, ahead or when it is asked for. */
#include "runtime/data/feed.h"
#include "tests/unit/runtime/util_toy.h"
#include "tests/unit/runtime/runtime_test.h"

#include <unistd.h>

#include "base/rng.h"

enum { SIDE = 4, PIXELS = SIDE * SIDE, BATCH = 8, IMAGES = 22, CLASSES = 3 };

typedef struct Given {
    float image[BATCH * PIXELS], shares[BATCH * CLASSES];
    int32_t label[BATCH];
    VmBatch batch;
} Given;

static void take(VmFeed *f, int64_t step, Given *g) {
    memset(g, 0, sizeof *g);
    g->batch = (VmBatch){.image = g->image,
                         .label = g->label,
                         .shares = g->shares,
                         .channels = 1,
                         .height = SIDE,
                         .width = SIDE,
                         .classes = CLASSES};
    VmError err = {.text = ""};
    cr_assert(vm_feed_batch(f, step, &g->batch, &err) == VM_OK, "%s", err.text);
    cr_assert_eq(g->batch.images, vm_feed_images(f, step));
}

static VmFeedSpec feed_of(const VmDataset *d, VmOrder order, int64_t batch, int workers) {
    return (VmFeedSpec){.source = d,
                        .order = order,
                        .batch = batch,
                        .seed = 7,
                        .label = true,
                        .classes = CLASSES,
                        .end = 40,
                        .workers = workers};
}

static VmFeed *opened(const VmFeedSpec *spec) {
    VmFeed *f;
    VmError err = {.text = ""};
    cr_assert(vm_feed_open(&f, spec, &err) == VM_OK, "%s", err.text);
    return f;
}

static VmFeed *open_feed(const VmDataset *d, VmOrder order, int64_t batch, int workers) {
    VmFeedSpec spec = feed_of(d, order, batch, workers);
    return opened(&spec);
}

static void same(const Given *a, const Given *b, int64_t step) {
    cr_assert(a->batch.images == b->batch.images && !memcmp(a->image, b->image, sizeof a->image) &&
                  !memcmp(a->label, b->label, sizeof a->label) &&
                  !memcmp(a->shares, b->shares, sizeof a->shares),
              "step %d", (int)step);
}

/* The order of vm_dataset_shuffle, 8, 8 and 6 images a step. */
Test(runtime_feed, a_step_is_its_part_of_the_order, .timeout = 60) {
    char *dir = toy_data();
    VmDataset *d;
    toy_open(dir, VM_TRAIN, &d);
    VmFeed *f = open_feed(d, VM_ORDER_SHUFFLED, BATCH, 0);
    int64_t order[IMAGES];
    for (int64_t step = 0; step < 9; step++) {
        Given is;
        float image[BATCH * PIXELS];
        int32_t label[BATCH];
        int64_t n = step % 3 == 2 ? 6 : 8;
        vm_dataset_shuffle(IMAGES, 7, (uint64_t)step / 3, order);
        vm_dataset_batch(d, order + step % 3 * BATCH, n, image, label);
        take(f, step, &is);
        cr_assert_eq(is.batch.images, n);
        cr_assert(!memcmp(is.image, image, (size_t)n * PIXELS * sizeof(float)));
        cr_assert(!memcmp(is.label, label, (size_t)n * sizeof(int32_t)));
        for (int i = 0; i < n * CLASSES; i++)
            cr_assert_eq(is.shares[i], i % CLASSES == label[i / CLASSES]);
    }
    vm_feed_close(f);
    f = open_feed(d, VM_ORDER_STORED, BATCH, 0);
    Given is;
    take(f, 5, &is);
    for (int i = 0; i < 6; i++) cr_assert_eq(is.label[i], vm_dataset_label(d, 16 + i));
    vm_feed_close(f);
    vm_dataset_close(d);
    rt_remove(dir);
}

/* With nine workers and ten images, batches of several epochs are in the making at once. */
Test(runtime_feed, workers_change_nothing, .timeout = 60) {
    static const int64_t sizes[] = {BATCH, 5, 1};
    static const int workers[] = {1, 3, 9};
    char *dir = toy_data();
    VmDataset *d, *few;
    toy_open(dir, VM_TRAIN, &d);
    toy_open(dir, VM_TEST, &few); /* ten images */
    for (int k = 0; k < 9; k++) {
        const VmDataset *of = k % 2 ? few : d;
        VmFeed *alone = open_feed(of, VM_ORDER_SHUFFLED, sizes[k / 3], 0);
        VmFeed *ahead = open_feed(of, VM_ORDER_SHUFFLED, sizes[k / 3], workers[k % 3]);
        for (int64_t step = 0; step < 40; step++) {
            Given a, b;
            take(alone, step, &a);
            if (step == 20) usleep(20000); /* all that may be made ahead is made */
            take(ahead, step, &b);
            same(&a, &b, step);
        }
        vm_feed_close(alone);
        vm_feed_close(ahead);
    }
    vm_dataset_close(d);
    vm_dataset_close(few);
    rt_remove(dir);
}

/* As a resumed run does, and beyond the last step. */
Test(runtime_feed, any_step_may_be_asked_for, .timeout = 60) {
    static const int64_t steps[] = {17, 18, 3, 4, 39, 0, 1, 40, 55, 2};
    char *dir = toy_data();
    VmDataset *d;
    toy_open(dir, VM_TRAIN, &d);
    VmFeed *alone = open_feed(d, VM_ORDER_SHUFFLED, BATCH, 0);
    VmFeed *ahead = open_feed(d, VM_ORDER_SHUFFLED, BATCH, 3);
    for (int i = 0; i < 10; i++) {
        Given a, b;
        take(alone, steps[i], &a);
        take(ahead, steps[i], &b);
        same(&a, &b, steps[i]);
    }
    vm_feed_close(alone);
    vm_feed_close(ahead);
    vm_dataset_close(d);
    rt_remove(dir);
}

/* Rules of two kinds: the first marks an image with what it drew, the second mixes a batch with
 * itself turned round. */
static void mark(const VmAugmentSpec *spec, VmPixels *p, const uint32_t key[2]) {
    (void)spec;
    cr_assert(p->channels == 1 && p->height == SIDE && p->width == SIDE);
    p->byte[0] = (uint8_t)vm_rng_bits(key, 0);
    p->byte[1] ^= p->byte[0];
}

static void mix(const VmAugmentSpec *spec, VmBatch *b, const uint32_t key[2]) {
    (void)spec;
    float share = vm_rng_uniform(key, 0);
    for (int64_t i = 0; i < b->images / 2; i++) {
        int64_t j = b->images - 1 - i;
        for (int k = 0; k < PIXELS; k++) {
            float *x = &b->image[i * PIXELS + k];
            *x = *x * share + b->image[j * PIXELS + k] * (1 - share);
        }
        for (int c = 0; c < CLASSES; c++) {
            float *x = &b->shares[i * CLASSES + c];
            *x = *x * share + b->shares[j * CLASSES + c] * (1 - share);
        }
    }
}

Test(runtime_feed, augmentations_see_neither_order_nor_workers, .timeout = 60) {
    static const VmAugmentRule rules[] = {{.pixels = mark}, {.batch = mix}};
    const VmAugmentSpec list[3] = {{.kind = 0}, {.kind = 1}, {.kind = 0}};
    char *dir = toy_data();
    VmDataset *d;
    toy_open(dir, VM_TRAIN, &d);
    VmFeed *feed[3];
    for (int i = 0; i < 3; i++) {
        VmFeedSpec spec = feed_of(d, VM_ORDER_SHUFFLED, BATCH, i == 2 ? 3 : i);
        spec.augment = list;
        spec.naugment = 3;
        spec.rules = rules;
        feed[i] = opened(&spec);
    }
    VmFeed *plain = open_feed(d, VM_ORDER_SHUFFLED, BATCH, 0);
    int marks = 0, mixed = 0;
    for (int64_t step = 0; step < 12; step++) {
        Given is[3], was;
        for (int i = 0; i < 3; i++) take(feed[i], step, &is[i]);
        same(&is[0], &is[1], step);
        same(&is[0], &is[2], step);
        take(plain, step, &was);
        int64_t last = (is[0].batch.images - 1) * PIXELS;
        marks += is[0].image[last] != was.image[last];
        for (int i = 0; i < CLASSES; i++) mixed += is[0].shares[i] > 0 && is[0].shares[i] < 1;
        cr_assert(!memcmp(is[0].image + last + 2, was.image + last + 2, 14 * sizeof(float)));
    }
    cr_assert(marks > 9 && mixed > 5, "%d marks, %d mixed", marks, mixed);
    for (int i = 0; i < 3; i++) vm_feed_close(feed[i]);
    vm_feed_close(plain);
    vm_dataset_close(d);
    rt_remove(dir);
}

Test(runtime_feed, keys_are_an_images_own) {
    uint32_t seen[16][2];
    int n = 0;
    for (int k = 0; k < 16; k++, n++) {
        vm_augment_key((uint64_t)k % 2, k / 2 % 2, k / 4 % 2, k / 8, seen[n]);
        for (int j = 0; j < n; j++) cr_assert(memcmp(seen[j], seen[n], sizeof seen[n]) != 0);
    }
}

Test(runtime_feed, epochs_with_and_without_their_rest) {
    cr_assert(vm_feed_steps(22, 8, false) == 3 && vm_feed_steps(22, 8, true) == 2);
    cr_assert(vm_feed_steps(16, 8, false) == 2 && vm_feed_steps(16, 8, true) == 2);
    cr_assert(vm_feed_steps(3, 8, false) == 1 && vm_feed_steps(3, 8, true) == 0);
}

/* A whole run, and one that was interrupted after the second epoch. */
Test(runtime_feed, training_does_not_see_workers, .timeout = 60) {
    char *dir = toy_data();
    ToyConfig c = toy_config(rt_path(dir, "out"));
    c.run.place.numbered = true;
    c.recipe.epochs = (VmSpan){4, false};
    vm_spec_default(VM_FIELD_schedule, VM_schedule_constant, &c.recipe.schedule);
    ToyRun alone = toy_train(dir, &c, 2);
    c.run.workers = 3;
    ToyRun ahead = toy_train(dir, &c, 2);
    toy_same_weights(&alone, &ahead, "3 workers");
    c.run.place = (VmRunPlace){.out = rt_path(dir, "resumed")};
    c.recipe.epochs.count = 2;
    c.run.workers = 1;
    cr_assert(toy_train(dir, &c, 2).status == VM_OK);
    c.recipe.epochs.count = 4;
    c.run.workers = 3;
    c.run.place.resume = true;
    ToyRun resumed = toy_train(dir, &c, 2);
    toy_same_weights(&alone, &resumed, "resumed with other workers");
    rt_remove(dir);
}
