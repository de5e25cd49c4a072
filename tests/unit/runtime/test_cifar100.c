/* CIFAR-100 as it is published: sizes, classes, and the mean of its pixels. */
#include <math.h>
#include <unistd.h>

#include "tests/unit/runtime/runtime_test.h"

Test(runtime_images, cifar100_as_it_is_published, .timeout = 120) {
    const char *root = getenv("VMOE_DATA");
    char path[512];
    snprintf(path, sizeof path, "%s/cifar100/cifar100-png.tar.zst", root ? root : "");
    if (!root || access(path, R_OK) != 0)
        cr_skip_test("no cifar100/cifar100-png.tar.zst in VMOE_DATA");
    VmDataQuery query = {.kind = VM_data_cifar100, .std = {1, 1, 1}};
    VmDataset *d[VM_SPLITS];
    VmError err = {.text = ""};
    cr_assert(vm_dataset_open_all(&query, d, &err) == VM_OK, "%s", err.text);
    double sum[3] = {0};
    cr_assert_null(d[VM_VALIDATION]);
    for (int s = 0; s < VM_VALIDATION; s++) {
        int64_t channels, height, width, classes, of_class[100] = {0};
        vm_dataset_shape(d[s], &channels, &height, &width, &classes);
        cr_assert(channels == 3 && height == 32 && width == 32 && classes == 100);
        cr_assert_eq(vm_dataset_size(d[s]), s ? 10000 : 50000);
        for (int64_t i = 0; i < vm_dataset_size(d[s]); i++) {
            const uint8_t *byte = vm_dataset_pixels(d[s], i);
            of_class[vm_dataset_label(d[s], i)]++;
            for (int j = 0; j < 3 * 1024 && s == VM_TRAIN; j++) sum[j / 1024] += byte[j];
        }
        for (int c = 0; c < 100; c++) cr_assert_eq(of_class[c], s ? 100 : 500, "class %d", c);
    }
    static const double mean[3] = {0.5071, 0.4865, 0.4409};
    for (int c = 0; c < 3; c++) {
        double is = sum[c] / (255.0 * 1024 * 50000);
        cr_assert(fabs(is - mean[c]) < 6e-5, "channel %d: %.5f", c, is);
    }
    cr_assert_str_eq(vm_dataset_class(d[VM_TRAIN], 0), "apple");
    cr_assert_str_eq(vm_dataset_class(d[VM_TRAIN], 99), "worm");
    for (int s = 0; s < VM_SPLITS; s++) vm_dataset_close(d[s]);
}
