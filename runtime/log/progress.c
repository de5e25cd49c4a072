/* What a person sees of a training run: on a terminal one line that is rewritten a few times a
 * second, elsewhere a plain line every ten seconds; both get one line per epoch. What the run ends
 * with is its result, which whoever started it says.
 *
 * Does not: fail. A progress display that cannot be written is not worth stopping for. */
#include "runtime/log/progress.h"

#include <inttypes.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

/* Ends a line that was being rewritten. */
static void settle(VmProgress *p) {
    if (!p->line_open) return;
    fputs("\r\033[K", p->f);
    p->line_open = false;
}

static void write_time(char *to, size_t cap, double seconds) {
    int64_t s = seconds < 1e9 ? (int64_t)(seconds + 0.5) : INT64_C(1000000000);
    if (s >= 3600) {
        snprintf(to, cap, "%" PRId64 ":%02d:%02d", s / 3600, (int)(s / 60 % 60), (int)(s % 60));
    } else {
        snprintf(to, cap, "%d:%02d", (int)(s / 60), (int)(s % 60));
    }
}

/* Such a terminal cannot rewrite a line. */
static bool is_dumb(void) {
    const char *term = getenv("TERM");
    return term && !strcmp(term, "dumb");
}

/* Whether the last word of a metric's name says that it is a share of images, which is shown in per
 * cent: "accuracy", "teacher_accuracy", "block.accuracy", "top5", "teacher_top5". */
static bool is_share(const char *name) {
    const char *word = name + strlen(name);
    while (word > name && word[-1] != '_' && word[-1] != '.') word--;
    if (!strcmp(word, "accuracy")) return true;
    return !strncmp(word, "top", 3) && word[3] && !word[3 + strspn(word + 3, "0123456789")];
}

/* "accuracy 93.10 %" or "sure 0.5463". */
static void write_mean(char *to, size_t cap, const char *name, double value) {
    if (is_share(name) && value >= 0 && value <= 1)
        snprintf(to, cap, "%s %.2f %%", name, 100 * value);
    else
        snprintf(to, cap, "%s %.4f", name, value);
}

/* Of the terminal; 0 when it does not say. */
static int columns(const VmProgress *p) {
    struct winsize size;
    if (p->columns) return p->columns;
    return ioctl(fileno(p->f), TIOCGWINSZ, &size) == 0 && size.ws_col > 1 ? size.ws_col : 0;
}

/* ---- steps ---- */

/* What the line of a step has, in order; the least `rank` gives way first where it is too long. */
typedef struct Field {
    int rank;
    char text[64];
} Field;

enum { FIELDS = 8 };

typedef struct Fields {
    Field at[FIELDS];
    int n;
} Fields;

static void put(Fields *f, int rank, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void put(Fields *f, int rank, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    f->at[f->n].rank = rank;
    vsnprintf(f->at[f->n].text, sizeof f->at[0].text, fmt, ap);
    va_end(ap);
    f->n++;
}

/* They are `width` characters at most, or one field. */
static void fit(Fields *f, size_t width) {
    for (;;) {
        size_t length = 0;
        int least = 0;
        for (int i = 0; i < f->n; i++) {
            length += strlen(f->at[i].text) + (i ? 2 : 0);
            if (f->at[i].rank < f->at[least].rank) least = i;
        }
        if (length <= width || f->n == 1) return;
        f->n--;
        memmove(&f->at[least], &f->at[least + 1], (size_t)(f->n - least) * sizeof f->at[0]);
    }
}

static Fields fields_of(const VmProgress *p, const VmEvent *e, double now) {
    Fields f = {.n = 0};
    char text[64], left[32];
    int64_t total = vm_event_int(e, "total");
    double accuracy = vm_event_number(e, "accuracy"), most = vm_event_number(e, "most_load");
    put(&f, 3, "epoch %" PRId64, e->epoch);
    put(&f, 7, "step %" PRId64 "/%" PRId64, e->step, total);
    put(&f, 8, "loss %.4f", vm_event_number(e, "loss"));
    write_mean(text, sizeof text, "accuracy", accuracy);
    if (isfinite(accuracy)) put(&f, 5, "%s", text);
    put(&f, 1, "lr %.3g", vm_event_number(e, "lr"));
    put(&f, 2, "%.0f images/s", vm_event_number(e, "images_per_second"));
    if (isfinite(most)) put(&f, 4, "load %.2f-%.2f", vm_event_number(e, "least_load"), most);
    if (e->step <= p->first_step) return f;
    write_time(left, sizeof left,
               (now - p->start) / (double)(e->step - p->first_step) * (double)(total - e->step));
    put(&f, 6, "left %s", left);
    return f;
}

static void show_tick(VmProgress *p, const VmEvent *e) {
    if (!p->f) return;
    double now = vm_seconds();
    if (now - p->last < (p->terminal ? 0.2 : 10)) return;
    p->last = now;
    Fields f = fields_of(p, e, now);
    int wide = p->terminal ? columns(p) : 0;
    int width = wide ? wide - 1 : 79; /* a line that wraps could not be rewritten */
    if (p->terminal) {
        fit(&f, (size_t)width);
        fputs("\r\033[K", p->f);
    }
    for (int i = 0; i < f.n; i++)
        fprintf(p->f, "%s%.*s", i ? "  " : "", p->terminal ? width : 1000, f.at[i].text);
    if (!p->terminal) fputc('\n', p->f);
    p->line_open = p->terminal;
    fflush(p->f);
}

/* ---- epochs ---- */

enum { INDENT = 4 };

/* A line of fields as it grows. */
typedef struct Line {
    FILE *f;        /* NULL: it is only measured */
    int wide;       /* of the terminal, where it goes on below in time; 0: it has no end */
    int at;         /* columns of it so far */
    const char *of; /* the split of the field before; NULL: of none */
} Line;

/* Nothing stands on it yet. */
static bool is_fresh(const Line *l) {
    return !l->at || (l->at == INDENT && !l->of);
}

static void go_on_below(Line *l) {
    if (l->f) fprintf(l->f, "\n%*s", INDENT, "");
    l->at = INDENT;
    l->of = NULL;
}

/* A field of a split, whose name stands before its first one: "  train loss 0.2 accuracy 93 %". */
static void put_field(Line *l, const char *of, const char *text) {
    bool named = of && of != l->of, fresh = is_fresh(l);
    int gap = fresh ? 0 : of && !named ? 1 : 2;
    int length = gap + (named ? (int)strlen(of) + 1 : 0) + (int)strlen(text);
    if (l->wide && !fresh && l->at + length >= l->wide) {
        go_on_below(l);
        put_field(l, of, text);
        return;
    }
    l->at += length;
    l->of = of;
    if (!l->f) return;
    fprintf(l->f, "%*s", gap, "");
    if (named) fprintf(l->f, "%s ", of);
    fputs(text, l->f);
}

/* What everybody looks for, what else there is, both. */
typedef enum Part { FIRST = 1, REST = 2, ALL = 3 } Part;

/* Means of a split, whose facts begin with its name. What does not exist is left out. */
static void put_means(Line *l, const char *split, const VmEvent *e, Part part) {
    size_t n = strlen(split);
    for (int i = 0; i < e->facts.n; i++) {
        const VmFact *x = &e->facts.at[i];
        char text[128];
        if (strncmp(x->name, split, n) != 0 || x->name[n] != '_' || !isfinite(x->number)) continue;
        const char *name = x->name + n + 1;
        bool first = !strcmp(name, "accuracy") || !strcmp(name, "loss");
        if (!strcmp(name, "objective") || !strcmp(name, "seconds")) continue;
        if (!(part & (first ? FIRST : REST))) continue;
        write_mean(text, sizeof text, name, x->number);
        put_field(l, split, text);
    }
}

/* They stand on one line if one has room for them. */
static void put_split(Line *l, const char *split, const VmEvent *e, Part part) {
    Line alone = {.f = NULL};
    put_means(&alone, split, e, part);
    bool full = l->at + 2 + alone.at >= l->wide, fits = INDENT + alone.at < l->wide;
    if (alone.at && full && fits && !is_fresh(l)) go_on_below(l);
    put_means(l, split, e, part);
}

static void put_epoch(Line *l, const VmEvent *e, Part part) {
    char text[64];
    snprintf(text, sizeof text, "epoch %" PRId64, e->epoch);
    if (part & FIRST) put_field(l, NULL, text);
    put_split(l, "train", e, part);
    put_split(l, "validation", e, part);
    put_split(l, "test", e, part);
    if (!(part & FIRST)) return;
    snprintf(text, sizeof text, "%.1f s", vm_event_number(e, "seconds"));
    put_field(l, NULL, text);
    snprintf(text, sizeof text, "%.0f images/s", vm_event_number(e, "images_per_second"));
    put_field(l, NULL, text);
}

/* One line where there is room for it. On narrower terminals the rest stands below what everybody
 * looks for, and no field is broken. */
static void show_epoch(VmProgress *p, const VmEvent *e) {
    if (!p->f) return;
    settle(p);
    Line whole = {.f = NULL}, line = {.f = p->f, .wide = p->terminal ? columns(p) : 0};
    put_epoch(&whole, e, ALL);
    if (!line.wide || whole.at < line.wide) {
        put_epoch(&line, e, ALL);
    } else {
        put_epoch(&line, e, FIRST);
        line.at = line.wide;
        put_epoch(&line, e, REST);
    }
    fputc('\n', p->f);
    fflush(p->f);
}

/* Names come from files and may hold anything; a terminal must not obey them. */
static void show_line(VmProgress *p, FILE *f, const char *before, const char *text) {
    if (!f) return;
    if (p->f) settle(p);
    VmError line;
    snprintf(line.text, sizeof line.text, "%s", text);
    vm_make_printable(line.text);
    fprintf(f, "%s%s\n", before, line.text);
    fflush(f);
}

/* "classifier: 544522 parameters, 60000 images (10000 for the test), 46900 steps of 64, 2 threads,
 * in runs/mnist_cnn". */
static void show_start(VmProgress *p, const VmEvent *e) {
    if (!p->f) return;
    VmError line;
    int64_t held = vm_event_int(e, "validation_images"), test = vm_event_int(e, "test_images");
    size_t cap = sizeof line.text, n = 0;
    n += (size_t)snprintf(line.text, cap, "%s: %" PRId64 " parameters, %" PRId64 " images",
                          e->phase, vm_event_int(e, "parameters"), vm_event_int(e, "train_images"));
    if (held) n += (size_t)snprintf(line.text + n, cap - n, ", %" PRId64 " for validation", held);
    if (test) n += (size_t)snprintf(line.text + n, cap - n, ", %" PRId64 " for the test", test);
    snprintf(line.text + n, cap - n,
             "; %" PRId64 " steps of %" PRId64 ", %" PRId64 " thread%s; in %.900s",
             vm_event_int(e, "steps"), vm_event_int(e, "batch"), vm_event_int(e, "threads"),
             vm_event_int(e, "threads") == 1 ? "" : "s", vm_event_text(e, "folder"));
    show_line(p, p->f, "", line.text);
}

static void show_resumed(VmProgress *p, const VmEvent *e) {
    VmError line;
    snprintf(line.text, sizeof line.text, "%s: resuming after step %" PRId64 " of %" PRId64,
             vm_event_text(e, "folder"), e->step, vm_event_int(e, "total"));
    show_line(p, p->f, "", line.text);
}

/* ---- the sink ---- */

static VmStatus open_display(void **self, const VmLogPlace *place, VmError *err) {
    VmProgress *p = malloc(sizeof *p);
    *self = p;
    if (!p) return vm_fail(err, VM_ENV, "out of memory");
    *p = (VmProgress){.f = place->progress, .warn = place->warnings};
    p->terminal = p->f && isatty(fileno(p->f)) && !is_dumb();
    p->start = p->last = vm_seconds();
    return VM_OK;
}

static VmStatus tell(void *self, const VmEvent *e, VmError *err) {
    VmProgress *p = self;
    char warning[100];
    (void)err;
    switch (e->kind) {
    case VM_EVENT_note: show_line(p, p->f, "", vm_event_text(e, "text")); break;
    case VM_EVENT_warning:
        snprintf(warning, sizeof warning, "%.80s: warning: ", program_invocation_short_name);
        show_line(p, p->warn, warning, vm_event_text(e, "text"));
        break;
    case VM_EVENT_resumed: show_resumed(p, e); break;
    case VM_EVENT_start:
        p->first_step = e->step;
        p->start = vm_seconds();
        p->last = p->terminal ? 0 : p->start; /* the first step is shown at once */
        show_start(p, e);
        break;
    case VM_EVENT_tick: show_tick(p, e); break;
    case VM_EVENT_epoch: show_epoch(p, e); break;
    default: break;
    }
    return VM_OK;
}

static VmStatus close_display(void *self, VmError *err) {
    VmProgress *p = self;
    (void)err;
    if (p->f) {
        settle(p);
        fflush(p->f);
    }
    free(p);
    return VM_OK;
}

const VmSink vm_sink_progress = {open_display, tell, close_display};
