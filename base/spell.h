/* What a mistyped name was meant to be. */
#ifndef VMOEC_BASE_SPELL_H
#define VMOEC_BASE_SPELL_H

/* The candidate closest to `name` by edit distance (at most a third of its length), or NULL. */
const char *spell_suggest(const char *name, const char *const *candidates, int n);

#endif
