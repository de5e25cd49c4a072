/* The table of augmentations, and the keys that their rules draw from. */
#include "runtime/data/augment.h"

#include "base/rng.h"

#define RULE_PIXELS(name) .pixels = vm_augment_##name
#define RULE_BATCH(name) .batch = vm_augment_##name
const VmAugmentRule vm_augment_rules[VM_augment_KINDS + 1] = {
#define AUGMENT(name, stage, doc) [VM_augment_##name] = {RULE_##stage(name)},
#include "recipe/augments.def"
    [VM_augment_KINDS] = {0}};

void vm_augment_key(uint64_t seed, int place, int64_t epoch, int64_t of, uint32_t key[2]) {
    uint64_t stream = vm_mix64(vm_hash_name("data.augment") + (uint64_t)place);
    vm_rng_key(seed, vm_mix64(stream + (uint64_t)of), (uint64_t)epoch, key);
}
