/* Inputs that are made up, where their values do not matter but for the experts that they load: the
 * same for vmoec and for a program that it built, so that their times can be compared. */
#include "base/rng.h"
#include "runtime/exec/internal.h"

void vm_made_up_input(const VmTensor *t, int64_t classes, uint64_t seed, void *to) {
    uint32_t key[2];
    int64_t n = vm_tensor_elems(t);
    vm_rng_key(seed, vm_hash_name(t->name), 0, key);
    if (t->dtype) {
        uint32_t range = classes ? (uint32_t)classes : 2;
        for (int64_t i = 0; i < n; i++)
            ((int32_t *)to)[i] = (int32_t)(vm_rng_bits(key, (uint32_t)i) % range);
        return;
    }
    for (int64_t i = 0; i < n; i++) { /* four uniforms, scaled to variance 1 */
        float sum = 0;
        for (uint32_t j = 0; j < 4; j++) sum += vm_rng_uniform(key, 4 * (uint32_t)i + j);
        ((float *)to)[i] = (sum - 2.0f) * 1.7320508f;
    }
}
