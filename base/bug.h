/* Our own mistakes, and memory that is not there: the ends of the road (bug.c). */
#ifndef VMOEC_BASE_BUG_H
#define VMOEC_BASE_BUG_H

#include <stddef.h>

/* Prints the message with file and line, runs the reproducer hook, aborts. */
#define VM_BUG(...) vm_bug(__FILE__, __LINE__, __VA_ARGS__)
#define VM_CHECK(cond, ...)                                                                        \
    do {                                                                                           \
        if (!(cond)) VM_BUG(__VA_ARGS__);                                                          \
    } while (0)
_Noreturn void vm_bug(const char *file, int line, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Whom vm_bug asks before it aborts: writes down what was being compiled, and returns a line to be
 * printed, or NULL. It is the thread's; `write` NULL: nobody. Returns who it was before. */
typedef struct VmBugReport {
    const char *(*write)(void *user);
    void *user;
} VmBugReport;
VmBugReport vm_bug_set_report(VmBugReport report);

/* What every failed allocation of the compiler ends in. A thread that can go on from it does
 * (base/recover.h); otherwise a line on stderr, made without memory, and exit status 3. size: what
 * was asked for; 0: not known. */
_Noreturn void vm_out_of_memory(size_t size);

#endif
