/* Archives of images: measured and read, with channels, resizing and skipping by the input's
 * length. A set that can be measured and read has as many images both ways; measuring passes over
 * entries, and may meet damage there which reading them does not, in lengths that it has no use
 * for. */
#include "tests/fuzz/target.h"

#include "runtime/data/image.h"

static VmImageSource source_of(const char *path, size_t size) {
    return (VmImageSource){.path = path,
                           .channels = size & 1 ? 3 : 1,
                           .resize = size & 2 ? 5 : 0,
                           .skip = (size & 4) != 0,
                           .room = 1 << 24,
                           .threads = 1};
}

static void check_images(const VmImages *i, const VmImageSource *src, int64_t classes) {
    if (!i->size) return;
    int64_t bytes = i->size * src->channels * i->height * i->width;
    FUZZ_CHECK(i->image && i->label && bytes > 0, "a split without images");
    volatile uint8_t last = i->image[bytes - 1];
    (void)last;
    for (int64_t k = 0; k < i->size; k++)
        FUZZ_CHECK(i->label[k] < classes, "label %d of %d", i->label[k], (int)classes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    VmImageSource src = source_of(fuzz_file(data, size), size);
    VmImages size_of[VM_SPLITS], of[VM_SPLITS];
    VmImagesInfo measured, info;
    VmError err;
    VmStatus m = vm_images_measure(&src, size_of, &measured, &err);
    FUZZ_CHECK(m == VM_OK || m == VM_INPUT, "status %d: %s", m, err.text);
    VmStatus s = vm_images_read(&src, (VmImages *[]){&of[0], &of[1], &of[2]}, &info, &err);
    FUZZ_CHECK(s == VM_OK || s == VM_INPUT, "status %d: %s", s, err.text);
    for (int i = 0; i < VM_SPLITS && !s; i++) {
        check_images(&of[i], &src, info.classes);
        FUZZ_CHECK(m || src.skip || of[i].size == size_of[i].size, "split %d is measured otherwise",
                   i);
        vm_images_free(&of[i]);
    }
    free(measured.names);
    free(info.names);
    return 0;
}
