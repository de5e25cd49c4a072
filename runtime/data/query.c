/* What follows from a recipe's data alone, without its files: what to open, what a byte of a pixel
 * becomes, an epoch's steps and order. */
#include "runtime/data/dataset.h"
#include "runtime/data/feed.h"

#include <string.h>

#include "base/rng.h"

VmDataQuery vm_data_query(const VmDataSpec *spec, const char *dir) {
    VmDataQuery q = {.kind = spec->kind,
                     .dir = dir ? dir : spec->dir,
                     .channels = spec->channels,
                     .resize = spec->resize,
                     .cache = spec->cache,
                     .bad = spec->bad};
    memcpy(q.mean, spec->mean.at, sizeof q.mean);
    memcpy(q.std, spec->std.at, sizeof q.std);
    return q;
}

/* In f32, step by step, as the usual image transforms do it. */
void vm_pixel_values(const VmDataQuery *q, int64_t channels, float value[3][256]) {
    for (int64_t c = 0; c < channels; c++) {
        float mean = (float)q->mean[c], std = (float)q->std[c];
        for (int i = 0; i < 256; i++) value[c][i] = ((float)i / 255.0f - mean) / std;
    }
}

/* Fisher and Yates, from the end; element i of the stream decides where place i takes its image
 * from. */
void vm_dataset_shuffle(int64_t size, uint64_t seed, uint64_t epoch, int64_t *index) {
    uint32_t key[2];
    vm_rng_key(seed, vm_hash_name("data.shuffle"), epoch, key);
    for (int64_t i = 0; i < size; i++) index[i] = i;
    for (int64_t i = size - 1; i > 0; i--) {
        /* 32 random bits scaled to 0..i: the bias is below size / 2^32 */
        int64_t j = (int64_t)((uint64_t)vm_rng_bits(key, (uint32_t)i) * (uint64_t)(i + 1) >> 32);
        int64_t t = index[i];
        index[i] = index[j];
        index[j] = t;
    }
}

int64_t vm_feed_steps(int64_t images, int64_t batch, bool drop_last) {
    return drop_last ? images / batch : (images + batch - 1) / batch;
}
