/* Weights of a built model: those inside, or a file's, used as they were made. */
#include "trainer/model.h"

VmStatus vm_model_weights_open(VmModel *m, const char *path, VmTensorFile **out, const char **shown,
                               VmError *err) {
    const VmBuilt *b = m->built;
    *out = NULL;
    *shown = path ? path : "the weights inside";
    if (path) return vm_tensors_open_header(path, out, err);
    if (b->nweights) return vm_tensors_open_memory(b->weights, b->nweights, *shown, out, err);
    return vm_fail(err, VM_USAGE,
                   "there are no weights inside this program: --weights names a file");
}

/* Whether a setting matters only the compiler can tell, which has the model's text. */
VmStatus vm_model_about_check(VmModel *m, const VmAbout *x, bool anyway, VmError *err) {
    const VmBuilt *b = m->built;
    const char *ends = anyway ? "" : "\n       --anyway uses them all the same";
    Text settings = vm_about_settings(m->arena, x, b->setting, b->value, b->nsetting);
    Text image = vm_about_image(m->arena, x, &m->image);
    const char *text = NULL;
    if (settings.len)
        text = arena_printf(m->arena, "%s was made with other settings: %s%s", x->path,
                            settings.data, ends);
    else if (m->input && image.len)
        text = arena_printf(m->arena, "%s was trained with images prepared in another way: %s%s",
                            x->path, image.data, ends);
    if (!text) return VM_OK;
    if (!anyway) return vm_fail(err, VM_INPUT, "%.1900s", text);
    if (m->warn) m->warn(m->user, text);
    return VM_OK;
}

VmStatus vm_model_weights_take(VmModel *m, int program, const VmTensorFile *f, const char *shown,
                               VmError *err) {
    VmStatus s = vm_weights_take(m->engine, program, f, shown, m->built->scope, err);
    return s ? s : vm_weights_finite(m->engine, program, shown, err);
}
