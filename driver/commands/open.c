/* How commands open a file: the options that they share, in one place, and their messages printed.
 */
#include "driver/commands/commands.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CRASH_FILE "vmoec-crash.vir"

/* Beside the program's folder, as installed or as in the repository. */
static const char *model_dir(Arena *a) {
    static const char *const place[] = {"../share/vmoec/models", "../models"};
    const char *env = getenv("VMOEC_MODELS");
    if (env && *env) return drv_is_folder(env) ? arena_strdup(a, env) : NULL;
    char exe[4096];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    if (n <= 0) return NULL;
    exe[n] = 0;
    char *slash = strrchr(exe, '/');
    if (!slash) return NULL;
    *slash = 0;
    char real[4096];
    for (size_t i = 0; i < sizeof place / sizeof place[0]; i++) {
        const char *dir = arena_printf(a, "%s/%s", exe, place[i]);
        if (drv_is_folder(dir)) /* places in libraries are read by people */
            return realpath(dir, real) ? arena_strdup(a, real) : dir;
    }
    return NULL;
}

VmStatus drv_models(Arena *a, const char **dir) {
    *dir = model_dir(a);
    if (*dir) return VM_OK;
    return drv_fail(
        VM_ENV,
        "the folder of layer libraries is not there: set VMOEC_MODELS to vmoec's models/ folder");
}

static void show(void *args, const VmoecMessage *m) {
    const Args *a = args;
    if (m->severity != VMOEC_INFO || !a->o.quiet) fputs(m->rendered, stderr);
}

/* --tune, or F.tune beside F.vmoe when there is one; NULL for a command without that option. */
static const char *tuning_of(const Args *a) {
    if (a->o.tune || !args_take(a, OPT_tune)) return a->o.tune;
    const char *beside = session_tuning_beside(a->arena, a->operand[0]);
    return access(beside, F_OK) == 0 ? beside : NULL;
}

/* What counts without a file, too. */
static void base_options(const Args *a, VmoecOptions *o) {
    vmoec_options_init(o);
    o->cache = a->o.no_cache ? NULL : drv_cache_dir(a->arena);
    o->crash_file = CRASH_FILE;
    o->on_message = show;
    o->user = (void *)a;
    o->colour = drv_colour();
    o->columns = drv_columns();
}

void drv_init(const Args *a, Session *s) {
    VmoecOptions o;
    base_options(a, &o);
    session_init(s, &o);
    s->times.started = a->started;
}

VmStatus drv_options(const Args *a, VmoecOptions *o) {
    base_options(a, o);
    o->path = a->operand[0];
    o->model = a->o.model;
    o->phase = a->o.phase;
    o->set = a->o.set.list;
    o->nset = a->o.set.n;
    o->precision = a->o.precision;
    o->batch = opt_or(a->o.batch, 0);
    o->tuning = tuning_of(a);
    return drv_models(a->arena, &o->models);
}

VmStatus drv_open_with(const Args *a, const VmoecOptions *o, const CgTarget *target,
                       bool need_train, Session *s) {
    VmStatus st = session_open_for(s, o, target, need_train);
    s->times.started = a->started;
    if (st) session_close(s);
    return st;
}

VmStatus drv_open(const Args *a, bool need_train, Session *s) {
    VmoecOptions o;
    VmStatus st = drv_options(a, &o);
    return st ? st : drv_open_with(a, &o, NULL, need_train, s);
}

VmStatus drv_open_rules(const Args *a, OptId rules, Session *s) {
    VmoecOptions o;
    VmStatus st = args_require(a, rules);
    if (!st && !a->o.dry_run) st = args_require(a, OPT_o);
    if (!st) st = drv_options(a, &o);
    if (st) return st;
    o.precision = "f32";
    return drv_open_with(a, &o, NULL, false, s);
}
