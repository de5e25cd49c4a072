/* The corpus of mistakes: tests/errors/<topic>/<case>.vmoe, ordinary files with their expectations
 * at the offending lines:
 *
 *     route = top_k(gate, 9)  # error[topk-range]: asks for 9 experts
 *     # error@+1[bad-number]: is not a number          one line below; @-2: two lines above
 *     # warning[slug]: text  ·  # note: text           a note's line, of any diagnostic
 *     # error@none[config-set]: no such value          without a place (command line)
 *     # set: experts=9  ·  # batch: 4                  options of the whole file
 *     # advise                                         warnings of the whole file, too
 *
 * Exactly the expected errors and warnings must occur, each at its line with its slug and a message
 * that contains the text; expected notes must occur. Several expectations may share a line. Files
 * in syntax/ are parsed; all others are loaded and every model is elaborated. */
#include <criterion/criterion.h>

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/syntax/ast.h"
#include "frontend/frontend.h"

static const char *const corpus = "tests/errors";

typedef enum Kind { KIND_ERROR, KIND_WARNING, KIND_NOTE } Kind;

static const char *const kind_names[] = {"error", "warning", "note"};

typedef struct Expect {
    Kind kind;
    int line; /* 0: without a place */
    const char *slug, *text;
    bool met;
} Expect;

enum { MAX_EXPECT = 256, MAX_SET = 16, MAX_FILES = 512 };

typedef struct Case {
    Arena *arena;
    const char *path;
    Expect expect[MAX_EXPECT];
    int nexpect;
    const char *set[MAX_SET];
    int nset;
    int64_t batch;
    bool advise;
    Text *report;
} Case;

static void complain(Case *c, int line, const char *what, const char *kind, const char *slug,
                     const char *text) {
    text_addf(c->report, "%s:%d: %s %s [%s]: %s\n", c->path, line, what, kind, slug ? slug : "",
              text);
}

/* ---- reading expectations -------------------------------------------------------------------- */

/* Next "# error", "# warning" or "# note" marker in [s, end) that is followed by '@', '[' or ':'.
 */
static const char *find_marker(const char *s, const char *end, Kind *kind, const char **after) {
    for (; s < end; s++) {
        if (s[0] != '#' || s[1] != ' ') continue;
        for (int k = 0; k < 3; k++) {
            size_t n = strlen(kind_names[k]);
            if (strncmp(s + 2, kind_names[k], n) != 0 || !strchr("@[:", s[2 + n])) continue;
            *kind = (Kind)k;
            *after = s + 2 + n;
            return s;
        }
    }
    return NULL;
}

static const char *trimmed(Arena *a, const char *s, const char *end) {
    while (s < end && *s == ' ') s++;
    while (end > s && strchr(" \r\t", end[-1])) end--;
    return arena_strndup(a, s, (size_t)(end - s));
}

/* "@+1", "@-1" or "@none" */
static const char *read_place(const char *s, int *line) {
    if (*s != '@') return s;
    if (strncmp(s, "@none", 5) == 0) {
        *line = 0;
        return s + 5;
    }
    char *end;
    *line += (int)strtol(s + 1, &end, 10);
    return end;
}

static void read_line(Case *c, int line, const char *s, const char *end) {
    Kind kind;
    const char *after, *mark = find_marker(s, end, &kind, &after);
    while (mark) {
        cr_assert(c->nexpect < MAX_EXPECT, "%s: too many expectations", c->path);
        Expect *e = &c->expect[c->nexpect++];
        *e = (Expect){.kind = kind, .line = line};
        after = read_place(after, &e->line);
        if (kind != KIND_NOTE) {
            const char *close = strchr(after, ']');
            cr_assert(*after == '[' && close && close < end, "%s:%d: expected [slug]", c->path,
                      line);
            e->slug = arena_strndup(c->arena, after + 1, (size_t)(close - after - 1));
            after = close + 1;
        }
        cr_assert(*after == ':', "%s:%d: expected ':' after the marker", c->path, line);
        const char *from = after + 1;
        mark = find_marker(from, end, &kind, &after);
        e->text = trimmed(c->arena, from, mark ? mark : end);
    }
}

static void read_options(Case *c, const char *s, const char *end) {
    if (strncmp(s, "# set: ", 7) == 0 && c->nset < MAX_SET)
        c->set[c->nset++] = trimmed(c->arena, s + 7, end);
    if (strncmp(s, "# advise", 8) == 0) c->advise = true;
    if (strncmp(s, "# batch: ", 9) == 0) c->batch = strtoll(s + 9, NULL, 10);
}

static void read_case(Case *c, const Source *src) {
    int line = 1;
    for (const char *s = src->text; *s; line++) {
        const char *end = s + strcspn(s, "\n");
        read_options(c, s, end);
        read_line(c, line, s, end);
        s = *end ? end + 1 : end;
    }
}

/* ---- comparing ------------------------------------------------------------------------------- */

/* The line of a span in the case's own file, 0 without a place, -1 in another file. */
static int own_line(const Case *c, Span s) {
    int line, col;
    if (!s.src) return 0;
    if (strcmp(s.src->path, c->path) != 0) return -1;
    span_place(s, &line, &col);
    return line;
}

static bool meet(Case *c, Kind kind, int line, const char *slug, const char *text) {
    for (int i = 0; i < c->nexpect; i++) {
        Expect *e = &c->expect[i];
        if (e->met || e->kind != kind || e->line != line) continue;
        if (slug && strcmp(e->slug, slug) != 0) continue;
        if (!strstr(text, e->text)) continue;
        e->met = true;
        return true;
    }
    return false;
}

static void compare(Case *c, const Diags *d) {
    for (const Diag *x = d->first; x; x = x->next) {
        Kind kind = x->level == DIAG_ERROR ? KIND_ERROR : KIND_WARNING;
        int line = own_line(c, x->span);
        if (!meet(c, kind, line, diag_slug(x->id), x->text))
            complain(c, line, "unexpected", kind_names[kind], diag_slug(x->id), x->text);
        for (const DiagNote *n = x->notes; n; n = n->next)
            meet(c, KIND_NOTE, own_line(c, n->span), NULL, n->text);
    }
    for (int i = 0; i < c->nexpect; i++) {
        const Expect *e = &c->expect[i];
        if (!e->met) complain(c, e->line, "missing", kind_names[e->kind], e->slug, e->text);
    }
}

/* ---- running --------------------------------------------------------------------------------- */

static void load(Case *c, Diags *d) {
    FeOptions opt = {.set = c->set, .nset = c->nset, .model_dir = "models"};
    VmError error = {.text = ""};
    FeExperiment *e = fe_load(c->arena, c->path, &opt, d, &error);
    if (!e) complain(c, 0, "not loaded", "error", NULL, error.text);
    if (!e || d->nerrors) return;
    for (int i = 0; i < fe_ntrain(e); i++) /* models' later train blocks */
        if (fe_train(e, i) != fe_train_of(e, fe_train(e, i)->model))
            (void)fe_elaborate_phase(e, c->arena, fe_train(e, i), c->batch, d);
    for (int i = 0; i < fe_nmodel(e); i++) {
        int before = d->nerrors;
        IrGraph *g = fe_elaborate(e, c->arena, fe_model_name(e, i), c->batch, d);
        if ((g != NULL) != (d->nerrors == before))
            complain(c, 0, "a graph together with errors, or neither", "error", NULL,
                     fe_model_name(e, i));
    }
    if (c->advise && !d->nerrors) fe_advise(e, d);
}

static void run_case(const char *path, bool syntax, Text *report) {
    Arena *a = arena_create();
    Case *c = ARENA_NEW(a, Case);
    *c = (Case){.arena = a, .path = path, .report = report};
    VmError error = {.text = ""};
    Source *src = source_load(a, path, &error);
    cr_assert_not_null(src, "%s", error.text);
    read_case(c, src);
    Diags *d = diags_create(a);
    if (syntax)
        parse_file(a, src, d);
    else
        load(c, d);
    compare(c, d);
    arena_destroy(a);
}

typedef struct Files {
    char *path[MAX_FILES];
    int n;
} Files;

static int compare_paths(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool ends_with(const char *s, const char *end) {
    size_t n = strlen(s), m = strlen(end);
    return n >= m && strcmp(s + n - m, end) == 0;
}

static void list_topic(Arena *a, Files *f, const char *topic) {
    const char *folder = arena_printf(a, "%s/%s", corpus, topic);
    DIR *dir = opendir(folder);
    if (!dir) return;
    for (struct dirent *e = readdir(dir); e; e = readdir(dir)) {
        if (!ends_with(e->d_name, ".vmoe")) continue;
        cr_assert(f->n < MAX_FILES);
        f->path[f->n++] = arena_printf(a, "%s/%s", folder, e->d_name);
    }
    closedir(dir);
}

/* The files of syntax/, or of all other topics, in order of name. */
static void list_corpus(Arena *a, Files *f, bool syntax) {
    DIR *dir = opendir(corpus);
    cr_assert_not_null(dir, "cannot open %s", corpus);
    for (struct dirent *e = readdir(dir); e; e = readdir(dir))
        if (e->d_name[0] != '.' && (strcmp(e->d_name, "syntax") == 0) == syntax)
            list_topic(a, f, e->d_name);
    closedir(dir);
    qsort(f->path, (size_t)f->n, sizeof *f->path, compare_paths);
}

static void run_corpus(bool syntax) {
    Arena *a = arena_create();
    Files *f = ARENA_NEW(a, Files);
    list_corpus(a, f, syntax);
    cr_assert_gt(f->n, 0, "no files");
    Text report = text_new(a);
    for (int i = 0; i < f->n; i++) run_case(f->path[i], syntax, &report);
    cr_assert(report.len == 0, "\n%s", report.data);
    arena_destroy(a);
}

Test(errors, syntax, .timeout = 60) {
    run_corpus(true);
}

Test(errors, semantics, .timeout = 60) {
    run_corpus(false);
}

/* ---- every row of diags.def is pinned -------------------------------------------------------- */

/* Diagnostics that no file of the corpus can show, and the test that does. */
static const struct {
    DiagId id;
    const char *path, *needle;
} pinned_elsewhere[] = {
    {D_spare_logits, "tests/cli/mistakes.sh", "spare-logits"},
    {D_no_data, "tests/cli/mistakes.sh", "no-data"},
    {D_bad_data, "tests/cli/mistakes.sh", "bad-data"},
    {D_too_large, "tests/unit/frontend/test_parser.c", "D_too_large"},
    {D_kernel_text, "tests/driver/test_problem.c", "D_kernel_text"},
    {D_one_row, "tests/cli/training.sh", "one-row"},
    {D_run_not_finite, "tests/cli/finite.sh", "run-not-finite"},
    {D_scope_shape, "tests/cli/evaluation.sh", "scope-shape"},
    {D_rules_file, "tests/driver/test_rename.c", "D_rules_file"},
    {D_rules_fit, "tests/driver/test_rename.c", "D_rules_fit"},
    {D_tuning_file, "tests/driver/test_tuning.c", "D_tuning_file"},
};

static void mark_corpus(Arena *a, const Files *f, bool *pinned) {
    for (int i = 0; i < f->n; i++) {
        Case *c = ARENA_NEW(a, Case);
        *c = (Case){.arena = a, .path = f->path[i]};
        VmError error = {.text = ""};
        Source *src = source_load(a, f->path[i], &error);
        cr_assert_not_null(src, "%s", error.text);
        read_case(c, src);
        for (int k = 0; k < c->nexpect; k++)
            for (int id = 0; id < D_COUNT && c->expect[k].slug; id++)
                if (strcmp(diag_slug((DiagId)id), c->expect[k].slug) == 0) pinned[id] = true;
    }
}

Test(errors, every_diagnostic_is_pinned) {
    Arena *a = arena_create();
    bool pinned[D_COUNT] = {false};
    Files *f = ARENA_NEW(a, Files);
    list_corpus(a, f, true);
    list_corpus(a, f, false);
    mark_corpus(a, f, pinned);
    for (size_t i = 0; i < sizeof pinned_elsewhere / sizeof *pinned_elsewhere; i++) {
        VmError error = {.text = ""};
        Source *src = source_load(a, pinned_elsewhere[i].path, &error);
        cr_assert_not_null(src, "%s", error.text);
        pinned[pinned_elsewhere[i].id] = strstr(src->text, pinned_elsewhere[i].needle) != NULL;
    }
    Text report = text_new(a);
    for (int id = 0; id < D_COUNT; id++)
        if (!pinned[id]) text_addf(&report, "  %s\n", diag_slug((DiagId)id));
    cr_assert(report.len == 0, "diagnostics that no test pins:\n%s", report.data);
    arena_destroy(a);
}
