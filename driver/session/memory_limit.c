/* What a process may take, compared with what it will take before it takes it. */
#include "driver/driver.h"

/* The smaller of --mem-budget (NULL: not given) and what the cgroup allows. */
static VmStatus find_limit(Session *s, const char *budget) {
    VmStatus st = budget ? drv_parse_size(budget, "mem-budget", &s->budget.limit) : VM_OK;
    int64_t group = vm_memory_limit();
    if (!st && group && (!s->budget.limit || group < s->budget.limit)) {
        s->budget.limit = group;
        s->budget.of_group = true;
    }
    return st;
}

VmStatus session_memory(Session *s, bool training, const char *budget, const char *data_dir,
                        int threads) {
    VmStatus st = find_limit(s, budget);
    if (st || !s->budget.limit) return st;
    VmError err = {.text = ""};
    MemoryUse use = {.scratch = memory_scratch_ahead(vm_threads(threads)),
                     .process = memory_process_ahead(0)};
    if (session_data_bytes(s, training, data_dir, &use.data, &err))
        return VM_OK; /* whoever loads it says why */
    st = session_module(s);
    if (!st) st = session_fit(s, training, &use);
    if (st || training || use.total <= s->budget.limit) return st;
    Arena *a = s->arena; /* nothing can be computed again to make an evaluation smaller */
    return drv_fail(VM_ENV, "%s %s is not enough: this evaluation takes about %s, %s of it data",
                    s->budget.of_group ? "the cgroup's memory limit of" : "--mem-budget",
                    drv_bytes_text(a, s->budget.limit), drv_bytes_text(a, use.total),
                    drv_bytes_text(a, use.data));
}
