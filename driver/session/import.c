/* Weights of other programs become the model's: decides by rules (rename.h) what becomes of a
 * file's tensors, and writes the weights that they make, or gives them to a run that starts. */
#include "driver/session/about.h"

#include <string.h>

/* ---- the model's weights --------------------------------------------------------------------- */

RenameTask session_rename_task(Session *s, const IrGraph *g) {
    VmTensorView *list = ARENA_ARRAY(s->arena, VmTensorView, g->nnodes);
    RenameTask task = {.model = s->model, .weight = list};
    IR_FOR (x, g) {
        const IrType *t = &x->out[0].type;
        if (x->op == OP_input && t->rank == 4 && !task.channels) task.channels = t->dim[1];
        if (x->op != OP_param) continue;
        VmTensorView *v = &list[task.nweight++];
        *v = (VmTensorView){
            .name = ir_str(x, ATTR_param_name), .dtype = t->dtype == DT_i32, .rank = t->rank};
        memcpy(v->dim, t->dim, (size_t)t->rank * sizeof t->dim[0]);
    }
    return task;
}

/* ---- one file of rules ----------------------------------------------------------------------- */

typedef struct Try {
    const char *path; /* NULL: names alone */
    Rename *rename;   /* NULL: the file is wrong */
    Diags *diags;
    VmStatus status;
} Try;

static Try attempt(Session *s, const SessionImport *how, const RenameTask *task,
                   const SessionRulesFile *file) {
    Try t = {.path = file ? file->path : NULL, .diags = diags_create(s->arena)};
    RenameRules *rules = ARENA_NEW(s->arena, RenameRules);
    for (int i = 0; i < how->nskip; i++) session_rules_skip(s->arena, how->skip[i], rules);
    if (file) t.status = session_rules_load(s, file, rules, t.diags);
    if (t.status) return t;
    if (how->same) session_rules_same(s->arena, s->model, rules);
    RenameTask *kept = ARENA_NEW(s->arena, RenameTask);
    *kept = *task;
    kept->rules = rules;
    if (!t.diags->nerrors) t.rename = session_rename(s->arena, kept, t.diags);
    return t;
}

static bool better(const Try *a, const Try *b) {
    if (!b->rename || !a->rename) return a->rename != NULL;
    if (a->rename->loaded != b->rename->loaded) return a->rename->loaded > b->rename->loaded;
    if (a->rename->unused != b->rename->unused) return a->rename->unused < b->rename->unused;
    return a->rename->idle < b->rename->idle;
}

static VmStatus best_of(Session *s, const SessionImport *how, const RenameTask *task, Try *best) {
    if (!how->from) {
        *best = attempt(s, how, task, NULL);
        return best->status;
    }
    SessionRulesFile *file;
    int n = session_rules_files(s, how->from, &file);
    if (!n) return VM_USAGE;
    *best = attempt(s, how, task, &file[0]);
    for (int i = 1; i < n && !best->status; i++) {
        Try t = attempt(s, how, task, &file[i]);
        if (t.status || better(&t, best)) *best = t;
    }
    return best->status;
}

/* ---- what is said ---------------------------------------------------------------------------- */

/* Names of the first few tensors. */
static const char *some(Arena *a, const VmTensorView *v, int n) {
    enum { SHOWN = 3 };
    Text t = text_new(a);
    for (int i = 0; i < n && i < SHOWN; i++) text_addf(&t, "%s'%s'", i ? ", " : "", v[i].name);
    return n ? t.data : "nothing";
}

static VmStatus nothing_loaded(Session *s, const Try *t) {
    const RenameTask *task = t->rename->task;
    const char *have = some(s->arena, task->tensor, task->ntensor);
    const char *want = some(s->arena, task->weight, task->nweight);
    if (!task->ntensor) return session_fail(s, VM_INPUT, "%s has no tensors", task->path);
    if (!t->path)
        return session_fail(s, VM_INPUT,
                            "%s has no weight of this model: it has %s, the model has %s",
                            task->path, have, want);
    return session_fail(s, VM_INPUT,
                        "%s becomes no weight of %s by %s: the file has %s, the model has %s",
                        task->path, s->model, t->path, have, want);
}

/* Says what the rules that were chosen have to say. */
static VmStatus judge(Session *s, const SessionImport *how, const Try *t) {
    session_say_diags(s, t->diags);
    if (t->diags->nerrors) {
        if (t->rename)
            session_note(s,
                         "--skip PATTERN leaves tensors of %s out, --skip-mismatch those that do "
                         "not fit",
                         how->path);
        return VM_INPUT;
    }
    return t->rename->loaded ? VM_OK : nothing_loaded(s, t);
}

/* ---- the whole ------------------------------------------------------------------------------- */

VmStatus session_tensors_open(Session *s, const char *path, VmTensorFile **out) {
    VmError err = {.text = ""};
    VmStatus st = vm_tensors_open(path, out, &err);
    return st ? session_fail(s, st, "%s", err.text) : VM_OK;
}

VmStatus session_weights_open(Session *s, const char *path, VmTensorFile **out) {
    VmError err = {.text = ""};
    VmStatus st = vm_tensors_open_header(path, out, &err);
    return st ? session_fail(s, st, "%s", err.text) : VM_OK;
}

VmStatus session_import(Session *s, const SessionImport *how, Imported *out) {
    *out = (Imported){.file = how->file};
    const IrGraph *g = session_graph(s, s->batch);
    if (!g) return VM_INPUT;
    VmStatus st = how->file ? VM_OK : session_tensors_open(s, how->path, &out->file);
    if (st) return st;
    int n = vm_tensors_count(out->file);
    VmTensorView *tensor = ARENA_ARRAY(s->arena, VmTensorView, n + 1);
    for (int i = 0; i < n; i++) tensor[i] = *vm_tensors_at(out->file, i);
    RenameTask task = session_rename_task(s, g);
    task.tensor = tensor;
    task.ntensor = n;
    task.path = how->path;
    task.skip_mismatch = how->skip_mismatch;
    Try best;
    st = best_of(s, how, &task, &best);
    if (st) return st;
    out->rules = best.path;
    out->rename = best.rename;
    return judge(s, how, &best);
}

const char **session_meta(Arena *a, const VmTensorFile *f, const char *format, int more,
                          int *npairs) {
    const char *name, *value;
    int n = 0, kept = 1;
    while (vm_tensors_meta(f, n, &name, &value)) n++;
    const char **list = ARENA_ARRAY(a, const char *, 2 * (n + 1 + more));
    list[0] = "format";
    list[1] = format;
    for (int i = 0; vm_tensors_meta(f, i, &name, &value); i++) {
        if (!strcmp(name, "format")) continue;
        list[2 * kept] = name;
        list[2 * kept++ + 1] = value;
    }
    *npairs = kept;
    return list;
}

static void set_pair(const char **list, int *npairs, const char *name, const char *value) {
    int at = 0;
    while (at < *npairs && strcmp(list[2 * at], name) != 0) at++;
    list[2 * at] = name;
    list[2 * at + 1] = value;
    if (at == *npairs) ++*npairs;
}

/* What the file says of itself is true of the model as long as all of it comes from there; the
 * settings it is built with are this session's. */
static VmStatus meta_of(Session *s, const Imported *x, VmPairs *out) {
    static const char *const of_model[] = {"version", "model", "settings"};
    VmPairs own;
    VmStatus st = session_about(s, NULL, 0, &own);
    if (st) return st;
    int n;
    const char **list = session_meta(s->arena, x->file, "vmoec", 1 + own.n, &n);
    const char *path = x->rename->task->path, *slash = strrchr(path, '/');
    if (x->rename->missing) n = 1;
    char fingerprint[17];
    vm_tensors_fingerprint(x->file, fingerprint);
    set_pair(list, &n, "origin",
             arena_printf(s->arena, "%s (%s) by %s", slash ? slash + 1 : path, fingerprint,
                          session_rules_name(s->arena, x->rules)));
    for (int i = 0; i < own.n; i++)
        for (size_t k = 0; k < sizeof of_model / sizeof of_model[0]; k++)
            if (!strcmp(own.at[2 * i], of_model[k]))
                set_pair(list, &n, own.at[2 * i], own.at[2 * i + 1]);
    *out = (VmPairs){list, n};
    return VM_OK;
}

VmStatus session_import_write(Session *s, const Imported *x, const char *path) {
    VmTensorView *list = ARENA_ARRAY(s->arena, VmTensorView, x->rename->loaded);
    int n = 0;
    VmPairs meta;
    VmStatus st = meta_of(s, x, &meta);
    if (st) return st;
    for (int i = 0; i < x->rename->n; i++)
        if (x->rename->of[i].fate == RENAME_LOADED)
            list[n++] = session_rename_value(s->arena, x->rename, i);
    VmError err = {.text = ""};
    st = vm_tensors_write(path, list, n, meta.at, meta.n, &err);
    return st ? session_fail(s, st, "%s", err.text) : VM_OK;
}

void session_import_close(Imported *x) {
    vm_tensors_close(x->file);
    *x = (Imported){0};
}
