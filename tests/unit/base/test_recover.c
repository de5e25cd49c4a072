/* Memory that is not there, seen by a thread that can go on: what was in hand is given back. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/bug.h"
#include "base/recover.h"

typedef struct Work {
    Arena *own;   /* made within */
    int fd;       /* held while memory runs out */
    bool nested;  /* a point within, which is gone on from */
    bool failed;  /* that one */
    int released; /* undos that ran */
} Work;

static void too_much(Arena *a) {
    (void)arena_alloc(a, SIZE_MAX - 8);
}

static void count_release(void *user) {
    ((Work *)user)->released++;
}

static void comes_to_its_end(void *user) {
    Work *w = user;
    w->own = arena_create();
    arena_destroy(arena_create());
}

static void runs_out(void *user) {
    Work *w = user;
    VmUndo first, gone, second;
    w->own = arena_create();
    w->fd = open("/dev/null", O_RDONLY);
    vm_undo_push(&first, vm_undo_close, &w->fd);
    vm_undo_push(&gone, count_release, w);
    vm_undo_pop(&gone);
    vm_undo_push(&second, count_release, w);
    too_much(w->own);
}

static void runs_out_within(void *user) {
    Work *w = user;
    VmRecover inner;
    w->failed = !vm_recover(&inner, runs_out, w);
    vm_recover_keep(&inner);
    if (!w->nested) too_much(w->own);
}

Test(recover, what_a_work_leaves_is_the_callers) {
    VmRecover r;
    Work w = {0};
    cr_assert(vm_recover(&r, comes_to_its_end, &w));
    cr_assert_null(r.arenas);
    cr_assert_null(vm_recover_here());
    cr_assert_str_eq(arena_strdup(w.own, "alive"), "alive");
    arena_destroy(w.own);
}

Test(recover, what_was_in_hand_is_given_back) {
    VmRecover r;
    Work w = {0};
    cr_assert_not(vm_recover(&r, runs_out, &w));
    cr_assert(eq(int, w.fd, -1));
    cr_assert(eq(int, w.released, 1), "an undo that was popped ran, or one that was not did not");
    cr_assert(r.arenas == w.own, "the arena was lost");
    cr_assert_str_eq(arena_strdup(w.own, "alive"), "alive");
    vm_recover_clear(&r);
    cr_assert_null(r.arenas);
    cr_assert_null(vm_recover_here());
}

Test(recover, the_innermost_point_counts) {
    VmRecover r;
    Work w = {.nested = true};
    cr_assert(vm_recover(&r, runs_out_within, &w));
    cr_assert(w.failed);
    arena_destroy(w.own);
    w = (Work){.nested = false};
    cr_assert_not(vm_recover(&r, runs_out_within, &w));
    cr_assert(r.arenas == w.own, "an arena kept by the inner point belongs to the outer one");
    vm_recover_clear(&r);
}

Test(recover, without_a_point_the_process_ends, .exit_code = 3) {
    VmRecover r;
    Work w = {0};
    (void)vm_recover(&r, comes_to_its_end, &w);
    too_much(w.own);
}

static void *in_a_thread(void *user) {
    VmRecover r;
    Work *w = user;
    for (int i = 0; i < 200; i++) {
        w->failed = !vm_recover(&r, runs_out, w);
        if (!w->failed || r.arenas != w->own) return w;
        vm_recover_clear(&r);
    }
    return NULL;
}

Test(recover, threads_have_points_of_their_own) {
    pthread_t thread[2];
    Work w[2] = {{0}};
    for (int i = 0; i < 2; i++) pthread_create(&thread[i], NULL, in_a_thread, &w[i]);
    for (int i = 0; i < 2; i++) {
        void *wrong;
        pthread_join(thread[i], &wrong);
        cr_expect_null(wrong);
        cr_expect(eq(int, w[i].released, 200));
    }
}
