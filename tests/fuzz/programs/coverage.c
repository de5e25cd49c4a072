/* What of the language random programs use, counted from their text: builtin functions and their
 * parameters, layers of the library and theirs, rules of the grammar. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/syntax/ast.h"
#include "tests/fuzz/programs/gen.h"
#include "tests/fuzz/programs/programs.h"

enum { PARAMS = 24, CALLEES = 256 };

/* A function or layer, and how many programs call it, and give which of its parameters. */
typedef struct Callee {
    const char *name, *param[PARAMS];
    int nparam, programs, given[PARAMS];
    bool layer, seen, seen_given[PARAMS]; /* in the program at hand */
} Callee;

typedef struct Coverage {
    Arena *arena;
    Callee callee[CALLEES];
    int ncallee, programs;
    int rule[128];
    bool seen_rule[128];
} Coverage;

static const char *const rules[] = {
#define RULE(name, condition) #name,
#include "tests/fuzz/programs/rules.def"
};
enum { RULES = sizeof rules / sizeof rules[0] };

/* Marks the rules that node n is of. */
static void mark_rules(Coverage *c, const Ast *n) {
    int rule = 0;
#define RULE(name, condition)                                                                      \
    if (condition) c->seen_rule[rule] = true;                                                      \
    rule++;
#include "tests/fuzz/programs/rules.def"
}

/* ---- what there is --------------------------------------------------------------------------- */

/* Words of "x axis? keep?". */
static void add_builtin(Coverage *c, const char *name, const char *params) {
    Callee *f = &c->callee[c->ncallee++];
    f->name = name;
    char *copy = arena_strdup(c->arena, params), *save = NULL;
    for (char *w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
        w[strcspn(w, "?")] = 0;
        if (*w && f->nparam < PARAMS) f->param[f->nparam++] = w;
    }
}

static Ast *parse_text(Arena *a, const char *text) {
    Diags *d = diags_create(a);
    Ast *file = parse_file(a, source_from_text(a, "program.vmoe", text), d);
    return d->nerrors ? NULL : file;
}

static void add_layers(Coverage *c, const char *path) {
    VmError err = {.text = ""};
    const Source *src = source_load(c->arena, path, &err);
    const Ast *file = src ? parse_file(c->arena, src, diags_create(c->arena)) : NULL;
    for (int i = 0; file && i < file->nkid; i++) {
        const Ast *n = file->kid[i];
        if (n->kind != AST_LAYER) continue;
        Callee *f = &c->callee[c->ncallee++];
        f->name = n->name;
        f->layer = true;
        for (int k = 0; k < n->nparam && k < PARAMS; k++) f->param[f->nparam++] = n->param[k]->name;
    }
}

static void add_callees(Coverage *c) {
#define BUILTIN(name, params, fn, op) add_builtin(c, #name, params);
#include "frontend/meaning/builtins.def"
    const char *models = getenv("VMOEC_MODELS");
    const char *folder = arena_printf(c->arena, "%s/std", models ? models : "models");
    struct dirent **list;
    int n = scandir(folder, &list, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        if (strstr(list[i]->d_name, ".vmoe"))
            add_layers(c, arena_printf(c->arena, "%s/%s", folder, list[i]->d_name));
        free(list[i]);
    }
    if (n >= 0) free(list);
}

/* ---- what a program uses --------------------------------------------------------------------- */

static void mark_call(Coverage *c, const Ast *call) {
    Callee *f = NULL;
    for (int i = 0; i < c->ncallee; i++)
        if (!strcmp(c->callee[i].name, call->name)) f = &c->callee[i];
    if (!f) return;
    f->seen = true;
    for (int i = 0; i < call->nkid; i++) {
        const Ast *arg = call->kid[i];
        bool named = arg->kind == AST_ARG && arg->name;
        for (int k = 0; k < f->nparam; k++)
            if (named ? !strcmp(arg->name, f->param[k]) : k == i) f->seen_given[k] = true;
    }
}

static void walk(Coverage *c, const Ast *n) {
    if (!n) return;
    mark_rules(c, n);
    if (n->kind == AST_CALL) mark_call(c, n);
    walk(c, n->type);
    walk(c, n->a);
    walk(c, n->b);
    walk(c, n->other);
    for (int i = 0; i < n->nkid; i++) walk(c, n->kid[i]);
    for (int i = 0; i < n->nparam; i++) walk(c, n->param[i]);
}

static void count(Coverage *c, uint64_t seed) {
    Arena *a = arena_create();
    const Ast *file = parse_text(a, prog_make(a, seed).text);
    c->programs += file != NULL;
    walk(c, file);
    for (int i = 0; i < RULES; i++) c->rule[i] += c->seen_rule[i];
    memset(c->seen_rule, 0, sizeof c->seen_rule);
    for (int i = 0; i < c->ncallee; i++) {
        Callee *f = &c->callee[i];
        f->programs += f->seen;
        f->seen = false;
        for (int k = 0; k < f->nparam; k++) f->given[k] += f->seen_given[k];
        memset(f->seen_given, 0, sizeof f->seen_given);
    }
    arena_destroy(a);
}

/* ---- the table ------------------------------------------------------------------------------- */

static int print_row(const char *kind, const char *name, int programs, bool all) {
    if (all || !programs)
        printf("%-8s %-32s %6d%s\n", kind, name, programs, programs ? "" : "  MISSING");
    return !programs;
}

/* Parameters in one line: "axis 120, keep 61". Those that are never given are as good as missing.
 */
static int print_params(const Callee *f, bool all) {
    int missing = 0;
    for (int k = 0; k < f->nparam; k++) missing += !f->given[k];
    if (!all && !missing) return 0;
    printf("         ");
    for (int k = 0; k < f->nparam; k++)
        printf("%s%s %d%s", k ? ", " : "", f->param[k], f->given[k], f->given[k] ? "" : " MISSING");
    printf("\n");
    return missing;
}

int coverage_print(uint64_t first, int programs, bool all) {
    Coverage *c = calloc(1, sizeof *c);
    if (!c) return 1;
    c->arena = arena_create();
    int missing = 0, params = 0;
    add_callees(c);
    for (int i = 0; i < programs; i++) count(c, first + (uint64_t)i);
    for (int i = 0; i < RULES; i++) missing += print_row("rule", rules[i], c->rule[i], all);
    for (int i = 0; i < c->ncallee; i++) {
        const Callee *f = &c->callee[i];
        missing += print_row(f->layer ? "layer" : "builtin", f->name, f->programs, all);
        missing += print_params(f, all);
        params += f->nparam;
    }
    printf("%d programs of seeds %llu..%llu: %d rules of the grammar, %d functions and layers with "
           "%d parameters; %d never used, %d do not parse\n",
           programs, (unsigned long long)first,
           (unsigned long long)first + (unsigned long long)programs - 1, (int)RULES, c->ncallee,
           params, missing, programs - c->programs);
    missing += programs - c->programs;
    arena_destroy(c->arena);
    free(c);
    return missing;
}
