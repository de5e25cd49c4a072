/* Loading an experiment: the main file, everything it uses, and std/core; then the tables of
 * layers, models, configuration and train blocks. Does not elaborate. */
#include "frontend/meaning/sema.h"

#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

FeLayer *fe_find_layer(const FeExperiment *e, const char *name) {
    return names_get(&e->layer_of, name);
}

const FeConfig *fe_find_config(const FeExperiment *e, const char *name) {
    const intptr_t at = (intptr_t)names_get(&e->config_of, name);
    return at ? &e->config.at[at - 1] : NULL;
}

const Ast *fe_find_model(const FeExperiment *e, const char *name) {
    return names_get(&e->model_of, name);
}

const FeTrain *fe_train_of(const FeExperiment *e, const char *model) {
    return names_get(&e->train_of, model);
}

/* ---- files ---------------------------------------------------------------------------------- */

static const char *real_path(Arena *a, const char *path) {
    char buf[PATH_MAX];
    return realpath(path, buf) ? arena_strdup(a, buf) : NULL;
}

static bool is_file(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

static const char *folder_of(Arena *a, const char *path) {
    const char *slash = strrchr(path, '/');
    if (!slash) return ".";
    return slash == path ? "/" : arena_strndup(a, path, (size_t)(slash - path));
}

static bool is_inside(const char *real, const char *dir) {
    size_t n = strlen(dir);
    return !strncmp(real, dir, n) && real[n] == '/';
}

/* std/ of the model folder is the library; other files there are the user's. */
static bool is_library(FeExperiment *e, const char *real) {
    if (!e->opt->model_dir) return false;
    const char *dir = real_path(e->a, arena_printf(e->a, "%s/std", e->opt->model_dir));
    return dir && is_inside(real, dir);
}

/* Files of the model folder are named as `use` names them, wherever the folder is. */
static const char *shown_path(FeExperiment *e, const FeFile *f) {
    const char *dir = e->opt->model_dir;
    if (f->is_std) {
        const char *std = real_path(e->a, arena_printf(e->a, "%s/std", dir));
        return std ? arena_printf(e->a, "std%s", f->real + strlen(std)) : f->path;
    }
    return dir && f->used_at.src && is_inside(f->path, dir) ? f->path + strlen(dir) + 1 : f->path;
}

static void load_uses(FeExperiment *e, FeFile *f, Diags *d);

/* Reads and parses one file and, before it is listed as done, those it uses. */
static FeFile *load_file(FeExperiment *e, const char *path, const char *real, Span used_at,
                         bool main_file, Diags *d, VmError *err) {
    const char *text = main_file                 ? e->opt->text
                       : e->opt->unsaved && real ? e->opt->unsaved(e->opt->user, real)
                                                 : NULL;
    Source *src = text ? source_from_text(e->a, path, text) : source_load(e->a, path, err);
    if (!src) return NULL;
    FeFile *f = ARENA_NEW(e->a, FeFile);
    f->src = src;
    f->path = arena_strdup(e->a, path);
    f->real = real ? real : f->path;
    f->used_at = used_at;
    f->is_std = !main_file && is_library(e, f->real);
    src->path = shown_path(e, f);
    src->real = f->real;
    f->ast = parse_file(e->a, src, d);
    f->loading = true;
    VEC_PUSH(e->a, e->file, f);
    names_at(&e->file_of, e->a, f->real)->value = f;
    load_uses(e, f, d);
    f->loading = false;
    return f;
}

static const char *search(FeExperiment *e, const FeFile *from, const char *name) {
    size_t n = strlen(name);
    bool has_suffix = n > 5 && !strcmp(name + n - 5, ".vmoe");
    const char *suffix = has_suffix ? "" : ".vmoe";
    const char *own =
        name[0] == '/' ? arena_printf(e->a, "%s%s", name, suffix)
                       : arena_printf(e->a, "%s/%s%s", folder_of(e->a, from->path), name, suffix);
    if (is_file(own)) return own;
    if (!e->opt->model_dir || name[0] == '/') return NULL;
    const char *lib = arena_printf(e->a, "%s/%s%s", e->opt->model_dir, name, suffix);
    return is_file(lib) ? lib : NULL;
}

static void use_file(FeExperiment *e, FeFile *from, const Ast *use, Diags *d) {
    const char *path = search(e, from, use->text);
    if (!path) {
        const char *near = fe_offered_near(e, use->text);
        const char *hint = near ? arena_printf(e->a, ": did you mean `use \"%s\"`?", near) : "";
        diag_error(d, use->span, D_use_not_found, "cannot find \"%s\" in %s%s%s%s", use->text,
                   folder_of(e->a, from->path), e->opt->model_dir ? " or " : "",
                   e->opt->model_dir ? e->opt->model_dir : "", hint);
        return;
    }
    const char *real = real_path(e->a, path);
    FeFile *have = real ? names_get(&e->file_of, real) : NULL;
    if (have && have->loading) {
        diag_error(d, use->span, D_use_cycle,
                   "\"%s\" is being loaded already: %s and %s use each other", use->text,
                   from->src->path, have->src->path);
        return;
    }
    if (have) return;
    if (e->use_depth == FE_MAX_USES) {
        diag_error(d, use->span, D_limit, "files use each other more than %d deep", FE_MAX_USES);
        return;
    }
    VmError io = {.text = ""};
    e->use_depth++;
    if (!load_file(e, path, real, use->span, false, d, &io)) {
        diag_error(d, use->span, D_use_not_found, "cannot use \"%s\": %s", use->text, io.text);
        d->environment |= io.status == VM_ENV;
    }
    e->use_depth--;
}

static void load_uses(FeExperiment *e, FeFile *f, Diags *d) {
    for (int i = 0; i < f->ast->nkid; i++)
        if (f->ast->kid[i]->kind == AST_USE && f->ast->kid[i]->text)
            use_file(e, f, f->ast->kid[i], d);
}

static void load_core(FeExperiment *e, Diags *d) {
    if (!e->opt->model_dir) return;
    const char *path = arena_printf(e->a, "%s/std/core.vmoe", e->opt->model_dir);
    const char *real = real_path(e->a, path);
    if (real && names_get(&e->file_of, real)) return;
    VmError io = {.text = ""};
    if (load_file(e, path, real, (Span){0}, false, d, &io)) return;
    diag_error(d, (Span){0}, D_use_not_found, "cannot load the core library: %s", io.text);
    d->environment = true;
}

/* ---- tables --------------------------------------------------------------------------------- */

static void add_layer(FeExperiment *e, const FeFile *f, const Ast *x, Diags *d) {
    if (fe_find_builtin(x->name)) {
        diag_error(d, x->name_span, D_duplicate_name,
                   "`%s` is a builtin function: choose another name", x->name);
        return;
    }
    const FeLayer *old = fe_find_layer(e, x->name);
    if (old) {
        /* The library is loaded first, so the user's layer is the second one. */
        Diag *dg =
            diag_error(d, x->name_span, D_duplicate_name, "there is already a layer `%s`", x->name);
        diag_note(d, dg, old->ast->name_span, "the other `%s` is defined here", x->name);
        return;
    }
    FeLayer *l = ARENA_NEW(e->a, FeLayer);
    l->ast = x;
    l->file = f;
    VEC_PUSH(e->a, e->layer, l);
    names_at(&e->layer_of, e->a, x->name)->value = l;
    Names param = {0};
    for (int i = 0; i < x->nparam; i++) {
        if (!x->param[i]->name) continue;
        NameSlot *first = names_at(&param, e->a, x->param[i]->name);
        if (first->value) {
            Diag *dg = diag_error(d, x->param[i]->span, D_duplicate_name,
                                  "layer `%s` has two parameters `%s`", x->name, x->param[i]->name);
            diag_note(d, dg, ((const Ast *)first->value)->span, "the first one is here");
        } else {
            first->value = x->param[i];
        }
    }
}

static void check_nparam(const Ast *x, Diags *d) {
    if (x->nparam <= FE_MAX_PARAMS) return;
    diag_error(d, x->param[FE_MAX_PARAMS]->span, D_limit,
               "`%s` has %d parameters, expected at most %d", x->name, x->nparam, FE_MAX_PARAMS);
}

static void add_model(FeExperiment *e, const Ast *x, Diags *d) {
    const Ast *old = fe_find_model(e, x->name);
    if (old) {
        Diag *dg =
            diag_error(d, x->name_span, D_duplicate_name, "there is already a model `%s`", x->name);
        diag_note(d, dg, old->name_span, "the other `%s` is defined here", x->name);
        return;
    }
    VEC_PUSH(e->a, e->model, x);
    names_at(&e->model_of, e->a, x->name)->value = (void *)x;
}

static void add_declaration(FeExperiment *e, const FeFile *f, const Ast *x, Diags *d) {
    bool own = f == e->main;
    if ((x->kind == AST_LAYER || x->kind == AST_MODEL) && x->name) check_nparam(x, d);
    if (x->kind == AST_LAYER && x->name) {
        add_layer(e, f, x, d);
        return;
    }
    if ((x->kind == AST_MODEL || x->kind == AST_TRAIN) && !own) {
        const char *what = x->kind == AST_MODEL ? "model" : "train block";
        Diag *dg = diag_error(
            d, f->used_at, D_use_content,
            "a file that is used by another may only hold layers and config, not a %s", what);
        diag_note(d, dg, x->span, "the %s is here", what);
        return;
    }
    if (x->kind == AST_MODEL && x->name) add_model(e, x, d);
    if (x->kind == AST_TRAIN && x->name) VEC_PUSH(e->a, e->train_ast, x);
}

static void build_tables(FeExperiment *e, Diags *d) {
    /* Used files come after their user in e->file: going backwards the library is known first. */
    for (int i = e->file.n - 1; i >= 0; i--) {
        const FeFile *f = e->file.at[i];
        for (int j = 0; j < f->ast->nkid; j++) add_declaration(e, f, f->ast->kid[j], d);
    }
    fe_mark_weight_layers(e);
}

FeExperiment *fe_load(Arena *a, const char *path, const FeOptions *opt, Diags *d, VmError *err) {
    static const FeOptions none;
    FeExperiment *e = ARENA_NEW(a, FeExperiment);
    e->a = a;
    e->opt = opt ? opt : &none;
    int before = d->nerrors;
    FeFile *f = load_file(e, path, real_path(a, path), (Span){0}, true, d, err);
    if (!f) return NULL;
    e->main = f;
    load_core(e, d);
    build_tables(e, d);
    fe_load_config(e, d);
    /* Unknown names in train blocks after a mistake in config would only repeat it. */
    if (d->nerrors == before) fe_load_trains(e, d);
    if (d->nerrors == before) fe_check_uncalled(e, d);
    e->failed = d->nerrors > before;
    return e;
}

int fe_config(const FeExperiment *e, const char *const **names, const char *const **values) {
    if (names) *names = e->config_name;
    if (values) *values = e->config_text;
    return e->config.n;
}

int fe_nfile(const FeExperiment *e) {
    return e->file.n;
}

const char *fe_file(const FeExperiment *e, int i, const char **text, bool *library) {
    const FeFile *f = e->file.at[i];
    *text = f->src->text;
    *library = f->is_std;
    return f->src->path;
}

int fe_ntrain(const FeExperiment *e) {
    return e->ntrain;
}

const FeTrain *fe_train(const FeExperiment *e, int i) {
    return &e->train[i];
}

int fe_nmodel(const FeExperiment *e) {
    return e->model.n;
}

const char *fe_model_name(const FeExperiment *e, int i) {
    return e->model.at[i]->name;
}

const char *fe_model_scope(const FeExperiment *e, int i) {
    const Ast *m = e->model.at[i];
    return m->text ? m->text : m->name;
}

const char *fe_model_input(const FeExperiment *e, const char *model, int i) {
    const Ast *m = fe_find_model(e, model);
    return m && i < m->nparam ? m->param[i]->name : NULL;
}
