/* Pixels in memory, as a file of them would be read: what needs no decoder.
 *
 * Does not: normalise. */
#include "runtime/data/image.h"

#include <inttypes.h>
#include <stdlib.h>

VmStatus vm_image_other_size(const VmImageForm *f, const char *name, int64_t h, int64_t w,
                             VmError *err) {
    return vm_fail(err, VM_INPUT,
                   "%s is %" PRId64 " x %" PRId64 " but %s is %" PRId64 " x %" PRId64
                   "; images of different sizes need `resize`",
                   name, h, w, f->first, f->height, f->width);
}

VmStatus vm_image_pixels_check(const VmSingleImage *x, const char *shown, VmError *err) {
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

VmStatus vm_image_pixels(const VmImageForm *f, const VmSingleImage *x, const char *shown,
                         uint8_t *to, VmError *err) {
    VmStatus s = vm_image_pixels_check(x, shown, err);
    if (s) return s;
    VmImageView v = {.at = x->pixels,
                     .plane = x->channels > 1, /* of grey ones all three colours are the same */
                     .down = x->width * x->channels,
                     .across = x->channels};
    if (f->channels > 1 || x->channels == 1) return fit(f, x, &v, shown, to, err);
    int64_t n = x->height * x->width;
    uint8_t *grey = malloc((size_t)n);
    if (!grey) return vm_fail(err, VM_ENV, "%s: out of memory for %" PRId64 " bytes", shown, n);
    for (int64_t i = 0; i < n; i++) grey[i] = vm_grey(x->pixels + i * x->channels);
    v = (VmImageView){.at = grey, .down = x->width, .across = 1};
    s = fit(f, x, &v, shown, to, err);
    free(grey);
    return s;
}
