/* programs: random programs over the whole language, from the command line.
 *
 *   programs text SEED                       the program of a seed
 *   programs run [OPTIONS]                   many of them: --first S --count N --jobs J --limit S
 *                                            --block N --state FILE --isa NAME .. --cache DIR
 *                                            --seconds S: no new block after so long
 *   programs check SEED|FILE [OPTIONS]       one of them; --batch N for a file
 *   programs reduce SEED|FILE [OPTIONS]      makes one that fails smaller
 *   programs coverage N [FIRST]              what of the language N programs use */
#include "tests/fuzz/programs/gen.h"
#include "tests/fuzz/programs/programs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"

typedef struct Command {
    BlockOptions o;
    const char *isa[2];
    const char *operand[2];
    int noperand;
} Command;

static int usage(void) {
    fprintf(stderr,
            "usage: programs text|run|check|reduce|coverage ..; see tests/fuzz/programs/main.c\n");
    return 2;
}

static bool parse(Command *c, int argc, char **argv) {
    c->o = (BlockOptions){.first = 1, .count = 100, .jobs = 1, .size = 20, .limit = 60};
    c->o.check = (CheckOptions){.isa = c->isa, .batch = 2, .seed = 1, .broken = OP_COUNT};
    for (int i = 2; i < argc; i++) {
        const char *name = argv[i], *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (name[0] != '-') {
            if (c->noperand == 2) return false;
            c->operand[c->noperand++] = name;
            continue;
        }
        if (!value) return false;
        i++;
        if (!strcmp(name, "--first"))
            c->o.first = strtoull(value, NULL, 10);
        else if (!strcmp(name, "--count"))
            c->o.count = strtoull(value, NULL, 10);
        else if (!strcmp(name, "--jobs"))
            c->o.jobs = atoi(value);
        else if (!strcmp(name, "--block"))
            c->o.size = atoi(value);
        else if (!strcmp(name, "--limit"))
            c->o.limit = atoi(value);
        else if (!strcmp(name, "--seconds"))
            c->o.seconds = atoi(value);
        else if (!strcmp(name, "--cache"))
            c->o.check.cache = value;
        else if (!strcmp(name, "--state"))
            c->o.state = value;
        else if (!strcmp(name, "--batch"))
            c->o.check.batch = atoi(value);
        else if (!strcmp(name, "--seed"))
            c->o.check.seed = strtoull(value, NULL, 10);
        else if (!strcmp(name, "--isa") && c->o.check.nisa < 2)
            c->isa[c->o.check.nisa++] = value;
        else
            return false;
    }
    if (!c->o.check.nisa) c->o.check.nisa = check_isas(c->isa);
    return c->o.jobs > 0 && c->o.size > 0 && c->o.limit > 0;
}

/* The text of a seed or file; sets the batch of a seed. */
static const char *text_of(Command *c, Arena *a) {
    const char *what = c->operand[0];
    if (strspn(what, "0123456789") == strlen(what)) {
        uint64_t seed = strtoull(what, NULL, 10);
        GenProgram p = prog_make(a, seed);
        c->o.check.batch = p.batch;
        c->o.check.seed = seed;
        return p.text;
    }
    FILE *f = fopen(what, "re");
    Text t = text_new(a);
    char part[4096];
    for (size_t n; f && (n = fread(part, 1, sizeof part, f)) > 0;) text_addn(&t, part, n);
    if (!f) return NULL;
    fclose(f);
    return t.data;
}

static void print_tally(const Tally *t) {
    printf("data %lld, compared %lld (loosened %lld, blind %lld), bits %lld; seconds: front %.2f, "
           "reference %.2f, code %.2f, runs %.2f\n",
           (long long)t->tried, (long long)t->compared, (long long)t->loosened, (long long)t->blind,
           (long long)t->bits, t->seconds[0], t->seconds[1], t->seconds[2], t->seconds[3]);
}

static int check_one(Command *c, Arena *a) {
    const char *text = text_of(c, a);
    Tally t = {0};
    if (!text) return usage();
    Verdict v = check_program(text, &c->o.check, &t);
    printf("%s %s %s\n", outcome_names[v.outcome], v.stage, v.text);
    print_tally(&t);
    return outcome_bad[v.outcome];
}

typedef struct Wanted {
    const Command *c;
    Verdict v;
} Wanted;

static bool same_failure(void *user, const char *text) {
    const Wanted *w = user;
    Tally t = {0};
    Verdict v = check_apart(text, &w->c->o.check, w->c->o.limit, &t);
    return v.outcome == w->v.outcome && !strcmp(v.stage, w->v.stage);
}

static int reduce_one(Command *c, Arena *a) {
    const char *text = text_of(c, a);
    Tally t = {0};
    if (!text) return usage();
    Wanted w = {c, check_apart(text, &c->o.check, c->o.limit, &t)};
    if (!outcome_bad[w.v.outcome]) {
        printf("it does not fail: %s\n", outcome_names[w.v.outcome]);
        return 0;
    }
    int tries = 0;
    const char *small = reduce(a, text, same_failure, &w, &tries);
    printf("# %s, %s: %s\n# batch %lld, data of seed %llu; %d lines of %d, %d tries\n%s",
           outcome_names[w.v.outcome], w.v.stage, w.v.text, (long long)c->o.check.batch,
           (unsigned long long)c->o.check.seed, reduce_lines(small), reduce_lines(text), tries,
           small);
    return 1;
}

int main(int argc, char **argv) {
    Command c = {0};
    if (argc < 2 || !parse(&c, argc, argv)) return usage();
    if (!strcmp(argv[1], "run")) return blocks_run(&c.o) > 0;
    if (!c.noperand) return usage();
    Arena *a = arena_create();
    int status = 2;
    if (!strcmp(argv[1], "text"))
        status = fputs(text_of(&c, a), stdout) < 0;
    else if (!strcmp(argv[1], "check"))
        status = check_one(&c, a);
    else if (!strcmp(argv[1], "reduce"))
        status = reduce_one(&c, a);
    else if (!strcmp(argv[1], "coverage"))
        status = coverage_print(c.operand[1] ? strtoull(c.operand[1], NULL, 10) : 1,
                                atoi(c.operand[0]), true) > 0;
    arena_destroy(a);
    return status;
}
