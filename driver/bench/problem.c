/* The text of `vmoec bench --kernel`: a kind and NAME=VALUE words, "matmul m=64 n=384 k=96 ta=1".
 * What there is stands in problems.def; mistakes become diagnostics that point into the text. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "driver/bench/bench.h"
#include "base/spell.h"

typedef enum KeyType { KEY_TYPE_INT, KEY_TYPE_FLOAT, KEY_TYPE_CHOICE } KeyType;

typedef struct KeyRow {
    ProblemKind kind;
    const char *name;
    KeyType type;
    double dflt; /* NEEDED: must be given */
    double lo, hi;
    const char *doc;
} KeyRow;

#define NEEDED NAN
static const KeyRow key_rows[KEY_COUNT] = {
#define KEY(kind, name, type, dflt, lo, hi, doc)                                                   \
    {PROBLEM_##kind, #name, KEY_TYPE_##type, dflt, lo, hi, doc},
#include "driver/bench/problems.def"
};

typedef struct KindRow {
    const char *name, *doc;
} KindRow;

static const KindRow kind_rows[PROBLEM_COUNT] = {
#define KIND(name, doc) {#name, doc},
#include "driver/bench/problems.def"
};

/* Larger operands than this would only test the memory. */
#define MAX_ELEMENTS 268435456.0

typedef struct Reader {
    Diags *d;
    Source *src;
    Problem *p;
    Span given[KEY_COUNT]; /* src NULL: not given */
    Span kind;
} Reader;

const char *problem_kind_name(ProblemKind k) {
    return kind_rows[k].name;
}

int64_t problem_int(const Problem *p, ProblemKey k) {
    VM_CHECK(key_rows[k].kind == p->kind, "key %s of %s asked for in %s", key_rows[k].name,
             kind_rows[key_rows[k].kind].name, kind_rows[p->kind].name);
    return (int64_t)p->value[k];
}

double problem_float(const Problem *p, ProblemKey k) {
    VM_CHECK(key_rows[k].kind == p->kind, "key %s of %s asked for in %s", key_rows[k].name,
             kind_rows[key_rows[k].kind].name, kind_rows[p->kind].name);
    return p->value[k];
}

/* ---- what there is, for messages ------------------------------------------------------------- */

static const char *kind_names(Arena *a) {
    Text t = text_new(a);
    for (int i = 0; i < PROBLEM_COUNT; i++) text_addf(&t, "%s%s", i ? ", " : "", kind_rows[i].name);
    return t.data;
}

/* "m, n, k, ta, tb" of a kind; only the ones that are missing from r when it is given. */
static const char *key_names(Arena *a, ProblemKind kind, const Reader *missing) {
    Text t = text_new(a);
    text_add(&t, "");
    for (int i = 0; i < KEY_COUNT; i++) {
        if (key_rows[i].kind != kind) continue;
        if (missing && (missing->given[i].src || !isnan(key_rows[i].dflt))) continue;
        text_addf(&t, "%s%s", t.len ? ", " : "", key_rows[i].name);
    }
    return t.data;
}

static const char *hint(Arena *a, const char *near) {
    return near ? arena_printf(a, "; did you mean %s?", near) : "";
}

/* ---- words ----------------------------------------------------------------------------------- */

static Span word_span(const Reader *r, const char *from, const char *to) {
    return (Span){r->src, (int)(from - r->src->text), (int)(to - r->src->text)};
}

static bool read_kind(Reader *r, const char *from, const char *to) {
    Arena *a = r->d->arena;
    const char *word = arena_strndup(a, from, (size_t)(to - from));
    const char *names[PROBLEM_COUNT];
    r->kind = word_span(r, from, to);
    for (int i = 0; i < PROBLEM_COUNT; i++) {
        names[i] = kind_rows[i].name;
        if (strcmp(word, names[i]) != 0) continue;
        r->p->kind = (ProblemKind)i;
        return true;
    }
    Diag *e =
        diag_error(r->d, r->kind, D_kernel_text, "expected the name of a kernel, found '%s'%s",
                   word, hint(a, spell_suggest(word, names, PROBLEM_COUNT)));
    diag_note(r->d, e, (Span){0}, "there are %s", kind_names(a));
    return false;
}

static int find_key(ProblemKind kind, const char *name) {
    for (int i = 0; i < KEY_COUNT; i++)
        if (key_rows[i].kind == kind && !strcmp(key_rows[i].name, name)) return i;
    return -1;
}

static void unknown_key(Reader *r, Span at, const char *name) {
    Arena *a = r->d->arena;
    const char *kind = kind_rows[r->p->kind].name, *names[KEY_COUNT], *owner = NULL;
    int n = 0;
    for (int i = 0; i < KEY_COUNT; i++) {
        if (key_rows[i].kind == r->p->kind) names[n++] = key_rows[i].name;
        if (!owner && !strcmp(key_rows[i].name, name)) owner = kind_rows[key_rows[i].kind].name;
    }
    const char *near = spell_suggest(name, names, n);
    const char *more = owner && !near ? arena_printf(a, "; %s does", owner) : hint(a, near);
    Diag *e = diag_error(r->d, at, D_kernel_text, "%s takes no '%s'%s", kind, name, more);
    diag_note(r->d, e, (Span){0}, "it takes %s", key_names(a, r->p->kind, NULL));
}

/* "none|bias|gelu" after the colon of a choice's meaning. */
static const char *choices(const KeyRow *row) {
    return strrchr(row->doc, ' ') + 1;
}

static bool read_choice(const KeyRow *row, const char *word, double *out) {
    size_t n = strlen(word);
    int i = 0;
    for (const char *c = choices(row); *c; i++) {
        size_t len = strcspn(c, "|");
        if (len == n && !memcmp(c, word, n)) {
            *out = i;
            return true;
        }
        c += len + (c[len] == '|');
    }
    return false;
}

static const char *near_choice(Arena *a, const KeyRow *row, const char *word) {
    const char *names[16];
    int n = 0;
    for (const char *c = choices(row); *c && n < 16;) {
        size_t len = strcspn(c, "|");
        names[n++] = arena_strndup(a, c, len);
        c += len + (c[len] == '|');
    }
    return spell_suggest(word, names, n);
}

static bool read_number(const KeyRow *row, const char *word, double *out) {
    char *end;
    if (row->type == KEY_TYPE_CHOICE) return read_choice(row, word, out);
    errno = 0;
    *out = row->type == KEY_TYPE_INT ? (double)strtoll(word, &end, 10) : strtod(word, &end);
    return end != word && !*end && !errno && *out >= row->lo && *out <= row->hi;
}

static const char *expected(Arena *a, const KeyRow *row) {
    switch (row->type) {
    case KEY_TYPE_INT: return arena_printf(a, "a whole number from %.0f to %.0f", row->lo, row->hi);
    case KEY_TYPE_FLOAT: return arena_printf(a, "a number from %g to %g", row->lo, row->hi);
    case KEY_TYPE_CHOICE: return arena_printf(a, "one of %s", choices(row));
    }
    VM_BUG("no key type %d", (int)row->type);
}

static void read_key(Reader *r, const char *from, const char *to) {
    Arena *a = r->d->arena;
    const char *eq = memchr(from, '=', (size_t)(to - from));
    if (!eq) {
        diag_error(r->d, word_span(r, from, to), D_kernel_text, "expected NAME=VALUE, found '%s'",
                   arena_strndup(a, from, (size_t)(to - from)));
        return;
    }
    const char *name = arena_strndup(a, from, (size_t)(eq - from));
    const char *word = arena_strndup(a, eq + 1, (size_t)(to - eq - 1));
    int k = find_key(r->p->kind, name);
    if (k < 0) {
        unknown_key(r, word_span(r, from, eq), name);
        return;
    }
    if (r->given[k].src) {
        Diag *e =
            diag_error(r->d, word_span(r, from, to), D_kernel_text, "%s is given twice", name);
        diag_note(r->d, e, r->given[k], "here first");
        return;
    }
    r->given[k] = word_span(r, from, to);
    if (read_number(&key_rows[k], word, &r->p->value[k])) return;
    const char *near =
        key_rows[k].type == KEY_TYPE_CHOICE ? near_choice(a, &key_rows[k], word) : NULL;
    diag_error(r->d, word_span(r, eq + 1, to), D_kernel_text, "expected %s for %s, found '%s'%s",
               expected(a, &key_rows[k]), name, word, hint(a, near));
}

/* ---- what only the whole says ---------------------------------------------------------------- */

static double value(const Reader *r, const char *name) {
    int k = find_key(r->p->kind, name);
    return k < 0 ? 1 : r->p->value[k];
}

static Span span_of(const Reader *r, const char *name) {
    Span s = r->given[find_key(r->p->kind, name)];
    return s.src ? s : r->kind;
}

/* `part` of something of size `whole`, with no rest. */
static void check_divides(Reader *r, const char *part, const char *whole) {
    if (find_key(r->p->kind, part) < 0 || find_key(r->p->kind, whole) < 0) return;
    double p = value(r, part), w = value(r, whole);
    if (fmod(w, p) != 0)
        diag_error(r->d, span_of(r, part), D_kernel_text, "%s=%.0f does not divide %s=%.0f", part,
                   p, whole, w);
}

static void check_at_most(Reader *r, const char *part, const char *whole) {
    if (find_key(r->p->kind, part) < 0 || find_key(r->p->kind, whole) < 0) return;
    double p = value(r, part), w = value(r, whole);
    if (p > w)
        diag_error(r->d, span_of(r, part), D_kernel_text, "%s=%.0f is more than %s=%.0f", part, p,
                   whole, w);
}

static void check_size(Reader *r) {
    double m = value(r, "m"), n = value(r, "n"), k = value(r, "k"), e = value(r, "experts");
    double most = fmax(fmax(m * k, e * k * n), m * n) * value(r, "batch");
    if (r->p->kind == PROBLEM_expert_matmul_dw) most = fmax(fmax(m * k, k * n), e * m * n);
    if (r->p->kind == PROBLEM_sdpa || r->p->kind == PROBLEM_sdpa_grad)
        most = 3 * value(r, "batch") * n * value(r, "dim");
    if (find_key(r->p->kind, "size") >= 0) {
        double side = value(r, "size");
        most = value(r, "batch") * side * side * fmax(value(r, "c"), value(r, "o"));
    }
    if (most > MAX_ELEMENTS)
        diag_error(r->d, r->kind, D_kernel_text,
                   "an operand would have %.0f elements; the most that can be timed is %.0f", most,
                   MAX_ELEMENTS);
}

static void check_whole(Reader *r) {
    const char *missing = key_names(r->d->arena, r->p->kind, r);
    if (*missing) {
        diag_error(r->d, r->kind, D_kernel_text, "%s needs %s", kind_rows[r->p->kind].name,
                   missing);
        return;
    }
    check_divides(r, "heads", "dim");
    check_divides(r, "groups", "c");
    check_divides(r, "groups", "o");
    check_divides(r, "top_k", r->p->kind == PROBLEM_expert_matmul_dw ? "k" : "m");
    check_at_most(r, "top_k", "experts");
    if (r->p->kind == PROBLEM_topk) check_at_most(r, "k", "n");
    check_size(r);
}

bool problem_parse(Diags *d, const char *text, Problem *out) {
    Reader r = {.d = d, .src = source_from_text(d->arena, "--kernel", text), .p = out};
    static const char blank[] = " \t\r\n";
    *out = (Problem){.text = r.src->text};
    for (int k = 0; k < KEY_COUNT; k++) out->value[k] = key_rows[k].dflt;
    const char *p = r.src->text + strspn(r.src->text, blank);
    if (!*p) {
        Diag *e = diag_error(d, word_span(&r, p, p), D_kernel_text,
                             "expected the name of a kernel, found nothing");
        diag_note(d, e, (Span){0}, "there are %s", kind_names(d->arena));
        return false;
    }
    const char *end = p + strcspn(p, blank);
    if (!read_kind(&r, p, end)) return false;
    for (p = end + strspn(end, blank); *p; p = end + strspn(end, blank)) {
        end = p + strcspn(p, blank);
        read_key(&r, p, end);
    }
    if (!d->nerrors) check_whole(&r);
    return !d->nerrors;
}

void problem_help(FILE *f) {
    fprintf(f, "bench --kernel \"KERNEL NAME=VALUE ...\": kernels and what they take\n");
    for (int i = 0; i < PROBLEM_COUNT; i++) {
        fprintf(f, "\n%-18s %s\n", kind_rows[i].name, kind_rows[i].doc);
        for (int k = 0; k < KEY_COUNT; k++) {
            if (key_rows[k].kind != (ProblemKind)i) continue;
            fprintf(f, "  %-10s %s%s\n", key_rows[k].name, key_rows[k].doc,
                    isnan(key_rows[k].dflt) ? " (needed)" : "");
        }
    }
}
