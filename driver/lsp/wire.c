/* Framing (wire.h). Requires nothing of what it reads: any bytes may come. */
#include "driver/lsp/wire.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/bug.h"

enum { CHUNK = 1 << 16, MAX_HEADER = 1 << 16 };

static void make_room(LspWire *w) {
    if (w->cap - w->n >= CHUNK) return;
    size_t cap = 2 * w->cap + CHUNK;
    char *data = realloc(w->data, cap);
    if (!data) vm_out_of_memory(cap);
    w->data = data;
    w->cap = cap;
}

static bool read_more(LspWire *w) {
    make_room(w);
    ssize_t n;
    do n = read(w->in, w->data + w->n, CHUNK);
    while (n < 0 && errno == EINTR);
    if (n > 0) w->n += (size_t)n;
    return n > 0;
}

static void drop(LspWire *w, size_t n) {
    if (n) memmove(w->data, w->data + n, w->n - n);
    w->n -= n;
    if (w->cap > 4 * CHUNK && w->n < CHUNK) { /* after a long message */
        char *less = realloc(w->data, 2 * CHUNK);
        if (less) w->data = less;
        if (less) w->cap = 2 * CHUNK;
    }
}

/* Bytes of the header with its empty line; 0: it is not complete. */
static size_t header_size(const LspWire *w) {
    for (const char *p = w->data, *end = w->data + w->n; p; p++) {
        p = memchr(p, '\n', (size_t)(end - p));
        if (!p) return 0;
        const char *next = p + 1;
        if (next < end && *next == '\r') next++;
        if (next < end && *next == '\n') return (size_t)(next - w->data) + 1;
    }
    return 0;
}

/* What the header says; -1: nothing that is a length. */
static long long content_length(const char *header, size_t size) {
    static const char name[] = "Content-Length:";
    const char *end = header + size;
    for (const char *p = header; p && p < end; p = memchr(p, '\n', (size_t)(end - p)), p += !!p) {
        if ((size_t)(end - p) < sizeof name || strncasecmp(p, name, sizeof name - 1) != 0) continue;
        p += sizeof name - 1;
        while (p < end && (*p == ' ' || *p == '\t')) p++;
        long long n = -1; /* digits alone, few enough */
        for (int i = 0; i < 12 && p < end && *p >= '0' && *p <= '9'; i++, p++)
            n = (n < 0 ? 0 : n) * 10 + (*p - '0');
        return p < end && (*p == '\r' || *p == '\n' || *p == ' ') ? n : -1;
    }
    return -1;
}

/* Bytes of a message that nobody could hold. */
static void skip(LspWire *w, size_t n) {
    while (n > w->n) {
        n -= w->n;
        w->n = 0;
        if (!read_more(w)) return;
    }
    drop(w, n);
}

LspRead lsp_wire_read(LspWire *w, const char **body, size_t *n) {
    size_t header = 0;
    drop(w, w->used); /* the last message */
    w->used = *n = 0;
    while (!w->n || !(header = header_size(w))) {
        if (w->n > MAX_HEADER) {
            drop(w, w->n);
            return LSP_GARBAGE;
        }
        if (!read_more(w)) return LSP_END;
    }
    long long length = content_length(w->data, header);
    drop(w, header);
    if (length > LSP_MAX_MESSAGE) skip(w, (size_t)length);
    if (length < 0 || length > LSP_MAX_MESSAGE) return LSP_GARBAGE;
    while (w->n < (size_t)length)
        if (!read_more(w)) return LSP_END;
    *body = w->data;
    *n = w->used = (size_t)length;
    return LSP_MESSAGE;
}

bool lsp_wire_waits(const LspWire *w) {
    struct pollfd p = {.fd = w->in, .events = POLLIN};
    return w->n > w->used || poll(&p, 1, 0) > 0;
}

static void write_all(LspWire *w, const char *data, size_t n) {
    while (n && !w->broken) {
        ssize_t k = write(w->out, data, n);
        if (k < 0 && errno == EINTR) continue;
        w->broken = k < 0;
        data += k < 0 ? 0 : k;
        n -= k < 0 ? 0 : (size_t)k;
    }
}

void lsp_wire_write(LspWire *w, const char *body, size_t n) {
    char header[64];
    int len = snprintf(header, sizeof header, "Content-Length: %zu\r\n\r\n", n);
    write_all(w, header, (size_t)len);
    write_all(w, body, n);
}

void lsp_wire_free(LspWire *w) {
    free(w->data);
    *w = (LspWire){0};
}
