/* Instructions that a CPU has beyond its architecture's least (cpu.def). */
#ifndef VMOEC_BASE_CPU_H
#define VMOEC_BASE_CPU_H

#include <stdbool.h>

/* The i-th name that vm_cpu_has knows, from the plainest on; NULL: there are no more. */
const char *vm_cpu_feature(int i);
/* Whether this CPU and its operating system have it: "avx2". False for a name it does not know. */
bool vm_cpu_has(const char *feature);

#endif
