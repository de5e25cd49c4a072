/* What this process holds in memory, as the system counts it. */
#ifndef VMOEC_BASE_USAGE_H
#define VMOEC_BASE_USAGE_H

#include <stdint.h>

/* Resident bytes now, and their peak so far; 0 when the system does not say. */
void vm_memory_now(int64_t *now, int64_t *peak);
/* "195.3 KiB", "1.2 MiB" */
const char *vm_bytes_text(int64_t bytes, char out[32]);

#endif
