/* trainer.json, the record of a checkpoint: which run it belongs to, where that run stood, and the
 * fingerprints of the tensor files beside it. The record has a checksum of its own, over everything
 * else it says.
 *
 * What decides a run's bits stands in the object "run"; vm_record_differences compares it entry by
 * entry.
 *
 * Does not: open folders or tensor files (checkpoint.c). */
#include "runtime/train/record.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { FORMAT = 4 };

static const size_t compact = JSON_COMPACT | JSON_SORT_KEYS | JSON_REAL_PRECISION(17);

/* ---- what decides a run ---- */

static VmJson data_identity(const VmDataset *d) {
    VmJson o = vm_json_object();
    vm_json_int(&o, "images", vm_dataset_size(d));
    vm_json_string(&o, "fingerprint", vm_hash_text(vm_dataset_fingerprint(d)).text);
    return o;
}

/* "cat, dog"; a data set without names gives none. */
static void put_classes(VmJson *o, const VmDataset *d) {
    if (!vm_dataset_class(d, 0)) return;
    int64_t classes;
    vm_dataset_shape(d, NULL, NULL, NULL, &classes);
    VmJson list = vm_json_list();
    for (int64_t i = 0; i < classes; i++) vm_json_string(&list, NULL, vm_dataset_class(d, i));
    vm_json_put(o, "classes", list);
}

static VmJson identity(const VmTraining *what, int64_t total) {
    const VmSubject *s = what->subject;
    VmJson o = vm_json_object(), config = vm_json_object();
    vm_json_string(&o, "phase", s->phase);
    vm_json_put(&o, "recipe", vm_recipe_json(what->recipe, true));
    vm_json_int(&o, "steps", total);
    vm_json_string(&o, "graph", s->graph ? s->graph : "any");
    vm_json_string(&o, "instructions", s->instructions ? s->instructions : "any");
    vm_json_string(&o, "compiler", s->compiler ? s->compiler : "any");
    vm_json_put(&o, "train_data", data_identity(what->train));
    if (what->validation) vm_json_put(&o, "validation_data", data_identity(what->validation));
    if (what->test) vm_json_put(&o, "test_data", data_identity(what->test));
    put_classes(&o, what->train);
    for (int i = 0; i < s->nconfig; i++)
        vm_json_string(&config, s->config_name[i], s->config_value[i]);
    vm_json_put(&o, "config", config);
    return o;
}

static VmStatus no_memory(VmError *err) {
    return vm_fail(err, VM_ENV, "out of memory for the record of a checkpoint");
}

VmStatus vm_record_identity(const VmTraining *what, int64_t total, VmRecordRun *out, VmError *err) {
    VmJson o = identity(what, total);
    *out = (VmRecordRun){.lengthens = !vm_schedule_is_whole(&what->recipe->schedule)};
    if (o.failed) {
        vm_json_free(&o);
        return no_memory(err);
    }
    out->run = o.value;
    return VM_OK;
}

void vm_record_free(VmRecordRun *r) {
    json_decref(r->run);
    r->run = NULL;
}

/* ---- writing ---- */

static VmJson sum_json(const VmFileSum *s) {
    VmJson o = vm_json_object();
    vm_json_int(&o, "bytes", s->bytes);
    vm_json_string(&o, "xxh3", vm_hash_text(s->hash).text);
    return o;
}

static VmJson sums_json(const VmSums *s) {
    VmJson o = vm_json_object(), metrics = vm_json_list();
    vm_json_number(&o, "loss", s->loss);
    vm_json_number(&o, "objective", s->objective);
    for (int i = 0; i < s->nmetric; i++) vm_json_number(&metrics, NULL, s->metric[i]);
    vm_json_put(&o, "metrics", metrics);
    vm_json_int(&o, "batches", s->batches);
    vm_json_int(&o, "images", s->images);
    return o;
}

static VmJson bests_json(const VmBest best[VM_BESTS]) {
    VmJson list = vm_json_list();
    for (int i = 0; i < VM_BESTS; i++) {
        VmJson o = vm_json_object();
        vm_json_int(&o, "epoch", best[i].epoch);
        vm_json_number(&o, "value", best[i].value);
        vm_json_put(&list, NULL, o);
    }
    return list;
}

static VmHashText checksum(const char *text) {
    return vm_hash_text(vm_hash((VmHash){0, 0}, text, strlen(text)));
}

static VmJson record_json(const VmRecordRun *run, const VmRecord *r) {
    const VmRunState *s = &r->at;
    VmJson o = vm_json_object();
    vm_json_int(&o, "format", FORMAT);
    vm_json_int(&o, "step", s->step);
    vm_json_int(&o, "judged", s->judged);
    vm_json_int(&o, "epoch", s->step / s->steps_per_epoch);
    vm_json_int(&o, "steps_per_epoch", s->steps_per_epoch);
    vm_json_put_value(&o, "run", json_incref(run->run));
    vm_json_string(&o, "weights_from", s->weights);
    vm_json_put(&o, "weights", sum_json(&r->weights));
    if (r->has_state) vm_json_put(&o, "state", sum_json(&r->state));
    vm_json_put(&o, "unfinished_epoch", sums_json(&s->sums));
    if (r->routing) vm_json_put(&o, "unfinished_routes", vm_routing_sums(r->routing));
    vm_json_put(&o, "best", bests_json(s->best));
    const VmBest *kept = &s->best[VM_BEST_KEPT];
    if (kept->epoch) vm_json_put(&o, "best_weights", sum_json(&kept->file));
    return o;
}

VmStatus vm_record_write(const VmDir *d, const VmRecordRun *run, const VmRecord *r, VmError *err) {
    VmJson o = record_json(run, r);
    char *bare = o.failed ? NULL : vm_json_dump(o.value, compact);
    if (bare)
        vm_json_string(&o, "checksum", checksum(bare).text);
    else
        o.failed = true;
    free(bare);
    char *text = vm_json_text(&o, JSON_INDENT(2) | JSON_REAL_PRECISION(17));
    if (!text) return no_memory(err);
    VmFile w;
    VmStatus s = vm_file_begin_in(&w, d, VM_RECORD_FILE, err);
    if (s == VM_OK) {
        fputs(text, w.f);
        fputc('\n', w.f);
        s = vm_file_commit(&w, err);
    }
    free(text);
    return s;
}

/* ---- reading ---- */

static bool get_int(const json_t *o, const char *key, int64_t *out) {
    const json_t *v = json_object_get(o, key);
    *out = json_integer_value(v);
    return json_is_integer(v) && *out >= 0;
}

static bool get_real(const json_t *o, const char *key, double *out) {
    const json_t *v = json_object_get(o, key);
    *out = json_number_value(v);
    return json_is_number(v) && isfinite(*out);
}

static bool get_sum(const json_t *o, const char *key, VmFileSum *out) {
    const json_t *v = json_object_get(o, key);
    const char *hex = json_string_value(json_object_get(v, "xxh3"));
    if (!hex || strlen(hex) != 32 || !get_int(v, "bytes", &out->bytes)) return false;
    return sscanf(hex, "%16" SCNx64 "%16" SCNx64, &out->hash.hi, &out->hash.lo) == 2;
}

static bool get_sums(const json_t *o, VmSums *out) {
    const json_t *metrics = json_object_get(o, "metrics");
    if (!json_is_array(metrics) || json_array_size(metrics) > VM_MAX_METRICS) return false;
    out->nmetric = (int)json_array_size(metrics);
    for (int i = 0; i < out->nmetric; i++) {
        const json_t *v = json_array_get(metrics, (size_t)i);
        out->metric[i] = json_number_value(v);
        if (!json_is_number(v) || !isfinite(out->metric[i])) return false;
    }
    return get_int(o, "batches", &out->batches) && get_int(o, "images", &out->images) &&
           get_real(o, "loss", &out->loss) && get_real(o, "objective", &out->objective);
}

static bool get_bests(const json_t *list, VmBest out[VM_BESTS]) {
    if (!json_is_array(list) || json_array_size(list) != VM_BESTS) return false;
    for (int i = 0; i < VM_BESTS; i++) {
        const json_t *o = json_array_get(list, (size_t)i);
        if (!get_int(o, "epoch", &out[i].epoch) || !get_real(o, "value", &out[i].value))
            return false;
    }
    return true;
}

/* Entries that are missing or of the wrong kind: the name of the first; NULL: all are there. */
static const char *take_entries(const json_t *o, VmRecord *r, int64_t *epoch) {
    VmRunState *s = &r->at;
    const char *from = json_string_value(json_object_get(o, "weights_from"));
    if (!get_int(o, "step", &s->step)) return "step";
    if (!get_int(o, "judged", &s->judged)) return "judged";
    if (!get_int(o, "epoch", epoch)) return "epoch";
    if (!get_int(o, "steps_per_epoch", &s->steps_per_epoch) || s->steps_per_epoch < 1)
        return "steps_per_epoch";
    if (!from || strlen(from) >= sizeof s->weights) return "weights_from";
    snprintf(s->weights, sizeof s->weights, "%s", from);
    if (!get_sum(o, "weights", &r->weights)) return "weights";
    r->has_state = json_object_get(o, "state") != NULL;
    if (r->has_state && !get_sum(o, "state", &r->state)) return "state";
    if (!get_sums(json_object_get(o, "unfinished_epoch"), &s->sums)) return "unfinished_epoch";
    json_t *routes = json_object_get(o, "unfinished_routes");
    if (routes && !vm_routing_are_sums(routes)) return "unfinished_routes";
    if (!get_bests(json_object_get(o, "best"), s->best)) return "best";
    VmBest *kept = &s->best[VM_BEST_KEPT];
    if (kept->epoch && !get_sum(o, "best_weights", &kept->file)) return "best_weights";
    return json_is_object(json_object_get(o, "run")) ? NULL : "run";
}

/* What the record says twice must agree. NULL: it does. */
static const char *contradiction(const json_t *o, const VmRecord *r, int64_t epoch) {
    const VmRunState *s = &r->at;
    const json_t *run = json_object_get(o, "run");
    int64_t batch, steps, most;
    if (epoch != s->step / s->steps_per_epoch) return "its epoch is not that of its step";
    if (s->judged > s->step) return "an epoch was judged behind its step";
    int64_t inside = s->step % s->steps_per_epoch; /* 0 with sums: it was not judged yet */
    if (s->sums.batches > (inside || !s->step ? inside : s->steps_per_epoch))
        return "its epoch's sums go beyond its step";
    const json_t *data = json_object_get(json_object_get(run, "recipe"), "data");
    if (!get_int(data, "batch", &batch) || batch < 1) return "its run has no batch";
    bool any = __builtin_mul_overflow(s->sums.batches, batch, &most);
    if (s->sums.images < s->sums.batches || (!any && s->sums.images > most))
        return "its epoch's sums are of other images";
    if (json_object_get(run, "steps") && (!get_int(run, "steps", &steps) || s->step > steps))
        return "its step is behind the end of its run";
    return NULL;
}

static VmStatus damaged(const char *path, const char *why, VmError *err) {
    return vm_fail(err, VM_INPUT, "%s: damaged: %s", path, why);
}

/* Takes the checksum out of the object and compares it with the rest. */
static VmStatus check_sum(json_t *o, const char *path, VmError *err) {
    char want[33] = "";
    const char *said = json_string_value(json_object_get(o, "checksum"));
    if (said && strlen(said) == 32) snprintf(want, sizeof want, "%s", said);
    (void)json_object_del(o, "checksum");
    char *text = vm_json_dump(o, compact);
    if (!text) return no_memory(err);
    bool same = strcmp(checksum(text).text, want) == 0;
    free(text);
    return same ? VM_OK : damaged(path, "its checksum does not match what it says", err);
}

static VmStatus take_record(json_t *o, const char *path, VmRecord *r, VmRecordRun *run,
                            VmError *err) {
    int64_t format, epoch;
    VmStatus s = check_sum(o, path, err);
    if (s) return s;
    if (!get_int(o, "format", &format)) return damaged(path, "it names no format", err);
    if (format != FORMAT)
        return vm_fail(err, VM_INPUT,
                       "%s: a checkpoint of format %" PRId64
                       ", this vmoec reads format %d: it cannot go on from here; --weights with "
                       "the " VM_WEIGHTS_FILE " beside it starts a new run from its weights",
                       path, format, FORMAT);
    const char *missing = take_entries(o, r, &epoch);
    if (missing)
        return vm_fail(err, VM_INPUT, "%s: damaged: the entry '%s' is missing or wrong", path,
                       missing);
    const char *why = contradiction(o, r, epoch);
    if (why) return damaged(path, why, err);
    run->run = json_incref(json_object_get(o, "run"));
    r->routes = json_incref(json_object_get(o, "unfinished_routes"));
    return VM_OK;
}

VmStatus vm_record_read(const VmDir *d, VmRecord *r, VmRecordRun *run, VmError *err) {
    *r = (VmRecord){0};
    *run = (VmRecordRun){0};
    enum { LARGEST = 64 << 20 };
    char *text, path[600];
    size_t size;
    snprintf(path, sizeof path, "%s/%s", d->path, VM_RECORD_FILE);
    if (vm_size_in(d, VM_RECORD_FILE) > LARGEST)
        return damaged(path, "it is larger than 64 MiB", err);
    VmStatus s = vm_read_in(d, VM_RECORD_FILE, &text, &size, err);
    if (s) return s;
    json_t *o = NULL;
    s = vm_json_read(text, size, path, &o, err);
    free(text);
    if (s == VM_OK && !json_is_object(o)) s = damaged(path, "not an object", err);
    if (s == VM_OK) s = take_record(o, path, r, run, err);
    json_decref(o);
    return s;
}

/* ---- comparing ---- */

typedef struct List {
    char *text;
    size_t cap;
    int n;
} List;

static void add(List *l, const char *group, const char *key, const json_t *was, const json_t *is) {
    enum { MOST = 20 };
    static const size_t flags = JSON_ENCODE_ANY | JSON_COMPACT;
    char *a = was ? vm_json_dump(was, flags | JSON_REAL_PRECISION(9)) : NULL;
    char *b = is ? vm_json_dump(is, flags | JSON_REAL_PRECISION(9)) : NULL;
    if (a && b && strcmp(a, b) == 0) { /* they differ further behind */
        free(a);
        free(b);
        a = vm_json_dump(was, flags | JSON_REAL_PRECISION(17));
        b = vm_json_dump(is, flags | JSON_REAL_PRECISION(17));
    }
    size_t at = strlen(l->text);
    if (l->n++ < MOST)
        snprintf(l->text + at, l->cap - at, "\n  %s%s: %.200s there, %.200s here", group, key,
                 a ? a : "nothing", b ? b : "nothing");
    free(a);
    free(b);
}

/* Lists: their first difference says more than their beginnings. */
static void add_list(List *l, const char *key, const json_t *was, const json_t *is) {
    size_t n = json_array_size(was), m = json_array_size(is), i = 0;
    while (i < n && i < m && json_equal(json_array_get(was, i), json_array_get(is, i))) i++;
    char name[64];
    snprintf(name, sizeof name, "%s, of %zu there and %zu here, number %zu", key, n, m, i + 1);
    add(l, "", name, json_array_get(was, i), json_array_get(is, i));
}

/* "8 images, fingerprint 0b47.. there, ..": what data_identity makes. */
static void add_data(List *l, const char *key, const json_t *was, const json_t *is) {
    char text[2][64];
    for (int i = 0; i < 2; i++) {
        const json_t *d = i ? is : was;
        snprintf(text[i], sizeof text[i], "%lld images, fingerprint %.8s..",
                 (long long)json_integer_value(json_object_get(d, "images")),
                 json_string_value(json_object_get(d, "fingerprint")));
    }
    size_t at = strlen(l->text);
    snprintf(l->text + at, l->cap - at, "\n  %s: %s there, %s here", key, text[0], text[1]);
    l->n++;
}

static bool is_data(const json_t *d) {
    return json_is_integer(json_object_get(d, "images")) &&
           json_is_string(json_object_get(d, "fingerprint"));
}

/* A rate that is constant does not depend on the run's length, so such a run may be made longer. */
static bool only_longer(const char *key, const json_t *was, const json_t *is) {
    return strcmp(key, "steps") == 0 && json_is_integer(was) &&
           json_integer_value(is) >= json_integer_value(was);
}

static void compare(List *l, const char *group, json_t *was, json_t *is, bool lengthens);

/* The entries of an object, under its name: "recipe.data.batch". */
static void compare_inside(List *l, const char *group, const char *key, json_t *was, json_t *is) {
    char name[200];
    snprintf(name, sizeof name, "%.120s%.60s.", group, key);
    compare(l, name, was, is, false);
}

/* Both ways, so that an entry only one of them has is found too. A setting of the file may have the
 * name of one of the recipe's. */
static void compare(List *l, const char *group, json_t *was, json_t *is, bool lengthens) {
    const char *key;
    json_t *value;
    json_object_foreach (is, key, value) {
        json_t *before = json_object_get(was, key);
        if (json_equal(before, value) || (lengthens && only_longer(key, before, value)))
            continue;
        else if (is_data(before) && is_data(value))
            add_data(l, key, before, value);
        else if (json_is_object(before) && json_is_object(value))
            compare_inside(l, group, key, before, value);
        else if (json_is_array(before) && json_is_array(value) && !*group)
            add_list(l, key, before, value);
        else
            add(l, group, key, before, value);
    }
    json_object_foreach (was, key, value) {
        if (!json_object_get(is, key)) add(l, group, key, value, NULL);
    }
}

int vm_record_differences(const VmRecordRun *was, const VmRecordRun *is, char *text, size_t cap) {
    List l = {text, cap, 0};
    text[0] = '\0';
    compare(&l, "", was->run, is->run, is->lengthens);
    return l.n;
}
