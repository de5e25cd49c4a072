/* vmoec check: every mistake of one or more files, without compiling them; of their data, if it is
 * there, what names and headers say. */
#include "driver/commands/commands.h"
#include "runtime/data/feed.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static void elaborate(Session *s, FeExperiment *e, const FeTrain *t, int64_t n, VmSplit split,
                      Diags *d) {
    const IrGraph *g = fe_elaborate(e, s->arena, t->model, n, d);
    if (g && split == VM_TRAIN) (void)session_try_training(s, e, t->model, g, d);
}

/* The model with a batch that a run of the train block would come to; n = 0: there is none. What is
 * wrong with it alone is said with where it comes from. */
static void check_batch(Session *s, FeExperiment *e, const FeTrain *t, int64_t n, int64_t of,
                        VmSplit split, Diags *d) {
    Diags *alone = diags_create(s->arena);
    if (!n || d->nerrors) return;
    elaborate(s, e, t, n, split, alone);
    if (!alone->nerrors) return;
    elaborate(s, e, t, n, split, d);
    diag_note(d, d->last, t->place[VM_FIELD_data], "the last batch of %lld %s images has %lld",
              (long long)of, vm_split_names[split], (long long)n);
}

/* Classes beside the model's, sides of images beside those it takes, and what else the data's names
 * say. */
static void check_fit(Session *s, FeExperiment *e, const FeTrain *t, const DataSeen *seen,
                      const char **warned, Diags *d) {
    const IrGraph *g = d->nerrors ? NULL : fe_elaborate_phase(e, s->arena, t, 0, d);
    if (g && session_check_classes(s, e, t, g, seen->classes, d))
        session_check_sides(s, e, t, g, seen, d);
    const char *warning = vm_dataset_warning(seen->classes);
    if (!warning || (*warned && !strcmp(*warned, warning))) return;
    session_warn(s, "%s", warning);
    *warned = arena_strdup(s->arena, warning);
}

/* Every class folder has an image, so that none has two where there are as many. */
static void check_held_out(const FeTrain *t, const DataSeen *seen, Diags *d) {
    int64_t classes;
    vm_dataset_shape(seen->classes, NULL, NULL, NULL, &classes);
    bool folders = vm_dataset_class(seen->classes, 0) != NULL;
    if (t->recipe.validation > 0 && folders && seen->size[VM_TRAIN].images == classes)
        diag_error(d, t->place[VM_FIELD_validation], D_bad_data,
                   "no class has two images: none can be held out for validation = %g",
                   t->recipe.validation);
}

/* The last batches of an epoch and of what judges it. How many images are held out follows from
 * their labels, which are not read here: a run says it before its first step. */
static void check_last_batches(Session *s, FeExperiment *e, const FeTrain *t,
                               const VmDataSize size[VM_SPLITS], Diags *d) {
    int64_t train = size[VM_TRAIN].images, batch = t->recipe.data.batch;
    bool held_out = t->recipe.validation > 0;
    bool short_run =
        t->recipe.epochs.in_steps && t->recipe.epochs.count * (double)batch < (double)train;
    if (!t->recipe.data.drop_last && !short_run && !held_out)
        check_batch(s, e, t, train % batch, train, VM_TRAIN, d);
    for (int i = VM_TEST; i < VM_SPLITS; i++)
        check_batch(s, e, t, size[i].images % batch, size[i].images, (VmSplit)i, d);
}

/* Whether the system did not let us look, so that nobody knows what is there. */
static bool not_seen(const VmError *err) {
    static const int reasons[] = {EACCES, EAGAIN, EIO, ELOOP, EMFILE, ENFILE, ENOMEM, EPERM};
    if (strstr(err->text, "out of memory")) return true;
    for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++)
        if (err->status == VM_ENV && strstr(err->text, strerror(reasons[i]))) return true;
    return false;
}

/* What a run would say of the data before it looks at images. Data that is not there, or elsewhere,
 * is no mistake of the file. */
static VmStatus check_data(Session *s, FeExperiment *e, const FeTrain *t, const char *dir,
                           const char **warned, Diags *d) {
    VmError err = {.text = ""};
    DataSeen seen;
    VmStatus st = session_data_see(t, dir, &seen, &err);
    if (st && (dir || not_seen(&err))) return drv_fail(st, "%s", err.text);
    if (st && seen.there)
        session_put_lines(d, t->place[VM_FIELD_data], st == VM_ENV ? D_no_data : D_bad_data,
                          err.text);
    if (st || !seen.classes) return VM_OK;
    int64_t train = seen.size[VM_TRAIN].images;
    if (train && !(t->recipe.validation > 0)) {
        int64_t steps = vm_feed_steps(train, t->recipe.data.batch, t->recipe.data.drop_last);
        fe_advise_lengths(t, t->recipe.epochs, steps, d);
    }
    check_fit(s, e, t, &seen, warned, d);
    check_held_out(t, &seen, d);
    vm_dataset_close(seen.classes);
    check_last_batches(s, e, t, seen.size, d);
    return VM_OK;
}

typedef struct Found {
    VmJson list; /* of diagnostics, with --json */
    bool any;    /* a file could be read */
} Found;

static VmStatus check(Session *s, const Args *args, const VmoecOptions *opt, Found *found) {
    Diags *d = diags_create(s->arena);
    VmError io = {.text = ""};
    FeExperiment *e = session_load(s, opt, d, &io);
    if (!e) return drv_fail(io.status, "%s", io.text);
    session_check(s, e, opt_or(args->o.batch, 0), d);
    VmStatus st = VM_OK;
    const char *warned = NULL; /* of the data of the train block before */
    for (int i = 0; i < fe_ntrain(e) && !d->nerrors && !st; i++)
        st = check_data(s, e, fe_train(e, i), args->o.data, &warned, d);
    if (st) return st;
    found->any = true;
    if (args->o.json) diags_add_json(&found->list, d);
    if (!args->o.json || d->environment) /* which is no diagnostic of the file */
        drv_print_diags(d);
    return session_diags_status(d);
}

static VmStatus check_file(const Args *args, const VmoecOptions *shared, const char *path,
                           Found *found) {
    Session s;
    VmoecOptions o = *shared;
    VmError err = {.text = ""};
    o.path = path;
    VmStatus st = drv_stdin_text(args->arena, &o, &err);
    if (st) return drv_fail(st, "%s", err.text);
    session_init(&s, &o);
    st = check(&s, args, &o, found);
    session_close(&s);
    return st;
}

/* All files are looked at, whatever the first ones are like; the worst of them is the result. */
VmStatus cmd_check(const Args *args) {
    VmoecOptions o;
    VmStatus worst = drv_options(args, &o);
    if (worst) return worst;
    VmJson all = vm_json_object();
    Found found = {.list = vm_json_list()};
    for (int i = 0; i < args->noperand; i++) {
        VmStatus st = check_file(args, &o, args->operand[i], &found);
        if (st > worst) worst = st;
    }
    vm_json_put(&all, "diagnostics", found.list);
    if (args->o.json && found.any)
        vm_json_print(stdout, &all);
    else
        vm_json_free(&all);
    return worst;
}
