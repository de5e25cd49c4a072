/* What weights say of themselves, and whether they are used as they were made: a file of weights
 * names its model, the settings it was built with, how images were prepared, and the classes, in
 * the order of the logits. docs/runs.md has the format.
 *
 * A setting that differs only counts if the model's scores change with it: dropout, the loss or an
 * unused number do not. That is found out by elaborating the model with the weights' settings. */
#include "driver/session/about.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/version.h"

/* ---- writing --------------------------------------------------------------------------------- */

static VmJson settings_json(const Session *s) {
    const char *const *name, *const *value;
    VmJson o = vm_json_object();
    int n = fe_config(s->exp, &name, &value);
    for (int i = 0; i < n; i++) vm_json_string(&o, name[i], value[i]);
    return o;
}

static void put_channels(VmJson *o, const char *key, const double x[3], int64_t n) {
    VmJson list = vm_json_list();
    for (int64_t i = 0; i < n; i++) vm_json_number(&list, NULL, x[i]);
    vm_json_put(o, key, list);
}

static VmJson image_json(const Preparation *p) {
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

VmStatus session_about(Session *s, const VmDataset *train, int64_t seed, VmPairs *out) {
    Preparation p;
    Arena *a = s->arena;
    const char **list = ARENA_ARRAY(a, const char *, 14);
    const char *plain[] = {
        "format", "vmoec",  "version", vm_version,
        "model",  s->model, "run",     arena_printf(a, "{\"seed\":%lld}", (long long)seed)};
    memcpy(list, plain, sizeof plain);
    *out = (VmPairs){list, 4};
    bool good = add(a, list, out, "settings", settings_json(s));
    if (good && session_preparation(s, &p)) good = add(a, list, out, "image", image_json(&p));
    if (good && train && vm_dataset_class(train, 0))
        good = add(a, list, out, "classes", classes_json(train));
    return good ? VM_OK : session_fail(s, VM_ENV, "out of memory");
}

bool session_preparation(Session *s, Preparation *out) {
    char folder[4096];
    const IrGraph *g = session_graph(s, s->batch);
    const IrNode *image = NULL;
    for (const IrNode *n = g ? g->first : NULL; n && !image; n = n->next)
        if (n->op == OP_input && n->out[0].type.rank == 4 && n->out[0].type.dtype == DT_f32)
            image = n;
    if (!image || !s->train) return false;
    VmDataQuery q = session_data_query(s->train, NULL, folder);
    const int64_t *dim = image->out[0].type.dim;
    *out = (Preparation){
        .channels = dim[1], .height = dim[2], .width = dim[3], .resize = q.resize > 0};
    memcpy(out->mean, q.mean, sizeof q.mean);
    memcpy(out->std, q.std, sizeof q.std);
    return true;
}

/* ---- reading --------------------------------------------------------------------------------- */

static void read_settings(Session *s, const json_t *o, About *to) {
    const char *name;
    json_t *value;
    to->name = ARENA_ARRAY(s->arena, const char *, json_object_size(o) + 1);
    to->value = ARENA_ARRAY(s->arena, const char *, json_object_size(o) + 1);
    json_object_foreach((json_t *)o, name, value) {
        if (!json_is_string(value)) continue;
        to->name[to->nsetting] = arena_strdup(s->arena, name);
        to->value[to->nsetting++] = arena_strdup(s->arena, json_string_value(value));
    }
}

static void read_classes(Session *s, const json_t *list, About *to) {
    size_t n = json_array_size(list);
    const char **name = ARENA_ARRAY(s->arena, const char *, n + 1);
    for (size_t i = 0; i < n; i++) {
        const char *text = json_string_value(json_array_get(list, i));
        if (!text) return;
        name[i] = arena_strdup(s->arena, text);
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

static void read_image(Session *s, const json_t *o, About *to) {
    (void)s;
    Preparation *p = &to->image;
    *p = (Preparation){.channels = json_integer_value(json_object_get(o, "channels")),
                       .height = json_integer_value(json_object_get(o, "height")),
                       .width = json_integer_value(json_object_get(o, "width")),
                       .resize = json_is_true(json_object_get(o, "resize"))};
    to->has_image = p->channels > 0 && p->height > 0 && p->width > 0 &&
                    read_channels(json_object_get(o, "mean"), p->mean) &&
                    read_channels(json_object_get(o, "std"), p->std);
}

static void read_run(Session *s, const json_t *o, About *to) {
    (void)s;
    const json_t *value = json_object_get(o, "seed");
    to->has_seed = json_is_integer(value);
    to->seed = (uint64_t)json_integer_value(value);
}

static const struct {
    const char *name;
    void (*read)(Session *s, const json_t *value, About *to);
} parts[] = {{"settings", read_settings},
             {"image", read_image},
             {"run", read_run},
             {"classes", read_classes}};

/* Whether the pairs of a file are those that session_about makes. */
static bool is_ours(const VmTensorFile *f) {
    const char *name, *value;
    for (int i = 0; vm_tensors_meta(f, i, &name, &value); i++)
        if (!strcmp(name, "format")) return !strcmp(value, "vmoec");
    return false;
}

/* A pair of that name may come from another program, and mean something else. */
static void read_part(Session *s, const char *name, const char *value, About *out) {
    json_t *json = NULL;
    for (size_t k = 0; k < sizeof parts / sizeof parts[0]; k++) {
        if (strcmp(name, parts[k].name) != 0) continue;
        if (!vm_json_read(value, strlen(value), name, &json, NULL)) parts[k].read(s, json, out);
        json_decref(json);
    }
}

void session_about_read(Session *s, const VmTensorFile *f, const char *path, About *out) {
    const char *name, *value;
    *out = (About){.path = arena_strdup(s->arena, path)};
    for (int i = 0; is_ours(f) && vm_tensors_meta(f, i, &name, &value); i++)
        read_part(s, name, value, out);
}

static void tell(Session *s, AboutUse use, const char *text) {
    if (use == ABOUT_WARN)
        session_warn(s, "%s", text);
    else
        session_note(s, "%s", text);
}

/* ---- settings -------------------------------------------------------------------------------- */

/* What computes the scores, as text; of a model without classes, all that is computed. */
static const char *essence(Session *s, IrGraph *g) {
    static const PassId list[] = {PASS_scores, PASS_expand, PASS_simplify};
    s->pass.scores = SCORES_ALONE;
    const char *why = session_try_passes(s, g, list, 3, false);
    s->pass.scores = SCORES_UNSEEN;
    return why ? why : ir_to_text(g->arena, g);
}

/* The same with settings `set` on top of the session's; NULL: the model cannot be built so. */
static const char *essence_with(Session *s, Arena *a, const char *const *set, int n) {
    FeOptions o = s->fe;
    VmError err = {.text = ""};
    Diags *d = diags_create(a);
    const char **all = ARENA_ARRAY(a, const char *, o.nset + n + 1);
    for (int i = 0; i < o.nset; i++) all[i] = o.set[i];
    for (int i = 0; i < n; i++) all[o.nset + i] = set[i];
    o.set = all;
    o.nset += n;
    FeExperiment *e = fe_load(a, s->path, &o, d, &err);
    if (!e || d->nerrors) return NULL;
    IrGraph *g = fe_elaborate(e, a, s->model, s->batch, d);
    return g && !d->nerrors ? essence(s, g) : NULL;
}

static bool matters(Session *s, const char *const *set, int n) {
    Arena *a = arena_create();
    const char *here = essence_with(s, a, NULL, 0);
    const char *there = here ? essence_with(s, a, set, n) : NULL;
    bool differ = here && (!there || strcmp(here, there) != 0);
    arena_destroy(a);
    return differ;
}

/* "heads = 8 there, 4 here" of every setting that changes what is computed. */
typedef struct Difference {
    Text text, set;
    int n;
} Difference;

static void add_setting(Difference *d, const char *name, const char *there, const char *here) {
    text_addf(&d->text, "%s%s = %s there, %s here", d->n ? "; " : "", name, there, here);
    text_addf(&d->set, " --set '%s=%s'", name, there);
    d->n++;
}

static const char *value_here(const Session *s, const char *wanted) {
    const char *const *name, *const *value;
    int n = fe_config(s->exp, &name, &value);
    for (int i = 0; i < n; i++)
        if (!strcmp(name[i], wanted)) return value[i];
    return NULL;
}

/* Several settings may only matter together. */
static Difference settings_that_matter(Session *s, const About *x) {
    Difference one = {text_new(s->arena), text_new(s->arena), 0}, all = one;
    all.text = text_new(s->arena);
    all.set = text_new(s->arena);
    const char **set = ARENA_ARRAY(s->arena, const char *, x->nsetting + 1);
    int n = 0;
    for (int i = 0; i < x->nsetting; i++) {
        const char *here = value_here(s, x->name[i]);
        if (!here || !strcmp(here, x->value[i])) continue;
        set[n++] = arena_printf(s->arena, "%s=%s", x->name[i], x->value[i]);
        add_setting(&all, x->name[i], x->value[i], here);
        if (matters(s, &set[n - 1], 1)) add_setting(&one, x->name[i], x->value[i], here);
    }
    if (one.n || n < 2 || !matters(s, set, n)) return one;
    return all;
}

VmStatus session_about_settings(Session *s, const About *x, AboutUse use) {
    Difference d = x->nsetting ? settings_that_matter(s, x) : (Difference){.n = 0};
    if (!d.n) return VM_OK;
    if (use == ABOUT_NOTE) {
        session_note(s, "%s was made with other settings: %s", x->path, d.text.data);
        return VM_OK;
    }
    const char *text =
        arena_printf(s->arena,
                     "%s was made with other settings, and %s computes something else "
                     "with these: %s",
                     x->path, s->model, d.text.data);
    if (use == ABOUT_REFUSE)
        return session_fail(s, VM_INPUT, "%s\n       %s chooses theirs; --anyway keeps these", text,
                            d.set.data + 1);
    tell(s, use, text);
    return VM_OK;
}

/* ---- preparation of images ------------------------------------------------------------------- */

static const char *channels_text(Arena *a, const double x[3], int64_t n) {
    bool equal = n < 2 || (x[0] == x[1] && x[1] == x[2]);
    return equal ? arena_printf(a, "%g", x[0]) : arena_printf(a, "(%g, %g, %g)", x[0], x[1], x[2]);
}

static void compare(Text *t, const char *what, const char *there, const char *here) {
    if (strcmp(there, here) != 0)
        text_addf(t, "%s%s %s there, %s here", t->len ? "; " : "", what, there, here);
}

static const char *size_text(Arena *a, const Preparation *p) {
    return arena_printf(a, "%lld x %lld", (long long)p->height, (long long)p->width);
}

VmStatus session_about_image(Session *s, const About *x, AboutUse use) {
    Preparation here;
    const Preparation *there = &x->image;
    Arena *a = s->arena;
    if (!x->has_image || !session_preparation(s, &here)) return VM_OK;
    Text t = text_new(a);
    compare(&t, "size", size_text(a, there), size_text(a, &here));
    compare(&t, "channels", arena_printf(a, "%lld", (long long)there->channels),
            arena_printf(a, "%lld", (long long)here.channels));
    compare(&t, "mean", channels_text(a, there->mean, there->channels),
            channels_text(a, here.mean, here.channels));
    compare(&t, "std", channels_text(a, there->std, there->channels),
            channels_text(a, here.std, here.channels));
    if (!t.len) return VM_OK;
    const char *text =
        arena_printf(a, "%s was trained with images prepared in another way: %s", x->path, t.data);
    if (use == ABOUT_REFUSE)
        return session_fail(s, VM_INPUT, "%s\n       --anyway uses it all the same", text);
    tell(s, use, text);
    return VM_OK;
}

/* ---- classes --------------------------------------------------------------------------------- */

void session_about_classes(Session *s, const About *x, const VmDataset *train) {
    int64_t n = 0, same = 0;
    const char *there = "", *here = "";
    while (vm_dataset_class(train, n)) n++;
    if (!x->nclasses || !n) return;
    for (int64_t i = 0; i < n || i < x->nclasses; i++) {
        const char *old = i < x->nclasses ? x->classes[i] : NULL;
        const char *now = vm_dataset_class(train, i);
        same += old && now && !strcmp(old, now);
        if (i < 5 && old) there = arena_printf(s->arena, "%s%s%s", there, i ? ", " : "", old);
        if (i < 5 && now) here = arena_printf(s->arena, "%s%s%s", here, i ? ", " : "", now);
    }
    if (same == n && n == x->nclasses) return;
    session_note(s,
                 "%s was trained for other classes, or in another order: %s%s there, %s%s here; a "
                 "head that is not left out (--skip) starts from theirs",
                 x->path, there, x->nclasses > 5 ? ", .." : "", here, n > 5 ? ", .." : "");
}
