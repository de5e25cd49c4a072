/* Images by themselves, files or pixels in memory, as a data set would have them: for who has
 * images and no data set.
 *
 * Does not: know classes, folders or splits. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/data/dataset.h"
#include "runtime/data/image.h"

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

static VmStatus read_one(VmImageReader *r, int thread, const VmSingleImage *x, float *to,
                         VmError *err) {
    char shown[VM_SHOWN_NAME];
    uint8_t *pixels = r->pixels[thread];
    if (!x->path && !x->pixels)
        return vm_fail(err, VM_USAGE, "an image is a file or pixels; neither was given");
    vm_names_show(x->path ? x->path : "an image", shown);
    VmStatus s = x->pixels ? vm_image_pixels(&r->form, x, shown, pixels, err)
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
