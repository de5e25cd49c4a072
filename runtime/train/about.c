/* What weights say of themselves: written, read, and compared with what they are used for. */
#include "runtime/train/about.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* ---- writing --------------------------------------------------------------------------------- */

static VmJson settings_json(const VmMaking *m) {
    VmJson o = vm_json_object();
    for (int i = 0; i < m->nsetting; i++) vm_json_string(&o, m->name[i], m->value[i]);
    return o;
}

static void put_channels(VmJson *o, const char *key, const double x[3], int64_t n) {
    VmJson list = vm_json_list();
    for (int64_t i = 0; i < n; i++) vm_json_number(&list, NULL, x[i]);
    vm_json_put(o, key, list);
}

static VmJson image_json(const VmPreparation *p) {
    VmJson o = vm_json_object();
    int64_t n = p->channels < 3 ? p->channels : 3;
    vm_json_int(&o, "channels", p->channels);
    vm_json_int(&o, "height", p->height);
    vm_json_int(&o, "width", p->width);
    vm_json_bool(&o, "resize", p->resize);
    put_channels(&o, "mean", p->mean, n);
    put_channels(&o, "std", p->std, n);
    return o;
}

static VmJson classes_json(const VmDataset *d) {
    VmJson list = vm_json_list();
    for (int64_t i = 0; vm_dataset_class(d, i); i++)
        vm_json_string(&list, NULL, vm_dataset_class(d, i));
    return list;
}

/* Takes the value over; false: memory is not there. */
static bool add(Arena *a, const char **list, VmPairs *to, const char *name, VmJson value) {
    char *text = vm_json_text(&value, JSON_COMPACT);
    if (!text) return false;
    list[2 * to->n] = name;
    list[2 * to->n++ + 1] = arena_strdup(a, text);
    free(text);
    return true;
}

bool vm_about_write(Arena *a, const VmMaking *m, VmPairs *out) {
    const char **list = ARENA_ARRAY(a, const char *, 14);
    const char *plain[] = {
        "format", "vmoec",  "version", m->version,
        "model",  m->model, "run",     arena_printf(a, "{\"seed\":%lld}", (long long)m->seed)};
    memcpy(list, plain, sizeof plain);
    *out = (VmPairs){list, 4};
    bool good = add(a, list, out, "settings", settings_json(m));
    if (good && m->image) good = add(a, list, out, "image", image_json(m->image));
    if (good && m->train && vm_dataset_class(m->train, 0))
        good = add(a, list, out, "classes", classes_json(m->train));
    return good;
}

/* ---- reading --------------------------------------------------------------------------------- */

static void read_settings(Arena *a, const json_t *o, VmAbout *to) {
    const char *name;
    json_t *value;
    to->name = ARENA_ARRAY(a, const char *, json_object_size(o) + 1);
    to->value = ARENA_ARRAY(a, const char *, json_object_size(o) + 1);
    json_object_foreach ((json_t *)o, name, value) {
        if (!json_is_string(value)) continue;
        to->name[to->nsetting] = arena_strdup(a, name);
        to->value[to->nsetting++] = arena_strdup(a, json_string_value(value));
    }
}

static void read_classes(Arena *a, const json_t *list, VmAbout *to) {
    size_t n = json_array_size(list);
    const char **name = ARENA_ARRAY(a, const char *, n + 1);
    for (size_t i = 0; i < n; i++) {
        const char *text = json_string_value(json_array_get(list, i));
        if (!text) return;
        name[i] = arena_strdup(a, text);
    }
    to->classes = name;
    to->nclasses = (int64_t)n;
}

static bool read_channels(const json_t *list, double x[3]) {
    size_t n = json_array_size(list);
    for (size_t i = 0; i < 3 && n; i++)
        x[i] = json_number_value(json_array_get(list, i < n ? i : n - 1));
    return n > 0;
}

static void read_image(Arena *a, const json_t *o, VmAbout *to) {
    (void)a;
    VmPreparation *p = &to->image;
    *p = (VmPreparation){.channels = json_integer_value(json_object_get(o, "channels")),
                         .height = json_integer_value(json_object_get(o, "height")),
                         .width = json_integer_value(json_object_get(o, "width")),
                         .resize = json_is_true(json_object_get(o, "resize"))};
    to->has_image = p->channels > 0 && p->height > 0 && p->width > 0 &&
                    read_channels(json_object_get(o, "mean"), p->mean) &&
                    read_channels(json_object_get(o, "std"), p->std);
}

static void read_run(Arena *a, const json_t *o, VmAbout *to) {
    (void)a;
    const json_t *value = json_object_get(o, "seed");
    to->has_seed = json_is_integer(value);
    to->seed = (uint64_t)json_integer_value(value);
}

static const struct {
    const char *name;
    void (*read)(Arena *a, const json_t *value, VmAbout *to);
} parts[] = {{"settings", read_settings},
             {"image", read_image},
             {"run", read_run},
             {"classes", read_classes}};

/* Whether the pairs of a file are those that vm_about_write makes. */
static bool is_ours(const VmTensorFile *f) {
    const char *name, *value;
    for (int i = 0; vm_tensors_meta(f, i, &name, &value); i++)
        if (!strcmp(name, "format")) return !strcmp(value, "vmoec");
    return false;
}

/* A pair of that name may come from another program, and mean something else. */
static VmStatus read_part(Arena *a, const char *name, const char *value, VmAbout *out,
                          VmError *err) {
    json_t *json = NULL;
    VmStatus s = VM_OK;
    for (size_t k = 0; k < sizeof parts / sizeof parts[0]; k++) {
        if (strcmp(name, parts[k].name) != 0) continue;
        s = vm_json_read(value, strlen(value), name, &json, err);
        if (!s) parts[k].read(a, json, out);
        json_decref(json);
    }
    return s == VM_ENV ? s : VM_OK;
}

VmStatus vm_about_read(Arena *a, const VmTensorFile *f, const char *path, VmAbout *out,
                       VmError *err) {
    const char *name, *value;
    VmStatus s = VM_OK;
    *out = (VmAbout){.path = arena_strdup(a, path)};
    for (int i = 0; !s && is_ours(f) && vm_tensors_meta(f, i, &name, &value); i++)
        s = read_part(a, name, value, out, err);
    return s;
}

/* ---- comparing ------------------------------------------------------------------------------- */

static const char *channels_text(Arena *a, const double x[3], int64_t n) {
    bool equal = n < 2 || (x[0] == x[1] && x[1] == x[2]);
    return equal ? arena_printf(a, "%g", x[0]) : arena_printf(a, "(%g, %g, %g)", x[0], x[1], x[2]);
}

static void compare(Text *t, const char *what, const char *there, const char *here) {
    if (strcmp(there, here) != 0)
        text_addf(t, "%s%s %s there, %s here", t->len ? "; " : "", what, there, here);
}

static const char *size_text(Arena *a, const VmPreparation *p) {
    return arena_printf(a, "%lld x %lld", (long long)p->height, (long long)p->width);
}

Text vm_about_image(Arena *a, const VmAbout *x, const VmPreparation *here) {
    const VmPreparation *there = &x->image;
    Text t = text_new(a);
    if (!x->has_image) return t;
    compare(&t, "size", size_text(a, there), size_text(a, here));
    compare(&t, "channels", arena_printf(a, "%lld", (long long)there->channels),
            arena_printf(a, "%lld", (long long)here->channels));
    compare(&t, "mean", channels_text(a, there->mean, there->channels),
            channels_text(a, here->mean, here->channels));
    compare(&t, "std", channels_text(a, there->std, there->channels),
            channels_text(a, here->std, here->channels));
    return t;
}

static const char *value_of(const char *wanted, const char *const *name, const char *const *value,
                            int n) {
    for (int i = 0; i < n; i++)
        if (!strcmp(name[i], wanted)) return value[i];
    return NULL;
}

Text vm_about_settings(Arena *a, const VmAbout *x, const char *const *name,
                       const char *const *value, int n) {
    Text t = text_new(a);
    for (int i = 0; i < x->nsetting; i++) {
        const char *here = value_of(x->name[i], name, value, n);
        if (here && strcmp(here, x->value[i]) != 0)
            text_addf(&t, "%s%s = %s there, %s here", t.len ? "; " : "", x->name[i], x->value[i],
                      here);
    }
    return t;
}
