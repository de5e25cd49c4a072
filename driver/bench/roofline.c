/* The kernels of a step as a roofline diagram in SVG: arithmetic per byte against GFLOP/s under the
 * two measured roofs, beside it the kernels without products on a scale of GB/s, and a list that
 * names the largest. The area of a dot is the kernel's share of the step. Drawn for light and dark
 * pages; needs no script and no font. */
#include <math.h>
#include <string.h>

#include "driver/bench/bench.h"

enum { WIDTH = 1120, HEIGHT = 600, NAMED = 14, MAX_NAME = 34 };
#define SMALLEST_SHARE 0.0005 /* of the step: smaller ones are not drawn */

/* A rectangle of the page with logarithmic axes. */
typedef struct Chart {
    double x, y, w, h;  /* pixels; y grows downwards */
    double left, right; /* what the edges mean */
    double bottom, top;
} Chart;

typedef struct Box {
    double x0, y0, x1, y1;
} Box;

typedef struct Picture {
    Text t;
    const Bench *b;
    double total; /* seconds of all rows */
    Chart roof, bytes;
    Box label[NAMED];
    int nlabel;
} Picture;

static const char style[] =
    "<style>\n"
    "text{font-family:system-ui,-apple-system,'Segoe UI','DejaVu "
    "Sans',sans-serif;font-size:12px;fill:#24292f}\n"
    ".title{font-size:17px;font-weight:600}.soft{fill:#57606a}.tick{fill:#57606a;font-size:11px}\n"
    ".name{font-family:ui-monospace,'DejaVu Sans Mono',monospace;font-size:11px}\n"
    ".mark{font-size:11px;font-weight:600}.right{text-anchor:end}.mid{text-anchor:middle}\n"
    ".page{fill:#ffffff}.grid{stroke:#d8dee4;stroke-width:1}.axis{stroke:#8c959f;stroke-width:1}\n"
    ".line{stroke:#24292f;stroke-width:2;fill:none}.lead{stroke:#8c959f;stroke-width:1}\n"
    ".compute{fill:#0969da;fill-opacity:.55;stroke:#0969da}.memory{fill:#d4711b;fill-opacity:.55;"
    "stroke:#"
    "b35900}\n"
    "@media "
    "(prefers-color-scheme:dark){text{fill:#e6edf3}.soft,.tick{fill:#9198a1}.page{fill:#0d1117}\n"
    ".grid{stroke:#2a313c}.axis{stroke:#656c76}.line{stroke:#e6edf3}.lead{stroke:#656c76}\n"
    ".compute{fill:#4493f8;stroke:#79b8ff}.memory{fill:#f0883e;stroke:#ffb77c}}\n"
    "</style>\n";

/* ---- writing --------------------------------------------------------------------------------- */

/* Names come from files: markup and what is not plain text is replaced. */
static void add_escaped(Text *t, const char *s, size_t most) {
    for (size_t i = 0; s[i] && i < most; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c == '<')
            text_add(t, "&lt;");
        else if (c == '>')
            text_add(t, "&gt;");
        else if (c == '&')
            text_add(t, "&amp;");
        else if (c == '"')
            text_add(t, "&quot;");
        else if (c < ' ' || c >= 0x7f)
            text_add(t, "?");
        else
            text_addn(t, s + i, 1);
    }
}

static void add_text(Picture *p, const char *class, double x, double y, const char *words) {
    text_addf(&p->t, "<text class=\"%s\" x=\"%.1f\" y=\"%.1f\">", class, x, y);
    add_escaped(&p->t, words, strlen(words));
    text_add(&p->t, "</text>\n");
}

static void add_line(Picture *p, const char *class, double x0, double y0, double x1, double y1) {
    text_addf(&p->t, "<line class=\"%s\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>\n",
              class, x0, y0, x1, y1);
}

/* ---- axes ------------------------------------------------------------------------------------ */

static double at_x(const Chart *c, double v) {
    return c->x + c->w * (log(v) - log(c->left)) / (log(c->right) - log(c->left));
}

static double at_y(const Chart *c, double v) {
    return c->y + c->h - c->h * (log(v) - log(c->bottom)) / (log(c->top) - log(c->bottom));
}

/* The next of 1, 2, 5, 10, 20 .. from v on. */
static double tick_from(double v) {
    double decade = pow(10, floor(log10(v) + 1e-9));
    static const double step[] = {1, 2, 5, 10};
    for (int i = 0; i < 4; i++)
        if (step[i] * decade >= v * (1 - 1e-9)) return step[i] * decade;
    return 10 * decade;
}

static const char *number(Arena *a, double v) {
    return arena_printf(a, v >= 1 ? "%.0f" : "%.2g", v);
}

static void draw_ticks_y(Picture *p, const Chart *c) {
    double last = INFINITY;
    for (double v = tick_from(c->bottom); v <= c->top * (1 + 1e-9); v = tick_from(v * 1.01)) {
        double y = at_y(c, v);
        add_line(p, "grid", c->x, y, c->x + c->w, y);
        if (last - y < 16) continue;
        add_text(p, "tick right", c->x - 7, y + 4, number(p->t.arena, v));
        last = y;
    }
}

static void draw_ticks_x(Picture *p, const Chart *c) {
    double last = -INFINITY;
    for (double v = tick_from(c->left); v <= c->right * (1 + 1e-9); v = tick_from(v * 1.01)) {
        double x = at_x(c, v);
        add_line(p, "grid", x, c->y, x, c->y + c->h);
        if (x - last < 28) continue;
        add_text(p, "tick mid", x, c->y + c->h + 17, number(p->t.arena, v));
        last = x;
    }
}

static void draw_frame(Picture *p, const Chart *c) {
    add_line(p, "axis", c->x, c->y, c->x, c->y + c->h);
    add_line(p, "axis", c->x, c->y + c->h, c->x + c->w, c->y + c->h);
}

/* ---- what is where --------------------------------------------------------------------------- */

static double share(const Picture *p, const KernelTime *k) {
    return k->seconds / p->total;
}

static bool drawn(const Picture *p, const KernelTime *k) {
    return k->seconds > 0 && k->bytes > 0 && share(p, k) >= SMALLEST_SHARE;
}

static double intensity(const KernelTime *k) {
    return k->flops / k->bytes;
}

static double radius(const Picture *p, const KernelTime *k) {
    return fmax(3, 62 * sqrt(share(p, k)));
}

static void widen(double *lo, double *hi, double v) {
    *lo = fmin(*lo, v);
    *hi = fmax(*hi, v);
}

/* Limits that hold every dot, the ridge and some air. */
static void set_limits(Picture *p) {
    const Bench *b = p->b;
    double ridge = b->peak_gflops / b->peak_gbs;
    double x0 = ridge / 4, x1 = ridge * 8, y1 = b->peak_gflops, y0 = y1 / 8;
    double g1 = b->peak_gbs, g0 = g1 / 8;
    for (int i = 0; i < b->nkernel; i++) {
        const KernelTime *k = &b->kernel[i];
        if (!drawn(p, k)) continue;
        if (k->flops > 0) {
            widen(&x0, &x1, intensity(k));
            widen(&y0, &y1, bench_rate(k->flops, k->seconds));
        } else {
            widen(&g0, &g1, bench_rate(k->bytes, k->seconds));
        }
    }
    p->roof = (Chart){70, 78, 430, 430, x0 / 1.6, x1 * 1.6, y0 / 1.6, y1 * 1.6};
    p->bytes = (Chart){565, 78, 140, 430, 0.5, 2, g0 / 1.6, g1 * 1.6};
}

/* ---- dots and their numbers ------------------------------------------------------------------ */

static bool overlaps(const Picture *p, Box a) {
    for (int i = 0; i < p->nlabel; i++) {
        const Box *o = &p->label[i];
        if (a.x0 < o->x1 && o->x0 < a.x1 && a.y0 < o->y1 && o->y0 < a.y1) return true;
    }
    return false;
}

/* The number of a kernel in the list, in its dot or as near as there is room. */
static void draw_mark(Picture *p, int i, double x, double y) {
    const char *n = arena_printf(p->t.arena, "%d", i + 1);
    double w = i < 9 ? 5 : 9;
    for (int ring = 0; ring < 8; ring++) {
        for (int turn = 0; turn < (ring ? 12 : 1); turn++) {
            double angle = M_PI / 6 * turn - M_PI / 4, d = 11.0 * ring + (ring ? 4 : 0);
            double cx = x + d * cos(angle), cy = y + d * sin(angle);
            Box box = {cx - w, cy - 7, cx + w, cy + 7};
            if (overlaps(p, box)) continue;
            p->label[p->nlabel++] = box;
            if (ring) add_line(p, "lead", x, y, cx - 6 * cos(angle), cy - 6 * sin(angle));
            add_text(p, "mark mid", cx, cy + 4, n);
            return;
        }
    }
}

static void place(const Picture *p, const KernelTime *k, int nth, int of, double *x, double *y) {
    if (k->flops > 0) {
        *x = at_x(&p->roof, intensity(k));
        *y = at_y(&p->roof, bench_rate(k->flops, k->seconds));
        return;
    }
    *x = p->bytes.x + p->bytes.w * (nth + 0.5) / of;
    *y = at_y(&p->bytes, bench_rate(k->bytes, k->seconds));
}

/* Rows are sorted by time, so small dots come to lie on large ones and all numbers on top. */
static void draw_dots(Picture *p) {
    const Bench *b = p->b;
    int of = 0, nth = 0;
    for (int i = 0; i < b->nkernel; i++) of += drawn(p, &b->kernel[i]) && !(b->kernel[i].flops > 0);
    double *x = ARENA_ARRAY(p->t.arena, double, b->nkernel + 1),
           *y = ARENA_ARRAY(p->t.arena, double, b->nkernel + 1);
    for (int i = 0; i < b->nkernel; i++) {
        const KernelTime *k = &b->kernel[i];
        if (!drawn(p, k)) continue;
        place(p, k, nth, of, &x[i], &y[i]);
        nth += !(k->flops > 0);
        text_addf(&p->t, "<circle class=\"%s\" cx=\"%.1f\" cy=\"%.1f\" r=\"%.1f\"><title>",
                  bench_bound(b, k), x[i], y[i], radius(p, k));
        add_escaped(&p->t, k->name, strlen(k->name));
        text_addf(&p->t, ": %.3f ms, %.0f %% of its roof</title></circle>\n", 1e3 * k->seconds,
                  100 * bench_roof(b, k));
    }
    for (int i = 0; i < b->nkernel && i < NAMED; i++)
        if (drawn(p, &b->kernel[i])) draw_mark(p, i, x[i], y[i]);
}

/* ---- the parts of the page ------------------------------------------------------------------- */

static void draw_roofs(Picture *p) {
    const Chart *c = &p->roof, *d = &p->bytes;
    const Bench *b = p->b;
    Arena *a = p->t.arena;
    double ridge = b->peak_gflops / b->peak_gbs, x0 = c->left, y0 = x0 * b->peak_gbs;
    if (y0 < c->bottom) y0 = c->bottom, x0 = y0 / b->peak_gbs;
    text_addf(&p->t, "<polyline class=\"line\" points=\"%.1f,%.1f %.1f,%.1f %.1f,%.1f\"/>\n",
              at_x(c, x0), at_y(c, y0), at_x(c, ridge), at_y(c, b->peak_gflops), c->x + c->w,
              at_y(c, b->peak_gflops));
    add_text(p, "soft right", c->x + c->w - 2, at_y(c, b->peak_gflops) - 7,
             arena_printf(a, "%.0f GFLOP/s f32 FMA", b->peak_gflops));
    double y = at_y(d, b->peak_gbs);
    add_line(p, "line", d->x, y, d->x + d->w, y);
    add_text(p, "soft right", d->x + d->w, d->y - 10,
             arena_printf(a, "line: copy, %.0f", b->peak_gbs));
}

static void draw_axes(Picture *p) {
    const Chart *c = &p->roof, *d = &p->bytes;
    draw_ticks_y(p, c);
    draw_ticks_x(p, c);
    draw_frame(p, c);
    draw_ticks_y(p, d);
    draw_frame(p, d);
    add_text(p, "soft", c->x - 46, c->y - 10, "GFLOP/s");
    add_text(p, "soft mid", c->x + c->w / 2, c->y + c->h + 36,
             "arithmetic per byte that must move, FLOP/B");
    add_text(p, "soft", d->x - 40, d->y - 10, "GB/s");
    add_text(p, "soft mid", d->x + d->w / 2, d->y + d->h + 36, "without products");
}

static void draw_legend(Picture *p) {
    double y = HEIGHT - 26, x = 70;
    text_addf(&p->t, "<circle class=\"compute\" cx=\"%.1f\" cy=\"%.1f\" r=\"6\"/>\n", x, y - 4);
    add_text(p, "soft", x + 12, y, "bound by arithmetic");
    text_addf(&p->t, "<circle class=\"memory\" cx=\"%.1f\" cy=\"%.1f\" r=\"6\"/>\n", x + 150,
              y - 4);
    add_text(p, "soft", x + 162, y, "bound by memory");
    add_text(p, "soft", x + 285, y,
             "area: share of the step; a dot above a roof has its data in caches");
}

static void draw_list(Picture *p) {
    const Bench *b = p->b;
    Arena *a = p->t.arena;
    double x = 735, y = 68;
    add_text(p, "soft", x + 26, y, "kernel");
    add_text(p, "soft right", x + 308, y, "of step");
    add_text(p, "soft right", x + 362, y, "of roof");
    for (int i = 0; i < b->nkernel && i < NAMED; i++) {
        const KernelTime *k = &b->kernel[i];
        y += 26;
        text_addf(&p->t, "<circle class=\"%s\" cx=\"%.1f\" cy=\"%.1f\" r=\"10\"/>\n",
                  bench_bound(b, k), x + 8, y - 4);
        add_text(p, "mark mid", x + 8, y, arena_printf(a, "%d", i + 1));
        const char *dots = strlen(k->name) > MAX_NAME ? ".." : "";
        add_text(p, "name", x + 26, y,
                 arena_printf(a, "%.*s%s", MAX_NAME - (*dots ? 2 : 0), k->name, dots));
        add_text(p, "right", x + 308, y, arena_printf(a, "%.1f %%", 100 * share(p, k)));
        add_text(p, "right", x + 362, y, arena_printf(a, "%.0f %%", 100 * bench_roof(b, k)));
    }
    if (b->nkernel > NAMED) {
        double rest = 0;
        for (int i = NAMED; i < b->nkernel; i++) rest += share(p, &b->kernel[i]);
        add_text(p, "soft", x + 26, y + 26, arena_printf(a, "%d others", b->nkernel - NAMED));
        add_text(p, "right", x + 308, y + 26, arena_printf(a, "%.1f %%", 100 * rest));
    }
}

static void draw_title(Picture *p) {
    const Bench *b = p->b;
    Arena *a = p->t.arena;
    const char *what =
        b->s->path ? arena_printf(a, "%s, %s", b->s->path, b->training ? "training" : "inference")
                   : "one kernel";
    add_text(p, "title", 24, 34,
             arena_printf(a, "%s: %.3f ms per step", what, 1e3 * b->step_seconds));
    add_text(p, "soft right", WIDTH - 24, 34,
             arena_printf(a, "%lld images, %d thread%s, f32", (long long)b->code->batch, b->threads,
                          b->threads == 1 ? "" : "s"));
}

VmStatus bench_write_roofline(const Bench *b, const char *path) {
    Picture p = {.t = text_new(b->s->arena), .b = b, .total = bench_total(b)};
    set_limits(&p);
    text_addf(&p.t,
              "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" "
              "height=\"%d\" "
              "role=\"img\">\n",
              WIDTH, HEIGHT, WIDTH, HEIGHT);
    text_add(&p.t, "<title>Kernels of a step under the roofs of this machine</title>\n");
    text_add(&p.t, style);
    text_addf(&p.t, "<rect class=\"page\" width=\"%d\" height=\"%d\"/>\n", WIDTH, HEIGHT);
    draw_title(&p);
    draw_axes(&p);
    draw_roofs(&p);
    draw_dots(&p);
    draw_list(&p);
    draw_legend(&p);
    text_add(&p.t, "</svg>\n");
    return drv_write_file(path, p.t.data, p.t.len);
}
