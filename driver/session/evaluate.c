/* Given weights on a whole split of the train block's data: loss, metrics and, to whoever looks,
 * every image's scores. Weights are used as they were made (about.h), and labels are theirs: class
 * folders are matched by name with the classes that the weights know. */
#include "driver/session/about.h"

#include <string.h>

typedef struct Watcher {
    Session *s;
    const SessionEval *how;
    const VmDataset *data;
} Watcher;

static int64_t columns_of(const VmProgram *p, const char *name) {
    for (int i = 0; i < p->ntensor; i++)
        if (p->tensor[i].role == VM_ROLE_OUTPUT && !strcmp(p->tensor[i].name, name))
            return p->tensor[i].dim[1];
    return 0;
}

static void hand_on(void *watcher, int program, int64_t first, int64_t n) {
    const Watcher *w = watcher;
    const Session *s = w->s;
    VmScores b = {.data = w->data, .first = first, .n = n};
    for (int i = 0; i < s->nprogram; i++)
        if (s->program[i]->index == program)
            b.classes = columns_of(s->program[i]->code, PASS_SCORES);
    b.score = b.classes ? vm_engine_data(s->engine, program, PASS_SCORES) : NULL;
    if (b.score) w->how->watch(w->how->watcher, &b);
}

/* What has to be opened for it: held out images are chosen from all of the training set. */
static DataWant splits_of(const Session *s, const SessionEval *how) {
    DataWant w = {.files = how->files};
    bool held_out = s->train->recipe.validation > 0;
    switch (how->split) {
    case VM_EVAL_TRAIN: w.split[VM_TRAIN] = true; break;
    case VM_EVAL_VALIDATION: w.split[held_out ? VM_TRAIN : VM_VALIDATION] = true; break;
    case VM_EVAL_TEST:
    case VM_EVAL_SPLITS: w.split[VM_TEST] = true;
    }
    return w;
}

/* The part of the data that is asked for. */
static VmStatus choose_split(Session *s, const SessionEval *how, uint64_t seed,
                             const VmDataset **out) {
    *out = s->data[VM_TEST];
    if (how->split == VM_EVAL_TEST) return VM_OK;
    VmRecipe r = s->train->recipe;
    r.seed = (int64_t)seed;
    VmStatus st = session_hold_out(s, &r);
    if (st) return st;
    *out = how->split == VM_EVAL_TRAIN ? s->train_set : s->validation;
    return *out ? VM_OK
                : session_fail(s, VM_USAGE,
                               "%s has no images for validation: its train block has no "
                               "`validation = 0.1`, its data no val/ beside test/",
                               s->path);
}

static VmStatus evaluate(Session *s, const SessionEval *how, const VmTensorFile *f,
                         const VmDataset *data, VmEvalResult *out) {
    VmStatus st = session_engine(s, vm_threads(how->threads));
    if (st) return st;
    VmError err = {.text = ""};
    int64_t size = vm_dataset_size(data), batch = s->batch < size ? s->batch : size;
    s->scores = how->watch ? SCORES_TOO : SCORES_UNSEEN;
    const Program *p = session_program(s, session_eval_kind(s), batch, false, &err);
    if (!p) return session_fail(s, err.status, "%s", err.text);
    st = vm_weights_take(s->engine, p->index, f, how->weights, session_scope(s), &err);
    if (!st) st = vm_weights_finite(s->engine, p->index, how->weights, &err);
    Watcher w = {s, how, data};
    VmFailure failure = {.kind = NULL};
    VmEvaluation v = {.engine = s->engine,
                      .source = session_source,
                      .user = s,
                      .data = data,
                      .batch = batch,
                      .watch = how->watch ? hand_on : NULL,
                      .watcher = &w,
                      .failure = &failure};
    if (!st) st = vm_evaluate(&v, out, NULL, &err);
    if (failure.kind) session_failed(s, &failure, NULL);
    return st ? session_fail_finding(s, &err) : VM_OK;
}

static VmStatus evaluate_file(Session *s, const SessionEval *how, const VmTensorFile *f,
                              VmEvalResult *out) {
    VmAbout about;
    Budget b = {0};
    AboutUse use = how->anyway ? ABOUT_WARN : ABOUT_REFUSE;
    const VmDataset *data;
    VmStatus st = session_about_read(s, f, how->weights, &about);
    if (!st) st = session_about_settings(s, &about, use);
    if (!st) st = session_about_image(s, &about, use);
    if (st) return st;
    DataWant want = splits_of(s, how);
    s->class_name = about.classes;
    s->nclass_name = about.nclasses;
    if (!s->nprogram) st = session_memory(s, &b, &want, how->data, how->threads);
    if (!st) st = session_data(s, how->data, how->threads, &want);
    if (!st)
        st = choose_split(s, how, about.has_seed ? about.seed : (uint64_t)s->train->recipe.seed,
                          &data);
    if (!st) st = evaluate(s, how, f, data, out);
    s->class_name = NULL;
    s->nclass_name = 0;
    return st;
}

VmStatus session_eval(Session *s, const SessionEval *how, VmEvalResult *out) {
    VmTensorFile *f;
    *out = (VmEvalResult){0};
    session_data_close(s);
    VmStatus st = session_weights_open(s, how->weights, &f);
    if (st) return st;
    st = evaluate_file(s, how, f, out);
    vm_tensors_close(f);
    return st;
}
