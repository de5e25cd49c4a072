/* A file of whole lines in a run's folder, one event each, that a resumed run goes on with. */
#ifndef VMOEC_RUNTIME_LOG_LINES_H
#define VMOEC_RUNTIME_LOG_LINES_H

#include "runtime/log/events.h"

typedef struct VmLines {
    FILE *f;
    const VmDir *dir; /* borrowed */
    const char *name;
} VmLines;

typedef enum VmLineKind {
    VM_LINE_BAD,
    VM_LINE_KEPT,  /* of what was before the checkpoint: on the disk when that was saved */
    VM_LINE_ASIDE, /* stays too, and tells of a process, not of a step */
    VM_LINE_LATER,
    VM_LINE_NO_MEMORY
} VmLineKind;
/* What a line of n characters is to a run that goes on. */
typedef VmLineKind VmLineRule(const char *line, size_t n, VmLogKept keep);

/* Opens the file: empty, or (keep.step >= 0) with the lines that the rule keeps. VM_ENV when it
 * cannot be read then, VM_INPUT when it is damaged before its end. */
VmStatus vm_lines_open(VmLines *l, const VmDir *dir, const char *name, VmLogKept keep,
                       VmLineRule *rule, VmError *err);
/* Writes one line, flushed at once. text NULL: memory was short for it. */
VmStatus vm_lines_write(VmLines *l, const char *text, VmError *err);
/* What was written is on the disk. */
VmStatus vm_lines_sync(VmLines *l, VmError *err);
VmStatus vm_lines_close(VmLines *l, VmError *err);

#endif
