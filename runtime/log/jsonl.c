/* OUT/metrics.jsonl: one JSON object per line for every event that has a line in events.def, with
 * the time it was written. Numbers that are not finite or do not exist are null.
 *
 * Does not: decide what is logged when. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/json.h"
#include "runtime/log/events.h"
#include "runtime/log/lines.h"

typedef enum LineRule { NO_LINE, ALWAYS, STEP, JUDGED, NEVER } LineRule;
static const LineRule rules[VM_EVENT_COUNT] = {
#define EVENT(kind, line, doc) line,
#include "runtime/log/events.def"
};

/* A line of an event that this program does not know goes by its step. */
static LineRule rule_of(const char *name) {
    for (int i = 0; i < VM_EVENT_COUNT; i++)
        if (strcmp(name, vm_event_name((VmEventKind)i)) == 0) return rules[i];
    return STEP;
}

static VmLineKind kind_of(const char *name, int64_t step, VmLogKept keep) {
    bool stays = false;
    switch (rule_of(name)) {
    case NO_LINE:
    case STEP: stays = step <= keep.step; break;
    case ALWAYS: return VM_LINE_ASIDE;
    case JUDGED: stays = step <= keep.judged; break;
    case NEVER: break;
    }
    return stays ? VM_LINE_KEPT : VM_LINE_LATER;
}

/* A line of an earlier process. */
static VmLineKind line_kind(const char *line, size_t n, VmLogKept keep) {
    json_t *o = NULL;
    VmStatus s = vm_json_read(line, n, "", &o, NULL);
    if (s) return s == VM_ENV ? VM_LINE_NO_MEMORY : VM_LINE_BAD;
    const char *name = json_string_value(json_object_get(o, "event"));
    const json_t *step = json_object_get(o, "step");
    VmLineKind kind =
        name && json_is_integer(step) ? kind_of(name, json_integer_value(step), keep) : VM_LINE_BAD;
    json_decref(o);
    return kind;
}

static VmStatus open_file(void **self, const VmLogPlace *place, VmError *err) {
    VmLines *l = malloc(sizeof *l);
    if (!l) return vm_fail(err, VM_ENV, "out of memory");
    VmStatus s =
        vm_lines_open(l, place->dir, vm_sink_file(VM_SINK_jsonl), place->keep, line_kind, err);
    if (s) free(l);
    *self = s ? NULL : l;
    return s;
}

/* A value that looks like a number or a truth value is written as one. */
static void put_word(VmJson *o, const char *name, const char *text) {
    json_t *v = json_loads(text, JSON_DECODE_ANY, NULL);
    if (v && (json_is_number(v) || json_is_boolean(v))) {
        vm_json_put_value(o, name, v);
        return;
    }
    json_decref(v);
    vm_json_string(o, name, text);
}

/* Into an object, or a list of what has no names. */
static void put_facts(VmJson *o, const VmFacts *f) {
    for (int i = 0; i < f->n; i++) {
        const VmFact *v = &f->at[i];
        VmJson part;
        switch (v->type) {
        case VM_FACT_INT: vm_json_int(o, v->name, v->integer); break;
        case VM_FACT_NUMBER: vm_json_number(o, v->name, v->number); break;
        case VM_FACT_BOOL: vm_json_bool(o, v->name, v->truth); break;
        case VM_FACT_TEXT: vm_json_string(o, v->name, v->text); break;
        case VM_FACT_WORD: put_word(o, v->name, v->text); break;
        case VM_FACT_GROUP:
        case VM_FACT_LIST:
            part = v->type == VM_FACT_LIST ? vm_json_list() : vm_json_object();
            put_facts(&part, &v->part);
            vm_json_put(o, v->name, part);
            break;
        case VM_FACT_JSON: vm_json_put_value(o, v->name, json_incref(v->json.value)); break;
        }
    }
}

/* "2026-11-28T07:10:11.123Z" */
static void put_time(VmJson *o) {
    struct timespec now;
    struct tm utc;
    char day[32], text[48];
    if (clock_gettime(CLOCK_REALTIME, &now) != 0 || !gmtime_r(&now.tv_sec, &utc)) return;
    strftime(day, sizeof day, "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(text, sizeof text, "%s.%03dZ", day, (int)(now.tv_nsec / 1000000));
    vm_json_string(o, "time", text);
}

static VmStatus tell(void *self, const VmEvent *e, VmError *err) {
    VmLines *l = self;
    if (e->kind == VM_EVENT_saving) return vm_lines_sync(l, err);
    if (rules[e->kind] == NO_LINE) return VM_OK;
    VmJson line = vm_json_object();
    vm_json_string(&line, "event", vm_event_name(e->kind));
    vm_json_string(&line, "phase", e->phase);
    if (e->epoch) vm_json_int(&line, "epoch", e->epoch);
    vm_json_int(&line, "step", e->step);
    put_time(&line);
    put_facts(&line, &e->facts);
    char *text = vm_json_text(&line, JSON_COMPACT | JSON_REAL_PRECISION(9));
    VmStatus s = vm_lines_write(l, text, err);
    free(text);
    return s;
}

static VmStatus close_file(void *self, VmError *err) {
    VmStatus s = vm_lines_close(self, err);
    free(self);
    return s;
}

const VmSink vm_sink_jsonl = {open_file, tell, close_file};
