/* EXIF by itself, and the segments of a JPEG without its pixels: an orientation is 1 to 8. */
#include "tests/fuzz/target.h"

#include "runtime/data/image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    int turned = vm_exif_orientation(data, size);
    FUZZ_CHECK(turned >= 1 && turned <= 8, "orientation %d", turned);
    VmJpegFacts f = vm_jpeg_facts(data, size);
    FUZZ_CHECK(f.orientation >= 1 && f.orientation <= 8, "orientation %d", f.orientation);
    return 0;
}
