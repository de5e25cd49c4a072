/* OUT/metrics.jsonl: one JSON object per line, flushed at once, so that a run can be watched and a killed one
 * leaves all it said. Events: "start" (the whole configuration), "step", "epoch". Numbers that are not finite
 * or do not exist are null. Steps and epochs count from 1: how many are done.
 *
 * Does not: decide what is logged when. */
#include "runtime/internal.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static json_t *number(double v) {
    return isfinite(v) ? json_real(v) : json_null();
}

static void put(json_t *o, const char *key, double v) {
    json_object_set_new(o, key, number(v));
}

static json_t *event(const VmMetrics *m, const char *name) {
    return json_pack("{s:s, s:s}", "event", name, "phase", m->phase);
}

/* Writes and releases the object. */
static VmStatus write_line(VmMetrics *m, json_t *line, VmError *err) {
    char *text = line ? json_dumps(line, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(line);
    if (!text) return vm_fail(err, VM_ENV, "out of memory");
    bool ok = fputs(text, m->f) >= 0 && fputc('\n', m->f) != EOF && fflush(m->f) == 0;
    int why = errno;
    free(text);
    return ok ? VM_OK : vm_fail(err, VM_ENV, "cannot write '%s': %s", m->path, strerror(why));
}

/* ---- opening ---- */

/* Lines after the checkpoint come again when the run goes on; a line cut off by a kill is dropped too. */
static bool line_stays(const char *line, size_t n, int64_t keep_step) {
    json_t *o = json_loadb(line, n, 0, NULL);
    const char *name = json_string_value(json_object_get(o, "event"));
    bool stays =
        name && (strcmp(name, "start") == 0 || json_integer_value(json_object_get(o, "step")) <= keep_step);
    json_decref(o);
    return stays;
}

static VmStatus keep_lines(const VmMetrics *m, int64_t keep_step, VmError *err) {
    char *text;
    size_t size;
    if (vm_read_file(m->path, &text, &size, NULL) != VM_OK) return VM_OK; /* nothing to keep */
    VmFile w;
    VmStatus s = vm_file_begin(&w, m->path, err);
    if (s) {
        free(text);
        return s;
    }
    for (char *p = text, *end = text + size; p < end;) {
        char *newline = memchr(p, '\n', (size_t)(end - p));
        if (!newline) break;
        size_t n = (size_t)(newline - p);
        if (line_stays(p, n, keep_step)) fwrite(p, 1, n + 1, w.f);
        p = newline + 1;
    }
    free(text);
    return vm_file_commit(&w, err);
}

VmStatus vm_metrics_open(VmMetrics *m, const char *out_dir, const char *phase, int64_t keep_step,
                         VmError *err) {
    *m = (VmMetrics){.phase = phase};
    if (!vm_path_join(m->path, sizeof m->path, out_dir, "metrics.jsonl")) {
        return vm_fail(err, VM_ENV, "folder name '%s' is too long", out_dir);
    }
    if (keep_step >= 0) {
        VmStatus s = keep_lines(m, keep_step, err);
        if (s) return s;
    }
    m->f = fopen(m->path, keep_step >= 0 ? "abe" : "wbe");
    if (!m->f) return vm_fail(err, VM_ENV, "cannot write '%s': %s", m->path, strerror(errno));
    return VM_OK;
}

VmStatus vm_metrics_close(VmMetrics *m, VmError *err) {
    if (!m->f) return VM_OK;
    bool ok = fclose(m->f) == 0;
    m->f = NULL;
    return ok ? VM_OK : vm_fail(err, VM_ENV, "cannot write '%s': %s", m->path, strerror(errno));
}

/* ---- events ---- */

/* A value that looks like a number or a truth value is written as one. */
static json_t *config_value(const char *text) {
    json_t *v = json_loads(text, JSON_DECODE_ANY, NULL);
    if (v && (json_is_number(v) || json_is_boolean(v))) return v;
    json_decref(v);
    return json_string(text);
}

static json_t *options(const VmTrainConfig *c, int64_t total) {
    json_t *o = json_object();
    json_object_set_new(o, "batch", json_integer(c->batch));
    json_object_set_new(o, "steps", json_integer(total));
    put(o, "epochs", c->epochs);
    json_object_set_new(o, "seed", json_integer((json_int_t)c->seed));
    json_object_set_new(o, "shuffle", json_boolean(c->shuffle));
    json_object_set_new(o, "drop_last", json_boolean(c->drop_last));
    json_object_set_new(o, "schedule", json_string(c->schedule == 0 ? "constant" : "cosine"));
    put(o, "lr_peak", c->lr_peak);
    put(o, "lr_min", c->lr_min);
    json_object_set_new(o, "warmup_steps", json_integer(c->warmup_steps));
    put(o, "beta1", c->beta1);
    put(o, "beta2", c->beta2);
    return o;
}

VmStatus vm_metrics_start(VmMetrics *m, const VmTrainConfig *c, const VmRunState *run, int threads,
                          int64_t test_images, VmError *err) {
    json_t *line = event(m, "start"), *config = json_object();
    json_object_set_new(line, "step", json_integer(run->step));
    json_object_set_new(line, "resumed", json_boolean(run->step > 0));
    json_object_set_new(line, "threads", json_integer(threads));
    json_object_set_new(line, "train_images", json_integer(run->train_images));
    json_object_set_new(line, "test_images", json_integer(test_images));
    if (c->tuning) json_object_set_new(line, "tuning", json_string(c->tuning));
    json_object_set_new(line, "options", options(c, run->total));
    for (int i = 0; i < c->nconfig; i++) {
        json_object_set_new(config, c->config_name[i], config_value(c->config_value[i]));
    }
    json_object_set_new(config, "train.weights", json_string(run->weights));
    json_object_set_new(line, "config", config);
    return write_line(m, line, err);
}

static json_t *terms(const VmBinding *b, VmRole role) {
    json_t *o = json_object();
    for (int i = 0; i < b->nterm; i++) {
        const VmTensor *t = b->term[i].tensor;
        if (t->role == (int32_t)role) put(o, t->name, (double)*b->term[i].value);
    }
    return o;
}

VmStatus vm_metrics_step(VmMetrics *m, int64_t epoch, int64_t step, double lr, double images_per_second,
                         const VmBinding *b, const VmRouting *routing, VmError *err) {
    json_t *line = event(m, "step");
    json_object_set_new(line, "epoch", json_integer(epoch));
    json_object_set_new(line, "step", json_integer(step));
    put(line, "lr", lr);
    put(line, "loss", vm_binding_loss(b, false));
    put(line, "objective", vm_binding_loss(b, true));
    put(line, "images_per_second", images_per_second);
    json_object_set_new(line, "losses", terms(b, VM_ROLE_LOSS));
    json_object_set_new(line, "aux", terms(b, VM_ROLE_AUX));
    json_object_set_new(line, "metrics", terms(b, VM_ROLE_METRIC));
    if (routing && routing->n) json_object_set_new(line, "router", vm_routing_json(routing, false));
    return write_line(m, line, err);
}

VmStatus vm_metrics_epoch(VmMetrics *m, const VmEpochRecord *r, const VmRouting *routing, VmError *err) {
    json_t *line = event(m, "epoch");
    json_object_set_new(line, "epoch", json_integer(r->epoch));
    json_object_set_new(line, "step", json_integer(r->step));
    put(line, "train_loss", r->train_loss);
    put(line, "train_objective", r->train_objective);
    put(line, "train_accuracy", r->train_accuracy);
    put(line, "test_loss", r->test_loss);
    put(line, "test_accuracy", r->test_accuracy);
    put(line, "seconds", r->seconds);
    put(line, "images_per_second", r->images_per_second);
    put(line, "test_seconds", r->test_seconds);
    if (routing && routing->n) json_object_set_new(line, "router", vm_routing_json(routing, true));
    return write_line(m, line, err);
}
