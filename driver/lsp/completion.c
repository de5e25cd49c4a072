/* What could be written at a place: names that are bound there, layers of the file, of what it uses
 * and of the rest of the library (with the `use` that they need), builtins and keywords; in a train
 * block its fields and what these may be; behind `use` the files of the library. */
#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "base/names.h"
#include "driver/lsp/server.h"
#include "frontend/words.h"

/* Kinds of items, as the protocol numbers them. */
typedef enum ItemKind {
    ITEM_FUNCTION = 3,
    ITEM_VARIABLE = 6,
    ITEM_CLASS = 7,
    ITEM_PROPERTY = 10,
    ITEM_KEYWORD = 14,
    ITEM_FILE = 17,
    ITEM_VALUE = 20,
    ITEM_CONSTANT = 21
} ItemKind;

typedef struct Items {
    LspServer *s;
    const LspDocument *d;
    const Source *src;
    int at;
    const char *prefix; /* of the word at the place */
    VmJson list;
    Names have;
} Items;

/* NULL when it does not begin as it should, or is there already. */
static VmJson *begin_item(Items *x, VmJson *o, ItemKind kind, const char *name) {
    if (strncmp(name, x->prefix, strlen(x->prefix)) != 0) return NULL;
    if (names_at(&x->have, x->s->request, name)->count++) return NULL;
    *o = vm_json_object();
    vm_json_string(o, "label", name);
    vm_json_int(o, "kind", kind);
    return o;
}

static void end_item(Items *x, VmJson *o, const char *detail, const char *doc) {
    if (*detail) vm_json_string(o, "detail", detail);
    if (*doc) vm_json_string(o, "documentation", doc);
    vm_json_put(&x->list, NULL, *o);
}

static void add(Items *x, ItemKind kind, const char *name, const char *detail, const char *doc) {
    VmJson o;
    if (begin_item(x, &o, kind, name)) end_item(x, &o, detail, doc);
}

/* ---- the library ----------------------------------------------------------------------------- */

static int is_model_file(const struct dirent *e) {
    const char *dot = strrchr(e->d_name, '.');
    return dot && dot > e->d_name && !strcmp(dot, ".vmoe");
}

/* Names of the library's files, "std/moe"; returns how many. */
static int library_files(LspServer *s, Arena *a, const char ***out) {
    struct dirent **list;
    const char *folder = s->o->models ? arena_printf(a, "%s/std", s->o->models) : NULL;
    int n = folder ? scandir(folder, &list, is_model_file, alphasort) : -1;
    *out = ARENA_ARRAY(a, const char *, n > 0 ? n : 1);
    for (int i = 0; i < n; i++) {
        int len = (int)strlen(list[i]->d_name) - (int)strlen(".vmoe");
        (*out)[i] = arena_printf(a, "std/%.*s", len, list[i]->d_name);
        free(list[i]);
    }
    if (n >= 0) free(list);
    return n > 0 ? n : 0;
}

/* A file that uses all of them has all layers. */
static const FeExperiment *library(LspServer *s) {
    if (s->library) return s->library;
    Arena *a = arena_create();
    const char **file;
    int n = library_files(s, a, &file);
    Text t = text_new(a);
    for (int i = 0; i < n; i++) text_addf(&t, "use \"%s\"\n", file[i]);
    FeOptions *o = ARENA_NEW(a, FeOptions);
    *o = (FeOptions){.text = t.data, .model_dir = s->o->models};
    VmError err;
    FeExperiment *e = fe_load(a, "<library>", o, diags_create(a), &err);
    s->library_arena = a;
    return s->library = e;
}

/* "std/moe" of ".../std/moe.vmoe". */
static const char *library_name(Arena *a, const char *path) {
    const char *slash = strrchr(path, '/'), *dot = strrchr(path, '.');
    if (!slash || !dot || dot < slash) return NULL;
    return arena_printf(a, "std/%.*s", (int)(dot - slash - 1), slash + 1);
}

/* Where a `use` goes: behind the last one. */
static int use_place(const Source *src) {
    int at = 0;
    for (int i = 0; i < src->nline; i++)
        if (!strncmp(src->text + src->line[i], "use ", 4))
            at = i + 1 < src->nline ? src->line[i + 1] : (int)src->len;
    return at;
}

static void add_library_layer(Items *x, const FeName *n) {
    Arena *a = x->s->request;
    const char *use = n->defined.src ? library_name(a, n->defined.src->path) : NULL;
    VmJson o;
    if (!use || !begin_item(x, &o, ITEM_FUNCTION, n->name)) return;
    int at = use_place(x->src);
    bool open = at > 0 && x->src->text[at - 1] != '\n'; /* the last line has no end */
    VmJson edits = vm_json_list(), edit = vm_json_object();
    vm_json_put(&edit, "range", lsp_range(x->s, (Span){x->src, at, at}));
    vm_json_string(&edit, "newText", arena_printf(a, "%suse \"%s\"\n", open ? "\n" : "", use));
    vm_json_put(&edits, NULL, edit);
    vm_json_put(&o, "additionalTextEdits", edits);
    end_item(x, &o, arena_printf(a, "%s   (use \"%s\")", n->title, use), n->doc);
}

static void add_library(Items *x) {
    FeName *list;
    const FeExperiment *e = library(x->s);
    int n = e ? fe_names_at(e, x->s->request, 0, &list) : 0;
    for (int i = 0; i < n; i++)
        if (list[i].kind == FE_NAME_LAYER) add_library_layer(x, &list[i]);
}

/* ---- what can stand there -------------------------------------------------------------------- */

static void add_names(Items *x, bool in_train) {
    static const ItemKind kind[] = {[FE_NAME_LOCAL] = ITEM_VARIABLE,
                                    [FE_NAME_CONFIG] = ITEM_CONSTANT,
                                    [FE_NAME_LAYER] = ITEM_FUNCTION,
                                    [FE_NAME_MODEL] = ITEM_CLASS};
    FeName *list;
    int n = fe_names_at(x->d->e, x->s->request, x->at, &list);
    for (int i = 0; i < n; i++)
        if (!in_train || list[i].kind == FE_NAME_CONFIG)
            add(x, kind[list[i].kind], list[i].name, list[i].title, list[i].doc);
}

static void add_words(Items *x, bool in_train) {
    for (int i = 0; i < fe_nword(); i++) {
        FeWord w = fe_word(i);
        bool builtin = w.kind == FE_BUILTIN || w.kind == FE_INITIALISER;
        bool of_train = w.kind == FE_FIELD || w.kind == FE_CHOICE;
        if (of_train != in_train && w.kind != FE_VALUE) continue;
        if (builtin)
            add(x, ITEM_FUNCTION, w.name,
                arena_printf(x->s->request, "%s(%s)", w.name,
                             fe_word_parameters(x->s->request, &w)),
                w.meaning);
        else
            add(x,
                w.kind == FE_FIELD    ? ITEM_PROPERTY
                : w.kind == FE_CHOICE ? ITEM_VALUE
                                      : ITEM_KEYWORD,
                w.name, w.form, w.meaning);
    }
}

static bool in_name(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/* What stands before the place on its line. */
static const char *line_before(Arena *a, const Source *src, int at) {
    int from = at;
    while (from > 0 && src->text[from - 1] != '\n') from--;
    return arena_strndup(a, src->text + from, (size_t)(at - from));
}

/* Is it inside the string of a `use`? The word is then all of what the string has. */
static const char *used_prefix(const char *line) {
    line += strspn(line, " \t");
    if (strncmp(line, "use", 3) != 0) return NULL;
    const char *quote = strchr(line, '"');
    return quote && !strchr(quote + 1, '"') ? quote + 1 : NULL;
}

static bool in_comment(const char *line) {
    bool string = false;
    for (; *line; line++) {
        if (*line == '\\' && string && line[1])
            line++;
        else if (*line == '"')
            string = !string;
        else if (*line == '#' && !string)
            return true;
    }
    return string; /* nor does anything complete a string */
}

static void add_all(Items *x) {
    Arena *a = x->s->request;
    const char *line = line_before(a, x->src, x->at), *used = used_prefix(line), **file;
    if (used) {
        x->prefix = used;
        int n = library_files(x->s, a, &file);
        for (int i = 0; i < n; i++) add(x, ITEM_FILE, file[i], "", "");
        return;
    }
    if (in_comment(line)) return;
    const char *word = line + strlen(line);
    while (word > line && in_name(word[-1])) word--;
    x->prefix = word;
    bool in_train = fe_in_train(x->d->e, x->at);
    add_names(x, in_train);
    add_words(x, in_train);
    if (!in_train) add_library(x);
}

LspCode lsp_completion(LspServer *s, const json_t *params, VmJson *result) {
    LspDocument *d = lsp_document(s, params);
    const json_t *position = lsp_get(params, "position");
    if (!d || !position) return LSP_BAD_PARAMS;
    const Source *src = fe_source(d->e);
    Items x = {.s = s, .d = d, .src = src, .at = lsp_offset(s, src, position)};
    x.list = vm_json_list();
    add_all(&x);
    *result = x.list;
    return LSP_DONE;
}
