/* Modules: programs of one model that share kernels. Plans programs, finds which kernels are new, gets their
 * code from the cache or from workers, loads it and fills in the programs. Never touches LLVM, except to
 * print.
 */
#include <string.h>
#include <time.h>

#include "codegen/blocks.h"
#include "codegen/hash.h"
#include "codegen/workers.h"

typedef struct Kernel {
    const char *signature;
    uint64_t hash;
    CgJob job;  /* the first cluster that needs it */
    bool known; /* facts are */
    CgFacts facts;
    VmKernelFn fn; /* NULL: not compiled */
} Kernel;

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
    CgOptions options;
    Cache *cache; /* opened when it is first needed */
    Code *code;
    Kernel *kernel;
    int nkernel, cap_kernel;
    int *slot; /* hash table of kernel numbers + 1, 0: empty */
    int nslot; /* a power of two */
    Program *programs;
    Plan *last_plan;
    PackTable *packs;
    const CgTuning *tuning;
    const IrGraph *lowering;
    CgStats stats;
};

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

CgModule *cg_module_create(const CgTarget *t, const char **error) {
    *error = NULL;
    Arena *a = arena_create();
    CgModule *m = ARENA_NEW(a, CgModule);
    m->arena = a;
    m->target = t;
    m->packs = pack_table_create(a);
    m->code = code_create(a);
    return m;
}

void cg_module_destroy(CgModule *m) {
    if (!m) return;
    code_destroy(m->code);
    arena_destroy(m->arena);
}

void cg_module_options(CgModule *m, const CgOptions *o) {
    m->options.workers = o->workers;
    m->options.cache_dir = o->cache_dir ? arena_strdup(m->arena, o->cache_dir) : NULL;
    m->cache = NULL;
}

/* ---- kernels ---- */

static int *slot_of(CgModule *m, uint64_t hash, const char *signature) {
    for (int i = (int)(hash & (uint64_t)(m->nslot - 1));; i = (i + 1) & (m->nslot - 1)) {
        if (!m->slot[i]) return &m->slot[i];
        const Kernel *k = &m->kernel[m->slot[i] - 1];
        if (k->hash == hash && !strcmp(k->signature, signature)) return &m->slot[i];
    }
}

static void grow_kernels(CgModule *m) {
    int cap = m->cap_kernel ? 2 * m->cap_kernel : 64;
    Kernel *grown = ARENA_ARRAY(m->arena, Kernel, cap);
    if (m->nkernel) memcpy(grown, m->kernel, (size_t)m->nkernel * sizeof *grown);
    m->kernel = grown;
    m->cap_kernel = cap;
    m->nslot = 2 * cap;
    m->slot = ARENA_ARRAY(m->arena, int, m->nslot);
    for (int i = 0; i < m->nkernel; i++) *slot_of(m, grown[i].hash, grown[i].signature) = i + 1;
}

/* The kernel of a cluster: an equal one, or a new one. */
static int kernel_for(CgModule *m, Plan *p, PlanCluster *c) {
    if (m->nkernel == m->cap_kernel) grow_kernels(m);
    const char *sig = plan_signature(p, c);
    uint64_t hash = hash_bytes(sig, strlen(sig)).lo;
    int *slot = slot_of(m, hash, sig);
    if (!*slot) {
        m->kernel[m->nkernel++] = (Kernel){.signature = sig, .hash = hash, .job = {p, c}};
        *slot = m->nkernel;
    }
    return *slot - 1;
}

/* ---- programs ---- */

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

/* One task of a program; items and code are filled in when its kernel is known. */
static VmTask task_of(CgModule *m, Plan *p, PlanCluster *c) {
    VmArg *arg = ARENA_ARRAY(m->arena, VmArg, c->narg);
    for (int k = 0; k < c->narg; k++) {
        const PlanBuffer *b = &p->buffer[c->arg[k].buffer];
        arg[k] = (VmArg){b->space, b->offset + c->arg[k].offset};
    }
    return (VmTask){.name = arena_strdup(m->arena, plan_kernel_name(p, c)),
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
        out->kernel[i] = kernel_for(m, p, &p->cluster[i]);
        out->task[i] = task_of(m, p, &p->cluster[i]);
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
        out->pack[i] = (VmPack){
            .task = task_of(m, p, k->task), .offset = p->buffer[k->buffer].offset, .kept = k->updated};
    }
    out->vm.pack = out->pack;
    out->vm.npack = p->nkept;
}

VmProgram *cg_add_program(CgModule *m, IrGraph *g, const char *name, int64_t batch, double macs,
                          bool training) {
    double t0 = now();
    Plan *p = m->last_plan = plan_create_tuned(m->arena, g, m->target, m->packs, m->tuning);
    Program *out = ARENA_NEW(m->arena, Program);
    out->plan = p;
    out->vm = (VmProgram){.abi = VM_ABI_VERSION,
                          .name = arena_strdup(m->arena, name),
                          .batch = batch,
                          .macs = macs,
                          .training = training};
    add_tensors(m, p, out);
    add_tasks(m, p, out);
    add_packs(m, p, out);
    for (int s = 0; s < VM_SPACE_COUNT; s++) out->vm.space_bytes[s] = p->space_bytes[s];
    out->next = m->programs;
    m->programs = out;
    m->stats.kernels = m->nkernel;
    m->stats.seconds_plan += now() - t0;
    return &out->vm;
}

void cg_module_tuning(CgModule *m, const CgTuning *t) {
    m->tuning = t;
}

bool cg_task_product(const CgModule *m, const VmProgram *p, int task, CgChosen *out) {
    const Program *own = m->programs;
    while (own && &own->vm != p) own = own->next;
    VM_CHECK(own && task < own->vm.ntask, "codegen: task %d of a program that is not the module's", task);
    const PlanCluster *c = &own->plan->cluster[task];
    CgProduct product;
    if (!block_product(c, &product)) return false;
    Tile tile = block_tile(m->target, c);
    Blocks b = block_of(m->target, c, &tile);
    *out =
        (CgChosen){{product, b.rows, b.panels * tile.nr}, tile.rows, tile.nr, block_typical_rows(&product)};
    return true;
}

/* What is known of a kernel goes into the tasks that run it. */
static void fill_task(const CgModule *m, VmTask *t, int kernel, int64_t *scratch) {
    const Kernel *k = &m->kernel[kernel];
    t->fn = k->fn;
    t->items = k->facts.items;
    if (k->facts.scratch_bytes > *scratch) *scratch = k->facts.scratch_bytes;
}

static void fill_programs(CgModule *m) {
    for (Program *p = m->programs; p; p = p->next) {
        int64_t scratch = 0;
        for (int i = 0; i < p->vm.ntask; i++) fill_task(m, &p->task[i], p->kernel[i], &scratch);
        for (int i = 0; i < p->vm.npack; i++) fill_task(m, &p->pack[i].task, p->pack_kernel[i], &scratch);
        p->vm.scratch_bytes = scratch + 1024; /* the last vectors of a panel may read past their row */
    }
}

/* ---- code ---- */

/* Objects to be loaded together. Shared functions stand before the kernels. */
typedef struct Batch {
    CgModule *m;
    Arena *arena; /* of this compilation alone */
    LoadObject *helper;
    int nhelper, cap_helper;
    LoadObject *kernel; /* [m->nkernel]; data NULL: nothing to load */
} Batch;

static Cache *cache_of(CgModule *m) {
    if (!m->cache) m->cache = cache_open(m->arena, m->target, m->options.cache_dir, &m->stats.cache_note);
    return m->cache;
}

static bool has_helper(const Batch *b, const char *name) {
    for (int i = 0; i < b->nhelper; i++)
        if (!strcmp(b->helper[i].symbol, name)) return true;
    return code_has(b->m->code, name);
}

static void add_helper(Batch *b, const char *name, const void *data, size_t size) {
    if (has_helper(b, name)) return;
    if (b->nhelper == b->cap_helper) {
        b->cap_helper = b->cap_helper ? 2 * b->cap_helper : 16;
        LoadObject *grown = ARENA_ARRAY(b->arena, LoadObject, b->cap_helper);
        if (b->nhelper) memcpy(grown, b->helper, (size_t)b->nhelper * sizeof *grown);
        b->helper = grown;
    }
    b->helper[b->nhelper++] = (LoadObject){.symbol = name, .data = data, .size = size, .shared = true};
}

static bool helper_from_cache(Batch *b, const char *name) {
    if (has_helper(b, name)) return true;
    CacheEntry e;
    if (!cache_find(cache_of(b->m), b->arena, work_helper_text(b->arena, name), &e)) return false;
    LoadObject o = {.symbol = name, .data = e.object, .size = e.size};
    const char **more;
    if (code_check(b->arena, &o, &more) || *more) return false;
    add_helper(b, name, e.object, e.size);
    return true;
}

static const char *kernel_text(Arena *a, const Kernel *k) {
    return arena_printf(a, "kernel\n%s", k->signature);
}

/* A hit needs the shared functions it calls too. */
static bool kernel_from_cache(Batch *b, int i) {
    Kernel *k = &b->m->kernel[i];
    CacheEntry e;
    if (!cache_find(cache_of(b->m), b->arena, kernel_text(b->arena, k), &e) || e.facts.items < 1)
        return false;
    LoadObject o = {.symbol = CG_KERNEL_SYMBOL, .data = e.object, .size = e.size};
    const char **needs;
    if (code_check(b->arena, &o, &needs)) return false;
    for (; *needs; needs++)
        if (!helper_from_cache(b, *needs)) return false;
    b->kernel[i] = o;
    k->facts = e.facts;
    k->known = true;
    b->m->stats.cached++;
    return true;
}

/* Has workers do what is left; code false: only the facts. */
static const char *compile_rest(Batch *b, bool code) {
    CgModule *m = b->m;
    Work w = {.target = m->target,
              .cache = cache_of(m),
              .item = ARENA_ARRAY(b->arena, WorkItem, m->nkernel),
              .code = code,
              .workers = code ? m->options.workers : 1,
              .lowering = &m->lowering};
    int *kernel = ARENA_ARRAY(b->arena, int, m->nkernel);
    for (int i = 0; i < m->nkernel; i++) {
        const Kernel *k = &m->kernel[i];
        if (code ? k->fn || b->kernel[i].data : k->known) continue;
        kernel[w.n] = i;
        w.item[w.n++] = (WorkItem){.job = k->job, .text = kernel_text(b->arena, k)};
    }
    double t0 = now();
    const char *error = work_run(b->arena, &w);
    if (w.started > m->stats.workers) m->stats.workers = w.started;
    m->stats.seconds_workers += now() - t0;
    m->stats.seconds_start += w.seconds_start;
    m->stats.seconds_ir += w.seconds_ir;
    m->stats.seconds_llvm += w.seconds_llvm;
    if (error) return error;
    for (int i = 0; i < w.nhelper; i++) add_helper(b, w.helper[i].name, w.helper[i].object, w.helper[i].size);
    for (int i = 0; i < w.n; i++) {
        Kernel *k = &m->kernel[kernel[i]];
        k->facts = w.item[i].facts;
        k->known = true;
        if (!code) continue;
        LoadObject o = {.symbol = CG_KERNEL_SYMBOL, .data = w.item[i].object, .size = w.item[i].size};
        const char *wrong = code_check(b->arena, &o, NULL);
        VM_CHECK(!wrong, "codegen: an object the loader does not take: %s", wrong);
        b->kernel[kernel[i]] = o;
        m->stats.compiled++;
    }
    return NULL;
}

static const char *load_batch(Batch *b) {
    CgModule *m = b->m;
    double t0 = now();
    LoadObject *all = ARENA_ARRAY(b->arena, LoadObject, b->nhelper + m->nkernel);
    int n = 0;
    for (int i = 0; i < b->nhelper; i++) all[n++] = b->helper[i];
    for (int i = 0; i < m->nkernel; i++)
        if (b->kernel[i].data) all[n++] = b->kernel[i];
    const char *error = code_load(m->code, b->arena, all, n);
    if (error) return error;
    n = b->nhelper;
    for (int i = 0; i < m->nkernel; i++)
        if (b->kernel[i].data) /* ISO C has no cast from object to function pointer */
            memcpy(&m->kernel[i].fn, &all[n++].entry, sizeof m->kernel[i].fn);
    m->stats.seconds_load += now() - t0;
    m->stats.code_bytes = (int64_t)code_bytes(m->code);
    return NULL;
}

static const char *compile(Batch *b) {
    double t0 = now();
    for (int i = 0; i < b->m->nkernel; i++)
        if (!b->m->kernel[i].fn) kernel_from_cache(b, i);
    b->m->stats.seconds_cache += now() - t0;
    const char *error = compile_rest(b, true);
    return error ? error : load_batch(b);
}

static const char *with_batch(CgModule *m, bool code) {
    Batch b = {.m = m, .arena = arena_create(), .kernel = NULL};
    b.kernel = ARENA_ARRAY(b.arena, LoadObject, m->nkernel);
    const char *error = code ? compile(&b) : compile_rest(&b, false);
    if (error) error = arena_strdup(m->arena, error);
    arena_destroy(b.arena);
    if (!error) fill_programs(m);
    return error;
}

const char *cg_module_compile(CgModule *m) {
    return with_batch(m, true);
}

const char *cg_module_facts(CgModule *m) {
    return with_batch(m, false);
}

const CgStats *cg_module_stats(const CgModule *m) {
    return &m->stats;
}

const IrGraph *cg_module_lowering(const CgModule *m) {
    return m->lowering;
}

/* ---- text ---- */

void cg_print_plan(Text *t, CgModule *m) {
    if (m->last_plan) plan_print(t, m->last_plan);
}

static const char *print_code(Text *t, CgModule *m, bool assembly) {
    const char *error = NULL;
    const CgBackend *b = backend_load(m->arena, &error);
    CgUnit *u = b ? b->create(m->arena, m->target, &error) : NULL;
    if (!u) return error;
    CgJob *job = ARENA_ARRAY(m->arena, CgJob, m->nkernel);
    int n = 0;
    for (int i = 0; i < m->nkernel; i++)
        if (!m->kernel[i].fn) job[n++] = m->kernel[i].job;
    m->lowering = m->last_plan ? m->last_plan->g : NULL;
    error = b->print(u, job, n, assembly, t);
    m->lowering = NULL;
    b->destroy(u);
    return error;
}

const char *cg_print_llvm(Text *t, CgModule *m) {
    return print_code(t, m, false);
}

const char *cg_print_asm(Text *t, CgModule *m) {
    return print_code(t, m, true);
}
