/* vmoec eval: loss and accuracy of given weights on the whole test set, last partial batch
 * included. */
#include "driver/driver.h"

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

static VmStatus evaluate(Session *s, const Args *a, const VmDataset *test) {
    VmStatus st = session_engine(s, vm_threads((int)opt_or(a->o.threads, 0)));
    if (st) return st;
    VmError err = {.text = ""};
    int64_t batch = s->batch < vm_dataset_size(test) ? s->batch : vm_dataset_size(test);
    const Program *p = session_program(s, KIND_EVAL, batch, false, &err);
    if (!p) return drv_fail(err.status, "%s", err.text);
    VmEvalResult r;
    st = vm_weights_load(s->engine, p->index, a->o.weights, &err);
    if (!st) st = vm_weights_finite(s->engine, p->index, a->o.weights, &err);
    if (!st) st = vm_evaluate(s->engine, session_source, s, test, batch, &r, &err);
    if (st) return drv_fail(st, "%s", err.text);
    if (a->o.json)
        print_json(s->model, a->o.weights, &r);
    else if (isnan(r.accuracy))
        printf("%s: loss %.5f on %lld test images\n", s->model, r.loss, (long long)r.images);
    else
        printf("%s: accuracy %.4f, loss %.5f on %lld test images\n", s->model, r.accuracy, r.loss,
               (long long)r.images);
    return VM_OK;
}

VmStatus cmd_eval(const Args *a) {
    VmStatus st = args_require(a, OPT_weights);
    Session s;
    if (!st) st = session_open(&s, a->operand[0], &a->o.set, a->o.model, a->o.precision, true);
    if (st) return st;
    st = session_tuning(&s, a->o.tune);
    if (st) return st;
    s.no_cache = a->o.no_cache;
    s.batch = opt_or(a->o.batch, s.batch);
    VmDataset *test = NULL;
    int threads = (int)opt_or(a->o.threads, 0);
    st = session_memory(&s, false, NULL, a->o.data, threads);
    if (!st) st = session_data(&s, a->o.data, (int)opt_or(a->o.threads, 0), NULL, &test);
    if (!st) st = evaluate(&s, a, test);
    vm_dataset_close(test);
    session_close(&s);
    return st;
}
