/* Reads images in batches, has a program score them, and tells of each in its turn. */
#include "runtime/train/classify.h"

#include <stdlib.h>
#include <string.h>

/* A file in the order in which files came. */
typedef struct Entry {
    const char *path;
    const char *why; /* NULL: it is image `at` of the batch */
    VmStatus status;
    int64_t at;
} Entry;

struct VmClassifier {
    VmClassifying how;
    Arena *arena;
    int64_t size; /* numbers of an image */
    VmImageReader *reader;
    float *image;          /* [batch][size] */
    VmError *err;          /* [batch] */
    VmSingleImage *single; /* [batch] */
    const VmImageStream *from;
    Arena *own;           /* of the entries */
    Entry *entry;         /* of files that were read and not told of */
    int64_t nentry, room; /* room: of entries */
    double *probability;  /* of one image's classes */
    float *score;         /* [batch][classes] */
    bool end;
};

/* ---- images ---------------------------------------------------------------------------------- */

static void add_entry(VmClassifier *p, const char *path, const VmError *err, int64_t at) {
    if (p->nentry == p->room) {
        p->room = p->room ? 2 * p->room : 64;
        Entry *more = ARENA_ARRAY(p->own, Entry, p->room);
        if (p->nentry) memcpy(more, p->entry, (size_t)p->nentry * sizeof *more);
        p->entry = more;
    }
    p->entry[p->nentry++] = (Entry){.path = path,
                                    .at = at,
                                    .status = err->status,
                                    .why = err->status ? arena_strdup(p->own, err->text) : NULL};
}

/* Fills the batch with images that can be used; returns how many there are. */
static int64_t fill(VmClassifier *p) {
    int64_t n = 0;
    while (n < p->how.batch && !p->end) {
        int64_t want = 0, good = n;
        while (n + want < p->how.batch && !p->end) {
            p->single[want] = (VmSingleImage){.path = NULL};
            p->end = !p->from->next(p->from->user, &p->single[want]);
            want += !p->end;
        }
        vm_image_reader_read(p->reader, p->single, want, p->image + n * p->size, p->err);
        for (int64_t i = 0; i < want; i++) {
            add_entry(p, p->single[i].path, &p->err[i], good);
            if (p->err[i].status) continue;
            if (good != n + i)
                memcpy(p->image + good * p->size, p->image + (n + i) * p->size,
                       (size_t)p->size * sizeof(float));
            good++;
        }
        n = good;
    }
    return n;
}

static void tell(VmClassifier *p, const float *score) {
    for (int64_t i = 0; i < p->nentry; i++) {
        const Entry *e = &p->entry[i];
        if (!e->why) vm_softmax(score + e->at * p->how.classes, p->how.classes, p->probability);
        p->from->got(p->from->user, &(VmPredicted){.path = e->path,
                                                   .probability = e->why ? NULL : p->probability,
                                                   .classes = p->how.classes,
                                                   .class_name = p->how.class_name,
                                                   .nclass_name = p->how.nclass_name,
                                                   .why = e->why,
                                                   .status = e->status});
    }
    p->nentry = p->room = 0;
    arena_reset(p->own);
}

/* ---- the whole ------------------------------------------------------------------------------- */

/* Images first .. first + n - 1 of the batch. */
static VmStatus run_portion(VmClassifier *p, int64_t first, int64_t n, VmError *err) {
    const VmClassifying *how = &p->how;
    int program = how->program(how->user, n, err);
    if (program < 0) return err->status;
    void *to = vm_engine_data(how->engine, program, how->input);
    if (to) memcpy(to, p->image + first * p->size, (size_t)(n * p->size) * sizeof(float));
    vm_engine_run(how->engine, program, 0, 0);
    memcpy(p->score + first * how->classes, vm_engine_data(how->engine, program, VM_OUTPUT_SCORES),
           (size_t)(n * how->classes) * sizeof(float));
    return VM_OK;
}

static VmStatus run_batch(VmClassifier *p, int64_t n, VmError *err) {
    VmStatus s = VM_OK;
    for (int64_t at = 0, part; at < n && !s; at += part) {
        part = p->how.portion ? p->how.portion(p->how.user, n - at) : n - at;
        s = run_portion(p, at, part, err);
    }
    if (!s) tell(p, p->score);
    return s;
}

VmStatus vm_classifier_open(Arena *a, const VmClassifying *how, VmClassifier **out, VmError *err) {
    VmClassifier *p = *out = ARENA_NEW(a, VmClassifier);
    *p = (VmClassifier){.how = *how, .arena = a, .own = arena_create()};
    p->size = how->image.channels * how->image.height * how->image.width;
    VmDataQuery q = how->query;
    q.channels = how->image.channels;
    VmStatus s = vm_image_reader_open(&q, how->image.height, how->image.width, how->threads,
                                      &p->reader, err);
    if (s) return s;
    /* no pages for images that never come, as an arena's zeros would be */
    p->image = malloc((size_t)(how->batch * p->size) * sizeof(float));
    if (!p->image)
        return vm_fail(err, VM_ENV, "out of memory for %lld images", (long long)how->batch);
    p->err = ARENA_ARRAY(a, VmError, how->batch);
    p->single = ARENA_ARRAY(a, VmSingleImage, how->batch);
    p->probability = ARENA_ARRAY(a, double, how->classes);
    p->score = ARENA_ARRAY(a, float, how->batch * how->classes);
    return VM_OK;
}

VmStatus vm_classifier_run(VmClassifier *p, const VmImageStream *from, VmError *err) {
    VmStatus s = VM_OK;
    p->from = from;
    p->end = false;
    p->nentry = p->room = 0; /* those that a failure left */
    arena_reset(p->own);
    while (!s && !p->end) {
        int64_t n = fill(p);
        if (n)
            s = run_batch(p, n, err);
        else
            tell(p, NULL);
    }
    return s;
}

void vm_classifier_close(VmClassifier *p) {
    if (!p) return;
    vm_image_reader_close(p->reader);
    free(p->image);
    if (p->own) arena_destroy(p->own);
    p->reader = NULL;
    p->image = NULL;
    p->own = NULL;
}
