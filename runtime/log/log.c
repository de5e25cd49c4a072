/* The log of a run: hands every event to the sinks that are open.
 *
 * Does not: write anything; what an event looks like is each sink's affair. */
#include <stdarg.h>
#include <string.h>

#include "runtime/log/events.h"

/* ---- sinks ---- */

typedef struct SinkRow {
    const char *name, *file;
    bool by_default;
    const VmSink *rule;
} SinkRow;

static const SinkRow rows[VM_SINK_COUNT] = {
#define SINK(name, file, by_default, doc) {#name, file, by_default, &vm_sink_##name},
#include "runtime/log/sinks.def"
};

static VmStatus no_sink(const char *names, VmError *err) {
    char known[256] = "";
    for (int i = 0; i < VM_SINK_COUNT; i++) {
        size_t n = strlen(known);
        if (rows[i].file)
            snprintf(known + n, sizeof known - n, "%s%s", n ? ", " : "", rows[i].name);
    }
    return vm_fail(err, VM_USAGE, "--log takes names with commas between, of %s, not '%s'", known,
                   names);
}

bool vm_sink_is_chosen(unsigned set, VmSinkId sink) {
    return set ? set >> sink & 1 : rows[sink].by_default;
}

VmStatus vm_sinks_parse(const char *names, unsigned *set, VmError *err) {
    *set = 0;
    for (int i = 0; i < VM_SINK_COUNT; i++)
        if (!rows[i].file) *set |= 1u << i;
    for (const char *p = names;; p++) {
        size_t n = strcspn(p, ",");
        int i = 0;
        while (i < VM_SINK_COUNT &&
               (!rows[i].file || strlen(rows[i].name) != n || strncmp(rows[i].name, p, n)))
            i++;
        if (i == VM_SINK_COUNT) return no_sink(names, err);
        *set |= 1u << i;
        p += n;
        if (!*p) return VM_OK;
    }
}

/* ---- the hub ---- */

VmStatus vm_log_open(VmLog *log, const VmLogPlace *place, VmError *err) {
    for (int i = 0; i < VM_SINK_COUNT; i++) {
        if (!vm_sink_is_chosen(log->sinks, (VmSinkId)i) || log->open >> i & 1 ||
            (rows[i].file && !place->dir))
            continue;
        VmStatus s = rows[i].rule->open(&log->self[i], place, err);
        if (s) return s;
        log->open |= 1u << i;
    }
    return VM_OK;
}

const char *vm_log_file(const VmLog *log) {
    for (int i = 0; i < VM_SINK_COUNT; i++)
        if (vm_sink_is_chosen(log->sinks, (VmSinkId)i) && rows[i].file) return rows[i].file;
    return NULL;
}

void vm_log_warn_of_lost(VmLog *log, const VmDir *dir) {
    for (int i = 0; i < VM_SINK_COUNT; i++)
        if (vm_sink_is_chosen(log->sinks, (VmSinkId)i) && rows[i].file &&
            vm_size_in(dir, rows[i].file) == 0)
            vm_log_warn(log, "%s/%s is missing or empty: what it said of earlier epochs is lost",
                        dir->path, rows[i].file);
}

VmStatus vm_log_tell(VmLog *log, VmEventKind kind, int64_t epoch, int64_t step, VmFacts facts,
                     VmError *err) {
    VmEvent e = {.kind = kind, .phase = log->phase, .step = step, .epoch = epoch, .facts = facts};
    VmStatus s =
        facts.failed ? vm_fail(err, VM_ENV, "out of memory for the log of the run") : VM_OK;
    for (int i = 0; i < VM_SINK_COUNT && s == VM_OK; i++)
        if (log->open >> i & 1) s = rows[i].rule->event(log->self[i], &e, err);
    vm_facts_free(&facts);
    return s;
}

/* A line that nobody can write is not worth stopping for. */
static void tell_text(VmLog *log, VmEventKind kind, const char *fmt, va_list ap) {
    VmError line;
    vsnprintf(line.text, sizeof line.text, fmt, ap);
    VmFact text = {.name = "text", .type = VM_FACT_TEXT, .text = line.text};
    (void)vm_log_tell(log, kind, 0, 0, (VmFacts){.at = &text, .n = 1}, NULL);
}

void vm_log_note(VmLog *log, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    tell_text(log, VM_EVENT_note, fmt, ap);
    va_end(ap);
}

void vm_log_warn(VmLog *log, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    tell_text(log, VM_EVENT_warning, fmt, ap);
    va_end(ap);
}

VmStatus vm_log_close(VmLog *log, VmError *err) {
    VmStatus first = VM_OK;
    for (int i = 0; i < VM_SINK_COUNT; i++) {
        if (!(log->open >> i & 1)) continue;
        VmStatus s = rows[i].rule->close(log->self[i], first ? NULL : err);
        if (!first) first = s;
    }
    log->open = 0;
    return first;
}
