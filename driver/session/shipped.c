/* Which rules for names (rename.h) a word means: those of models/rules/, or a file of the user's.
 */
#include "driver/session/session.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "base/spell.h"

#define ENDING ".rules"

static int is_rules(const struct dirent *e) {
    size_t n = strlen(e->d_name), k = strlen(ENDING);
    return n > k && !strcmp(e->d_name + n - k, ENDING);
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
    struct dirent **list;
    int n = out.folder ? scandir(out.folder, &list, is_rules, alphasort) : -1;
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

static bool is_file(const char *word) {
    size_t n = strlen(word), k = strlen(ENDING);
    return strchr(word, '/') || (n > k && !strcmp(word + n - k, ENDING));
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
    size_t n = strlen(base), k = strlen(ENDING);
    return n > k && !strcmp(base + n - k, ENDING) ? arena_strndup(a, base, n - k) : base;
}
