/* Holding a part of a set out, for validation: the same share of every class, a function of the
 * seed alone. */
#include <stdlib.h>

#include "base/rng.h"
#include "runtime/data/dataset.h"

/* An image of a class and its place in the class's random order. */
typedef struct Drawn {
    int32_t label;
    uint32_t draw;
    int64_t image;
} Drawn;

static int compare(const void *a, const void *b) {
    const Drawn *x = a, *y = b;
    if (x->label != y->label) return x->label < y->label ? -1 : 1;
    if (x->draw != y->draw) return x->draw < y->draw ? -1 : 1;
    return (x->image > y->image) - (x->image < y->image);
}

static int64_t held_of(int64_t images, double share) {
    int64_t n = (int64_t)((double)images * share + 0.5);
    if (n >= images) n = images - 1;
    return n < 1 && images > 1 ? 1 : n;
}

/* Marks the images that are held out; returns how many they are. */
static int64_t choose(const VmDataset *d, double share, uint64_t seed, Drawn *drawn, bool *held) {
    uint32_t key[2];
    vm_rng_key(seed, vm_hash_name("data.validation"), 0, key);
    for (int64_t i = 0; i < d->size; i++)
        drawn[i] = (Drawn){vm_dataset_label(d, i), vm_rng_bits(key, (uint32_t)i), i};
    qsort(drawn, (size_t)d->size, sizeof *drawn, compare);
    int64_t all = 0;
    for (int64_t begin = 0, end; begin < d->size; begin = end) {
        for (end = begin; end < d->size && drawn[end].label == drawn[begin].label;) end++;
        int64_t n = held_of(end - begin, share);
        for (int64_t i = 0; i < n; i++) held[drawn[begin + i].image] = true;
        all += n;
    }
    return all;
}

static VmDataset *part_of(const VmDataset *whole, const bool *held, bool want, int64_t size) {
    VmDataset *d = vm_calloc(1, sizeof *d);
    if (!d) return NULL;
    *d = *whole;
    d->whole = whole;
    d->paths = (VmImagePaths){0};
    if (want) d->left_out = NULL;
    d->size = 0;
    d->index = vm_calloc((size_t)size + 1, sizeof *d->index);
    for (int64_t i = 0; d->index && i < whole->size; i++)
        if (held[i] == want) d->index[d->size++] = i;
    if (d->index) return d;
    vm_dataset_close(d);
    return NULL;
}

VmStatus vm_dataset_hold_out(const VmDataset *whole, double share, uint64_t seed, VmDataset **rest,
                             VmDataset **held, VmError *err) {
    Drawn *drawn = vm_calloc((size_t)whole->size + 1, sizeof *drawn);
    bool *out = vm_calloc((size_t)whole->size + 1, sizeof *out);
    *rest = *held = NULL;
    int64_t n = drawn && out ? choose(whole, share, seed, drawn, out) : 0;
    if (drawn && out) {
        *held = part_of(whole, out, true, n);
        *rest = part_of(whole, out, false, whole->size - n);
    }
    free(drawn);
    free(out);
    if (*held && *rest && n > 0) return VM_OK;
    bool memory = *held && *rest;
    vm_dataset_close(*held);
    vm_dataset_close(*rest);
    *rest = *held = NULL;
    if (!memory) return vm_fail(err, VM_ENV, "out of memory");
    return vm_fail(err, VM_INPUT,
                   "no class has two images: none can be held out for validation = %g", share);
}
