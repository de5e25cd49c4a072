/* The words of the language (words.h), from the tables of keywords, builtins and recipes. */
#include "frontend/words.h"

#include <stddef.h>
#include <string.h>

#include "frontend/meaning/sema.h"

/* What stands in a file besides names of its own. */
static const FeWord fixed[] = {
#define KEYWORD(word, kind, form, meaning) {#word, form, meaning, FE_##kind},
#include "frontend/syntax/keywords.def"
};

enum { FIXED = sizeof fixed / sizeof fixed[0] };

static FeWord builtin(int i) {
    const FeBuiltin *b = fe_builtin_at(i);
    for (int k = 0; k < VM_INIT_COUNT; k++)
        if (!strcmp(vm_inits[k].name, b->name))
            return (FeWord){b->name, b->params, vm_inits[k].meaning, FE_INITIALISER};
    const char *doc = b->op != OP_COUNT ? ir_ops[b->op].doc : "";
    return (FeWord){b->name, b->params, doc, FE_BUILTIN};
}

/* The i-th of all fields and choices, each field before its choices; counts them when i is too
 * large. */
static int recipe_word(int i, FeWord *out) {
    int n = 0;
    for (int f = 0; f < VM_FIELDS; f++) {
        const VmField *x = &vm_fields[f];
        if (n++ == i) *out = (FeWord){x->name, x->name, x->doc, FE_FIELD};
        for (int k = 0; k < x->nchoice; k++, n++)
            if (n == i) *out = (FeWord){x->choice[k].name, x->name, x->choice[k].doc, FE_CHOICE};
    }
    return n;
}

int fe_nword(void) {
    return FIXED + fe_nbuiltin() + recipe_word(-1, NULL);
}

FeWord fe_word(int i) {
    if (i < FIXED) return fixed[i];
    if (i < FIXED + fe_nbuiltin()) return builtin(i - FIXED);
    FeWord w = {0};
    (void)recipe_word(i - FIXED - fe_nbuiltin(), &w);
    return w;
}

const char *fe_word_parameters(Arena *a, const FeWord *w) {
    Text t = text_new(a);
    for (const char *p = w->form; *(p += strspn(p, " ")); p += strcspn(p, " ")) {
        if (t.len) text_add(&t, ", ");
        text_addn(&t, p, strcspn(p, " "));
    }
    return t.data;
}
