/* What the folders beside std/ offer that a file does not use: read only once a name is not found,
 * to say which `use` has it. Nothing here is an error: what cannot be read is not offered. */
#include "base/spell.h"
#include "frontend/meaning/sema.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

/* "vit" of "vit.vmoe", or NULL. */
static const char *stem(Arena *a, const char *name) {
    size_t n = strlen(name);
    bool fits = n > 5 && name[0] != '.' && !strcmp(name + n - 5, ".vmoe");
    return fits ? arena_strndup(a, name, n - 5) : NULL;
}

static void offer_file(FeExperiment *e, const char *use) {
    VmError err = {.text = ""};
    const Source *src =
        source_load(e->a, arena_printf(e->a, "%s/%s.vmoe", e->opt->model_dir, use), &err);
    const Ast *file = src ? parse_file(e->a, src, diags_create(e->a)) : NULL;
    for (int i = 0; file && i < file->nkid; i++)
        if (file->kid[i]->kind == AST_MODEL) return; /* a template: to be copied, not used */
    VEC_PUSH(e->a, e->offered_file, use);
    if (!file) return;
    for (int i = 0; i < file->nkid; i++) {
        if (file->kid[i]->kind != AST_LAYER || !file->kid[i]->name) continue;
        FeOffer o = {.layer = file->kid[i]->name, .use = use};
        VEC_PUSH(e->a, e->offer, o);
    }
}

static void offer_folder(FeExperiment *e, const char *folder) {
    struct dirent **list;
    const char *path = arena_printf(e->a, "%s/%s", e->opt->model_dir, folder);
    int n = scandir(path, &list, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        const char *name = stem(e->a, list[i]->d_name);
        if (name) offer_file(e, arena_printf(e->a, "%s/%s", folder, name));
        free(list[i]);
    }
    if (n >= 0) free(list);
}

/* Folders of the model folder hold layers, the files beside them models. */
static void read_offers(FeExperiment *e) {
    struct dirent **list;
    if (e->offers_read || !e->opt->model_dir) return;
    e->offers_read = true;
    int n = scandir(e->opt->model_dir, &list, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        if (list[i]->d_name[0] != '.' && list[i]->d_type != DT_REG)
            offer_folder(e, list[i]->d_name);
        free(list[i]);
    }
    if (n >= 0) free(list);
}

const char *fe_offered_use(FeExperiment *e, const char *layer) {
    read_offers(e);
    for (int i = 0; i < e->offer.n; i++)
        if (!strcmp(e->offer.at[i].layer, layer)) return e->offer.at[i].use;
    return NULL;
}

const FeOffer *fe_offers(FeExperiment *e, int *n) {
    read_offers(e);
    *n = e->offer.n;
    return e->offer.at;
}

const char *fe_offered_near(FeExperiment *e, const char *use) {
    read_offers(e);
    size_t n = strlen(use);
    bool has_suffix = n > 5 && !strcmp(use + n - 5, ".vmoe");
    const char *name = has_suffix ? arena_strndup(e->a, use, n - 5) : use;
    const char *near = spell_suggest(name, e->offered_file.at, e->offered_file.n);
    for (int i = 0; !near && i < e->offered_file.n; i++) { /* the file's name alone */
        const char *own = strrchr(e->offered_file.at[i], '/') + 1;
        if (!strcmp(own, name)) near = e->offered_file.at[i];
    }
    return near;
}
