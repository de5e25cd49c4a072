/* vmoec build: a program of its own that trains, evaluates and predicts with one model. Its kernels
 * are the objects that `vmoec train` would load, its runtime the same files, so its results have
 * the same bits. */
#include "driver/build/build.h"
#include "driver/session/about.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"

/* ---- weights inside -------------------------------------------------------------------------- */

static VmStatus check_weights(Build *b, const VmTensorFile *f, const char *path) {
    Session *s = b->s;
    VmAbout about;
    VmEngine *e;
    VmError err = {.text = ""};
    const IrGraph *g = session_graph(s, s->batch);
    if (!g) return VM_INPUT;
    VmStatus st = session_about_read(s, f, path, &about);
    if (!st) st = session_about_settings(s, &about, ABOUT_REFUSE);
    if (!st) st = session_about_image(s, &about, ABOUT_REFUSE);
    if (st) return st;
    st = vm_engine_create(1, &e, &err);
    if (st) return drv_fail(st, "%s", err.text);
    int program = vm_engine_add(e, drv_weights_program(s->arena, g), &err);
    st = program < 0 ? VM_ENV : vm_weights_take(e, program, f, path, session_scope(s), &err);
    if (!st) st = vm_weights_finite(e, program, path, &err);
    if (st) st = drv_fail(st, "%s", err.text);
    if (!st && b->module) st = build_module_weights(b, e, program, &about);
    vm_engine_destroy(e);
    return st;
}

VmStatus build_weights(Build *b, const char *path) {
    char *data;
    size_t n;
    VmTensorFile *f = NULL;
    VmError err = {.text = ""};
    VmStatus st = vm_read_file(path, &data, &n, &err);
    if (st) return drv_fail(st, "%s", err.text);
    st = vm_tensors_open_memory(data, n, path, &f, &err);
    st = st ? drv_fail(st, "%s", err.text) : check_weights(b, f, path);
    vm_tensors_close(f);
    if (!st && !b->module) {
        st = drv_write_file(build_in_folder(b, BUILD_WEIGHTS), data, n);
        b->weights_bytes = st ? 0 : (int64_t)n;
    }
    free(data);
    return st;
}

/* ---- the whole ------------------------------------------------------------------------------- */

/* Only sizes and names are wanted of the data; a program can be built where they are not. */
static VmStatus look_at_data(Build *b) {
    Session *s = b->s;
    char folder[4096];
    VmError err = {.text = ""};
    VmDataQuery q = session_data_query(s->train, b->a->o.data, folder);
    MemoryUse use;
    if (!b->a->o.data && vm_dataset_find(&q, VM_TRAIN, &err)) {
        fprintf(stderr,
                "vmoec: note: the data is not there, so only batches of %lld are built; --data "
                "says where it is\n",
                (long long)s->batch);
        return VM_OK;
    }
    /* images that need not be held are only looked at */
    s->decode_ahead =
        !session_data_use(s, &session_data_training, b->a->o.data, vm_threads(0), &use, &err) &&
        use.data_ahead > 0;
    VmStatus st = session_data(s, b->a->o.data, 0, &session_data_training);
    return st ? st : session_hold_out(s, &s->train->recipe);
}

static VmStatus plan(Build *b) {
    b->s->telemetry = true; /* as training has it */
    VmStatus st = look_at_data(b);
    if (!st) st = build_fit(b);
    return st ? st : build_plan(b);
}

static int by_name(const void *x, const void *y) {
    return strcmp(*(const char *const *)x, *(const char *const *)y);
}

static VmStatus make(Build *b, const char *out) {
    Session *s = b->s;
    VmStatus st = b->module ? VM_OK
                  : b->lib  ? build_library_name(b)
                            : build_may_replace(out, BUILD_ELF, strlen(BUILD_ELF));
    if (!st) st = session_module(s);
    if (!st) st = b->module ? build_module_plan(b) : plan(b);
    if (!st) st = build_folder(b);
    if (!st && b->a->o.weights) st = build_weights(b, b->a->o.weights);
    if (st) return st;
    const char *error = cg_module_objects(s->module, build_object, b);
    if (error) return drv_fail(VM_ENV, "%s", error);
    if (b->status) return b->status;
    /* whichever worker was the first: the same file */
    qsort(b->object, (size_t)b->nobject, sizeof b->object[0], by_name);
    if (b->module) return build_module(b, out);
    if (b->lib) st = session_about(s, s->data[VM_TRAIN], s->train->recipe.seed, &b->about);
    if (st) return st;
    Text t = text_new(s->arena);
    build_constants(b, &t);
    if (b->a->o.save_text) st = drv_write_file(b->a->o.save_text, t.data, t.len);
    if (st) return st;
    return b->lib ? build_library(b, &t) : build_link(b, &t, out);
}

static void say_module(const Build *b, const char *out) {
    printf("%s: %s of %s for %s, %d kernels; predicts, one image at a time\n", out, b->s->model,
           b->s->path, b->target->id, cg_module_stats(b->s->module)->kernels);
}

static void say(const Build *b, const char *out) {
    const VmProgram *p = NULL;
    Text t = text_new(b->a->arena);
    for (int i = 0; i < b->nprogram; i++) {
        if (b->program[i].use != VM_BUILT_TRAIN) continue;
        p = b->program[i].program->code;
        text_addf(&t, "%s%lld", t.len ? ", " : "", (long long)p->batch);
    }
    if (b->lib)
        out = arena_printf(b->a->arena, "%s/lib%s.a, .so and %s.h", b->place, b->name, b->name);
    printf("%s: %s of %s for %s, %d programs, %d kernels; trains with %s images per step\n", out,
           b->s->model, b->s->path, b->target->id, b->nprogram,
           cg_module_stats(b->s->module)->kernels, t.len ? t.data : "no");
}

VmStatus cmd_build(const Args *a) {
    Session s;
    VmoecOptions o;
    Build *b = ARENA_NEW(a->arena, Build);
    *b = (Build){.s = &s, .a = a, .lib = a->o.lib};
    VmStatus st = args_require(a, OPT_o);
    if (!st) st = build_choose(b);
    if (!st && b->module) st = build_module_check(b);
    if (!st && a->o.name && !a->o.lib)
        st = drv_fail(VM_USAGE, "--name is for libraries: it needs --lib");
    if (!st && a->o.lib && (a->o.images || a->o.static__link))
        st = drv_fail(VM_USAGE,
                      "--%s is for programs: a library reads no files of images and is "
                      "linked by its user",
                      a->o.images ? "images" : "static");
    if (!st) st = drv_options(a, &o);
    if (!st) st = drv_open_with(a, &o, b->target, true, &s);
    if (st) return st;
    st = make(b, a->o.o);
    if (!st) (b->module ? say_module : say)(b, a->o.o);
    build_clean(b);
    session_close(&s);
    return st;
}
