/* Image files by themselves, as a data set would have them: for who has images and no data set.
 *
 * Does not: know classes, folders or splits. */
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

static VmStatus read_one(VmImageReader *r, int thread, const char *path, float *to, VmError *err) {
    char *bytes, shown[VM_SHOWN_NAME];
    size_t n;
    bool damaged;
    uint8_t *pixels = r->pixels[thread];
    vm_names_show(path, shown);
    VmStatus s = vm_image_bytes(path, &bytes, &n, err);
    if (!s)
        s = vm_image_decode(r->decoder[thread], &r->form, shown, (const uint8_t *)bytes, n, pixels,
                            &damaged, err);
    free(bytes);
    int64_t plane = r->form.height * r->form.width;
    for (int64_t c = 0; c < r->form.channels && !s; c++)
        for (int64_t i = 0; i < plane; i++) to[c * plane + i] = r->value[c][pixels[c * plane + i]];
    return s;
}

void vm_image_reader_read(VmImageReader *r, const char *const *path, int64_t n, float *to,
                          VmError *err) {
    int64_t size = vm_form_bytes(&r->form);
#pragma omp parallel for schedule(dynamic) num_threads(r->threads)
    for (int64_t i = 0; i < n; i++) {
        err[i] = (VmError){.text = ""};
        (void)read_one(r, omp_get_thread_num(), path[i], to + i * size, &err[i]);
    }
}
