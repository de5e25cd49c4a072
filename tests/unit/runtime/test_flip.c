/* flip: how often, exactly mirrored, the same for any workers and resumed runs, not in evaluation.
 */
#include "runtime/data/feed.h"
#include "tests/unit/runtime/util_toy.h"
#include "tests/unit/runtime/runtime_test.h"

enum { IMAGES = 2000, SIDE = 4, PIXELS = SIDE * SIDE, BATCH = 100, STEPS = 2 * IMAGES / BATCH };

static void take(const VmDataset *d, double probability, int workers, float *image) {
    const VmAugmentSpec flip = {.kind = VM_augment_flip, .probability = probability};
    VmFeedSpec spec = {.source = d,
                       .batch = BATCH,
                       .seed = 3,
                       .end = STEPS,
                       .augment = &flip,
                       .naugment = 1,
                       .rules = vm_augment_rules,
                       .workers = workers};
    VmFeed *f;
    VmError err = {.text = ""};
    cr_assert(vm_feed_open(&f, &spec, &err) == VM_OK, "%s", err.text);
    for (int64_t step = 0; step < STEPS; step++) {
        VmBatch b = {.image = image + step * BATCH * PIXELS};
        cr_assert(vm_feed_batch(f, step, &b, &err) == VM_OK, "%s", err.text);
    }
    vm_feed_close(f);
}

/* Images of 4 x 4 with noise: none is its own mirror image. */
static bool is_mirrored(const float *is, const float *was) {
    bool same = !memcmp(is, was, PIXELS * sizeof *is);
    for (int i = 0; i < PIXELS && !same; i++)
        cr_assert_eq(is[i], was[i / SIDE * SIDE + SIDE - 1 - i % SIDE], "pixel %d", i);
    return !same;
}

Test(runtime_flip, half_of_the_images_are_mirrored, .timeout = 60) {
    char *dir = rt_folder();
    rt_write_split(dir, "train", IMAGES);
    VmDataset *d;
    toy_open(dir, VM_TRAIN, &d);
    size_t n = (size_t)2 * IMAGES * PIXELS;
    float *was = calloc(n, sizeof *was), *is = calloc(n, sizeof *is),
          *ahead = calloc(n, sizeof *is);
    take(d, 0, 0, was);
    take(d, 0.5, 0, is);
    int flips[2] = {0}, both = 0;
    for (int i = 0; i < IMAGES; i++) {
        const float *first = is + i * PIXELS, *then = first + IMAGES * PIXELS;
        bool a = is_mirrored(first, was + i * PIXELS), b = is_mirrored(then, was + i * PIXELS);
        flips[0] += a;
        flips[1] += b;
        both += a && b;
    }
    /* five standard deviations of 2000 coins, and of 2000 pairs */
    cr_assert(abs(flips[0] - 1000) < 112 && abs(flips[1] - 1000) < 112 && abs(both - 500) < 97,
              "%d, %d, both %d", flips[0], flips[1], both);
    for (int workers = 1; workers <= 3; workers += 2) {
        take(d, 0.5, workers, ahead);
        cr_assert(!memcmp(is, ahead, n * sizeof *is), "%d workers", workers);
    }
    take(d, 1, 0, is);
    for (int i = 0; i < IMAGES; i++) cr_assert(is_mirrored(is + i * PIXELS, was + i * PIXELS));
    free(was), free(is), free(ahead);
    vm_dataset_close(d);
    rt_remove(dir);
}

Test(runtime_flip, training_alone_sees_it, .timeout = 60) {
    VmAugmentSpec flip = {.kind = VM_augment_flip, .probability = 0.5};
    char *dir = toy_data();
    ToyConfig c = toy_config(rt_path(dir, "out"));
    vm_spec_default(VM_FIELD_schedule, VM_schedule_constant, &c.recipe.schedule);
    c.run.place.numbered = true;
    c.recipe.epochs.count = 4;
    ToyRun plain = toy_train(dir, &c, 2);
    c.recipe.augment = &flip;
    c.recipe.naugment = 1;
    ToyRun whole = toy_train(dir, &c, 2);
    cr_assert(memcmp(plain.w, whole.w, sizeof plain.w) != 0);
    c.run.place = (VmRunPlace){.out = rt_path(dir, "cut")};
    c.recipe.epochs.count = 2;
    cr_assert(toy_train(dir, &c, 2).status == VM_OK);
    c.recipe.epochs.count = 4;
    c.run.place.resume = true;
    c.run.workers = 3;
    ToyRun resumed = toy_train(dir, &c, 2);
    toy_same_weights(&whole, &resumed, "resumed");
    flip.probability = 0.25;
    ToyRun other = toy_train(dir, &c, 2);
    cr_assert(other.status == VM_USAGE && strstr(other.err.text, "probability"), "%s",
              other.err.text);
    c.run.place = (VmRunPlace){.out = rt_path(dir, "still"), .numbered = true};
    flip.probability = 1;
    c.recipe.schedule.peak = 0; /* weights stay what they are */
    ToyRun flipped = toy_train(dir, &c, 2);
    c.recipe.naugment = 0;
    ToyRun still = toy_train(dir, &c, 2);
    toy_same_weights(&flipped, &still, "no step");
    cr_assert(flipped.result.test.loss == still.result.test.loss &&
              flipped.result.train.loss != still.result.train.loss);
    rt_remove(dir);
}
