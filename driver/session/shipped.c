/* What comes with vmoec beside models: files in folders of models/. Which rules for names
 * (rename.h) a word means: those of models/rules/, or a file of the user's. */
#include "driver/session/session.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "base/spell.h"

#define ENDING ".rules"

static bool ends_in(const char *name, const char *ending) {
    size_t n = strlen(name), k = strlen(ending);
    return n > k && !strcmp(name + n - k, ending);
}

int session_shipped(Arena *a, const char *folder, const char *ending, const char ***out) {
    struct dirent **list;
    int n = folder ? scandir(folder, &list, NULL, alphasort) : -1, found = 0;
    *out = ARENA_ARRAY(a, const char *, n < 0 ? 0 : n);
    for (int i = 0; i < n; i++) {
        const char *name = list[i]->d_name;
        if (name[0] != '.' && ends_in(name, ending))
            (*out)[found++] = arena_strndup(a, name, strlen(name) - strlen(ending));
        free(list[i]);
    }
    if (n >= 0) free(list);
    return found;
}

/* Rules that come with vmoec: their names, sorted. */
typedef struct Shipped {
    const char *folder; /* NULL: there is none */
    const char **name;
    int n;
} Shipped;

static const char *folder_of(Session *s) {
    return s->fe.model_dir ? arena_printf(s->arena, "%s/rules", s->fe.model_dir) : NULL;
}

static Shipped shipped(Session *s) {
    Shipped out = {.folder = folder_of(s)};
    out.n = session_shipped(s->arena, out.folder, ENDING, &out.name);
    return out;
}

static bool is_file(const char *word) {
    return strchr(word, '/') || ends_in(word, ENDING);
}

static VmStatus no_rules(Session *s, const Shipped *all, const char *word) {
    Text t = text_new(s->arena);
    for (int i = 0; i < all->n; i++) text_addf(&t, "%s%s", i ? ", " : "", all->name[i]);
    const char *near = spell_suggest(word, all->name, all->n);
    return session_fail(s, VM_USAGE,
                        "there are no rules '%s'%s%s%s; there are %s, and files of your own "
                        "(NAME.rules)",
                        word, near ? "; did you mean " : "", near ? near : "", near ? "?" : "",
                        all->n ? t.data : "none");
}

int session_rules_files(Session *s, const char *word, SessionRulesFile **out) {
    Shipped all = shipped(s);
    SessionRulesFile *list = *out = ARENA_ARRAY(s->arena, SessionRulesFile, all.n + 1);
    if (is_file(word)) {
        list[0] = (SessionRulesFile){.path = word};
        return 1;
    }
    int n = 0;
    size_t len = strlen(word);
    for (int i = 0; i < all.n; i++) {
        const char *name = all.name[i];
        bool exact = !strcmp(name, word);
        if (!exact && (strncmp(name, word, len) != 0 || name[len] != '_')) continue;
        const char *path = arena_printf(s->arena, "%s/%s" ENDING, all.folder, name);
        list[exact ? 0 : n++] = (SessionRulesFile){.path = path, .shipped = true};
        if (exact) return 1;
    }
    if (!n) no_rules(s, &all, word);
    return n;
}

VmStatus session_rules_load(Session *s, const SessionRulesFile *f, RenameRules *r, Diags *d) {
    VmError err = {.text = ""};
    const Source *src = source_load(s->arena, f->path, &err);
    if (!src) return session_fail(s, err.status, "%s", err.text);
    session_rules_read(s->arena, src, folder_of(s), f->shipped, r, d);
    return VM_OK;
}

const char *session_rules_name(Arena *a, const char *path) {
    const char *slash = strrchr(path, '/');
    const char *base = slash ? slash + 1 : path;
    return ends_in(base, ENDING) ? arena_strndup(a, base, strlen(base) - strlen(ENDING)) : base;
}
