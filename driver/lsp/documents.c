/* Documents that the editor has open: their text, what is known of it, and telling what is wrong.
 *
 * A document is checked when nothing more waits to be read: of many edits in a row only the last
 * text is. What is known of a text lies in a session of its own, which the next check closes, so a
 * server's memory does not grow with the number of edits. */
#include <stdlib.h>
#include <string.h>

#include "driver/lsp/server.h"

static char *copy(const char *text) {
    char *own = strdup(text);
    if (!own) vm_out_of_memory(strlen(text));
    return own;
}

static LspDocument *find(LspServer *s, const json_t *params) {
    const char *uri = lsp_get_text(params, "textDocument.uri");
    LspDocument *d = uri ? s->documents : NULL;
    while (d && strcmp(d->uri, uri) != 0) d = d->next;
    return d;
}

const char *lsp_unsaved(void *server, const char *real) {
    const LspServer *s = server;
    for (const LspDocument *d = s->documents; d; d = d->next) {
        char *own = realpath(d->path, NULL);
        bool same = own && !strcmp(own, real);
        free(own);
        if (same) return d->text;
    }
    return NULL;
}

/* ---- checking -------------------------------------------------------------------------------- */

static void forget(LspDocument *d) {
    session_close(&d->session);
    d->e = NULL;
}

void lsp_forget_unfinished(LspServer *s) {
    for (LspDocument *d = s->documents; d; d = d->next) {
        if (!d->checking) continue;
        d->session = (Session){0}; /* its arenas are gone */
        d->e = NULL;
        d->checking = false;
    }
}

/* Mistakes of ours are this session's only while it works: others may be closed before it. */
static Diags *check(LspServer *s, LspDocument *d) {
    VmoecOptions o;
    VmError err = {.text = ""};
    forget(d);
    vmoec_options_init(&o);
    d->checking = true;
    session_init(&d->session, &o);
    Arena *a = d->session.arena;
    Diags *found = diags_create(a);
    d->session.fe = (FeOptions){.text = arena_strdup(a, d->text),
                                .model_dir = s->o->models,
                                .unsaved = lsp_unsaved,
                                .user = s};
    FeExperiment *e = fe_load(a, d->path, &d->session.fe, found, &err);
    if (e) {
        fe_watch(e, true);
        session_check(&d->session, e, 0, found);
        fe_watch(e, false);
    }
    (void)vm_bug_set_report(d->session.report_before);
    d->e = e;
    d->dirty = d->checking = false;
    return found;
}

/* ---- telling --------------------------------------------------------------------------------- */

static VmJson related(LspServer *s, const Diag *x, bool own) {
    VmJson list = vm_json_list();
    DiagNote first = {x->span, "the mistake is here", x->notes};
    for (const DiagNote *n = own ? x->notes : &first; n; n = n->next) {
        if (!n->span.src) continue;
        VmJson o = vm_json_object();
        vm_json_put(&o, "location", lsp_location(s, n->span));
        vm_json_string(&o, "message", n->text);
        vm_json_put(&list, NULL, o);
    }
    return list;
}

/* A mistake in another file is shown at the top of this one, with the way to its place. */
static VmJson diagnostic(LspServer *s, const LspDocument *d, const Diag *x) {
    const Source *src = fe_source(d->e);
    bool own = x->span.src == src;
    VmJson o = vm_json_object();
    vm_json_put(&o, "range", lsp_range(s, own ? x->span : (Span){src, 0, 0}));
    vm_json_int(&o, "severity", x->level == DIAG_ERROR ? 1 : 2);
    vm_json_string(&o, "code", diag_slug(x->id));
    vm_json_string(&o, "source", "vmoec");
    vm_json_string(&o, "message", x->text);
    vm_json_put(&o, "relatedInformation", related(s, x, own || !x->span.src));
    return o;
}

static void publish(LspServer *s, const LspDocument *d, const Diags *found) {
    VmJson o = vm_json_object(), list = vm_json_list();
    int n = 0;
    const Diag *const *all = found && d->e ? diags_in_order(found, &n) : NULL;
    for (int i = 0; i < n; i++) vm_json_put(&list, NULL, diagnostic(s, d, all[i]));
    vm_json_string(&o, "uri", d->uri);
    vm_json_int(&o, "version", d->version);
    vm_json_put(&o, "diagnostics", list);
    lsp_notify(s, "textDocument/publishDiagnostics", o);
}

static void refresh(LspServer *s, LspDocument *d) {
    if (d->dirty) publish(s, d, check(s, d));
}

void lsp_refresh(LspServer *s) {
    for (LspDocument *d = s->documents; d; d = d->next) refresh(s, d);
}

LspDocument *lsp_document(LspServer *s, const json_t *params) {
    LspDocument *d = find(s, params);
    if (d) refresh(s, d);
    return d && d->e ? d : NULL;
}

/* Those that were made with the file, too, are no longer known. */
static void touch(LspServer *s, LspDocument *changed) {
    char *real = realpath(changed->path, NULL);
    changed->dirty = true;
    for (LspDocument *d = s->documents; real && d; d = d->next)
        if (d->e && fe_reads(d->e, real)) d->dirty = true;
    free(real);
}

/* ---- what the editor says -------------------------------------------------------------------- */

LspCode lsp_did_open(LspServer *s, const json_t *params, VmJson *result) {
    const char *uri = lsp_get_text(params, "textDocument.uri");
    const char *text = lsp_get_text(params, "textDocument.text");
    (void)result;
    if (!uri || !text) return LSP_BAD_PARAMS;
    LspDocument *d = find(s, params);
    if (!d) {
        d = calloc(1, sizeof *d);
        if (!d) vm_out_of_memory(sizeof *d);
        d->uri = copy(uri);
        d->path = lsp_path_of(uri);
        d->next = s->documents;
        s->documents = d;
    }
    char *own = copy(text);
    free(d->text);
    d->text = own;
    d->version = json_integer_value(lsp_get(params, "textDocument.version"));
    touch(s, d);
    return LSP_DONE;
}

/* A part of the text, or without a range all of it, is replaced. A message may have many changes,
 * so what one takes is given back at once. */
static void replace(LspServer *s, LspDocument *d, const json_t *change, const char *text) {
    Arena *a = arena_create();
    const json_t *range = json_object_get(change, "range");
    const Source *src = source_from_text(a, d->path, d->text);
    int from = range ? lsp_offset(s, src, json_object_get(range, "start")) : 0;
    int to = range ? lsp_offset(s, src, json_object_get(range, "end")) : (int)src->len;
    if (to < from) to = from;
    Text t = text_new(a);
    text_addn(&t, src->text, (size_t)from);
    text_add(&t, text);
    text_addn(&t, src->text + to, src->len - (size_t)to);
    char *own = copy(t.data);
    arena_destroy(a);
    free(d->text);
    d->text = own;
}

LspCode lsp_did_change(LspServer *s, const json_t *params, VmJson *result) {
    LspDocument *d = find(s, params);
    const json_t *changes = lsp_get(params, "contentChanges");
    (void)result;
    if (!d || !json_is_array(changes)) return LSP_BAD_PARAMS;
    for (size_t i = 0; i < json_array_size(changes); i++) {
        const json_t *change = json_array_get(changes, i);
        const char *text = lsp_get_text(change, "text");
        if (!text) return LSP_BAD_PARAMS;
        replace(s, d, change, text);
    }
    d->version = json_integer_value(lsp_get(params, "textDocument.version"));
    touch(s, d);
    return LSP_DONE;
}

/* Files that are not open may have changed with it. */
LspCode lsp_did_save(LspServer *s, const json_t *params, VmJson *result) {
    (void)params;
    (void)result;
    for (LspDocument *d = s->documents; d; d = d->next) d->dirty = true;
    return LSP_DONE;
}

static void close_document(LspDocument *d) {
    forget(d);
    free(d->uri);
    free(d->path);
    free(d->text);
    free(d);
}

LspCode lsp_did_close(LspServer *s, const json_t *params, VmJson *result) {
    LspDocument *d = find(s, params), **at = &s->documents;
    (void)result;
    if (!d) return LSP_BAD_PARAMS;
    touch(s, d); /* from now on what the disk has counts */
    while (*at != d) at = &(*at)->next;
    *at = d->next;
    publish(s, d, NULL);
    close_document(d);
    return LSP_DONE;
}

void lsp_close_all(LspServer *s) {
    while (s->documents) {
        LspDocument *d = s->documents;
        s->documents = d->next;
        close_document(d);
    }
}
