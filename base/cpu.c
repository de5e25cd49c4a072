/* Asks the CPU. On x86-64 with the compiler's own tables, which count what the system does not
 * switch on as missing; on AArch64 the system, because programs may not ask the CPU. */
#include "base/cpu.h"

#include <stddef.h>
#include <string.h>

#if defined(__x86_64__)
#define HAS(name) (__builtin_cpu_supports(name) != 0)
#elif defined(__aarch64__)
#include <sys/auxv.h>
#define HAS(name) ((getauxval(AT_HWCAP) & HWCAP_ASIMD) != 0) /* asimd is all that is asked for */
#endif

static const char *const features[] = {
#define FEATURE(name) name,
#include "base/cpu.def"
    NULL};

const char *vm_cpu_feature(int i) {
    return features[i];
}

bool vm_cpu_has(const char *feature) {
#define FEATURE(name)                                                                              \
    if (!strcmp(feature, name)) return HAS(name);
#include "base/cpu.def"
    return false;
}
