/* A JPEG or PNG: opened, and if it is not large, decoded: grey and coloured, as planes and as a
 * view, and resized. */
#include "tests/fuzz/target.h"

#include "runtime/data/image.h"

enum { LARGEST = 1 << 18 /* pixels: decoding more shows nothing more */ };

static VmStatus open_again(VmImageDecoder *d, const uint8_t *data, size_t size) {
    int64_t h, w;
    VmError err;
    return vm_image_open(d, "fuzz", data, size, &h, &w, &err);
}

/* Once per opening; both ways give the same. */
static void decode(VmImageDecoder *d, const uint8_t *data, size_t size, int64_t channels, int64_t h,
                   int64_t w) {
    VmError err;
    VmImageView v;
    size_t bytes = (size_t)(channels * h * w);
    uint8_t *plane = malloc(bytes), *small = malloc((size_t)channels * 12);
    FUZZ_CHECK(plane && small, "out of memory");
    VmStatus s = vm_image_planes(d, channels, plane, &err);
    FUZZ_CHECK(s == VM_OK || s == VM_INPUT, "status %d: %s", s, err.text);
    VmStatus again = open_again(d, data, size);
    FUZZ_CHECK(!again, "it cannot be opened again");
    VmStatus t = vm_image_view(d, channels, &v, &err);
    FUZZ_CHECK(s == t, "status %d and %d", s, t);
    for (int64_t c = 0; c < channels && !s; c++)
        for (int64_t y = 0; y < h; y++)
            for (int64_t x = 0; x < w; x++)
                FUZZ_CHECK(plane[(c * h + y) * w + x] ==
                               v.at[c * v.plane + y * v.down + x * v.across],
                           "pixel %d,%d", (int)y, (int)x);
    if (!s) FUZZ_CHECK(vm_resize_view(&v, channels, h, w, small, 3, 4), "out of memory");
    free(small);
    free(plane);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    VmImageDecoder *d = vm_image_decoder_create();
    VmError err;
    int64_t h, w;
    FUZZ_CHECK(d != NULL, "out of memory");
    VmStatus s = vm_image_open(d, "fuzz", data, size, &h, &w, &err);
    FUZZ_CHECK(s == VM_OK || s == VM_INPUT, "status %d: %s", s, err.text);
    FUZZ_CHECK(s || (h > 0 && w > 0 && h <= VM_MAX_IMAGE_BYTES / w), "sides");
    if (!s && h * w <= LARGEST) {
        decode(d, data, size, 1, h, w);
        if (!open_again(d, data, size)) decode(d, data, size, 3, h, w);
    }
    vm_image_decoder_destroy(d);
    return 0;
}
