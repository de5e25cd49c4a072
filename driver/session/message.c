/* What a session has to say becomes values: kept in order, and told at once to whoever asked. */
#include "driver/session/session.h"

/* Names come from files and may hold anything; a terminal must not obey them. */
static const char *printable(Arena *a, const char *fmt, va_list ap) {
    char *text = arena_vprintf(a, fmt, ap);
    vm_make_printable(text);
    return text;
}

static void keep(Session *s, VmoecMessage m) {
    SessionMessages *all = &s->messages;
    SessionMessage *x = ARENA_NEW(all->arena, SessionMessage);
    x->m = m;
    if (all->last)
        all->last->next = x;
    else
        all->first = x;
    all->last = x;
    all->n++;
    if (m.severity == VMOEC_ERROR) all->error = m.text;
    if (all->told) all->told(all->user, &x->m);
}

static void say(Session *s, VmoecSeverity severity, const char *fmt, va_list ap) {
    static const char *const prefix[] = {[VMOEC_ERROR] = "vmoec: error: ",
                                         [VMOEC_WARNING] = "vmoec: warning: ",
                                         [VMOEC_NOTE] = "vmoec: ",
                                         [VMOEC_INFO] = ""};
    Arena *a = s->messages.arena;
    const char *text = printable(a, fmt, ap);
    keep(s, (VmoecMessage){.severity = severity,
                           .text = text,
                           .rendered = arena_printf(a, "%s%s\n", prefix[severity], text)});
}

VmStatus session_fail(Session *s, VmStatus st, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    say(s, VMOEC_ERROR, fmt, ap);
    va_end(ap);
    return st;
}

void session_warn(Session *s, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    say(s, VMOEC_WARNING, fmt, ap);
    va_end(ap);
}

void session_note(Session *s, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    say(s, VMOEC_NOTE, fmt, ap);
    va_end(ap);
}

void session_inform(Session *s, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    say(s, VMOEC_INFO, fmt, ap);
    va_end(ap);
}

/* ---- diagnostics ----------------------------------------------------------------------------- */

static VmoecPlace place(Span at) {
    VmoecPlace p = {.file = at.src ? at.src->path : NULL};
    if (at.src) span_place(at, &p.line, &p.column);
    return p;
}

static void say_diag(Session *s, const Diag *d) {
    Arena *a = s->messages.arena;
    int n = 0;
    for (const DiagNote *x = d->notes; x; x = x->next) n++;
    VmoecRemark *remark = ARENA_ARRAY(a, VmoecRemark, n + 1);
    n = 0;
    for (const DiagNote *x = d->notes; x; x = x->next)
        remark[n++] = (VmoecRemark){place(x->span), x->text};
    Text t = text_new(a);
    diag_text(&t, d, s->messages.colour, s->messages.columns);
    keep(s, (VmoecMessage){.severity = d->level == DIAG_ERROR ? VMOEC_ERROR : VMOEC_WARNING,
                           .slug = diag_slug(d->id),
                           .at = place(d->span),
                           .text = d->text,
                           .remark = remark,
                           .nremark = n,
                           .rendered = t.data});
}

void session_say_diags(Session *s, const Diags *d) {
    int n;
    const Diag *const *list = diags_in_order(d, &n);
    for (int i = 0; i < n; i++) say_diag(s, list[i]);
}

VmStatus session_diags_status(const Diags *d) {
    if (!d->nerrors) return VM_OK;
    if (d->environment) return VM_ENV;
    for (const Diag *x = d->first; x; x = x->next)
        if (x->level == DIAG_ERROR && x->span.src) return VM_INPUT;
    return VM_USAGE;
}
