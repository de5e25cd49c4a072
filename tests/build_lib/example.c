/* Trains a model from C, with images that are made up: a bright row for each class. */
#include <stdio.h>
#include <stdlib.h>

#include <tiny.h>

enum { IMAGES = 160, SIZE = TINY_CHANNELS * TINY_HEIGHT * TINY_WIDTH };

/* Fills a batch: images `first`, `first + 1`, .. of an epoch. */
static int fill(void *user, const tiny_batch *to) {
    const int64_t *order = user;
    for (int64_t i = 0; i < to->images; i++) {
        int32_t k = (int32_t)(order[to->first + i] % TINY_CLASSES);
        for (int j = 0; j < SIZE; j++) to->image[i * SIZE + j] = j / TINY_WIDTH == k ? 1.0f : 0.0f;
        to->label[i] = k;
    }
    return 0;
}

static tiny_status train(tiny *h) {
    static int64_t order[IMAGES];
    tiny_result r;
    tiny_status s = tiny_init(h, -1, IMAGES); /* the recipe's seed */
    for (int64_t epoch = 0; !s && tiny_steps(h) < tiny_all_steps(h); epoch++) {
        s = tiny_order(h, epoch, order, IMAGES); /* as vmoec train shuffles */
        if (!s) s = tiny_epoch(h, fill, order, &r);
        if (!s)
            printf("epoch %d: loss %.3f, %s %.3f\n", (int)epoch + 1, r.loss, tiny_metric_name(0),
                   r.metric[0]);
    }
    return s ? s : tiny_save(h, "weights.safetensors", 0);
}

int main(void) {
    size_t size = tiny_memory_needed(1, 0); /* one thread, all uses */
    void *memory = malloc(size);
    tiny *h;
    tiny_status s = tiny_create(memory, size, 1, 0, &h);
    if (!s) s = train(h);
    if (s) fprintf(stderr, "example: %s\n", tiny_error(h));
    tiny_close(h);
    free(memory);
    return (int)s;
}
