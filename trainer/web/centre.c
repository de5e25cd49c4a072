/* A drawing becomes what MNIST's images are: the digit in a box of 20 of their 28 pixels, its sides
 * in proportion, in grey levels; and its centre of mass in the middle of the image (LeCun et al.,
 * 1998). Other sizes of images have a box of the same share.
 *
 * Does not: turn or deslant it. */
#include "trainer/web/internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BOX = 20, FIELD = 28 };

typedef struct Box {
    int64_t top, left, height, width;
} Box;

/* What is not black; height 0: all is. */
static Box drawn(const uint8_t *in, int64_t h, int64_t w) {
    int64_t top = h, bottom = -1, left = w, right = -1;
    for (int64_t y = 0; y < h; y++)
        for (int64_t x = 0; x < w; x++) {
            if (!in[y * w + x]) continue;
            if (y < top) top = y;
            bottom = y;
            if (x < left) left = x;
            if (x > right) right = x;
        }
    return bottom < 0 ? (Box){0} : (Box){top, left, bottom - top + 1, right - left + 1};
}

/* A side of what is drawn, in the image: the longer one fills the box. */
static int64_t side_of(int64_t side, int64_t longer, int64_t box) {
    int64_t n = (2 * side * box + longer) / (2 * longer);
    return n > 0 ? n : 1;
}

/* How far the centre of mass has to move, down and right, to lie at the middle. */
static void shift_of(const uint8_t *digit, int64_t h, int64_t w, const VmImageForm *f,
                     int64_t *down, int64_t *right) {
    double mass = 0, y_sum = 0, x_sum = 0;
    for (int64_t y = 0; y < h; y++)
        for (int64_t x = 0; x < w; x++) {
            double m = digit[y * w + x];
            mass += m;
            y_sum += m * (double)y;
            x_sum += m * (double)x;
        }
    *down = *right = 0;
    if (!(mass > 0)) return;
    *down = (int64_t)floor((double)f->height / 2 - y_sum / mass + 0.5);
    *right = (int64_t)floor((double)f->width / 2 - x_sum / mass + 0.5);
}

static void put(const uint8_t *digit, int64_t h, int64_t w, int64_t down, int64_t right,
                const VmImageForm *f, uint8_t *to) {
    memset(to, 0, (size_t)(f->height * f->width));
    for (int64_t y = 0; y < h; y++)
        for (int64_t x = 0; x < w; x++) {
            int64_t row = y + down, column = x + right;
            if (row < 0 || row >= f->height || column < 0 || column >= f->width) continue;
            to[row * f->width + column] = digit[y * w + x];
        }
}

VmStatus vm_web_centre(const VmImageForm *f, const uint8_t *in, int64_t h, int64_t w, uint8_t *to,
                       VmError *err) {
    Box b = drawn(in, h, w);
    if (!b.height) return vm_fail(err, VM_INPUT, "nothing is drawn");
    int64_t longer = b.height > b.width ? b.height : b.width;
    int64_t field = f->height < f->width ? f->height : f->width;
    int64_t box = side_of(BOX, FIELD, field);
    int64_t oh = side_of(b.height, longer, box), ow = side_of(b.width, longer, box), down, right;
    uint8_t *digit = malloc((size_t)(oh * ow));
    VmImageView v = {.at = in + b.top * w + b.left, .down = w, .across = 1};
    bool done = digit && vm_resize_view(&v, 1, b.height, b.width, digit, oh, ow);
    if (done) {
        shift_of(digit, oh, ow, f, &down, &right);
        put(digit, oh, ow, down, right, f, to);
    }
    free(digit);
    return done ? VM_OK : vm_fail(err, VM_ENV, "out of memory for a drawing");
}
