/* The measures of `verify` and `bench --kernel`. */
#include <criterion/criterion.h>
#include <math.h>

#include "driver/commands/compare.h"

enum { N = 100 };

typedef struct Pair {
    float have[N];
    double want[N];
    RefTensor ref;
    VmTensor tensor;
} Pair;

/* want: alternating 1 and -1; have: the same. */
static void fill(Pair *p) {
    *p = (Pair){.ref.type = IR_TYPE(DT_f32, N)};
    p->ref.data = p->want;
    for (int i = 0; i < N; i++) p->have[i] = (float)(p->want[i] = i % 2 ? -1 : 1);
}

static double difference(const Pair *p) {
    return compare_difference(&p->tensor, p->have, &p->ref, 0, 0);
}

static double spread(const Pair *p) {
    return compare_spread(&p->tensor, p->have, &p->ref, 0);
}

Test(compare, one_element_counts_alone_or_among_all) {
    Pair p;
    fill(&p);
    cr_assert(difference(&p) == 0 && spread(&p) == 0);
    p.have[7] = 0;
    cr_assert_float_eq(difference(&p), 1, 1e-12);
    cr_assert_float_eq(spread(&p), 0.1, 1e-12);
}

Test(compare, what_is_wrong_altogether_is_far_off_by_both) {
    Pair p;
    fill(&p);
    for (int i = 0; i < N; i++) p.have[i] = -p.have[i];
    cr_assert_float_eq(difference(&p), 2, 1e-12);
    cr_assert_float_eq(spread(&p), 2, 1e-12);
}

Test(compare, nothing_excuses_what_is_not_a_number) {
    Pair p;
    fill(&p);
    p.have[3] = NAN;
    cr_assert(isinf(difference(&p)) && isinf(spread(&p)));
}

Test(compare, slack_excuses_so_much_and_no_more) {
    Pair p;
    fill(&p);
    p.have[3] += 0.5f;
    cr_assert_float_eq(compare_difference(&p.tensor, p.have, &p.ref, 0, 0.25), 0.25, 1e-6);
    cr_assert_eq(compare_difference(&p.tensor, p.have, &p.ref, 0, 0.75), 0);
    p.have[3] = NAN;
    cr_assert(isinf(compare_difference(&p.tensor, p.have, &p.ref, 0, 1e9)));
}

/* sum(x - mean(x)) is 0 in theory; choices and comparisons are not moved. */
Test(compare, a_disturbed_run_shows_what_rounding_leaves) {
    static const char *const text =
        "graph @t {\n"
        "  %0 = input {name = \"x\"} : f32[64]\n"
        "  %1 = mean %0 {axes = [0]} : f32[]\n"
        "  %2 = broadcast %1 {shape = [64]} : f32[64]\n"
        "  %3 = sub %0, %2 : f32[64]\n"
        "  %4 = sum %3 {axes = [0]} : f32[]\n"
        "  %5 = less %2, %0 : f32[64]\n"
        "  output \"zero\" %4\n  output \"mean\" %1\n  output \"above\" %5\n}\n";
    Arena *a = arena_create();
    const char *error = NULL;
    IrGraph *g = ir_read(a, text, "t.vir", &error);
    cr_assert(g, "%s", error ? error : "");
    double x[64];
    for (int i = 0; i < 64; i++) x[i] = 1 + i;
    Interp *run[2];
    for (int i = 0; i < 2; i++) {
        run[i] = interp_create(a, g, false);
        interp_set(run[i], "x", x);
        if (i) interp_disturb(run[i], 1e-6, 5);
        interp_run(run[i]);
    }
    double zero = fabs(interp_out(run[1], "zero")->data[0]),
           mean = interp_out(run[1], "mean")->data[0];
    cr_assert(fabs(interp_out(run[0], "zero")->data[0]) < 1e-12);
    cr_assert(zero > 1e-7 && zero < 1e-2, "%g", zero);
    cr_assert(mean != 32.5 && fabs(mean - 32.5) < 1e-4, "%.9g", mean);
    for (int i = 0; i < 64; i++) cr_assert_eq(interp_out(run[1], "above")->data[i], i >= 32);
    arena_destroy(a);
}
