/* Weights of other programs become the model's: finds the rules (rename.h) and the model's weights,
 * and writes what the rules make. */
#include "driver/session/session.h"

#include <stdlib.h>
#include <string.h>
#include <dirent.h>

#include "base/spell.h"

#define ENDING ".rules"

/* ---- the model's weights --------------------------------------------------------------------- */

static int weights_of(Arena *a, const IrGraph *g, const VmTensorView **out) {
    VmTensorView *list = ARENA_ARRAY(a, VmTensorView, g->nnodes);
    int n = 0;
    IR_FOR (x, g) {
        if (x->op != OP_param) continue;
        const IrType *t = &x->out[0].type;
        list[n] = (VmTensorView){
            .name = ir_str(x, ATTR_param_name), .dtype = t->dtype == DT_i32, .rank = t->rank};
        memcpy(list[n++].dim, t->dim, (size_t)t->rank * sizeof t->dim[0]);
    }
    *out = list;
    return n;
}

/* ---- which rules ----------------------------------------------------------------------------- */

/* Rules that come with vmoec: their names, sorted. */
typedef struct Shipped {
    const char *folder; /* NULL: there is none */
    const char **name;
    int n;
} Shipped;

static int is_rules(const struct dirent *e) {
    size_t n = strlen(e->d_name), k = strlen(ENDING);
    return n > k && !strcmp(e->d_name + n - k, ENDING);
}

static Shipped shipped(Session *s) {
    Shipped out = {0};
    struct dirent **list;
    if (!s->fe.model_dir) return out;
    out.folder = arena_printf(s->arena, "%s/rules", s->fe.model_dir);
    int n = scandir(out.folder, &list, is_rules, alphasort);
    if (n < 0) return out;
    out.name = ARENA_ARRAY(s->arena, const char *, n);
    for (int i = 0; i < n; i++) {
        size_t len = strlen(list[i]->d_name) - strlen(ENDING);
        out.name[out.n++] = arena_strndup(s->arena, list[i]->d_name, len);
        free(list[i]);
    }
    free(list);
    return out;
}

static bool is_file(const char *from) {
    size_t n = strlen(from), k = strlen(ENDING);
    return strchr(from, '/') || (n > k && !strcmp(from + n - k, ENDING));
}

/* The paths that the word may mean; 0: none. */
static int candidates(Session *s, const Shipped *all, const char *from, const char ***out) {
    const char **list = *out = ARENA_ARRAY(s->arena, const char *, all->n + 1);
    int n = 0;
    if (is_file(from)) {
        list[n++] = from;
        return n;
    }
    size_t len = strlen(from);
    for (int i = 0; i < all->n; i++) {
        const char *name = all->name[i], *path;
        bool exact = !strcmp(name, from);
        if (!exact && (strncmp(name, from, len) != 0 || name[len] != '_')) continue;
        path = arena_printf(s->arena, "%s/%s" ENDING, all->folder, name);
        if (exact) {
            list[0] = path;
            return 1;
        }
        list[n++] = path;
    }
    return n;
}

static VmStatus no_rules(Session *s, const Shipped *all, const char *from) {
    Text t = text_new(s->arena);
    for (int i = 0; i < all->n; i++) text_addf(&t, "%s%s", i ? ", " : "", all->name[i]);
    const char *near = spell_suggest(from, all->name, all->n);
    return session_fail(s, VM_USAGE,
                        "there are no rules '%s'%s%s%s; there are %s, and files of your own "
                        "(NAME.rules)",
                        from, near ? "; did you mean " : "", near ? near : "", near ? "?" : "",
                        all->n ? t.data : "none");
}

/* ---- one file of rules ----------------------------------------------------------------------- */

typedef struct Try {
    const char *path;
    Rename *rename; /* NULL: the file is wrong */
    Diags *diags;
    VmStatus status;
} Try;

static Try attempt(Session *s, const SessionImport *how, RenameTask task, const Shipped *all,
                   const char *path) {
    Try t = {.path = path, .diags = diags_create(s->arena)};
    RenameRules *rules = ARENA_NEW(s->arena, RenameRules);
    for (int i = 0; i < how->nskip; i++) session_rules_skip(s->arena, how->skip[i], rules);
    VmError err = {.text = ""};
    const Source *src = source_load(s->arena, path, &err);
    if (!src) {
        t.status = session_fail(s, err.status, "%s", err.text);
        return t;
    }
    session_rules_read(s->arena, src, all->folder, rules, t.diags);
    RenameTask *kept = ARENA_NEW(s->arena, RenameTask);
    task.rules = rules;
    *kept = task;
    if (!t.diags->nerrors) t.rename = session_rename(s->arena, kept, t.diags);
    return t;
}

static bool better(const Try *a, const Try *b) {
    if (!b->rename || !a->rename) return a->rename != NULL;
    if (a->rename->loaded != b->rename->loaded) return a->rename->loaded > b->rename->loaded;
    if (a->rename->unused != b->rename->unused) return a->rename->unused < b->rename->unused;
    return a->diags->nwarnings < b->diags->nwarnings; /* rules that were no use */
}

/* Names of the first few tensors. */
static const char *some(Arena *a, const VmTensorView *const *v, int n) {
    enum { SHOWN = 3 };
    Text t = text_new(a);
    for (int i = 0; i < n && i < SHOWN; i++) text_addf(&t, "%s'%s'", i ? ", " : "", v[i]->name);
    return n ? t.data : "nothing";
}

static VmStatus nothing_loaded(Session *s, const SessionImport *how, const Try *t) {
    const RenameTask *task = t->rename->task;
    int n = vm_tensors_count(task->file);
    const VmTensorView **have = ARENA_ARRAY(s->arena, const VmTensorView *, n + 1);
    const VmTensorView **want = ARENA_ARRAY(s->arena, const VmTensorView *, task->nweight + 1);
    for (int i = 0; i < n; i++) have[i] = vm_tensors_at(task->file, i);
    for (int i = 0; i < task->nweight; i++) want[i] = &task->weight[i];
    return session_fail(
        s, VM_INPUT, "%s becomes no weight of %s by %s: the file has %s, the model has %s",
        how->path, s->model, t->path, some(s->arena, have, n), some(s->arena, want, task->nweight));
}

/* Says what the rules that were chosen have to say. */
static VmStatus judge(Session *s, const SessionImport *how, const Try *t) {
    if (t->status) return t->status;
    session_say_diags(s, t->diags);
    if (t->diags->nerrors) {
        if (t->rename) session_note(s, "--skip PATTERN leaves tensors of %s out", how->path);
        return VM_INPUT;
    }
    return t->rename->loaded ? VM_OK : nothing_loaded(s, how, t);
}

VmStatus session_import(Session *s, const SessionImport *how, Imported *out) {
    *out = (Imported){0};
    const IrGraph *g = session_graph(s, s->batch);
    if (!g) return VM_INPUT;
    Shipped all = shipped(s);
    const char **path;
    int n = candidates(s, &all, how->from, &path);
    if (!n) return no_rules(s, &all, how->from);
    VmError err = {.text = ""};
    VmStatus st = vm_tensors_open(how->path, &out->file, &err);
    if (st) return session_fail(s, st, "%s", err.text);
    RenameTask task = {.file = out->file, .path = how->path, .model = s->model};
    task.nweight = weights_of(s->arena, g, &task.weight);
    Try best = attempt(s, how, task, &all, path[0]);
    for (int i = 1; i < n && !best.status; i++) {
        Try t = attempt(s, how, task, &all, path[i]);
        if (t.status || better(&t, &best)) best = t;
    }
    out->rules = best.path;
    out->rename = best.rename;
    return judge(s, how, &best);
}

VmStatus session_import_write(Session *s, const Imported *x, const char *path) {
    static const char *const meta[] = {"format", "vmoec"};
    VmError err = {.text = ""};
    VmTensorView *list;
    int n = session_rename_values(s->arena, x->rename, &list);
    VmStatus st = vm_tensors_write(path, list, n, meta, 1, &err);
    return st ? session_fail(s, st, "%s", err.text) : VM_OK;
}

void session_import_close(Imported *x) {
    vm_tensors_close(x->file);
    *x = (Imported){0};
}
