/* Evaluating and predicting. */
#include "trainer/library/library.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "runtime/data/dataset.h"
#include "runtime/train/classify.h"

/* ---- evaluating ------------------------------------------------------------------------------ */

typedef struct Sums {
    VmEvalResult r;
    double objective;
    int64_t batches;
} Sums;

/* The program has its images: `first` is the number of the first of them. */
static VmStatus judge(vmlib *h, vmlib_program *p, int64_t first, Sums *sums) {
    VmFailure f = {.first = first, .step = sums->batches + 1};
    (void)vm_engine_run(h->engine, p->bind.program, 0, 0);
    if (vm_failure_find(&p->bind, &f)) {
        char text[600];
        vm_failure_text(&f, text, sizeof text);
        return vm_fail(&h->err, VM_INPUT, "%s%s%s", f.place ? f.place : "", f.place ? ": " : "",
                       text);
    }
    vm_result_add(&sums->r, &p->bind, p->bind.batch);
    sums->objective += vm_binding_loss(&p->bind, true) * (double)p->bind.batch;
    sums->batches++;
    return VM_OK;
}

static void tell(Sums *s, vmlib_result *out) {
    vm_result_mean(&s->r);
    *out = (vmlib_result){.images = s->r.images,
                          .steps = s->batches,
                          .loss = s->r.loss,
                          .objective = s->objective / (double)s->r.images,
                          .metrics = s->r.nmetric};
    for (int i = 0; i < s->r.nmetric; i++) out->metric[i] = s->r.metric[i].value;
}

static VmStatus evaluate(vmlib *h, const float *images, const int32_t *labels, int64_t n,
                         vmlib_result *out) {
    Sums sums = {.batches = 0};
    vmlib_program *p = vmlib_find(h, VM_BUILT_JUDGE, n);
    VmStatus s = p ? vmlib_feed(h, p, images, labels) : VM_USAGE;
    if (!s) s = judge(h, p, 0, &sums);
    if (s) return s;
    h->loss = vm_binding_loss(&p->bind, false);
    if (out) tell(&sums, out);
    return VM_OK;
}

vmlib_status vmlib_evaluate(vmlib *h, const float *images, const int32_t *labels, int64_t n,
                            vmlib_result *out) {
    VmStatus s = vmlib_begin(h, true);
    return s ? (vmlib_status)s : vmlib_end(h, evaluate(h, images, labels, n, out));
}

/* Batches as vmoec has them: whole ones, then the rest; all images where they are fewer. */
static VmStatus evaluate_all(vmlib *h, int64_t images, vmlib_fill fill, void *user,
                             vmlib_result *out) {
    int64_t batch = h->built->recipe->data.batch, rest = images % batch;
    Sums sums = {.batches = 0};
    if (images < 1 || !fill)
        return vm_fail(&h->err, VM_USAGE,
                       "expected at least one image and a function that fills batches, found "
                       "%" PRId64 " images and %s",
                       images, fill ? "one" : "none");
    if (images >= batch && !vmlib_find(h, VM_BUILT_JUDGE, batch)) return VM_USAGE;
    if (rest && !vmlib_find(h, VM_BUILT_JUDGE, rest)) return VM_USAGE;
    VmStatus s = VM_OK;
    for (int64_t at = 0, n; at < images && !s; at += n) {
        n = images - at < batch ? images - at : batch;
        vmlib_program *p = vmlib_find(h, VM_BUILT_JUDGE, n);
        vmlib_batch b = {.index = at / batch, .first = at};
        s = vmlib_fill_in(h, p, &b, fill, user);
        if (!s) s = judge(h, p, at, &sums);
    }
    if (!s && out) tell(&sums, out);
    return s;
}

vmlib_status vmlib_evaluate_all(vmlib *h, int64_t images, vmlib_fill fill, void *user,
                                vmlib_result *out) {
    VmStatus s = vmlib_begin(h, true);
    return s ? (vmlib_status)s : vmlib_end(h, evaluate_all(h, images, fill, user, out));
}

/* ---- predicting ------------------------------------------------------------------------------ */

static VmStatus predict(vmlib *h, const float *images, int64_t n, double *probability) {
    vmlib_program *p = vmlib_find(h, VM_BUILT_PREDICT, n);
    if (!p) return VM_USAGE;
    if (!images || !probability)
        return vm_fail(&h->err, VM_USAGE,
                       "expected images and room for %" PRId64 " probabilities, found no %s",
                       n * p->classes, images ? "room" : "images");
    VmStatus s = vmlib_feed_images(h, p, images);
    if (s) return s;
    (void)vm_engine_run(h->engine, p->bind.program, 0, 0);
    for (int64_t i = 0; i < n; i++)
        vm_softmax(p->score + i * p->classes, p->classes, probability + i * p->classes);
    return VM_OK;
}

vmlib_status vmlib_predict(vmlib *h, const float *images, int64_t n, double *probability) {
    VmStatus s = vmlib_begin(h, true);
    return s ? (vmlib_status)s : vmlib_end(h, predict(h, images, n, probability));
}

void vmlib_pixels(const uint8_t *bytes, int64_t n, float *to) {
    VmDataQuery q = vm_data_query(&vm_built.recipe->data, NULL);
    const VmProgram *p = vm_built.program[0].program;
    float value[3][256];
    for (int i = 0; i < p->ntensor; i++) {
        const VmTensor *t = &p->tensor[i];
        if (t->role != VM_ROLE_INPUT || vm_input_use(t) != VM_USE_IMAGE || t->rank != 4) continue;
        int64_t plane = t->dim[2] * t->dim[3], channels = t->dim[1];
        if (channels > 3) return;
        vm_pixel_values(&q, channels, value);
        for (int64_t k = 0; k < n * channels; k++)
            for (int64_t j = 0; j < plane; j++)
                to[k * plane + j] = value[k % channels][bytes[k * plane + j]];
    }
}
