/* Where buffers live. Weights and state are laid out in the order of their leaves, so that every program
 * of a module agrees; packed weights have their places from the module's table (packs.c). Work buffers whose
 * lifetimes do not meet may share memory: largest first, each at the lowest offset that is free for its whole
 * lifetime. */
#include <limits.h>
#include <stdlib.h>

#include "codegen/plan.h"

/* Vector loads of a last panel may run past a row by less than one tile; never past a space. */
enum { SPACE_SLACK = 1024 };

static bool lifetimes_meet(const PlanBuffer *a, const PlanBuffer *b) {
    return a->first <= b->last && b->first <= a->last;
}

static int by_size(const void *x, const void *y) {
    const PlanBuffer *a = *(PlanBuffer *const *)x, *b = *(PlanBuffer *const *)y;
    if (a->bytes != b->bytes) return a->bytes < b->bytes ? 1 : -1;
    return a < b ? -1 : a > b; /* both point into one array: the older first */
}

static void place_work(Plan *p) {
    PlanBuffer **order = ARENA_ARRAY(p->arena, PlanBuffer *, p->nbuffer);
    PlanBuffer **placed = ARENA_ARRAY(p->arena, PlanBuffer *, p->nbuffer); /* in order of offset */
    int n = 0;
    for (int i = 0; i < p->nbuffer; i++)
        if (p->buffer[i].space == VM_WORK) order[n++] = &p->buffer[i];
    qsort(order, (size_t)n, sizeof *order, by_size);
    for (int i = 0; i < n; i++) {
        PlanBuffer *b = order[i];
        int64_t at = 0;
        for (int j = 0; j < i && placed[j]->offset < at + b->bytes; j++)
            if (lifetimes_meet(b, placed[j]) && placed[j]->offset + placed[j]->bytes > at)
                at = placed[j]->offset + placed[j]->bytes;
        b->offset = at;
        if (at + b->bytes > p->space_bytes[VM_WORK]) p->space_bytes[VM_WORK] = at + b->bytes;
        int slot = i;
        for (; slot > 0 && placed[slot - 1]->offset > at; slot--) placed[slot] = placed[slot - 1];
        placed[slot] = b;
    }
}

void plan_place(Plan *p) {
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
    place_work(p);
    for (int s = 0; s < VM_SPACE_COUNT; s++)
        if (p->space_bytes[s]) p->space_bytes[s] += SPACE_SLACK;
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
            if ((early->arg[i].written || late->arg[j].written) && overlap(p, &early->arg[i], &late->arg[j]))
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
