/* The header of a library: the text of trainer/library/api.h under the library's name, with what is
 * known of the model put before its first section. */
#include "driver/build/build.h"

#include <ctype.h>
#include <string.h>

#define LOWER "vmlib"
#define UPPER "VMLIB"
#define FACTS "/* ---- a handle --"

/* ---- names ----------------------------------------------------------------------------------- */

static const char *upper(const Build *b) {
    char *name = arena_strdup(b->s->arena, b->name);
    for (char *p = name; *p; p++) *p = (char)toupper((unsigned char)*p);
    return name;
}

/* Adds the text with the library's name in the places of ours. */
static void add_renamed(const Build *b, Text *t, const char *from, const char *end) {
    const char *loud = upper(b);
    size_t n = strlen(LOWER);
    while (from < end) {
        bool whole = (size_t)(end - from) >= n, quiet = whole && !strncmp(from, LOWER, n);
        if (!quiet && !(whole && !strncmp(from, UPPER, n))) {
            text_addn(t, from++, 1);
            continue;
        }
        text_add(t, quiet ? b->name : loud);
        from += n;
    }
}

const char *build_renamed(const Build *b, const char *word) {
    Text t = text_new(b->s->arena);
    add_renamed(b, &t, word, word + strlen(word));
    return t.data;
}

/* Behind the comment that begins here; NULL: none does. */
static const char *skip_comment(const char *p) {
    const char *end = strncmp(p, "/*", 2) ? NULL : strstr(p + 2, "*/");
    return end ? end + 2 : NULL;
}

const char *const *build_exports(Arena *a, const char *api) {
    enum { MOST = 64 };
    const char **list = ARENA_ARRAY(a, const char *, MOST + 1);
    int n = 0;
    for (const char *p = api, *behind; *p && n < MOST; p = behind) {
        behind = skip_comment(p);
        if (behind) continue;
        behind = p + 1;
        size_t len = strspn(p, "abcdefghijklmnopqrstuvwxyz_0123456789");
        if (!len) continue;
        behind = p + len;
        if (!strncmp(p, LOWER "_", strlen(LOWER) + 1) && p[len] == '(')
            list[n++] = arena_strndup(a, p, len);
    }
    return list;
}

/* ---- facts ----------------------------------------------------------------------------------- */

/* Inside a comment: names come from data. */
static const char *harmless(const Build *b, const char *text) {
    char *copy = arena_strdup(b->s->arena, text ? text : "");
    for (char *p = copy; *p; p++)
        if ((unsigned char)*p < ' ' || (p[0] == '*' && p[1] == '/') || *p == '\\') *p = '?';
    return copy;
}

static const VmProgram *program_for(const Build *b, VmBuiltUse use) {
    for (int i = 0; i < b->nprogram; i++)
        if (b->program[i].use == use) return b->program[i].program->code;
    return NULL;
}

static const VmTensor *tensor_of(const VmProgram *p, VmRole role, const char *name) {
    for (int i = 0; p && i < p->ntensor; i++)
        if (p->tensor[i].role == (int32_t)role && !strcmp(p->tensor[i].name, name))
            return &p->tensor[i];
    return NULL;
}

static void define(const Build *b, Text *t, const char *name, int64_t value, const char *about) {
    const char *left = arena_printf(b->s->arena, "#define %s_%s", upper(b), name);
    text_addf(t, "%-32s %lld%s%s%s\n", left, (long long)value, *about ? " /* " : "", about,
              *about ? " */" : "");
}

static void add_sizes(const Build *b, Text *t, const char *what, VmBuiltUse use) {
    text_addf(t, "/* Images of a batch, %s:", what);
    int n = 0;
    for (int i = 0; i < b->nprogram; i++) {
        if (b->program[i].use != use) continue;
        text_addf(t, "%s%s %lld", n ? "," : "", n % 16 == 15 ? "\n  " : "",
                  (long long)b->program[i].program->code->batch);
        n++;
    }
    text_addf(t, "%s */\n", n ? "" : " none");
}

static int64_t add_metrics(const Build *b, Text *t) {
    const VmProgram *p = program_for(b, VM_BUILT_JUDGE);
    int64_t n = 0;
    for (int i = 0; p && i < p->ntensor; i++) {
        if (p->tensor[i].role != VM_ROLE_METRIC) continue;
        text_addf(t, "/* Metric %lld: %s */\n", (long long)n++, harmless(b, p->tensor[i].name));
    }
    return n;
}

static void add_names(const Build *b, Text *t) {
    const VmRecipe *r = &b->s->train->recipe;
    const VmDataset *d = b->s->data[VM_TRAIN];
    for (int64_t i = 0; d && vm_dataset_class(d, i); i++)
        text_addf(t, "/* Class %lld: %s */\n", (long long)i, harmless(b, vm_dataset_class(d, i)));
    const VmField *f = &vm_fields[VM_FIELD_augment];
    for (int i = 0; i < r->naugment; i++)
        text_addf(t, "/* Augmentation of the recipe, which is the caller's: %s */\n",
                  f->choice[r->augment[i].kind].name);
}

static void add_facts(const Build *b, Text *t) {
    Session *s = b->s;
    const IrGraph *g = session_graph(s, s->batch);
    const VmProgram *any = b->program[0].program->code;
    const VmTensor *image = tensor_of(any, VM_ROLE_INPUT, "image");
    const VmTensor *score =
        tensor_of(program_for(b, VM_BUILT_PREDICT), VM_ROLE_OUTPUT, VM_OUTPUT_SCORES);
    int64_t known = session_known_classes(g);
    text_addf(t,
              "/* ---- the model -------------------------------------------------------------"
              "-------------------- */\n\n/* %s of %s, for %s */\n",
              harmless(b, s->model), harmless(b, s->path), b->target->id);
    define(b, t, "CHANNELS", image->dim[1], "");
    define(b, t, "HEIGHT", image->dim[2], "");
    define(b, t, "WIDTH", image->dim[3], "");
    define(b, t, "CLASSES", score ? score->dim[score->rank - 1] : known > 0 ? known : 0, "");
    define(b, t, "PARAMETERS", session_count(s->arena, g, s->batch).total.params, "");
    define(b, t, "BATCH", s->train->recipe.data.batch, "images of a step");
    define(b, t, "TRAIN_IMAGES", s->train_set ? vm_dataset_size(s->train_set) : 0,
           "of the data it was built with; 0: not known");
    add_sizes(b, t, "training", VM_BUILT_TRAIN);
    add_sizes(b, t, "evaluating", VM_BUILT_JUDGE);
    add_sizes(b, t, "predicting", VM_BUILT_PREDICT);
    int64_t metrics = add_metrics(b, t);
    define(b, t, "METRICS", metrics, "");
    add_names(b, t);
    text_add(t, "\n");
}

void build_header(Build *b, const char *api, Text *t) {
    const char *facts = strstr(api, FACTS);
    VM_CHECK(facts, "api.h has no place for facts");
    add_renamed(b, t, api, facts);
    add_facts(b, t);
    add_renamed(b, t, facts, facts + strlen(facts));
}
