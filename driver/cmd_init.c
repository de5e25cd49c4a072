/* vmoec init: the weights a training run would start from, in a file. */
#include "driver/driver.h"

static VmStatus write_initial(Session *s, uint64_t seed, const char *path) {
    VmStatus st = session_engine(s, 1);
    if (st) return st;
    VmError err = {.text = ""};
    const Program *p = session_program(s, KIND_EVAL, s->batch, false, &err);
    if (!p) return drv_fail(err.status, "%s", err.text);
    st = vm_engine_init(s->engine, seed, &err);
    if (!st) st = vm_weights_save(s->engine, p->index, path, &err);
    return st ? drv_fail(st, "%s", err.text) : VM_OK;
}

VmStatus cmd_init(const Args *a) {
    VmStatus st = args_require(a, OPT_init_o);
    Session s;
    if (!st)
        st = session_open(&s, a->operand[0], &a->value[OPT_init_set], args_str(a, OPT_init_model), "f32",
                          false);
    if (st) return st;
    s.batch = 1; /* weights do not depend on it, memory does */
    uint64_t seed = (uint64_t)args_int(a, OPT_init_seed, s.train ? (int64_t)s.train->seed : 0);
    st = session_elaborate(&s, s.batch) ? write_initial(&s, seed, args_str(a, OPT_init_o)) : VM_INPUT;
    session_close(&s);
    return st;
}
