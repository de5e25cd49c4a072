/* Collecting diagnostics. Requires an arena that outlives them. Printing is in diag_print.c. */
#include "frontend/syntax/diag.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_MESSAGE = 600 /* bytes: a message may quote a name of any length */
};

static const char *const slugs[] = {
#define DIAG(id, slug, doc) slug,
#include "frontend/syntax/diags.def"
};

const char *diag_slug(DiagId id) {
    return slugs[id];
}

Diags *diags_create(Arena *a) {
    Diags *d = ARENA_NEW(a, Diags);
    d->arena = a;
    d->spare = ARENA_NEW(a, Diag);
    return d;
}

static const char *message(Arena *a, const char *fmt, va_list ap) {
    char buf[MAX_MESSAGE + 4];
    int n = vsnprintf(buf, sizeof buf - 3, fmt, ap);
    if (n < 0) return fmt;
    if (n > MAX_MESSAGE) strcpy(buf + MAX_MESSAGE, "...");
    return arena_strdup(a, buf);
}

static bool same_place(const Diag *x, const Diag *y) {
    if (x->level != y->level || x->id != y->id || x->span.src != y->span.src) return false;
    if (!x->span.src) return strcmp(x->text, y->text) == 0;
    return x->span.start == y->span.start && x->span.end == y->span.end;
}

/* For a diagnostic that is not kept, the spare one is returned, so that notes can be added in vain.
 */
static Diag *add(Diags *d, DiagLevel level, Span s, DiagId id, const char *fmt, va_list ap) {
    int *count = level == DIAG_ERROR ? &d->nerrors : &d->nwarnings;
    *d->spare = (Diag){.level = level, .id = id, .span = s, .text = ""};
    if (*count >= DIAGS_MAX) return d->spare;
    d->spare->text = message(d->arena, fmt, ap);
    for (const Diag *y = d->first; y; y = y->next)
        if (same_place(d->spare, y)) return d->spare;
    Diag *x = ARENA_NEW(d->arena, Diag);
    *x = *d->spare;
    ++*count;
    if (d->last)
        d->last->next = x;
    else
        d->first = x;
    d->last = x;
    return x;
}

bool diags_full(const Diags *d) {
    return d->nerrors >= DIAGS_MAX;
}

Diag *diag_error(Diags *d, Span s, DiagId id, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    Diag *x = add(d, DIAG_ERROR, s, id, fmt, ap);
    va_end(ap);
    return x;
}

Diag *diag_warning(Diags *d, Span s, DiagId id, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    Diag *x = add(d, DIAG_WARNING, s, id, fmt, ap);
    va_end(ap);
    return x;
}

void diag_note(Diags *d, Diag *to, Span s, const char *fmt, ...) {
    if (!to || to == d->spare) return;
    va_list ap;
    va_start(ap, fmt);
    DiagNote *n = ARENA_NEW(d->arena, DiagNote);
    n->span = s;
    n->text = message(d->arena, fmt, ap);
    va_end(ap);
    DiagNote **end = &to->notes;
    while (*end) end = &(*end)->next;
    *end = n;
}
