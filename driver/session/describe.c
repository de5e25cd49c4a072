/* A run's own files about itself: source.vmoe, the text it was made from, and run.json, everything
 * else that somebody needs who finds the folder years later: command, settings, versions, commit,
 * machine, data. docs/runs.md has the format. */
#include "driver/session/session.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/version.h"

enum { FORMAT = 1 };

static void put_text(VmJson *o, const char *key, const char *text) {
    if (text) vm_json_string(o, key, text);
}

static void put_command(VmJson *o, const SessionTrain *how) {
    char here[4096];
    VmJson list = vm_json_list();
    for (int i = 0; i < how->ncommand; i++) vm_json_string(&list, NULL, how->command[i]);
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

static void put_settings(VmJson *o, const Session *s) {
    const char *const *name, *const *value;
    VmJson list = vm_json_object();
    int n = fe_config(s->exp, &name, &value);
    for (int i = 0; i < n; i++) vm_json_string(&list, name[i], value[i]);
    vm_json_put(o, "settings", list);
}

static VmJson split_json(const VmDataset *d) {
    VmJson o = vm_json_object();
    vm_json_int(&o, "images", vm_dataset_size(d));
    vm_json_string(&o, "fingerprint", vm_hash_text(vm_dataset_fingerprint(d)).text);
    return o;
}

static void put_data(VmJson *o, const Session *s, const SessionTrain *how) {
    char folder[4096];
    VmDataQuery q = session_data_query(s->train, how->data, folder);
    VmJson data = vm_json_object(), list = vm_json_list();
    vm_json_string(&data, "kind", vm_sources[q.kind].name);
    char *place = vm_dataset_place(&q);
    put_text(&data, "place", place);
    free(place);
    if (s->train_set) vm_json_put(&data, "train", split_json(s->train_set));
    if (s->held) vm_json_put(&data, "validation", split_json(s->held));
    if (s->data[VM_TEST]) vm_json_put(&data, "test", split_json(s->data[VM_TEST]));
    for (int64_t i = 0; vm_dataset_class(s->data[VM_TRAIN], i); i++)
        vm_json_string(&list, NULL, vm_dataset_class(s->data[VM_TRAIN], i));
    vm_json_put(&data, "classes", list);
    vm_json_put(o, "data", data);
}

/* The main file follows those that it uses; libraries are not counted. */
static const char *main_text(const Session *s, int *at) {
    const char *text = "", *x;
    bool library;
    for (int i = 0; i < fe_nfile(s->exp); i++) {
        (void)fe_file(s->exp, i, &x, &library);
        if (library) continue;
        text = x;
        *at = i;
    }
    return text;
}

/* The user's own files that the main file uses; layer libraries are the version's. */
static void put_used(VmJson *o, const Session *s) {
    VmJson list = vm_json_list();
    int last = 0;
    (void)main_text(s, &last);
    for (int i = 0; i < last; i++) {
        const char *text;
        bool library;
        const char *path = fe_file(s->exp, i, &text, &library);
        if (library) continue;
        VmJson file = vm_json_object();
        vm_json_string(&file, "path", path);
        vm_json_string(&file, "text", text);
        vm_json_put(&list, NULL, file);
    }
    vm_json_put(o, "used", list);
}

static VmJson record(Session *s, const SessionTrain *how, const VmRecipe *r) {
    VmJson o = vm_json_object();
    vm_json_int(&o, "format", FORMAT);
    put_now(&o);
    put_command(&o, how);
    vm_json_string(&o, "file", s->path);
    put_text(&o, "source_commit", how->commit);
    put_text(&o, "weights", how->weights);
    vm_json_string(&o, "version", vm_version);
    vm_json_string(&o, "commit", vm_commit);
    vm_json_string(&o, "llvm", vm_llvm_version);
    vm_json_string(&o, "instructions", s->target->isa);
    vm_json_int(&o, "threads", vm_threads(how->threads));
    vm_json_string(&o, "model", s->model);
    vm_json_string(&o, "phase", s->train->name);
    put_settings(&o, s);
    vm_json_put(&o, "recipe", vm_recipe_json(r, false));
    put_data(&o, s, how);
    put_used(&o, s);
    return o;
}

VmStatus session_describe(Session *s, const SessionTrain *how, const VmRecipe *r,
                          const VmRunFile **file, int *n) {
    int at;
    VmRunFile *list = ARENA_ARRAY(s->arena, VmRunFile, 2);
    VmJson o = record(s, how, r);
    char *text = vm_json_text(&o, JSON_INDENT(1));
    if (!text) return session_fail(s, VM_ENV, "out of memory");
    list[0] = (VmRunFile){VM_RUN_RECORD, arena_printf(s->arena, "%s\n", text)};
    free(text);
    list[1] = (VmRunFile){VM_RUN_SOURCE, main_text(s, &at)};
    *file = list;
    *n = 2;
    return VM_OK;
}
