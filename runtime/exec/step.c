/* Runs the tasks of a step with a team of threads.
 *
 * A task is a number of items; a phase is a run of tasks without a barrier inside. Every thread
 * starts with its own contiguous share of a task's items, the same in every step, so that it finds
 * its data in its own caches; when that is done it takes what is left of the others' shares. An
 * item's result does not depend on who computes it, so neither do the program's bits.
 *
 * A phase is over when all its items are done, not when all threads have arrived: a thread that the
 * system has put aside holds nobody up unless it was in the middle of an item. That keeps a team
 * usable with more threads than CPUs and beside other programs.
 *
 * A step may have a gate: whoever completes the phase before it looks at a few numbers, and lets
 * the others end the step there when one of them is not finite. That takes no barrier more.
 *
 * Requires cursors set by vm_step_prepare before the team starts. Allocates nothing. */
#include "runtime/exec/internal.h"

#include <math.h>

static int64_t share_begin(int64_t items, int thread, int n) {
    return items * thread / n;
}

/* How many items a thread takes at a time: few enough calls, and something left for the others. */
static int64_t chunk_of(int64_t items, int n) {
    int64_t chunk = items / n / 8;
    return chunk > 0 ? chunk : 1;
}

void vm_step_prepare(VmStep *s, int n) {
    s->threads = n;
    for (int t = 0; t < s->ntask; t++) {
        for (int i = 0; i < n; i++) {
            int64_t begin = share_begin(s->task[t].items, i, n);
            atomic_store_explicit(&s->cursor[(int64_t)t * n + i].next, begin, memory_order_relaxed);
        }
        atomic_store_explicit(&s->done[t].items, 0, memory_order_relaxed);
    }
    s->refused = false;
    atomic_store(&s->over, 0);
}

/* Takes items of one task from every share, its own first; returns how many it computed. */
static int64_t work_on(VmStep *s, int t, int me, void *scratch) {
    const VmStepTask *task = &s->task[t];
    int64_t computed = 0, chunk = chunk_of(task->items, s->threads);
    for (int k = 0; k < s->threads; k++) {
        int owner = me + k < s->threads ? me + k : me + k - s->threads;
        VmCursor *c = &s->cursor[(int64_t)t * s->threads + owner];
        int64_t end = share_begin(task->items, owner + 1, s->threads);
        while (atomic_load_explicit(&c->next, memory_order_relaxed) < end) {
            int64_t begin = atomic_fetch_add_explicit(&c->next, chunk, memory_order_relaxed);
            if (begin >= end) break;
            int64_t stop = begin + chunk < end ? begin + chunk : end;
            task->fn(task->args, begin, stop, scratch);
            computed += stop - begin;
        }
    }
    return computed;
}

static bool all_finite(const VmStep *s) {
    bool finite = true;
    for (int i = 0; i < s->nwatched; i++) finite = finite && isfinite(*s->watched[i]);
    return finite;
}

/* Adds to what is done of the phase of tasks first..next-1; whoever completes it lets the others
 * go.
 */
static void report(VmStep *s, int first, int next, int64_t computed, int64_t total,
                   uint32_t phase) {
    if (computed == 0) return;
    int64_t before =
        atomic_fetch_add_explicit(&s->done[first].items, computed, memory_order_acq_rel);
    if (before + computed < total) return;
    if (next == s->gate) s->refused = !all_finite(s);
    atomic_store(&s->over, phase + 1);
    vm_word_wake(&s->over, &s->sleepers);
}

void vm_step_run(VmStep *s, int me, int spins, void *scratch, double *seconds) {
    uint32_t phase = 0;
    double then = seconds ? vm_seconds() : 0;
    for (int t = 0; t < s->ntask; phase++) {
        int first = t;
        int64_t computed = 0, total = 0;
        do {
            total += s->task[t].items;
            computed += work_on(s, t, me, scratch);
            t++;
        } while (t < s->ntask && !s->task[t].barrier && !s->profile);
        report(s, first, t, computed, total, phase);
        vm_word_wait(&s->over, &s->sleepers, phase, spins);
        if (t == s->gate && s->refused) return;
        if (!seconds) continue;
        double now = vm_seconds();
        seconds[first] += now - then;
        then = now;
    }
}
