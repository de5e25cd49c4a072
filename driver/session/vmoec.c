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

/* What is whole is closed, then what was left on the way; messages are gone with it. */
static VmStatus give_up(Vmoec *v, VmRecover *point) {
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

/* Whether there is a model with a train block to work with. */
static bool is_ready(Call *c) {
    Session *s = &c->v->s;
    if (!s->model)
        c->status = session_fail(s, VM_USAGE, "nothing was opened");
    else if (!s->train)
        c->status = session_fail(s, VM_INPUT, "%s has no train block for %s", s->path, s->model);
    return s->model && s->train;
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

VmStatus vmoec_train(Vmoec *v, const VmoecTrainOptions *o, VmoecTrained *result) {
    VmoecTrainOptions all;
    vmoec_train_options_init(&all);
    if (o) memcpy(&all, o, o->size < sizeof all ? o->size : sizeof all);
    if (is_lost(v)) return VM_ENV;
    VmStatus st = enter(&(Call){.v = v, .in = &all}, train);
    const VmTrainResult *r = &v->trained;
    if (result)
        *result = (VmoecTrained){.train_loss = r->train.loss,
                                 .train_accuracy = vm_metric(&r->train, "accuracy"),
                                 .test_loss = r->test.loss,
                                 .test_accuracy = vm_metric(&r->test, "accuracy"),
                                 .steps = r->steps,
                                 .seconds = r->seconds,
                                 .weights = r->weights,
                                 .metrics = r->metrics};
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
