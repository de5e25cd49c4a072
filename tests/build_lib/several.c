/* Two handles of the library `tiny`, in two threads at once, and a third of another library, in one
 * program: each comes to the same weights as alone.
 *
 *   several      It says what is not so. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <other.h>
#include <tiny.h>

enum { STEPS = 12, N = TINY_BATCH, SIZE = TINY_CHANNELS * TINY_HEIGHT * TINY_WIDTH };

typedef struct Run {
    int64_t seed;
    size_t size;
    void *file; /* what it came to */
    int failed;
} Run;

static void make_batch(int64_t seed, int step, float *image, int32_t *label, int n) {
    for (int i = 0; i < n; i++)
        image[i] = (float)((i + 1) * (step + 7) * (int)(seed + 3) % 211) / 100 - 1;
    for (int i = 0; i < N; i++) label[i] = (i + step) % TINY_CLASSES;
}

static void *train(void *run) {
    Run *r = run;
    tiny *h;
    float image[N * SIZE];
    int32_t label[N];
    size_t size = tiny_memory_needed(2, 0);
    void *memory = malloc(size);
    r->failed = tiny_create(memory, size, 2, 0, &h) || tiny_init(h, r->seed, 70);
    for (int i = 0; i < STEPS && !r->failed; i++) {
        make_batch(r->seed, i, image, label, N * SIZE);
        r->failed = tiny_step(h, image, label, N) != TINY_OK;
    }
    if (!r->failed) r->failed = tiny_save_memory(h, NULL, 0, 1, &r->size) != TINY_OK;
    r->file = malloc(r->size);
    if (!r->failed) r->failed = tiny_save_memory(h, r->file, r->size, 1, &r->size) != TINY_OK;
    if (r->failed) fprintf(stderr, "%s\n", tiny_error(h));
    tiny_close(h);
    free(memory);
    return NULL;
}

static void *train_other(void *run) {
    Run *r = run;
    other *h;
    float image[N * SIZE];
    int32_t label[N];
    size_t size = other_memory_needed(1, 0);
    void *memory = malloc(size);
    r->failed = other_create(memory, size, 1, 0, &h) || other_init(h, r->seed, 70);
    for (int i = 0; i < STEPS && !r->failed; i++) {
        make_batch(r->seed, i, image, label, N * SIZE);
        r->failed = other_step(h, image, label, N) != OTHER_OK;
    }
    if (!r->failed) r->failed = other_save_memory(h, NULL, 0, 1, &r->size) != OTHER_OK;
    r->file = malloc(r->size);
    if (!r->failed) r->failed = other_save_memory(h, r->file, r->size, 1, &r->size) != OTHER_OK;
    if (r->failed) fprintf(stderr, "%s\n", other_error(h));
    other_close(h);
    free(memory);
    return NULL;
}

static int same(const Run *a, const Run *b) {
    return a->size == b->size && !memcmp(a->file, b->file, a->size);
}

int main(void) {
    static void *(*const work[3])(void *) = {train, train, train_other};
    Run alone[3] = {{.seed = 1}, {.seed = 2}, {.seed = 1}}, at_once[3];
    pthread_t thread[3];
    int bad = 0;
    memcpy(at_once, alone, sizeof alone);
    for (int i = 0; i < 3; i++) work[i](&alone[i]);
    for (int i = 0; i < 3; i++) bad |= pthread_create(&thread[i], NULL, work[i], &at_once[i]);
    for (int i = 0; i < 3; i++) bad |= pthread_join(thread[i], NULL);
    for (int i = 0; i < 3; i++) {
        bad |= alone[i].failed || at_once[i].failed || !same(&alone[i], &at_once[i]);
        for (int k = 0; k < i; k++) bad |= same(&alone[i], &alone[k]);
    }
    for (int i = 0; i < 3; i++) {
        free(alone[i].file);
        free(at_once[i].file);
    }
    return bad;
}
