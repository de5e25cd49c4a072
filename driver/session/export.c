/* A model's weights become those of another program: the rules of imports (rename.h), read
 * backwards. */
#include "driver/session/session.h"

#include <string.h>

/* ---- the weights ----------------------------------------------------------------------------- */

/* Up to three of them. */
static void add_name(Text *t, int n, const char *name) {
    if (n < 3) text_addf(t, "%s'%s'", n ? ", " : "", name);
}

static bool is_weight(const RenameTask *task, const char *name) {
    for (int i = 0; i < task->nweight; i++)
        if (!strcmp(task->weight[i].name, name)) return true;
    return false;
}

/* Gives the task's weights the file's values; all of both have to fit. */
static VmStatus take_values(Session *s, const VmTensorFile *f, const char *path, RenameTask *task) {
    VmTensorView *list = ARENA_ARRAY(s->arena, VmTensorView, task->nweight + 1);
    Text missing = text_new(s->arena), other = text_new(s->arena);
    int nmissing = 0, nother = 0;
    for (int i = 0; i < task->nweight; i++) {
        const VmTensorView *want = &task->weight[i], *v = vm_tensors_find(f, want->name);
        if (!v) {
            add_name(&missing, nmissing++, want->name);
            continue;
        }
        const char *have = session_view_text(s->arena, v);
        const char *need = session_view_text(s->arena, want);
        if (strcmp(have, need) != 0)
            return session_fail(s, VM_INPUT, "%s: '%s' is %s there but %s in the model", path,
                                v->name, have, need);
        list[i] = *v;
    }
    for (int i = 0; i < vm_tensors_count(f); i++) {
        const char *name = vm_tensors_at(f, i)->name;
        if (!is_weight(task, name)) add_name(&other, nother++, name);
    }
    task->weight = list;
    if (nmissing)
        return session_fail(s, VM_INPUT, "%s lacks %d of %d weights of %s: %s%s", path, nmissing,
                            task->nweight, s->model, missing.data, nmissing > 3 ? ", .." : "");
    if (nother)
        return session_fail(s, VM_INPUT, "%s has %d that are no weights of %s: %s%s", path, nother,
                            s->model, other.data, nother > 3 ? ", .." : "");
    return VM_OK;
}

/* ---- one file of rules ----------------------------------------------------------------------- */

typedef struct Try {
    const char *path;
    RenameBack *back; /* NULL: the file is wrong */
    Diags *diags;
    VmStatus status;
} Try;

static Try attempt(Session *s, const SessionExport *how, const RenameTask *task,
                   const SessionRulesFile *file) {
    Try t = {.path = file->path, .diags = diags_create(s->arena)};
    RenameRules *rules = ARENA_NEW(s->arena, RenameRules);
    t.status = session_rules_load(s, file, rules, t.diags);
    if (t.status) return t;
    RenameTask *kept = ARENA_NEW(s->arena, RenameTask);
    *kept = *task;
    kept->rules = rules;
    if (!t.diags->nerrors)
        t.back = session_rename_back(s->arena, kept, how->skip, how->nskip, t.diags);
    return t;
}

static bool better(const Try *a, const Try *b) {
    if (!b->back || !a->back) return a->back != NULL;
    if (a->back->named != b->back->named) return a->back->named > b->back->named;
    return a->back->idle < b->back->idle;
}

static VmStatus say(Session *s, const SessionExport *how, const Try *t) {
    session_say_diags(s, t->diags);
    if (t->diags->nerrors) {
        if (t->back)
            session_note(s, "%d of %d weights have names by %s; --skip PATTERN leaves others out",
                         t->back->named, t->back->task->nweight, t->path);
        return VM_INPUT;
    }
    if (t->back->named) return VM_OK;
    return session_fail(s, VM_INPUT, "--skip leaves nothing of %s", how->path);
}

/* ---- the whole ------------------------------------------------------------------------------- */

VmStatus session_export(Session *s, const SessionExport *how, Exported *out) {
    *out = (Exported){0};
    const IrGraph *g = session_graph(s, s->batch);
    if (!g) return VM_INPUT;
    SessionRulesFile *file;
    int n = session_rules_files(s, how->to, &file);
    if (!n) return VM_USAGE;
    VmStatus st = session_tensors_open(s, how->path, &out->file);
    if (st) return st;
    RenameTask task = session_rename_task(s, g);
    task.path = how->path;
    st = take_values(s, out->file, how->path, &task);
    if (st) return st;
    Try best = attempt(s, how, &task, &file[0]);
    for (int i = 1; i < n && !best.status; i++) {
        Try t = attempt(s, how, &task, &file[i]);
        if (t.status || better(&t, &best)) best = t;
    }
    if (best.status) return best.status;
    out->rules = best.path;
    out->back = best.back;
    return say(s, how, &best);
}

VmStatus session_export_write(Session *s, const Exported *x, const char *path) {
    const RenameBack *b = x->back;
    VmTensorView *list = ARENA_ARRAY(s->arena, VmTensorView, b->named);
    int n = 0, npairs;
    const char **meta = session_meta(s->arena, x->file, "pt", 0, &npairs);
    for (int i = 0; i < b->task->nweight; i++)
        if (b->of[i].rule) list[n++] = session_rename_back_value(s->arena, b, i);
    if (b->left_out) npairs = 1; /* it may not be true of a part */
    VmError err = {.text = ""};
    VmStatus st = vm_tensors_write(path, list, n, meta, npairs, &err);
    return st ? session_fail(s, st, "%s", err.text) : VM_OK;
}

void session_export_close(Exported *x) {
    vm_tensors_close(x->file);
    *x = (Exported){0};
}
