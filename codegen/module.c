/* Modules: programs of one model that share kernels. Lowers what is new, compiles it, and fills in the
 * programs' function pointers. */
#include <string.h>
#include <time.h>

#include "codegen/jit.h"

typedef struct Kernel {
    const char *signature, *name;
    int64_t scratch_bytes, items;
    VmKernelFn fn;
} Kernel;

typedef struct Program {
    VmProgram vm;
    VmTask *task;
    int *kernel; /* per task */
    VmPack *pack;
    int *pack_kernel; /* per pack */
    struct Program *next;
} Program;

struct CgModule {
    Arena *arena;
    const CgTarget *target;
    Jit *jit;
    LLVMContextRef ctx;
    LLVMModuleRef pending; /* kernels not compiled yet; NULL: none */
    LLVMBuilderRef builder;
    Kernel *kernel;
    int nkernel, cap_kernel, ncompiled;
    Program *programs;
    Plan *last_plan;
    PackTable *packs;
    const char *last_llvm; /* text of the module compiled last, when asked for */
    CgStats stats;
};

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

CgModule *cg_module_create(const CgTarget *t, const char **error) {
    Arena *a = arena_create();
    CgModule *m = ARENA_NEW(a, CgModule);
    m->arena = a;
    m->target = t;
    m->packs = pack_table_create(a);
    m->jit = jit_create(a, t, error);
    if (!m->jit) return NULL; /* the arena stays: the message is in it */
    m->ctx = LLVMContextCreate();
    m->builder = LLVMCreateBuilderInContext(m->ctx);
    return m;
}

void cg_module_destroy(CgModule *m) {
    if (!m) return;
    LLVMDisposeBuilder(m->builder);
    if (m->pending) LLVMDisposeModule(m->pending);
    jit_destroy(m->jit);
    LLVMContextDispose(m->ctx);
    arena_destroy(m->arena);
}

static void kb_types(Kb *k) {
    k->vl = k->target->vector_floats;
    k->f32 = LLVMFloatTypeInContext(k->ctx);
    k->i32 = LLVMInt32TypeInContext(k->ctx);
    k->i64 = LLVMInt64TypeInContext(k->ctx);
    k->i1 = LLVMInt1TypeInContext(k->ctx);
    k->ptr = LLVMPointerTypeInContext(k->ctx, 0);
    k->vf = LLVMVectorType(k->f32, (unsigned)k->vl);
    k->vi = LLVMVectorType(k->i32, (unsigned)k->vl);
    k->vm = LLVMVectorType(k->i1, (unsigned)k->vl);
}

static void lower(CgModule *m, Plan *p, PlanCluster *c, Kernel *out) {
    if (!m->pending) m->pending = jit_new_module(m->jit, m->ctx, "kernels");
    Kb *k = ARENA_NEW(p->arena, Kb);
    k->arena = p->arena;
    k->target = m->target;
    k->plan = p;
    k->cl = c;
    k->ctx = m->ctx;
    k->mod = m->pending;
    k->b = m->builder;
    kb_types(k);
    kb_begin(k, out->name);
    if (c->pack)
        cg_lower_pack(k);
    else if (c->anchor)
        cg_lower_rule(c->anchor->op)(k, c->anchor);
    else
        cg_lower_map(k);
    kb_end(k);
    out->scratch_bytes = k->scratch_bytes;
    out->items = k->items;
}

/* The kernel of a cluster: an equal one, or a new one. */
static int kernel_for(CgModule *m, Plan *p, PlanCluster *c) {
    const char *sig = plan_signature(p, c);
    for (int i = 0; i < m->nkernel; i++)
        if (!strcmp(m->kernel[i].signature, sig)) return i;
    if (m->nkernel == m->cap_kernel) {
        int cap = m->cap_kernel ? 2 * m->cap_kernel : 64;
        Kernel *grown = ARENA_ARRAY(m->arena, Kernel, cap);
        if (m->nkernel) memcpy(grown, m->kernel, (size_t)m->nkernel * sizeof *grown);
        m->kernel = grown;
        m->cap_kernel = cap;
    }
    Kernel *kn = &m->kernel[m->nkernel];
    kn->signature = arena_strdup(m->arena, sig);
    kn->name = arena_printf(m->arena, "vmoe_kernel_%d", m->nkernel);
    lower(m, p, c, kn);
    return m->nkernel++;
}

static VmTensor tensor_of(CgModule *m, const Plan *p, const IrValue *v, const char *name, VmRole role) {
    const PlanBuffer *b = &p->buffer[plan_buffer(p, v)];
    VmTensor t = {.name = arena_strdup(m->arena, name),
                  .role = role,
                  .dtype = v->type.dtype == DT_i32,
                  .rank = v->type.rank,
                  .space = b->space,
                  .offset = b->offset,
                  .weight = 1,
                  .init = "",
                  .init_stream = ""};
    for (int d = 0; d < v->type.rank; d++) t.dim[d] = v->type.dim[d];
    return t;
}

static void add_tensors(CgModule *m, const Plan *p, Program *out) {
    VmTensor *list = ARENA_ARRAY(m->arena, VmTensor, p->g->nnodes + p->g->nout);
    int n = 0;
    IR_FOR (node, p->g) {
        const IrValue *v = &node->out[0];
        switch (node->op) {
        case OP_input: list[n++] = tensor_of(m, p, v, ir_str(node, ATTR_input_name), VM_ROLE_INPUT); break;
        case OP_state: list[n++] = tensor_of(m, p, v, ir_str(node, ATTR_state_name), VM_ROLE_STATE); break;
        case OP_table: list[n++] = tensor_of(m, p, v, ir_str(node, ATTR_table_values), VM_ROLE_TABLE); break;
        case OP_rng_key:
            list[n++] = tensor_of(m, p, v, ir_str(node, ATTR_rng_key_stream), VM_ROLE_RNG_KEY);
            break;
        case OP_param:
            list[n] = tensor_of(m, p, v, ir_str(node, ATTR_param_name), VM_ROLE_PARAM);
            list[n].init = arena_strdup(m->arena, ir_str(node, ATTR_param_init));
            list[n++].init_stream = arena_strdup(m->arena, ir_str(node, ATTR_param_stream));
            break;
        default: break;
        }
    }
    static const VmRole role[OUT_KIND_COUNT] = {[OUT_output] = VM_ROLE_OUTPUT,
                                                [OUT_loss] = VM_ROLE_LOSS,
                                                [OUT_aux] = VM_ROLE_AUX,
                                                [OUT_metric] = VM_ROLE_METRIC,
                                                [OUT_grad] = VM_ROLE_GRAD};
    for (int i = 0; i < p->g->nout; i++) {
        const IrOut *o = &p->g->out[i];
        list[n] = tensor_of(m, p, o->value, o->name, role[o->kind]);
        list[n++].weight = o->weight;
    }
    out->vm.tensor = list;
    out->vm.ntensor = n;
}

/* One task of a program; fn is filled in when its kernel has been compiled. */
static VmTask task_of(CgModule *m, Plan *p, PlanCluster *c, int kernel, Program *out) {
    if (m->kernel[kernel].scratch_bytes > out->vm.scratch_bytes)
        out->vm.scratch_bytes = m->kernel[kernel].scratch_bytes;
    VmArg *arg = ARENA_ARRAY(m->arena, VmArg, c->narg);
    for (int k = 0; k < c->narg; k++) {
        const PlanBuffer *b = &p->buffer[c->arg[k].buffer];
        arg[k] = (VmArg){b->space, b->offset + c->arg[k].offset};
    }
    return (VmTask){.name = arena_strdup(m->arena, plan_kernel_name(p, c)),
                    .arg = arg,
                    .narg = c->narg,
                    .items = m->kernel[kernel].items,
                    .barrier = c->barrier,
                    .flops = plan_flops(c),
                    .bytes = plan_bytes(p, c)};
}

static void add_tasks(CgModule *m, Plan *p, Program *out) {
    out->task = ARENA_ARRAY(m->arena, VmTask, p->ncluster);
    out->kernel = ARENA_ARRAY(m->arena, int, p->ncluster);
    for (int i = 0; i < p->ncluster; i++) {
        out->kernel[i] = kernel_for(m, p, &p->cluster[i]);
        out->task[i] = task_of(m, p, &p->cluster[i], out->kernel[i], out);
        out->vm.updates |= p->cluster[i].anchor && p->cluster[i].anchor->op == OP_adamw;
    }
    out->vm.task = out->task;
    out->vm.ntask = p->ncluster;
    m->stats.clusters += p->ncluster;
}

static void add_packs(CgModule *m, Plan *p, Program *out) {
    out->pack = ARENA_ARRAY(m->arena, VmPack, p->nkept);
    out->pack_kernel = ARENA_ARRAY(m->arena, int, p->nkept);
    for (int i = 0; i < p->nkept; i++) {
        const PlanKept *k = &p->kept[i];
        out->pack_kernel[i] = kernel_for(m, p, k->task);
        out->pack[i] = (VmPack){.task = task_of(m, p, k->task, out->pack_kernel[i], out),
                                .offset = p->buffer[k->buffer].offset,
                                .kept = k->updated};
    }
    out->vm.pack = out->pack;
    out->vm.npack = p->nkept;
}

VmProgram *cg_add_program(CgModule *m, IrGraph *g, const char *name, int64_t batch, double macs,
                          bool training) {
    double t0 = now();
    Plan *p = m->last_plan = plan_create(m->arena, g, m->target, m->packs);
    double t1 = now();
    Program *out = ARENA_NEW(m->arena, Program);
    out->vm = (VmProgram){.abi = VM_ABI_VERSION,
                          .name = arena_strdup(m->arena, name),
                          .batch = batch,
                          .macs = macs,
                          .training = training};
    add_tensors(m, p, out);
    add_tasks(m, p, out);
    add_packs(m, p, out);
    for (int s = 0; s < VM_SPACE_COUNT; s++) out->vm.space_bytes[s] = p->space_bytes[s];
    out->vm.scratch_bytes += 1024; /* the last vectors of a panel may read past their row */
    out->next = m->programs;
    m->programs = out;
    m->stats.kernels = m->nkernel;
    m->stats.seconds_plan += t1 - t0;
    m->stats.seconds_ir += now() - t1;
    return &out->vm;
}

const char *cg_module_compile(CgModule *m) {
    double t0 = now();
    const char *error = NULL;
    if (m->pending) {
        LLVMMemoryBufferRef object = jit_object(m->jit, m->pending, &error);
        LLVMDisposeModule(m->pending);
        m->pending = NULL;
        if (!object) return error;
        error = jit_add(m->jit, object);
        if (error) return error;
    }
    for (; m->ncompiled < m->nkernel; m->ncompiled++) {
        Kernel *kn = &m->kernel[m->ncompiled];
        void *at = jit_lookup(m->jit, kn->name, &error);
        if (!at) return error;
        memcpy(&kn->fn, &at, sizeof at); /* ISO C has no cast from object to function pointer */
    }
    for (Program *p = m->programs; p; p = p->next) {
        for (int i = 0; i < p->vm.ntask; i++) p->task[i].fn = m->kernel[p->kernel[i]].fn;
        for (int i = 0; i < p->vm.npack; i++) p->pack[i].task.fn = m->kernel[p->pack_kernel[i]].fn;
    }
    m->stats.seconds_llvm += now() - t0;
    return NULL;
}

const CgStats *cg_module_stats(const CgModule *m) {
    return &m->stats;
}

void cg_print_plan(Text *t, CgModule *m) {
    if (m->last_plan) plan_print(t, m->last_plan);
}

void cg_print_llvm(Text *t, CgModule *m) {
    if (!m->pending) return;
    char *text = LLVMPrintModuleToString(m->pending);
    text_add(t, text);
    LLVMDisposeMessage(text);
}

const char *cg_print_asm(Text *t, CgModule *m) {
    if (!m->pending) return NULL;
    const char *error = NULL;
    LLVMModuleRef copy = LLVMCloneModule(m->pending);
    const char *text = jit_assembly(m->jit, m->arena, copy, &error);
    LLVMDisposeModule(copy);
    if (!text) return error;
    text_add(t, text);
    return NULL;
}
