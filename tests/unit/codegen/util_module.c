#include "tests/unit/codegen/util_module.h"

#include <criterion/criterion.h>

#include "runtime/exec/exec.h"
#include "tests/unit/codegen/util_program.h"

const CgTarget *module_host(Arena *a) {
    const char *error = NULL;
    const CgTarget *t = cg_target_host(a, &error);
    cr_assert_not_null(t, "%s", error);
    return t;
}

Made module_make(Arena *a, const CgTarget *t, const CgOptions *o, const CgTuning *tuning,
                 int64_t batch) {
    Made x = {.m = cg_module_create(t)};
    cg_module_options(x.m, o);
    cg_module_tuning(x.m, tuning);
    IrGraph *g = program_elaborate(a, "models/vmoe_fmnist.vmoe", "depth=2", batch);
    program_run(g, PIPE_TRAIN);
    x.p = cg_add_program(x.m, g, "test", batch, 0);
    const char *error = cg_module_compile(x.m);
    cr_assert_null(error, "%s", error);
    x.stats = *cg_module_stats(x.m);
    return x;
}

static int64_t elems(const VmTensor *t) {
    int64_t n = 1;
    for (int d = 0; d < t->rank; d++) n *= t->dim[d];
    return n;
}

uint64_t module_train(const Made *x, int threads) {
    VmEngine *e;
    VmError err;
    cr_assert_eq(vm_engine_create(threads, &e, &err), VM_OK);
    cr_assert_eq(vm_engine_add(e, x->p, &err), 0, "%s", err.text);
    cr_assert_eq(vm_engine_init(e, 5, &err), VM_OK);
    for (int i = 0; i < x->p->ntensor; i++) {
        const VmTensor *t = &x->p->tensor[i];
        if (t->role != VM_ROLE_INPUT || t->dtype != 0) continue;
        float *v = vm_engine_data(e, 0, t->name);
        for (int64_t k = 0, n = elems(t); k < n; k++) v[k] = (float)(1 + k % 17) / 17;
    }
    for (uint64_t step = 0; step < 2; step++) vm_engine_run(e, 0, 9, step);
    uint64_t sum = 0;
    for (int i = 0; i < x->p->ntensor; i++) {
        const VmTensor *t = &x->p->tensor[i];
        if (t->role != VM_ROLE_PARAM) continue;
        const uint32_t *v = vm_engine_data(e, 0, t->name);
        for (int64_t k = 0, n = elems(t); k < n; k++) sum = sum * 31 + v[k];
    }
    vm_engine_destroy(e);
    return sum;
}
