/* What this process will hold in memory. */
#include "driver/session/session.h"

/* Plans, code and the team of threads come after the choice. Measured on the models of models/:
 * what a process grows by from there to the last step beside tensors, at most. */
enum { GROWTH = 2 << 20, GROWTH_PER_TASK = 8 << 10, SCRATCH_PER_THREAD = 384 << 10 };

int64_t session_process_ahead(int64_t data) {
    int64_t now, peak;
    vm_memory_now(&now, &peak);
    return now - data + GROWTH;
}

int64_t session_memory_growth(int tasks) {
    return (int64_t)tasks * GROWTH_PER_TASK;
}

int64_t session_scratch_ahead(int threads) {
    return (int64_t)threads * SCRATCH_PER_THREAD;
}

const char *session_bytes_text(Arena *a, int64_t bytes) {
    return vm_bytes_text(bytes, arena_alloc(a, 32));
}
