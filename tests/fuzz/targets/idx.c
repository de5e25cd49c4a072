/* IDX files: images or labels, by the input's length. What is taken has as many bytes as it says,
 * and its header alone says the same. */
#include "tests/fuzz/target.h"

#include "runtime/data/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *path = fuzz_file(data, size);
    for (int rank = 1; rank <= 3; rank += 2) {
        VmIdx header, whole;
        VmError err;
        VmStatus h = vm_idx_header(path, rank, &header, &err);
        FUZZ_CHECK(h == VM_OK || h == VM_INPUT, "header: status %d: %s", h, err.text);
        VmStatus s = vm_idx_read(path, rank, &whole, &err);
        FUZZ_CHECK(s == VM_OK || s == VM_INPUT, "status %d: %s", s, err.text);
        FUZZ_CHECK(!s || !whole.data, "a file that is refused has values");
        FUZZ_CHECK(!h || s, "a bad header, and a good file");
        if (s) continue;
        int64_t n = 1;
        for (int i = 0; i < rank; i++) {
            FUZZ_CHECK(header.dim[i] == whole.dim[i], "dimension %d", i);
            n *= whole.dim[i];
        }
        FUZZ_CHECK(n > 0, "no values");
        volatile uint8_t last = whole.data[n - 1];
        (void)last;
        free(whole.data);
    }
    return 0;
}
