/* A built model's run of training: the same as the compiler's, from the program's own constants. */
#include "trainer/model.h"

#include <string.h>

#include "base/clock.h"
#include "base/version.h"
#include "runtime/train/describe.h"

static VmRecipe recipe_of(const VmModel *m, const VmModelRun *how) {
    VmRecipe r = *m->built->recipe;
    if (how->seed >= 0) r.seed = how->seed;
    if (how->log_every) r.log_every = how->log_every;
    if (how->epochs) r.epochs = (VmSpan){(double)how->epochs, false};
    if (how->steps) r.epochs = (VmSpan){(double)how->steps, true};
    return r;
}

static VmSubject subject_of(const VmModel *m) {
    const VmBuilt *b = m->built;
    return (VmSubject){.phase = b->phase,
                       .graph = b->graph,
                       .config_name = b->setting,
                       .config_value = b->value,
                       .nconfig = b->nsetting,
                       .instructions = b->instructions,
                       .version = vm_version,
                       .parameters = b->parameters,
                       .compiler = b->compiler};
}

static VmStatus about(const VmModel *m, int64_t seed, VmPairs *out, VmError *err) {
    const VmBuilt *b = m->built;
    VmMaking making = {.version = vm_version,
                       .model = b->model,
                       .name = b->setting,
                       .value = b->value,
                       .nsetting = b->nsetting,
                       .image = m->input ? &m->image : NULL,
                       .train = m->data[VM_TRAIN],
                       .seed = seed};
    return vm_about_write(m->arena, &making, out) ? VM_OK : vm_fail(err, VM_ENV, "out of memory");
}

static VmStatus describe(VmModel *m, const VmModelRun *how, const VmRecipe *r, VmRunFile file[2],
                         VmError *err) {
    const VmBuilt *b = m->built;
    VmDataQuery q = vm_model_query(m, how->data);
    VmUsedFile *used = ARENA_ARRAY(m->arena, VmUsedFile, b->nused + 1);
    for (int i = 0; i < b->nused; i++) used[i] = (VmUsedFile){b->used[i].path, b->used[i].text};
    VmDescription d = {.command = how->command,
                       .ncommand = how->ncommand,
                       .file = b->file,
                       .source = b->source,
                       .source_commit = b->source_commit,
                       .used = used,
                       .nused = b->nused,
                       .weights = how->weights,
                       .version = vm_version,
                       .commit = vm_commit,
                       .llvm = vm_llvm_version,
                       .instructions = b->instructions,
                       .model = b->model,
                       .phase = b->phase,
                       .threads = vm_engine_threads(m->engine),
                       .name = b->setting,
                       .value = b->value,
                       .nsetting = b->nsetting,
                       .recipe = r,
                       .query = &q,
                       .classes = m->data[VM_TRAIN],
                       .train = m->train,
                       .held = m->held,
                       .test = m->data[VM_TEST]};
    return vm_describe(m->arena, &d, file) ? VM_OK : vm_fail(err, VM_ENV, "out of memory");
}

/* Which every run records: a part of what data costs. */
static void hash_data(VmModel *m) {
    const VmDataset *set[] = {m->train, m->validation, m->data[VM_TEST]};
    double t0 = vm_seconds();
    for (size_t i = 0; i < sizeof set / sizeof set[0]; i++)
        if (set[i]) (void)vm_dataset_fingerprint(set[i]);
    m->data_seconds += vm_seconds() - t0;
}

/* The file's fingerprint goes into the run's record, so all of it is read. */
static VmStatus start_from(VmModel *m, int program, const VmModelRun *how, VmSubject *subject,
                           VmError *err) {
    const char *shown = how->weights ? how->weights : "the weights inside";
    const VmBuilt *b = m->built;
    VmTensorFile *f = NULL;
    VmAbout x;
    VmStatus s = how->weights ? vm_tensors_open(how->weights, &f, err)
                              : vm_tensors_open_memory(b->weights, b->nweights, shown, &f, err);
    if (s) return s;
    s = vm_about_read(m->arena, f, shown, &x, err);
    if (!s) s = vm_model_about_check(m, &x, true, err); /* a second phase may mean it */
    if (!s) s = vm_model_weights_take(m, program, f, shown, err);
    char *fingerprint = arena_alloc(m->arena, 17);
    vm_tensors_fingerprint(f, fingerprint);
    subject->weights = fingerprint;
    vm_tensors_close(f);
    return s;
}

VmStatus vm_model_train(VmModel *m, const VmModelRun *how, VmTrainResult *out, VmError *err) {
    *out = (VmTrainResult){0};
    VmRecipe recipe = recipe_of(m, how);
    VmSubject subject = subject_of(m);
    VmRunFile file[2];
    VmRun run = how->run;
    m->evaluates = VM_BUILT_JUDGE;
    static const VmModelWant all = {.split = {true, true, true}};
    VmStatus s = vm_model_data(m, how->data, &all, err);
    if (!s) s = vm_model_hold_out(m, recipe.seed, err);
    if (!s) hash_data(m);
    if (!s) s = about(m, recipe.seed, &subject.about, err);
    if (!s) s = describe(m, how, &recipe, file, err);
    if (s) return s;
    run.file = file;
    run.nfile = 2;
    int64_t images = vm_dataset_size(m->train), batch = recipe.data.batch;
    int program = vm_model_program(m, VM_BUILT_TRAIN, batch < images ? batch : images, err);
    if (program < 0) return err->status;
    s = vm_engine_init(m->engine, (uint64_t)recipe.seed, err);
    bool inside = how->start_inside && m->built->nweights;
    if (!s && (how->weights || inside)) s = start_from(m, program, how, &subject, err);
    const VmTraining what = {&recipe, &subject, &run, m->train, m->validation, m->data[VM_TEST]};
    return s ? s : vm_train(m->engine, vm_model_source, m, &what, out, err);
}
