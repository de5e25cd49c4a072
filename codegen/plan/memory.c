/* Where buffers live. Weights and state are laid out in the order of their leaves, so that every
 * program of a module agrees; packed weights have their places from the module's table (packs.c).
 * Work buffers whose lifetimes do not meet may share memory: largest first, each at the lowest
 * offset that is free for its whole lifetime. A result that is written over an operand (inplace.c)
 * is one block with it, as long as that does not cost memory: a block that lives long has fewer
 * places. */
#include <limits.h>
#include <stdlib.h>

#include "codegen/plan/plan.h"

/* Vector loads of a last panel may run past a row by less than one tile; never past a space. */
enum { SPACE_SLACK = 1024 };

int64_t *plan_live_at(const Plan *p) {
    int64_t *live =
        ARENA_ARRAY(p->arena, int64_t, p->ncluster + 1); /* first: what each task changes */
    for (int i = 0; i < p->nbuffer; i++) {
        const PlanBuffer *b = &p->buffer[i];
        if (b->space != VM_WORK || b->first > b->last) continue; /* placed, but nobody touches it */
        live[plan_counted_from(b)] += b->bytes;
        if (b->last < p->ncluster) live[b->last + 1] -= b->bytes;
    }
    for (int i = 1; i < p->ncluster; i++) live[i] += live[i - 1];
    return live;
}

void plan_live(const Plan *p, int64_t *most, int *when) {
    const int64_t *live = plan_live_at(p);
    *most = *when = 0;
    for (int i = 0; i < p->ncluster; i++) {
        if (live[i] <= *most) continue;
        *most = live[i];
        *when = i;
    }
}

static int by_size(const void *x, const void *y) {
    const PlanBuffer *a = *(PlanBuffer *const *)x, *b = *(PlanBuffer *const *)y;
    if (a->bytes != b->bytes) return a->bytes < b->bytes ? 1 : -1;
    return a < b ? -1 : a > b; /* both point into one array: the older first */
}

/* The buffer that the memory was first taken for. */
static int block_of_buffer(const Plan *p, int buffer) {
    while (p->buffer[buffer].over >= 0) buffer = p->buffer[buffer].over;
    return buffer;
}

/* A result that may be written over an operand. */
typedef struct Pair {
    int buffer, over;
} Pair;

/* A block that has its place: what others have to know, close together. */
typedef struct Placed {
    int first, last;
    int64_t offset, end;
} Placed;

/* Room for placing, which may be tried several times. */
typedef struct Placer {
    Plan *p;
    /* by buffer: as they are placed; those that others are written over live longer */
    PlanBuffer *block;
    PlanBuffer **order; /* blocks, the largest first */
    Placed *placed;     /* in order of offset */
    Pair *pair;
} Placer;

static void copy_blocks(const Placer *x) {
    const Plan *p = x->p;
    for (int i = 0; i < p->nbuffer; i++) x->block[i] = p->buffer[i];
    for (int i = 0; i < p->nbuffer; i++) {
        PlanBuffer *b = &x->block[block_of_buffer(p, i)];
        if (p->buffer[i].last > b->last) b->last = p->buffer[i].last;
    }
}

/* False, and nothing is right, when that takes more than `limit` bytes. */
static bool place_work(const Placer *x, int64_t limit) {
    Plan *p = x->p;
    PlanBuffer *block = x->block, **order = x->order;
    Placed *placed = x->placed;
    p->space_bytes[VM_WORK] = 0;
    copy_blocks(x);
    int n = 0;
    for (int i = 0; i < p->nbuffer; i++)
        if (block[i].space == VM_WORK && block[i].over < 0) order[n++] = &block[i];
    qsort(order, (size_t)n, sizeof *order, by_size);
    for (int i = 0; i < n; i++) {
        PlanBuffer *b = order[i];
        int64_t at = 0;
        for (int j = 0; j < i && placed[j].offset < at + b->bytes; j++)
            if (b->first <= placed[j].last && placed[j].first <= b->last && placed[j].end > at)
                at = placed[j].end;
        if (at + b->bytes > limit) return false;
        b->offset = at;
        if (at + b->bytes > p->space_bytes[VM_WORK]) p->space_bytes[VM_WORK] = at + b->bytes;
        int slot = i;
        for (; slot > 0 && placed[slot - 1].offset > at; slot--) placed[slot] = placed[slot - 1];
        placed[slot] = (Placed){b->first, b->last, at, at + b->bytes};
    }
    for (int i = 0; i < p->nbuffer; i++)
        if (p->buffer[i].space == VM_WORK)
            p->buffer[i].offset = block[block_of_buffer(p, i)].offset;
    return true;
}

static void set_pairs(Plan *p, const Pair *pair, int n, bool in_place) {
    for (int i = 0; i < n; i++) p->buffer[pair[i].buffer].over = in_place ? pair[i].over : -1;
}

/* Takes out and returns what the least amount of memory does not need: at its task there is room
 * for both buffers. */
static int spare_pairs(const Placer *x) {
    Plan *p = x->p;
    Pair *pair = x->pair;
    int64_t *live = plan_live_at(p), most = 0;
    int n = 0;
    for (int i = 0; i < p->ncluster; i++)
        if (live[i] > most) most = live[i];
    for (int i = 0; i < p->nbuffer; i++)
        if (p->buffer[i].over >= 0) live[p->buffer[i].first] += p->buffer[i].bytes;
    for (int i = 0; i < p->nbuffer; i++)
        if (p->buffer[i].over >= 0 && live[p->buffer[i].first] <= most)
            pair[n++] = (Pair){i, p->buffer[i].over};
    set_pairs(p, pair, n, false);
    return n;
}

/* Puts back all pairs, or those that the given amount of memory allows. */
static void put_back(const Placer *x, const Pair *pair, int n, int64_t bytes) {
    set_pairs(x->p, pair, n, true);
    if (place_work(x, bytes)) return;
    set_pairs(x->p, pair, n, false);
    if (n == 1) return;
    put_back(x, pair, n / 2, bytes);
    put_back(x, pair + n / 2, n - n / 2, bytes);
}

/* Writing in place where nobody needs the room is worth having as well: it takes fewer cache lines,
 * and fewer barriers, since less memory changes hands. That does not take less than `least`, and is
 * left out where so much is enough: -1 where more than the size counts. */
static void place_in_place(Plan *p, int64_t least) {
    Placer x = {.p = p,
                .block = ARENA_ARRAY(p->arena, PlanBuffer, p->nbuffer),
                .order = ARENA_ARRAY(p->arena, PlanBuffer *, p->nbuffer),
                .placed = ARENA_ARRAY(p->arena, Placed, p->nbuffer),
                .pair = ARENA_ARRAY(p->arena, Pair, p->nbuffer)};
    int n = spare_pairs(&x);
    place_work(&x, INT64_MAX);
    if (!n || p->space_bytes[VM_WORK] == least) return;
    put_back(&x, x.pair, n, p->space_bytes[VM_WORK]);
    place_work(&x, INT64_MAX);
}

static int64_t with_slack(int64_t bytes) {
    return bytes ? bytes + SPACE_SLACK : 0;
}

void plan_place(Plan *p) {
    (void)plan_place_within(p, INT64_MAX);
}

bool plan_place_within(Plan *p, int64_t enough) {
    for (int i = 0; i < p->nbuffer; i++) {
        PlanBuffer *b = &p->buffer[i];
        if (b->space == VM_WORK) continue;
        if (b->space == VM_PACKED) { /* placed by the table */
            if (b->offset + b->bytes > p->space_bytes[VM_PACKED])
                p->space_bytes[VM_PACKED] = b->offset + b->bytes;
            continue;
        }
        b->offset = p->space_bytes[b->space];
        p->space_bytes[b->space] += b->bytes;
    }
    int64_t most; /* with everything in place that may be: no choice of pairs takes less */
    int when;
    plan_live(p, &most, &when);
    bool within = with_slack(most) + with_slack(p->space_bytes[VM_PACKED]) <= enough;
    p->space_bytes[VM_WORK] = most;
    if (within) place_in_place(p, enough < INT64_MAX ? most : -1);
    for (int s = 0; s < VM_SPACE_COUNT; s++) p->space_bytes[s] = with_slack(p->space_bytes[s]);
    return within;
}

static bool overlap(const Plan *p, const PlanArg *x, const PlanArg *y) {
    const PlanBuffer *a = &p->buffer[x->buffer], *b = &p->buffer[y->buffer];
    if (a->space != b->space) return false;
    bool columns = x->buffer == y->buffer && x->cols.ld && x->cols.ld == y->cols.ld;
    if (columns && (x->cols.end <= y->cols.from || y->cols.end <= x->cols.from)) return false;
    return a->offset < b->offset + b->bytes && b->offset < a->offset + a->bytes;
}

/* Does task `late` touch memory that task `early` writes, or write memory that it reads? */
static bool conflict(const Plan *p, const PlanCluster *early, const PlanCluster *late) {
    for (int i = 0; i < early->narg; i++)
        for (int j = 0; j < late->narg; j++)
            if ((early->arg[i].written || late->arg[j].written) &&
                overlap(p, &early->arg[i], &late->arg[j]))
                return true;
    return false;
}

void plan_barriers(Plan *p) {
    int since = 0;
    for (int i = 1; i < p->ncluster; i++) {
        bool wait = false;
        for (int j = since; j < i && !wait; j++) wait = conflict(p, &p->cluster[j], &p->cluster[i]);
        p->cluster[i].barrier = wait;
        if (wait) since = i;
    }
}
