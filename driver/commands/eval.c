/* vmoec eval: loss and metrics of given weights on a whole split, last partial batch included, and
 * what was taken for what. */
#include "driver/commands/tally.h"

#include <string.h>

static bool has_top(const Tally *t, const VmEvalResult *r) {
    for (int i = 0; i < r->nmetric; i++)
        if (!strcmp(r->metric[i].name, "top5")) return false; /* the model's own */
    return t->classes > TALLY_TOP;
}

static double top_share(const Tally *t) {
    return (double)t->top / (double)t->images;
}

static void print_json(const Session *s, const Args *a, const char *split, const VmEvalResult *r,
                       const Tally *t) {
    VmJson o = vm_json_object();
    vm_json_string(&o, "model", s->model);
    vm_json_string(&o, "weights", a->o.weights);
    vm_json_string(&o, "split", split);
    vm_json_int(&o, "images", r->images);
    vm_json_number(&o, "loss", r->loss);
    for (int i = 0; i < r->nmetric; i++) vm_json_number(&o, r->metric[i].name, r->metric[i].value);
    if (has_top(t, r)) vm_json_number(&o, "top5", top_share(t));
    if (a->o.per_class) tally_json_classes(t, &o);
    if (a->o.confusion.given) tally_json_confusion(t, &o);
    vm_json_print(stdout, &o);
}

static void print(const Session *s, const Args *a, const char *split, const VmEvalResult *r,
                  const Tally *t) {
    if (a->o.json) {
        print_json(s, a, split, r, t);
        return;
    }
    printf("%s: ", s->model);
    for (int i = 0; i < r->nmetric; i++) printf("%s %.4f, ", r->metric[i].name, r->metric[i].value);
    if (has_top(t, r)) printf("top5 %.4f, ", top_share(t));
    printf("loss %.5f on %lld %s images\n", r->loss, (long long)r->images, split);
    if (a->o.per_class) tally_print_classes(t);
    if (a->o.confusion.given && !a->o.confusion.text) tally_print_confusion(t);
}

/* What goes into files. */
static VmStatus write_files(const Session *s, const Args *a, const char *split, const Tally *t) {
    const char *picture = a->o.confusion.text, *list = a->o.predictions;
    VmStatus st = VM_OK;
    if (picture) {
        Text svg = text_new(s->arena);
        tally_draw(t,
                   arena_printf(s->arena, "%s: %.2f %% of %lld %s images", s->model,
                                100 * (double)t->right / (double)t->images, (long long)t->images,
                                split),
                   &svg);
        st = drv_write_file(picture, svg.data, svg.len);
    }
    if (st || !list) return st;
    const char *file = t->data && vm_dataset_file(t->data, 0) ? ",file" : "";
    const char *text =
        arena_printf(s->arena, "image,class,answer,probability%s\n%s", file, t->lines.data);
    return drv_write_file(list, text, strlen(text));
}

static VmStatus split_of(const Args *a, SessionSplit *out) {
    const char *name = a->o.split;
    *out = SESSION_TEST;
    for (int i = 0; name && i < SESSION_SPLITS; i++) {
        *out = (SessionSplit)i;
        if (!strcmp(name, session_split_names[i])) return VM_OK;
    }
    return name ? drv_fail(VM_USAGE, "--split is train, validation or test, not '%s'", name)
                : VM_OK;
}

VmStatus cmd_eval(const Args *a) {
    Session s;
    VmEvalResult r;
    SessionSplit split;
    Tally t = {.arena = a->arena, .list = a->o.predictions != NULL};
    VmStatus st = args_require(a, OPT_weights);
    if (!st) st = split_of(a, &split);
    if (!st) st = drv_open(a, true, &s);
    if (st) return st;
    SessionEval how = {.weights = a->o.weights,
                       .data = a->o.data,
                       .threads = (int)opt_or(a->o.threads, 0),
                       .split = split,
                       .anyway = a->o.anyway,
                       .files = t.list,
                       .watch = tally_take,
                       .watcher = &t};
    st = session_eval(&s, &how, &r);
    bool asked = a->o.per_class || a->o.confusion.given || a->o.predictions;
    if (!st && asked && !t.classes)
        st = drv_fail(VM_INPUT,
                      "%s scores no classes: nothing in it is compared with a label by accuracy or "
                      "cross_entropy",
                      s.model);
    if (!st) st = write_files(&s, a, session_split_names[split], &t);
    if (!st) print(&s, a, session_split_names[split], &r, &t);
    session_close(&s);
    return st;
}
