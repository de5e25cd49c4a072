/* Longer texts of diagnostics, for `vmoec explain` and the page docs/diagnostics.md. */
#include "frontend/syntax/diag.h"

#include <string.h>

static const struct {
    const char *text, *wrong, *right;
} explained[] = {
#define EXPLAIN(id, text, wrong, right) {text, wrong, right},
#include "frontend/syntax/explain.def"
};

static const char *const docs[] = {
#define DIAG(id, slug, doc) doc,
#include "frontend/syntax/diags.def"
};

/* Every diagnostic has a text, at its own place. */
enum {
#define EXPLAIN(id, ...) EXPLAIN_##id,
#include "frontend/syntax/explain.def"
    EXPLAIN_COUNT
};
_Static_assert((int)EXPLAIN_COUNT == (int)D_COUNT, "explain.def and diags.def differ");
#define EXPLAIN(id, ...) _Static_assert((int)EXPLAIN_##id == (int)D_##id, "another order");
#include "frontend/syntax/explain.def"

DiagId diag_by_slug(const char *slug) {
    int i = 0;
    while (i < D_COUNT && strcmp(diag_slug((DiagId)i), slug) != 0) i++;
    return (DiagId)i;
}

void diag_explain(Text *t, DiagId id) {
    text_addf(t, "%s: %s\n\n%s\n\n", diag_slug(id), docs[id], explained[id].text);
    text_addf(t, "    not:  %s\n    but:  %s\n", explained[id].wrong, explained[id].right);
}

/* One line of a page, at most 100 columns. */
static void add_wrapped(Text *t, const char *text) {
    enum { WIDTH = 100 };
    size_t column = 0;
    for (const char *p = text; *p;) {
        size_t n = strcspn(p, " ");
        bool breaks = column && column + 1 + n > WIDTH;
        text_add(t, breaks ? "\n" : column ? " " : "");
        text_addn(t, p, n);
        column = breaks || !column ? n : column + 1 + n;
        p += n + strspn(p + n, " ");
    }
    text_add(t, "\n");
}

void diag_reference(Text *t) {
    text_add(t, "# Diagnostics\n\n");
    add_wrapped(
        t, "Every message ends in its slug, `[unknown-call]`; `vmoec explain SLUG` prints what "
           "stands here. `make docs` writes this page from frontend/syntax/explain.def.");
    for (int i = 0; i < D_COUNT; i++) {
        text_addf(t, "\n## %s\n\n", diag_slug((DiagId)i));
        add_wrapped(t, explained[i].text);
        text_addf(t, "\n```\nnot:  %s\nbut:  %s\n```\n", explained[i].wrong, explained[i].right);
    }
}
