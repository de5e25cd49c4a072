/* Source text and diagnostics. Mistakes in a .vmoe are collected values: nothing exits, nothing is
 * printed until the driver asks. Every diagnostic has a span, a severity, a stable slug (rows of
 * diags.def) and prose; a note may point at the other half.
 *
 *   models/tiny.vmoe:14:26: error: top_k asks for 4 experts but the gate has 2 [topk-range]
 *      14 |   route = top_k(gate, 4)
 *         |                       ^
 *   models/tiny.vmoe:9:14: note: the gate is made here
 */
#ifndef VMOEC_FRONTEND_SYNTAX_DIAG_H
#define VMOEC_FRONTEND_SYNTAX_DIAG_H

#include <stdbool.h>
#include <stdio.h>

#include "base/status.h"
#include "base/text.h"

/* One file of source. Lines and columns count from 1; columns count bytes. */
typedef struct Source {
    const char *path; /* for messages: as the user gave it, or as `use` names a library's file */
    const char *real; /* where it lies; NULL: as path says */
    const char *text; /* terminated */
    size_t len;
    const int *line; /* where each one begins */
    int nline;
} Source;

/* NULL with err filled in when it cannot be opened or read (VM_ENV: "cannot open 'x': No such file
 * or directory"), or holds NUL bytes or more than 16 MiB (VM_INPUT). */
Source *source_load(Arena *a, const char *path, VmError *err);
Source *source_from_text(Arena *a, const char *path, const char *text);

/* A byte range [start, end) of a source. src NULL: no place (command line). */
typedef struct Span {
    const Source *src;
    int start, end;
} Span;

Span span_join(Span a, Span b);
void span_place(Span s, int *line, int *col);

/* diags.def: DIAG(topk_range, "topk-range", "short description for the manual") */
typedef enum DiagId {
#define DIAG(id, slug, doc) D_##id,
#include "frontend/syntax/diags.def"
    D_COUNT
} DiagId;
const char *diag_slug(DiagId id);
/* explain.c. D_COUNT: there is no such slug. What a diagnostic means, with an example; and the page
 * of all of them in Markdown. */
DiagId diag_by_slug(const char *slug);
void diag_explain(Text *t, DiagId id);
void diag_reference(Text *t);

typedef enum DiagLevel { DIAG_ERROR, DIAG_WARNING } DiagLevel;

typedef struct DiagNote {
    Span span;
    const char *text;
    struct DiagNote *next;
} DiagNote;

typedef struct Diag {
    DiagLevel level;
    DiagId id;
    Span span;
    const char *text;
    DiagNote *notes;
    struct Diag *next;
} Diag;

/* Of each level: nobody reads more, and it bounds the time and memory that mistakes can cost. */
enum { DIAGS_MAX = 100 };

typedef struct Diags {
    Arena *arena;
    Diag *first, *last;
    int nerrors, nwarnings; /* kept ones */
    Diag *spare;            /* stands for those not kept */
    int columns;            /* of the terminal they are printed on; 0: not known */
    bool environment; /* an error is no mistake of the user's: a library file that cannot be read */
} Diags;

Diags *diags_create(Arena *a);

/* Messages are lower case without a full stop; they name the thing and give expected and found. At
 * most 100 errors are kept; the same error at the same place is kept once. */
Diag *diag_error(Diags *d, Span s, DiagId id, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
Diag *diag_warning(Diags *d, Span s, DiagId id, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* Adds to the diagnostic just returned; NULL is fine. */
void diag_note(Diags *d, Diag *to, Span s, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* All of them, in order of file and place: an array of the arena. */
const Diag *const *diags_in_order(const Diags *d, int *n);
/* One as text with its notes, the line of source and a caret. colour: ANSI colours for a terminal.
 * columns: of the terminal, 0: not known; of a line of source that is longer, a part is shown. */
void diag_text(Text *t, const Diag *x, bool colour, int columns);
/* In order of file and place. */
void diags_print(FILE *f, const Diags *d, bool colour);
/* Appends {"file","line","column","end_line","end_column","severity","slug","message",
 * "notes":[{...}]} for each. */
struct VmJson;
void diags_add_json(struct VmJson *list, const Diags *d);
/* {"diagnostics":[...]} with a newline at the end. */
void diags_print_json(FILE *f, const Diags *d);

/* Are there as many errors as are kept? */
bool diags_full(const Diags *d);

#endif
