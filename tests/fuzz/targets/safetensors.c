/* Tensor files: what is taken can be looked at to the last byte, and written and read again it has
 * the same names, shapes and values. */
#include "tests/fuzz/target.h"

#include <stdio.h>

#include "runtime/train/train.h"

enum { MOST_PAIRS = 64 };

static size_t bytes_of(const VmTensorView *v) {
    size_t n = 4;
    for (int i = 0; i < v->rank; i++) n *= (size_t)v->dim[i];
    return n;
}

static void check_same(const VmTensorFile *a, const VmTensorFile *b) {
    FUZZ_CHECK(vm_tensors_count(a) == vm_tensors_count(b), "tensors were lost");
    for (int i = 0; i < vm_tensors_count(a); i++) {
        const VmTensorView *x = vm_tensors_at(a, i), *y = vm_tensors_find(b, x->name);
        FUZZ_CHECK(y && x->dtype == y->dtype && x->rank == y->rank, "'%s' differs", x->name);
        for (int k = 0; k < x->rank; k++)
            FUZZ_CHECK(x->dim[k] == y->dim[k], "the shape of '%s' differs", x->name);
        FUZZ_CHECK(!memcmp(x->data, y->data, bytes_of(x)), "values of '%s' differ", x->name);
    }
}

static int pairs_of(const VmTensorFile *f, const char *pair[2 * MOST_PAIRS]) {
    int n = 0;
    while (n < MOST_PAIRS && vm_tensors_meta(f, n, &pair[2 * n], &pair[2 * n + 1])) n++;
    return n;
}

static void write_and_read(const VmTensorFile *f) {
    const char *pair[2 * MOST_PAIRS];
    char path[4200];
    VmError err;
    int n = vm_tensors_count(f), pairs = pairs_of(f, pair);
    VmTensorView *view = calloc((size_t)n + 1, sizeof *view);
    VmTensorFile *again;
    FUZZ_CHECK(view != NULL, "out of memory");
    for (int i = 0; i < n; i++) view[i] = *vm_tensors_at(f, i);
    snprintf(path, sizeof path, "%s/again.safetensors", fuzz_folder());
    FUZZ_CHECK(!vm_tensors_write(path, view, n, pair, pairs, &err), "%s", err.text);
    FUZZ_CHECK(!vm_tensors_open(path, &again, &err), "what was written is refused: %s", err.text);
    check_same(f, again);
    vm_tensors_close(again);
    free(view);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    VmTensorFile *f;
    VmError err = {.text = ""};
    VmStatus s = vm_tensors_open(fuzz_file(data, size), &f, &err);
    FUZZ_CHECK(s == VM_OK || s == VM_INPUT, "status %d: %s", s, err.text);
    if (s) return 0;
    char mark[17];
    vm_tensors_fingerprint(f, mark);
    for (int i = 0; i < vm_tensors_count(f); i++)
        FUZZ_CHECK(vm_tensors_size(f, i) >= 0 && *vm_tensors_type(f, i), "tensor %d", i);
    write_and_read(f);
    vm_tensors_close(f);
    return 0;
}
