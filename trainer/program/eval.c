/* Loss and metrics of weights on a split of the data, and what was taken for what. */
#include "trainer/program/program.h"

#include <string.h>

#include "cli/results.h"

typedef struct Watcher {
    VmModel *m;
    Tally *tally;
    const VmDataset *data;
} Watcher;

static void hand_on(void *watcher, int program, int64_t first, int64_t n) {
    const Watcher *w = watcher;
    const VmTensor *t = vm_engine_tensor(w->m->engine, program, VM_OUTPUT_SCORES);
    if (!t) return;
    VmScores b = {.data = w->data,
                  .first = first,
                  .n = n,
                  .classes = t->dim[1],
                  .score = vm_engine_data(w->m->engine, program, VM_OUTPUT_SCORES)};
    tally_take(w->tally, &b);
}

static VmStatus choose(VmModel *m, const Args *a, const VmAbout *x, VmEvalSplit split,
                       const VmDataset **out, VmError *err) {
    int64_t seed = x->has_seed ? (int64_t)x->seed : m->built->recipe->seed;
    bool held = m->built->recipe->validation > 0, training = split == VM_EVAL_TRAIN;
    VmModelWant want = {.files = a->o.predictions != NULL};
    want.split[VM_TEST] = split == VM_EVAL_TEST;
    want.split[VM_TRAIN] = training || (split == VM_EVAL_VALIDATION && held);
    want.split[VM_VALIDATION] = split == VM_EVAL_VALIDATION && !held;
    VmStatus s = vm_model_data(m, a->o.data, &want, err);
    *out = m->data[VM_TEST];
    if (s || split == VM_EVAL_TEST) return s;
    s = vm_model_hold_out(m, seed, err);
    *out = training ? m->train : m->validation;
    if (s || *out) return s;
    return vm_fail(err, VM_USAGE,
                   "there are no images for validation: the recipe has no `validation = 0.1`, the "
                   "data no val/ beside test/");
}

static VmStatus evaluate(VmModel *m, const Args *a, VmEvalSplit split, Tally *t, VmEvalResult *r,
                         VmError *err) {
    VmTensorFile *f;
    VmAbout about;
    const char *shown;
    const VmDataset *data;
    VmStatus s = vm_model_weights_open(m, a->o.weights, &f, &shown, err);
    if (s) return s;
    s = vm_about_read(a->arena, f, shown, &about, err);
    m->about = &about;
    if (!s) s = vm_model_about_check(m, &about, a->o.anyway, err);
    if (!s) s = choose(m, a, &about, split, &data, err);
    int64_t batch = m->built->recipe->data.batch, size = s ? 0 : vm_dataset_size(data);
    if (size < batch) batch = size;
    int program = s ? -1 : vm_model_program(m, VM_BUILT_EVAL, batch, err);
    if (!s && program < 0) s = err->status;
    if (!s) s = vm_model_weights_take(m, program, f, shown, err);
    vm_tensors_close(f);
    Watcher w = {m, t, s ? NULL : data};
    VmEvaluation v = {.engine = m->engine,
                      .source = vm_model_source,
                      .user = m,
                      .data = w.data,
                      .batch = batch,
                      .watch = hand_on,
                      .watcher = &w};
    if (!s) s = vm_evaluate(&v, r, NULL, err);
    m->about = NULL;
    return s;
}

VmStatus program_eval(const Args *a) {
    VmModel m;
    VmEvalResult r;
    VmEvalSplit split;
    VmError err = {.text = ""};
    Tally t = {.arena = a->arena, .list = a->o.predictions != NULL};
    VmStatus s = cli_split(a, &split);
    if (!s) s = program_open(a, &m);
    if (s) return s;
    s = evaluate(&m, a, split, &t, &r, &err);
    if (s)
        program_fail(s, &err);
    else
        s = cli_print_eval(a, m.built->model, split, &r, &t);
    vm_model_close(&m);
    return s;
}
