/* The reducer: edits the syntax tree as long as the program still fails in the same way. Whether a
 * smaller program is one at all, the compiler says: the judge refuses what does not compile. */
#include <string.h>

#include "tests/fuzz/programs/edits.h"
#include "tests/fuzz/programs/programs.h"

int reduce_lines(const char *text) {
    int lines = 0;
    for (const char *s = text; *s; s += strcspn(s, "\n") + (s[strcspn(s, "\n")] != 0))
        lines += s[strspn(s, " \t")] != '\n' && s[strspn(s, " \t")] != 0;
    return lines;
}

/* The text with an edit; NULL: there is no such edit. "" when what it makes is no program. */
static const char *edited(Arena *a, const char *text, EditKind kind, int number) {
    Diags *d = diags_create(a);
    Ast *file = parse_file(a, source_from_text(a, "program.vmoe", text), d);
    if (d->nerrors || !edit_apply(a, file, kind, number)) return NULL;
    Text t = text_new(a);
    ast_format(&t, file);
    Diags *again = diags_create(a);
    (void)parse_file(a, source_from_text(a, "program.vmoe", t.data), again);
    return again->nerrors ? "" : t.data;
}

static size_t solid(const char *text) {
    size_t n = 0;
    for (; *text; text++) n += *text != ' ' && *text != '\n';
    return n;
}

/* Inlining makes lines fewer and other edits texts shorter; what makes neither could go on for
 * ever. Names are of one length for that: an earlier one counts as smaller. */
static bool smaller(const char *text, const char *than, EditKind kind) {
    if (!*text || !strcmp(text, than)) return false;
    if (kind == EDIT_alias) return reduce_lines(text) < reduce_lines(than);
    return solid(text) < solid(than) || (solid(text) == solid(than) && strcmp(text, than) < 0);
}

/* Everything that one kind of edit can do; true if it did something. */
static bool run_kind(Arena *a, const char **text, EditKind kind, Judge *judge, void *user,
                     int *tries) {
    bool changed = false;
    for (int number = 0;;) {
        Arena *scratch = arena_create();
        const char *next = edited(scratch, *text, kind, number);
        bool good = next && smaller(next, *text, kind);
        if (good) {
            ++*tries;
            good = judge(user, next);
        }
        if (good) *text = arena_strdup(a, next);
        arena_destroy(scratch);
        if (!next) return changed;
        changed |= good;
        number += !good; /* behind what went, the next one has its number */
    }
}

const char *reduce(Arena *a, const char *text, Judge *judge, void *user, int *tries) {
    Text t = text_new(a);
    Diags *d = diags_create(a);
    Ast *file = parse_file(a, source_from_text(a, "program.vmoe", text), d);
    if (d->nerrors) return text; /* nothing to hold on to */
    ast_format(&t, file);
    const char *small = judge(user, t.data) ? t.data : text;
    for (bool changed = true; changed;) {
        changed = false;
        for (int kind = 0; kind < EDITS; kind++)
            changed |= run_kind(a, &small, (EditKind)kind, judge, user, tries);
    }
    return small;
}
