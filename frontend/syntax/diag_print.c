/* Diagnostics as text for people and as JSON for editors. Output is always valid UTF-8 without
 * control characters, whatever the source holds: it goes to terminals and JSON readers. Columns
 * count bytes; carets count characters, and tabs are repeated under tabs. */
#include "frontend/syntax/diag.h"

#include <stdlib.h>
#include <string.h>

enum { WINDOW = 120 }; /* bytes of a long line that are shown */

static const char *const replacement = "\xEF\xBF\xBD";

/* Length of the valid UTF-8 sequence at s (n bytes left), or 0. */
static int utf8_valid(const char *text, size_t n) {
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

static bool is_control(const char *s, int len) {
    unsigned char c = (unsigned char)s[0];
    return c < ' ' || c == 0x7F || (len == 2 && c == 0xC2 && (unsigned char)s[1] < 0xA0);
}

/* One character of s to f: as it is, or the replacement character. Returns bytes consumed. */
static int put_char(FILE *f, const char *s, size_t n) {
    int len = utf8_valid(s, n);
    if (len == 0 || (is_control(s, len) && *s != '\t')) {
        fputs(replacement, f);
        return len ? len : 1;
    }
    fwrite(s, 1, (size_t)len, f);
    return len;
}

static void put_text(FILE *f, const char *s) {
    size_t n = strlen(s);
    for (size_t i = 0; i < n;) i += (size_t)put_char(f, s + i, n - i);
}

/* ---- for people ------------------------------------------------------------------------------ */

typedef struct Style {
    const char *bold, *error, *warning, *note, *caret, *off;
} Style;

static const Style plain = {"", "", "", "", "", ""};
static const Style coloured = {"\033[1m",    "\033[1;31m", "\033[1;35m",
                               "\033[1;36m", "\033[1;32m", "\033[0m"};

static bool continues(const char *s, int i) {
    return ((unsigned char)s[i] & 0xC0) == 0x80;
}

/* The source line of a span with carets under it; of a long line the part around the span. */
static void print_excerpt(FILE *f, Span s, const Style *st) {
    int line, col;
    span_place(s, &line, &col);
    const char *text = s.src->text;
    int at = s.start > (int)s.src->len ? (int)s.src->len : s.start;
    int bol = at - (col - 1);
    int eol = bol + (int)strcspn(text + bol, "\n");
    if (eol > bol && text[eol - 1] == '\r') eol--;
    int from = bol, to = eol;
    if (to - from > WINDOW) {
        from = at - WINDOW / 3 > bol ? at - WINDOW / 3 : bol;
        to = from + WINDOW < eol ? from + WINDOW : eol;
        for (int k = 0; k < 4 && from > bol && continues(text, from); k++) from--;
        for (int k = 0; k < 4 && to < eol && continues(text, to); k++) to--;
    }
    fprintf(f, "%5d | %s", line, from > bol ? "..." : "");
    for (int i = from; i < to;) i += put_char(f, text + i, (size_t)(to - i));
    fprintf(f, "%s\n      | %s", to < eol ? "..." : "", from > bol ? "   " : "");
    for (int i = from; i < at && i < to;) {
        int n = utf8_valid(text + i, (size_t)(to - i));
        fputc(text[i] == '\t' ? '\t' : ' ', f);
        i += n ? n : 1;
    }
    fprintf(f, "%s^", st->caret);
    for (int i = at; i < s.end && i < to;) {
        int n = utf8_valid(text + i, (size_t)(to - i));
        if (i > at) fputc('^', f);
        i += n ? n : 1;
    }
    fprintf(f, "%s\n", st->off);
}

static void print_one(FILE *f, Span s, const Style *st, const char *colour, const char *level,
                      const char *text, const char *slug) {
    int line, col;
    span_place(s, &line, &col);
    fputs(st->bold, f);
    if (s.src) {
        put_text(f, s.src->path);
        fprintf(f, ":%d:%d: ", line, col);
    } else {
        fputs("vmoec: ", f);
    }
    fprintf(f, "%s%s%s: %s", st->off, colour, level, st->off);
    put_text(f, text);
    if (slug) fprintf(f, " [%s]", slug);
    fputc('\n', f);
    if (s.src) print_excerpt(f, s, st);
}

typedef struct Order {
    const Diag *diag;
    int file, seq;
} Order;

static int by_place(const void *pa, const void *pb) {
    const Order *a = pa, *b = pb;
    if (a->file != b->file) return a->file < b->file ? -1 : 1;
    if (a->diag->span.start != b->diag->span.start)
        return a->diag->span.start < b->diag->span.start ? -1 : 1;
    return a->seq < b->seq ? -1 : 1;
}

/* Sorted copy: those without a place first, then files in the order of their first message. */
static Order *in_order(const Diags *d, int *n) {
    int count = 0;
    for (const Diag *x = d->first; x; x = x->next) count++;
    Order *o = ARENA_ARRAY(d->arena, Order, count);
    int i = 0, files = 0;
    for (const Diag *x = d->first; x; x = x->next, i++) {
        o[i] = (Order){x, x->span.src ? files + 1 : 0, i};
        for (int k = 0; k < i && x->span.src; k++)
            if (o[k].diag->span.src == x->span.src) o[i].file = o[k].file;
        if (o[i].file > files) files = o[i].file;
    }
    if (count > 1) qsort(o, (size_t)count, sizeof *o, by_place);
    *n = count;
    return o;
}

void diags_print(FILE *f, const Diags *d, bool colour) {
    const Style *st = colour ? &coloured : &plain;
    int n;
    Order *o = in_order(d, &n);
    for (int i = 0; i < n; i++) {
        const Diag *x = o[i].diag;
        bool error = x->level == DIAG_ERROR;
        print_one(f, x->span, st, error ? st->error : st->warning, error ? "error" : "warning",
                  x->text, diag_slug(x->id));
        for (const DiagNote *note = x->notes; note; note = note->next)
            print_one(f, note->span, st, st->note, "note", note->text, NULL);
    }
}

/* ---- for editors ----------------------------------------------------------------------------- */

static void json_string(FILE *f, const char *s) {
    size_t n = strlen(s);
    fputc('"', f);
    for (size_t i = 0; i < n;) {
        int len = utf8_valid(s + i, n - i);
        unsigned char c = (unsigned char)s[i];
        if (len == 0)
            fputs("\\ufffd", f);
        else if (c == '"' || c == '\\')
            fprintf(f, "\\%c", c);
        else if (c < ' ' || c == 0x7F)
            fprintf(f, "\\u%04x", c);
        else
            fwrite(s + i, 1, (size_t)len, f);
        i += len ? (size_t)len : 1;
    }
    fputc('"', f);
}

/* "file":..,"line":..,"column":..,"end_line":..,"end_column":.. ; null and zeros without a place.
 */
static void json_place(FILE *f, Span s) {
    int line, col, end_line, end_col;
    span_place(s, &line, &col);
    span_place((Span){s.src, s.end, s.end}, &end_line, &end_col);
    fputs("\"file\":", f);
    if (s.src)
        json_string(f, s.src->path);
    else
        fputs("null", f);
    fprintf(f, ",\"line\":%d,\"column\":%d,\"end_line\":%d,\"end_column\":%d", line, col, end_line,
            end_col);
}

void diags_print_json(FILE *f, const Diags *d) {
    int n;
    Order *o = in_order(d, &n);
    fputs("{\"diagnostics\":[", f);
    for (int i = 0; i < n; i++) {
        const Diag *x = o[i].diag;
        fputs(i ? ",\n{" : "{", f);
        json_place(f, x->span);
        fprintf(f, ",\"severity\":\"%s\",\"slug\":\"%s\",\"message\":",
                x->level == DIAG_ERROR ? "error" : "warning", diag_slug(x->id));
        json_string(f, x->text);
        fputs(",\"notes\":[", f);
        for (const DiagNote *note = x->notes; note; note = note->next) {
            fputs(note == x->notes ? "{" : ",{", f);
            json_place(f, note->span);
            fputs(",\"message\":", f);
            json_string(f, note->text);
            fputc('}', f);
        }
        fputs("]}", f);
    }
    fputs("]}\n", f);
}
