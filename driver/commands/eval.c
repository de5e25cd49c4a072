/* vmoec eval: loss and accuracy of given weights on the whole test set, last partial batch
 * included. */
#include "driver/commands/commands.h"

#include <math.h>

static void print_json(const char *model, const char *weights, const VmEvalResult *r) {
    VmJson o = vm_json_object();
    vm_json_string(&o, "model", model);
    vm_json_string(&o, "weights", weights);
    vm_json_int(&o, "images", r->images);
    vm_json_number(&o, "loss", r->loss);
    vm_json_number(&o, "accuracy", r->accuracy);
    vm_json_print(stdout, &o);
}

static void print(const Session *s, const Args *a, const VmEvalResult *r) {
    if (a->o.json)
        print_json(s->model, a->o.weights, r);
    else if (isnan(r->accuracy))
        printf("%s: loss %.5f on %lld test images\n", s->model, r->loss, (long long)r->images);
    else
        printf("%s: accuracy %.4f, loss %.5f on %lld test images\n", s->model, r->accuracy, r->loss,
               (long long)r->images);
}

VmStatus cmd_eval(const Args *a) {
    Session s;
    VmEvalResult r;
    VmStatus st = args_require(a, OPT_weights);
    if (!st) st = drv_open(a, true, &s);
    if (st) return st;
    st = session_eval(&s, a->o.weights, a->o.data, (int)opt_or(a->o.threads, 0), &r);
    if (!st) print(&s, a, &r);
    session_close(&s);
    return st;
}
