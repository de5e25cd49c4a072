/* Text that doubles as it grows. What it grew out of stays in the arena. */
#include "base/text.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

Text text_new(Arena *a) {
    Text t = {.arena = a, .cap = 64};
    t.data = arena_alloc(a, t.cap);
    return t;
}

void text_addn(Text *t, const char *s, size_t n) {
    if (!t->arena) return;
    if (t->cap - t->len <= n) {
        size_t cap = t->cap * 2 > t->len + n + 1 ? t->cap * 2 : t->len + n + 1;
        char *data = arena_alloc(t->arena, cap);
        memcpy(data, t->data, t->len);
        t->data = data;
        t->cap = cap;
    }
    if (n) memcpy(t->data + t->len, s, n);
    t->len += n;
    t->data[t->len] = 0;
}

void text_add(Text *t, const char *s) {
    text_addn(t, s, strlen(s));
}

void text_addf(Text *t, const char *fmt, ...) {
    if (!t->arena) return;
    char small[256];
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int len = vsnprintf(small, sizeof small, fmt, ap);
    if (len >= 0 && (size_t)len < sizeof small)
        text_addn(t, small, (size_t)len);
    else
        text_add(t, arena_vprintf(t->arena, fmt, again)); /* too long, or no memory */
    va_end(again);
    va_end(ap);
}

int text_utf8(const char *text, size_t n) {
    const unsigned char *s = (const unsigned char *)text;
    if (s[0] < 0x80) return 1;
    int len = s[0] >= 0xC2 && s[0] < 0xE0   ? 2
              : s[0] >= 0xE0 && s[0] < 0xF0 ? 3
              : s[0] >= 0xF0 && s[0] < 0xF5 ? 4
                                            : 0;
    if (len == 0 || (size_t)len > n) return 0;
    for (int i = 1; i < len; i++)
        if ((s[i] & 0xC0) != 0x80) return 0;
    bool overlong = (s[0] == 0xE0 && s[1] < 0xA0) || (s[0] == 0xF0 && s[1] < 0x90);
    bool outside = (s[0] == 0xED && s[1] >= 0xA0) || (s[0] == 0xF4 && s[1] >= 0x90);
    return overlong || outside ? 0 : len;
}
