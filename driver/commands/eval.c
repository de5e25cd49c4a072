/* vmoec eval: loss and metrics of given weights on the whole test set, last partial batch
 * included. */
#include "driver/commands/commands.h"

static void print_json(const char *model, const char *weights, const VmEvalResult *r) {
    VmJson o = vm_json_object();
    vm_json_string(&o, "model", model);
    vm_json_string(&o, "weights", weights);
    vm_json_int(&o, "images", r->images);
    vm_json_number(&o, "loss", r->loss);
    for (int i = 0; i < r->nmetric; i++) vm_json_number(&o, r->metric[i].name, r->metric[i].value);
    vm_json_print(stdout, &o);
}

static void print(const Session *s, const Args *a, const VmEvalResult *r) {
    if (a->o.json) {
        print_json(s->model, a->o.weights, r);
        return;
    }
    printf("%s: ", s->model);
    for (int i = 0; i < r->nmetric; i++) printf("%s %.4f, ", r->metric[i].name, r->metric[i].value);
    printf("loss %.5f on %lld test images\n", r->loss, (long long)r->images);
}

VmStatus cmd_eval(const Args *a) {
    Session s;
    VmEvalResult r;
    VmStatus st = args_require(a, OPT_weights);
    if (!st) st = drv_open(a, true, &s);
    if (st) return st;
    SessionEval how = {.weights = a->o.weights,
                       .data = a->o.data,
                       .threads = (int)opt_or(a->o.threads, 0),
                       .anyway = a->o.anyway};
    st = session_eval(&s, &how, &r);
    if (!st) print(&s, a, &r);
    session_close(&s);
    return st;
}
