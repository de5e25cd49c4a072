/* Compiling and running graphs for the tests of generated code. */
#include "tests/ops/util_jit.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/exec/exec.h"

const char *jit_isa(Arena *a, int i) {
    static const char *const known[] = {"avx512", "avx2"};
    for (int k = 0; k < 2; k++) {
        const char *error = NULL;
        setenv("VMOEC_ISA", known[k], 1);
        if (cg_target_host(a, &error) && i-- == 0) return known[k];
    }
    return NULL;
}

bool jit_can(Arena *a, const IrGraph *g, const char *isa) {
    const char *error = NULL;
    setenv("VMOEC_ISA", isa, 1);
    const CgTarget *target = cg_target_host(a, &error);
    cr_assert_not_null(target, "%s", error);
    bool wants = false;
    IR_FOR (n, g) wants |= n->op == OP_narrow || ir_rounds_operands(n);
    return (target->has & CG_BF16) || !wants;
}

Jit jit_compile(Arena *a, const IrGraph *g, Pipeline pipe, const char *isa, const char *what) {
    return jit_compile_recomputing(a, g, pipe, isa, 0, what);
}

Jit jit_compile_recomputing(Arena *a, const IrGraph *g, Pipeline pipe, const char *isa, int steps,
                            const char *what) {
    return jit_compile_saving(a, g, pipe, isa, steps, false, what);
}

Jit jit_compile_saving(Arena *a, const IrGraph *g, Pipeline pipe, const char *isa, int steps,
                       bool pack_in_step, const char *what) {
    IrGraph *copy = ir_graph_clone(a, g);
    PassCtx c = pass_ctx(arena_create());
    c.training = true;
    c.recompute = steps;
    const PassId *list;
    int n = pass_pipeline(pipe, &list);
    const char *error = pass_run(&c, copy, list, n);
    cr_assert_null(error, "%s: %s", what, error);
    arena_destroy(c.scratch);
    setenv("VMOEC_ISA", isa, 1);
    const CgTarget *target = cg_target_host(a, &error);
    cr_assert_not_null(target, "%s: %s", what, error);
    Jit j = {.g = copy, .module = cg_module_create(target)};
    cg_module_pack_in_step(j.module, pack_in_step);
    j.program = cg_add_program(j.module, copy, "test", 1, 0);
    error = cg_module_compile(j.module);
    cr_assert_null(error, "%s, %s: %s", what, isa, error);
    return j;
}

void jit_free(Jit *j) {
    cg_module_destroy(j->module);
}

int jit_kernels(const Jit *j) {
    int kernels = 0;
    for (int t = 0; t < j->program->ntask; t++) kernels += j->program->task[t].items > 0;
    return kernels;
}

static const char *leaf_name(const IrNode *n) {
    if (n->op == OP_input) return ir_str(n, ATTR_input_name);
    if (n->op == OP_param) return ir_str(n, ATTR_param_name);
    return n->op == OP_state ? ir_str(n, ATTR_state_name) : NULL;
}

static void fill_leaf(VmEngine *e, const IrNode *n, uint64_t seed, Arena *scratch,
                      const char *what) {
    int64_t count = ir_elems(&n->out[0].type);
    double *x = ARENA_ARRAY(scratch, double, count);
    case_fill(n, seed, x);
    void *to = vm_engine_data(e, 0, leaf_name(n));
    cr_assert_not_null(to, "%s: the program has no tensor %s", what, leaf_name(n));
    for (int64_t i = 0; i < count; i++) {
        if (n->out[0].type.dtype == DT_i32)
            ((int32_t *)to)[i] = (int32_t)x[i];
        else
            ((float *)to)[i] = (float)x[i];
    }
}

static double element(const void *from, DType d, int64_t i) {
    if (d == DT_i32) return ((const int32_t *)from)[i];
    if (d == DT_f32) return (double)((const float *)from)[i];
    uint32_t word = (uint32_t)((const uint16_t *)from)[i] << 16;
    float f;
    memcpy(&f, &word, sizeof f);
    return (double)f;
}

static void take(Arena *a, JitRun *r, VmEngine *e, const char *name, const IrType *t,
                 const char *what) {
    const void *from = vm_engine_data(e, 0, name);
    const VmTensor *tensor = vm_engine_tensor(e, 0, name);
    cr_assert(from && tensor, "%s: the program has no tensor %s", what, name);
    cr_assert_eq(tensor->dtype, t->dtype == DT_i32, "%s: %s has another type", what, name);
    int64_t n = ir_elems(t);
    JitResult *x = &r->item[r->n++];
    *x = (JitResult){arena_strdup(a, name), *t, ARENA_ARRAY(a, double, n)};
    for (int64_t i = 0; i < n; i++) x->data[i] = element(from, t->dtype, i);
}

JitRun jit_run(Arena *a, const Jit *j, uint64_t seed, int threads, const char *what) {
    VmEngine *e;
    VmError err;
    cr_assert_eq(vm_engine_create(threads, &e, &err), VM_OK, "%s: %s", what, err.text);
    cr_assert_eq(vm_engine_add(e, j->program, &err), 0, "%s: %s", what, err.text);
    Arena *scratch = arena_create();
    int leaves = 0;
    IR_FOR (n, j->g) {
        if (!leaf_name(n)) continue;
        fill_leaf(e, n, seed, scratch, what);
        leaves++;
    }
    arena_destroy(scratch);
    vm_engine_run(e, 0, seed, 3);
    JitRun r = {ARENA_ARRAY(a, JitResult, j->g->nout + leaves), 0};
    for (int i = 0; i < j->g->nout; i++)
        take(a, &r, e, j->g->out[i].name, &j->g->out[i].value->type, what);
    IR_FOR (n, j->g)
        if (n->op == OP_param || n->op == OP_state)
            take(a, &r, e, leaf_name(n), &n->out[0].type, what);
    vm_engine_destroy(e);
    return r;
}

const JitResult *jit_find(const JitRun *r, const char *name) {
    for (int i = 0; i < r->n; i++)
        if (strcmp(r->item[i].name, name) == 0) return &r->item[i];
    return NULL;
}

void jit_same_bits(const JitRun *x, const JitRun *y, const char *what) {
    cr_assert_eq(x->n, y->n);
    for (int i = 0; i < x->n; i++) {
        const JitResult *p = &x->item[i], *q = &y->item[i];
        for (int64_t e = 0, n = ir_elems(&p->type); e < n; e++)
            cr_assert(memcmp(&p->data[e], &q->data[e], sizeof(double)) == 0,
                      "%s: %s element %lld is %.9g with one thread, %.9g with more", what, p->name,
                      (long long)e, p->data[e], q->data[e]);
    }
}
