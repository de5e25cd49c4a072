/* The ends of the road: our own mistakes (message, reproducer hook, abort) and memory that is not
 * there. Who ends has no context that says whom to ask, so that is the thread's. */
#include "base/bug.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/recover.h"

static _Thread_local VmBugReport current;

VmBugReport vm_bug_set_report(VmBugReport report) {
    VmBugReport before = current;
    current = report;
    return before;
}

_Noreturn void vm_bug(const char *file, int line, const char *fmt, ...) {
    fprintf(stderr, "vmoec: internal error: %s:%d: ", file, line);
    va_list ap;
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputs("\n", stderr);
    VmBugReport report = vm_bug_set_report((VmBugReport){0}); /* a bug within must not come back */
    vm_recover_forget(); /* there is nothing to go on from a bug */
    const char *said = report.write ? report.write(report.user) : NULL;
    if (said) fprintf(stderr, "%s\n", said);
    abort();
}

/* Nothing here allocates, and nothing that was begun is finished: buffers may hold half a line. */
_Noreturn void vm_out_of_memory(size_t size) {
    enum { STATUS_ENV = 3 };
    vm_recover_leave();
    char text[160];
    const char *program = program_invocation_short_name;
    int n = size ? snprintf(text, sizeof text,
                            "%.60s: error: out of memory (asked for %zu bytes)\n", program, size)
                 : snprintf(text, sizeof text, "%.60s: error: out of memory\n", program);
    if (n > 0) (void)!write(STDERR_FILENO, text, (size_t)n);
    _exit(STATUS_ENV);
}
