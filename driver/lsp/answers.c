/* Answers about one place of a document: what stands there, where it was defined; and the document
 * as it would be formatted. */
#include <string.h>

#include "driver/lsp/server.h"
#include "frontend/syntax/ast.h"

static bool thing_at(LspServer *s, const json_t *params, LspDocument **d, FeThing *out) {
    *d = lsp_document(s, params);
    const json_t *position = lsp_get(params, "position");
    if (!*d || !position) return false;
    int at = lsp_offset(s, fe_source((*d)->e), position);
    return fe_thing_at((*d)->e, s->request, at, out);
}

/* ---- hover ----------------------------------------------------------------------------------- */

/* 1,234,567 */
static const char *grouped(Arena *a, int64_t x) {
    const char *digits = arena_printf(a, "%lld", (long long)x);
    Text t = text_new(a);
    for (size_t n = strlen(digits), i = 0; i < n; i++)
        text_addf(&t, "%s%c", i && (n - i) % 3 == 0 ? "," : "", digits[i]);
    return t.data;
}

static const char *hover_text(Arena *a, const FeThing *x) {
    Text t = text_new(a);
    text_addf(&t, "```vmoe\n%s", x->title);
    if (x->value) text_addf(&t, ": %s", x->value);
    text_add(&t, "\n```");
    if (x->parameters) text_addf(&t, "\n\n%s parameters", grouped(a, x->parameters));
    if (x->calls > 1) text_addf(&t, "%s in %d places", x->parameters ? "" : "\n\n", x->calls);
    if (*x->doc) text_addf(&t, "\n\n%s", x->doc);
    return t.data;
}

LspCode lsp_hover(LspServer *s, const json_t *params, VmJson *result) {
    LspDocument *d;
    FeThing x;
    if (!thing_at(s, params, &d, &x)) return LSP_DONE;
    VmJson contents = vm_json_object();
    vm_json_string(&contents, "kind", "markdown");
    vm_json_string(&contents, "value", hover_text(s->request, &x));
    *result = vm_json_object();
    vm_json_put(result, "contents", contents);
    vm_json_put(result, "range", lsp_range(s, x.span));
    return LSP_DONE;
}

/* ---- definition ------------------------------------------------------------------------------ */

LspCode lsp_definition(LspServer *s, const json_t *params, VmJson *result) {
    LspDocument *d;
    FeThing x;
    if (thing_at(s, params, &d, &x) && x.defined.src) *result = lsp_location(s, x.defined);
    return LSP_DONE;
}

/* ---- formatting ------------------------------------------------------------------------------ */

/* A document with mistakes is left as it is. */
LspCode lsp_formatting(LspServer *s, const json_t *params, VmJson *result) {
    LspDocument *d = lsp_document(s, params);
    if (!d) return LSP_BAD_PARAMS;
    Arena *a = s->request;
    const Source *src = source_from_text(a, d->path, d->text);
    Diags *mistakes = diags_create(a);
    const Ast *file = parse_file(a, src, mistakes);
    *result = vm_json_list();
    if (mistakes->nerrors) return LSP_DONE;
    Text t = text_new(a);
    ast_format(&t, file);
    if (!strcmp(t.data, d->text)) return LSP_DONE;
    VmJson edit = vm_json_object();
    vm_json_put(&edit, "range", lsp_range(s, (Span){src, 0, (int)src->len}));
    vm_json_string(&edit, "newText", t.data);
    vm_json_put(result, NULL, edit);
    return LSP_DONE;
}
