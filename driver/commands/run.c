/* vmoec run: one evaluation on given tensors, every result in a file. This is how vmoec is compared
 * with other frameworks. */
#include "driver/commands/commands.h"
#include "driver/session/about.h"

#include <string.h>

typedef struct Run {
    Session s;
    ProgramKind kind;
    VmTensorFile *inputs, *weights;
    int64_t batch;
    Text problems; /* what is wrong with the inputs, one line each */
    int nproblems;
    const char **missing; /* [nmissing]: inputs that the file lacks */
    int nmissing;
} Run;

static IrType view_type(const VmTensorView *v) {
    return ir_type(v->dtype ? DT_i32 : DT_f32, v->rank, v->dim);
}

static void problem(Run *r, const char *text) {
    if (r->nproblems++ < 5) text_addf(&r->problems, "\n       %s", text);
}

/* "which m takes as f32[B,8]", for a message; "" when the model cannot be built for its usual
 * batch. */
static const char *wanted(Run *r, const char *name) {
    const IrGraph *g = session_graph(&r->s, r->s.batch);
    const IrNode *n = g ? ir_find_leaf(g, OP_input, name) : NULL;
    if (!n) return "";
    return arena_printf(r->s.arena, ", which %s takes as %s", r->s.model,
                        ir_type_text(r->s.arena, &n->out[0].type));
}

/* The leading dimension of the file's tensor for the model's first input: known before the model is
 * built, which may be possible for some batches only. */
static VmStatus find_batch(Run *r, const char *path) {
    const char *name = fe_model_input(r->s.exp, r->s.model, 0);
    if (!name) return drv_fail(VM_INPUT, "%s has no inputs", r->s.model);
    const VmTensorView *v = vm_tensors_find(r->inputs, name);
    if (!v) return drv_fail(VM_INPUT, "%s has no tensor %s%s", path, name, wanted(r, name));
    if (v->rank < 1 || v->dim[0] < 1 || v->dim[0] > 65536)
        return drv_fail(VM_INPUT, "%s: %s must have 1 to 65536 images as its leading dimension",
                        path, name);
    r->batch = v->dim[0];
    return VM_OK;
}

static void check_classes(Run *r, const IrGraph *g, const char *name, const VmTensorView *v) {
    int64_t classes = session_classes(g, name);
    const int32_t *label = v->data;
    int64_t n = 1;
    for (int i = 0; i < v->rank; i++) n *= v->dim[i];
    for (int64_t i = 0; classes && i < n; i++) {
        if (label[i] >= 0 && label[i] < classes) continue;
        problem(r, arena_printf(r->s.arena, "%s[%lld] is %d, but there are %lld classes", name,
                                (long long)i, label[i], (long long)classes));
        return;
    }
}

static void check_input(Run *r, const IrGraph *g, const IrNode *n) {
    const char *name = ir_str(n, ATTR_input_name);
    const char *want = ir_type_text(r->s.arena, &n->out[0].type);
    const VmTensorView *v = vm_tensors_find(r->inputs, name);
    if (!v) {
        r->missing[r->nmissing++] = name;
        return;
    }
    IrType have = view_type(v);
    if (!ir_type_equal(&have, &n->out[0].type))
        problem(r, arena_printf(r->s.arena, "%s is %s but the model takes %s", name,
                                ir_type_text(r->s.arena, &have), want));
    else if (have.dtype == DT_i32)
        check_classes(r, g, name, v);
}

/* Inputs that no result needs, such as a label that only the loss reads, may be missing. Gradients
 * are of the loss and need all. */
static void check_missing(Run *r, const IrGraph *g) {
    if (!r->nmissing) return;
    bool some = r->kind.pipe != PIPE_GRAD &&
                session_keep_given(ir_graph_clone(r->s.arena, g), r->missing, r->nmissing) > 0;
    for (int i = 0; i < r->nmissing && !some; i++) {
        const IrNode *n = ir_find_leaf(g, OP_input, r->missing[i]);
        problem(r, arena_printf(r->s.arena, "missing: %s %s", r->missing[i],
                                ir_type_text(r->s.arena, &n->out[0].type)));
    }
    r->s.missing = r->missing;
    r->s.nmissing = r->nmissing;
}

static VmStatus check_inputs(Run *r, const IrGraph *g, const char *path) {
    r->problems = text_new(r->s.arena);
    r->missing = ARENA_ARRAY(r->s.arena, const char *, g->nnodes);
    IR_FOR (n, g) {
        if (n->op == OP_input) check_input(r, g, n);
    }
    check_missing(r, g);
    for (int i = 0; i < vm_tensors_count(r->inputs); i++) {
        const char *name = vm_tensors_at(r->inputs, i)->name;
        if (!ir_find_leaf(g, OP_input, name))
            problem(r, arena_printf(r->s.arena, "%s is not an input of the model", name));
    }
    if (!r->nproblems) return VM_OK;
    if (r->nproblems > 5) text_addf(&r->problems, "\n       and %d more", r->nproblems - 5);
    return drv_fail(VM_INPUT, "the inputs in %s do not fit %s:%s", path, r->s.model,
                    r->problems.data);
}

static void copy_inputs(Run *r, int program) {
    for (int i = 0; i < vm_tensors_count(r->inputs); i++) {
        const VmTensorView *v = vm_tensors_at(r->inputs, i);
        void *to = vm_engine_data(r->s.engine, program, v->name);
        IrType t = view_type(v);
        if (to)
            memcpy(to, v->data, (size_t)ir_elems(&t) * 4); /* NULL: nothing in the model uses it */
    }
}

static VmStatus write_outputs(Run *r, const Program *p, const char *path) {
    VmTensorView *out = ARENA_ARRAY(r->s.arena, VmTensorView, p->code->ntensor + 1);
    int n = 0;
    for (int i = 0; i < p->code->ntensor; i++) {
        const VmTensor *t = &p->code->tensor[i];
        if (t->role < VM_ROLE_OUTPUT) continue;
        VmTensorView *v = &out[n++];
        *v = (VmTensorView){.name = t->name, .dtype = t->dtype, .rank = t->rank};
        memcpy(v->dim, t->dim, sizeof v->dim);
        v->data = vm_engine_address(r->s.engine, p->index, t); /* an input may have its name */
    }
    VmError err = {.text = ""};
    VmStatus st = vm_tensors_write(path, out, n, NULL, 0, &err);
    return st ? drv_fail(st, "%s", err.text) : VM_OK;
}

static VmStatus open_weights(Run *r, const Args *a) {
    VmAbout about;
    Session *s = &r->s;
    VmStatus st = session_weights_open(s, a->o.weights, &r->weights);
    if (st) return st;
    st = session_about_read(s, r->weights, a->o.weights, &about);
    if (st) return st;
    return session_about_settings(s, &about, a->o.anyway ? ABOUT_WARN : ABOUT_REFUSE);
}

static VmStatus run(Run *r, const Args *a) {
    const char *path = a->o.inputs;
    VmError err = {.text = ""};
    VmStatus st = vm_tensors_open(path, &r->inputs, &err);
    if (st) return drv_fail(st, "%s", err.text);
    st = find_batch(r, path);
    if (!st) st = open_weights(r, a);
    if (st) return st;
    const IrGraph *g = session_graph(&r->s, r->batch);
    if (!g) return VM_INPUT;
    st = check_inputs(r, g, path);
    if (st) return st;
    if (r->kind.pipe == PIPE_GRAD && !session_has_loss(g))
        return drv_fail(VM_INPUT, "%s has no loss to differentiate", r->s.model);
    st = session_engine(&r->s, vm_threads((int)opt_or(a->o.threads, 0)));
    if (st) return st;
    const Program *p = session_program(&r->s, r->kind, r->batch, a->o.routes, &err);
    if (!p) return drv_fail(err.status, "%s", err.text);
    st = vm_weights_take(r->s.engine, p->index, r->weights, a->o.weights, session_scope(&r->s),
                         &err);
    if (st) return drv_fail(st, "%s", err.text);
    copy_inputs(r, p->index);
    vm_engine_run(r->s.engine, p->index, (uint64_t)opt_or(a->o.seed, 0), 0);
    return write_outputs(r, p, a->o.outputs);
}

VmStatus cmd_run(const Args *a) {
    VmStatus st = args_require(a, OPT_weights);
    if (!st) st = args_require(a, OPT_inputs);
    if (!st) st = args_require(a, OPT_outputs);
    if (st) return st;
    const char *mode = a->o.mode;
    if (mode && strcmp(mode, "train") && strcmp(mode, "eval"))
        return drv_fail(VM_USAGE, "--mode is train or eval, not '%s'", mode);
    Run r = {.kind = {.pipe = a->o.grad ? PIPE_GRAD : PIPE_EVAL,
                      .training = mode && !strcmp(mode, "train"),
                      .input_grads = a->o.grad}};
    st = drv_open(a, false, &r.s);
    if (st) return st;
    st = run(&r, a);
    vm_tensors_close(r.inputs);
    vm_tensors_close(r.weights);
    session_close(&r.s);
    return st;
}
