/* Trains a convolutional network in a process that may take 32 MiB of address space, itself, its
 * libraries and its stack included: a stand-in for a small machine. The library gets one block of
 * exactly the size that it asks for; images stay in their file and are read batch by batch.
 *
 *   budget DATA MIB      DATA: a folder of IDX files; MIB: the limit */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include <cnn.h>

enum { SIZE = CNN_CHANNELS * CNN_HEIGHT * CNN_WIDTH };

typedef struct Files {
    FILE *image, *label;
    int64_t *order; /* NULL: as they are */
} Files;

static int64_t number_at(FILE *f, long at) {
    int64_t x = 0;
    fseek(f, at, SEEK_SET);
    for (int i = 0; i < 4; i++) x = x << 8 | fgetc(f);
    return x;
}

/* Gives the number of images. */
static int64_t open_files(Files *f, const char *folder, const char *which) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s-images-idx3-ubyte", folder, which);
    f->image = fopen(path, "rb");
    snprintf(path, sizeof path, "%s/%s-labels-idx1-ubyte", folder, which);
    f->label = fopen(path, "rb");
    f->order = NULL;
    return f->image && f->label ? number_at(f->image, 4) : 0;
}

static int fill(void *user, const cnn_batch *to) {
    Files *f = user;
    uint8_t pixel[SIZE];
    for (int64_t i = 0; i < to->images; i++) {
        long k = (long)(f->order ? f->order[to->first + i] : to->first + i);
        if (fseek(f->image, 16 + k * SIZE, SEEK_SET)) return 1;
        if (fread(pixel, SIZE, 1, f->image) != 1) return 1;
        if (fseek(f->label, 8 + k, SEEK_SET)) return 1;
        cnn_pixels(pixel, 1, to->image + i * SIZE);
        to->label[i] = fgetc(f->label);
    }
    return 0;
}

static long peak_kib(void) {
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    return use.ru_maxrss;
}

static cnn_status train(cnn *h, const char *folder) {
    Files train, test;
    cnn_result r;
    int64_t images = open_files(&train, folder, "train"), tests = open_files(&test, folder, "t10k");
    train.order = malloc((size_t)images * sizeof *train.order);
    if (!train.order) return CNN_ENV;
    cnn_status s = cnn_init(h, -1, images);
    for (int64_t epoch = 0; !s && cnn_steps(h) < cnn_all_steps(h); epoch++) {
        s = cnn_order(h, epoch, train.order, images);
        if (!s) s = cnn_epoch(h, fill, &train, &r);
        if (!s) s = cnn_evaluate_all(h, tests / CNN_BATCH * CNN_BATCH, fill, &test, &r);
        if (!s) printf("epoch %d: test accuracy %.4f\n", (int)epoch + 1, r.metric[0]);
    }
    free(train.order);
    fclose(train.image);
    fclose(train.label);
    fclose(test.image);
    fclose(test.label);
    return s;
}

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    struct rlimit limit = {.rlim_cur = (rlim_t)atoi(argv[2]) << 20, .rlim_max = RLIM_INFINITY};
    if (setrlimit(RLIMIT_AS, &limit)) return 3;
    size_t size = cnn_memory_needed(1, CNN_TRAIN | CNN_EVALUATE);
    void *memory = malloc(size), *more = malloc((size_t)40 << 20);
    cnn *h = NULL;
    if (!memory || more) return 3; /* the limit holds */
    cnn_status s = cnn_create(memory, size, 1, CNN_TRAIN | CNN_EVALUATE, &h);
    if (!s) s = train(h, argv[1]);
    if (s) fprintf(stderr, "%s\n", cnn_error(h));
    printf("the model needs %zu bytes; the process had %ld KiB at most\n", size, peak_kib());
    cnn_close(h);
    free(memory);
    return (int)s;
}
