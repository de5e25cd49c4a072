/* Training: initial weights, steps and epochs, with the bits of runtime/train/trainer.c. */
#include "trainer/library/library.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* ---- the beginning --------------------------------------------------------------------------- */

static VmStatus init(vmlib *h, int64_t seed, int64_t images) {
    int64_t batch = h->built->recipe->data.batch;
    bool drop = h->built->recipe->data.drop_last;
    if (seed < -1 || images < 0)
        return vm_fail(&h->err, VM_USAGE,
                       "expected a seed from 0 up, or -1, and images of an epoch from 0 up, found "
                       "%" PRId64 " and %" PRId64,
                       seed, images);
    if (drop && images && images < batch)
        return vm_fail(&h->err, VM_USAGE,
                       "expected at least %" PRId64 " images in an epoch of whole batches, found "
                       "%" PRId64,
                       batch, images);
    h->seed = seed < 0 ? h->built->recipe->seed : seed;
    vmlib_plan(h, images);
    vmlib_clear_state(h);
    VmStatus s = vm_engine_init(h->engine, (uint64_t)h->seed, &h->err);
    h->ready = !s;
    return s;
}

vmlib_status vmlib_init(vmlib *h, int64_t seed, int64_t images) {
    VmStatus s = vmlib_begin(h, false);
    return s ? (vmlib_status)s : vmlib_end(h, init(h, seed, images));
}

/* ---- images and labels ----------------------------------------------------------------------- */

static int64_t image_size(const vmlib_program *p) {
    const VmBatch *b = &p->bind.input;
    return b->channels * b->height * b->width;
}

static VmStatus check_images(vmlib *h, const vmlib_program *p) {
    int64_t size = image_size(p), n = p->bind.batch * size, at;
    const float *x = p->bind.input.image;
    if ((at = vm_first_not_finite(x, n)) < 0) return VM_OK;
    return vm_fail(&h->err, VM_INPUT,
                   "value %" PRId64 " of image %" PRId64 " of %" PRId64
                   " is %s, expected a finite number",
                   at % size, at / size, p->bind.batch, vm_failure_value((double)x[at]));
}

static VmStatus put_labels(vmlib *h, vmlib_program *p, const int32_t *label) {
    VmBatch *b = &p->bind.input;
    int64_t classes = b->shares ? b->classes : h->built->classes;
    if (!b->label && !b->shares) return VM_OK;
    for (int64_t i = 0; i < p->bind.batch; i++)
        if (classes > 0 && (label[i] < 0 || label[i] >= classes))
            return vm_fail(&h->err, VM_INPUT,
                           "label %" PRId64 " is %d, expected a class from 0 to %" PRId64, i,
                           (int)label[i], classes - 1);
    for (int64_t i = 0; i < p->bind.batch; i++) {
        if (b->label) b->label[i] = label[i];
        for (int64_t c = 0; b->shares && c < classes; c++)
            b->shares[i * classes + c] = c == label[i] ? 1 : 0;
    }
    return VM_OK;
}

static bool takes_labels(const vmlib_program *p) {
    return p->bind.input.label || p->bind.input.shares;
}

VmStatus vmlib_feed_images(vmlib *h, vmlib_program *p, const float *images) {
    memcpy(p->bind.input.image, images, (size_t)(p->bind.batch * image_size(p)) * sizeof *images);
    return check_images(h, p);
}

VmStatus vmlib_feed(vmlib *h, vmlib_program *p, const float *images, const int32_t *labels) {
    if (!images || (!labels && takes_labels(p)))
        return vm_fail(&h->err, VM_USAGE, "expected images and labels, found no %s",
                       images ? "labels" : "images");
    VmStatus s = vmlib_feed_images(h, p, images);
    return s ? s : put_labels(h, p, labels);
}

VmStatus vmlib_fill_in(vmlib *h, vmlib_program *p, const vmlib_batch *b, vmlib_fill fill,
                       void *user) {
    vmlib_batch to = *b;
    to.images = p->bind.batch;
    to.image = p->bind.input.image;
    to.label = takes_labels(p) ? h->label : NULL;
    int told = fill(user, &to);
    if (told)
        return vm_fail(&h->err, VM_USAGE,
                       "the images of batch %" PRId64 " did not come: fill gave %d", b->index,
                       told);
    VmStatus s = check_images(h, p);
    return s ? s : put_labels(h, p, h->label);
}

/* ---- steps ----------------------------------------------------------------------------------- */

static VmStatus may_step(vmlib *h) {
    const VmRecipe *r = h->built->recipe;
    bool spans = (!r->epochs.in_steps && r->epochs.count > 0) ||
                 (!r->schedule.warmup.in_steps && r->schedule.warmup.count > 0);
    if (h->images || !spans) return VM_OK;
    return vm_fail(&h->err, VM_USAGE,
                   "how many images an epoch has is not known: expected it in a call of init, for "
                   "the recipe counts in epochs");
}

static double rate_of(const vmlib *h, int64_t step) {
    return vm_learning_rate(&h->built->recipe->schedule, step, h->warmup, h->all_steps);
}

/* The program has its images. */
static VmStatus train(vmlib *h, vmlib_program *p) {
    VmFailure f = {.training = true, .step = h->step + 1, .rate = rate_of(h, h->step)};
    vm_step_scalars(&h->built->recipe->optimizer, f.rate, h->step, p->bind.step);
    (void)vm_engine_run(h->engine, p->bind.program, (uint64_t)h->seed, (uint64_t)h->step);
    if (vm_failure_find(&p->bind, &f)) {
        char text[600];
        vm_failure_text(&f, text, sizeof text);
        return vm_fail(&h->err, VM_INPUT, "%s%s%s; the step changed no weight",
                       f.place ? f.place : "", f.place ? ": " : "", text);
    }
    h->step++;
    h->loss = vm_binding_loss(&p->bind, false);
    return VM_OK;
}

static VmStatus step(vmlib *h, const float *images, const int32_t *labels, int64_t n) {
    vmlib_program *p = vmlib_find(h, VM_BUILT_TRAIN, n);
    VmStatus s = p ? may_step(h) : VM_USAGE;
    if (!s) s = vmlib_feed(h, p, images, labels);
    return s ? s : train(h, p);
}

vmlib_status vmlib_step(vmlib *h, const float *images, const int32_t *labels, int64_t n) {
    VmStatus s = vmlib_begin(h, true);
    return s ? (vmlib_status)s : vmlib_end(h, step(h, images, labels, n));
}

/* ---- epochs ---------------------------------------------------------------------------------- */

static int64_t images_of(const vmlib *h, int64_t step) {
    int64_t batch = h->built->recipe->data.batch, left = h->images - step % h->per_epoch * batch;
    return left < batch ? left : batch;
}

/* Programs of all sizes, before the first step. */
static VmStatus may_train(vmlib *h, vmlib_fill fill) {
    if (!fill)
        return vm_fail(&h->err, VM_USAGE, "expected a function that fills batches, found none");
    if (!h->images)
        return vm_fail(&h->err, VM_USAGE,
                       "how many images an epoch has is not known: expected it in a call of init");
    if (!h->per_epoch)
        return vm_fail(&h->err, VM_USAGE,
                       "an epoch of %" PRId64 " images has no whole batch: expected %" PRId64
                       " or more in a call of init",
                       h->images, h->built->recipe->data.batch);
    if (!vmlib_find(h, VM_BUILT_TRAIN, images_of(h, 0))) return VM_USAGE;
    return vmlib_find(h, VM_BUILT_TRAIN, images_of(h, h->per_epoch - 1)) ? VM_OK : VM_USAGE;
}

static void tell(const VmSums *s, const VmBinding *b, vmlib_result *out) {
    VmEvalResult r = vm_sums_means(s, b);
    *out = (vmlib_result){.images = r.images,
                          .steps = s->batches,
                          .loss = r.loss,
                          .objective = s->batches ? s->objective / (double)s->batches : NAN,
                          .metrics = r.nmetric};
    for (int i = 0; i < r.nmetric; i++) out->metric[i] = r.metric[i].value;
}

static VmStatus epoch(vmlib *h, vmlib_fill fill, void *user, vmlib_result *out) {
    VmStatus s = may_train(h, fill);
    VmSums sums = {0};
    int64_t number = s ? 0 : h->step / h->per_epoch, batch = h->built->recipe->data.batch;
    vmlib_program *p = NULL;
    while (!s && h->step / h->per_epoch == number) {
        int64_t index = h->step % h->per_epoch, n = images_of(h, h->step);
        vmlib_batch b = {.epoch = number, .index = index, .first = index * batch};
        p = vmlib_find(h, VM_BUILT_TRAIN, n);
        s = vmlib_fill_in(h, p, &b, fill, user);
        if (!s) s = train(h, p);
        if (!s) vm_sums_add(&sums, &p->bind, n);
    }
    if (out && p) tell(&sums, &p->bind, out);
    return s;
}

vmlib_status vmlib_epoch(vmlib *h, vmlib_fill fill, void *user, vmlib_result *out) {
    VmStatus s = vmlib_begin(h, true);
    return s ? (vmlib_status)s : vmlib_end(h, epoch(h, fill, user, out));
}

static VmStatus order_of(vmlib *h, int64_t number, int64_t *order, int64_t images) {
    const VmRecipe *r = h->built->recipe;
    if (!order || number < 0 || images != h->images)
        return vm_fail(&h->err, VM_USAGE,
                       "expected an epoch from 0 up and room for %" PRId64 " images, found epoch "
                       "%" PRId64 " and %s%" PRId64,
                       h->images, number, order ? "room for " : "no room, ", images);
    if (r->data.shuffle) vm_dataset_shuffle(images, (uint64_t)h->seed, (uint64_t)number, order);
    for (int64_t i = 0; i < images && !r->data.shuffle; i++) order[i] = i;
    return VM_OK;
}

vmlib_status vmlib_order(vmlib *h, int64_t number, int64_t *order, int64_t images) {
    VmStatus s = vmlib_begin(h, false);
    return s ? (vmlib_status)s : vmlib_end(h, order_of(h, number, order, images));
}

/* ---- where it stands ------------------------------------------------------------------------- */

static bool alive(const vmlib *h) {
    return h && h->life == VMLIB_ALIVE;
}

double vmlib_loss(const vmlib *h) {
    return alive(h) ? h->loss : NAN;
}

int64_t vmlib_steps(const vmlib *h) {
    return alive(h) ? h->step : 0;
}

int64_t vmlib_all_steps(const vmlib *h) {
    return alive(h) ? h->all_steps : 0;
}

double vmlib_rate(const vmlib *h) {
    return alive(h) ? rate_of(h, h->step) : NAN;
}
