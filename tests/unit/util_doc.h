/* Pages that a program writes. */
#ifndef VMOEC_TESTS_UNIT_UTIL_DOC_H
#define VMOEC_TESTS_UNIT_UTIL_DOC_H

#include <stdio.h>

/* What print writes, in memory of malloc, terminated. */
char *doc_text(void (*print)(FILE *));
/* Fails unless the page at `path` is what print writes. */
void doc_is(const char *path, void (*print)(FILE *));

#endif
