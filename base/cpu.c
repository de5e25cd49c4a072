/* Asks the CPU, with the compiler's own tables: they count what the system does not switch on as
 * missing. */
#include "base/cpu.h"

#include <stddef.h>
#include <string.h>

static const char *const features[] = {
#define FEATURE(name) name,
#include "base/cpu.def"
    NULL};

const char *vm_cpu_feature(int i) {
    return features[i];
}

bool vm_cpu_has(const char *feature) {
#define FEATURE(name)                                                                              \
    if (!strcmp(feature, name)) return __builtin_cpu_supports(name) != 0;
#include "base/cpu.def"
    return false;
}
