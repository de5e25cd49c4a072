/* Whether weights are used as they were made (runtime/train/about.h).
 *
 * A setting that differs only counts if the model's scores change with it: dropout, the loss or an
 * unused number do not. That is found out by elaborating the model with the weights' settings. */
#include "driver/session/about.h"

#include <string.h>

#include "base/version.h"

VmStatus session_about(Session *s, const VmDataset *train, int64_t seed, VmPairs *out) {
    VmPreparation p;
    VmMaking m = {.version = vm_version, .model = s->model, .train = train, .seed = seed};
    m.nsetting = fe_config(s->exp, &m.name, &m.value);
    if (session_preparation(s, &p)) m.image = &p;
    return vm_about_write(s->arena, &m, out) ? VM_OK : session_fail(s, VM_ENV, "out of memory");
}

bool session_preparation(Session *s, VmPreparation *out) {
    char folder[4096];
    const IrGraph *g = session_graph(s, s->batch);
    const IrNode *image = NULL;
    for (const IrNode *n = g ? g->first : NULL; n && !image; n = n->next)
        if (n->op == OP_input && n->out[0].type.rank == 4 && n->out[0].type.dtype == DT_f32)
            image = n;
    if (!image || !s->train) return false;
    VmDataQuery q = session_data_query(s->train, NULL, folder);
    const int64_t *dim = image->out[0].type.dim;
    *out = (VmPreparation){
        .channels = dim[1], .height = dim[2], .width = dim[3], .resize = q.resize > 0};
    memcpy(out->mean, q.mean, sizeof q.mean);
    memcpy(out->std, q.std, sizeof q.std);
    return true;
}

VmStatus session_about_read(Session *s, const VmTensorFile *f, const char *path, VmAbout *out) {
    VmError err = {.text = ""};
    VmStatus st = vm_about_read(s->arena, f, path, out, &err);
    return st ? session_fail(s, st, "%s", err.text) : VM_OK;
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
static Difference settings_that_matter(Session *s, const VmAbout *x) {
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

VmStatus session_about_settings(Session *s, const VmAbout *x, AboutUse use) {
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

VmStatus session_about_image(Session *s, const VmAbout *x, AboutUse use) {
    VmPreparation here;
    Arena *a = s->arena;
    if (!x->has_image || !session_preparation(s, &here)) return VM_OK;
    Text t = vm_about_image(a, x, &here);
    if (!t.len) return VM_OK;
    const char *text =
        arena_printf(a, "%s was trained with images prepared in another way: %s", x->path, t.data);
    if (use == ABOUT_REFUSE)
        return session_fail(s, VM_INPUT, "%s\n       --anyway uses it all the same", text);
    tell(s, use, text);
    return VM_OK;
}

/* ---- classes --------------------------------------------------------------------------------- */

void session_about_classes(Session *s, const VmAbout *x, const VmDataset *train) {
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
