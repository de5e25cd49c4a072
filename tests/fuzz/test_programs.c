/* The generator of random programs, the comparison and the reducer, by themselves: that programs
 * use the whole language and compile, that a kernel which is wrong is seen, and that what fails
 * becomes small. tests/fuzz/run.sh runs programs. */
#include <criterion/criterion.h>
#include <string.h>

#include "tests/fuzz/programs/gen.h"
#include "tests/fuzz/programs/programs.h"

/* Rules of the grammar, functions, layers and each of their parameters. */
Test(programs, use_the_whole_language) {
    cr_assert_eq(coverage_print(1, 2500, false), 0, "the list above has what never appeared");
}

/* A seed is a program for good: it is how a failure is told. */
Test(programs, are_a_function_of_their_seed) {
    Arena *a = arena_create();
    for (uint64_t seed = 1; seed < 50; seed++)
        cr_assert_str_eq(prog_make(a, seed).text, prog_make(a, seed).text);
    arena_destroy(a);
}

static bool compiles(const char *text, int64_t batch, Verdict *v) {
    Arena *a = arena_create();
    Front f = {.broken = OP_COUNT};
    bool good = front_open(&f, a, text, batch, v);
    arena_destroy(a);
    return good;
}

Test(programs, compile, .timeout = 300) {
    for (uint64_t seed = 1; seed <= 250; seed++) {
        Arena *a = arena_create();
        GenProgram p = prog_make(a, seed);
        Verdict v = {.outcome = OUT_OF_agrees};
        cr_assert(compiles(p.text, p.batch, &v), "seed %llu: %s", (unsigned long long)seed, v.text);
        arena_destroy(a);
    }
}

/* ---- the comparison -------------------------------------------------------------------------- */

static const char small[] = "layer gate(x: [.., D], k = 3) -> [.., D] {\n"
                            "  y = linear(x, k)\n"
                            "  x + linear(sigmoid(y), D)\n"
                            "}\n"
                            "model m(image: f32[B, 5], label: class[B, 4]) {\n"
                            "  x = linear(image, 6)\n"
                            "  y = gate(norm(x))\n"
                            "  z = relu(y) + 0.5 * x\n"
                            "  logits = linear(z, 4)\n"
                            "  loss cross_entropy(logits, label)\n"
                            "  metric accuracy(logits, label)\n"
                            "}\n";

typedef struct Broken {
    CheckOptions o;
    const char *isa[2];
} Broken;

static Broken options(OpCode broken) {
    Broken b = {.o = {.nisa = 1, .batch = 3, .seed = 1, .broken = broken}};
    check_isas(b.isa);
    return b;
}

Test(programs, a_right_kernel_agrees_and_a_wrong_one_is_seen, .timeout = 300) {
    for (int wrong = 0; wrong < 2; wrong++) {
        Broken b = options(wrong ? OP_sigmoid : OP_COUNT);
        b.o.isa = b.isa;
        Tally t = {0};
        Verdict v = check_apart(small, &b.o, 100, &t);
        cr_assert_eq(v.outcome, wrong ? OUT_OF_mismatch : OUT_OF_agrees, "%s", v.text);
        cr_assert(t.compared > 0 && t.bits > 0);
    }
}

/* ---- the reducer ----------------------------------------------------------------------------- */

static bool mismatches(void *user, const char *text) {
    Broken *b = user;
    Tally t = {0};
    Verdict v = {.outcome = OUT_OF_agrees};
    if (!strstr(text, "sigmoid(") || !compiles(text, b->o.batch, &v)) return false;
    return check_apart(text, &b->o, 100, &t).outcome == OUT_OF_mismatch;
}

/* By the compiler and the kernels themselves. */
Test(programs, a_wrong_kernel_becomes_a_few_lines, .timeout = 600) {
    Arena *a = arena_create();
    Broken b = options(OP_sigmoid);
    b.o.isa = b.isa;
    int tries = 0;
    const char *text = reduce(a, small, mismatches, &b, &tries);
    cr_assert(reduce_lines(text) <= 7, "%d lines after %d tries:\n%s", reduce_lines(text), tries,
              text);
    cr_assert(mismatches(&b, text));
    arena_destroy(a);
}

/* "Fails" if it compiles and has both. */
static bool has_both(void *user, const char *text) {
    Verdict v;
    return strstr(text, "convolve(") && strstr(text, "top_k(") &&
           compiles(text, *(int64_t *)user, &v);
}

Test(programs, sixty_lines_become_twenty, .timeout = 600) {
    Arena *a = arena_create();
    GenProgram p = {0};
    for (uint64_t seed = 1; !p.text; seed++) {
        GenProgram one = prog_make(a, seed);
        if (reduce_lines(one.text) > 60 && has_both(&one.batch, one.text)) p = one;
    }
    int tries = 0;
    const char *text = reduce(a, p.text, has_both, &p.batch, &tries);
    cr_assert(reduce_lines(text) <= 20, "%d lines after %d tries:\n%s", reduce_lines(text), tries,
              text);
    cr_assert(has_both(&p.batch, text));
    arena_destroy(a);
}

/* What does not even parse stays as it is. */
Test(programs, nonsense_is_left_alone) {
    Arena *a = arena_create();
    int tries = 0;
    int64_t batch = 1;
    const char *text = "model m( {";
    cr_assert_str_eq(reduce(a, text, has_both, &batch, &tries), text);
    cr_assert_eq(tries, 0);
    arena_destroy(a);
}

/* ---- many programs --------------------------------------------------------------------------- */

/* Programs that do not end in time do not end the run. */
Test(programs, a_run_goes_on_behind_those_that_hang, .timeout = 300) {
    Broken b = options(OP_COUNT);
    b.o.isa = b.isa;
    BlockOptions o = {.first = 1, .count = 3, .jobs = 2, .size = 2, .limit = 1, .check = b.o};
    o.check.slow = true;
    cr_assert_eq(blocks_run(&o), 3);
}
