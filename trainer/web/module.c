/* The functions of a module: a picture in, probabilities out. All state is one model's, because a
 * page makes an instance of the module for every model it wants.
 *
 * Does not: read files; know what a page looks like. */
#include "trainer/web/internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/data/dataset.h"
#include "runtime/exec/internal.h"
#include "runtime/train/classify.h"

static struct Module {
    VmEngine *engine;
    const VmTensor *input;
    const float *score; /* [classes] */
    int64_t classes;
    double *probability; /* [classes] */
    VmImageForm form;
    float value[3][256];
    uint8_t *seen;         /* [channels][height][width] */
    VmSingleImage picture; /* its pixels: `room` */
    uint8_t *room;
    VmError err;
} module;

/* ---- start ----------------------------------------------------------------------------------- */

static VmStatus fail_memory(size_t bytes) {
    return vm_fail(&module.err, VM_ENV, "there is no memory for %zu bytes", bytes);
}

static VmStatus make_engine(void) {
    const VmProgram *p = vm_web.program;
    size_t needs = vm_engine_needs(&p, 1, 1) + VM_REGION_ALIGN;
    unsigned char *memory = malloc(needs);
    if (!memory) return fail_memory(needs);
    size_t gap = (size_t)(-(uintptr_t)memory % VM_REGION_ALIGN);
    VmRegion r = {memory + gap, needs - gap};
    return vm_engine_create_in(&r, &p, 1, 1, &module.engine, &module.err);
}

static VmStatus take_weights(void) {
    const VmProgram *p = vm_web.program;
    size_t at = 0;
    for (int i = 0; i < p->ntensor; i++) {
        const VmTensor *t = &p->tensor[i];
        if (t->role != VM_ROLE_PARAM) continue;
        size_t n = (size_t)vm_tensor_elems(t);
        if (n > vm_web.nweights - at) break;
        memcpy(vm_engine_address(module.engine, 0, t), vm_web.weights + at, n * sizeof(float));
        at += n;
    }
    vm_engine_weights_changed(module.engine);
    return at == vm_web.nweights ? VM_OK
                                 : vm_fail(&module.err, VM_ENV, "the weights are not the model's");
}

static VmStatus find_tensors(void) {
    const VmProgram *p = vm_web.program;
    for (int i = 0; i < p->ntensor; i++)
        if (p->tensor[i].role == VM_ROLE_INPUT && p->tensor[i].rank == 4 && !module.input)
            module.input = &p->tensor[i];
    const VmTensor *out = vm_engine_tensor(module.engine, 0, VM_OUTPUT_SCORES), *in = module.input;
    if (!in || !out) return vm_fail(&module.err, VM_ENV, "the program scores no images");
    module.score = vm_engine_address(module.engine, 0, out);
    module.classes = out->dim[out->rank - 1];
    module.form = (VmImageForm){.channels = in->dim[1],
                                .height = in->dim[2],
                                .width = in->dim[3],
                                .first = "what the model takes"};
    size_t bytes = (size_t)module.classes * sizeof(double);
    module.probability = vm_calloc((size_t)module.classes, sizeof(double));
    module.seen = vm_calloc((size_t)vm_form_bytes(&module.form), 1);
    return module.probability && module.seen ? VM_OK : fail_memory(bytes);
}

static void find_values(void) {
    VmDataQuery q = {.channels = module.form.channels};
    memcpy(q.mean, vm_web.mean, sizeof q.mean);
    memcpy(q.std, vm_web.std, sizeof q.std);
    vm_pixel_values(&q, module.form.channels, module.value);
}

int32_t vm_web_start(void) {
    if (module.engine)
        return (int32_t)vm_fail(&module.err, VM_USAGE, "the model is started already");
    if (vm_web.abi != VM_ABI_VERSION)
        return (int32_t)vm_fail(&module.err, VM_ENV, "built for version %d of the runtime, not %d",
                                (int)vm_web.abi, (int)VM_ABI_VERSION);
    VmStatus s = make_engine();
    if (!s) s = take_weights();
    if (!s) s = find_tensors();
    if (s) return (int32_t)s;
    find_values();
    /* the first run lays the weights out for the kernels, which no picture has to wait for then */
    (void)vm_engine_run(module.engine, 0, 0, 0);
    return VM_OK;
}

/* ---- pictures -------------------------------------------------------------------------------- */

uint8_t *vm_web_pixels(int32_t height, int32_t width, int32_t channels) {
    free(module.room);
    module.room = NULL;
    module.picture = (VmSingleImage){.height = height, .width = width, .channels = channels};
    if (vm_image_pixels_check(&module.picture, "the picture", &module.err)) return NULL;
    size_t bytes = (size_t)height * (size_t)width * (size_t)channels;
    module.picture.pixels = module.room = vm_calloc(bytes, 1);
    if (!module.room) (void)fail_memory(bytes);
    return module.room;
}

static VmStatus may_run(void) {
    if (!module.probability) return vm_fail(&module.err, VM_USAGE, "the model is not started");
    if (!module.room) return vm_fail(&module.err, VM_USAGE, "there is no picture");
    return VM_OK;
}

/* What is seen, through the model. */
static VmStatus run(void) {
    const VmImageForm *f = &module.form;
    float *to = vm_engine_address(module.engine, 0, module.input);
    int64_t plane = f->height * f->width;
    for (int64_t i = 0; i < f->channels * plane; i++)
        to[i] = module.value[i / plane][module.seen[i]];
    (void)vm_engine_run(module.engine, 0, 0, 0);
    for (int64_t i = 0; i < module.classes; i++)
        if (!isfinite(module.score[i]))
            return vm_fail(&module.err, VM_INPUT, "the model's answer is no number");
    vm_softmax(module.score, module.classes, module.probability);
    return VM_OK;
}

static VmStatus look(const VmSingleImage *x, bool any_size) {
    module.form.resize = vm_web.resize || any_size;
    VmStatus s = vm_image_pixels(&module.form, x, "the picture", module.seen, &module.err);
    return s ? s : run();
}

int32_t vm_web_classify(int32_t any_size) {
    VmStatus s = may_run();
    return (int32_t)(s ? s : look(&module.picture, any_size != 0));
}

int32_t vm_web_draw(void) {
    const VmSingleImage *x = &module.picture;
    VmStatus s = may_run();
    if (s) return (int32_t)s;
    if (x->channels != 1 || module.form.channels != 1)
        return (int32_t)vm_fail(&module.err, VM_USAGE,
                                "a drawing has one channel, for a model that takes one");
    uint8_t digit[VM_WEB_DIGIT * VM_WEB_DIGIT];
    s = vm_web_centre(x->pixels, x->height, x->width, digit, &module.err);
    return (int32_t)(s ? s
                       : look(&(VmSingleImage){.pixels = digit,
                                               .height = VM_WEB_DIGIT,
                                               .width = VM_WEB_DIGIT,
                                               .channels = 1},
                              true));
}

/* ---- facts ----------------------------------------------------------------------------------- */

const char *vm_web_info(void) {
    return vm_web.info;
}

const double *vm_web_probabilities(void) {
    return module.probability;
}

const uint8_t *vm_web_seen(void) {
    return module.seen;
}

const char *vm_web_error(void) {
    return module.err.text;
}
