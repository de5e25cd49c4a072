/* Images by themselves, files or pixels in memory, as a data set would have them: for who has
 * images and no data set.
 *
 * Does not: know classes, folders or splits. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/data/dataset.h"
#include "runtime/data/internal.h"

struct VmImageReader {
    VmImageForm form;
    float value[3][256];
    int threads;
    VmImageDecoder **decoder; /* [threads] */
    uint8_t **pixels;         /* [threads], one image each */
};

VmStatus vm_image_reader_open(const VmDataQuery *q, int64_t height, int64_t width, int threads,
                              VmImageReader **out, VmError *err) {
    VmImageReader *r = vm_calloc(1, sizeof *r);
    *out = r;
    if (!r) return vm_fail(err, VM_ENV, "out of memory");
    VmStatus s = vm_team_ready(threads, err);
    if (s) return s;
    r->threads = threads;
    r->form = (VmImageForm){.channels = vm_channels_of(q, &vm_sources[q->kind]),
                            .resize = q->resize,
                            .height = height,
                            .width = width,
                            .first = "what the model takes"};
    vm_pixel_values(q, r->form.channels, r->value);
    r->decoder = vm_calloc((size_t)threads, sizeof(VmImageDecoder *));
    r->pixels = vm_calloc((size_t)threads, sizeof(uint8_t *));
    bool good = r->decoder && r->pixels;
    for (int i = 0; i < threads && good; i++) {
        r->decoder[i] = vm_image_decoder_create();
        r->pixels[i] = malloc((size_t)vm_form_bytes(&r->form));
        good = r->decoder[i] && r->pixels[i];
    }
    return good ? VM_OK : vm_fail(err, VM_ENV, "out of memory for images");
}

void vm_image_reader_close(VmImageReader *r) {
    if (!r) return;
    for (int i = 0; i < r->threads; i++) {
        if (r->decoder) vm_image_decoder_destroy(r->decoder[i]);
        if (r->pixels) free(r->pixels[i]);
    }
    free(r->decoder);
    free(r->pixels);
    free(r);
}

static VmStatus read_file(const VmImageReader *r, VmImageDecoder *d, const char *path,
                          const char *shown, uint8_t *to, VmError *err) {
    char *bytes;
    size_t n;
    bool damaged;
    VmStatus s = vm_image_bytes(path, &bytes, &n, err);
    if (!s) s = vm_image_decode(d, &r->form, shown, (const uint8_t *)bytes, n, to, &damaged, err);
    free(bytes);
    return s;
}

static VmStatus check_pixels(const VmSingleImage *x, const char *shown, VmError *err) {
    if (x->channels != 1 && x->channels != 3 && x->channels != 4)
        return vm_fail(err, VM_USAGE, "%s has %" PRId64 " channels; expected are 1, 3 or 4", shown,
                       x->channels);
    if (x->height < 1 || x->width < 1 ||
        x->height > VM_MAX_IMAGE_BYTES / x->width / (int64_t)x->channels)
        return vm_fail(err, VM_USAGE,
                       "%s is %" PRId64 " x %" PRId64 "; expected are sides of at least 1, and at "
                       "most %d MiB",
                       shown, x->height, x->width, VM_MAX_IMAGE_BYTES >> 20);
    return VM_OK;
}

/* Pixels that are seen through v become the model's. */
static VmStatus fit(const VmImageForm *f, const VmSingleImage *x, const VmImageView *v,
                    const char *shown, uint8_t *to, VmError *err) {
    if (x->height != f->height || x->width != f->width) {
        if (!f->resize) return vm_image_other_size(f, shown, x->height, x->width, err);
        bool done = vm_resize_view(v, f->channels, x->height, x->width, to, f->height, f->width);
        return done ? VM_OK : vm_fail(err, VM_ENV, "%s: out of memory resizing", shown);
    }
    for (int64_t c = 0; c < f->channels; c++)
        for (int64_t y = 0; y < f->height; y++)
            for (int64_t i = 0; i < f->width; i++)
                *to++ = v->at[c * v->plane + y * v->down + i * v->across];
    return VM_OK;
}

/* As a file of these pixels would be read. */
static VmStatus read_pixels(const VmImageReader *r, const VmSingleImage *x, const char *shown,
                            uint8_t *to, VmError *err) {
    VmStatus s = check_pixels(x, shown, err);
    if (s) return s;
    VmImageView v = {.at = x->pixels,
                     .plane = x->channels > 1, /* of grey ones all three colours are the same */
                     .down = x->width * x->channels,
                     .across = x->channels};
    if (r->form.channels > 1 || x->channels == 1) return fit(&r->form, x, &v, shown, to, err);
    int64_t n = x->height * x->width;
    uint8_t *grey = malloc((size_t)n);
    if (!grey) return vm_fail(err, VM_ENV, "%s: out of memory for %" PRId64 " bytes", shown, n);
    for (int64_t i = 0; i < n; i++) grey[i] = vm_grey(x->pixels + i * x->channels);
    v = (VmImageView){.at = grey, .down = x->width, .across = 1};
    s = fit(&r->form, x, &v, shown, to, err);
    free(grey);
    return s;
}

static VmStatus read_one(VmImageReader *r, int thread, const VmSingleImage *x, float *to,
                         VmError *err) {
    char shown[VM_SHOWN_NAME];
    uint8_t *pixels = r->pixels[thread];
    if (!x->path && !x->pixels)
        return vm_fail(err, VM_USAGE, "an image is a file or pixels; neither was given");
    vm_names_show(x->path ? x->path : "an image", shown);
    VmStatus s = x->pixels ? read_pixels(r, x, shown, pixels, err)
                           : read_file(r, r->decoder[thread], x->path, shown, pixels, err);
    int64_t plane = r->form.height * r->form.width;
    for (int64_t c = 0; c < r->form.channels && !s; c++)
        for (int64_t i = 0; i < plane; i++) to[c * plane + i] = r->value[c][pixels[c * plane + i]];
    return s;
}

void vm_image_reader_read(VmImageReader *r, const VmSingleImage *image, int64_t n, float *to,
                          VmError *err) {
    int64_t size = vm_form_bytes(&r->form);
#pragma omp parallel for schedule(dynamic) num_threads(r->threads)
    for (int64_t i = 0; i < n; i++) {
        err[i] = (VmError){.text = ""};
        (void)read_one(r, omp_get_thread_num(), &image[i], to + i * size, &err[i]);
    }
}
