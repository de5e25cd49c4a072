/* What a run's folder says of the run, from a session (runtime/train/describe.h). */
#include "driver/session/session.h"

#include "base/version.h"

const char *session_sources(Session *s, VmUsedFile **used, int *n) {
    const char *text = "", *x;
    bool library;
    *used = ARENA_ARRAY(s->arena, VmUsedFile, fe_nfile(s->exp) + 1);
    *n = 0;
    for (int i = 0; i < fe_nfile(s->exp); i++) {
        const char *path = fe_file(s->exp, i, &x, &library);
        if (library) continue;
        text = x;
        (*used)[(*n)++] = (VmUsedFile){path, x};
    }
    if (*n) --*n; /* the main file follows those that it uses */
    return text;
}

VmStatus session_describe(Session *s, const SessionTrain *how, const VmRecipe *r,
                          const VmRunFile **file, int *n) {
    char folder[4096];
    VmUsedFile *used;
    VmDataQuery q = session_data_query(s->train, how->data, folder);
    VmRunFile *list = ARENA_ARRAY(s->arena, VmRunFile, 2);
    VmDescription d = {.command = how->command,
                       .ncommand = how->ncommand,
                       .file = s->path,
                       .source_commit = how->commit,
                       .weights = how->weights,
                       .version = vm_version,
                       .commit = vm_commit,
                       .llvm = vm_llvm_version,
                       .instructions = s->target->isa,
                       .threads = vm_threads(how->threads),
                       .model = s->model,
                       .phase = s->train->name,
                       .recipe = r,
                       .query = &q,
                       .classes = s->data[VM_TRAIN],
                       .train = s->train_set,
                       .held = s->held,
                       .test = s->data[VM_TEST]};
    d.source = session_sources(s, &used, &d.nused);
    d.used = used;
    d.nsetting = fe_config(s->exp, &d.name, &d.value);
    *file = list;
    *n = 2;
    return vm_describe(s->arena, &d, list) ? VM_OK : session_fail(s, VM_ENV, "out of memory");
}
