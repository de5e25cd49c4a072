/* Classes of single images: files or pixels, one after the other, through the model with a file's
 * weights, which are loaded once.
 * Images are prepared as evaluation prepares them, and weights used as they were made (about.h). */
#include "driver/session/about.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void session_softmax(const float *score, int64_t n, double *probability) {
    double most = -INFINITY, sum = 0;
    for (int64_t i = 0; i < n; i++)
        if ((double)score[i] > most) most = (double)score[i];
    for (int64_t i = 0; i < n; i++) sum += probability[i] = exp((double)score[i] - most);
    for (int64_t i = 0; i < n; i++) probability[i] /= sum;
}

/* A file in the order in which files came. */
typedef struct Entry {
    const char *path;
    const char *why; /* NULL: it is image `at` of the batch */
    VmStatus status;
    int64_t at;
} Entry;

struct SessionPredictor {
    Session *s;
    SessionPredict how;
    VmTensorFile *file; /* open until its weights are in the engine */
    VmAbout about;
    const char *input; /* name of the model's images */
    int64_t size, batch, classes;
    VmImageReader *reader;
    float *image;          /* [batch][size] */
    VmError *err;          /* [batch] */
    VmSingleImage *single; /* [batch] */
    const SessionImages *from;
    Arena *own;           /* of the entries */
    Entry *entry;         /* of files that were read and not told of */
    int64_t nentry, room; /* room: of entries */
    double *probability;  /* of one image's classes */
    bool end;
};
typedef struct SessionPredictor Predictor;

/* ---- the model ------------------------------------------------------------------------------- */

static VmStatus find_input(Predictor *p) {
    Session *s = p->s;
    const IrGraph *g = session_graph(s, s->batch);
    if (!g) return VM_INPUT;
    const IrValue *scores = pass_scores_of(g);
    if (!scores)
        return session_fail(s, VM_INPUT,
                            "%s scores no classes: nothing in it is compared with a label by "
                            "accuracy or cross_entropy",
                            s->model);
    IR_FOR (n, g)
        if (n->op == OP_input && n->out[0].type.rank == 4 && !p->input)
            p->input = ir_str(n, ATTR_input_name);
    p->classes = scores->type.dim[1];
    return p->input ? VM_OK : session_fail(s, VM_INPUT, "%s takes no images", s->model);
}

/* The program for n images, with the file's weights when it is the first. What a session has
 * computed before was done with others. */
static VmStatus program_for(Predictor *p, int64_t n, const Program **out) {
    Session *s = p->s;
    VmError err = {.text = ""};
    ProgramKind kind = KIND_EVAL;
    kind.scores = SCORES_ALONE;
    *out = session_program(s, kind, n, false, &err);
    if (!*out) return session_fail(s, err.status, "%s", err.text);
    if (!p->file) return VM_OK;
    const char *weights = p->how.weights;
    VmStatus st =
        vm_weights_take(s->engine, (*out)->index, p->file, weights, session_scope(s), &err);
    if (!st) st = vm_weights_finite(s->engine, (*out)->index, weights, &err);
    if (st) return session_fail(s, st, "%s", err.text);
    vm_tensors_close(p->file);
    p->file = NULL;
    return VM_OK;
}

/* ---- images ---------------------------------------------------------------------------------- */

static void add_entry(Predictor *p, const char *path, const VmError *err, int64_t at) {
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
static int64_t fill(Predictor *p) {
    int64_t n = 0;
    while (n < p->batch && !p->end) {
        int64_t want = 0, good = n;
        while (n + want < p->batch && !p->end) {
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

static void tell(Predictor *p, const float *score) {
    for (int64_t i = 0; i < p->nentry; i++) {
        const Entry *e = &p->entry[i];
        if (!e->why) session_softmax(score + e->at * p->classes, p->classes, p->probability);
        p->from->got(p->from->user,
                     &(SessionPredicted){.path = e->path,
                                         .probability = e->why ? NULL : p->probability,
                                         .classes = p->classes,
                                         .class_name = p->about.classes,
                                         .nclass_name = p->about.nclasses,
                                         .why = e->why,
                                         .status = e->status});
    }
    p->nentry = p->room = 0;
    arena_reset(p->own);
}

/* ---- the whole ------------------------------------------------------------------------------- */

static VmStatus run_batch(Predictor *p, int64_t n) {
    Session *s = p->s;
    const Program *program;
    VmStatus st = program_for(p, n, &program);
    if (st) return st;
    void *to = vm_engine_data(s->engine, program->index, p->input);
    if (to) memcpy(to, p->image, (size_t)(n * p->size) * sizeof(float));
    vm_engine_run(s->engine, program->index, 0, 0);
    tell(p, vm_engine_data(s->engine, program->index, PASS_SCORES));
    return VM_OK;
}

static VmStatus prepare(Predictor *p) {
    Session *s = p->s;
    char folder[4096];
    VmError err = {.text = ""};
    VmPreparation made;
    AboutUse use = p->how.anyway ? ABOUT_WARN : ABOUT_REFUSE;
    VmStatus st = find_input(p);
    if (!st) session_about_read(s, p->file, p->how.weights, &p->about);
    if (!st) st = session_about_settings(s, &p->about, use);
    if (!st) st = session_about_image(s, &p->about, use);
    if (!st && !session_preparation(s, &made))
        st = session_fail(s, VM_INPUT, "%s has no train block, which says how images are prepared",
                          s->model);
    if (!st) st = session_engine(s, vm_threads(p->how.threads));
    if (st) return st;
    p->batch = p->how.batch ? p->how.batch : s->batch;
    p->size = made.channels * made.height * made.width;
    VmDataQuery q = session_data_query(s->train, NULL, folder);
    q.channels = made.channels;
    st = vm_image_reader_open(&q, made.height, made.width, vm_threads(p->how.threads), &p->reader,
                              &err);
    if (st) return session_fail(s, st, "%s", err.text);
    /* no pages for images that never come, as an arena's zeros would be */
    p->image = malloc((size_t)(p->batch * p->size) * sizeof(float));
    if (!p->image)
        return session_fail(s, VM_ENV, "out of memory for %lld images", (long long)p->batch);
    p->err = ARENA_ARRAY(s->arena, VmError, p->batch);
    p->single = ARENA_ARRAY(s->arena, VmSingleImage, p->batch);
    p->probability = ARENA_ARRAY(s->arena, double, p->classes);
    const Program *program;
    return p->how.ready ? program_for(p, p->batch, &program) : VM_OK;
}

VmStatus session_predictor_open(Session *s, const SessionPredict *how, SessionPredictor **out) {
    Predictor *p = *out = ARENA_NEW(s->arena, Predictor);
    *p = (Predictor){.s = s, .how = *how, .own = arena_create()};
    p->how.weights = arena_strdup(s->arena, how->weights);
    VmStatus st = session_weights_open(s, p->how.weights, &p->file);
    return st ? st : prepare(p);
}

VmStatus session_predictor_run(SessionPredictor *p, const SessionImages *from) {
    VmStatus st = VM_OK;
    p->from = from;
    p->end = false;
    p->nentry = p->room = 0; /* those that a failure left */
    arena_reset(p->own);
    while (!st && !p->end) {
        int64_t n = fill(p);
        if (n)
            st = run_batch(p, n);
        else
            tell(p, NULL);
    }
    return st;
}

void session_predictor_close(SessionPredictor *p) {
    if (!p) return;
    vm_image_reader_close(p->reader);
    free(p->image);
    if (p->own) arena_destroy(p->own);
    vm_tensors_close(p->file);
    *p = (Predictor){.s = NULL};
}

int64_t session_predictor_classes(const SessionPredictor *p) {
    return p->classes;
}

const char *session_predictor_class(const SessionPredictor *p, int64_t i) {
    return i < p->about.nclasses ? p->about.classes[i] : NULL;
}
