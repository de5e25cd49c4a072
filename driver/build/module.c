/* vmoec build --target wasm32: a module of WebAssembly that predicts with one model, and the page
 * around it. What it is linked with is the kit: trainer/web, the part of the runtime that runs a
 * program, C's library and the compiler's, as archives.
 *
 * A module has what predicting one image takes and nothing more: no recipe, no source, no data. */
#include "driver/build/build.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/version.h"

#define WEIGHTS_FILE "weights.bin"
/* Pages can address more, but what comes near it fails on most phones. */
enum { MOST_MEMORY = INT32_MAX };

/* ---- what is asked for ----------------------------------------------------------------------- */

static bool ends(const char *text, const char *with) {
    size_t n = strlen(text), m = strlen(with);
    return n > m && !strcmp(text + n - m, with);
}

static bool is_page(const char *out) {
    return ends(out, ".html");
}

VmStatus build_module_check(Build *b) {
    static const char module[] = "\0asm";
    const Args *a = b->a;
    const struct {
        bool given;
        const char *name, *why;
    } refused[] = {
        {a->o.lib, "lib", "NAME.wasm is the library, with the functions of docs/trainers_wasm.md"},
        {a->o.static__link, "static", "a module needs no libraries"},
        {a->o.images, "images", "the page has its browser's readers of pictures"},
        {a->o.batch__sizes, "batch", "a module takes one image at a time"},
        {a->o.mem_budget, "mem-budget", "it is about training, and there is none in a page"},
        {a->o.data, "data", "what classes are called the weights say"},
    };
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++)
        if (refused[i].given)
            return drv_fail(VM_USAGE, "--%s does not go with --target %s: %s", refused[i].name,
                            b->machine, refused[i].why);
    if (!is_page(a->o.o) && !ends(a->o.o, ".wasm"))
        return drv_fail(VM_USAGE,
                        "--target %s makes a page, -o NAME.html, or the module alone, -o "
                        "NAME.wasm; '%s' is neither",
                        b->machine, a->o.o);
    if (!a->o.weights)
        return drv_fail(VM_USAGE,
                        "--target %s makes what predicts, so it needs --weights: there is no "
                        "training in a page",
                        b->machine);
    return is_page(a->o.o) ? build_may_replace(a->o.o, BUILD_PAGE, strlen(BUILD_PAGE))
                           : build_may_replace(a->o.o, module, sizeof module - 1);
}

/* ---- the program ----------------------------------------------------------------------------- */

/* What scores need; labels are inputs that nothing reads then. */
static const VmTensor *images_of(const VmProgram *p) {
    for (int i = 0; i < p->ntensor; i++) {
        const VmTensor *t = &p->tensor[i];
        if (t->role == VM_ROLE_INPUT && vm_input_use(t) == VM_USE_IMAGE && t->rank == 4) return t;
    }
    return NULL;
}

VmStatus build_module_plan(Build *b) {
    Session *s = b->s;
    ProgramKind kind = KIND_EVAL;
    VmError err = {.text = ""};
    kind.scores = SCORES_ALONE;
    const IrGraph *g = session_graph(s, s->batch);
    if (!g) return VM_INPUT;
    if (!pass_scores_of(g))
        return drv_fail(VM_INPUT,
                        "%s scores no classes, so a page could not predict: nothing in it is "
                        "compared with a label by accuracy or cross_entropy",
                        s->model);
    const Program *p = session_ahead(s, kind, 1, &err);
    if (!p) return drv_fail(err.status, "%s", err.text);
    const VmTensor *images = images_of(p->code);
    if (!images || (images->dim[1] != 1 && images->dim[1] != 3))
        return drv_fail(VM_INPUT, "%s takes no images of 1 or 3 channels", s->model);
    b->program[b->nprogram++] = (BuildProgram){VM_BUILT_PREDICT, p};
    return VM_OK;
}

/* ---- weights and classes --------------------------------------------------------------------- */

VmStatus build_module_weights(Build *b, VmEngine *e, int program, const VmAbout *about) {
    const VmProgram *p = b->program[0].program->code;
    Text t = text_new(b->s->arena);
    for (int i = 0; i < p->ntensor; i++) {
        if (p->tensor[i].role != VM_ROLE_PARAM) continue;
        const VmTensor *from = vm_engine_tensor(e, program, p->tensor[i].name);
        VM_CHECK(from, "the weights have no %s", p->tensor[i].name);
        size_t n = sizeof(float);
        for (int d = 0; d < from->rank; d++) n *= (size_t)from->dim[d];
        text_addn(&t, vm_engine_data(e, program, from->name), n);
    }
    b->weights_bytes = (int64_t)t.len;
    b->class_name = about->classes;
    b->nclass_name = about->nclasses;
    return drv_write_file(build_in_folder(b, WEIGHTS_FILE), t.data, t.len);
}

/* ---- C text ---------------------------------------------------------------------------------- */

static int64_t classes_of(const VmProgram *p) {
    for (int i = 0; i < p->ntensor; i++)
        if (!strcmp(p->tensor[i].name, VM_OUTPUT_SCORES)) return p->tensor[i].dim[1];
    VM_BUG("a program without scores");
}

static int64_t memory_of(const Build *b) {
    const VmProgram *p = b->program[0].program->code;
    return (int64_t)vm_engine_needs(&p, 1, 1) + b->weights_bytes;
}

static VmJson numbers(const VmChannels *c, int64_t n) {
    VmJson list = vm_json_list();
    for (int64_t i = 0; i < n; i++) vm_json_number(&list, NULL, c->at[i]);
    return list;
}

/* "mnist_cnn" of "models/mnist_cnn.vmoe" */
static const char *name_of(const Session *s) {
    const char *slash = strrchr(s->path, '/'), *file = slash ? slash + 1 : s->path;
    return ends(file, ".vmoe") ? arena_strndup(s->arena, file, strlen(file) - strlen(".vmoe"))
                               : file;
}

/* As vm_web_info has it. NULL: memory is not there. */
static const char *info(const Build *b) {
    const Session *s = b->s;
    const VmProgram *p = b->program[0].program->code;
    const VmTensor *in = images_of(p);
    const VmDataSpec *data = &s->train->recipe.data;
    VmJson o = vm_json_object(), classes = vm_json_list();
    for (int64_t i = 0; i < classes_of(p); i++)
        vm_json_string(&classes, NULL,
                       i < b->nclass_name ? b->class_name[i]
                                          : arena_printf(s->arena, "%lld", (long long)i));
    vm_json_string(&o, "name", name_of(s));
    vm_json_string(&o, "model", s->model);
    vm_json_string(&o, "version", vm_version);
    vm_json_int(&o, "parameters", b->weights_bytes / (int64_t)sizeof(float));
    vm_json_int(&o, "height", in->dim[2]);
    vm_json_int(&o, "width", in->dim[3]);
    vm_json_int(&o, "channels", in->dim[1]);
    vm_json_put(&o, "classes", classes);
    vm_json_bool(&o, "resize", data->resize > 0);
    vm_json_put(&o, "mean", numbers(&data->mean, in->dim[1]));
    vm_json_put(&o, "std", numbers(&data->std, in->dim[1]));
    vm_json_bool(&o, "digits", data->kind == VM_data_mnist);
    vm_json_int(&o, "memory", memory_of(b));
    char *text = vm_json_text(&o, 0);
    const char *copy = text ? arena_strdup(s->arena, text) : NULL;
    free(text);
    return copy;
}

static void add_numbers(Text *t, const char *name, const VmChannels *c) {
    text_addf(t, "    .%s = {%a, %a, %a},\n", name, c->at[0], c->at[1], c->at[2]);
}

static void add_module(Build *b, Text *t, const char *facts) {
    const VmDataSpec *data = &b->s->train->recipe.data;
    text_addf(t,
              "/* Made by vmoec %s: a model's program for one image and its weights. */\n"
              "#include \"trainer/web/web.h\"\n\n",
              vm_version);
    build_kernels(b, t);
    build_program(b, t, b->program[0].program->code, 0);
    text_add(t, "static const _Alignas(64) unsigned char weights[] = {\n#embed \"" WEIGHTS_FILE
                "\"\n};\n");
    text_addf(t,
              "const VmWeb vm_web = {\n    .abi = %d,\n    .program = &program_0,\n    .weights = "
              "(const float *)weights,\n    .nweights = %lld,\n    .resize = %d,\n",
              VM_ABI_VERSION, (long long)b->weights_bytes / (long long)sizeof(float),
              data->resize > 0);
    add_numbers(t, "mean", &data->mean);
    add_numbers(t, "std", &data->std);
    text_add(t, "    .info = ");
    build_text(t, facts);
    text_add(t, "};\n");
}

/* ---- the whole ------------------------------------------------------------------------------- */

static VmStatus compile(Build *b, const char *kit) {
    static const char *const how[] = {"--target=wasm32-wasi",
                                      "-std=c11",
                                      "-O1",
                                      "-w",
                                      "-msimd128",
                                      "-nostdlib",
                                      "-Wl,--no-entry",
                                      "-Wl,--undefined=vm_web_start",
                                      "-Wl,--gc-sections",
                                      "-Wl,--strip-all",
                                      "-Wl,--stack-first",
                                      "-Wl,-z,stack-size=262144",
                                      NULL};
    BuildWords w = build_compiler(b, how, kit);
    build_word(&w, arena_printf(w.arena, "-L%s", kit));
    build_words(
        &w, (const char *const[]){"-lvmoec-web", "-lc", "-lrt-wasm32", "-o", "module.wasm", NULL});
    return build_tool(b, &w);
}

/* `out` is complete or as it was. */
static VmStatus write_out(Build *b, const char *kit, const char *out) {
    char *data;
    size_t n;
    VmError err = {.text = ""};
    VmStatus st = vm_read_file(build_in_folder(b, "module.wasm"), &data, &n, &err);
    if (st) return drv_fail(st, "%s", err.text);
    if (is_page(out)) {
        Text page = text_new(b->s->arena);
        st = build_page(b, kit, data, n, &page);
        if (!st) st = drv_write_file(out, page.data, page.len);
    } else {
        st = drv_write_file(out, data, n);
    }
    free(data);
    return st;
}

VmStatus build_module(Build *b, const char *out) {
    const char *kit;
    VmStatus st = build_kit(b, &kit);
    if (st) return st;
    if (memory_of(b) > MOST_MEMORY)
        return drv_fail(VM_INPUT, "%s takes %.1f GiB to predict, and a page may have %.1f",
                        b->s->model, (double)memory_of(b) / 0x1p30, (double)MOST_MEMORY / 0x1p30);
    const char *facts = info(b);
    if (!facts) return drv_fail(VM_ENV, "out of memory");
    Text t = text_new(b->s->arena);
    add_module(b, &t, facts);
    if (b->a->o.save_text) st = drv_write_file(b->a->o.save_text, t.data, t.len);
    if (!st) st = drv_write_file(build_in_folder(b, "model.c"), t.data, t.len);
    if (!st) st = compile(b, kit);
    return st ? st : write_out(b, kit, out);
}
