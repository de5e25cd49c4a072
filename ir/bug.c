/* The end of the road for our own mistakes: message, reproducer hook, abort. The hook is the one piece
 * of process-wide state in the compiler: an abort has no context to carry it. */
#include "ir/ir.h"

#include <stdarg.h>
#include <stdlib.h>

static void (*bug_hook)(void *);
static void *bug_user;

void vm_bug_set_hook(void (*hook)(void *), void *user) {
    bug_hook = hook;
    bug_user = user;
}

_Noreturn void vm_bug(const char *file, int line, const char *fmt, ...) {
    fprintf(stderr, "vmoec: internal error: %s:%d: ", file, line);
    va_list ap;
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputs("\n", stderr);
    void (*hook)(void *) = bug_hook;
    bug_hook = NULL; /* a bug inside the hook must not call it again */
    if (hook) hook(bug_user);
    abort();
}
