/* Uses patterns of names (pattern.h). Requires sides of rules that rules.c has read. */
#include "driver/session/pattern.h"
#include "base/text.h"

#include <inttypes.h>
#include <stdint.h>
#include <string.h>

/* The usual way back to the last star when something does not fit: a star before it need not take
 * more, for what follows it would fit no better. */
bool session_pattern_match(const char *pattern, const char *name, Stars *s) {
    const char *star = NULL;
    const char *end = name;
    s->n = 0;
    while (*name) {
        if (*pattern == '*') {
            star = pattern++;
            end = name;
            if (s->n < RENAME_STARS) {
                s->at[s->n] = name;
                s->len[s->n] = 0;
            }
            s->n++;
        } else if (*pattern == '?' || *pattern == *name) {
            pattern++;
            name++;
        } else if (star) {
            pattern = star + 1;
            name = ++end;
            if (s->n <= RENAME_STARS) s->len[s->n - 1]++;
        } else {
            return false;
        }
    }
    for (; *pattern == '*'; pattern++, s->n++) {
        if (s->n >= RENAME_STARS) continue;
        s->at[s->n] = name;
        s->len[s->n] = 0;
    }
    return !*pattern;
}

/* A whole number of a few digits, or -1. */
static int64_t number_of(const char *at, int len) {
    int64_t x = 0;
    if (len > 9) return -1;
    for (int i = 0; i < len; i++) {
        if (at[i] < '0' || at[i] > '9') return -1;
        x = 10 * x + at[i] - '0';
    }
    return len > 0 ? x : -1;
}

/* What stands for a star on the right: * is the next one, {2} the second, {2+1} a number near it.
 */
typedef struct Place {
    int star; /* from 0 */
    bool number;
    int64_t off;
} Place;

/* The place at p, which is a star or a brace; its length. *next counts the stars so far. */
static int read_place(const char *p, int *next, Place *out) {
    *out = (Place){0};
    if (*p == '*') {
        out->star = (*next)++;
        return 1;
    }
    const char *from = p++;
    int which = 0, sign = 0;
    while (*p >= '0' && *p <= '9') which = 10 * which + *p++ - '0';
    if (*p != '}') {
        sign = *p++ == '-' ? -1 : 1;
        while (*p >= '0' && *p <= '9') out->off = 10 * out->off + *p++ - '0';
    }
    out->star = which - 1;
    out->number = sign != 0;
    out->off *= sign;
    return (int)(p + 1 - from);
}

static bool add_place(Text *t, const Place *p, const Stars *s) {
    const char *at = s->at[p->star];
    int len = s->len[p->star];
    if (!p->number) {
        text_addn(t, at, (size_t)len);
        return true;
    }
    int64_t x = number_of(at, len);
    if (x < 0 || x + p->off < 0) return false;
    text_addf(t, "%" PRId64, x + p->off);
    return true;
}

const char *session_pattern_fill(Arena *a, const char *to, const Stars *s) {
    Text t = text_new(a);
    int next = 0;
    while (*to) {
        if (*to != '*' && *to != '{') {
            text_addn(&t, to++, 1);
            continue;
        }
        Place p;
        to += read_place(to, &next, &p);
        if (!add_place(&t, &p, s)) return NULL;
    }
    return t.data;
}

/* ---- backwards ------------------------------------------------------------------------------- */

/* A right side as a pattern, a star for every place of it. */
typedef struct Turned {
    const char *pattern;
    Place place[RENAME_STARS];
    int n;
} Turned;

static bool turn(Arena *a, const char *to, Turned *out) {
    Text t = text_new(a);
    int next = 0;
    out->n = 0;
    while (*to) {
        if (*to != '*' && *to != '{') {
            text_addn(&t, to++, 1);
            continue;
        }
        if (out->n == RENAME_STARS) return false;
        to += read_place(to, &next, &out->place[out->n++]);
        text_addn(&t, "*", 1);
    }
    out->pattern = t.data;
    return true;
}

/* What the stars on the left stood for, from what stands at the places on the right. False: no
 * number where one is counted, or one star in two places that differ. A star that stands nowhere
 * stays without a value. */
static bool left_stars(Arena *a, const Turned *t, const Stars *right, Stars *left) {
    *left = (Stars){.n = RENAME_STARS};
    for (int i = 0; i < t->n; i++) {
        const Place *p = &t->place[i];
        const char *at = right->at[i];
        int len = right->len[i];
        if (p->number) {
            int64_t x = number_of(at, len);
            if (x < 0 || x - p->off < 0) return false;
            at = arena_printf(a, "%" PRId64, x - p->off);
            len = (int)strlen(at);
        }
        const char *old = left->at[p->star];
        if (old && (left->len[p->star] != len || memcmp(old, at, (size_t)len) != 0)) return false;
        left->at[p->star] = at;
        left->len[p->star] = len;
    }
    return true;
}

/* The left side with its stars; NULL with *why: something of it stands nowhere on the right. */
static const char *fill_left(Arena *a, const char *pattern, const Stars *s, const char **why) {
    Text t = text_new(a);
    int star = 0;
    for (const char *p = pattern; *p; p++) {
        if (*p == '?') {
            *why = "what ? stands for is not on the right";
            return NULL;
        }
        if (*p != '*') {
            text_addn(&t, p, 1);
        } else if (s->at[star]) {
            text_addn(&t, s->at[star], (size_t)s->len[star]);
            star++;
        } else {
            *why = arena_printf(a, "what star %d stands for is not on the right", star + 1);
            return NULL;
        }
    }
    return t.data;
}

const char *session_pattern_back(Arena *a, const char *pattern, const char *to, const char *name,
                                 const char **why) {
    Turned t;
    Stars right, left;
    *why = NULL;
    if (!turn(a, to, &t) || !session_pattern_match(t.pattern, name, &right)) return NULL;
    if (!left_stars(a, &t, &right, &left)) return NULL;
    const char *back = fill_left(a, pattern, &left, why);
    if (!back || !session_pattern_match(pattern, back, &left)) return NULL;
    const char *again = session_pattern_fill(a, to, &left);
    return again && !strcmp(again, name) ? back : NULL;
}
