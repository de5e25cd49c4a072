/* The table of initialisers and the reader of their text form. No blanks, no "nan": there is one
 * way to write a number of digits. */
#include "base/inits.h"

#include <float.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>

const VmInitRow vm_inits[VM_INIT_COUNT] = {
#define INIT(name, form, given, least, varies, meaning)                                            \
    {#name, form, given, least, varies, meaning},
#include "base/inits.def"
};

const char vm_init_forms[] =
#define INIT(name, form, ...) form ", "
#include "base/inits.def"
    "or same(one of these)";

/* Whatever the program's locale: a library's program may have any. */
static double read_number(const char *s, char **end) {
    locale_t plain = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    double x = strtod_l(s, end, plain);
    freelocale(plain);
    return x;
}

/* Reads "(1,2)" where the form has "(a,b)"; returns what follows, or NULL. */
static const char *read_numbers(const char *s, const VmInitRow *row, double *number) {
    const char *form = strchrnul(row->form, '(');
    for (int i = 0; *form; form += 1 + strcspn(form + 1, ",)"), i++) {
        if (*s++ != *form) return NULL;
        if (*form == ')') break;
        if (i == VM_INIT_NUMBERS) return NULL; /* a row with more is of no use */
        if (!*s || !strchr("+-.0123456789", *s)) return NULL;
        char *end;
        number[i] = read_number(s, &end);
        if (end == s || !(number[i] >= row->least && number[i] <= (double)FLT_MAX)) return NULL;
        s = end;
    }
    return s;
}

bool vm_read_init(const char *text, VmInit *out) {
    *out = (VmInit){.same = strncmp(text, "same(", 5) == 0};
    if (out->same) text += 5;
    size_t n = strcspn(text, "()");
    for (int k = 0; k < VM_INIT_COUNT; k++) {
        const char *form = vm_inits[k].form;
        if (strcspn(form, "(") != n || strncmp(form, text, n) != 0) continue;
        out->kind = (VmInitKind)k;
        const char *rest = read_numbers(text + n, &vm_inits[k], out->number);
        return rest && !strcmp(rest, out->same ? ")" : "");
    }
    return false;
}
