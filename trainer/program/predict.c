/* The classes of images, by their files. */
#include "trainer/program/program.h"

#include "cli/results.h"

typedef struct Predict {
    const Args *a;
    VmModel m;
    VmTensorFile *file; /* open until its weights are in the engine */
    const char *shown;
} Predict;

static int program_for(void *user, int64_t images, VmError *err) {
    Predict *p = user;
    int program = vm_model_program(&p->m, VM_BUILT_PREDICT, images, err);
    if (program < 0 || !p->file) return program;
    VmStatus s = vm_model_weights_take(&p->m, program, p->file, p->shown, err);
    vm_tensors_close(p->file);
    p->file = NULL;
    return s ? -1 : program;
}

/* What there is a program for. */
static int64_t portion(void *user, int64_t images) {
    const Predict *p = user;
    int64_t n = vm_model_size(&p->m, VM_BUILT_PREDICT, images);
    return n ? n : images;
}

static int64_t classes_of(const VmBuilt *b) {
    for (int i = 0; i < b->nprogram; i++) {
        const VmProgram *p = b->program[i].program;
        for (int k = 0; b->program[i].use == VM_BUILT_PREDICT && k < p->ntensor; k++)
            if (p->tensor[k].role == VM_ROLE_OUTPUT) return p->tensor[k].dim[1];
    }
    return 0;
}

static VmStatus prepare(Predict *p, VmClassifying *c, VmError *err) {
    VmModel *m = &p->m;
    const VmBuilt *b = m->built;
    VmAbout about;
    *c = (VmClassifying){.engine = m->engine,
                         .program = program_for,
                         .portion = portion,
                         .user = p,
                         .input = m->input,
                         .image = m->image,
                         .query = vm_model_query(m, NULL),
                         .batch = vm_model_size(m, VM_BUILT_PREDICT, INT64_MAX),
                         .classes = classes_of(b),
                         .class_name = b->class_name,
                         .nclass_name = b->nclass_name,
                         .threads = vm_engine_threads(m->engine)};
    if (!c->classes || !m->input)
        return vm_fail(err, VM_INPUT, "%s scores no classes of images", b->model);
    VmStatus s = vm_model_weights_open(m, p->a->o.weights, &p->file, &p->shown, err);
    if (s) return s;
    s = vm_about_read(p->a->arena, p->file, p->shown, &about, err);
    if (s) return s;
    if (about.nclasses) {
        c->class_name = about.classes;
        c->nclass_name = about.nclasses;
    }
    return vm_model_about_check(m, &about, p->a->o.anyway, err);
}

static VmStatus classify(void *user, const VmImageStream *images) {
    Predict *p = user;
    VmClassifying how;
    VmClassifier *c = NULL;
    VmError err = {.text = ""};
    VmStatus s = prepare(p, &how, &err);
    if (!s) s = vm_classifier_open(p->a->arena, &how, &c, &err);
    if (!s) s = vm_classifier_run(c, images, &err);
    vm_classifier_close(c);
    vm_tensors_close(p->file);
    return s ? program_fail(s, &err) : VM_OK;
}

VmStatus program_predict(const Args *a) {
    Predict p = {.a = a};
    VmStatus s = cli_predict_check(a, 0);
    if (!s) s = program_open(a, &p.m);
    if (s) return s;
    s = cli_predict(a, 0, classify, &p);
    vm_model_close(&p.m);
    return s;
}
