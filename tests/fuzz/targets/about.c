/* What a file of weights says of itself: the input is the pairs of its __metadata__, name and value
 * by turns, in parts. Whatever they say, it is compared with a model's settings, images and
 * classes, and becomes a message or nothing. */
#include "tests/fuzz/target.h"

#include <stdio.h>

#include "driver/session/about.h"
#include "runtime/data/dataset.h"

enum { MOST = 16 };

static const char model[] = "config {\n  width = 4\n  out = 2\n}\n"
                            "model m(image: f32[B, 1, 4, 4], label: class[B, 2]) {\n"
                            "  x = reshape(image, [B, 16]) |> linear(width)\n"
                            "  logits = linear(gelu(x), out)\n"
                            "  loss cross_entropy(logits, label)\n"
                            "}\n"
                            "train m {\n  data = image_folder(dir = \"d\", batch = 2, mean = 0.5)\n"
                            "  optimizer = adam()\n  schedule = constant(peak = 1e-3)\n"
                            "  epochs = 1\n}\n";

static VmTensorFile *file_of(const uint8_t *data, size_t size) {
    char *text[2 * MOST], path[4200];
    size_t at = 0;
    int n = 0;
    FuzzPart part;
    VmTensorFile *f;
    VmError err;
    static const VmTensorView none = {.name = "w", .rank = 1, .data = &none};
    while (n < 2 * MOST && fuzz_part(data, size, &at, &part))
        text[n++] = fuzz_text(part.data, part.size);
    snprintf(path, sizeof path, "%s/about.safetensors", fuzz_folder());
    VmStatus s = vm_tensors_write(path, &none, 1, (const char *const *)text, n / 2, &err);
    if (!s) s = vm_tensors_open(path, &f, &err);
    while (n > 0) free(text[--n]);
    return s ? NULL : f; /* two of one name, or what is no UTF-8 */
}

static void use(Session *s, const VmTensorFile *f) {
    static const char *names[] = {"cat", "dog"};
    const VmDataset set = {.classes = 2, .class = names};
    VmAbout x;
    session_about_read(s, f, "weights", &x);
    for (int i = 0; i < x.nsetting; i++) FUZZ_CHECK(x.name[i] && x.value[i], "setting %d", i);
    for (int64_t i = 0; i < x.nclasses; i++) FUZZ_CHECK(x.classes[i], "a class has no name");
    session_about_classes(s, &x, &set);
    (void)session_about_settings(s, &x, ABOUT_REFUSE);
    (void)session_about_settings(s, &x, ABOUT_NOTE);
    (void)session_about_image(s, &x, ABOUT_REFUSE);
    (void)session_about_image(s, &x, ABOUT_WARN);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    Session s;
    VmoecOptions o;
    VmTensorFile *f = file_of(data, size);
    if (!f) return -1;
    vmoec_options_init(&o);
    o.path = "model.vmoe";
    o.text = model;
    o.models = "models";
    VmStatus st = session_open(&s, &o, true);
    FUZZ_CHECK(st == VM_OK, "%s", s.messages.error);
    use(&s, f);
    session_close(&s);
    vm_tensors_close(f);
    return 0;
}
