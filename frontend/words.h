/* The words of the language and what each means, for editors and pages: keywords, builtin
 * functions, fields of train blocks and what these may be. Made of the tables that the front end
 * itself uses. */
#ifndef VMOEC_FRONTEND_WORDS_H
#define VMOEC_FRONTEND_WORDS_H

#include "base/arena.h"

typedef enum FeWordKind {
    FE_DECLARATION,
    FE_STATEMENT,
    FE_PART,
    FE_VALUE,
    FE_OPERATOR,
    FE_LOOSE,
    FE_TYPE,
    FE_BUILTIN,     /* form: its parameters */
    FE_INITIALISER, /* a builtin that makes initial values */
    FE_FIELD,       /* of a train block */
    FE_CHOICE       /* what a field may be; form: the field */
} FeWordKind;

typedef struct FeWord {
    const char *name, *form, *meaning;
    FeWordKind kind;
} FeWord;

int fe_nword(void);
/* In the order of the tables. */
FeWord fe_word(int i);
/* Of a builtin, as one would write them: "x, eps?". */
const char *fe_word_parameters(Arena *a, const FeWord *w);

#endif
