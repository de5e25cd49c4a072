/* Edit distance with swaps of neighbours, for names that are short; longer ones have no suggestion.
 */
#include "base/spell.h"

#include <stdbool.h>
#include <string.h>

enum { MAX_SPELL = 48 };

static int min3(int a, int b, int c) {
    int m = a < b ? a : b;
    return m < c ? m : c;
}

/* Both lengths are at most MAX_SPELL. */
static int distance(const char *a, int na, const char *b, int nb) {
    int row[3][MAX_SPELL + 1];
    int *before = row[0], *above = row[1], *now = row[2];
    for (int j = 0; j <= nb; j++) above[j] = j;
    for (int i = 1; i <= na; i++) {
        now[0] = i;
        for (int j = 1; j <= nb; j++) {
            int same = a[i - 1] == b[j - 1];
            now[j] = min3(above[j] + 1, now[j - 1] + 1, above[j - 1] + !same);
            bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
            if (swapped && before[j - 2] + 1 < now[j]) now[j] = before[j - 2] + 1;
        }
        int *t = before;
        before = above;
        above = now;
        now = t;
    }
    return above[nb];
}

const char *spell_suggest(const char *name, const char *const *candidates, int n) {
    size_t len = strlen(name);
    const char *best = NULL;
    int best_distance = (int)(len > MAX_SPELL ? 0 : len < 3 ? 1 : len / 3) + 1;
    for (int i = 0; i < n && len <= MAX_SPELL; i++) {
        size_t m = strlen(candidates[i]);
        size_t gap = m > len ? m - len : len - m;
        if (m > MAX_SPELL || gap >= (size_t)best_distance || strcmp(name, candidates[i]) == 0)
            continue;
        int k = distance(name, (int)len, candidates[i], (int)m);
        if (k >= best_distance) continue;
        best = candidates[i];
        best_distance = k;
    }
    return best;
}
