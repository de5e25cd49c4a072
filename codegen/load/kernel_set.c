/* Numbers the distinct kernels of a module by their signatures and gets their code: objects from
 * the cache, the rest from workers, everything through the loader. Never touches LLVM, except to
 * print. */
#include "codegen/load/kernel_set.h"

#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "codegen/load/relink.h"
#include "codegen/load/workers.h"
#include "base/clock.h"
#include "base/vec.h"

void kernel_set_init(KernelSet *s, Arena *a, const CgTarget *t, CgStats *stats) {
    *s = (KernelSet){.arena = a, .target = t, .code = code_create(a), .stats = stats};
}

void kernel_set_destroy(KernelSet *s) {
    cache_close(s->cache);
    code_destroy(s->code);
}

static int *slot_of(KernelSet *s, uint64_t hash, const char *signature) {
    for (int i = (int)(hash & (uint64_t)(s->nslot - 1));; i = (i + 1) & (s->nslot - 1)) {
        if (!s->slot[i]) return &s->slot[i];
        const Kernel *k = &s->item[s->slot[i] - 1];
        if (k->hash == hash && !strcmp(k->signature, signature)) return &s->slot[i];
    }
}

/* Room for one more, with half of the slots free. */
static void grow(KernelSet *s) {
    VEC_ROOM(s->arena, s->item, s->n, s->cap);
    s->nslot = 2 * s->cap;
    s->slot = ARENA_ARRAY(s->arena, int, s->nslot);
    for (int i = 0; i < s->n; i++) *slot_of(s, s->item[i].hash, s->item[i].signature) = i + 1;
}

int kernel_set_add(KernelSet *s, Plan *p, PlanCluster *c) {
    if (s->n == s->cap) grow(s);
    const char *sig = plan_signature(p, c);
    uint64_t hash = vm_hash((VmHash){0}, sig, strlen(sig)).lo;
    int *slot = slot_of(s, hash, sig);
    if (!*slot) {
        s->item[s->n++] = (Kernel){.signature = sig, .hash = hash, .job = {p, c}};
        *slot = s->n;
    }
    return *slot - 1;
}

/* Objects to be loaded together. Shared functions stand before the kernels. */
typedef struct Batch {
    KernelSet *s;
    Arena *arena; /* of this compilation alone */
    LoadObject *helper;
    int nhelper, cap_helper;
    LoadObject *kernel; /* [s->n]; data NULL: nothing to load */
} Batch;

static Cache *cache_of(KernelSet *s) {
    if (!s->cache)
        s->cache = cache_open(s->arena, s->target, s->options.cache_dir, &s->stats->cache_note,
                              &s->stats->cache_refused);
    return s->cache;
}

static bool has_helper(const Batch *b, const char *name) {
    for (int i = 0; i < b->nhelper; i++)
        if (!strcmp(b->helper[i].symbol, name)) return true;
    return code_has(b->s->code, name);
}

static void add_helper(Batch *b, const char *name, const void *data, size_t size) {
    if (has_helper(b, name)) return;
    VEC_ROOM(b->arena, b->helper, b->nhelper, b->cap_helper);
    b->helper[b->nhelper++] =
        (LoadObject){.symbol = name, .data = data, .size = size, .shared = true};
}

static bool helper_from_cache(Batch *b, const char *name) {
    if (has_helper(b, name)) return true;
    CacheEntry e;
    if (!cache_find(cache_of(b->s), b->arena, work_helper_text(b->arena, name), &e)) return false;
    LoadObject o = {.symbol = name, .data = e.object, .size = e.size};
    const char **more;
    if (code_check(b->arena, &o, b->s->target->elf, &more) || *more) return false;
    add_helper(b, name, e.object, e.size);
    return true;
}

static const char *kernel_text(Arena *a, const Kernel *k) {
    return arena_printf(a, "kernel\n%s", k->signature);
}

/* A hit needs the shared functions it calls too. */
static bool kernel_from_cache(Batch *b, int i) {
    Kernel *k = &b->s->item[i];
    CacheEntry e;
    if (!cache_find(cache_of(b->s), b->arena, kernel_text(b->arena, k), &e) || e.facts.items < 1)
        return false;
    LoadObject o = {.symbol = CG_KERNEL_SYMBOL, .data = e.object, .size = e.size};
    const char **needs;
    if (code_check(b->arena, &o, b->s->target->elf, &needs)) return false;
    for (; *needs; needs++)
        if (!helper_from_cache(b, *needs)) return false;
    b->kernel[i] = o;
    k->facts = e.facts;
    k->known = true;
    b->s->stats->cached++;
    return true;
}

/* Has workers do what is left; code false: only the facts. */
static const char *compile_rest(Batch *b, bool code) {
    KernelSet *s = b->s;
    Work w = {.target = s->target,
              .cache = cache_of(s),
              .item = ARENA_ARRAY(b->arena, WorkItem, s->n),
              .code = code,
              .workers = code ? s->options.workers : 1,
              .backend = s->options.backend,
              .lowering = &s->lowering};
    int *kernel = ARENA_ARRAY(b->arena, int, s->n);
    for (int i = 0; i < s->n; i++) {
        const Kernel *k = &s->item[i];
        if (code ? k->fn || b->kernel[i].data : k->known) continue;
        kernel[w.n] = i;
        w.item[w.n++] = (WorkItem){.job = k->job, .text = kernel_text(b->arena, k)};
    }
    double t0 = vm_seconds();
    const char *error = work_run(b->arena, &w);
    if (w.started > s->stats->workers) s->stats->workers = w.started;
    s->stats->seconds_workers += vm_seconds() - t0;
    s->stats->seconds_start += w.seconds_start;
    s->stats->seconds_ir += w.seconds_ir;
    s->stats->seconds_llvm += w.seconds_llvm;
    if (error) return error;
    for (int i = 0; i < w.nhelper; i++)
        add_helper(b, w.helper[i].name, w.helper[i].object, w.helper[i].size);
    for (int i = 0; i < w.n; i++) {
        Kernel *k = &s->item[kernel[i]];
        k->facts = w.item[i].facts;
        k->known = true;
        if (!code) continue;
        LoadObject o = {
            .symbol = CG_KERNEL_SYMBOL, .data = w.item[i].object, .size = w.item[i].size};
        const char *wrong = code_check(b->arena, &o, s->target->elf, NULL);
        VM_CHECK(!wrong, "codegen: an object the loader does not take: %s", wrong);
        b->kernel[kernel[i]] = o;
        s->stats->compiled++;
    }
    return NULL;
}

static const char *load_batch(Batch *b) {
    KernelSet *s = b->s;
    double t0 = vm_seconds();
    LoadObject *all = ARENA_ARRAY(b->arena, LoadObject, b->nhelper + s->n);
    int n = 0;
    for (int i = 0; i < b->nhelper; i++) all[n++] = b->helper[i];
    for (int i = 0; i < s->n; i++)
        if (b->kernel[i].data) all[n++] = b->kernel[i];
    const char *error = code_load(s->code, b->arena, all, n);
    if (error) return error;
    n = b->nhelper;
    for (int i = 0; i < s->n; i++)
        if (b->kernel[i].data) /* ISO C has no cast from object to function pointer */
            memcpy(&s->item[i].fn, &all[n++].entry, sizeof s->item[i].fn);
    s->stats->seconds_load += vm_seconds() - t0;
    s->stats->code_bytes = (int64_t)code_bytes(s->code);
    return NULL;
}

static const char *make(Batch *b) {
    double t0 = vm_seconds();
    for (int i = 0; i < b->s->n; i++)
        if (!b->s->item[i].fn) kernel_from_cache(b, i);
    b->s->stats->seconds_cache += vm_seconds() - t0;
    return compile_rest(b, true);
}

static const char *compile(Batch *b) {
    const char *error = make(b);
    return error ? error : load_batch(b);
}

const char *kernel_set_compile(KernelSet *s, bool code) {
    Batch b = {.s = s, .arena = arena_create(), .kernel = NULL};
    b.kernel = ARENA_ARRAY(b.arena, LoadObject, s->n);
    const char *error = code ? compile(&b) : compile_rest(&b, false);
    if (error) error = arena_strdup(s->arena, error);
    arena_destroy(b.arena);
    return error;
}

/* ---- for a linker ---- */

void kernel_set_symbol(int kernel, char out[KERNEL_SYMBOL]) {
    VM_CHECK(kernel >= 0 && kernel < 1000000, "kernel %d", kernel);
    snprintf(out, KERNEL_SYMBOL, "vmoek%06d", kernel); /* as long as CG_KERNEL_SYMBOL */
}

static void hand_on(Batch *b, CgObjectSink sink, void *user) {
    for (int i = 0; i < b->nhelper; i++) {
        const LoadObject *o = &b->helper[i];
        sink(user, o->symbol, code_relink(b->arena, o->data, o->size, o->symbol, o->symbol),
             o->size);
    }
    for (int i = 0; i < b->s->n; i++) {
        const LoadObject *o = &b->kernel[i];
        char name[KERNEL_SYMBOL];
        kernel_set_symbol(i, name);
        sink(user, name, code_relink(b->arena, o->data, o->size, CG_KERNEL_SYMBOL, name), o->size);
    }
}

const char *kernel_set_objects(KernelSet *s, CgObjectSink sink, void *user) {
    Batch b = {.s = s, .arena = arena_create(), .kernel = NULL};
    b.kernel = ARENA_ARRAY(b.arena, LoadObject, s->n);
    for (int i = 0; i < s->n; i++)
        VM_CHECK(!s->item[i].fn, "codegen: kernel %d is loaded already", i);
    const char *error = make(&b);
    if (error)
        error = arena_strdup(s->arena, error);
    else
        hand_on(&b, sink, user);
    arena_destroy(b.arena);
    return error;
}

const char *kernel_set_print(KernelSet *s, const IrGraph *g, bool assembly, Text *out) {
    const char *error = NULL;
    const CgBackend *b = backend_load(s->arena, s->options.backend, &error);
    CgUnit *u = b ? b->create(s->arena, s->target, &error) : NULL;
    if (!u) return error;
    CgJob *job = ARENA_ARRAY(s->arena, CgJob, s->n);
    int n = 0;
    for (int i = 0; i < s->n; i++)
        if (!s->item[i].fn) job[n++] = s->item[i].job;
    s->lowering = g;
    error = b->print(u, job, n, assembly, out);
    s->lowering = NULL;
    b->destroy(u);
    return error;
}
