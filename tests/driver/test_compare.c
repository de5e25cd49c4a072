/* The measures of `verify` and `bench --kernel`. */
#include <criterion/criterion.h>
#include <math.h>

#include "driver/compare.h"

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
    return compare_difference(&p->tensor, p->have, &p->ref, 0);
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
