/* Diagnostics as text for people and as JSON for editors. Output is always valid UTF-8 without
 * control characters, whatever the source holds: it goes to terminals and JSON readers. Columns
 * count bytes; carets count characters, and tabs are repeated under tabs. */
#include "base/json.h"
#include "frontend/syntax/diag.h"

#include <stdlib.h>
#include <string.h>

/* Bytes of a long line that are shown where no terminal says how many; what stands beside them. */
enum { WINDOW = 120, MARGIN = 8, DOTS = 3, LEAST = 20 };

static const char *const replacement = "\xEF\xBF\xBD";

static bool is_control(const char *s, int len) {
    unsigned char c = (unsigned char)s[0];
    return c < ' ' || c == 0x7F || (len == 2 && c == 0xC2 && (unsigned char)s[1] < 0xA0);
}

/* One character of s to f: as it is, or the replacement character. Returns bytes consumed. */
static int put_char(Text *t, const char *s, size_t n) {
    int len = text_utf8(s, n);
    if (len == 0 || (is_control(s, len) && *s != '\t')) {
        text_add(t, replacement);
        return len ? len : 1;
    }
    text_addn(t, s, (size_t)len);
    return len;
}

static void put_text(Text *t, const char *s) {
    size_t n = strlen(s);
    for (size_t i = 0; i < n;) i += (size_t)put_char(t, s + i, n - i);
}

/* ---- for people ------------------------------------------------------------------------------ */

typedef struct Style {
    const char *bold, *error, *warning, *note, *caret, *off;
    int columns;
} Style;

static const Style plain = {"", "", "", "", "", "", 0};
static const Style coloured = {
    "\033[1m", "\033[1;31m", "\033[1;35m", "\033[1;36m", "\033[1;32m", "\033[0m", 0};

static int at_least(int x, int least) {
    return x > least ? x : least;
}

static bool continues(const char *s, int i) {
    return ((unsigned char)s[i] & 0xC0) == 0x80;
}

/* The source line of a span with carets under it; of a long line the part around the span. */
static void print_excerpt(Text *t, Span s, const Style *st) {
    int line, col;
    span_place(s, &line, &col);
    const char *text = s.src->text;
    int at = s.start > (int)s.src->len ? (int)s.src->len : s.start;
    int bol = at - (col - 1);
    int eol = bol + (int)strcspn(text + bol, "\n");
    if (eol > bol && text[eol - 1] == '\r') eol--;
    int from = bol, to = eol;
    int room = st->columns ? at_least(st->columns - MARGIN, LEAST) : WINDOW;
    if (to - from > room) {
        int part = st->columns ? at_least(room - 2 * DOTS, LEAST) : WINDOW;
        from = at_least(at - part / 3, bol);
        to = from + part < eol ? from + part : eol;
        for (int k = 0; k < 4 && from > bol && continues(text, from); k++) from--;
        for (int k = 0; k < 4 && to < eol && continues(text, to); k++) to--;
    }
    text_addf(t, "%5d | %s", line, from > bol ? "..." : "");
    for (int i = from; i < to;) i += put_char(t, text + i, (size_t)(to - i));
    text_addf(t, "%s\n      | %s", to < eol ? "..." : "", from > bol ? "   " : "");
    for (int i = from; i < at && i < to;) {
        int n = text_utf8(text + i, (size_t)(to - i));
        text_add(t, text[i] == '\t' ? "\t" : " ");
        i += n ? n : 1;
    }
    text_addf(t, "%s^", st->caret);
    for (int i = at; i < s.end && i < to;) {
        int n = text_utf8(text + i, (size_t)(to - i));
        if (i > at) text_add(t, "^");
        i += n ? n : 1;
    }
    text_addf(t, "%s\n", st->off);
}

static void print_one(Text *t, Span s, const Style *st, const char *colour, const char *level,
                      const char *text, const char *slug) {
    int line, col;
    span_place(s, &line, &col);
    text_add(t, st->bold);
    if (s.src) {
        put_text(t, s.src->path);
        text_addf(t, ":%d:%d: ", line, col);
    } else {
        text_add(t, "vmoec: ");
    }
    text_addf(t, "%s%s%s: %s", st->off, colour, level, st->off);
    put_text(t, text);
    if (slug) text_addf(t, " [%s]", slug);
    text_add(t, "\n");
    if (s.src) print_excerpt(t, s, st);
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

const Diag *const *diags_in_order(const Diags *d, int *n) {
    Order *o = in_order(d, n);
    const Diag **list = ARENA_ARRAY(d->arena, const Diag *, *n + 1);
    for (int i = 0; i < *n; i++) list[i] = o[i].diag;
    return list;
}

void diag_text(Text *t, const Diag *x, bool colour, int columns) {
    Style style = colour ? coloured : plain;
    const Style *st = &style;
    style.columns = columns;
    bool error = x->level == DIAG_ERROR;
    print_one(t, x->span, st, error ? st->error : st->warning, error ? "error" : "warning", x->text,
              diag_slug(x->id));
    for (const DiagNote *note = x->notes; note; note = note->next)
        print_one(t, note->span, st, st->note, "note", note->text, NULL);
}

static void print_text(FILE *f, const Text *t) {
    fwrite(t->data, 1, t->len, f);
}

void diags_print(FILE *f, const Diags *d, bool colour) {
    int n;
    Text t = text_new(d->arena);
    const Diag *const *list = diags_in_order(d, &n);
    for (int i = 0; i < n; i++) diag_text(&t, list[i], colour, d->columns);
    print_text(f, &t);
}

/* ---- for editors ----------------------------------------------------------------------------- */

/* null and zeros without a place. */
static void put_place(VmJson *o, Span s) {
    int line, col, end_line, end_col;
    span_place(s, &line, &col);
    span_place((Span){s.src, s.end, s.end}, &end_line, &end_col);
    if (s.src)
        vm_json_string(o, "file", s.src->path);
    else
        vm_json_null(o, "file");
    vm_json_int(o, "line", line);
    vm_json_int(o, "column", col);
    vm_json_int(o, "end_line", end_line);
    vm_json_int(o, "end_column", end_col);
}

static VmJson diag_json(const Diag *x) {
    VmJson o = vm_json_object(), notes = vm_json_list();
    put_place(&o, x->span);
    vm_json_string(&o, "severity", x->level == DIAG_ERROR ? "error" : "warning");
    vm_json_string(&o, "slug", diag_slug(x->id));
    vm_json_string(&o, "message", x->text);
    for (const DiagNote *note = x->notes; note; note = note->next) {
        VmJson n = vm_json_object();
        put_place(&n, note->span);
        vm_json_string(&n, "message", note->text);
        vm_json_put(&notes, NULL, n);
    }
    vm_json_put(&o, "notes", notes);
    return o;
}

void diags_add_json(VmJson *list, const Diags *d) {
    int n;
    const Diag *const *x = diags_in_order(d, &n);
    for (int i = 0; i < n; i++) vm_json_put(list, NULL, diag_json(x[i]));
}

void diags_print_json(FILE *f, const Diags *d) {
    VmJson all = vm_json_object(), list = vm_json_list();
    diags_add_json(&list, d);
    vm_json_put(&all, "diagnostics", list);
    vm_json_print(f, &all);
}
