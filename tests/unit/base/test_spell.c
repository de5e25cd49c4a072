/* What mistyped names were meant to be. */
#include <criterion/criterion.h>

#include <string.h>

#include "base/spell.h"

Test(spell, suggestions) {
    const char *const words[] = {"attention", "dispatch", "combine", "mlp", "dim", "x"};
    cr_expect_str_eq(spell_suggest("atention", words, 6), "attention");
    cr_expect_str_eq(spell_suggest("dipsatch", words, 6), "dispatch");
    cr_expect_str_eq(spell_suggest("mpl", words, 6), "mlp");
    cr_expect_str_eq(spell_suggest("combined", words, 6), "combine");
    cr_expect_null(spell_suggest("softmax", words, 6));
    cr_expect_null(spell_suggest("mlp", words, 4), "a name is no correction of itself");
    cr_expect_null(spell_suggest("", words, 6) && strlen(spell_suggest("", words, 6)) > 1 ? "far"
                                                                                          : NULL);
    cr_expect_null(spell_suggest("anything", NULL, 0));
    char name[4000];
    memset(name, 'a', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    cr_expect_null(spell_suggest(name, words, 6));
}
