/* A confusion matrix as a picture. */
#include "cli/tally.h"

#include <string.h>

enum { TITLE = 30, GAP = 8, CHARACTER = 7, LONGEST = 22, NUMBERS = 26, NAMES = 8 };

/* Sizes in pixels. cell: a side; names: whether there is room for names; numbers: in the cells. */
typedef struct Sheet {
    int64_t cell, left, top, side;
    bool names, numbers;
} Sheet;

static Sheet sheet_of(const Tally *t) {
    int64_t longest = 1, n = t->classes;
    for (int64_t i = 0; i < n; i++) {
        int64_t length = (int64_t)strlen(tally_class(t, i));
        if (length > longest) longest = length < LONGEST ? length : LONGEST;
    }
    Sheet s = {.cell = n <= 12 ? 44 : n <= 24 ? 30 : n <= 100 ? 10 : n <= 400 ? 3 : 1};
    s.numbers = s.cell >= NUMBERS;
    s.names = s.cell >= NAMES;
    s.left = s.top = GAP + (s.names ? longest * CHARACTER : CHARACTER);
    s.left += 18;
    s.top += TITLE + 18;
    s.side = s.cell * n;
    return s;
}

static void add_escaped(Text *t, const char *text, int longest) {
    for (int n = 0; *text && n < longest;) {
        int bytes = text_utf8(text, strlen(text));
        if (*text == '<' || *text == '&')
            text_add(t, *text == '<' ? "&lt;" : "&amp;");
        else if (bytes)
            text_addn(t, text, (size_t)bytes);
        else
            text_add(t, "?");
        text += bytes ? bytes : 1;
        n++;
    }
    if (*text) text_add(t, "..");
}

static void add_names(const Tally *t, const Sheet *s, Text *svg) {
    int64_t size = s->cell < 13 ? s->cell : 13;
    for (int64_t i = 0; i < t->classes && s->names; i++) {
        int64_t middle = i * s->cell + s->cell / 2, line = size / 3;
        text_addf(svg, "<text x='%lld' y='%lld' text-anchor='end' font-size='%lld'>",
                  (long long)(s->left - GAP), (long long)(s->top + middle + line), (long long)size);
        add_escaped(svg, tally_class(t, i), LONGEST - 2);
        text_addf(svg,
                  "</text>\n<text transform='translate(%lld %lld) rotate(-90)' font-size='%lld'>",
                  (long long)(s->left + middle + line), (long long)(s->top - GAP), (long long)size);
        add_escaped(svg, tally_class(t, i), LONGEST - 2);
        text_add(svg, "</text>\n");
    }
}

/* From white to a dark blue. */
static void add_colour(Text *svg, double share) {
    static const int from[3] = {255, 255, 255}, to[3] = {8, 48, 107};
    text_add(svg, "#");
    for (int i = 0; i < 3; i++)
        text_addf(svg, "%02x", (int)(from[i] + share * (to[i] - from[i]) + 0.5));
}

static void add_cell(const Tally *t, const Sheet *s, int64_t class, int64_t answer, int64_t of,
                     Text *svg) {
    int64_t n = tally_count(t, class, answer);
    if (!n) return;
    double share = (double)n / (double)of;
    int64_t x = s->left + answer * s->cell, y = s->top + class * s->cell;
    text_addf(svg, "<rect x='%lld' y='%lld' width='%lld' height='%lld' fill='", (long long)x,
              (long long)y, (long long)s->cell, (long long)s->cell);
    add_colour(svg, share);
    text_add(svg, "'><title>");
    add_escaped(svg, tally_class(t, class), 80);
    text_add(svg, " taken for ");
    add_escaped(svg, tally_class(t, answer), 80);
    text_addf(svg, ": %lld of %lld</title></rect>\n", (long long)n, (long long)of);
    if (!s->numbers) return;
    text_addf(
        svg,
        "<text x='%lld' y='%lld' text-anchor='middle' font-size='%lld' fill='%s'>%lld</text>\n",
        (long long)(x + s->cell / 2), (long long)(y + s->cell / 2 + 4), n < 10000 ? 12LL : 9LL,
        share > 0.5 ? "#fff" : "#222", (long long)n);
}

void tally_draw(const Tally *t, const char *title, Text *svg) {
    Sheet s = sheet_of(t);
    int64_t wide = s.left + s.side + 2 * GAP, high = s.top + s.side + 2 * GAP;
    if (wide < 420) wide = 420;
    text_addf(svg,
              "<svg xmlns='http://www.w3.org/2000/svg' width='%lld' height='%lld' "
              "viewBox='0 0 %lld %lld' font-family='sans-serif' fill='#222'>\n"
              "<rect width='100%%' height='100%%' fill='#fff'/>\n<text x='%d' y='20' "
              "font-size='15'>",
              (long long)wide, (long long)high, (long long)wide, (long long)high, GAP);
    add_escaped(svg, title, 300);
    text_addf(svg,
              "</text>\n<text x='%lld' y='%d' font-size='12' fill='#666'>taken for</text>\n"
              "<text transform='translate(16 %lld) rotate(-90)' font-size='12' "
              "fill='#666' text-anchor='end'>class</text>\n",
              (long long)s.left, TITLE + 12, (long long)s.top);
    add_names(t, &s, svg);
    for (int64_t i = 0; i < t->classes; i++) {
        int64_t of = tally_of(t, i);
        for (int64_t k = 0; k < t->classes && of; k++) add_cell(t, &s, i, k, of, svg);
    }
    text_addf(svg,
              "<rect x='%lld' y='%lld' width='%lld' height='%lld' fill='none' stroke='#999'/>\n"
              "</svg>\n",
              (long long)s.left, (long long)s.top, (long long)s.side, (long long)s.side);
}
