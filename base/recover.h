/* Memory that is not there, as something a thread can go on from. A thread without a point to go on
 * from ends the process (vm_out_of_memory), which is right for a program that compiles and for the
 * processes that compile; a library gives its callers an error instead and sets a point at each of
 * its entrances.
 *
 *   VmRecover r;
 *   if (!vm_recover(&r, work, &state)) { close what is whole; vm_recover_clear(&r); fail; }
 *
 * What the work had in hand when it was left: arenas made since then are in the point's list, other
 * things (descriptors, mappings) are given back by the undo that was pushed when they were taken.
 * Everything here belongs to one thread. */
#ifndef VMOEC_BASE_RECOVER_H
#define VMOEC_BASE_RECOVER_H

#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>

struct Arena;

/* Gives something back should memory run out while it is in hand. Lies where the thing lies, so
 * that nothing is allocated for it. */
typedef struct VmUndo {
    struct VmUndo *before;
    void (*release)(void *what);
    void *what;
} VmUndo;

typedef struct VmRecover {
    jmp_buf at;
    struct VmRecover *outer;
    struct VmUndo *undo;
    struct Arena *arenas; /* made since then and not destroyed */
} VmRecover;

/* Runs work(user). False: memory ran out in it, the undos were run, the work was left. Points may
 * lie within each other; the innermost counts. Arenas that a work which came to its end leaves are
 * its caller's, as ever. */
bool vm_recover(VmRecover *r, void (*work)(void *user), void *user);
/* After a failure, one of the two: destroys the arenas that were left, once nobody needs them; or
 * leaves them to the point around this one. */
void vm_recover_clear(VmRecover *r);
void vm_recover_keep(VmRecover *r);

/* The innermost point of this thread, or NULL. */
VmRecover *vm_recover_here(void);
/* From now on memory that is not there ends the process. */
void vm_recover_forget(void);
/* Runs the undos and goes on at the innermost point; returns when there is none. */
void vm_recover_leave(void);

/* Last pushed, first popped. Nothing without a point. */
void vm_undo_push(VmUndo *u, void (*release)(void *what), void *what);
void vm_undo_pop(VmUndo *u);
/* Releases of common things: `what` points to a descriptor, which becomes -1; to memory of malloc.
 */
void vm_undo_close(void *what);
void vm_undo_free(void *what);

#endif
