/* Files of rules for names (rename.h): from text to rules. Requires an arena that outlives them.
 * Knows nothing of tensors and models. */
#include "driver/session/rename.h"
#include "driver/session/words.h"
#include "base/spell.h"

#include <string.h>
#include <unistd.h>

enum { MAX_RULES = 4096, MAX_DEPTH = 8, MAX_NUMBER = INT32_MAX };

static const struct {
    const char *name;
    int lo, hi;
} steps[STEP_COUNT] = {
#define STEP(name, lo, hi, doc) {#name, lo, hi},
#include "driver/session/rename.def"
};

typedef struct Reader {
    Arena *arena;
    Diags *diags;
    RenameRules *rules;
    SessionWords w;
    const char *folder;
    int depth; /* of `use` */
    bool quiet;
} Reader;

static bool at_end(Reader *r) {
    Span rest = session_next_word(&r->w, 0);
    if (rest.start == rest.end) return true;
    diag_error(r->diags, rest, D_rules_file, "expected the end of the line, found %s",
               session_word_found(r->arena, rest));
    return false;
}

static void keep(Reader *r, RenameRule rule) {
    if (r->rules->rule.n == MAX_RULES) {
        diag_error(r->diags, rule.span, D_rules_file, "expected at most %d rules, found more",
                   MAX_RULES);
        return;
    }
    rule.quiet = r->quiet;
    VEC_PUSH(r->arena, r->rules->rule, rule);
}

/* ---- the right side -------------------------------------------------------------------------- */

static int stars(const char *pattern) {
    int n = 0;
    for (; *pattern; pattern++) n += *pattern == '*';
    return n;
}

/* {2}, {2+1}, {2-1}: its length, 0 if it is none of them; *which is its star, from 1. */
static int brace(const char *p, int *which) {
    const char *from = p++;
    *which = 0;
    while (*p >= '0' && *p <= '9' && *which < 100) *which = 10 * *which + *p++ - '0';
    if (!*which) return 0;
    if (*p == '+' || *p == '-') {
        int digits = 0;
        while (p[1] >= '0' && p[1] <= '9') p++, digits++;
        if (digits < 1 || digits > 6) return 0;
        p++;
    }
    return *p == '}' ? (int)(p + 1 - from) : 0;
}

static bool check_stars(Reader *r, Span pattern) {
    if (stars(session_word_text(r->arena, pattern)) <= RENAME_STARS) return true;
    diag_error(r->diags, pattern, D_rules_file, "expected at most %d stars, found more",
               RENAME_STARS);
    return false;
}

static bool check_target(Reader *r, const char *pattern, const char *to, Span at) {
    int have = stars(pattern), used = 0;
    for (const char *p = to; *p; p++) {
        int which = 0, n = *p == '{' ? brace(p, &which) : 0;
        if (*p == '{' && !n) {
            diag_error(r->diags, at, D_rules_file,
                       "expected {1}, {1+1} or {1-1} behind '%.*s', found '%s'", (int)(p - to), to,
                       p);
            return false;
        }
        used += *p == '*';
        if (used > have || which > have) {
            diag_error(r->diags, at, D_rules_file,
                       "expected at most %d of the stars of '%s' on the right, found one more",
                       have, pattern);
            return false;
        }
        if (n) p += n - 1;
    }
    return true;
}

/* ---- steps ----------------------------------------------------------------------------------- */

static bool unknown_step(Reader *r, Span word) {
    const char *known[STEP_COUNT];
    Text words = text_new(r->arena);
    for (int i = 0; i < STEP_COUNT; i++) {
        known[i] = steps[i].name;
        text_addf(&words, "%s%s", i ? ", " : "", known[i]);
    }
    const char *near = spell_suggest(session_word_text(r->arena, word), known, STEP_COUNT);
    diag_error(r->diags, word, D_rules_file, "expected one of %s, found %s%s%s%s", words.data,
               session_word_found(r->arena, word), near ? "; did you mean " : "", near ? near : "",
               near ? "?" : "");
    return false;
}

/* Numbers with commas between them up to a closing parenthesis; -1: mistake. */
static int numbers(Reader *r, int64_t out[VM_MAX_RANK]) {
    const char *text = r->w.src->text;
    for (int n = 0;;) {
        session_skip_blanks(&r->w);
        bool minus = r->w.at < r->w.end && text[r->w.at] == '-';
        Span s = {r->w.src, r->w.at, r->w.at + minus};
        int64_t x = 0;
        while (s.end < r->w.end && text[s.end] >= '0' && text[s.end] <= '9' && x <= MAX_NUMBER)
            x = 10 * x + text[s.end++] - '0';
        if (s.end == s.start + minus || x > MAX_NUMBER || (minus && x != 1)) {
            s.end = s.start < r->w.end ? s.start + 1 : s.start;
            diag_error(r->diags, s, D_rules_file,
                       "expected a whole number from 0 to %d, or -1, found %s", MAX_NUMBER,
                       session_word_found(r->arena, s));
            return -1;
        }
        r->w.at = s.end;
        session_skip_blanks(&r->w);
        char c = r->w.at < r->w.end ? text[r->w.at] : '\0';
        Span here = {r->w.src, r->w.at, r->w.at + (c != '\0')};
        if ((c != ',' && c != ')') || (c == ',' && n + 1 == VM_MAX_RANK)) {
            diag_error(r->diags, here, D_rules_file, "expected %s, found %s",
                       c == ',' ? "no more numbers" : "a comma or a closing parenthesis",
                       session_word_found(r->arena, here));
            return -1;
        }
        out[n++] = minus ? -x : x;
        r->w.at++;
        if (c == ')') return n;
    }
}

static bool take_step(Reader *r, RenameRule *rule) {
    const char *text = r->w.src->text;
    Span word = {r->w.src, r->w.at, r->w.at};
    while (word.end < r->w.end && !session_is_blank(text[word.end]) && text[word.end] != '(')
        word.end++;
    RenameStep s = {.kind = 0, .span = word};
    while (s.kind < STEP_COUNT && !session_word_is(word, steps[s.kind].name)) s.kind++;
    if (s.kind == STEP_COUNT) return unknown_step(r, word);
    r->w.at = word.end;
    if (r->w.at < r->w.end && text[r->w.at] == '(') {
        r->w.at++;
        s.n = numbers(r, s.arg);
        if (s.n < 0) return false;
    }
    s.span.end = r->w.at;
    if (s.n < steps[s.kind].lo || s.n > steps[s.kind].hi) {
        diag_error(r->diags, s.span, D_rules_file, "expected %d to %d numbers for %s, found %d",
                   steps[s.kind].lo, steps[s.kind].hi, steps[s.kind].name, s.n);
        return false;
    }
    VEC_PUSH(r->arena, rule->step, s);
    return true;
}

/* ---- lines ----------------------------------------------------------------------------------- */

static void read_rule(Reader *r, Span first) {
    RenameRule rule = {.span = {r->w.src, first.start, r->w.end},
                       .pattern = session_word_text(r->arena, first)};
    Span arrow = session_next_word(&r->w, 0);
    rule.again = session_word_is(arrow, "=>");
    if (!rule.again && !session_word_is(arrow, "->")) {
        diag_error(r->diags, arrow, D_rules_file, "expected -> or => behind %s, found %s",
                   session_word_found(r->arena, first), session_word_found(r->arena, arrow));
        return;
    }
    Span to = session_next_word(&r->w, 0);
    if (to.start == to.end) {
        diag_error(r->diags, to, D_rules_file, "expected a name, found %s",
                   session_word_found(r->arena, to));
        return;
    }
    rule.to = session_word_text(r->arena, to);
    if (!check_stars(r, first) || !check_target(r, rule.pattern, rule.to, to)) return;
    if (rule.again && !at_end(r)) return;
    for (session_skip_blanks(&r->w); r->w.at < r->w.end; session_skip_blanks(&r->w))
        if (!take_step(r, &rule)) return;
    keep(r, rule);
}

static void read_skip(Reader *r, Span first) {
    Span pattern = session_next_word(&r->w, 0);
    if (pattern.start == pattern.end)
        diag_error(r->diags, pattern, D_rules_file, "expected names to skip, found %s",
                   session_word_found(r->arena, pattern));
    else if (check_stars(r, pattern) && at_end(r))
        keep(r, (RenameRule){.span = {r->w.src, first.start, r->w.end},
                             .pattern = session_word_text(r->arena, pattern)});
}

static void read_all(Reader *r);

/* NAME.rules beside this file, or in the folder, whose files come with vmoec. */
static const Source *find_used(Reader *r, const char *name, bool *quiet, VmError *err) {
    const char *slash = strrchr(r->w.src->path, '/');
    int n = slash ? (int)(slash + 1 - r->w.src->path) : 0;
    const char *path = arena_printf(r->arena, "%.*s%s.rules", n, r->w.src->path, name);
    if (r->folder && access(path, F_OK) != 0) {
        path = arena_printf(r->arena, "%s/%s.rules", r->folder, name);
        *quiet = true;
    }
    return source_load(r->arena, path, err);
}

static void read_use(Reader *r) {
    Span name = session_next_word(&r->w, 0);
    if (name.start == name.end ||
        memchr(r->w.src->text + name.start, '/', (size_t)(name.end - name.start))) {
        diag_error(r->diags, name, D_rules_file,
                   "expected the name of a file of rules beside this one, found %s",
                   session_word_found(r->arena, name));
        return;
    }
    if (!at_end(r)) return;
    if (r->depth == MAX_DEPTH) {
        diag_error(r->diags, name, D_rules_file, "files of rules use each other without end");
        return;
    }
    VmError err = {.text = ""};
    Reader inner = *r;
    inner.w = (SessionWords){0};
    inner.w.src = find_used(r, session_word_text(r->arena, name), &inner.quiet, &err);
    inner.depth++;
    if (inner.w.src)
        read_all(&inner);
    else
        diag_error(r->diags, name, D_rules_file, "%s", err.text);
}

static void read_line(Reader *r) {
    Span word = session_next_word(&r->w, 0);
    if (session_word_is(word, "skip"))
        read_skip(r, word);
    else if (session_word_is(word, "use"))
        read_use(r);
    else
        read_rule(r, word);
}

static void read_all(Reader *r) {
    while (session_next_line(&r->w)) read_line(r);
}

void session_rules_read(Arena *a, const Source *src, const char *folder, bool quiet, RenameRules *r,
                        Diags *d) {
    Reader reader = {
        .arena = a, .diags = d, .rules = r, .w = {.src = src}, .folder = folder, .quiet = quiet};
    read_all(&reader);
}

void session_rules_skip(Arena *a, const char *pattern, RenameRules *r) {
    VEC_PUSH(a, r->rule, ((RenameRule){.pattern = pattern}));
}

void session_rules_same(Arena *a, const char *model, RenameRules *r) {
    const char *pattern = arena_printf(a, "%s.*", model);
    VEC_PUSH(a, r->rule, ((RenameRule){.pattern = pattern, .to = "*", .quiet = true}));
}
