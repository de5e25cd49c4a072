/* Writes down what a run is. */
#include "runtime/train/describe.h"

#include <jansson.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { FORMAT = 1 };

static void put_text(VmJson *o, const char *key, const char *text) {
    if (text) vm_json_string(o, key, text);
}

static void put_command(VmJson *o, const VmDescription *d) {
    char here[4096];
    VmJson list = vm_json_list();
    for (int i = 0; i < d->ncommand; i++) vm_json_string(&list, NULL, d->command[i]);
    vm_json_put(o, "command", list);
    put_text(o, "folder", getcwd(here, sizeof here));
}

static void put_now(VmJson *o) {
    char text[40];
    struct tm t;
    time_t now = time(NULL);
    if (gmtime_r(&now, &t) && strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &t))
        vm_json_string(o, "started", text);
}

static void put_settings(VmJson *o, const VmDescription *d) {
    VmJson list = vm_json_object();
    for (int i = 0; i < d->nsetting; i++) vm_json_string(&list, d->name[i], d->value[i]);
    vm_json_put(o, "settings", list);
}

static VmJson split_json(const VmDataset *d) {
    VmJson o = vm_json_object();
    vm_json_int(&o, "images", vm_dataset_size(d));
    vm_json_string(&o, "fingerprint", vm_hash_text(vm_dataset_fingerprint(d)).text);
    return o;
}

static void put_data(VmJson *o, const VmDescription *d) {
    VmJson data = vm_json_object(), list = vm_json_list();
    vm_json_string(&data, "kind", vm_sources[d->query->kind].name);
    char *place = vm_dataset_place(d->query);
    put_text(&data, "place", place);
    free(place);
    if (d->train) vm_json_put(&data, "train", split_json(d->train));
    if (d->held) vm_json_put(&data, "validation", split_json(d->held));
    if (d->test) vm_json_put(&data, "test", split_json(d->test));
    for (int64_t i = 0; vm_dataset_class(d->classes, i); i++)
        vm_json_string(&list, NULL, vm_dataset_class(d->classes, i));
    vm_json_put(&data, "classes", list);
    vm_json_put(o, "data", data);
}

static void put_used(VmJson *o, const VmDescription *d) {
    VmJson list = vm_json_list();
    for (int i = 0; i < d->nused; i++) {
        VmJson file = vm_json_object();
        vm_json_string(&file, "path", d->used[i].path);
        vm_json_string(&file, "text", d->used[i].text);
        vm_json_put(&list, NULL, file);
    }
    vm_json_put(o, "used", list);
}

static VmJson record(const VmDescription *d) {
    VmJson o = vm_json_object();
    vm_json_int(&o, "format", FORMAT);
    put_now(&o);
    put_command(&o, d);
    vm_json_string(&o, "file", d->file);
    put_text(&o, "source_commit", d->source_commit);
    put_text(&o, "weights", d->weights);
    vm_json_string(&o, "version", d->version);
    vm_json_string(&o, "commit", d->commit);
    vm_json_string(&o, "llvm", d->llvm);
    vm_json_string(&o, "instructions", d->instructions);
    vm_json_int(&o, "threads", d->threads);
    vm_json_string(&o, "model", d->model);
    vm_json_string(&o, "phase", d->phase);
    put_settings(&o, d);
    vm_json_put(&o, "recipe", vm_recipe_json(d->recipe, false));
    put_data(&o, d);
    put_used(&o, d);
    return o;
}

bool vm_describe(Arena *a, const VmDescription *d, VmRunFile out[2]) {
    VmJson o = record(d);
    char *text = vm_json_text(&o, JSON_INDENT(1));
    if (!text) return false;
    out[0] = (VmRunFile){VM_RUN_RECORD, arena_printf(a, "%s\n", text)};
    free(text);
    out[1] = (VmRunFile){VM_RUN_SOURCE, d->source};
    return true;
}
