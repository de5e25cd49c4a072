/* The memory that data is predicted to take, beside what the same splits take once they are open.
 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "driver/session/session.h"

static const char *const text =
    "model m(image: f32[B, 1, 4, 4], label: class[B, 3]) {\n"
    "  logits = linear(reshape(image, [B, 16]), 3)\n"
    "  loss cross_entropy(logits, label)\n}\n"
    "train m {\n  data = idx(dir = \"none\", batch = 8)\n  epochs = 1\n}\n";
enum { TRAIN = 90, TEST = 24, IMAGE = 4 * 4 + 2 };

static void be32(FILE *f, unsigned v) {
    for (int i = 24; i >= 0; i -= 8) fputc((int)(v >> i & 255), f);
}

/* n images of zeros, or (rank 1) labels. */
static void write_idx(const char *dir, const char *name, unsigned rank, unsigned n) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    cr_assert_not_null(f);
    be32(f, 0x800 + rank);
    be32(f, n);
    for (unsigned i = 1; i < rank; i++) be32(f, 4);
    for (unsigned i = 0; i < n * (rank > 1 ? 16 : 1); i++) fputc(0, f);
    cr_assert_eq(fclose(f), 0);
}

static void remove_data(const char *dir) {
    char command[600];
    snprintf(command, sizeof command, "rm -r '%s'", dir);
    cr_assert_eq(system(command), 0);
}

static int64_t opened(Session *s, const char *dir, const DataWant *want) {
    int64_t bytes = 0;
    cr_assert_eq(session_data(s, dir, 1, want), VM_OK, "%s", s->messages.error);
    for (int i = 0; i < VM_SPLITS; i++) {
        cr_assert(s->data[i] == NULL || want->split[i], "%s", vm_split_names[i]);
        if (s->data[i]) bytes += vm_dataset_bytes(s->data[i]);
    }
    session_data_close(s);
    return bytes;
}

Test(data_use, is_of_the_splits_that_are_opened) {
    char dir[] = "/tmp/vmoec-use-XXXXXX";
    cr_assert_not_null(mkdtemp(dir));
    write_idx(dir, "train-images-idx3-ubyte", 3, TRAIN);
    write_idx(dir, "train-labels-idx1-ubyte", 1, TRAIN);
    write_idx(dir, "t10k-images-idx3-ubyte", 3, TEST);
    write_idx(dir, "t10k-labels-idx1-ubyte", 1, TEST);
    VmoecOptions o;
    vmoec_options_init(&o);
    o.path = "m.vmoe";
    o.models = "models";
    o.text = text;
    Session s;
    memset(&s, 0, sizeof s);
    cr_assert_eq(session_open(&s, &o, true), VM_OK, "%s", s.messages.error);
    static const struct {
        DataWant want;
        int64_t images;
    } of[] = {{{.split = {[VM_TEST] = true}}, TEST},
              {{.split = {[VM_TRAIN] = true}}, TRAIN},
              {{.split = {[VM_TRAIN] = true, [VM_TEST] = true}}, TRAIN + TEST}};
    for (size_t i = 0; i < sizeof of / sizeof of[0]; i++) {
        MemoryUse use = {0};
        VmError err = {.text = ""};
        cr_assert_eq(session_data_use(&s, &of[i].want, dir, 1, &use, &err), VM_OK, "%s", err.text);
        cr_assert_eq(use.data, of[i].images * IMAGE);
        cr_assert_eq(use.data, opened(&s, dir, &of[i].want));
    }
    MemoryUse use = {0};
    VmError err = {.text = ""};
    cr_assert_eq(session_data_use(&s, &session_data_training, dir, 1, &use, &err), VM_OK);
    cr_assert_geq(use.data, (TRAIN + TEST) * IMAGE + TRAIN * (int64_t)sizeof(int64_t));
    session_close(&s);
    remove_data(dir);
}
