/* The weights that a run starts from: those of a file, by their names or by rules, and what is said
 * of them. */
#include "driver/session/about.h"

#include <string.h>

enum { SHOWN = 3 };

/* A list that is cut behind the first few. */
typedef struct Some {
    Text text;
    int n;
} Some;

static void add(Some *s, const char *text) {
    if (s->n++ < SHOWN) text_addf(&s->text, "%s%s", s->n > 1 ? ", " : "", text);
}

static void end(Text *to, const Some *s) {
    text_add(to, s->text.data);
    if (s->n > SHOWN) text_addf(to, " and %d more", s->n - SHOWN);
}

static Some missing_of(Arena *a, const Rename *r) {
    Some s = {.text = text_new(a)};
    for (int i = 0; i < r->task->nweight; i++)
        if (!r->maker[i]) add(&s, r->task->weight[i].name);
    return s;
}

/* Tensors of a fate; those that do not fit with both shapes. */
static Some tensors_of(Arena *a, const Rename *r, RenameFate fate, bool unfit) {
    Some s = {.text = text_new(a)};
    for (int i = 0; i < r->n; i++) {
        const Renamed *x = &r->of[i];
        if (x->fate != fate || (fate == RENAME_SKIPPED && unfit != (x->weight >= 0))) continue;
        const char *name = x->tensor->name;
        if (unfit)
            add(&s, arena_printf(a, "%s %s for %s %s", name, session_view_text(a, x->tensor),
                                 x->name, session_view_text(a, &r->task->weight[x->weight])));
        else
            add(&s, name);
    }
    return s;
}

static void add_group(Text *t, const char *what, const Some *s) {
    if (!s->n) return;
    text_addf(t, "%s%d %s (", t->len ? ", " : "", s->n, what);
    end(t, s);
    text_add(t, ")");
}

/* Which weights start anew, and which tensors are left. */
static void say_found(Session *s, const SessionTrain *how, const Imported *x) {
    const Rename *r = x->rename;
    Arena *a = s->arena;
    const char *by = x->rules ? arena_printf(a, " by %s", session_rules_name(a, x->rules)) : "";
    Text t = text_new(a), left = text_new(a);
    text_addf(&t, "%d of %d weights from %s%s", r->loaded, r->task->nweight, how->weights, by);
    Some missing = missing_of(a, r), unused = tensors_of(a, r, RENAME_UNUSED, false);
    Some unfit = tensors_of(a, r, RENAME_SKIPPED, true);
    Some skipped = tensors_of(a, r, RENAME_SKIPPED, false);
    if (missing.n) text_add(&t, "; fresh initial values for ");
    end(&t, &missing);
    add_group(&left, "of another shape", &unfit);
    add_group(&left, "that the model has no place for", &unused);
    add_group(&left, "skipped", &skipped);
    bool all = !missing.n && !left.len;
    if (all)
        session_inform(s, "%s", t.data);
    else
        session_note(s, "%s", t.data);
    if (left.len) session_note(s, "tensors that are not taken: %s", left.data);
    if (how->verbose) session_inform(s, "%s", session_rename_text(a, r));
}

/* How they were made is said first: it says more than shapes that do not fit. A run may mean to go
 * on with other settings, as a second phase does, so nothing is refused. */
static VmStatus open_file(Session *s, const SessionTrain *how, VmTensorFile **out, VmAbout *about) {
    bool part = how->rename || how->nskip || how->skip_mismatch; /* they are of another model */
    VmStatus st = session_tensors_open(s, how->weights, out);
    if (st) return st;
    st = session_about_read(s, *out, how->weights, about);
    if (!st) st = session_about_settings(s, about, part ? ABOUT_NOTE : ABOUT_WARN);
    return st ? st : session_about_image(s, about, ABOUT_NOTE);
}

VmStatus session_start_open(Session *s, const SessionTrain *how) {
    SessionImport import = {.path = how->weights,
                            .from = how->rename,
                            .same = true,
                            .skip = how->skip,
                            .nskip = how->nskip,
                            .skip_mismatch = how->skip_mismatch};
    VmAbout about = {0};
    if (!how->weights && (how->rename || how->skip_mismatch || how->nskip))
        return session_fail(s, VM_USAGE, "names and shapes are of weights: --weights is missing");
    if (!how->weights) return VM_OK;
    VmStatus st = open_file(s, how, &import.file, &about);
    if (st) {
        vm_tensors_close(import.file);
        return st;
    }
    st = session_import(s, &import, &s->from);
    s->from.about = about;
    if (!st) say_found(s, how, &s->from);
    return st;
}

void session_start_set(Session *s, int program) {
    const Imported *x = &s->from;
    Arena *values = arena_create(); /* of one tensor at a time */
    for (int i = 0; i < x->rename->n; i++) {
        if (x->rename->of[i].fate != RENAME_LOADED) continue;
        VmTensorView v = session_rename_value(values, x->rename, i);
        vm_weights_set(s->engine, program, &v);
        arena_reset(values);
    }
    arena_destroy(values);
}
