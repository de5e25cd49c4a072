/* How functions of every room say that they failed. VM_OK is 0; VM_INPUT means that the input (a
 * file's contents) is wrong (exit code 1), VM_USAGE the command line (2), VM_ENV the environment
 * (3: file, memory, disk). The message is in the VmError the caller passes; it names the file, what
 * was expected and what was found. */
#ifndef VMOEC_BASE_STATUS_H
#define VMOEC_BASE_STATUS_H

typedef enum VmStatus {
    VM_OK = 0,
    VM_INPUT = 1,
    VM_USAGE = 2,
    VM_ENV = 3,
    VM_STOPPED = 128 /* and the number of a signal: a command ended early because it was asked to */
} VmStatus;

typedef struct VmError {
    char text[2048]; /* room for lists of tensors with their shapes; a longer message is cut */
    VmStatus status; /* that was returned with it */
} VmError;

/* Writes the message (cut if too long) and returns s. err may be NULL. Control characters become
 * '?', because names come from files and a terminal must not obey them. */
VmStatus vm_fail(VmError *err, VmStatus s, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Control characters of text but newlines become '?'. */
void vm_make_printable(char *text);

#endif
