/* Pages that a program writes, compared with what is in docs/. */
#include "tests/unit/util_doc.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

char *doc_text(void (*print)(FILE *)) {
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    print(f);
    fclose(f);
    return text;
}

void doc_is(const char *path, void (*print)(FILE *)) {
    char *text = doc_text(print);
    FILE *page = fopen(path, "r");
    cr_assert_not_null(page, "%s is missing: run make docs", path);
    size_t size = strlen(text);
    char *written = calloc(1, size + 2);
    size_t got = fread(written, 1, size + 1, page);
    fclose(page);
    cr_assert(got == size && memcmp(text, written, size) == 0, "%s is out of date: run make docs",
              path);
    free(written);
    free(text);
}
