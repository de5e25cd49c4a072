/* Edits that make the tree of a program smaller. An edit is a kind and a number: a tree has edits
 * 0, 1, .. of each kind, in order of place. */
#ifndef VMOEC_TESTS_FUZZ_PROGRAMS_EDITS_H
#define VMOEC_TESTS_FUZZ_PROGRAMS_EDITS_H

#include "frontend/syntax/ast.h"

typedef enum EditKind {
#define EDIT(name, doc) EDIT_##name,
#include "tests/fuzz/programs/edits.def"
    EDITS
} EditKind;

/* Makes edit number `number` of the tree, which is then another. False: there are not so many. */
bool edit_apply(Arena *a, Ast *file, EditKind kind, int number);

#endif
