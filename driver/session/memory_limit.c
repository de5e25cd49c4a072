/* What a process may take, compared with what it will take before it takes it. */
#include "driver/session/session.h"

VmStatus session_memory(Session *s, Budget *b, const DataWant *want, const char *data_dir,
                        int threads) {
    int64_t group = vm_memory_limit();
    if (group && (!b->limit || group < b->limit)) {
        b->limit = group;
        b->of_group = true;
    }
    if (!b->limit) return VM_OK;
    VmError err = {.text = ""};
    MemoryUse use = {.scratch = session_scratch_ahead(vm_threads(threads)),
                     .process = session_process_ahead(0)};
    s->decode_ahead = false;
    if (session_data_use(s, want, data_dir, vm_threads(threads), &use, &err))
        return VM_OK; /* whoever loads it says why */
    VmStatus st = session_module(s);
    if (!st) st = session_fit(s, b, want->training, &use);
    if (st || want->training || use.total <= b->limit) return st;
    if (session_decode_ahead(s, &use) && use.total <= b->limit) return VM_OK;
    Arena *a = s->arena; /* nothing can be computed again to make an evaluation smaller */
    return session_fail(s, VM_ENV,
                        "%s %s is not enough: this evaluation takes about %s, %s of it data",
                        b->of_group ? "the cgroup's memory limit of" : "--mem-budget",
                        session_bytes_text(a, b->limit), session_bytes_text(a, use.total),
                        session_bytes_text(a, use.data));
}
