/* Patterns over weight names: which weights, and which states, training leaves alone. `*` stands
 * for any characters, dots among them, and `?` for one. */
#include "frontend/meaning/sema.h"

#include <string.h>

/* SHOWN: names in a message; MOST: letters of a pattern that somebody may have mistyped. */
enum { SHOWN = 4, MOST = 256 };

/* The usual way back to the last star when something does not fit. */
static bool matches(const char *pattern, const char *name) {
    const char *star = NULL, *from = NULL;
    while (*name) {
        if (*pattern == '*') {
            star = pattern++;
            from = name;
        } else if (*pattern == '?' || *pattern == *name) {
            pattern++;
            name++;
        } else if (star) {
            pattern = star + 1;
            name = ++from;
        } else {
            return false;
        }
    }
    while (*pattern == '*') pattern++;
    return !*pattern;
}

static int min2(int a, int b) {
    return a < b ? a : b;
}

/* How many letters of the pattern or the name must change for a match. */
static int distance(Arena *a, const char *pattern, const char *name) {
    int n = (int)strlen(name);
    int *above = ARENA_ARRAY(a, int, n + 1), *now = ARENA_ARRAY(a, int, n + 1);
    for (int j = 0; j <= n; j++) above[j] = j;
    for (; *pattern; pattern++) {
        bool star = *pattern == '*';
        now[0] = above[0] + !star;
        for (int j = 1; j <= n; j++) {
            bool same = *pattern == '?' || *pattern == name[j - 1];
            int skip = min2(above[j] + !star, now[j - 1] + !star);
            now[j] = star ? skip : min2(skip, above[j - 1] + !same);
        }
        int *t = above;
        above = now;
        now = t;
    }
    return above[n];
}

static const char *nearest(Arena *a, const IrGraph *g, const char *pattern) {
    const char *best = NULL;
    size_t letters = strlen(pattern);
    if (letters > MOST) return NULL;
    int least = (int)letters / 3 + 1;
    IR_FOR (n, g) {
        if (n->op != OP_param) continue;
        int d = distance(a, pattern, ir_str(n, ATTR_param_name));
        if (d >= least) continue;
        least = d;
        best = ir_str(n, ATTR_param_name);
    }
    return best;
}

/* "m.a, m.b and 7 more" */
static const char *some_names(Arena *a, const IrGraph *g) {
    Text t = text_new(a);
    int count = 0;
    IR_FOR (n, g) {
        if (n->op != OP_param) continue;
        if (count < SHOWN) text_addf(&t, "%s%s", count ? ", " : "", ir_str(n, ATTR_param_name));
        count++;
    }
    if (count > SHOWN) text_addf(&t, " and %d more", count - SHOWN);
    return count ? t.data : "none";
}

static void no_match(Elab *E, const char *pattern, Span at) {
    const char *near = nearest(E->a, E->g, pattern);
    if (near)
        sema_error(E, at, D_frozen_weights, "`%s` matches no weight: did you mean `%s`?", pattern,
                   near);
    else
        sema_error(E, at, D_frozen_weights, "`%s` matches no weight; the weights are %s", pattern,
                   some_names(E->a, E->g));
}

void freeze_weights(Elab *E, const FeTrain *t) {
    const VmPatterns *p = &t->recipe.freeze;
    int left = 0;
    for (int i = 0; i < p->n; i++) {
        int count = 0;
        IR_FOR (n, E->g) {
            if (n->op != OP_param || !matches(p->at[i], ir_str(n, ATTR_param_name))) continue;
            ir_set_int(n, ATTR_param_frozen, 1);
            count++;
        }
        if (!count) no_match(E, p->at[i], t->pattern[i]);
    }
    IR_FOR (n, E->g) left += ir_learns(n);
    if (p->n && !left && !E->failed)
        sema_error(E, t->pattern[0], D_frozen_weights,
                   "every weight of `%s` is frozen: there is nothing to train", t->model);
}
