/* What a run says of its routes: what it measures, means over an epoch, and when it warns. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/log/routes.h"

enum { EXPERTS = 4, TOKENS = 4, IMAGES = 2 };

typedef struct Made {
    VmRoute route;
    VmRouting routing;
    int32_t offsets[EXPERTS + 1], choices[TOKENS];
    float logits[TOKENS * EXPERTS];
    double load_sum[EXPERTS], by_image[3 * EXPERTS];
} Made;

static void make(Made *m) {
    *m = (Made){0};
    m->route = (VmRoute){.name = "1.moe",
                         .experts = EXPERTS,
                         .tokens = TOKENS,
                         .k = 1,
                         .offsets = m->offsets,
                         .choices = m->choices,
                         .logits = m->logits,
                         .load_sum = m->load_sum,
                         .by_image = m->by_image};
    m->routing = (VmRouting){&m->route, 1, IMAGES};
    vm_routing_begin_epoch(&m->routing);
}

/* Rows of the four experts. */
static void step(Made *m, int32_t a, int32_t b, int32_t c, int32_t d) {
    const int32_t rows[EXPERTS] = {a, b, c, d};
    for (int e = 0; e < EXPERTS; e++) m->offsets[e + 1] = m->offsets[e] + rows[e];
    vm_routing_step(&m->routing);
}

static const VmFact *find(const VmFacts *f, const char *name) {
    for (int i = 0; i < f->n; i++)
        if (!strcmp(f->at[i].name, name)) return &f->at[i];
    return NULL;
}

static double at(const VmFacts *o, const char *key, int i) {
    const VmFact *route = find(o, "1.moe"), *v = route ? find(&route->part, key) : NULL;
    cr_assert(v, "no %s", key);
    if (v->type == VM_FACT_LIST) v = &v->part.at[i];
    return v->type == VM_FACT_INT ? (double)v->integer : v->number;
}

Test(runtime_routes, steps_are_told_as_they_are_and_epochs_as_means) {
    Made m;
    make(&m);
    step(&m, 5, 5, 0, 0);
    vm_routing_measure(&m.routing);
    step(&m, 1, 2, 1, 0);
    m.choices[0] = m.choices[2] = -1;
    vm_routing_measure(&m.routing);
    VmFacts now = vm_routing_facts(&m.routing, false), mean = vm_routing_facts(&m.routing, true);
    cr_assert_eq(at(&now, "load", 0), 0.25);
    cr_assert_eq(at(&now, "dead", 0), 1);
    cr_assert_eq(at(&now, "unserved", 0), 0.5);
    cr_assert_eq(at(&mean, "load", 0), 0.375);
    cr_assert_eq(at(&mean, "load", 2), 0.125);
    cr_assert_eq(at(&mean, "dead", 0), 1);
    cr_assert_eq(at(&mean, "unserved", 0), 0.25);
    vm_facts_free(&now);
    vm_facts_free(&mean);
}

/* The numbers of a gate: p of tokens 0 and 2 is uniform, of 1 (.1, .2, .3, .4), of 3 one expert. */
Test(runtime_routes, measures_the_gate) {
    Made m;
    make(&m);
    for (int e = 0; e < EXPERTS; e++) {
        m.logits[EXPERTS + e] = (float)log(0.1 * (e + 1)) + 3;
        m.logits[3 * EXPERTS + e] = e == 2 ? 200 : 0;
    }
    step(&m, 1, 1, 1, 1);
    vm_routing_measure(&m.routing);
    double entropy = 2 * log(4), spread = 0;
    for (int e = 0; e < EXPERTS; e++) entropy -= 0.1 * (e + 1) * log(0.1 * (e + 1));
    for (int e = 0; e < EXPERTS; e++) {
        double first = 0.25 + 0.1 * (e + 1), second = 0.25 + (e == 2), mean = (first + second) / 2;
        spread += (first - mean) * (first - mean) / (mean + 1e-6);
    }
    VmFacts now = vm_routing_facts(&m.routing, false);
    cr_assert(fabs(at(&now, "entropy", 0) - entropy / TOKENS) < 1e-6);
    cr_assert(fabs(at(&now, "variation", 0) - spread / EXPERTS) < 1e-6);
    cr_assert_eq(at(&now, "largest", 0), 200);
    vm_facts_free(&now);
}

Test(runtime_routes, what_a_route_has_not_is_not_told) {
    Made m;
    make(&m);
    m.route.choices = NULL;
    m.route.logits = NULL;
    step(&m, 0, 0, 0, 0);
    vm_routing_measure(&m.routing);
    VmFacts now = vm_routing_facts(&m.routing, false);
    cr_assert_eq(find(&now, "1.moe")->part.n, 2);
    cr_assert_eq(at(&now, "dead", 0), EXPERTS);
    cr_assert_eq(at(&now, "load", 3), 0);
    vm_facts_free(&now);
}

static char *warning(const Made *m) {
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    VmLog log = {.sinks = 1u << VM_SINK_progress};
    VmLogPlace place = {.warnings = f};
    VmError err;
    cr_assert(vm_log_open(&log, &place, &err) == VM_OK);
    vm_routing_warn(&m->routing, &log, 3);
    cr_assert(vm_log_close(&log, &err) == VM_OK);
    fclose(f);
    return text;
}

Test(runtime_routes, warns_of_experts_without_work_and_of_few_with_most) {
    Made m;
    make(&m);
    step(&m, 4, 3, 2, 1);
    char *fine = warning(&m);
    cr_assert_str_empty(fine);
    free(fine);
    step(&m, 5, 5, 0, 0); /* idle in one step only */
    fine = warning(&m);
    cr_assert_str_empty(fine);
    free(fine);
    vm_routing_begin_epoch(&m.routing);
    step(&m, 2, 1, 1, 0);
    char *dead = warning(&m);
    cr_assert(strstr(dead, "routing of 1.moe collapses") && strstr(dead, "epoch 3") &&
                  strstr(dead, "1 of them none"),
              "%s", dead);
    free(dead);
    vm_routing_begin_epoch(&m.routing);
    step(&m, 97, 1, 1, 1);
    char *few = warning(&m);
    cr_assert(strstr(few, "the busiest has 97 % of the rows") && strstr(few, "0 of them none"),
              "%s", few);
    free(few);
}
