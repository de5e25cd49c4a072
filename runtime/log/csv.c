/* OUT/metrics.csv: one row for every epoch, with the same columns in every run; fields are quoted
 * as in RFC 4180, and one that does not exist is empty. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/log/events.h"
#include "runtime/log/lines.h"

#define COLUMNS(column)                                                                            \
    column(train_loss) column(train_objective) column(train_accuracy) column(validation_loss)      \
        column(validation_accuracy) column(test_loss) column(test_accuracy) column(seconds)        \
            column(images_per_second) column(validation_seconds) column(test_seconds)
#define IN_HEADER(name) "," #name
#define IN_LIST(name) #name,

static const char header[] = "epoch,step,phase" COLUMNS(IN_HEADER);
static const char *const columns[] = {COLUMNS(IN_LIST)};

/* A line of an earlier process: the header, or a row of epoch and step. */
static VmLineKind line_kind(const char *line, size_t n, VmLogKept keep) {
    if (n == strlen(header) && !memcmp(line, header, n)) return VM_LINE_KEPT;
    char *end;
    bool epoch = strtoll(line, &end, 10) > 0 && *end == ',';
    int64_t step = epoch ? strtoll(end + 1, &end, 10) : 0;
    if (step < 1 || *end != ',') return VM_LINE_BAD;
    return step <= keep.judged ? VM_LINE_KEPT : VM_LINE_LATER;
}

static VmStatus open_file(void **self, const VmLogPlace *place, VmError *err) {
    const char *name = vm_sink_file(VM_SINK_csv);
    VmLines *l = malloc(sizeof *l);
    if (!l) return vm_fail(err, VM_ENV, "out of memory");
    VmStatus s = vm_lines_open(l, place->dir, name, place->keep, line_kind, err);
    if (!s && vm_size_in(place->dir, name) == 0) {
        s = vm_lines_write(l, header, err);
        if (s) (void)vm_lines_close(l, NULL);
    }
    if (s) free(l);
    *self = s ? NULL : l;
    return s;
}

static void put_text(FILE *f, const char *s) {
    bool quoted = s[strcspn(s, ",\"\r\n")];
    if (quoted) fputc('"', f);
    for (; *s; s++) {
        if (*s == '"') fputc('"', f);
        fputc(*s, f);
    }
    if (quoted) fputc('"', f);
}

static VmStatus write_row(VmLines *l, const VmEvent *e, VmError *err) {
    char *text = NULL;
    size_t size;
    FILE *f = open_memstream(&text, &size);
    if (!f) return vm_lines_write(l, NULL, err);
    fprintf(f, "%" PRId64 ",%" PRId64 ",", e->epoch, e->step);
    put_text(f, e->phase);
    for (size_t i = 0; i < sizeof columns / sizeof *columns; i++) {
        double v = vm_event_number(e, columns[i]);
        fputc(',', f);
        if (isfinite(v)) fprintf(f, "%.9g", v);
    }
    bool failed = ferror(f);
    failed |= fclose(f) != 0;
    VmStatus s = vm_lines_write(l, failed ? NULL : text, err);
    free(text);
    return s;
}

static VmStatus tell(void *self, const VmEvent *e, VmError *err) {
    if (e->kind == VM_EVENT_saving) return vm_lines_sync(self, err);
    return e->kind == VM_EVENT_epoch ? write_row(self, e, err) : VM_OK;
}

static VmStatus close_file(void *self, VmError *err) {
    VmStatus s = vm_lines_close(self, err);
    free(self);
    return s;
}

const VmSink vm_sink_csv = {open_file, tell, close_file};
