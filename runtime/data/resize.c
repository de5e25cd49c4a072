/* Resizes 8-bit images: bilinear with antialiasing, with the same rounding as the Python Imaging
 * Library, because published results were trained on images resized by it. Rows first, then
 * columns; each pass multiplies with weights in fixed point (22 bits), adds one half and rounds to
 * a byte. (Pillow 10 does exactly this; Pillow 13 takes the columns first when the image gets wider
 * and lower, which moves single pixels by one.)
 *
 * Enlarging, the filter is the usual tent one source pixel wide; shrinking, it is as wide as the
 * factor, so every source pixel counts.
 *
 * Does not: crop or keep proportions; that is the caller's choice of sizes. */
#include "runtime/data/internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { FRACTION_BITS = 22 };

/* Weights of one pass: output i is the sum of weight[i * width + j] * input[first[i] + j], j <
 * count[i]. */
typedef struct Taps {
    int64_t width;
    int64_t *first, *count;
    int32_t *weight;
} Taps;

static void taps_free(Taps *t) {
    free(t->first);
    free(t->count);
    free(t->weight);
}

static double tent(double x) {
    x = fabs(x);
    return x < 1 ? 1 - x : 0;
}

static void one_output(Taps *t, int64_t i, int64_t in, double scale, double support, double *w) {
    double centre = ((double)i + 0.5) * scale, narrow = 1 / support, sum = 0;
    int64_t first = (int64_t)(centre - support + 0.5), end = (int64_t)(centre + support + 0.5);
    if (centre - support + 0.5 < 0) first = 0;
    if (end > in) end = in;
    for (int64_t j = first; j < end; j++) {
        w[j - first] = tent(((double)j - centre + 0.5) * narrow);
        sum += w[j - first];
    }
    for (int64_t j = 0; j < end - first; j++) {
        double normal = sum != 0 ? w[j] / sum : w[j];
        t->weight[i * t->width + j] = (int32_t)(0.5 + normal * (1 << FRACTION_BITS));
    }
    t->first[i] = first;
    t->count[i] = end - first;
}

static bool taps_create(Taps *t, int64_t in, int64_t out) {
    double scale = (double)in / (double)out, support = scale < 1 ? 1 : scale;
    t->width = (int64_t)ceil(support) * 2 + 1;
    t->first = vm_calloc((size_t)out, sizeof *t->first);
    t->count = vm_calloc((size_t)out, sizeof *t->count);
    t->weight = vm_calloc((size_t)(out * t->width), sizeof *t->weight);
    double *w = vm_calloc((size_t)t->width, sizeof *w);
    bool ok = t->first && t->count && t->weight && w;
    for (int64_t i = 0; ok && i < out; i++) one_output(t, i, in, scale, support, w);
    free(w);
    if (!ok) taps_free(t);
    return ok;
}

/* Weights are not negative and sum to about one, so the result only needs a cut above. */
static uint8_t weigh(const uint8_t *src, int64_t stride, const int32_t *weight, int64_t count) {
    int32_t sum = 1 << (FRACTION_BITS - 1);
    for (int64_t j = 0; j < count; j++) sum += src[j * stride] * weight[j];
    int32_t value = sum >> FRACTION_BITS;
    return (uint8_t)(value < 255 ? value : 255);
}

/* Rows of one plane, each as wide as the result. */
static void narrow(const VmImageView *v, const uint8_t *plane, int64_t h, const Taps *t,
                   uint8_t *rows, int64_t ow) {
    for (int64_t y = 0; y < h; y++) {
        const uint8_t *row = plane + y * v->down;
        for (int64_t x = 0; x < ow; x++) {
            const int32_t *weight = t->weight + x * t->width;
            const uint8_t *from = row + t->first[x] * v->across;
            rows[y * ow + x] = v->across == 1 ? weigh(from, 1, weight, t->count[x])
                                              : weigh(from, v->across, weight, t->count[x]);
        }
    }
}

bool vm_resize_view(const VmImageView *v, int64_t n, int64_t h, int64_t w, uint8_t *dst, int64_t oh,
                    int64_t ow) {
    Taps across, down;
    if (!taps_create(&across, w, ow)) return false;
    if (!taps_create(&down, h, oh)) {
        taps_free(&across);
        return false;
    }
    uint8_t *rows = vm_calloc((size_t)(h * ow), 1);
    for (int64_t k = 0; rows && k < n; k++) {
        uint8_t *result = dst + k * oh * ow;
        narrow(v, v->at + k * v->plane, h, &across, rows, ow);
        for (int64_t y = 0; y < oh; y++) {
            const int32_t *weight = down.weight + y * down.width;
            for (int64_t x = 0; x < ow; x++) {
                result[y * ow + x] =
                    weigh(rows + down.first[y] * ow + x, ow, weight, down.count[y]);
            }
        }
    }
    bool ok = rows != NULL;
    free(rows);
    taps_free(&across);
    taps_free(&down);
    return ok;
}

bool vm_resize_u8(const uint8_t *src, int64_t n, int64_t h, int64_t w, uint8_t *dst, int64_t oh,
                  int64_t ow) {
    return vm_resize_view(&(VmImageView){src, h * w, w, 1}, n, h, w, dst, oh, ow);
}
