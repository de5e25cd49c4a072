/* A built model's programs: in an engine, by use and size. */
#include "trainer/model.h"

#include <string.h>

/* ---- programs -------------------------------------------------------------------------------- */

static const VmProgram *any_of(const VmBuilt *b, VmBuiltUse use) {
    for (int i = 0; i < b->nprogram; i++)
        if (b->program[i].use == use) return b->program[i].program;
    return NULL;
}

const char *vm_model_sizes(const VmModel *m, VmBuiltUse use) {
    char sizes[1024];
    return arena_strdup(m->arena, vm_built_sizes(m->built, use, sizes, sizeof sizes));
}

int64_t vm_model_size(const VmModel *m, VmBuiltUse use, int64_t images) {
    int64_t best = 0;
    for (int i = 0; i < m->built->nprogram; i++) {
        const VmBuiltProgram *p = &m->built->program[i];
        int64_t n = p->program->batch;
        if (p->use == use && n <= images && n > best) best = n;
    }
    return best;
}

int vm_model_program(VmModel *m, VmBuiltUse use, int64_t images, VmError *err) {
    int i = vm_built_find(m->built, use, images);
    if (i < 0) {
        (void)vm_built_lacks(m->built, use, images, err);
        return -1;
    }
    if (m->index[i] < 0) m->index[i] = vm_engine_add(m->engine, m->built->program[i].program, err);
    return m->index[i];
}

int vm_model_source(void *user, bool training, int64_t images, VmError *err) {
    VmModel *m = user;
    return vm_model_program(m, training ? VM_BUILT_TRAIN : m->evaluates, images, err);
}

/* ---- what it takes --------------------------------------------------------------------------- */

/* Any program has the model's inputs: those of steps are not the data's. */
static void find_inputs(VmModel *m) {
    const VmBuilt *b = m->built;
    const VmProgram *p = any_of(b, VM_BUILT_TRAIN);
    if (!p) p = any_of(b, VM_BUILT_EVAL);
    if (!p) p = b->program[0].program;
    VmTensor *list = ARENA_ARRAY(m->arena, VmTensor, p->ntensor);
    m->inputs =
        (VmModelInputs){.at = list,
                        .classes = b->classes,
                        .limit = arena_printf(m->arena, " but the logits of %s have", b->model)};
    for (int i = 0; i < p->ntensor; i++) {
        const VmTensor *t = &p->tensor[i];
        if (t->role != VM_ROLE_INPUT || !strcmp(t->name, VM_INPUT_STEP)) continue;
        list[m->inputs.n++] = *t;
        if (t->rank != 4 || t->dtype || m->input) continue;
        m->input = t->name;
        m->image = (VmPreparation){.channels = t->dim[1], .height = t->dim[2], .width = t->dim[3]};
    }
}

static void find_preparation(VmModel *m) {
    VmDataQuery q = vm_data_query(&m->built->recipe->data, NULL);
    m->image.resize = q.resize > 0;
    memcpy(m->image.mean, q.mean, sizeof q.mean);
    memcpy(m->image.std, q.std, sizeof q.std);
}

VmStatus vm_model_open(VmModel *m, const VmBuilt *b, int threads, VmError *err) {
    *m = (VmModel){.built = b, .arena = arena_create(), .evaluates = VM_BUILT_EVAL};
    if (b->abi != VM_ABI_VERSION)
        return vm_fail(err, VM_ENV, "built for version %d of the runtime, this is %d", b->abi,
                       VM_ABI_VERSION);
    VmStatus s = vm_built_check_cpu(b, err);
    if (s) return s;
    m->index = ARENA_ARRAY(m->arena, int, b->nprogram);
    for (int i = 0; i < b->nprogram; i++) m->index[i] = -1;
    find_inputs(m);
    find_preparation(m);
    return vm_engine_create(vm_threads(threads), &m->engine, err);
}

void vm_model_close(VmModel *m) {
    if (!m->arena) return;
    vm_model_data_close(m);
    vm_engine_destroy(m->engine);
    arena_destroy(m->arena);
    *m = (VmModel){0};
}
