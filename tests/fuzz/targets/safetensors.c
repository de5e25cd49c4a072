/* Tensor files: what is taken can be looked at to the last byte, and written and read again it has
 * the same names, shapes and values. As weights of a program all of them fit, or none is changed.
 */
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

/* ---- as weights ------------------------------------------------------------------------------ */

static void nothing(void *const *args, int64_t begin, int64_t end, void *scratch) {
    (void)args, (void)begin, (void)end, (void)scratch;
}

enum { A = 2, B = 1 };
static const VmTask task = {.fn = nothing, .name = "nothing", .items = 1};
static const VmTensor tensor[] = {
    {.name = "a", .role = VM_ROLE_PARAM, .rank = 1, .dim = {A}, .init = "zeros"},
    {.name = "b", .role = VM_ROLE_PARAM, .rank = 2, .dim = {B, 1}, .offset = 64, .init = "zeros"}};
static const VmProgram program = {.abi = VM_ABI_VERSION,
                                  .name = "fuzz",
                                  .batch = 1,
                                  .task = &task,
                                  .ntask = 1,
                                  .tensor = tensor,
                                  .ntensor = 2,
                                  .space_bytes = {128, 0, 64}};

static void check_weights(VmEngine *e, const VmTensorFile *f, VmStatus s) {
    static const float zeros[A];
    const char *const name[] = {"a", "b"};
    const size_t bytes[] = {4 * A, 4 * B};
    for (int i = 0; i < 2; i++) {
        const VmTensorView *v = s ? NULL : vm_tensors_find(f, name[i]);
        FUZZ_CHECK(s || v, "'%s' is not in the file that was taken", name[i]);
        FUZZ_CHECK(!memcmp(vm_engine_data(e, 0, name[i]), v ? v->data : zeros, bytes[i]),
                   "'%s' is another", name[i]);
    }
}

static void take(const VmTensorFile *f, const char *scope) {
    VmEngine *e;
    VmError err;
    FUZZ_CHECK(!vm_engine_create(1, &e, &err), "%s", err.text);
    FUZZ_CHECK(vm_engine_add(e, &program, &err) == 0, "%s", err.text);
    VmStatus s = vm_weights_take(e, 0, f, "fuzz", scope, &err);
    FUZZ_CHECK(s == VM_OK || s == VM_INPUT, "status %d: %s", s, err.text);
    check_weights(e, f, s);
    (void)vm_weights_finite(e, 0, "fuzz", &err);
    vm_engine_destroy(e);
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
    take(f, NULL);
    take(f, "other");
    vm_tensors_close(f);
    return 0;
}
