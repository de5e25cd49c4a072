/* Files of rules for names (rename.h): from text to rules. Requires an arena that outlives them.
 * Knows nothing of tensors and models. */
#include "driver/session/rename.h"
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
    const Source *src;
    const char *folder;
    int at, end; /* of the line, without its comment and the blanks before that */
    int depth;   /* of `use` */
} Reader;

static bool is_blank(char c) {
    return c == ' ' || c == '\t' || c == '\r';
}

static void skip_blanks(Reader *r) {
    while (r->at < r->end && is_blank(r->src->text[r->at])) r->at++;
}

/* Up to a blank; empty at the end of the line. */
static Span next_word(Reader *r) {
    skip_blanks(r);
    Span s = {r->src, r->at, r->at};
    while (s.end < r->end && !is_blank(r->src->text[s.end])) s.end++;
    r->at = s.end;
    return s;
}

static const char *text_of(Reader *r, Span s) {
    return arena_strndup(r->arena, s.src->text + s.start, (size_t)(s.end - s.start));
}

static bool is_word(Span s, const char *text) {
    size_t n = strlen(text);
    return (size_t)(s.end - s.start) == n && !memcmp(s.src->text + s.start, text, n);
}

static const char *found(Reader *r, Span s) {
    if (s.start == s.end) return "the end of the line";
    return arena_printf(r->arena, "'%s'", text_of(r, s));
}

static bool at_end(Reader *r) {
    Span rest = next_word(r);
    if (rest.start == rest.end) return true;
    diag_error(r->diags, rest, D_rules_file, "expected the end of the line, found %s",
               found(r, rest));
    return false;
}

static void keep(Reader *r, RenameRule rule) {
    if (r->rules->rule.n == MAX_RULES) {
        diag_error(r->diags, rule.span, D_rules_file, "expected at most %d rules, found more",
                   MAX_RULES);
        return;
    }
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
    if (stars(text_of(r, pattern)) <= RENAME_STARS) return true;
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
    const char *near = spell_suggest(text_of(r, word), known, STEP_COUNT);
    diag_error(r->diags, word, D_rules_file, "expected one of %s, found %s%s%s%s", words.data,
               found(r, word), near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
    return false;
}

/* Numbers with commas between them up to a closing parenthesis; -1: mistake. */
static int numbers(Reader *r, int64_t out[VM_MAX_RANK]) {
    const char *text = r->src->text;
    for (int n = 0;;) {
        skip_blanks(r);
        bool minus = r->at < r->end && text[r->at] == '-';
        Span s = {r->src, r->at, r->at + minus};
        int64_t x = 0;
        while (s.end < r->end && text[s.end] >= '0' && text[s.end] <= '9' && x <= MAX_NUMBER)
            x = 10 * x + text[s.end++] - '0';
        if (s.end == s.start + minus || x > MAX_NUMBER || (minus && x != 1)) {
            s.end = s.start < r->end ? s.start + 1 : s.start;
            diag_error(r->diags, s, D_rules_file,
                       "expected a whole number from 0 to %d, or -1, found %s", MAX_NUMBER,
                       found(r, s));
            return -1;
        }
        r->at = s.end;
        skip_blanks(r);
        char c = r->at < r->end ? text[r->at] : '\0';
        Span here = {r->src, r->at, r->at + (c != '\0')};
        if ((c != ',' && c != ')') || (c == ',' && n + 1 == VM_MAX_RANK)) {
            diag_error(r->diags, here, D_rules_file, "expected %s, found %s",
                       c == ',' ? "no more numbers" : "a comma or a closing parenthesis",
                       found(r, here));
            return -1;
        }
        out[n++] = minus ? -x : x;
        r->at++;
        if (c == ')') return n;
    }
}

static bool take_step(Reader *r, RenameRule *rule) {
    const char *text = r->src->text;
    Span word = {r->src, r->at, r->at};
    while (word.end < r->end && !is_blank(text[word.end]) && text[word.end] != '(') word.end++;
    RenameStep s = {.kind = 0, .span = word};
    while (s.kind < STEP_COUNT && !is_word(word, steps[s.kind].name)) s.kind++;
    if (s.kind == STEP_COUNT) return unknown_step(r, word);
    r->at = word.end;
    if (r->at < r->end && text[r->at] == '(') {
        r->at++;
        s.n = numbers(r, s.arg);
        if (s.n < 0) return false;
    }
    s.span.end = r->at;
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
    RenameRule rule = {.span = {r->src, first.start, r->end}, .pattern = text_of(r, first)};
    Span arrow = next_word(r);
    rule.again = is_word(arrow, "=>");
    if (!rule.again && !is_word(arrow, "->")) {
        diag_error(r->diags, arrow, D_rules_file, "expected -> or => behind %s, found %s",
                   found(r, first), found(r, arrow));
        return;
    }
    Span to = next_word(r);
    if (to.start == to.end) {
        diag_error(r->diags, to, D_rules_file, "expected a name, found %s", found(r, to));
        return;
    }
    rule.to = text_of(r, to);
    if (!check_stars(r, first) || !check_target(r, rule.pattern, rule.to, to)) return;
    if (rule.again && !at_end(r)) return;
    for (skip_blanks(r); r->at < r->end; skip_blanks(r))
        if (!take_step(r, &rule)) return;
    keep(r, rule);
}

static void read_skip(Reader *r, Span first) {
    Span pattern = next_word(r);
    if (pattern.start == pattern.end)
        diag_error(r->diags, pattern, D_rules_file, "expected names to skip, found %s",
                   found(r, pattern));
    else if (check_stars(r, pattern) && at_end(r))
        keep(r,
             (RenameRule){.span = {r->src, first.start, r->end}, .pattern = text_of(r, pattern)});
}

static void read_all(Reader *r);

/* NAME.rules beside this file, or in the folder. */
static const Source *find_used(Reader *r, const char *name, VmError *err) {
    const char *slash = strrchr(r->src->path, '/');
    int n = slash ? (int)(slash + 1 - r->src->path) : 0;
    const char *path = arena_printf(r->arena, "%.*s%s.rules", n, r->src->path, name);
    if (r->folder && access(path, F_OK) != 0)
        path = arena_printf(r->arena, "%s/%s.rules", r->folder, name);
    return source_load(r->arena, path, err);
}

static void read_use(Reader *r) {
    Span name = next_word(r);
    if (name.start == name.end ||
        memchr(r->src->text + name.start, '/', (size_t)(name.end - name.start))) {
        diag_error(r->diags, name, D_rules_file,
                   "expected the name of a file of rules beside this one, found %s",
                   found(r, name));
        return;
    }
    if (!at_end(r)) return;
    if (r->depth == MAX_DEPTH) {
        diag_error(r->diags, name, D_rules_file, "files of rules use each other without end");
        return;
    }
    VmError err = {.text = ""};
    Reader inner = *r;
    inner.src = find_used(r, text_of(r, name), &err);
    inner.depth++;
    if (inner.src)
        read_all(&inner);
    else
        diag_error(r->diags, name, D_rules_file, "%s", err.text);
}

static void read_line(Reader *r) {
    Span word = next_word(r);
    if (word.start == word.end) return;
    if (is_word(word, "skip"))
        read_skip(r, word);
    else if (is_word(word, "use"))
        read_use(r);
    else
        read_rule(r, word);
}

static void read_all(Reader *r) {
    const Source *src = r->src;
    for (int next = 0; next < (int)src->len;) {
        const char *from = src->text + next, *newline = memchr(from, '\n', src->len - (size_t)next);
        int end = newline ? (int)(newline - src->text) : (int)src->len;
        const char *comment = memchr(from, '#', (size_t)(end - next));
        r->at = next;
        r->end = comment ? (int)(comment - src->text) : end;
        while (r->end > r->at && is_blank(src->text[r->end - 1])) r->end--;
        read_line(r);
        next = end + 1;
    }
}

void session_rules_read(Arena *a, const Source *src, const char *folder, RenameRules *r, Diags *d) {
    Reader reader = {.arena = a, .diags = d, .rules = r, .src = src, .folder = folder};
    read_all(&reader);
}

void session_rules_skip(Arena *a, const char *pattern, RenameRules *r) {
    VEC_PUSH(a, r->rule, ((RenameRule){.pattern = pattern}));
}
