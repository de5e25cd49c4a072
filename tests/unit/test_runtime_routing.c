/* What a run says of its routes: means over an epoch, and when it warns. */
#include <criterion/criterion.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/internal.h"

enum { EXPERTS = 4 };

typedef struct Made {
    VmRoute route;
    VmRouting routing;
    float load[EXPERTS], entropy;
    double load_sum[EXPERTS];
} Made;

static void make(Made *m) {
    *m = (Made){0};
    m->route = (VmRoute){
        .name = "1.moe.load", .name_length = 5, .experts = EXPERTS, .load = m->load, .load_sum = m->load_sum};
    m->route.measure[0] = &m->entropy;
    m->routing = (VmRouting){&m->route, 1};
    vm_routing_begin_epoch(&m->routing);
}

static void step(Made *m, float a, float b, float c, float d, float entropy) {
    const float load[EXPERTS] = {a, b, c, d};
    memcpy(m->load, load, sizeof load);
    m->entropy = entropy;
    vm_routing_step(&m->routing);
}

static double at(const json_t *o, const char *key, int i) {
    const json_t *v = json_object_get(json_object_get(o, "1.moe"), key);
    return json_number_value(json_is_array(v) ? json_array_get(v, (size_t)i) : v);
}

Test(routing, steps_are_told_as_they_are_and_epochs_as_means) {
    Made m;
    make(&m);
    step(&m, 0.5F, 0.5F, 0, 0, 1);
    step(&m, 0.25F, 0.5F, 0.25F, 0, 0.5F);
    json_t *now = vm_routing_json(&m.routing, false), *mean = vm_routing_json(&m.routing, true);
    cr_assert_eq(at(now, "load", 0), 0.25);
    cr_assert_eq(at(now, "dead", 0), 1);
    cr_assert_eq(at(now, "entropy", 0), 0.5);
    cr_assert_null(json_object_get(json_object_get(now, "1.moe"), "unserved"), "it has no such measure");
    cr_assert_eq(at(mean, "load", 0), 0.375);
    cr_assert_eq(at(mean, "load", 2), 0.125);
    cr_assert_eq(at(mean, "dead", 0), 1);
    cr_assert_eq(at(mean, "entropy", 0), 0.75);
    json_decref(now);
    json_decref(mean);
}

static char *warning(const Made *m) {
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    VmProgress p = {.f = f};
    vm_routing_warn(&m->routing, &p, 3);
    fclose(f);
    return text;
}

Test(routing, warns_of_experts_without_work_and_of_few_with_most) {
    Made m;
    make(&m);
    step(&m, 0.4F, 0.3F, 0.2F, 0.1F, 1);
    char *fine = warning(&m);
    cr_assert_str_empty(fine);
    free(fine);
    step(&m, 0.5F, 0.5F, 0, 0, 1); /* idle in one step only */
    fine = warning(&m);
    cr_assert_str_empty(fine);
    free(fine);
    vm_routing_begin_epoch(&m.routing);
    step(&m, 0.5F, 0.25F, 0.25F, 0, 1);
    char *dead = warning(&m);
    cr_assert(strstr(dead, "routing of 1.moe collapses") && strstr(dead, "epoch 3") &&
                  strstr(dead, "1 of them none"),
              "%s", dead);
    free(dead);
    vm_routing_begin_epoch(&m.routing);
    step(&m, 0.97F, 0.01F, 0.01F, 0.01F, 1);
    char *few = warning(&m);
    cr_assert(strstr(few, "the busiest has 97 % of the rows") && strstr(few, "0 of them none"), "%s", few);
    free(few);
}
