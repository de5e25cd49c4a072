/* What all calls of a handle share: their beginning and end, its programs, where its run stands. */
#include "trainer/library/library.h"

#include <math.h>
#include <stdatomic.h>
#include <string.h>

/* ---- calls ----------------------------------------------------------------------------------- */

/* A handle that is at work keeps its message: it is the other call's. */
VmStatus vmlib_begin(vmlib *h, bool weights) {
    if (!h || h->life != VMLIB_ALIVE) return VM_USAGE;
    if (atomic_exchange(&h->busy, 1)) return VM_USAGE;
    if (!weights || h->ready) return VM_OK;
    VmStatus s = vm_fail(&h->err, VM_USAGE,
                         "there are no weights yet: expected a call of init or load before");
    atomic_store(&h->busy, 0);
    return s;
}

vmlib_status vmlib_end(vmlib *h, VmStatus s) {
    atomic_store(&h->busy, 0);
    return (vmlib_status)s;
}

vmlib_program *vmlib_find(vmlib *h, VmBuiltUse use, int64_t images) {
    bool any = false;
    for (int i = 0; i < h->nprogram; i++) {
        if (h->program[i].use != use) continue;
        if (h->program[i].bind.batch == images) return &h->program[i];
        any = true;
    }
    if (any || vm_built_find(h->built, use, images) < 0)
        (void)vm_built_lacks(h->built, use, images, &h->err);
    else
        (void)vm_fail(&h->err, VM_USAGE,
                      "the handle was made without this use: expected it in `uses` of create");
    return NULL;
}

bool vmlib_has(const vmlib *h, VmBuiltUse use) {
    for (int i = 0; i < h->nprogram; i++)
        if (h->program[i].use == use) return true;
    return false;
}

/* ---- the run --------------------------------------------------------------------------------- */

void vmlib_plan(vmlib *h, int64_t images) {
    const VmRecipe *r = h->built->recipe;
    h->images = images ? images : h->built->train_images;
    h->step = 0;
    h->per_epoch = vm_feed_steps(h->images, r->data.batch, r->data.drop_last);
    h->all_steps = vm_span_steps(r->epochs, h->per_epoch);
    h->warmup = vm_span_steps(r->schedule.warmup, h->per_epoch);
    h->loss = NAN;
}

void vmlib_clear_state(vmlib *h) {
    for (int i = h->nweight; i < h->nweight + h->nstate; i++) {
        const VmTensor *t = vm_engine_tensor(h->engine, h->stateful, h->view[i].name);
        memset(vm_engine_address(h->engine, h->stateful, t), 0, (size_t)vm_tensor_elems(t) * 4);
    }
}
