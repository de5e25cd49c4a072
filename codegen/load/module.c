/* Modules: programs of one model that share kernels. Plans programs, writes plans down as the plain
 * data of runtime/exec/abi.h, and fills in their kernels' code, which kernel_set.c gets. */
#include "codegen/plan/blocks.h"
#include "codegen/load/kernel_set.h"
#include "base/clock.h"

typedef struct Program {
    VmProgram vm;
    VmTask *task;
    int *kernel; /* per task */
    VmPack *pack;
    int *pack_kernel; /* per pack */
    const Plan *plan;
    struct Program *next;
} Program;

struct CgModule {
    Arena *arena;
    const CgTarget *target;
    KernelSet kernels;
    Program *programs;
    Plan *last_plan;
    PackTable *packs;
    const CgTuning *tuning;
    bool pack_in_step;
    CgStats stats;
};

CgModule *cg_module_create(const CgTarget *t) {
    Arena *a = arena_create();
    CgModule *m = ARENA_NEW(a, CgModule);
    m->arena = a;
    m->target = t;
    m->packs = pack_table_create(a);
    kernel_set_init(&m->kernels, a, t, &m->stats);
    return m;
}

void cg_module_destroy(CgModule *m) {
    if (!m) return;
    kernel_set_destroy(&m->kernels);
    arena_destroy(m->arena);
}

void cg_module_options(CgModule *m, const CgOptions *o) {
    m->kernels.options.workers = o->workers;
    m->kernels.options.cache_dir = o->cache_dir ? arena_strdup(m->arena, o->cache_dir) : NULL;
    m->kernels.options.backend = o->backend ? arena_strdup(m->arena, o->backend) : NULL;
    cache_close(m->kernels.cache);
    m->kernels.cache = NULL;
}

/* ---- programs ---- */

static const char *place_text(Arena *a, IrLoc at) {
    return at.file ? arena_printf(a, "%s:%d:%d", at.file, at.line, at.col) : NULL;
}

static VmTensor tensor_of(CgModule *m, const Plan *p, const IrValue *v, const char *name,
                          VmRole role) {
    const PlanBuffer *b = &p->buffer[plan_buffer(p, v)];
    VmTensor t = {.name = arena_strdup(m->arena, name),
                  .role = role,
                  .dtype = v->type.dtype == DT_i32,
                  .rank = v->type.rank,
                  .space = b->space,
                  .offset = b->offset,
                  .weight = 1,
                  .init = "",
                  .init_stream = "",
                  .place = place_text(m->arena, v->node->loc)};
    for (int d = 0; d < v->type.rank; d++) t.dim[d] = v->type.dim[d];
    return t;
}

static void add_tensors(CgModule *m, const Plan *p, Program *out) {
    VmTensor *list = ARENA_ARRAY(m->arena, VmTensor, p->g->nnodes + p->g->nout);
    int n = 0;
    IR_FOR (node, p->g) {
        const IrValue *v = &node->out[0];
        switch (node->op) {
        case OP_input:
            list[n++] = tensor_of(m, p, v, ir_str(node, ATTR_input_name), VM_ROLE_INPUT);
            break;
        case OP_state:
            list[n++] = tensor_of(m, p, v, ir_str(node, ATTR_state_name), VM_ROLE_STATE);
            break;
        case OP_table:
            list[n++] = tensor_of(m, p, v, ir_str(node, ATTR_table_values), VM_ROLE_TABLE);
            break;
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
    static const VmRole role[OUT_KIND_COUNT] = {
        [OUT_output] = VM_ROLE_OUTPUT,   [OUT_loss] = VM_ROLE_LOSS,
        [OUT_aux] = VM_ROLE_AUX,         [OUT_metric] = VM_ROLE_METRIC,
        [OUT_grad] = VM_ROLE_GRAD,       [OUT_update] = VM_ROLE_OUTPUT,
        [OUT_offsets] = VM_ROLE_OFFSETS, [OUT_choices] = VM_ROLE_CHOICES,
        [OUT_logits] = VM_ROLE_LOGITS};
    for (int i = 0; i < p->g->nout; i++) {
        const IrOut *o = &p->g->out[i];
        list[n] = tensor_of(m, p, o->value, o->name, role[o->kind]);
        if (o->loc.file) list[n].place = place_text(m->arena, o->loc);
        list[n++].weight = o->weight;
    }
    out->vm.tensor = list;
    out->vm.ntensor = n;
}

/* One task of a program; items and code are filled in when its kernel is known. */
static VmTask task_of(CgModule *m, Plan *p, PlanCluster *c) {
    VmArg *arg = ARENA_ARRAY(m->arena, VmArg, c->narg);
    for (int k = 0; k < c->narg; k++) {
        const PlanBuffer *b = &p->buffer[c->arg[k].buffer];
        arg[k] = (VmArg){b->space, b->offset + c->arg[k].offset};
    }
    return (VmTask){.kind = c->kind,
                    .name = arena_strdup(m->arena, plan_kernel_name(p, c)),
                    .arg = arg,
                    .narg = c->narg,
                    .barrier = c->barrier,
                    .bf16 = c->anchor && ir_rounds_operands(c->anchor),
                    .flops = plan_flops(c),
                    .bytes = plan_bytes(p, c)};
}

static void add_tasks(CgModule *m, Plan *p, Program *out) {
    out->task = ARENA_ARRAY(m->arena, VmTask, p->ncluster);
    out->kernel = ARENA_ARRAY(m->arena, int, p->ncluster);
    for (int i = 0; i < p->ncluster; i++) {
        out->kernel[i] = kernel_set_add(&m->kernels, p, &p->cluster[i]);
        out->task[i] = task_of(m, p, &p->cluster[i]);
        out->vm.updates |= p->cluster[i].kind == VM_TASK_UPDATE;
    }
    out->vm.task = out->task;
    out->vm.ntask = p->ncluster;
    out->vm.gate = p->gate;
    m->stats.clusters += p->ncluster;
}

static void add_packs(CgModule *m, Plan *p, Program *out) {
    out->pack = ARENA_ARRAY(m->arena, VmPack, p->nkept);
    out->pack_kernel = ARENA_ARRAY(m->arena, int, p->nkept);
    for (int i = 0; i < p->nkept; i++) {
        const PlanKept *k = &p->kept[i];
        out->pack_kernel[i] = kernel_set_add(&m->kernels, p, k->task);
        out->pack[i] =
            (VmPack){.task = task_of(m, p, k->task), .offset = p->buffer[k->buffer].offset};
    }
    out->vm.pack = out->pack;
    out->vm.npack = p->nkept;
}

VmProgram *cg_add_program(CgModule *m, IrGraph *g, const char *name, int64_t batch, double macs) {
    double t0 = vm_seconds();
    PackTable *packs = m->pack_in_step ? NULL : m->packs;
    Plan *p = m->last_plan = plan_create_tuned(m->arena, g, m->target, packs, m->tuning);
    Program *out = ARENA_NEW(m->arena, Program);
    out->plan = p;
    out->vm = (VmProgram){
        .abi = VM_ABI_VERSION, .name = arena_strdup(m->arena, name), .batch = batch, .macs = macs};
    add_tensors(m, p, out);
    add_tasks(m, p, out);
    add_packs(m, p, out);
    for (int s = 0; s < VM_SPACE_COUNT; s++) out->vm.space_bytes[s] = p->space_bytes[s];
    out->next = m->programs;
    m->programs = out;
    m->stats.kernels = m->kernels.n;
    m->stats.seconds_plan += vm_seconds() - t0;
    return &out->vm;
}

void cg_module_tuning(CgModule *m, const CgTuning *t) {
    m->tuning = t;
}

void cg_module_pack_in_step(CgModule *m, bool on) {
    m->pack_in_step = on;
}

static const Program *own_program(const CgModule *m, const VmProgram *p) {
    const Program *own = m->programs;
    while (own && &own->vm != p) own = own->next;
    VM_CHECK(own, "codegen: a program that is not the module's");
    return own;
}

bool cg_task_product(const CgModule *m, const VmProgram *p, int task, CgChosen *out) {
    const PlanCluster *c = &own_program(m, p)->plan->cluster[task];
    CgProduct product;
    if (!block_product(c, &product)) return false;
    Tile tile = block_tile(m->target, c);
    Blocks b = block_of(m->target, c, &tile);
    *out = (CgChosen){
        {product, b.rows, b.panels * tile.nr}, tile.rows, tile.nr, block_typical_rows(c)};
    return true;
}

/* What is known of a kernel goes into the tasks that run it. */
static void fill_task(const CgModule *m, VmTask *t, int kernel, int64_t *scratch) {
    const Kernel *k = &m->kernels.item[kernel];
    t->fn = k->fn;
    t->items = k->facts.items;
    if (k->facts.scratch_bytes > *scratch) *scratch = k->facts.scratch_bytes;
}

static void fill_programs(CgModule *m) {
    for (Program *p = m->programs; p; p = p->next) {
        int64_t scratch = 0;
        for (int i = 0; i < p->vm.ntask; i++) fill_task(m, &p->task[i], p->kernel[i], &scratch);
        for (int i = 0; i < p->vm.npack; i++)
            fill_task(m, &p->pack[i].task, p->pack_kernel[i], &scratch);
        p->vm.scratch_bytes =
            scratch + 1024; /* the last vectors of a panel may read past their row */
    }
}

static const char *compile(CgModule *m, bool code) {
    const char *error = kernel_set_compile(&m->kernels, code);
    if (!error) fill_programs(m);
    return error;
}

const char *cg_module_compile(CgModule *m) {
    return compile(m, true);
}

const char *cg_module_facts(CgModule *m) {
    return compile(m, false);
}

const char *cg_module_objects(CgModule *m, CgObjectSink sink, void *user) {
    const char *error = kernel_set_objects(&m->kernels, sink, user);
    if (!error) fill_programs(m);
    return error;
}

_Static_assert((int)CG_SYMBOL == (int)KERNEL_SYMBOL, "one length of a kernel's name");

void cg_task_symbol(const CgModule *m, const VmProgram *p, int task, char out[CG_SYMBOL]) {
    kernel_set_symbol(own_program(m, p)->kernel[task], out);
}

void cg_pack_symbol(const CgModule *m, const VmProgram *p, int i, char out[CG_SYMBOL]) {
    kernel_set_symbol(own_program(m, p)->pack_kernel[i], out);
}

const CgStats *cg_module_stats(const CgModule *m) {
    return &m->stats;
}

const IrGraph *cg_module_lowering(const CgModule *m) {
    return m->kernels.lowering;
}

/* ---- text ---- */

void cg_print_plan(Text *t, CgModule *m) {
    if (m->last_plan) plan_print(t, m->last_plan);
}

static const char *print_code(Text *t, CgModule *m, bool assembly) {
    return kernel_set_print(&m->kernels, m->last_plan ? m->last_plan->g : NULL, assembly, t);
}

const char *cg_print_llvm(Text *t, CgModule *m) {
    return print_code(t, m, false);
}

const char *cg_print_asm(Text *t, CgModule *m) {
    return print_code(t, m, true);
}
