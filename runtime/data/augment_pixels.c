/* Augmentations of one image's bytes. */
#include "base/rng.h"
#include "runtime/data/augment.h"

void vm_augment_flip(const VmAugmentSpec *a, VmPixels *p, const uint32_t key[2]) {
    if ((double)vm_rng_uniform(key, 0) >= a->probability) return;
    for (int64_t r = 0; r < p->channels * p->height; r++) {
        uint8_t *row = p->byte + r * p->width;
        for (int64_t i = 0, j = p->width - 1; i < j; i++, j--) {
            uint8_t left = row[i];
            row[i] = row[j];
            row[j] = left;
        }
    }
}
