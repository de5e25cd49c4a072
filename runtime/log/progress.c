/* What a person sees of a training run: on a terminal one line that is rewritten a few times a
 * second, elsewhere a plain line every ten seconds; both get one line per epoch.
 *
 * Does not: fail. A progress display that cannot be written is not worth stopping for. */
#include "runtime/train/internal.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

void vm_progress_begin(VmProgress *p, FILE *f, FILE *warn, int64_t first_step, int64_t total) {
    *p = (VmProgress){.f = f, .warn = warn, .first_step = first_step, .total = total};
    if (!f) return;
    p->terminal = isatty(fileno(f));
    p->start = p->last = vm_seconds();
}

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

/* Of the terminal; 80 when it does not say. */
static int columns(FILE *f) {
    struct winsize size;
    return ioctl(fileno(f), TIOCGWINSZ, &size) == 0 && size.ws_col > 1 ? size.ws_col : 80;
}

void vm_progress_step(VmProgress *p, int64_t epoch, int64_t step, double rate, double loss,
                      double accuracy) {
    if (!p->f) return;
    double now = vm_seconds();
    if (now - p->last < (p->terminal ? 0.2 : 10)) return;
    p->last = now;
    char line[256];
    int n =
        snprintf(line, sizeof line, "epoch %" PRId64 "  step %" PRId64 "/%" PRId64 "  loss %.4f",
                 epoch, step, p->total, loss);
    if (isfinite(accuracy))
        n += snprintf(line + n, sizeof line - (size_t)n, "  accuracy %.2f %%", 100 * accuracy);
    n += snprintf(line + n, sizeof line - (size_t)n, "  %.0f images/s", rate);
    if (step > p->first_step) {
        double left = (now - p->start) / (double)(step - p->first_step) * (double)(p->total - step);
        n += snprintf(line + n, sizeof line - (size_t)n, "  left ");
        write_time(line + n, sizeof line - (size_t)n, left);
    }
    if (p->terminal) /* a line that wraps could not be rewritten */
        fprintf(p->f, "\r\033[K%.*s", columns(p->f) - 1, line);
    else
        fprintf(p->f, "%s\n", line);
    p->line_open = p->terminal;
    fflush(p->f);
}

void vm_progress_epoch(VmProgress *p, const VmEpochRecord *r) {
    if (!p->f) return;
    settle(p);
    fprintf(p->f, "epoch %" PRId64 "  train loss %.4f", r->epoch, r->train_loss);
    if (isfinite(r->train_accuracy)) fprintf(p->f, " accuracy %.2f %%", 100 * r->train_accuracy);
    if (isfinite(r->test_loss)) fprintf(p->f, "  test loss %.4f", r->test_loss);
    if (isfinite(r->test_accuracy)) fprintf(p->f, " accuracy %.2f %%", 100 * r->test_accuracy);
    fprintf(p->f, "  %.1f s  %.0f images/s\n", r->seconds, r->images_per_second);
    fflush(p->f);
}

/* Names come from files and may hold anything; a terminal must not obey them. */
static void print_line(FILE *f, const char *before, const char *fmt, va_list ap) {
    VmError line;
    vsnprintf(line.text, sizeof line.text, fmt, ap);
    vm_make_printable(line.text);
    fprintf(f, "%s%s\n", before, line.text);
    fflush(f);
}

void vm_progress_note(VmProgress *p, const char *fmt, ...) {
    if (!p->f) return;
    settle(p);
    va_list ap;
    va_start(ap, fmt);
    print_line(p->f, "", fmt, ap);
    va_end(ap);
}

void vm_progress_warn(VmProgress *p, const char *fmt, ...) {
    if (!p->warn) return;
    if (p->f) settle(p);
    va_list ap;
    va_start(ap, fmt);
    print_line(p->warn, "vmoec: warning: ", fmt, ap);
    va_end(ap);
}

void vm_progress_end(VmProgress *p) {
    if (!p->f) return;
    settle(p);
    fflush(p->f);
}
