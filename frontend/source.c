/* Source text: loading files and turning byte offsets into places. Requires an arena that outlives the
 * sources. Does not look at the text beyond refusing what cannot be a text file. */
#include "frontend/diag.h"

#include <errno.h>
#include <string.h>

enum { SOURCE_MAX = 16 << 20 };

/* Reads at most SOURCE_MAX + 1 bytes, so that endless devices end too. Returns NULL on a read error
 * (errno says which). */
static char *read_all(Arena *a, FILE *f, size_t *len) {
    size_t cap = 4096, n = 0;
    char *buf = arena_alloc(a, cap);
    for (;;) {
        errno = 0;
        n += fread(buf + n, 1, cap - 1 - n, f);
        if (ferror(f)) return NULL;
        if (n < cap - 1 || n > SOURCE_MAX) break;
        size_t bigger = cap * 2 > SOURCE_MAX + 2 ? SOURCE_MAX + 2 : cap * 2;
        char *grown = arena_alloc(a, bigger);
        memcpy(grown, buf, n);
        buf = grown;
        cap = bigger;
    }
    buf[n] = '\0';
    *len = n;
    return buf;
}

static Source *source_new(Arena *a, const char *path, const char *text, size_t len) {
    Source *s = ARENA_NEW(a, Source);
    s->path = arena_strdup(a, path);
    s->text = text;
    s->len = len;
    return s;
}

Source *source_load(Arena *a, const char *path, const char **error) {
    FILE *f = fopen(path, "rb");
    if (!f && errno == ENOMEM) vm_out_of_memory(0); /* no fault of the file */
    if (!f) {
        *error = arena_printf(a, "cannot open %s: %s", path, strerror(errno));
        return NULL;
    }
    size_t len = 0;
    char *text = read_all(a, f, &len);
    int code = errno;
    fclose(f);
    if (!text) {
        *error = arena_printf(a, "cannot read %s: %s", path, strerror(code ? code : EIO));
        return NULL;
    }
    if (len > SOURCE_MAX) {
        *error = arena_printf(a, "cannot read %s: it is larger than 16 MiB", path);
        return NULL;
    }
    if (memchr(text, '\0', len)) {
        *error = arena_printf(a, "cannot read %s: it contains NUL bytes and is not a text file", path);
        return NULL;
    }
    return source_new(a, path, text, len);
}

Source *source_from_text(Arena *a, const char *path, const char *text) {
    size_t len = strlen(text);
    return source_new(a, path, arena_strndup(a, text, len), len);
}

Span span_join(Span a, Span b) {
    if (!a.src) return b;
    if (!b.src || a.src != b.src) return a;
    Span s = a;
    if (b.start < s.start) s.start = b.start;
    if (b.end > s.end) s.end = b.end;
    return s;
}

/* A byte order mark is no part of the first line. */
static int text_start(const Source *s) {
    return s->len >= 3 && memcmp(s->text, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0;
}

void span_place(Span s, int *line, int *col) {
    *line = *col = 0;
    if (!s.src) return;
    int end = s.start > (int)s.src->len ? (int)s.src->len : s.start;
    int row = 1, bol = text_start(s.src);
    const char *text = s.src->text;
    for (const char *nl = memchr(text, '\n', (size_t)end); nl;
         nl = memchr(text + bol, '\n', (size_t)(end - bol))) {
        row++;
        bol = (int)(nl - text) + 1;
    }
    *line = row;
    *col = end < bol ? 1 : end - bol + 1;
}
