/* Where a built model meets data: opens it and refuses what the model cannot take. */
#include "trainer/model.h"

#include <string.h>

#include "base/clock.h"

VmDataQuery vm_model_query(const VmModel *m, const char *dir) {
    VmDataQuery q = vm_data_query(&m->built->recipe->data, dir);
    q.held_out = m->built->recipe->validation > 0;
    q.threads = vm_engine_threads(m->engine);
    q.cache_dir = m->cache_dir;
    if (m->about && m->about->nclasses) {
        q.class_name = m->about->classes;
        q.nclass_name = m->about->nclasses;
    }
    if (!vm_sources[q.kind].classes && vm_sources[q.kind].reader == VM_READER_idx)
        q.classes = m->built->classes > 0 ? m->built->classes : 0;
    return q;
}

static void warn(const VmModel *m, const char *text) {
    if (m->warn) m->warn(m->user, text);
}

/* What a user should know of data that is open. */
static void say_data(const VmModel *m) {
    const char *warning = NULL; /* the same of all */
    for (int i = 0; i < VM_SPLITS; i++)
        if (m->data[i]) warning = vm_dataset_warning(m->data[i]);
    if (warning) warn(m, warning);
    for (int i = 0; i < VM_SPLITS; i++) {
        const char *text = vm_dataset_left_out_said(m->arena, m->data[i], (VmSplit)i);
        if (text) warn(m, text);
    }
}

/* Class i of data that has names must be class i of what the model was built with. */
static VmStatus check_names(const VmModel *m, const VmDataset *d, VmError *err) {
    const VmBuilt *b = m->built;
    int64_t n = 0;
    while (vm_dataset_class(d, n)) n++;
    if (!n || !b->nclass_name || (m->about && m->about->nclasses)) return VM_OK;
    for (int64_t i = 0; i < n || i < b->nclass_name; i++) {
        const char *here = i < b->nclass_name ? b->class_name[i] : NULL;
        const char *there = i < n ? vm_dataset_class(d, i) : NULL;
        if (here && there && !strcmp(here, there)) continue;
        return vm_fail(err, VM_INPUT,
                       "the data has other classes than this program was built for: class %lld is "
                       "%s%s%s there, %s%s%s here (%lld and %lld classes)",
                       (long long)i, there ? "'" : "", there ? there : "none", there ? "'" : "",
                       here ? "'" : "", here ? here : "none", here ? "'" : "", (long long)n,
                       (long long)b->nclass_name);
    }
    return VM_OK;
}

static VmStatus check_split(const VmModel *m, const VmDataset *d, VmSplit split, VmError *err) {
    VmDataShape shape = vm_dataset_inputs(d);
    shape.name = arena_printf(m->arena, "the %s set of the data", vm_split_names[split]);
    shape.class_names = vm_dataset_class_list(m->arena, d, shape.classes);
    int at = 0;
    VmStatus s = vm_inputs_check(&m->inputs, &shape, &at, err);
    return s ? s : check_names(m, d, err);
}

VmStatus vm_model_data(VmModel *m, const char *dir, const VmModelWant *want, VmError *err) {
    VmDataQuery q = vm_model_query(m, dir);
    VmStatus s = VM_OK;
    double t0 = vm_seconds();
    q.files = want->files;
    vm_model_data_close(m);
    for (int i = 0; i < VM_SPLITS && !s; i++)
        if (want->split[i] && i != VM_VALIDATION) s = vm_dataset_find(&q, (VmSplit)i, err);
    if (!s) s = vm_dataset_open_some(&q, want->split, m->data, err);
    m->data_seconds += vm_seconds() - t0;
    if (s) return s;
    say_data(m);
    for (int i = 0; i < VM_SPLITS && !s; i++)
        if (m->data[i]) s = check_split(m, m->data[i], (VmSplit)i, err);
    return s;
}

VmStatus vm_model_hold_out(VmModel *m, int64_t seed, VmError *err) {
    double share = m->built->recipe->validation;
    m->train = m->data[VM_TRAIN];
    m->validation = m->data[VM_VALIDATION];
    if (!(share > 0) || !m->data[VM_TRAIN]) return VM_OK;
    VmStatus s =
        vm_dataset_hold_out(m->data[VM_TRAIN], share, (uint64_t)seed, &m->rest, &m->held, err);
    m->train = m->rest;
    m->validation = m->held;
    return s;
}

void vm_model_data_close(VmModel *m) {
    vm_dataset_close(m->rest);
    vm_dataset_close(m->held);
    m->rest = m->held = NULL;
    m->train = m->validation = NULL;
    for (int i = 0; i < VM_SPLITS; i++) {
        vm_dataset_close(m->data[i]);
        m->data[i] = NULL;
    }
}
