/* Trains with the library `tiny` and saves its weights, in one of several ways that have to come to
 * the same bits as `vmoec train`.
 *
 *   train HOW THREADS DATA OUT      HOW: epochs   whole epochs, filled when they are asked for
 *                                        steps    batch by batch
 *                                        breaks   saved, and gone on with by another handle, in the
 *                                                 middle of epochs, through memory and files
 * It prints what evaluations say: "loss accuracy" of the test set after every epoch. */
#include <math.h>
#include <string.h>
#include <sys/mman.h>

#include "tests/build_lib/idx.h"
#include <tiny.h>

typedef struct Data {
    Set set;
    int64_t *order; /* NULL: as stored */
    int64_t left;   /* batches until it breaks off; -1: it does not */
} Data;

typedef struct Handle {
    tiny *h;
    void *memory;
    size_t size; /* of all that was mapped */
} Handle;

static void must(tiny_status s, const tiny *h, const char *what) {
    if (!s) return;
    fprintf(stderr, "%s: %d: %s\n", what, (int)s, tiny_error(h));
    exit(1);
}

/* In memory of exactly what is needed, full of dirt, which a page that nobody may touch follows. */
static Handle make(int threads) {
    size_t size = tiny_memory_needed(threads, 0), page = 4096, room = (size / page + 1) * page;
    Handle x = {NULL, NULL, room + page};
    x.memory = mmap(NULL, x.size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (x.memory == MAP_FAILED || mprotect((char *)x.memory + room, page, PROT_NONE)) exit(3);
    char *at = (char *)x.memory + room - size;
    memset(x.memory, 0x5a, room);
    must(tiny_create(at, size, threads, 0, &x.h), x.h, "create");
    for (char *p = x.memory; p < at; p++)
        if (*p != 0x5a) exit(1);
    return x;
}

static void drop(Handle *x) {
    tiny_close(x->h);
    munmap(x->memory, x->size);
}

static int fill(void *user, const tiny_batch *to) {
    Data *d = user;
    if (!d->left) return 7;
    d->left--;
    for (int64_t i = 0; i < to->images; i++) {
        int64_t from = d->order ? d->order[to->first + i] : to->first + i;
        tiny_pixels(d->set.image + from * d->set.size, 1, to->image + i * d->set.size);
        to->label[i] = d->set.label[from];
    }
    return 0;
}

static void epoch_in_steps(tiny *h, Data *d) {
    float *image = malloc((size_t)(TINY_BATCH * d->set.size) * sizeof *image);
    int32_t label[TINY_BATCH];
    for (int64_t at = 0; at < d->set.images; at += TINY_BATCH) {
        int64_t n = d->set.images - at < TINY_BATCH ? d->set.images - at : TINY_BATCH;
        tiny_batch b = {0, 0, at, n, image, label};
        (void)fill(d, &b);
        must(tiny_step(h, image, label, n), h, "step");
        if (!isfinite(tiny_loss(h))) exit(1);
    }
    free(image);
}

/* After every few steps a new handle goes on with what the one before has saved. */
static void epoch_with_breaks(Handle *x, int threads, Data *d, const char *out) {
    char path[4096];
    snprintf(path, sizeof path, "%s.part", out);
    for (int round = 0;; round++) {
        d->left = 1 + round % 3;
        int64_t before = tiny_steps(x->h);
        tiny_status s = tiny_epoch(x->h, fill, d, NULL);
        if (!s) break;
        if (s != TINY_USAGE || tiny_steps(x->h) != before + 1 + round % 3) must(s, x->h, "break");
        Handle next = make(threads);
        size_t size;
        must(tiny_save_memory(x->h, NULL, 0, 1, &size), x->h, "size");
        void *bytes = malloc(size);
        if (round % 2) {
            must(tiny_save(x->h, path, 1), x->h, "save");
            must(tiny_load(next.h, path), next.h, "load");
        } else {
            must(tiny_save_memory(x->h, bytes, size, 1, &size), x->h, "save_memory");
            must(tiny_load_memory(next.h, bytes, size), next.h, "load_memory");
        }
        free(bytes);
        drop(x);
        *x = next;
    }
    d->left = -1;
    remove(path);
}

int main(int argc, char **argv) {
    if (argc != 5) return 2;
    int threads = atoi(argv[2]);
    Data train = {idx_read(argv[3], "train"), NULL, -1},
         test = {idx_read(argv[3], "t10k"), NULL, -1};
    Handle x = make(threads);
    train.order = malloc((size_t)train.set.images * sizeof(int64_t));
    must(tiny_init(x.h, -1, train.set.images), x.h, "init");
    for (int64_t epoch = 0; tiny_steps(x.h) < tiny_all_steps(x.h); epoch++) {
        tiny_result r;
        must(tiny_order(x.h, epoch, train.order, train.set.images), x.h, "order");
        if (!strcmp(argv[1], "epochs")) {
            must(tiny_epoch(x.h, fill, &train, &r), x.h, "epoch");
            printf("%.17g %.17g ", r.loss, r.metric[0]);
        } else if (!strcmp(argv[1], "steps")) {
            epoch_in_steps(x.h, &train);
        } else {
            epoch_with_breaks(&x, threads, &train, argv[4]);
        }
        must(tiny_evaluate_all(x.h, test.set.images, fill, &test, &r), x.h, "evaluate");
        printf("%.17g %.17g\n", r.loss, r.metric[0]);
    }
    must(tiny_save(x.h, argv[4], 0), x.h, "save");
    drop(&x);
    free(train.order);
    idx_free(&train.set);
    idx_free(&test.set);
    return 0;
}
