/* The ends of the road: our own mistakes (message, reproducer hook, abort) and memory that is not
 * there. The hooks are the one piece of process-wide state in the compiler: who ends has no context
 * to carry them. */
#include "base/bug.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

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

static void (*memory_hook)(void);

void vm_memory_set_hook(void (*hook)(void)) {
    memory_hook = hook;
}

/* Nothing here allocates, and nothing that was begun is finished: buffers may hold half a line. */
_Noreturn void vm_out_of_memory(size_t size) {
    enum { STATUS_ENV = 3 };
    if (memory_hook) memory_hook();
    char text[80];
    int n = size ? snprintf(text, sizeof text,
                            "vmoec: error: out of memory (asked for %zu bytes)\n", size)
                 : snprintf(text, sizeof text, "vmoec: error: out of memory\n");
    if (n > 0) (void)!write(STDERR_FILENO, text, (size_t)n);
    _exit(STATUS_ENV);
}
