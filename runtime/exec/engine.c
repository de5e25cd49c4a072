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
 * Memory comes from the heap, or all of it from a region that somebody hands in: then every list
 * and block has its final size before the first program is added, because nothing goes back to a
 * region.
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
    bool in_region; /* all memory is `region`'s; else the heap's */
    VmRegion region;
    VmBlock space[VM_SPACE_COUNT];
    VmBlock scratch;
    /* bytes per thread, a multiple of 64 with a gap against false sharing */
    int64_t scratch_stride;
    Loaded *loaded;
    int count, cap;
    Packed *packed;
    int npacked, packed_cap;
};

static const char *const space_names[VM_SPACE_COUNT] = {"weights", "optimizer state",
                                                        "working memory", "packed weights"};

/* ---- memory ---- */

static void *take(VmEngine *e, size_t n, size_t size) {
    return e->in_region ? vm_region_take(&e->region, n, size) : vm_calloc(n, size);
}

static void give_back(const VmEngine *e, void *p) {
    if (!e->in_region) free(p);
}

static bool block_take(VmEngine *e, VmBlock *b, size_t bytes) {
    if (!e->in_region) return vm_block_alloc(b, bytes);
    *b = (VmBlock){.data = vm_region_take(&e->region, bytes, 1), .bytes = bytes};
    return b->data != NULL;
}

static void block_give_back(const VmEngine *e, VmBlock *b) {
    if (e->in_region)
        *b = (VmBlock){0};
    else
        vm_block_free(b);
}

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

static void loaded_free(const VmEngine *e, Loaded *l) {
    for (int i = 0; i < 2; i++) block_give_back(e, &l->memory[i]);
    give_back(e, l->watched);
    give_back(e, l->args);
    give_back(e, l->packed);
    give_back(e, l->rng);
    *l = (Loaded){0};
}

void vm_engine_destroy(VmEngine *e) {
    if (!e || e->in_region) return; /* a region is its owner's */
    for (int i = 0; i < e->count; i++) loaded_free(e, &e->loaded[i]);
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

static bool is_watched(const VmTensor *t) {
    return t->dtype == 0 &&
           (t->role == VM_ROLE_LOSS || t->role == VM_ROLE_AUX || t->role == VM_ROLE_METRIC);
}

static VmStatus layout_check(const VmEngine *e, const VmProgram *p, VmError *err) {
    const VmProgram *stateful = NULL;
    for (int i = 0; i < e->count && !stateful; i++) {
        const VmProgram *q = e->loaded[i].program;
        if (vm_next_of_role(q, 0, VM_ROLE_STATE) < q->ntensor) stateful = q;
    }
    if (e->count > 0) {
        VmStatus s = vm_same_layout(e->loaded[0].program, p, VM_ROLE_PARAM, err);
        if (!s) s = vm_same_layout(e->loaded[0].program, p, VM_ROLE_TABLE, err);
        if (s) return s;
    }
    bool has_state = vm_next_of_role(p, 0, VM_ROLE_STATE) < p->ntensor;
    return stateful && has_state ? vm_same_layout(stateful, p, VM_ROLE_STATE, err) : VM_OK;
}

static size_t step_bytes(int ntask, int threads) {
    size_t of_task = sizeof(VmDone) + (size_t)threads * sizeof(VmCursor) + sizeof(VmStepTask);
    return sizeof(VmStep) + (size_t)ntask * of_task;
}

/* A step's task list, cursors and counts in one zeroed block, cache lines apart. */
static bool step_create(VmEngine *e, VmStep **out, VmBlock *memory, int ntask) {
    size_t n = (size_t)ntask, done = sizeof(VmStep), cursor = done + n * sizeof(VmDone);
    size_t task = cursor + n * (size_t)e->threads * sizeof(VmCursor);
    if (!block_take(e, memory, step_bytes(ntask, e->threads))) return false;
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

/* How long a program's lists are. */
typedef struct Counts {
    size_t args, rng, watched;
} Counts;

static Counts count(const VmProgram *p) {
    Counts c = {0};
    for (int i = 0; i < p->ntask; i++) c.args += (size_t)p->task[i].narg;
    for (int i = 0; i < p->npack; i++) c.args += (size_t)p->pack[i].task.narg;
    for (int i = 0; i < p->ntensor; i++) {
        c.rng += p->tensor[i].role == VM_ROLE_RNG_KEY;
        c.watched += is_watched(&p->tensor[i]);
    }
    return c;
}

/* Copies the program's task list with room for addresses. */
static bool loaded_create(VmEngine *e, Loaded *l, const VmProgram *p) {
    Counts c = count(p);
    *l = (Loaded){.program = p,
                  .watched = take(e, c.watched, sizeof *l->watched),
                  .args = take(e, c.args, sizeof(void *)),
                  .packed = take(e, (size_t)p->npack, sizeof(int)),
                  .rng = take(e, c.rng, sizeof(RngKey))};
    if (!l->watched || !l->args || !l->packed || !l->rng ||
        !step_create(e, &l->step, &l->memory[0], p->ntask) ||
        !step_create(e, &l->packing, &l->memory[1], p->npack)) {
        loaded_free(e, l);
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
static VmStatus block_grow(VmEngine *e, VmBlock *b, int64_t bytes, bool keep, const char *what,
                           VmError *err) {
    size_t old = b->bytes;
    if (b->data && (int64_t)old >= bytes) return VM_OK;
    VmBlock bigger;
    if (!keep) block_give_back(e, b);
    if (!block_take(e, &bigger, (size_t)bytes)) {
        if (!keep) (void)block_take(e, b, old); /* what was just given back */
        return vm_fail(err, VM_ENV, "cannot allocate %.1f MiB for %s", (double)bytes / (1 << 20),
                       what);
    }
    if (keep && b->data) memcpy(bigger.data, b->data, old);
    block_give_back(e, b);
    *b = bigger;
    return VM_OK;
}

static int64_t stride_of(const VmProgram *p) {
    return ((p->scratch_bytes + 63) & ~(int64_t)63) + 128;
}

/* Work and scratch mean nothing between steps, so they are freed before their successors are
 * allocated. */
static VmStatus memory_grow(VmEngine *e, const VmProgram *p, VmError *err) {
    for (int i = 0; i < VM_SPACE_COUNT; i++) {
        VmStatus s =
            block_grow(e, &e->space[i], p->space_bytes[i], i != VM_WORK, space_names[i], err);
        if (s) return s;
    }
    int64_t stride = stride_of(p);
    if (p->scratch_bytes < 0 || stride > INT64_MAX / e->threads) {
        return vm_fail(err, VM_ENV, "program '%s': impossible scratch size", p->name);
    }
    if (stride <= e->scratch_stride) return VM_OK;
    VmStatus s = block_grow(e, &e->scratch, stride * e->threads, false, "scratch", err);
    if (s == VM_OK) e->scratch_stride = stride;
    return s;
}

static bool reserve_slots(VmEngine *e, int cap) {
    Loaded *bigger = take(e, (size_t)cap, sizeof *bigger);
    if (!bigger) return false;
    if (e->count > 0) memcpy(bigger, e->loaded, (size_t)e->count * sizeof *bigger);
    give_back(e, e->loaded);
    e->loaded = bigger;
    e->cap = cap;
    return true;
}

static bool reserve_packed(VmEngine *e, int cap) {
    Packed *bigger = take(e, (size_t)cap, sizeof *bigger);
    if (!bigger) return false;
    if (e->npacked > 0) memcpy(bigger, e->packed, (size_t)e->npacked * sizeof *bigger);
    give_back(e, e->packed);
    e->packed = bigger;
    e->packed_cap = cap;
    return true;
}

/* Finds the program's packed copies among the engine's; new ones are stale. False: out of memory.
 */
static bool know_packed(VmEngine *e, Loaded *l) {
    const VmProgram *p = l->program;
    int room = e->npacked + p->npack;
    if (room > e->packed_cap && !reserve_packed(e, room)) return false;
    for (int i = 0; i < p->npack; i++) {
        int at = 0;
        while (at < e->npacked && e->packed[at].offset != p->pack[i].offset) at++;
        if (at == e->npacked) e->packed[e->npacked++] = (Packed){p->pack[i].offset, true};
        l->packed[i] = at;
    }
    return true;
}

static VmStatus fill_tables(VmEngine *e, const VmProgram *p, VmError *err) {
    for (int i = vm_next_of_role(p, 0, VM_ROLE_TABLE); i < p->ntensor;
         i = vm_next_of_role(p, i + 1, VM_ROLE_TABLE)) {
        const VmTensor *t = &p->tensor[i];
        VmStatus s = vm_fill_table(t, (float *)(void *)(e->space[t->space].data + t->offset), err);
        if (s) return s;
    }
    return VM_OK;
}

int vm_engine_add(VmEngine *e, const VmProgram *p, VmError *err) {
    if (vm_program_check(p, err) || layout_check(e, p, err)) return -1;
    Loaded l;
    bool room = e->count < e->cap || reserve_slots(e, e->cap ? 2 * e->cap : 4);
    if (!room || !loaded_create(e, &l, p)) {
        vm_fail(err, VM_ENV, "out of memory");
        return -1;
    }
    VmStatus s = memory_grow(e, p, err);
    if (s == VM_OK) s = fill_tables(e, p, err);
    if (s == VM_OK && !know_packed(e, &l)) s = vm_fail(err, VM_ENV, "out of memory");
    if (s == VM_OK) {
        e->loaded[e->count++] = l;
    } else {
        loaded_free(e, &l);
    }
    for (int i = 0; i < e->count; i++) loaded_resolve(e, &e->loaded[i]);
    return s == VM_OK ? e->count - 1 : -1;
}

/* ---- an engine in a region ---- */

/* The spaces and the scratch that all of them can use, as a program without tasks. */
static VmProgram largest(const VmProgram *const *p, int n) {
    VmProgram all = {.name = "all"};
    for (int i = 0; i < n; i++) {
        for (int k = 0; k < VM_SPACE_COUNT; k++)
            if (p[i]->space_bytes[k] > all.space_bytes[k])
                all.space_bytes[k] = p[i]->space_bytes[k];
        if (p[i]->scratch_bytes > all.scratch_bytes) all.scratch_bytes = p[i]->scratch_bytes;
    }
    return all;
}

static int all_packs(const VmProgram *const *p, int n) {
    int sum = 0;
    for (int i = 0; i < n; i++) sum += p[i]->npack;
    return sum;
}

size_t vm_engine_needs(const VmProgram *const *p, int n, int threads) {
    int team = vm_threads(threads);
    VmProgram all = largest(p, n);
    size_t sum = vm_region_piece(sizeof(VmEngine)) + vm_region_piece((size_t)n * sizeof(Loaded)) +
                 vm_region_piece((size_t)all_packs(p, n) * sizeof(Packed)) +
                 vm_region_piece((size_t)(stride_of(&all) * team));
    for (int i = 0; i < VM_SPACE_COUNT; i++) sum += vm_region_piece((size_t)all.space_bytes[i]);
    for (int i = 0; i < n; i++) {
        Counts c = count(p[i]);
        sum += vm_region_piece(c.watched * sizeof(float *)) +
               vm_region_piece(c.args * sizeof(void *)) + vm_region_piece(c.rng * sizeof(RngKey)) +
               vm_region_piece((size_t)p[i]->npack * sizeof(int)) +
               vm_region_piece(step_bytes(p[i]->ntask, team)) +
               vm_region_piece(step_bytes(p[i]->npack, team));
    }
    return sum;
}

VmStatus vm_engine_create_in(VmRegion *r, const VmProgram *const *p, int n, int threads,
                             VmEngine **out, VmError *err) {
    *out = NULL;
    size_t needs = vm_engine_needs(p, n, threads);
    if (r->left < needs)
        return vm_fail(err, VM_USAGE, "the engine needs %zu bytes, there are %zu", needs, r->left);
    VmStatus s = vm_team_ready(vm_threads(threads), err);
    VmEngine *e = s ? NULL : vm_region_take(r, 1, sizeof *e);
    if (!e) return s ? s : vm_fail(err, VM_ENV, "out of memory");
    *e = (VmEngine){
        .threads = vm_threads(threads), .cpus = vm_cpus(), .in_region = true, .region = *r};
    VmProgram all = largest(p, n);
    if (!reserve_slots(e, n) || !reserve_packed(e, all_packs(p, n)))
        s = vm_fail(err, VM_ENV, "out of memory");
    if (!s) s = memory_grow(e, &all, err);
    for (int i = 0; i < n && !s; i++)
        if (vm_engine_add(e, p[i], err) < 0) s = err ? err->status : VM_ENV;
    *r = e->region;
    e->region.left = 0; /* the rest is the caller's */
    if (!s) *out = e;
    return s;
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
    if (e->threads == 1) { /* OpenMP would make a team of one, for which it needs memory */
        vm_step_run(step, 0, spins, e->scratch.data, seconds);
        return;
    }
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
