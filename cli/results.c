/* Results of evaluations: loss and metrics, and what was taken for what. */
#include "cli/results.h"

#include <string.h>

static bool has_top(const Tally *t, const VmEvalResult *r) {
    for (int i = 0; i < r->nmetric; i++)
        if (!strcmp(r->metric[i].name, "top5")) return false; /* the model's own */
    return t->classes > TALLY_TOP;
}

static double top_share(const Tally *t) {
    return (double)t->top / (double)t->images;
}

static void print_json(const Args *a, const char *model, const char *split, const VmEvalResult *r,
                       const Tally *t) {
    VmJson o = vm_json_object();
    vm_json_string(&o, "model", model);
    if (a->o.weights) vm_json_string(&o, "weights", a->o.weights);
    vm_json_string(&o, "split", split);
    vm_json_int(&o, "images", r->images);
    vm_json_number(&o, "loss", r->loss);
    for (int i = 0; i < r->nmetric; i++) vm_json_number(&o, r->metric[i].name, r->metric[i].value);
    if (has_top(t, r)) vm_json_number(&o, "top5", top_share(t));
    if (a->o.per_class) tally_json_classes(t, &o);
    if (a->o.confusion.given) tally_json_confusion(t, &o);
    vm_json_print(stdout, &o);
}

static void print(const Args *a, const char *model, const char *split, const VmEvalResult *r,
                  const Tally *t) {
    if (a->o.json) {
        print_json(a, model, split, r, t);
        return;
    }
    printf("%s: ", model);
    for (int i = 0; i < r->nmetric; i++) printf("%s %.4f, ", r->metric[i].name, r->metric[i].value);
    if (has_top(t, r)) printf("top5 %.4f, ", top_share(t));
    printf("loss %.5f on %lld %s images\n", r->loss, (long long)r->images, split);
    if (a->o.per_class) tally_print_classes(t);
    if (a->o.confusion.given && !a->o.confusion.text) tally_print_confusion(t);
}

/* What goes into files. */
static VmStatus write_files(const Args *a, const char *model, const char *split, const Tally *t) {
    const char *picture = a->o.confusion.text, *list = a->o.predictions;
    VmStatus st = VM_OK;
    if (picture) {
        Text svg = text_new(a->arena);
        tally_draw(t,
                   arena_printf(a->arena, "%s: %.2f %% of %lld %s images", model,
                                100 * (double)t->right / (double)t->images, (long long)t->images,
                                split),
                   &svg);
        st = drv_write_file(picture, svg.data, svg.len);
    }
    if (st || !list) return st;
    const char *file = t->data && vm_dataset_file(t->data, 0) ? ",file" : "";
    const char *text =
        arena_printf(a->arena, "image,class,answer,probability%s\n%s", file, t->lines.data);
    return drv_write_file(list, text, strlen(text));
}

VmStatus cli_split(const Args *a, VmEvalSplit *out) {
    const char *name = a->o.split;
    *out = VM_EVAL_TEST;
    for (int i = 0; name && i < VM_EVAL_SPLITS; i++) {
        *out = (VmEvalSplit)i;
        if (!strcmp(name, vm_eval_split_names[i])) return VM_OK;
    }
    return name ? drv_fail(VM_USAGE, "--split is train, validation or test, not '%s'", name)
                : VM_OK;
}

VmStatus cli_print_eval(const Args *a, const char *model, VmEvalSplit split, const VmEvalResult *r,
                        const Tally *t) {
    bool asked = a->o.per_class || a->o.confusion.given || a->o.predictions;
    const char *name = vm_eval_split_names[split];
    if (asked && !t->classes)
        return drv_fail(VM_INPUT,
                        "%s scores no classes: nothing in it is compared with a label by accuracy "
                        "or cross_entropy",
                        model);
    VmStatus st = write_files(a, model, name, t);
    if (!st) print(a, model, name, r, t);
    return st;
}
