/* A drawing becomes what MNIST's images are: 28 x 28 pixels, the digit in a box of 20 x 20, its
 * sides in proportion, in grey levels; and its centre of mass in the middle of the image (LeCun et
 * al., 1998; that of their images lies at 14.0, 14.0).
 *
 * Does not: turn or deslant it; know the size of the model's images. */
#include "trainer/web/internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BOX = 20, FIELD = VM_WEB_DIGIT };

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
static int64_t side_of(int64_t side, int64_t longer) {
    int64_t n = (2 * side * BOX + longer) / (2 * longer);
    return n > 0 ? n : 1;
}

/* How far the centre of mass has to move, down and right, to lie at the middle. */
static void shift_of(const uint8_t *digit, int64_t h, int64_t w, int64_t *down, int64_t *right) {
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
    *down = (int64_t)floor(FIELD / 2.0 - y_sum / mass + 0.5);
    *right = (int64_t)floor(FIELD / 2.0 - x_sum / mass + 0.5);
}

static void put(const uint8_t *digit, int64_t h, int64_t w, int64_t down, int64_t right,
                uint8_t *to) {
    memset(to, 0, FIELD * FIELD);
    for (int64_t y = 0; y < h; y++)
        for (int64_t x = 0; x < w; x++) {
            int64_t row = y + down, column = x + right;
            if (row < 0 || row >= FIELD || column < 0 || column >= FIELD) continue;
            to[row * FIELD + column] = digit[y * w + x];
        }
}

VmStatus vm_web_centre(const uint8_t *in, int64_t h, int64_t w, uint8_t *to, VmError *err) {
    Box b = drawn(in, h, w);
    if (!b.height) return vm_fail(err, VM_INPUT, "nothing is drawn");
    int64_t longer = b.height > b.width ? b.height : b.width;
    int64_t oh = side_of(b.height, longer), ow = side_of(b.width, longer), down, right;
    uint8_t *digit = malloc((size_t)(oh * ow));
    VmImageView v = {.at = in + b.top * w + b.left, .down = w, .across = 1};
    bool done = digit && vm_resize_view(&v, 1, b.height, b.width, digit, oh, ow);
    if (done) {
        shift_of(digit, oh, ow, &down, &right);
        put(digit, oh, ow, down, right, to);
    }
    free(digit);
    return done ? VM_OK : vm_fail(err, VM_ENV, "out of memory for a drawing");
}
