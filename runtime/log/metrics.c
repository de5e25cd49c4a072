/* OUT/metrics.jsonl: one JSON object per line, flushed at once, so that a run can be watched and a
 * killed one leaves all it said. Events: "start" (the whole configuration), "step", "epoch".
 * Numbers that are not finite or do not exist are null. Steps and epochs count from 1: how many are
 * done.
 *
 * Does not: decide what is logged when. */
#include "runtime/train/internal.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static VmJson event(const VmMetrics *m, const char *name) {
    VmJson o = vm_json_object();
    vm_json_string(&o, "event", name);
    vm_json_string(&o, "phase", m->phase);
    return o;
}

static VmStatus cannot_write(const VmMetrics *m, int why, VmError *err) {
    return vm_fail(err, VM_ENV, "cannot write '%s/%s': %s", m->dir->path, VM_METRICS_FILE,
                   strerror(why));
}

/* Writes and releases the object. */
static VmStatus write_line(VmMetrics *m, VmJson *line, VmError *err) {
    char *text = vm_json_text(line, JSON_COMPACT | JSON_REAL_PRECISION(9));
    if (!text) return vm_fail(err, VM_ENV, "out of memory for a line of %s", VM_METRICS_FILE);
    bool ok = fputs(text, m->f) >= 0 && fputc('\n', m->f) != EOF && fflush(m->f) == 0;
    int why = errno;
    free(text);
    return ok ? VM_OK : cannot_write(m, why, err);
}

/* ---- opening ---- */

typedef enum LineKind { LINE_BAD, LINE_KEPT, LINE_LATER, LINE_NO_MEMORY } LineKind;

/* Lines after the checkpoint come again when the run goes on. */
static LineKind line_kind(const char *line, size_t n, int64_t keep_step) {
    json_t *o = NULL;
    VmStatus s = vm_json_read(line, n, "", &o, NULL);
    if (s) return s == VM_ENV ? LINE_NO_MEMORY : LINE_BAD;
    const char *name = json_string_value(json_object_get(o, "event"));
    const json_t *step = json_object_get(o, "step");
    LineKind kind = !name || !json_is_integer(step)         ? LINE_BAD
                    : strcmp(name, "start") == 0            ? LINE_KEPT
                    : json_integer_value(step) <= keep_step ? LINE_KEPT
                                                            : LINE_LATER;
    json_decref(o);
    return kind;
}

/* Copies the lines that stay. What a crash of the machine left half written stands at the end; a
 * bad line with a good one behind it is damage. */
static VmStatus copy_lines(const VmMetrics *m, const char *text, size_t size, int64_t keep_step,
                           FILE *to, VmError *err) {
    int64_t line = 0, bad = 0, good = 0;
    for (const char *p = text, *end = text + size; p < end;) {
        const char *newline = memchr(p, '\n', (size_t)(end - p));
        if (!newline) break;
        size_t n = (size_t)(newline - p);
        LineKind kind = line_kind(p, n, keep_step);
        line++;
        if (kind == LINE_NO_MEMORY)
            return vm_fail(err, VM_ENV, "out of memory reading %s", VM_METRICS_FILE);
        if (kind == LINE_BAD && !bad) bad = line;
        good += kind != LINE_BAD;
        if (kind != LINE_BAD && bad)
            return vm_fail(err, VM_INPUT,
                           "%s/%s: damaged: line %" PRId64
                           " is no event; mend it or move the file away to go on without it",
                           m->dir->path, VM_METRICS_FILE, bad);
        if (kind == LINE_KEPT) fwrite(p, 1, n + 1, to);
        p = newline + 1;
    }
    if (good || !line) return VM_OK;
    return vm_fail(err, VM_INPUT,
                   "%s/%s: no line of it is an event: it is no log of a run; move it away",
                   m->dir->path, VM_METRICS_FILE);
}

static VmStatus keep_lines(const VmMetrics *m, int64_t keep_step, VmError *err) {
    char *text;
    size_t size;
    if (vm_there(m->dir, VM_METRICS_FILE) == VM_NOTHING) return VM_OK; /* nothing to keep */
    VmStatus s = vm_read_in(m->dir, VM_METRICS_FILE, &text, &size, err);
    if (s) return s;
    VmFile w;
    s = vm_file_begin_in(&w, m->dir, VM_METRICS_FILE, err);
    if (s == VM_OK) {
        s = copy_lines(m, text, size, keep_step, w.f, err);
        if (s == VM_OK)
            s = vm_file_commit(&w, err);
        else
            vm_file_abandon(&w);
    }
    free(text);
    return s;
}

VmStatus vm_metrics_open(VmMetrics *m, const VmDir *dir, const char *phase, int64_t keep_step,
                         VmError *err) {
    *m = (VmMetrics){.phase = phase, .dir = dir};
    VmStatus s = keep_step >= 0 ? keep_lines(m, keep_step, err) : VM_OK;
    return s ? s : vm_append_in(&m->f, dir, VM_METRICS_FILE, keep_step >= 0, err);
}

VmStatus vm_metrics_sync(VmMetrics *m, VmError *err) {
    return fdatasync(fileno(m->f)) == 0 || errno == EINVAL ? VM_OK : cannot_write(m, errno, err);
}

VmStatus vm_metrics_close(VmMetrics *m, VmError *err) {
    if (!m->f) return VM_OK;
    bool ok = fclose(m->f) == 0;
    m->f = NULL;
    return ok ? VM_OK : cannot_write(m, errno, err);
}

/* ---- events ---- */

/* A value that looks like a number or a truth value is written as one. */
static void put_config(VmJson *o, const char *name, const char *text) {
    json_t *v = json_loads(text, JSON_DECODE_ANY, NULL);
    if (v && (json_is_number(v) || json_is_boolean(v))) {
        vm_json_put_value(o, name, v);
        return;
    }
    json_decref(v);
    vm_json_string(o, name, text);
}

VmStatus vm_metrics_start(VmMetrics *m, const VmTraining *what, const VmRunState *run, int threads,
                          int64_t test_images, VmError *err) {
    const VmSubject *s = what->subject;
    VmJson line = event(m, "start"), config = vm_json_object();
    vm_json_int(&line, "step", run->step);
    vm_json_int(&line, "steps", run->total);
    vm_json_bool(&line, "resumed", run->step > 0);
    vm_json_int(&line, "threads", threads);
    vm_json_int(&line, "train_images", run->train_images);
    vm_json_int(&line, "test_images", test_images);
    if (what->run->tuning) vm_json_string(&line, "tuning", what->run->tuning);
    vm_json_string(&line, "weights", run->weights);
    if (s->graph) vm_json_string(&line, "graph", s->graph);
    if (s->instructions) vm_json_string(&line, "instructions", s->instructions);
    vm_json_put(&line, "recipe", vm_recipe_json(what->recipe, false));
    for (int i = 0; i < s->nconfig; i++) put_config(&config, s->config_name[i], s->config_value[i]);
    vm_json_put(&line, "config", config);
    return write_line(m, &line, err);
}

static void put_terms(VmJson *line, const char *key, const VmBinding *b, VmRole role) {
    VmJson o = vm_json_object();
    for (int i = 0; i < b->nterm; i++) {
        const VmTensor *t = b->term[i].tensor;
        if (t->role == (int32_t)role) vm_json_number(&o, t->name, (double)*b->term[i].value);
    }
    vm_json_put(line, key, o);
}

VmStatus vm_metrics_step(VmMetrics *m, int64_t epoch, int64_t step, double lr,
                         double images_per_second, const VmBinding *b, const VmRouting *routing,
                         VmError *err) {
    VmJson line = event(m, "step");
    vm_json_int(&line, "epoch", epoch);
    vm_json_int(&line, "step", step);
    vm_json_number(&line, "lr", lr);
    vm_json_number(&line, "loss", vm_binding_loss(b, false));
    vm_json_number(&line, "objective", vm_binding_loss(b, true));
    vm_json_number(&line, "images_per_second", images_per_second);
    put_terms(&line, "losses", b, VM_ROLE_LOSS);
    put_terms(&line, "aux", b, VM_ROLE_AUX);
    put_terms(&line, "metrics", b, VM_ROLE_METRIC);
    if (routing && routing->n) vm_json_put(&line, "router", vm_routing_json(routing, false));
    return write_line(m, &line, err);
}

VmStatus vm_metrics_epoch(VmMetrics *m, const VmEpochRecord *r, const VmRouting *routing,
                          VmError *err) {
    VmJson line = event(m, "epoch");
    vm_json_int(&line, "epoch", r->epoch);
    vm_json_int(&line, "step", r->step);
    vm_json_number(&line, "train_loss", r->train_loss);
    vm_json_number(&line, "train_objective", r->train_objective);
    vm_json_number(&line, "train_accuracy", r->train_accuracy);
    vm_json_number(&line, "test_loss", r->test_loss);
    vm_json_number(&line, "test_accuracy", r->test_accuracy);
    vm_json_number(&line, "seconds", r->seconds);
    vm_json_number(&line, "images_per_second", r->images_per_second);
    vm_json_number(&line, "test_seconds", r->test_seconds);
    if (routing && routing->n) vm_json_put(&line, "router", vm_routing_json(routing, true));
    return write_line(m, &line, err);
}
