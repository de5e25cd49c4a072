/* Elaboration of one model: its inputs, its body, its results. Holds the state of an elaboration
 * and the reporting of mistakes. Requires a loaded experiment; leaves it unchanged. */
#include "frontend/meaning/sema.h"
#include "base/spell.h"
#include "recipe/inputs.h"

#include <inttypes.h>
#include <string.h>

/* ---- reporting ------------------------------------------------------------------------------ */

static bool in_library(const Elab *E, const Source *src) {
    for (int i = 0; src && i < E->e->file.n; i++)
        if (E->e->file.at[i]->src == src) return E->e->file.at[i]->is_std;
    return false;
}

/* The argument of the call that f is, which this value was: its place, and its name in *param. */
static Span argument_place(const FeFrame *f, const FeValue *v, const char **param) {
    for (int i = 0; f->given && i < f->layer->ast->nparam; i++) {
        if (!f->given[i] || f->given[i]->value != v) continue;
        *param = f->layer->ast->param[i]->name;
        return f->given[i]->span;
    }
    return f->call;
}

Span elab_user_place(const Elab *E, Span s, const FeFrame **frame) {
    const FeFrame *f = E->frame;
    while (in_library(E, s.src) && f && f->call.src) {
        s = f->call;
        f = f->up;
    }
    *frame = f;
    return s;
}

/* cause: the value that is wrong, or NULL. */
static Diag *report(Elab *E, DiagLevel level, Span s, const FeValue *cause, DiagId id,
                    const char *text) {
    const FeFrame *f = E->frame;
    const char *param = NULL, *callee = NULL;
    Span at = s;
    if (level == DIAG_ERROR && diags_full(E->d)) return NULL;
    while (in_library(E, at.src) && f && f->call.src) {
        param = NULL;
        callee = f->name;
        at = cause ? argument_place(f, cause, &param) : f->call;
        f = f->up;
    }
    if (param) text = arena_printf(E->a, "`%s` of `%s`: %s", param, callee, text);
    int before = E->d->nerrors + E->d->nwarnings;
    Diag *dg = level == DIAG_ERROR ? diag_error(E->d, at, id, "%s", text)
                                   : diag_warning(E->d, at, id, "%s", text);
    if (E->d->nerrors + E->d->nwarnings == before) return NULL;
    if (at.src != s.src) diag_note(E->d, dg, s, "inside layer `%s`, here", E->frame->name);
    Span last = at;
    for (int i = 0; f && f->call.src && i < FE_MAX_NOTES; f = f->up) {
        bool same = f->call.src == last.src && f->call.start == last.start; /* recursion */
        last = f->call;
        if (same) continue;
        diag_note(E->d, dg, f->call, "in the layer `%s` that is called here", f->name);
        i++;
    }
    return dg;
}

Diag *sema_error(Elab *E, Span s, DiagId id, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    const char *text = arena_vprintf(E->a, fmt, ap);
    va_end(ap);
    E->failed = true;
    return report(E, DIAG_ERROR, s, NULL, id, text);
}

Diag *sema_error_of(Elab *E, const FeValue *cause, Span s, DiagId id, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    const char *text = arena_vprintf(E->a, fmt, ap);
    va_end(ap);
    E->failed = true;
    return report(E, DIAG_ERROR, s, cause, id, text);
}

Diag *sema_warning(Elab *E, Span s, DiagId id, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    const char *text = arena_vprintf(E->a, fmt, ap);
    va_end(ap);
    return report(E, DIAG_WARNING, s, NULL, id, text);
}

void sema_note_beside(Elab *E, Diag *to, Span s, const char *fmt, ...) {
    if (!to || !s.src || (s.src == to->span.src && s.start == to->span.start)) return;
    va_list ap;
    va_start(ap, fmt);
    const char *text = arena_vprintf(E->a, fmt, ap);
    va_end(ap);
    diag_note(E->d, to, s, "%s", text);
}

void sema_note(Elab *E, Diag *to, Span s, const char *fmt, ...) {
    if (!to || !s.src) return;
    va_list ap;
    va_start(ap, fmt);
    const char *text = arena_vprintf(E->a, fmt, ap);
    va_end(ap);
    diag_note(E->d, to, s, "%s", text);
}

IrLoc span_loc(Span s) {
    IrLoc l = {.file = s.src ? s.src->path : NULL};
    if (s.src) span_place(s, &l.line, &l.col);
    return l;
}

void elab_at(Elab *E, Span s) {
    E->b.loc = span_loc(s);
}

Elab elab_new(FeExperiment *e, Arena *a, Diags *d) {
    return (Elab){.e = e, .a = a, .d = d};
}

/* ---- inputs --------------------------------------------------------------------------------- */

static bool input_dim(Elab *E, const Ast *p, const Ast *dim, int64_t batch, bool *batch_bound,
                      int64_t *out) {
    bool name = dim->kind == AST_NAME;
    if (name && !strcmp(dim->name, "..")) {
        sema_error(E, dim->span, D_input_type, "an input needs all its dimensions");
        return false;
    }
    if (name && !scope_find(E->frame, dim->name) && !fe_find_config(E->e, dim->name)) {
        if (*batch_bound) {
            sema_error(
                E, dim->span, D_input_type,
                "dimension %s of `%s` is unknown: only the first dimension, the batch, may be free",
                dim->name, p->name);
            return false;
        }
        *batch_bound = true;
        scope_bind(E, E->frame->scope, dim->name, fv_int(E->a, batch, dim->span), dim->span,
                   "a dimension");
    }
    if (!eval_int(E, dim, "a dimension", out)) return false;
    if (*out >= 1) return true;
    sema_error(E, dim->span, D_input_type, "a dimension is at least 1, this is %" PRId64, *out);
    return false;
}

static bool input_type(Elab *E, const Ast *p, int64_t batch, bool *batch_bound, IrType *t,
                       int64_t *classes) {
    const Ast *type = p->type;
    if (!type) {
        sema_error(E, p->span, D_input_type, "input `%s` needs a type, such as f32[B, 1, 28, 28]",
                   p->name);
        return false;
    }
    bool label = type->name && !strcmp(type->name, "class");
    bool ints = label || (type->name && !strcmp(type->name, "i32"));
    if (label && type->nkid != 2) {
        sema_error(E, type->span, D_input_type, "a label is class[B, C] with C classes");
        return false;
    }
    int rank = label ? 1 : type->nkid;
    if (rank > IR_MAX_RANK) {
        sema_error(E, type->span, D_input_type, "an input has at most %d dimensions", IR_MAX_RANK);
        return false;
    }
    int64_t dim[IR_MAX_RANK + 1];
    double elems = 1;
    for (int i = 0; i < type->nkid; i++) {
        if (!input_dim(E, p, type->kid[i], batch, batch_bound, &dim[i])) return false;
        elems *= (double)dim[i];
    }
    if (elems >= (double)FE_MAX_ELEMS) {
        sema_error(E, type->span, D_input_type, "input `%s` is too large", p->name);
        return false;
    }
    *t = ir_type(ints ? DT_i32 : DT_f32, rank, dim);
    *classes = label ? dim[1] : 0;
    return true;
}

static void elab_inputs(Elab *E, const Ast *m, int64_t batch) {
    bool batch_bound = false;
    for (int i = 0; i < m->nparam; i++) {
        const Ast *p = m->param[i];
        IrType t;
        int64_t classes = 0;
        const FeBinding *old = scope_find(E->frame, p->name);
        if (old) {
            Diag *dg = sema_error(E, p->span, D_duplicate_name, "`%s` is already %s", p->name,
                                  old->fixed ? old->fixed : "an input");
            sema_note(E, dg, old->span, "the first one is here");
            continue;
        }
        const FeValue *v = fv_bad();
        if (p->a)
            sema_error(E, p->a->span, D_input_type, "an input has no default value");
        else if (input_type(E, p, batch, &batch_bound, &t, &classes)) {
            elab_at(E, p->span);
            FeValue *own = fv_tensor(E->a, ir_input(&E->b, p->name, t), NULL, false, p->span);
            own->classes = classes;
            own->is_input = true;
            v = own;
        }
        scope_bind(E, E->frame->scope, p->name, v, p->span, NULL);
        sema_saw(E, p, v);
    }
    if (m->nparam == 0)
        sema_error(E, m->name_span, D_input_type, "model `%s` has no inputs", m->name);
}

/* ---- what training needs -------------------------------------------------------------------- */

static const FeValue *input_value(const Elab *E, const char *name) {
    const FeBinding *b = scope_find(E->frame, name);
    return b && b->value->kind == FV_TENSOR && b->value->is_input ? b->value : NULL;
}

/* What is known of the data before they are there: some sources have known shapes; of others, only
 * what the train block says. */
static VmDataShape data_shape(const FeTrain *t) {
    const VmDataSpec *d = &t->recipe.data;
    const VmSource *s = &vm_sources[d->kind];
    int64_t side = d->resize ? d->resize : s->side;
    return (VmDataShape){.name = s->name,
                         .channels = d->channels ? d->channels : s->channels,
                         .height = side,
                         .width = side,
                         .classes = s->classes,
                         .mixed = vm_recipe_mixes(&t->recipe),
                         .exact = true,
                         .class_names = ""};
}

/* The inputs whose types are known, and the parameter of each. */
static VmModelInputs model_inputs(Elab *E, const Ast *m, const Ast **param) {
    VmTensor *list = ARENA_ARRAY(E->a, VmTensor, m->nparam + 1);
    VmModelInputs in = {.at = list, .classes = -1, .limit = ", the label has"};
    for (int i = 0; i < m->nparam; i++) {
        const FeValue *v = input_value(E, m->param[i]->name);
        if (!v) continue; /* reported */
        const IrType *t = &v->v->type;
        param[in.n] = m->param[i];
        VmTensor *x = &list[in.n++];
        *x = (VmTensor){
            .name = m->param[i]->name, .dtype = t->dtype == DT_i32, .rank = (int32_t)t->rank};
        memcpy(x->dim, t->dim, sizeof x->dim);
        if (v->classes && vm_input_use(x) == VM_USE_CLASS) in.classes = v->classes;
    }
    return in;
}

static void check_training_inputs(Elab *E, const Ast *m, const FeTrain *t) {
    const Ast **param = ARENA_ARRAY(E->a, const Ast *, m->nparam + 1);
    VmModelInputs in = model_inputs(E, m, param);
    VmDataShape shape = data_shape(t);
    VmError err;
    for (int at = 0; vm_inputs_check(&in, &shape, &at, &err) != VM_OK; at++) {
        if (at == in.n && E->failed) return; /* what is missing may be misspelt */
        Span place = at < in.n ? param[at]->span : m->name_span;
        Diag *dg = sema_error(E, place, D_data_shape, "%s", err.text);
        sema_note(E, dg, t->place[VM_FIELD_data], "the data is chosen here");
    }
}

/* ---- results -------------------------------------------------------------------------------- */

static void add_outputs(Elab *E, const FeOutName *list) {
    for (const FeOutName *o = list; o; o = o->next) {
        const char *key = unique_name(E, arena_printf(E->a, "result %s", o->name));
        ir_add_out(E->g, OUT_output, key + strlen("result "), o->value, 1, span_loc(o->span));
        if (o->routed) ir_set_str(E->g, o->routed, ATTR_routed_name, key + strlen("result "));
    }
}

/* A trailing expression of a model is a result: under its name, or as "output". */
static void model_result(Elab *E, const Ast *m, const FeValue *v) {
    if (!v || v->kind == FV_BAD) return;
    const Ast *last = m->kid[m->nkid - 1];
    if (v->kind != FV_TENSOR || v->group) {
        sema_error(E, last->span, D_wrong_kind, "the result of a model is a tensor, this is %s",
                   fv_describe(E->a, v));
        return;
    }
    FeOutName *o = ARENA_NEW(E->a, FeOutName);
    bool named = last->kind == AST_EXPR && last->a->kind == AST_NAME;
    *o = (FeOutName){.name = named ? last->a->name : "output", .value = v->v, .span = last->span};
    for (const FeOutName *have = E->outs; have; have = have->next)
        if (have->value == o->value) return;
    *E->outs_tail = o;
    E->outs_tail = &o->next;
}

static void check_results(Elab *E, const Ast *m, const FeTrain *t) {
    if (t && E->nloss == 0) {
        Diag *dg = sema_error(E, m->name_span, D_no_loss,
                              "model `%s` is trained but has no `loss`%s: add one, such as `loss "
                              "cross_entropy(logits, label)`",
                              m->name, E->naux ? ", only an `aux`" : "");
        sema_note(E, dg, t->span, "it is trained here");
    } else if (E->g->nout == 0 && !E->outs) {
        sema_error(E, m->name_span, D_no_result, "model `%s` has no loss, no metric and no result",
                   m->name);
    }
}

/* ---- front door ----------------------------------------------------------------------------- */

static void elab_model(Elab *E, const Ast *m, int64_t batch, const FeTrain *t) {
    const char *scope = m->text ? m->text : m->name;
    FePath path = {.text = scope, .init = scope, .rel = ""};
    FeFrame frame = {.scope = ARENA_NEW(E->a, FeScope), .name = m->name};
    E->frame = &frame;
    E->path = &path;
    E->outs_tail = &E->outs;
    E->routes_tail = &E->routes;
    elab_inputs(E, m, batch);
    if (t) check_training_inputs(E, m, t);
    if (E->failed) return; /* wrong inputs make every later message wrong */
    const FeValue *v = eval_block(E, m->kid, m->nkid, true);
    sema_made(E, m, E->weights);
    if (E->failed) return;
    model_result(E, m, v);
    if (!E->failed) check_results(E, m, t);
    if (!E->failed) check_states(E);
    if (t && !E->failed) freeze_weights(E, t);
    if (t && !E->failed) fe_check_judges(E, t);
    add_outputs(E, E->outs);
    if (!E->failed) check_doubts(E);
    add_outputs(E, E->routes);
}

Span fe_place(const FeExperiment *e, IrLoc loc, const char *model) {
    for (int i = 0; loc.file && i < e->file.n; i++) {
        const Source *src = e->file.at[i]->src;
        if (strcmp(src->path, loc.file) != 0 || loc.line < 1 || loc.line > src->nline) continue;
        int at = src->line[loc.line - 1] + loc.col - 1;
        return (Span){src, at, at + 1};
    }
    const Ast *m = fe_find_model(e, model);
    return m ? m->name_span : (Span){0};
}

/* Sums of sizes must stay far from the ends of integers, and no machine has this much. */
static void check_total(Elab *E, const Ast *m) {
    double bytes = 0;
    IR_FOR (n, E->g)
        for (int i = 0; i < n->nout && ir_ops[n->op].route != ROUTE_VIEW && n->op != OP_const; i++)
            bytes += (double)ir_elems(&n->out[i].type) * ir_dtype_size(n->out[i].type.dtype);
    if (bytes <= FE_MAX_BYTES) return;
    sema_error(E, m->name_span, D_limit,
               "the tensors of `%s` have at most %.0f TiB together, they take %.0f", m->name,
               FE_MAX_BYTES / 0x1p40, bytes / 0x1p40);
}

/* t NULL: the model is not trained. */
static IrGraph *elaborate(FeExperiment *e, Arena *a, const char *model, const FeTrain *t,
                          int64_t batch, Diags *d) {
    if (e->failed) return NULL;
    const Ast *m = fe_find_model(e, model);
    if (!m) {
        VEC(const char *) all = {0};
        for (int i = 0; i < e->model.n; i++) VEC_PUSH(a, all, e->model.at[i]->name);
        const char *near = spell_suggest(model, all.at, all.n);
        diag_error(d, (Span){0}, D_unknown_model, "there is no model `%s`%s%s%s", model,
                   near ? ": did you mean `" : "", near ? near : "", near ? "`?" : "");
        return NULL;
    }
    if (batch <= 0) batch = t ? t->recipe.data.batch : 1;
    Elab E = elab_new(e, a, d);
    E.model = model;
    E.matrices_decay = t && t->recipe.optimizer.matrices_only;
    E.g = ir_graph_create(a, model);
    E.b = ir_builder(E.g);
    elab_model(&E, m, batch, t);
    if (!E.failed) check_total(&E, m);
    if (E.failed) return NULL;
    ir_renumber(E.g);
    const char *bug = ir_verify(a, E.g, true);
    VM_CHECK(!bug, "elaboration of %s made an ill-formed graph: %s", model, bug);
    return E.g;
}

IrGraph *fe_elaborate(FeExperiment *e, Arena *a, const char *model, int64_t batch, Diags *d) {
    return elaborate(e, a, model, fe_train_of(e, model), batch, d);
}

IrGraph *fe_elaborate_phase(FeExperiment *e, Arena *a, const FeTrain *t, int64_t batch, Diags *d) {
    return elaborate(e, a, t->model, t, batch, d);
}
