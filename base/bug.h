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

/* Called once by vm_bug before abort: the driver installs one that writes vmoec-crash.vir. */
void vm_bug_set_hook(void (*hook)(void *), void *user);

/* What every failed allocation of the compiler ends in: a line on stderr, made without memory, and
 * exit status 3. size: what was asked for; 0: not known. A process in which that is not right sets
 * a hook, which must not return. */
_Noreturn void vm_out_of_memory(size_t size);
void vm_memory_set_hook(void (*hook)(void));

#endif
