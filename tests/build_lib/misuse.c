/* Calls of the library `tiny` that are wrong or out of order: each is refused with the status and
 * the words that belong to it, and nothing has changed.
 *
 *   misuse FOLDER      FOLDER: where files may be made */
#include <math.h>
#include <string.h>

#include "tests/build_lib/idx.h"
#include <tiny.h>

enum { SIZE = TINY_CHANNELS * TINY_HEIGHT * TINY_WIDTH, N = TINY_BATCH };

static int bad;
static float image[N * SIZE];
static int32_t label[N];
static double probability[N * TINY_CLASSES];

static void check(int good, const char *what) {
    printf("%s %s\n", good ? "ok" : "FAIL", what);
    bad |= !good;
}

/* The call was refused with these words. */
static void refused(tiny_status got, tiny_status want, const tiny *h, const char *words,
                    const char *what) {
    int good = got == want && strstr(tiny_error(h), words);
    check(good, what);
    if (!good) fprintf(stderr, "%s: %d, '%s'\n", what, (int)got, tiny_error(h));
}

/* All that a handle has, as a file. */
static void *state_of(tiny *h, size_t *size) {
    if (tiny_save_memory(h, NULL, 0, 1, size)) return NULL;
    void *bytes = malloc(*size);
    return tiny_save_memory(h, bytes, *size, 1, size) ? NULL : bytes;
}

static void unchanged(tiny *h, const void *before, size_t size, const char *what) {
    size_t now;
    void *after = state_of(h, &now);
    check(after && now == size && !memcmp(before, after, size), what);
    free(after);
}

static void creation(void) {
    size_t size = tiny_memory_needed(1, 0), two = tiny_memory_needed(2, 0);
    char *memory = malloc(size);
    tiny_status s;
    tiny *h;
    check(size > 0 && two > size, "more threads need more memory");
    check(tiny_memory_needed(1, TINY_PREDICT) < size, "predicting alone needs less");
    check(!tiny_memory_needed(-1, 0) && !tiny_memory_needed(1, 8), "needs of what cannot be");
    s = tiny_create(memory, size - 128, 1, 0, &h);
    refused(s, TINY_USAGE, h, "too little memory: expected", "too little memory");
    refused(tiny_step(h, image, label, N), TINY_USAGE, h, "too little memory",
            "the handle that it leaves is of no use");
    s = tiny_create(memory, 64, 1, 0, &h);
    check(s == TINY_USAGE && !h, "no room for a message");
    s = tiny_create(NULL, size, 1, 0, &h);
    check(s == TINY_USAGE && !h, "no memory at all");
    s = tiny_create(memory, size, 257, 0, &h);
    refused(s, TINY_USAGE, h, "expected 0 to 256 threads", "too many threads");
    s = tiny_create(memory, size, 1, 9, &h);
    refused(s, TINY_USAGE, h, "uses 9", "unknown uses");
    check(tiny_create(memory, size, 1, TINY_PREDICT, &h) == TINY_OK, "a handle that predicts");
    check(tiny_init(h, 1, 0) == TINY_OK, "with initial weights");
    refused(tiny_step(h, image, label, N), TINY_USAGE, h, "made without this use", "cannot train");
    refused(tiny_save(h, "nowhere", 1), TINY_USAGE, h, "expected a handle that trains",
            "nor save a training");
    tiny_close(h);
    check(tiny_predict(h, image, N, probability) == TINY_USAGE, "a closed handle");
    check(!strcmp(tiny_error(h), "the handle is closed"), "says that it is");
    check(tiny_step(NULL, image, label, N) == TINY_USAGE && *tiny_error(NULL), "no handle");
    free(memory);
}

static int call_back(void *user, const tiny_batch *to) {
    tiny *h = user;
    (void)to;
    check(tiny_predict(h, image, N, probability) == TINY_USAGE &&
              strstr(tiny_error(h), "at work in another call"),
          "a call from within another");
    return 1;
}

static void order(tiny *h) {
    tiny_tensor t;
    tiny_result r;
    refused(tiny_step(h, image, label, N), TINY_USAGE, h, "expected a call of init or load before",
            "a step without weights");
    refused(tiny_predict(h, image, N, probability), TINY_USAGE, h, "no weights yet",
            "predicting without weights");
    refused(tiny_save(h, "nowhere", 0), TINY_USAGE, h, "no weights yet", "saving none");
    refused(tiny_load_inside(h), TINY_USAGE, h, "no weights inside", "weights that are not inside");
    check(isnan(tiny_loss(h)), "no loss yet");
    refused(tiny_init(h, -2, 0), TINY_USAGE, h, "expected a seed from 0 up", "a negative seed");
    check(tiny_init(h, 3, 70) == TINY_OK, "initial weights");
    size_t size;
    void *before = state_of(h, &size);
    refused(tiny_step(h, image, label, 5), TINY_USAGE, h, "for 1, 6, 16",
            "a size that was not built, with the list");
    refused(tiny_step(h, NULL, label, N), TINY_USAGE, h, "found no images", "no images");
    refused(tiny_step(h, image, NULL, N), TINY_USAGE, h, "found no labels", "no labels");
    refused(tiny_evaluate(h, image, label, 7, &r), TINY_USAGE, h, "evaluating 7 images",
            "evaluating a size that was not built");
    refused(tiny_evaluate_all(h, 19, call_back, h, &r), TINY_USAGE, h, "evaluating 3 images",
            "a rest that was not built, before the first batch");
    refused(tiny_epoch(h, NULL, NULL, NULL), TINY_USAGE, h, "function that fills", "nobody fills");
    refused(tiny_epoch(h, call_back, h, &r), TINY_USAGE, h, "fill gave 1", "breaking off");
    refused(tiny_weight_named(h, "head", &t), TINY_USAGE, h, "there is no weight 'head'",
            "a weight that is not there");
    refused(tiny_weight(h, tiny_weights(h), &t), TINY_USAGE, h, "expected a weight from 0",
            "a weight too many");
    unchanged(h, before, size, "all of which changed nothing");
    check(tiny_init(h, 3, 71) == TINY_OK, "another number of images");
    refused(tiny_epoch(h, call_back, h, &r), TINY_USAGE, h, "training with 7 images",
            "an epoch whose rest was not built");
    free(before);
}

static void values(tiny *h) {
    size_t size;
    tiny_tensor t;
    tiny_result r;
    check(tiny_init(h, 3, 70) == TINY_OK && tiny_step(h, image, label, N) == TINY_OK, "a step");
    void *before = state_of(h, &size);
    image[2 * SIZE + 5] = NAN;
    refused(tiny_step(h, image, label, N), TINY_INPUT, h,
            "value 5 of image 2 of 16 is not a number, expected a finite number",
            "NaN in an image");
    refused(tiny_predict(h, image, N, probability), TINY_INPUT, h, "value 5 of image 2",
            "predicting from it");
    image[2 * SIZE + 5] = -INFINITY;
    refused(tiny_evaluate(h, image, label, N, &r), TINY_INPUT, h, "minus infinite",
            "an infinite value");
    image[2 * SIZE + 5] = 0;
    label[9] = TINY_CLASSES;
    refused(tiny_step(h, image, label, N), TINY_INPUT, h,
            "label 9 is 4, expected a class from 0 to 3", "a label that is no class");
    label[9] = -1;
    refused(tiny_evaluate(h, image, label, N, &r), TINY_INPUT, h, "label 9 is -1", "nor is -1");
    label[9] = 0;
    check(tiny_weight(h, 0, &t) == TINY_OK && t.count > 0, "a weight");
    float *w = malloc((size_t)t.count * sizeof *w);
    memcpy(w, t.data, (size_t)t.count * sizeof *w);
    refused(tiny_set_weight(h, t.name, w, t.count + 1), TINY_USAGE, h, "numbers for weight",
            "too many numbers for a weight");
    w[0] = NAN;
    refused(tiny_set_weight(h, t.name, w, t.count), TINY_INPUT, h, "not a number",
            "a weight that is no number");
    unchanged(h, before, size, "all of which changed nothing");
    w[0] = 0.25f;
    check(tiny_set_weight(h, t.name, w, t.count) == TINY_OK && t.data[0] == 0.25f, "setting one");
    double p = probability[0];
    check(tiny_predict(h, image, N, probability) == TINY_OK && probability[0] != p,
          "which predictions see");
    free(w);
    free(before);
}

/* Every cut of a file, and every byte of its header and some of its data changed: it is refused, or
 * what it says are other finite numbers. */
static void damage(tiny *h, const char *folder) {
    size_t size, cut = 0, kept = 0;
    char path[4096];
    check(tiny_init(h, 3, 70) == TINY_OK && tiny_step(h, image, label, N) == TINY_OK, "a file");
    unsigned char *good = state_of(h, &size);
    for (size_t n = 0; n < size; n += n < 4000 ? 1 : 97) {
        cut += tiny_load_memory(h, good, n) != TINY_INPUT;
        if (n % 500 == 0) unchanged(h, good, size, "a cut file changes nothing");
    }
    check(!cut, "a cut file is refused");
    unsigned char *other = malloc(size);
    for (size_t at = 0; at < size; at += at < 6000 ? 1 : 97) {
        memcpy(other, good, size);
        other[at] ^= 0x20;
        tiny_status s = tiny_load_memory(h, other, size);
        if (s) { /* the handle has what it had */
            size_t now;
            void *after = state_of(h, &now);
            kept += now != size || memcmp(after, good, size) != 0;
            free(after);
        } else {
            kept += tiny_load_memory(h, good, size) != TINY_OK;
        }
    }
    check(!kept, "a damaged file changes all or nothing");
    snprintf(path, sizeof path, "%s/cut.safetensors", folder);
    FILE *f = fopen(path, "wb");
    fwrite(good, 1, size / 2, f);
    fclose(f);
    refused(tiny_load(h, path), TINY_INPUT, h, "cut.safetensors", "half a file");
    refused(tiny_load(h, "no/such/file"), TINY_ENV, h, "no/such/file", "a file that is not there");
    refused(tiny_save(h, "no/such/folder/w", 0), TINY_ENV, h, "no/such/folder",
            "a folder that is not there");
    snprintf(path, sizeof path, "%s/other.safetensors", folder);
    refused(tiny_load(h, path), TINY_INPUT, h, "of another shape: ", "weights of another shape");
    snprintf(path, sizeof path, "%s/nan.safetensors", folder);
    refused(tiny_load(h, path), TINY_INPUT, h, "is not a number, expected a finite one",
            "weights that are no numbers");
    unchanged(h, good, size, "all of which changed nothing");
    refused(tiny_save_memory(h, other, size - 1, 1, &size), TINY_USAGE, h, "expected room for",
            "too little room for a file");
    free(good);
    free(other);
}

int main(int argc, char **argv) {
    if (argc != 2) return 2;
    for (int i = 0; i < N * SIZE; i++) image[i] = (float)(i * 37 % 101) / 50 - 1;
    for (int i = 0; i < N; i++) label[i] = i % TINY_CLASSES;
    creation();
    size_t size = tiny_memory_needed(2, 0);
    void *memory = malloc(size);
    tiny *h;
    check(tiny_create(memory, size, 2, 0, &h) == TINY_OK, "a handle");
    order(h);
    values(h);
    damage(h, argv[1]);
    tiny_close(h);
    free(memory);
    return bad;
}
