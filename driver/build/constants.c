/* Programs and all that a trainer knows, as the text of a C file: plain constants, so that a
 * trainer's memory holds them as its file does, shared and never written to. */
#include "driver/build/build.h"

#include <string.h>

#include "base/rng.h"
#include "base/version.h"
#include "codegen/plan/backend.h"

static void add_texts(Text *t, const char *name, const char *const *list, int64_t n) {
    text_addf(t, "static const char *const %s[] = {", name);
    for (int64_t i = 0; i < n; i++) {
        build_text(t, list[i]);
        text_add(t, ", ");
    }
    text_add(t, "NULL};\n");
}

/* ---- programs -------------------------------------------------------------------------------- */

static void add_args(Text *t, const VmTask *k) {
    for (int i = 0; i < k->narg; i++)
        text_addf(t, "{%d, %lld}, ", k->arg[i].space, (long long)k->arg[i].offset);
    if (k->narg) text_add(t, "\n");
}

/* All arguments of a program stand in one list; *at is where the task's begin. */
static void add_task(Text *t, const VmTask *k, const char *symbol, int program, int64_t *at) {
    text_addf(t, "{.kind = %d, .fn = %s, .name = ", k->kind, symbol);
    build_text(t, k->name);
    text_addf(t,
              ", .arg = args_%d + %lld, .narg = %d, .items = %lld, .barrier = %d, .bf16 = %d, "
              ".flops = %a, .bytes = %a}",
              program, (long long)*at, k->narg, (long long)k->items, k->barrier, k->bf16, k->flops,
              k->bytes);
    *at += k->narg;
}

static void add_tensor(Text *t, const VmTensor *x) {
    text_add(t, "    {.name = ");
    build_text(t, x->name);
    text_addf(t, ", .role = %d, .dtype = %d, .rank = %d, .dim = {", x->role, x->dtype, x->rank);
    for (int i = 0; i < x->rank; i++) text_addf(t, "%s%lld", i ? ", " : "", (long long)x->dim[i]);
    text_addf(t, "%s}, .space = %d, .offset = %lld, .weight = %a, .init = ", x->rank ? "" : "0",
              x->space, (long long)x->offset, x->weight);
    build_text(t, x->init);
    text_add(t, ", .init_stream = ");
    build_text(t, x->init_stream);
    text_add(t, ", .place = ");
    build_text(t, x->place);
    text_add(t, "},\n");
}

static void add_lists(Build *b, Text *t, const VmProgram *p, int i) {
    char symbol[CG_SYMBOL];
    int64_t at = 0;
    text_addf(t, "static const VmArg args_%d[] = {\n", i);
    for (int k = 0; k < p->ntask; k++) add_args(t, &p->task[k]);
    for (int k = 0; k < p->npack; k++) add_args(t, &p->pack[k].task);
    text_addf(t, "{0, 0}};\nstatic const VmTask tasks_%d[] = {\n", i);
    for (int k = 0; k < p->ntask; k++) {
        cg_task_symbol(b->s->module, p, k, symbol);
        text_add(t, "    ");
        add_task(t, &p->task[k], symbol, i, &at);
        text_add(t, ",\n");
    }
    text_addf(t, "    {.kind = 0}};\nstatic const VmPack packs_%d[] = {\n", i);
    for (int k = 0; k < p->npack; k++) {
        cg_pack_symbol(b->s->module, p, k, symbol);
        text_add(t, "    {.task = ");
        add_task(t, &p->pack[k].task, symbol, i, &at);
        text_addf(t, ", .offset = %lld},\n", (long long)p->pack[k].offset);
    }
    text_addf(t, "    {.offset = 0}};\nstatic const VmTensor tensors_%d[] = {\n", i);
    for (int k = 0; k < p->ntensor; k++) add_tensor(t, &p->tensor[k]);
    text_add(t, "    {.name = NULL}};\n");
}

void build_program(Build *b, Text *t, const VmProgram *p, int i) {
    add_lists(b, t, p, i);
    text_addf(t, "static const VmProgram program_%d = {.abi = %d, .name = ", i, p->abi);
    build_text(t, p->name);
    text_addf(t,
              ", .batch = %lld,\n    .task = tasks_%d, .ntask = %d, .tensor = tensors_%d, .ntensor "
              "= %d, .pack = packs_%d, .npack = %d,\n    .updates = %d, .gate = %d, .space_bytes = "
              "{",
              (long long)p->batch, i, p->ntask, i, p->ntensor, i, p->npack, p->updates, p->gate);
    for (int s = 0; s < VM_SPACE_COUNT; s++)
        text_addf(t, "%s%lld", s ? ", " : "", (long long)p->space_bytes[s]);
    text_addf(t, "}, .scratch_bytes = %lld, .macs = %a};\n\n", (long long)p->scratch_bytes,
              p->macs);
}

/* Programs that two uses share are written once. */
static int number_of(const Build *b, int i) {
    int k = 0;
    while (b->program[k].program != b->program[i].program) k++;
    return k;
}

static void add_programs(Build *b, Text *t) {
    for (int i = 0; i < b->nprogram; i++)
        if (number_of(b, i) == i) build_program(b, t, b->program[i].program->code, i);
    text_add(t, "static const VmBuiltProgram programs[] = {\n");
    for (int i = 0; i < b->nprogram; i++)
        text_addf(t, "    {%d, &program_%d},\n", (int)b->program[i].use, number_of(b, i));
    text_add(t, "    {0, NULL}};\n");
}

void build_kernels(const Build *b, Text *t) {
    for (int i = 0; i < b->nobject; i++) {
        const char *slash = strrchr(b->object[i], '/'), *name = slash ? slash + 1 : b->object[i];
        size_t n = strlen(name) - strlen(".o");
        if (!strncmp(name, "vmoek", 5))
            text_addf(t, "extern void %.*s(void *const *, int64_t, int64_t, void *);\n", (int)n,
                      name);
    }
}

/* ---- the whole ------------------------------------------------------------------------------- */

static void add_files(Build *b, Text *t, const char **source, int *n) {
    VmUsedFile *used;
    *source = session_sources(b->s, &used, n);
    text_add(t, "static const VmBuiltFile used[] = {\n");
    for (int i = 0; i < *n; i++) {
        text_add(t, "    {");
        build_text(t, used[i].path);
        text_add(t, ", ");
        build_text(t, used[i].text);
        text_add(t, "},\n");
    }
    text_add(t, "    {NULL, NULL}};\n");
}

/* The file lies beside the C file when that is compiled. */
static void add_weights(Text *t) {
    text_add(t, "__asm__(\".section .rodata\\n.balign 64\\nvmoe_weights: .incbin \\\"" BUILD_WEIGHTS
                "\\\"\\n.text\\n\");\n"
                "extern const unsigned char vmoe_weights[];\n");
}

/* Only what reads the recipe's data becomes part of the trainer. */
static void add_reader(Text *t, const VmDataSpec *data, bool images) {
    static const char *const names[VM_READERS] = {
#define READER(name, files) [VM_READER_##name] = #name,
#define SOURCE(...)
#include "recipe/sources.def"
    };
    VmReaderId r = vm_sources[data->kind].reader;
    text_addf(t,
              "extern const struct VmReader vm_reader_%s;\n"
              "const struct VmReader *const vm_readers[VM_READERS] = {[%d] = &vm_reader_%s};\n",
              names[r], (int)r, names[r]);
    if (images)
        text_add(t, "extern VmBuiltCommand program_predict;\n"
                    "VmBuiltCommand *const vm_built_predict = program_predict;\n");
    else
        text_add(t, "VmBuiltCommand *const vm_built_predict = NULL;\n");
}

static void field(Text *t, const char *name, const char *text) {
    text_addf(t, "    .%s = ", name);
    build_text(t, text);
    text_add(t, ",\n");
}

static const char *target_text(const Build *b) {
    const CgTarget *g = b->target;
    const char *which = *g->name ? g->name : "any CPU that has it";
    return arena_printf(b->s->arena, "%s (%s)", g->id, which);
}

static int64_t class_names(const Build *b, const char ***out) {
    const VmDataset *d = b->s->data[VM_TRAIN];
    int64_t n = 0;
    while (d && vm_dataset_class(d, n)) n++;
    *out = ARENA_ARRAY(b->s->arena, const char *, n + 1);
    for (int64_t i = 0; i < n; i++) (*out)[i] = vm_dataset_class(d, i);
    return n;
}

static void add_built(Build *b, Text *t, const char *source, int nused, int64_t classes) {
    Session *s = b->s;
    const IrGraph *g = session_graph(s, s->batch);
    const char *const *name, *const *value;
    int n = fe_config(s->exp, &name, &value);
    const char *graph = arena_printf(s->arena, "%016llx",
                                     (unsigned long long)vm_hash_name(ir_to_text(s->arena, g)));
    add_texts(t, "settings", name, n);
    add_texts(t, "values", value, n);
    add_texts(t, "needs", b->needs, b->nneeds);
    if (b->lib) add_texts(t, "about", b->about.at, 2 * (int64_t)b->about.n);
    text_add(t, "static const VmRecipe recipe = ");
    VmRecipe r = s->train->recipe;
    r.precision.kind = s->bf16 ? VM_precision_bf16 : VM_precision_f32; /* as far as the CPU can */
    build_recipe(t, &r);
    text_addf(t, ";\n\nconst VmBuilt vm_built = {\n    .abi = %d,\n", VM_ABI_VERSION);
    field(t, "file", s->path);
    field(t, "source", source);
    field(t, "source_commit", drv_source_commit(s->arena, s->path));
    text_addf(t, "    .used = used,\n    .nused = %d,\n", nused);
    field(t, "model", s->model);
    field(t, "phase", s->train->name);
    field(t, "scope", session_scope(s));
    field(t, "graph", graph);
    field(t, "instructions", b->target->isa);
    field(t, "compiler", cg_compiler_id);
    field(t, "target", target_text(b));
    text_addf(t,
              "    .setting = settings,\n    .value = values,\n    .nsetting = %d,\n    .recipe = "
              "&recipe,\n    .parameters = %lld,\n    .classes = %lld,\n    .class_name = "
              "classes,\n    .nclass_name = %lld,\n    .needs = needs,\n    .nneeds = %d,\n    "
              ".program = programs,\n    .nprogram = %d,\n",
              n, (long long)session_count(s->arena, g, s->batch).total.params,
              (long long)session_known_classes(g), (long long)classes, b->nneeds, b->nprogram);
    if (b->lib)
        text_addf(t, "    .about = about,\n    .nabout = %d,\n    .train_images = %lld,\n",
                  b->about.n, (long long)(s->train_set ? vm_dataset_size(s->train_set) : 0));
    if (b->weights_bytes)
        text_addf(t, "    .weights = vmoe_weights,\n    .nweights = %lld,\n",
                  (long long)b->weights_bytes);
    text_add(t, "};\n");
}

void build_constants(Build *b, Text *t) {
    const char *source, **class;
    int nused;
    text_addf(t,
              "/* Made by vmoec %s: the programs of a model and all that is known of it. */\n"
              "#include <stddef.h>\n\n#include \"trainer/built.h\"\n\n",
              vm_version);
    build_kernels(b, t);
    add_programs(b, t);
    add_files(b, t, &source, &nused);
    int64_t classes = class_names(b, &class);
    add_texts(t, "classes", class, classes);
    if (!b->lib) add_reader(t, &b->s->train->recipe.data, build_has_images(b));
    if (b->weights_bytes) add_weights(t);
    add_built(b, t, source, nused, classes);
}
