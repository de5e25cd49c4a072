/* The public functions: a session behind each handle, and every entrance a point to go on from when
 * memory is not there. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/recover.h"
#include "driver/session/session.h"

struct Vmoec {
    Session s;
    VmStatus status;
    const char *error;
    int threads;
    int64_t memory;
    VmTrainResult trained;
    VmoecMetric metric[VM_SPLITS][VM_MAX_METRICS]; /* of it */
    VmoecPredictor *predictor;                     /* NULL: none is open */
};

struct VmoecPredictor {
    Vmoec *v;
    SessionPredictor *own; /* NULL: memory ran out in a call */
    Arena *result;         /* what the last call gave */
    int64_t classes;
    const char **class_name; /* [classes], the session's */
};

static const char no_memory[] = "out of memory";

/* A call in progress: what came in, and what it ends with. */
typedef struct Call {
    Vmoec *v;
    const void *in;
    const char *weights, *data;
    void *out;
    VmStatus status;
} Call;

/* The predictor stays until it is closed, and can do nothing any more. */
static void empty(VmoecPredictor *p) {
    if (!p) return;
    session_predictor_close(p->own);
    if (p->result) arena_destroy(p->result);
    *p = (VmoecPredictor){.v = p->v};
}

/* What is whole is closed, then what was left on the way; messages are gone with it. */
static VmStatus give_up(Vmoec *v, VmRecover *point) {
    empty(v->predictor);
    session_close(&v->s);
    if (point) vm_recover_clear(point);
    v->error = no_memory;
    return v->status = VM_ENV;
}

/* Mistakes of ours are this session's while the call lasts. */
static VmStatus enter(Call *c, void (*work)(void *call)) {
    Vmoec *v = c->v;
    VmRecover point;
    VmBugReport before = vm_bug_set_report((VmBugReport){session_crash, &v->s});
    if (!vm_recover(&point, work, c))
        c->status = give_up(v, &point);
    else if (v->s.lost)
        c->status = give_up(v, NULL);
    (void)vm_bug_set_report(before);
    v->status = c->status;
    const char *said = v->s.messages.error;
    if (v->error != no_memory) v->error = !c->status ? "" : said ? said : "";
    return c->status;
}

/* ---- opening --------------------------------------------------------------------------------- */

void vmoec_options_init(VmoecOptions *o) {
    *o = (VmoecOptions){.size = sizeof *o};
}

static void open_file(void *call) {
    Call *c = call;
    const VmoecOptions *o = c->in;
    c->v->threads = o->threads;
    c->v->memory = o->memory;
    c->status = session_open(&c->v->s, o, false);
    if (!c->status && !session_graph(&c->v->s, c->v->s.batch)) c->status = VM_INPUT;
}

VmStatus vmoec_open(const VmoecOptions *o, Vmoec **out) {
    VmoecOptions all;
    vmoec_options_init(&all);
    if (o) memcpy(&all, o, o->size < sizeof all ? o->size : sizeof all);
    Vmoec *v = *out = calloc(1, sizeof **out);
    if (!v) return VM_ENV;
    v->error = "";
    return enter(&(Call){.v = v, .in = &all}, open_file);
}

void vmoec_close(Vmoec *v) {
    if (!v) return;
    VmBugReport before = vm_bug_set_report((VmBugReport){session_crash, &v->s});
    vmoec_predictor_close(v->predictor);
    session_close(&v->s);
    (void)vm_bug_set_report(before);
    free(v);
}

/* ---- messages -------------------------------------------------------------------------------- */

int vmoec_message_count(const Vmoec *v) {
    return v ? v->s.messages.n : 0;
}

const VmoecMessage *vmoec_message(const Vmoec *v, int i) {
    if (!v || i < 0) return NULL;
    const SessionMessage *x = v->s.messages.first;
    while (x && i--) x = x->next;
    return x ? &x->m : NULL;
}

VmStatus vmoec_status(const Vmoec *v) {
    return v ? v->status : VM_ENV;
}

const char *vmoec_error(const Vmoec *v) {
    return v ? v->error : no_memory;
}

const char *vmoec_model(const Vmoec *v) {
    return v ? v->s.model : NULL;
}

/* ---- training and evaluation ----------------------------------------------------------------- */

/* Whether there is a model to work with, and memory for its weights that nobody else uses. */
static bool is_free(Call *c) {
    Session *s = &c->v->s;
    if (!s->model)
        c->status = session_fail(s, VM_USAGE, "nothing was opened");
    else if (c->v->predictor)
        c->status = session_fail(s, VM_USAGE,
                                 "a predictor of this handle is open: close it first, or open the "
                                 "file another time");
    return !c->status;
}

/* And with a train block. */
static bool is_ready(Call *c) {
    Session *s = &c->v->s;
    if (is_free(c) && !s->train)
        c->status = session_fail(s, VM_INPUT, "%s has no train block for %s", s->path, s->model);
    return !c->status;
}

/* After memory was not there no call does anything. */
static bool is_lost(const Vmoec *v) {
    return !v || v->error == no_memory;
}

void vmoec_train_options_init(VmoecTrainOptions *o) {
    *o = (VmoecTrainOptions){.size = sizeof *o, .seed = -1};
}

static void train(void *call) {
    Call *c = call;
    Session *s = &c->v->s;
    const VmoecTrainOptions *o = c->in;
    if (!is_ready(c)) return;
    if (!o->out) {
        c->status = session_fail(s, VM_USAGE, "a run needs a folder");
        return;
    }
    SessionTrain how = {.data = o->data,
                        .weights = o->weights,
                        .rename = o->rename,
                        .skip_mismatch = o->skip_mismatch,
                        .place = {.out = o->out, .resume = o->resume, .overwrite = o->overwrite},
                        .seed = o->seed,
                        .epochs = o->epochs,
                        .steps = o->steps,
                        .log_every = o->log_every,
                        .threads = c->v->threads,
                        .memory = c->v->memory};
    c->status = session_train(s, &how, &c->v->trained);
}

/* room: [VM_MAX_METRICS]. */
static VmoecMeans means_of(const VmEvalResult *r, VmoecMetric *room) {
    for (int i = 0; i < r->nmetric; i++)
        room[i] = (VmoecMetric){r->metric[i].name, r->metric[i].value};
    return (VmoecMeans){r->images, r->images ? r->loss : NAN, room, r->nmetric};
}

static VmoecTrained trained_of(Vmoec *v) {
    const VmTrainResult *r = &v->trained;
    return (VmoecTrained){.train_loss = r->train.loss,
                          .train_accuracy = vm_metric(&r->train, "accuracy"),
                          .test_loss = r->test.loss,
                          .test_accuracy = vm_metric(&r->test, "accuracy"),
                          .steps = r->steps,
                          .seconds = r->seconds,
                          .weights = r->weights,
                          .metrics = r->metrics,
                          .train = means_of(&r->train, v->metric[VM_TRAIN]),
                          .validation = means_of(&r->validation, v->metric[VM_VALIDATION]),
                          .test = means_of(&r->test, v->metric[VM_TEST]),
                          .best_epoch = r->best_epoch,
                          .best_step = r->best_step,
                          .best_metric = r->best_metric,
                          .best_value = r->best_epoch ? r->best_value : NAN};
}

VmStatus vmoec_train(Vmoec *v, const VmoecTrainOptions *o, VmoecTrained *result) {
    VmoecTrainOptions all;
    vmoec_train_options_init(&all);
    if (o) memcpy(&all, o, o->size < sizeof all ? o->size : sizeof all);
    if (is_lost(v)) return VM_ENV;
    VmStatus st = enter(&(Call){.v = v, .in = &all}, train);
    if (result) *result = trained_of(v);
    return st;
}

static void evaluate(void *call) {
    Call *c = call;
    Session *s = &c->v->s;
    if (!is_ready(c)) return;
    if (!c->weights)
        c->status = session_fail(s, VM_USAGE, "an evaluation needs weights");
    else
        c->status = session_eval(
            s, &(SessionEval){.weights = c->weights, .data = c->data, .threads = c->v->threads},
            c->out);
}

VmStatus vmoec_eval(Vmoec *v, const char *weights, const char *data, VmoecEvaluated *result) {
    if (is_lost(v)) return VM_ENV;
    VmEvalResult r = {0};
    VmStatus st = enter(&(Call){.v = v, .weights = weights, .data = data, .out = &r}, evaluate);
    if (result)
        *result = (VmoecEvaluated){
            .images = r.images, .loss = r.loss, .accuracy = vm_metric(&r, "accuracy")};
    return st;
}

/* ---- classes of single images ---------------------------------------------------------------- */

void vmoec_predict_options_init(VmoecPredictOptions *o) {
    *o = (VmoecPredictOptions){.size = sizeof *o};
}

static void name_classes(VmoecPredictor *p) {
    Arena *a = p->v->s.arena;
    p->classes = session_predictor_classes(p->own);
    p->class_name = ARENA_ARRAY(a, const char *, p->classes);
    for (int64_t i = 0; i < p->classes; i++) {
        const char *name = session_predictor_class(p->own, i);
        p->class_name[i] = name ? name : arena_printf(a, "%lld", (long long)i);
    }
}

static VmStatus no_room(Vmoec *v) {
    v->error = "out of memory for a predictor";
    return v->status = VM_ENV;
}

static void open_predictor(void *call) {
    Call *c = call;
    Vmoec *v = c->v;
    const VmoecPredictOptions *o = c->in;
    if (!is_free(c)) return;
    if (!o->weights)
        c->status = session_fail(&v->s, VM_USAGE, "a prediction needs weights");
    else if (o->batch < 0)
        c->status = session_fail(&v->s, VM_USAGE, "a batch of %lld images", (long long)o->batch);
    if (c->status) return;
    v->predictor = c->out;
    SessionPredict how = {.weights = o->weights,
                          .threads = v->threads,
                          .anyway = o->anyway,
                          .batch = o->batch,
                          .ready = true};
    c->status = session_predictor_open(&v->s, &how, &v->predictor->own);
    if (c->status) return;
    v->predictor->result = arena_create();
    name_classes(v->predictor);
}

VmStatus vmoec_predictor_open(Vmoec *v, const VmoecPredictOptions *o, VmoecPredictor **out) {
    VmoecPredictOptions all;
    vmoec_predict_options_init(&all);
    if (o) memcpy(&all, o, o->size < sizeof all ? o->size : sizeof all);
    *out = NULL;
    if (is_lost(v)) return VM_ENV;
    VmoecPredictor *p = calloc(1, sizeof *p);
    if (!p) return no_room(v);
    p->v = v;
    VmStatus st = enter(&(Call){.v = v, .in = &all, .out = p}, open_predictor);
    if (!st)
        *out = p;
    else if (v->predictor == p)
        vmoec_predictor_close(p);
    else
        free(p);
    return st;
}

void vmoec_predictor_close(VmoecPredictor *p) {
    if (!p) return;
    p->v->predictor = NULL;
    empty(p);
    free(p);
}

int64_t vmoec_predictor_classes(const VmoecPredictor *p) {
    return p->classes;
}

const char *vmoec_predictor_class(const VmoecPredictor *p, int64_t i) {
    return i >= 0 && i < p->classes ? p->class_name[i] : NULL;
}

/* Images of a call on their way. */
typedef struct Images {
    VmoecPredictor *p;
    const VmoecImage *image;
    VmoecPrediction *out;
    int64_t n, asked, told;
} Images;

static bool next_image(void *images, VmSingleImage *to) {
    Images *x = images;
    if (x->asked == x->n) return false;
    const VmoecImage *i = &x->image[x->asked];
    const char *name = i->path;
    if (!name && i->pixels) name = arena_printf(x->p->result, "image %lld", (long long)x->asked);
    x->asked++;
    *to = (VmSingleImage){.path = name,
                          .pixels = i->pixels,
                          .height = i->height,
                          .width = i->width,
                          .channels = i->channels};
    return true;
}

static void got_image(void *images, const VmPredicted *g) {
    Images *x = images;
    Arena *a = x->p->result;
    VmoecPrediction *o = &x->out[x->told++];
    if (g->why) {
        *o = (VmoecPrediction){.status = g->status, .error = arena_strdup(a, g->why), .label = -1};
        return;
    }
    double *probability = ARENA_ARRAY(a, double, g->classes);
    int64_t best = 0;
    for (int64_t i = 0; i < g->classes; i++) {
        probability[i] = g->probability[i];
        if (probability[i] > probability[best]) best = i;
    }
    *o = (VmoecPrediction){.error = "", .label = best, .probability = probability};
}

static void predict(void *call) {
    Call *c = call;
    Images *x = c->out;
    arena_reset(x->p->result);
    c->status = session_predictor_run(x->p->own, &(VmImageStream){next_image, got_image, x});
}

VmStatus vmoec_predict(VmoecPredictor *p, const VmoecImage *image, int64_t n,
                       VmoecPrediction *out) {
    Images x = {.p = p, .image = image, .out = out, .n = n};
    VmStatus st = is_lost(p->v) ? VM_ENV : enter(&(Call){.v = p->v, .out = &x}, predict);
    for (int64_t i = 0; i < n && st; i++)
        out[i] = (VmoecPrediction){.status = st, .error = vmoec_error(p->v), .label = -1};
    return st;
}
