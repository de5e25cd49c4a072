/* Augmentations: the rules of recipe/augments.def.
 *
 * A rule draws from a key that is its own for every place in the list, epoch, and image (PIXELS) or
 * step (BATCH). So what it does depends neither on order nor on workers. */
#ifndef VMOEC_RUNTIME_DATA_AUGMENT_H
#define VMOEC_RUNTIME_DATA_AUGMENT_H

#include "recipe/recipe.h"

/* One image: byte[channels][height][width]. */
typedef struct VmPixels {
    uint8_t *byte;
    int64_t channels, height, width;
} VmPixels;

/* Images of a step and their labels, as a model takes them. What it does not take is NULL. */
typedef struct VmBatch {
    int64_t images;
    float *image; /* [images][channels][height][width], normalised */
    int64_t channels, height, width;
    int32_t *label; /* [images]: numbers of classes */
    float *shares;  /* [images][classes]: shares of classes */
    int64_t classes;
} VmBatch;

/* Of one kind of augmentation: one of the two. */
typedef struct VmAugmentRule {
    void (*pixels)(const VmAugmentSpec *, VmPixels *, const uint32_t key[2]);
    void (*batch)(const VmAugmentSpec *, VmBatch *, const uint32_t key[2]);
} VmAugmentRule;

extern const VmAugmentRule vm_augment_rules[VM_augment_KINDS + 1]; /* by kind; an empty last one */

/* of: the number of an image in its data set, or of a step in its epoch. */
void vm_augment_key(uint64_t seed, int place, int64_t epoch, int64_t of, uint32_t key[2]);

#define AUGMENT_PIXELS VmPixels
#define AUGMENT_BATCH VmBatch
#define AUGMENT(name, stage, doc)                                                                  \
    void vm_augment_##name(const VmAugmentSpec *, AUGMENT_##stage *, const uint32_t key[2]);
#include "recipe/augments.def"

#endif
