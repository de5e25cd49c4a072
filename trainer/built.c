/* What follows from a built model's constants alone: whether this CPU runs it, and its programs by
 * use and size. Takes no memory. */
#include "trainer/built.h"

#include <stdio.h>
#include <string.h>

#include "base/cpu.h"

VmStatus vm_built_check_cpu(const VmBuilt *b, VmError *err) {
    char missing[512] = "";
    for (int i = 0; i < b->nneeds; i++) {
        size_t at = strlen(missing);
        if (!vm_cpu_has(b->needs[i]))
            snprintf(missing + at, sizeof missing - at, "%s%s", at ? ", " : "", b->needs[i]);
    }
    if (!*missing) return VM_OK;
    return vm_fail(err, VM_ENV,
                   "this CPU has no %s: the program was built for %s; vmoec build --cpu chooses "
                   "another",
                   missing, b->target);
}

int vm_built_find(const VmBuilt *b, VmBuiltUse use, int64_t images) {
    for (int i = 0; i < b->nprogram; i++)
        if (b->program[i].use == use && b->program[i].program->batch == images) return i;
    return -1;
}

const char *vm_built_sizes(const VmBuilt *b, VmBuiltUse use, char *to, size_t cap) {
    *to = 0;
    for (int i = 0; i < b->nprogram; i++) {
        size_t at = strlen(to);
        if (b->program[i].use == use)
            snprintf(to + at, cap - at, "%s%lld", at ? ", " : "",
                     (long long)b->program[i].program->batch);
    }
    return to;
}

VmStatus vm_built_lacks(const VmBuilt *b, VmBuiltUse use, int64_t images, VmError *err) {
    static const char *const what[] = {[VM_BUILT_TRAIN] = "training with",
                                       [VM_BUILT_JUDGE] = "evaluating",
                                       [VM_BUILT_EVAL] = "evaluating",
                                       [VM_BUILT_PREDICT] = "predicting"};
    char sizes[1024], remedy[100] = "vmoec build --data with these data adds it";
    const char *kind = b->nabout ? "library" : "program";
    if (!*vm_built_sizes(b, use, sizes, sizeof sizes))
        return vm_fail(err, VM_USAGE, "this %s was not built for %s", kind, what[use]);
    if (b->nabout || use != VM_BUILT_TRAIN)
        snprintf(remedy, sizeof remedy, "vmoec build --batch %lld adds it", (long long)images);
    return vm_fail(err, VM_USAGE,
                   "this %s was not built for %s %lld images at once, but for %s; %s", kind,
                   what[use], (long long)images, sizes, remedy);
}
