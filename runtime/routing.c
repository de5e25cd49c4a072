/* What a run says of its routes: measures that the training program leaves behind (passes/telemetry.c), at
 * logged steps and as means over an epoch, and a warning where few experts do the work.
 *
 * Does not: measure anything itself; a program without such outputs has no routes here. */
#include "runtime/internal.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- finding ---- */

static const char *const measure_name[VM_MEASURES] = {"entropy", "largest", "unserved", "variation"};

/* The route whose name is the first n characters of `name`, made when it is new. */
static VmRoute *route_named(VmRouting *r, const char *name, size_t n) {
    for (int i = 0; i < r->n; i++)
        if (strncmp(r->route[i].name, name, n) == 0 && r->route[i].name_length == n) return &r->route[i];
    VmRoute *route = &r->route[r->n++];
    *route = (VmRoute){.name = name, .name_length = n};
    return route;
}

void vm_routing_free(VmRouting *r) {
    for (int i = 0; i < r->n; i++) free(r->route[i].load_sum);
    free(r->route);
    *r = (VmRouting){0};
}

VmStatus vm_routing_find(VmRouting *r, VmEngine *e, int program, VmError *err) {
    const VmProgram *p = vm_engine_program(e, program);
    if (!r->route) r->route = vm_calloc((size_t)p->ntensor + 1, sizeof *r->route);
    if (!r->route) return vm_fail(err, VM_ENV, "out of memory");
    for (int i = 0; i < p->ntensor; i++) {
        const VmTensor *t = &p->tensor[i];
        const char *dot = t->role == VM_ROLE_ROUTER ? strrchr(t->name, '.') : NULL;
        if (!dot) continue;
        VmRoute *route = route_named(r, t->name, (size_t)(dot - t->name));
        const float *value = vm_engine_address(e, program, t);
        for (int m = 0; m < VM_MEASURES; m++)
            if (strcmp(dot + 1, measure_name[m]) == 0) route->measure[m] = value;
        if (strcmp(dot + 1, "load") != 0) continue;
        route->load = value;
        route->experts = t->dim[0];
        if (!route->load_sum) route->load_sum = vm_calloc((size_t)route->experts, sizeof(double));
        if (!route->load_sum) return vm_fail(err, VM_ENV, "out of memory");
    }
    return VM_OK;
}

/* ---- adding up ---- */

void vm_routing_begin_epoch(VmRouting *r) {
    for (int i = 0; i < r->n; i++) {
        VmRoute *route = &r->route[i];
        for (int64_t e = 0; e < route->experts; e++) route->load_sum[e] = 0;
        for (int m = 0; m < VM_MEASURES; m++) route->sum[m] = 0;
        route->steps = 0;
    }
}

void vm_routing_step(VmRouting *r) {
    for (int i = 0; i < r->n; i++) {
        VmRoute *route = &r->route[i];
        for (int64_t e = 0; e < route->experts; e++) route->load_sum[e] += (double)route->load[e];
        for (int m = 0; m < VM_MEASURES; m++)
            if (route->measure[m]) route->sum[m] += (double)*route->measure[m];
        route->steps++;
    }
}

/* ---- telling ---- */

static json_t *number(double v) {
    return isfinite(v) ? json_real(v) : json_null();
}

/* steps 0: of this step; otherwise means over so many. */
static json_t *describe(const VmRoute *r, int64_t steps) {
    json_t *o = json_object(), *load = json_array();
    int64_t dead = 0;
    for (int64_t e = 0; e < r->experts; e++) {
        double share = steps ? r->load_sum[e] / (double)steps : (double)r->load[e];
        json_array_append_new(load, number(share));
        dead += share == 0;
    }
    json_object_set_new(o, "load", load);
    json_object_set_new(o, "dead", json_integer(dead));
    for (int m = 0; m < VM_MEASURES; m++)
        if (r->measure[m])
            json_object_set_new(o, measure_name[m],
                                number(steps ? r->sum[m] / (double)steps : (double)*r->measure[m]));
    return o;
}

json_t *vm_routing_json(const VmRouting *r, bool epoch) {
    json_t *o = json_object();
    for (int i = 0; i < r->n; i++) {
        const VmRoute *route = &r->route[i];
        if (epoch && !route->steps) continue;
        json_object_setn_new(o, route->name, route->name_length, describe(route, epoch ? route->steps : 0));
    }
    return o;
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

void vm_routing_warn(const VmRouting *r, VmProgress *p, int64_t epoch) {
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
        vm_progress_note(p,
                         "warning: routing of %.*s collapses: in epoch %lld its %lld experts did the work of "
                         "%.1f, %lld of them none, the busiest has %.0f %% of the rows; a balance loss with "
                         "more weight, noise or a capacity may help",
                         (int)route->name_length, route->name, (long long)epoch, (long long)route->experts,
                         effective, (long long)dead, 100 * largest);
    }
}
