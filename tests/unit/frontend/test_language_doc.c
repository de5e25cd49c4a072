/* docs/language.md cannot drift: every `vmoe` block compiles, every builtin function and every
 * diagnostic-free promise of the tables is there. */
#include <criterion/criterion.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "frontend/syntax/ast.h"
#include "frontend/frontend.h"

static const char *const page = "docs/language.md";
static const char *const begin = "```vmoe\n";

static const char *read_page(Arena *a) {
    VmError error = {.text = ""};
    Source *src = source_load(a, page, &error);
    cr_assert_not_null(src, "%s", error.text);
    return src->text;
}

static int line_of(const char *text, const char *at) {
    int line = 1;
    for (; text < at; text++) line += *text == '\n';
    return line;
}

/* The block as a file of its own, preceded by empty lines so that messages have the page's line
 * numbers. */
static void write_block(const char *path, const char *block, size_t n, int line) {
    FILE *f = fopen(path, "w");
    cr_assert_not_null(f);
    for (int i = 1; i < line; i++) fputc('\n', f);
    fwrite(block, 1, n, f);
    cr_assert_eq(fclose(f), 0);
}

static void compile_block(const char *path, int line) {
    Arena *a = arena_create();
    Diags *d = diags_create(a);
    FeOptions opt = {.model_dir = "models"};
    VmError io = {.text = ""};
    FeExperiment *e = fe_load(a, path, &opt, d, &io);
    cr_assert_not_null(e, "%s", io.text);
    for (int i = 0; i < fe_nmodel(e); i++) {
        IrGraph *g = fe_elaborate(e, a, fe_model_name(e, i), 3, d);
        const char *bug = g ? ir_verify(a, g, true) : NULL;
        cr_assert_null(bug, "%s:%d: %s", page, line, bug);
    }
    if (d->nerrors) diags_print(stderr, d, false);
    cr_assert_eq(d->nerrors, 0, "%s:%d: this block does not compile", page, line);
    cr_assert_gt(fe_nmodel(e), 0, "%s:%d: this block has no model: nothing was checked", page,
                 line);
    arena_destroy(a);
}

Test(language_doc, every_block_compiles, .timeout = 60) {
    Arena *a = arena_create();
    const char *text = read_page(a);
    char path[] = "/tmp/vmoec-doc-XXXXXX";
    int fd = mkstemp(path), blocks = 0;
    cr_assert_geq(fd, 0);
    close(fd);
    for (const char *p = strstr(text, begin); p; p = strstr(p, begin)) {
        p += strlen(begin);
        const char *end = strstr(p, "\n```");
        cr_assert_not_null(end, "%s:%d: block without an end", page, line_of(text, p));
        write_block(path, p, (size_t)(end + 1 - p), line_of(text, p));
        compile_block(path, line_of(text, p));
        blocks++;
        p = end;
    }
    unlink(path);
    cr_assert_geq(blocks, 10);
    arena_destroy(a);
}

Test(language_doc, every_builtin_is_documented) {
    static const char *const names[] = {
#define BUILTIN(name, params, fn, op) #name,
#include "frontend/meaning/builtins.def"
    };
    Arena *a = arena_create();
    const char *text = read_page(a);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *call = arena_printf(a, "`%s(", names[i]);
        cr_assert_not_null(strstr(text, call), "%s says nothing of %s)", page, call);
    }
    arena_destroy(a);
}

Test(language_doc, initialisers_are_up_to_date) {
    Arena *a = arena_create();
    char *table = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&table, &n);
    cr_assert_not_null(f);
    ir_print_initialisers(f);
    cr_assert_eq(fclose(f), 0);
    cr_assert_not_null(strstr(read_page(a), table), "%s is out of date: run make docs", page);
    free(table);
    arena_destroy(a);
}

/* The defaults in the tables are those of a train block that says as little as possible. */
Test(language_doc, train_defaults) {
    char path[] = "/tmp/vmoec-doc-XXXXXX";
    int fd = mkstemp(path);
    cr_assert_geq(fd, 0);
    close(fd);
    const char *text =
        "model m(image: f32[B, 1, 28, 28], label: class[B, 10]) {\n"
        "  loss cross_entropy(linear(reshape(image, [dim(image, 0), -1]), 10), label)\n}\n"
        "train m { data = fashion_mnist() }\n";
    write_block(path, text, strlen(text), 1);
    compile_block(path, 1);
    Arena *a = arena_create();
    FeOptions opt = {.model_dir = "models"};
    VmError io = {.text = ""};
    const FeTrain *t = fe_train(fe_load(a, path, &opt, diags_create(a), &io), 0);
    unlink(path);
    cr_assert(t->recipe.data.batch == 128 && t->recipe.data.mean.n == 1 &&
              t->recipe.data.mean.at[0] == 0.5 && t->recipe.data.std.at[0] == 0.5 &&
              t->recipe.data.resize == 0);
    cr_assert(t->recipe.data.shuffle && !t->recipe.data.drop_last && !t->recipe.data.dir);
    cr_assert_eq(t->recipe.optimizer.kind, VM_optimizer_adamw);
    cr_assert(t->recipe.optimizer.weight_decay == 0.01 && t->recipe.optimizer.beta1 == 0.9 &&
              t->recipe.optimizer.beta2 == 0.999);
    cr_assert(t->recipe.schedule.kind == VM_schedule_constant && t->recipe.schedule.peak == 1e-3 &&
              t->recipe.schedule.warmup.count == 0);
    cr_assert(t->recipe.epochs.count == 1 && !t->recipe.epochs.in_steps && t->recipe.seed == 0 &&
              t->recipe.log_every == 100);
    arena_destroy(a);
}
