/* Source text: loading files and turning byte offsets into places. Requires an arena that outlives
 * the sources. Does not look at the text beyond refusing what cannot be a text file. */
#include "frontend/syntax/diag.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/recover.h"

enum { SOURCE_MAX = 16 << 20 };

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

static VmStatus read_text(Arena *a, int fd, const char *path, char **text, size_t *len,
                          VmError *err) {
    char *data;
    if (lseek(fd, 0, SEEK_END) > SOURCE_MAX)
        return vm_fail(err, VM_INPUT, "cannot read %s: it is larger than 16 MiB", path);
    if (lseek(fd, 0, SEEK_SET) != 0)
        return vm_fail(err, VM_ENV, "cannot read %s: %s", path, strerror(errno));
    VmStatus s = vm_read_descriptor(fd, path, &data, len, err);
    if (s) return s;
    VmUndo undo;
    vm_undo_push(&undo, vm_undo_free, data);
    *text = arena_strndup(a, data, *len);
    vm_undo_pop(&undo);
    free(data);
    if (!memchr(*text, '\0', *len)) return VM_OK;
    return vm_fail(err, VM_INPUT, "cannot read %s: it contains NUL bytes and is not a text file",
                   path);
}

Source *source_load(Arena *a, const char *path, VmError *err) {
    int fd = vm_open_read(path, err);
    if (fd < 0) return NULL;
    char *text = NULL;
    size_t len = 0;
    VmUndo undo;
    vm_undo_push(&undo, vm_undo_close, &fd);
    VmStatus s = read_text(a, fd, path, &text, &len, err);
    vm_undo_pop(&undo);
    close(fd);
    return s ? NULL : source_new(a, path, text, len);
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
