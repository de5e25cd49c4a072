/* A handle: what it needs, how it is laid out in the memory that is handed in; and facts of the
 * model.
 *
 * The memory holds, in this order: the handle, its list of programs, the engine, the programs'
 * terms, the views of weights and state, labels. `needs` sums up the sizes that `make` takes, and
 * vmlib_create fails when these are more. */
#include "trainer/library/library.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

enum { ALL = VMLIB_TRAIN | VMLIB_EVALUATE | VMLIB_PREDICT, MOST = 512 };

static const unsigned bit_of[VM_BUILT_USES] = {[VM_BUILT_TRAIN] = VMLIB_TRAIN,
                                               [VM_BUILT_JUDGE] = VMLIB_EVALUATE,
                                               [VM_BUILT_PREDICT] = VMLIB_PREDICT};

/* ---- what lies in the memory ----------------------------------------------------------------- */

typedef struct Layout {
    const VmProgram *program[MOST]; /* [n], for the engine */
    VmBuiltUse use[MOST];
    int n, any, stateful; /* as in the handle */
    size_t terms, views, labels;
} Layout;

static int count_role(const VmProgram *p, VmRole role) {
    int n = 0;
    for (int i = 0; i < p->ntensor; i++) n += p->tensor[i].role == (int32_t)role;
    return n;
}

/* Programs for a set of uses; none when the library does not do what one of them asks for. */
static void choose(Layout *c, const VmBuilt *b, unsigned uses) {
    unsigned found = 0, wanted = uses ? uses : ALL;
    *c = (Layout){.any = -1, .stateful = -1};
    for (int i = 0; i < b->nprogram && c->n < MOST; i++) {
        const VmProgram *p = b->program[i].program;
        if (!(bit_of[b->program[i].use] & wanted)) continue;
        found |= bit_of[b->program[i].use];
        c->terms += (size_t)p->ntensor;
        if ((size_t)p->batch > c->labels) c->labels = (size_t)p->batch;
        if (c->any < 0) c->any = c->n;
        if (c->stateful < 0 && count_role(p, VM_ROLE_STATE)) c->stateful = c->n;
        c->use[c->n] = b->program[i].use;
        c->program[c->n++] = p;
    }
    if (uses && found != uses) c->n = 0;
    if (!c->n) return;
    c->views = (size_t)count_role(c->program[c->any], VM_ROLE_PARAM);
    if (c->stateful >= 0) c->views += (size_t)count_role(c->program[c->stateful], VM_ROLE_STATE);
}

/* Without what aligns it. */
static size_t needs(const Layout *c, int threads) {
    return vm_region_piece(sizeof(vmlib)) + vm_region_piece((size_t)c->n * sizeof(vmlib_program)) +
           vm_region_piece(c->terms * sizeof(VmTerm)) +
           vm_region_piece(c->views * sizeof(VmTensorView)) +
           vm_region_piece(c->labels * sizeof(int32_t)) +
           vm_engine_needs(c->program, c->n, threads);
}

static bool good_call(int threads, unsigned uses) {
    return threads >= 0 && threads <= 256 && !(uses & ~(unsigned)ALL);
}

size_t vmlib_memory_needed(int threads, unsigned uses) {
    Layout c;
    if (!good_call(threads, uses)) return 0;
    choose(&c, &vm_built, uses);
    return c.n ? needs(&c, threads) + VM_REGION_ALIGN - 1 : 0;
}

/* ---- making one ------------------------------------------------------------------------------ */

static void find_scores(vmlib *h, vmlib_program *p) {
    const VmTensor *t = vm_engine_tensor(h->engine, p->bind.program, VM_OUTPUT_SCORES);
    if (!t) return;
    p->score = vm_engine_address(h->engine, p->bind.program, t);
    p->classes = t->dim[t->rank - 1];
}

static VmStatus bind(vmlib *h, const Layout *c, VmRegion *r) {
    VmTerm *term = vm_region_take(r, c->terms, sizeof *term);
    h->view = vm_region_take(r, c->views, sizeof *h->view);
    h->label = vm_region_take(r, c->labels, sizeof *h->label);
    if (!term || !h->view || !h->label) return vm_fail(&h->err, VM_ENV, "out of memory");
    VmStatus s = VM_OK;
    for (int i = 0; i < c->n && !s; i++) {
        vmlib_program *p = &h->program[i];
        *p = (vmlib_program){.use = c->use[i],
                             .bind = {.program = i, .batch = c->program[i]->batch, .term = term}};
        term += c->program[i]->ntensor;
        s = vm_binding_find(&p->bind, h->engine, &h->err);
        find_scores(h, p);
    }
    h->nweight = vm_tensors_views(h->engine, c->any, VM_ROLE_PARAM, h->view);
    if (c->stateful >= 0)
        h->nstate = vm_tensors_views(h->engine, c->stateful, VM_ROLE_STATE, h->view + h->nweight);
    return s;
}

static VmStatus check_call(vmlib *h, const Layout *c, size_t size, int threads, unsigned uses,
                           size_t needed) {
    if (!good_call(threads, uses))
        return vm_fail(&h->err, VM_USAGE,
                       "expected 0 to 256 threads and a set of the uses train (1), evaluate (2) "
                       "and predict (4), found %d threads and uses %u",
                       threads, uses);
    if (!c->n)
        return vm_fail(&h->err, VM_USAGE,
                       "the library was not built for what is asked for: uses %u", uses);
    if (size >= needed) return VM_OK;
    return vm_fail(&h->err, VM_USAGE,
                   "too little memory: expected at least %zu bytes for %d threads, found %zu",
                   needed, vm_threads(threads), size);
}

static VmStatus make(vmlib *h, const Layout *c, VmRegion *r, int threads) {
    const VmBuilt *b = h->built;
    VmStatus s = vm_built_check_cpu(b, &h->err);
    if (!s && b->abi != VM_ABI_VERSION)
        s = vm_fail(&h->err, VM_ENV, "built for version %d of the runtime, this is %d", b->abi,
                    VM_ABI_VERSION);
    h->program = vm_region_take(r, (size_t)c->n, sizeof *h->program);
    h->nprogram = c->n;
    h->any = c->any;
    h->stateful = c->stateful;
    if (!s) s = vm_engine_create_in(r, c->program, c->n, threads, &h->engine, &h->err);
    if (!s) s = bind(h, c, r);
    if (!s) vmlib_plan(h, 0);
    return s;
}

vmlib_status vmlib_create(void *memory, size_t size, int threads, unsigned uses, vmlib **out) {
    Layout c;
    if (!out) return VMLIB_USAGE;
    *out = NULL;
    size_t gap = memory ? (size_t)(-(uintptr_t)memory % VM_REGION_ALIGN) : 0;
    if (!memory || size < gap + vm_region_piece(sizeof(vmlib))) return VMLIB_USAGE;
    VmRegion r = {(unsigned char *)memory + gap, size - gap};
    vmlib *h = *out = vm_region_take(&r, 1, sizeof *h);
    *h = (vmlib){.life = VMLIB_FAILED, .built = &vm_built, .loss = NAN};
    h->seed = h->built->recipe->seed;
    bool good = good_call(threads, uses);
    choose(&c, h->built, good ? uses : 0);
    size_t needed = good && c.n ? needs(&c, threads) + gap : 0;
    VmStatus s = check_call(h, &c, size, threads, uses, needed);
    if (!s) s = make(h, &c, &r, threads);
    if (!s) h->life = VMLIB_ALIVE;
    return (vmlib_status)s;
}

void vmlib_close(vmlib *h) {
    if (h) h->life = VMLIB_DEAD;
}

const char *vmlib_error(const vmlib *h) {
    if (!h) return "there is no handle";
    if (h->life != VMLIB_ALIVE && h->life != VMLIB_FAILED) return "the handle is closed";
    return h->busy ? "the handle is at work in another call" : h->err.text;
}

/* ---- facts ----------------------------------------------------------------------------------- */

int vmlib_sizes(unsigned use, int64_t *to, int room) {
    int n = 0;
    for (int i = 0; i < vm_built.nprogram; i++) {
        if (bit_of[vm_built.program[i].use] != use || !use) continue;
        if (to && n < room) to[n] = vm_built.program[i].program->batch;
        n++;
    }
    return n;
}

const char *vmlib_class_name(int64_t label) {
    return label >= 0 && label < vm_built.nclass_name ? vm_built.class_name[label] : NULL;
}

const char *vmlib_metric_name(int i) {
    const VmProgram *p = NULL;
    for (int k = 0; k < vm_built.nprogram && !p; k++)
        if (vm_built.program[k].use == VM_BUILT_JUDGE) p = vm_built.program[k].program;
    for (int t = 0; p && t < p->ntensor; t++)
        if (p->tensor[t].role == VM_ROLE_METRIC && i-- == 0) return p->tensor[t].name;
    return NULL;
}
