/* Patterns of names, both ways: what the stars of one stand for, the name that the other side of a
 * rule makes of that, and from that name back to the first. rename.h says what stars and braces
 * mean. Knows nothing of rules, tensors and models. */
#ifndef VMOEC_DRIVER_SESSION_PATTERN_H
#define VMOEC_DRIVER_SESSION_PATTERN_H

#include <stdbool.h>

#include "base/arena.h"

enum { RENAME_STARS = 16 }; /* of a pattern, at most */

/* What the stars of a pattern stand for, in its order. */
typedef struct Stars {
    const char *at[RENAME_STARS];
    int len[RENAME_STARS];
    int n;
} Stars;

/* Whether the pattern stands for the whole name. */
bool session_pattern_match(const char *pattern, const char *name, Stars *s);

/* The right side with what the stars stand for; NULL: a number is wanted and none is there. */
const char *session_pattern_fill(Arena *a, const char *to, const Stars *s);

/* A name on the left that the rule `pattern -> to` makes this one of; NULL: it makes it of none. A
 * rule that forgets a part of the name gives NULL too, with *why, which is NULL otherwise. */
const char *session_pattern_back(Arena *a, const char *pattern, const char *to, const char *name,
                                 const char **why);

#endif
