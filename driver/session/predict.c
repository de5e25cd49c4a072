/* Classes of single images in a session: the model's programs and a file's weights, which are
 * loaded once and used as they were made (about.h), behind a classifier. */
#include "driver/session/about.h"

#include <string.h>

struct SessionPredictor {
    Session *s;
    SessionPredict how;
    VmTensorFile *file; /* open until its weights are in the engine */
    VmAbout about;
    VmClassifying classifying;
    VmClassifier *classifier;
};
typedef struct SessionPredictor Predictor;

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
        if (n->op == OP_input && n->out[0].type.rank == 4 && !p->classifying.input)
            p->classifying.input = ir_str(n, ATTR_input_name);
    p->classifying.classes = scores->type.dim[1];
    return p->classifying.input ? VM_OK : session_fail(s, VM_INPUT, "%s takes no images", s->model);
}

/* The program for n images, with the file's weights when it is the first. What a session has
 * computed before was done with others. */
static int program_for(void *predictor, int64_t n, VmError *err) {
    Predictor *p = predictor;
    Session *s = p->s;
    ProgramKind kind = KIND_EVAL;
    kind.scores = SCORES_ALONE;
    const Program *program = session_program(s, kind, n, false, err);
    if (!program) return -1;
    if (!p->file) return program->index;
    const char *weights = p->how.weights;
    VmStatus st =
        vm_weights_take(s->engine, program->index, p->file, weights, session_scope(s), err);
    if (!st) st = vm_weights_finite(s->engine, program->index, weights, err);
    if (st) return -1;
    vm_tensors_close(p->file);
    p->file = NULL;
    return program->index;
}

static VmStatus prepare(Predictor *p) {
    Session *s = p->s;
    char folder[4096];
    VmError err = {.text = ""};
    VmClassifying *c = &p->classifying;
    AboutUse use = p->how.anyway ? ABOUT_WARN : ABOUT_REFUSE;
    VmStatus st = find_input(p);
    if (!st) st = session_about_read(s, p->file, p->how.weights, &p->about);
    if (!st) st = session_about_settings(s, &p->about, use);
    if (!st) st = session_about_image(s, &p->about, use);
    if (!st && !session_preparation(s, &c->image))
        st = session_fail(s, VM_INPUT, "%s has no train block, which says how images are prepared",
                          s->model);
    if (!st) st = session_engine(s, vm_threads(p->how.threads));
    if (st) return st;
    c->engine = s->engine;
    c->program = program_for;
    c->user = p;
    c->query = session_data_query(s->train, NULL, folder);
    c->query.beside = NULL; /* nothing is looked up */
    c->batch = p->how.batch ? p->how.batch : s->batch;
    c->class_name = p->about.classes;
    c->nclass_name = p->about.nclasses;
    c->threads = vm_threads(p->how.threads);
    st = vm_classifier_open(s->arena, c, &p->classifier, &err);
    if (!st && p->how.ready && program_for(p, c->batch, &err) < 0) st = err.status;
    return st ? session_fail(s, st, "%s", err.text) : VM_OK;
}

VmStatus session_predictor_open(Session *s, const SessionPredict *how, SessionPredictor **out) {
    Predictor *p = *out = ARENA_NEW(s->arena, Predictor);
    *p = (Predictor){.s = s, .how = *how};
    p->how.weights = arena_strdup(s->arena, how->weights);
    VmStatus st = session_weights_open(s, p->how.weights, &p->file);
    return st ? st : prepare(p);
}

VmStatus session_predictor_run(SessionPredictor *p, const VmImageStream *from) {
    VmError err = {.text = ""};
    VmStatus st = vm_classifier_run(p->classifier, from, &err);
    return st ? session_fail(p->s, st, "%s", err.text) : VM_OK;
}

void session_predictor_close(SessionPredictor *p) {
    if (!p) return;
    vm_classifier_close(p->classifier);
    vm_tensors_close(p->file);
    *p = (Predictor){.s = NULL};
}

int64_t session_predictor_classes(const SessionPredictor *p) {
    return p->classifying.classes;
}

const char *session_predictor_class(const SessionPredictor *p, int64_t i) {
    return i < p->about.nclasses ? p->about.classes[i] : NULL;
}
