/* Growing text in an arena: the printers' string builder. */
#ifndef VMOEC_BASE_TEXT_H
#define VMOEC_BASE_TEXT_H

#include "base/arena.h"

/* `data` is always terminated. */
typedef struct Text {
    Arena *arena; /* NULL: what is added is dropped */
    char *data;
    size_t len, cap;
} Text;

Text text_new(Arena *a);
void text_add(Text *t, const char *s);
void text_addn(Text *t, const char *s, size_t n);
void text_addf(Text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Length of the valid UTF-8 sequence at s (n >= 1 bytes left), or 0. */
int text_utf8(const char *s, size_t n);

#endif
