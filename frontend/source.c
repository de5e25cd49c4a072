/* Source text: loading files and turning byte offsets into places. Requires an arena that outlives the
 * sources. Does not look at the text beyond refusing what cannot be a text file. */
#include "frontend/diag.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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

/* A byte order mark is no part of the first line. */
static int text_start(const Source *s) {
    return s->len >= 3 && memcmp(s->text, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0;
}

/* Places are asked for once per operation: they must not take a walk through the text. */
static void find_lines(Arena *a, Source *s) {
    int n = 1;
    const char *end = s->text + s->len;
    for (const char *p = s->text; (p = memchr(p, '\n', (size_t)(end - p))); p++) n++;
    int *line = ARENA_ARRAY(a, int, n);
    line[s->nline++] = text_start(s);
    for (const char *p = s->text; (p = memchr(p, '\n', (size_t)(end - p))); p++)
        line[s->nline++] = (int)(p - s->text) + 1;
    s->line = line;
}

static Source *source_new(Arena *a, const char *path, const char *text, size_t len) {
    Source *s = ARENA_NEW(a, Source);
    s->path = arena_strdup(a, path);
    s->text = text;
    s->len = len;
    find_lines(a, s);
    return s;
}

/* Pipes and devices may never end, or never begin. */
static FILE *open_regular(Arena *a, const char *path, const char **error) {
    struct stat st;
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    FILE *f = NULL;
    if (fd < 0 || fstat(fd, &st) != 0)
        *error = arena_printf(a, "cannot open %s: %s", path, strerror(errno));
    else if (!S_ISREG(st.st_mode))
        *error = arena_printf(a, "cannot read %s: it is %s, not a file", path,
                              S_ISDIR(st.st_mode) ? "a folder" : "a pipe or a device");
    else if (!(f = fdopen(fd, "rb")))
        *error = arena_printf(a, "cannot open %s: %s", path, strerror(errno));
    if (!f && fd >= 0) close(fd);
    return f;
}

Source *source_load(Arena *a, const char *path, const char **error) {
    FILE *f = open_regular(a, path, error);
    if (!f) return NULL;
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

void span_place(Span s, int *line, int *col) {
    *line = *col = 0;
    if (!s.src) return;
    int end = s.start > (int)s.src->len ? (int)s.src->len : s.start;
    int low = 0, high = s.src->nline; /* the last line that begins at or before `end` */
    while (high - low > 1) {
        int middle = low + (high - low) / 2;
        if (s.src->line[middle] <= end)
            low = middle;
        else
            high = middle;
    }
    *line = low + 1;
    *col = end < s.src->line[low] ? 1 : end - s.src->line[low] + 1;
}
