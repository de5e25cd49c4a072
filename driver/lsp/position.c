/* Places as editors count them: lines from 0, columns in UTF-16 units, or in bytes where both sides
 * agreed on that; and files as addresses. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "driver/lsp/server.h"

/* ---- lines and columns ----------------------------------------------------------------------- */

/* Bytes of the character at s, and the units that it counts. */
static int character(const LspServer *s, const char *text, size_t n, int *units) {
    int len = text_utf8(text, n);
    if (!len) len = 1;
    *units = s->utf8 ? len : len == 4 ? 2 : 1;
    return len;
}

VmJson lsp_position(const LspServer *s, const Source *src, int offset) {
    int line, col, units, column = 0;
    if (offset > (int)src->len) offset = (int)src->len;
    span_place((Span){src, offset, offset}, &line, &col);
    for (int at = src->line[line - 1]; at < offset; column += units)
        at += character(s, src->text + at, src->len - (size_t)at, &units);
    VmJson o = vm_json_object();
    vm_json_int(&o, "line", line - 1);
    vm_json_int(&o, "character", column);
    return o;
}

int lsp_offset(const LspServer *s, const Source *src, const json_t *position) {
    json_int_t line = json_integer_value(json_object_get(position, "line"));
    json_int_t column = json_integer_value(json_object_get(position, "character"));
    if (line < 0) return 0;
    if (line >= src->nline) return (int)src->len;
    int at = src->line[line], units;
    while (at < (int)src->len && src->text[at] != '\n' && column > 0) {
        at += character(s, src->text + at, src->len - (size_t)at, &units);
        column -= units;
    }
    return at;
}

VmJson lsp_range(const LspServer *s, Span span) {
    VmJson o = vm_json_object();
    vm_json_put(&o, "start", lsp_position(s, span.src, span.start));
    vm_json_put(&o, "end", lsp_position(s, span.src, span.end));
    return o;
}

/* ---- addresses ------------------------------------------------------------------------------- */

static int hex(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* A document that is no file has its address for a name: what it uses is not searched anywhere but
 * in the library and the current folder. */
char *lsp_path_of(const char *uri) {
    static const char scheme[] = "file://";
    bool file = !strncmp(uri, scheme, sizeof scheme - 1);
    const char *from = file ? strchr(uri + sizeof scheme - 1, '/') : uri; /* behind the host */
    char *path = strdup(from ? from : uri), *to = path;
    if (!path) vm_out_of_memory(strlen(uri));
    for (const char *p = path; *p; p++) {
        bool code = file && *p == '%' && hex(p[1]) >= 0 && hex(p[2]) >= 0;
        char c = code ? (char)(hex(p[1]) << 4 | hex(p[2])) : *p;
        *to++ = !file && c == '/' ? '_' : c ? c : '%';
        if (code) p += 2;
    }
    *to = 0;
    return path;
}

const char *lsp_uri_of(LspServer *s, const char *path) {
    for (const LspDocument *d = s->documents; d; d = d->next)
        if (!strcmp(d->path, path)) return d->uri;
    char *real = realpath(path, NULL);
    Text t = text_new(s->request);
    text_add(&t, "file://");
    for (const char *p = real ? real : path; *p; p++) {
        bool plain = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') ||
                     (*p >= '0' && *p <= '9') || strchr("/-._~", *p);
        text_addf(&t, plain ? "%c" : "%%%02X", (unsigned char)*p);
    }
    for (const LspDocument *d = s->documents; real && d; d = d->next) { /* as the editor calls it */
        char *own = realpath(d->path, NULL);
        bool same = own && !strcmp(own, real);
        free(own);
        if (!same) continue;
        free(real);
        return d->uri;
    }
    free(real);
    return t.data;
}

VmJson lsp_location(LspServer *s, Span span) {
    VmJson o = vm_json_object();
    vm_json_string(&o, "uri", lsp_uri_of(s, span.src->real ? span.src->real : span.src->path));
    vm_json_put(&o, "range", lsp_range(s, span));
    return o;
}
