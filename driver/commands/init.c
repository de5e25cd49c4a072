/* vmoec init: the weights a training run would start from, in a file. */
#include "driver/commands/commands.h"
#include "driver/session/about.h"

#include <string.h>

/* What a batch would need in activations does not matter here, and neither does code. */
VmProgram *drv_weights_program(Arena *a, const IrGraph *g) {
    enum { ALIGN = 64 };
    VmTensor *list = ARENA_ARRAY(a, VmTensor, g->nnodes);
    VmProgram *p = ARENA_NEW(a, VmProgram);
    *p = (VmProgram){.abi = VM_ABI_VERSION, .name = g->name, .tensor = list};
    int64_t at = 0;
    IR_FOR (n, g) {
        if (n->op != OP_param) continue;
        const IrType *t = &n->out[0].type;
        VmTensor *x = &list[p->ntensor++];
        *x = (VmTensor){.name = ir_str(n, ATTR_param_name),
                        .role = VM_ROLE_PARAM,
                        .rank = t->rank,
                        .space = VM_WEIGHTS,
                        .offset = at,
                        .init = ir_str(n, ATTR_param_init),
                        .init_stream = ir_str(n, ATTR_param_stream)};
        memcpy(x->dim, t->dim, (size_t)t->rank * sizeof t->dim[0]);
        at += (ir_elems(t) * 4 + ALIGN - 1) / ALIGN * ALIGN;
    }
    p->space_bytes[VM_WEIGHTS] = at;
    return p;
}

static VmStatus write_initial(Session *s, const IrGraph *g, uint64_t seed, const char *path) {
    VmError err = {.text = ""};
    VmPairs about;
    VmStatus said = session_about(s, NULL, (int64_t)seed, &about);
    if (said) return said;
    VmStatus st = vm_engine_create(1, &s->engine, &err);
    int program = st ? -1 : vm_engine_add(s->engine, drv_weights_program(s->arena, g), &err);
    if (program < 0) return drv_fail(VM_ENV, "%s", err.text);
    st = vm_engine_init(s->engine, seed, &err);
    if (!st) st = vm_weights_save(s->engine, program, about, path, &err);
    return st ? drv_fail(st, "%s", err.text) : VM_OK;
}

VmStatus cmd_init(const Args *a) {
    VmStatus st = args_require(a, OPT_o);
    Session s;
    VmoecOptions o;
    if (!st) st = drv_options(a, &o);
    o.precision = "f32"; /* no code is made: any machine will do */
    if (!st) st = drv_open_with(a, &o, NULL, false, &s);
    if (st) return st;
    uint64_t seed = (uint64_t)opt_or(a->o.seed, s.train ? s.train->recipe.seed : 0);
    const IrGraph *g = session_graph(&s, s.batch);
    st = g ? write_initial(&s, g, seed, a->o.o) : VM_INPUT;
    session_close(&s);
    return st;
}
