/* Serves batches: the order of an epoch, a step's place in it, augmenting, normalising, and making
 * batches ahead on workers while the model computes.
 *
 * A batch is made by one thread from the indices of its images, which are chosen under the lock in
 * the order of steps. Workers make it in a slot of their own; the caller gets a copy, because the
 * model's memory is in use while its step runs. Without workers it is made in place.
 *
 * Does not: know where images come from (dataset.c). */
#include "runtime/data/feed.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "runtime/data/image.h"

/* A batch that is being made, or is ready. */
typedef struct Slot {
    bool ready;
    int64_t *index; /* of its images */
    uint8_t *byte;  /* of one image, for augmentations, or as it is decoded */
    VmBatch batch;
    VmStatus status; /* of its making */
    VmError why;
} Slot;

struct VmFeed {
    VmFeedSpec spec;
    int64_t per_epoch, size;
    Slot *slot; /* [slots]: step s is in s % slots; with no workers, one for its indices */
    int slots;
    pthread_t *thread; /* [running] */
    int running;
    VmImageDecoder **decoder; /* [running], of images that are not held; NULL: all are */
    double waited;            /* seconds, by the caller */
    pthread_mutex_t lock;     /* of everything below, and of what slots are for */
    pthread_cond_t made, wanted;
    int64_t *order; /* of an epoch's images; NULL: as stored */
    int64_t order_epoch;
    int64_t next, given; /* the step that is made next; steps before `given` were given out */
    int making, began;   /* steps in the making; threads */
    bool closing;
};

/* ---- what a step holds ---- */

int64_t vm_feed_images(const VmFeed *f, int64_t step) {
    int64_t left = f->size - step % f->per_epoch * f->spec.batch;
    return left < f->spec.batch ? left : f->spec.batch;
}

/* By one thread at a time: an epoch's order is made when its first step is met. */
static void choose_images(VmFeed *f, int64_t step, int64_t *index) {
    int64_t epoch = step / f->per_epoch, at = step % f->per_epoch * f->spec.batch;
    int64_t n = vm_feed_images(f, step);
    if (f->order && f->order_epoch != epoch) {
        vm_dataset_shuffle(f->size, f->spec.seed, (uint64_t)epoch, f->order);
        f->order_epoch = epoch;
    }
    for (int64_t i = 0; i < n; i++) index[i] = f->order ? f->order[at + i] : at + i;
}

static int64_t pixels_of(const VmBatch *b) {
    return b->channels * b->height * b->width;
}

/* The bytes of an image after the augmentations of single images; NULL: it cannot be decoded. */
static const uint8_t *augmented(const VmFeed *f, Slot *s, VmImageDecoder *own, int64_t epoch,
                                int64_t image) {
    const VmFeedSpec *spec = &f->spec;
    const VmBatch *b = &s->batch;
    const uint8_t *stored = vm_dataset_fetch(spec->source, own, image, s->byte, &s->why);
    if (!spec->naugment || !stored) return stored;
    if (stored != s->byte) memcpy(s->byte, stored, (size_t)pixels_of(b));
    VmPixels p = {s->byte, b->channels, b->height, b->width};
    for (int i = 0; i < spec->naugment; i++) {
        const VmAugmentRule *rule = &spec->rules[spec->augment[i].kind];
        uint32_t key[2];
        vm_augment_key(spec->seed, i, epoch, image, key);
        if (rule->pixels) rule->pixels(&spec->augment[i], &p, key);
    }
    return s->byte;
}

static void augment_batch(const VmFeed *f, int64_t step, VmBatch *b) {
    const VmFeedSpec *spec = &f->spec;
    for (int i = 0; i < spec->naugment; i++) {
        const VmAugmentRule *rule = &spec->rules[spec->augment[i].kind];
        uint32_t key[2];
        vm_augment_key(spec->seed, i, step / f->per_epoch, step % f->per_epoch, key);
        if (rule->batch) rule->batch(&spec->augment[i], b, key);
    }
}

/* s: has the images' indices, and room for one image; its status becomes that of the batch. */
static void make(const VmFeed *f, int64_t step, Slot *s, VmImageDecoder *own, VmBatch *to) {
    const VmDataset *d = f->spec.source;
    int64_t pixels = pixels_of(&s->batch);
    to->images = vm_feed_images(f, step);
    s->status = VM_OK;
    for (int64_t i = 0; i < to->images; i++) {
        int64_t image = s->index[i];
        int32_t label = vm_dataset_label(d, image);
        const uint8_t *bytes = augmented(f, s, own, step / f->per_epoch, image);
        if (!bytes) {
            s->status = s->why.status;
            return;
        }
        vm_dataset_normalise(d, bytes, to->image + i * pixels);
        if (to->label) to->label[i] = label;
        if (!to->shares) continue;
        float *share = to->shares + i * to->classes;
        for (int64_t c = 0; c < to->classes; c++) share[c] = c == label ? 1 : 0;
    }
    augment_batch(f, step, to);
}

/* ---- workers ---- */

static bool may_make(const VmFeed *f) {
    return f->next < f->spec.end && f->next < f->given + f->slots;
}

static void *work(void *feed) {
    VmFeed *f = feed;
    pthread_mutex_lock(&f->lock);
    VmImageDecoder *own = f->decoder ? f->decoder[f->began++] : NULL;
    while (!f->closing) {
        if (!may_make(f)) {
            pthread_cond_wait(&f->wanted, &f->lock);
            continue;
        }
        int64_t step = f->next++;
        Slot *s = &f->slot[step % f->slots];
        s->ready = false;
        f->making++;
        choose_images(f, step, s->index);
        pthread_mutex_unlock(&f->lock);
        make(f, step, s, own, &s->batch);
        pthread_mutex_lock(&f->lock);
        s->ready = true;
        f->making--;
        pthread_cond_broadcast(&f->made);
    }
    pthread_mutex_unlock(&f->lock);
    return NULL;
}

/* Makes no step ahead but those from `step` on. */
static void seek(VmFeed *f, int64_t step) {
    f->next = f->spec.end; /* nothing new is begun */
    while (f->making > 0) pthread_cond_wait(&f->made, &f->lock);
    f->given = f->next = step;
    if (step >= f->spec.end) f->spec.end = step + 1; /* asked for all the same */
    for (int i = 0; i < f->slots; i++) f->slot[i].ready = false;
    pthread_cond_broadcast(&f->wanted);
}

static void copy_batch(const VmBatch *from, VmBatch *to) {
    size_t n = (size_t)from->images;
    to->images = from->images;
    memcpy(to->image, from->image, n * (size_t)pixels_of(from) * sizeof *to->image);
    if (to->label) memcpy(to->label, from->label, n * sizeof *to->label);
    if (to->shares)
        memcpy(to->shares, from->shares, n * (size_t)from->classes * sizeof *to->shares);
}

/* Waits for the batch that a worker makes. */
static Slot *made_ahead(VmFeed *f, int64_t step) {
    Slot *s = &f->slot[step % f->slots];
    pthread_mutex_lock(&f->lock);
    if (step != f->given) seek(f, step);
    while (!s->ready) pthread_cond_wait(&f->made, &f->lock);
    pthread_mutex_unlock(&f->lock);
    return s;
}

VmStatus vm_feed_batch(VmFeed *f, int64_t step, VmBatch *to, VmError *err) {
    double start = vm_seconds();
    Slot *s = &f->slot[step % f->slots];
    if (f->running == 0) {
        choose_images(f, step, s->index);
        make(f, step, s, NULL, to);
        f->waited += vm_seconds() - start;
        return VM_OK; /* of images that are held */
    }
    s = made_ahead(f, step);
    if (s->status) return vm_fail(err, s->status, "%s", s->why.text);
    copy_batch(&s->batch, to);
    pthread_mutex_lock(&f->lock);
    s->ready = false;
    f->given = step + 1;
    pthread_cond_broadcast(&f->wanted);
    pthread_mutex_unlock(&f->lock);
    f->waited += vm_seconds() - start;
    return VM_OK;
}

double vm_feed_waited(VmFeed *f) {
    double seconds = f->waited;
    f->waited = 0;
    return seconds;
}

int vm_feed_workers(bool held, int asked) {
    return held || asked > 0 ? asked : 1;
}

/* ---- beginning and end ---- */

static bool open_slot(VmFeed *f, Slot *s) {
    const VmFeedSpec *spec = &f->spec;
    VmBatch *b = &s->batch;
    size_t n = (size_t)spec->batch;
    vm_dataset_shape(spec->source, &b->channels, &b->height, &b->width, NULL);
    b->classes = spec->classes;
    s->index = vm_calloc(n, sizeof *s->index);
    s->byte = vm_calloc((size_t)pixels_of(b), 1);
    if (!spec->workers) return s->index && s->byte;
    b->image = vm_calloc(n * (size_t)pixels_of(b), sizeof(float));
    if (spec->label) b->label = vm_calloc(n, sizeof(int32_t));
    if (spec->classes) b->shares = vm_calloc(n * (size_t)spec->classes, sizeof(float));
    return s->index && s->byte && b->image && (b->label || !spec->label) &&
           (b->shares || !spec->classes);
}

static bool open_decoders(VmFeed *f) {
    if (vm_dataset_is_held(f->spec.source)) return true;
    f->decoder = vm_calloc((size_t)f->spec.workers, sizeof(VmImageDecoder *));
    bool ok = f->decoder != NULL;
    for (int i = 0; i < f->spec.workers && ok; i++)
        ok = (f->decoder[i] = vm_dataset_decoder(f->spec.source)) != NULL;
    return ok;
}

static VmStatus start_workers(VmFeed *f, VmError *err) {
    int why = 0, n = f->spec.workers;
    while (f->running < n && !why) {
        why = pthread_create(&f->thread[f->running], NULL, work, f);
        f->running += !why;
    }
    if (!why) return VM_OK;
    return vm_fail(
        err, VM_ENV,
        "cannot make %d threads that make batches ahead, only %d: %s (--workers asks for "
        "fewer)",
        n, f->running, strerror(why));
}

VmStatus vm_feed_open(VmFeed **out, const VmFeedSpec *spec, VmError *err) {
    VmFeed *f = *out = vm_calloc(1, sizeof *f);
    if (!f) return vm_fail(err, VM_ENV, "out of memory for batches");
    f->spec = *spec;
    f->spec.workers = vm_feed_workers(vm_dataset_is_held(spec->source), spec->workers);
    f->size = vm_dataset_size(spec->source);
    f->per_epoch = vm_feed_steps(f->size, spec->batch, spec->drop_last);
    f->order_epoch = -1;
    f->next = spec->end; /* the first batch says where to begin */
    f->given = -1;
    pthread_mutex_init(&f->lock, NULL);
    pthread_cond_init(&f->made, NULL);
    pthread_cond_init(&f->wanted, NULL);
    f->slots = f->spec.workers + 1; /* one is made while another waits to be taken */
    f->slot = vm_calloc((size_t)f->slots, sizeof *f->slot);
    f->thread = vm_calloc((size_t)f->spec.workers + 1, sizeof *f->thread);
    bool ok = f->slot && f->thread && open_decoders(f);
    if (spec->order == VM_ORDER_SHUFFLED) {
        f->order = vm_calloc((size_t)f->size, sizeof *f->order);
        ok = ok && f->order;
    }
    for (int i = 0; i < f->slots && ok; i++) ok = open_slot(f, &f->slot[i]);
    VmStatus s = ok ? start_workers(f, err) : vm_fail(err, VM_ENV, "out of memory for batches");
    if (!s) return VM_OK;
    vm_feed_close(f);
    *out = NULL;
    return s;
}

void vm_feed_close(VmFeed *f) {
    if (!f) return;
    pthread_mutex_lock(&f->lock);
    f->closing = true;
    pthread_cond_broadcast(&f->wanted);
    pthread_mutex_unlock(&f->lock);
    for (int i = 0; i < f->running; i++) pthread_join(f->thread[i], NULL);
    for (int i = 0; i < f->slots && f->slot; i++) {
        free(f->slot[i].index);
        free(f->slot[i].byte);
        free(f->slot[i].batch.image);
        free(f->slot[i].batch.label);
        free(f->slot[i].batch.shares);
    }
    for (int i = 0; i < f->spec.workers && f->decoder; i++)
        vm_dataset_decoder_close(f->spec.source, f->decoder[i]);
    free(f->decoder);
    pthread_cond_destroy(&f->made);
    pthread_cond_destroy(&f->wanted);
    pthread_mutex_destroy(&f->lock);
    free(f->slot);
    free(f->thread);
    free(f->order);
    free(f);
}
