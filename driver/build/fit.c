/* --mem-budget of a build: how much of the forward pass the program computes again, so that its
 * training fits. Decided here, because it decides the kernels. */
#include "driver/build/build.h"

/* What a program without data and tensors holds: libc, OpenMP, the image libraries. Measured: 3.3
 * MiB when it only tells what it is, 6 to 7 MiB when it trains. */
enum { PROCESS = 8 << 20 };

VmStatus build_fit(Build *b) {
    Session *s = b->s;
    Budget fit = {0};
    VmError err = {.text = ""};
    if (!b->a->o.mem_budget) return VM_OK;
    VmStatus st = drv_parse_size(b->a->o.mem_budget, "mem-budget", &fit.limit);
    if (st) return st;
    int threads = vm_threads(0);
    MemoryUse use = {.scratch = session_scratch_ahead(threads), .process = PROCESS};
    /* Without data, which a build can be, it is not counted. */
    (void)session_data_use(s, &session_data_training, b->a->o.data, threads, &use, &err);
    st = session_fit(s, &fit, true, &use);
    const char *chosen = st ? NULL : session_budget_text(s->arena, &fit);
    if (chosen) fprintf(stderr, "vmoec: note: %s\n", chosen);
    return st;
}
