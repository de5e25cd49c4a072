/* What a run says of its routes: measures of what the training program leaves behind
 * (passes/telemetry.c), at logged steps and as means over an epoch, and a warning where few experts
 * do the work. Loads are added up at every step; what takes a look at every token is measured at
 * logged steps only.
 *
 * Does not: run anything; a program without such outputs has no routes here. */
#include "runtime/log/routes.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/exec/internal.h"

static const char *const measure_name[VM_MEASURES] = {"entropy", "largest", "unserved",
                                                      "variation"};
enum { ENTROPY, LARGEST, UNSERVED, VARIATION };

/* ---- finding ---- */

/* The route of that name, made when it is new. */
static VmRoute *route_named(VmRouting *r, const char *name) {
    for (int i = 0; i < r->n; i++)
        if (strcmp(r->route[i].name, name) == 0) return &r->route[i];
    r->route[r->n] = (VmRoute){.name = name};
    return &r->route[r->n++];
}

void vm_routing_free(VmRouting *r) {
    for (int i = 0; i < r->n; i++) {
        free(r->route[i].load_sum);
        free(r->route[i].by_image);
    }
    free(r->route);
    *r = (VmRouting){0};
}

static void take(VmRoute *r, const VmTensor *t, const void *value) {
    switch (t->role) {
    case VM_ROLE_OFFSETS:
        r->offsets = value;
        r->experts = t->dim[0] - 1;
        break;
    case VM_ROLE_CHOICES:
        r->choices = value;
        r->tokens = t->dim[0];
        r->k = t->dim[1];
        break;
    default: r->logits = value; r->tokens = vm_tensor_elems(t) / t->dim[t->rank - 1];
    }
}

static bool is_of_route(const VmTensor *t) {
    return t->role == VM_ROLE_OFFSETS || t->role == VM_ROLE_CHOICES || t->role == VM_ROLE_LOGITS;
}

VmStatus vm_routing_find(VmRouting *r, VmEngine *e, int program, int64_t images, VmError *err) {
    const VmProgram *p = vm_engine_program(e, program);
    if (!r->route) r->route = vm_calloc((size_t)p->ntensor + 1, sizeof *r->route);
    if (!r->route) return vm_fail(err, VM_ENV, "out of memory");
    r->images = images;
    for (int i = 0; i < p->ntensor; i++) {
        const VmTensor *t = &p->tensor[i];
        if (is_of_route(t)) take(route_named(r, t->name), t, vm_engine_address(e, program, t));
    }
    for (int i = 0; i < r->n; i++) {
        VmRoute *route = &r->route[i];
        size_t n = (size_t)route->experts;
        if (!route->load_sum) route->load_sum = vm_calloc(n, sizeof(double));
        if (!route->by_image) route->by_image = vm_calloc(3 * n, sizeof(double));
        if (!route->load_sum || !route->by_image) return vm_fail(err, VM_ENV, "out of memory");
    }
    return VM_OK;
}

/* ---- measuring ---- */

/* Share of the served pairs. */
static double load_of(const VmRoute *r, int64_t e) {
    int32_t all = r->offsets[r->experts];
    return all ? (double)(r->offsets[e + 1] - r->offsets[e]) / all : 0;
}

/* Tokens none of whose choices is an expert. */
static double unserved_share(const VmRoute *r) {
    int64_t none = 0;
    for (int64_t t = 0; t < r->tokens; t++) {
        bool served = false;
        for (int64_t j = 0; j < r->k; j++) served |= r->choices[t * r->k + j] >= 0;
        none += !served;
    }
    return (double)none / (double)r->tokens;
}

/* Adds the softmax of one token's logits to `sum`; its entropy in nats: ln z - (sum of e^x x) / z,
 * x below the largest. */
static double add_token(const VmRoute *r, const float *h, double *sum, double *largest) {
    double top = (double)h[0], z = 0, dot = 0;
    for (int64_t e = 1; e < r->experts; e++) top = fmax(top, (double)h[e]);
    for (int64_t e = 0; e < r->experts; e++) {
        double x = (double)h[e] - top, w = exp(x);
        z += w;
        dot += w > 0 ? w * x : 0;
    }
    for (int64_t e = 0; e < r->experts; e++) sum[e] += exp((double)h[e] - top) / z;
    *largest = fmax(*largest, top);
    return log(z) - dot / z;
}

/* One walk over the gate: mean entropy, largest logit, and how much images differ, the mean over
 * experts of var_b(s_be) / (mean_b(s_be) + 1e-6) with s_be the sum of the softmax over the tokens
 * of image b (Teo et al. 2024; population variance). NAN where images have one token each. */
static void measure_gate(VmRoute *r, int64_t images) {
    int64_t n = r->experts,
            per_image = images > 0 && r->tokens % images == 0 ? r->tokens / images : 0;
    double *sum = r->by_image, *all = sum + n, *squares = all + n, entropy = 0, largest = -INFINITY,
           spread = 0;
    for (int64_t e = 0; e < 3 * n; e++) sum[e] = 0;
    for (int64_t t = 0; t < r->tokens; t++) {
        entropy += add_token(r, r->logits + t * n, sum, &largest);
        if (!per_image || (t + 1) % per_image) continue;
        for (int64_t e = 0; e < n; e++) {
            all[e] += sum[e];
            squares[e] += sum[e] * sum[e];
            sum[e] = 0;
        }
    }
    for (int64_t e = 0; e < n; e++) {
        double mean = all[e] / (double)images, variance = squares[e] / (double)images - mean * mean;
        spread += fmax(variance, 0) / (mean + 1e-6);
    }
    r->now[ENTROPY] = entropy / (double)r->tokens;
    r->now[LARGEST] = largest;
    r->now[VARIATION] = per_image > 1 && images > 1 ? spread / (double)n : (double)NAN;
}

static bool has_measure(const VmRoute *r, int m) {
    return m == UNSERVED ? r->choices != NULL : r->logits != NULL;
}

void vm_routing_begin_epoch(VmRouting *r) {
    for (int i = 0; i < r->n; i++) {
        VmRoute *route = &r->route[i];
        for (int64_t e = 0; e < route->experts; e++) route->load_sum[e] = 0;
        for (int m = 0; m < VM_MEASURES; m++) route->sum[m] = 0;
        route->steps = route->measured = 0;
    }
}

void vm_routing_step(VmRouting *r) {
    for (int i = 0; i < r->n; i++) {
        VmRoute *route = &r->route[i];
        for (int64_t e = 0; e < route->experts; e++) route->load_sum[e] += load_of(route, e);
        route->steps++;
    }
}

void vm_routing_measure(VmRouting *r) {
    for (int i = 0; i < r->n; i++) {
        VmRoute *route = &r->route[i];
        if (route->logits) measure_gate(route, r->images);
        if (route->choices) route->now[UNSERVED] = unserved_share(route);
        for (int m = 0; m < VM_MEASURES; m++)
            if (has_measure(route, m)) route->sum[m] += route->now[m];
        route->measured++;
    }
}

/* ---- keeping ---- */

static VmJson number_list(const double *x, int64_t n) {
    VmJson list = vm_json_list();
    for (int64_t i = 0; i < n; i++) vm_json_number(&list, NULL, x[i]);
    return list;
}

VmJson vm_routing_sums(const VmRouting *r) {
    VmJson all = vm_json_object();
    for (int i = 0; i < r->n; i++) {
        const VmRoute *route = &r->route[i];
        if (!route->steps) continue;
        VmJson o = vm_json_object();
        vm_json_int(&o, "steps", route->steps);
        vm_json_int(&o, "measured", route->measured);
        vm_json_put(&o, "load", number_list(route->load_sum, route->experts));
        vm_json_put(&o, "measures", number_list(route->sum, VM_MEASURES));
        vm_json_put(&all, route->name, o);
    }
    return all;
}

/* null is what has no finite sum. */
static bool are_numbers(const json_t *list) {
    size_t i;
    json_t *v;
    if (!json_is_array(list)) return false;
    json_array_foreach (list, i, v)
        if (!json_is_number(v) && !json_is_null(v)) return false;
    return true;
}

bool vm_routing_are_sums(json_t *sums) {
    const char *name;
    json_t *o;
    if (!json_is_object(sums)) return false;
    json_object_foreach (sums, name, o) {
        const json_t *steps = json_object_get(o, "steps"),
                     *measured = json_object_get(o, "measured"),
                     *measures = json_object_get(o, "measures");
        if (!json_is_integer(steps) || json_integer_value(steps) < 1 ||
            !json_is_integer(measured) || json_integer_value(measured) < 0 ||
            json_integer_value(measured) > json_integer_value(steps) ||
            !are_numbers(json_object_get(o, "load")) || !are_numbers(measures) ||
            json_array_size(measures) != VM_MEASURES)
            return false;
    }
    return true;
}

static void take_numbers(const json_t *list, double *x) {
    size_t i;
    json_t *v;
    json_array_foreach (list, i, v) x[i] = json_is_null(v) ? (double)NAN : json_number_value(v);
}

void vm_routing_go_on(VmRouting *r, const json_t *sums) {
    for (int i = 0; i < r->n; i++) {
        VmRoute *route = &r->route[i];
        const json_t *o = json_object_get(sums, route->name), *load = json_object_get(o, "load");
        if (!o || (int64_t)json_array_size(load) != route->experts) continue;
        take_numbers(load, route->load_sum);
        take_numbers(json_object_get(o, "measures"), route->sum);
        route->steps = json_integer_value(json_object_get(o, "steps"));
        route->measured = json_integer_value(json_object_get(o, "measured"));
    }
}

/* ---- telling ---- */

static VmFacts describe(const VmRoute *r, bool epoch) {
    VmFacts o = {0}, load = {0};
    int64_t dead = 0;
    for (int64_t e = 0; e < r->experts; e++) {
        double share = epoch ? r->load_sum[e] / (double)r->steps : load_of(r, e);
        vm_facts_number(&load, NULL, share);
        dead += share == 0;
    }
    vm_facts_list(&o, "load", load);
    vm_facts_int(&o, "dead", dead);
    for (int m = 0; m < VM_MEASURES; m++)
        if (has_measure(r, m))
            vm_facts_number(&o, measure_name[m],
                            epoch ? r->sum[m] / (double)r->measured : r->now[m]);
    return o;
}

VmFacts vm_routing_facts(const VmRouting *r, bool epoch) {
    VmFacts o = {0};
    for (int i = 0; i < r->n; i++)
        if (!epoch || r->route[i].steps)
            vm_facts_group(&o, r->route[i].name, describe(&r->route[i], epoch));
    return o;
}

bool vm_routing_spread(const VmRouting *r, double *least, double *most) {
    *least = *most = (double)NAN;
    for (int i = 0; i < r->n; i++) {
        const VmRoute *route = &r->route[i];
        double low = INFINITY, high = -INFINITY;
        if (!route->steps || route->experts < 2) continue;
        double even = (double)route->steps / (double)route->experts;
        for (int64_t e = 0; e < route->experts; e++) {
            low = fmin(low, route->load_sum[e] / even);
            high = fmax(high, route->load_sum[e] / even);
        }
        if (high <= *most) continue;
        *least = low;
        *most = high;
    }
    return isfinite(*most);
}

/* exp of the entropy of the loads: E when all are equal, 1 when one expert has all. */
static double effective_experts(const VmRoute *r) {
    double h = 0;
    for (int64_t e = 0; e < r->experts; e++) {
        double share = r->load_sum[e] / (double)r->steps;
        if (share > 0) h -= share * log(share);
    }
    return exp(h);
}

void vm_routing_warn(const VmRouting *r, VmLog *log, int64_t epoch) {
    for (int i = 0; i < r->n; i++) {
        const VmRoute *route = &r->route[i];
        if (!route->steps || route->experts < 2) continue;
        int64_t dead = 0;
        double largest = 0, effective = effective_experts(route);
        for (int64_t e = 0; e < route->experts; e++) {
            dead += route->load_sum[e] == 0;
            largest = fmax(largest, route->load_sum[e] / (double)route->steps);
        }
        if (!dead && effective >= 0.5 * (double)route->experts) continue;
        vm_log_warn(
            log,
            "routing of %s collapses: in epoch %lld its %lld experts did the work of "
            "%.1f, %lld of them none, the busiest has %.0f %% of the rows; a balance loss with "
            "more weight, noise or a capacity may help",
            route->name, (long long)epoch, (long long)route->experts, effective, (long long)dead,
            100 * largest);
    }
}
