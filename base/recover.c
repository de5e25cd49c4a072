/* Points to go on from when memory is not there. */
#include "base/recover.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/arena.h"

static _Thread_local VmRecover *here;

/* The arenas of a point are those of the one around it from now on, or nobody's list. */
void vm_recover_keep(VmRecover *r) {
    arena_list_move(&r->arenas, r->outer ? &r->outer->arenas : NULL);
}

void vm_recover_clear(VmRecover *r) {
    while (r->arenas) arena_destroy(r->arenas);
}

bool vm_recover(VmRecover *r, void (*work)(void *user), void *user) {
    r->outer = here;
    r->undo = NULL;
    r->arenas = NULL;
    here = r;
    if (setjmp(r->at)) {
        here = r->outer;
        return false;
    }
    work(user);
    here = r->outer;
    vm_recover_keep(r);
    return true;
}

VmRecover *vm_recover_here(void) {
    return here;
}

void vm_recover_forget(void) {
    here = NULL;
}

void vm_recover_leave(void) {
    VmRecover *r = here;
    if (!r) return;
    while (r->undo) {
        VmUndo *u = r->undo;
        r->undo = u->before;
        u->release(u->what);
    }
    longjmp(r->at, 1);
}

void vm_undo_push(VmUndo *u, void (*release)(void *what), void *what) {
    *u = (VmUndo){.release = release, .what = what};
    if (!here) return;
    u->before = here->undo;
    here->undo = u;
}

void vm_undo_pop(VmUndo *u) {
    if (here && here->undo == u) here->undo = u->before;
}

void vm_undo_close(void *what) {
    int *fd = what;
    if (*fd >= 0) (void)close(*fd);
    *fd = -1;
}

void vm_undo_free(void *what) {
    free(what);
}
