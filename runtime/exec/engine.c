/* Runs programs: owns the memory of their spaces, resolves every task's buffers to addresses once,
 * fills in the random keys of a step and runs the tasks with one OpenMP team.
 *
 * Packed copies of weights are made from the weights when they are stale: after somebody else wrote
 * weights, another program's step among them. A step leaves the copies of its own program right,
 * those of weights it does not change included. One that is refused at its gate has changed
 * nothing.
 *
 * A step is one parallel region (step.c says what a thread does in it). Nothing is allocated in a
 * step.
 *
 * Does not: look into weights or data, keep time (except vm_engine_profile).
 */
#include "runtime/exec/internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"

typedef struct RngKey {
    uint32_t *key; /* [2], in the work space */
    int64_t offset;
    int32_t space;
    uint64_t hash;
} RngKey;

/* A packed copy that some program lists. */
typedef struct Packed {
    int64_t offset;
    bool stale; /* not what the weight says */
} Packed;

typedef struct Loaded {
    const VmProgram *program;
    VmStep *step, *packing; /* packing: makes the stale ones among the program's packed copies */
    VmBlock memory[2];      /* of their task lists, cursors and counts */
    const float **watched;  /* what must be finite at the program's gate */
    int nwatched;
    void **args; /* all tasks' addresses, one after another; then those of the packing */
    int *packed; /* per VmPack of the program: its number in the engine */
    RngKey *rng;
    int nrng;
} Loaded;

struct VmEngine {
    int threads, cpus;
    VmBlock space[VM_SPACE_COUNT];
    VmBlock scratch;
    /* bytes per thread, a multiple of 64 with a gap against false sharing */
    int64_t scratch_stride;
    Loaded *loaded;
    int count, cap;
    Packed *packed;
    int npacked;
};

static const char *const space_names[VM_SPACE_COUNT] = {"weights", "optimizer state",
                                                        "working memory", "packed weights"};

VmStatus vm_engine_create(int threads, VmEngine **out, VmError *err) {
    *out = NULL;
    VmStatus s = vm_team_ready(vm_threads(threads), err);
    if (s) return s;
    VmEngine *e = vm_calloc(1, sizeof *e);
    if (!e) return vm_fail(err, VM_ENV, "out of memory");
    e->threads = vm_threads(threads);
    e->cpus = vm_cpus();
    *out = e;
    return VM_OK;
}

static void loaded_free(Loaded *l) {
    for (int i = 0; i < 2; i++) vm_block_free(&l->memory[i]);
    free(l->watched);
    free(l->args);
    free(l->packed);
    free(l->rng);
    *l = (Loaded){0};
}

void vm_engine_destroy(VmEngine *e) {
    if (!e) return;
    for (int i = 0; i < e->count; i++) loaded_free(&e->loaded[i]);
    for (int i = 0; i < VM_SPACE_COUNT; i++) vm_block_free(&e->space[i]);
    vm_block_free(&e->scratch);
    free(e->loaded);
    free(e->packed);
    free(e);
}

int vm_engine_threads(const VmEngine *e) {
    return e->threads;
}

int64_t vm_engine_bytes(const VmEngine *e) {
    int64_t sum = (int64_t)e->scratch.bytes;
    for (int i = 0; i < VM_SPACE_COUNT; i++) sum += (int64_t)e->space[i].bytes;
    return sum;
}

/* ---- tensors ---- */

int64_t vm_tensor_elems(const VmTensor *t) {
    int64_t n = 1;
    for (int i = 0; i < t->rank; i++) n *= t->dim[i];
    return n;
}

const char *vm_shape_text(int dtype, int rank, const int64_t *dim, char *buf, size_t cap) {
    size_t at = (size_t)snprintf(buf, cap, "%s[", dtype == 0 ? "f32" : "i32");
    for (int i = 0; i < rank && at < cap; i++) {
        at += (size_t)snprintf(buf + at, cap - at, i ? ",%" PRId64 : "%" PRId64, dim[i]);
    }
    if (at < cap) snprintf(buf + at, cap - at, "]");
    return buf;
}

const VmProgram *vm_engine_program(const VmEngine *e, int program) {
    return program >= 0 && program < e->count ? e->loaded[program].program : NULL;
}

const VmTensor *vm_engine_tensor(const VmEngine *e, int program, const char *name) {
    const VmProgram *p = vm_engine_program(e, program);
    if (!p) return NULL;
    for (int i = 0; i < p->ntensor; i++) {
        if (strcmp(p->tensor[i].name, name) == 0) return &p->tensor[i];
    }
    return NULL;
}

void *vm_engine_address(VmEngine *e, int program, const VmTensor *t) {
    (void)program;
    return e->space[t->space].data + t->offset;
}

void vm_engine_weights_changed(VmEngine *e) {
    for (int i = 0; i < e->npacked; i++) e->packed[i].stale = true;
}

void *vm_engine_data(VmEngine *e, int program, const char *name) {
    const VmTensor *t = vm_engine_tensor(e, program, name);
    if (t && t->role == VM_ROLE_PARAM)
        vm_engine_weights_changed(e); /* the caller may write to it */
    return t ? vm_engine_address(e, program, t) : NULL;
}

/* ---- adding a program ---- */

static bool offset_ok(const VmProgram *p, int32_t space, int64_t offset, int64_t bytes,
                      int64_t align) {
    if (space < 0 || space >= VM_SPACE_COUNT || offset < 0 || offset % align != 0) return false;
    return bytes >= 0 && bytes <= p->space_bytes[space] && offset <= p->space_bytes[space] - bytes;
}

/* Bytes of a tensor, or -1 when its shape makes no sense. */
static int64_t tensor_bytes(const VmTensor *t) {
    if (t->rank < 0 || t->rank > VM_MAX_RANK) return -1;
    int64_t n = 4;
    for (int i = 0; i < t->rank; i++) {
        if (t->dim[i] < 0 || __builtin_mul_overflow(n, t->dim[i], &n)) return -1;
    }
    return n;
}

static VmStatus task_check(const VmProgram *p, const VmTask *t, VmError *err) {
    if (t->items < 1)
        return vm_fail(err, VM_ENV, "program '%s': '%s' has no items", p->name, t->name);
    for (int j = 0; j < t->narg; j++) {
        if (offset_ok(p, t->arg[j].space, t->arg[j].offset, 0, 4)) continue;
        return vm_fail(err, VM_ENV, "program '%s': argument %d of '%s' lies outside its memory",
                       p->name, j, t->name);
    }
    return VM_OK;
}

static bool is_watched(const VmTensor *t) {
    return t->dtype == 0 &&
           (t->role == VM_ROLE_LOSS || t->role == VM_ROLE_AUX || t->role == VM_ROLE_METRIC);
}

static VmStatus gate_check(const VmProgram *p, VmError *err) {
    bool ok = p->gate >= 0 && p->gate < (p->ntask ? p->ntask : 1);
    if (ok && p->gate) ok = p->task[p->gate].barrier;
    for (int i = 0; ok && i < p->gate; i++) ok = p->task[i].kind != VM_TASK_UPDATE;
    return ok ? VM_OK : vm_fail(err, VM_ENV, "program '%s': impossible gate", p->name);
}

static VmStatus program_check(const VmProgram *p, VmError *err) {
    if (p->abi != VM_ABI_VERSION) {
        return vm_fail(err, VM_ENV,
                       "program '%s' was built for version %d of the runtime, this is version %d",
                       p->name, (int)p->abi, VM_ABI_VERSION);
    }
    for (int i = 0; i < VM_SPACE_COUNT; i++) {
        if (p->space_bytes[i] < 0)
            return vm_fail(err, VM_ENV, "program '%s': negative memory", p->name);
    }
    for (int i = 0; i < p->ntensor; i++) {
        const VmTensor *t = &p->tensor[i];
        if (!offset_ok(p, t->space, t->offset, tensor_bytes(t), 64)) {
            return vm_fail(err, VM_ENV, "program '%s': tensor '%s' lies outside its memory",
                           p->name, t->name);
        }
    }
    VmStatus s = gate_check(p, err);
    for (int i = 0; i < p->ntask && s == VM_OK; i++) s = task_check(p, &p->task[i], err);
    for (int i = 0; i < p->npack && s == VM_OK; i++) s = task_check(p, &p->pack[i].task, err);
    return s;
}

static bool tensor_same(const VmTensor *a, const VmTensor *b) {
    return strcmp(a->name, b->name) == 0 && a->dtype == b->dtype && a->rank == b->rank &&
           a->space == b->space && a->offset == b->offset &&
           memcmp(a->dim, b->dim, (size_t)a->rank * sizeof a->dim[0]) == 0;
}

static int next_of_role(const VmProgram *p, int from, VmRole role) {
    while (from < p->ntensor && p->tensor[from].role != (int32_t)role) from++;
    return from;
}

/* Both programs list the tensors of the role in the same order with the same layout. */
static VmStatus same_layout(const VmProgram *a, const VmProgram *b, VmRole role, VmError *err) {
    int i = 0, j = 0;
    for (;; i++, j++) {
        i = next_of_role(a, i, role);
        j = next_of_role(b, j, role);
        if (i == a->ntensor && j == b->ntensor) return VM_OK;
        if (i == a->ntensor || j == b->ntensor || !tensor_same(&a->tensor[i], &b->tensor[j])) break;
    }
    const char *name = i < a->ntensor ? a->tensor[i].name : b->tensor[j].name;
    return vm_fail(err, VM_ENV, "programs '%s' and '%s' disagree about the layout of '%s'", a->name,
                   b->name, name);
}

static VmStatus layout_check(const VmEngine *e, const VmProgram *p, VmError *err) {
    const VmProgram *stateful = NULL;
    for (int i = 0; i < e->count && !stateful; i++) {
        const VmProgram *q = e->loaded[i].program;
        if (next_of_role(q, 0, VM_ROLE_STATE) < q->ntensor) stateful = q;
    }
    if (e->count > 0) {
        VmStatus s = same_layout(e->loaded[0].program, p, VM_ROLE_PARAM, err);
        if (!s) s = same_layout(e->loaded[0].program, p, VM_ROLE_TABLE, err);
        if (s) return s;
    }
    bool has_state = next_of_role(p, 0, VM_ROLE_STATE) < p->ntensor;
    return stateful && has_state ? same_layout(stateful, p, VM_ROLE_STATE, err) : VM_OK;
}

/* A step's task list, cursors and counts in one zeroed block, cache lines apart. */
static bool step_create(VmStep **out, VmBlock *memory, int ntask, int threads) {
    size_t n = (size_t)ntask, done = sizeof(VmStep), cursor = done + n * sizeof(VmDone);
    size_t task = cursor + n * (size_t)threads * sizeof(VmCursor);
    if (!vm_block_alloc(memory, task + n * sizeof(VmStepTask))) return false;
    char *at = (char *)memory->data;
    VmStep *s = *out = (VmStep *)(void *)at;
    s->ntask = ntask;
    s->done = (VmDone *)(void *)(at + done);
    s->cursor = (VmCursor *)(void *)(at + cursor);
    s->task = (VmStepTask *)(void *)(at + task);
    return true;
}

/* Sets up a step's task; the addresses start at args. Returns where the next task's start. */
static void **step_task(VmStepTask *to, const VmTask *t, void **args) {
    *to = (VmStepTask){.fn = t->fn, .args = args, .items = t->items, .barrier = t->barrier};
    return args + t->narg;
}

/* Copies the program's task list with room for addresses. */
static bool loaded_create(Loaded *l, const VmProgram *p, int threads) {
    size_t nargs = 0;
    int nrng = 0, nwatched = 0;
    for (int i = 0; i < p->ntask; i++) nargs += (size_t)p->task[i].narg;
    for (int i = 0; i < p->npack; i++) nargs += (size_t)p->pack[i].task.narg;
    for (int i = 0; i < p->ntensor; i++) {
        nrng += p->tensor[i].role == VM_ROLE_RNG_KEY;
        nwatched += is_watched(&p->tensor[i]);
    }
    *l = (Loaded){.program = p,
                  .watched = vm_calloc((size_t)nwatched, sizeof *l->watched),
                  .args = vm_calloc(nargs, sizeof(void *)),
                  .packed = vm_calloc((size_t)p->npack, sizeof(int)),
                  .rng = vm_calloc((size_t)nrng, sizeof(RngKey))};
    if (!l->watched || !l->args || !l->packed || !l->rng ||
        !step_create(&l->step, &l->memory[0], p->ntask, threads) ||
        !step_create(&l->packing, &l->memory[1], p->npack, threads)) {
        loaded_free(l);
        return false;
    }
    void **args = l->args;
    for (int i = 0; i < p->ntask; i++) args = step_task(&l->step->task[i], &p->task[i], args);
    for (int i = 0; i < p->npack; i++)
        args = step_task(&l->packing->task[i], &p->pack[i].task, args);
    for (int i = 0; i < p->ntensor; i++) {
        const VmTensor *t = &p->tensor[i];
        if (t->role != VM_ROLE_RNG_KEY) continue;
        l->rng[l->nrng++] =
            (RngKey){.space = t->space, .offset = t->offset, .hash = vm_hash_name(t->name)};
    }
    return true;
}

static void task_resolve(const VmEngine *e, VmStepTask *to, const VmTask *t) {
    to->fn = t->fn; /* may have been compiled after an earlier add */
    for (int j = 0; j < t->narg; j++)
        to->args[j] = e->space[t->arg[j].space].data + t->arg[j].offset;
}

static void loaded_resolve(const VmEngine *e, Loaded *l) {
    const VmProgram *p = l->program;
    for (int i = 0; i < p->ntask; i++) task_resolve(e, &l->step->task[i], &p->task[i]);
    for (int i = 0; i < p->npack; i++) task_resolve(e, &l->packing->task[i], &p->pack[i].task);
    for (int i = 0; i < l->nrng; i++) {
        l->rng[i].key = (uint32_t *)(void *)(e->space[l->rng[i].space].data + l->rng[i].offset);
    }
    l->nwatched = 0;
    for (int i = 0; i < p->ntensor; i++) {
        const VmTensor *t = &p->tensor[i];
        if (!is_watched(t)) continue;
        l->watched[l->nwatched++] = (const float *)(void *)(e->space[t->space].data + t->offset);
    }
    l->step->gate = p->gate;
    l->step->watched = l->watched;
    l->step->nwatched = l->nwatched;
}

/* Makes the block at least `bytes` long, keeping what is in it when `keep`. On failure the old
 * block stays.
 */
static VmStatus block_grow(VmBlock *b, int64_t bytes, bool keep, const char *what, VmError *err) {
    size_t old = b->bytes;
    if (b->data && (int64_t)old >= bytes) return VM_OK;
    VmBlock bigger;
    if (!keep) vm_block_free(b);
    if (!vm_block_alloc(&bigger, (size_t)bytes)) {
        if (!keep) (void)vm_block_alloc(b, old); /* what was just given back */
        return vm_fail(err, VM_ENV, "cannot allocate %.1f MiB for %s", (double)bytes / (1 << 20),
                       what);
    }
    if (keep && b->data) memcpy(bigger.data, b->data, old);
    vm_block_free(b);
    *b = bigger;
    return VM_OK;
}

/* Work and scratch mean nothing between steps, so they are freed before their successors are
 * allocated. */
static VmStatus memory_grow(VmEngine *e, const VmProgram *p, VmError *err) {
    for (int i = 0; i < VM_SPACE_COUNT; i++) {
        VmStatus s = block_grow(&e->space[i], p->space_bytes[i], i != VM_WORK, space_names[i], err);
        if (s) return s;
    }
    int64_t stride = ((p->scratch_bytes + 63) & ~(int64_t)63) + 128;
    if (p->scratch_bytes < 0 || stride > INT64_MAX / e->threads) {
        return vm_fail(err, VM_ENV, "program '%s': impossible scratch size", p->name);
    }
    if (stride <= e->scratch_stride) return VM_OK;
    VmStatus s = block_grow(&e->scratch, stride * e->threads, false, "scratch", err);
    if (s == VM_OK) e->scratch_stride = stride;
    return s;
}

static bool reserve_slot(VmEngine *e) {
    if (e->count < e->cap) return true;
    int cap = e->cap ? 2 * e->cap : 4;
    Loaded *bigger = vm_calloc((size_t)cap, sizeof *bigger);
    if (!bigger) return false;
    if (e->count > 0) memcpy(bigger, e->loaded, (size_t)e->count * sizeof *bigger);
    free(e->loaded);
    e->loaded = bigger;
    e->cap = cap;
    return true;
}

/* Finds the program's packed copies among the engine's; new ones are stale. False: out of memory.
 */
static bool know_packed(VmEngine *e, Loaded *l) {
    const VmProgram *p = l->program;
    Packed *grown = vm_calloc((size_t)(e->npacked + p->npack), sizeof *grown);
    if (!grown) return false;
    if (e->npacked > 0) memcpy(grown, e->packed, (size_t)e->npacked * sizeof *grown);
    free(e->packed);
    e->packed = grown;
    for (int i = 0; i < p->npack; i++) {
        int at = 0;
        while (at < e->npacked && e->packed[at].offset != p->pack[i].offset) at++;
        if (at == e->npacked) e->packed[e->npacked++] = (Packed){p->pack[i].offset, true};
        l->packed[i] = at;
    }
    return true;
}

static VmStatus fill_tables(VmEngine *e, const VmProgram *p, VmError *err) {
    for (int i = next_of_role(p, 0, VM_ROLE_TABLE); i < p->ntensor;
         i = next_of_role(p, i + 1, VM_ROLE_TABLE)) {
        const VmTensor *t = &p->tensor[i];
        VmStatus s = vm_fill_table(t, (float *)(void *)(e->space[t->space].data + t->offset), err);
        if (s) return s;
    }
    return VM_OK;
}

int vm_engine_add(VmEngine *e, const VmProgram *p, VmError *err) {
    if (program_check(p, err) || layout_check(e, p, err)) return -1;
    Loaded l;
    if (!reserve_slot(e) || !loaded_create(&l, p, e->threads)) {
        vm_fail(err, VM_ENV, "out of memory");
        return -1;
    }
    VmStatus s = memory_grow(e, p, err);
    if (s == VM_OK) s = fill_tables(e, p, err);
    if (s == VM_OK && !know_packed(e, &l)) s = vm_fail(err, VM_ENV, "out of memory");
    if (s == VM_OK) {
        e->loaded[e->count++] = l;
    } else {
        loaded_free(&l);
    }
    for (int i = 0; i < e->count; i++) loaded_resolve(e, &e->loaded[i]);
    return s == VM_OK ? e->count - 1 : -1;
}

/* ---- running ---- */

static void set_rng_keys(const Loaded *l, uint64_t seed, uint64_t step) {
    for (int i = 0; i < l->nrng; i++) vm_rng_key(seed, l->rng[i].hash, step, l->rng[i].key);
}

/* seconds NULL: not timed. */
static void run_team(VmEngine *e, VmStep *step, double *seconds) {
    step->profile = seconds != NULL;
    vm_step_prepare(step, e->threads);
    int spins = vm_barrier_spins(e->threads, e->cpus);
/* OpenMP may give fewer threads than asked for (OMP_THREAD_LIMIT, a nested region): the others'
 * shares are taken over. */
#pragma omp parallel num_threads(e->threads)
    {
        int me = omp_get_thread_num();
        vm_step_run(step, me, spins, e->scratch.data + e->scratch_stride * me,
                    me == 0 ? seconds : NULL);
    }
}

/* Makes the program's stale packed copies: all after weights were set from outside, none from step
 * to step.
 */
static void refresh_packed(VmEngine *e, const Loaded *l) {
    const VmProgram *p = l->program;
    bool any = false;
    for (int i = 0; i < p->npack; i++) {
        bool stale = e->packed[l->packed[i]].stale;
        l->packing->task[i].items = stale ? p->pack[i].task.items : 0;
        any |= stale;
    }
    if (!any) return;
    run_team(e, l->packing, NULL);
    for (int i = 0; i < p->npack; i++) e->packed[l->packed[i]].stale = false;
}

static bool run_step(VmEngine *e, const Loaded *l, uint64_t seed, uint64_t step, double *seconds) {
    const VmProgram *p = l->program;
    refresh_packed(e, l);
    set_rng_keys(l, seed, step);
    run_team(e, l->step, seconds);
    if (l->step->refused) return false;
    if (!p->updates) return true;
    vm_engine_weights_changed(e);
    for (int i = 0; i < p->npack; i++) e->packed[l->packed[i]].stale = false;
    return true;
}

bool vm_engine_run(VmEngine *e, int program, uint64_t seed, uint64_t step) {
    return run_step(e, &e->loaded[program], seed, step, NULL);
}

void vm_engine_profile(VmEngine *e, int program, uint64_t seed, uint64_t step, double *seconds) {
    run_step(e, &e->loaded[program], seed, step, seconds);
}

/* ---- initial values ---- */

VmStatus vm_engine_init(VmEngine *e, uint64_t seed, VmError *err) {
    if (e->count == 0) return vm_fail(err, VM_ENV, "no program was added");
    const VmProgram *p = e->loaded[0].program;
    vm_engine_weights_changed(e);
    for (int i = 0; i < p->ntensor; i++) {
        const VmTensor *t = &p->tensor[i];
        if (t->role != VM_ROLE_PARAM) continue;
        VmStatus s = vm_init_tensor(t, seed, e->threads, vm_engine_address(e, 0, t), err);
        if (s) return s;
    }
    return VM_OK;
}
