/* Sizes that a user or a program that writes files may reach: time and memory stay in proportion,
 * and what has a limit is refused with a message. The time limits are far above what is needed and
 * far below what a search through all names, files or lines for each of them would take. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "frontend/frontend.h"

enum { MANY = 100000 };

static const char model_start[] = "model m(image: f32[B, 4], label: class[B, 10]) {\n";
static const char model_end[] = "  loss cross_entropy(linear(image, 10), label)\n}\n";

static char folder[] = "/tmp/vmoec-limits-XXXXXX";

static void make_folder(void) {
    cr_assert_not_null(mkdtemp(folder));
}

/* Files are few in most tests; removing a folder is not what is tested. */
static void remove_folder(void) {
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    cr_assert_eq(system(command), 0);
}

/* The most memory this test's process has taken so far, in KiB. */
static long most_resident(void) {
    struct rusage use;
    cr_assert_eq(getrusage(RUSAGE_SELF, &use), 0);
    return use.ru_maxrss;
}

TestSuite(limits, .init = make_folder, .fini = remove_folder, .timeout = 60);

static const char *write_file(Arena *a, const char *name, const char *text) {
    const char *path = arena_printf(a, "%s/%s", folder, name);
    FILE *f = fopen(path, "w");
    cr_assert_not_null(f);
    fputs(text, f);
    fclose(f);
    return path;
}

/* Loads and elaborates; `slug`: of the first error, NULL: there must be none. */
static void check_with(Arena *a, const char *path, const char *const *set, int nset,
                       const char *slug) {
    Diags *d = diags_create(a);
    FeOptions opt = {.set = set, .nset = nset, .model_dir = "models"};
    VmError io = {.text = ""};
    FeExperiment *e = fe_load(a, path, &opt, d, &io);
    cr_assert_not_null(e, "%s", io.text);
    if (!d->nerrors) fe_elaborate(e, a, "m", 2, d);
    cr_assert(d->nerrors <= DIAGS_MAX);
    if (!slug) cr_assert_eq(d->nerrors, 0, "%s", d->nerrors ? d->first->text : "");
    if (slug) cr_assert(d->nerrors > 0, "no error, expected %s", slug);
    if (slug) cr_assert_str_eq(diag_slug(d->first->id), slug, "%s", d->first->text);
}

static void check(const Text *t, const char *slug) {
    check_with(t->arena, write_file(t->arena, "a.vmoe", t->data), NULL, 0, slug);
}

#define REPEAT(t, n, ...)                                                                          \
    for (int i = 0; i < (n); i++) text_addf((t), __VA_ARGS__)

static void add_model(Text *t) {
    text_add(t, model_start);
    text_add(t, model_end);
}

Test(limits, many_config_values_and_settings) {
    Arena *a = arena_create();
    Text t = text_new(a);
    text_add(&t, "config {\n");
    REPEAT(&t, MANY, "  value_%d = %d\n", i, i);
    text_add(&t, "}\n");
    add_model(&t);
    const char **set = ARENA_ARRAY(a, const char *, MANY);
    for (int i = 0; i < MANY; i++) set[i] = arena_printf(a, "value_%d=7", i);
    check_with(a, write_file(a, "a.vmoe", t.data), set, MANY, NULL);
    for (int i = 0; i < MANY; i++) set[i] = arena_printf(a, "valeu_%d=7", i);
    check_with(a, write_file(a, "a.vmoe", t.data), set, MANY, "set-unknown");
    arena_destroy(a);
}

Test(limits, many_layers_that_call_each_other) {
    Arena *a = arena_create();
    Text t = text_new(a);
    REPEAT(&t, MANY, "layer f%d(x) { f%d(x) }\n", i, i + 1);
    text_addf(&t, "layer f%d(x) { linear(x, 4) }\n", MANY);
    add_model(&t);
    check(&t, NULL);
    arena_destroy(a);
}

Test(limits, many_bindings) {
    Arena *a = arena_create();
    Text t = text_new(a);
    text_add(&t, model_start);
    text_add(&t, "  x0 = 1\n");
    REPEAT(&t, MANY, "  x%d = x%d + x0\n", i + 1, i);
    text_add(&t, model_end);
    check(&t, NULL);
    arena_destroy(a);
}

Test(limits, many_unknown_names) {
    Arena *a = arena_create();
    Text t = text_new(a);
    text_add(&t, model_start);
    REPEAT(&t, MANY / 2, "  x%d = 1\n", i);
    REPEAT(&t, MANY / 2, "  y%d = z%d\n", i, i);
    text_add(&t, model_end);
    check(&t, "unknown-name");
    arena_destroy(a);
}

/* Calls of the same layer get names with numbers; operations know their lines. */
Test(limits, many_calls) {
    Arena *a = arena_create();
    Text t = text_new(a);
    text_add(&t, model_start);
    text_add(&t, "  x = image\n");
    REPEAT(&t, 4500, "  x = linear(x, 4) + %d\n", i);
    text_add(&t, model_end);
    check(&t, NULL);
    arena_destroy(a);
}

Test(limits, many_repeated_declarations) {
    Arena *a = arena_create();
    Text t = text_new(a);
    REPEAT(&t, MANY, "layer f(x) { x }\n");
    add_model(&t);
    check(&t, "duplicate-name");
    arena_destroy(a);
}

Test(limits, parameters) {
    Arena *a = arena_create();
    Text t = text_new(a);
    text_add(&t, "layer f(p");
    REPEAT(&t, MANY, ", p%d", i);
    text_add(&t, ") { p }\n");
    add_model(&t);
    check(&t, "limit");
    arena_destroy(a);
}

/* Files that use each other in a row would take the stack. */
Test(limits, long_chains_of_files) {
    enum { FILES = 5000 };
    Arena *a = arena_create();
    for (int i = 0; i < FILES; i++)
        write_file(a, arena_printf(a, "f%d.vmoe", i), arena_printf(a, "use \"f%d\"\n", i + 1));
    Text t = text_new(a);
    text_add(&t, "use \"f0\"\n");
    add_model(&t);
    check(&t, "limit");
    arena_destroy(a);
}

Test(limits, many_files) {
    enum { FILES = 5000 };
    Arena *a = arena_create();
    Text t = text_new(a);
    for (int i = 0; i < FILES; i++) {
        write_file(a, arena_printf(a, "g%d.vmoe", i), "");
        text_addf(&t, "use \"g%d\"\n", i);
    }
    add_model(&t);
    check(&t, NULL);
    arena_destroy(a);
}

static void add_doubled(Text *t, int times) {
    text_add(t, "  a0 = [1]\n");
    REPEAT(t, times, "  a%d = [a%d, a%d]\n", i + 1, i, i);
}

Test(limits, lists_that_double) {
    long before = most_resident();
    Arena *a = arena_create();
    Text t = text_new(a);
    text_add(&t, "config {\n");
    add_doubled(&t, 40);
    text_add(&t, "}\n");
    add_model(&t);
    check(&t, "limit");
    t = text_new(a);
    text_add(&t, model_start);
    add_doubled(&t, 40);
    text_add(&t, model_end);
    check(&t, "limit");
    cr_assert_lt(most_resident() - before, 64 << 10, "%ld KiB", most_resident() - before);
    arena_destroy(a);
}

/* Values that are allowed each by itself add up. */
Test(limits, config_values_together) {
    Arena *a = arena_create();
    Text t = text_new(a);
    text_add(&t, "config {\n");
    add_doubled(&t, 14);
    REPEAT(&t, 1000, "  b%d = a14\n", i);
    text_add(&t, "}\n");
    add_model(&t);
    check(&t, "limit");
    arena_destroy(a);
}

Test(limits, work_in_loops) {
    Arena *a = arena_create();
    Text t = text_new(a);
    text_add(&t, model_start);
    text_add(&t, "  for i in 0..90000 {\n");
    REPEAT(&t, 1000, "    x%d = %d + i\n", i, i);
    text_add(&t, "  }\n");
    text_add(&t, model_end);
    check(&t, "limit");
    t = text_new(a); /* comparing lists is work as well */
    text_add(&t, model_start);
    add_doubled(&t, 14);
    text_add(&t, "  for i in 0..90000 { x = a14 == a14 }\n");
    text_add(&t, model_end);
    check(&t, "limit");
    arena_destroy(a);
}

Test(limits, operations) {
    Arena *a = arena_create();
    Text t = text_new(a);
    text_add(&t, model_start);
    text_add(&t, "  x = image\n  for i in 0..30000 { x = relu(x) + relu(x) - 1 }\n");
    text_add(&t, model_end);
    check(&t, "limit");
    arena_destroy(a);
}

/* Names are joined into those of weights, loop by loop. */
Test(limits, long_names) {
    Arena *a = arena_create();
    char *name = arena_alloc(a, MANY + 1);
    memset(name, 'f', MANY);
    Text t = text_new(a);
    text_addf(&t, "layer %s(x) { x }\n", name);
    add_model(&t);
    check(&t, "limit");
    arena_destroy(a);
}

/* What a pattern that matches nothing may have meant is not looked for among all names. */
Test(limits, long_patterns) {
    Arena *a = arena_create();
    Text t = text_new(a);
    text_add(&t, "model m(image: f32[B, 1, 28, 28], label: class[B, 10]) {\n"
                 "  x = reshape(image, [B, 784]) |> linear(4)\n"
                 "  for i in 0..500 {\n    x = linear(x, 4)\n  }\n"
                 "  loss cross_entropy(linear(x, 10), label)\n}\n"
                 "train m {\n  data = mnist(batch = 2)\n  optimizer = adam()\n"
                 "  schedule = constant(peak = 1e-3)\n  epochs = 1\n  freeze = \"");
    REPEAT(&t, 20 * MANY, "a*b");
    text_add(&t, "\"\n}\n");
    check(&t, "frozen-weights");
    arena_destroy(a);
}
